"""What stacking encodings does: Section 4.2 of Gheller & Vazza (2021) says that it removes spurious spots.

    python -m reproduction.dda_stacks MODEL [--members 1,2,4,8] [-n N] [--size N] [--web test] [--seed S]

MODEL is one of ``faintsky train dda``, by name or folder; it is shown the kind of image that it was trained
for. Rms errors by the true S/N of the pixel, their ratio to those of a single encoding on the same fields
(error: bootstrap over fields), the share of regions that are true, and regions in fields without emission.
Answers go to ``--work DIR``, by which an interrupted run goes on; the table to
``reproduction/results/dda_stacks``, or ``--results NAME``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.evaluation import (
    PIXEL_EDGES,
    ImageScorer,
    Method,
    denoisers,
    markdown,
    over_fields,
    run_methods,
    simulated_sets,
    write_csv,
)
from faintsky.evaluation.images import RowWriter, shown
from faintsky.models import load_model
from reproduction import common

Rows = list[dict[str, Any]]
OF_FIELDS = ("region reliability", "false regions per deg2")


def ratios(parts: np.ndarray) -> np.ndarray:
    """Rms error of a stack over that of one encoding by bin, of sums ``[field, 2, bin, 4]``: one, stack."""
    square = parts.sum(axis=0)[:, :, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt(square[1] / square[0]))


def rows_of(scorer: ImageScorer, work: Path, cases: Any, methods: Sequence[Method], seed: int) -> Rows:
    """What is told of every number of members on one set."""
    rows: Rows = []
    single: list[Any] = []
    for method in methods:
        writer = RowWriter(method.name, cases.name, scorer.parts_of(work, cases, method), seed)
        scorer.write_rows(writer)
        told = [r for r in writer.rows if r["quantity"] in ("error", *OF_FIELDS)]
        writer.rows = []
        pixels = writer.parts["pixels"]
        single = single or pixels
        both = [np.stack([a, b], axis=1) for a, b in zip(single, pixels, strict=True)]
        values = over_fields(ratios, both, seed=seed)
        writer.bins(values, ("error / that of one",), PIXEL_EDGES, writer.counts("pixels"))
        rows += told + writer.rows
    return rows


def table(rows: Rows) -> str:
    """A line a set and number of members, as Markdown."""
    bins = sorted({(r["snr_low"], r["snr_high"] or np.inf) for r in rows if r["quantity"] == "error"})
    heads = [f"{a:g}–{b:g}" if np.isfinite(b) else f"> {a:g}" for a, b in bins]
    known = {(r["set"], r["method"], r["quantity"], r["snr_low"]): r for r in rows}
    lines = []
    for cases, method in dict.fromkeys((r["set"], r["method"]) for r in rows):
        of = [
            [known.get((cases, method, q, low)) for low, _ in bins] for q in ("error", "error / that of one")
        ]
        cells = [f"{shown(a)} ({b['value']:.2f})" if a and b else "–" for a, b in zip(*of, strict=True)]
        more = [shown(known.get((cases, method, quantity, None))) for quantity in OF_FIELDS]
        lines.append([cases, method, *cells, *more])
    last = ["regions that are true", "regions a square degree of nothing"]
    return markdown(["set", "members", *(f"error, S/N {h} (over that of one)" for h in heads), *last], lines)


def run(options: argparse.Namespace) -> None:
    """Denoise, score, and write the table."""
    model = load_model(options.model, job="denoise")
    product = str(model.settings["product"])
    kind = "clean_ideal" if product == "clean" else product
    sets = simulated_sets(("paper",), (kind,), options.n, options.seed, options.size, options.web)
    methods = [
        replace(denoisers((options.model,), members=k)[0], name=str(k))
        for k in map(int, options.members.split(","))
    ]
    scorer, work = ImageScorer(), options.work / f"{model.hash}_{options.web}_{options.seed}_{options.size}"
    run_methods(sets, methods, work, scorer, progress=common.say)
    rows = [row for cases in sets for row in rows_of(scorer, work, cases, methods, options.seed)]
    folder = common.RESULTS / options.results
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(rows, folder / f"{model.name}.csv")
    head = (
        f"Model {model.name} ({model.hash}), web {Path(options.web).name}, seed {options.seed}, {options.n}"
    )
    text = f"{head} fields of {options.size}² pixels a set.\n\n{table(rows)}"
    (folder / f"{model.name}.md").write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("--members", default="1,2,4,8")
    parser.add_argument("--web", default="test")
    parser.add_argument("-n", type=int, default=8, help="fields of each set")
    parser.add_argument("--size", type=int, default=1000, help="pixels a side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_dda_stacks"))
    parser.add_argument("--results", default="dda_stacks")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
