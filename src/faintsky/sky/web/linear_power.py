"""The universe the cosmic web grows in: distances, linear growth, linear power, initial conditions.

The cosmology is that of Gheller & Vazza (2021); lengths are in comoving Mpc (not Mpc/h), and densities are
the linear ones of today, to be scaled by the growth factor.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faintsky.errors import InputError

OMEGA_M, OMEGA_B, HUBBLE, SIGMA8 = 0.308, 0.0478, 67.8, 0.815
SPECTRAL_INDEX = 0.96
"""Of the primordial fluctuations; the paper gives none."""
MEAN_DENSITY = OMEGA_M * 2.775e11 * (HUBBLE / 100) ** 2
"""Matter [solar masses / Mpc3]."""
LIGHT = 299792.458
"""[km/s]"""


def expansion(a: NDArray[np.floating] | float) -> NDArray[np.floating]:
    """Hubble rate over today's, at scale factor ``a``, in a flat universe of matter and Lambda."""
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


def comoving_distance(z: NDArray[np.floating] | float) -> NDArray[np.floating]:
    """Line-of-sight comoving distance [Mpc], by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    z = np.asarray(z, dtype=float)
    at = z[..., None] / 2 * (nodes + 1)
    return LIGHT / HUBBLE * z / 2 * np.sum(weights / expansion(1 / (1 + at)), axis=-1)


def linear_power(k: NDArray[np.floating]) -> NDArray[np.floating]:
    """Linear matter power spectrum of today [Mpc3] at ``k`` [1/Mpc], after Eisenstein & Hu (1998).

    Raises
    ------
    InputError
        Where colossus is not installed.
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
    """Components of k [1/Mpc] of a real transform ``[n, n, n // 2 + 1]``, broadcastable."""
    full = torch.fft.fftfreq(n, box / n / (2 * np.pi), device=device)
    half = torch.fft.rfftfreq(n, box / n / (2 * np.pi), device=device)
    return full[:, None, None], full[None, :, None], half[None, None, :]


def initial_density(
    n: int,
    box: float,
    seed: int,
    *,
    peak_mass: float = 0.0,
    collapse: float = 0.6,
    fixed: bool = False,
    device: str = "cpu",
) -> Tensor:
    """The transform of a Gaussian random density field, linearly extrapolated to today.

    Parameters
    ----------
    n : int
        Cells a side.
    box : float
        Side [Mpc].
    seed : int
        Of the numbers; the same on every device.
    peak_mass : float, optional
        Put a peak at the origin that holds this mass [solar masses]: the density in the top hat of that mass,
        and its zero gradient, are constraints on the random field (Hoffman & Ribak 1991, ApJ 380, L5).
    collapse : float, optional
        Redshift by which the peak has collapsed, as a top hat does.
    fixed : bool, optional
        Amplitudes equal to their expectation, phases random (Angulo & Pontzen 2016): for comparisons.
    device : str, optional

    Returns
    -------
    Tensor
        ``[n, n, n // 2 + 1]``, complex64, as `torch.fft.rfftn` has it.

    Raises
    ------
    InputError
        Where the peak's mass does not fit into the box.
    """
    white = np.random.default_rng([seed, 1]).standard_normal((n, n, n), dtype=np.float32)
    modes = torch.fft.rfftn(torch.from_numpy(white).to(device))
    if fixed:
        modes = modes / modes.abs().clamp_min(1e-20) * n**1.5
    kx, ky, kz = wave_numbers(n, box, device)
    k = torch.sqrt(kx**2 + ky**2 + kz**2)
    at = np.geomspace(2 * np.pi / box / 2, np.pi * n / box * 2, 400)
    known = np.interp(np.log(np.maximum(k.cpu().numpy(), at[0])), np.log(at), np.log(linear_power(at)))
    power = torch.from_numpy(np.exp(known).astype(np.float32) * np.float32((n / box) ** 3)).to(device)
    power[0, 0, 0] = 0
    modes *= power.sqrt()
    if peak_mass:
        _add_peak(modes, power, (kx, ky, kz), k, box, peak_mass, collapse)
    return modes


def _add_peak(
    modes: Tensor,
    power: Tensor,
    ks: tuple[Tensor, Tensor, Tensor],
    k: Tensor,
    box: float,
    mass: float,
    collapse: float,
) -> None:
    radius = (3 * mass / (4 * np.pi * MEAN_DENSITY)) ** (1 / 3)
    if radius > 0.4 * box:
        raise InputError(
            f"a cluster of {mass:.1e} solar masses comes from a sphere of {2 * radius:.0f} Mpc",
            f"make the box larger than {2.5 * radius:.0f} Mpc",
        )
    kr = (k * radius).clamp_min(1e-3)
    window = 3 * (torch.sin(kr) - kr * torch.cos(kr)) / kr**3
    n = modes.shape[0]
    height = 1.686 / growth(1 / (1 + collapse))[0]

    def at_origin(transform: Tensor) -> Tensor:
        return torch.fft.irfftn(transform, s=(n, n, n))[0, 0, 0]

    # the four constraints do not correlate with each other: each is met on its own
    for wanted, filtered in ((height, window), *((0.0, 1j * component * window) for component in ks)):
        variance = at_origin((power * filtered * filtered.conj()).to(modes.dtype))
        modes += power * filtered.conj() * ((wanted - at_origin(modes * filtered)) / variance)
