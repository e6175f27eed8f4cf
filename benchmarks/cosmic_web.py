"""What the skies of a cosmic web are like: brightness, reach of their correlation, power against halo mass.

Draws fields of both kinds from one split's realisations (made where they are not cached: minutes each, on two
cores) and sets them beside what Gheller & Vazza (2021) say of theirs. Writes
``benchmarks/results/cosmic_web.json`` and ``benchmarks/results/cosmic_web/*.png``::

    python -m benchmarks.cosmic_web --split validation -n 8
"""

from __future__ import annotations

import json
import time
from itertools import pairwise

import matplotlib
import numpy as np
from scipy.fft import irfft2, rfft2

from faintsky.sky.web import draw_web, open_web
from reproduction import common

RESULTS = common.BENCHMARKS
N, CELL, SEED = 2000, 2.0, 9000
LEVELS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
LEAST_MASS = 1e13
"""Lighter haloes lose much of their power to the cut of what is too faint to be kept [solar masses]."""
MASSES = (1e13, 3e13, 1e14, 3e14, 1e15, 3e15)


def reach(sky):
    """Separations [arcsec] where the mean-free autocorrelation, padded, has fallen to 1 per cent and to 0."""
    wide = rfft2(sky - sky.mean(), s=(2 * N, 2 * N))
    plane = irfft2(np.abs(wide) ** 2, s=(2 * N, 2 * N))
    lag = np.minimum(np.arange(2 * N), 2 * N - np.arange(2 * N))
    r = np.rint(np.hypot(lag[:, None], lag[None, :])).astype(int).ravel()
    profile = np.bincount(r, plane.ravel(), N)[:N] / np.bincount(r, minlength=N)[:N]
    return [float(np.argmax(profile <= level * profile[0]) * CELL) for level in (0.01, 0.0)]


def powers_of_haloes(box):
    """Mass [solar masses] and power at 150 MHz [W/Hz] within 1.5 radii of haloes without a heavier neighbour.

    What shines near a heavier halo, within twice the sum of their radii, is likely to be that one's.
    """
    found = []
    for points, haloes in zip(box.snapshots, box.haloes, strict=True):
        x, power = points.position * (box.box / 65536), 10.0 ** points.power.astype(float) * 1e20

        def away(places, halo):
            return np.linalg.norm(np.abs((places - halo[:3] + box.box / 2) % box.box - box.box / 2), axis=1)

        for i, halo in enumerate(haloes):
            heavier = haloes[:i]
            if halo[3] > LEAST_MASS and (away(heavier[:, :3], halo) > 2 * (heavier[:, 4] + halo[4])).all():
                found.append((float(halo[3]), float(power[away(x, halo) < 1.5 * halo[4]].sum())))
    return np.array(found)


def relation(halo):
    """Power against mass: quartiles in bins, and the line by least squares of logarithms."""
    bins = {}
    for low, high in pairwise(MASSES):
        power = halo[(halo[:, 0] >= low) & (halo[:, 0] < high), 1]
        if len(power):
            bins[f"{low:g}-{high:g}"] = {
                "haloes": len(power),
                "quartiles": [*np.percentile(power, (25, 50, 75))],
            }
    mass, power = np.log10(halo[halo[:, 1] > 0].T)
    slope, offset = np.polyfit(mass - 14, power, 1)
    scatter = np.std(power - offset - slope * (mass - 14))
    return {
        "haloes": len(halo), "without_power": int((halo[:, 1] == 0).sum()), "slope": slope,
        "log10_at_1e14": offset, "scatter_dex": scatter, "bins": bins,
    }  # fmt: skip


def picture(skies, path):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(skies), figsize=(6.2 * len(skies), 5.6), layout="constrained")
    half = N * CELL / 120
    for axis, (kind, sky) in zip(np.atleast_1d(axes), skies.items()):
        seen = axis.imshow(
            np.log10(np.maximum(sky, 1e-9)), origin="lower", vmin=-9, vmax=-4, cmap="inferno",
            extent=(-half, half, -half, half),
        )  # fmt: skip
        axis.set(title=kind, xlabel="arcmin", ylabel="arcmin")
    figure.colorbar(seen, ax=axes, label="log10 Jy/arcsec²")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--split", default="validation")
    parser.add_argument("-n", type=int, default=8, help="fields of each kind")
    given = parser.parse_args()
    web = open_web(given.split, progress=lambda text: print(text, end="\r"))
    result = {
        "split": given.split, "fields": given.n,
        "boxes": [b.parameters() | {"points": [len(s.power) for s in b.snapshots]} for b in web.boxes],
    }  # fmt: skip
    (RESULTS / "cosmic_web").mkdir(parents=True, exist_ok=True)
    shown = {}
    for kind in ("sky1", "sky2"):
        rows = []
        for index in range(given.n):
            start = time.process_time()
            sky = draw_web(web, np.random.default_rng([SEED, index]), N, CELL, kind)
            seconds = time.process_time() - start
            rows.append(
                {
                    "brightest": float(sky.max()), "flux_jy": float(sky.sum() * CELL**2),
                    "reach_arcsec": reach(sky),
                    "pixels_above": {f"{x:g}": int((sky > x).sum()) for x in LEVELS},
                    "cpu_seconds": seconds,
                }
            )  # fmt: skip
            if index == 0:
                shown[kind] = sky
            print(kind, rows[-1])
        medians = {
            k: np.median([row[k] for row in rows], axis=0) for k in ("brightest", "flux_jy", "reach_arcsec")
        }
        medians |= {
            f"pixels_above_{k}": np.median([r["pixels_above"][k] for r in rows])
            for k in rows[0]["pixels_above"]
        }
        result[kind] = {"median": medians, "fields": rows}
    result["power_of_haloes"] = relation(np.concatenate([powers_of_haloes(b) for b in web.boxes]))
    print(result["power_of_haloes"])
    picture(shown, RESULTS / "cosmic_web" / "skies.png")
    (RESULTS / "cosmic_web.json").write_text(
        json.dumps(result, indent=1, default=lambda x: np.asarray(x).tolist()) + "\n"
    )


if __name__ == "__main__":
    main()
