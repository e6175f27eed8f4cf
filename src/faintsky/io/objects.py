"""Objects of other packages, known by what they can do rather than by their class."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.io.fits import beams_table
from faintsky.io.quiet import quiet_reading
from faintsky.io.source import Part, Source


def object_source(thing: Any) -> Source:
    """Header, shape and loader of an HDU, an HDU list, a SpectralCube (or Projection), or an NDData.

    Raises
    ------
    InputError
        For anything else.
    """
    hdus = _hdus(thing)
    name = type(thing).__name__
    for hdu in hdus:
        shape = tuple(int(n) for n in getattr(hdu, "shape", ()) or ())
        if getattr(hdu, "is_image", False) and len(shape) >= 2:
            return Source(name, hdu.header.copy(), shape, partial(_data, hdu), beams_table(hdus))
    raise InputError(
        f"a {name} is not an image", "give a path, an HDU, a SpectralCube, an NDData, or use from_array"
    )


def _data(hdu: Any, part: Part) -> NDArray[Any]:
    data: NDArray[Any] = hdu.data[part]  # which may be masked
    return data


def _nddata_hdu(thing: Any) -> Any:
    """An HDU of an NDData or CCDData, which keep unit and mask apart from the data."""
    from astropy.io import fits

    header = fits.Header()
    for key, value in (getattr(thing, "meta", None) or {}).items():
        if len(key) <= 8 and isinstance(value, str | bool | int | float) and str(value).isascii():
            header[key] = value
    header.update(getattr(thing.wcs, "low_level_wcs", thing.wcs).to_header(relax=True))
    if getattr(thing, "unit", None) is not None:
        header["BUNIT"] = thing.unit.to_string()
    mask = np.ma.nomask if thing.mask is None else np.broadcast_to(thing.mask, np.shape(thing.data))
    return fits.ImageHDU(np.ma.array(thing.data, mask=mask), header)


def _hdus(thing: Any) -> list[Any]:
    """The HDUs in or behind an object; empty where there are none."""

    with quiet_reading():
        if hasattr(thing, "header") and hasattr(thing, "fileinfo"):
            return [thing]
        for attribute in ("hdulist", "hdu"):  # SpectralCube; the list also holds its beams
            found = getattr(thing, attribute, None)
            if found is not None:
                return list(found) if isinstance(found, list) else [found]
        if hasattr(thing, "data") and hasattr(thing, "mask") and getattr(thing, "wcs", None) is not None:
            return [_nddata_hdu(thing)]
        if isinstance(thing, list):
            return [h for h in thing if hasattr(h, "header")]
    return []
