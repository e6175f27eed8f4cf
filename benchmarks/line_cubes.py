"""Lines and a galaxy in HI-like cubes, channels independent or Hanning-smoothed: what `detect` makes of them.

    python -m benchmarks.line_cubes [--out DIR] [--work DIR] [--seeds 10] [--first-seed 421]
        [--variants "independent;Hanning, galaxy"] [--lines 40] [--methods classical,smooth_clip_lines,sofia]
        [--again]

Makes the cubes (`benchmarks.line_cubes_made`), runs methods on each (models of `faintsky.detect`; ``sofia``
is SoFiA-2 where it is installed, see `benchmarks.sofia`), and scores their catalogues in one way. Nothing was
fitted to cubes of seeds from 201 on.
True and found are paired one to one within three pixels and one line width; what is left over is false.
The galaxy takes the rows in its channels within 30 pixels of its middle: one is wanted, with all its flux.
Scatter is 1.4826 times the median absolute deviation. Writes ``table.md`` and ``results.json``.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from benchmarks.line_cubes_made import VARIANTS, make
from benchmarks.sofia import sofia_catalogue
from benchmarks.survey import binned, markdown, median, share
from faintsky import detect
from faintsky.matching import Criterion, match, robust_scatter
from reproduction import common

EDGES = (5, 6, 7, 8, 10, 14, 20)
NEAR, CHANNELS = 30.0, 22.0
"""Pixels and channels about the galaxy's middle."""
Row = dict[str, Any]


def score(truth: Table, found: Table) -> tuple[Table, Row]:
    """The lines with what was found of them, and the numbers of a cube."""
    galaxies, lines = truth[truth["galaxy"]], truth[~truth["galaxy"]]
    numbers: Row = {}
    for g in galaxies:
        its = (np.hypot(found["x"] - g["x"], found["y"] - g["y"]) < NEAR) & (
            np.abs(found["z"] - g["z"]) <= CHANNELS
        )
        numbers |= {"galaxy_rows": int(its.sum()), "galaxy_flux": float(found["flux"][its].sum() / g["flux"])}
        numbers.setdefault("galaxies", []).append([numbers["galaxy_rows"], round(numbers["galaxy_flux"], 3)])
        found = found[~its]
    pairs = match(lines, found, Criterion("line cubes", radius=3.0))
    mate, out = pairs.partner_of_true, lines["snr", "flux"].copy()
    out["hit"] = mate >= 0
    for name in ("flux", "flux_err", "snr"):
        values = np.asarray(found[name], dtype=float)
        out[f"found_{name}"] = np.where(mate >= 0, values[mate] if len(values) else np.nan, np.nan)
    numbers["false"] = len(found) - int((mate >= 0).sum())
    return out, numbers


def found_by(method: str, cube: Path) -> Table:
    """The catalogue of a cube."""
    return sofia_catalogue(cube) if method == "sofia" else detect(cube, model=method).catalog


def rows_of(variant: str, t: Table, cubes: list[Row], method: str = "classical") -> list[Row]:
    """All that is measured of a method on a variant."""
    rows: list[Row] = []

    def row(quantity: str, name: str, value: Row) -> None:
        rows.append({"quantity": quantity, "kind": variant, "bin": name, "method": method, **value})

    n = len(cubes)
    false = sum(c["false"] for c in cubes)
    row("False rows a cube", "", {"value": false / n, "error": max(false, 1) ** 0.5 / n, "n": n})
    row("S/N over matched S/N", "", median(t["found_snr"] / t["snr"]))
    for name, q in binned(t, "snr", EDGES):
        row("Completeness", name, share(q["hit"]))
        row("Flux over true flux", name, median(q["found_flux"] / q["flux"]))
        pulls = np.asarray((q["found_flux"] - q["flux"]) / q["found_flux_err"])[np.asarray(q["hit"])]
        if len(pulls) > 2:
            error = float(pulls.std() / np.sqrt(len(pulls)))
            row(
                "Pull of the flux: mean",
                name,
                {"value": float(pulls.mean()), "error": error, "n": len(pulls)},
            )
            wide = robust_scatter(pulls)
            row(
                "Pull of the flux: scatter",
                name,
                {"value": wide, "error": 1.17 * wide / len(pulls) ** 0.5, "n": len(pulls)},
            )
    if "galaxy_rows" in cubes[0]:
        counts = np.array([c["galaxy_rows"] for c in cubes])
        ratios = np.array([c["galaxy_flux"] for c in cubes])
        row("Galaxies that are one row", "", share(counts == 1))
        for name, value in (
            ("least", ratios.min()),
            ("median", np.median(ratios)),
            ("largest", ratios.max()),
        ):
            row("Galaxy's flux over true flux", name, {"value": float(value), "error": np.nan, "n": n})
    return rows


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--out", type=Path, default=common.BENCHMARKS / "line_cubes")
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_line_cubes"))
    parser.add_argument("--variants", type=lambda text: text.split(";"), default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=421)
    parser.add_argument("--lines", type=int, default=40)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=["classical"])
    parser.add_argument("--again", action="store_true")
    o = parser.parse_args()
    rows: list[Row] = []
    for variant, method in product(o.variants, o.methods):
        hanning, galaxy = VARIANTS[variant]
        parts, cubes = [], []
        for seed in range(o.first_seed, o.first_seed + o.seeds):
            folder = o.work / variant.replace(", ", "_") / str(seed)
            if not (folder / "cube.fits").exists():
                make(folder, seed, hanning=hanning, galaxy=galaxy, lines=o.lines)
            listed = folder / f"{method}.ecsv"
            if o.again or not listed.exists():
                found_by(method, folder / "cube.fits").write(listed, overwrite=True)
            lines, numbers = score(Table.read(folder / "truth.ecsv"), Table.read(listed))
            parts.append(lines)
            cubes.append(numbers)
            common.say(seed - o.first_seed + 1, o.seeds, f"{variant}, {method}")
        rows += rows_of(variant, vstack(parts, metadata_conflicts="silent"), cubes, method)
    o.out.mkdir(parents=True, exist_ok=True)
    facts = {"cubes a variant": o.seeds, "first seed": o.first_seed, "lines a cube": o.lines}
    (o.out / "results.json").write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")
    (o.out / "table.md").write_text(f"# Line cubes\n\n{json.dumps(facts)}\n" + markdown(rows))


if __name__ == "__main__":
    main()
