"""How many blends a detector parts, on `paper` cubes that hold one: the test set has few.

    python -m reproduction.blends DATA [--methods A,B] [-n PAIRS] [--least 0.2] [--first I] [--jobs J]

DATA is a folder of ``faintsky simulate alma --products compact``; only its truth is read, to pick for every
bin of blendedness (overlap of two sources' boxes, eq. 22 of Delli Veneri et al. 2022) the first cubes with
``-n`` such pairs between them. These are simulated again, with the same seed, and searched. A pair is
separated where both of its sources are found, one-to-one, within 3 pixels and a line width. Of data that
networks were trained on, take cubes that they have not seen: ``--first``. Results:
``reproduction/results/blends.json``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from faintsky.catalog import read_catalog
from faintsky.evaluation import Scored, SimulatedCubes, detectors, run_methods
from faintsky.simulating import recorded_settings
from reproduction import common
from reproduction.deepfocus import PaperScorer
from reproduction.deepfocus_tables import BLEND_EDGES, overlaps, split_rows


def pick(data: Path, least: float, most: int, first: int) -> tuple[int, ...]:
    """Numbers of the cubes that together hold ``most`` pairs, or all there are, in every bin."""
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
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--methods", default="classical")
    parser.add_argument("--least", type=float, default=0.2)
    parser.add_argument("-n", type=int, default=40, help="pairs in every bin")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_blends"))
    options = parser.parse_args()
    _, seed = recorded_settings(options.data)
    cubes = SimulatedCubes("paper", pick(options.data, options.least, options.n, options.first), seed)
    methods, scorer = detectors(options.methods.split(",")), PaperScorer()
    run_methods([cubes], methods, options.work, scorer, jobs=options.jobs, progress=common.say)
    kept = common.read("blends.json")
    for method in methods:
        rows = split_rows(Scored.read(scorer, options.work, cubes, method))
        rows = [r for r in rows if r["overlap_from"] >= options.least]
        kept[method.name] = {"seed": seed, "first": options.first, "cubes": len(cubes.indices), "rows": rows}
    common.write("blends.json", kept)


if __name__ == "__main__":
    main()
