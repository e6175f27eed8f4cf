"""Radio sources with realistic counts: compact ones, and galaxies with two lobes, a core and jets.

Counts: N(> S) = 650 / deg2 (S / 1 mJy)**-1 at 150 MHz up to 300 mJy, with a slope of -1.5 above. This agrees
with surveys: LoTSS DR2 780 / deg2 (4.4 million sources above about 0.8 mJy in 5,634 deg2,
Shimwell et al. 2022, A&A 659, A1), TGSS 17 / deg2 (0.62 million above about 35 mJy in 36,900 deg2, Intema et
al. 2017, A&A 598, A78), and GLEAM 12 / deg2 (0.31 million above about 50 mJy in 24,831 deg2, Hurley-Walker et
al. 2017, MNRAS 464, 1146). One in eight is resolved into lobes, with sizes around 25 arcsec, as in LoTSS.
"""

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32, Float
from faintsky.grid import FWHM_PER_SIGMA

PER_SQUARE_DEGREE = 650.0
"""Number of sources above 1 mJy [1/deg2]."""
BREAK = 0.3
"""Flux density [Jy] above which the counts steepen."""
SPECTRAL_INDEX = -0.7
DOUBLE = 0.125
"""Fraction of sources with lobes."""


def draw_radio_galaxies(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cell: float,
    *,
    freq: float = 150e6,
    faintest: float = 5e-5,
    brightest: float = 3.0,
) -> Array32:
    """A random field of radio sources.

    Parameters
    ----------
    rng : numpy.random.Generator
        The source of random numbers.
    shape : tuple of int
        ``(n_y, n_x)``.
    cell : float
        Side of a pixel [arcsec].
    freq : float, optional
        Frequency [Hz]; fluxes are proportional to ``freq**-0.7``.
    faintest, brightest : float, optional
        Range of flux densities at 150 MHz [Jy].

    Returns
    -------
    array
        ``[y, x]``, float32 [Jy/pixel]. Unresolved sources are spread over the four pixels around their
        position, so that their centroid is exact.
    """
    n_y, n_x = shape
    area = n_y * n_x * (cell / 3600) ** 2
    flux = draw_fluxes(rng, area, faintest, brightest) * (freq / 150e6) ** SPECTRAL_INDEX
    x, y = rng.uniform(0, n_x - 1, flux.size), rng.uniform(0, n_y - 1, flux.size)
    double = rng.random(flux.size) < DOUBLE
    sky = np.zeros(shape, dtype=np.float32)
    # compact sources, most of them a few arcsec wide at most
    width = rng.lognormal(np.log(2.0), 0.7, flux.size) / cell
    for i in np.nonzero(~double & (width >= 1.5))[0]:
        _gaussian(sky, x[i], y[i], width[i], width[i] * rng.uniform(0.4, 1), rng.uniform(0, np.pi), flux[i])
    points = ~double & (width < 1.5)
    _points(sky, x[points], y[points], flux[points])
    for i in np.nonzero(double)[0]:
        add_double(sky, rng, cell, x[i], y[i], flux[i])
    return sky


def draw_fluxes(rng: np.random.Generator, area: float, faintest: float, brightest: float) -> Float:
    """Random flux densities of the sources in an area.

    Parameters
    ----------
    rng : numpy.random.Generator
        The source of random numbers.
    area : float
        [deg2]
    faintest, brightest : float
        Range of flux densities at 150 MHz [Jy].

    Returns
    -------
    array
        Flux densities at 150 MHz, ``[source]`` [Jy].
    """

    def above(s: float) -> float:
        return PER_SQUARE_DEGREE * 1e-3 / s * min(1.0, (s / BREAK) ** -0.5)

    top, bottom = above(brightest), above(faintest)
    number = rng.uniform(top, bottom, rng.poisson(area * (bottom - top)))
    flat = PER_SQUARE_DEGREE * 1e-3 / number
    return np.where(flat < BREAK, flat, BREAK * (above(BREAK) / number) ** (1 / 1.5))


def _points(sky: Array32, x: NDArray, y: NDArray, flux: NDArray) -> None:
    ix, iy = np.floor(x).astype(int), np.floor(y).astype(int)
    px, py = x - ix, y - iy
    for jy, wy in ((0, 1 - py), (1, py)):
        for jx, wx in ((0, 1 - px), (1, px)):
            inside = (iy + jy < sky.shape[0]) & (ix + jx < sky.shape[1])
            np.add.at(sky, (iy[inside] + jy, ix[inside] + jx), (flux * wy * wx)[inside].astype(np.float32))


def _gaussian(
    sky: Array32, x: float, y: float, major: float, minor: float, angle: float, flux: float
) -> None:
    """Add a Gaussian of these FWHMs [pixel], its major axis at ``angle`` [rad] from +x."""
    major, minor = max(major, 1.5) / FWHM_PER_SIGMA, max(minor, 1.5) / FWHM_PER_SIGMA
    reach = int(5 * major) + 2
    y0, y1 = max(int(y) - reach, 0), min(int(y) + reach + 1, sky.shape[0])
    x0, x1 = max(int(x) - reach, 0), min(int(x) + reach + 1, sky.shape[1])
    if y0 >= y1 or x0 >= x1:
        return
    dy, dx = (np.arange(y0, y1) - y)[:, None], (np.arange(x0, x1) - x)[None, :]
    c, s = np.cos(angle), np.sin(angle)
    exponent = ((dx * c + dy * s) / major) ** 2 + ((dy * c - dx * s) / minor) ** 2
    sky[y0:y1, x0:x1] += (flux / (2 * np.pi * major * minor) * np.exp(-0.5 * exponent)).astype(np.float32)


def add_double(sky: Array32, rng: np.random.Generator, cell: float, x: float, y: float, flux: float) -> None:
    """Add a core, two unequal lobes on a bent line, and a bridge of blobs between them.

    Parameters
    ----------
    sky : array
        ``[y, x]`` [Jy/pixel], changed in place.
    rng : numpy.random.Generator
    cell : float
        Side of a pixel [arcsec].
    x, y, flux : float
        Position of the core [pixel], and total flux [Jy].
    """
    half = np.clip(rng.lognormal(np.log(25.0), 0.7), 5, 300) / cell / 2
    angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.25)
    core, bridge = rng.uniform(0, 0.15), rng.uniform(0, 0.4)
    balance = rng.uniform(0.25, 0.75)
    _gaussian(sky, x, y, 1.5, 1.5, 0.0, core * flux)
    for side, share in ((0.0, balance), (np.pi + bend, 1 - balance)):
        direction = angle + side
        reach = half * rng.uniform(0.7, 1.3)
        lobe = reach * rng.uniform(0.3, 0.9)
        there = share * (1 - core) * flux
        _gaussian(
            sky, x + reach * np.cos(direction), y + reach * np.sin(direction), lobe,
            lobe * rng.uniform(0.4, 1), direction, there * (1 - bridge),
        )  # fmt: skip
        for step in (0.3, 0.6):
            _gaussian(
                sky, x + step * reach * np.cos(direction), y + step * reach * np.sin(direction),
                reach * 0.4, reach * 0.12, direction, there * bridge / 2,
            )  # fmt: skip
