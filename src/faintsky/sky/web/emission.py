"""Synchrotron emission of shocks, after Hoeft & Brueggen (2007, MNRAS 375, 77), and the magnetic field.

Electrons are taken from the thermal ones behind the shock: a power law of the slope of diffusive shock
acceleration joins the Maxwell distribution where it then holds a given share of the thermal energy. They cool
while they flow away from the shock, by synchrotron emission and by scattering the microwave background; what
they emit all along their way is given per area of the shock. The share depends on the Mach number as the
efficiency of acceleration does (Kang et al. 2007, ApJ 669, 729, equation 8).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faintsky.sky.web.linear_power import HUBBLE, OMEGA_B

Array = NDArray[np.floating]

FREQUENCY = 150e6
"""[Hz]"""
SCALE = 200.0
"""Power over that of the electrons' energy. 39 would be equation 32 of Hoeft & Brueggen; this is what it
takes for fields as bright as those of Gheller & Vazza (2021). Observed relics ask for more than the energy of
freshly accelerated electrons as well (Botteon et al. 2020, A&A 634, A64)."""
SHARE = 0.05
"""Of the thermal energy, in accelerated electrons behind the strongest shocks."""
WEAKEST = 1.6
"""Mach number below which nothing is emitted: the slope there leaves nothing at these energies."""
SEED_FIELD = 1e-4
"""Uniform primordial magnetic field, comoving [microgauss]."""
AMPLIFIED, HALF_AT = 300.0, 20.0
"""Largest amplification by the dynamo in haloes, and the overdensity where half of it is reached."""
ELECTRONS = OMEGA_B * 1.878e-29 * (HUBBLE / 100) ** 2 / (1.14 * 1.6726e-24)
"""Mean number of electrons today [1/cm3]."""
PARTICLES = 1.92
"""Particles for each electron."""
KEV_PER_KMS2 = 0.59 * 1.6726e-24 * 1e10 / 1.60218e-9
"""Temperature [keV] for each (km/s)**2 of one-dimensional velocity dispersion."""

_KEV, _MPC = 1.60218e-9, 3.0857e24
_CHARGE, _REST, _LIGHT, _THOMSON = 4.80320e-10, 8.18711e-7, 2.99792e10, 6.65246e-25
_RANGE = 1e9
"""Largest over smallest energy of the accelerated electrons."""


def jump_ratios(mach: Array) -> tuple[Array, Array]:
    """Density and temperature behind a shock over those before it (Rankine-Hugoniot, gamma = 5/3)."""
    m2 = np.square(mach)
    return 4 * m2 / (m2 + 3), (5 * m2 - 1) * (m2 + 3) / (16 * m2)


def mach_number(jump: Array, dispersion: Array) -> Array:
    """Mach number from the velocity jump [km/s] and the dispersion before the shock [(km/s)**2].

    The jump is ``3/4 v (1 - 1 / M**2)`` of the shock's speed v (Vazza et al. 2009, MNRAS 395, 1333).
    """
    x = jump / np.sqrt(5 / 3 * dispersion) * (2 / 3)
    return x + np.sqrt(x * x + 1)


def efficiency(mach: Array) -> Array:
    """Share of the shock's kinetic energy in accelerated particles, over that of the strongest shocks."""
    m = np.maximum(mach, 1.0)
    strong = (5.46 - 9.78 * (m - 1) + 4.17 * (m - 1) ** 2 - 0.337 * (m - 1) ** 3 + 0.57 * (m - 1) ** 4) / m**4
    return np.where(m > 2, strong, 1.96e-3 * (m * m - 1)) / 0.57


def magnetic_field(overdensity: Array, z: float) -> Array:
    """Magnetic field [microgauss] of gas of this density over its mean.

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
    freq: float = FREQUENCY,
    share: Array | float | None = None,
) -> Array:
    """Power of a shock, for each area of it.

    Parameters
    ----------
    mach : array
    electrons, temperature, field : array
        Density [1/cm3], temperature [keV] and magnetic field [microgauss] behind the shock.
    z : float
    freq : float, optional
        Where it is emitted [Hz].
    share : float or array, optional
        Of the thermal energy in accelerated electrons; `SHARE` times the Mach-dependent efficiency.

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
    kt = np.asarray(temperature, dtype=float) * _KEV
    x = _joint(s, share)
    # dn/dE = level * E**-s for each electron; their energies are lost as lost * E**2
    log_level = np.log(2 / np.sqrt(np.pi)) + (s + 0.5) * np.log(x) - x + (s - 1) * np.log(kt)
    gauss = np.asarray(field, dtype=float) * 1e-6
    energy = (gauss**2 + (background_field(z) * 1e-6) ** 2) / (8 * np.pi)
    lost = 4 / 3 * _THOMSON * _LIGHT * energy / _REST**2
    speed = _downstream_speed(m, ratio, hotter, kt)
    # electrons on each area with Lorentz factor g: number * g**-p
    p = s + 1
    number = np.log(speed * electrons / (lost * (s - 1))) + log_level - s * np.log(_REST)
    gammas = gammaln(p / 4 + 19 / 12) + gammaln(p / 4 - 1 / 12) + gammaln((p + 5) / 4) - gammaln((p + 7) / 4)
    turn = 2 * np.pi * freq * _REST / _LIGHT / (3 * _CHARGE * gauss)
    emitted = np.log(np.sqrt(3) * _CHARGE**3 * gauss / (_REST * (p + 1)) * np.sqrt(np.pi) / 2)
    power = SCALE * np.exp(number + emitted + gammas - (p - 1) / 2 * np.log(turn))
    return np.where(np.asarray(mach) >= WEAKEST, power * (1e-7 * _MPC**2), 0.0)


def _joint(s: Array, share: Array | float) -> Array:
    """Where the power law leaves the Maxwell distribution, in units of kT (the outer crossing)."""
    reach = np.where(np.abs(s - 2) < 1e-6, np.log(_RANGE), (1 - _RANGE ** (2 - s)) / np.maximum(s - 2, 1e-9))
    wanted = np.log(share * 1.5 * PARTICLES / (2 / np.sqrt(np.pi) * reach))
    x = np.full(np.shape(wanted), 12.0)
    for _ in range(40):
        x = np.maximum(2.5 * np.log(x) - wanted, 2.6)
    return x


def _downstream_speed(mach: Array, ratio: Array, hotter: Array, kt: Array) -> Array:
    """Of the gas behind the shock, as seen from it [cm/s]."""
    return mach / ratio * np.sqrt(5 / 3 * kt / hotter / (0.59 * 1.6726e-24))


def cooling_length(mach: Array, temperature: Array, field: Array, z: float, freq: float = FREQUENCY) -> Array:
    """How far behind the shock electrons still shine at ``freq`` [Mpc, physical] (van Weeren et al. 2019)."""
    m = np.maximum(np.asarray(mach, dtype=float), WEAKEST)
    speed = _downstream_speed(m, *jump_ratios(m), np.asarray(temperature, dtype=float) * _KEV)
    megayears = (
        1590 * np.sqrt(field) / ((field**2 + background_field(z) ** 2) * np.sqrt(freq / 1e9 * (1 + z)))
    )
    return speed * megayears * 3.156e13 / _MPC
