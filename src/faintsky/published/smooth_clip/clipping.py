"""Smooth and clip: voxels above a threshold in a cube smoothed on many scales.

This is the S+C finder of SoFiA, written from the papers (Serra, Jurek & Floer 2012, PASA 29, 296; Serra et
al. 2015, MNRAS 448, 1922; Westmeier et al. 2021, MNRAS 506, 3962). The cube is smoothed with every pair of a
spatial Gaussian and a spectral boxcar. Voxels beyond a threshold, positive or negative, in units of the
smoothed cube's own noise join the mask. Before the next spatial smoothing, voxels in the mask are set to
twice the noise, so that bright sources do not grow (in SoFiA also before spectral smoothing).

Voxels of the mask are then linked to objects by friends of friends, and measured (Serra et al. 2015, Section
3.3; Westmeier et al. 2021, Section 2.5). Two voxels belong to one object if they are within one radius on the
sky and another along frequency. Objects that are too small are dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_erosion,
    find_objects,
    gaussian_filter,
    generate_binary_structure,
    label,
    uniform_filter1d,
)
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from faintsky.arrays import Array, Array32, Bool, Float, Index, Labels
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing import MAD_TO_SIGMA

REPLACEMENT = 2.0
"""Value of masked voxels before the next smoothing, in units of the noise."""
_SAMPLES = 400_000  # voxels for a median
_MANY = 300_000  # voxels above which only surfaces are linked, which is then faster


def negative_rms(cube: Array32, valid: Bool) -> float:
    """Noise from the median of negative voxels, which contain no emission.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]`` or ``[y, x]``, with mean zero outside of sources.
    valid : array of bool
        Voxels with data, of the same shape.
    """
    step = max(1, cube.size // _SAMPLES) | 1  # odd, so that the sample is not a set of columns
    values = cube.reshape(-1)[::step][valid.reshape(-1)[::step]]
    below = values[values < 0]
    return MAD_TO_SIGMA * float(np.median(-below)) if below.size else 0.0


def smooth_clip(
    cube: Array32,
    valid: Bool,
    *,
    spatial: Sequence[float] = (0, 3, 6),
    spectral: Sequence[int] = (0, 3, 7, 15),
    threshold: float = 4.0,
) -> NDArray[np.int8]:
    """Voxels beyond the threshold, positive or negative, on any scale.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``, 0 where blank.
    valid : array of bool
        Voxels with data, ``[chan, y, x]``; nothing is found elsewhere.
    spatial : sequence of float
        FWHM of the Gaussians, of unit sum [pixel]; 0 for none. The cube is 0 outside.
    spectral : sequence of int
        Widths of the boxcars [channel], odd; 0 for none.
    threshold : float
        Threshold in standard deviations of each smoothed cube.

    Returns
    -------
    array of int
        ``[chan, y, x]``: sign of the voxel at the first scale where it is beyond the threshold, 0 for none.
    """
    sign = np.zeros(cube.shape, dtype=np.int8)
    flat, good = sign.reshape(-1), valid.reshape(-1)
    level = np.float32(REPLACEMENT * negative_rms(cube, valid))
    for fwhm in spatial:
        sigma = fwhm / FWHM_PER_SIGMA
        capped = np.where(sign != 0, np.copysign(level, cube), cube)
        smooth = gaussian_filter(capped, (0, sigma, sigma), mode="constant")
        for width in spectral:
            scale = uniform_filter1d(smooth, width // 2 * 2 + 1, axis=0, mode="constant")
            rms = negative_rms(scale, valid)
            if not rms > 0:
                continue
            values = scale.reshape(-1)
            for direction in (1, -1):
                high = values > threshold * rms if direction > 0 else values < -threshold * rms
                out = np.flatnonzero(high)
                flat[out[good[out] & (flat[out] == 0)]] = direction
    return sign


def link(mask: Bool, radius_xy: float, radius_z: int) -> tuple[Labels, int]:
    """Link the voxels of a mask to objects.

    Parameters
    ----------
    mask : array of bool
        ``[chan, y, x]``
    radius_xy : float
        Largest distance of two friends on the sky [pixel], at least 1.
    radius_z : int
        The same along frequency [channel], at least 1.

    Returns
    -------
    labels : array of int
        ``[chan, y, x]``, from 1; 0 outside of the mask.
    n : int
        Number of objects.
    """
    touching, n = label(mask)
    touching = touching.astype(np.int32, copy=False)
    if n < 2:
        return touching, n
    # the nearest voxels of two bodies are on their surfaces, and the largest body need not search for others
    reach_xy, reach_z = int(radius_xy), int(radius_z)
    sizes = np.bincount(touching.ravel())
    sizes[0] = 0
    outer = touching != int(sizes.argmax())
    outer &= mask
    if np.count_nonzero(outer) > _MANY:
        outer &= ~binary_erosion(mask, generate_binary_structure(3, 1))
    z, y, x = np.unravel_index(np.flatnonzero(outer), mask.shape)
    own = touching[z, y, x]
    margins = [(reach_z, reach_z), (reach_xy, reach_xy), (reach_xy, reach_xy)]
    around = np.pad(touching, margins)
    step_z, step_y = around.shape[1] * around.shape[2], around.shape[2]
    place = (z + reach_z) * step_z + (y + reach_xy) * step_y + x + reach_xy
    flat = around.reshape(-1)
    pairs: set[int] = set()
    for dz in range(-reach_z, reach_z + 1):
        for dy in range(-reach_xy, reach_xy + 1):
            for dx in range(-reach_xy, reach_xy + 1):
                if dx * dx + dy * dy > radius_xy**2:
                    continue
                other = flat[place + (dz * step_z + dy * step_y + dx)]
                met = (other > 0) & (other != own)
                if met.any():
                    pairs.update(np.unique(own[met].astype(np.int64) * (n + 1) + other[met]).tolist())
    if not pairs:
        return touching, n
    edges = np.array(sorted(pairs))
    graph = coo_array((np.ones(len(edges)), (edges // (n + 1) - 1, edges % (n + 1) - 1)), shape=(n, n))
    count, joined = connected_components(graph, directed=False)
    names = np.concatenate([[0], joined + 1]).astype(np.int32)
    return names[touching], int(count)


@dataclass(frozen=True)
class Objects:
    """Measured values of the objects of a labelled mask; arrays are ``[n]`` or ``[n, 3]`` (z, y, x).

    Attributes
    ----------
    voxels : array
        Number of voxels.
    total, peak : array
        Sum and largest value of the data.
    centre, spread : array
        Centroid and standard deviation, weighted by the data above 0 [channel, pixel, pixel].
    low, high : array
        First and last voxel of the box.
    """

    voxels: Float
    total: Float
    peak: Float
    centre: Float
    spread: Float
    low: Index
    high: Index

    def __len__(self) -> int:
        return len(self.voxels)

    def select(self, which: Bool | Index) -> Self:
        """Some of the objects, by a mask or by their numbers."""
        return type(self)(**{name: value[which] for name, value in self.__dict__.items()})

    @property
    def sides(self) -> Index:
        """Extent of each object along z, y and x, ``[n, 3]``."""
        return self.high - self.low + 1


def measure_objects(data: Array, labels: Labels, n: int) -> Objects:
    """Measure the objects of a mask.

    Parameters
    ----------
    data : array
        ``[chan, y, x]``; negated for negative objects.
    labels : array of int
        Labels from `link`.
    n : int
        Number of objects.

    Returns
    -------
    Objects
    """
    if n == 0:
        none, three = np.zeros(0), np.zeros((0, 3))
        return Objects(none, none, none, three, three, three.astype(np.intp), three.astype(np.intp))
    inside = np.flatnonzero(labels)
    own, values = labels.reshape(-1)[inside] - 1, data.reshape(-1)[inside].astype(float)
    weight = np.maximum(values, 0)
    norm = np.maximum(np.bincount(own, weight, n), np.finfo(float).tiny)
    total = np.asarray(np.bincount(own, values, n), dtype=float)
    peak = np.full(n, -np.inf)
    np.maximum.at(peak, own, values)
    centre, spread = np.empty((n, 3)), np.empty((n, 3))
    for k, place in enumerate(np.unravel_index(inside, labels.shape)):
        centre[:, k] = np.bincount(own, weight * place, n) / norm
        spread[:, k] = np.sqrt(np.bincount(own, weight * (place - centre[own, k]) ** 2, n) / norm)
    ends = np.array([[(s.start, s.stop - 1) for s in box] for box in find_objects(labels, n)])
    return Objects(
        np.bincount(own, minlength=n).astype(float), total, peak, centre, spread,
        ends[:, :, 0], ends[:, :, 1],
    )  # fmt: skip
