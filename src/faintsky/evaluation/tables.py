"""The tables of the evaluation as Markdown and CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faintsky.evaluation.scoring import SNR_ASKED, Row
from faintsky.files import replacing
from faintsky.matching import Estimate


def number(value: float, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def estimate(value: Estimate, digits: int = 3) -> str:
    """A number with its error, or a dash."""
    if not math.isfinite(value.value):
        return "–"
    return f"{value.value:.{digits}f} ± {value.error:.{digits}f}"


def significant(value: float, digits: int = 3) -> str:
    """A number to so many significant digits, or a dash."""
    return f"{value:.{digits}g}" if math.isfinite(value) else "–"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(r) + " |" for r in rows) + "\n"


def detection_table(rows: Sequence[Row]) -> str:
    """Precision, recall and so on, as Markdown."""
    header = ["method", "set", "criterion", "sources", "cubes", "true", "found", "precision", "recall", "F1",
              "IoU 2-D", "IoU z", "false a cube", f"completeness at S/N {SNR_ASKED:g}",
              "s a cube"]  # fmt: skip
    lines = []
    for r in rows:
        m = r.metrics
        scores = [m.precision, m.recall, m.f1, m.iou_2d, m.iou_z, m.false_per_cube, r.completeness]
        counts = [str(v) for v in (m.n_cubes, m.n_true, m.n_found)]
        lines.append([r.method, r.cubes, r.criterion, r.subset, *counts, *(estimate(s) for s in scores),
                      estimate(r.seconds, 2)])  # fmt: skip
    return markdown(header, lines)


def residual_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Residuals of the parameters, as Markdown."""
    header = ["method", "set", "sources", "parameter", "unit", "n", "mean", "std", "robust scatter",
              "scatter / bound", "scatter / bound (shared continuum)", "pull mean", "pull scatter",
              "within 1 %", "10 %", "20 %"]  # fmt: skip
    lines = []
    for r in rows:
        spread = f"{significant(r['scatter'])} ± {significant(r['scatter_error'], 1)}"
        lines.append([
            r["method"], r["cubes"], r["subset"], r["name"], r["unit"], str(r["n"]),
            f"{significant(r['mean'])} ± {significant(r['mean_error'], 1)}", significant(r["std"]), spread,
            number(r["over_bound"], 2), number(r["over_bound_shared"], 2), number(r["pull_mean"], 2),
            number(r["pull_scatter"], 2), *(number(r[f"within_{p}"], 2) for p in (1, 10, 20)),
        ])  # fmt: skip
    return markdown(header, lines)


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows of one kind as CSV, in one step."""
    with replacing(path) as name, open(name, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
