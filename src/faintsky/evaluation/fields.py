"""Fields whose true sky is known, as images of several kinds: simulated one at a time, or read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.preparing.correlation import autocorrelation

Array32 = NDArray[np.float32]

KINDS = ("noise", "dirty", "clean_ideal")
"""White noise on the sky itself; the dirty image with its psf; the image that a perfect deconvolution of it
would give (the true sky at the clean beam's resolution, and the dirty image's noise)."""
PRESETS = ("paper", "lotss")
SIZE = 512
"""Pixels a side of a simulated field."""
REACH = 128
"""Separations [pixel] up to which the correlation of the noise is known."""
CALIBRATION = 77
"""Word in the seed of the noise that the correlation is measured on."""


@dataclass(frozen=True, eq=False)
class Field:
    """One image and what is really there.

    Parameters
    ----------
    image : RadioImage
        With psf and primary beam where its kind has them.
    truth : array
        True sky, times the primary beam and at the image's resolution where it has one, ``[y, x]``, in the
        unit of the image.
    rms : float
        Of the noise, in the same unit.
    correlation : array or None
        Of the noise between pixels; None is white.
    width : float
        FWHM of the beam [pixel]; 3 for white noise, the papers' 6 arcsec.
    """

    image: RadioImage
    truth: Array32
    rms: float
    correlation: NDArray[np.float64] | None
    width: float

    @property
    def area(self) -> float:
        """[deg2]"""
        return float(self.truth.size * (self.image.grid.cell / 3600) ** 2)


class FieldSet(Protocol):
    """Numbered fields of one kind."""

    @property
    def name(self) -> str:
        """Short name, for tables."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""

    @property
    def indices(self) -> tuple[int, ...]:
        """Numbers of its fields."""

    def load(self, index: int, empty: bool = False) -> Field | None:
        """One field, or noise alone; None where there is no such thing."""


@dataclass(frozen=True)
class SimulatedFields:
    """Fields simulated when asked for, with one psf for the whole field (``--quick``).

    Sky, noise and dirty image of field i are those that ``simulate lofar --preset PRESET --quick`` writes as
    number i of that seed and size.

    Parameters
    ----------
    preset : str
        One of `faintsky.simulate_lofar`'s.
    kind : str
        One of `KINDS`.
    indices : tuple of int
        Numbers of the fields.
    seed, size : int
        Of the data set.
    """

    preset: str
    kind: str
    indices: tuple[int, ...]
    seed: int = 0
    size: int = SIZE

    @property
    def name(self) -> str:
        """Preset and kind."""
        return f"{self.preset} {self.kind}"

    def load(self, index: int, empty: bool = False) -> Field:
        """Simulate one field, or noise alone, of another seed than any field's."""
        observatory, correlation = _observatory(self.preset, self.size)
        telescope, rms = observatory.telescope, observatory.settings.rms
        grid, beam = telescope.instrument.grid, telescope.instrument.beams[0]
        details = {"cell": grid.cell, "ra": grid.ra, "dec": grid.dec}
        seeds = np.random.SeedSequence([self.seed, index, 1] if empty else [self.seed, index]).spawn(4)
        blank = np.zeros(grid.shape, np.float32)
        if self.kind == "noise":
            from faintsky.observing.lofar_observatory import UNIT_BEAM

            rms = rms / UNIT_BEAM
            sky = blank if empty else observatory.draw(np.random.default_rng(seeds[1]), telescope.observation)
            white = np.random.default_rng(seeds[3]).standard_normal(grid.shape, dtype=np.float32)
            noisy = sky + np.float32(rms) * white
            image = RadioImage.from_array(noisy, unit="Jy/arcsec2", **details)
            return Field(image, sky, rms, None, 6.0 / grid.cell)
        from faintsky.observing.sky_regions import at_resolution

        truth, sky = blank, blank
        if not empty:
            sky = observatory.draw(np.random.default_rng(seeds[1]), telescope.observation)
            truth = np.maximum(at_resolution(sky * telescope.pb * grid.cell**2, beam, grid.cell), 0)
        freq = [telescope.observation.freq]
        details |= {"unit": "Jy/beam", "beam": beam, "pb": telescope.pb, "frequencies": freq}
        if self.kind == "dirty":
            image = RadioImage.from_array(telescope.dirty(sky, rms, seeds[2]), psf=telescope.psf(), **details)
        else:
            image = RadioImage.from_array(truth + telescope.dirty(blank, rms, seeds[2]), **details)
        width = float(np.sqrt(beam[0] * beam[1])) / grid.cell
        return Field(image, truth.astype(np.float32), rms, correlation, width)


@lru_cache(maxsize=2)
def _observatory(preset: str, size: int) -> tuple[Any, NDArray[np.float64]]:
    """Telescope of a preset, and the correlation of its noise."""
    from faintsky.observing.lofar_observatory import LofarObservatory
    from faintsky.observing.lofar_settings import make_lofar_settings

    observatory = LofarObservatory(make_lofar_settings(preset=preset, size=size, quick=True))
    blank = np.zeros((size, size), np.float32)
    seeds = np.random.SeedSequence(CALIBRATION).spawn(12)
    assert observatory.telescope is not None
    noise = [observatory.telescope.dirty(blank, 1.0, seed) for seed in seeds]
    everywhere, reach = np.ones(blank.shape, bool), min(REACH, size // 2)
    return observatory, np.mean([autocorrelation(n, everywhere, reach) for n in noise], axis=0)


@dataclass(frozen=True)
class FolderFields:
    """Fields that ``faintsky simulate lofar`` wrote.

    The noise of dirty images is taken to be correlated like the psf, which holds for natural weighting only.

    Parameters
    ----------
    folder : str
        With ``NNNN_sky.fits``, ``NNNN_noise.fits`` or ``NNNN_dirty.fits``, psf and primary beam.
    kind : str
        ``noise`` or ``dirty``.
    indices : tuple of int
        Numbers of the fields.
    """

    folder: str
    kind: str
    indices: tuple[int, ...]

    @property
    def name(self) -> str:
        """Folder and kind."""
        return f"{Path(self.folder).resolve().name} {self.kind}"

    def load(self, index: int, empty: bool = False) -> Field | None:
        """One field; there are none without emission."""
        from faintsky.evaluation.cubes import beside
        from faintsky.io import open_image
        from faintsky.observing.sky_regions import at_resolution

        if empty:
            return None
        stem = Path(self.folder) / f"{index:04d}"
        sky = open_image(f"{stem}_sky.fits").data
        if self.kind == "noise":
            image = open_image(f"{stem}_noise.fits")
            return Field(image, sky, float(image.header["NOISE"]), None, 6.0 / image.grid.cell)
        psf, pb = (beside(Path(self.folder), index, kind) for kind in ("psf", "pb"))
        image = open_image(f"{stem}_dirty.fits", psf=psf, pb=pb)
        beam, cell = image.require_beam()[0], image.grid.cell
        gain = np.ones_like(sky) if image.pb is None else np.nan_to_num(image.pb[0])
        truth = np.maximum(at_resolution(sky * gain * cell**2, beam, cell), 0).astype(np.float32)
        width = float(np.sqrt(beam[0] * beam[1])) / cell
        correlation = None
        if image.psf is not None:
            y, x = (n // 2 for n in image.psf.shape[1:])
            half = min(y, x, REACH + 1) - 1
            correlation = image.psf[0, y - half : y + half + 1, x - half : x + half + 1].astype(np.float64)
        return Field(image, truth, float(image.header["NOISE"]), correlation, width)


def open_fields(folder: str | os.PathLike[str], n: int | None = None) -> list[FolderFields]:
    """The first ``n`` fields, or all, of a folder of ``faintsky simulate lofar``, by kind.

    Raises
    ------
    InputError
        There is no such folder, it holds no field with its sky, or fewer than ``n``.
    """
    from faintsky.evaluation.cubes import numbered

    sets = []
    for kind in ("noise", "dirty"):
        indices = numbered(Path(folder), f"{kind}.fits", "sky.fits", "faintsky simulate lofar")
        if indices:
            sets.append(FolderFields(str(folder), kind, tuple(indices[:n])))
    if not sets:
        raise InputError(
            "has no NNNN_noise.fits or NNNN_dirty.fits with its NNNN_sky.fits",
            "give the --out of faintsky simulate lofar",
            folder,
        )
    fewest = min(len(s.indices) for s in sets)
    if n is not None and fewest < n:
        raise InputError(f"holds {fewest} fields, not {n}", f"ask for -n {fewest} or fewer", folder)
    return sets
