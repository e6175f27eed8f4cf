"""Open an image or a cube, with its companions, from a path or an object of another package."""

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np

from faintsky.arrays import Array32, Float
from faintsky.beams import NARROW, channel_beams, given_beam, normalise_beams
from faintsky.companions import COMPANIONS, Box, Load, array_companion, as_float32, companion, require_shape
from faintsky.errors import InputError
from faintsky.grid import ARCSEC, Layout, projection_notes, separation
from faintsky.image import RadioCube, RadioData, RadioImage
from faintsky.io.cards import choose_stokes, read_rest_frequency, standard_header, stokes_planes
from faintsky.io.header import (
    celestial_part,
    header_unit,
    read_beam,
    read_grid,
    read_layout,
    read_spectral,
    read_wcs,
)
from faintsky.io.sources import DataSource, as_source
from faintsky.options import CubeOpening, with_options
from faintsky.units import is_brightness, quantity

LARGEST = 20.0
"""Largest beam, over the image's longer side; beyond this its unit must be wrong."""
SMALLEST = 0.1
"""Smallest beam [pixel]; below this its unit must be wrong."""

SHIFT = 0.5
"""Largest offset of a companion's pixels or channels from those of the data, in their own unit."""
CELL = 2e-3
"""Largest relative difference of a psf's cell."""
BAND = 0.1
"""Largest relative distance of a single plane's frequency from the data's."""


@with_options
def open_cube(source: Any, *, opening: CubeOpening) -> RadioCube:
    """Open a spectral cube; data are read when first used.

    Companions are ``[y, x]`` or ``[1 or chan, y, x]``. Those with coordinates must have the data's pixels and
    channels.

    Parameters
    ----------
    source : path-like or object
        ``.fits``, ``.fits.gz``, ``.fits.fz`` with 3 or 4 axes in any order, a ``.zarr`` folder, or an HDU,
        a SpectralCube, an NDData or a `RadioCube`.

    Returns
    -------
    RadioCube
        Its data are read when first used.

    Raises
    ------
    InputError
        Naming the file, the fault and a hint.
    """
    cube = _open(RadioCube, source, opening)
    if cube.spectral is None or "chan" not in cube.layout.axes:
        raise InputError(
            "is a 2-D image, without a spectral axis", "give a cube, or use faintsky denoise", cube.name
        )
    return cube


@with_options
def open_image(source: Any, *, opening: CubeOpening) -> RadioImage:
    """Open a 2-D image; as `open_cube`, for 2 to 4 axes, of which all but two have length 1.

    Parameters
    ----------
    source : path-like or object
        As for `open_cube`.

    Returns
    -------
    RadioImage
        Its data are read when first used.

    Raises
    ------
    InputError
        Naming the file, the fault and a hint.
    """
    image = _open(RadioImage, source, opening)
    if image.shape[0] != 1:
        raise InputError(
            f"is a cube of {image.shape[0]} channels", "give one plane, or use faintsky detect", image.name
        )
    return image


@with_options
def open_image_or_cube(source: Any, *, opening: CubeOpening) -> RadioImage | RadioCube:
    """Open data of one plane as an image, data of several as a cube; see `open_cube`.

    Parameters
    ----------
    source : path-like or object
        As for `open_cube`.
    """
    if not isinstance(source, RadioCube):
        image = _open(RadioImage, source, opening)
        if image.shape[0] == 1:
            return image
    return open_cube(source, **vars(opening))


def open_data(source: Any) -> RadioData:
    """Open an image or a cube without companions; see `open_cube`."""
    return _open(RadioData, source, CubeOpening())


def _open(made: type[Any], source: Any, opening: CubeOpening) -> Any:
    """An image or a cube with its companions."""
    given = {k: v for k in COMPANIONS if (v := getattr(opening, k)) is not None}
    beam, stokes, dish = opening.beam, opening.stokes, opening.dish
    rest = read_rest_frequency(opening.rest_frequency)
    if isinstance(source, RadioData):
        bare = not given and beam is stokes is rest is dish is None
        bare = bare and opening.kind == opening.continuum == "auto"
        if isinstance(source, made) and bare:
            return source
        parts = _again(source, stokes, rest)
    else:
        parts = _parts(as_source(source), stokes, rest, with_beam=beam is None)
    parts |= {k: v for k in ("kind", "continuum") if (v := getattr(opening, k, "auto")) != "auto"}
    data = made(**parts)
    if dish is not None:
        data.dish = quantity(dish, "diameter", "--dish")
        if not 0 <= data.dish < np.inf:
            raise InputError(f"dishes of {data.dish:g} m", "give --dish such as 7m, or 0m for a single dish")
    if beam is not None:
        own, faults = normalise_beams(given_beam(beam), **_bounds(data.shape, data.grid.cell))
        if own is None:
            raise InputError(faults[0], "check --beam, and the pixels of the image", data.name)
        data.beams = np.broadcast_to(own, (data.shape[0], 3)).copy()
        data.notes.append("the beam is the one given")
    if data.beams is not None and data.beams[:, 1].min() < NARROW * data.grid.cell:
        data.notes.append(
            f"the beam is narrower than {NARROW:g} pixels: fluxes of sources off the middle of a pixel are "
            "lower limits, and errors allow for that"
        )
    if data.beams is not None and (widest := data.beams[:, 0].max()) > data.grid.cell * max(data.shape[1:]):
        hint = "" if beam is not None else _unit_hint(widest, data.shape, data.grid.cell)
        data.notes.append(f"the beam is larger than the image{hint}")
    if data.beams is not None and "psf" not in given:
        data.notes += projection_notes(data.wcs, data.shape)
    data.notes[:] = dict.fromkeys(data.notes)  # data that are opened again have some notes already
    data.companions = {**data.companions, **{k: _companion(k, v, data) for k, v in given.items()}}
    return data


def _again(source: RadioData, stokes: str | None, rest: float | None) -> dict[str, Any]:
    """Arguments of `RadioData` for data that are open already."""
    choose_stokes(DataSource(source.name, source.header, source.layout.shape, lambda _: source.cube), stokes)
    parts = {f.name: getattr(source, f.name) for f in fields(source)}
    parts["load"], parts["notes"] = source.taken, list(source.notes)
    if rest is not None and source.spectral is not None:
        s = source.spectral
        scale = rest / s.rest_frequency if s.relative and s.rest_frequency else 1.0
        parts["spectral"] = replace(
            s, frequencies=s.frequencies * scale, width=s.width * scale, rest_frequency=rest, relative=False
        )
        parts["header"] = _with_rest(source.header, rest)
    return parts


def _loader(source: DataSource, layout: Layout, notes: list[str] | None = None) -> Load:
    """Reads ``[chan, y, x]``, or a part of it; notes are added to those of the data."""

    def read(box: Box | None = None) -> Array32:
        part: Any = ... if box is None else layout.native_part(box)
        array = layout.to_standard(source.read(part))
        return as_float32(array, notes, part=array.size < math.prod(source.shape))

    return read


def _with_rest(header: Any, rest: float) -> Any:
    header = header.copy()
    for key in ("RESTFREQ", "RESTWAV"):
        header.remove(key, ignore_missing=True)
    header["RESTFRQ"] = rest
    return header


def _parts(
    source: DataSource, stokes: str | None, rest: float | None, *, with_beam: bool = True
) -> dict[str, Any]:
    """Arguments of `RadioData` for a source."""
    name = source.name
    source, plane, notes = choose_stokes(source, stokes)
    header, more = standard_header(source.header, source.shape, name, rest)
    wcs = read_wcs(header, name)
    layout = read_layout(header, wcs, source.shape, name)
    shape = _planes(layout)
    celestial = celestial_part(wcs)
    grid = read_grid(celestial, shape, name)
    unit, unit_notes = _unit(source.header)
    beams, beam_notes = _beams(source, shape, grid.cell, plane) if with_beam else (None, [])
    spectral, spectral_notes = read_spectral(wcs, shape[0], name)
    said = [*notes, *more, *unit_notes, *beam_notes, *spectral_notes]
    return {
        "name": name, "load": _loader(source, layout, said), "shape": shape,
        "header": source.header if rest is None else _with_rest(source.header, rest), "layout": layout,
        "unit": unit, "wcs": celestial, "grid": grid, "spectral": spectral, "beams": beams,
        "notes": said,
    }  # fmt: skip


def _unit(header: Any) -> tuple[Any, list[str]]:
    """The unit of the data (Jy/beam if the header has none) and notes."""
    from astropy import units as u

    unit = header_unit(header)
    if unit is None:
        return u.Jy / u.beam, ["the header has no BUNIT: taken as Jy/beam"]
    if is_brightness(unit):
        return unit, []
    said = str(header["BUNIT"]).strip()
    return unit, [f"fluxes are not known: BUNIT {said!r} is not a known unit of brightness"]


def _bounds(shape: tuple[int, ...], cell: float) -> dict[str, float]:
    return {"largest": LARGEST * cell * max(shape[-2:]), "smallest": SMALLEST * cell}


def _unit_hint(major: float, shape: tuple[int, ...], cell: float) -> str:
    """A hint for a header whose beam [arcsec] would fit its image if the number were meant in arcsec."""
    fits = cell <= major / 3600 <= cell * max(shape[-2:])
    return ": BMAJ must be in degrees, and seems to be in arcsec" if fits else ""


def _beams(
    source: DataSource, shape: tuple[int, ...], cell: float, plane: int
) -> tuple[Float | None, list[str]]:
    """Beams ``[chan, 3]`` from the beams table, or else from the header."""
    table = [] if source.beams is None else [channel_beams(source.beams, shape[0], plane)]
    said: list[str] = []
    for raw, notes in (*table, read_beam(source.header)):
        said = notes
        if raw is not None:
            beams, more = normalise_beams(raw, **_bounds(shape, cell))
            if beams is None:
                more[0] += _unit_hint(np.max(raw[:, 0]), shape, cell)
            said = [*notes, *more]
            if beams is not None:
                return np.broadcast_to(beams, (shape[0], 3)).copy(), said
    return None, said


def _companion(kind: str, value: Any, data: RadioData) -> Load:
    """A function that reads and checks a companion; its header is checked at once."""
    if isinstance(value, np.ndarray):
        return array_companion(kind, value, data)
    if isinstance(value, RadioData):
        other = value
    else:
        source = as_source(value)
        if not (source.header.get("CTYPE1") and source.header.get("CTYPE2")):
            layout = _plain_layout(source)
            return companion(
                kind, _loader(source, layout), _planes(layout), data,
                source.name, _unit_factors(kind, source.header, source.name, data),
            )  # fmt: skip
        letters = stokes_planes(source.header, source.shape)
        wanted = stokes_planes(data.header, data.layout.shape)[:1]
        chosen = wanted[0] if wanted and wanted[0] in letters else None
        other = RadioData(**_parts(source, chosen, data.rest_frequency))
    require_shape(kind, other.shape, data.shape, other.name)
    _require_same_grid(kind, other, data)
    factors = _unit_factors(kind, other.header, other.name, data)
    own_unit = header_unit(other.header)
    return companion(
        kind, other.load, other.shape, data, other.name, factors, in_data_unit=own_unit == data.unit
    )


def _unit_factors(kind: str, header: Any, name: str, data: RadioData) -> Float:
    """Factors of noise or a residual to the data's unit, ``[chan]``; 1 for other companions."""
    if kind not in ("rms", "residual"):
        return np.ones(1)
    word, unit = "noise map" if kind == "rms" else kind, header_unit(header)
    if unit is None:
        data.notes.append(f"the {word} has no BUNIT: taken as {data.unit}, the unit of the data")
        return np.ones(1)
    try:
        return data.noise_factors(unit)
    except InputError as error:
        hint = error.hint or f"give the {word} in the unit of the data"
        raise InputError(error.fault, hint, name) from error


def _planes(layout: Layout) -> tuple[int, ...]:
    sizes = {axis: n for axis, n in zip(layout.axes, layout.shape, strict=True) if axis}
    return sizes.get("chan", 1), sizes["y"], sizes["x"]


def _plain_layout(source: DataSource) -> Layout:
    """The axes of a file without coordinates: ``[chan, y, x]`` with axes of length 1."""
    axes = [""] * len(source.shape)
    axes[-2:] = ["y", "x"]
    long_axes = [i for i, n in enumerate(source.shape[:-2]) if n > 1]
    if len(long_axes) > 1:
        raise InputError(f"has shape {source.shape}", "give data [chan, y, x]", source.name)
    if long_axes:
        axes[long_axes[0]] = "chan"
    return Layout(source.shape, tuple(axes))


def _require_same_grid(kind: str, other: RadioData, data: RadioData) -> None:
    """Refuse a companion of another field, pixel grid or frequency.

    A psf may have any number of pixels, and any position within the field; its cell must be the data's.

    Raises
    ------
    InputError
    """
    hint = f"give the {kind} of these data, regridded to their pixels if necessary"
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
    away = separation(*np.deg2rad(ends).ravel()) / ARCSEC
    side = max(*data.shape[1:], *other.shape[1:]) * data.grid.cell
    return f"it is of another field, {away / 3600:.4g} deg away" if away > side else ""


def _shift(other: RadioData, data: RadioData) -> str:
    """Distance between the pixels of two grids, as a message; empty if small enough."""
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
