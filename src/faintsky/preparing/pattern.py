"""The primary beam over an image or cube: given, or the telescope's by the header; in the data or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faintsky.image import RadioData


def origin(data: RadioData) -> str:
    """``given``, ``header`` (the telescope is known by its name) or ``unknown``."""
    if data.pb is not None:
        return "given"
    name = str(data.header.get("TELESCOP", "")).strip().upper()
    return "header" if name == "ALMA" and data.frequencies is not None else "unknown"


def middle_plane(data: RadioData) -> NDArray[np.float64] | None:
    """The primary beam at the middle channel, ``[y, x]``; None where unknown."""
    if data.pb is not None:
        return np.nan_to_num(data.pb[data.pb.shape[0] // 2], nan=0.0).astype(float)
    if origin(data) == "header" and data.frequencies is not None:
        from faintsky.telescope.primary_beam import primary_beam

        middle = float(data.frequencies[data.shape[0] // 2])
        n_y, n_x = data.shape[1:]
        rows = (data.radius(np.arange(n_x), np.full(n_x, y)) for y in range(n_y))
        return np.nan_to_num(np.stack([primary_beam(row, middle) for row in rows]))
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
