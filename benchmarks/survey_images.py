"""Survey-like continuum images with their truth.

Noise is correlated like the beam, as in a naturally weighted image. There are points and extended sources
with counts N(>S) as 1/S, and pairs. A kind of image is a set of the options of `make`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from faintsky.grid import FWHM_PER_SIGMA

SIZE, BEAM, PIXEL, RMS = 1200, 6.0, 1.5, 50e-6
"""Pixels a side; FWHM and pixel [arcsec]; noise [Jy/beam]."""
POINT, EXTENDED, MEMBER, NEGATIVE, CLOUD = range(5)
"""``kind`` in the truth."""
PAIRS = tuple(
    (apart, 1.0, (100.0, 20.0)[k % 2]) for apart in (1.0, 1.25, 1.5, 2.0, 2.5, 3.0) for k in range(4)
)
"""Of an ordinary image: separation [beam], faint over bright, S/N of the faint one."""
CELLS = tuple(
    (apart, ratio, snr)
    for apart in (0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
    for ratio in (1.0, 0.2)
    for snr in (20.0, 100.0)
    for _ in range(3)
)
"""Of images that are made for them: 60 of each separation and ratio in ten images."""
KINDS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "gradient": {"noise": "gradient"},
    "pbcor": {"noise": "pbcor"},
    "stripes": {"noise": "stripes", "artefacts": True},
    "negative": {"negative": True},
    "pairs": {"pairs": CELLS, "sources": 100},
    "deep": {"faintest": 1.0, "sources": 2000},
    "extended": {"extended": 1.0, "elongated": True, "sources": 250, "pairs": ()},
    "clouds": {"clouds": 6},
    "empty": {"sources": 0, "pairs": ()},
}
"""The kinds: the five that methods are compared on, and those made for one question."""
COLUMNS = (
    "x", "y", "flux", "peak", "snr", "kind", "pair", "separation", "ratio", "fwhm", "fwhm_min",
)  # fmt: skip


def make(
    folder: Path, seed: int, *, noise: str = "uniform", sources: int = 400, faintest: float = 5.0,
    extended: float = 0.15, elongated: bool = False, pairs: Any = PAIRS, artefacts: bool = False,
    negative: bool = False, clouds: int = 0,
) -> None:  # fmt: skip
    """Write ``survey.fits``, ``diffuse.fits`` (clouds alone) [Jy/beam] and ``truth.ecsv`` into a folder.

    The truth has x, y [pixel, from 0], flux [Jy], peak [Jy/beam, of the source alone], snr (over the noise
    there), kind, pair, separation [beam], ratio, fwhm and fwhm_min [arcsec, with the beam].

    Parameters
    ----------
    folder : pathlib.Path
    seed : int
    noise : str
        ``uniform``; ``gradient``: it rises fourfold along the diagonal; ``pbcor``: divided by a primary beam,
        NaN below 0.2; ``stripes``: plane waves of 1.5 rms.
    sources : int
        Points and extended ones.
    faintest : float
        S/N of the faintest; the brightest has 500.
    extended : float
        Share of sources that are wider than the beam, by 0.5 to 2 beams in quadrature.
    elongated : bool
        Whether their minor axis is less wide: 0.2 to 0.6 of that.
    pairs : sequence
        As `PAIRS`.
    artefacts : bool
        Rings and spokes of up to 4 % about what is brighter than 100 rms.
    negative : bool
        Ten points of -10 to -80 rms.
    clouds : int
        Elliptical Gaussians of a peak of 1 to 5 rms, 5 to 25 beams wide, axis ratio 0.3 to 1. All else is as
        without.
    """
    rng, n, sky = np.random.default_rng(seed), SIZE, np.zeros((SIZE, SIZE))
    rows: list[list[float]] = []
    y, x = np.ogrid[:n, :n]
    level = np.full((n, n), RMS)
    if noise == "gradient":
        level = RMS * 4 ** ((x + y) / (2.0 * n))
    elif noise == "pbcor":
        level = RMS * np.exp(4 * np.log(2) * ((x - n / 2) ** 2 + (y - n / 2) ** 2) / (0.9 * n) ** 2)
    there = lambda px, py: level[min(int(py + 0.5), n - 1), min(int(px + 0.5), n - 1)]  # noqa: E731

    def add(
        px: float, py: float, peak: float, kind: int, maj: float = BEAM, minor: float = BEAM,
        turn: float = 0.0, pair: tuple[int, float, float] = (-1, 0.0, 1.0),
    ) -> None:  # fmt: skip
        half = int(4 * maj / PIXEL) + 2
        j, i = slice(max(0, int(py) - half), int(py) + half), slice(max(0, int(px) - half), int(px) + half)
        u, v = x[:, i] - px, y[j] - py
        along, across = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
        sky[j, i] += peak * np.exp(-4 * np.log(2) * PIXEL**2 * ((along / maj) ** 2 + (across / minor) ** 2))
        flux = peak * maj * minor / BEAM**2
        rows.append([px, py, flux, peak, peak / there(px, py), kind, *pair, maj, minor])

    for peak in np.minimum(faintest * RMS * (rng.pareto(1.0, sources) + 1), 500 * RMS):
        wide, maj, minor, turn = rng.random() < extended, BEAM, BEAM, 0.0
        if wide:
            own = rng.uniform(0.5, 2) * BEAM
            maj = minor = float(np.hypot(BEAM, own))
            if elongated:
                minor, turn = float(np.hypot(BEAM, own * rng.uniform(0.2, 0.6))), rng.uniform(0, np.pi)
        add(*rng.uniform(15, n - 15, 2), peak, EXTENDED if wide else POINT, maj, minor, turn)
    for k, (apart, ratio, snr) in enumerate(pairs):
        cx, cy = rng.uniform(0.08 * n, 0.92 * n, 2)
        angle, d = rng.uniform(0, np.pi), apart * BEAM / PIXEL / 2
        for side, over in ((-1, 1.0), (1, ratio)):
            place = cx + side * d * np.cos(angle), cy + side * d * np.sin(angle)
            add(*place, snr * RMS * over / ratio, MEMBER, pair=(k, apart, ratio))
    for _ in range(10 if negative else 0):
        add(*rng.uniform(0.05 * n, 0.95 * n, 2), -rng.uniform(10, 80) * RMS, NEGATIVE)
    for px, py, peak in [(q[0], q[1], q[3]) for q in rows if artefacts and q[3] > 100 * RMS]:
        r, t = np.hypot(x - px, y - py) * PIXEL / BEAM, np.arctan2(y - py, x - px)
        sky += 0.04 * peak * np.where(r > 1.5, np.cos(4 * r) * (0.5 + np.cos(3 * t + px)) * np.exp(-r / 6), 0)
    diffuse, own = np.zeros((n, n)), np.random.default_rng([seed, CLOUD])
    for _ in range(clouds):
        cx, cy = own.uniform(0.15 * n, 0.85 * n, 2)
        wide = own.uniform(5, 25) * BEAM / PIXEL
        high, peak = wide * own.uniform(0.3, 1), RMS * own.uniform(1, 5)
        diffuse += peak * np.exp(-4 * np.log(2) * (((x - cx) / wide) ** 2 + ((y - cy) / high) ** 2))
        maj, minor = wide * PIXEL, high * PIXEL
        rows.append(
            [cx, cy, peak * maj * minor / BEAM**2, peak, peak / there(cx, cy), CLOUD, -1, 0, 1, maj, minor]
        )
    ky, kx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)
    filtered = np.exp(-((np.pi * BEAM / PIXEL / FWHM_PER_SIGMA) ** 2) * (kx**2 + ky**2))
    white = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n, n))) * filtered, (n, n))
    image = sky + diffuse + level * white / white.std()
    for _ in range(3 if noise == "stripes" else 0):
        angle, wave = rng.uniform(0, np.pi), rng.uniform(10, 25) * BEAM / PIXEL
        phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave
        image = image + RMS * np.sqrt(2) * 0.87 * np.cos(phase)
    if noise == "pbcor":
        image = np.where(level > 5 * RMS, np.nan, image)
        rows = [q for q in rows if there(q[0], q[1]) <= 5 * RMS]
    header = fits.Header()
    for i, (axis, value, step) in enumerate([("RA---SIN", 150.0, -PIXEL), ("DEC--SIN", 2.0, PIXEL)], 1):
        header[f"CTYPE{i}"], header[f"CRVAL{i}"], header[f"CDELT{i}"] = axis, value, step / 3600
        header[f"CRPIX{i}"], header[f"CUNIT{i}"] = n / 2, "deg"
    header["BMAJ"], header["BMIN"], header["BPA"], header["BUNIT"] = BEAM / 3600, BEAM / 3600, 0.0, "JY/BEAM"
    header["RESTFRQ"] = 1.4e9
    folder.mkdir(parents=True, exist_ok=True)
    Table(rows=rows or None, names=COLUMNS, dtype=["f8"] * len(COLUMNS)).write(
        folder / "truth.ecsv", overwrite=True
    )
    fits.writeto(folder / "diffuse.fits", diffuse.astype(np.float32), header, overwrite=True)
    fits.writeto(folder / "survey.fits", image.astype(np.float32), header, overwrite=True)
