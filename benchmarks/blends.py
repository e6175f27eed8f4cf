"""How many blends a detector parts, on `paper` cubes that hold one: the test set has few.

    python benchmarks/blends.py DATA [--methods A,B] [-n PAIRS] [--least 0.2] [--first I] [--jobs J]

DATA is a folder of ``faintsky simulate alma --products compact``; only its truth is read, to pick for every
bin of blendedness (overlap of two sources' boxes, eq. 22 of Delli Veneri et al. 2022) the first cubes with
``-n`` such pairs between them. These are simulated again, with the same seed, and searched. A pair is parted
where both of its sources are found, one-to-one, within 3 pixels and a line width. Of data that networks were
trained on, take cubes that they have not seen: ``--first``. Results: ``benchmarks/results/blends.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

OUT = Path(__file__).parent / "results" / "blends.json"


def pick(data: Path, least: float, most: int, first: int) -> tuple[int, ...]:
    """Numbers of the cubes that together hold ``most`` pairs, or all there are, in every bin."""
    from faintsky.catalog import read_catalog
    from faintsky.evaluation.dependence import BLEND_EDGES
    from faintsky.evaluation.metrics import overlaps

    edges = BLEND_EDGES[least <= BLEND_EDGES]
    held = np.zeros(len(edges) - 1, dtype=int)
    chosen = []
    for path in sorted(data.glob("*_truth.ecsv")):
        index = int(path.name.partition("_")[0])
        if index < first:
            continue
        both = np.triu(overlaps(read_catalog(path)))
        counts = np.histogram(both[both > 0], edges)[0]
        if (counts[held < most] > 0).any():
            held += counts
            chosen.append(index)
    return tuple(chosen)


def main() -> None:
    from faintsky.evaluation.cubes import SimulatedSet
    from faintsky.evaluation.dependence import dependence_of, split_rows
    from faintsky.evaluation.runs import method_of, run_methods
    from faintsky.evaluation.scoring import load_scored
    from faintsky.simulating import recorded_settings

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--methods", default="classical")
    parser.add_argument("--least", type=float, default=0.2)
    parser.add_argument("-n", type=int, default=40, help="pairs in every bin")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("blends"))
    options = parser.parse_args()
    _, seed = recorded_settings(options.data)
    cubes = SimulatedSet("paper", pick(options.data, options.least, options.n, options.first), seed)
    methods = [method_of(m) for m in options.methods.split(",")]
    options.work.mkdir(parents=True, exist_ok=True)
    run_methods(
        [cubes],
        methods,
        options.work,
        jobs=options.jobs,
        progress=lambda i, n, _: print(f"{i}/{n}", flush=True),
    )
    kept = json.loads(OUT.read_text()) if OUT.is_file() else {}
    for method in methods:
        scored = load_scored(options.work, cubes, method)
        rows = [r for r in split_rows(scored, dependence_of(scored)) if r["overlap_from"] >= options.least]
        kept[method.name] = {"seed": seed, "first": options.first, "cubes": len(cubes.indices), "rows": rows}
        for row in rows:
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})
    OUT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
