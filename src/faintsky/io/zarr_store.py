"""Images and cubes in zarr: one array ``data``, the FITS header as text among the group's attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from faintsky.errors import InputError
from faintsky.io.source import Source


def zarr_source(path: Path) -> Source:
    """A store written by `faintsky.io.writing.write_zarr`; only metadata are read.

    Raises
    ------
    InputError
        For a folder that is no such store.
    """
    import zarr
    from astropy.io.fits import Header

    try:
        group = zarr.open_group(path, mode="r")
        array = group["data"]
        text = group.attrs["header"]
    except (KeyError, OSError, ValueError) as error:
        raise InputError(
            "is a folder, but no zarr store of an image",
            "give a FITS file or a store with data and header",
            path,
        ) from error
    header = Header.fromstring(str(text), sep="\n")
    source: Any = array
    return Source(str(path), header, tuple(source.shape), lambda part: np.asarray(source[part]))
