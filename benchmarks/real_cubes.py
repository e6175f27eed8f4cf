"""Three real cubes: what is in them, in their negatives, and what is found of lines injected into them.

    python -m benchmarks.real_cubes FOLDER [-n 160] [--only NAME,…]

NGC 3256 (ALMA, CO(1-0), science verification 2011), NGC 2903 and WEIN069 (WSRT, HI; the second has no beam in
its header). The files are not part of this repository. Lines lie away from what is found in a cube itself,
up to 8 in a run. Writes every row of each cube, how many its negative has, and of the injected lines
completeness, fluxes and how often error bars hold the truth (S/N from 7), by matched S/N, to
``benchmarks/results/real_cubes``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from benchmarks.survey import binned, markdown, median, share
from faintsky.detection import find_sources
from faintsky.image import RadioCube
from faintsky.injecting import place_in_cube
from faintsky.io import open_cube
from reproduction import common

CUBES: dict[str, tuple[str, dict[str, str]]] = {
    "NGC 3256": ("alma_ngc3256_co10_cube.fits", {}),
    "NGC 2903": ("wsrt_ngc2903_hi.fits", {"rest_frequency": "1420.405752MHz"}),
    "WEIN069": ("wsrt_wein069_hi.fits", {"beam": "22arcsec,16arcsec,0deg"}),
}
"""Files, and how they are opened."""
EDGES, RANGE, BRIGHT, PER_RUN = (4, 5, 6, 7, 8, 10, 14, 20), (4.0, 20.0), 7.0, 8
COLUMNS = ("id", "ra", "dec", "velocity", "w50", "snr", "reliability", "flux", "flux_err", "flux_method")
OUT = common.BENCHMARKS / "real_cubes"
Row = dict[str, Any]


def negative(cube: RadioCube) -> RadioCube:
    """The cube with its sign turned."""
    data = -np.asarray(cube.data)
    return replace(cube, load=lambda box=None: data if box is None else data[box])


def measured(cube: RadioCube, n: int) -> tuple[Table, Table, Table, int]:
    """The rows of a cube, of its negative, the injected lines, and others found beside them."""
    own = find_sources(cube)
    place = place_in_cube(cube, own.catalog, own.mask, own.prepared)
    parts, others, run = [], 0, 0
    while sum(map(len, parts)) < n:
        drawn = place.draw(PER_RUN, np.random.default_rng([0, run]), RANGE)
        part, more = place.compare(drawn, find_sources(place.with_sources(drawn)).catalog)
        parts.append(part)
        others, run = others + more, run + 1
    return (
        own.catalog,
        find_sources(negative(cube)).catalog,
        vstack(parts, metadata_conflicts="silent"),
        others,
    )


def rows_of(name: str, own: Table, low: Table, lines: Table, others: int) -> list[Row]:
    """All that is measured of a cube."""
    rows: list[Row] = []

    def row(quantity: str, bin_: str, value: Row) -> None:
        rows.append({"quantity": quantity, "kind": name, "bin": bin_, "method": "faintsky", **value})

    for text, count in (("the cube", len(own)), ("its negative", len(low))):
        row("Rows", text, {"value": float(count), "error": np.nan, "n": 1})
    runs = -(-len(lines) // PER_RUN)
    row("Other rows a run", "", {"value": others / runs, "error": max(others, 1) ** 0.5 / runs, "n": runs})
    for text, q in binned(lines, "snr", EDGES):
        row("Completeness", text, share(q["found"]))
        row("Flux over true flux", text, median(q["found_flux"] / q["flux"]))
    q = lines[(lines["snr"] >= BRIGHT) & lines["found"]]
    pulls = np.abs(q["found_flux"] - q["flux"]) / q["found_flux_err"]
    for sigmas in (1, 2):
        row("Flux within the error bars", f"{sigmas} sigma", share(pulls < sigmas))
    return rows


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", type=int, default=160)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CUBES))
    o = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    rows, lists = [], []
    for name in o.only:
        file, options = CUBES[name]
        own, low, lines, others = measured(open_cube(o.folder / file, **options), o.n)
        rows += rows_of(name, own, low, lines, others)
        lists += [f"## {name}\n", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
        lists += ["| " + " | ".join(_text(r[c]) for c in COLUMNS) + " |" for r in own] + [""]
        print(f"{name}: done", flush=True)
    (OUT / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    (OUT / "table.md").write_text("# Lines in real cubes\n" + markdown(rows))
    (OUT / "rows.md").write_text("# What is found in real cubes\n\n" + "\n".join(lists))


def _text(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float | np.floating) else str(value)


if __name__ == "__main__":
    main()
