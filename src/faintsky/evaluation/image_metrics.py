"""Errors of a recovered image against the true sky at its resolution: per pixel, aperture and peak.

All values are in units of the image's rms, so that the value of a true pixel is its S/N. Errors are from a
bootstrap over fields, because pixels and sources of one field share its noise.

Completeness and reliability of regions of emission are by the true S/N of a pixel. True regions are connected
pixels of the true sky, at the image's resolution, above a level, larger than `LARGE` beams.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import label

from faintsky.arrays import Array, Bool, Float, Index, Labels
from faintsky.denoising import sum_error
from faintsky.matching import REGION_DETECTED, Estimate, column

INSIDE = 1.0
"""Lowest S/N of pixels inside a source, on the true sky at the image's resolution."""
PIXEL_EDGES = np.array([0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf])
"""Bins of the true S/N of a pixel."""
SOURCE_EDGES = np.array([3.0, 5.0, 10.0, 20.0, 50.0, np.inf])
"""Bins of the S/N of an aperture or a peak."""
CONTOUR = 0.2
"""Fraction of a source's peak at the edge of its aperture."""


def binned_sums(by: Array, use: Bool, *what: NDArray[Any]) -> Float:
    """Number of pixels used, and sums of values over them, in each bin of ``by``: ``[bin, 1 + value]``."""
    place = np.clip(np.digitize(by[use], PIXEL_EDGES) - 1, 0, len(PIXEL_EDGES) - 2)
    values = [np.ones(place.shape), *(v[use].astype(np.float64) for v in what)]
    return np.stack([np.bincount(place, v, minlength=len(PIXEL_EDGES) - 1) for v in values], axis=1)


def pixel_sums(estimate: Array, truth: Array) -> Float:
    """Sums over the pixels of each bin of true S/N, ``[bin, 4]``: number, error, error², (error / truth)².

    Parameters
    ----------
    estimate, truth : array
        ``[y, x]``, over the rms; pixels where either is NaN are left out.
    """
    use = np.isfinite(estimate) & np.isfinite(truth) & (truth >= 0)
    e = (estimate - truth).astype(np.float64)
    relative = e / np.where(truth > 0, truth, np.inf)
    return binned_sums(truth, use, e, e * e, relative**2)


def pull_sums(estimate: Array, sigma: Array, truth: Array, by: Array) -> Float:
    """Sums of pulls, ``(estimate - truth) / sigma``, over the pixels of each bin.

    Parameters
    ----------
    estimate, sigma, truth : array
        Denoised image, its standard deviation, and true sky, ``[y, x]``, over the rms.
    by : array
        S/N by which pixels are binned, ``[y, x]``.

    Returns
    -------
    array
        ``[bin, 4]``: number of pixels, sums of pull and pull², number of pixels within one sigma.
    """
    use = np.isfinite(estimate) & np.isfinite(truth) & (sigma > 0) & (by >= 0)
    pull = ((estimate - truth) / np.where(use, sigma, 1)).astype(np.float64)
    return binned_sums(by, use, pull, pull * pull, np.abs(pull) < 1)


@dataclass(frozen=True)
class Apertures:
    """Apertures and peaks of a true sky.

    Parameters
    ----------
    labels : array of int
        Number of the aperture at each pixel, ``[y, x]``; 0 for none.
    snr : array
        Summed true flux over the noise of the sum, ``[aperture]``.
    peaks : array of int
        ``[peak, 2]``: y, x of the true local maxima.
    """

    labels: Labels
    flux: Float
    snr: Float
    peaks: Index

    def flux_ratios(self, estimate: Array) -> Float:
        """Recovered over true flux of each aperture, ``[aperture]``."""
        total = np.bincount(self.labels.ravel(), np.nan_to_num(estimate).ravel(), len(self.flux) + 1)
        return np.asarray(total[1:] / self.flux)

    def peak_ratios(self, estimate: Array, truth: Array) -> Float:
        """Recovered over true brightness at the pixel of each true peak, ``[peak]``."""
        y, x = self.peaks.T
        return np.asarray(estimate[y, x] / truth[y, x], dtype=np.float64)


def draw_apertures(truth: Array, width: float, correlation: Array | None = None) -> Apertures:
    """Apertures around the sources of a true sky, and its peaks.

    The sky, slightly smoothed so that texture is not split into sources, is divided between its local maxima
    by a watershed. The aperture of each consists of pixels above `CONTOUR` times its peak. Apertures depend
    only on the true sky, so that noise cannot bias them.

    Parameters
    ----------
    truth : array
        ``[y, x]``, over the rms; NaN is blank.
    width : float
        FWHM of the beam [pixel], or an equivalent width for white noise.
    correlation : array, optional
        Correlation of the noise by separation, 1 at its centre; by default white.

    Returns
    -------
    Apertures
    """
    from scipy.ndimage import find_objects, gaussian_filter, maximum
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    sky = np.nan_to_num(truth).astype(np.float32)
    near = max(1, round(width))
    smooth = gaussian_filter(sky, 0.6 * width)
    tops = peak_local_max(smooth, min_distance=2 * near, threshold_abs=0.05, exclude_border=near)
    markers = np.zeros(sky.shape, np.int32)
    markers[tuple(tops.T)] = np.arange(1, len(tops) + 1)
    basins = watershed(-smooth, markers, mask=smooth > 0.01)
    peak = np.append(np.inf, maximum(sky, basins, np.arange(1, len(tops) + 1)))
    parts = basins * (sky > CONTOUR * peak[basins])
    labels = np.zeros(sky.shape, np.int32)
    kernel = np.ones((1, 1)) if correlation is None else np.asarray(correlation, dtype=np.float64)
    flux, snr = [], []
    for k, box in enumerate(find_objects(parts), start=1):
        if box is None:
            continue
        mask = parts[box] == k
        total = float(sky[box][mask].sum())
        level = total / sum_error(mask, kernel)
        if level > SOURCE_EDGES[0]:
            flux.append(total)
            snr.append(level)
            labels[box][mask] = len(flux)
    peaks = peak_local_max(sky, min_distance=near, threshold_abs=float(SOURCE_EDGES[0]), exclude_border=near)
    return Apertures(labels, np.array(flux), np.array(snr), peaks)


def over_fields(
    statistic: Callable[[NDArray], Float], parts: Sequence[NDArray], draws: int = 200, seed: int = 0
) -> list[Estimate]:
    """Values of a statistic of all fields' data, with errors from a bootstrap over fields.

    Parameters
    ----------
    statistic : callable
        From the parts of several fields, joined along their first axis, to an array ``[value]``.
    parts : sequence of array
        One for each field.
    draws, seed : int, optional
        Number of draws and seed of the bootstrap.

    Returns
    -------
    list of Estimate
    """
    rng = np.random.default_rng(seed)
    value = statistic(np.concatenate(parts))
    drawn = [
        statistic(np.concatenate([parts[i] for i in rng.integers(len(parts), size=len(parts))]))
        for _ in range(draws if len(parts) > 1 else 0)
    ]
    error = np.full(len(value), np.nan)
    if drawn:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a statistic may be NaN in all draws
            error = np.nanstd(drawn, axis=0, ddof=1)
    return [Estimate(float(v), float(e)) for v, e in zip(value, np.where(np.isfinite(value), error, np.nan))]


def ratio_statistic(edges: Float = SOURCE_EDGES) -> Callable[[NDArray], Float]:
    """Statistic for `over_fields` of ``[source, 2]`` (S/N, ratio): median ratios in bins, then scatters.

    The scatter is half the range from the 16th to the 84th percentile. Both are NaN for fewer than 5 sources.
    """

    def statistic(rows: NDArray) -> Float:
        place = np.digitize(rows[:, 0], edges) - 1
        out = np.full((2, len(edges) - 1), np.nan)
        for b in range(len(edges) - 1):
            inside = rows[place == b, 1]
            if len(inside) >= 5:
                low, out[0, b], high = np.percentile(inside, (16, 50, 84))
                out[1, b] = (high - low) / 2
        return out.ravel()

    return statistic


def mean_ratio(least: float) -> Callable[[NDArray], Float]:
    """Statistic for `over_fields` of ``[source, 2]`` (S/N, ratio): mean ratio at and above an S/N."""

    def statistic(rows: NDArray) -> Float:
        inside = rows[rows[:, 0] >= least, 1]
        return np.array([inside.mean() if len(inside) >= 5 else np.nan])

    return statistic


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
    score: Array
    cut: float
    cuts: tuple[float, ...] = RELIABILITIES
    flux: Array | None = None
    snr: Array | None = None

    @property
    def reported(self) -> int:
        """Number of regions that the method itself reports."""
        return int((np.asarray(self.score) >= self.cut).sum())


SNR_CUTS = tuple(float(v) for v in np.geomspace(3, 300, 16).round(2))
"""Cuts for scores that are S/N."""


def segments_of(labels: NDArray[np.integer], table: Table, image: Array, rms: float, cut: float) -> Segments:
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
        Lowest reliability of the regions that the method reports; without reliabilities it reports all.

    Returns
    -------
    Segments
    """
    score, snr = column(table, "reliability"), column(table, "snr")
    flux = np.bincount(labels.ravel(), np.nan_to_num(image).ravel(), len(table) + 1)[1:] / rms
    if len(score) and np.isfinite(score).all():
        return Segments(labels, score, cut, flux=flux, snr=snr)
    return Segments(labels, snr, -np.inf, SNR_CUTS, flux=flux, snr=snr)


def true_regions(truth: Array, level: float, beam_area: float) -> tuple[Labels, int]:
    """True regions above a level.

    Parameters
    ----------
    truth : array
        True sky over the rms, ``[y, x]``.
    level : float
        Lowest S/N of their pixels.
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


def segment_sums(segments: Segments, truth: Array, beam_area: float) -> Float:
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


def _above(values: Array, cuts: Float) -> Float:
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


def region_fluxes(segments: Segments, truth: Array) -> Float:
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
