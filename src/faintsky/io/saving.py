"""Write results with the axes and the header of the input."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.image import RadioData
from faintsky.io.quiet import quiet_reading
from faintsky.system import replacing
from faintsky.units import unit_text

_STRUCTURE = (
    "SIMPLE", "XTENSION", "BITPIX", "EXTEND", "PCOUNT", "GCOUNT", "GROUPS", "BSCALE", "BZERO", "BLANK",
    "DATAMIN", "DATAMAX", "CHECKSUM", "DATASUM", "EXTNAME", "EXTVER", "INHERIT",
)  # fmt: skip


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
        Written in one step, replacing what is there.
    data : array
        ``[y, x]`` or ``[chan, y, x]``; integers and booleans are written as int32 labels, others as float32.
        An image made from a cube keeps the spectral axis, with one channel as wide as the band.
    like : RadioData
        The input; its header is kept, apart from what describes the data alone.
    unit : astropy unit or str, optional
        BUNIT; the input's where not given, none for labels.
    kind : str, optional
        BTYPE, a word on what the values are.
    provenance : mapping, optional
        Written into the header: version, command, seed …

    Returns
    -------
    pathlib.Path
    """
    final = Path(path)
    labels = data.dtype.kind in "iub"
    array = like.layout.to_native(data.astype(np.int32 if labels else np.float32))
    header = result_header(like, array.shape)
    header["BTYPE"] = kind or ("labels" if labels else header.get("BTYPE", "Intensity"))
    header["BUNIT"] = "" if labels and unit is None else unit_text(like.unit if unit is None else unit)
    if like.beams is not None and not labels:
        header["BMAJ"], header["BMIN"] = like.beams[0, 0] / 3600, like.beams[0, 1] / 3600
        header["BPA"] = like.beams[0, 2]
    add_provenance(header, provenance or {})
    if final.suffix == ".zarr":
        from faintsky.io.zarr_store import save_zarr

        save_zarr(final, array, header)
        return final
    with_table = not labels and like.beams is not None and bool(np.ptp(like.beams, axis=0).any())
    beams = like.beams if with_table and data.ndim == 3 and len(data) == like.shape[0] else None
    write_fits(final, array, header, beams)
    return final


def write_fits(
    path: Path, array: NDArray[Any], header: Any, beams: NDArray[np.float64] | None = None
) -> None:
    """Write an array and header, and a beams table ``[chan, 3]`` as CASA does, in one step."""
    from astropy.io import fits

    with quiet_reading():
        header["CASAMBM"] = (beams is not None, "whether a BEAMS table follows")
        if path.suffix == ".fz":
            # lossless: the default quantisation would add noise of its own
            image = fits.CompImageHDU(array, header, compression_type="GZIP_2", quantize_level=0)
            hdus = fits.HDUList([fits.PrimaryHDU(), image])
        else:
            hdus = fits.HDUList([fits.PrimaryHDU(array, header)])
        if beams is not None:
            hdus.append(_beams_hdu(beams))
        with replacing(path) as name:
            hdus.writeto(name, output_verify="fix+ignore")


def _beams_hdu(beams: NDArray[np.float64]) -> Any:
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


def result_header(like: RadioData, shape: tuple[int, ...]) -> Any:
    """The input's header without what describes its data, its spectral axis narrowed where ``shape`` is."""
    header = like.header.copy(strip=False)
    for key in [*_STRUCTURE, "CASAMBM"]:
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
    """Cards and history that say what made a file; text outside ASCII is escaped, as FITS demands."""
    for key, value in provenance.items():
        if value is None or value == "":
            continue
        text = f"faintsky {key}: {value}".replace("\n", " ")
        header.add_history(text.encode("ascii", "backslashreplace").decode("ascii"))
