"""The cosmology of the cosmic web, gravity on a mesh, and haloes.

The cosmology is that of Gheller & Vazza (2021). Lengths are in comoving Mpc (not Mpc/h). Densities are linear
and of today, and are scaled by the growth factor.

Particles are evolved from second-order Lagrangian perturbation theory to today in a few steps, in PyTorch.
The steps are those of FastPM (Feng et al. 2016, MNRAS 463, 2273): kicks and drifts that are exact for linear
growth, so that few of them suffice for the large scales. Positions are in cells of the mesh, which initially
holds one particle per cell. Momenta are ``a**2 dx/dt`` over today's Hubble rate, also in cells.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise

import ducc0
import numpy as np
import torch
from torch import Tensor

from faintsky.arrays import Array, Array32
from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT

# the cosmology of Gheller & Vazza (2021), which is flat
OMEGA_M = 0.308
"""Matter density today, over the critical density."""
OMEGA_B = 0.0478
"""Baryon density today, over the critical density."""
HUBBLE = 67.8
"""Hubble constant [km/s/Mpc]."""
SIGMA8 = 0.815
"""Rms of the matter density today in spheres of 8 Mpc/h."""
SPECTRAL_INDEX = 0.96
"""Spectral index of the primordial fluctuations, which the paper does not give."""
MEAN_DENSITY = OMEGA_M * 2.775e11 * (HUBBLE / 100) ** 2
"""Mean matter density [solar masses / Mpc3]."""


def expansion(a: Array | float) -> Array:
    """Hubble rate at scale factor ``a`` over today's, for a flat universe of matter and Lambda."""
    return np.sqrt(OMEGA_M / np.asarray(a) ** 3 + 1 - OMEGA_M)


def _integral(a: float) -> float:
    from scipy.integrate import quad

    return float(quad(lambda x: (x * expansion(x)) ** -3, 0, a)[0])


_TODAY = 2.5 * OMEGA_M


@lru_cache(maxsize=4096)
def growth(a: float) -> tuple[float, float]:
    """Linear growth factor D, 1 today, and its derivative dD/da (Heath 1977, MNRAS 179, 351)."""
    norm = _TODAY * _integral(1.0)
    rate = float(expansion(a))
    size = _TODAY * rate * _integral(a) / norm
    slope = -1.5 * OMEGA_M / (a**4 * rate**2) * size + _TODAY / (norm * a**3 * rate**2)
    return size, slope


def comoving_distance(z: Array | float) -> Array:
    """Line-of-sight comoving distance [Mpc], by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    z = np.asarray(z, dtype=float)
    at = z[..., None] / 2 * (nodes + 1)
    return SPEED_OF_LIGHT / 1e3 / HUBBLE * z / 2 * np.sum(weights / expansion(1 / (1 + at)), axis=-1)


def linear_power(k: Array) -> Array:
    """Linear matter power spectrum today [Mpc3] at ``k`` [1/Mpc] (Eisenstein & Hu 1998).

    Raises
    ------
    InputError
        If colossus is not installed.
    """
    if find_spec("colossus") is None:
        raise InputError("colossus is not installed", "install faintsky[lofar]")
    from colossus.cosmology.cosmology import Cosmology

    h = HUBBLE / 100
    universe = Cosmology(
        name="faintsky", flat=True, H0=HUBBLE, Om0=OMEGA_M, Ob0=OMEGA_B, sigma8=SIGMA8, ns=SPECTRAL_INDEX,
        relspecies=False, persistence="",
    )  # fmt: skip
    return universe.matterPowerSpectrum(np.asarray(k, dtype=float) / h) / h**3


def wave_numbers(n: int, box: float, device: str | torch.device = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Wave numbers of a real transform.

    Parameters
    ----------
    n : int
        Cells along a side.
    box : float
        Side [Mpc].
    device : str or torch.device, optional
        Where the result is.

    Returns
    -------
    tuple of Tensor
        Components of k [1/Mpc], broadcastable to ``[n, n, n // 2 + 1]``.
    """
    full = torch.fft.fftfreq(n, box / n / (2 * np.pi), device=device)
    half = torch.fft.rfftfreq(n, box / n / (2 * np.pi), device=device)
    return full[:, None, None], full[None, :, None], half[None, None, :]


COLLAPSE = 0.6
"""Redshift at which a peak has collapsed, by the spherical top-hat model."""


def initial_density(n: int, box: float, seed: int, *, peak_mass: float = 0.0, device: str = "cpu") -> Tensor:
    """Transform of a Gaussian random density field, linearly extrapolated to today.

    Parameters
    ----------
    n : int
        Cells along a side.
    box : float
        Side [Mpc].
    seed : int
        Seed of the random numbers, which are the same on every device.
    peak_mass : float, optional
        Mass of a peak at the origin [solar masses]: the density in the top hat of that mass, and its zero
        gradient, are constraints on the random field (Hoffman & Ribak 1991, ApJ 380, L5).
    device : str, optional
        Torch device.

    Returns
    -------
    Tensor
        ``[n, n, n // 2 + 1]``, complex64, as from `torch.fft.rfftn`.

    Raises
    ------
    InputError
        If the peak's mass does not fit into the box.
    """
    white = np.random.default_rng([seed, 1]).standard_normal((n, n, n), dtype=np.float32)
    modes = torch.fft.rfftn(torch.from_numpy(white).to(device))
    kx, ky, kz = wave_numbers(n, box, device)
    k = torch.sqrt(kx**2 + ky**2 + kz**2)
    at = np.geomspace(2 * np.pi / box / 2, np.pi * n / box * 2, 400)
    known = np.interp(np.log(np.maximum(k.cpu().numpy(), at[0])), np.log(at), np.log(linear_power(at)))
    power = torch.from_numpy(np.exp(known).astype(np.float32) * np.float32((n / box) ** 3)).to(device)
    power[0, 0, 0] = 0
    modes *= power.sqrt()
    if peak_mass:
        _add_peak(modes, power, (kx, ky, kz), k, box, peak_mass)
    return modes


def _add_peak(
    modes: Tensor, power: Tensor, ks: tuple[Tensor, ...], k: Tensor, box: float, mass: float
) -> None:
    radius = (3 * mass / (4 * np.pi * MEAN_DENSITY)) ** (1 / 3)
    if radius > 0.4 * box:
        raise InputError(
            f"a cluster of {mass:.1e} solar masses comes from a sphere of {2 * radius:.0f} Mpc",
            f"make the box larger than {2.5 * radius:.0f} Mpc",
        )
    kr = (k * radius).clamp_min(1e-3)
    window = 3 * (torch.sin(kr) - kr * torch.cos(kr)) / kr**3
    height = 1.686 / growth(1 / (1 + COLLAPSE))[0]

    def at_origin(transform: Tensor) -> Tensor:
        return to_real(transform)[0, 0, 0]

    # the four constraints are uncorrelated, and so are imposed one by one
    for wanted, filtered in ((height, window), *((0.0, 1j * component * window) for component in ks)):
        variance = at_origin((power * filtered * filtered.conj()).to(modes.dtype))
        modes += power * filtered.conj() * ((wanted - at_origin(modes * filtered)) / variance)


START = 0.04
"""Scale factor of the initial conditions."""
CHUNK = 2**15
"""Particles that are processed together, so that they fit into a processor's cache."""


def evolve(
    density: Tensor,
    scale_factors: Sequence[float],
    *,
    steps: int = 24,
    fine: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Particles at given scale factors.

    Parameters
    ----------
    density : Tensor
        Transform of the linear density today, ``[n, n, n // 2 + 1]``.
    scale_factors : sequence of float
        Scale factors, increasing, above `START`.
    steps : int, optional
        Steps to the first scale factor; later steps are no longer than these.
    fine : int, optional
        Mesh cells of the forces along a side of a cell.
    progress : callable, optional
        Called with steps done and steps in all.

    Yields
    ------
    tuple
        Scale factor, positions ``[3, n**3]`` [cells, periodic] and momenta ``[3, n**3]``. The arrays change
        when the next ones are requested.
    """
    times = _times(scale_factors, steps)
    x, p = lagrangian(density, times[0], 0.5 / fine)
    n = density.shape[0]
    pull = acceleration(x, n, fine)
    wanted = {round(a, 9) for a in scale_factors}
    for i, (a, b) in enumerate(pairwise(times)):
        middle = (a + b) / 2
        p.add_(pull, alpha=(_momentum(middle) - _momentum(a)) / growth(a)[0])
        x.add_(p, alpha=(growth(b)[0] - growth(a)[0]) / _momentum(middle))
        x.remainder_(n)
        pull = acceleration(x, n, fine)
        p.add_(pull, alpha=(_momentum(b) - _momentum(middle)) / growth(b)[0])
        if progress is not None:
            progress(i + 1, len(times) - 1)
        if round(b, 9) in wanted:
            yield b, x, p


def _times(scale_factors: Sequence[float], steps: int) -> list[float]:
    # equal steps of sqrt(a): they are short early, when a step is a large factor of growth
    first = np.linspace(START**0.5, scale_factors[0] ** 0.5, steps + 1)
    times, width = [*first**2], first[-1] - first[-2]
    for a, b in pairwise(scale_factors):
        more = max(int(np.ceil((b**0.5 - a**0.5) / width - 1e-6)), 1)
        times += [*(np.linspace(a**0.5, b**0.5, more + 1)[1:] ** 2)]
    return [float(a) for a in times]


def _momentum(a: float) -> float:
    """Ratio of momentum to displacement of a growing mode, each over its growth factor: ``a**3 E dD/da``."""
    return a**3 * float(expansion(a)) * growth(a)[1]


def lagrangian(density: Tensor, a: float, start: float = 0.5) -> tuple[Tensor, Tensor]:
    """Particles from second-order Lagrangian perturbation theory.

    Parameters
    ----------
    density : Tensor
        Transform of the linear density today, ``[n, n, n // 2 + 1]``.
    a : float
        Scale factor.
    start : float, optional
        First point of the lattice [cells]. Half a cell off the mesh of the forces is best, because
        cloud-in-cell is linear in small displacements only there.

    Returns
    -------
    x, p : Tensor
        Positions and momenta, ``[3, n**3]`` [cells].
    """
    n = density.shape[0]
    ks = wave_numbers(n, n, density.device)
    inverse = -1 / (ks[0] ** 2 + ks[1] ** 2 + ks[2] ** 2).clamp_min(1e-12)
    inverse[0, 0, 0] = 0
    potential = density * inverse
    tidal = {(i, j): to_real(-ks[i] * ks[j] * potential) for i in range(3) for j in range(i, 3)}
    source = sum(tidal[i, i] * tidal[j, j] - tidal[i, j] ** 2 for i in range(3) for j in range(i + 1, 3))
    second = torch.fft.rfftn(source) * inverse
    del tidal, source
    size, slope = growth(a)
    at = torch.arange(n, device=density.device, dtype=torch.float32) + start
    x = torch.stack([blocked(g) for g in torch.meshgrid(at, at, at, indexing="ij")])
    p = torch.empty_like(x)
    rate = a**3 * float(expansion(a))
    for i in range(3):
        one = blocked(to_real(-1j * ks[i] * potential))
        # the second order grows as -3/7 D**2 (Bouchet et al. 1995)
        two = blocked(to_real(1j * ks[i] * second))
        x[i] += size * one - 3 / 7 * size**2 * two
        p[i] = rate * slope * (one - 6 / 7 * size * two)
    return x.remainder_(n), p


def blocked(mesh: Tensor) -> Tensor:
    """Values of a mesh, flattened block by block, so that neighbouring particles are processed together."""
    n = mesh.shape[0]
    side = math.gcd(n, 16)
    count = n // side
    return mesh.view(count, side, count, side, count, side).permute(0, 2, 4, 1, 3, 5).reshape(-1)


def acceleration(x: Tensor, n: int, fine: int = 1) -> Tensor:
    """Acceleration of particles: minus the gradient of the potential whose Laplacian is the overdensity.

    Parameters
    ----------
    x : Tensor
        ``[3, particles]`` [cells]
    n : int
        Cells along a side of the box.
    fine : int, optional
        Mesh cells along a side of a cell.

    Returns
    -------
    Tensor
        ``[3, particles]`` [cells]. The smoothing by the deposit is corrected. Differences over four cells,
        and the smoothing by interpolation, suppress scales that the mesh cannot resolve.
    """
    if fine > 1:
        return acceleration(x * fine, n * fine) / fine
    modes = torch.fft.rfftn(deposit(x, None, n))
    kx, ky, kz = (k.ravel() for k in wave_numbers(n, n, x.device))
    sharpen = [torch.sinc(k / (2 * np.pi)) ** -2 for k in (kx, ky, kz)]
    square = ky[:, None] ** 2 + kz**2
    part = sharpen[1][:, None] * sharpen[2] * (-(n**3) / x.shape[1])
    # plane by plane, so that the data stay in the processor's cache
    for i in range(n):
        modes[i] *= part * sharpen[0][i] / (square + kx[i] ** 2).clamp_min(1e-12)
    modes[0, 0, 0] = 0
    potential = to_real(modes)
    del modes
    pulls = torch.empty((n, n, n, 3), device=x.device)
    for i in range(n):
        plane = torch.nn.functional.pad(potential[i][None, None], (2,) * 4, mode="circular")[0, 0]
        around = (
            [potential[(i + s) % n] for s in (-2, -1, 1, 2)],
            [plane[s : s + n, 2:-2] for s in (0, 1, 3, 4)],
            [plane[2:-2, s : s + n] for s in (0, 1, 3, 4)],
        )
        pulls[i] = torch.stack([(d - a - 8 * (c - b)) / 12 for a, b, c, d in around], dim=-1)
    del potential
    return interpolate(pulls, x).T.contiguous()


def to_real(modes: Tensor) -> Tensor:
    """The inverse of `torch.fft.rfftn`, ``[n, n, n]``."""
    n = modes.shape[0]
    if modes.device.type != "cpu":
        return torch.fft.irfftn(modes, s=(n, n, n))
    # on a CPU three times as fast as PyTorch's
    mesh = ducc0.fft.c2r(
        modes.numpy(), axes=(0, 1, 2), lastsize=n, forward=False, inorm=2, nthreads=torch.get_num_threads()
    )
    return torch.from_numpy(mesh)


def corners(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Flat indices and weights ``[8, m]`` of the cells around positions ``[3, m]``; z changes fastest."""
    low = torch.floor(x)
    part = x - low
    both = torch.stack([low, low + 1])
    at = both.sub_(torch.floor(both / n), alpha=n).int()
    share = torch.stack([1 - part, part])
    index = (at[:, None, 0] * n + at[None, :, 1]).mul_(n)[:, :, None] + at[None, None, :, 2]
    weight = (share[:, None, 0] * share[None, :, 1])[:, :, None] * share[None, None, :, 2]
    return index.view(8, -1), weight.view(8, -1)


def deposit(x: Tensor, values: Tensor | None, n: int) -> Tensor:
    """Cloud-in-cell sums on a mesh.

    Parameters
    ----------
    x : Tensor
        Positions, ``[3, particles]`` [cells].
    values : Tensor or None
        ``[particles]``; None for ones.
    n : int
        Cells along a side.

    Returns
    -------
    Tensor
        ``[n, n, n]``
    """
    # weights of a cell and of the next in z as one complex number: half as many indices
    pairs = torch.zeros(n**3, device=x.device, dtype=torch.complex64)
    for start in range(0, x.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        index, weight = corners(x[:, part], n)
        if values is not None:
            weight = weight * values[part]
        pairs.index_add_(0, index[::2].reshape(-1), torch.complex(weight[::2], weight[1::2]).view(-1))
    mesh = pairs.view(n, n, n)
    return mesh.real + mesh.imag.roll(1, -1)


def interpolate(mesh: Tensor, x: Tensor) -> Tensor:
    """Cloud-in-cell values at positions ``[3, m]`` [cells].

    Parameters
    ----------
    mesh : Tensor
        ``[n, n, n]``, or ``[n, n, n, k]`` for several values in each cell.
    x : Tensor
        ``[3, m]`` [cells]

    Returns
    -------
    Tensor
        ``[m]``, or ``[m, k]``.
    """
    n = mesh.shape[0]
    rows = mesh.reshape(n**3, -1)
    values = torch.empty((x.shape[1], rows.shape[1]), device=x.device)
    for start in range(0, x.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        index, weight = corners(x[:, part], n)
        values[part] = torch.nn.functional.embedding_bag(
            index.T.contiguous(), rows, mode="sum", per_sample_weights=weight.T.contiguous()
        )
    return values.view(-1, *mesh.shape[3:])


CONTRAST = 200.0
"""Mean density within a halo's radius, over the mean matter density."""
LARGEST_RADIUS = 3.0
"""Largest radius of a halo [Mpc]."""
LEAST_MASS = 1e12
"""Least mass of a halo [solar masses]."""


def find_haloes(density: Tensor, box: float) -> Array32:
    """Haloes around maxima of the density, none within a more massive one.

    Parameters
    ----------
    density : Tensor
        Density over its mean, ``[n, n, n]``.
    box : float
        Side [Mpc].

    Returns
    -------
    array
        ``[m, 5]``: position [Mpc], mass [solar masses] and radius [Mpc], the most massive first.
    """
    n = density.shape[0]
    cell = box / n
    wrapped = torch.nn.functional.pad(density[None, None], (2,) * 6, mode="circular")
    peak = (density == torch.nn.functional.max_pool3d(wrapped, 5, 1)[0, 0]) & (density > CONTRAST)
    places = peak.nonzero().cpu().numpy()
    values = density.cpu().numpy()
    offset = np.arange(-(reach := min(int(LARGEST_RADIUS / cell) + 1, n // 2 - 1)), reach + 1)
    r = np.sqrt(offset[:, None, None] ** 2 + offset[:, None] ** 2 + offset**2).ravel()
    order = np.argsort(r, kind="stable")
    order, counts = order[r[order] <= reach], np.arange(1, len(order) + 1)
    found = []
    for place in places:
        inside = np.cumsum(values[np.ix_(*((c + offset) % n for c in place))].ravel()[order])
        beyond = inside / counts[: len(order)] < CONTRAST
        last = int(np.argmax(beyond)) if beyond.any() else len(order) - 1
        mass = inside[last] * cell**3 * MEAN_DENSITY
        found.append([*(place * cell), mass, np.cbrt(3 * mass / (4 * np.pi * CONTRAST * MEAN_DENSITY))])
    haloes = np.array(sorted(found, key=lambda h: -h[3]), dtype=np.float32).reshape(-1, 5)
    kept: list[Array32] = []
    for halo in haloes[haloes[:, 3] > LEAST_MASS]:
        away = np.array([np.abs((k[:3] - halo[:3] + box / 2) % box - box / 2) for k in kept]).reshape(-1, 3)
        if not any(np.linalg.norm(a) < k[4] for a, k in zip(away, kept)):
            kept.append(halo)
    return np.array(kept, dtype=np.float32).reshape(-1, 5)
