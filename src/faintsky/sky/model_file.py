"""The user's own sky: a FITS image or cube in Jy/pixel or Jy/arcsec2."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.grid import ImageGrid, SpectralGrid


@dataclass(frozen=True)
class ModelFile:
    """A sky read from a file.

    Parameters
    ----------
    data : array
        ``[chan, y, x]``, or ``[1, y, x]`` for an image [Jy/pixel], x against RA, blanks as 0.
    grid : ImageGrid
    spectral : SpectralGrid or None
        None where the file has no frequency axis.
    """

    data: NDArray[np.float32]
    grid: ImageGrid
    spectral: SpectralGrid | None


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a sky model.

    The header gives the cell (square), the field centre (the position and pixel of reference: the phase
    centre), and for cubes the channels (an axis of frequency).

    Raises
    ------
    InputError
        Naming the file, what is wrong with it and a hint.
    """
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            hdu = next((h for h in hdus if h.data is not None and h.data.ndim >= 2), None)
            if hdu is None:
                raise InputError("holds no image", "give a FITS image or cube", path)
            data, header = np.asarray(hdu.data, dtype=np.float32), hdu.header
    except OSError as error:
        raise InputError("not a readable FITS file", "give a FITS image or cube", path) from error
    axes = [str(header.get(f"CTYPE{i}", "")).upper() for i in range(1, data.ndim + 1)]
    data, spectral_axis = _three_axes(data, axes, path)
    grid = _grid(header, data.shape[1:], path)
    spectral = _spectral(header, spectral_axis, data.shape[0], path) if spectral_axis else None
    if spectral is None and data.shape[0] > 1:
        raise InputError("has planes but no FREQ axis", "set CTYPE3='FREQ' with CRVAL3 and CDELT3", path)
    data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0) * _jansky_per_pixel(header, grid, path)
    # x must run against RA and y with Dec
    if header["CDELT1"] > 0:
        data = data[:, :, ::-1]
    if header["CDELT2"] < 0:
        data = data[:, ::-1]
    return ModelFile(np.ascontiguousarray(data, dtype=np.float32), grid, spectral)


def _three_axes(
    data: NDArray[np.float32], axes: list[str], path: str | os.PathLike[str]
) -> tuple[NDArray[np.float32], int]:
    """Data as ``[chan, y, x]`` and the FITS number of the frequency axis (0: none)."""
    if not (axes[0].startswith("RA") and axes[1].startswith("DEC")):
        raise InputError(
            f"its first axes are {axes[0] or '?'} and {axes[1] or '?'}, not RA and Dec",
            "set CTYPE1='RA---SIN' and CTYPE2='DEC--SIN' with their CRVAL, CRPIX and CDELT",
            path,
        )
    frequency = next((i for i, name in enumerate(axes, start=1) if name.startswith("FREQ")), 0)
    for number in range(data.ndim, 2, -1):
        if number != frequency and not (frequency == 0 and number == 3):
            if data.shape[data.ndim - number] != 1:
                raise InputError(f"axis {number} ({axes[number - 1]}) is not of length 1", "cut it out", path)
            data = data.squeeze(data.ndim - number)
    return (data if data.ndim == 3 else data[None]), frequency


def _grid(header: Any, shape: tuple[int, ...], path: str | os.PathLike[str]) -> ImageGrid:
    missing = [k for k in ("CRVAL1", "CRVAL2", "CDELT1", "CDELT2", "CRPIX1", "CRPIX2") if k not in header]
    if missing:
        raise InputError(f"its header lacks {', '.join(missing)}", "add them", path)
    rotated = float(header.get("CROTA2", 0)) or float(header.get("PC1_2", 0)) or float(header.get("PC2_1", 0))
    if rotated:
        raise InputError("is rotated on the sky", "regrid it with x along RA", path)
    dx, dy = float(header["CDELT1"]), float(header["CDELT2"])
    if dx == 0 or abs(abs(dx) - abs(dy)) > 1e-6 * abs(dx):
        raise InputError(f"its pixels are not square ({abs(dx):g} x {abs(dy):g} deg)", "regrid it", path)
    x0, y0 = float(header["CRPIX1"]) - 1, float(header["CRPIX2"]) - 1
    if dx > 0:
        x0 = shape[1] - 1 - x0
    if dy < 0:
        y0 = shape[0] - 1 - y0
    if not (0 <= x0 < shape[1] and 0 <= y0 < shape[0]):
        raise InputError("its reference pixel is outside the image", "set CRPIX to the field centre", path)
    ra, dec = float(header["CRVAL1"]) % 360, float(header["CRVAL2"])
    return ImageGrid(shape[0], shape[1], float(f"{abs(dx) * 3600:.12g}"), ra, dec, x0, y0)


def _spectral(header: Any, axis: int, n: int, path: str | os.PathLike[str]) -> SpectralGrid:
    try:
        value, step = float(header[f"CRVAL{axis}"]), float(header[f"CDELT{axis}"])
    except KeyError as error:
        raise InputError(f"its header lacks {error.args[0]}", "add it", path) from error
    pixel = float(header.get(f"CRPIX{axis}", 1)) - 1
    scale = {"HZ": 1.0, "KHZ": 1e3, "MHZ": 1e6, "GHZ": 1e9}.get(
        str(header.get(f"CUNIT{axis}", "Hz")).strip().upper()
    )
    if scale is None or step == 0 or value <= 0:
        raise InputError("its frequency axis has no sensible unit or step", "give it in Hz", path)
    return SpectralGrid(n, (value - pixel * step) * scale, step * scale)


def _jansky_per_pixel(header: Any, grid: ImageGrid, path: str | os.PathLike[str]) -> np.float32:
    unit = str(header.get("BUNIT", "")).replace(" ", "").lower().replace("**", "").replace("^", "")
    if unit in ("jy/pixel", "jy/pix", "jypixel-1", "jypix-1"):
        return np.float32(1.0)
    if unit in ("jy/arcsec2", "jyarcsec-2"):
        return np.float32(grid.cell**2)
    shown = header.get("BUNIT", "missing")
    raise InputError(f"its unit (BUNIT) is {shown!r}", "give Jy/pixel or Jy/arcsec2", path)
