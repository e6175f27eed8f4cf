"""What a telescope is, as a record: everything in which one differs from another."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.errors import InputError
from faintsky.grid import ImageGrid
from faintsky.telescopes import TELESCOPES
from faintsky.telescopes.arrays import AntennaArray, Stations, read_cfg

CUTOFF = 0.2
"""Primary beam below which images are blank, as tclean leaves them."""

RadialBeam = Callable[[ArrayLike, ArrayLike, float], NDArray[np.float64]]


@dataclass(frozen=True)
class BeamMap:
    """A primary beam that another package computes.

    Parameters
    ----------
    beam : callable
        Of grid, frequency [Hz] and ten times of the track [MJD, UTC]; gives ``[y, x]``.
    needs : tuple of str
        Packages.
    extra : str
        What to install.
    """

    beam: Callable[[ImageGrid, float, NDArray[np.float64]], NDArray[np.float32]]
    needs: tuple[str, ...]
    extra: str


@dataclass(frozen=True)
class Varied:
    """How observations differ from sample to sample.

    Parameters
    ----------
    draw : callable
        Of a random generator and ``pick``; gives options by name, or None for a draw that cannot be. ``pick``
        of a name and a value is the value where that option is drawn, and what the user gave where it is not.
        ``pixels`` besides, how many the beam is to be wide, sets the cell.
    options : tuple of str
        What is drawn where it is not given.
    steps : int, optional
        Points of a track at which the elevation is looked at.
    """

    draw: Callable[[np.random.Generator, Callable[[str, Any], Any]], dict[str, Any] | None]
    options: tuple[str, ...]
    steps: int = 16


@dataclass(frozen=True)
class Library:
    """What psfs for training are made of: arrays (the more often, the likelier), and tracks.

    Parameters
    ----------
    arrays : tuple of str
    dec : tuple of float
        Range of declinations [deg].
    hours : float
        The longest track.
    """

    arrays: tuple[str, ...]
    dec: tuple[float, float]
    hours: float


@dataclass(frozen=True)
class Preset:
    """A kind of simulation.

    Parameters
    ----------
    data : str
        ``"cube"`` or ``"image"``.
    sky : str
        Of cubes one of `faintsky.sky.PRESETS`; of images ``diffuse``, or ``galaxies``, which has both.
    about : str
        For the help.
    defaults : mapping, optional
        Of options that differ from the telescope's.
    varied : Varied, optional
    box_rule : str, optional
        Of cubes: one of `faintsky.simulating.BOX_RULES`.
    """

    data: Literal["cube", "image"]
    sky: str
    about: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    varied: Varied | None = None
    box_rule: str = "tenth"


@dataclass(frozen=True)
class Telescope:
    """A telescope.

    Parameters
    ----------
    name, title, about : str
        As commands and functions call it, as headers do, and in a line of history.
    arrays : mapping
        Its arrays by name.
    band : tuple of float
        Frequencies that it can observe [Hz].
    beam : callable
        Its primary beam, of distance from the pointing centre [rad], frequency [Hz] and diameter [m].
    presets : mapping
        By name, the usual one first.
    backends : mapping
        By ``"cube"`` and ``"image"``; the usual one first.
    options : tuple of str
        Of `faintsky.simulating.Settings`, besides those of every telescope.
    defaults : mapping
        Of options, as a user would give them.
    sigma : callable, optional
        Noise of the real part of a visibility of one hand ``[chan]`` [Jy], of ``freq`` [Hz], channel width
        [Hz], integration [s], and ``pwv`` [mm], ``elevation`` [rad], ``diameter`` [m].
    maps : mapping, optional
        Other primary beams by name; the first is taken where its packages are installed.
    usual_cell : float, optional
        Side of a pixel with the default array at the default frequency [arcsec]; otherwise an eighth of the
        beam.
    beam_name : str, optional
        Of ``beam``.
    date : float, optional
        MJD of the day of tracks that are centred on transit, or at an hour angle; where there is none they
        are laid by CASA's clock.
    library : Library, optional
        What it gives to `faintsky.simulating.PsfLibrary`.
    """

    name: str
    title: str
    about: str
    arrays: Mapping[str, Stations]
    band: tuple[float, float]
    beam: RadialBeam
    presets: Mapping[str, Preset]
    backends: Mapping[str, tuple[str, ...]]
    options: tuple[str, ...]
    defaults: Mapping[str, Any]
    sigma: Callable[..., NDArray[np.float64]] | None = None
    maps: Mapping[str, BeamMap] = field(default_factory=dict)
    beam_name: str = "dish"
    usual_cell: float | None = None
    date: float | None = None
    library: Library | None = None

    def choose_beam(self, choice: str) -> str:
        """Name of a primary beam that can be made.

        Parameters
        ----------
        choice : str
            One of `beam_choices`.

        Returns
        -------
        str
            The name; of ``auto`` the best one whose packages are installed.

        Raises
        ------
        InputError
            Where it is not known, or its packages are not installed.
        """
        if choice not in self.beam_choices:
            raise InputError(f"primary beam {choice!r} is not known", f"choose from {self.beam_choices}")
        wanted = next(iter(self.maps), self.beam_name) if choice == "auto" else choice
        for name in self.maps[wanted].needs if wanted in self.maps else ():
            if find_spec(name) is None:
                if choice == "auto":
                    return self.beam_name
                hint = f"install {self.maps[wanted].extra}, or choose {self.beam_name}"
                raise InputError(f"{name} is not installed", hint)
        return wanted

    @property
    def beam_choices(self) -> tuple[str, ...]:
        """Primary beams by name, ``auto`` first."""
        return ("auto", *self.maps, self.beam_name)


def telescope(name: str) -> Telescope:
    """The record of one of `TELESCOPES`."""
    return import_module(f"faintsky.telescopes.{name}").TELESCOPE


def cutoff_radius(beam: RadialBeam, freq: float, diameter: float, level: float = CUTOFF) -> float:
    """Where a primary beam's main lobe ends.

    Parameters
    ----------
    beam : callable
        Power of (radius [rad], frequency [Hz], diameter [m]), 1 on axis.
    freq : float
        [Hz]
    diameter : float
        Of a dish [m].
    level : float, optional
        Power at which it counts as ended.

    Returns
    -------
    float
        Radius [rad].
    """
    from scipy.optimize import brentq

    def above(radius: float) -> float:
        return float(beam(radius, freq, diameter)) - level

    outside = 1e-6
    while above(outside) > 0:
        outside *= 1.1
    return float(brentq(above, outside / 1.1, outside))


def load_array(name: str | os.PathLike[str]) -> AntennaArray:
    """A shipped configuration or a CASA configuration file.

    Parameters
    ----------
    name : str or path-like
        That of an array of one of `TELESCOPES` (``alma.cycle9.3``, also ``C-3`` or ``c3``), or the path of a
        ``.cfg`` file.

    Returns
    -------
    AntennaArray
        Names and places of its antennas.

    Raises
    ------
    InputError
        Where there is no such name or file, or the file cannot be understood.
    """
    path, text = Path(name), str(name)
    if path.is_file():
        return read_cfg(path)
    short = re.fullmatch(r"(?:alma\.cycle9\.|c-?)(\d+)(?:\.cfg)?", text.strip(), flags=re.IGNORECASE)
    known = {k: v for one in TELESCOPES for k, v in telescope(one).arrays.items()}
    wanted = f"alma.cycle9.{int(short[1])}" if short else text
    if wanted in known:
        return known[wanted].load(wanted)
    hint = "give a CASA .cfg file or one of alma.cycle9.1 to alma.cycle9.10"
    if path.suffix == ".cfg":
        raise InputError("there is no such array file", hint, text)
    raise InputError(f"there is no array {text!r}", hint)
