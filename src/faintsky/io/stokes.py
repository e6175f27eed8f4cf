"""One Stokes plane of a file that holds several."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from faintsky.errors import InputError
from faintsky.io.source import Source


def choose_stokes(source: Source, wanted: str | None) -> tuple[Source, int, list[str]]:
    """The file with one of its Stokes planes, that plane's number in the file, and notes.

    Parameters
    ----------
    source : Source
        With or without a Stokes axis.
    wanted : str, optional
        ``I``, ``Q``, ``RR``, ``XX`` …; where not given, I of several planes, or the only one.

    Raises
    ------
    InputError
        Where the file has no such plane, or several without I and none is chosen.
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
    part = tuple(slice(k, k + 1) if i == index else slice(None) for i in range(len(source.shape)))
    shape = tuple(1 if i == index else n for i, n in enumerate(source.shape))
    notes = [] if asked else [f"Stokes I of {listed}; --stokes takes another"]
    chosen = replace(source, header=header, shape=shape, read=lambda _: source.read(part))
    return chosen, k, notes


def stokes_planes(header: Any, shape: tuple[int, ...]) -> list[str]:
    """Letters of the Stokes planes of a file, empty where it has no Stokes axis.

    ``I``, ``Q`` … for the FITS standard's positive codes, ``RR``, ``XX`` … for the negative ones.
    """
    from astropy.coordinates import StokesCoord

    axis = _stokes_axis(header, shape)
    codes = _codes(header, axis, shape[len(shape) - axis]) if axis else []
    symbols = [str(StokesCoord(round(c)).symbol) if abs(c) < 100 else "?" for c in codes]
    return [f"code {code:g}" if symbol == "?" else symbol for symbol, code in zip(symbols, codes)]


def _stokes_axis(header: Any, shape: tuple[int, ...]) -> int:
    """Its number from 1 as FITS counts, 0 for none."""
    types = [str(header.get(f"CTYPE{n}", "")).strip().upper() for n in range(1, len(shape) + 1)]
    return types.index("STOKES") + 1 if "STOKES" in types else 0


def _codes(header: Any, axis: int, count: int) -> list[float]:
    """The axis's values, by CRVAL, CDELT and CRPIX, each 1 where it is missing or no number."""
    cards = []
    for key in ("CRVAL", "CDELT", "CRPIX"):
        try:
            value = float(header.get(f"{key}{axis}", 1))
        except (TypeError, ValueError):
            value = 1.0
        cards.append(value if np.isfinite(value) else 1.0)
    first, step, pixel = cards
    return [first + (k + 1 - pixel) * step for k in range(count)]
