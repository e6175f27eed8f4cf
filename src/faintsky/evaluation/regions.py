"""Completeness and reliability of regions of emission, by the true S/N of a pixel.

True regions are connected pixels of the true sky, at the image's resolution, above a level, larger than
`LARGE` beams. All values are in units of the image's rms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from faintsky.matching import REGION_DETECTED, column

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]
Image = NDArray[np.floating]

SEGMENT_EDGES = np.array([0.1, 0.3, 1.0, 3.0, np.inf])
"""Bins of the true S/N of a pixel; the true regions of a bin are those above its lower end."""
LARGE = 10.0
"""Least area of a true region [beam]."""
TRUE = 0.1
"""Least true S/N of a pixel with emission."""
REAL = 0.5
"""Smallest fraction of pixels with emission in a real region."""
RELIABLE = 0.9
"""Reliability of pixels and of regions at the operating point."""
RELIABILITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99, 0.997)
"""Cuts for scores that are reliabilities."""

_BINS = len(SEGMENT_EDGES) - 1
_COUNTS = ("true", "found", "regions", "detected")
SEGMENT_COLUMNS = (
    *(f"{name} {edge:g}" for name in _COUNTS for edge in SEGMENT_EDGES[:-1]),
    *("labelled", "on emission", "segments", "real"),
)
"""Columns of `segment_sums`: by bin the numbers of pixels of true regions, of those labelled, of true regions
(by mean brightness), of those detected; then of labelled pixels, of those on emission, of labelled regions,
of real ones."""


@dataclass(frozen=True)
class Segments:
    """Regions that a method found in an image.

    Parameters
    ----------
    labels : array of int
        ``[y, x]``: number of the region, 0 outside.
    score : array
        Reliability of regions 1 … n, ``[region]``, or their S/N if a method gives none.
    cut : float
        Least score of the regions that the method itself reports.
    cuts : tuple of float, optional
        Cuts of the operating curve, the same in all fields of a method.
    flux, snr : array or None, optional
        ``[region]``: sum over the pixels in units of the rms, and its S/N.
    """

    labels: NDArray[np.integer]
    score: NDArray[np.floating]
    cut: float
    cuts: tuple[float, ...] = RELIABILITIES
    flux: NDArray[np.floating] | None = None
    snr: NDArray[np.floating] | None = None

    @property
    def reported(self) -> int:
        """Number of regions that the method itself reports."""
        return int((np.asarray(self.score) >= self.cut).sum())


SNR_CUTS = tuple(float(v) for v in np.geomspace(3, 300, 16).round(2))
"""Cuts for scores that are S/N."""


def segments_of(labels: NDArray[np.integer], table: Table, image: Image, rms: float, cut: float) -> Segments:
    """Regions of a denoised image, scored by reliability, or by S/N without one.

    Parameters
    ----------
    labels : array of int
        ``[y, x]``, 1 … n for the rows of the table.
    table : Table
        Catalogue with ``reliability`` and ``snr``.
    image : array
        The denoised image, ``[y, x]``, NaN where blank.
    rms : float
        Noise, in its unit.
    cut : float
        Least reliability of the regions that the method reports; without reliabilities it reports all.

    Returns
    -------
    Segments
    """
    score, snr = column(table, "reliability"), column(table, "snr")
    flux = np.bincount(labels.ravel(), np.nan_to_num(image).ravel(), len(table) + 1)[1:] / rms
    if len(score) and np.isfinite(score).all():
        return Segments(labels, score, cut, flux=flux, snr=snr)
    return Segments(labels, snr, -np.inf, SNR_CUTS, flux=flux, snr=snr)


def true_regions(truth: Image, level: float, beam_area: float) -> tuple[NDArray[np.int32], int]:
    """True regions above a level.

    Parameters
    ----------
    truth : array
        True sky over the rms, ``[y, x]``.
    level : float
        Least S/N of their pixels.
    beam_area : float
        [pixel]

    Returns
    -------
    labels : array of int
        ``[y, x]``; pixels that share a side or a corner touch.
    count : int
        Number of regions larger than `LARGE` beams.
    """
    labels, n = label(np.nan_to_num(truth) > level, structure=np.ones((3, 3)))
    keep = np.bincount(labels.ravel(), minlength=n + 1) > LARGE * beam_area
    keep[0] = False
    numbers = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return numbers[labels], int(keep.sum())


def segment_sums(segments: Segments, truth: Image, beam_area: float) -> Float:
    """Counts of one field, ``[1 + cut, column]``, for the method's own cut and then for each of `cuts`.

    Counts of several fields are added for `segment_statistic`.

    Parameters
    ----------
    segments : Segments
        The method's answer.
    truth : array
        ``[y, x]``, over the rms.
    beam_area : float
        [pixel]; for white noise that of the 6 arcsec beam to which its rms refers.

    Returns
    -------
    array
        ``[1 + cut, column]``, with the columns of `SEGMENT_COLUMNS`.
    """
    # finite, because pixels that are not labelled have a score of minus infinity
    cuts = np.maximum([segments.cut, *segments.cuts], np.finfo(float).min)
    # the score of a pixel's region decides at which cuts it is labelled
    score = np.append(-np.inf, np.asarray(segments.score, dtype=float))[segments.labels]
    out = np.zeros((len(cuts), len(SEGMENT_COLUMNS)))
    place = np.digitize(np.nan_to_num(truth), SEGMENT_EDGES) - 1
    for b, level in enumerate(SEGMENT_EDGES[:-1]):
        regions, n = true_regions(truth, level, beam_area)
        area = np.bincount(regions.ravel(), minlength=n + 1)[1:]
        total = np.bincount(regions.ravel(), np.nan_to_num(truth).ravel(), n + 1)[1:]
        faint = total < SEGMENT_EDGES[b + 1] * area
        inside = regions > 0
        those = inside & (place == b)
        out[:, b] = those.sum()
        out[:, _BINS + b] = _above(score[those], cuts)
        out[:, 2 * _BINS + b] = faint.sum()
        for k, cut in enumerate(cuts):
            covered = np.bincount(regions[inside & (score >= cut)], minlength=n + 1)[1:]
            out[k, 3 * _BINS + b] = (faint & (covered >= REGION_DETECTED * area)).sum()
    emission = np.nan_to_num(truth) >= TRUE
    pixels = np.bincount(segments.labels.ravel(), minlength=len(segments.score) + 1)[1:]
    real = np.bincount(segments.labels[emission], minlength=len(pixels) + 1)[1:] >= REAL * pixels
    values = (score, score[emission], segments.score, np.asarray(segments.score)[real])
    out[:, 4 * _BINS :] = np.stack([_above(v, cuts) for v in values], axis=1)
    return out


def _above(values: NDArray[np.floating], cuts: Float) -> Float:
    """Number of values that reach each cut."""
    return np.asarray(np.size(values) - np.searchsorted(np.sort(values, axis=None), cuts), dtype=float)


SEGMENT_QUANTITIES = (
    *(f"{name} {edge:g}" for name in ("completeness", "regions detected", "completeness at reliability",
                                       "regions detected at reliability") for edge in SEGMENT_EDGES[:-1]),
    "pixel reliability", "region reliability",
)  # fmt: skip
"""Names of `segment_statistic`'s values, with the lower end of the bin of true S/N per pixel."""


def operating_curve(total: Float) -> dict[str, Float]:
    """Completeness ``[row, bin]`` and reliability ``[row]``, of pixels and of regions, from summed counts.

    They are NaN without true or without labelled pixels.
    """
    true, found, regions, detected = (total[..., b * _BINS : (b + 1) * _BINS] for b in range(4))
    labelled, good, segments, real = np.moveaxis(total[..., 4 * _BINS :], -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "completeness": found / true, "regions detected": detected / regions,
            "pixel reliability": good / labelled, "region reliability": real / segments,
        }  # fmt: skip


def segment_statistic(sums: Float) -> Float:
    """`SEGMENT_QUANTITIES` of the counts of fields, ``[field, row, column]``, for `over_fields`.

    *At reliability* means at the lowest cut for which both reliabilities are at least `RELIABLE`. It is 0 if
    no cut reaches this, and NaN if there is no true region.
    """
    curve = operating_curve(sums.sum(axis=0))
    both = np.minimum(curve["pixel reliability"], curve["region reliability"])[1:]
    reached = np.flatnonzero(both >= RELIABLE)
    parts = [curve[name][0] for name in ("completeness", "regions detected")]
    for name in ("completeness", "regions detected"):
        values = curve[name][1:]
        parts.append(values[reached[0]] if len(reached) else np.where(np.isnan(values[0]), np.nan, 0.0))
    return np.concatenate([*parts, [curve["pixel reliability"][0], curve["region reliability"][0]]])


def region_fluxes(segments: Segments, truth: Image) -> Float:
    """S/N, and found over true flux, of the reported real regions (see `REAL`), ``[region, 2]``.

    The true flux is that within the same outline.
    """
    if segments.flux is None or segments.snr is None:
        return np.zeros((0, 2))
    flat, n = segments.labels.ravel(), len(segments.score) + 1
    true = np.bincount(flat, np.nan_to_num(truth).ravel(), n)[1:]
    share = np.bincount(flat, np.nan_to_num(truth).ravel() >= TRUE, n)[1:] / np.maximum(
        np.bincount(flat, minlength=n)[1:], 1
    )
    use = (share >= REAL) & (np.asarray(segments.score) >= segments.cut) & (true > 0)
    return np.stack([np.asarray(segments.snr)[use], np.asarray(segments.flux)[use] / true[use]], axis=1)
