"""Sky positions, frequencies and velocities of sources that a method knows in pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.grid import SPEED_OF_LIGHT
from faintsky.image import RadioCube


def world_columns(
    cube: RadioCube, x: ArrayLike, y: ArrayLike, z: ArrayLike, fwhm_z: ArrayLike
) -> dict[str, NDArray[Any]]:
    """Catalogue columns: those given, and ``id``, ``ra``, ``dec``, ``freq``, ``velocity``, ``fwhm_velocity``.

    Parameters
    ----------
    cube : RadioCube
        For its coordinates.
    x, y, z, fwhm_z : array
        ``[source]`` [pixel, pixel, channel, channel]; NaN where not known.
    """
    x, y, z, fwhm_z = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (x, y, z, fwhm_z))
    ra, dec = cube.sky(x, y) if len(x) else (x, y)
    known = np.isfinite(z)
    freq = np.where(known, cube.frequency(np.where(known, z, 0.0)), np.nan)
    channels = np.arange(cube.shape[0])
    velocities = cube.velocities()
    velocity = np.full(len(z), np.nan) if velocities is None else np.interp(z, channels, velocities)
    return {
        "id": np.arange(1, len(x) + 1), "x": x, "y": y, "z": z, "fwhm_z": fwhm_z, "ra": ra, "dec": dec,
        "freq": freq, "velocity": velocity, "fwhm_velocity": fwhm_z * channel_velocity(cube, z),
    }  # fmt: skip


def channel_velocity(cube: RadioCube, z: ArrayLike) -> NDArray[np.float64]:
    """Width of a channel at a line [km/s]: in the header's convention, or ``c dnu / nu`` of the line."""
    z = np.atleast_1d(np.asarray(z, dtype=float))
    widths = cube.channel_widths_velocity()
    channels = np.arange(cube.shape[0])
    if widths is not None:
        return np.interp(z, channels, widths)
    hertz = np.interp(z, channels, cube.channel_widths())
    return SPEED_OF_LIGHT / 1e3 * hertz / np.where(np.isfinite(z), cube.frequency(np.nan_to_num(z)), np.nan)
