"""Values as users give them: numbers with units, positions, times."""

from __future__ import annotations

import math
import re

from faintsky.errors import InputError
from faintsky.units import quantity


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
    """Right ascension, from 0 to 360, and declination [deg]; numbers are degrees.

    Raises
    ------
    InputError
        Where they are no position; right ascensions may be given from -180 to 360.
    """
    from astropy.coordinates import Angle

    try:
        if isinstance(ra, str):
            ra = float(Angle(ra, unit="hourangle" if re.search(r"[hH:]", ra) else "deg").deg)
        if isinstance(dec, str):
            dec = float(Angle(dec, unit="deg").deg)
    except ValueError as error:
        raise InputError(f"position {ra!r} {dec!r} is not understood", "give degrees or 1h2m3s") from error
    if not -180 <= ra <= 360:
        raise InputError(f"right ascension {ra:g} is out of range", "give 0 to 360 deg, or -180 to 0")
    if not -90 <= dec <= 90:
        raise InputError(f"declination {dec:g} is out of range", "give -90 to 90 deg")
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
