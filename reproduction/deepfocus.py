"""Section 5 of Delli Veneri et al. (2022), Tables 4 and 5, Figs. 2, 3, 16-22, for several methods.

    python -m reproduction.deepfocus [--deepfocus DIR] [--methods A,B] [-n N] [--seed S] [--jobs J]

Searches ``-n`` cubes of `paper` and fewer of `emitters`, `varied` and `empty` with every method, twice: as it
is, and deep, for the recall at a precision of 0.99. Of ``--deepfocus`` the blobs of its first network, and
these with the lines of its second, have rows of their own, as in the paper's Table 4. The catalogues go to
``--work DIR``, by which an interrupted run goes on; tables and figures to ``reproduction/results/deepfocus``,
or to another folder of the results with ``--results``.

Nothing was fitted on seed 10001: thresholds and settings come from seeds 1 and 9000; seed 9200 is for trying.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.cutouts import integrated
from faintsky.detection import find_catalog, source_table
from faintsky.evaluation import (
    CatalogScorer,
    Method,
    Scored,
    Scores,
    Setting,
    SimulatedCubes,
    evaluate,
    judged_boxes,
    table_of,
)
from faintsky.evaluation.commands import CURVE_RELIABILITY
from faintsky.io import provenance
from faintsky.models import load_model
from faintsky.published.deepfocus import DeepFocus, finding, pipeline
from reproduction import common, deepfocus_figures, deepfocus_tables

METHODS = ("classical", "flood_fill", "flood_fill_paper", "smooth_clip=25")
"""With the number of cubes of each set that a slow one sees."""
SAME_CHANNELS = ("paper", "emitters", "empty")
"""Sets of 128 channels: Deep GRU takes no others."""
SLOW, WITH_SOURCES = ("smooth_clip", "pybdsf", "aegean"), ("paper", "emitters", "varied")
"""What takes most of the time, and what it is run on."""
SHARES = {"paper": 1.0, "emitters": 0.5, "varied": 0.5, "empty": 0.5}
"""Cubes of each set, in units of ``-n``; at most 100 empty ones."""
EXAMPLES = 3
"""Cubes of each set that are drawn."""
STAGES = ("Blobs Finder", "Blobs Finder + Deep GRU")
"""What comes before spectral focusing; ends the names of these rows."""


@dataclass
class Stopwatch:
    """A ``progress`` function: time of each word's stage, by the clock and of the processor [s]."""

    stages: dict[str, list[float]] = field(default_factory=dict)
    _word: str = ""
    _start: tuple[float, float] = (0.0, 0.0)

    def __call__(self, done: int, total: int, word: str) -> None:
        """A stage begins, or with ``done == total`` the last one ends; brackets hold details of a stage."""
        stage = "" if done >= total else word.partition(" (")[0]
        now = time.perf_counter(), sum(os.times()[:4])
        if self._word and stage != self._word:
            spent = self.stages.setdefault(self._word, [0.0, 0.0])
            self.stages[self._word] = [a + b - c for a, b, c in zip(spent, now, self._start, strict=True)]
        if stage != self._word:
            self._word, self._start = stage, now


def find(cube: Any, model: str, images: str, reliability: float | None = None) -> Any:
    """What a model finds, with the time of its stages; its image of the sky of the first cubes is kept."""
    watch = Stopwatch()
    found = find_catalog(cube, model, reliability=reliability, progress=watch)
    found.catalog.meta.setdefault("stages", watch.stages)
    image = getattr(found, "image", None)
    name, _, index = cube.name.partition(" ")
    if image is not None and reliability is None and index.isdigit() and int(index) < EXAMPLES:
        Path(images).mkdir(parents=True, exist_ok=True)
        np.save(Path(images) / f"{Path(model).name}_{name}_{index}.npy", image)
    return found


def find_stage(cube: Any, model: str, lines: bool) -> Any:
    """DeepFocus' catalogue before focusing: its blobs, or with ``lines`` a row for each line of each blob."""
    loaded = load_model(model, job="detect")
    settings = finding.FindingSettings.read(loaded.settings)
    first = DeepFocus(pipeline.load_networks(loaded), settings, pipeline.image_size(loaded))
    blobs = finding.blobs_of(first.sky_map(integrated(cube.data)), settings)
    rows = [(*b.box, b.x, b.y, b.peak, np.nan, np.nan) for b in blobs]
    if lines:
        clean = first.spectra_of(cube.data, blobs)[1]
        found = (finding.find_lines(c, settings.height, settings.prominence) for c in clean)
        rows = [(*row[:-2], n.z, n.fwhm_z) for row, each in zip(rows, found, strict=True) for n in each]
    names = ("x_min", "x_max", "y_min", "y_max", "x", "y", "score", "z", "fwhm_z")
    columns = dict(zip(names, np.array(rows, dtype=float).reshape(-1, len(names)).T, strict=True))
    for name, step in (("z_min", -1), ("z_max", 1)):
        columns[name] = columns["z"] + step * columns["fwhm_z"]
    return source_table(cube, columns, {})


class PaperScorer(CatalogScorer):
    """The usual scores, and what the paper has besides."""

    def prepare(self, cube: Any, truth: Any) -> Any:
        """The truth with blendedness, and the sums of dirty voxels that the paper calls flux."""
        table = super().prepare(cube, truth)
        table["blendedness"] = deepfocus_tables.overlaps(table).max(axis=1, initial=0.0)
        table["paper_sum"] = deepfocus_tables.box_sums(table, cube)
        table["paper_continuum"] = deepfocus_tables.box_sums(table, cube, continuum=True)
        return table

    def describe(self, table: Any, cube: Any, setting: Setting) -> None:
        """The same sum in the detections' boxes."""
        table["paper_sum"] = deepfocus_tables.box_sums(judged_boxes(table, setting), cube)

    def score(self, out: Path, sets: Sequence[Any], methods: Sequence[Method], seed: int) -> Scores:
        """The usual, and Tables 4 and 5, the funnel, blends, stages."""
        scores = super().score(out, sets, methods, seed)
        shown = self.read(out, sets, methods, deep=False)
        deep = self.read(out, sets, methods, deep=True) or shown
        with_sources = [s for s in shown if len(s.joined("snr"))]
        pure = {
            (s.method.split("@")[0], s.cubes): deepfocus_tables.pure_recall(s, seed)
            for s in deep
            if len(s.joined("snr"))
        }
        scores.tables |= {
            "table4": deepfocus_tables.table4(scores.rows, pure),
            "table5": [row for s in with_sources for row in deepfocus_tables.table5(s)],
            "funnel": [row for s in shown for row in deepfocus_tables.funnel(s)],
            "blends": [row for s in with_sources for row in deepfocus_tables.blend_rows(s)],
            "highest": [row for s in with_sources for row in deepfocus_tables.highest_rows(s)],
            "stages": [row for s in shown for row in deepfocus_tables.stage_rows(s)],
        }
        for name, title in deepfocus_tables.TITLES.items():
            rows = scores.tables[name]
            scores.report += [f"## {title}", "", table_of(rows, {k: k for k in rows[0]}) if rows else ""]
        return scores

    def figures(
        self, out: Path, sets: Sequence[Any], methods: Sequence[Method], scores: Scores
    ) -> Iterator[tuple[str, Any]]:
        """The usual, and the paper's, one for each set."""
        methods = [m for m in methods if not m.name.endswith(STAGES)]
        yield from super().figures(out, sets, methods, scores)
        shown = [s for s in self.read(out, sets, methods, deep=False) if len(s.joined("snr"))]
        for cases in sets:
            here: dict[str, Scored] = {s.method: s for s in shown if s.cubes == cases.name}
            if here:
                drawn = deepfocus_figures.of_set(here, cases, out / "images", EXAMPLES)
                for stem, figure in drawn.items():
                    yield f"{stem}_{cases.name}", figure


def run(options: argparse.Namespace) -> None:
    """Search, score, and keep what is small."""
    asked = [name for name in (*options.methods.split(","), options.deepfocus) if name]
    parts = [name.partition("=") for name in asked]
    names = {name: int(few) if few else None for name, _, few in parts}
    sizes = {s: max(1, round(f * options.n)) for s, f in SHARES.items() if s in options.sets.split(",")}
    if "empty" in sizes:
        sizes["empty"] = min(sizes["empty"], 100)
    sets = [SimulatedCubes(s, tuple(range(k)), options.seed) for s, k in sizes.items()]
    label = [
        Path(name).name + (f", the first {few} cubes of each set" if few else "")
        for name, few in names.items()
    ]
    config = {"sets": sizes, "seed": options.seed, "methods": label}
    record = provenance(command="python -m reproduction.deepfocus", config=config, seed=options.seed)
    only = {options.deepfocus: SAME_CHANNELS} | dict.fromkeys(SLOW, WITH_SOURCES)
    methods, images = [], str(options.work / "images")
    for name, few in names.items():
        short, seen = Path(name).name, only.get(name)
        least = min((k for k in (few, options.deep) if k), default=None)
        methods.append(Method(short, partial(find, model=name, images=images), few, seen))
        deep = partial(find, model=name, images=images, reliability=CURVE_RELIABILITY)
        methods.append(Method(f"{short}@{CURVE_RELIABILITY:g}", deep, least, seen, deep=True))
        if name == options.deepfocus:
            stages = [partial(find_stage, model=name, lines=lines) for lines in (False, True)]
            methods += [Method(f"{short}: {w}", f, few, seen) for w, f in zip(STAGES, stages, strict=True)]
    options.work.mkdir(parents=True, exist_ok=True)
    scorer = PaperScorer()
    done = evaluate(
        options.work, sets, methods, scorer, seed=options.seed, jobs=options.jobs, run=record,
        progress=common.say,
    )  # fmt: skip
    tables = ["table.md", "table.csv", *(f"{name}.csv" for name in done.scores.tables)]
    common.keep(options.work, options.results, tables, (options.work / "figures").glob("*.png"))
    best = methods[0]
    near = {s.name: near_seven(Scored.read(scorer, options.work, s, best)) for s in sets}
    common.write(f"{options.results}/found_near_7.json", {best.name: near})
    common.write(f"{options.results}/run.json", record)


def near_seven(scored: Scored) -> dict[str, int]:
    """How many of the true sources with matched S/N 6.5 to 7.5 were found: a plain count beside the fit."""
    inside = abs(scored.joined("snr") - 7.0) <= 0.5
    return {"sources": int(inside.sum()), "found": int(scored.detected("position")[inside].sum())}


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_deepfocus"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-n", type=int, default=200, help="cubes of the set paper")
    parser.add_argument("--deep", type=int, default=30, help="cubes of each set searched deep")
    parser.add_argument("--seed", type=int, default=10001)
    parser.add_argument("--sets", default=",".join(SHARES))
    parser.add_argument("--methods", default=",".join(METHODS), help="NAME=K sees the first K cubes only")
    parser.add_argument("--results", default="deepfocus", help="folder under reproduction/results")
    parser.add_argument(
        "--deepfocus", metavar="NAME|DIR", default="deepfocus", help="searched with in its stages, too"
    )
    run(parser.parse_args())


if __name__ == "__main__":
    main()
