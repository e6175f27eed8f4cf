"""A Gaussian source in the uv plane, and its likelihood in an interferometer's image.

Where a dirty image has natural weighting its noise is correlated like the psf: the covariance of the pixels
is ``sigma**2 * psf(separation)``. The log likelihood of a model ``m`` [Jy/pixel] given the dirty image ``D``
[Jy/beam] is then, up to a constant, ``(2 m.D - m.(psf * m)) / (2 sigma**2)``: no deconvolution, no inverse
covariance, and only the pixels that the source itself covers. Everything here rests on that form.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.arrays import Float
from faintsky.grid import FWHM_PER_SIGMA, major_axis_direction


def frequencies_2d(n_y: int, n_x: int) -> tuple[Float, Float]:
    """``fx`` of shape ``[1, n_x // 2 + 1]`` and ``fy`` ``[n_y, 1]`` of a real 2-D FFT [cycles/pixel]."""
    fx, fy = np.fft.rfftfreq(n_x), np.fft.fftfreq(n_y)
    return np.asarray(fx, dtype=np.float64)[None, :], np.asarray(fy, dtype=np.float64)[:, None]


def gaussian_transform(
    fx: Float, fy: Float, x: float, y: float, fwhm_maj: float, fwhm_min: float, pa: float
) -> NDArray[np.complex128]:
    """Fourier transform of a Gaussian of unit total flux.

    Parameters
    ----------
    fx, fy : array
        Spatial frequencies along x and y [cycles/pixel], broadcast together.
    x, y : float
        Centre [pixel].
    fwhm_maj, fwhm_min : float
        Full widths at half maximum [pixel]; 0 is a point.
    pa : float
        Position angle of the major axis [deg east of north].

    Returns
    -------
    array, complex
        ``exp(-2 pi**2 sigma**2 f**2) exp(-2 pi i (fx x + fy y))``.
    """
    dx, dy = major_axis_direction(pa)
    along = fx * dx + fy * dy
    across = -fx * dy + fy * dx
    width = (fwhm_maj / FWHM_PER_SIGMA * along) ** 2 + (fwhm_min / FWHM_PER_SIGMA * across) ** 2
    return np.exp(-2 * np.pi**2 * width - 2j * np.pi * (fx * x + fy * y))


def psf_transform(psf: ArrayLike) -> Float:
    """Real transfer function of a psf image, ``[n_y, n_x // 2 + 1]``.

    The psf ``[y, x]`` has its peak at ``(n_y // 2, n_x // 2)``; it is symmetric under a half turn, so its
    transform is real. Cropping makes it ripple below zero in places; sums over it that only need the psf
    at separations within the image, like `matched_norm`, are exact all the same.
    """
    image = np.asarray(psf, dtype=float)
    shifted = np.roll(image, (-(image.shape[0] // 2), -(image.shape[1] // 2)), axis=(0, 1))
    return np.fft.rfft2(shifted).real


def rfft_weights(n_x: int) -> Float:
    """Multiplicity of each column of a real 2-D FFT in a sum over the whole plane, ``[1, n_x // 2 + 1]``."""
    w = np.full(n_x // 2 + 1, 2.0)
    w[0] = 1.0
    if n_x % 2 == 0:
        w[-1] = 1.0
    return w[None, :]


def matched_norm(transfer: Float, n_x: int, fwhm_maj: float, fwhm_min: float, pa: float) -> float:
    """``m . (psf * m)`` of a Gaussian of unit total flux: 1 for a point, less for what is resolved.

    Parameters
    ----------
    transfer : array
        `psf_transform` of the psf, ``[n_y, n_x // 2 + 1]``.
    n_x : int
        Width of the psf image [pixel].
    fwhm_maj, fwhm_min, pa : float
        Intrinsic shape [pixel, pixel, deg].

    Returns
    -------
    float
        At most 1.
    """
    fx, fy = frequencies_2d(transfer.shape[0], n_x)
    g = gaussian_transform(fx, fy, 0.0, 0.0, fwhm_maj, fwhm_min, pa).real
    return float((transfer * g * g * rfft_weights(n_x)).sum() / (transfer.shape[0] * n_x))


def line_profile(z: ArrayLike, centre: ArrayLike, fwhm: float) -> Float:
    """Gaussian line of unit peak (eq. 2 of Delli Veneri et al. 2022).

    Parameters
    ----------
    z : array
        Channels.
    centre : float or array
        Centre of the line [channel].
    fwhm : float
        Width of the line [channel].

    Returns
    -------
    array
        The profile at `z`.
    """
    return np.exp(-0.5 * ((np.asarray(z, dtype=float) - np.asarray(centre)) * FWHM_PER_SIGMA / fwhm) ** 2)


def matched_snr(
    line_flux: ArrayLike, sigma: ArrayLike, transfer: Float, n_x: int, fwhm_maj: float, fwhm_min: float,
    pa: float,
) -> float:  # fmt: skip
    """Signal-to-noise ratio of a source of known shape and spectrum: the best that a linear filter reaches.

    Parameters
    ----------
    line_flux : array
        Flux density of the line in each channel, as received (primary beam included), ``[chan]`` [Jy].
    sigma : float or array
        Noise of the dirty image, of each channel or of all [Jy/beam].
    transfer, n_x, fwhm_maj, fwhm_min, pa
        As in `matched_norm`.

    Returns
    -------
    float
    """
    norm = matched_norm(transfer, n_x, fwhm_maj, fwhm_min, pa)
    ratio = np.asarray(line_flux, dtype=float) / np.asarray(sigma, dtype=float)
    return float(np.sqrt(norm * np.sum(ratio**2)))
