"""Values as users give them: numbers with units, positions, times."""

from __future__ import annotations

import math
import re

from faintsky.errors import InputError

UNITS = {
    "time": {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0},
    "frequency": {"": 1.0, "Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9, "THz": 1e12},
    "angle": {"": 1.0, "arcsec": 1.0, "mas": 1e-3, "arcmin": 60.0, "deg": 3600.0},
    "hours": {"": 1.0, "h": 1.0, "min": 1 / 60, "deg": 1 / 15},
    "length": {"": 1.0, "mm": 1.0},
    "brightness": {"": 1.0, "Jy/beam": 1.0, "mJy/beam": 1e-3, "uJy/beam": 1e-6},
}


def quantity(value: float | str, kind: str, option: str) -> float:
    """A number with an optional unit, e.g. ``"40min"``, in s, Hz, arcsec, hours, mm or Jy/beam by ``kind``.

    Raises
    ------
    InputError
        Naming the option.
    """
    known = {unit.lower(): factor for unit, factor in UNITS[kind].items()}
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z/]*)\s*", value)
        if match is None or match[2].lower() not in known:
            units = ", ".join(u for u in UNITS[kind] if u)
            raise InputError(f"{option} {value!r} is not a number with a unit", f"the units are {units}")
        return float(match[1]) * known[match[2].lower()]
    return float(value)


def positive(value: float | str, kind: str, option: str) -> float:
    """`quantity`, refused where it is not above 0."""
    number = quantity(value, kind, option)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{option} {value!r} is not above 0", "give a positive number")
    return number


def count(value: int, option: str, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``."""
    if int(value) != value or not low <= value <= high:
        raise InputError(f"{option} {value!r} is out of range", f"give a whole number of {low} to {high}")
    return int(value)


def direction(ra: float | str, dec: float | str) -> tuple[float, float]:
    """Right ascension and declination [deg]; numbers are degrees."""
    from astropy.coordinates import Angle

    try:
        if isinstance(ra, str):
            ra = float(Angle(ra, unit="hourangle" if re.search(r"[hH:]", ra) else "deg").deg)
        if isinstance(dec, str):
            dec = float(Angle(dec, unit="deg").deg)
    except ValueError as error:
        raise InputError(f"position {ra!r} {dec!r} is not understood", "give degrees or 1h2m3s") from error
    if not (math.isfinite(ra) and -90 <= dec <= 90):
        raise InputError(f"position {ra!r} {dec!r} is out of range", "give Dec in -90 to 90 deg")
    return ra % 360, dec


def start_mjd(value: str | float | None) -> float | None:
    """A UTC date as MJD [day]; numbers are MJD, None stays None."""
    if value is None or isinstance(value, int | float):
        return None if value is None else float(value)
    from astropy.time import Time

    try:
        return float(Time(value, scale="utc").mjd)
    except ValueError as error:
        raise InputError(f"start {value!r} is not a time", "give UTC as 2014-01-01T01:20:00") from error
