"""FITS files of simulated data, written fast: the header by astropy, the pixels straight from memory."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.grid import SPEED_OF_LIGHT, ImageGrid, SpectralGrid
from faintsky.system import replacing

if TYPE_CHECKING:
    from astropy.io.fits import Header

_BLOCK = 2880


def image_header(
    grid: ImageGrid, unit: str, telescope: str, rest_frequency: float, cards: Mapping[str, Any]
) -> Header:
    """Header of an image ``[y, x]``: SIN projection, provenance; arguments as for `cube_header`."""
    header = _header(grid, None, unit)
    header["RESTFRQ"] = (rest_frequency, "frequency [Hz]")
    return _with_cards(header, telescope, cards)


def cube_header(
    grid: ImageGrid, spectral: SpectralGrid, unit: str, rest_frequency: float, cards: Mapping[str, Any]
) -> Header:
    """Header of an ALMA cube ``[chan, y, x]``: SIN projection, LSRK frequencies, provenance.

    Parameters
    ----------
    grid : ImageGrid
    spectral : SpectralGrid
    unit : str
        BUNIT; empty for none.
    rest_frequency : float
        [Hz]
    cards : mapping
        Further cards, a value or a ``(value, comment)`` each; ``HISTORY`` takes a list.
    """
    header = _header(grid, spectral, unit)
    header["SPECSYS"] = "LSRK"
    header["RESTFRQ"] = (rest_frequency, "rest frequency [Hz]")
    header["VELREF"] = (257, "radio velocity, LSR")
    header["ALTRVAL"] = (
        (1 - spectral.first / rest_frequency) * SPEED_OF_LIGHT,
        "velocity of channel 1 [m/s]",
    )
    header["ALTRPIX"] = 1.0
    return _with_cards(header, "ALMA", cards)


def _header(grid: ImageGrid, spectral: SpectralGrid | None, unit: str) -> Header:
    from astropy.io.fits import Header

    shape = [grid.n_x, grid.n_y, *([] if spectral is None else [spectral.n_chan])]
    header = Header()
    header["SIMPLE"] = True
    header["BITPIX"] = -32
    header["NAXIS"] = len(shape)
    for i, length in enumerate(shape, start=1):
        header[f"NAXIS{i}"] = length
    header["EXTEND"] = True
    header["BTYPE"] = "Intensity"
    if unit:
        header["BUNIT"] = unit
    step = grid.cell / 3600
    axes = [
        ("RA---SIN", grid.ra, -step, grid.x0 + 1, "deg"),
        ("DEC--SIN", grid.dec, step, grid.y0 + 1, "deg"),
    ]
    if spectral is not None:
        axes.append(("FREQ", spectral.first, spectral.width, 1.0, "Hz"))
    for i, (kind, value, delta, pixel, axis_unit) in enumerate(axes, start=1):
        header[f"CTYPE{i}"] = kind
        header[f"CRVAL{i}"] = float(value)
        header[f"CDELT{i}"] = float(delta)
        header[f"CRPIX{i}"] = float(pixel)
        header[f"CUNIT{i}"] = axis_unit
    header["RADESYS"] = "ICRS"
    header["LONPOLE"] = 180.0  # at the pole itself it would be 0
    return header


def _with_cards(header: Header, telescope: str, cards: Mapping[str, Any]) -> Header:
    header["TELESCOP"] = telescope
    for name, card in cards.items():
        if name == "HISTORY":
            for line in card:
                header.add_history(line)
        else:
            header[name] = card
    return header


def beams_table(beams: NDArray[np.float64]) -> bytes:
    """A ``BEAMS`` extension as CASA's exportfits writes it, from ``[chan, 3]`` [arcsec, arcsec, deg]."""
    from astropy.io import fits

    n = len(beams)
    columns = [
        fits.Column("BMAJ", "1E", unit="arcsec", array=beams[:, 0]),
        fits.Column("BMIN", "1E", unit="arcsec", array=beams[:, 1]),
        fits.Column("BPA", "1E", unit="deg", array=beams[:, 2]),
        fits.Column("CHAN", "1J", array=np.arange(n)),
        fits.Column("POL", "1J", array=np.zeros(n, dtype=int)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    table.header["NCHAN"], table.header["NPOL"] = n, 1
    buffer = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
    return buffer.getvalue()[_BLOCK:]


def beam_cards(beams: NDArray[np.float64]) -> dict[str, Any]:
    """The middle channel's beam [deg], and for several channels CASA's mark that a table of all's follows."""
    maj, minor, pa = (float(v) for v in beams[len(beams) // 2])
    one = {"BMAJ": (maj / 3600, "beam of the middle channel [deg]" if len(beams) > 1 else "[deg]")}
    cards = {**one, "BMIN": minor / 3600, "BPA": (pa, "east of north [deg]")}
    if len(beams) > 1:
        cards["CASAMBM"] = (True, "a BEAMS table holds every channel's beam")
    return cards


def write_fits(path: Path, data: NDArray[np.float32], header: Header, extensions: bytes = b"") -> None:
    """Write a float32 array under its header, in one step.

    Parameters
    ----------
    path : Path
    data : array
        Overwritten: its bytes are swapped in place.
    header : Header
    extensions : bytes
        Whole FITS extensions to put after it.
    """
    text = header.tostring(sep="", endcard=True, padding=True).encode("ascii")
    with replacing(path) as name, name.open("wb") as file:
        file.write(text)
        swapped = np.ascontiguousarray(data)
        if sys.byteorder == "little":
            swapped.byteswap(inplace=True)
        file.write(swapped.data)
        file.write(b"\0" * (-swapped.nbytes % _BLOCK))
        file.write(extensions)
