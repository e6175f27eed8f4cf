"""Images and cubes in zarr: one array ``data``, the FITS header as text among the group's attributes."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from faintsky.errors import InputError
from faintsky.io.source import Source


def zarr_source(path: Path) -> Source:
    """A store written by `save_zarr`; only metadata are read.

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


def save_zarr(path: Path, data: ArrayLike, header: Any) -> None:
    """Write data with the axes of ``header`` into a new store, in chunks of one plane; in one step."""
    import zarr

    array = np.asarray(data)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        group = zarr.open_group(temporary, mode="w")
        group.attrs["header"] = header.tostring(sep="\n", endcard=False, padding=False)
        chunks = (1,) * (array.ndim - 2) + array.shape[-2:]
        store = group.create_array("data", shape=array.shape, chunks=chunks, dtype=array.dtype)
        store[...] = array
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
