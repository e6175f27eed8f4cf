"""Objects of other packages, known by what they can do rather than by their class."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.io.fits import beams_table
from faintsky.io.quiet import quiet_reading
from faintsky.io.source import Source


def object_source(thing: Any) -> Source:
    """Header, shape and loader of an HDU, an HDU list, a SpectralCube (or Projection), or a CCDData.

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
            load = partial(_data, hdu)
            return Source(name, hdu.header.copy(), shape, load, beams_table(hdus))
    raise InputError(
        f"a {name} is not an image", "give a path, an HDU, a SpectralCube, a CCDData, or use from_array"
    )


def _data(hdu: Any) -> NDArray[Any]:
    return np.asarray(hdu.data)


def _hdus(thing: Any) -> list[Any]:
    """The HDUs in or behind an object; empty where there are none."""
    from astropy.io import fits

    with quiet_reading():
        if hasattr(thing, "layout") and hasattr(thing, "cube"):  # our own classes, opened again
            return [fits.ImageHDU(thing.layout.to_native(thing.cube), thing.header)]
        if hasattr(thing, "header") and hasattr(thing, "fileinfo"):
            return [thing]
        for attribute in ("hdulist", "hdu"):  # SpectralCube; the list also holds its beams
            found = getattr(thing, attribute, None)
            if found is not None:
                return list(found) if isinstance(found, list) else [found]
        if hasattr(thing, "to_hdu") and hasattr(thing, "wcs"):  # CCDData keeps its mask apart
            hdus = list(thing.to_hdu())
            if getattr(thing, "mask", None) is not None:
                data = np.array(hdus[0].data, dtype=float)
                data[np.broadcast_to(thing.mask, data.shape)] = np.nan
                hdus[0] = fits.ImageHDU(data, hdus[0].header)
            return hdus
        if isinstance(thing, list):
            return [h for h in thing if hasattr(h, "header")]
    return []
