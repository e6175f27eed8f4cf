"""Step v: the three-dimensional model of a source and its segmentation mask (Section 4.4 v)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faintsky.beams import beam_covariance
from faintsky.cutouts import source_mask
from faintsky.source_model import line_profile

Array = NDArray[np.float32]
_REACH = 3.5


def add_label(
    labels: NDArray[np.int32],
    number: int,
    place: tuple[float, float, float],
    shape: tuple[float, float, float],
    fwhm_z: float,
    dilation: float,
) -> None:
    """Give a source's voxels its number, in place, those that have none yet.

    Parameters
    ----------
    labels : array of int
        ``[chan, y, x]``
    number : int
    place : tuple of float
        x, y [pixel] and z [channel].
    shape : tuple of float
        Major and minor FWHM [pixel] and position angle [deg].
    fwhm_z : float
        [channel]
    dilation : float
        See `faintsky.cutouts.source_mask`.
    """
    x, y, z = place
    half = int(np.ceil(max(shape[0] * dilation, 1.0))) + 1
    depth = int(np.ceil(max(fwhm_z * dilation, 1.0))) + 1
    part, origin = _part(labels, (z, y, x), (depth, half, half))
    mask = source_mask(
        part.shape, x - origin[2], y - origin[1], z - origin[0], *shape, fwhm_z, dilation
    ) & (part == 0)  # fmt: skip
    part[mask] = number


def add_model(
    model: Array,
    place: tuple[float, float, float],
    shape: tuple[float, float, float],
    fwhm_z: float,
    flux: float,
    beam: tuple[float, float, float],
) -> float:
    """Add a source as the telescope shows it, in place: a Gaussian widened by the beam, times its line.

    Parameters
    ----------
    model : array
        ``[chan, y, x]`` [Jy/beam]
    place, shape, fwhm_z
        As in `add_label`.
    flux : float
        At the line's peak [Jy], as received.
    beam : tuple of float
        Major, minor FWHM [pixel], position angle [deg].

    Returns
    -------
    float
        Its peak [Jy/beam].
    """
    x, y, z = place
    own = beam_covariance(beam)
    cov = beam_covariance(shape) + own
    half = _REACH * np.sqrt(np.diag(cov)) + 1
    depth = int(np.ceil(2.5 * fwhm_z)) + 1
    part, origin = _part(model, (z, y, x), (depth, int(half[1]) + 1, int(half[0]) + 1))
    dy = (np.arange(part.shape[1]) + origin[1] - y)[:, None]
    dx = (np.arange(part.shape[2]) + origin[2] - x)[None, :]
    inverse = np.linalg.inv(cov)
    r2 = inverse[0, 0] * dx * dx + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy * dy
    peak = flux * float(np.sqrt(np.linalg.det(own) / np.linalg.det(cov)))
    profile = line_profile(np.arange(part.shape[0]) + origin[0], z, fwhm_z)
    part += (peak * profile[:, None, None] * np.exp(-0.5 * r2)).astype(np.float32)
    return peak


def _part(
    cube: NDArray, place: tuple[float, float, float], half: tuple[int, int, int]
) -> tuple[NDArray, list[int]]:
    """The part of a cube about a place, as a view, and the index of its first voxel."""
    slices = [
        slice(min(max(round(c) - h, 0), n), max(min(round(c) + h + 1, n), 0))
        for c, h, n in zip(place, half, cube.shape, strict=True)
    ]
    return cube[tuple(slices)], [s.start for s in slices]
