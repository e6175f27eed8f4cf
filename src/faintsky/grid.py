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
    they count from +y toward -x; `faintsky.sky_frame` turns them into angles from the local north for the
    outside, and is where images of all other projections and orientations are dealt with.
Widths
    FWHM is the full width at half maximum, everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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

    def direction_cosines(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``l`` of shape ``[1, n_x]`` (east) and ``m`` of shape ``[n_y, 1]`` (north) [rad]."""
        east = -(np.arange(self.n_x, dtype=np.float64) - self.x0) * self.cell_rad
        north = (np.arange(self.n_y, dtype=np.float64) - self.y0) * self.cell_rad
        return east[None, :], north[:, None]

    def radius(self) -> NDArray[np.float64]:
        """Distance of every pixel from the phase centre, ``[y, x]`` [rad]."""
        east, north = self.direction_cosines()
        return np.hypot(east, north)

    def padded(self, n_y: int, n_x: int) -> ImageGrid:
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
    def centred(cls, n_chan: int, centre: float, width: float) -> SpectralGrid:
        """Channels laid as CASA's simobserve lays them: channel ``n_chan // 2`` at ``centre`` [Hz]."""
        return cls(n_chan, centre - (n_chan // 2) * width, width)

    @property
    def middle(self) -> float:
        """Frequency of channel ``n_chan // 2`` [Hz]."""
        return float(self.frequencies()[self.n_chan // 2])

    def frequencies(self) -> NDArray[np.float64]:
        """Channel centres, ``[chan]`` [Hz]."""
        return self.first + self.width * np.arange(self.n_chan, dtype=np.float64)


def major_axis_direction(pa: float | NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vector ``(dx, dy)`` in pixels along position angle ``pa`` [deg east of north]."""
    theta = np.deg2rad(np.asarray(pa, dtype=float))
    return -np.sin(theta), np.cos(theta)


def axial_difference(a: float | NDArray[np.float64], b: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Difference ``a - b`` of two position angles, in (-90, 90] [deg]."""
    d = np.mod(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), 180.0)
    return np.where(d > 90.0, d - 180.0, d)


def paper_frame_to_sky(
    fwhm_x: NDArray[np.float64] | float,
    fwhm_y: NDArray[np.float64] | float,
    angle: NDArray[np.float64] | float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
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


def sky_to_paper_frame(
    fwhm_maj: NDArray[np.float64] | float,
    fwhm_min: NDArray[np.float64] | float,
    pa: NDArray[np.float64] | float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Widths along the papers' rotated x and y and their angle in [0, 90) [deg]; see `paper_frame_to_sky`."""
    maj, minor, p = (np.asarray(v, dtype=float) for v in (fwhm_maj, fwhm_min, pa))
    along_x = np.mod(90.0 - p, 180.0)
    x_is_major = along_x < 90.0
    angle = np.where(x_is_major, along_x, along_x - 90.0)
    return np.where(x_is_major, maj, minor), np.where(x_is_major, minor, maj), angle
