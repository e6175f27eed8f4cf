"""A model of the sky: images with spectra, or a whole cube, and its catalogue.

A user's model is a FITS image or cube in Jy/pixel or Jy/arcsec2.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32, Float, Int
from faintsky.errors import InputError
from faintsky.grid import FWHM_PER_SIGMA, ImageGrid, SpectralGrid, major_axis_direction
from faintsky.source_model import frequencies_2d, gaussian_transform

NARROW = 2.0
"""Gaussians narrower than this are drawn by their band-limited transform instead of sampling [pixel]."""


@dataclass(frozen=True)
class SkyModel:
    """A true sky.

    Parameters
    ----------
    grid : ImageGrid
        The pixels.
    spectral : SpectralGrid
        The channels.
    images : array
        Terms of the sky, ``[term, y, x]``, float32 [1/pixel]; each source's image sums to about 1.
    spectra : array
        ``[term, chan]`` [Jy]: the sky is the sum of images times spectra.
    lines : array
        Line part of the spectra, ``[term, chan]`` [Jy].
    cube : array or None
        ``[chan, y, x]`` [Jy/pixel], added to the terms, for skies that are not a sum of few terms.
    sources : mapping of str to array
        One value for each source, in the order of the terms: ``x``, ``y``, ``fwhm_maj``, ``fwhm_min``
        [pixel], ``pa`` [deg], ``z``, ``fwhm_z`` [channel], ``line_flux_peak`` [Jy], ``continuum_flux`` [Jy,
        at the line's frequency], ``spectral_index``, ``central``, ``wanted_snr`` (NaN if the amplitudes are
        final). Where needed also ``source`` (number of the object, whose lines have a row each), ``rotating``
        and ``line_area`` (area of the line over that of a Gaussian of the same peak and width).
    owner : array or None
        Source that each term belongs to, ``[term]``, -1 for none; None if term i belongs to source i.
    """

    grid: ImageGrid
    spectral: SpectralGrid
    images: Array32
    spectra: Float
    lines: Float
    cube: Array32 | None = None
    sources: Mapping[str, NDArray] = field(default_factory=dict)
    owner: Int | None = None

    @property
    def n_sources(self) -> int:
        """Number of catalogued sources."""
        return len(self.sources["x"]) if self.sources else 0

    def integrated(self) -> Array32:
        """The sky summed over the channels.

        Returns
        -------
        array
            ``[y, x]`` [Jy/pixel]
        """
        image = np.tensordot(self.spectra.sum(axis=1).astype(np.float32), self.images, 1)
        return image if self.cube is None else image + self.cube.sum(axis=0)

    def as_cube(self) -> Array32:
        """The whole sky.

        Returns
        -------
        array
            ``[chan, y, x]`` [Jy/pixel]
        """
        shape = (self.spectral.n_chan, *self.grid.shape)
        flat = self.images.reshape(len(self.images), self.grid.n_y * self.grid.n_x)
        total = (self.spectra.T.astype(np.float32) @ flat).reshape(shape)
        return total if self.cube is None else total + self.cube

    def terms_of(self, source: int) -> Int:
        """Terms of a source.

        Parameters
        ----------
        source : int
            Row of the catalogued source.

        Returns
        -------
        array of int
            Numbers of the terms.
        """
        return np.array([source]) if self.owner is None else np.nonzero(self.owner == source)[0]

    def line_of(self, source: int) -> Float:
        """Spectrum of a source's line, integrated over its image.

        Parameters
        ----------
        source : int
            Row of the catalogued source.

        Returns
        -------
        array
            ``[chan]`` [Jy]
        """
        return self.lines[self.terms_of(source)].sum(axis=0)

    def line_image(self, source: int) -> Array32:
        """Image of a source's line, summed over the channels.

        Parameters
        ----------
        source : int
            Row of the catalogued source.

        Returns
        -------
        array
            ``[y, x]``, of unit flux.
        """
        terms = self.terms_of(source)
        share = self.lines[terms].sum(axis=1)
        if len(terms) == 1 or not share.any():
            return self.images[terms[0]]
        return np.tensordot((share / share.sum()).astype(np.float32), self.images[terms], axes=1)

    def scaled(self, factors: Float) -> Self:
        """The same sky with other fluxes.

        Parameters
        ----------
        factors : array
            Factor on each source's flux, ``[source]``.

        Returns
        -------
        SkyModel
            A new one.
        """
        sources = dict(self.sources)
        for name in ("line_flux_peak", "continuum_flux"):
            sources[name] = sources[name] * factors
        if self.owner is not None:
            factors = np.where(self.owner >= 0, factors[self.owner], 1.0)
        column = factors[:, None]
        return replace(self, spectra=self.spectra * column, lines=self.lines * column, sources=sources)

    def brightest(self) -> float:
        """Brightest pixel of the terms' cube.

        Returns
        -------
        float
            [Jy/pixel]
        """
        if not len(self.images):
            return 0.0
        flat = self.images.reshape(len(self.images), -1)
        peaks = np.maximum(flat.max(axis=1, keepdims=True), 1e-30)
        # a sum of few positive terms is brightest where one of them is bright
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
        Its entries in the catalogue, see `SkyModel.sources`; None if it is not catalogued.
    """

    images: Array32
    continua: Float
    lines: Float
    row: Mapping[str, Any] | None


def joined(parts: Sequence[Part], grid: ImageGrid, spectral: SpectralGrid) -> SkyModel:
    """The sky of several parts.

    Parameters
    ----------
    parts : sequence of Part
        The sources.
    grid : ImageGrid
        The pixels.
    spectral : SpectralGrid
        The channels.

    Returns
    -------
    SkyModel
    """
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
) -> Array32:
    """Image of a Gaussian of unit flux.

    Parameters
    ----------
    grid : ImageGrid
        The pixels.
    x, y : float
        Centre [pixel], not necessarily whole.
    fwhm_maj, fwhm_min : float
        Widths [pixel]; 0 for a point.
    pa : float
        Position angle [deg east of north].

    Returns
    -------
    array
        ``[y, x]``: samples at the pixel centres. A Gaussian narrower than two pixels is drawn by its
        transform, which is exact up to 0.3 cycles/pixel and rolled off to 0 at 0.5. Baselines up to 0.3 thus
        see the true source (sampling would move a point to a pixel's centre). Such an image has small
        negative lobes.
    """
    if fwhm_min >= NARROW:
        return _sampled(grid, x, y, fwhm_maj, fwhm_min, pa)
    n = 64  # the rolled-off kernel is negligible 20 pixels away
    x0, y0 = round(x) - n // 2, round(y) - n // 2
    fx, fy = frequencies_2d(n, n)
    transform = gaussian_transform(fx, fy, x - x0, y - y0, fwhm_maj, fwhm_min, pa)
    patch = np.fft.irfft2(transform * _roll_off(fx) * _roll_off(fy), s=(n, n))
    image = np.zeros(grid.shape, dtype=np.float32)
    ys, xs = (slice(max(o, 0), min(o + n, m)) for o, m in ((y0, grid.n_y), (x0, grid.n_x)))
    image[ys, xs] = patch[ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0]
    return image


def shape_of_moments(xx: Any, yy: Any, xy: Any) -> tuple[Any, Any, Any]:
    """Widths and angle of the Gaussian with given second moments.

    Parameters
    ----------
    xx, yy, xy : float or array
        Second central moments [pixel**2].

    Returns
    -------
    fwhm_maj, fwhm_min, pa : float or array
        [pixel], [pixel], [deg from +y toward -x, 0-180].
    """
    half, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    major, minor = (FWHM_PER_SIGMA * np.sqrt(np.maximum(v, 0)) for v in (half + spread, half - spread))
    # direction of the largest moment from +x toward +y; angles are counted from +y toward -x
    return major, minor, np.mod(np.rad2deg(np.arctan2(2 * xy, xx - yy)) / 2 - 90.0, 180.0)


def _roll_off(f: Float) -> Float:
    return np.cos(np.pi / 2 * np.clip((np.abs(f) - 0.3) / 0.2, 0, 1)) ** 2


def _sampled(grid: ImageGrid, x: float, y: float, fwhm_maj: float, fwhm_min: float, pa: float) -> Array32:
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
        None if the file has no frequency axis.
    """

    data: Array32
    grid: ImageGrid
    spectral: SpectralGrid | None


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a sky model.

    The header gives the cell (square), the phase centre (the reference position and pixel), and for cubes the
    channels (equally spaced in frequency).

    Parameters
    ----------
    path : path-like
        A FITS image or cube in Jy/pixel or Jy/arcsec2.

    Returns
    -------
    ModelFile
        Data, pixels and channels.

    Raises
    ------
    InputError
        Naming the file, what is wrong with it and a hint.
    """
    from faintsky.io import open_data

    model = open_data(path)
    grid, spectral, cube = model.grid, model.spectral, model.cube
    (dx, along_y), (along_x, dy) = model.wcs.pixel_scale_matrix
    if not {"CRVAL1", "CRVAL2"} <= set(model.header):
        raise InputError("its header lacks CRVAL1 or CRVAL2", "add the field centre", path)
    if model.wcs.wcs.lngtyp.strip() != "RA":
        raise InputError("its axes are not RA and Dec", "regrid it to RA and Dec", path)
    if max(abs(along_x), abs(along_y)) > 1e-6 * abs(dx):
        raise InputError("is rotated on the sky", "regrid it with x along RA", path)
    if abs(abs(dx) - abs(dy)) > 1e-6 * abs(dx):
        raise InputError(f"its pixels are not square ({abs(dx):g} x {abs(dy):g} deg)", "regrid it", path)
    channels = None
    if spectral is not None:
        if spectral.relative:
            raise InputError("its velocity axis has no rest frequency", "add RESTFRQ [Hz]", path)
        channels = SpectralGrid(len(cube), float(spectral.frequencies[0]), spectral.width)
        if not np.allclose(np.diff(spectral.frequencies), spectral.width, rtol=1e-3):
            raise InputError("its channels are not equally spaced", "regrid it to frequency", path)
    # x must run against RA and y with Dec
    if dx > 0:
        cube, grid = cube[:, :, ::-1], replace(grid, x0=grid.n_x - 1 - grid.x0)
    if dy < 0:
        cube, grid = cube[:, ::-1], replace(grid, y0=grid.n_y - 1 - grid.y0)
    if not (0 <= grid.x0 < grid.n_x and 0 <= grid.y0 < grid.n_y):
        raise InputError("its reference pixel is outside the image", "set CRPIX to the field centre", path)
    known = {"Jy/pix": 1.0, "Jy/arcsec2": grid.cell**2}
    factor = next((model.unit.to(u) * v for u, v in known.items() if model.unit.is_equivalent(u)), None)
    if factor is None or "BUNIT" not in model.header:
        shown = model.header.get("BUNIT", "missing")
        raise InputError(f"its unit (BUNIT) is {shown!r}", "give Jy/pixel or Jy/arcsec2", path)
    return ModelFile(np.ascontiguousarray(np.nan_to_num(cube) * np.float32(factor)), grid, channels)
