"""Axes, grid, frequencies, unit and beam of a FITS header, each checked before any data are read."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from faintsky.arrays import Float
from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT, ImageGrid, Layout, Spectral, beam_frame, is_regridded
from faintsky.io.cards import HI, LEAST_FREQUENCY, number
from faintsky.io.sources import quiet_reading
from faintsky.units import read_unit


def read_wcs(header: Any, name: str) -> Any:
    """The world coordinate system of a header, with all its axes.

    Raises
    ------
    InputError
        If astropy cannot read it, or it has neither right ascension and declination nor Galactic longitude
        and latitude.
    """
    for key in header["WCSAXES*"]:
        # some huge numbers crash wcslib, and the process with it
        if not 0 <= (number(header[key]) or 0) <= 32:
            raise InputError(f"{key} is {header[key]}", "set it to the number of axes", name)
    try:
        with quiet_reading():
            wcs = _wcs(header)
    except Exception as error:
        reason = [line for line in str(error).splitlines() if line.strip()]
        fault = f"its world coordinates cannot be read ({reason[-1].strip() if reason else 'invalid'})"
        raise InputError(fault, "correct the CTYPE, CRVAL, CDELT and CRPIX cards", name) from error
    if wcs.wcs.lng < 0 or wcs.wcs.lat < 0:
        raise InputError(
            "no celestial coordinates in its header", "add CTYPE, CRVAL, CDELT and CRPIX of RA and Dec", name
        )
    if wcs.wcs.lngtyp.strip() not in ("RA", "GLON"):
        fault = f"its axes are {wcs.wcs.lngtyp.strip('-')} and {wcs.wcs.lattyp.strip('-')}"
        hint = "regrid it to right ascension and declination, or to Galactic coordinates"
        raise InputError(fault, hint, name)
    angles = {f"CRVAL{wcs.wcs.lng + 1}": wcs.wcs.crval[wcs.wcs.lng]}
    angles |= {"LONPOLE": wcs.wcs.lonpole, "LATPOLE": wcs.wcs.latpole}
    for card, angle in angles.items():
        # larger angles lose their precision in rounding; nan is a missing card
        if abs(angle) > 3600:
            raise InputError(f"{card} is {angle:.4g} deg", "correct it", name)
    _require_frame(wcs, name)
    # NAXIS may count fewer axes than the coordinates, and astropy could then not slice these
    wcs.pixel_shape = None
    return wcs


def _wcs(header: Any) -> Any:
    """Astropy's coordinates of a header; a cube's include its SIP distortions."""
    from astropy.wcs import WCS

    if int(header.get("NAXIS", 2)) <= 2 or "A_ORDER" not in header:
        return WCS(header)
    plain = header.copy()
    for key in [*header["A_*"], *header["B_*"], *header["AP_*"], *header["BP_*"]]:
        del plain[key]
    wcs = WCS(plain)
    wcs.sip = WCS(header, naxis=2).sip
    return wcs


def _require_frame(wcs: Any, name: str) -> None:
    from astropy.wcs.utils import wcs_to_celestial_frame

    equinox = float(wcs.wcs.equinox)
    if np.isfinite(equinox) and not 1800 <= equinox <= 2200:
        raise InputError(f"its EQUINOX {equinox:.5g} is not a year", "set it to 2000 or 1950", name)
    try:
        wcs_to_celestial_frame(wcs)
    except ValueError as error:
        frame = str(wcs.wcs.radesys).strip()
        raise InputError(
            f"its reference frame RADESYS {frame!r} is unknown", "set it to ICRS, FK5 or FK4", name
        ) from error


def celestial_part(wcs: Any) -> Any:
    """The celestial axes of world coordinates: longitude, then latitude, whatever their order in the file."""
    from astropy.wcs import WCSSUB_LATITUDE, WCSSUB_LONGITUDE

    return wcs.sub([WCSSUB_LONGITUDE, WCSSUB_LATITUDE])


def read_layout(header: Any, wcs: Any, shape: tuple[int, ...], name: str) -> Layout:
    """Which axis of a file is which.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Its header.
    wcs : astropy.wcs.WCS
        Its coordinates, from `read_wcs`.
    shape : tuple of int
        Shape of the data, in numpy's order.
    name : str
        For messages.

    Returns
    -------
    Layout

    Raises
    ------
    InputError
        For an unknown axis longer than 1, or more data axes than the header describes.
    """
    n = len(shape)
    axes = [""] * n
    for fits_axis, label in ((wcs.wcs.lng, "x"), (wcs.wcs.lat, "y"), (wcs.wcs.spec, "chan")):
        if 0 <= fits_axis < n:
            axes[n - 1 - fits_axis] = label
    if "x" not in axes or "y" not in axes:
        raise InputError("its celestial axes have no data", "give an image of the sky", name)
    for index, label in enumerate(axes):
        if label or shape[index] == 1:
            continue
        axis = n - index
        kind = str(header.get(f"CTYPE{axis}", "")).strip()
        said = f"CTYPE{axis} {kind!r}" if kind else "no type"
        rest = "or give a plane of it" if kind else "with CRVAL, CDELT, CRPIX and CUNIT"
        fault = f"axis {axis} has {shape[index]} planes and {said}"
        raise InputError(fault, f"set CTYPE{axis} to FREQ [Hz] or VRAD [m/s], {rest}", name)
    return Layout(shape, tuple(axes))


def read_grid(wcs: Any, shape: tuple[int, ...], name: str) -> ImageGrid:
    """Cell and reference pixel of celestial axes.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Celestial, two axes.
    shape : tuple of int
        ``(..., y, x)``
    name : str
        For messages.

    Returns
    -------
    ImageGrid

    Raises
    ------
    InputError
        If pixels have no valid size.
    """
    matrix = wcs.pixel_scale_matrix
    with np.errstate(over="ignore", invalid="ignore"):
        x_scale, y_scale = np.hypot(*matrix[:, 0]), np.hypot(*matrix[:, 1])
    # from a picodegree to a radian: anything else is a mistake in the header
    if not (np.isfinite(matrix).all() and 1e-12 < x_scale < 57 and 1e-12 < y_scale < 57):
        raise InputError("its pixels have no valid size", "set CDELT1 and CDELT2 [deg]", name)
    # exact at the reference point, where beams are converted to pixels in SIN and NCP
    frame = beam_frame(wcs, shape)
    area = frame.area[0] if is_regridded(wcs) else abs(np.linalg.det(matrix)) * 3600**2
    if not (area > 0 and np.linalg.cond(frame.matrix[0]) < 1e9):
        raise InputError("its pixels have no area", "set CDELT and CD or PC of two different axes", name)
    n_y, n_x = shape[-2:]
    x0, y0 = (float(p) - 1 for p in wcs.wcs.crpix)
    ra, dec = (float(v) for v in wcs.wcs.crval)
    return ImageGrid(n_y, n_x, float(f"{np.sqrt(area):.12g}"), ra % 360.0, dec, x0, y0)


def header_unit(header: Any) -> Any | None:
    """The brightness unit of a header, see `faintsky.units.read_unit`; None without one."""
    text = str(header.get("BUNIT", "") or "").strip()
    return None if not text or text.lower() in ("none", "undefined") else read_unit(text)


_HISTORY_BEAM = re.compile(r"BMAJ=\s*(\S+)\s+BMIN=\s*(\S+)\s+BPA=\s*(\S+)")


def read_beam(header: Any) -> tuple[Float | None, list[str]]:
    """Beam ``[1, 3]`` (arcsec, arcsec, deg) of a header, or None; and notes.

    The cards are BMAJ, BMIN, BPA [deg]; then AIPS's history; then GIPSY's BMMAJ, BMMIN [arcsec], BMPA.
    """
    major, minor, pa = (number(header.get(key)) for key in ("BMAJ", "BMIN", "BPA"))
    if major is not None and minor is not None:
        silent = pa is not None or major == minor
        notes = [] if silent else ["the header has no BPA: taken as 0"]
        return np.array([[major * 3600, minor * 3600, pa or 0.0]]), notes
    for line in reversed(list(header.get("HISTORY", []))):
        found = _HISTORY_BEAM.search(str(line))
        values = [number(text) for text in found.groups()] if found else [None]
        if None not in values:
            return np.array([values]) * (3600, 3600, 1), ["the beam comes from the header's history"]
    major, minor = number(header.get("BMMAJ")), number(header.get("BMMIN"))
    if major is not None and minor is not None:
        return np.array([[major, minor, number(header.get("BMPA")) or 0.0]]), ["the beam is GIPSY's BMMAJ"]
    return None, []


MOST_FREQUENCY = 1e14
"""A higher frequency must have been given in another unit [Hz]."""
_CONVENTIONS = {"VRAD": "radio", "VOPT": "optical", "ZOPT": "optical", "VELO": "relativistic"}
_TO_HERTZ: dict[str, Callable[[Any, float], Any]] = {
    "FREQ": lambda value, rest: value,
    "WAVE": lambda value, rest: SPEED_OF_LIGHT / value,
    "ZOPT": lambda value, rest: rest / (1 + value),
    "VRAD": lambda value, rest: rest * (1 - value / SPEED_OF_LIGHT),
    "VOPT": lambda value, rest: rest / (1 + value / SPEED_OF_LIGHT),
    "VELO": lambda value, rest: rest * np.sqrt((SPEED_OF_LIGHT - value) / (SPEED_OF_LIGHT + value)),
}
"""Frequencies by the quantity of a spectral axis (Greisen et al. 2006, paper III)."""


def read_spectral(wcs: Any, n_chan: int, name: str) -> tuple[Spectral | None, list[str]]:
    """The spectral axis of a header, None where it has none, and notes.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Coordinates of the whole header, from `read_wcs`; its units are SI.
    n_chan : int
        Number of channels. A single channel may have an unknown frequency: there is a note, and None.
    name : str
        For messages.

    Returns
    -------
    spectral : Spectral or None
        None if there is no spectral axis.
    notes : list of str
        Assumptions.

    Raises
    ------
    InputError
        For an unknown quantity, or channels without extent.
    """
    if wcs.wcs.spec < 0:
        return None, []
    try:
        read = _read(wcs, n_chan, name)
    except InputError as error:
        if n_chan > 1:
            raise
        return None, [f"its frequency is not known: {error.fault}"]
    if read.relative and n_chan == 1:
        return None, ["its frequency is not known: a velocity axis without a rest frequency"]
    return read, [NO_REST] if read.relative else []


UNKNOWN_REST = 1e9
"""Rest frequency assumed for a velocity axis without one [Hz]."""
NO_REST = (
    f"its velocity axis has no rest frequency: there are velocities and fluxes, but no frequencies; "
    f"--rest-frequency gives it (of HI: {HI})"
)


def _read(wcs: Any, n_chan: int, name: str) -> Spectral:
    axis = wcs.wcs.spec + 1
    kind = wcs.wcs.ctype[wcs.wcs.spec][:4].strip()
    rest = _rest_frequency(wcs)
    cards = ", ".join(f"{card}{axis}" for card in ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT"))
    if kind not in _TO_HERTZ:
        raise InputError(f"its spectral axis is {kind}", "regrid it to frequency or velocity", name)
    relative = rest is None and kind in _CONVENTIONS
    if relative:
        rest = UNKNOWN_REST
    try:
        # by number, because a header may describe a second spectral axis, which has no data
        pixels = np.array([*range(n_chan), -0.5, 0.5], dtype=float)
        world = np.asarray(wcs.sub([axis]).wcs_pix2world(pixels, 0)[0], dtype=float)
    except ValueError as error:  # wcslib's
        raise InputError("its spectral axis cannot be computed", f"correct {cards}", name) from error
    with np.errstate(divide="ignore", invalid="ignore"):
        *_, low, high = hertz = _TO_HERTZ[kind](world, np.nan if rest is None else rest)
    centres = hertz[:-2]
    steps = np.diff(centres)
    good = (centres >= LEAST_FREQUENCY) & (centres < MOST_FREQUENCY)
    if not good.all() or np.any(steps == 0) or len(set(np.sign(steps))) > 1:
        span = f"{centres[0]:.4g} to {centres[-1]:.4g} Hz"
        raise InputError(f"its channels have no valid frequencies ({span})", f"correct {cards}", name)
    # VELREF: 1-7 optical, 256 added for radio (AIPS memo 27); if absent, the convention is not known
    said = "optical" if 0 < wcs.wcs.velref < 256 else "radio"
    convention = _CONVENTIONS.get(kind, said)
    return Spectral(centres, float(high - low), rest, str(wcs.wcs.specsys).strip(), convention, relative)


def _rest_frequency(wcs: Any) -> float | None:
    for value, wavelength in ((wcs.wcs.restfrq, False), (wcs.wcs.restwav, True)):
        if np.isfinite(value) and value > 0:
            return SPEED_OF_LIGHT / float(value) if wavelength else float(value)
    return None
