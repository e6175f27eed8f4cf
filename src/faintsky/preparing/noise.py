"""Noise: robust scatter, rms of a cube's channels, and noise maps of cubes and images."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, median_filter
from scipy.special import erf

from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.grid import FWHM_PER_SIGMA

MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a Gaussian over its median absolute deviation."""


def robust_sigma(values: Array, *, clip: float = 4.0) -> float:
    """Standard deviation of the Gaussian core of `values`, about their median.

    It starts from the median absolute deviation, then takes the standard deviation of the values within
    `clip` deviations and corrects for the clipped tails, which is three times more precise than the median
    absolute deviation itself. NaNs are ignored; 0 without values.
    """
    v = np.asarray(values, dtype=np.float64).ravel()
    v = v[np.isfinite(v)]
    if v.size < 2:
        return 0.0
    away = np.abs(v - np.median(v))
    sigma = MAD_TO_SIGMA * float(np.median(away))
    for _ in range(4):
        if sigma == 0:
            break
        core = away[away < clip * sigma]
        if core.size < 2:
            break
        sigma = float(np.sqrt(core @ core / core.size / _kept(clip)))
    return sigma


def _kept(clip: float) -> float:
    """Fraction of a Gaussian's variance that remains within `clip` deviations."""
    pdf = np.exp(-0.5 * clip**2) / np.sqrt(2 * np.pi)
    return float(1 - 2 * clip * pdf / erf(clip / np.sqrt(2)))


def channel_rms(cube: Array, valid: Bool | None = None) -> Float:
    """Robust rms of every channel of ``[chan, y, x]``; 0 where a channel is blank.

    Parameters
    ----------
    cube : array
        Continuum-free data, ``[chan, y, x]``; NaN is blank.
    valid : array of bool, optional
        Pixels ``[y, x]`` to use.
    """
    flat = cube.reshape(cube.shape[0], -1)
    used = np.arange(flat.shape[1]) if valid is None else np.flatnonzero(valid)
    used = used[:: max(1, used.size // 40_000)]
    return np.array([core_sigma(row.take(used)) for row in flat])


def core_sigma(values: Array, clip: float = 4.0) -> float:
    """`robust_sigma` of many values of any float type, ten times faster.

    The first clip uses the median absolute deviation of every eighth value: the result hardly depends on the
    start.
    """
    if not np.isfinite(values.sum()):
        values = values[np.isfinite(values)]
    if values.size < 4096:
        return robust_sigma(values, clip=clip)
    deviations = values - _middle(values)
    unit = MAD_TO_SIGMA * float(_middle(np.abs(deviations[::8])))
    if unit == 0:
        return robust_sigma(values, clip=clip)
    deviations /= unit
    squares = np.square(deviations, out=deviations)
    sigma = 1.0
    for _ in range(4):
        inside = squares < (clip * sigma) ** 2
        count = np.count_nonzero(inside)
        if count < 2:
            break
        before, sigma = sigma, float(np.sqrt((squares * inside).sum() / count / _kept(clip)))
        if abs(sigma - before) < 1e-5 * before:
            break
    return unit * sigma


def _middle(values: Array) -> np.floating:
    """Median; the upper one of an even number of values."""
    half = values.size // 2
    return np.asarray(np.partition(values, half))[half]


def peak_over_scatter(data: Array32, few: Array32) -> float:
    """Highest value over the median deviation of some pixels; minus infinity for (nearly) blank data."""
    few = few[np.isfinite(few) & (few != 0)]
    spread = float(np.median(np.abs(few - np.median(few)))) if few.size > 50 else 0.0
    return float(np.nanmax(data)) / spread if spread > 0 else -np.inf


def relative_noise_map(
    cube: Array, weight: Bool, sigma: Float, beam_pixels: float, *, tolerance: float = 0.15
) -> Float | None:
    """Noise of every pixel relative to that of its channel, if it varies over the image.

    The scatter along frequency of each pixel, winsorised at 2.5 standard deviations, is smoothed over three
    beams. A map is returned only if it varies by more than `tolerance` (root mean square): images with flat
    noise, such as dirty ones, are better without a map.

    Parameters
    ----------
    cube : array
        Continuum-free data, ``[chan, y, x]``.
    weight : array of bool
        Voxels to use: neither blank nor in a line; same shape.
    sigma : array
        Rms of every channel, ``[chan]``; 0 for a blank one.
    beam_pixels : float
        FWHM of the beam [pixel].

    Returns
    -------
    array or None
        ``[y, x]``; None where the noise is flat.
    """
    good = np.flatnonzero(sigma > 0)
    if good.size < 8:
        return None
    count = weight[good].sum(axis=0).astype(float)
    known = count > 0.25 * good.size
    if not known.any():
        return None
    smooth = 3 * beam_pixels / FWHM_PER_SIGMA
    area = gaussian_filter(known.astype(float), smooth)
    level = np.ones(known.shape)
    for _ in range(3):
        total = np.zeros(known.shape)
        for k in good:
            ratio = cube[k] / (sigma[k] * level)
            total += np.minimum(ratio * ratio, WINSOR**2) * weight[k]
        variance = np.where(known, total / np.maximum(count, 1.0) / _WINSORISED_VARIANCE, 0.0)
        factor = gaussian_filter(variance, smooth) / np.maximum(area, 1e-3)
        level = level * np.sqrt(np.maximum(factor, 1e-12))
        level /= np.median(level[known])
        if np.std(level[known]) <= tolerance:
            return None
    return np.where(known, level, np.nan)


def _winsorised_variance(limit: float) -> float:
    """Variance of a unit Gaussian whose values beyond `limit` are set to it."""
    pdf = np.exp(-0.5 * limit**2) / np.sqrt(2 * np.pi)
    inside = float(erf(limit / np.sqrt(2)))
    return inside - 2 * limit * pdf + limit**2 * (1 - inside)


WINSOR = 2.5
"""Standard deviations at which the scatter along frequency is winsorised."""
_WINSORISED_VARIANCE = _winsorised_variance(WINSOR)


BOX_BEAMS = 12.0
"""Side of a mesh box [beam]."""
LEAST_BOX = 24
"""Its least side [pixel]."""
MOST_BOXES = 128
"""Most boxes along an axis."""
CLIP = 3.0
CHANCE = 2.0
"""Mean square of the boxes' medians over their errors, below which there is no background."""


def noise_map(data: Array, valid: Bool, beam_pixels: float, *, emission: Bool | None = None) -> Array32:
    """Standard deviation of the noise at every pixel.

    The image minus itself smoothed with twice the beam is free of diffuse emission. Its robust scatter in
    half-overlapping boxes of twelve beams gives the noise's variation over the image. The noise that this
    subtraction removes is corrected by one factor for the whole image: the lower quartile over the boxes of
    the scatter before over the scatter after, within the limits for noise correlated like the beam. Where the
    boxes differ only by chance, the map is constant.

    Parameters
    ----------
    data : array
        ``[y, x]``, any value where not `valid`.
    valid : array of bool
        Pixels that hold data.
    beam_pixels : float
        FWHM of the noise's correlation [pixel]; 0 for white noise.
    emission : array of bool, optional
        Pixels to leave out of boxes in which most pixels remain.

    Returns
    -------
    array
        ``[y, x]``, in the unit of the data, NaN where not `valid`; 0 where the data are constant.
    """
    image = np.where(valid, data, 0).astype(np.float64)
    wide = max(2 * beam_pixels, 2.0 * FWHM_PER_SIGMA) / FWHM_PER_SIGMA
    area = np.maximum(gaussian_filter(valid.astype(float), wide), 1e-6)
    sharp = image - gaussian_filter(image, wide) / area
    used = valid if emission is None else valid & ~emission
    box = max(LEAST_BOX, round(BOX_BEAMS * beam_pixels))
    thin = max(1, int(beam_pixels / 2))
    plain, centres = _mesh(image, valid, used, box, thin)
    mesh, _ = _mesh(sharp, valid, used, box, thin)
    ratio = plain / np.where(mesh > 0, mesh, np.nan)
    known = np.isfinite(ratio) & (plain > 0)
    if not known.any():
        return np.where(valid, robust_sigma(image[valid], clip=CLIP), np.nan).astype(np.float32)
    largest = 1.2 * _over_sharp(beam_pixels, wide)
    mesh = mesh * float(np.clip(np.quantile(ratio[known], 0.25), 1.0, largest))
    return _smooth_map(mesh, centres, valid, box, beam_pixels)


def scatter_map(image: Array, valid: Bool, beam_pixels: float) -> Array32:
    """Robust scatter of an image without diffuse emission, at every pixel; maps as in `noise_map`.

    Parameters
    ----------
    image : array
        ``[y, x]``
    valid : array of bool
        Pixels that hold data.
    beam_pixels : float
        FWHM of the noise's correlation [pixel].

    Returns
    -------
    array
        ``[y, x]``
    """
    box = max(LEAST_BOX, round(BOX_BEAMS * beam_pixels))
    mesh, centres = _mesh(image.astype(np.float64), valid, valid, box, max(1, int(beam_pixels / 2)))
    return _smooth_map(mesh, centres, valid, box, beam_pixels)


def background_map(image: Array, used: Bool, beam_pixels: float, scale: float) -> Array32:
    """Slow background of an image: medians of boxes; 0 where noise alone explains them.

    Parameters
    ----------
    image : array
        ``[y, x]``.
    used : array of bool
        Pixels without sources.
    beam_pixels : float
        FWHM of the noise's correlation [pixel].
    scale : float
        Side of a box [beam], the smallest scale of the background.

    Returns
    -------
    array
        ``[y, x]``
    """
    size = max(beam_pixels, 1.0)
    box, thin = max(LEAST_BOX, round(scale * size)), max(1, int(size / 2))
    plain = np.where(used, image, 0.0).astype(np.float64)
    middle, centres = _mesh(plain, used, used, box, thin, _middles)
    scatter, _ = _mesh(plain, used, used, box, thin)
    inside = [min(box, n) for n in image.shape]
    # error of the median of correlated noise
    error = 1.25 * scatter / np.sqrt(max(inside[0] * inside[1] / max(1.133 * size**2, 1.0), 1.0))
    known = np.isfinite(middle) & (error > 0)
    if not known.any():
        return np.zeros(image.shape, np.float32)
    ratio = middle[known] / error[known]
    if (ratio**2).mean() < CHANCE:
        return np.zeros(image.shape, np.float32)
    return _interpolated(np.where(known, middle, np.nan), centres, image.shape).astype(np.float32)


def _smooth_map(
    mesh: Float, centres: list[Float], valid: Bool, box: int,
    beam_pixels: float,
) -> Array32:  # fmt: skip
    """From boxes to pixels; one constant where the boxes differ only by chance."""
    mesh[~(mesh > 0)] = np.nan
    independent = box**2 / max(1.133 * beam_pixels**2, 1.0)
    logs = np.log(mesh[np.isfinite(mesh)])
    if logs.size < 4 or robust_sigma(logs) < 1.6 / np.sqrt(2 * independent):
        level: Float = np.full(valid.shape, np.exp(np.median(logs)) if logs.size else 0.0)
    else:
        level = np.exp(_interpolated(np.log(mesh), centres, valid.shape))
    return np.where(valid, level, np.nan).astype(np.float32)


def _over_sharp(beam_pixels: float, wide: float) -> float:
    """Noise correlated like a Gaussian beam, over the same after subtracting its smoothed version."""
    s2, t2 = max(beam_pixels / FWHM_PER_SIGMA, 0.4) ** 2, wide**2
    return float(1 / np.sqrt(1 - 2 * s2 / (s2 + t2) + s2 / (s2 + 2 * t2)))


def _mesh(
    image: Float, valid: Bool, used: Bool, box: int, thin: int,
    statistic: Callable[..., Float] | None = None,
) -> tuple[Float, list[Float]]:  # fmt: skip
    """Robust scatter in half-overlapping boxes, NaN where they have too few pixels; their centres [pixel].

    Or another statistic of rows of values and of which of them to use.

    Every `thin`-th pixel along both axes is used: the noise of those between is nearly the same.
    """
    firsts = []
    for n in image.shape:
        count = int(np.clip(np.ceil(2 * (n - box) / box) + 1, 1, MOST_BOXES))
        firsts.append(np.unique(np.round(np.linspace(0, max(n - box, 0), count)).astype(int)))
    mesh = np.full((len(firsts[0]), len(firsts[1])), np.nan)
    inner = [min(box, n) for n in image.shape]
    windows = [sliding_window_view(a, inner)[:, :, ::thin, ::thin] for a in (image, valid, used)]
    for j, y in enumerate(firsts[0]):
        values, inside, chosen = (w[y, firsts[1]].reshape(len(firsts[1]), -1) for w in windows)
        count = inside.sum(axis=1)
        # where emission fills a box, its clipped scatter is better than none
        chosen = np.where((chosen.sum(axis=1) > 0.3 * count)[:, None], chosen, inside)
        mesh[j] = np.where(count >= 0.2 * inside.shape[1], (statistic or _scatters)(values, chosen), np.nan)
    centres = [f + (min(box, n) - 1) / 2 for f, n in zip(firsts, image.shape)]
    return mesh, centres


def _middles(values: Float, used: Bool) -> Float:
    """Median of each row's used values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows without used values
        return np.asarray(np.nanmedian(np.where(used, values, np.nan), axis=1))


def _scatters(values: Float, used: Bool) -> Float:
    """`robust_sigma` of each row's used values, clipped at `CLIP`; 0 where there are none."""
    n = used.sum(axis=1)
    ordered = np.sort(np.where(used, values, np.inf), axis=1)
    rows = np.arange(len(values))
    fine = n > 1
    low, middle, high = (
        np.where(fine, ordered[rows, np.clip((q * n).astype(int), 0, values.shape[1] - 1)], 0.0)
        for q in (0.25, 0.5, 0.75)
    )
    squares = np.where(used, (values - middle[:, None]) ** 2, np.inf)
    # half of the distance between the quartiles is the median absolute deviation
    variance = (MAD_TO_SIGMA * (high - low) / 2) ** 2
    for _ in range(4):
        inside = squares < CLIP**2 * variance[:, None]
        total = np.where(inside, squares, 0).sum(axis=1)
        variance = total / np.maximum(inside.sum(axis=1), 1) / _kept(CLIP)
    return np.sqrt(variance)


def _interpolated(mesh: Float, centres: list[Float], shape: tuple[int, ...]) -> Float:
    """The mesh at every pixel, linear between boxes; single outliers are smoothed away."""
    unknown = np.isnan(mesh)
    nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    smooth = median_filter(mesh[tuple(nearest)], size=3, mode="nearest")
    where = [np.interp(np.arange(n), c, np.arange(len(c))) for n, c in zip(shape, centres)]
    grid = np.meshgrid(*where, indexing="ij")
    return np.asarray(map_coordinates(smooth, grid, order=1, mode="nearest"))
