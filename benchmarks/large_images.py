"""Survey-like continuum images of any size with their truth, made block by block.

Noise and sources are those of `benchmarks.survey_images`, and there are filaments of diffuse emission.
Every number follows from the seed and the place of a block: two images of one seed agree where both have
pixels, but for filaments that begin beyond.

    python -m benchmarks.large_images out.fits --size 12000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.survey_images import BEAM, EXTENDED, MEMBER, PAIRS, PIXEL, POINT, RMS
from faintsky.grid import FWHM_PER_SIGMA

BLOCK, REACH = 1200, 32
"""Side of a block, and how far the noise's correlation reaches [pixel]."""
SOURCES, FILAMENT = 400, 3
"""Points and extended ones in a block; ``kind`` of filaments, of which one block in four has one."""
COLUMNS = ("x", "y", "flux", "peak", "snr", "kind", "fwhm", "fwhm_min", "turn")


def sources_of(seed: int, row: int, column: int) -> NDArray[np.float64]:
    """Sources whose middle lies in a block, by `COLUMNS`."""
    rng, rows = np.random.default_rng([seed, row + 1, column + 1, 1]), []

    def add(x: float, y: float, peak: float, kind: int, maj: float, minor: float, turn: float = 0.0) -> None:
        place = x + column * BLOCK, y + row * BLOCK
        rows.append([*place, peak * maj * minor / BEAM**2, peak, peak / RMS, kind, maj, minor, turn])

    for peak in np.minimum(5 * RMS * (rng.pareto(1.0, SOURCES) + 1), 500 * RMS):
        wide = rng.random() < 0.15
        size = float(np.hypot(BEAM, rng.uniform(0.5, 2) * BEAM)) if wide else BEAM
        add(*rng.uniform(0, BLOCK, 2), peak, EXTENDED if wide else POINT, size, size)
    for apart, ratio, snr in PAIRS:
        (x, y), angle, d = rng.uniform(0, BLOCK, 2), rng.uniform(0, np.pi), apart * BEAM / PIXEL / 2
        for side, over in ((-1, 1.0), (1, ratio)):
            place = x + side * d * np.cos(angle), y + side * d * np.sin(angle)
            add(*place, snr * RMS * over / ratio, MEMBER, BEAM, BEAM)
    if row % 2 == column % 2 == 0:
        long, wide = rng.uniform(15, 60) * BEAM, rng.uniform(4, 8) * BEAM
        add(*rng.uniform(0, BLOCK, 2), rng.uniform(1, 3) * RMS, FILAMENT, long, wide, rng.uniform(0, np.pi))
    return np.array(rows)


def noise_of(seed: int, row: int, column: int) -> NDArray[np.float64]:
    """Noise of a block, correlated like the beam over its borders, too."""
    sigma = BEAM / PIXEL / FWHM_PER_SIGMA / np.sqrt(2)
    white = np.concatenate(
        [
            np.concatenate(
                [
                    np.random.default_rng([seed, row + j + 1, column + i + 1, 2]).normal(size=(BLOCK, BLOCK))[
                        _strip(j), :
                    ][:, _strip(i)]
                    for i in (-1, 0, 1)
                ],
                axis=1,
            )
            for j in (-1, 0, 1)
        ]
    )
    smooth = gaussian_filter(white, sigma, truncate=8)[REACH:-REACH, REACH:-REACH]
    return smooth * RMS * 2 * sigma * np.sqrt(np.pi)


def _strip(side: int) -> slice:
    """What a neighbour at a side has to say."""
    return {-1: slice(BLOCK - REACH, BLOCK), 0: slice(None), 1: slice(0, REACH)}[side]


def block_of(seed: int, row: int, column: int, sources: NDArray[np.float64]) -> NDArray[np.float32]:
    """Pixels of a block [Jy/beam]."""
    image = noise_of(seed, row, column)
    for px, py, _, peak, _, _, maj, minor, turn in sources:
        half = int(2 * maj / PIXEL) + 2
        low = [max(int(p) - half - k * BLOCK, 0) for p, k in ((px, column), (py, row))]
        high = [min(int(p) + half - k * BLOCK, BLOCK) for p, k in ((px, column), (py, row))]
        if low[0] >= high[0] or low[1] >= high[1]:
            continue
        u = np.arange(low[0], high[0]) + column * BLOCK - px
        v = (np.arange(low[1], high[1]) + row * BLOCK - py)[:, None]
        along, across = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
        image[low[1] : high[1], low[0] : high[0]] += peak * np.exp(
            -4 * np.log(2) * PIXEL**2 * ((along / maj) ** 2 + (across / minor) ** 2)
        )
    return image.astype(">f4")


def make(path: Path, size: int, seed: int = 0) -> None:
    """Write an image [Jy/beam] of some pixels a side, and ``PATH.truth.fits`` beside it."""
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": size, "NAXIS2": size})
    for i, (axis, value, step) in enumerate([("RA---SIN", 150.0, -PIXEL), ("DEC--SIN", 2.0, PIXEL)], 1):
        header[f"CTYPE{i}"], header[f"CRVAL{i}"], header[f"CDELT{i}"] = axis, value, step / 3600
        header[f"CRPIX{i}"], header[f"CUNIT{i}"] = size / 2, "deg"
    header["BMAJ"], header["BMIN"], header["BPA"], header["BUNIT"] = BEAM / 3600, BEAM / 3600, 0.0, "JY/BEAM"
    header["RESTFRQ"] = 1.4e9
    path.parent.mkdir(parents=True, exist_ok=True)
    text = header.tostring().encode("ascii")
    with path.open("wb") as file:
        file.write(text)
        file.truncate(len(text) + -(-4 * size * size // 2880) * 2880)
    count = -(-size // BLOCK)
    truth = (
        {(j, i): sources_of(seed, j, i) for j in range(-1, count + 1) for i in range(-1, count + 1)}
        if (count < 100)
        else None
    )
    kept = []
    for row in range(count):
        for column in range(count):
            near = [
                (truth[j, i] if truth else sources_of(seed, j, i))
                for j in range(row - 1, row + 2)
                for i in range(column - 1, column + 2)
            ]
            kept.append(near[4])
            pixels = np.memmap(path, ">f4", "r+", len(text), (size, size))
            y, x = row * BLOCK, column * BLOCK
            part = block_of(seed, row, column, np.concatenate(near))
            pixels[y : y + BLOCK, x : x + BLOCK] = part[: size - y, : size - x]
            del pixels
    table = np.concatenate(kept)
    table = table[(table[:, 0] < size) & (table[:, 1] < size)]
    Table(rows=table, names=COLUMNS).write(f"{path}.truth.fits", overwrite=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    make(asked.path, asked.size, asked.seed)
