"""Gas and its shocks out of an N-body run.

Dark matter streams cross where gas would be shocked, and the dispersion of their velocities is the heat
that the shock would have made of the flow: density, mean velocity and dispersion of the particles on the mesh
stand for the gas. A shock lies where the mean flow converges; along the direction of strongest compression
the velocity jumps, and the jump over the sound speed before it gives the Mach number (Vazza et al. 2009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faintsky.sky.web.emission import mach_number
from faintsky.sky.web.linear_power import HUBBLE, wave_numbers
from faintsky.sky.web.particle_mesh import deposit, interpolate

WIDTH = 1.0
"""Standard deviation of the Gaussian that all moments are smoothed with [cells]."""
FILL, FILL_WIDTH = 0.02, 4.0
"""Share and width of a second Gaussian, which says how the few particles of voids move."""
FLOOR = 140.0
"""Dispersion of gas at 10,000 K [(km/s)**2], as the ultraviolet background keeps it; denser gas is hotter."""
REACH = 4
"""Gas before and behind a shock is sought within so many cells: streams need that to run into each other."""
LEAST_JUMP, LEAST_DENSITY = 15.0, 0.5
"""Of what is looked at: convergence over a cell [km/s] and overdensity."""


@dataclass(frozen=True)
class Gas:
    """Overdensity and dispersion [(km/s)**2] ``[n, n, n]``, velocity ``[3, n, n, n]`` [km/s] on the mesh."""

    density: Tensor
    velocity: Tensor
    dispersion: Tensor


@dataclass(frozen=True)
class Shocks:
    """Shocked cells, ``m`` of them.

    Parameters
    ----------
    cell : array
        ``[3, m]``, int: where on the mesh.
    downstream : array
        ``[3, m]``, unit vectors.
    mach, density, dispersion : array
        ``[m]``; overdensity at the shock and the dispersion before it [(km/s)**2].
    area : array
        ``[m]``: of the shock in the cell [cell sides squared].
    to_ridge : array
        ``[3, m]``: the way to where the flow converges most, along the normal [cells].
    """

    cell: NDArray[np.int64]
    downstream: NDArray[np.float32]
    mach: NDArray[np.float32]
    density: NDArray[np.float32]
    dispersion: NDArray[np.float32]
    area: NDArray[np.float32]
    to_ridge: NDArray[np.float32]


def gas(x: Tensor, p: Tensor, a: float, n: int, box: float) -> Gas:
    """Gas at scale factor ``a`` from particles ``[3, m]`` as `particle_mesh.evolve` yields them.

    Parameters
    ----------
    x, p : Tensor
        Positions and momenta [cells].
    a : float
    n : int
        Cells a side.
    box : float
        [Mpc]
    """
    unit = HUBBLE * box / n / a
    ks = wave_numbers(n, n, x.device)
    k2 = ks[0] ** 2 + ks[1] ** 2 + ks[2] ** 2
    near = torch.exp(-0.5 * WIDTH**2 * k2)
    both = near + FILL * torch.exp(-0.5 * FILL_WIDTH**2 * k2)

    def smoothed(mesh: Tensor, kernel: Tensor) -> Tensor:
        return torch.fft.irfftn(torch.fft.rfftn(mesh) * kernel, s=(n, n, n))

    mass = deposit(x, None, n) * (n**3 / x.shape[1])
    density = smoothed(mass, near).clamp_min(0)
    norm = smoothed(mass, both).clamp_min(1e-4) * (x.shape[1] / n**3)
    velocity = torch.stack([smoothed(deposit(x, q, n), both) / norm * unit for q in p])
    square = smoothed(deposit(x, p.square().sum(0), n), both) / norm * unit**2
    total = (square - velocity.square().sum(0)).clamp_min(0)
    dispersion = total.clone()
    # what differs across the kernel is flow, not heat; a cloud-in-cell's variance is 1/6 a side
    for v in velocity:
        for axis in range(3):
            dispersion -= (WIDTH**2 + 1 / 6) * _slope(v, axis).square()
    dispersion = torch.maximum(dispersion, 0.1 * total) / 3
    dispersion = torch.maximum(dispersion, FLOOR * density.clamp_min(1) ** (2 / 3))
    return Gas(density, velocity, dispersion)


def find_shocks(gas: Gas, box: float) -> Shocks:
    """Shocks of the gas; ``box`` is the side [Mpc]."""
    n = gas.density.shape[0]
    divergence = sum(_slope(v, axis) for axis, v in enumerate(gas.velocity))
    looked_at = (divergence < -LEAST_JUMP) & (gas.density > LEAST_DENSITY)
    del divergence
    cell = looked_at.nonzero().T.contiguous()
    rate, normal = torch.linalg.eigh(_shear(gas.velocity, cell))
    rate, normal = -rate[:, 0], normal[:, :, 0].T.contiguous()
    x = cell.to(torch.float32)
    across, heat = (torch.empty((2, REACH, x.shape[1]), device=x.device) for _ in range(2))
    for side, sign in enumerate((-1.0, 1.0)):
        for step in range(REACH):
            at = x + sign * (step + 1) * normal
            across[side, step] = sum(interpolate(v, at) * c for v, c in zip(gas.velocity, normal))
            heat[side, step] = interpolate(gas.dispersion, at)
    hotter = heat[1].sum(0) >= heat[0].sum(0)
    behind = torch.where(hotter, 1.0, -1.0)
    # positive where the flow converges, whichever way the normal points
    jump = (across[0] - across[1]).amax(0)
    before = torch.where(hotter, heat[0].amin(0), heat[1].amin(0))
    normal *= behind
    true = (jump > LEAST_JUMP) & (rate > 0)
    ridge = torch.zeros(n**3, device=x.device)
    ridge[_flat(cell, n)] = torch.where(true, rate, torch.zeros_like(rate))
    shift = _shift(ridge.view(n, n, n), x, normal)
    mach = mach_number(jump.clamp_min(0).double().cpu().numpy(), before.double().cpu().numpy())
    keep = true.cpu().numpy()

    def kept(values: Tensor) -> NDArray:
        return values.cpu().numpy()[..., keep]

    return Shocks(
        cell=kept(cell),
        downstream=kept(normal),
        mach=mach[keep].astype(np.float32),
        density=kept(gas.density.reshape(-1)[_flat(cell, n)]),
        dispersion=kept(before),
        # all cells along the normal together have the area of one: their shares of the jump add up to 1
        area=kept(rate / jump.clamp_min(LEAST_JUMP)),
        to_ridge=kept(shift),
    )


def _slope(mesh: Tensor, axis: int) -> Tensor:
    return (torch.roll(mesh, -1, axis) - torch.roll(mesh, 1, axis)) / 2


def _flat(cell: Tensor, n: int) -> Tensor:
    return (cell[0] * n + cell[1]) * n + cell[2]


def _shear(velocity: Tensor, cell: Tensor) -> Tensor:
    """Symmetric velocity gradient ``[m, 3, 3]`` at cells ``[3, m]`` [km/s a cell]."""
    n = velocity.shape[1]
    flat = velocity.reshape(3, -1)
    gradient = torch.empty((cell.shape[1], 3, 3), device=velocity.device)
    for axis in range(3):
        ends = []
        for step in (1, -1):
            moved = cell.clone()
            moved[axis] = (moved[axis] + step) % n
            ends.append(flat[:, _flat(moved, n)])
        gradient[:, :, axis] = ((ends[0] - ends[1]) / 2).T
    return (gradient + gradient.mT) / 2


def _shift(ridge: Tensor, x: Tensor, normal: Tensor) -> Tensor:
    """Mean way along the normal to the convergence within two cells, ``[3, m]``."""
    total = torch.zeros(x.shape[1], device=x.device)
    moment = torch.zeros_like(total)
    for t in np.arange(-2.0, 2.1, 0.5):
        found = interpolate(ridge, x + float(t) * normal) * float(1 - (t / 2.5) ** 2)
        total += found
        moment += float(t) * found
    return normal * (moment / total.clamp_min(1e-6))
