"""Header, shape and lazily read data of a path or of an object of another package."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Float
from faintsky.errors import InputError, UnreadableError
from faintsky.io.boxes import read_box
from faintsky.units import axis_unit

Part = Any
"""A part of the data: a tuple of slices, or an ellipsis for all."""
Beams = Float


@dataclass(frozen=True)
class DataSource:
    """Data that have not been read yet.

    Parameters
    ----------
    name : str
        For messages: the path, or the object's type.
    header : astropy.io.fits.Header
        Header of the data.
    shape : tuple of int
        Shape of the data, in numpy's order.
    read : callable
        Returns the requested part of the array.
    beams : array, ``[row, 5]``, optional
        Rows of a beams table: major, minor [arcsec], position angle [deg], channel and Stokes plane; NaN
        where the table has no value.
    """

    name: str
    header: Any
    shape: tuple[int, ...]
    read: Callable[[Part], NDArray[Any]]
    beams: Beams | None = None

    def load(self) -> NDArray[Any]:
        """All data."""
        return self.read(...)


@contextmanager
def quiet_reading() -> Iterator[None]:
    """Ignore warnings of third-party readers about headers that they can read, within the block."""
    from astropy.io.fits.verify import VerifyWarning
    from astropy.utils.exceptions import AstropyUserWarning
    from astropy.wcs import FITSFixedWarning

    remarks = {
        # truncated files and other formats are recognised separately, with errors of one line
        AstropyUserWarning: "File may have been truncated|Unexpected extra padding|Unexpected bytes trailing|"
        "non-ASCII characters are present|Header block contains null bytes",
        # integer data whose BLANK is NaN after scaling
        RuntimeWarning: "invalid value encountered in cast|overflow encountered in cast",
    }
    with warnings.catch_warnings():
        # readable cards and units that violate the standard, as in many radio headers
        for category in (FITSFixedWarning, VerifyWarning):
            warnings.simplefilter("ignore", category)
        for category, text in remarks.items():
            warnings.filterwarnings("ignore", text, category)
        yield


def as_source(thing: Any) -> DataSource:
    """Header, shape and loader of a path, an HDU or a list of them, a SpectralCube, or an NDData.

    Raises
    ------
    InputError
        If it holds no image.
    """
    if not isinstance(thing, str | os.PathLike):
        source = _object_source(thing)
    elif ((path := Path(thing)) / "table.dat").exists():
        raise InputError(
            "is a CASA image, which is not read", "write it as FITS with CASA's exportfits", path
        )
    else:
        source = _zarr_source(path) if path.is_dir() else _fits_source(path)
    if not 2 <= len(source.shape) <= 4:
        raise InputError(f"has {len(source.shape)} axes", "give data of 2 to 4 axes", source.name)
    return source


def _fits_source(path: Path) -> DataSource:
    """The first image of two or more axes in a FITS file; only headers are read."""
    from astropy.io import fits

    if not path.exists():
        raise InputError("there is no such file", "check the path", path)
    if not path.is_file():
        raise InputError("is not a file", "give a FITS file", path)
    try:
        with quiet_reading(), fits.open(path) as hdus:
            images = [k for k, hdu in enumerate(hdus) if getattr(hdu, "is_image", False)]
            index = next((k for k in images if len(hdus[k].shape) >= 2 and min(hdus[k].shape) > 0), None)
            if index is None and any(len(hdus[k].shape) == 1 for k in images):
                raise InputError("its data are 1-dimensional", "give an image or a cube", path)
            if index is None:
                raise InputError("holds no image", "give a FITS file with an image of 2 to 4 axes", path)
            hdu = hdus[index]
            header, shape = hdu.header.copy(), tuple(int(n) for n in hdu.shape)
            if path.suffix in (".fits", ".fit", ".fts") and (info := hdu.fileinfo()):
                expected, actual = info["datLoc"] + hdu.size, path.stat().st_size
                if actual < expected:
                    fault = f"is truncated ({actual} of {expected} bytes)"
                    raise InputError(fault, "copy or download it again", path)
            beams = _beams_table(hdus)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    return DataSource(str(path), header, shape, partial(_read_fits, path, index, shape), beams)


def _read_fits(path: Path, index: int, shape: tuple[int, ...], part: Part) -> NDArray[Any]:
    from astropy.io import fits

    try:
        with quiet_reading(), fits.open(path) as hdus:
            hdu = hdus[index]
            fits_in = tuple(hdu.shape) == shape
            if part is ...:
                data = np.array(hdu.data)
            elif (kind := _plain_kind(path, hdu)) is not None:
                data = _read_plain(path, hdu, kind, part)
            else:  # only this section is read, unpacked and scaled, row by row
                data = np.array(hdu.section[part])
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if not fits_in:
        raise InputError("changed while it was open", "run again", path)
    return data


def _plain_kind(path: Path, hdu: Any) -> str | None:
    """Kind of the numbers of an image that lies in its file as it is."""
    kind, header = {-32: ">f4", -64: ">f8"}.get(hdu.header["BITPIX"]), hdu.header
    if not kind or type(hdu).__name__ not in ("PrimaryHDU", "ImageHDU"):
        return None
    if (header.get("BSCALE", 1), header.get("BZERO", 0)) != (1, 0):
        return None
    with path.open("rb") as file:
        return kind if file.read(6) == b"SIMPLE" else None


def _read_plain(path: Path, hdu: Any, kind: str, part: Part) -> NDArray[Any]:
    """A part of such an image: astropy's sections take microseconds a row."""
    with path.open("rb") as file:
        return read_box(file.fileno(), hdu.fileinfo()["datLoc"], hdu.shape, kind, part)


def _unreadable(path: Path, error: Exception) -> InputError:
    text = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    if isinstance(error, EOFError) or "buffer is too small" in text:
        return UnreadableError("is truncated", "copy or download it again", path)
    if "SIMPLE" in text or "Empty or corrupt" in text:
        if path.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".zip")):
            return UnreadableError("is an archive", "unpack it, and give the FITS file in it", path)
        return UnreadableError("is not a FITS file", "give a .fits, .fits.gz or .fits.fz file", path)
    return UnreadableError(f"cannot be read as FITS ({text[:120]})", "give a whole FITS file", path)


def _beams_table(hdus: Any) -> Beams | None:
    """Rows of the BEAMS table that CASA writes, or AIPS's CG, see `DataSource`; None without any."""
    for hdu in hdus:
        columns = {str(n).upper(): n for n in getattr(getattr(hdu, "columns", None), "names", None) or []}
        if not {"BMAJ", "BMIN", "BPA"} <= set(columns) or not len(hdu.data):
            continue
        table = np.full((len(hdu.data), 5), np.nan)
        for k, name in enumerate(("BMAJ", "BMIN", "BPA", "CHAN", "POL")):
            if name not in columns:
                continue
            table[:, k] = np.asarray(hdu.data[columns[name]], dtype=float)
            if k < 3:
                wanted = "deg" if name == "BPA" else "arcsec"
                unit = axis_unit(str(hdu.columns[columns[name]].unit or wanted))
                if unit is None or not unit.is_equivalent(wanted):
                    raise ValueError(f"unit of {name} in its beams table")
                table[:, k] *= unit.to(wanted)
        return table
    return None


def _zarr_source(path: Path) -> DataSource:
    """A store written by `faintsky.io.writing.write_zarr`; only metadata are read."""
    import zarr
    from astropy.io.fits import Header

    try:
        group = zarr.open_group(path, mode="r")
        array: Any = group["data"]
        text = group.attrs["header"]
    except (KeyError, OSError, ValueError) as error:
        fault = "is a folder, but not a zarr store of an image"
        raise InputError(fault, "give a FITS file or a store with data and header", path) from error
    header = Header.fromstring(str(text), sep="\n")
    return DataSource(str(path), header, tuple(array.shape), lambda part: np.asarray(array[part]))


def _object_source(thing: Any) -> DataSource:
    """Objects of other packages, recognised by their attributes rather than by their class."""
    name = type(thing).__name__
    hdus = _hdus(thing)
    for hdu in hdus:
        shape = tuple(int(n) for n in getattr(hdu, "shape", ()) or ())
        if getattr(hdu, "is_image", False) and len(shape) >= 2:
            return DataSource(name, hdu.header.copy(), shape, partial(_part_of, hdu), _beams_table(hdus))
    raise InputError(
        f"a {name} is not an image", "give a path, an HDU, a SpectralCube, an NDData, or use from_array"
    )


def _part_of(hdu: Any, part: Part) -> NDArray[Any]:
    data: NDArray[Any] = hdu.data[part]  # which may be masked
    return data


def _hdus(thing: Any) -> list[Any]:
    """The HDUs of an object; empty if there are none."""
    with quiet_reading():
        if hasattr(thing, "header") and hasattr(thing, "fileinfo"):
            return [thing]
        for attribute in ("hdulist", "hdu"):  # SpectralCube; the list also holds its beams
            found = getattr(thing, attribute, None)
            if found is not None:
                return list(found) if isinstance(found, list) else [found]
        if hasattr(thing, "data") and hasattr(thing, "mask") and getattr(thing, "wcs", None) is not None:
            return [_nddata_hdu(thing)]
    return [h for h in thing if hasattr(h, "header")] if isinstance(thing, list) else []


def _nddata_hdu(thing: Any) -> Any:
    """An HDU of an NDData or CCDData, whose unit and mask are separate from the data."""
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
