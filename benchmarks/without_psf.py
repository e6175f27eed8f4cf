"""Line fluxes, sizes and recall without a psf beside those with it, on simulated cubes without our cards.

    python -m benchmarks.without_psf [--work DIR] [--only SET …]

20 cubes of the ``paper`` and of the ``varied`` preset, 10 each at Briggs 0.5 and 0. How the psf is worked
out, and the errors that are added for it, were settled on other seeds (7101 to 7103); these were read once,
with the code as it then was. Every cube is searched twice: as a file that lies alone in a folder, with the
header that any imager writes, and with its psf. The table goes to ``benchmarks/results/without_psf.json`` and
``.md``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

import faintsky
from faintsky.matching import match, robust_scatter
from reproduction import common

RESULTS = common.BENCHMARKS
SETS: dict[str, tuple[int, dict[str, Any]]] = {
    "paper": (20, {"preset": "paper", "seed": 7201}),
    "varied": (20, {"preset": "varied", "seed": 7203}),
    "Briggs 0.5": (10, {"preset": "paper", "weighting": "briggs:0.5", "seed": 7202}),
    "Briggs 0": (10, {"preset": "paper", "weighting": "briggs:0", "seed": 7202}),
}
OURS = ("ORIGIN", "PRESET", "SEED", "SAMPLE", "TARGSNR", "NOISE", "HISTORY")
"""Cards that only our simulator writes."""
OUTLIER = 5.0
"""Pulls beyond are counted apart."""


def bare(path: Path) -> fits.PrimaryHDU:
    """A cube as any imager would have written it."""
    with fits.open(path) as hdus:
        hdu = fits.PrimaryHDU(hdus[0].data, hdus[0].header)
        for card in OURS:
            hdu.header.remove(card, ignore_missing=True, remove_all=True)
    return hdu


def pairs(folder: Path, with_psf: bool) -> dict[str, Any]:
    """Every true source that was found, beside what was found; and how many were not, or are false."""
    rows, counts, psfs = [], np.zeros(3, dtype=int), []
    for path in sorted(folder.glob("*_dirty.fits")):
        stem = str(path).removesuffix("_dirty.fits")
        own = Path(stem + "_psf.fits")
        psf = (own if own.exists() else folder / "psf.fits") if with_psf else None
        truth, found = Table.read(stem + "_truth.ecsv"), faintsky.detect(bare(path), psf=psf).catalog
        matched = match(truth, found, "position")
        counts += (len(matched.i_true), len(truth) - len(matched.i_true), len(matched.unmatched_found))
        psfs.append(found.meta["psf"])
        for i, j in zip(matched.i_true, matched.i_found):
            t, f = truth[int(i)], found[int(j)]
            rows.append(
                (f["flux"] / t["flux"], (f["flux"] - t["flux"]) / f["flux_err"],
                 (f["dc_maj"] - t["dc_maj"]) / f["dc_maj_err"], (f["x"] - t["x"]) / f["x_err"],
                 "blended" in str(f["flags"]))
            )  # fmt: skip
    ratio, flux, size, place, blended = np.array(rows, dtype=float).T
    alone = blended == 0
    found, missed, false = (int(n) for n in counts)
    return {
        "recall": found / (found + missed), "precision": found / (found + false), "found": found,
        "flux ratio": float(np.median(ratio)), "flux ratio, alone": float(np.median(ratio[alone])),
        "flux pulls": robust_scatter(flux), "flux pulls, alone": robust_scatter(flux[alone]),
        "beyond 5": int((np.abs(flux) > OUTLIER).sum()), "size pulls": robust_scatter(size),
        "position pulls": robust_scatter(place),
        "psf": {name: psfs.count(name) for name in sorted(set(psfs))},
    }  # fmt: skip


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    head = list(next(iter(results.values())))
    lines = ["| | " + " | ".join(head) + " |", "|" + "---|" * (len(head) + 1)]
    for name, row in results.items():
        cells = [f"{v:.3f}" if isinstance(v, float) else re.sub("[{}']", "", str(v)) for v in row.values()]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_without_psf"))
    parser.add_argument("--only", nargs="*", choices=list(SETS), default=list(SETS))
    options = parser.parse_args()
    stored = RESULTS / "without_psf.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    for name in options.only:
        n, settings = SETS[name]
        folder = options.work / name.replace(" ", "_")
        faintsky.simulate_alma(folder, n=n, **settings)
        for with_psf in (True, False):
            row = f"{name}, {'psf given' if with_psf else 'no psf'}"
            results[row] = pairs(folder, with_psf)
            print(table({row: results[row]}), flush=True)
            stored.write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "without_psf.md").write_text("# Line fluxes without a psf\n\n" + table(results))


if __name__ == "__main__":
    main()
