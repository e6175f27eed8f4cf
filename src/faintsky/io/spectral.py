"""Frequencies from a header's spectral axis, whatever quantity it is in (Greisen et al. 2006, paper III)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT, Spectral
from faintsky.io.cards import HI, LEAST_FREQUENCY

MOST_FREQUENCY = 1e14
"""Above this a frequency was given in another unit [Hz]."""

_CONVENTIONS = {"VRAD": "radio", "VOPT": "optical", "ZOPT": "optical", "VELO": "relativistic"}


def read_spectral(wcs: Any, n_chan: int, name: str) -> tuple[Spectral | None, list[str]]:
    """The spectral axis of a header, None where it has none, and notes.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Of the whole header, as `faintsky.io.header.read_wcs` gives it; its units are SI.
    n_chan : int
        Number of channels. A single one whose frequency is not known is no fault: there is a note, and None.
    name : str
        For messages.

    Raises
    ------
    InputError
        For a velocity axis without a rest frequency, an unknown quantity, or channels without extent.
    """
    if wcs.wcs.spec < 0:
        return None, []
    try:
        return _read(wcs, n_chan, name), []
    except InputError as error:
        if n_chan > 1:
            raise
        return None, [f"its frequency is not known: {error.fault}"]


def _read(wcs: Any, n_chan: int, name: str) -> Spectral:
    axis = wcs.wcs.spec + 1
    kind = wcs.wcs.ctype[wcs.wcs.spec][:4].strip()
    rest = _rest_frequency(wcs)
    cards = ", ".join(f"{card}{axis}" for card in ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT"))
    if rest is None and kind in _CONVENTIONS:
        raise InputError(
            "a velocity axis without a rest frequency",
            f"give --rest-frequency (of HI: {HI}), or add RESTFRQ [Hz] to the header",
            name,
        )
    try:
        middles, edges = _world(wcs, np.arange(n_chan, dtype=float)), _world(wcs, np.array([-0.5, 0.5]))
    except ValueError as error:  # wcslib's
        raise InputError("its spectral axis cannot be computed", f"correct {cards}", name) from error
    at_rest = np.nan if rest is None else rest
    centres, ends = (_to_frequency(world, kind, at_rest, name) for world in (middles, edges))
    width = float(ends[1] - ends[0])
    bad_steps = n_chan > 1 and (np.any(np.diff(centres) == 0) or len(set(np.sign(np.diff(centres)))) > 1)
    good = (centres >= LEAST_FREQUENCY) & (centres < MOST_FREQUENCY)
    if not good.all() or bad_steps:
        span = f"{centres[0]:.4g} to {centres[-1]:.4g} Hz"
        raise InputError(f"its channels have no valid frequencies ({span})", f"correct {cards}", name)
    convention = _CONVENTIONS.get(kind)
    if convention is None:
        # VELREF: 1-7 optical, 256 added for radio (AIPS memo 27); absent means nothing is said
        velref = wcs.wcs.velref
        convention = "optical" if 0 < velref < 256 else "radio"
    return Spectral(centres, width, rest, str(wcs.wcs.specsys).strip(), convention)


def _world(wcs: Any, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    # by number, because a header may describe a second spectral axis that the data do not have
    return np.asarray(wcs.sub([wcs.wcs.spec + 1]).wcs_pix2world(pixels, 0)[0], dtype=float)


def _rest_frequency(wcs: Any) -> float | None:
    if np.isfinite(wcs.wcs.restfrq) and wcs.wcs.restfrq > 0:
        return float(wcs.wcs.restfrq)
    if np.isfinite(wcs.wcs.restwav) and wcs.wcs.restwav > 0:
        return SPEED_OF_LIGHT / float(wcs.wcs.restwav)
    return None


def _to_frequency(world: NDArray[np.float64], kind: str, rest: float, name: str) -> NDArray[np.float64]:
    if kind == "FREQ":
        return world
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "WAVE":
            return SPEED_OF_LIGHT / world
        if kind not in _CONVENTIONS:
            raise InputError(f"its spectral axis is {kind}", "regrid it to frequency or velocity", name)
        if kind == "ZOPT":
            return rest / (1 + world)
        beta = world / SPEED_OF_LIGHT
        if kind == "VRAD":
            return rest * (1 - beta)
        if kind == "VOPT":
            return rest / (1 + beta)
        return rest * np.sqrt((1 - beta) / (1 + beta))
