"""LOFAR's primary beam: EveryBeam's where it is installed, otherwise a Gaussian.

The Gaussian has a full width at half maximum of 4.29 degrees at 150 MHz, which is the width of EveryBeam's
beam for fields of 24 tiles (HBA_DUAL_INNER) at a declination of 55 degrees; it scales with the wavelength.
EveryBeam (Hamaker's element model, times the factor of a tile's 16 dipoles) gives the Stokes-I power beam
averaged over baselines and time. It runs in a process of its own, since casacore, which it needs, brings
libraries of its own into a process.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.grid import ImageGrid

FWHM = np.deg2rad(4.29)
"""Of the Gaussian at `REFERENCE` [rad]."""
REFERENCE = 150e6
CHOICES = ("auto", "everybeam", "gaussian")
_NEEDED = ("casacore", "lofarantpos", "everybeam")


def choose_beam(choice: str) -> str:
    """``"everybeam"`` or ``"gaussian"`` for one of `CHOICES`.

    Raises
    ------
    InputError
        Where EveryBeam is asked for and not installed, or the choice is not known.
    """
    if choice not in CHOICES:
        raise InputError(f"primary beam {choice!r} is not known", f"choose from {', '.join(CHOICES)}")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if choice == "everybeam" and missing:
        raise InputError(f"{missing[0]} is not installed", "install faintsky[lofar], or choose gaussian")
    return "gaussian" if missing or choice == "gaussian" else "everybeam"


def gaussian_beam(grid: ImageGrid, freq: float) -> NDArray[np.float32]:
    """The Gaussian, ``[y, x]``, at ``freq`` [Hz]."""
    width = FWHM * REFERENCE / freq
    return np.exp(-4 * np.log(2) * (grid.radius() / width) ** 2).astype(np.float32)
