"""Units as headers and users spell them, and values with units."""

import re
import tomllib
from pathlib import Path
from typing import Any

from faintsky.errors import InputError

_KNOWN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_WORDS = {word: unit for unit, words in _KNOWN["brightness"].items() for word in words}
_AXIS = {word: unit for unit, words in _KNOWN["axis"].items() for word in words}
_PREFIXES = {"": "", "m": "m", "milli": "m", "u": "u", "micro": "u", "n": "n", "nano": "n", "mega": "M"}
_JANSKY = re.compile(r"(milli|micro|nano|mega|[mun])?_?(?:jy|janskys?|janskies)")
_TEMPERATURE = re.compile(r"(?i)([mu]?k)\s*[\s(\[_]\s*(?:t_?)?(?:mb|b|mainbeam|brightness)\s*[)\]]?")
_MOMENT = re.compile(r"(.+)/beam\s*[.*\s]\s*km\s*(?:/\s*s|[.\s]?s-1)")
UNITS: dict[str, dict[str, float]] = _KNOWN["factors"]
"""Factors to s, Hz, arcsec, hours, mm, m and Jy/beam; the usual unit first."""
PLAIN = ("hours", "length")
"""Kinds for which a number without a unit is accepted, in the usual unit."""


def read_unit(text: str) -> Any:
    """A brightness unit in any usual spelling.

    ``MJY`` is read as millijansky per beam or per pixel, and as megajansky per steradian. FITS cards cannot
    hold the Greek letter mu, and show ``?`` for it.

    Parameters
    ----------
    text : str
        ``JY/BEAM``, ``mJy beam-1``, ``K (Tmb)``, ``MJY/SR`` …

    Returns
    -------
    astropy.units.UnitBase
        `~astropy.units.UnrecognizedUnit` of the same text where it is not known. This includes antenna
        temperatures, ``K (Ta*)``, which are no brightness without the antenna's efficiency.
    """
    import warnings

    import numpy as np
    from astropy import units as u

    plain = _plain(text)
    moment = _MOMENT.fullmatch(plain)
    # in capitals, M may mean milli or mega
    candidates = () if text.strip() == "MK" else (f"{moment[1]} km / (beam s)" if moment else plain, text)
    for candidate in candidates:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", u.UnitsWarning)
                unit = u.Unit(candidate)
        except (ValueError, TypeError):
            continue
        if not isinstance(unit, u.UnitBase):  # a logarithm
            continue
        scale = unit.decompose().scale
        if unit.decompose().bases and np.isreal(scale) and np.isfinite(scale) and scale > 0:
            return unit
    return u.UnrecognizedUnit(text)


def _plain(text: str) -> str:
    """A unit's words in astropy's spelling."""
    plain = re.sub(r"^(\?{1,2}|Âµ|µ|μ)(?=[jJkK])", "u", text.strip().strip("'\"").strip())
    temperature = _TEMPERATURE.fullmatch(plain)
    plain = re.sub(r"(?i)\s+per\s+", "/", temperature[1] if temperature else plain)
    plain = re.sub(r"(?i)/\s*b\b", "/beam", plain)
    angular = bool(re.search(r"(?i)sr|ster", plain))
    return re.sub(r"[A-Za-z_]+", lambda found: _word(found[0], angular), plain)


def _word(word: str, angular: bool) -> str:
    low = word.lower()
    jansky = _JANSKY.fullmatch(low)
    if jansky is None:
        return _WORDS.get(low, word)
    if angular and jansky[1] == "m" and word != "mJy":
        return "MJy" if word[0] == "M" else word
    return _PREFIXES[jansky[1] or ""] + "Jy"


def unit_text(unit: Any) -> str:
    """A unit as FITS headers spell it."""
    import warnings

    from astropy import units as u

    unit = u.Unit(unit)
    for plain, spelled in (("Jy/beam", "Jy/beam"), ("Jy/pix", "Jy/pixel"), ("Jy/arcsec2", "Jy/arcsec2")):
        if unit == u.Unit(plain):
            return spelled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)
        try:
            return str(unit.to_string("fits"))
        except ValueError:
            return str(unit)


def is_brightness(unit: Any) -> bool:
    """Whether a unit gives fluxes: Jy/beam, Jy/pixel, Jy per solid angle, K, or multiples of them."""
    from astropy import units as u

    kinds = (u.Jy / u.beam, u.Jy / u.pix, u.Jy / u.arcsec**2, u.K)
    return any(unit.is_equivalent(kind) for kind in kinds)


def axis_unit(text: str) -> Any:
    """The unit of a coordinate axis in any usual spelling (``KM/S``, ``DEGREE`` …); None where unknown."""
    from astropy import units as u

    spelled = _AXIS.get(re.sub(r"[\s.*^()]", "", text.lower()))
    return None if spelled is None else u.Unit(spelled)


def quantity(value: Any, kind: str, option: str) -> float:
    """A number with its unit, such as ``"40min"``.

    Numbers in Python are in the usual unit already. Text (from the command line) and
    `~astropy.units.Quantity` have their own unit; text may leave it out for hours and mm.

    Parameters
    ----------
    value : float, str or Quantity
        What was given.
    kind : str
        One of `UNITS`.
    option : str
        The option, for messages.

    Returns
    -------
    float
        In s, Hz, arcsec, hours, mm, m or Jy/beam, by `kind`.

    Raises
    ------
    InputError
        Where there is no number, or no known unit.
    """
    if not isinstance(value, str):
        own = next(unit for unit, factor in UNITS[kind].items() if factor == 1)
        try:
            return float(value.to_value(own) if hasattr(value, "to_value") else value)
        except (TypeError, ValueError) as error:  # astropy's for units of another kind, too
            raise InputError(f"{option} {value!r} is not in {own}", f"give a number in {own}") from error
    known = {unit.lower(): factor for unit, factor in UNITS[kind].items()}
    match = re.fullmatch(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z/]*)\s*", value)
    *others, last = UNITS[kind]
    units = f"{', '.join(others)} or {last}" if others else last
    if match is None or match[2].lower() not in {"", *known}:
        raise InputError(f"{option} {value!r} is not a number with a unit", f"its unit is {units}")
    if not match[2] and kind not in PLAIN:
        raise InputError(f"{option} {value!r} has no unit", f"add {units}")
    return float(match[1]) * known.get(match[2].lower(), 1.0)


def in_unit(value: Any, unit: Any, what: str, name: str) -> Any:
    """A `~astropy.units.Quantity` as a number or array in a unit; other values are returned as they are.

    Parameters
    ----------
    value : object
        What was given.
    unit : str or Unit
        The unit wanted.
    what, name : str
        What the value is, and of which data; for messages.

    Returns
    -------
    object
        The number or array.

    Raises
    ------
    InputError
        Where the units are of different kinds.
    """
    from astropy import units as u

    if not hasattr(value, "to_value"):
        return value
    try:
        return value.to(unit).value
    except u.UnitConversionError as error:
        raise InputError(f"its {what} is in {value.unit}", f"give it in {unit}", name) from error
