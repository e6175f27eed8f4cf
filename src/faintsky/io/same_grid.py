"""Whether a companion that has coordinates lies on the pixels and channels of the data."""

from __future__ import annotations

import numpy as np

from faintsky.errors import InputError
from faintsky.grid import ARCSEC
from faintsky.image import RadioData

SHIFT, CELL = 0.5, 2e-3
"""Most that pixels or channels may be displaced, and a psf's cell may differ."""
BAND = 0.1
"""Most that the frequency of a single plane may lie outside of the data's."""


def require_same_grid(kind: str, other: RadioData, data: RadioData) -> None:
    """Refuse a companion of another field, pixel grid or frequency.

    A psf may have any number of pixels of the data's size, and be of any position within the field.

    Raises
    ------
    InputError
    """
    hint = f"give the {kind} of these data, regridded to them where need be"
    fault = _cell(other, data) if kind == "psf" else _shift(other, data)
    fault = fault or _channels(kind, other, data)
    if fault:
        raise InputError(fault, hint, other.name)


def _cell(other: RadioData, data: RadioData) -> str:
    own, wanted = other.wcs.pixel_scale_matrix, data.wcs.pixel_scale_matrix
    if np.abs(own - wanted).max() > CELL * np.abs(wanted).max():
        (x1, y1), (x2, y2) = (np.hypot(*m) * 3600 for m in (own, wanted))
        alike = abs(x1 - x2) <= CELL * x2 and abs(y1 - y2) <= CELL * y2
        return (
            f"its pixels are of {x1:.5g} x {y1:.5g} arcsec, those of the data of {x2:.5g} x {y2:.5g}"
            f"{', turned or mirrored' if alike else ''}"
        )
    ends = [d.sky((d.shape[2] - 1) / 2, (d.shape[1] - 1) / 2) for d in (other, data)]
    (ra1, dec1), (ra2, dec2) = np.deg2rad(ends)
    half = np.sin((dec1 - dec2) / 2) ** 2 + np.cos(dec1) * np.cos(dec2) * np.sin((ra1 - ra2) / 2) ** 2
    away = 2 * np.arcsin(np.sqrt(half)) / ARCSEC
    side = max(*data.shape[1:], *other.shape[1:]) * data.grid.cell
    return f"it is of another field, {away / 3600:.4g} deg away" if away > side else ""


def _shift(other: RadioData, data: RadioData) -> str:
    """Of a grid of points, where they lie in the data's pixels."""
    y, x = (
        v.ravel() for v in np.meshgrid(*(np.linspace(0, n - 1, 5) for n in data.shape[1:]), indexing="ij")
    )
    ra, dec = other.sky(x, y)
    on_sky = np.isfinite(ra) & np.isfinite(dec)
    if not on_sky.any():
        return ""
    x2, y2 = data.pixel(ra[on_sky], dec[on_sky])
    away = np.hypot(x2 - x[on_sky], y2 - y[on_sky])
    if not np.isfinite(away).any():
        return "it is of another field"
    most = float(np.nanmax(away))
    return f"its pixels lie up to {most:.4g} pixels from those of the data" if most > SHIFT else ""


def _channels(kind: str, other: RadioData, data: RadioData) -> str:
    if other.frequencies is None or data.frequencies is None:
        return ""
    own, wanted = other.frequencies, data.frequencies
    if len(own) == len(wanted) > 1:
        if np.all(np.abs(own - wanted) <= SHIFT * np.abs(np.gradient(wanted))):
            return ""
        return (
            f"its channels run from {own[0] / 1e9:.6g} to {own[-1] / 1e9:.6g} GHz, "
            f"those of the data from {wanted[0] / 1e9:.6g} to {wanted[-1] / 1e9:.6g}"
        )
    apart = max(float(wanted.min() / own[0]), float(own[0] / wanted.max()))
    if kind in ("psf", "pb") and len(own) == 1 and apart > 1 + BAND:
        return f"it is of {own[0] / 1e9:.5g} GHz, the data of {wanted[0] / 1e9:.5g}"
    return ""
