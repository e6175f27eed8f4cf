"""Where pixels lie on the sky, and what a step of a pixel is there, in every projection.

An image made by an interferometer has one psf in *pixels* where its projection is SIN or NCP: the projection
in which a Fourier transform of visibilities comes out. In all others it has been regridded, or was never one,
and the beam is the same *on the sky*: its size in pixels changes over the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.grid import ARCSEC

Float = NDArray[np.float64]

NUDGE = 1e-6
"""By how much the major axis is taken longer where only a direction is sought: circles keep their angle."""
TELLING = 0.01
"""Relative change of a beam in pixels, or its turn [rad], that is worth a note."""
SKY, PIXELS = 1.0, -1.0
"""Sign of the first axis along increasing position angle: east on the sky, -x in pixels."""


@dataclass(frozen=True)
class LocalFrame:
    """The sky about some pixels, as a plane.

    Parameters
    ----------
    matrix : array
        ``[n, 2, 2]``: times a shift ``(dx, dy)`` [pixel] it is the shift to the east and north [arcsec].
    """

    matrix: Float

    @property
    def area(self) -> Float:
        """Area of a pixel, ``[n]`` [arcsec2]."""
        m = self.matrix
        return np.abs(m[:, 0, 0] * m[:, 1, 1] - m[:, 0, 1] * m[:, 1, 0])

    def to_sky(self, maj: ArrayLike, minor: ArrayLike, pa: ArrayLike) -> tuple[Float, Float, Float]:
        """Widths [arcsec] and position angle [deg east of north] of ellipses.

        Given their widths in pixels and their angle from +y toward -x [deg], each ``[n]`` or a number.
        """
        return _transformed(self.matrix, (maj, minor, pa), PIXELS, SKY)

    def to_pixels(self, maj: ArrayLike, minor: ArrayLike, pa: ArrayLike) -> tuple[Float, Float, Float]:
        """The inverse of `to_sky`."""
        inverse = np.asarray(np.linalg.inv(self.matrix), dtype=float)
        return _transformed(inverse, (maj, minor, pa), SKY, PIXELS)

    def position_errors(self, x_err: ArrayLike, y_err: ArrayLike) -> tuple[Float, Float]:
        """Errors to the east and north [arcsec] of independent errors along x and y [pixel]."""
        along_x, along_y = _columns(x_err, y_err)
        m = self.matrix
        east, north = (np.hypot(m[:, i, 0] * along_x, m[:, i, 1] * along_y) for i in (0, 1))
        return east, north

    def shape_errors(
        self,
        shape: tuple[ArrayLike, ArrayLike, ArrayLike],
        errors: tuple[ArrayLike, ArrayLike, ArrayLike],
    ) -> tuple[Float, Float, Float]:
        """Errors on the sky of what `to_sky` gives, of independent ones in pixels, to first order.

        By perturbation of the eigenvalues and eigenvectors of the second moments.

        Parameters
        ----------
        shape, errors : tuple of array
            Major, minor [pixel], angle [deg], and their errors, each ``[n]`` or a number.
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
        # an axis of no length at all is known as well as the pixel is small
        least = np.maximum(minor, NUDGE * maj)
        min_err = _norm(maj * bu**2 * d_maj, least * bv**2 * d_min, split * bu * bv * d_pa) / small
        turn = _norm(
            2 * maj * au * bu * d_maj, 2 * minor * av * bv * d_min, split * (au * bv + av * bu) * d_pa
        )
        pa_err = np.rad2deg(turn / np.maximum(major**2 - small**2, NUDGE * major**2))
        return maj_err, min_err, np.minimum(pa_err, 90.0)


def local_frame(sky: Callable[[Float, Float], tuple[Float, Float]], x: ArrayLike, y: ArrayLike) -> LocalFrame:
    """The frame about pixels, from central differences over a pixel between directions in space.

    Parameters
    ----------
    sky : callable
        Longitude and latitude [deg] of pixels x and y.
    x, y : array
        ``[n]`` or a number. At a pole the frame is that of the longitude given there.
    """
    x, y = _columns(x, y)
    step = 0.5 * np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
    lon, lat = np.deg2rad(sky((x + step[:, :1]).ravel(), (y + step[:, 1:]).ravel())).reshape(2, 5, -1)
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    sin, cos = np.sin(lon[0]), np.cos(lon[0])
    east = np.stack([-sin, cos, np.zeros_like(sin)])
    north = np.stack([-np.sin(lat[0]) * cos, -np.sin(lat[0]) * sin, np.cos(lat[0])])
    # beside the edge of the sky from the pixel's middle on, twice
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
    """Whether the beam is the same on the sky and not in pixels: in any projection but SIN and NCP."""
    return str(wcs.wcs.ctype[wcs.wcs.lng])[5:8] not in ("SIN", "NCP")


def own_sky(wcs: Any, x: ArrayLike, y: ArrayLike) -> tuple[Float, Float]:
    """Right ascension and declination [deg] of 0-based pixels in a header's own frame; NaN off the sky."""
    lon, lat = wcs.all_pix2world(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 0)
    return wrapped(lon), np.asarray(lat)


def icrs_sky(wcs: Any, x: ArrayLike, y: ArrayLike) -> tuple[Float, Float]:
    """ICRS right ascension (0 to 360) and declination [deg] of 0-based pixels; NaN off the sky."""
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
    """0-based pixels x and y of ICRS right ascension and declination [deg]."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    place = SkyCoord(np.asarray(ra, dtype=float) * u.deg, np.asarray(dec, dtype=float) * u.deg)
    place = place.transform_to(wcs_to_celestial_frame(wcs))
    x, y = wcs.all_world2pix(place.spherical.lon.deg, place.spherical.lat.deg, 0, quiet=True)
    return np.asarray(x), np.asarray(y)


def wrapped(ra: ArrayLike) -> Float:
    """Right ascension from 0 to 360, the latter not included [deg]."""
    turned = np.mod(np.asarray(ra, dtype=float), 360.0)
    return np.where(turned >= 360.0, 0.0, turned)  # the remainder of a tiny negative angle is 360 itself


def beam_frame(wcs: Any, shape: tuple[int, ...]) -> LocalFrame:
    """The frame, in the header's own coordinates, in which its beam is turned into pixels; one row.

    At the reference point where the beam is the same in pixels all over the image, otherwise at the image's
    middle, where that is on the sky.
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
    """What is assumed of the beam, where it matters."""
    if not beam_varies(wcs, shape):
        return []
    name = str(wcs.wcs.ctype[wcs.wcs.lng])[5:8]
    return [
        f"projection {name}: the beam is taken to be the same everywhere on the sky, and so to differ in "
        "pixels over the image"
    ]
