"""Low-pass filter: Fourier modes above a cut set to zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array32 = NDArray[np.float32]


def cut_frequencies(
    signal: Array32, known: NDArray[np.bool_], correlation: NDArray[np.floating] | None, *, cut: float
) -> Array32:
    """The image without its modes above ``cut``, mirrored at its edges so that they do not meet.

    Parameters
    ----------
    signal : array
        Image over its rms, 0 where blank, ``[y, x]``.
    known : array of bool
        Pixels that are not blank, ``[y, x]``; not used.
    correlation : array or None
        Of the noise; not used.
    cut : float
        Highest frequency that is kept [cycles per pixel], in every direction.

    Notes
    -----
    Gheller & Vazza (2021), section 4.2, which does not say at which frequency it cut.
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    margin = min(int(np.ceil(2 / max(cut, 1e-3))), *signal.shape)
    ends = [margin + next_fast_len(n + 2 * margin, real=True) - n - 2 * margin for n in signal.shape]
    wide = np.pad(signal, [(margin, end) for end in ends], mode="symmetric")
    modes = rfft2(wide)
    fy, fx = np.fft.fftfreq(wide.shape[0])[:, None], np.fft.rfftfreq(wide.shape[1])[None, :]
    modes[np.hypot(fy, fx) > cut] = 0
    inside = tuple(slice(margin, margin + n) for n in signal.shape)
    return np.asarray(irfft2(modes, s=wide.shape)[inside], dtype=np.float32)
