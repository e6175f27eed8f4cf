"""Header cards of AIPS, MIRIAD, GIPSY, GILDAS and CASA converted to the FITS standard; Stokes planes."""

import re
from dataclasses import replace
from typing import Any

import numpy as np

from faintsky.errors import InputError
from faintsky.io.sources import DataSource
from faintsky.units import axis_unit, quantity

HI = "1420.405752MHz"
LEAST_FREQUENCY = 1e6
"""A lower frequency must have been given in another unit [Hz]."""
_FRAMES = {
    "LSR": "LSRK", "LSD": "LSRD", "HEL": "BARYCENT", "BAR": "BARYCENT", "OBS": "TOPOCENT", "TOP": "TOPOCENT",
    "GEO": "GEOCENTR", "GAL": "GALACTOC", "LGR": "LOCALGRP", "CMB": "CMBDIPOL", "SOU": "SOURCE",
}  # fmt: skip
"""Spectral frames by the first letters of a CTYPE's suffix."""
_SPECTRAL = re.compile(r"(FREQ|FREQUENC|FREQUENCY|VELO|VELOCITY|VEL|FELO|VRAD|VOPT)(?:[-_ ]+([A-Z]\w*))?")
_CELESTIAL = re.compile(r"(RA|DEC|GLON|GLAT|ELON|ELAT)[-_ ]+([A-Z]{3})(-SIP)?")
_EXPECTED = {"FREQ": "Hz", "VRAD": "m/s", "VOPT": "m/s", "VELO": "m/s", "WAVE": "m", "AWAV": "m"}
_EQUINOXES = {"J2000": "FK5", "B1950": "FK4", "ICRF": "ICRS"}
_REST = ("RESTFRQ", "RESTFREQ", "FREQ0", "LINEFREQ")
"""Cards of the rest frequency [Hz], in order of preference; FREQ0 is GIPSY's."""


def number(value: Any) -> float | None:
    """A card's value as a number; None if it is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def standard_header(
    header: Any, shape: tuple[int, ...], name: str, rest_frequency: float | None = None
) -> tuple[Any, list[str]]:
    """A header whose coordinate cards wcslib understands, and notes on assumptions.

    Parameters
    ----------
    header : astropy.io.fits.Header
        The original, which is not changed.
    shape : tuple of int
        Shape of the data, in numpy's order.
    name : str
        For messages.
    rest_frequency : float, optional
        Rest frequency given by the user [Hz].

    Returns
    -------
    header : astropy.io.fits.Header
        A changed copy.
    notes : list of str
        The assumptions.

    Raises
    ------
    InputError
        For a unit that does not fit the axis; the message names the card and the unit expected.
    """
    fixed, notes = header.copy(), []
    for key in ("EQUINOX", "EPOCH"):
        year = re.fullmatch(r"[JB]?(\d{4}(?:\.\d*)?)", str(header.get(key, "")).strip().upper())
        if year and isinstance(header[key], str):
            fixed[key] = float(year[1])
    for key in ("RADESYS", "RADECSYS"):
        if isinstance(header.get(key), str):
            frame = header[key].strip().upper()
            fixed[key] = _EQUINOXES.get(frame, frame)
    for axis in range(1, 10):
        if isinstance(header.get(f"CTYPE{axis}"), str):
            planes = shape[len(shape) - axis] if axis <= len(shape) else 1
            notes += _standard_axis(header, fixed, axis, planes, name)
    notes += _standard_rest(header, fixed, rest_frequency)
    return fixed, notes


def _standard_axis(header: Any, fixed: Any, axis: int, planes: int, name: str) -> list[str]:
    """Type and unit of one axis."""
    written = header[f"CTYPE{axis}"].strip().upper()
    kind, frame, notes = _standard_type(written, header)
    fixed[f"CTYPE{axis}"] = kind
    if frame and not str(header.get("SPECSYS", "")).strip():
        fixed["SPECSYS"] = frame
    wanted = "deg" if _CELESTIAL.fullmatch(kind) else _EXPECTED.get(kind[:4])
    card = f"CUNIT{axis}"
    text = str(header.get(card, "")).strip()
    if wanted is None:
        if kind == "STOKES":
            fixed.remove(card, ignore_missing=True)
        return notes
    if not text:
        return [*notes, f"{card} is missing: taken as m/s"] if wanted == "m/s" else notes
    unit = axis_unit(text)
    if unit is not None and unit.is_equivalent(wanted):
        fixed[card] = unit.to_string("fits")
        return notes
    if planes == 1 and wanted != "deg":
        fixed[f"CTYPE{axis}"] = ""
        fixed.remove(card, ignore_missing=True)
        return [*notes, f"{card} {text!r} fits no axis of CTYPE{axis} {written}: the axis was left out"]
    raise InputError(
        f"{card} is {text!r} on an axis of CTYPE{axis} {written}", f"set {card} to {wanted}", name
    )


def _standard_type(written: str, header: Any) -> tuple[str, str, list[str]]:
    """CTYPE by the standard, the spectral frame that it names, and notes.

    Velocities of the AIPS convention (``VELO-LSR``) are optical unless VELREF says radio (256 and above), as
    wcslib has it; ``FELO`` is an optical velocity on an axis that is regular in frequency (Greisen et al.
    2006, section 4).
    """
    place = _CELESTIAL.fullmatch(written)
    if place:
        return f"{place[1]:-<5}{place[2]:->3}"[-8:] + (place[3] or ""), "", []
    found = _SPECTRAL.fullmatch(written)
    if found is None:
        return written, "", []
    kind, tail = found[1], found[2] or ""
    frame = _FRAMES.get(tail[:3], "")
    if tail == "LSRD":
        frame = "LSRD"
    if tail and not frame:
        return written, "", []  # an algorithm, such as VOPT-F2W
    if kind.startswith("FREQ"):
        return "FREQ", frame, []
    if kind == "FELO":
        return "VOPT-F2W", frame, []
    if kind.startswith("VR") or kind.startswith("VO") or (kind == "VELO" and not tail):
        return kind, frame, []
    velref = number(header.get("VELREF")) or 0
    radio = velref >= 256 or (velref == 0 and kind != "VELO")
    said = f"CTYPE {written} without VELREF: taken as {'radio' if radio else 'optical'} velocities"
    return "VRAD" if radio else "VOPT", frame, [] if velref else [said]


def _standard_rest(header: Any, fixed: Any, given: float | None) -> list[str]:
    """RESTFRQ from the user or from any of the cards that hold it."""
    notes = []
    for card in _REST if given is None else ():
        value = number(header.get(card)) or 0.0
        if value >= LEAST_FREQUENCY:
            given = value
            break
        if value > 0:
            notes.append(f"{card} is {value:g} Hz, which is too low, and was ignored; it must be in Hz")
    for card in ("RESTFRQ", "RESTFREQ") if given is not None or notes else ():
        fixed.remove(card, ignore_missing=True)
    if given is not None:
        fixed["RESTFRQ"] = given
    return notes


def read_rest_frequency(value: Any) -> float | None:
    """The user's rest frequency [Hz] from a number in Hz, a quantity or text such as ``1420.405752MHz``.

    Raises
    ------
    InputError
        If it has no unit, or is below `LEAST_FREQUENCY`.
    """
    if value is None:
        return None
    hertz = quantity(value, "frequency", "--rest-frequency")
    if not LEAST_FREQUENCY <= hertz < float("inf"):
        raise InputError(f"--rest-frequency {value} is {hertz:g} Hz", f"give it with its unit, as {HI}")
    return hertz


def choose_stokes(source: DataSource, wanted: str | None) -> tuple[DataSource, int, list[str]]:
    """One Stokes plane of a file, its number in the file, and notes.

    Parameters
    ----------
    source : DataSource
        With or without a Stokes axis.
    wanted : str, optional
        ``I``, ``Q``, ``RR``, ``XX`` …; by default I, or the only plane.

    Raises
    ------
    InputError
        If the file has no such plane, or several without I and none is chosen.
    """
    names = stokes_planes(source.header, source.shape)
    asked = None if wanted is None else wanted.strip().upper()
    if not names:
        if asked not in (None, "I"):
            raise InputError(f"has no Stokes axis to take {asked} from", "leave out --stokes", source.name)
        return source, 0, []
    count, listed = len(names), ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
    plane = asked or ("I" if "I" in names or count > 1 else names[0])
    if plane not in names:
        fault = f"has {count} Stokes plane{'s' if count > 1 else ''} ({listed}), none of them {plane}"
        raise InputError(fault, f"choose one with --stokes, such as --stokes {names[0]}", source.name)
    k = names.index(plane)
    if count == 1:
        known = plane.isalpha() and plane != "I" and asked is None
        return source, 0, [f"these are data of Stokes {plane}"] if known else []
    axis = _stokes_axis(source.header, source.shape)
    index, header = len(source.shape) - axis, source.header.copy()
    code = _codes(source.header, axis, count)[k]
    header[f"CRVAL{axis}"], header[f"CRPIX{axis}"], header[f"CDELT{axis}"] = code, 1.0, 1.0
    header[f"NAXIS{axis}"] = 1

    def read(part: Any) -> Any:
        of = (slice(None),) * len(source.shape) if part is ... else part
        return source.read(tuple(slice(k, k + 1) if i == index else s for i, s in enumerate(of)))

    shape = tuple(1 if i == index else n for i, n in enumerate(source.shape))
    notes = [] if asked else [f"Stokes I of {listed}; --stokes selects another"]
    chosen = replace(source, header=header, shape=shape, read=read)
    return chosen, k, notes


def stokes_planes(header: Any, shape: tuple[int, ...]) -> list[str]:
    """Letters of the Stokes planes of a file; empty without a Stokes axis.

    ``I``, ``Q`` … for the FITS standard's positive codes, ``RR``, ``XX`` … for the negative ones.
    """
    from astropy.coordinates import StokesCoord

    axis = _stokes_axis(header, shape)
    codes = _codes(header, axis, shape[len(shape) - axis]) if axis else []
    symbols = [str(StokesCoord(round(c)).symbol) if abs(c) < 100 else "?" for c in codes]
    return [f"code {code:g}" if symbol == "?" else symbol for symbol, code in zip(symbols, codes)]


def _stokes_axis(header: Any, shape: tuple[int, ...]) -> int:
    """FITS number of the Stokes axis, from 1; 0 for none."""
    types = [str(header.get(f"CTYPE{n}", "")).strip().upper() for n in range(1, len(shape) + 1)]
    return types.index("STOKES") + 1 if "STOKES" in types else 0


def _codes(header: Any, axis: int, count: int) -> list[float]:
    """The axis's values by CRVAL, CDELT and CRPIX, each 1 if it is missing or not a number."""
    cards = (number(header.get(f"{key}{axis}", 1)) for key in ("CRVAL", "CDELT", "CRPIX"))
    first, step, pixel = (1.0 if value is None or not np.isfinite(value) else value for value in cards)
    return [first + (k + 1 - pixel) * step for k in range(count)]
