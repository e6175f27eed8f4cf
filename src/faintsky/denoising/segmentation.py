"""Regions of emission: pixels that stand out of noise and uncertainty, joined to regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from faintsky.denoising.settings import RegionSettings


def segment(
    mean: NDArray[np.floating],
    sigma: NDArray[np.floating],
    allowed: NDArray[np.bool_],
    settings: RegionSettings,
    beam_area: float,
) -> NDArray[np.int32]:
    """Label regions of emission by a threshold with hysteresis.

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
        1 … n for pixels above the lower thresholds that touch one above the upper ones, at a side or a
        corner, in regions of the least area or more; 0 elsewhere.
    """
    seeds, grown = (
        allowed & (mean > k_sigma * sigma) & (mean > k_rms)
        for k_sigma, k_rms in (settings.seed, settings.grow)
    )
    labels, n = label(grown | seeds, structure=np.ones((3, 3)))
    keep = np.bincount(labels[seeds], minlength=n + 1) > 0
    keep &= np.bincount(labels.ravel(), minlength=n + 1) >= settings.least_area * beam_area
    keep[0] = False
    return relabelled(labels, np.flatnonzero(keep))


def relabelled(labels: NDArray[np.integer], order: NDArray[np.integer]) -> NDArray[np.int32]:
    """Labels 1 … n for the regions whose old numbers are listed, in that order; 0 for the others."""
    numbers = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    return np.asarray(numbers[labels])
