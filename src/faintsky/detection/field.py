"""The primary beam over a cube: given, or the telescope's from the header; applied to the data or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from faintsky.image import RadioCube
from faintsky.preparing.cube import PreparedCube


class PrimaryBeam:
    """Primary beam of a cube.

    Attributes
    ----------
    origin : str
        ``given``, ``header`` (the telescope's, known by its name) or ``unknown``.
    applied : bool
        Whether the data are corrected for it already: their noise rises as it falls.
    """

    def __init__(self, cube: RadioCube, prepared: PreparedCube) -> None:
        self._cube = cube
        self._given = cube.pb
        self.origin = "given" if cube.pb is not None else "unknown"
        if self._given is None and self._telescope():
            self.origin = "header"
        self.applied = self._is_applied(prepared)

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return self.origin != "unknown"

    def _telescope(self) -> bool:
        name = str(self._cube.header.get("TELESCOP", "")).strip().upper()
        return name == "ALMA"

    def at(self, x: float, y: float, z: float) -> float:
        """Its value at a pixel and channel; NaN where unknown."""
        if self._given is not None:
            planes = self._given
            k = int(np.clip(round(z), 0, planes.shape[0] - 1))
            plane = np.nan_to_num(planes[k], nan=0.0)
            value = float(map_coordinates(plane, [[y], [x]], order=1, mode="nearest")[0])
            return value if value > 0 else np.nan
        if self.origin == "header":
            from faintsky.telescope.primary_beam import primary_beam

            grid = self._cube.grid
            radius = np.hypot(x - grid.x0, y - grid.y0) * grid.cell_rad
            return float(primary_beam(radius, float(self._cube.frequency(z))))
        return np.nan

    def _plane(self) -> NDArray[np.float64] | None:
        n_chan, n_y, n_x = self._cube.shape
        if self._given is not None:
            return np.nan_to_num(self._given[self._given.shape[0] // 2], nan=0.0).astype(float)
        if self.origin == "header":
            from faintsky.telescope.primary_beam import primary_beam

            return np.asarray(
                primary_beam(self._cube.grid.radius(), float(self._cube.frequency(n_chan // 2)))
            ).reshape(n_y, n_x)
        return None

    def _is_applied(self, prepared: PreparedCube) -> bool:
        """Noise three tenths higher where the beam is below 0.6 than where it is above 0.9 tells."""
        plane = self._plane()
        if plane is None or prepared.relative is None:
            return False
        inner = prepared.relative[(plane > 0.9) & prepared.valid]
        outer = prepared.relative[(plane > 0.1) & (plane < 0.6) & prepared.valid]
        if inner.size < 10 or outer.size < 10:
            return False
        return bool(np.nanmedian(outer) > 1.3 * np.nanmedian(inner))
