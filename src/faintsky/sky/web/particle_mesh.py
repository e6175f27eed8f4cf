"""Gravity on a mesh: particles from second-order Lagrangian theory to today in a few steps, in PyTorch.

The steps are FastPM's (Feng et al. 2016, MNRAS 463, 2273): kicks and drifts that are exact where growth is
linear, so that few of them keep the large scales right. Positions are in cells of the mesh, on which one
particle a cell starts; momenta are ``a**2 dx/dt`` over today's Hubble rate, in cells too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product

import numpy as np
import torch
from torch import Tensor

from faintsky.sky.web.linear_power import expansion, growth, wave_numbers

START = 0.04
"""Scale factor of the initial conditions."""
CHUNK = 2**18
"""Particles that are worked on together: what a processor's cache holds."""


def evolve(
    density: Tensor,
    scale_factors: Sequence[float],
    *,
    steps: int = 24,
    fine: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Particles at the scale factors asked for.

    Parameters
    ----------
    density : Tensor
        Transform of the linear density of today, ``[n, n, n // 2 + 1]``.
    scale_factors : sequence of float
        Rising, above `START`.
    steps : int, optional
        Up to the first of them; from one to the next there are as many as keep the steps as short.
    fine : int, optional
        Cells of the mesh for the forces to a side of the cells here.
    progress : callable, optional
        Called with steps done and steps in all.

    Yields
    ------
    tuple
        Scale factor, positions ``[3, n**3]`` [cells, periodic] and momenta ``[3, n**3]``, as they are until
        the next is asked for.
    """
    times = _times(scale_factors, steps)
    x, p = lagrangian(density, times[0], 0.5 / fine)
    n = density.shape[0]
    pull = acceleration(x, n, fine)
    wanted = {round(a, 9) for a in scale_factors}
    for i, (a, b) in enumerate(pairwise(times)):
        middle = (a + b) / 2
        _add(p, pull, (_momentum(middle) - _momentum(a)) / growth(a)[0])
        _add(x, p, (growth(b)[0] - growth(a)[0]) / _momentum(middle))
        x.remainder_(n)
        pull = acceleration(x, n, fine)
        _add(p, pull, (_momentum(b) - _momentum(middle)) / growth(b)[0])
        if progress is not None:
            progress(i + 1, len(times) - 1)
        if round(b, 9) in wanted:
            yield b, x, p


def _times(scale_factors: Sequence[float], steps: int) -> list[float]:
    # equal steps of the root of a: short ones early, when every step is a large factor of growth
    first = np.linspace(START**0.5, scale_factors[0] ** 0.5, steps + 1)
    times, width = [*first**2], first[-1] - first[-2]
    for a, b in pairwise(scale_factors):
        more = max(int(np.ceil((b**0.5 - a**0.5) / width - 1e-6)), 1)
        times += [*(np.linspace(a**0.5, b**0.5, more + 1)[1:] ** 2)]
    return [float(a) for a in times]


def _momentum(a: float) -> float:
    """Momentum over displacement of a growing mode, both per growth factor: ``a**3 E dD/da``."""
    return a**3 * float(expansion(a)) * growth(a)[1]


def _add(x: Tensor, y: Tensor, factor: float) -> None:
    x.add_(y, alpha=factor)


def lagrangian(density: Tensor, a: float, start: float = 0.5) -> tuple[Tensor, Tensor]:
    """Positions and momenta ``[3, n**3]`` of second-order Lagrangian perturbation theory at ``a``.

    The lattice begins at ``start`` [cells]: half a cell off the mesh for the forces, since cloud-in-cell is
    linear in small displacements only there.
    """
    n = density.shape[0]
    ks = wave_numbers(n, n, density.device)
    inverse = -1 / (ks[0] ** 2 + ks[1] ** 2 + ks[2] ** 2).clamp_min(1e-12)
    inverse[0, 0, 0] = 0

    def real(transform: Tensor) -> Tensor:
        return torch.fft.irfftn(transform, s=(n, n, n))

    potential = density * inverse
    tidal = {(i, j): real(-ks[i] * ks[j] * potential) for i in range(3) for j in range(i, 3)}
    source = sum(tidal[i, i] * tidal[j, j] - tidal[i, j] ** 2 for i in range(3) for j in range(i + 1, 3))
    second = torch.fft.rfftn(source) * inverse
    del tidal, source
    size, slope = growth(a)
    at = torch.arange(n, device=density.device, dtype=torch.float32) + start
    x = torch.stack([g.reshape(-1) for g in torch.meshgrid(at, at, at, indexing="ij")])
    p = torch.empty_like(x)
    rate = a**3 * float(expansion(a))
    for i in range(3):
        one = real(-1j * ks[i] * potential).reshape(-1)
        # the second order grows as -3/7 D**2 (Bouchet et al. 1995)
        two = real(1j * ks[i] * second).reshape(-1)
        x[i] += size * one - 3 / 7 * size**2 * two
        p[i] = rate * slope * (one - 6 / 7 * size * two)
    return x.remainder_(n), p


def acceleration(x: Tensor, n: int, fine: int = 1) -> Tensor:
    """Minus the gradient of the potential whose Laplacian is the overdensity, at the particles.

    Parameters
    ----------
    x : Tensor
        ``[3, particles]`` [cells]
    n : int
        Cells a side of the box.
    fine : int, optional
        Mesh cells to a side of these.

    Returns
    -------
    Tensor
        ``[3, particles]`` [cells]. The deposit's smoothing is undone; differences over four cells, like the
        reading's smoothing, leave out what the mesh cannot hold.
    """
    if fine > 1:
        return acceleration(x * fine, n * fine) / fine
    mesh = deposit(x, None, n) * (n**3 / x.shape[1])
    ks = wave_numbers(n, n, x.device)
    potential = torch.fft.rfftn(mesh)
    potential *= -1 / (ks[0] ** 2 + ks[1] ** 2 + ks[2] ** 2).clamp_min(1e-12)
    for k in ks:
        potential /= torch.sinc(k / (2 * np.pi)) ** 2
    potential[0, 0, 0] = 0

    def slope(k: Tensor) -> Tensor:
        return (8 * torch.sin(k) - torch.sin(2 * k)) / 6

    pulls = (torch.fft.irfftn(-1j * slope(k) * potential, s=(n, n, n)) for k in ks)
    return torch.stack([interpolate(pull, x) for pull in pulls])


def corners(x: Tensor, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Flat indices and weights of the eight cells around positions ``[3, m]``, one corner after the other."""
    low = torch.floor(x)
    part = x - low
    base = low.long().remainder_(n)
    following = (base + 1).remainder_(n)
    for corner in product((0, 1), repeat=3):
        at = [following[i] if c else base[i] for i, c in enumerate(corner)]
        weight = [part[i] if c else 1 - part[i] for i, c in enumerate(corner)]
        yield (at[0] * n + at[1]).mul_(n).add_(at[2]), weight[0] * weight[1] * weight[2]


def deposit(x: Tensor, values: Tensor | None, n: int) -> Tensor:
    """Cloud-in-cell sums on the mesh ``[n, n, n]`` of ``values`` ``[particles]``, or of ones."""
    mesh = torch.zeros(n**3, device=x.device)
    for start in range(0, x.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        for index, weight in corners(x[:, part], n):
            mesh.scatter_add_(0, index, weight if values is None else weight * values[part])
    return mesh.view(n, n, n)


def interpolate(mesh: Tensor, x: Tensor) -> Tensor:
    """Cloud-in-cell values ``[m]`` of a mesh ``[n, n, n]`` at positions ``[3, m]`` [cells]."""
    flat, n = mesh.reshape(-1), mesh.shape[0]
    values = torch.zeros(x.shape[1], device=x.device)
    for start in range(0, x.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        for index, weight in corners(x[:, part], n):
            values[part] += weight * flat.index_select(0, index)
    return values


def smooth(mesh: Tensor, radius: float) -> Tensor:
    """A mesh convolved with a Gaussian of this standard deviation [cells]."""
    n = mesh.shape[0]
    modes = torch.fft.rfftn(mesh)
    for k in wave_numbers(n, n, mesh.device):
        modes *= torch.exp(-0.5 * (k * radius) ** 2)
    return torch.fft.irfftn(modes, s=(n, n, n))


def power_spectrum(x: Tensor, n: int, box: float, bins: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Power spectrum of particles: mean k [1/Mpc] and P [Mpc3] of linear shells up to Nyquist.

    Parameters
    ----------
    x : Tensor
        ``[3, particles]`` [cells]
    n : int
        Cells a side.
    box : float
        Side [Mpc].
    """
    modes = torch.fft.rfftn(deposit(x, None, n) * (n**3 / x.shape[1]))
    for k in wave_numbers(n, n, x.device):
        modes /= torch.sinc(k / (2 * np.pi)) ** 2
    kx, ky, kz = wave_numbers(n, box, x.device)
    length = torch.sqrt(kx**2 + ky**2 + kz**2).cpu().numpy().ravel()
    weight = np.broadcast_to(np.where((np.arange(n // 2 + 1) % (n // 2)) == 0, 1.0, 2.0), modes.shape).ravel()
    power = modes.abs().square().cpu().numpy().ravel() * weight * box**3 / n**6
    edges = np.linspace(np.pi / box, np.pi * n / box, bins + 1)
    sums = [np.histogram(length, edges, weights=w)[0] for w in (weight, weight * length, power)]
    return sums[1] / sums[0], sums[2] / sums[0]
