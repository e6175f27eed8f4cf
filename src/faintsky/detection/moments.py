"""Maps of the lines of a cube: strongest S/N; flux, mean velocity and dispersion, as sums of parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.image import RadioCube


@dataclass
class MomentSums:
    """Sums along frequency, ``[y, x]``.

    Attributes
    ----------
    powers : array
        Brightness times channel width, times velocity to the power of 0, 1 and 2, ``[3, y, x]``.
    low, high : array
        Lowest and highest velocity in the mask; infinite without any.
    """

    powers: Float
    low: Float
    high: Float

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> MomentSums:
        """Sums of no voxels, ``(n_y, n_x)``."""
        return cls(np.zeros((3, *shape)), np.full(shape, np.inf), np.full(shape, -np.inf))

    def add(self, other: MomentSums, box: tuple[slice, ...]) -> None:
        """Add the sums of a part of the cube: channels, rows and columns of `box`."""
        self.powers[:, *box] += other.powers
        np.minimum(self.low[box], other.low, out=self.low[box])
        np.maximum(self.high[box], other.high, out=self.high[box])

    def maps(self, cube: RadioCube) -> list[tuple[Float, Any]]:
        """Moments 0, 1 and 2, each with its unit: see `faintsky.jobs.Result.moments`."""
        from astropy import units as u

        known = cube.velocities() is not None
        seen, flux = np.isfinite(self.low), self.powers[0]
        step: Any = u.km / u.s if known else u.Hz
        whole = (
            u.Jy / u.beam * step if cube.has_flux else u.Unit(f"{cube.unit} {step}", parse_strict="silent")
        )
        maps: list[tuple[Float, Any]] = [(np.where(seen, flux, np.nan), whole)]
        if not known:
            return maps
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.powers[1] / flux
            spread = np.sqrt(self.powers[2] / flux - mean**2)
            middle = mean + _zero(cube)
            good = seen & (middle >= self.low) & (middle <= self.high)
        return [*maps, *((np.where(good, values, np.nan), step) for values in (middle, spread))]


def _zero(cube: RadioCube) -> float:
    """Zero point of the velocities: squares of large ones would lose digits."""
    velocities = cube.velocities()
    return 0.0 if velocities is None else float(velocities[len(velocities) // 2])


def moment_sums(cube: RadioCube, line: Array, inside: Bool, channels: slice) -> MomentSums:
    """Sums over some voxels of a cube.

    Parameters
    ----------
    cube : RadioCube
        The whole cube, for its channels.
    line : array
        Data without continuum, in `channels` of the cube, ``[chan, y, x]``.
    inside : array of bool
        The voxels to sum.
    channels : slice
        Channels of the cube.

    Returns
    -------
    MomentSums
    """
    velocity = cube.velocities()
    axis = cube.frequencies if velocity is None else velocity
    width = np.abs(np.gradient(axis) if len(axis) > 1 else cube.channel_widths())[channels]
    place = (axis - _zero(cube) if velocity is not None else axis)[channels]
    weights = np.stack([width, width * place, width * place**2])
    sums = MomentSums.empty(line.shape[1:])
    for k in np.flatnonzero(inside.any(axis=(1, 2))):
        sums.powers += weights[:, k, None, None] * np.where(inside[k], line[k], 0)
        at = axis[channels][k]
        np.minimum(sums.low, np.where(inside[k], at, np.inf), out=sums.low)
        np.maximum(sums.high, np.where(inside[k], at, -np.inf), out=sums.high)
    return sums


def strongest(line: Array, sigma: Float, inner: tuple[slice, ...], *, signed: bool) -> Array32:
    """Highest S/N along frequency of a line cube averaged over three channels.

    Parameters
    ----------
    line : array
        ``[chan, y, x]``
    sigma : array
        Rms of every channel, 0 where blank.
    inner : tuple of slice
        Channels, rows and columns to search.
    signed : bool
        Whether negative values count too: then the value farthest from 0 is taken.

    Returns
    -------
    array
        ``[y, x]``
    """
    scale = np.where(sigma > 0, 1 / np.maximum(sigma, 1e-300), 0).astype(np.float32)
    ys, xs = inner[1:]
    high, low = (np.zeros((ys.stop - ys.start, xs.stop - xs.start), np.float32) for _ in range(2))
    for k in range(max(inner[0].start, 1), min(inner[0].stop, len(line) - 1)):
        near = line[k - 1 : k + 2, ys, xs] * scale[k - 1 : k + 2, None, None]
        mean = (near[0] + near[1] + near[2]) / np.float32(np.sqrt(3))
        np.maximum(high, mean, out=high)
        np.minimum(low, mean, out=low)
    return np.where(high >= -low, high, low) if signed else high
