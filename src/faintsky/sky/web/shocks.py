"""Gas and its shocks from an N-body simulation.

Streams of dark matter cross where gas would be shocked, and their velocity dispersion corresponds to the heat
of the shocked gas. Density, mean velocity and dispersion of the particles on the mesh therefore stand for the
gas. A shock lies where the mean flow converges. The velocity jumps along the direction of strongest
compression, and the jump over the upstream sound speed gives the Mach number (Vazza et al. 2009).

The synchrotron emission is that of Hoeft & Brueggen (2007, MNRAS 375, 77). Electrons are accelerated from the
thermal ones behind the shock: a power law with the slope of diffusive shock acceleration joins the Maxwell
distribution such that it contains a given fraction of the thermal energy. While the electrons flow away from
the shock, they cool by synchrotron emission and by inverse Compton scattering of the microwave background.
Their total emission is given per area of the shock. The fraction depends on the Mach number like the
efficiency of acceleration (Kang et al. 2007, ApJ 669, 729, equation 8).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faintsky.arrays import Array, Array32, Int
from faintsky.sky.web.gravity import HUBBLE, OMEGA_B, deposit, interpolate, to_real, wave_numbers

WIDTH = 1.0
"""Standard deviation of the Gaussian that smooths all moments [cells]."""
FILL = 0.02
"""Weight of a second, wider Gaussian, needed in voids, which hold few particles."""
FILL_WIDTH = 4.0
"""Standard deviation of the second Gaussian [cells]."""
FLOOR = 140.0
"""Dispersion of gas at 10,000 K [(km/s)**2], due to the ultraviolet background; denser gas is hotter."""
REACH = 4
"""Distance within which gas before and behind a shock is sought [cells]."""
LEAST_JUMP = 15.0
"""Least convergence over a cell of a shock [km/s]."""
LEAST_DENSITY = 0.5
"""Least overdensity of a shock."""


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
        ``[3, m]``, int: indices on the mesh.
    downstream : array
        ``[3, m]``, unit vectors.
    mach, density, dispersion : array
        ``[m]``: Mach number, overdensity at the shock, and dispersion before it [(km/s)**2].
    area : array
        ``[m]``: area of the shock in the cell [cells squared].
    to_ridge : array
        ``[3, m]``: vector along the normal to the strongest convergence [cells].
    """

    cell: Int
    downstream: Array32
    mach: Array32
    density: Array32
    dispersion: Array32
    area: Array32
    to_ridge: Array32


def gas(x: Tensor, p: Tensor, a: float, n: int, box: float) -> Gas:
    """Gas from the particles of `faintsky.sky.web.gravity.evolve`.

    Parameters
    ----------
    x, p : Tensor
        Positions and momenta, ``[3, m]`` [cells].
    a : float
        Scale factor.
    n : int
        Cells along a side.
    box : float
        Side [Mpc].

    Returns
    -------
    Gas
    """
    unit = HUBBLE * box / n / a
    ks = wave_numbers(n, n, x.device)
    k2 = ks[0] ** 2 + ks[1] ** 2 + ks[2] ** 2
    near = torch.exp(-0.5 * WIDTH**2 * k2)
    both = near + FILL * torch.exp(-0.5 * FILL_WIDTH**2 * k2)

    def smoothed(mesh: Tensor, kernel: Tensor) -> Tensor:
        return to_real(torch.fft.rfftn(mesh) * kernel)

    mass = deposit(x, None, n) * (n**3 / x.shape[1])
    density = smoothed(mass, near).clamp_min(0)
    norm = smoothed(mass, both).clamp_min(1e-4) * (x.shape[1] / n**3)
    velocity = torch.stack([smoothed(deposit(x, q, n), both) / norm * unit for q in p])
    square = smoothed(deposit(x, p.square().sum(0), n), both) / norm * unit**2
    total = (square - velocity.square().sum(0)).clamp_min(0)
    dispersion = total.clone()
    # velocity gradients across the kernel are flow, not heat; cloud-in-cell has a variance of 1/6 per axis
    for v in velocity:
        for axis in range(3):
            dispersion -= (WIDTH**2 + 1 / 6) * _slope(v, axis).square()
    dispersion = torch.maximum(dispersion, 0.1 * total) / 3
    dispersion = torch.maximum(dispersion, FLOOR * density.clamp_min(1) ** (2 / 3))
    return Gas(density, velocity, dispersion)


def find_shocks(gas: Gas) -> Shocks:
    """Shocks of the gas."""
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
        # all cells along the normal together have the area of one: their fractions of the jump add up to 1
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
    """Mean displacement along the normal to the convergence within two cells, ``[3, m]``."""
    total = torch.zeros(x.shape[1], device=x.device)
    moment = torch.zeros_like(total)
    for t in np.arange(-2.0, 2.1, 0.5):
        found = interpolate(ridge, x + float(t) * normal) * float(1 - (t / 2.5) ** 2)
        total += found
        moment += float(t) * found
    return normal * (moment / total.clamp_min(1e-6))


WEB_FREQUENCY = 150e6
"""[Hz]"""
SCALE = 200.0
"""Radio power over that from the electrons' energy.

Equation 32 of Hoeft & Brueggen gives 39; this larger value gives the brightness of the fields of Gheller &
Vazza (2021). Observed relics also need more energy than freshly accelerated electrons have (Botteon et al.
2020, A&A 634, A64)."""
SHARE = 0.05
"""Fraction of the thermal energy in accelerated electrons behind the strongest shocks."""
WEAKEST = 1.6
"""Mach number below which there is no emission, because the electrons' spectrum is too steep."""
SEED_FIELD = 1e-4
"""Uniform primordial magnetic field, comoving [microgauss]."""
AMPLIFIED = 300.0
"""Largest amplification of the field by the dynamo in haloes."""
HALF_AT = 20.0
"""Overdensity where half of that amplification is reached."""
# The constants of nature are rounded: with more digits, the same seed would give another web.
_ERG_PER_KEV = 1.60218e-9
_CM_PER_MPC = 3.0857e24
_PROTON_MASS = 1.6726e-24
"""[g]"""
_CRITICAL_DENSITY = 1.878e-29
"""Of a universe with a Hubble constant of 100 km/s/Mpc [g/cm3]."""
_CHARGE = 4.80320e-10
"""Of an electron [statcoulomb]."""
_REST_ENERGY = 8.18711e-7
"""Of an electron [erg]."""
_LIGHT = 2.99792e10
"""Speed of light [cm/s]."""
_THOMSON = 6.65246e-25
"""Thomson cross-section [cm2]."""
_MOLECULAR_WEIGHT = 0.59
"""Mean mass of a particle of ionised gas, in proton masses."""
ELECTRONS = OMEGA_B * _CRITICAL_DENSITY * (HUBBLE / 100) ** 2 / (1.14 * _PROTON_MASS)
"""Mean number of electrons today [1/cm3]."""
PARTICLES = 1.92
"""Particles for each electron."""
KEV_PER_KMS2 = _MOLECULAR_WEIGHT * _PROTON_MASS * 1e10 / _ERG_PER_KEV
"""Temperature per (km/s)**2 of one-dimensional velocity dispersion [keV]."""
_RANGE = 1e9
"""Largest over smallest energy of the accelerated electrons."""


def jump_ratios(mach: Array) -> tuple[Array, Array]:
    """Ratios of density and temperature behind a shock to those before it (Rankine-Hugoniot, gamma = 5/3)."""
    m2 = np.square(mach)
    return 4 * m2 / (m2 + 3), (5 * m2 - 1) * (m2 + 3) / (16 * m2)


def mach_number(jump: Array, dispersion: Array) -> Array:
    """Mach number from the velocity jump [km/s] and the dispersion before the shock [(km/s)**2].

    The jump is ``3/4 v (1 - 1 / M**2)`` for a shock of speed v (Vazza et al. 2009, MNRAS 395, 1333).
    """
    x = jump / np.sqrt(5 / 3 * dispersion) * (2 / 3)
    return x + np.sqrt(x * x + 1)


def efficiency(mach: Array) -> Array:
    """Fraction of the shock's kinetic energy in accelerated particles, over that of the strongest shocks."""
    m = np.maximum(mach, 1.0)
    strong = (5.46 - 9.78 * (m - 1) + 4.17 * (m - 1) ** 2 - 0.337 * (m - 1) ** 3 + 0.57 * (m - 1) ** 4) / m**4
    return np.where(m > 2, strong, 1.96e-3 * (m * m - 1)) / 0.57


def magnetic_field(overdensity: Array, z: float) -> Array:
    """Magnetic field of gas by its overdensity [microgauss].

    The primordial field is compressed with the gas, and amplified in haloes: tens of nanogauss in
    filaments, a microgauss at the edges of groups and clusters, 3 microgauss in their cores.
    """
    frozen = SEED_FIELD * (1 + z) ** 2 * overdensity ** (2 / 3)
    return frozen * (1 + AMPLIFIED * overdensity / (overdensity + HALF_AT))


def background_field(z: float) -> float:
    """Magnetic field with the energy density of the microwave background [microgauss]."""
    return 3.24 * (1 + z) ** 2


def shock_power(
    mach: Array,
    electrons: Array,
    temperature: Array,
    field: Array,
    z: float,
    *,
    freq: float = WEB_FREQUENCY,
    share: Array | float | None = None,
) -> Array:
    """Radio power of a shock per area.

    Parameters
    ----------
    mach : array
        Mach number.
    electrons, temperature, field : array
        Density [1/cm3], temperature [keV] and magnetic field [microgauss] behind the shock.
    z : float
        Redshift.
    freq : float, optional
        Frequency in the rest frame [Hz].
    share : float or array, optional
        Fraction of the thermal energy in accelerated electrons; by default `SHARE` times the efficiency at
        the Mach number.

    Returns
    -------
    array
        [W / Hz / Mpc2]
    """
    from scipy.special import gammaln

    m = np.maximum(np.asarray(mach, dtype=float), WEAKEST)
    ratio, hotter = jump_ratios(m)
    s = (ratio + 2) / (ratio - 1)
    share = SHARE * efficiency(m) if share is None else np.asarray(share, dtype=float)
    kt = np.asarray(temperature, dtype=float) * _ERG_PER_KEV
    x = _joint(s, share)
    # dn/dE = level * E**-s for each electron; energies decrease at a rate of lost * E**2
    log_level = np.log(2 / np.sqrt(np.pi)) + (s + 0.5) * np.log(x) - x + (s - 1) * np.log(kt)
    gauss = np.asarray(field, dtype=float) * 1e-6
    energy = (gauss**2 + (background_field(z) * 1e-6) ** 2) / (8 * np.pi)
    lost = 4 / 3 * _THOMSON * _LIGHT * energy / _REST_ENERGY**2
    speed = _downstream_speed(m, ratio, hotter, kt)
    # electrons per area with Lorentz factor g: number * g**-p
    p = s + 1
    number = np.log(speed * electrons / (lost * (s - 1))) + log_level - s * np.log(_REST_ENERGY)
    gammas = gammaln(p / 4 + 19 / 12) + gammaln(p / 4 - 1 / 12) + gammaln((p + 5) / 4) - gammaln((p + 7) / 4)
    turn = 2 * np.pi * freq * _REST_ENERGY / _LIGHT / (3 * _CHARGE * gauss)
    emitted = np.log(np.sqrt(3) * _CHARGE**3 * gauss / (_REST_ENERGY * (p + 1)) * np.sqrt(np.pi) / 2)
    power = SCALE * np.exp(number + emitted + gammas - (p - 1) / 2 * np.log(turn))
    return np.where(np.asarray(mach) >= WEAKEST, power * (1e-7 * _CM_PER_MPC**2), 0.0)


def _joint(s: Array, share: Array | float) -> Array:
    """Energy at which the power law leaves the Maxwell distribution (outer crossing), in units of kT."""
    reach = np.where(np.abs(s - 2) < 1e-6, np.log(_RANGE), (1 - _RANGE ** (2 - s)) / np.maximum(s - 2, 1e-9))
    wanted = np.log(share * 1.5 * PARTICLES / (2 / np.sqrt(np.pi) * reach))
    x = np.full(np.shape(wanted), 12.0)
    for _ in range(40):
        x = np.maximum(2.5 * np.log(x) - wanted, 2.6)
    return x


def _downstream_speed(mach: Array, ratio: Array, hotter: Array, kt: Array) -> Array:
    """Speed of the gas behind the shock relative to it [cm/s]."""
    return mach / ratio * np.sqrt(5 / 3 * kt / hotter / (_MOLECULAR_WEIGHT * _PROTON_MASS))


def cooling_length(mach: Array, temperature: Array, field: Array, z: float) -> Array:
    """Distance behind a shock up to which electrons emit at 150 MHz (van Weeren et al. 2019).

    Parameters
    ----------
    mach, temperature, field : array
        Mach number, and temperature [keV] and magnetic field [microgauss] behind the shock.
    z : float
        Redshift.

    Returns
    -------
    array
        [Mpc, physical]
    """
    m = np.maximum(np.asarray(mach, dtype=float), WEAKEST)
    speed = _downstream_speed(m, *jump_ratios(m), np.asarray(temperature, dtype=float) * _ERG_PER_KEV)
    seen = np.sqrt(WEB_FREQUENCY / 1e9 * (1 + z))
    megayears = 1590 * np.sqrt(field) / ((field**2 + background_field(z) ** 2) * seen)
    return speed * megayears * 3.156e13 / _CM_PER_MPC
