"""Signal to noise of a source in an image, and its growth to a plateau (eqs. 17, 18; fidelity page, S11)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from faintsky.cutouts import SIZE, Box, channel_range

Array = NDArray[np.float32]

MAD_TO_SIGMA = 1.4826
_LEAST_RING = 8


@dataclass(frozen=True)
class Patch:
    """Part of an image, NaN where blank.

    Parameters
    ----------
    values : array
        ``[y, x]``
    y0, x0 : int
        Pixel of the image that its first pixel is.
    """

    values: Array
    y0: int
    x0: int


def focused_patch(
    cube: Array, y: float, x: float, z_min: float, z_max: float, radius: float = SIZE / 2
) -> Patch:
    """Sum of a channel range about a place; like `faintsky.cutouts.focus`, but with blanks kept apart.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``
    y, x : float
        Middle of the patch [pixel].
    z_min, z_max : float
        Range [channel].
    radius : float, optional
        Half of the patch's side [pixel].
    """
    part = cube[channel_range(z_min, z_max, len(cube))]
    half = int(np.ceil(radius)) + 1
    y0, x0 = max(round(y) - half, 0), max(round(x) - half, 0)
    part = part[:, y0 : max(round(y) + half + 1, 0), x0 : max(round(x) + half + 1, 0)]
    blank = np.isnan(part)
    total = np.where(blank, np.float32(0), part).sum(axis=0)
    total[blank.all(axis=0)] = np.nan
    return Patch(total, y0, x0)


def reach(box: Box) -> float:
    """Radius of the circle around a box [pixel]."""
    x0, x1, y0, y1 = box
    return 0.5 * float(np.hypot(x1 - x0 + 1, y1 - y0 + 1))


def global_snr(patch: Patch, box: Box, beam_area: float = 1.0) -> float:
    """Flux in the circle around a box over its error from the annulus of equal area about it.

    Parameters
    ----------
    patch : Patch
        Wide enough to hold the annulus, whose outer radius is sqrt(2) times the circle's.
    box : tuple of int
        ``x_min, x_max, y_min, y_max`` in the image.
    beam_area : float, optional
        Pixels that the beam makes one measurement.

    Returns
    -------
    float
        0 where too little is left of circle or annulus, as at the edge of the image.
    """
    x0, x1, y0, y1 = box
    radius = reach(box)
    dy = np.arange(patch.values.shape[0])[:, None] + patch.y0 - 0.5 * (y0 + y1)
    dx = np.arange(patch.values.shape[1])[None, :] + patch.x0 - 0.5 * (x0 + x1)
    r2 = dy * dy + dx * dx
    known = np.isfinite(patch.values)
    inside, ring = known & (r2 <= radius**2), known & (r2 > radius**2) & (r2 <= 2 * radius**2)
    n = int(inside.sum())
    if n == 0 or ring.sum() < _LEAST_RING:
        return 0.0
    around = patch.values[ring]
    level = float(np.median(around))
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(around - level)))
    if sigma == 0:
        return 0.0
    error = sigma * np.sqrt(n * min(max(beam_area, 1.0), n))
    return float((patch.values[inside] - level).sum() / error)


def pixel_snr(patch: Patch) -> Array:
    """Each pixel over the standard deviation of the whole image (eq. 18), ``[y, x]``; 0 where blank."""
    spread = float(np.nanstd(patch.values)) if np.isfinite(patch.values).any() else 0.0
    if spread == 0:
        return np.zeros_like(patch.values)
    return np.nan_to_num(patch.values / np.float32(spread))


def brightest_pixel(patch: Patch, box: Box) -> tuple[int, int]:
    """``(y, x)`` in the image of the pixel of highest S/N within a box."""
    x0, x1, y0, y1 = box
    ys = slice(max(y0 - patch.y0, 0), max(y1 + 1 - patch.y0, 1))
    xs = slice(max(x0 - patch.x0, 0), max(x1 + 1 - patch.x0, 1))
    part = pixel_snr(patch)[ys, xs]
    j, i = np.unravel_index(int(part.argmax()), part.shape)
    return int(j) + ys.start + patch.y0, int(i) + xs.start + patch.x0


def grow(
    patch: Patch, y: int, x: int, beam_area: float = 1.0, *, friend: float = 1.0, plateau: float = 0.8
) -> tuple[Box, float, float]:
    """Link pixels about the brightest one, friends of friends, until the global S/N has had its plateau.

    Parameters
    ----------
    patch : Patch
        Focused on the source.
    y, x : int
        Pixel of the image to begin with.
    beam_area : float, optional
        See `global_snr`.
    friend : float, optional
        A neighbour joins above this pixel S/N.
    plateau : float, optional
        Growth ends where the global S/N falls below this share of its best.

    Returns
    -------
    box : tuple of int
        Of all pixels linked.
    x, y : float
        Their centre, weighted by brightness.
    """
    candidates = pixel_snr(patch) > friend
    linked = np.zeros(candidates.shape, dtype=bool)
    linked[y - patch.y0, x - patch.x0] = True
    best = 0.0
    while True:
        further = linked | (binary_dilation(linked, np.ones((3, 3), dtype=bool)) & candidates)
        if (further == linked).all():
            break
        snr = global_snr(patch, _box_of(further, patch), beam_area)
        if snr < plateau * best:
            break
        linked, best = further, max(best, snr)
    ys, xs = np.nonzero(linked)
    weight = np.clip(np.nan_to_num(patch.values[ys, xs]), 0, None) + np.finfo(float).tiny
    centre_x, centre_y = np.average(xs, weights=weight), np.average(ys, weights=weight)
    return _box_of(linked, patch), float(centre_x) + patch.x0, float(centre_y) + patch.y0


def _box_of(linked: NDArray[np.bool_], patch: Patch) -> Box:
    ys, xs = np.nonzero(linked)
    return (
        int(xs.min()) + patch.x0,
        int(xs.max()) + patch.x0,
        int(ys.min()) + patch.y0,
        int(ys.max()) + patch.y0,
    )
