"""A model of the sky: images with spectra, or a whole cube, and the catalogue of what is in it.

The user's own is a FITS image or cube in Jy/pixel or Jy/arcsec2.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.grid import FWHM_PER_SIGMA, ImageGrid, SpectralGrid, major_axis_direction
from faintsky.source_model import frequencies_2d, gaussian_transform

NARROW = 2.0
"""Gaussians narrower than this [pixel] are laid by their band-limited transform, not by sampling."""


@dataclass(frozen=True)
class SkyModel:
    """What is really there.

    Parameters
    ----------
    grid : ImageGrid
    spectral : SpectralGrid
    images : array
        Terms of the sky, ``[term, y, x]``, float32 [per pixel]; those of sources sum to about 1.
    spectra : array
        ``[term, chan]`` [Jy]: the sky is the sum of images times spectra.
    cube : array or None
        ``[chan, y, x]`` [Jy/pixel], added to the terms, for skies that are no sum of few terms.
    sources : mapping of str to array
        One value a source, in the order of the terms: ``x``, ``y``, ``fwhm_maj``, ``fwhm_min`` [pixel],
        ``pa`` [deg], ``z``, ``fwhm_z`` [channel], ``line_flux_peak`` [Jy], ``continuum_flux`` [Jy, at the
        line's frequency], ``spectral_index``, ``central``, ``wanted_snr`` (NaN where the amplitudes say it);
        where they are needed ``source`` (number of the object, of which lines may have a row each),
        ``rotating`` and ``line_area`` (of the line over a Gaussian's of the same peak and width).
    lines : array
        The lines' part of the spectra, ``[term, chan]`` [Jy].
    owner : array or None
        Source that each term belongs to, ``[term]``, -1 for none; None where term i is source i's.
    """

    grid: ImageGrid
    spectral: SpectralGrid
    images: NDArray[np.float32]
    spectra: NDArray[np.float64]
    lines: NDArray[np.float64]
    cube: NDArray[np.float32] | None = None
    sources: Mapping[str, NDArray] = field(default_factory=dict)
    owner: NDArray[np.int64] | None = None

    @property
    def n_sources(self) -> int:
        """Number of catalogued sources."""
        return len(self.sources["x"]) if self.sources else 0

    def as_cube(self) -> NDArray[np.float32]:
        """The whole sky, ``[chan, y, x]`` [Jy/pixel]."""
        shape = (self.spectral.n_chan, *self.grid.shape)
        flat = self.images.reshape(len(self.images), self.grid.n_y * self.grid.n_x)
        total = (self.spectra.T.astype(np.float32) @ flat).reshape(shape)
        return total if self.cube is None else total + self.cube

    def terms_of(self, source: int) -> NDArray[np.int64]:
        """Numbers of the terms that a source consists of."""
        return np.array([source]) if self.owner is None else np.nonzero(self.owner == source)[0]

    def line_of(self, source: int) -> NDArray[np.float64]:
        """A source's line over all of its image, ``[chan]`` [Jy]."""
        return self.lines[self.terms_of(source)].sum(axis=0)

    def line_image(self, source: int) -> NDArray[np.float32]:
        """Image of a source's line, summed over the channels, ``[y, x]``, of unit flux."""
        terms = self.terms_of(source)
        share = self.lines[terms].sum(axis=1)
        if len(terms) == 1 or not share.any():
            return self.images[terms[0]]
        return np.tensordot((share / share.sum()).astype(np.float32), self.images[terms], axes=1)

    def scaled(self, factors: NDArray[np.float64]) -> SkyModel:
        """The same sky with each source's flux times its factor, ``[source]``."""
        sources = dict(self.sources)
        for name in ("line_flux_peak", "continuum_flux"):
            sources[name] = sources[name] * factors
        if self.owner is not None:
            factors = np.where(self.owner >= 0, factors[self.owner], 1.0)
        column = factors[:, None]
        return replace(self, spectra=self.spectra * column, lines=self.lines * column, sources=sources)

    def brightest(self) -> float:
        """Brightest pixel of the terms' cube [Jy/pixel]."""
        if not len(self.images):
            return 0.0
        flat = self.images.reshape(len(self.images), -1)
        peaks = np.maximum(flat.max(axis=1, keepdims=True), 1e-30)
        # nowhere else can a sum of few positive terms be brightest than where one of them is bright
        core = np.nonzero((flat > peaks / (2 * len(flat))).any(axis=0))[0]
        return float((self.spectra.T @ flat[:, core]).max())


@dataclass(frozen=True)
class Part:
    """One source's part of a sky.

    Parameters
    ----------
    images : array
        ``[term, y, x]``, float32
    continua, lines : array
        Spectra of the images without their lines, and of the lines alone, ``[term, chan]`` [Jy].
    row : mapping or None
        Its entries in the catalogue, see `SkyModel.sources`; None for what is not catalogued.
    """

    images: NDArray[np.float32]
    continua: NDArray[np.float64]
    lines: NDArray[np.float64]
    row: Mapping[str, Any] | None


def joined(parts: Sequence[Part], grid: ImageGrid, spectral: SpectralGrid) -> SkyModel:
    """The sky of several parts."""
    if not parts:
        return empty_sky(grid, spectral)
    rows = [p.row for p in parts if p.row is not None]
    numbers = np.cumsum([p.row is not None for p in parts]) - 1
    owner = np.concatenate(
        [np.full(len(p.images), -1 if p.row is None else i) for p, i in zip(parts, numbers, strict=True)]
    )
    lines = np.concatenate([p.lines for p in parts])
    return SkyModel(
        grid=grid,
        spectral=spectral,
        images=np.concatenate([p.images for p in parts]),
        spectra=np.concatenate([p.continua for p in parts]) + lines,
        lines=lines,
        sources={name: np.array([r[name] for r in rows]) for name in rows[0]} if rows else {},
        owner=None if np.array_equal(owner, np.arange(len(rows))) else owner,
    )


def empty_sky(grid: ImageGrid, spectral: SpectralGrid) -> SkyModel:
    """A sky without sources."""
    none = np.zeros((0, spectral.n_chan))
    return SkyModel(grid, spectral, np.zeros((0, *grid.shape), dtype=np.float32), none, none)


def gaussian_image(
    grid: ImageGrid, x: float, y: float, fwhm_maj: float, fwhm_min: float, pa: float
) -> NDArray[np.float32]:
    """A Gaussian of unit flux on the pixels, ``[y, x]``.

    Parameters
    ----------
    grid : ImageGrid
    x, y : float
        Centre [pixel], anywhere between pixel centres.
    fwhm_maj, fwhm_min : float
        [pixel]; 0 is a point.
    pa : float
        [deg east of north]

    Returns
    -------
    array
        Samples at the pixel centres. What is narrower than two pixels is laid by its transform, flat out to
        0.3 cycles a pixel and rolled off to nothing at 0.5, so that baselines up to 0.3 see the very source
        (a sampled point would be moved to a pixel centre); such an image has small negative lobes.
    """
    if fwhm_min >= NARROW:
        return _sampled(grid, x, y, fwhm_maj, fwhm_min, pa)
    n = 64  # the rolled-off kernel is gone 20 pixels away
    x0, y0 = round(x) - n // 2, round(y) - n // 2
    fx, fy = frequencies_2d(n, n)
    transform = gaussian_transform(fx, fy, x - x0, y - y0, fwhm_maj, fwhm_min, pa)
    patch = np.fft.irfft2(transform * _roll_off(fx) * _roll_off(fy), s=(n, n))
    image = np.zeros(grid.shape, dtype=np.float32)
    ys, xs = (slice(max(o, 0), min(o + n, m)) for o, m in ((y0, grid.n_y), (x0, grid.n_x)))
    image[ys, xs] = patch[ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0]
    return image


def shape_of_moments(xx: Any, yy: Any, xy: Any) -> tuple[Any, Any, Any]:
    """FWHM along the major and the minor axis, and angle [deg, 0-180], of the Gaussian with these moments."""
    half, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    major, minor = (FWHM_PER_SIGMA * np.sqrt(np.maximum(v, 0)) for v in (half + spread, half - spread))
    # direction of the largest moment from +x toward +y; angles are counted from +y toward -x
    return major, minor, np.mod(np.rad2deg(np.arctan2(2 * xy, xx - yy)) / 2 - 90.0, 180.0)


def _roll_off(f: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.cos(np.pi / 2 * np.clip((np.abs(f) - 0.3) / 0.2, 0, 1)) ** 2


def _sampled(
    grid: ImageGrid, x: float, y: float, fwhm_maj: float, fwhm_min: float, pa: float
) -> NDArray[np.float32]:
    reach = int(np.ceil(6 * fwhm_maj / FWHM_PER_SIGMA)) + 1
    ys = slice(max(round(y) - reach, 0), min(round(y) + reach + 1, grid.n_y))
    xs = slice(max(round(x) - reach, 0), min(round(x) + reach + 1, grid.n_x))
    image = np.zeros(grid.shape, dtype=np.float32)
    if ys.start >= ys.stop or xs.start >= xs.stop:
        return image
    dy = np.arange(ys.start, ys.stop)[:, None] - y
    dx = np.arange(xs.start, xs.stop)[None, :] - x
    ux, uy = major_axis_direction(pa)
    along, across = dx * ux + dy * uy, -dx * uy + dy * ux
    major, minor = fwhm_maj / FWHM_PER_SIGMA, fwhm_min / FWHM_PER_SIGMA
    exponent = (along / major) ** 2 + (across / minor) ** 2
    image[ys, xs] = np.exp(-0.5 * exponent) / (2 * np.pi * major * minor)
    return image


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
