"""HI-like cubes of any size with truth, made channel by channel: points of matched S/N 5 to 20, discs.

Noise is that of `benchmarks.line_cubes_made`, with independent channels, and so are the rotating discs. There
is a point for each 2.5 million voxels and a disc for each 100 million. Noise follows from seed and channel.

    python -m benchmarks.large_cubes out.fits --channels 500 --side 1000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from benchmarks import line_cubes_made as made
from faintsky.beams import beam_pixels
from faintsky.grid import SPEED_OF_LIGHT
from faintsky.source_model import frequencies_2d, gaussian_transform, line_profile

POINT, DISC = 2.5e6, 1e8
"""Voxels for each point, and for each disc."""
ROOM = 12.0
"""Pixels, and half of it in line widths, that sources keep from each other."""
WIDTH = 2e3
"""Of a channel [m/s]: the band of 1e5 channels stays below a fifth of the speed of light."""


def places(rng: np.random.Generator, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Points ``[n, 5]``: x, y, z, fwhm_z, snr; middles of discs ``[n, 3]``."""
    n_chan, n_y, n_x = shape
    half = made.SIDE // 2, made.CHANNELS // 2
    discs: list[tuple[int, int, int]] = []
    while len(discs) < int(np.prod(shape, dtype=float) / DISC):
        x, y = (int(v) for v in rng.integers(half[0], [n_x - half[0] + 1, n_y - half[0] + 1]))
        z = int(rng.integers(half[1], n_chan - half[1] + 1))
        if all(max(abs(x - a), abs(y - b)) > made.SIDE or abs(z - c) > made.CHANNELS for a, b, c in discs):
            discs.append((x, y, z))
    points: list[tuple[float, ...]] = []
    while len(points) < int(np.prod(shape, dtype=float) / POINT):
        x, y = rng.uniform(8, n_x - 8), rng.uniform(8, n_y - 8)
        z, width, snr = rng.uniform(6, n_chan - 6), rng.uniform(3, 12), rng.uniform(5, 20)
        if any(np.hypot(x - a, y - b) < 36 and abs(z - c) < 36 for a, b, c in discs):
            continue
        if points:
            known = np.array(points)
            if np.any((np.hypot(known[:, 0] - x, known[:, 1] - y) < ROOM) & (np.abs(known[:, 2] - z) < 25)):
                continue
        points.append((x, y, z, width, snr))
    return np.array(points).reshape(-1, 5), np.array(discs, int).reshape(-1, 3)


def make(path: Path, shape: tuple[int, int, int], seed: int = 0) -> None:
    """Write a cube ``(chan, y, x)`` [Jy/beam], and ``PATH.truth.ecsv`` beside it."""
    n_chan, n_y, n_x = shape
    points, discs = places(np.random.default_rng(seed), shape)
    light = [made.disc(np.random.default_rng([seed, k, 1])) * 25 * made.RMS for k in range(len(discs))]
    area = float(beam_pixels((made.BEAM, made.BEAM, 0.0), 1.0)[0])
    z, lines = np.arange(n_chan), []
    for _, _, middle, width, snr in points:
        line = line_profile(z, middle, width)
        lines.append(line * snr * made.RMS / np.sqrt((line**2).sum()))
    h = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 3})
    h.update({"NAXIS1": n_x, "NAXIS2": n_y, "NAXIS3": n_chan})
    axes = [
        ("RA---SIN", 180.0, -made.PIXEL / 3600, "deg", n_x / 2),
        ("DEC--SIN", 30.0, made.PIXEL / 3600, "deg", n_y / 2),
        ("VRAD", made.FIRST * 1e3, WIDTH, "m/s", 1),
    ]
    for i, axis in enumerate(axes, start=1):
        h.update({f"{k}{i}": v for k, v in zip(("CTYPE", "CRVAL", "CDELT", "CUNIT", "CRPIX"), axis)})
    beam = made.BEAM * made.PIXEL / 3600
    h.update({"BMAJ": beam, "BMIN": beam, "BPA": 0.0, "BUNIT": "JY/BEAM", "RESTFRQ": made.REST})
    wide = made.BEAM / np.sqrt(2)
    kernel = gaussian_transform(*frequencies_2d(n_y, n_x), 0, 0, wide, wide, 0).real
    scale = made.RMS / np.sqrt(_power(kernel, n_x) / (n_y * n_x))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(h.tostring().encode("ascii"))
        for k in range(n_chan):
            white = np.random.default_rng([seed, k, 2]).normal(size=(n_y, n_x))
            plane = np.fft.irfft2(np.fft.rfft2(white) * kernel, (n_y, n_x)) * scale
            for (x, y, *_), line in zip(points, lines):
                if line[k] > 1e-4 * made.RMS:
                    _add_point(plane, x, y, line[k])
            for (x, y, middle), cube in zip(discs, light):
                if 0 <= k - middle + made.CHANNELS // 2 < made.CHANNELS:
                    half = made.SIDE // 2
                    box = slice(y - half, y + half), slice(x - half, x + half)
                    plane[box] += cube[k - middle + made.CHANNELS // 2]
            file.write(plane.astype(">f4").tobytes())
        file.write(b"\0" * (-4 * n_chan * n_y * n_x % 2880))
    rows = [(*p[:4], line.sum(), p[4], False) for p, line in zip(points, lines)]
    rows += [(x, y, c, 36.0, cube.sum() / area, np.nan, True) for (x, y, c), cube in zip(discs, light)]
    names = ("x", "y", "z", "fwhm_z", "flux", "snr", "galaxy")
    truth = Table(rows=rows, names=names, dtype=[float] * 6 + [bool])
    # over dv = c dnu / nu of the line, which is wider than a channel of a radio axis
    truth["flux"] *= WIDTH / 1e3 / (1 - (made.FIRST * 1e3 + WIDTH * truth["z"]) / SPEED_OF_LIGHT)
    truth.write(f"{path}.truth.ecsv", overwrite=True)


def _power(kernel: np.ndarray, n_x: int) -> float:
    """Sum of the squares of a real transform's values, both halves."""
    both = 2 * (kernel**2).sum() - (kernel[:, 0] ** 2).sum()
    return float(both - (kernel[:, -1] ** 2).sum() * (n_x % 2 == 0))


def _add_point(plane: np.ndarray, x: float, y: float, peak: float) -> None:
    half = int(2.5 * made.BEAM)
    ys, xs = (slice(max(int(v) - half, 0), int(v) + half + 1) for v in (y, x))
    part = plane[ys, xs]
    iy, ix = np.mgrid[ys.start : ys.start + part.shape[0], xs.start : xs.start + part.shape[1]]
    part += peak * np.exp(-4 * np.log(2) * ((ix - x) ** 2 + (iy - y) ** 2) / made.BEAM**2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--channels", type=int, default=500)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    make(asked.path, (asked.channels, asked.side, asked.side), asked.seed)
