"""Image geometry: pixels, cells, channels. Every sign and FFT convention of the package stands here.

Pixels
    Arrays are ``[y, x]`` and ``[chan, y, x]``; pixel indices count from 0 and pixel centres are at
    integers. x runs along right ascension, which *falls* as x grows; y runs along declination, which
    grows with y. The phase centre lies on pixel ``(n_x // 2, n_y // 2)`` unless a header says otherwise.
Direction cosines
    ``l`` points east and ``m`` north, so ``l = -(x - x0) * cell`` and ``m = +(y - y0) * cell`` [rad].
Visibilities
    ``V(u, v) = sum I(l, m) exp(+2 pi i (u l + v m))`` with baselines antenna1 - antenna2 (CASA's
    measurement set as simobserve writes it), and ``I = Re sum V exp(-2 pi i (u l + v m))``.
FFT
    ``numpy.fft`` signs: ``F[k] = sum f[x] exp(-2 pi i k x / n)``, frequencies in cycles per pixel along
    +x and +y. u in wavelengths equals ``-fx / cell`` and v equals ``-fy / cell`` up to the common sign of
    the transform; real images make that sign immaterial except through x, which runs against l.
Angles
    Position angles are degrees east of north, modulo 180. Within the package, where shapes are in pixels,
    they count from +y toward -x; `faintsky.grid` turns them into angles from the local north for the
    outside, and is where images of all other projections and orientations are dealt with.
Widths
    FWHM is the full width at half maximum, everywhere.
"""

import math
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.arrays import Float

ARCSEC = np.pi / 180 / 3600
"""One arcsecond in radians."""
SPEED_OF_LIGHT = 299_792_458.0
"""Speed of light in m/s (exact)."""
FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))
"""Full width at half maximum of a Gaussian of unit standard deviation (2.3548...)."""


@dataclass(frozen=True)
class ImageGrid:
    """A tangent-plane (SIN) image with square pixels.

    Parameters
    ----------
    n_y, n_x : int
        Shape of the image.
    cell : float
        Side of a pixel [arcsec].
    ra, dec : float
        Phase centre, ICRS/J2000 [deg].
    x0, y0 : float, optional
        0-based pixel of the phase centre, which may lie off the image; ``n // 2`` where not given.
    """

    n_y: int
    n_x: int
    cell: float
    ra: float = 0.0
    dec: float = 0.0
    x0: float = math.nan
    y0: float = math.nan

    def __post_init__(self) -> None:
        if self.n_y < 1 or self.n_x < 1 or not self.cell > 0:
            raise ValueError("an image grid needs at least one pixel and a positive cell")
        if math.isnan(self.x0):
            object.__setattr__(self, "x0", float(self.n_x // 2))
        if math.isnan(self.y0):
            object.__setattr__(self, "y0", float(self.n_y // 2))

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_y, n_x)``."""
        return self.n_y, self.n_x

    @property
    def cell_rad(self) -> float:
        """Side of a pixel [rad]."""
        return self.cell * ARCSEC

    def direction_cosines(self) -> tuple[Float, Float]:
        """``l`` of shape ``[1, n_x]`` (east) and ``m`` of shape ``[n_y, 1]`` (north) [rad]."""
        east = -(np.arange(self.n_x, dtype=np.float64) - self.x0) * self.cell_rad
        north = (np.arange(self.n_y, dtype=np.float64) - self.y0) * self.cell_rad
        return east[None, :], north[:, None]

    def radius(self) -> Float:
        """Distance of every pixel from the phase centre, ``[y, x]`` [rad]."""
        east, north = self.direction_cosines()
        return np.hypot(east, north)

    def padded(self, n_y: int, n_x: int) -> Self:
        """The same cells on a larger grid, its phase centre at the middle."""
        return replace(self, n_y=n_y, n_x=n_x, x0=math.nan, y0=math.nan)


@dataclass(frozen=True)
class SpectralGrid:
    """Equally spaced channels.

    Parameters
    ----------
    n_chan : int
        Number of channels.
    first : float
        Centre of channel 0 [Hz].
    width : float
        Channel separation, negative where frequency falls with the channel number [Hz].
    """

    n_chan: int
    first: float
    width: float

    @classmethod
    def centred(cls, n_chan: int, centre: float, width: float) -> Self:
        """Channels laid as CASA's simobserve lays them.

        Parameters
        ----------
        n_chan : int
            How many.
        centre : float
            Frequency of channel ``n_chan // 2`` [Hz].
        width : float
            Width of a channel [Hz].

        Returns
        -------
        SpectralGrid
            It begins at the lowest frequency if the width is positive.
        """
        return cls(n_chan, centre - (n_chan // 2) * width, width)

    @property
    def middle(self) -> float:
        """Frequency of channel ``n_chan // 2`` [Hz]."""
        return float(self.frequencies()[self.n_chan // 2])

    def frequencies(self) -> Float:
        """Channel centres, ``[chan]`` [Hz]."""
        return self.first + self.width * np.arange(self.n_chan, dtype=np.float64)


def major_axis_direction(pa: float | Float) -> tuple[Float, Float]:
    """Unit vector ``(dx, dy)`` in pixels along position angle ``pa`` [deg east of north]."""
    theta = np.deg2rad(np.asarray(pa, dtype=float))
    return -np.sin(theta), np.cos(theta)


def separation(lon1: Any, lat1: Any, lon2: Any, lat2: Any) -> Any:
    """Angle between directions, by the haversine formula.

    Parameters
    ----------
    lon1, lat1, lon2, lat2 : float or array
        Longitudes and latitudes [rad].

    Returns
    -------
    float or array
        [rad]
    """
    half = np.sin((lat1 - lat2) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon1 - lon2) / 2) ** 2
    return 2 * np.arcsin(np.sqrt(np.minimum(half, 1.0)))


def axial_difference(a: float | Float, b: float | Float) -> Float:
    """Difference ``a - b`` of two position angles, in (-90, 90] [deg]."""
    d = np.mod(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), 180.0)
    return np.where(d > 90.0, d - 180.0, d)


def paper_frame_to_sky(fwhm_x: ArrayLike, fwhm_y: ArrayLike, angle: ArrayLike) -> tuple[Float, Float, Float]:
    """Axes and position angle on the sky of a Gaussian in the frame of Delli Veneri et al. (2022), eq. 3-4.

    There the width ``fwhm_x`` is along ``x cos a - y sin a`` and ``fwhm_y`` along ``x sin a + y cos a``
    (fidelity page, S1), with x along RA, so their angle runs clockwise on the sky.

    Parameters
    ----------
    fwhm_x, fwhm_y : float or array
        Widths along the rotated axes, in any one unit.
    angle : float or array
        Their projection angle [deg].

    Returns
    -------
    fwhm_maj, fwhm_min, pa : array
        In the unit of the input, and the position angle of the major axis [deg east of north, 0-180).
    """
    wx, wy, a = (np.asarray(v, dtype=float) for v in (fwhm_x, fwhm_y, angle))
    pa = np.where(wx >= wy, 90.0 - a, -a)
    return np.maximum(wx, wy), np.minimum(wx, wy), np.mod(pa, 180.0)


def sky_to_paper_frame(fwhm_maj: ArrayLike, fwhm_min: ArrayLike, pa: ArrayLike) -> tuple[Float, Float, Float]:
    """Widths and angle in the frame of the papers' code; the inverse of `paper_frame_to_sky`.

    Parameters
    ----------
    fwhm_maj, fwhm_min : array
        In any unit.
    pa : array
        [deg east of north]

    Returns
    -------
    fwhm_x, fwhm_y, angle : array
        Widths along the papers' rotated x and y, and their angle in [0, 90) [deg].
    """
    maj, minor, p = (np.asarray(v, dtype=float) for v in (fwhm_maj, fwhm_min, pa))
    along_x = np.mod(90.0 - p, 180.0)
    x_is_major = along_x < 90.0
    angle = np.where(x_is_major, along_x, along_x - 90.0)
    return np.where(x_is_major, maj, minor), np.where(x_is_major, minor, maj), angle


@dataclass(frozen=True)
class Layout:
    """How the axes of a file map onto ``[chan, y, x]``.

    Parameters
    ----------
    shape : tuple of int
        Shape in the file, in numpy's order (FITS reversed).
    axes : tuple of str
        ``"chan"``, ``"y"``, ``"x"`` once each at most, and ``""`` for axes of length 1.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]

    def to_standard(self, data: NDArray[Any]) -> NDArray[Any]:
        """``[chan, y, x]`` (``[1, y, x]`` without a spectral axis) of an array as the file has it."""
        order = [self.axes.index(name) for name in ("chan", "y", "x") if name in self.axes]
        kept = np.squeeze(data, axis=tuple(i for i, name in enumerate(self.axes) if not name))
        rank = {axis: i for i, axis in enumerate(sorted(order))}
        cube = np.transpose(kept, [rank[axis] for axis in order])
        return cube if cube.ndim == 3 else cube[None]

    def native_part(self, box: tuple[slice, ...]) -> tuple[slice, ...]:
        """Rows and columns, or channels, rows and columns, as slices along the file's axes.

        An image's only channel stands for every channel.
        """
        named = dict(zip(("x", "y", "chan"), box[::-1]))
        alone = {a for a, n in zip(self.axes, self.shape) if a == "chan" and n == 1}
        return tuple(slice(None) if a in alone else named.get(a, slice(None)) for a in self.axes)

    def to_native(self, data: NDArray[Any]) -> NDArray[Any]:
        """An array ``[y, x]`` or ``[chan, y, x]`` with the file's axes, in the file's order."""
        cube = data if data.ndim == 3 else data[None]
        names = [name for name in self.axes if name]
        if "chan" not in names:
            cube = cube[0]
        present: list[str] = [name for name in ("chan", "y", "x") if name in names]
        native = np.transpose(cube, [present.index(name) for name in names])
        return np.expand_dims(native, tuple(i for i, name in enumerate(self.axes) if not name))


@dataclass(frozen=True)
class Spectral:
    """The spectral axis of an image or cube.

    Parameters
    ----------
    frequencies : array
        Channel centres, ``[chan]`` [Hz], ascending or descending.
    width : float
        Separation of channels where there is only one [Hz]; NaN where unknown.
    rest_frequency : float, optional
        [Hz]
    frame : str
        Spectral reference frame of the header, such as LSRK; empty where unknown.
    convention : str
        ``"radio"``, ``"optical"`` or ``"relativistic"``: how velocities follow from frequencies.
    relative : bool
        Velocities are known, but the rest frequency is not: it is taken as 1 GHz, and only ratios of
        frequencies are meaningful.
    """

    frequencies: Float
    width: float = np.nan
    rest_frequency: float | None = None
    frame: str = ""
    convention: str = "radio"
    relative: bool = False

    def velocity(self, frequency: ArrayLike) -> Float | None:
        """Velocity of a frequency [Hz], in km/s; None without a rest frequency."""
        if self.rest_frequency is None:
            return None
        ratio = np.asarray(frequency, dtype=float) / self.rest_frequency
        if self.convention == "optical":
            beta = 1 / ratio - 1
        elif self.convention == "relativistic":
            beta = (1 - ratio**2) / (1 + ratio**2)
        else:
            beta = 1 - ratio
        return beta * SPEED_OF_LIGHT / 1e3


def array_header(grid: ImageGrid, spectral: Spectral | None) -> Any:
    """A FITS header of a grid, SIN projection, ICRS: three axes, or two without a spectral one."""
    from astropy.io.fits import Header

    cell = grid.cell / 3600
    axes: list[tuple[int, str, float, float, float, str]] = [
        (grid.n_x, "RA---SIN", grid.ra, -cell, grid.x0 + 1, "deg"),
        (grid.n_y, "DEC--SIN", grid.dec, cell, grid.y0 + 1, "deg"),
    ]
    if spectral is not None:
        freq, step = spectral.frequencies, 1.0 if np.isnan(spectral.width) else spectral.width
        axes.append((len(freq), "FREQ", float(freq[0]), float(step), 1.0, "Hz"))
    header = Header({"NAXIS": len(axes), **{f"NAXIS{i}": axis[0] for i, axis in enumerate(axes, start=1)}})
    for i, (_, *cards) in enumerate(axes, start=1):
        header.update({f"{k}{i}": v for k, v in zip(("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT"), cards)})
    header["RADESYS"] = "ICRS"
    header["LONPOLE"] = 180.0  # at the pole itself it would be 0
    if spectral is not None:
        if spectral.rest_frequency is not None:
            header["RESTFRQ"] = spectral.rest_frequency
        if spectral.frame:
            header["SPECSYS"] = spectral.frame
    return header


NUDGE = 1e-6
"""Relative lengthening of the major axis to find its direction, so that circles keep their angle."""
TELLING = 0.01
"""Relative change of a beam in pixels, or rotation [rad], above which there is a note."""
SKY = 1.0
"""Sign of the first axis along increasing position angle on the sky: east."""
PIXELS = -1.0
"""Sign of the first axis along increasing position angle in pixels: -x."""


@dataclass(frozen=True)
class LocalFrame:
    """Local tangent planes of the sky at some pixels.

    Parameters
    ----------
    matrix : array
        ``[n, 2, 2]``: multiplied by an offset ``(dx, dy)`` [pixel] it gives that to the east and north
        [arcsec].
    """

    matrix: Float

    @property
    def area(self) -> Float:
        """Area of a pixel, ``[n]`` [arcsec2]."""
        m = self.matrix
        return np.abs(m[:, 0, 0] * m[:, 1, 1] - m[:, 0, 1] * m[:, 1, 0])

    def to_sky(self, maj: ArrayLike, minor: ArrayLike, pa: ArrayLike) -> tuple[Float, Float, Float]:
        """Ellipses on the sky, from ellipses in pixels.

        Parameters
        ----------
        maj, minor : array
            Widths [pixel], ``[n]`` or a number.
        pa : array
            Angle from +y toward -x [deg].

        Returns
        -------
        maj, minor, pa : array
            Widths [arcsec] and position angle [deg east of north].
        """
        return _transformed(self.matrix, (maj, minor, pa), PIXELS, SKY)

    def to_pixels(self, maj: ArrayLike, minor: ArrayLike, pa: ArrayLike) -> tuple[Float, Float, Float]:
        """Ellipses in pixels, from ellipses on the sky; the inverse of `to_sky`.

        Parameters
        ----------
        maj, minor : array
            Widths [arcsec], ``[n]`` or a number.
        pa : array
            Position angle [deg east of north].

        Returns
        -------
        maj, minor, pa : array
            Widths [pixel] and angle from +y toward -x [deg].
        """
        inverse = np.asarray(np.linalg.inv(self.matrix), dtype=float)
        return _transformed(inverse, (maj, minor, pa), SKY, PIXELS)

    def position_errors(self, x_err: ArrayLike, y_err: ArrayLike) -> tuple[Float, Float]:
        """Errors to the east and north [arcsec] of independent errors along x and y [pixel]."""
        along_x, along_y = _columns(x_err, y_err)
        m = self.matrix
        east, north = (np.hypot(m[:, i, 0] * along_x, m[:, i, 1] * along_y) for i in (0, 1))
        return east, north

    def shape_errors(
        self, shape: tuple[ArrayLike, ArrayLike, ArrayLike], errors: tuple[ArrayLike, ArrayLike, ArrayLike]
    ) -> tuple[Float, Float, Float]:
        """Errors of the ellipses of `to_sky`, from independent errors in pixels, to first order.

        They follow from perturbing the eigenvalues and eigenvectors of the second moments.

        Parameters
        ----------
        shape, errors : tuple of array
            Major, minor [pixel], angle [deg], and their errors, each ``[n]`` or a number.

        Returns
        -------
        maj_err, min_err, pa_err : array
            ``[n]`` [arcsec], [arcsec], [deg].
        """
        maj, minor, pa = _columns(*shape)
        maj = maj * (1 + NUDGE) + NUDGE
        major, small, angle = self.to_sky(maj, minor, pa)
        u, v = _axes(pa, PIXELS)
        e1, e2 = _axes(angle, SKY)
        turned = np.swapaxes(self.matrix, -1, -2)
        a, b = (np.einsum("nij,nj->ni", turned, e) for e in (e1, e2))
        au, av, bu, bv = (np.einsum("ni,ni->n", p, q) for p in (a, b) for q in (u, v))
        d_maj, d_min, d_pa = _columns(*errors)
        d_pa = np.deg2rad(d_pa)
        split = maj**2 - minor**2
        small = np.maximum(small, NUDGE * major)
        maj_err = _norm(maj * au**2 * d_maj, minor * av**2 * d_min, split * au * av * d_pa) / major
        # avoids a division by zero for an axis of length 0
        least = np.maximum(minor, NUDGE * maj)
        min_err = _norm(maj * bu**2 * d_maj, least * bv**2 * d_min, split * bu * bv * d_pa) / small
        turn = _norm(
            2 * maj * au * bu * d_maj, 2 * minor * av * bv * d_min, split * (au * bv + av * bu) * d_pa
        )
        pa_err = np.rad2deg(turn / np.maximum(major**2 - small**2, NUDGE * major**2))
        return maj_err, min_err, np.minimum(pa_err, 90.0)


def local_frame(sky: Callable[[Float, Float], tuple[Float, Float]], x: ArrayLike, y: ArrayLike) -> LocalFrame:
    """The local frame at pixels, from central differences of unit vectors over one pixel.

    Parameters
    ----------
    sky : callable
        Longitude and latitude [deg] of pixels x and y.
    x, y : array
        ``[n]`` or a number. At a pole, east and north follow from the longitude given there.

    Returns
    -------
    LocalFrame
    """
    x, y = _columns(x, y)
    step = 0.5 * np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
    lon, lat = np.deg2rad(sky((x + step[:, :1]).ravel(), (y + step[:, 1:]).ravel())).reshape(2, 5, -1)
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    sin, cos = np.sin(lon[0]), np.cos(lon[0])
    east = np.stack([-sin, cos, np.zeros_like(sin)])
    north = np.stack([-np.sin(lat[0]) * cos, -np.sin(lat[0]) * sin, np.cos(lat[0])])
    # at the edge of the sky: a one-sided difference from the pixel's centre, doubled
    ends = np.where(np.isnan(place[:, 1:]), place[:, :1], place[:, 1:])
    whole = 2 / np.maximum((~np.isnan(place[0, 1:])).reshape(2, 2, -1).sum(axis=1), 1)
    along = (ends[:, ::2] - ends[:, 1::2]) * whole
    return LocalFrame(np.einsum("ejn,jkn->nek", np.stack([east, north]), along) / ARCSEC)


def _columns(*values: ArrayLike) -> tuple[Float, ...]:
    """Arrays ``[n]`` of the same length."""
    return tuple(np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=float)) for v in values)))


def _norm(*parts: Float) -> Float:
    return np.sqrt(np.sum(np.square(parts), axis=0))


def _axes(pa: Float, sign: float) -> tuple[Float, Float]:
    """Unit vectors along the major and the minor axis, ``[n, 2]``."""
    sin, cos = np.sin(np.deg2rad(pa)), np.cos(np.deg2rad(pa))
    return np.stack([sign * sin, cos], axis=-1), np.stack([-sign * cos, sin], axis=-1)


def _transformed(
    matrix: Float, shape: tuple[ArrayLike, ArrayLike, ArrayLike], before: float, after: float
) -> tuple[Float, Float, Float]:
    """Widths and angle of ellipses after a linear map; NaN where any of them is."""
    maj, minor, pa = _columns(*shape)
    known = np.isfinite(maj) & np.isfinite(minor) & np.isfinite(pa) & np.isfinite(matrix).all(axis=(1, 2))
    matrix = np.where(known[:, None, None], matrix, np.eye(2))
    maj, minor, pa = (np.where(known, v, 0.0) for v in (maj, minor, pa))
    u, v = (np.einsum("nij,nj->ni", matrix, axis) for axis in _axes(pa, before))
    nudged = maj * (1 + NUDGE) + NUDGE
    moments = (w[:, None, None] ** 2 * a[:, :, None] * a[:, None, :] for w, a in ((nudged, u), (minor, v)))
    main = np.linalg.eigh(sum(moments, np.zeros_like(matrix)))[1][:, :, 1]
    # rounded, so that an angle of 0 does not become 179.99999
    angle = np.mod(np.round(np.rad2deg(np.arctan2(after * main[:, 0], main[:, 1])), 4), 180.0)
    widths = [
        _norm(maj * np.einsum("ni,ni->n", u, axis), minor * np.einsum("ni,ni->n", v, axis))
        for axis in _axes(angle, after)
    ]
    return tuple(np.where(known, v, np.nan) for v in (*widths, angle))  # type: ignore[return-value]


def is_regridded(wcs: Any) -> bool:
    """Whether the beam is constant on the sky instead of in pixels: any projection except SIN and NCP."""
    return str(wcs.wcs.ctype[wcs.wcs.lng])[5:8] not in ("SIN", "NCP")


def own_sky(wcs: Any, x: ArrayLike, y: ArrayLike) -> tuple[Float, Float]:
    """Sky positions of pixels, in the header's own frame.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Celestial, two axes.
    x, y : array
        Pixels, from 0.

    Returns
    -------
    lon, lat : array
        [deg], NaN off the sky.
    """
    lon, lat = wcs.all_pix2world(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 0)
    return wrapped(lon), np.asarray(lat)


def icrs_sky(wcs: Any, x: ArrayLike, y: ArrayLike) -> tuple[Float, Float]:
    """Sky positions of pixels, in ICRS.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Celestial, two axes, of any frame.
    x, y : array
        Pixels, from 0.

    Returns
    -------
    ra, dec : array
        Right ascension, 0 to 360, and declination [deg]; NaN off the sky.
    """
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    lon, lat = own_sky(wcs, x, y)
    frame = wcs_to_celestial_frame(wcs)
    if frame.name == "icrs":
        return lon, lat
    place = SkyCoord(lon * u.deg, lat * u.deg, frame=frame).icrs
    return wrapped(place.ra.deg), np.asarray(place.dec.deg)


def icrs_pixels(wcs: Any, ra: ArrayLike, dec: ArrayLike) -> tuple[Float, Float]:
    """Pixels of sky positions; the inverse of `icrs_sky`.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Celestial, two axes, of any frame.
    ra, dec : array
        ICRS right ascension and declination [deg].

    Returns
    -------
    x, y : array
        Pixels, from 0.
    """
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    place = SkyCoord(np.asarray(ra, dtype=float) * u.deg, np.asarray(dec, dtype=float) * u.deg)
    place = place.transform_to(wcs_to_celestial_frame(wcs))
    x, y = wcs.all_world2pix(place.spherical.lon.deg, place.spherical.lat.deg, 0, quiet=True)
    return np.asarray(x), np.asarray(y)


def wrapped(ra: ArrayLike) -> Float:
    """Right ascension in [0, 360) [deg]."""
    turned = np.mod(np.asarray(ra, dtype=float), 360.0)
    return np.where(turned >= 360.0, 0.0, turned)  # the remainder of a tiny negative angle is 360 itself


def beam_frame(wcs: Any, shape: tuple[int, ...]) -> LocalFrame:
    """The frame, in the header's own coordinates, in which its beam is converted to pixels; one row.

    It is that of the reference point where the beam is constant in pixels over the image. Otherwise it is
    that of the image's centre, if this is on the sky.
    """
    n_y, n_x = shape[-2:]
    places = [wcs.wcs.crpix - 1, ((n_x - 1) / 2, (n_y - 1) / 2)]
    for x, y in reversed(places) if is_regridded(wcs) else places:
        frame = local_frame(lambda i, j: own_sky(wcs, i, j), x, y)
        if np.isfinite(frame.matrix).all():
            return frame
    return LocalFrame(wcs.pixel_scale_matrix[None] * 3600.0)


def beam_varies(wcs: Any, shape: tuple[int, ...]) -> bool:
    """Whether a beam that is the same on the sky differs in pixels over an image by more than `TELLING`."""
    if not is_regridded(wcs):
        return False
    x, y = (v.ravel() for v in np.meshgrid(*(np.linspace(0, n - 1, 5) for n in shape[:-3:-1])))
    there = local_frame(lambda i, j: own_sky(wcs, i, j), x, y).matrix
    change = there @ np.linalg.inv(beam_frame(wcs, shape).matrix) - np.eye(2)
    return bool(np.nanmax(np.hypot(*np.moveaxis(change, 0, -1))) > TELLING)


def projection_notes(wcs: Any, shape: tuple[int, ...]) -> list[str]:
    """Notes on the assumption about the beam, where it matters."""
    if not beam_varies(wcs, shape):
        return []
    name = str(wcs.wcs.ctype[wcs.wcs.lng])[5:8]
    return [
        f"projection {name}: the beam is taken to be the same everywhere on the sky, and so to differ in "
        "pixels over the image"
    ]


def unpickled_wcs(pickled: bytes) -> Any:
    """A WCS from its pickle, without astropy's warnings on its header, which the reader has filtered once."""
    from astropy.wcs import FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return pickle.loads(pickled)
