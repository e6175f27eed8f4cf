"""What a second worker saves: images, cubes, simulations; two runs side by side; many small cubes.

    python -m benchmarks.workers [images limit cubes simulations beside many] [--times 3] [--files 1000]

Each command is run with one worker and with two in turn, some times over; what is kept are the medians, and
their ratio with its range. ``beside`` runs `detect` of two images one after the other and at the same time,
both with ``--jobs 2``. ``many`` searches small cubes, and one bad file, with two workers; beside it stands
the time that single ones take in a process that is warm, summed. A worker has one thread. Nothing else may
run on the machine. Results are added to ``results/workers.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import large_cubes

RESULTS = Path(__file__).parent / "results" / "workers.json"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
SINGLE = 40
"""Cubes searched one by one."""


def faintsky(*words: Any) -> list[str]:
    """A command."""
    return [sys.executable, "-m", "faintsky.cli", *map(str, words), "--overwrite"]


def seconds(*commands: list[str], expected: int = 0) -> float:
    """Time that passes while commands run at once [s]."""
    start = time.monotonic()
    running = [
        subprocess.Popen(c, env=ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for c in commands
    ]
    for process in running:
        said = process.communicate()[1]
        if process.returncode != expected:
            raise SystemExit(said)
    return time.monotonic() - start


def compared(first: Callable[[], float], second: Callable[[], float], times: int) -> dict[str, Any]:
    """Medians of two measurements made in turn, and the ratio of the first to the second with its range."""
    made = np.array([[first(), second()] for _ in range(times)])
    ratio = made[:, 0] / made[:, 1]
    return {
        "seconds": np.median(made, axis=0).round(2).tolist(),
        "ratio": round(float(np.median(ratio)), 3),
        "range": [round(float(v), 3) for v in (ratio.min(), ratio.max())],
    }


def one_and_two(command: list[str], times: int) -> dict[str, Any]:
    """A command with one worker, and with two."""

    def run(jobs: int) -> float:
        # what is there already would not be made again
        shutil.rmtree(command[command.index("--out") + 1], ignore_errors=True)
        return seconds([*command, "--jobs", str(jobs)])

    return compared(lambda: run(1), lambda: run(2), times)


def image(path: Path, side: int) -> Path:
    """A survey-like image."""
    if not path.exists():
        command = [sys.executable, "-m", "benchmarks.large_images", str(path), "--size", str(side)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def images(work: Path, times: int, files: int) -> dict[str, Any]:
    """An image of 3,072 pixels a side: four tiles."""
    path = image(work / "image.fits", 3072)
    return one_and_two(faintsky("detect", path, "--out", work / "out"), times)


def limit(work: Path, times: int, files: int) -> dict[str, Any]:
    """The most that a second process gives here: one such image twice in turn, over two at the same time.

    Processes share the memory's bandwidth and a part of its cache.
    """
    path = image(work / "image.fits", 3072)
    commands = [faintsky("detect", path, "--out", work / f"out{k}", "--jobs", 1) for k in range(2)]
    return compared(lambda: 2 * seconds(commands[0]), lambda: seconds(*commands), times)


def cubes(work: Path, times: int, files: int) -> dict[str, Any]:
    """A cube of 2,000 channels of 192 pixels a side: three uneven tiles."""
    path = work / "cube.fits"
    large_cubes.make(path, (2000, 192, 192), seed=1)
    return one_and_two(faintsky("detect", path, "--out", work / "out"), times)


def simulations(work: Path, times: int, files: int) -> dict[str, Any]:
    """Training data of a hundred cubes of the paper (whole cubes: the disk's speed), the instrument known."""
    command = faintsky("simulate", "alma", "--products", "compact", "--out", work / "out")
    seconds([*command, "-n", "1"])
    return one_and_two([*command, "-n", "100"], times)


def beside(work: Path, times: int, files: int) -> dict[str, Any]:
    """Two images of 3,072 pixels a side, at once over one after the other."""
    path = image(work / "image.fits", 3072)
    commands = [faintsky("detect", path, "--out", work / f"out{k}", "--jobs", 2) for k in range(2)]
    return compared(lambda: seconds(*commands), lambda: sum(map(seconds, commands)), times)


def many(work: Path, times: int, files: int) -> dict[str, Any]:
    """Cubes of 32 channels of 48 pixels a side, all in one run, over the sum of single times."""
    folder = work / "cubes"
    folder.mkdir()
    for k in range(SINGLE):
        large_cubes.make(folder / f"{k:04d}.fits", (32, 48, 48), k)
    for k in range(SINGLE, files):
        shutil.copy(folder / f"{k % SINGLE:04d}.fits", folder / f"{k:04d}.fits")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom faintsky import detect\n"
        "took = []\nfor k, path in enumerate(sys.argv[2:]):\n    start = time.monotonic()\n"
        "    detect(path, out=Path(sys.argv[1]) / str(k), overwrite=True)\n"
        "    took.append(time.monotonic() - start)\n"
        "print(sum(took[1:]) / len(took[1:]))"
    )
    singles = [str(folder / f"{k:04d}.fits") for k in range(SINGLE)]

    def single() -> float:
        done = subprocess.run(
            [sys.executable, "-c", code, str(work / "single"), *singles],
            env=ONE_THREAD, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return float(done.stdout.split()[-1]) * files

    (folder / "bad.fits").write_bytes(b"no image")

    def together() -> float:
        shutil.rmtree(work / "out", ignore_errors=True)
        paths = sorted(folder.iterdir())
        took = seconds(faintsky("detect", *paths, "--out", work / "out", "--jobs", 2), expected=1)
        done = sum((work / "out" / p.stem / "catalog.fits").is_file() for p in paths)
        if done != files:
            raise SystemExit(f"{done} of {files} cubes were searched")
        return took

    return {"files": files, **compared(together, single, times)}


STUDIES = {f.__name__: f for f in (images, limit, cubes, simulations, beside, many)}


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", default=list(STUDIES))
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--files", type=int, default=1000)
    asked = parser.parse_args()
    for name in asked.studies:
        with tempfile.TemporaryDirectory() as work:
            row = STUDIES[name](Path(work), asked.times, asked.files)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps(known | {name: row}, indent=1) + "\n")
        print(name, json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
