"""Score the classical detector on 200 `paper` cubes, 200 of emitters without continuum and 60 empty ones.

The numbers of the README and of the model's card. The cubes have seed 0, on which nothing was fitted
(`fit_classical.py` uses seed 9000). Tables and figures go to ``benchmarks/results/detect_classical``, the
catalogues to a folder outside the repository, by which an interrupted run goes on. The tracked results come
from a search with `caution` 3 whose catalogues were cut at the reliability that 10 gives (it is linear in
`caution`); a rerun searches with 10 and may differ in the last digits of the fitted shapes.

    python benchmarks/detect_classical.py [--work DIR] [--jobs J]
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from faintsky.evaluation.alma import evaluate_sets
from faintsky.evaluation.cubes import SimulatedSet
from faintsky.evaluation.runs import method_of
from faintsky.evaluation.scoring import Scored, load_scored
from faintsky.io import provenance

SETS = {"paper": 200, "emitters": 200, "empty": 60}
SEED = 0
RESULTS = Path(__file__).parent / "results" / "detect_classical"


def near_seven(scored: Scored) -> dict[str, int]:
    """How many of the true sources with matched S/N 6.5 to 7.5 were found: a plain count beside the fit."""
    inside = np.abs(scored.joined("snr") - 7.0) <= 0.5
    return {"sources": int(inside.sum()), "found": int(scored.detected("position")[inside].sum())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_detect_classical"))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    sets = [SimulatedSet(name, tuple(range(n)), SEED) for name, n in SETS.items()]
    run = provenance(command="python benchmarks/detect_classical.py", config={"sets": SETS}, seed=SEED)
    method = method_of("classical", "cpu")
    done = evaluate_sets(
        options.work, sets, [method], seed=SEED, jobs=options.jobs, run=run,
        progress=lambda done, total, word: print(f"{word} {done}/{total}", flush=True),
    )  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    near = {s.name: near_seven(load_scored(options.work, s, method)) for s in sets[:2]}
    (RESULTS / "found_at_snr_7.json").write_text(json.dumps(near, indent=1) + "\n")
    for name in ("table.md", "table.csv", "residuals.csv"):
        shutil.copy(options.work / name, RESULTS / name)
    shutil.copytree(options.work / "figures", RESULTS / "figures", dirs_exist_ok=True)
    print(json.dumps(done.summary(), indent=1))


if __name__ == "__main__":
    main()
