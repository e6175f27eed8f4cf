"""Visibilities of an image and images of visibilities, with the w term (ducc0's gridder).

Baselines are antenna 1 minus antenna 2, as `telescopes.tracks` gives them. With that sign, and images
``[y, x]`` whose x runs against right ascension, both directions agree with WSClean's ``-use-wgridder``, where
nothing is divided by n.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.grid import ImageGrid

ACCURACY = 2e-5
"""Relative error allowed to the gridder."""
_SIGNS = np.array([1.0, -1.0, 1.0])
_SMALLEST = 32


def _arguments(uvw: NDArray[np.float64], freq: float, grid: ImageGrid, w_term: bool) -> dict[str, Any]:
    n_y, n_x = _even(grid)
    return {
        "uvw": uvw * _SIGNS,
        "freq": np.array([freq]),
        "pixsize_x": grid.cell_rad,
        "pixsize_y": grid.cell_rad,
        "center_x": (n_x // 2 - grid.x0) * grid.cell_rad,
        "center_y": (n_y // 2 - grid.y0) * grid.cell_rad,
        "epsilon": ACCURACY,
        "do_wgridding": w_term,
        "divide_by_n": False,
        "nthreads": 1,
    }


def _even(grid: ImageGrid) -> tuple[int, int]:
    """The shape that the gridder takes: even and not too small."""
    n_y, n_x = (max(n + n % 2, _SMALLEST) for n in grid.shape)
    return n_y, n_x


def predict(
    model: NDArray[np.floating], uvw: NDArray[np.float64], freq: float, grid: ImageGrid
) -> NDArray[np.complex64]:
    """Visibilities of an image.

    Parameters
    ----------
    model : array
        ``[y, x]`` [Jy/pixel]
    uvw : array
        ``[row, 3]`` [m]
    freq : float
        [Hz]
    grid : ImageGrid
        Of the image.

    Returns
    -------
    array
        ``[row]`` [Jy]
    """
    from ducc0.wgridder import dirty2vis

    wide = np.zeros(_even(grid), dtype=np.float32)
    wide[: grid.n_y, : grid.n_x] = model
    return dirty2vis(dirty=np.ascontiguousarray(wide.T), **_arguments(uvw, freq, grid, True))[:, 0]


def dirty_image(
    vis: NDArray[np.complexfloating],
    weight: NDArray[np.float64],
    uvw: NDArray[np.float64],
    freq: float,
    grid: ImageGrid,
    *,
    w_term: bool = True,
) -> NDArray[np.float32]:
    """Dirty image ``sum w Re(V exp(-2 pi i (u l + v m + w (n - 1)))) / sum w`` of visibilities.

    Parameters
    ----------
    vis, weight : array
        ``[row]`` [Jy] and its imaging weights; visibilities of 1 give the psf.
    uvw, freq, grid
        As for `predict`.
    w_term : bool, optional
        False takes every w for 0.

    Returns
    -------
    array
        ``[y, x]`` [Jy/beam]
    """
    from ducc0.wgridder import vis2dirty

    n_y, n_x = _even(grid)
    image = vis2dirty(
        vis=np.asarray(vis, dtype=np.complex64)[:, None],
        wgt=weight.astype(np.float32)[:, None],
        npix_x=n_x,
        npix_y=n_y,
        **_arguments(uvw, freq, grid, w_term),
    )
    return np.ascontiguousarray(image.T[: grid.n_y, : grid.n_x] / np.float32(weight.sum()))


def noise_factor(weight: NDArray[np.float64]) -> float:
    """Noise of the dirty image for visibilities with a noise of 1 in their real and imaginary parts."""
    return float(np.sqrt((weight**2).sum()) / weight.sum())
