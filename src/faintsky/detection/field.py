"""The primary beam over a cube: given, or the telescope's from the header; applied to the data or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from faintsky.image import RadioCube
from faintsky.preparing import PreparedCube, pattern


class PrimaryBeam:
    """Primary beam of a cube.

    Attributes
    ----------
    origin : str
        See `faintsky.preparing.pattern.origin`.
    applied : bool
        Whether the data are corrected for it already: their noise rises as it falls. False where nothing is
        prepared that would tell.
    """

    def __init__(self, cube: RadioCube, prepared: PreparedCube | None) -> None:
        self._cube = cube
        self._given = cube.pb
        self.origin = pattern.origin(cube)
        self.applied = False
        # flat noise tells without the beam
        if prepared is not None and prepared.relative is not None:
            plane = pattern.middle_plane(cube)
            self.applied = pattern.in_data(plane, prepared.relative, prepared.valid)

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return self.origin != "unknown"

    def at(self, x: float, y: float, z: float) -> float:
        """Its value at a pixel and channel; NaN where unknown."""
        if self._given is not None:
            planes = self._given
            k = int(np.clip(round(z), 0, planes.shape[0] - 1))
            # what is not known about a place is no zero
            j, i = (slice(max(int(v) - 1, 0), int(v) + 3) for v in (max(y, 0.0), max(x, 0.0)))
            near = planes[k, j, i]
            known = (near > 0).astype(float)
            filled = np.where(known > 0, near, 0.0).astype(float)
            at = [[y - j.start], [x - i.start]]
            value, weight = (map_coordinates(a, at, order=1, mode="nearest")[0] for a in (filled, known))
            return float(value / weight) if weight > 0 else np.nan
        return float(pattern.power(self._cube, x, y, float(self._cube.frequency(z))))

    def displacement(
        self, covariance: NDArray[np.float64], x: float, y: float, z: float
    ) -> NDArray[np.float64]:
        """By how much the beam's slope moves a source of some intrinsic covariance, ``(x, y)`` [pixel].

        A Gaussian times a beam that falls off to one side is a Gaussian whose centre lies towards the other:
        by the covariance times the gradient of the beam's logarithm. Zero where the beam is not known, or
        has been taken out of the data.
        """
        if not self.known or self.applied:
            return np.zeros(2)
        step = 2.0
        ends = [self.at(x + dx, y + dy, z) for dx, dy in ((step, 0), (-step, 0), (0, step), (0, -step))]
        if not np.all(np.isfinite(ends)):
            return np.zeros(2)
        logs = np.log(ends)
        move = covariance @ np.array([logs[0] - logs[1], logs[2] - logs[3]]) / (2 * step)
        # far out the beam is no Gaussian any more, and a source that large no point in it
        return np.clip(move, -step, step)
