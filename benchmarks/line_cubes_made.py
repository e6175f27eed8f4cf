"""HI-like cubes with truth: lines in independent or Hanning-smoothed channels, with or without a galaxy.

Noise is correlated like the beam. The lines are points of matched S/N 5 to 20, that of the best linear filter
in that noise. The galaxy is a rotating disc 12 beams long in the middle of image and band; lines lie
beside it, and over it in other channels. The continuum has been taken off.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.linalg import toeplitz

from faintsky.beams import beam_pixels
from faintsky.grid import FWHM_PER_SIGMA, SPEED_OF_LIGHT
from faintsky.source_model import frequencies_2d, gaussian_transform, line_profile

SIDE, CHANNELS, PIXEL, BEAM, RMS, WIDTH, FIRST = 128, 100, 10.0, 4.0, 5e-4, 8.244, 1000.0
"""Pixels a side, channels, pixel [arcsec], beam [pixel], noise [Jy/beam], width and
velocity of the first channel [km/s]."""
HANNING, REST = (0.25, 0.5, 0.25), 1420405751.786
VARIANTS = {
    "independent": (False, False),
    "Hanning": (True, False),
    "independent, galaxy": (False, True),
    "Hanning, galaxy": (True, True),
}
"""Whether channels are smoothed, and whether there is a galaxy."""


def smoothed(cube: np.ndarray) -> np.ndarray:
    """Hanning-smoothed along the first axis; what lies beyond the ends is 0."""
    return np.apply_along_axis(np.convolve, 0, cube, HANNING, "same")


def disc(rng: np.random.Generator) -> np.ndarray:
    """A rotating disc, seen through the beam, ``[chan, y, x]``, peak 1."""
    angle, tilt = np.deg2rad(rng.uniform(0, 180)), np.cos(np.deg2rad(60))
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    u = x * np.cos(angle) + y * np.sin(angle)
    r = np.hypot(u, (-x * np.sin(angle) + y * np.cos(angle)) / tilt) + 1e-9
    channel = 50 + 18 * np.tanh(r / 4) * u / r
    light = np.where(r < 24, np.exp(-r / 9), 0)
    z = np.arange(CHANNELS)[:, None, None]
    fx, fy = frequencies_2d(SIDE, SIDE)
    beam = gaussian_transform(fx, fy, 0, 0, BEAM, BEAM, 0).real
    cube = np.fft.irfft2(np.fft.rfft2(light * np.exp(-0.5 * ((z - channel) / 1.2) ** 2)) * beam, (SIDE, SIDE))
    return cube / cube.max()


def make(folder: Path, seed: int, *, hanning: bool, galaxy: bool, lines: int = 40) -> None:
    """Write ``cube.fits`` and ``truth.ecsv``: x, y, z, fwhm_z in pixels and channels, flux [Jy km/s], snr."""
    rng, z = np.random.default_rng(seed), np.arange(CHANNELS)
    fx, fy = frequencies_2d(SIDE, SIDE)
    wide = BEAM / np.sqrt(2)
    white = np.fft.rfft2(rng.normal(size=(CHANNELS + 2, SIDE, SIDE)))
    noise = np.fft.irfft2(white * gaussian_transform(fx, fy, 0, 0, wide, wide, 0).real, (SIDE, SIDE))
    noise = smoothed(noise)[1:-1] if hanning else noise[:CHANNELS]
    cube = noise * (RMS / noise.std())
    lags = np.zeros(CHANNELS)
    lags[:3] = (1.001, 2 / 3, 1 / 6) if hanning else (1.001, 0, 0)
    inverse = np.linalg.inv(toeplitz(lags))
    area = float(beam_pixels((BEAM, BEAM, 0.0), 1.0)[0])
    rows: list[tuple[float, ...]] = []
    while len(rows) < lines:
        x, y = rng.uniform(8, SIDE - 8, 2)
        middle, width = rng.uniform(6, CHANNELS - 6), rng.uniform(3, 12)
        if any(np.hypot(x - q[0], y - q[1]) < 12 and abs(middle - q[2]) < 25 for q in rows):
            continue
        if galaxy and np.hypot(x - SIDE / 2, y - SIDE / 2) < 36 and 14 < middle < 86:
            continue
        line = line_profile(z, middle, width)
        if hanning:
            line, width = np.convolve(line, HANNING, "same"), np.hypot(width, FWHM_PER_SIGMA * np.sqrt(0.5))
        snr = rng.uniform(5, 20)
        line *= snr * RMS / np.sqrt(line @ inverse @ line)
        iy, ix = np.mgrid[:SIDE, :SIDE]
        shape = np.exp(-4 * np.log(2) * ((ix - x) ** 2 + (iy - y) ** 2) / BEAM**2)
        cube += line[:, None, None] * shape
        rows.append((x, y, middle, width, line.sum(), snr, 0))
    if galaxy:
        whole = disc(rng)
        whole = smoothed(whole) if hanning else whole
        whole *= 25 * RMS / whole.max()
        cube += whole
        rows.append((SIDE / 2, SIDE / 2, 50.0, 36.0, whole.sum() / area, np.nan, 1))
    names = ("x", "y", "z", "fwhm_z", "flux", "snr", "galaxy")
    truth = Table(rows=rows, names=names, dtype=[float] * 6 + [bool])
    # over dv = c dnu / nu of the line, which is wider than a channel of a radio axis
    truth["flux"] *= WIDTH / (1 - (FIRST + WIDTH * truth["z"]) * 1e3 / SPEED_OF_LIGHT)
    h = fits.Header()
    axes = [
        ("RA---SIN", 180.0, -PIXEL / 3600, "deg", SIDE / 2),
        ("DEC--SIN", 30.0, PIXEL / 3600, "deg", SIDE / 2),
        ("VRAD", FIRST * 1e3, WIDTH * 1e3, "m/s", 1),
    ]
    for i, axis in enumerate(axes, start=1):
        h.update({f"{k}{i}": v for k, v in zip(("CTYPE", "CRVAL", "CDELT", "CUNIT", "CRPIX"), axis)})
    beam = BEAM * PIXEL / 3600
    h.update({"BMAJ": beam, "BMIN": beam, "BPA": 0.0, "BUNIT": "JY/BEAM", "RESTFRQ": REST})
    folder.mkdir(parents=True, exist_ok=True)
    truth.write(folder / "truth.ecsv", overwrite=True)
    fits.writeto(folder / "cube.fits", cube.astype(np.float32), h, overwrite=True)
