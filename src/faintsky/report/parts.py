"""Parts that reports share: figures without a display, maps with coordinates, values with errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.grid import FWHM_PER_SIGMA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size [inch]."""
    # no pyplot: figures made this way need no display and are freed when they go out of use
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def world_labels(ax: Axes) -> None:
    """Right ascension and declination, or Galactic coordinates, along the axes of a map."""
    galactic = ax.wcs.wcs.lngtyp.strip() == "GLON"  # type: ignore[attr-defined]
    names = ("Galactic longitude", "Galactic latitude") if galactic else ("right ascension", "declination")
    for coordinate, name in zip(ax.coords, names):  # type: ignore[attr-defined]
        coordinate.set_axislabel(name)
        coordinate.set_ticklabel(exclude_overlapping=True, size=8)


def ellipse(centre: tuple[float, float], cov: NDArray[np.float64], **style: str) -> Ellipse:
    """The half-maximum ellipse of a Gaussian with covariance ``cov`` in (x, y)."""
    from matplotlib.patches import Ellipse

    val, vec = np.linalg.eigh(cov)
    angle = float(np.degrees(np.arctan2(vec[1, 1], vec[0, 1])))
    fwhm = FWHM_PER_SIGMA * np.sqrt(val)
    face, edge = style.get("facecolor", "none"), style["edgecolor"]
    return Ellipse(centre, fwhm[1], fwhm[0], angle=angle, facecolor=face, edgecolor=edge, linewidth=1.2)


def with_error(value: float, error: float) -> str:
    """A value and its error with two digits of the error: ``1580 ± 9.5``."""
    if not np.isfinite(value):
        return "-"
    if not np.isfinite(error) or error <= 0:
        return f"{value:.3g}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
