"""What the scripts here and in ``benchmarks`` share: where results lie, progress, pictures, tables."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from faintsky.system import run_tasks

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
BENCHMARKS = ROOT / "benchmarks" / "results"
"""Where scripts of ``benchmarks`` keep theirs."""


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser that says the first line of a script's text."""
    return argparse.ArgumentParser(description=(doc or "").splitlines()[0])


def say(done: int, total: int, word: str) -> None:
    """Progress, a line each."""
    print(f"{word} {done}/{total}", flush=True)


def write(name: str, value: Any, folder: Path | None = None) -> None:
    """A result as JSON, and on the screen."""
    path = (folder or RESULTS) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(value, indent=1))


def read(name: str) -> Any:
    """A tracked result: JSON, or the rows of a CSV file."""
    path = RESULTS / name
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def parallel(function: Any, n: int, jobs: int) -> list[Any]:
    """A function of 0 … n - 1, in processes."""
    found = dict(run_tasks(function, range(n), jobs))
    return [found[i] for i in range(n)]


def keep(work: Path, name: str, files: Iterable[str], figures: Iterable[Path]) -> None:
    """Copy tables, and figures as PNG of few colours, from a work folder to the results."""
    folder = RESULTS / name
    shutil.rmtree(folder / "figures", ignore_errors=True)
    (folder / "figures").mkdir(parents=True)
    for file in files:
        shutil.copy(work / file, folder)
    for path in sorted(figures):
        small(path, folder / "figures" / path.name)


def small(source: Path, target: Path, most: int = 150_000) -> None:
    """A PNG of ``most`` bytes at the largest, by fewer colours and, if need be, fewer pixels."""
    from PIL import Image

    image = Image.open(source).convert("RGB")
    scale = 1.0
    while True:
        size = (round(image.width * scale), round(image.height * scale))
        resized = image.resize(size, Image.Resampling.LANCZOS) if scale < 1 else image
        resized.quantize(64, dither=Image.Dither.NONE).save(target, optimize=True)
        if target.stat().st_size <= most:
            return
        scale *= 0.85
