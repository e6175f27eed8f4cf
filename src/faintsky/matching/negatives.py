"""Reliability of detections from the negative ones, which noise causes as often as positive ones.

Serra, Jurek & Floer (2012, PASA 29, 296): in the space of (log peak, log sum, log mean) the densities of
positive and negative detections are smoothed with a Gaussian kernel, and ``R = (P - N) / P``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
LEAST_WIDTH = 0.05
"""Least standard deviation of the kernel along any direction [dex]."""
FEW = 4
"""Below this number of negative detections the kernel takes the scatter of all detections."""


def reliability_of(positive: Float, negative: Float, scale: float = 0.4) -> Float:
    """Probability that each positive detection is real, ``[n]``, 0 to 1.

    Parameters
    ----------
    positive, negative : array
        Parameters of the detections, ``[n, parameter]``, logarithms of base 10.
    scale : float
        Width of the kernel in units of the scatter of the negative detections.

    Returns
    -------
    array
        All 1 if there are no negative detections.
    """
    if not len(positive) or not len(negative):
        return np.ones(len(positive))
    sample = negative if len(negative) >= FEW else np.concatenate([positive, negative])
    dimensions = positive.shape[1]
    covariance = scale**2 * np.cov(sample, rowvar=False) if len(sample) > 1 else np.zeros((dimensions,) * 2)
    # log mean is nearly a sum of the other two, and a few detections may lie on a line
    values, vectors = np.linalg.eigh(covariance)
    white = vectors / np.sqrt(np.maximum(values, LEAST_WIDTH**2))
    ours, theirs = positive @ white, negative @ white
    p, n = _density(ours, ours), _density(ours, theirs)
    return np.clip((p - n) / p, 0.0, 1.0)


def _density(at: Float, points: Float) -> Float:
    squared = ((at[:, None, :] - points[None, :, :]) ** 2).sum(axis=-1)
    density: Float = np.exp(-0.5 * squared).sum(axis=1)
    return density
