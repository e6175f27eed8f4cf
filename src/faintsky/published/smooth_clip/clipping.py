"""Smooth and clip: voxels that stand out of a cube smoothed on many scales.

The S+C finder of SoFiA (Serra, Jurek & Floer 2012, PASA 29, 296; Serra et al. 2015, MNRAS 448, 1922;
Westmeier et al. 2021, MNRAS 506, 3962), written from these papers: the cube is smoothed with every pair of a
spatial Gaussian and a spectral boxcar, and what exceeds a threshold, up or down, in units of the smoothed
cube's own noise joins the mask. What is in the mask already enters the next smoothing on the sky as twice
the noise only, so that bright sources do not grow (in SoFiA every smoothing, along frequency too).

Voxels of the mask are then joined to objects by friends of friends and measured. Serra et al. (2015),
Section 3.3; Westmeier et al. (2021), Section 2.5: two voxels are of one object where they are no further
apart than a radius on the sky and another one along frequency; those that are too small are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing import MAD_TO_SIGMA

Cube = NDArray[np.float32]
Float = NDArray[np.float64]
REPLACEMENT = 2.0
"""What masked voxels become before the next smoothing, in units of the noise."""
_SAMPLES = 400_000  # voxels that a median is taken over
_MANY = 300_000  # voxels above which it pays to look at surfaces only


def negative_rms(cube: Cube, valid: NDArray[np.bool_]) -> float:
    """Noise from the voxels below zero, by their median deviation: no emission is among them.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]`` or ``[y, x]``, of mean zero where there is no source.
    valid : array of bool
        Where it holds data, of the same shape.
    """
    step = max(1, cube.size // _SAMPLES) | 1  # odd: no stripes
    values = cube.reshape(-1)[::step][valid.reshape(-1)[::step]]
    below = values[values < 0]
    return MAD_TO_SIGMA * float(np.median(-below)) if below.size else 0.0


def smooth_clip(
    cube: Cube,
    valid: NDArray[np.bool_],
    *,
    spatial: Sequence[float] = (0, 3, 6),
    spectral: Sequence[int] = (0, 3, 7, 15),
    threshold: float = 4.0,
) -> NDArray[np.int8]:
    """Voxels that stand out, up or down, at any scale.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``, 0 where blank.
    valid : array of bool
        Where it holds data, ``[chan, y, x]``; nothing is found elsewhere.
    spatial : sequence of float
        FWHM of the Gaussians [pixel], of unit sum; 0 for none. Outside counts as 0.
    spectral : sequence of int
        Widths of the boxcars [channel], odd; 0 for none.
    threshold : float
        In standard deviations of each smoothed cube.

    Returns
    -------
    array of int
        ``[chan, y, x]``: 1 where the cube stands out upwards at the first such scale, -1 downwards, else 0.
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


def link(mask: NDArray[np.bool_], radius_xy: float, radius_z: int) -> tuple[NDArray[np.int32], int]:
    """Number the voxels of a mask by the object that they belong to.

    Parameters
    ----------
    mask : array of bool
        ``[chan, y, x]``
    radius_xy : float
        Largest distance on the sky of two friends [pixel], 1 at least.
    radius_z : int
        And along frequency [channel], 1 at least.

    Returns
    -------
    labels : array of int
        ``[chan, y, x]``, from 1 on; 0 outside of the mask.
    n : int
        Number of objects.
    """
    touching, n = label(mask)
    touching = touching.astype(np.int32, copy=False)
    if n < 2:
        return touching, n
    # Of two bodies the voxels at their surfaces are nearest, and of the largest one's the others find them.
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
    """What is measured of the objects of a labelled mask; every array is ``[n]`` or ``[n, 3]`` (z, y, x).

    Attributes
    ----------
    voxels : array
        Number of them.
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
    low: NDArray[np.intp]
    high: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.voxels)

    def select(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Objects:
        """Some of the objects, by a mask or by their numbers."""
        return Objects(**{name: value[which] for name, value in self.__dict__.items()})

    @property
    def sides(self) -> NDArray[np.intp]:
        """Voxels along z, y and x that each spans, ``[n, 3]``."""
        return self.high - self.low + 1


def measure(data: NDArray[np.floating], labels: NDArray[np.int32], n: int) -> Objects:
    """Measure the objects of a mask.

    Parameters
    ----------
    data : array
        ``[chan, y, x]``; negated for negative objects.
    labels : array of int
        As `link` numbers them.
    n : int
        Their number.
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
