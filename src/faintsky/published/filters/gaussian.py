"""Smoothing with a round Gaussian, blank pixels left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array32 = NDArray[np.float32]


def smooth_gaussian(
    signal: Array32, known: NDArray[np.bool_], correlation: NDArray[np.floating] | None, *, sigma: float
) -> Array32:
    """Mean of the known pixels around each, weighted by a Gaussian.

    Parameters
    ----------
    signal : array
        Image over its rms, 0 where blank, ``[y, x]``.
    known : array of bool
        Pixels that are not blank, ``[y, x]``.
    correlation : array or None
        Of the noise; not used.
    sigma : float
        Standard deviation of the Gaussian [pixel]; 3 in Gheller & Vazza (2021), section 4.2.
    """
    from scipy.ndimage import gaussian_filter

    if sigma <= 0:
        return signal
    weight = gaussian_filter(known.astype(np.float32), sigma)
    return np.asarray(gaussian_filter(signal, sigma) / np.maximum(weight, np.float32(1e-6)))
