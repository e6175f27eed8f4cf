"""What is there and what a method made of it: Figs. 17-19 of Delli Veneri et al. (2022), and DSSIM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.evaluation.figures import new_figure, style
from faintsky.grid import ImageGrid
from faintsky.matching import box_extents, column
from faintsky.sky import gaussian_image

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from faintsky.evaluation.truth import Setting

Float = NDArray[np.float64]

SSIM_WINDOW = 11
"""Side of the window [pixel]; see B6 of the fidelity page."""
TRUE, FOUND = "#56B4E9", "#E69F00"
"""Colours of true and found boxes."""


def true_image(truth: Table, setting: Setting) -> NDArray[np.float32]:
    """The true sky summed over the channels, ``[y, x]`` [Jy/pixel], drawn from the catalogue's Gaussians."""
    n_chan, n_y, n_x = setting.shape
    grid = ImageGrid(n_y, n_x, setting.cell)
    with np.errstate(invalid="ignore", divide="ignore"):
        line = column(truth, "flux") * column(truth, "fwhm_z") / column(truth, "fwhm_velocity")
    known = "continuum_flux" in truth.colnames
    continuum = column(truth, "continuum_flux") if known else np.zeros(len(truth))
    if "source" in truth.colnames:  # a continuum is given with every line of its object, and is there once
        first = np.unique(column(truth, "source"), return_index=True)[1]
        continuum = np.where(np.isin(np.arange(len(truth)), first), continuum, 0.0)
    flux = np.nan_to_num(line) + n_chan * np.nan_to_num(continuum)
    shape = [column(truth, name) for name in ("x", "y", "dc_maj", "dc_min", "dc_pa")]
    image = np.zeros((n_y, n_x), dtype=np.float32)
    for f, x, y, major, minor, pa in zip(flux, *shape):
        image += np.float32(f) * gaussian_image(grid, x, y, major / setting.cell, minor / setting.cell, pa)
    return image


def _unit(image: NDArray[np.floating]) -> Float:
    low, high = float(image.min()), float(image.max())
    return np.asarray((image - low) / (high - low) if high > low else np.zeros(image.shape), dtype=float)


def dssim(true: ArrayLike, predicted: ArrayLike, window: int = SSIM_WINDOW) -> float:
    """Structural dissimilarity ``(1 - SSIM) / 2`` of two images, each scaled to 0-1: 0 is equal, 1 opposite.

    Parameters
    ----------
    true, predicted : array
        ``[y, x]``; compared within the rectangle in which ``predicted`` is anything but 0 or NaN.
    window : int, optional
        Side of the window [pixel], odd.

    Returns
    -------
    float
        NaN where that rectangle is smaller than the window.

    Notes
    -----
    Wang et al. (2004), IEEE Trans. Image Process. 13, 600. What Delli Veneri et al. (2022) call a mean SSIM
    of 0.003 can only be this: equal images have an SSIM of 1.
    """
    from skimage.metrics import structural_similarity

    a, b = np.asarray(true, dtype=float), np.asarray(predicted, dtype=float)
    known = np.isfinite(b) & (b != 0)
    rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    if min(len(rows), len(columns)) < window:
        return float("nan")
    cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    one, other = _unit(a[cut]), _unit(np.nan_to_num(b[cut]))
    return float((1 - structural_similarity(one, other, data_range=1.0, win_size=window)) / 2)


@dataclass(frozen=True)
class Example:
    """One cube for the figure of examples.

    Parameters
    ----------
    title : str
        Of its column.
    dirty, sky : array
        Integrated dirty and true images, ``[y, x]``.
    truth : Table
        With boxes.
    found : mapping of str to Table
        Each method's detections, with boxes.
    images : mapping of str to array
        Each method's own image of the sky, where it makes one.
    """

    title: str
    dirty: NDArray[np.floating]
    sky: NDArray[np.floating]
    truth: Table
    found: Mapping[str, Table]
    images: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)


def _boxes(ax: Axes, table: Table, colour: str, dashed: bool = False) -> None:
    from matplotlib.patches import Rectangle

    if not len(table) or "x_min" not in table.colnames:
        return
    for x0, x1, y0, y1 in zip(*box_extents(table)[:4]):
        if np.isfinite([x0, x1, y0, y1]).all():
            line = "--" if dashed else "-"
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=1.0, ls=line))


def examples_figure(examples: Sequence[Example], crop: int = 200) -> Figure:
    """Figs. 17-19: integrated dirty cube, true sky and each method's image, with true and found boxes.

    Parameters
    ----------
    examples : sequence of Example
        One a column, all with the same methods.
    crop : int, optional
        Side of the middle part that is shown [pixel].

    Returns
    -------
    Figure
        A row for the dirty images, one for the skies and one for each method. A method that makes no image
        has its boxes over the dirty one.
    """
    from matplotlib.lines import Line2D

    methods = list(examples[0].found)
    with style():
        figure, axes = new_figure(2 + len(methods), len(examples), 2.3, 2.3)
        grid = np.array(axes, dtype=object).reshape(2 + len(methods), len(examples))
        for k, e in enumerate(examples):
            rows = [("dirty, integrated", e.dirty, None), ("true sky", e.sky, None)]
            rows += [(m, e.images.get(m, e.dirty), e.found[m]) for m in methods]
            for ax, (name, image, found) in zip(grid[:, k], rows):
                finite = image[np.isfinite(image)] if np.isfinite(image).any() else np.zeros(1)
                low, high = np.percentile(finite, [1, 99.9]) if name != "true sky" else (0, finite.max())
                ax.imshow(image, origin="lower", cmap="gray_r", vmin=low, vmax=max(high, low + 1e-12),
                          interpolation="nearest")  # fmt: skip
                _boxes(ax, e.truth, TRUE)
                if found is not None:
                    _boxes(ax, found, FOUND, dashed=True)
                n_y, n_x = image.shape
                half = min(crop, n_y, n_x) / 2
                ax.set(xlim=(n_x / 2 - half, n_x / 2 + half), ylim=(n_y / 2 - half, n_y / 2 + half))
                ax.set(xticks=[], yticks=[])
                ax.grid(False)
                if k == 0:
                    ax.set_ylabel(name)
            grid[0, k].set_title(e.title, fontsize=9)
        marks = [Line2D([], [], color=TRUE, label="true box"),
                 Line2D([], [], color=FOUND, ls="--", label="found box")]  # fmt: skip
        figure.legend(handles=marks, loc="outside lower center", ncols=2)
    return figure


__all__ = ["Example", "dssim", "examples_figure", "true_image"]
