"""Regions of emission: pixels that stand out of noise and uncertainty, joined to regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from faintsky.denoising.settings import RegionSettings
from faintsky.grid import FWHM_PER_SIGMA


def segment(
    mean: NDArray[np.floating],
    sigma: NDArray[np.floating],
    allowed: NDArray[np.bool_],
    settings: RegionSettings,
    beam_area: float,
) -> NDArray[np.int32]:
    """Label regions of emission by thresholds with hysteresis, on the image and on it smoothed.

    Parameters
    ----------
    mean, sigma : array
        Denoised image and its calibrated standard deviation, ``[y, x]``, in units of the local rms.
    allowed : array of bool
        Where to look.
    settings : RegionSettings
        Thresholds.
    beam_area : float
        [pixel]; 1 for white noise.

    Returns
    -------
    array
        1 … n for pixels above the lower thresholds, of either image, that touch one above the upper ones, at
        a side or a corner, in regions of the least area or more; 0 elsewhere.
    """
    seeds, grown = (
        allowed & (mean > k_sigma * sigma) & (mean > k_rms)
        for k_sigma, k_rms in (settings.seed, settings.grow)
    )
    if settings.smooth:
        smooth = smoothed(mean, allowed, settings, beam_area)
        seeds, grown = (
            now | (allowed & (smooth > level)) for now, level in zip((seeds, grown), settings.faint)
        )
    labels, n = label(grown | seeds, structure=np.ones((3, 3)))
    keep = np.bincount(labels[seeds], minlength=n + 1) > 0
    # of a beam hardly larger than a pixel, one pixel is all that a point may show
    area = beam_area if beam_area > 2 else 1.0
    keep &= np.bincount(labels.ravel(), minlength=n + 1) >= settings.least_area * area
    keep[0] = False
    return relabelled(labels, np.flatnonzero(keep))


def smoothed(
    mean: NDArray[np.floating], allowed: NDArray[np.bool_], settings: RegionSettings, beam_area: float
) -> NDArray[np.float32]:
    """The denoised image over rms, cut off at the cap and smoothed: what faint regions are found in."""
    capped = np.where(allowed, np.minimum(mean, settings.cap), 0).astype(np.float32)
    width = settings.smooth * np.sqrt(beam_area) / FWHM_PER_SIGMA
    return np.asarray(gaussian_filter(capped, width))


def relabelled(labels: NDArray[np.integer], order: NDArray[np.integer]) -> NDArray[np.int32]:
    """Labels 1 … n for the regions whose old numbers are listed, in that order; 0 for the others."""
    numbers = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    return np.asarray(numbers[labels])
