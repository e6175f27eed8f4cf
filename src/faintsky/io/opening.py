"""Open an image or a cube, with its companions, from a path or an object of another package."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.axes import Layout
from faintsky.beams import normalise_beams
from faintsky.companions import check_companion
from faintsky.errors import InputError
from faintsky.image import RadioCube, RadioData, RadioImage
from faintsky.io.header import celestial_part, read_beam, read_grid, read_layout, read_unit, read_wcs
from faintsky.io.objects import object_source
from faintsky.io.source import Source, as_float32
from faintsky.io.spectral import read_spectral
from faintsky.sky_frame import projection_notes

Companions = dict[str, Any]


def open_cube(
    source: Any, *, psf: Any = None, pb: Any = None, rms: Any = None, mask: Any = None
) -> RadioCube:
    """Open a spectral cube; data are read when first used.

    Parameters
    ----------
    source : path-like or object
        ``.fits``, ``.fits.gz``, ``.fits.fz`` with 3 or 4 axes in any order, a ``.zarr`` folder, or an HDU,
        a SpectralCube, a CCDData or a `RadioCube`.
    psf, pb, rms, mask : path-like, array or object, optional
        Dirty beam (1 at its central pixel), primary beam (0 to 1), noise (unit of the data) and where to
        look (not 0), ``[y, x]`` or ``[1 or chan, y, x]``.

    Returns
    -------
    RadioCube

    Raises
    ------
    InputError
        Naming the file, the fault and a hint.
    """
    if isinstance(source, RadioCube) and psf is pb is rms is mask is None:
        return source
    parts = _parts(as_source(source), {"psf": psf, "pb": pb, "rms": rms, "mask": mask})
    if parts["spectral"] is None or "chan" not in parts["layout"].axes:
        raise InputError("is a 2-D image, without a spectral axis", "give a cube [chan, y, x]", parts["name"])
    return RadioCube(**parts)


def open_image(
    source: Any, *, psf: Any = None, pb: Any = None, rms: Any = None, mask: Any = None
) -> RadioImage:
    """Open a 2-D image; as `open_cube`, for 2 to 4 axes of which the others have length 1."""
    if isinstance(source, RadioImage) and psf is pb is rms is mask is None:
        return source
    parts = _parts(as_source(source), {"psf": psf, "pb": pb, "rms": rms, "mask": mask})
    if parts["shape"][0] != 1:
        fault = f"is a cube of {parts['shape'][0]} channels"
        raise InputError(fault, "give one plane, or use it as a cube", parts["name"])
    return RadioImage(**parts)


def as_source(thing: Any) -> Source:
    """Header, shape and loader of a path or an object.

    Raises
    ------
    InputError
        Where nothing that is an image can be found in it.
    """
    from faintsky.io.fits import fits_source
    from faintsky.io.zarr_store import zarr_source

    if not isinstance(thing, str | os.PathLike):
        return object_source(thing)
    path = Path(thing)
    if path.is_dir():
        if (path / "table.dat").exists():
            raise InputError(
                "is a CASA image, which is not read", "write it as FITS with CASA's exportfits", path
            )
        return zarr_source(path)
    return fits_source(path)


def _parts(source: Source, companions: Companions) -> dict[str, Any]:
    """Arguments of `RadioData` for a source."""
    name = source.name
    if not 2 <= len(source.shape) <= 4:
        raise InputError(f"has {len(source.shape)} axes", "give data of 2 to 4 axes", name)
    wcs = read_wcs(source.header, name)
    layout = read_layout(source.header, wcs, source.shape, name)
    sizes = {axis: n for axis, n in zip(layout.axes, layout.shape, strict=True) if axis}
    shape = (sizes.get("chan", 1), sizes["y"], sizes["x"])
    unit, notes = read_unit(source.header)
    celestial = celestial_part(wcs)
    grid = read_grid(celestial, shape, name)
    beams, beam_notes = _beams(source, shape, grid.cell)
    notes = [*notes, *beam_notes]
    if beams is not None and companions.get("psf") is None:
        notes += projection_notes(celestial, shape)
    return {
        "name": name,
        "load": lambda: as_float32(layout.to_standard(source.load())),
        "shape": shape,
        "header": source.header,
        "layout": layout,
        "unit": unit,
        "wcs": celestial,
        "grid": grid,
        "spectral": read_spectral(source.header, wcs, shape[0], name),
        "beams": beams,
        "notes": notes,
        "companions": {
            kind: companion_loader(kind, value, shape, notes)
            for kind, value in companions.items()
            if value is not None
        },
    }


def _beams(
    source: Source, shape: tuple[int, ...], cell: float
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Beams ``[chan, 3]`` from the beams table, or else from the header."""
    bounds = {"largest": 2.0 * cell * max(shape[-2:]), "smallest": 0.1 * cell}
    table = source.beams
    if table is not None and len(table) in (1, shape[0]):
        beams, notes = normalise_beams(table, **bounds)
        if beams is not None:
            return np.broadcast_to(beams, (shape[0], 3)).copy(), notes
    raw, notes = read_beam(source.header)
    if raw is None:
        return None, notes
    beams, more = normalise_beams(raw, **bounds)
    return None if beams is None else np.broadcast_to(beams, (shape[0], 3)).copy(), [*notes, *more]


def companion_loader(
    kind: str, value: Any, shape: tuple[int, ...], notes: list[str]
) -> Callable[[], NDArray[np.float32]]:
    """A function that reads and checks a companion; what its header alone can tell is checked at once."""
    if isinstance(value, RadioData):
        return lambda: check_companion(kind, value.cube, shape, value.name, notes)
    if isinstance(value, np.ndarray):
        array = as_float32(value)
        cube = array[None] if array.ndim == 2 else array
        return lambda: check_companion(kind, cube, shape, kind, notes)
    source = as_source(value)
    layout = _companion_layout(source)
    sizes = {axis: n for axis, n in zip(layout.axes, layout.shape, strict=True) if axis}
    own = (sizes.get("chan", 1), sizes["y"], sizes["x"])
    if own[0] not in (1, shape[0]) or (kind != "psf" and own[1:] != tuple(shape[1:])):
        raise InputError(
            f"its shape {own} does not fit the data's {tuple(shape)}",
            f"give a {kind} of the data's shape, with one plane or one a channel",
            source.name,
        )
    return lambda: check_companion(
        kind, as_float32(layout.to_standard(source.load())), shape, source.name, notes
    )


def _companion_layout(source: Source) -> Layout:
    """The axes of a companion, which may have no coordinates: then ``[chan, y, x]`` with axes of length 1."""
    if not 2 <= len(source.shape) <= 4:
        raise InputError(f"has {len(source.shape)} axes", "give data of 2 to 4 axes", source.name)
    if source.header.get("CTYPE1") and source.header.get("CTYPE2"):
        return read_layout(source.header, read_wcs(source.header, source.name), source.shape, source.name)
    axes = [""] * len(source.shape)
    axes[-2:] = ["y", "x"]
    long_axes = [i for i, n in enumerate(source.shape[:-2]) if n > 1]
    if len(long_axes) > 1:
        raise InputError(f"has shape {source.shape}", "give data [chan, y, x]", source.name)
    if long_axes:
        axes[long_axes[0]] = "chan"
    return Layout(source.shape, tuple(axes))
