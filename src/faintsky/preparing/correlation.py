"""How the noise of an image is correlated: its autocorrelation, and a beam read off it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter

from faintsky.preparing.noise import robust_sigma
from faintsky.preparing.psf import fitted_beam

WHITE = 1.35
"""Scatter of differences over two pixels against one, squared, below which noise counts as white: correlation
of 1.5 pixels FWHM."""
_SMOOTH = 16.0
_BOX, _LEAST_BOXES = 32, 8


def autocorrelation(image: NDArray[np.floating], valid: NDArray[np.bool_], reach: int) -> NDArray[np.float64]:
    """Autocorrelation of an image, 1 at no shift, ``[2 reach + 1, 2 reach + 1]``.

    Parameters
    ----------
    image : array
        ``[y, x]`` of zero mean; values beyond four robust standard deviations are clipped.
    valid : array of bool
        Pixels to use.
    reach : int
        Largest shift [pixel]; 0 is returned for shifts that few pairs of pixels have.
    """
    sigma = robust_sigma(image[valid])
    clipped = np.where(valid, np.clip(image, -4 * sigma, 4 * sigma), 0.0)
    padded = [next_fast_len(n + reach, real=True) for n in image.shape]
    total = irfft2(np.abs(rfft2(clipped, s=padded)) ** 2, s=padded)
    pairs = irfft2(np.abs(rfft2(valid.astype(float), s=padded)) ** 2, s=padded)
    # shifts beyond the image's own size must not wrap round to small ones
    known = pairs > 0.05 * pairs[0, 0]
    mean = np.where(known, total / np.where(known, pairs, 1.0), 0.0)
    shift = np.arange(-reach, reach + 1)
    out = mean[np.ix_(shift % padded[0], shift % padded[1])]
    return out / max(float(mean[0, 0]), 1e-300)


def radial_mean(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean over circles about the middle pixel of a square image, one value a pixel of radius."""
    half = image.shape[0] // 2
    y, x = np.indices(image.shape) - half
    ring = np.rint(np.hypot(y, x)).astype(int).ravel()
    count = np.bincount(ring)
    return np.asarray((np.bincount(ring, weights=image.ravel()) / np.maximum(count, 1))[: half + 1])


def beam_from_noise(
    data: NDArray[np.floating], valid: NDArray[np.bool_]
) -> tuple[float, float, float] | None:
    """FWHMs [pixel] and position angle [deg] of the noise's correlation; None where the noise is white.

    Dirty images' noise is correlated like their psf, whose main lobe the clean beam is fitted to. Whether it
    is white is told by the differences of close neighbours, which smooth emission does not touch, in
    the calmer half of the image. For the correlation, emission larger than some 40 pixels and what stands out
    of the rest is left out.
    """
    calm = _calm(data, valid)
    if _is_white(data, calm):
        return None
    image = np.where(calm, data, 0.0).astype(np.float64)
    area = np.maximum(gaussian_filter(calm.astype(float), _SMOOTH), 1e-6)
    sharp = np.where(calm, image - gaussian_filter(image, _SMOOTH) / area, 0.0)
    reach = int(min(32, *(n // 2 for n in image.shape)))
    quiet = calm & (np.abs(sharp) < 3 * robust_sigma(sharp[calm]))
    return fitted_beam(autocorrelation(sharp, quiet, reach))


def _calm(data: NDArray[np.floating], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The half of the image, in boxes, where close neighbours differ least: bright emission is elsewhere."""
    boxes: dict[tuple[int, int], float] = {}
    for y in range(0, data.shape[0], _BOX):
        for x in range(0, data.shape[1], _BOX):
            place = slice(y, y + _BOX), slice(x, x + _BOX)
            if valid[place].sum() > _BOX**2 / 2:
                boxes[y, x] = _steps(data[place], valid[place], 1)
    boxes = {k: v for k, v in boxes.items() if v > 0}
    calm = np.zeros(data.shape, dtype=bool)
    for y, x in sorted(boxes, key=boxes.__getitem__)[: max(len(boxes) // 2, _LEAST_BOXES)]:
        calm[y : y + _BOX, x : x + _BOX] = True
    return valid & calm if calm.any() else valid


def _is_white(data: NDArray[np.floating], used: NDArray[np.bool_]) -> bool:
    return _steps(data, used, 2) ** 2 < WHITE * _steps(data, used, 1) ** 2


def _steps(data: NDArray[np.floating], used: NDArray[np.bool_], shift: int) -> float:
    """Scatter of the differences between pixels so far apart, along both axes."""
    both = [used[shift:] & used[:-shift], used[:, shift:] & used[:, :-shift]]
    steps = [data[shift:] - data[:-shift], data[:, shift:] - data[:, :-shift]]
    return robust_sigma(np.concatenate([s[b] for s, b in zip(steps, both)]))
