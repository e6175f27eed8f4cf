"""Shocked cells turned into luminous points, which are much finer than the mesh.

A shock is a surface, and its electrons emit in a thin layer behind it; the mesh resolves both only to a cell
or two. Therefore each shocked cell is filled with a lattice of points. They are moved along the normal to the
ridge of convergence (the surface), and then downstream by random distances that follow the cooling length.
Turbulence below the mesh's resolution corrugates the surface and modulates its brightness, which makes the
filaments of observed relics (Skillman et al. 2013, ApJ 765, 21; Wittor et al. 2019, MNRAS 490, 3987).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from faintsky.arrays import Array, Array32, Index, Int
from faintsky.sky.web.gravity import deposit, interpolate
from faintsky.sky.web.shocks import (
    ELECTRONS,
    KEV_PER_KMS2,
    Shocks,
    cooling_length,
    jump_ratios,
    magnetic_field,
    shock_power,
)

FAINTEST = 1e-10
"""Cells of lower surface brightness are dropped [Jy/arcsec2]."""
LATTICES = ((1e-6, 6), (1e-8, 4), (1e-9, 3), (0.0, 2))
"""Points along each side of a cell, by its surface brightness [Jy/arcsec2]."""
BRIGHTEST = 1e-4
"""Largest surface brightness of shocks seen face-on [Jy/arcsec2].

It gives the brightest fields of Gheller & Vazza (2021). Without it, cores of haloes that pass through each
other would be ten times as bright, because dark matter, unlike gas, is not stopped."""
CORRUGATION = ((8, 0.045), (23, 0.015))
"""Turbulence: number of periods in a box of 25 Mpc, and rms displacement [Mpc]."""
CONTRAST = 0.6
"""Turbulence: rms of the logarithm of the brightness."""
MOST = 1_500_000
"""Largest number of points; all cells get fewer points to keep it, at least one each."""
NOTHING = np.zeros((0, 3)), np.zeros(0), np.zeros(0)
"""No points: places, powers and sizes."""
BLOCKS = 12
"""Number of blocks along each side of the box, by which points are sorted."""
PASSES = 3
"""Number of moves of a point towards the ridge; each covers most of the remaining distance."""
_JY_ARCSEC2 = 1e26 / 4.2545e10 / (4 * np.pi) / 3.0857e22**2
"""Surface brightness of 1 W / Hz / Mpc2 emitted isotropically [Jy/arcsec2]."""


@dataclass(frozen=True)
class Points:
    """Luminous points of a snapshot, ``m`` of them.

    Parameters
    ----------
    position : array
        ``[m, 3]``, uint16: in units of the box over 65536.
    power : array
        ``[m]``, float16: decimal logarithm of the power at 150 MHz over 1e20 W / Hz.
    size : array
        ``[m]``, uint8: radius represented by the point [kpc, comoving].
    """

    position: NDArray[np.uint16]
    power: NDArray[np.float16]
    size: NDArray[np.uint8]

    @cached_property
    def starts(self) -> Index:
        """Index of the first point of each of the box's ``BLOCKS**3`` blocks, by which points are sorted."""
        return np.searchsorted(_block(self.position), np.arange(BLOCKS**3 + 1))


def _block(position: NDArray[np.uint16]) -> Int:
    part = (position.astype(np.int64) * BLOCKS) >> 16
    return (part[:, 0] * BLOCKS + part[:, 1]) * BLOCKS + part[:, 2]


def luminous_points(shocks: Shocks, n: int, box: float, z: float, seed: int) -> Points:
    """Luminous points of shocks.

    Parameters
    ----------
    shocks : Shocks
        The shocked cells.
    n : int
        Cells along a side.
    box : float
        Side [Mpc].
    z : float
        Redshift.
    seed : int
        Seed of positions and turbulence.

    Returns
    -------
    Points
    """
    cell = box / n
    ratio, hotter = jump_ratios(shocks.mach)
    # the density at the ridge lies between those before and behind the shock
    behind = shocks.density * 2 * ratio / (1 + ratio)
    temperature = shocks.dispersion * hotter * KEV_PER_KMS2
    field = magnetic_field(behind, z)
    electrons = ELECTRONS * (1 + z) ** 3 * behind
    glow = shock_power(shocks.mach, electrons, temperature, field, z) * shocks.area
    bright = glow * _JY_ARCSEC2 > FAINTEST
    glow, area = glow[bright], (cell / (1 + z)) ** 2
    length = cooling_length(shocks.mach, temperature, field, z)[bright] * (1 + z) / cell
    normals = shocks.to_ridge[:, bright], shocks.downstream[:, bright]
    columns = np.vstack([glow * area, np.minimum(length, 2.0), *normals, np.ones(len(glow))])
    columns = columns.astype(np.float32)
    lookup = _Lookup(shocks.cell[:, bright], columns, n)
    rng = np.random.default_rng([seed, 2])
    turbulence = _Turbulence(rng, box)
    glow *= _JY_ARCSEC2
    scale, per_side = 1.0, _per_side(glow)
    while (per_side**3).sum() > MOST and scale < 1e6:
        scale *= 1.5
        per_side = _per_side(glow / scale)
    parts = []
    for m in np.unique(per_side):
        cells = lookup.cell[:, per_side == m]
        for start in range(0, cells.shape[1], 20_000):
            parts.append(_fill(cells[:, start : start + 20_000], int(m), lookup, turbulence, rng, cell))
    x, power, size = (np.concatenate(p) for p in zip(*parts or [NOTHING]))
    power *= columns[0].sum() / max(power.sum(), 1e-30)
    position = (np.rint(x * (65536 / n)).astype(np.int64) % 65536).astype(np.uint16)
    order = np.argsort(_block(position), kind="stable")
    return Points(
        position[order],
        np.log10(np.maximum(power, 1e10) / 1e20).astype(np.float16)[order],
        np.clip(np.rint(size * cell * 1000), 1, 255).astype(np.uint8)[order],
    )


def saturated(points: Points, n: int, box: float, z: float) -> Points:
    """Points with reduced power where the surface brightness exceeds `BRIGHTEST`.

    Parameters
    ----------
    points : Points
    n, box, z
        As for `luminous_points`.

    Returns
    -------
    Points
    """
    x = torch.from_numpy(points.position.T.astype(np.float32) * np.float32(n / 65536))
    power = torch.from_numpy(10.0 ** points.power.astype(np.float32))
    area = (box / n / (1 + z)) ** 2
    glow = interpolate(deposit(x, power, n), x).numpy() * (1e20 * _JY_ARCSEC2 / area)
    return replace(points, power=(points.power - np.log10(1 + glow / BRIGHTEST)).astype(np.float16))


def _per_side(glow: NDArray) -> Int:
    return np.select([glow >= level for level, _ in LATTICES], [m for _, m in LATTICES])


class _Lookup:
    """Values of the shocked cells at any position, by quadratic B-splines; 0 elsewhere."""

    def __init__(self, cell: Int, columns: Array32, n: int) -> None:
        self.cell, self.n = cell, n
        self.columns = np.concatenate([columns, np.zeros((len(columns), 1), dtype=np.float32)], axis=1)
        self.slot = np.full(n**3, cell.shape[1], dtype=np.int32)
        self.slot[(cell[0] * n + cell[1]) * n + cell[2]] = np.arange(cell.shape[1])

    def __call__(self, x: Array, rows: list[int]) -> Array32:
        """Sums of weights times values, ``[rows, m]``, at ``x`` ``[3, m]`` [cells]."""
        middle = np.rint(x).astype(np.int64)
        d = (x - middle).astype(np.float32)
        weights = (0.5 * (0.5 - d) ** 2, 0.75 - d**2, 0.5 * (0.5 + d) ** 2)
        found = np.zeros((len(rows), x.shape[1]), dtype=np.float32)
        for step in product((-1, 0, 1), repeat=3):
            i, j, k = ((middle[axis] + s) % self.n for axis, s in enumerate(step))
            slot = self.slot[(i * self.n + j) * self.n + k]
            weight = np.prod([weights[s + 1][axis] for axis, s in enumerate(step)], axis=0)
            for row, column in enumerate(rows):
                found[row] += weight * self.columns[column].take(slot)
        return found


class _Turbulence:
    """Periodic random fields of a Kolmogorov spectrum: three of displacement, one of brightness."""

    SIZE = 64

    def __init__(self, rng: np.random.Generator, box: float) -> None:
        self.box = box
        k = np.fft.fftfreq(self.SIZE, 1 / self.SIZE)
        k2 = k[:, None, None] ** 2 + k[None, :, None] ** 2 + np.arange(self.SIZE // 2 + 1) ** 2
        # amplitudes fall as k**(-11/6)
        shape = np.where(k2 >= 4, np.maximum(k2, 1) ** (-11 / 12), 0)
        fields = np.fft.irfftn(
            np.fft.rfftn(rng.standard_normal((4, self.SIZE, self.SIZE, self.SIZE)), axes=(1, 2, 3)) * shape,
            axes=(1, 2, 3),
        )
        self.fields = (fields / fields.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32)

    def __call__(self, x: Array) -> tuple[NDArray, NDArray]:
        """Displacements ``[3, m]`` [Mpc] and factors ``[m]`` of the brightness at ``x`` ``[3, m]`` [Mpc]."""
        from scipy.ndimage import map_coordinates

        shift, log = np.zeros_like(x), np.zeros(x.shape[1])
        for periods, rms in CORRUGATION:
            # whole periods in the box, so that it stays periodic
            count = max(round(periods * self.box / 25), 1)
            at = x * (count / self.box * self.SIZE)
            found = [map_coordinates(f, at, order=1, mode="grid-wrap") for f in self.fields]
            shift += rms * np.stack(found[:3])
            log += CONTRAST / np.sqrt(len(CORRUGATION)) * found[3]
        return shift, np.exp(log - CONTRAST**2 / 2)


def _fill(
    cells: Int, m: int, lookup: _Lookup, turbulence: _Turbulence, rng: np.random.Generator,
    cell: float,
) -> tuple[NDArray, NDArray, NDArray]:  # fmt: skip
    """Positions ``[points, 3]`` [cells], powers and sizes [cells] of ``m**3`` points in each cell."""
    at = (np.arange(m) + 0.5) / m - 0.5
    lattice = np.stack([g.ravel() for g in np.meshgrid(at, at, at, indexing="ij")])
    x = (cells[:, :, None] + lattice[:, None, :]).reshape(3, -1)
    x += rng.uniform(-0.5, 0.5, x.shape) / m
    power, length, *downstream, norm = lookup(x, [0, 1, 5, 6, 7, 8])
    norm = np.maximum(norm, 1e-6)
    length = length / norm
    for _ in range(PASSES):
        *way, near = lookup(x, [2, 3, 4, 8])
        x += np.stack(way) / np.maximum(near, 1e-6)
    shift, factor = turbulence(x * cell)
    behind = length * rng.exponential(size=length.size)
    x += shift / cell + np.stack(downstream) / norm * behind
    # several cells along the normal contribute points to the surface, where they lie closer
    size = np.maximum(1.5 / np.sqrt(2.5 * m**3), 0.35 * behind)
    return x.T, power * factor / m**3, size
