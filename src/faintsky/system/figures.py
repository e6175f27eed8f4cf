"""Figures without a display: style, colours and writing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from faintsky.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MAPS = {"brightness": "inferno", "snr": "magma", "amount": "viridis", "signed": "RdBu_r", "paper": "gray_r"}
"""Colour maps for emission, signal-to-noise ratio, unsigned values, signed values, and print."""


@contextmanager
def style() -> Iterator[None]:
    """Style of every diagram, readable at the width of a page; global settings are unchanged afterwards."""
    import matplotlib as mpl

    with mpl.rc_context(fname=Path(__file__).with_suffix(".mplstyle")):
        yield


def panels(
    rows: int = 1, columns: int = 1, width: float = 5.2, height: float = 3.8
) -> tuple[Figure, list[Axes]]:
    """An empty figure and its panels in reading order.

    It needs no display (no pyplot) and is freed when it goes out of use.

    Parameters
    ----------
    rows, columns : int, optional
        Numbers of panels.
    width, height : float, optional
        Size of one panel [inch].

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : list of matplotlib.axes.Axes
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows))
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def panels_of(n: int, width: float, height: float, most: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of a number of panels; the rest of its last row is left empty.

    Parameters
    ----------
    n : int
        Panels.
    width, height : float
        Size of one panel [inch].
    most : int, optional
        Most panels in a row.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : list of matplotlib.axes.Axes
    """
    columns = min(most, n)
    figure, axes = panels(-(-n // columns), columns, width, height)
    for ax in axes[n:]:
        ax.set_visible(False)
    return figure, axes[:n]


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = 150) -> Path:
    """Write a figure as a PNG file, in one step.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    path : path-like
        The file; its folder is made where missing.
    dpi : int, optional
        Resolution [dots per inch].

    Returns
    -------
    pathlib.Path
        The file.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    with replacing(final) as name:
        figure.savefig(name, format="png", dpi=dpi)
    return final
