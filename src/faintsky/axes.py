"""The axes of a file: how they map onto ``[chan, y, x]``, and what lies along the spectral one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.grid import SPEED_OF_LIGHT, ImageGrid


@dataclass(frozen=True)
class Layout:
    """How the axes of a file map onto ``[chan, y, x]``.

    Parameters
    ----------
    shape : tuple of int
        Shape in the file, in numpy's order (FITS reversed).
    axes : tuple of str
        ``"chan"``, ``"y"``, ``"x"`` once each at most, and ``""`` for axes of length 1.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]

    def to_standard(self, data: NDArray[Any]) -> NDArray[Any]:
        """``[chan, y, x]`` (``[1, y, x]`` without a spectral axis) of an array as the file has it."""
        order = [self.axes.index(name) for name in ("chan", "y", "x") if name in self.axes]
        kept = np.squeeze(data, axis=tuple(i for i, name in enumerate(self.axes) if not name))
        rank = {axis: i for i, axis in enumerate(sorted(order))}
        cube = np.transpose(kept, [rank[axis] for axis in order])
        return cube if cube.ndim == 3 else cube[None]

    def to_native(self, data: NDArray[Any]) -> NDArray[Any]:
        """An array ``[y, x]`` or ``[chan, y, x]`` with the file's axes, in the file's order."""
        cube = data if data.ndim == 3 else data[None]
        names = [name for name in self.axes if name]
        if "chan" not in names:
            cube = cube[0]
        present: list[str] = [name for name in ("chan", "y", "x") if name in names]
        native = np.transpose(cube, [present.index(name) for name in names])
        return np.expand_dims(native, tuple(i for i, name in enumerate(self.axes) if not name))


@dataclass(frozen=True)
class Spectral:
    """The spectral axis of an image or cube.

    Parameters
    ----------
    frequencies : array
        Channel centres, ``[chan]`` [Hz], ascending or descending.
    width : float
        Separation of channels where there is only one [Hz]; NaN where unknown.
    rest_frequency : float, optional
        [Hz]
    frame : str
        Spectral reference frame of the header, such as LSRK; empty where unknown.
    convention : str
        ``"radio"``, ``"optical"`` or ``"relativistic"``: how velocities follow from frequencies.
    """

    frequencies: NDArray[np.float64]
    width: float = np.nan
    rest_frequency: float | None = None
    frame: str = ""
    convention: str = "radio"

    def velocity(self, frequency: ArrayLike) -> NDArray[np.float64] | None:
        """Velocity of a frequency [Hz], in km/s; None without a rest frequency."""
        if self.rest_frequency is None:
            return None
        ratio = np.asarray(frequency, dtype=float) / self.rest_frequency
        if self.convention == "optical":
            beta = 1 / ratio - 1
        elif self.convention == "relativistic":
            beta = (1 - ratio**2) / (1 + ratio**2)
        else:
            beta = 1 - ratio
        return beta * SPEED_OF_LIGHT / 1e3


def array_header(shape: Sequence[int], grid: ImageGrid, spectral: Spectral | None) -> Any:
    """A FITS header of a grid, SIN projection, ICRS: three axes, or two without a spectral one."""
    from astropy.io.fits import Header

    header = Header()
    header["NAXIS"] = 2 if spectral is None else 3
    for i, n in enumerate((grid.n_x, grid.n_y) if spectral is None else (grid.n_x, grid.n_y, shape[0])):
        header[f"NAXIS{i + 1}"] = n
    cell = grid.cell / 3600
    axes: list[tuple[str, float, float, float, str]] = [
        ("RA---SIN", grid.ra, -cell, grid.x0 + 1, "deg"),
        ("DEC--SIN", grid.dec, cell, grid.y0 + 1, "deg"),
    ]
    if spectral is not None:
        step = 1.0 if np.isnan(spectral.width) else spectral.width
        axes.append(("FREQ", spectral.frequencies[0], step, 1.0, "Hz"))
    for i, (kind, value, step, pixel, unit) in enumerate(axes, start=1):
        header[f"CTYPE{i}"], header[f"CRVAL{i}"], header[f"CDELT{i}"] = kind, float(value), float(step)
        header[f"CRPIX{i}"], header[f"CUNIT{i}"] = float(pixel), unit
    header["RADESYS"] = "ICRS"
    header["LONPOLE"] = 180.0  # at the pole itself it would be 0
    if spectral is not None:
        if spectral.rest_frequency is not None:
            header["RESTFRQ"] = spectral.rest_frequency
        if spectral.frame:
            header["SPECSYS"] = spectral.frame
    return header
