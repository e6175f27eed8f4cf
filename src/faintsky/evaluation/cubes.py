"""Sets of cubes with their truth, from a folder of ``simulate alma`` or simulated one at a time."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from faintsky.errors import InputError
from faintsky.matching import column
from faintsky.simulating import beside, parameters_of

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.image import RadioCube
    from faintsky.simulating import Instrument


@dataclass(frozen=True)
class FolderCubes:
    """Cubes of a folder written by ``faintsky simulate alma``.

    Parameters
    ----------
    folder : str
        Holds ``NNNN_dirty.fits``, ``NNNN_truth.ecsv``, ``dataset.json``, and the psf and primary beam of all
        (``psf.fits``, ``pb.fits``) or of each (``NNNN_psf.fits``, ``NNNN_pb.fits``).
    indices : tuple of int
        Numbers of the cubes.
    name : str
        Name of the set.
    """

    folder: str
    indices: tuple[int, ...]
    name: str

    def load(self, index: int) -> tuple[RadioCube, Table]:
        """One cube and its true sources; `InputError` if a file is missing or broken."""
        from faintsky.catalog import read_catalog
        from faintsky.io import open_cube

        stem = Path(self.folder) / f"{index:04d}"
        psf, pb = (beside(self.folder, stem.name, kind) for kind in ("psf", "pb"))
        cube = open_cube(f"{stem}_dirty.fits", psf=psf, pb=pb)
        truth = read_catalog(f"{stem}_truth.ecsv")
        seen, own = (column(truth, name) for name in ("fwhm_maj", "dc_maj"))
        if (np.isfinite(seen) & ~np.isfinite(own)).any():
            hint = "give dc_maj, dc_min and dc_pa, the sizes without the beam"
            raise InputError("gives sizes as observed only", hint, f"{stem}_truth.ecsv")
        return cube, truth


def numbered(folder: str | Path, one: str, other: str, command: str) -> list[int]:
    """Numbers NNNN for which a folder has two files.

    Parameters
    ----------
    folder : path-like
        The folder.
    one, other : str
        The files are ``NNNN_one`` and ``NNNN_other``.
    command : str
        The command that makes such a folder, for messages.

    Returns
    -------
    list of int

    Raises
    ------
    InputError
        If there is no such folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError("there is no such folder", f"give the --out of {command}", path)
    names = [re.fullmatch(rf"(\d{{4,}})_{re.escape(one)}", p.name) for p in path.iterdir()]
    return sorted(int(m[1]) for m in names if m and (path / f"{m[1]}_{other}").is_file())


def open_cubes(folder: str | os.PathLike[str], n: int | None = None) -> FolderCubes:
    """The first ``n`` cubes, or all, of a folder written by ``faintsky simulate alma``.

    Raises
    ------
    InputError
        If there is no such folder, or it holds no cube with a truth, or fewer than ``n``.
    """
    path = Path(folder)
    indices = numbered(path, "truth.ecsv", "dirty.fits", "faintsky simulate alma")
    if not indices:
        raise InputError(
            "has no NNNN_dirty.fits with its NNNN_truth.ecsv",
            "give the --out of faintsky simulate alma",
            path,
        )
    if n is not None and n > len(indices):
        raise InputError(f"holds {len(indices)} cubes, not {n}", f"ask for -n {len(indices)} or fewer", path)
    preset = re.sub(r"[^\w.+-]+", "_", str(parameters_of(path).get("preset") or ""))
    return FolderCubes(str(path), tuple(indices[:n]), preset or path.resolve().name)


@dataclass(frozen=True)
class SimulatedCubes:
    """Cubes simulated when loaded; cube i is the same as cube i of ``simulate alma`` with this seed.

    Parameters
    ----------
    preset : str
        One of `faintsky.sky.PRESETS`; also the name of the set.
    indices : tuple of int
        Numbers of the cubes.
    seed : int
        Seed of the data set.
    settings : tuple of (str, value)
        Further arguments of `faintsky.simulate_alma`, such as ``(("size", 128),)``.
    """

    preset: str
    indices: tuple[int, ...]
    seed: int = 0
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The preset."""
        return self.preset

    def load(self, index: int) -> tuple[RadioCube, Table]:
        """Simulate one cube, with psf and primary beam, and its true sources."""
        from faintsky.image import RadioCube
        from faintsky.system import one_thread

        with one_thread():
            observatory, psf, pb = _observatory(self.preset, self.settings)
            seen = observatory.sample(self.seed, index)
        instrument = seen.instrument
        if psf is None:
            psf, pb = _beams(instrument)
        grid, spectral = instrument.grid, instrument.spectral
        cube = RadioCube.from_array(
            seen.dirty, cell=grid.cell, frequencies=spectral.frequencies(), beam=instrument.beams,
            ra=grid.ra, dec=grid.dec, rest_frequency=spectral.middle, psf=psf, pb=pb,
            name=f"{self.preset} {index:04d}",
        )  # fmt: skip
        meta = {"preset": self.preset, "seed": self.seed, "sample": index}
        meta |= {"noise_jy_per_beam": seen.sigma.tolist(), "box_rule": observatory.settings.box_rule}
        return cube, seen.truth_table(**meta)


@lru_cache(maxsize=4)
def _observatory(preset: str, settings: tuple[tuple[str, Any], ...]) -> tuple[Any, Any, Any]:
    """Telescope, psf and primary beam of a preset; cached, because making them takes longer than a cube.

    Psf and primary beam are None if each cube has its own.
    """
    from faintsky.simulating import Settings, open_observatory

    observatory = open_observatory(Settings(telescope="alma", preset=preset, **dict(settings)))
    shared = observatory.instrument
    return observatory, *((None, None) if shared is None else _beams(shared))


def _beams(instrument: Instrument) -> tuple[Any, Any]:
    """Psf and primary beam of an instrument, ``[chan, y, x]`` each."""
    pb = np.where(instrument.valid(), instrument.pb_cube(), np.float32(np.nan))
    return instrument.psf_cube(), pb


def shape_of(cubes: Any) -> tuple[int, ...]:
    """``(chan, y, x)`` of a set's first cube, from header or settings; for other sets by loading it."""
    if isinstance(cubes, SimulatedCubes):
        from faintsky.simulating import Settings

        observation = Settings(telescope="alma", preset=cubes.preset, **dict(cubes.settings)).observation
        return observation.spectral.n_chan, *observation.grid.shape
    return tuple(cubes.load(cubes.indices[0])[0].shape)
