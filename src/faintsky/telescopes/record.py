"""Records of telescopes, which hold everything in which one differs from another."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from faintsky.arrays import Array32, Float
from faintsky.errors import InputError
from faintsky.grid import ImageGrid
from faintsky.telescopes import TELESCOPES
from faintsky.telescopes.arrays import AntennaArray, Stations, read_cfg

CUTOFF = 0.2
"""Primary beam below which images are blank, as in tclean."""

RadialBeam = Callable[[ArrayLike, ArrayLike, float], Float]


@dataclass(frozen=True)
class BeamMap:
    """A primary beam computed by another package.

    Parameters
    ----------
    beam : callable
        Function of grid, frequency [Hz] and ten times of the track [MJD, UTC]; returns ``[y, x]``.
    needs : tuple of str
        Packages that it needs.
    extra : str
        The extra that installs them.
    """

    beam: Callable[[ImageGrid, float, Float], Array32]
    needs: tuple[str, ...]
    extra: str


@dataclass(frozen=True)
class Varied:
    """How observations differ from sample to sample.

    Parameters
    ----------
    draw : callable
        Function of a random generator and ``pick``; returns options by name, or None for an impossible draw.
        ``pick(name, value)`` returns the user's value of an option if given, otherwise `value`. A further
        entry ``pixels``, the width of the beam, sets the cell.
    options : tuple of str
        Options that are drawn if the user does not give them.
    steps : int, optional
        Points of a track at which the elevation is checked.
    """

    draw: Callable[[np.random.Generator, Callable[[str, Any], Any]], dict[str, Any] | None]
    options: tuple[str, ...]
    steps: int = 16


@dataclass(frozen=True)
class Library:
    """Arrays and tracks of the psfs for training.

    Parameters
    ----------
    arrays : tuple of str
        Names of arrays; repeated ones are drawn more often.
    dec : tuple of float
        Range of declinations [deg].
    hours : float
        Length of the longest track.
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
        For cubes one of `faintsky.sky.PRESETS`; for images ``diffuse``, or ``galaxies``, which has both.
    about : str
        Description in the help.
    defaults : mapping, optional
        Defaults of options that differ from the telescope's.
    varied : Varied, optional
        How observations differ from sample to sample, if they do.
    box_rule : str, optional
        For cubes, one of `faintsky.simulating.BOX_RULES`.
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
        Name in commands and functions, name in headers, and description in the header's history.
    arrays : mapping
        Its arrays by name.
    band : tuple of float
        Frequencies that it can observe [Hz].
    beam : callable
        Its primary beam, a function of distance from the pointing centre [rad], frequency [Hz] and diameter
        [m].
    presets : mapping
        Presets by name, the default first.
    backends : mapping
        Backends for ``"cube"`` and ``"image"``, the default first.
    options : tuple of str
        Options of `faintsky.simulating.Settings` in addition to those of every telescope.
    defaults : mapping
        Defaults of options, as a user would give them.
    sigma : callable, optional
        Noise of the real part of a visibility of one polarisation ``[chan]`` [Jy], a function of ``freq``
        [Hz], channel width [Hz], integration [s], ``pwv`` [mm], ``elevation`` [rad] and ``diameter`` [m].
    maps : mapping, optional
        Other primary beams by name; the first is the default if its packages are installed.
    usual_cell : float, optional
        Side of a pixel with the default array at the default frequency [arcsec]; otherwise an eighth of the
        beam.
    beam_name : str, optional
        Name of ``beam``.
    date : float, optional
        Day of tracks that are centred on transit or at an hour angle [MJD]; by default they follow CASA's
        clock.
    library : Library, optional
        Its entries of `faintsky.simulating.PsfLibrary`.
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
    sigma: Callable[..., Float] | None = None
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
            The name; for ``auto`` the best one whose packages are installed.

        Raises
        ------
        InputError
            If it is not known, or its packages are not installed.
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
    """Radius at which a primary beam's main lobe ends.

    Parameters
    ----------
    beam : callable
        Power as a function of radius [rad], frequency [Hz] and diameter [m], 1 on axis.
    freq : float
        Frequency [Hz].
    diameter : float
        Diameter of a dish [m].
    level : float, optional
        Power at the end of the lobe.

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
        Name of an array of one of `TELESCOPES` (``alma.cycle9.3``, also ``C-3`` or ``c3``), or the path of a
        ``.cfg`` file.

    Returns
    -------
    AntennaArray
        Names and positions of its antennas.

    Raises
    ------
    InputError
        If there is no such name or file, or the file cannot be read.
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
