"""Fit what the reliability of lines rests on, and see how true it is, on validation cubes.

Cubes of seed 9000 are used (the evaluation has seed 0), of the presets ``paper``, ``emitters``, ``varied``
and ``empty``. `FITTED_GAIN` is that with which the law of the noise's peaks expects as many candidates above
`GAIN_FROM` as the empty cubes have. `SIZE_SHARES` and `WIDTH_SHARES` are to be like the shares of the
candidates that are noise: all of empty cubes, and negative ones of others. What is given a reliability is set
beside how much of it is real, and how complete and how false the lists are at several limits.

    python tools/fit_classical.py [-n CUBES] [--jobs J]
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

SEED, PRESETS = 9000, ("paper", "emitters", "varied", "empty")
GAIN_FROM, NOISE_BELOW = 5.2, 6.0
LIMITS, BINS = (
    (0.5, 0.7, 0.8, 0.9, 0.95, 0.99),
    ((0.1, 0.5), (0.5, 0.8), (0.8, 0.9), (0.9, 0.99), (0.99, 1.01)),
)
"""Least reliabilities of lists, and bins of reliability."""
OUT = Path(__file__).parents[1] / "benchmarks" / "results" / "fit_classical.json"


def candidates(preset: str, index: int) -> dict[str, Any]:
    """The candidates of one cube, and the true sources that they are."""
    import torch
    from astropy.table import Table
    from threadpoolctl import threadpool_limits

    from faintsky.detection import judge_lines, search_cube
    from faintsky.evaluation import SimulatedCubes
    from faintsky.matching import match
    from faintsky.models import load_model

    torch.set_num_threads(1)
    cube, truth = SimulatedCubes(preset, (index,), SEED).load(index)
    with threadpool_limits(limits=1, user_api="blas"):
        search = search_cube(cube, load_model("classical").settings, say=lambda done, word: None)
        judge_lines(search)
    names, known = ("x", "y", "z", "fwhm_z"), {id(c) for c in search.candidates}
    found = Table({n: [getattr(c.source, n) for c in search.candidates] for n in names}, dtype=[float] * 4)
    every = search.pursuit.components
    noise = (
        every if preset == "empty" else [c for c in every if id(c) not in known and c.source.amplitude < 0]
    )
    return {
        "preset": preset,
        "true": [float(v) for v in truth["snr"]],
        "law": (search.noise.amplitude, search.noise.stretch),
        "widths": len(search.pursuit.bank.line_fwhm),
        "partner": match(truth, found).partner_of_found.tolist(),
        "reliability": [c.reliability for c in search.candidates],
        "snr": [c.effective_snr for c in search.candidates],
        "templates": [c.template for c in noise if c.snr < NOISE_BELOW],
    }


def gain(runs: list[dict]) -> dict[str, Any]:
    """The gain, and with one standard error of the count more or less."""
    from scipy.optimize import brentq

    from faintsky.detection import NoisePeaks

    empty = [r for r in runs if r["preset"] == "empty"]
    laws = [NoisePeaks(*r["law"]) for r in empty]
    counted = sum(v > GAIN_FROM for r in empty for v in r["snr"])

    def of(count: float) -> float:
        return float(brentq(lambda g: sum(float(n.above(GAIN_FROM / g)) for n in laws) - count, 0.8, 1.3))

    error = np.sqrt(max(counted, 1))
    return {
        "cubes": len(empty), "candidates": counted,
        "expected_without": sum(float(n.above(GAIN_FROM)) for n in laws),
        "gain": of(max(counted, 1)), "low": of(max(counted - error, 0.5)), "high": of(counted + error),
    }  # fmt: skip


def shares(runs: list[dict]) -> dict[str, Any]:
    """How often noise is of each size and line width."""
    whole = [r for r in runs if r["widths"] == max(q["widths"] for q in runs)]
    kinds = np.array([t for r in whole for t in r["templates"]], dtype=int)
    n = whole[0]["widths"]
    parts = {"sizes": np.bincount(kinds // n, minlength=5), "widths": np.bincount(kinds % n, minlength=n)}
    return {"candidates": len(kinds)} | {k: (v / len(kinds)).round(3).tolist() for k, v in parts.items()}


def rows_of(runs: list[dict]) -> dict[str, Any]:
    """Of the cubes of a preset: how true reliabilities are, and what lists hold."""
    given = np.concatenate([r["reliability"] for r in runs])
    real = np.concatenate([np.array(r["partner"], dtype=int) >= 0 for r in runs])
    held = []
    for low, high in BINS:
        its = (given >= low) & (given < high)
        if its.any():
            held.append({"candidates": its.sum(), "given": given[its].mean(), "real": real[its].mean()})
    lists = []
    snr = np.concatenate([r["true"] for r in runs])
    for limit in LIMITS:
        kept = given >= limit
        row = {"limit": limit, "false_per_cube": (kept & ~real).sum() / len(runs)}
        if len(snr):
            found = [np.array(r["partner"], dtype=int)[np.array(r["reliability"]) >= limit] for r in runs]
            hit = np.concatenate([np.isin(np.arange(len(r["true"])), f) for r, f in zip(runs, found)])
            near = (snr > 6.5) & (snr < 7.5)
            row |= {"precision": real[kept].mean(), "recall": hit.mean()}
            row |= {"completeness_6.5_7.5": hit[near].mean() if near.any() else None}
        lists.append(row)
    return {"cubes": len(runs), "reliability": held, "lists": lists}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=24, help="cubes of each set")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    tasks = [(p, i) for i in range(options.n) for p in PRESETS]
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(candidates, *zip(*tasks), chunksize=2))
    result = {"seed": SEED, "gain": gain(runs), "noise": shares(runs)}
    result |= {p: rows_of([r for r in runs if r["preset"] == p]) for p in PRESETS}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1, default=float) + "\n")
    print(json.dumps(result, indent=1, default=float))


if __name__ == "__main__":
    main()
