"""Seconds of the simulators, of a detection and of a denoising, on this machine.

    python -m benchmarks.speed alma [-n 20]
    python -m benchmarks.speed lofar [-n 5] [--clean 1] [--size 2000]
    python -m benchmarks.speed detect [-n 3]
    python -m benchmarks.speed denoise [--size 2000]

``alma``: cubes of 360 x 360 x 128 of the ``paper`` preset, and others. ``detect``: every stage, from a
cube in memory to the catalogue. ``denoise``: the default denoiser beside `dda`, whose weights are as they
begin. The instrument is computed (or read) before, but that of ``varied`` samples, of which each has its
own. Start-up, reading and reports are left out. On a shared machine seconds say little by themselves:
beside those of ``detect`` stands how long one Fourier transform of all the cube's channels takes in the
same run. Results: ``simulate_speed.json``, ``simulate_lofar_speed.json``, ``detect_speed.json`` and
``denoise_speed.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.fft import rfft2

from faintsky.denoising import DenoiserSettings, denoise_image
from faintsky.detection import find_sources
from faintsky.evaluation import SimulatedCubes, SimulatedFields
from faintsky.models import load_model
from faintsky.networks import make_network
from faintsky.published.dda import AutoencoderSettings, autoencode_image
from faintsky.simulating import SimulationSettings, open_observatory
from faintsky.simulating.dataset import DataFiles
from faintsky.system import one_thread
from reproduction import common

SEED = 9000


def cpu_seconds() -> float:
    """User and system, all threads, and the programs that were run (EveryBeam, Radler, WSClean)."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def processor() -> str:
    """Its name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def timed(function: Any) -> dict[str, float]:
    """Wall-clock and CPU seconds of a call."""
    began = time.perf_counter(), cpu_seconds()
    function()
    return {"wall_s": time.perf_counter() - began[0], "cpu_s": cpu_seconds() - began[1]}


def samples(n: int, what: str, **settings: Any) -> dict[str, float]:
    """Seconds and size of each further sample of a telescope, written to disk with its truth."""
    files = DataFiles(SimulationSettings(**settings))
    began = time.perf_counter(), cpu_seconds()
    observatory = open_observatory(files.settings)
    instrument = time.perf_counter() - began[0], cpu_seconds() - began[1]
    spent, size = [], 0
    with one_thread(), tempfile.TemporaryDirectory() as out:
        if settings.get("backend", "fast") == "fast" and "clean" not in files.settings.products:
            files.write_sample(Path(out), 0, observatory, 0)  # the first one loads libraries and plans
        for index in range(1, n + 1):
            write = lambda i=index: files.write_sample(Path(out), i, observatory, 0)  # noqa: E731
            spent.append(timed(write))
            own = list(Path(out).glob(f"{index:04d}_*"))
            size = sum(path.stat().st_size for path in own)
            for path in own:
                path.unlink()
    cpu, wall = ([s[k] for s in spent] for k in ("cpu_s", "wall_s"))
    return {
        f"{what}s": n,
        f"cpu_s_per_{what}_mean": round(float(np.mean(cpu)), 3),
        f"cpu_s_per_{what}_median": round(float(np.median(cpu)), 3),
        f"cpu_s_per_{what}_max": round(float(np.max(cpu)), 3),
        f"wall_s_per_{what}_median": round(float(np.median(wall)), 3),
        "instrument_wall_s": round(instrument[0], 2),
        "instrument_cpu_s": round(instrument[1], 2),
        f"megabytes_per_{what}": round(size / 1e6, 1),
    }


def alma(options: argparse.Namespace) -> dict[str, Any]:
    """Cubes written to FITS or as compact data."""
    kinds = {
        "dirty and truth": {"products": "dirty"},
        "dirty, sky and truth": {"products": "dirty,sky"},
        "emitters: dirty and truth": {"preset": "emitters", "products": "dirty"},
        "compact data and truth": {"products": "compact"},
        "varied: dirty, psf, pb and truth": {"preset": "varied", "products": "dirty,psf,pb"},
    }
    n = options.n or 20
    result: dict[str, Any] = {"processor": processor(), "shape": [128, 360, 360]}
    result |= {name: samples(n, "cube", telescope="alma", **how) for name, how in kinds.items()}
    compact = result["compact data and truth"]["cpu_s_per_cube_mean"]
    return result | {"hours_for_5000_compact_on_two_cores": round(5000 * compact / 2 / 3600, 3)}


def lofar(options: argparse.Namespace) -> dict[str, Any]:
    """Fields of eight hours in steps of a minute, 907,680 visibilities."""
    stored = common.BENCHMARKS / FILES["lofar"]
    result = json.loads(stored.read_text()) if stored.is_file() else {}
    result |= {"processor": processor(), "size": options.size}
    fixed = {"telescope": "lofar", "size": options.size}
    for preset in ("paper", "lotss", "varied"):
        made = samples(options.n or 5, "field", preset=preset, products="compact", **fixed)
        hours = made["cpu_s_per_field_mean"] * 1000 / 2 / 3600
        result[f"{preset}: compact data and truth"] = made | {"hours_for_1000_on_two_cores": round(hours, 3)}
    for backend in ("fast", "wsclean") if options.clean else ():
        how = {"preset": "lotss", "products": "clean", "backend": backend}
        result[f"lotss: clean image by {backend}"] = samples(options.clean, "field", **how, **fixed)
    return result


def detect(options: argparse.Namespace) -> dict[str, Any]:
    """Every stage of a detection, with one thread and with two."""
    n = options.n or 3
    model, cubes = load_model("classical"), SimulatedCubes("paper", tuple(range(n)), SEED)
    runs: dict[int, list[dict[str, dict[str, float]]]] = {1: [], 2: []}
    transforms = []
    find_sources(cubes.load(0)[0], model, device="cpu")
    for index in cubes.indices:
        cube, _ = cubes.load(index)
        data = np.nan_to_num(cube.data)
        transforms.append(timed(lambda d=data: rfft2(d, workers=1))["cpu_s"])
        for threads, kept in runs.items():
            torch.set_num_threads(threads)
            marks: list[tuple[str, float, float]] = []

            def mark(done: int, total: int, word: str, marks: list[Any] = marks) -> None:
                marks.append((word, time.perf_counter(), cpu_seconds()))

            find_sources(cube, model, device="cpu", progress=mark)
            spent: dict[str, dict[str, float]] = defaultdict(lambda: {"wall_s": 0.0, "cpu_s": 0.0})
            for a, b in pairwise(marks):
                stage = spent[a[0].partition(" (")[0]]  # brackets hold details
                stage["wall_s"] += b[1] - a[1]
                stage["cpu_s"] += b[2] - a[2]
            kept.append(spent)
    result: dict[str, Any] = {
        "set": f"paper, seed {SEED}, {n} cubes of {' x '.join(map(str, cube.shape[::-1]))}",
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "transform_cpu_s": float(np.median(transforms)),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "threads": {},
    }
    for threads, each in runs.items():
        kinds = ("wall_s", "cpu_s")
        stages = {
            word: {k: round(float(np.median([r[word][k] for r in each])), 3) for k in kinds}
            for word in each[0]
        }
        totals = {k: [sum(stage[k] for stage in r.values()) for r in each] for k in kinds}
        over = np.median(np.array(totals["cpu_s"]) / transforms)
        result["threads"][threads] = {
            "stages": stages,
            **{f"total_{k}": round(float(np.median(v)), 3) for k, v in totals.items()},
            "total_cpu_in_transforms": round(float(over), 1),
        }
    return result


def denoise(options: argparse.Namespace) -> dict[str, Any]:
    """One simulated LOFAR image, from memory to the catalogue."""
    torch.set_num_threads(2)
    model = load_model("denoiser", job="denoise")
    network, settings = model.network("denoiser", "cpu"), DenoiserSettings.read(model.settings)
    dda = make_network("dda", tile=128, levels=2, dense=200, kernel=3).eval()
    noise, dirty = (
        SimulatedFields("paper", kind, (0,), SEED, options.size).load(0).image for kind in ("noise", "dirty")
    )
    found = {"dda": timed(lambda: autoencode_image(noise, dda, AutoencoderSettings()))}
    for image, name, kind in ((noise, "noise", "restored"), (dirty, "restored", "restored"),
                              (dirty, "dirty", "dirty")):  # fmt: skip
        seen = replace(image, kind=kind)
        found[f"denoiser, {name}"] = timed(lambda seen=seen: denoise_image(seen, network, settings))
    for row in found.values():
        row["cpu_over_dda"] = row["cpu_s"] / found["dda"]["cpu_s"]
    rounded = {name: {k: round(v, 2) for k, v in row.items()} for name, row in found.items()}
    return {"size": options.size, "threads": 2, "busy": round(os.getloadavg()[0], 1), "runs": rounded}


FILES = {
    "alma": "simulate_speed.json",
    "lofar": "simulate_lofar_speed.json",
    "detect": "detect_speed.json",
    "denoise": "denoise_speed.json",
}
RUNS = {"alma": alma, "lofar": lofar, "detect": detect, "denoise": denoise}


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("what", nargs="*", help=f"of {', '.join(RUNS)}; all where not given")
    parser.add_argument("-n", type=int, help="samples")
    parser.add_argument("--size", type=int, default=2000, help="of images [pixel]")
    parser.add_argument("--clean", type=int, default=0, help="clean images by each back end")
    parser.add_argument("--out", type=Path, default=common.BENCHMARKS)
    options = parser.parse_args()
    for what in options.what or RUNS:
        common.write(FILES[what], RUNS[what](options), options.out)


if __name__ == "__main__":
    main()
