"""Points injected into real images, and found by ours, PyBDSF and Aegean: the same points for all.

    python -m benchmarks.real_noise FOLDER [-n 100] [--work DIR] [--peers-at SIGMA]

The images of `benchmarks.real_images`, which are not part of this repository. Points lie away from what any
of the three lists in the image itself. Writes completeness by true S/N, the difference to the better peer
with its paired error, fluxes, how often the error bars hold the truth (S/N from 7), and how many entries the
negative of each image has beside the image, to ``benchmarks/results/real_noise``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from benchmarks.finders import METHODS, SEED
from benchmarks.real_images import FILES, catalogues
from benchmarks.survey import LESS, binned, less, markdown, median, share
from faintsky.image import RadioImage
from faintsky.injecting import PointPlace
from faintsky.io import open_image, save_like
from faintsky.preparing import prepare_image
from reproduction import common

EDGES, BRIGHT, PER_RUN = (3, 5, 6, 8, 10, 15, 30, 50), 7.0, 25
OUT = common.BENCHMARKS / "real_noise"
Row = dict[str, Any]


def written(path: Path, data: Any, like: RadioImage) -> Path:
    """An image as a file, which is left as it is where it holds the same."""
    if not path.exists() or not np.array_equal(open_image(path).data, data, equal_nan=True):
        save_like(path, data, like)
    return path


def measured(
    path: Path, work: Path, n: int, threshold: float
) -> tuple[dict[str, Table], dict[str, list[int]]]:
    """Injected points with what each method makes of them; its entries in the image and in its negative."""
    image = open_image(path)
    own, _ = catalogues(path, work / "own", threshold)
    every = vstack([t["x", "y"] for t in own.values()])
    place = PointPlace(image, prepare_image(image), every, every[:0])
    negative = written(work / "negative.fits", -image.data, image)
    false, _ = catalogues(negative, work / "negative", threshold)
    parts: dict[str, list[Table]] = defaultdict(list)
    done = run = 0
    while done < n:
        drawn = place.draw(min(PER_RUN, n - done), np.random.default_rng([0, run]), place.SNR_RANGE)
        injected = written(work / f"injected{run}.fits", place.with_sources(drawn).data, image)
        for method, found in catalogues(injected, work / str(run), threshold)[0].items():
            parts[method].append(place.compare(drawn.copy(), found)[0])
        done, run = done + len(drawn), run + 1
    whole = {m: vstack(t) for m, t in parts.items() if len(t) == run}
    return whole, {m: [len(own[m]), len(false[m])] for m in own if m in false}


def rows_of(tables: dict[str, Table], entries: dict[str, list[int]]) -> list[Row]:
    """All that is measured of an image."""
    rows: list[Row] = []

    def row(quantity: str, name: str, method: str, value: Row) -> None:
        rows.append({"quantity": quantity, "bin": name, "method": method, **value})

    for method, t in tables.items():
        for name, q in binned(t, "snr", EDGES):
            row("Completeness", name, method, share(q["found"]))
            row("Flux over true flux", name, method, median(q["found_flux"] / q["flux"]))
        q = t[(t["snr"] >= BRIGHT) & t["found"]]
        pulls = np.abs(q["found_flux"] - q["flux"]) / q["found_flux_err"]
        for sigmas in (1, 2):
            row("Flux within the error bars", f"{sigmas} sigma", method, share(pulls < sigmas))
    if set(METHODS) <= set(tables):
        bins = {m: dict(binned(t, "snr", EDGES)) for m, t in tables.items()}
        for name in bins[METHODS[0]]:
            row("Completeness", name, LESS, less(*(bins[m][name]["found"] for m in METHODS)))
    for method, counts in entries.items():
        for name, count in zip(("image", "its negative"), counts):
            row("Entries", name, method, {"value": float(count), "error": np.nan, "n": 1})
    return rows


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_real_noise"))
    parser.add_argument("--peers-at", type=float, default=SEED)
    o = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name, file_name in FILES.items():
        work = o.work / name
        work.mkdir(parents=True, exist_ok=True)
        found = measured(o.folder / file_name, work, o.n, o.peers_at)
        rows += [{"kind": name, **row} for row in rows_of(*found)]
        (OUT / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
        head = f"# Points in real images, peers at {o.peers_at:g} sigma\n"
        (OUT / "table.md").write_text(head + markdown(rows))
        print(f"{name}: done", flush=True)


if __name__ == "__main__":
    main()
