"""The primary beam over an image or cube: given, or the telescope's by the header; in the data or not."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.grid import ARCSEC, SPEED_OF_LIGHT
from faintsky.image import RadioData

COMPACT, SINGLE = 60.0, 15.0
"""Wavelength over beam [m] below which ALMA's dishes are those of 7 m, whose longest baseline is 49 m, and
below which there is one dish only: its beam of 1.13 wavelengths over 12 m gives 10.6 m."""


def dish(data: RadioData) -> float | None:
    """Diameter of the dishes [m]: given, or ALMA's by the beam; 0 for a single dish; None where unknown.

    Headers of ALMA's arrays all say ``ALMA``.
    """
    if data.frequencies is None:
        return None
    if data.dish is not None:
        return data.dish
    if not re.match(r"(ALMA|ACA)\b", str(data.header.get("TELESCOP", "")).strip().upper()):
        return None
    if data.beams is None:
        return 12.0
    beam = np.sqrt(data.beams[:, 0] * data.beams[:, 1]) * ARCSEC
    longest = float(np.nanmedian(SPEED_OF_LIGHT / data.frequencies / beam))
    return 0.0 if longest < SINGLE else 7.0 if longest < COMPACT else 12.0


def origin(data: RadioData) -> str:
    """``given``, ``dishes of 12 m`` or what they measure, ``single dish`` (1 everywhere) or ``unknown``."""
    if data.pb is not None:
        return "given"
    diameter = dish(data)
    return "unknown" if diameter is None else f"dishes of {diameter:g} m" if diameter else "single dish"


def notes(data: RadioData) -> list[str]:
    """What is assumed of the dishes, in words."""
    if data.pb is not None or (diameter := dish(data)) is None:
        return []
    if diameter == 0:
        return ["a beam as wide as one dish's: fluxes are not divided by a primary beam; --dish sets others"]
    if data.dish is not None:
        return [f"primary beam of dishes of {diameter:g} m, as given"]
    told_by = "TELESCOP" if data.beams is None else "TELESCOP and the beam"
    return [f"primary beam of dishes of {diameter:g} m (from {told_by}); --dish sets others"]


def power(data: RadioData, x: ArrayLike, y: ArrayLike, freq: float) -> NDArray[np.float64]:
    """The telescope's primary beam at pixels and a frequency [Hz]; NaN where the dishes are not known."""
    from faintsky.telescopes.primary_beam import primary_beam

    diameter = dish(data)
    x = np.asarray(x, dtype=float)
    if not diameter:
        return np.full(x.shape, np.nan if diameter is None else 1.0)
    if diameter == 7.0:
        return primary_beam(data.radius(x, y), freq, 7.0)
    # others are lit as those of 12 m are
    return primary_beam(data.radius(x, y) * (diameter / 12.0), freq)


def middle_plane(data: RadioData) -> NDArray[np.float64] | None:
    """The primary beam at the middle channel, ``[y, x]``; None where unknown."""
    if data.pb is not None:
        return np.nan_to_num(data.pb[data.pb.shape[0] // 2], nan=0.0).astype(float)
    if dish(data) is not None and data.frequencies is not None:
        middle = float(data.frequencies[data.shape[0] // 2])
        n_y, n_x = data.shape[1:]
        rows = [power(data, np.arange(n_x), np.full(n_x, y), middle) for y in range(n_y)]
        return np.nan_to_num(np.stack(rows))
    return None


def in_data(
    plane: NDArray[np.float64] | None, noise: NDArray[np.floating] | None, valid: NDArray[np.bool_]
) -> bool:
    """Whether data are corrected for the primary beam: their noise rises as it falls.

    Parameters
    ----------
    plane, noise : array or None
        Primary beam and noise, in any unit, ``[y, x]``; None where unknown, and for flat noise.
    valid : array of bool
        Pixels that hold data.

    Returns
    -------
    bool
        True where the noise below 0.6 of the beam is three tenths higher than above 0.9.
    """
    if plane is None or noise is None:
        return False
    inner = noise[(plane > 0.9) & valid]
    outer = noise[(plane > 0.1) & (plane < 0.6) & valid]
    if inner.size < 10 or outer.size < 10:
        return False
    return bool(np.nanmedian(outer) > 1.3 * np.nanmedian(inner))
