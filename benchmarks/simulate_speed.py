"""CPU seconds for each further simulated cube, noise included, written to FITS or as compact data.

360 x 360 pixels, 128 channels, the ``paper`` preset; the instrument is computed (or read) before. ``varied``
cubes are smaller, and each has its own instrument. Writes
``benchmarks/results/simulate_speed.json``::

    python benchmarks/simulate_speed.py -n 20
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from faintsky.simulating import Settings, open_observatory
from faintsky.simulating.dataset import DataFiles
from faintsky.system import one_thread

RESULTS = Path(__file__).parent / "results" / "simulate_speed.json"


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def measure(n, **settings):
    """Seconds of each cube: CPU (user and system, all threads) and wall."""
    began = time.perf_counter(), cpu_seconds()
    files = DataFiles(Settings(telescope="alma", **settings))
    observatory = open_observatory(files.settings)
    first = time.perf_counter() - began[0], cpu_seconds() - began[1]
    cpu, wall = [], []
    with one_thread(), tempfile.TemporaryDirectory() as out:
        files.write_sample(Path(out), 0, observatory, 0)  # the first one loads libraries and plans
        for index in range(1, n + 1):
            began = time.perf_counter(), cpu_seconds()
            files.write_sample(Path(out), index, observatory, 0)
            cpu.append(cpu_seconds() - began[1])
            wall.append(time.perf_counter() - began[0])
            for path in Path(out).glob(f"{index - 1:04d}_*"):
                path.unlink()
    return {
        "cubes": n,
        "cpu_s_per_cube_mean": round(float(np.mean(cpu)), 3),
        "cpu_s_per_cube_median": round(float(np.median(cpu)), 3),
        "cpu_s_per_cube_max": round(float(np.max(cpu)), 3),
        "wall_s_per_cube_median": round(float(np.median(wall)), 3),
        "instrument_wall_s": round(first[0], 2),
        "instrument_cpu_s": round(first[1], 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    result = {
        "processor": processor(),
        "shape": [128, 360, 360],
        "dirty and truth": measure(options.n, products="dirty"),
        "dirty, sky and truth": measure(options.n, products="dirty,sky"),
        "emitters: dirty and truth": measure(options.n, preset="emitters", products="dirty"),
        "compact data and truth": measure(options.n, products="compact"),
        "varied: dirty, psf, pb and truth": measure(options.n, preset="varied", products="dirty,psf,pb"),
    }
    compact = result["compact data and truth"]["cpu_s_per_cube_mean"]
    result["hours_for_5000_compact_on_two_cores"] = round(5000 * compact / 2 / 3600, 3)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
