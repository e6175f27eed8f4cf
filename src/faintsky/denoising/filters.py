"""Starlet filter: isotropic undecimated wavelets, kept where they exceed the noise of their scale.

Starck, Fadili & Murtagh (2007), IEEE Trans. Image Process. 16, 297; Starck & Murtagh (2006), Astronomical
Image and Data Analysis, chapters 2 and 3. The noise of each scale follows from the correlation of the noise.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.errors import InputError
from faintsky.registry import FILTERS

B3 = (1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16)
"""The cubic spline's filter."""


def _smoothed(image: Array32, step: int) -> Array32:
    """Convolution with the spline's filter, its taps ``step`` pixels apart, mirrored at the edges."""
    for axis in (0, 1):
        n = image.shape[axis]
        pad = [(0, 0), (0, 0)]
        pad[axis] = (2 * step, 2 * step)
        wide = np.moveaxis(np.pad(image, pad, mode="symmetric"), axis, 0)
        total = np.float32(B3[2]) * wide[2 * step : 2 * step + n]
        for tap in (0, 1):
            mirrored = wide[tap * step : tap * step + n] + wide[(4 - tap) * step : (4 - tap) * step + n]
            total += np.float32(B3[tap]) * mirrored
        image = np.moveaxis(total, 0, axis)
    return np.ascontiguousarray(image)


def starlet_transform(image: Array32, scales: int) -> Array32:
    """Detail at 1, 2, 4 … pixels and the smooth remainder: ``[scales + 1, y, x]``, whose sum is the image."""
    planes = np.empty((scales + 1, *image.shape), dtype=image.dtype)
    smooth = image
    for j in range(scales):
        smoother = _smoothed(smooth, 2**j)
        np.subtract(smooth, smoother, out=planes[j])
        smooth = smoother
    planes[-1] = smooth
    return planes


def power_spectrum(correlation: Array | None, shape: tuple[int, int]) -> Float:
    """Noise power of every mode of ``numpy.fft.fft2`` for unit variance, mean 1, ``[y, x]``.

    Parameters
    ----------
    correlation : array or None
        Of the noise, 1 at its middle, odd sides; None for white noise.
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


def scale_sigmas(
    scales: int, correlation: Array | None = None, size: int = 512, *, sidelobes: bool = False
) -> Float:
    """Noise of the coefficients of each scale for an image of unit rms.

    Parameters
    ----------
    scales : int
        Number of scales.
    correlation : array or None
        Of the noise, 1 at its middle; None for white noise.
    size : int, optional
        Of the grid on which the power spectrum is summed [pixel].
    sidelobes : bool, optional
        Whether the noise is sidelobes, whose power is the square of that of noise correlated like the psf.

    Returns
    -------
    array
        ``[scales + 1]``; the last is that of the smooth remainder.
    """
    power = power_spectrum(correlation, (size, size))
    if sidelobes:
        power = power**2 / np.mean(power**2)
    f = np.fft.fftfreq(size)
    response, out = np.ones((size, size)), []
    for j in range(scales):
        t = 2 * np.pi * f * 2**j
        taps = B3[2] + 2 * B3[1] * np.cos(t) + 2 * B3[0] * np.cos(2 * t)
        smoother = response * taps[:, None] * taps[None, :]
        out.append(np.sqrt(np.mean(power * (response - smoother) ** 2)))
        response = smoother
    return np.array([*out, np.sqrt(np.mean(power * response**2))])


def threshold_starlets(
    signal: Array32,
    known: Bool,
    correlation: Array | None,
    *,
    k: float | Sequence[float] = 3.0,
    scales: int = 5,
    soft: bool = False,
    iterations: int = 1,
    positive: bool = False,
    remainder: float = 0.0,
) -> Array32:
    """Image of the significant wavelet coefficients plus the smooth remainder.

    Parameters
    ----------
    signal : array
        Image over its rms, 0 where blank, ``[y, x]``.
    known : array of bool
        Pixels that are not blank, ``[y, x]``.
    correlation : array or None
        Of the noise; None for white noise.
    k : float or sequence of float, optional
        Threshold of each scale, in its noise; the last is repeated.
    scales : int, optional
        Number of scales of detail.
    soft : bool, optional
        Shrink the kept coefficients by the threshold (then ``iterations`` must be 1).
    iterations : int, optional
        Above 1: add the residual's values of the significant coefficients (the multiresolution support)
        again.
    positive : bool, optional
        Set negative emission to 0 after each iteration.
    remainder : float, optional
        Least absolute value of the smooth remainder where it is kept.

    Returns
    -------
    array
        ``[y, x]``
    """
    levels = np.atleast_1d(np.asarray(k, dtype=float))
    levels = np.append(levels, np.full(max(0, scales - len(levels)), levels[-1]))[:scales]
    cuts = (levels * scale_sigmas(scales, correlation)[:-1]).astype(np.float32)[:, None, None]
    planes = starlet_transform(signal, scales)
    if remainder > 0:
        planes[-1] *= np.abs(planes[-1]) > remainder
    detail = planes[:-1]
    support = np.abs(detail) > cuts
    if soft:
        estimate = np.where(support, detail - np.sign(detail) * cuts, 0).sum(axis=0) + planes[-1]
    else:
        estimate = (detail * support).sum(axis=0) + planes[-1]
    if positive:
        estimate = np.maximum(estimate, 0)
    for _ in range(iterations - 1):
        rest = starlet_transform(np.where(known, signal - estimate, 0).astype(np.float32), scales)
        estimate = estimate + (rest[:-1] * support).sum(axis=0) + rest[-1]
        if positive:
            estimate = np.maximum(estimate, 0)
    return np.asarray(estimate, dtype=np.float32)


def apply_filter(
    which: str | Callable[..., Array32],
    image: Array,
    rms: float | Array,
    *,
    correlation: Array | None = None,
    **settings: Any,
) -> Array32:
    """Denoise an image with a filter.

    Parameters
    ----------
    which : str or callable
        A filter, or its name: one of `faintsky.registry.FILTERS`.
    image : array
        ``[y, x]``, in any unit; NaN is blank and stays NaN.
    rms : float or array
        Noise, in the same unit; ``[y, x]`` where it varies. Pixels without noise are left as they are.
    correlation : array, optional
        Of the noise between pixels, 1 at its middle, odd sides; white where not given.
    **settings
        Further arguments of the filter.

    Returns
    -------
    array of float32
        ``[y, x]``, in the unit of the image.

    Raises
    ------
    InputError
        For an unknown name, or an image that does not have two axes.
    """
    denoise = FILTERS[which] if isinstance(which, str) else which
    data = np.asarray(image, dtype=np.float32)
    if data.ndim != 2:
        raise InputError(f"an image has 2 axes, not {data.ndim}", "give an array [y, x]")
    level = np.broadcast_to(np.asarray(rms, dtype=np.float32), data.shape)
    known = np.isfinite(data) & (level > 0)
    if not known.any():
        return data.copy()
    scale = np.where(known, level, np.float32(1))
    signal = np.where(known, data, np.float32(0)) / scale
    return np.where(known, denoise(signal, known, correlation, **settings) * scale, data).astype(np.float32)
