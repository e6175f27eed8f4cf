"""Fit the one threshold of the classical detector, `caution`, on validation cubes.

The search is run down to reliability 0 on cubes of seed 9000 (the evaluation uses seed 0), and every
candidate is matched with the truth. For each `caution` the reliability of every list follows without another
search, so that precision, completeness and false sources can be tabulated against it. The value in
``models/shipped/classical/model.json`` is one from where on precision hardly rises any more, while the
completeness at S/N 6.5 to 7.5 has not begun to fall.

    python benchmarks/fit_classical.py [-n CUBES] [--jobs J]
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

SEED = 9000
CAUTIONS = (1, 2, 3, 4, 5, 6, 8, 10, 14, 20)


def candidates(preset: str, index: int) -> dict:
    """Candidates of one validation cube: S/N, noise peaks expected above it, and the true source each is."""
    import torch

    from faintsky.detection.find import find_sources
    from faintsky.evaluation.cubes import SimulatedSet
    from faintsky.matching import match

    torch.set_num_threads(1)
    cube, truth = SimulatedSet(preset, (index,), SEED).load(index)
    found = find_sources(cube, reliability=0.0, device="cpu")
    table = found.catalog
    matching = match(truth, table)
    partner = np.full(len(table), -1)
    partner[matching.i_found] = matching.i_true
    return {
        "preset": preset,
        "index": index,
        "snr": [float(v) for v in table["snr_effective"]],
        "expected": [float(v) for v in found.noise.above(np.asarray(table["snr_effective"]))],
        "partner": partner.tolist(),
        "true_snr": [float(v) for v in truth["snr"]],
    }


def lists(cubes: list[dict], caution: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reliability and truth of every candidate, S/N and detection of every true source, for one `caution`."""
    rel, real, true_snr, hit = [], [], [], []
    for cube in cubes:
        order = np.argsort(-np.array(cube["snr"]))
        expected = np.array(cube["expected"])[order]
        raw = 1 - caution * expected / np.arange(1, order.size + 1)
        value = np.clip(np.maximum.accumulate(raw[::-1])[::-1], 0, 1)
        partner = np.array(cube["partner"], dtype=int)[order]
        rel.extend(value)
        real.extend(partner >= 0)
        kept = set(partner[value >= 0.9])
        true_snr.extend(cube["true_snr"])
        hit.extend(i in kept for i in range(len(cube["true_snr"])))
    return np.array(rel), np.array(real, dtype=bool), np.array(true_snr), np.array(hit, dtype=bool)


def table(runs: list[dict]) -> list[dict]:
    """One row for each `caution`."""
    rows = []
    for caution in CAUTIONS:
        row: dict = {"caution": caution}
        for preset in ("paper", "emitters", "empty"):
            cubes = [r for r in runs if r["preset"] == preset]
            rel, real, snr, hit = lists(cubes, caution)
            kept = rel >= 0.9
            row[f"{preset}_false_per_cube"] = float((kept & ~real).sum() / max(len(cubes), 1))
            if preset == "empty":
                continue
            near = (snr > 6.5) & (snr < 7.5)
            marginal = kept & (rel < 0.99)
            row[f"{preset}_precision"] = float(real[kept].mean())
            row[f"{preset}_recall"] = float(hit.mean())
            row[f"{preset}_completeness_6.5_7.5"] = float(hit[near].mean()) if near.any() else None
            row[f"{preset}_real_at_reliability_0.9_0.99"] = (
                float(real[marginal].mean()) if marginal.any() else None
            )
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=24, help="cubes of each set")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    tasks = [(p, i) for i in range(options.n) for p in ("paper", "emitters", "empty")]
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(candidates, *zip(*tasks), chunksize=3))
    result = {"seed": SEED, "cubes_of_each_set": options.n, "rows": table(runs)}
    out = Path(__file__).parent / "results" / "fit_classical.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    for row in result["rows"]:
        print({k: round(v, 3) if v is not None else None for k, v in row.items()})


if __name__ == "__main__":
    main()
