"""The primary beam as CASA models it.

CASA's voltage pattern of an antenna is the transform of a uniformly lit dish with a central hole. For ALMA's
12 m antennas it takes 10.7 m for the dish and 0.75 m for the hole, for the 7 m ones 6.25 m and 0.75 m. In the
hole's term CASA has ``b x`` where an annular aperture would have ``x / b``; that form is kept here, because
simulations must agree with CASA (it differs from the textbook's by 0.011 at most).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT

CUTOFF = 0.2
"""Primary beam below which images are blank, as tclean leaves them."""
_DISHES = {12.0: (10.7, 0.75), 7.0: (6.25, 0.75)}
# CASA tabulates its beam; that table's argument is this much smaller
_TABLE_SCALE = 0.99973


def primary_beam(radius: ArrayLike, freq: ArrayLike, diameter: float = 12.0) -> NDArray[np.float64]:
    """Power pattern, 1 on axis.

    Parameters
    ----------
    radius : array
        Distance from the pointing centre [rad].
    freq : array
        Frequency [Hz]; broadcast with ``radius``.
    diameter : float, optional
        Of the dish [m]: 12 or 7.

    Returns
    -------
    array
        ``[(a 2 J1(x)/x - 2 J1(b x)/(b x)) / (a - 1)]**2`` with b = dish / hole, a = b**2,
        x = pi dish radius freq / c.

    Raises
    ------
    InputError
        For a dish that CASA's model does not know.
    """
    from scipy.special import j1

    if diameter not in _DISHES:
        raise InputError(
            f"no primary beam is known for dishes of {diameter:g} m", "give an array of 12 m or of 7 m dishes"
        )
    dish, hole = _DISHES[diameter]
    x = _TABLE_SCALE * np.pi * dish / SPEED_OF_LIGHT * np.asarray(freq, dtype=float) * np.asarray(radius)
    x = np.maximum(x, 1e-9)
    b = dish / hole
    outer, inner = 2 * j1(x) / x, 2 * j1(b * x) / (b * x)
    return ((b * b * outer - inner) / (b * b - 1)) ** 2


def cutoff_radius(freq: float, diameter: float = 12.0, level: float = CUTOFF) -> float:
    """Radius [rad] at which the main lobe falls to ``level``."""
    from scipy.optimize import brentq

    width = SPEED_OF_LIGHT / freq / _DISHES.get(diameter, _DISHES[12.0])[0]
    return float(brentq(lambda r: float(primary_beam(r, freq, diameter)) - level, 0.0, 1.15 * width))
