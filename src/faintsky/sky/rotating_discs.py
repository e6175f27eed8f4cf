"""Rotating discs: inclined exponential or Gaussian discs of gas, with double-horned lines.

A thin disc rotates with a curve that rises and becomes flat; its gas also has a velocity dispersion. Its cube
is a sum of few images times spectra. Each image holds the gas of about one line-of-sight velocity; gas
between two such velocities is divided between them.
"""

from dataclasses import dataclass, replace

import numpy as np

from faintsky.arrays import Array32, Float
from faintsky.grid import ImageGrid, major_axis_direction
from faintsky.sky.model import shape_of_moments

PROFILES = ("exponential", "gaussian")
CURVES = ("arctan", "tanh")
_THICKNESS = 0.1
"""Axis ratio of a disc seen edge-on."""
_FINE = 4
"""Samples along a pixel's side."""


@dataclass(frozen=True)
class Disc:
    """A rotating disc.

    Parameters
    ----------
    x, y : float
        Centre [pixel].
    scale : float
        Scale length of an exponential disc, standard deviation of a Gaussian one [pixel].
    inclination : float
        0 for face-on, 90 for edge-on [deg].
    pa : float
        Position angle of the half of the major axis that moves toward higher channels [deg east of north,
        0-360].
    z : float
        Channel of the centre's velocity.
    velocity : float
        Velocity of the flat part of the rotation curve [channel].
    turnover : float
        Scale radius of the rotation curve's rise [pixel].
    dispersion : float
        Velocity dispersion of the gas at one place, a standard deviation [channel].
    profile : str, optional
        One of `PROFILES`.
    curve : str, optional
        One of `CURVES`: ``2 / pi arctan(r / turnover)`` (Courteau 1997) or ``tanh(r / turnover)``.
    """

    x: float
    y: float
    scale: float
    inclination: float
    pa: float
    z: float
    velocity: float
    turnover: float
    dispersion: float
    profile: str = "exponential"
    curve: str = "arctan"


@dataclass(frozen=True)
class DiscTerms:
    """A disc of unit line flux (1 Jy channel) as images times spectra, and its catalogue values.

    Parameters
    ----------
    images : array
        ``[term, y, x]``, float32, each of unit flux (except for flux outside the image).
    centres : array
        Line centres of the terms, ``[term]`` [channel].
    shares : array
        Their fluxes, ``[term]``; the sum is 1.
    sigma : float
        Standard deviation of the terms' Gaussian lines [channel].
    shape : tuple of float
        Widths of the Gaussian with the image's second moments and its angle: FWHM along the major and the
        minor axis [pixel], position angle [deg].
    fwhm_z : float
        Full width at half maximum of the whole disc's line, from the outermost crossings [channel].
    peak : float
        Peak of the whole disc's line [1/channel].
    """

    images: Array32
    centres: Float
    shares: Float
    sigma: float
    shape: tuple[float, float, float]
    fwhm_z: float = 0.0
    peak: float = 0.0

    def lines(self, z: Float) -> Float:
        """Spectra of the terms at some channels, ``[term, chan]`` [1/channel]."""
        offset = (z[None, :] - self.centres[:, None]) / self.sigma
        height = self.shares[:, None] / (np.sqrt(2 * np.pi) * self.sigma)
        return height * np.exp(-0.5 * offset**2)


def disc_terms(grid: ImageGrid, disc: Disc) -> DiscTerms:
    """Images and spectra of a disc.

    Parameters
    ----------
    grid : ImageGrid
    disc : Disc

    Returns
    -------
    DiscTerms
    """
    reach = int(np.ceil((8.0 if disc.profile == "exponential" else 4.5) * disc.scale)) + 1
    x0, y0 = round(disc.x) - reach, round(disc.y) - reach
    n = 2 * reach + 1
    fine = (np.arange(n * _FINE) + 0.5) / _FINE - 0.5
    dx, dy = (fine + x0 - disc.x)[None, :], (fine + y0 - disc.y)[:, None]
    light, velocity = _light_and_velocity(disc, dx, dy)
    light /= light.sum()
    planes, offsets, sigma = _by_velocity(light, velocity, disc.dispersion, n)
    shares = planes.sum(axis=(1, 2))
    shape = _gaussian_equivalent(planes.sum(axis=0), x0 - disc.x, y0 - disc.y)
    images = np.zeros((len(planes), *grid.shape), dtype=np.float32)
    ys, xs = (slice(max(o, 0), max(min(o + n, m), 0)) for o, m in ((y0, grid.n_y), (x0, grid.n_x)))
    part = planes[:, ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0]
    images[:, ys, xs] = part / shares[:, None, None]
    terms = DiscTerms(images, disc.z + offsets, shares, sigma, shape)
    # width and peak of the whole line, on a fine grid
    reach = np.abs(offsets).max() + 5 * sigma
    z = disc.z + np.linspace(-reach, reach, 4001)
    line = terms.lines(z).sum(axis=0)
    half = line.max() / 2
    first, last = np.nonzero(line >= half)[0][[0, -1]]
    low = np.interp(half, line[[first - 1, first]], z[[first - 1, first]])
    high = np.interp(half, line[[last + 1, last]], z[[last + 1, last]])
    return replace(terms, fwhm_z=float(high - low), peak=float(line.max()))


def _light_and_velocity(disc: Disc, dx: Float, dy: Float) -> tuple[Float, Float]:
    """Brightness, and velocity along the line of sight [channel], at offsets from the centre [pixel]."""
    ux, uy = major_axis_direction(disc.pa)
    along, across = dx * ux + dy * uy, -dx * uy + dy * ux
    tilt = np.deg2rad(disc.inclination)
    # the apparent axis ratio of an oblate body (Hubble 1926)
    ratio = np.sqrt(np.cos(tilt) ** 2 + (_THICKNESS * np.sin(tilt)) ** 2)
    radius = np.maximum(np.hypot(along, across / ratio), 1e-9)
    x = radius / disc.scale
    light = np.exp(-x) if disc.profile == "exponential" else np.exp(-0.5 * x**2)
    rise = radius / disc.turnover
    speed = np.tanh(rise) if disc.curve == "tanh" else 2 / np.pi * np.arctan(rise)
    return light, disc.velocity * speed * np.sin(tilt) * along / radius


def _by_velocity(light: Float, velocity: Float, dispersion: float, n: int) -> tuple[Float, Float, float]:
    """Images of about one velocity each, ``[term, n, n]``, those velocities, and the terms' line width."""
    most = float(np.abs(velocity).max())
    half = int(np.ceil(most / dispersion))
    step = most / half if half else dispersion
    offsets = step * np.arange(-half, half + 1)
    where = np.clip(velocity / step + half, 0, 2 * half)
    low = np.minimum(where.astype(int), max(2 * half - 1, 0))
    part = where - low
    y, x = np.indices(light.shape) // _FINE
    cell = (low * n + y) * n + x
    size = len(offsets) * n * n
    planes = np.bincount(cell.ravel(), ((1 - part) * light).ravel(), minlength=size)
    if half:
        planes += np.bincount((cell + n * n).ravel(), (part * light).ravel(), minlength=size)
    planes = planes[:size].reshape(len(offsets), n, n)
    full = planes.sum(axis=(1, 2)) > 1e-6
    # dividing gas between two terms adds a variance of a sixth of their squared separation, on average
    sigma = float(np.sqrt(dispersion**2 - (step**2 / 6 if half else 0.0)))
    return planes[full], offsets[full], sigma


def _gaussian_equivalent(image: Float, x0: float, y0: float) -> tuple[float, float, float]:
    """FWHMs and angle of the Gaussian with an image's second moments about the disc's centre."""
    y, x = np.arange(image.shape[0])[:, None] + y0, np.arange(image.shape[1])[None, :] + x0
    flux = image.sum()
    xx, yy, xy = ((image * p).sum() / flux for p in (x * x, y * y, x * y))
    major, minor, pa = (float(v) for v in shape_of_moments(xx, yy, xy))
    return major, minor, pa
