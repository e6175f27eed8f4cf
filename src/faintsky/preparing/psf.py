"""The psf that a cube was made with: given, or read off its noise, or the Gaussian of its header."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import label

from faintsky.grid import FWHM_PER_SIGMA, major_axis_direction


def gaussian_psf(shape: tuple[int, int], fwhm_maj: float, fwhm_min: float, pa: float) -> NDArray[np.float64]:
    """Gaussian beam of unit peak at ``(n_y // 2, n_x // 2)``; widths in pixels, `pa` in degrees."""
    y = np.arange(shape[0])[:, None] - shape[0] // 2
    x = np.arange(shape[1])[None, :] - shape[1] // 2
    dx, dy = major_axis_direction(pa)
    along = x * dx + y * dy
    across = -x * dy + y * dx
    s1, s2 = fwhm_maj / FWHM_PER_SIGMA, fwhm_min / FWHM_PER_SIGMA
    return np.exp(-0.5 * ((along / s1) ** 2 + (across / s2) ** 2))


def psf_from_noise(
    residual: NDArray[np.floating], sigma: NDArray[np.float64], valid: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Dirty beam of a naturally weighted cube from the correlation of its own noise.

    There the noise of neighbouring pixels correlates exactly like the psf, since both are transforms of
    the sampling of the uv plane. The power in each cell of the transform is exponentially distributed over
    the channels, so that its *median* over them times 1 / ln 2 estimates the noise power however bright
    the lines are that fill a minority of the channels. The transform is padded and the correlation divided
    by that of the valid pixels, so that the image's border leaves no trace.

    Parameters
    ----------
    residual : array
        Continuum-free data, ``[chan, y, x]``, blanks 0.
    sigma : array
        Rms of every channel; 0 for a blank one.
    valid : array of bool
        Pixels that hold data, ``[y, x]``.

    Returns
    -------
    array or None
        Psf ``[y, x]`` of unit peak at ``(n_y // 2, n_x // 2)``, 0 where too few pixel pairs have that
        separation; None with fewer than 16 usable channels.
    """
    good = np.flatnonzero(sigma > 0)
    if good.size < 16:
        return None
    n_y, n_x = residual.shape[1:]
    padded = (next_fast_len(2 * n_y, real=True), next_fast_len(2 * n_x, real=True))
    power = np.empty((good.size, padded[0], padded[1] // 2 + 1), dtype=np.float32)
    for i, c in enumerate(good):
        # clip what stands out: a bright line would otherwise leak through the image's edges everywhere
        plane = np.clip(residual[c] / np.float32(sigma[c]), -5, 5).astype(np.float32)
        power[i] = np.abs(rfft2(plane, s=padded)) ** 2
    mean = np.median(power, axis=0) / np.log(2)
    pairs = irfft2(np.abs(rfft2(valid.astype(np.float32), s=padded)) ** 2, s=padded)
    # white noise of the pixels themselves is no part of the psf: the highest frequencies tell its level
    fy, fx = np.fft.fftfreq(padded[0])[:, None], np.fft.rfftfreq(padded[1])[None, :]
    white = np.median(mean[np.hypot(fx, fy) > 0.5])
    acf = irfft2(mean - white, s=padded)
    known = pairs > 0.25 * pairs[0, 0]
    psf = np.where(known, acf / np.where(known, pairs, 1.0), 0.0)
    if psf[0, 0] <= 0:
        return None
    centred = np.roll(psf / psf[0, 0], (n_y // 2, n_x // 2), axis=(0, 1))[:n_y, :n_x]
    return np.asarray(centred, dtype=np.float64)


def fitted_beam(psf: NDArray[np.floating]) -> tuple[float, float, float]:
    """Gaussian fitted to the main lobe of a psf above 0.35 of its peak: FWHMs [pixel], position angle [deg].

    The level is where CASA's imager stops, too. The logarithm of the lobe is fitted by a quadratic form,
    weighted by the squared psf.
    """
    p = np.asarray(psf, dtype=float)
    cy, cx = divmod(int(np.nanargmax(p)), p.shape[1])
    half = 3
    while True:
        y0, y1 = max(cy - half, 0), min(cy + half + 1, p.shape[0])
        x0, x1 = max(cx - half, 0), min(cx + half + 1, p.shape[1])
        patch = p[y0:y1, x0:x1]
        edge = np.concatenate([patch[0], patch[-1], patch[:, 0], patch[:, -1]])
        if edge.max() < 0.35 or half > min(p.shape):
            break
        half = int(half * 1.5) + 1
    lobes, _ = label(patch > 0.35)
    main = lobes == lobes[cy - y0, cx - x0]
    yy, xx = np.nonzero(main)
    dy, dx, v = yy + y0 - cy, xx + x0 - cx, patch[main]
    if v.size < 6:
        # narrower than three pixels: a crude answer, from the area of the lobe
        width = 2 * np.sqrt(max(v.size, 1) / np.pi)
        return width, width, 0.0
    design = np.stack([dx * dx, 2 * dx * dy, dy * dy], 1) * v[:, None]
    a, b, c = np.linalg.lstsq(design, -np.log(v) * v, rcond=None)[0]
    val, vec = np.linalg.eigh(np.array([[a, b], [b, c]]))
    val = np.maximum(val, 1e-9)
    fwhm = FWHM_PER_SIGMA / np.sqrt(2 * val)
    major = vec[:, 0]
    pa = np.rad2deg(np.arctan2(-major[0], major[1])) % 180
    return float(fwhm[0]), float(fwhm[1]), float(pa)
