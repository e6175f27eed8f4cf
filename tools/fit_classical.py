"""Fit `caution`, the one threshold of the classical detector, and `FITTED_GAIN` on validation cubes.

Cubes of seed 9000 are used (the evaluation has seed 0). Each is searched once; for each `caution` the
candidates are then judged, measured and listed as `faintsky detect` does, and matched with the truth by
position. The value in ``models/shipped/classical/model.json`` is one from where on precision hardly rises any
more, while the completeness at S/N 6.5 to 7.5 has not begun to fall. The gain is the one with which the law
of the noise's peaks expects as many candidates above `GAIN_FROM` as the empty cubes have.

    python tools/fit_classical.py [-n CUBES] [--jobs J]
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from faintsky.detection.search import Search

SEED = 9000
CAUTIONS = (5.0, 10.0, 15.0, 20.0)
GAIN_FROM = 5.2


def copied(search: Search) -> Search:
    """One that can be finished without changing this one; the filter bank is shared."""
    twins = {id(c): replace(c) for c in search.pursuit.components}
    pursuit = copy(search.pursuit)
    pursuit.data = search.pursuit.data.copy()
    pursuit.components = [twins[id(c)] for c in search.pursuit.components]
    candidates = [twins[id(c)] for c in search.candidates]
    return replace(search, prepared=replace(search.prepared), pursuit=pursuit, candidates=candidates)


def lists(preset: str, index: int) -> dict:
    """For each `caution`, the true sources that the rows of one cube's list are, and their reliabilities."""
    import torch
    from threadpoolctl import threadpool_limits

    from faintsky.detection import search_cube, settle
    from faintsky.evaluation import SimulatedCubes
    from faintsky.matching import match
    from faintsky.models import load_model

    torch.set_num_threads(1)
    cube, truth = SimulatedCubes(preset, (index,), SEED).load(index)
    model = load_model("classical")
    out: dict = {"preset": preset, "snr": [float(v) for v in truth["snr"]], "partner": {}, "reliability": {}}
    with threadpool_limits(limits=1, user_api="blas"):
        search = search_cube(cube, model.settings, say=lambda done, word: None)
        out["law"] = search.noise.amplitude, search.noise.stretch
        out["candidates"] = [float(c.effective_snr) for c in search.candidates]
        for caution in CAUTIONS:
            model.settings["caution"] = caution
            table = settle(copied(search), model)[0]
            out["partner"][caution] = match(truth, table).partner_of_found.tolist()
            out["reliability"][caution] = [float(v) for v in table["reliability"]] if len(table) else []
    return out


def table(runs: list[dict]) -> list[dict]:
    """One row for each `caution`."""
    rows = []
    for caution in CAUTIONS:
        row: dict = {"caution": caution}
        for preset in ("paper", "emitters", "empty"):
            cubes = [r for r in runs if r["preset"] == preset]
            real = np.concatenate([np.array(r["partner"][caution], dtype=int) >= 0 for r in cubes])
            marginal = np.concatenate([np.array(r["reliability"][caution]) < 0.99 for r in cubes])
            row[f"{preset}_false_per_cube"] = float((~real).sum() / len(cubes))
            if preset == "empty":
                continue
            snr = np.concatenate([r["snr"] for r in cubes])
            hit = np.concatenate([np.isin(np.arange(len(r["snr"])), r["partner"][caution]) for r in cubes])
            near = (snr > 6.5) & (snr < 7.5)
            row[f"{preset}_precision"] = float(real.mean())
            row[f"{preset}_recall"] = float(hit.mean())
            row[f"{preset}_completeness_6.5_7.5"] = float(hit[near].mean()) if near.any() else None
            row[f"{preset}_real_at_reliability_0.9_0.99"] = (
                float(real[marginal].mean()) if marginal.any() else None
            )
        rows.append(row)
    return rows


def gain(runs: list[dict]) -> dict:
    """The gain, and with one standard error of the count more or less."""
    from scipy.optimize import brentq

    from faintsky.detection import NoisePeaks

    empty = [r for r in runs if r["preset"] == "empty"]
    laws = [NoisePeaks(*r["law"]) for r in empty]
    counted = sum(v > GAIN_FROM for r in empty for v in r["candidates"])

    def of(count: float) -> float:
        return float(brentq(lambda g: sum(float(n.above(GAIN_FROM / g)) for n in laws) - count, 0.8, 1.3))

    error = np.sqrt(max(counted, 1))
    return {
        "cubes": len(empty), "candidates": counted,
        "expected_without": sum(float(n.above(GAIN_FROM)) for n in laws),
        "gain": of(max(counted, 1)), "low": of(max(counted - error, 0.5)), "high": of(counted + error),
    }  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=24, help="cubes of each set")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    tasks = [(p, i) for i in range(options.n) for p in ("paper", "emitters", "empty")]
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(lists, *zip(*tasks), chunksize=3))
    result = {"seed": SEED, "cubes_of_each_set": options.n, "gain": gain(runs), "rows": table(runs)}
    out = Path(__file__).parents[1] / "benchmarks" / "results" / "fit_classical.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    for row in [result["gain"], *result["rows"]]:
        print({k: round(v, 3) if v is not None else None for k, v in row.items()})


if __name__ == "__main__":
    main()
