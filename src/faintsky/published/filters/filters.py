"""Simple filters.

All take the image over its rms ``[y, x]``, 0 where blank; a mask of the pixels that are not blank; and the
correlation of the noise, whether they need them or not. Their own settings are keywords.
"""

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter

from faintsky.arrays import Array, Array32, Bool

Known = Bool
Correlation = Array | None


def same(signal: Array32, known: Known, correlation: Correlation) -> Array32:
    """The input itself, the score of doing nothing; see the module for the arguments.

    See `faintsky.registry.FILTERS`.
    """
    return signal


def constant(signal: Array32, known: Known, correlation: Correlation) -> Array32:
    """The median everywhere, the score without any information; see the module for the arguments.

    See `faintsky.registry.FILTERS`.
    """
    return np.full_like(signal, np.median(signal[known]))


def threshold(signal: Array32, known: Known, correlation: Correlation, *, k: float) -> Array32:
    """Pixels above a threshold as they are, and 0 elsewhere.

    Parameters
    ----------
    signal, known, correlation
        See the module.
    k : float
        Threshold, over the noise.

    Returns
    -------
    array
        ``[y, x]``
    """
    return np.where(signal > k, signal, np.float32(0))


def smooth_gaussian(signal: Array32, known: Known, correlation: Correlation, *, sigma: float) -> Array32:
    """Mean of the known pixels around each, weighted by a Gaussian.

    Parameters
    ----------
    signal, known, correlation
        See the module.
    sigma : float
        Standard deviation of the Gaussian [pixel]; 3 in Gheller & Vazza (2021), Section 4.2.

    Returns
    -------
    array
        ``[y, x]``
    """
    if sigma <= 0:
        return signal
    weight = gaussian_filter(known.astype(np.float32), sigma)
    return np.asarray(gaussian_filter(signal, sigma) / np.maximum(weight, np.float32(1e-6)))


def cut_frequencies(signal: Array32, known: Known, correlation: Correlation, *, cut: float) -> Array32:
    """The image without its Fourier modes above a frequency, with mirrored edges.

    Parameters
    ----------
    signal, known, correlation
        See the module.
    cut : float
        Highest frequency that is kept, in every direction [cycles/pixel].

    Returns
    -------
    array
        ``[y, x]``

    Notes
    -----
    Gheller & Vazza (2021), Section 4.2, do not give their frequency.
    """
    margin = min(int(np.ceil(2 / max(cut, 1e-3))), *signal.shape)
    ends = [margin + next_fast_len(n + 2 * margin, real=True) - n - 2 * margin for n in signal.shape]
    wide = np.pad(signal, [(margin, end) for end in ends], mode="symmetric")
    modes = rfft2(wide)
    fy, fx = np.fft.fftfreq(wide.shape[0])[:, None], np.fft.rfftfreq(wide.shape[1])[None, :]
    modes[np.hypot(fy, fx) > cut] = 0
    inside = tuple(slice(margin, margin + n) for n in signal.shape)
    return np.asarray(irfft2(modes, s=wide.shape)[inside], dtype=np.float32)
