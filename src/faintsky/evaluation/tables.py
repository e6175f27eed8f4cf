"""The tables of the evaluation as Markdown and CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faintsky.evaluation.scoring import SNR_ASKED, Row
from faintsky.matching import Estimate
from faintsky.system import replacing


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


def _with_error(row: Mapping[str, Any], name: str, digits: int = 3) -> str:
    return estimate(Estimate(row[name], row[f"{name}_error"]), digits)


def table4(rows: Sequence[Mapping[str, Any]]) -> str:
    """`faintsky.evaluation.paper_tables.table4` as Markdown."""
    header = ["method", "set", "criterion", "TP", "FP", "FN", "precision", "recall", "F1", "mean IoU",
              "recall at precision 0.99", "cubes"]  # fmt: skip
    lines = []
    for r in rows:
        shares = [f"{r[k]} ({100 * r[f'{k}_share']:.1f} %)" for k in ("tp", "fn")]
        scores = [_with_error(r, k) for k in ("precision", "recall", "f1", "iou_2d", "pure_recall")]
        lines.append([r["method"], r["cubes"], r["criterion"], shares[0], str(r["fp"]), shares[1], *scores,
                      str(r["pure_cubes"])])  # fmt: skip
    return markdown(header, lines)


def table5(rows: Sequence[Mapping[str, Any]]) -> str:
    """`faintsky.evaluation.parameters.table5` as Markdown."""
    header = ["method", "set", "sources", "parameter", "unit", "n", "mean", "std", "robust scatter", "bound",
              "scatter / bound", "relative error", "within 1 %", "10 %", "20 %"]  # fmt: skip
    lines = []
    for r in rows:
        relative = f"{number(r['relative_mean'])} ± {number(r['relative_std'])}"
        lines.append([
            r["method"], r["cubes"], r["subset"], r["parameter"], r["unit"], str(r["n"]),
            f"{significant(r['mean'])} ± {significant(r['mean_error'], 1)}", significant(r["std"]),
            significant(r["scatter"]), significant(r["bound"]), number(r["over_bound"], 2),
            relative if math.isfinite(r["relative_mean"]) else "–",
            *(number(r[f"within_{p}"], 2) for p in (1, 10, 20)),
        ])  # fmt: skip
    return markdown(header, lines)


def plain_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Any rows of one kind as Markdown, numbers to three digits."""
    if not rows:
        return ""
    cells = [[significant(v) if isinstance(v, float) else str(v) for v in r.values()] for r in rows]
    return markdown([name.replace("_", " ") for name in rows[0]], cells)


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows of one kind as CSV, in one step."""
    with replacing(path) as name, open(name, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
