"""How the noise of an image is correlated, and what that makes of weighted sums of its pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array32 = NDArray[np.float32]
Float = NDArray[np.float64]


def noise_correlation(noise: NDArray[np.floating], size: int = 257) -> Float:
    """Correlation of stationary noise at every separation, from realisations of it.

    Parameters
    ----------
    noise : array
        Noise without sky, ``[n, y, x]``.
    size : int, optional
        Side of the result [pixel], odd; less where the images are smaller.

    Returns
    -------
    array, ``[size, size]``
        1 at its middle ``[size // 2, size // 2]``; each separation divided by the number of pixel pairs.
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    shape = noise.shape[1:]
    padded = tuple(next_fast_len(2 * n, real=True) for n in shape)
    power = np.mean([np.abs(rfft2(plane.astype(np.float64), s=padded)) ** 2 for plane in noise], axis=0)
    pairs = irfft2(np.abs(rfft2(np.ones(shape), s=padded)) ** 2, s=padded)
    half = min(size, *(n - 1 + n % 2 for n in shape)) // 2
    middle = np.arange(-half, half + 1)
    both = np.ix_(middle % padded[0], middle % padded[1])
    correlation = irfft2(power, s=padded)[both] / pairs[both]
    return np.asarray(correlation / correlation[half, half])


def power_spectrum(correlation: NDArray[np.floating] | None, shape: tuple[int, int]) -> Float:
    """Noise power of every mode of ``numpy.fft.fft2`` for unit variance, mean 1, ``[y, x]``.

    Parameters
    ----------
    correlation : array or None
        Of the noise, 1 at its middle, odd sides; None is white.
    shape : tuple of int
        Of the grid; the correlation is cut to it where it is larger.
    """
    if correlation is None:
        return np.ones(shape)
    c = np.asarray(correlation, dtype=np.float64)
    half = [min(n // 2, (s - 1) // 2) for n, s in zip(c.shape, shape)]
    cut = c[tuple(slice(n // 2 - h, n // 2 + h + 1) for n, h in zip(c.shape, half))]
    wide = np.zeros(shape)
    wide[: cut.shape[0], : cut.shape[1]] = cut
    power = np.fft.fft2(np.roll(wide, [-h for h in half], axis=(0, 1))).real
    power = np.maximum(power, 0.0)
    return np.asarray(power / power.mean())


def sum_sigma(weights: NDArray[np.floating], correlation: NDArray[np.floating] | None) -> float:
    """Standard deviation of ``sum(weights * noise)`` for noise of unit variance.

    Parameters
    ----------
    weights : array
        ``[y, x]``; ones within an aperture make it the noise of the aperture's sum.
    correlation : array or None
        Of the noise, 1 at its middle; None is white.
    """
    w = np.asarray(weights, dtype=np.float64)
    if correlation is None:
        return float(np.sqrt(np.sum(w * w)))
    padded = (2 * w.shape[0], 2 * w.shape[1])
    pairs = np.fft.fftshift(np.fft.ifft2(np.abs(np.fft.fft2(w, s=padded)) ** 2).real)
    # separations in the middle of both; there are none beyond the weights' own size
    half = [min(c // 2, n - 1) for c, n in zip(correlation.shape, w.shape)]
    cuts = [
        tuple(slice(n // 2 - h, n // 2 + h + 1) for n, h in zip(shape, half))
        for shape in (padded, correlation.shape)
    ]
    return float(np.sqrt(max(np.sum(pairs[cuts[0]] * np.asarray(correlation)[cuts[1]]), 0.0)))
