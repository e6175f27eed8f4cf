"""CPU seconds for each further simulated LOFAR field of 2000 x 2000 pixels, written to disk with its truth.

Eight hours in steps of a minute, 907,680 visibilities. The instrument is computed (or read) before, but that
of ``varied`` fields, of which each has its own. With ``--clean N`` also the time for clean images. Writes
``benchmarks/results/simulate_lofar_speed.json``::

    python benchmarks/simulate_lofar_speed.py -n 5 --clean 1
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from simulate_speed import processor

from faintsky.simulating import Settings, open_observatory
from faintsky.simulating.dataset import DataFiles
from faintsky.system import one_thread

RESULTS = Path(__file__).parent / "results" / "simulate_lofar_speed.json"


def cpu_seconds():
    """User and system, all threads, and the programs that were run (EveryBeam, Radler, WSClean)."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def measure(n, **settings):
    """Seconds and bytes of each field."""
    files = DataFiles(Settings(telescope="lofar", **settings))
    began = cpu_seconds()
    observatory = open_observatory(files.settings)
    instrument = cpu_seconds() - began
    cpu, wall, size = [], [], 0
    with one_thread(), tempfile.TemporaryDirectory() as out:
        if files.settings.backend == "fast" and "clean" not in files.settings.products:
            files.write_sample(
                Path(out), 0, observatory, 0
            )  # the first one loads libraries and lays the track
        for index in range(1, n + 1):
            began = time.perf_counter(), cpu_seconds()
            files.write_sample(Path(out), index, observatory, 0)
            cpu.append(cpu_seconds() - began[1])
            wall.append(time.perf_counter() - began[0])
            own = list(Path(out).glob(f"{index:04d}_*"))
            size = sum(path.stat().st_size for path in own)
            for path in own:
                path.unlink()
    return {
        "fields": n,
        "cpu_s_per_field_mean": round(float(np.mean(cpu)), 2),
        "cpu_s_per_field_max": round(float(np.max(cpu)), 2),
        "wall_s_per_field_median": round(float(np.median(wall)), 2),
        "instrument_cpu_s": round(instrument, 2),
        "megabytes_per_field": round(size / 1e6, 1),
        "hours_for_1000_on_two_cores": round(float(np.mean(cpu)) * 1000 / 2 / 3600, 3),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=5)
    parser.add_argument("--presets", default="paper,lotss,varied")
    parser.add_argument("--clean", type=int, default=0, help="clean images by each back end")
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--primary-beam", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    common = {"size": options.size, "primary_beam": options.primary_beam}
    observation = Settings(telescope="lofar", **common).observation
    result = json.loads(options.out.read_text()) if options.out.is_file() else {}
    result |= {"processor": processor(), "size": options.size, "primary_beam": observation.primary_beam}

    def keep(name, n, **settings):
        result[name] = measure(n, **settings, **common)
        print(name, result[name], flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")

    for preset in filter(None, options.presets.split(",")):
        keep(f"{preset}: compact data and truth", options.n, preset=preset, products="compact")
    for backend in ("fast", "wsclean") if options.clean else ():
        keep(
            f"lotss: clean image by {backend}",
            options.clean,
            preset="lotss",
            products="clean",
            backend=backend,
        )


if __name__ == "__main__":
    main()
