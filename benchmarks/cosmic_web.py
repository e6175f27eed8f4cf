"""What the skies of a cosmic web are like: brightness, reach of their correlation, power against halo mass.

Draws fields of both kinds from one split's realisations (made where they are not cached: minutes each, on two
cores) and sets them beside what Gheller & Vazza (2021) say of theirs. Writes
``benchmarks/results/cosmic_web.json`` and ``benchmarks/results/cosmic_web/*.png``::

    python benchmarks/cosmic_web.py --split validation -n 8
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import matplotlib
import numpy as np
from scipy.fft import irfft2, rfft2

from faintsky.observing.webs import open_web
from faintsky.sky.web_sky import draw_sky

RESULTS = Path(__file__).parent / "results"
N, CELL, SEED = 2000, 2.0, 9000
LEVELS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)


def reach(sky):
    """Separation [arcsec] where the mean-free autocorrelation, padded, has fallen to 1 per cent."""
    wide = rfft2(sky - sky.mean(), s=(2 * N, 2 * N))
    plane = irfft2(np.abs(wide) ** 2, s=(2 * N, 2 * N))
    lag = np.minimum(np.arange(2 * N), 2 * N - np.arange(2 * N))
    r = np.rint(np.hypot(lag[:, None], lag[None, :])).astype(int).ravel()
    profile = np.bincount(r, plane.ravel(), N)[:N] / np.bincount(r, minlength=N)[:N]
    return float(np.argmax(profile < 0.01 * profile[0]) * CELL)


def powers_of_haloes(box):
    """Mass [solar masses] and power at 150 MHz [W/Hz] within 1.5 radii of the haloes of all snapshots."""
    found = []
    for points, haloes in zip(box.snapshots, box.haloes, strict=True):
        x, power = points.position * (box.box / 65536), 10.0 ** points.power.astype(float) * 1e20
        for halo in haloes[:40]:
            away = np.abs((x - halo[:3] + box.box / 2) % box.box - box.box / 2)
            near = np.square(away).sum(1) < (1.5 * halo[4]) ** 2
            found.append((float(halo[3]), float(power[near].sum())))
    return np.array(found)


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
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
            sky = draw_sky(web, np.random.default_rng([SEED, index]), N, CELL, kind)
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
        result[kind] = rows
    halo = np.concatenate([powers_of_haloes(b) for b in web.boxes])
    bright = halo[halo[:, 1] > 0]
    slope, offset = np.polyfit(np.log10(bright[:, 0] / 1e14), np.log10(bright[:, 1]), 1)
    scatter = np.std(np.log10(bright[:, 1]) - offset - slope * np.log10(bright[:, 0] / 1e14))
    result["power_of_haloes"] = {
        "haloes": len(bright), "slope": slope, "log10_at_1e14": offset, "scatter_dex": scatter,
        "masses": [bright[:, 0].min(), bright[:, 0].max()],
    }  # fmt: skip
    print(result["power_of_haloes"])
    picture(shown, RESULTS / "cosmic_web" / "skies.png")
    (RESULTS / "cosmic_web.json").write_text(json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
