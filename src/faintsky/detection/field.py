"""The primary beam over a cube: given, or the telescope's from the header; applied to the data or not."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from faintsky.image import RadioCube
from faintsky.preparing import pattern
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
        self.origin = pattern.origin(cube)
        self.applied = pattern.in_data(pattern.middle_plane(cube), prepared.relative, prepared.valid)

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return self.origin != "unknown"

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
