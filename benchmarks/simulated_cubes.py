"""Cubes of ``simulate alma`` of three presets: what the default search makes of them.

    python -m benchmarks.simulated_cubes [--kinds emitters,varied,paper] [-n 12] [--seed 9400]

Cubes of validation seeds, at which nothing is fitted. True and found are paired one to one by place and
channel, as `faintsky.matching.match` does it by default; what is left over is false, at the image's edge
within two beams of its border. A true source is isolated two beams and more from all others and on the image.
Minor axes are those of sources of S/N 8 and more whose true one, deconvolved, is 0.3 to 0.6 beams. Writes
``table.md`` and ``results.json``.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from benchmarks.survey import binned, markdown, median, share
from faintsky.detection import find_sources
from faintsky.evaluation import SimulatedCubes
from faintsky.matching import match
from reproduction import common

KINDS, EDGES, SURE, APART, SIZES = (
    ("emitters", "varied", "paper"),
    (5, 6, 7, 8, 10, 14, 1000),
    8.0,
    2.0,
    (0.3, 0.6),
)
OUT = common.BENCHMARKS / "simulated_cubes"
Row = dict[str, Any]


def scored(kind: str, seed: int, index: int) -> tuple[Table, dict[str, int]]:
    """The true sources of a cube with what was found of them, and how many rows are false, at its edge."""
    cube, truth = SimulatedCubes(kind, (index,), seed).load(index)
    found = find_sources(cube)
    rows, beam, pairs = found.catalog, found.prepared.beam_pixels, match(truth, found.catalog)
    mate, out = pairs.partner_of_true, Table({"snr": np.asarray(truth["snr"], float)})
    apart = np.hypot(*(np.subtract.outer(truth[k], truth[k]) for k in ("x", "y"))) + 1e9 * np.eye(len(truth))
    inside = np.array(["edge" not in flags for flags in truth["flags"]], bool)
    out["hit"] = mate >= 0
    out["isolated"] = (apart.min(axis=1, initial=1e9) > APART * beam) & inside
    out["small"] = np.asarray(truth["dc_min"], float) / (beam * cube.grid.cell)
    measured = np.asarray(rows["dc_min"], float)
    out["minor_ratio"] = (
        np.where(out["hit"], measured[mate] if len(rows) else np.nan, np.nan) / truth["dc_min"]
    )
    false = rows[pairs.partner_of_found < 0]
    border = [false["x"], false["y"], cube.shape[2] - 1 - false["x"], cube.shape[1] - 1 - false["y"]]
    at_edge = (np.min(border, axis=0) < APART * beam).sum() if len(false) else 0
    return out, {"found": len(rows), "false": len(false), "at the edge": int(at_edge)}


def rows_of(kind: str, t: Table, counts: list[dict[str, int]]) -> list[Row]:
    """All that is measured of a kind."""
    total = {name: sum(c[name] for c in counts) for name in counts[0]}
    real, all_of = total["found"] - total["false"], total["found"]
    out = [("Precision", "", share(np.arange(all_of) < real))]
    out += [("False rows", name, {"value": total[k], "error": np.nan, "n": len(counts)})
            for name, k in (("all", "false"), ("at the image's edge", "at the edge"))]  # fmt: skip
    out += [("Recall", "all", share(t["hit"])), ("Recall", "S/N > 8", share(t["hit"][t["snr"] > SURE]))]
    out.append(("Recall", "isolated, S/N > 8", share(t["hit"][(t["snr"] > SURE) & t["isolated"]])))
    out += [("Completeness", name, share(q["hit"])) for name, q in binned(t, "snr", EDGES)]
    barely = t[(t["small"] > SIZES[0]) & (t["small"] < SIZES[1]) & t["hit"] & (t["snr"] > SURE)]
    out.append(("Minor axis over true one, barely resolved", "", median(barely["minor_ratio"])))
    return [{"quantity": q, "kind": kind, "bin": b, "method": "faintsky", **v} for q, b, v in out]


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=KINDS)
    parser.add_argument("-n", type=int, default=12)
    parser.add_argument("--seed", type=int, default=9400)
    o = parser.parse_args()
    rows: list[Row] = []
    for kind in o.kinds:
        parts, counts = [], []
        for index in range(o.n):
            part, count = scored(kind, o.seed, index)
            parts.append(part)
            counts.append(count)
            common.say(index + 1, o.n, f"{kind}: {len(part)} true, {int(part['hit'].sum())} found, {count}")
        rows += rows_of(kind, vstack(parts), counts)
    OUT.mkdir(parents=True, exist_ok=True)
    facts = {"cubes a kind": o.n, "seed": o.seed}
    (OUT / "results.json").write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")
    (OUT / "table.md").write_text(f"# Simulated cubes\n\n{json.dumps(facts)}\n" + markdown(rows))


if __name__ == "__main__":
    main()
