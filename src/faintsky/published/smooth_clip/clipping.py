"""Smooth and clip: voxels that stand out of a cube smoothed on many scales.

The S+C finder of SoFiA (Serra, Jurek & Floer 2012, PASA 29, 296; Serra et al. 2015, MNRAS 448, 1922;
Westmeier et al. 2021, MNRAS 506, 3962), written from these papers: the cube is smoothed with every pair of a
spatial Gaussian and a spectral boxcar, and what exceeds a threshold, up or down, in units of the smoothed
cube's own noise joins the mask. What is in the mask already enters the next smoothing on the sky as twice
the noise only, so that bright sources do not grow (in SoFiA every smoothing, along frequency too).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing import MAD_TO_SIGMA

Cube = NDArray[np.float32]
REPLACEMENT = 2.0
"""What masked voxels become before the next smoothing, in units of the noise."""
_SAMPLES = 400_000  # voxels that a median is taken over


def negative_rms(cube: Cube, valid: NDArray[np.bool_]) -> float:
    """Noise from the voxels below zero, by their median deviation: no emission is among them.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]`` or ``[y, x]``, of mean zero where there is no source.
    valid : array of bool
        Where it holds data, of the same shape.
    """
    step = max(1, cube.size // _SAMPLES) | 1  # odd: no stripes
    values = cube.reshape(-1)[::step][valid.reshape(-1)[::step]]
    below = values[values < 0]
    return MAD_TO_SIGMA * float(np.median(-below)) if below.size else 0.0


def smooth_sky(cube: Cube, fwhm: float) -> Cube:
    """Every channel smoothed with a Gaussian of some FWHM [pixel] and of unit sum; outside counts as 0."""
    if fwhm <= 0:
        return cube
    sigma = fwhm / FWHM_PER_SIGMA
    return np.asarray(gaussian_filter(cube, (0, sigma, sigma), mode="constant"), dtype=np.float32)


def running_sums(cube: Cube) -> Cube:
    """Sums of the first k channels, ``[chan + 1, y, x]``, for `smooth_line`."""
    sums = np.zeros((len(cube) + 1, *cube.shape[1:]), dtype=np.float32)
    np.cumsum(cube, axis=0, out=sums[1:])
    return sums


def smooth_line(sums: Cube, width: int) -> Cube:
    """Every spectrum averaged over an odd number of channels; outside counts as 0.

    Parameters
    ----------
    sums : array
        `running_sums` of the cube.
    width : int
        [channel]; 0 as 1.
    """
    half, n = int(width) // 2, len(sums) - 1
    k = np.arange(n)
    out = np.empty((n, *sums.shape[1:]), dtype=np.float32)
    for i, (low, high) in enumerate(zip(np.maximum(k - half, 0), np.minimum(k + half + 1, n))):
        np.subtract(sums[high], sums[low], out=out[i])
    out /= np.float32(2 * half + 1)
    return out


def smooth_clip(
    cube: Cube,
    valid: NDArray[np.bool_],
    *,
    spatial: Sequence[float] = (0, 3, 6),
    spectral: Sequence[int] = (0, 3, 7, 15),
    threshold: float = 4.0,
    replacement: float = REPLACEMENT,
) -> NDArray[np.int8]:
    """Voxels that stand out, up or down, at any scale.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``, 0 where blank.
    valid : array of bool
        Where it holds data, ``[chan, y, x]``; nothing is found elsewhere.
    spatial : sequence of float
        FWHM of the Gaussians [pixel]; 0 for none.
    spectral : sequence of int
        Widths of the boxcars [channel], odd; 0 for none.
    threshold : float
        In standard deviations of each smoothed cube.
    replacement : float
        See `REPLACEMENT`; negative leaves the data as they are.

    Returns
    -------
    array of int
        ``[chan, y, x]``: 1 where the cube stands out upwards at the first such scale, -1 downwards, else 0.
    """
    sign = np.zeros(cube.shape, dtype=np.int8)
    flat, good = sign.reshape(-1), valid.reshape(-1)
    level = np.float32(replacement * negative_rms(cube, valid))
    for fwhm in spatial:
        sums = running_sums(smooth_sky(_capped(cube, sign, level, replacement), fwhm))
        for width in spectral:
            scale = smooth_line(sums, width)
            rms = negative_rms(scale, valid)
            if not rms > 0:
                continue
            values = scale.reshape(-1)
            for direction in (1, -1):
                high = values > threshold * rms if direction > 0 else values < -threshold * rms
                out = np.flatnonzero(high)
                flat[out[good[out] & (flat[out] == 0)]] = direction
    return sign


def _capped(cube: Cube, sign: NDArray[np.int8], level: np.float32, replacement: float) -> Cube:
    if replacement < 0 or not sign.any():
        return cube
    return np.where(sign != 0, np.copysign(level, cube), cube)
