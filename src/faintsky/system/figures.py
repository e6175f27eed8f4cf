"""Figures without a display: their look, their colours, and how they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MAPS = {"brightness": "inferno", "snr": "magma", "amount": "viridis", "signed": "RdBu_r", "paper": "gray_r"}
"""Colour maps by what is shown: emission, signal-to-noise ratio, what has no sign, what has one, print."""
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "errorbar.capsize": 2,
    "figure.constrained_layout.use": True,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of every diagram: quiet axes, readable at the width of a page, no global state."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        yield


def panels(
    rows: int = 1, columns: int = 1, width: float = 5.2, height: float = 3.8
) -> tuple[Figure, list[Axes]]:
    """An empty figure and its panels in reading order; sizes of one panel [inch].

    No pyplot: figures made this way need no display and are freed when they go out of use.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows))
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def panels_of(n: int, width: float, height: float, most: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of ``n`` panels, ``most`` beside each other, the last row filled up with empty ones."""
    columns = min(most, n)
    figure, axes = panels(-(-n // columns), columns, width, height)
    for ax in axes[n:]:
        ax.set_visible(False)
    return figure, axes[:n]


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = 150) -> Path:
    """Write a PNG in one step and give its path."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    with replacing(final) as name:
        figure.savefig(name, format="png", dpi=dpi)
    return final
