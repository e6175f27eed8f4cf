"""Imaging weights: natural, and Briggs' robust weighting as CASA's tclean and as WSClean apply it.

The formula is the same in both. They differ in the cells of the uv plane in which visibilities are counted:
CASA's are those of the image, each visibility in the nearest one; WSClean's are those of the padded image
(1.2 times as many pixels, a multiple of four), a visibility in the one that begins below it.
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT, ImageGrid


def parse_weighting(text: str) -> float | None:
    """Robustness of ``"briggs:R"``, None for ``"natural"``.

    Raises
    ------
    InputError
        For anything else, or a robustness outside -2 to 2.
    """
    word = text.strip().lower()
    if word == "natural":
        return None
    match = re.fullmatch(r"briggs:([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)", word)
    if not match:
        raise InputError(
            f"weighting {text!r} is not known", "give 'natural' or 'briggs:R' with R from -2 to 2"
        )
    robust = float(match[1])
    if not -2 <= robust <= 2:
        raise InputError(f"robustness {robust:g} is out of range", "give a number from -2 to 2")
    return robust


def uv_cells(uvw: NDArray[np.float64], freq: float, grid: ImageGrid) -> tuple[NDArray, NDArray]:
    """Nearest cells ``(iy, ix)`` of a uv grid of the image's shape, centred on ``(n_y // 2, n_x // 2)``.

    Parameters
    ----------
    uvw : array
        ``[row, 3]`` [m]
    freq : float
        [Hz]
    grid : ImageGrid
        Its cell and shape set the uv cells: ``1 / (n cell)``.
    """
    scale = freq / SPEED_OF_LIGHT * grid.cell_rad
    # x runs against l, so spatial frequency along x is -u
    ix = np.rint(-uvw[:, 0] * scale * grid.n_x).astype(np.int64) + grid.n_x // 2
    iy = np.rint(uvw[:, 1] * scale * grid.n_y).astype(np.int64) + grid.n_y // 2
    return iy, ix


def gridded(
    uvw: NDArray[np.float64], freq: float, grid: ImageGrid, weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights added to their nearest cells, each baseline with its mirror image, ``[n_y, n_x]``."""
    total = np.zeros(grid.n_y * grid.n_x)
    for sign in (1, -1):
        iy, ix = uv_cells(sign * uvw, freq, grid)
        inside = (iy >= 0) & (iy < grid.n_y) & (ix >= 0) & (ix < grid.n_x)
        cell = iy[inside] * grid.n_x + ix[inside]
        total += np.bincount(cell, weights=weight[inside], minlength=total.size)
    return total.reshape(grid.n_y, grid.n_x)


def padded_size(n: int) -> int:
    """Pixels a side of WSClean's padded image; it makes odd sides even first."""
    wide = math.ceil(1.2 * (n + n % 2))
    return wide + -wide % 4


def wsclean_cells(uvw: NDArray[np.float64], freq: float, grid: ImageGrid) -> tuple[NDArray, NDArray]:
    """WSClean's cells of the half plane v >= 0, as ``(iy, ix)``; arguments as for `uv_cells`."""
    scale = freq / SPEED_OF_LIGHT * grid.cell_rad
    n_y, n_x = padded_size(grid.n_y), padded_size(grid.n_x)
    sign = np.where(uvw[:, 1] < 0, -1.0, 1.0)
    ix = np.floor(uvw[:, 0] * sign * scale * n_x + n_x // 2).astype(np.int64)
    iy = np.floor(uvw[:, 1] * sign * scale * n_y).astype(np.int64)
    return iy, ix


def imaging_weights(
    uvw: NDArray[np.float64], freq: float, grid: ImageGrid, robust: float | None, rule: str = "casa"
) -> NDArray[np.float64]:
    """Weight of every row in the image of one channel.

    Parameters
    ----------
    uvw : array
        ``[row, 3]`` [m]
    freq : float
        Of the channel [Hz].
    grid : ImageGrid
        The image, which sets the uv cells in which visibilities are counted.
    robust : float or None
        Briggs' robustness, None for natural weighting.
    rule : str, optional
        Whose cells: ``"casa"`` or ``"wsclean"``.

    Returns
    -------
    array
        ``1 / (1 + W f**2)`` with W the summed weight in a row's cell and
        ``f**2 = (5 10**-robust)**2 / (sum W**2 / sum w)`` (Briggs 1995); rows outside the grid weigh 0.
    """
    weight = np.ones(uvw.shape[0])
    if robust is None:
        return weight
    if rule == "wsclean":
        iy, ix = wsclean_cells(uvw, freq, grid)
        n_y, n_x = padded_size(grid.n_y) // 2, padded_size(grid.n_x)
        inside = (iy < n_y) & (ix >= 0) & (ix < n_x)
        counts = np.bincount(iy[inside] * n_x + ix[inside], minlength=n_y * n_x)
        density = counts.reshape(n_y, n_x).astype(float)
    else:
        density = gridded(uvw, freq, grid, weight)
        iy, ix = uv_cells(uvw, freq, grid)
        inside = (iy >= 0) & (iy < grid.n_y) & (ix >= 0) & (ix < grid.n_x)
    squared = (5 * 10.0**-robust) ** 2 / ((density**2).sum() / density.sum())
    local = np.zeros_like(weight)
    local[inside] = density[iy[inside], ix[inside]]
    return np.where(inside, 1 / (1 + local * squared), 0.0)
