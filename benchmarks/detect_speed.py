"""Seconds that each stage of a detection takes, from a `paper` cube in memory to the catalogue.

Start-up, reading and the report are left out. On a shared machine seconds say little by themselves: beside
them stands how long one Fourier transform of all the cube's channels takes in the same run (float32, one
thread). Writes ``benchmarks/results/detect_speed.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.fft import rfft2

from faintsky.detection import find_sources
from faintsky.evaluation import SimulatedCubes
from faintsky.models import load_model

RESULTS = Path(__file__).parent / "results" / "detect_speed.json"
SEED = 9000


def staged(cube, model) -> dict[str, tuple[float, float]]:
    """Wall-clock and CPU seconds of every stage of one detection."""
    marks: list[tuple[str, float, float]] = []
    find_sources(
        cube,
        model,
        device="cpu",
        progress=lambda done, of, word: marks.append((word, time.perf_counter(), time.process_time())),
    )
    return {word: (b - a, d - c) for (word, a, c), (_, b, d) in pairwise(marks)}


def transform_seconds(data: np.ndarray) -> float:
    """CPU seconds of one Fourier transform of every channel."""
    start = time.process_time()
    rfft2(np.nan_to_num(data), workers=1)
    return time.process_time() - start


def main() -> None:
    """Time it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=3, help="cubes")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    model = load_model("classical")
    cubes = SimulatedCubes("paper", tuple(range(options.n)), SEED)
    runs: dict[int, list[dict[str, tuple[float, float]]]] = {t: [] for t in options.threads}
    transforms, sources = [], []
    find_sources(cubes.load(0)[0], model, device="cpu")
    for index in cubes.indices:
        cube, truth = cubes.load(index)
        sources.append(len(truth))
        transforms.append(transform_seconds(cube.data))
        for threads in options.threads:
            torch.set_num_threads(threads)
            runs[threads].append(staged(cube, model))
    results = {
        "set": f"paper, seed {SEED}, {options.n} cubes of {' x '.join(map(str, cube.shape[::-1]))}",
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "sources_mean": float(np.mean(sources)),
        "transform_cpu_s": float(np.median(transforms)),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "threads": {},
    }
    for threads, each in runs.items():
        stages = {
            word: {
                kind: round(float(np.median([r[word][k] for r in each])), 3) for k, kind in enumerate(KINDS)
            }
            for word in each[0]
        }
        totals = np.array([np.sum(list(r.values()), axis=0) for r in each])
        middle = np.median(totals, axis=0)
        results["threads"][threads] = {
            "stages": stages,
            **{f"total_{kind}": round(float(middle[k]), 3) for k, kind in enumerate(KINDS)},
            "total_cpu_in_transforms": round(float(np.median(totals[:, 1] / transforms)), 1),
        }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


KINDS = ("wall_s", "cpu_s")

if __name__ == "__main__":
    main()
