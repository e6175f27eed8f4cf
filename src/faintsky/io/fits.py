"""FITS files: which HDU holds the data, what its header says, and the data when they are asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.io.quiet import quiet_reading
from faintsky.io.source import Part, Source
from faintsky.units import axis_unit


def fits_source(path: Path) -> Source:
    """The first image of two or more axes in a FITS file; only headers are read.

    Raises
    ------
    InputError
        Where the file is missing, not FITS, truncated, or holds no image.
    """
    from astropy.io import fits

    if not path.exists():
        raise InputError("there is no such file", "check the path", path)
    if not path.is_file():
        raise InputError("is not a file", "give a FITS file", path)
    try:
        with quiet_reading(), fits.open(path) as hdus:
            index = _image_index(hdus, path)
            hdu = hdus[index]
            header, shape = hdu.header.copy(), tuple(int(n) for n in hdu.shape)
            _refuse_truncated(hdu, path)
            beams = beams_table(hdus)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    return Source(str(path), header, shape, partial(_read, path, index, shape), beams)


def _image_index(hdus: Any, path: Path) -> int:
    largest = 0
    for index, hdu in enumerate(hdus):
        if not getattr(hdu, "is_image", False):
            continue
        if len(hdu.shape) >= 2 and min(hdu.shape) > 0:
            return index
        largest = max(largest, len(hdu.shape))
    if largest == 1:
        raise InputError("its data are 1-dimensional", "give an image or a cube", path)
    raise InputError("holds no image", "give a FITS file with an image of 2 to 4 axes", path)


def _refuse_truncated(hdu: Any, path: Path) -> None:
    """Compare an uncompressed file's length with what its header announces."""
    if path.suffix not in (".fits", ".fit", ".fts"):
        return
    info = hdu.fileinfo()
    expected = info["datLoc"] + hdu.size if info else 0
    actual = path.stat().st_size
    if actual < expected:
        raise InputError(f"is truncated ({actual} of {expected} bytes)", "copy or download it again", path)


def _read(path: Path, index: int, shape: tuple[int, ...], part: Part) -> NDArray[Any]:
    from astropy.io import fits

    try:
        with quiet_reading(), fits.open(path) as hdus:
            whole = hdus[index].data
            fits_in, data = whole.shape == shape, np.array(whole[part])
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if not fits_in:
        raise InputError("changed while it was open", "run again", path)
    return data


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()
    text = reason[0].rstrip(".") if reason else type(error).__name__
    if isinstance(error, EOFError) or "buffer is too small" in text:
        return InputError("is truncated", "copy or download it again", path)
    if "SIMPLE" in text or "Empty or corrupt" in text or "No SIMPLE" in text:
        if path.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".zip")):
            return InputError("is an archive", "unpack it, and give the FITS file in it", path)
        return InputError("is not a FITS file", "give a .fits, .fits.gz or .fits.fz file", path)
    return InputError(f"cannot be read as FITS ({text[:120]})", "give a whole FITS file", path)


def beams_table(hdus: Any) -> NDArray[np.float64] | None:
    """Rows ``[row, 5]`` of the BEAMS table that CASA writes, or AIPS's CG, see `Source`; None without any."""
    for hdu in hdus:
        columns = {str(n).upper(): n for n in getattr(getattr(hdu, "columns", None), "names", None) or []}
        if not {"BMAJ", "BMIN", "BPA"} <= set(columns) or not len(hdu.data):
            continue
        table = np.full((len(hdu.data), 5), np.nan)
        for k, (name, wanted) in enumerate((("BMAJ", "arcsec"), ("BMIN", "arcsec"), ("BPA", "deg"))):
            unit = axis_unit(str(hdu.columns[columns[name]].unit or wanted))
            if unit is None or not unit.is_equivalent(wanted):
                raise ValueError(f"unit of {name} in its beams table")
            table[:, k] = np.asarray(hdu.data[columns[name]], dtype=float) * unit.to(wanted)
        for k, name in ((3, "CHAN"), (4, "POL")):
            if name in columns:
                table[:, k] = hdu.data[columns[name]]
        return table
    return None
