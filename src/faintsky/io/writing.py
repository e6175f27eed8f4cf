"""Images and cubes to FITS and zarr, sources to DS9 and CRTF regions; no incomplete file is left."""

import gzip
import math
import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from faintsky.arrays import Array, Float
from faintsky.catalog import has_flag
from faintsky.image import RadioData
from faintsky.io.sources import quiet_reading
from faintsky.system import replacing, write_text
from faintsky.units import unit_text

_STRUCTURE = (
    "SIMPLE", "XTENSION", "BITPIX", "EXTEND", "PCOUNT", "GCOUNT", "GROUPS", "BSCALE", "BZERO", "BLANK",
    "DATAMIN", "DATAMAX", "CHECKSUM", "DATASUM", "EXTNAME", "EXTVER", "INHERIT", "CASAMBM",
)  # fmt: skip
_BLOCK = 2880
_CHUNK = 2**18


def write_fits(
    path: str | os.PathLike[str], data: NDArray[Any], header: Any, *, beams: Array | None = None
) -> Path:
    """Write an array as FITS in one step, without a copy in memory.

    Parameters
    ----------
    path : path-like
        ``.fits``, ``.fits.gz`` or ``.fits.fz``; an existing file is replaced.
    data : array
        Any number of axes; integers and booleans are written as int32, others as float32.
    header : astropy.io.fits.Header
        Its coordinates, unit and further cards; cards that describe the array are set here.
    beams : array, ``[1 or chan, 3]``, optional
        Major, minor [arcsec], position angle [deg]. The middle one becomes BMAJ, BMIN and BPA; several that
        differ also a BEAMS table, as CASA's exportfits has it.

    Returns
    -------
    pathlib.Path
    """
    from astropy.io import fits

    final, header = Path(path), header.copy()
    kind = np.dtype(">i4" if data.dtype.kind in "iub" else ">f4")
    table = None
    if beams is not None and add_beams(header, beams):
        table = _beams_hdu(beams)
    with quiet_reading(), replacing(final) as name:
        if final.suffix == ".fz":
            # lossless: the default quantisation would add noise of its own
            image = fits.CompImageHDU(
                data.astype(kind.newbyteorder("=")), header, compression_type="GZIP_2", quantize_level=0
            )
            hdus = [fits.PrimaryHDU(), image, *([] if table is None else [table])]
            fits.HDUList(hdus).writeto(name, output_verify="fix+ignore")
            return final
        opened: Any = gzip.open if final.suffix == ".gz" else open
        with opened(name, "wb") as file:
            file.write(_header_bytes(data.shape, kind, header))
            for part in _parts(data):
                file.write(part.astype(kind, order="C").data)
            file.write(b"\0" * (-4 * data.size % _BLOCK))
            if table is not None:
                file.write(_bytes_of(table))
    return final


def _header_bytes(shape: tuple[int, ...], kind: np.dtype[Any], header: Any) -> bytes:
    """The header of an image; astropy writes it for an array of this shape that takes no memory."""
    from astropy.io import fits

    hdu = fits.PrimaryHDU(np.broadcast_to(np.zeros(1, kind), shape), header.copy())
    hdu.verify("fix+ignore")
    return bytes(hdu.header.tostring(), "ascii")


def _bytes_of(table: Any) -> bytes:
    from astropy.io import fits

    buffer = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
    return buffer.getvalue()[_BLOCK:]


def add_beams(header: Any, beams: Array) -> bool:
    """Put the middle beam of ``[chan, 3]`` into a header; returns whether a table must hold them all."""
    major, minor, pa = (float(v) for v in beams[len(beams) // 2])
    header["BMAJ"], header["BMIN"], header["BPA"] = major / 3600, minor / 3600, pa
    if not np.ptp(beams, axis=0).any():
        return False
    header["CASAMBM"] = (True, "a BEAMS table holds the beam of every channel")
    return True


def append_beams(path: Path, beams: Array) -> None:
    """Add a table of beams ``[chan, 3]`` to a file of `begin_fits`, if they differ."""
    if np.ptp(beams, axis=0).any():
        with path.open("ab") as file:
            file.write(_bytes_of(_beams_hdu(beams)))


def _parts(data: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """An array in pieces of a megabyte, in order."""
    rows = np.atleast_1d(np.squeeze(data))
    step = max(1, _CHUNK * len(rows) // rows.size)
    for first in range(0, len(rows), step):
        yield rows[first : first + step]


def _beams_hdu(beams: Array) -> Any:
    from astropy.io import fits

    n = len(beams)
    columns = [
        fits.Column("BMAJ", "1E", unit="arcsec", array=beams[:, 0]),
        fits.Column("BMIN", "1E", unit="arcsec", array=beams[:, 1]),
        fits.Column("BPA", "1E", unit="deg", array=beams[:, 2]),
        fits.Column("CHAN", "1J", array=np.arange(n)),
        fits.Column("POL", "1J", array=np.zeros(n, dtype=int)),
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    hdu.header["NCHAN"], hdu.header["NPOL"] = n, 1
    return hdu


def write_zarr(path: str | os.PathLike[str], data: NDArray[Any], header: Any) -> Path:
    """Write an array and its header as a zarr store, in chunks of one plane; in one step.

    Parameters
    ----------
    path : path-like
        A ``.zarr`` folder; an existing one is replaced.
    data : array
        ``[..., y, x]``
    header : astropy.io.fits.Header
        Stored as text.

    Returns
    -------
    pathlib.Path
    """
    import zarr

    with replacing(path) as temporary:
        group = zarr.open_group(temporary, mode="w")
        group.attrs["header"] = header.tostring(sep="\n", endcard=False, padding=False)
        chunks = (1,) * (data.ndim - 2) + data.shape[-2:]
        store = group.create_array("data", shape=data.shape, chunks=chunks, dtype=data.dtype)
        store[...] = data
    return Path(path)


def save_like(
    path: str | os.PathLike[str],
    data: NDArray[Any],
    like: RadioData,
    *,
    unit: Any = None,
    kind: str = "",
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write an array as FITS (``.fits``, ``.fits.gz``, ``.fits.fz``) or ``.zarr`` with the axes of an input.

    Parameters
    ----------
    path : path-like
        Written in one step; an existing file is replaced.
    data : array
        ``[y, x]`` or ``[chan, y, x]``; integers and booleans are written as int32 labels, others as float32.
        An image made from a cube keeps the spectral axis, with one channel as wide as the band.
    like : RadioData
        The input; its header is kept, except for cards that describe its data.
    unit : astropy unit or str, optional
        BUNIT; by default the input's, or none for labels.
    kind : str, optional
        BTYPE, a word for the quantity.
    provenance : mapping, optional
        Written into the header: version, command, seed …

    Returns
    -------
    pathlib.Path
    """
    labels = data.dtype.kind in "iub"
    array = like.layout.to_native(data.astype(np.int32 if labels else np.float32, copy=False))
    header = header_like(like, array.shape, labels=labels, unit=unit, kind=kind, provenance=provenance)
    if Path(path).suffix == ".zarr":
        return write_zarr(path, array, header)
    beams = None if labels or like.beams is None else like.beams
    if beams is not None and not (data.ndim == 3 and len(data) == len(beams)):
        beams = beams[len(beams) // 2][None]
    return write_fits(path, array, header, beams=beams)


def header_like(
    like: RadioData, shape: tuple[int, ...], *, labels: bool = False, unit: Any = None, kind: str = "",
    provenance: Mapping[str, Any] | None = None,
) -> Any:  # fmt: skip
    """The header that `save_like` writes.

    Parameters
    ----------
    like : RadioData
        The input.
    shape : tuple of int
        Shape of the data, in the file's order.
    labels : bool, optional
        Whether the data are labels.
    unit, kind, provenance : optional
        As for `save_like`.

    Returns
    -------
    astropy.io.fits.Header
    """
    header = _result_header(like, shape)
    header["BTYPE"] = kind or ("labels" if labels else header.get("BTYPE", "Intensity"))
    header["BUNIT"] = "" if labels and unit is None else unit_text(like.unit if unit is None else unit)
    add_provenance(header, provenance or {})
    return header


def begin_fits(path: Path, shape: tuple[int, ...], kind: np.dtype[Any], header: Any) -> int:
    """Write the header of a FITS image, and reserve space for its data, which are 0.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    shape : tuple of int
        Shape of the data, in numpy's order.
    kind : numpy.dtype
        Type of the data.
    header : astropy.io.fits.Header
        Its coordinates, unit and further cards.

    Returns
    -------
    int
        Where the data begin [byte].
    """
    with quiet_reading():
        text = _header_bytes(shape, kind, header)
    size = math.prod(shape) * kind.itemsize
    with path.open("wb") as file:
        file.write(text)
        file.flush()
        size += len(text) + -size % _BLOCK
        if hasattr(os, "posix_fallocate"):  # a full disk is noticed now
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
    return len(text)


def _result_header(like: RadioData, shape: tuple[int, ...]) -> Any:
    """The input's header without cards on its data; with one spectral channel if ``shape`` has one."""
    header = like.header.copy(strip=False)
    for key in _STRUCTURE:
        header.remove(key, ignore_missing=True, remove_all=True)
    for key in [k for k in header if k.startswith(("NAXIS", "ZNAXIS", "TTYPE", "TFORM"))]:
        header.remove(key, ignore_missing=True)
    if "chan" in like.layout.axes:
        index = like.layout.axes.index("chan")
        axis, before, now = len(shape) - index, like.layout.shape[index], shape[index]
        if now == 1 and before > 1 and f"CDELT{axis}" in header and f"CRVAL{axis}" in header:
            step = float(header[f"CDELT{axis}"])
            middle = (before + 1) / 2 - float(header.get(f"CRPIX{axis}", 0))
            header[f"CRVAL{axis}"] = float(header[f"CRVAL{axis}"]) + middle * step
            header[f"CDELT{axis}"], header[f"CRPIX{axis}"] = step * before, 1.0
    return header


def add_provenance(header: Any, provenance: Mapping[str, Any]) -> None:
    """Add cards and history on how a file was made; text outside ASCII is escaped, as FITS demands."""
    for key, value in provenance.items():
        if value is None or value == "":
            continue
        text = f"faintsky {key}: {value}".replace("\n", " ")
        header.add_history(text.encode("ascii", "backslashreplace").decode("ascii"))


LEAST = 1.0
"""Axis drawn for a source of unknown size [arcsec]."""


def write_regions(path: str | os.PathLike[str], table: Table) -> Path:
    """Write a catalogue as regions in ICRS, emission in green and absorption in red, labelled by ``id``.

    Parameters
    ----------
    path : path-like
        A ``.reg`` file for DS9 or a ``.crtf`` file for CARTA and CASA, written in one step.
    table : astropy.table.Table
        From `faintsky.catalog.make_table`. The ellipses are ``fwhm_maj``, ``fwhm_min`` and ``pa``, or if
        these are not known ``dc_maj``, ``dc_min`` and ``dc_pa``. An axis of 0 is drawn as 1 arcsec, or as the
        major axis. Rows without a sky position are ellipses in pixels about their boxes, in a ``.reg`` file
        only; rows without any position are left out.

    Returns
    -------
    pathlib.Path
    """

    def column(name: str) -> Float:
        return np.asarray(table[name], dtype=float)

    final = Path(path)
    casa = final.suffix == ".crtf"  # this format has no ellipses in pixels
    seen = np.isfinite(column("fwhm_maj"))
    sizes = (("fwhm_maj", "dc_maj"), ("fwhm_min", "dc_min"), ("pa", "dc_pa"))
    major, minor, pa = (np.where(seen, column(one), np.nan_to_num(column(other))) for one, other in sizes)
    least = np.where(major > 0, np.minimum(major, LEAST), LEAST)
    minor, major = (np.where(v > 0, v, least) for v in (minor, major))
    ra, dec, x, y = (column(name) for name in ("ra", "dec", "x", "y"))
    wide, high = ((column(f"{k}_max") - column(f"{k}_min") + 1).clip(1) / 2 for k in "xy")
    colours = np.where(has_flag(table["flags"], "absorption"), "red", "green")
    # half axes; width from the west and height from the north have the same angle
    numbers = list(zip(ra, dec, minor / 7200, major / 7200, pa, table["id"], colours))
    on_sky = np.isfinite(ra) & np.isfinite(dec)
    form = _CRTF if casa else _DS9
    lines = [form.format(*numbers[i]) for i in np.flatnonzero(on_sky)]
    boxes = np.flatnonzero(~on_sky & np.isfinite(x) & np.isfinite(y) & (not casa))
    lines += ["image"] if boxes.size else []
    lines += [
        _DS9.format(x[i] + 1, y[i] + 1, wide[i], high[i], 0.0, table["id"][i], colours[i]) for i in boxes
    ]
    write_text(final, "\n".join(["#CRTFv0" if casa else "# Region file format: DS9\nicrs", *lines, ""]))
    return final


_DS9 = "ellipse({:.8f},{:.8f},{:.8f},{:.8f},{:.8f}) # text={{{}}} color={}"
_CRTF = "ellipse[[{0:.8f}deg, {1:.8f}deg], [{3:.8f}deg, {2:.8f}deg], {4:.8f}deg], coord=ICRS"
_CRTF += ", label='{5}', color={6}"
"""Formats of a region in DS9 and CASA: position, half axes, angle, name, colour."""
