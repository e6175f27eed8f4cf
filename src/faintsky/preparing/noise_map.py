"""Noise of an image: a robust map on a mesh, not raised by bright sources or diffuse emission."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, median_filter

from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing.noise import core_sigma, robust_sigma

BOX_BEAMS, LEAST_BOX, MOST_BOXES = 12.0, 24, 128
"""Side of a mesh box in beams, and at least in pixels; boxes along an axis at most."""
CLIP = 3.0


def noise_map(
    data: NDArray[np.floating],
    valid: NDArray[np.bool_],
    beam_pixels: float,
    *,
    emission: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Standard deviation of the noise at every pixel.

    The image less itself smoothed with twice the beam is free of diffuse emission. Its robust scatter in
    boxes of twelve beams, half overlapping, gives the noise's variation over the image. What the smoothing
    took from the noise is given back as one factor for the whole image: the lower quartile over the boxes of
    the scatter before over the scatter after, within what noise correlated like the beam can have. Where the
    boxes differ by no more than chance, the map is constant.

    Parameters
    ----------
    data : array
        ``[y, x]``, any value where not `valid`.
    valid : array of bool
        Pixels that hold data.
    beam_pixels : float
        FWHM of the noise's correlation [pixel]; 0 for white noise.
    emission : array of bool, optional
        Pixels to leave out, where most of a box is left.

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
    plain, centres = _mesh(image, valid, used, box)
    mesh, _ = _mesh(sharp, valid, used, box)
    ratio = plain / np.where(mesh > 0, mesh, np.nan)
    known = np.isfinite(ratio) & (plain > 0)
    if not known.any():
        return np.where(valid, robust_sigma(image[valid], clip=CLIP), np.nan).astype(np.float32)
    largest = 1.2 * _kept(beam_pixels, wide)
    mesh = mesh * float(np.clip(np.quantile(ratio[known], 0.25), 1.0, largest))
    mesh[~(mesh > 0)] = np.nan
    independent = box**2 / max(1.133 * beam_pixels**2, 1.0)
    logs = np.log(mesh[np.isfinite(mesh)])
    if logs.size < 4 or robust_sigma(logs) < 1.6 / np.sqrt(2 * independent):
        level: NDArray[np.float64] = np.full(image.shape, np.exp(np.median(logs)))
    else:
        level = _interpolated(mesh, centres, image.shape)
    return np.where(valid, level, np.nan).astype(np.float32)


def _kept(beam_pixels: float, wide: float) -> float:
    """Noise correlated like a Gaussian beam over what is left of it after taking its smoothed self away."""
    s2, t2 = max(beam_pixels / FWHM_PER_SIGMA, 0.4) ** 2, wide**2
    return float(1 / np.sqrt(1 - 2 * s2 / (s2 + t2) + s2 / (s2 + 2 * t2)))


def _mesh(
    image: NDArray[np.float64], valid: NDArray[np.bool_], used: NDArray[np.bool_], box: int
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Robust scatter in half-overlapping boxes, NaN where they hold too little; their centres [pixel]."""
    firsts = []
    for n in image.shape:
        count = int(np.clip(np.ceil(2 * (n - box) / box) + 1, 1, MOST_BOXES))
        firsts.append(np.unique(np.round(np.linspace(0, max(n - box, 0), count)).astype(int)))
    mesh = np.full((len(firsts[0]), len(firsts[1])), np.nan)
    for j, y in enumerate(firsts[0]):
        for i, x in enumerate(firsts[1]):
            place = slice(y, y + box), slice(x, x + box)
            inside, chosen = valid[place], used[place]
            if inside.sum() < 0.2 * inside.size:
                continue
            # where emission fills a box, its clipped scatter is better than nothing
            chosen = chosen if chosen.sum() > 0.3 * inside.sum() else inside
            mesh[j, i] = core_sigma(image[place][chosen], clip=CLIP)
    centres = [f + (min(box, n) - 1) / 2 for f, n in zip(firsts, image.shape)]
    return mesh, centres


def _interpolated(
    mesh: NDArray[np.float64], centres: list[NDArray[np.float64]], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """The mesh at every pixel, linear in the logarithm; single odd boxes are smoothed away."""
    unknown = np.isnan(mesh)
    nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    logs = median_filter(np.log(mesh[tuple(nearest)]), size=3, mode="nearest")
    where = [np.interp(np.arange(n), c, np.arange(len(c))) for n, c in zip(shape, centres)]
    grid = np.meshgrid(*where, indexing="ij")
    return np.exp(np.asarray(map_coordinates(logs, grid, order=1, mode="nearest")))
