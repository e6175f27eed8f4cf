"""Errors of a recovered image against the true sky at its resolution: per pixel, aperture and peak.

All values are in units of the image's rms, so that the value of a true pixel is its S/N. Errors are from a
bootstrap over fields, because pixels and sources of one field share its noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.denoising import sum_error
from faintsky.matching import Estimate

Float = NDArray[np.float64]
Image = NDArray[np.floating]

INSIDE = 1.0
"""Least S/N of pixels inside a source, on the true sky at the image's resolution."""
PIXEL_EDGES = np.array([0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf])
"""Bins of the true S/N of a pixel."""
SOURCE_EDGES = np.array([3.0, 5.0, 10.0, 20.0, 50.0, np.inf])
"""Bins of the S/N of an aperture or a peak."""
CONTOUR = 0.2
"""Fraction of a source's peak at the edge of its aperture."""


def binned_sums(by: Image, use: NDArray[np.bool_], *what: NDArray[Any]) -> Float:
    """Number of pixels used, and sums of values over them, in each bin of ``by``: ``[bin, 1 + value]``."""
    place = np.clip(np.digitize(by[use], PIXEL_EDGES) - 1, 0, len(PIXEL_EDGES) - 2)
    values = [np.ones(place.shape), *(v[use].astype(np.float64) for v in what)]
    return np.stack([np.bincount(place, v, minlength=len(PIXEL_EDGES) - 1) for v in values], axis=1)


def pixel_sums(estimate: Image, truth: Image) -> Float:
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


def pull_sums(estimate: Image, sigma: Image, truth: Image, by: Image) -> Float:
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

    labels: NDArray[np.int32]
    flux: Float
    snr: Float
    peaks: NDArray[np.intp]

    def flux_ratios(self, estimate: Image) -> Float:
        """Recovered over true flux of each aperture, ``[aperture]``."""
        total = np.bincount(self.labels.ravel(), np.nan_to_num(estimate).ravel(), len(self.flux) + 1)
        return np.asarray(total[1:] / self.flux)

    def peak_ratios(self, estimate: Image, truth: Image) -> Float:
        """Recovered over true brightness at the pixel of each true peak, ``[peak]``."""
        y, x = self.peaks.T
        return np.asarray(estimate[y, x] / truth[y, x], dtype=np.float64)


def draw_apertures(truth: Image, width: float, correlation: Image | None = None) -> Apertures:
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
