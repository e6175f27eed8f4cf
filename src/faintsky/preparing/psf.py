"""The psf of data: given, measured from the noise, or the Gaussian of the header."""

from bisect import bisect_left

import numpy as np
from scipy.fft import ifft, irfft, irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter, gaussian_filter1d, label
from scipy.optimize import isotonic_regression

from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.grid import FWHM_PER_SIGMA, major_axis_direction
from faintsky.preparing.noise import MAD_TO_SIGMA, robust_sigma
from faintsky.source_model import frequencies_2d

LEAST_CHANNELS = 16
"""Fewest channels with data for measuring the noise's correlation."""
MOST_CHANNELS = 128
"""Most channels used for it."""
QUIET = 2.5
"""Power, in standard deviations above the median, beyond which a channel is not quiet."""
LEAST_QUIET = 8
"""Number of channels that are used in any case."""
ROBUST = 0.05
"""Weights are robust if the beam fitted to the noise's correlation is smaller in area than the header's by
this fraction. Robust 1 makes it 0.09, robust 0.5 0.23, robust 0 0.28."""
RING = 0.025
"""Width of the rings of the transform in which weights are determined [1/beam]."""
SMOOTH = 0.1
"""Width of their smoothing [1/beam]."""
STEPS = 8
"""Densities of baselines that are tried while no cell is dense (x > 1)."""
DENSEST = 0.1
"""Least power relative to a quarter, which limits x."""
SPARSE = 0.8
"""Power relative to its peak within whose radius cells may be dense."""


def gaussian_psf(shape: tuple[int, int], fwhm_maj: float, fwhm_min: float, pa: float) -> Float:
    """Gaussian beam of unit peak at ``(n_y // 2, n_x // 2)``.

    Parameters
    ----------
    shape : tuple of int
        ``(n_y, n_x)``
    fwhm_maj, fwhm_min : float
        Widths [pixel].
    pa : float
        Position angle [deg].

    Returns
    -------
    array
        ``[y, x]``
    """
    y = np.arange(shape[0])[:, None] - shape[0] // 2
    x = np.arange(shape[1])[None, :] - shape[1] // 2
    dx, dy = major_axis_direction(pa)
    along = x * dx + y * dy
    across = -x * dy + y * dx
    s1, s2 = fwhm_maj / FWHM_PER_SIGMA, fwhm_min / FWHM_PER_SIGMA
    return np.exp(-0.5 * ((along / s1) ** 2 + (across / s2) ** 2))


def noise_correlation(residual: Array, sigma: Float, valid: Bool) -> tuple[Float, int] | None:
    """Correlation of the noise between pixels of a cube, from its quiet channels.

    A line adds power at the short baselines. Channels with more power there than the noise's scatter explains
    are left out, so that sources do not widen the correlation. The transform is padded and the correlation
    divided by that of the valid pixels, so that the image's border has no effect. White noise of the pixels
    is subtracted; the highest frequencies give its level.

    Parameters
    ----------
    residual : array
        Data without continuum, ``[chan, y, x]``, blanks 0.
    sigma : array
        Rms of every channel; 0 for a blank one.
    valid : array of bool
        Pixels that hold data, ``[y, x]``.

    Returns
    -------
    correlation : array
        ``[y, x]``, 1 at ``(n_y // 2, n_x // 2)``, 0 where too few pixel pairs have that separation.
    channels : int
        Number of channels used. None instead of both with fewer than `LEAST_CHANNELS` usable ones.
    """
    good = np.flatnonzero(sigma > 0)
    if good.size < LEAST_CHANNELS:
        return None
    # some hundred channels of a thousand beams leave errors of a few thousandths
    good = good[:: -(-good.size // MOST_CHANNELS)]
    n_y, n_x = residual.shape[1:]
    padded = tuple(next_fast_len(n + n // 2 + 1, real=True) for n in (n_y, n_x))
    power = np.empty((good.size, padded[0], padded[1] // 2 + 1), dtype=np.float32)
    for i, c in enumerate(good):
        # clip outliers: a bright line would otherwise leak everywhere through the image's edges
        plane = np.clip(residual[c] / np.float32(sigma[c]), -8, 8).astype(np.float32) * valid
        power[i] = np.square(np.abs(rfft2(plane, s=padded, workers=1)))
    quiet = _quiet(power)
    mean = power[quiet].mean(0)
    pairs = irfft2(np.square(np.abs(rfft2(valid.astype(np.float32), s=padded))), s=padded)
    fy, fx = np.fft.fftfreq(padded[0])[:, None], np.fft.rfftfreq(padded[1])[None, :]
    acf = irfft2(mean - np.median(mean[np.hypot(fx, fy) > 0.5]), s=padded)
    known = pairs > 0.24 * pairs[0, 0]
    correlation = np.where(known, acf / np.where(known, pairs, 1.0), 0.0)
    if correlation[0, 0] <= 0:
        return None
    centred = np.roll(correlation / correlation[0, 0], (n_y // 2, n_x // 2), axis=(0, 1))[:n_y, :n_x]
    return np.asarray(centred, dtype=np.float64), int(quiet.sum())


def _quiet(power: Array32) -> Bool:
    """Channels with noise only, ``[chan]``, by their power ``[chan, fy, fx]``.

    The power is weighted by the square of its mean, which is largest at the short baselines, like that of
    sources.
    """
    # exponentially distributed over the channels: a few with lines hardly change the median
    reference = np.median(power[:, ::2, ::2], axis=0)
    quiet = np.ones(len(power), dtype=bool)
    centre = None
    for _ in range(8):
        weight = np.square(reference)
        level = np.tensordot(power[:, ::2, ::2], weight, 2) / float((weight * reference).sum())
        inner = level[quiet]
        middle = float(np.percentile(inner, 25) if centre is None else np.median(inner))
        centre = middle
        scatter = MAD_TO_SIGMA * float(np.median(np.abs(inner - np.median(inner))))
        new = level < centre + QUIET * scatter
        if new.sum() < LEAST_QUIET:
            new = level <= np.sort(level)[LEAST_QUIET - 1]
        if np.array_equal(new, quiet):
            break
        quiet = new
        reference = power[quiet][:, ::2, ::2].mean(0)
    return quiet


def psf_from_correlation(
    correlation: Float, beam: tuple[float, float, float] | None, error: float = 0.0
) -> tuple[Float, bool]:
    """Dirty beam of a cube from the correlation of its noise, and whether its weights were natural.

    The psf is the transform of the weights W w of the uv cells, where W is the natural weight of a cell and w
    the imager's factor; the noise's correlation is that of W w**2. With natural weights, w = 1,
    both are the same. Robust weights (Briggs 1995, eq. 3.19) have ``w = 1 / (1 + x)`` with ``x`` proportional
    to W, so that the noise's power is ``x / (1 + x)**2`` up to a factor: it grows with the density of
    baselines, up to x = 1, and falls again at the short baselines where they are dense. Solved for x in
    rings, it gives the psf as that power times 1 + x. The radius out to which the second branch holds follows
    from the header's beam, which was fitted to the psf.

    Parameters
    ----------
    correlation : array
        From `noise_correlation`.
    beam : tuple of float or None
        Major and minor FWHM [pixel] and position angle [deg] of the header; without it natural
        weights are assumed.
    error : float, optional
        Standard error of the correlation.

    Returns
    -------
    psf : array
        ``[y, x]``, 1 at ``(n_y // 2, n_x // 2)``.
    natural : bool
        Whether the psf is the correlation itself.
    """
    if beam is None or _area(correlation) > (1 - max(ROBUST, 4 * error)) * beam[0] * beam[1]:
        return correlation, True
    n_y, n_x = correlation.shape
    power = np.fft.rfft2(np.fft.ifftshift(correlation)).real
    radius = _ring_radius(beam, n_y, n_x)
    ring = np.minimum((radius / RING).astype(int), int(2 / RING))
    cells = np.bincount(ring.ravel())
    level = gaussian_filter1d(np.bincount(ring.ravel(), power.ravel()), 1.0)
    level = level / np.maximum(gaussian_filter1d(cells.astype(float), 1.0), 1e-9)
    # the innermost rings hold a few cells, blurred by the image's own size
    first = int(np.ceil(2 * max(beam[0] / n_x, beam[0] / n_y) / RING))
    level[:first] = level[first]
    peak = int(level.argmax())
    middle = RING * (np.arange(level.size) + 0.5)

    def psf(step: int) -> Float:
        # first the density grows while no cell is dense; then more and more rings become dense
        y = np.clip(min(step / STEPS, 1.0) * level / (4 * level[peak]), 1e-6, 0.25)
        root = np.sqrt(1 - 4 * y)
        dense = np.arange(level.size) < step - STEPS
        x = np.where(dense, (1 - 2 * y + root) / (2 * np.maximum(y, DENSEST)), (1 - 2 * y - root) / (2 * y))
        # every array becomes gradually denser towards shorter baselines
        falling = isotonic_regression(x, weights=np.maximum(cells, 0.1), increasing=False).x
        x = gaussian_filter1d(falling, SMOOTH / RING)
        image = np.fft.fftshift(np.fft.irfft2(power * (1 + np.interp(radius, middle, x)), s=(n_y, n_x)))
        return image / image[n_y // 2, n_x // 2]

    steps = range(STEPS + int(np.flatnonzero(level > SPARSE * level[peak])[-1]) + 1)
    best = bisect_left(steps, beam[0] * beam[1], key=lambda step: _area(psf(step)))
    return psf(min(best, steps[-1])), False


def psf_from_noise(
    residual: Array, sigma: Float, valid: Bool, beam: tuple[float, float, float] | None
) -> tuple[Float, bool] | None:
    """`psf_from_correlation` of the `noise_correlation`.

    Parameters
    ----------
    residual, sigma, valid : array
        See `noise_correlation`.
    beam : tuple of float or None
        Of the header, see `psf_from_correlation`.

    Returns
    -------
    psf, natural : array, bool
        None instead where the correlation cannot be measured.
    """
    found = noise_correlation(residual, sigma, valid)
    if found is None:
        return None
    correlation, channels = found
    return psf_from_correlation(correlation, beam, psf_error(int(valid.sum()), _area(correlation), channels))


def psf_error(pixels: int, beam_area: float, channels: int) -> float:
    """Standard error of a measured noise correlation.

    Pairs of pixels half an image apart are half as many as all.

    Parameters
    ----------
    pixels : int
        Valid pixels of the image.
    beam_area : float
        As of `_area` [pixel].
    channels : int
        Number used.

    Returns
    -------
    float
    """
    return float(2 / np.sqrt(max(pixels / (1.133 * beam_area) * channels, 1.0)))


def _area(psf: Array) -> float:
    major, minor, _ = fitted_beam(psf)
    return major * minor


def _ring_radius(beam: tuple[float, float, float], n_y: int, n_x: int) -> Float:
    """Spatial frequency of every cell of a real transform in units of one over the beam's FWHM there."""
    fx, fy = frequencies_2d(n_y, n_x)
    dx, dy = major_axis_direction(beam[2])
    return np.hypot(beam[0] * (fx * dx + fy * dy), beam[1] * (-fx * dy + fy * dx))


def fitted_beam(psf: Array) -> tuple[float, float, float]:
    """Gaussian fitted to the main lobe of a psf above 0.35 of its peak: FWHMs [pixel], position angle [deg].

    CASA's imager uses the same level. The logarithm of the lobe is fitted by a quadratic form,
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
        # narrower than three pixels: a rough estimate from the area of the lobe
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


WHITE = 1.35
"""Squared ratio of the scatter of differences over two pixels to that over one, below which noise counts as
white: a correlation of 1.5 pixels FWHM."""
_SMOOTH = 16.0
_BOX = 32
"""Side of the boxes that are calm or not [pixel]."""
_LEAST_BOXES = 8
"""Calm boxes that are used in any case."""


def autocorrelation(image: Array, valid: Bool, reach: int) -> Float:
    """Autocorrelation of an image, 1 at no shift, ``[2 reach + 1, 2 reach + 1]``.

    Parameters
    ----------
    image : array
        ``[y, x]`` of zero mean; values beyond four robust standard deviations are clipped.
    valid : array of bool
        Pixels to use.
    reach : int
        Largest shift [pixel]; 0 is returned for shifts that few pairs of pixels have.

    Returns
    -------
    array
    """
    sigma = robust_sigma(image[valid])
    clipped = np.where(valid, np.clip(image, -4 * sigma, 4 * sigma), 0.0)
    # shifts beyond the image's own size must not wrap round to small ones
    padded = [next_fast_len(n + reach, real=True) for n in image.shape]
    rows, columns = (np.arange(-reach, reach + 1) % n for n in padded)

    def summed(values: Array) -> Float:
        power = np.abs(rfft2(values, s=padded)) ** 2
        return np.asarray(irfft(ifft(power, axis=0)[rows], padded[1], axis=1)[:, columns])

    total, pairs = summed(clipped), summed(valid.astype(float))
    known = pairs > 0.05 * pairs[reach, reach]
    mean = np.where(known, total / np.where(known, pairs, 1.0), 0.0)
    return np.asarray(mean / max(float(mean[reach, reach]), 1e-300))


def convolve(image: Array, kernel: Array) -> Float:
    """Convolution of an image with a kernel of odd sides, 0 beyond the border, ``[y, x]``.

    Same as `scipy.signal.fftconvolve` with ``mode="same"``, whose import takes as long as searching a small
    image.
    """
    half = [n // 2 for n in kernel.shape]
    padded = [next_fast_len(max(n, h + 1) + h, real=True) for n, h in zip(image.shape, half)]
    out = irfft2(rfft2(image, s=padded) * rfft2(kernel, s=padded), s=padded)
    return np.asarray(out[tuple(slice(h, h + n) for h, n in zip(half, image.shape))])


def radial_mean(image: Array) -> Float:
    """Mean over circles around the middle pixel of a square image, one value for each pixel of radius."""
    half = image.shape[0] // 2
    y, x = np.indices(image.shape) - half
    ring = np.rint(np.hypot(y, x)).astype(int).ravel()
    count = np.bincount(ring)
    return np.asarray((np.bincount(ring, weights=image.ravel()) / np.maximum(count, 1))[: half + 1])


def beam_from_noise(data: Array, valid: Bool) -> tuple[float, float, float] | None:
    """FWHMs [pixel] and position angle [deg] of the noise's correlation; None where the noise is white.

    The noise of dirty images is correlated like their psf, to whose main lobe the clean beam is fitted.
    Whether it is white follows from the differences of close neighbours, which smooth emission hardly
    changes, in the calmer half of the image. For the correlation, emission larger than some 40 pixels and
    outliers are left out.
    """
    calm = _calm(data, valid)
    if _steps(data, calm, 2) ** 2 < WHITE * _steps(data, calm, 1) ** 2:
        return None
    image = np.where(calm, data, 0.0).astype(np.float64)
    area = np.maximum(gaussian_filter(calm.astype(float), _SMOOTH), 1e-6)
    sharp = np.where(calm, image - gaussian_filter(image, _SMOOTH) / area, 0.0)
    reach = int(min(32, *(n // 2 for n in image.shape)))
    quiet = calm & (np.abs(sharp) < 3 * robust_sigma(sharp[calm]))
    return fitted_beam(autocorrelation(sharp, quiet, reach))


def _calm(data: Array, valid: Bool) -> Bool:
    """The half of the image, in boxes, where close neighbours differ least, without bright emission."""
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


def _steps(data: Array, used: Bool, shift: int) -> float:
    """Scatter of the differences between pixels at a distance of `shift`, along both axes."""
    both = [used[shift:] & used[:-shift], used[:, shift:] & used[:, :-shift]]
    steps = [data[shift:] - data[:-shift], data[:, shift:] - data[:, :-shift]]
    return robust_sigma(np.concatenate([s[b] for s, b in zip(steps, both)]))
