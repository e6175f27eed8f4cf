"""What one denoiser makes of one field, as small arrays that are added up or joined over fields."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum

from faintsky.denoising import RegionSettings, segment
from faintsky.evaluation.brightness_metrics import Correlator, brightness_parts
from faintsky.evaluation.fields import Field
from faintsky.evaluation.image_methods import Denoise
from faintsky.evaluation.image_metrics import Apertures, draw_apertures, pixel_sums, pull_sums
from faintsky.evaluation.segments import SNR_CUTS, Segments, region_fluxes, segment_sums
from faintsky.evaluation.stages import forget_peak, peak_memory, processor_seconds
from faintsky.system import replacing

Parts = Mapping[str, NDArray]
"""Of a field, by name: arrays whose first axis is the one that fields are joined along."""
SHARP = "sharp "
"""Begins the names of what an answer without the image's beam is measured by, beside the sky without it."""
BEAM = np.pi / (4 * np.log(2))
"""Area of a beam over its FWHM squared."""
ISLAND, ISLAND_PEAK = 3.0, 5.0
SEEN = "seen"
"""The estimate over the rms, float16 ``[y, x]``, of fields that are shown."""


@dataclass
class Scores:
    """What is known of a method on a set of fields.

    Parameters
    ----------
    method, cases : str
        Names of the method and the set.
    parts : dict
        Lists by name, with the arrays of each field: see `score_field`.
    """

    method: str
    cases: str
    parts: dict[str, list[NDArray]] = field(default_factory=dict)

    def add(self, parts: Parts) -> None:
        """Another field's."""
        for name, value in parts.items():
            if name != SEEN:
                self.parts.setdefault(name, []).append(value)

    def get(self, name: str) -> list[NDArray]:
        """Those of a name, or none."""
        return self.parts.get(name, [])


class Scored:
    """A field with what all methods share: where to measure, and the transform of its true sky.

    Parameters
    ----------
    one : Field
    empty : Field or None
        One without emission.
    """

    def __init__(self, one: Field, empty: Field | None) -> None:
        self.one, self.empty = one, empty

    @cached_property
    def apertures(self) -> Apertures:
        """Around the sources of the true sky."""
        return draw_apertures(self.one.truth / self.one.rms, self.one.width, self.one.correlation)

    @cached_property
    def correlator(self) -> Correlator:
        """Of the true sky at the image's resolution."""
        return Correlator(self.one.truth, self.one.image.grid.cell)

    @cached_property
    def sharp_correlator(self) -> Correlator:
        """Of the true sky without the image's beam."""
        assert self.one.sharp is not None
        return Correlator(self.one.sharp, self.one.image.grid.cell)


def score_field(scored: Scored, denoise: Denoise, cases: str, keep: bool = False) -> Parts:
    """All of one method on one field; nothing where the method does not apply to it.

    Parameters
    ----------
    scored : Scored
    denoise : callable
    cases : str
        Name of the set.
    keep : bool, optional
        Keep the estimate, too.

    Returns
    -------
    dict
        ``pixels`` (`pixel_sums`), ``flux`` and ``peak`` (S/N and recovered over true value of each aperture
        and peak), ``pull`` and ``pull by truth`` (`pull_sums`), those of `brightness_parts`, ``cost``
        (seconds, those of the processor, peak memory [MB]), ``false`` (regions, and the area [deg2], of the
        field without emission), ``segments`` (`segment_sums`), ``regions`` (`region_fluxes`) and `SEEN`.
    """
    one = scored.one
    forget_peak()
    begin = time.perf_counter(), processor_seconds()
    made = denoise(one, cases)
    if made is None:
        return {}
    cost = np.array([[time.perf_counter() - begin[0], processor_seconds() - begin[1], peak_memory()]])
    estimate, truth = made.image / one.rms, one.truth / one.rms
    apertures = scored.apertures
    y, x = apertures.peaks.T
    peaks = apertures.peak_ratios(estimate, truth)
    parts: dict[str, NDArray] = {
        "cost": cost,
        "pixels": pixel_sums(estimate, truth)[None],
        "flux": np.stack([apertures.snr, apertures.flux_ratios(estimate)], axis=1),
        "peak": np.stack([truth[y, x], peaks], axis=1),
    }
    unit = np.float32(one.brightness)
    parts |= brightness_parts(made.image * unit, one.truth * unit, truth, scored.correlator)
    if made.sharp is not None and one.sharp is not None:
        sharp = brightness_parts(made.sharp, one.sharp, truth, scored.sharp_correlator)
        parts |= {SHARP + name: value for name, value in sharp.items()}
    if made.sigma is not None:
        sigma = made.sigma / one.rms
        parts["pull"] = pull_sums(estimate, sigma, truth, np.abs(estimate))[None]
        parts["pull by truth"] = pull_sums(estimate, sigma, truth, truth)[None]
    segments = made.segments
    if scored.empty is not None:
        found = denoise(scored.empty, cases)
        assert found is not None
        spread = max(float(np.std(found.image)), 1e-6 * scored.empty.rms)
        false = islands(found.image, spread, scored.empty) if found.segments is None else found.segments
        parts["false"] = np.array([[false.reported, scored.empty.area]])
        segments = islands(made.image, spread, one) if segments is None else segments
    if segments is not None:
        parts["segments"] = segment_sums(segments, truth, BEAM * one.width**2)[None]
        parts["regions"] = region_fluxes(segments, truth)
    if keep:
        with np.errstate(over="ignore"):
            parts[SEEN] = np.asarray(estimate, dtype=np.float16)
    return parts


def islands(image: NDArray, spread: float, field: Field) -> Segments:
    """Regions of a filtered image above 3 times what the filter makes of noise; of them those count that
    reach 5 times."""
    image = image - np.median(image)
    rule = RegionSettings(seed=(ISLAND, 0.0), grow=(ISLAND, 0.0), least_area=1.0)
    area = 1.0 if field.correlation is None else BEAM * field.width**2
    labels = segment(image, np.full_like(image, spread), np.isfinite(image), rule, area)
    numbers = np.arange(1, labels.max() + 1)
    peaks = maximum(image, labels, numbers) / spread if len(numbers) else np.zeros(0)
    return Segments(labels, np.asarray(peaks), ISLAND_PEAK, SNR_CUTS)


def save_parts(path: Path, parts: Parts) -> None:
    """Write what `score_field` gave, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as name, open(name, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **parts)


def load_parts(path: Path) -> dict[str, NDArray]:
    """What `save_parts` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
