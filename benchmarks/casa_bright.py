"""Bright lines in cubes that CASA itself has observed: recall and precision, places and fluxes.

    python -m benchmarks.casa_bright [-n 8] [--seed 9300] [--snr 150] [--work DIR]

``faintsky simulate alma --backend casa`` makes cubes of the preset ``emitters``, 160 pixels a side and 32
channels, a track of five minutes, in which each line has the matched S/N that is asked for: what CASA's
gridding and its psf do to sources of S/N 100 and more is what a model of them may leave behind. The cubes
hold no continuum: they are searched with ``--continuum none``, and as they are (``auto``). Needs the extra
``casa``, or ``FAINTSKY_CASA_PYTHON``. Writes ``benchmarks/results/casa_bright.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from faintsky import simulate_alma
from faintsky.detection import find_sources
from faintsky.evaluation import FolderCubes, open_cubes
from faintsky.matching import match
from reproduction import common

SETTINGS = {"size": 160, "channels": 32, "total_time": "300s", "integration": "30s", "cell": 0.1}


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("-n", type=int, default=8)
    parser.add_argument("--seed", type=int, default=9300)
    parser.add_argument("--snr", type=float, default=150.0)
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_casa_bright"))
    o = parser.parse_args()
    if not (o.work / "dataset.json").exists():
        simulate_alma(o.work, o.n, seed=o.seed, preset="emitters", snr=o.snr, backend="casa", **SETTINGS)
    cubes = open_cubes(o.work, o.n)
    result = {"cubes": len(cubes.indices), "seed": o.seed, "matched_snr": o.snr, **SETTINGS}
    for continuum in ("none", "auto"):
        result[f"continuum {continuum}"] = scored(cubes, continuum)
        print(continuum, json.dumps(result[f"continuum {continuum}"], indent=1), flush=True)
    (common.BENCHMARKS / "casa_bright.json").write_text(json.dumps(result, indent=1) + "\n")


def scored(cubes: FolderCubes, continuum: str) -> dict[str, float]:
    """What is found of all cubes."""
    true = found = hit = 0
    away, ratio = [], []
    for index in cubes.indices:
        cube, truth = cubes.load(index)
        cube.continuum = continuum
        table = find_sources(cube).catalog
        pairs = match(truth, table)
        i, j = pairs.i_true, pairs.i_found
        true, found, hit = true + len(truth), found + len(table), hit + len(i)
        away += list(np.hypot(truth["x"][i] - table["x"][j], truth["y"][i] - table["y"][j]))
        ratio += list(table["flux"][j] / truth["flux"][i])
        common.say(index + 1, len(cubes.indices), f"{len(truth)} true, {len(table)} found, {len(i)} of them")
    return {
        "sources": true, "found": found, "recall": hit / true, "precision": hit / max(found, 1),
        "median_distance_pixels": float(np.median(away)), "median_flux_ratio": float(np.median(ratio)),
        "scatter_flux_ratio": float(1.4826 * np.median(np.abs(ratio - np.median(ratio)))),
    }  # fmt: skip


if __name__ == "__main__":
    main()
