"""Fields whose true sky is known, as images of several kinds, simulated one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from faintsky.image import RadioImage
from faintsky.preparing import autocorrelation, surface_brightness

Array32 = NDArray[np.float32]

KINDS = ("noise", "dirty", "clean_ideal")
"""White noise on the sky itself; the dirty image with its psf; the image that a perfect deconvolution of it
would give (the true sky at the clean beam's resolution, and the dirty image's noise)."""
ALL_KINDS = ("sky", "noise", "dirty", "clean", "clean_ideal")
"""And: the true sky without any noise; the image that a real deconvolution made, which has to be stored."""
PRESETS = ("paper", "lotss")
FIELDS = ("sky1", "sky2")
"""Of a cosmic web: with a massive cluster, with groups."""
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
    kind : str, optional
        One of `ALL_KINDS`.
    sharp : array, optional
        True sky, times the primary beam, without the image's beam, ``[y, x]`` [Jy/arcsec2].
    clean : array, optional
        What a real deconvolution made of a dirty image, in its unit, ``[y, x]``.
    """

    image: RadioImage
    truth: Array32
    rms: float
    correlation: NDArray[np.float64] | None
    width: float
    kind: str = ""
    sharp: Array32 | None = None
    clean: Array32 | None = None

    @cached_property
    def brightness(self) -> float:
        """Factor that turns the image's unit into Jy/arcsec2."""
        return surface_brightness(self.image)

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
        """One of `ALL_KINDS`."""

    @property
    def indices(self) -> tuple[int, ...]:
        """Numbers of its fields."""

    def load(self, index: int, empty: bool = False) -> Field | None:
        """One field, or noise alone; None where there is no such thing."""


@dataclass(frozen=True)
class SimulatedFields:
    """Fields simulated when asked for, with one psf for the whole field (``--quick``).

    Sky, noise and dirty image of field i are those that ``simulate lofar --preset PRESET --quick`` writes as
    number i of that seed and size, with ``--web WEB --field FIELD`` where these are given.

    Parameters
    ----------
    preset : str
        One of `faintsky.simulate_lofar`'s.
    kind : str
        One of `ALL_KINDS`, but for ``clean``.
    indices : tuple of int
        Numbers of the fields.
    seed, size : int
        Of the data set.
    web, field : str
        The cosmic web that skies are drawn from, and which of `FIELDS`.
    """

    preset: str
    kind: str
    indices: tuple[int, ...]
    seed: int = 0
    size: int = SIZE
    web: str = ""
    field: str = ""

    @property
    def name(self) -> str:
        """Preset, or field of the web, and kind."""
        words = (self.field if self.web else self.preset, self.kind)
        return " ".join((self.preset, *words) if self.web and self.preset != "paper" else words)

    def load(self, index: int, empty: bool = False) -> Field | None:
        """Simulate one field, or noise alone, of another seed than any field's; the sky has no noise."""
        if empty and self.kind == "sky":
            return None
        observatory = _observatory(self.preset, self.size, self.web, self.field)
        telescope, rms = observatory.telescope, observatory.settings.rms
        grid, beam = telescope.instrument.grid, telescope.instrument.beams[0]
        details = {"cell": grid.cell, "ra": grid.ra, "dec": grid.dec}
        # the two fields of a web have other noise each where there is nothing else
        word = 2 if self.field == "sky2" else 1
        seeds = np.random.SeedSequence([self.seed, index, word] if empty else [self.seed, index]).spawn(4)
        sky = np.zeros(grid.shape, np.float32)
        if not empty:
            sky = observatory.draw(np.random.default_rng(seeds[1]), telescope.observation)
        if self.kind in ("sky", "noise"):
            from faintsky.simulating import UNIT_BEAM

            rms = rms / UNIT_BEAM
            white = np.random.default_rng(seeds[3]).standard_normal(grid.shape, dtype=np.float32)
            seen = sky if self.kind == "sky" else sky + np.float32(rms) * white
            image = RadioImage.from_array(seen, unit="Jy/arcsec2", **details)
            return Field(image, sky, rms, None, 6.0 / grid.cell, self.kind, sky)
        from faintsky.simulating import at_resolution

        sharp = sky * telescope.pb
        truth = np.maximum(at_resolution(sharp * grid.cell**2, beam, grid.cell), 0).astype(np.float32)
        freq = [telescope.observation.freq]
        details |= {"unit": "Jy/beam", "beam": beam, "pb": telescope.pb, "frequencies": freq}
        if self.kind == "dirty":
            image = RadioImage.from_array(telescope.dirty(sky, rms, seeds[2]), psf=telescope.psf(), **details)
        else:
            noise = telescope.dirty(np.zeros_like(sky), rms, seeds[2])
            image = RadioImage.from_array(truth + noise, **details)
        width = float(np.sqrt(beam[0] * beam[1])) / grid.cell
        correlation = _correlation(self.preset, self.size)
        return Field(image, truth, rms, correlation, width, self.kind, sharp)


@lru_cache(maxsize=2)
def _observatory(preset: str, size: int, web: str = "", field: str = "") -> Any:
    from faintsky.simulating import Settings, open_observatory

    drawn: Any = {"web": web, "field": field} if web else {}
    return open_observatory(Settings(telescope="lofar", preset=preset, size=size, quick=True, **drawn))


@lru_cache(maxsize=4)
def _correlation(preset: str, size: int) -> NDArray[np.float64]:
    """Of a preset's noise."""
    telescope = _observatory(preset, size).telescope
    blank = np.zeros((size, size), np.float32)
    seeds = np.random.SeedSequence(CALIBRATION).spawn(12)
    noise = [telescope.dirty(blank, 1.0, seed) for seed in seeds]
    everywhere, reach = np.ones(blank.shape, bool), min(REACH, size // 2)
    return np.mean([autocorrelation(n, everywhere, reach) for n in noise], axis=0)


def simulated_sets(
    preset: Sequence[str], kinds: Sequence[str], n: int, seed: int, size: int, web: str | None = None
) -> list[SimulatedFields]:
    """Every kind of image of every preset, and of every field that a cosmic web holds.

    Raises
    ------
    InputError
        For a web that there is not.
    """
    fields: Sequence[str] = ("",)
    if web is not None:
        from faintsky.sky.web import check_web, open_web, split_of

        check_web(web)
        fields = FIELDS if split_of(web) else [f for f in FIELDS if open_web(web).of_kind(f)]
    indices = tuple(range(n))
    return [
        SimulatedFields(p, k, indices, seed, size, web or "", f) for p, f, k in product(preset, fields, kinds)
    ]
