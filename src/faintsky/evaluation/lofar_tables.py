"""The numbers of an evaluation of denoisers as tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from faintsky.evaluation.image_metrics import INSIDE, PIXEL_EDGES, SOURCE_EDGES
from faintsky.evaluation.lofar_rows import BRIGHT, FAINT, Float
from faintsky.evaluation.segments import RELIABLE, SEGMENT_EDGES
from faintsky.evaluation.tables import markdown, significant
from faintsky.published.peers import PEERS
from faintsky.simulating.dataset import versions

CLASSICAL = ("starlet", "gaussian", "fft", "threshold", "gaussian_paper", "clean")
BASELINES = (*CLASSICAL, *PEERS, "input", "constant")


def shown(row: Mapping[str, Any] | None) -> str:
    """A number with its error, or a dash."""
    if row is None:
        return "–"
    error = row["error"]
    known = error is not None and math.isfinite(error)
    # fields that all give the same leave rounding alone
    tail = f" ± {significant(error, 1)}" if known and not 0 < error < 1e-9 * abs(row["value"]) else ""
    return f"{significant(row['value'])}{tail}"


def table_of(
    rows: Sequence[Mapping[str, Any]], cases: str, quantities: Sequence[tuple[str, float | None, str]]
) -> str:
    """Methods against quantities (name, lower end of the S/N, heading) on one set, as Markdown.

    Methods without any of them are left out; empty where there is none.
    """
    known = {(r["method"], r["quantity"], r["snr_low"]): r for r in rows if r["set"] == cases}
    wanted = {(q, low) for q, low, _ in quantities}
    methods = dict.fromkeys(m for m, q, low in known if (q, low) in wanted)
    lines = [[m, *(shown(known.get((m, q, low))) for q, low, _ in quantities)] for m in methods]
    return markdown(["method", *(heading for _, _, heading in quantities)], lines) if lines else ""


def _bins(quantity: str, edges: Float, first: float = 0.0) -> list[tuple[str, float, str]]:
    return [
        (quantity, float(a), f"{a:g}–{b:g}" if np.isfinite(b) else f"> {a:g}")
        for a, b in pairwise(edges)
        if a >= first
    ]


def gain(rows: Sequence[Mapping[str, Any]], cases: str, method: str, quantity: str) -> tuple[float, str]:
    """Error of a method over that of the best classical filter, and which that is; NaN without either."""
    values = {r["method"]: r["value"] for r in rows if r["set"] == cases and r["quantity"] == quantity}
    classical = {m: v for m, v in values.items() if m in CLASSICAL}
    if not classical or method not in values:
        return float("nan"), ""
    best = min(classical, key=lambda m: classical[m])
    return values[method] / classical[best], best


PAPER = [
    ("sigma_MRE", None, "σ_MRE"), ("sigma_MRE, scatter of fields", None, "scatter of fields"),
    ("MSE", None, "MSE"), ("Delta_c", None, "Δc"), ("1 - C(0)", None, "1 − C(0)"),
    ("C difference", None, "C(r) off by"), ("C falls [arcsec]", None, "C(r) falls at [″]"),
    ("C of the true sky falls [arcsec]", None, "the sky's"),
    ("dimming of their sum", None, "brightest 1 %: dimmer by"),
]  # fmt: skip
SHARP_PAPER = [(f"{q}, beam taken out", low, heading) for q, low, heading in PAPER if "falls" not in q]
TABLES = (
    ("Rms error of the pixels, by their true S/N",
     [("error inside", INSIDE, f"inside (> {INSIDE:g})"),
      ("error inside, faint", INSIDE, f"inside, < {FAINT:g}"), *_bins("error", PIXEL_EDGES)]),
    ("Measures of Gheller & Vazza (2021)", PAPER),
    ("The same, of answers without the image's beam, beside the sky without it", SHARP_PAPER),
    ("σ_MRE by the true S/N of the pixel", _bins("sigma_MRE", PIXEL_EDGES)),
    ("MSE by the true S/N of the pixel", _bins("MSE", PIXEL_EDGES)),
    ("Flux in apertures: median of recovered over true, by the S/N of the aperture; and the mean",
     [("flux ratio, all", BRIGHT, "> 5"), ("flux ratio, mean", BRIGHT, "> 5, mean"),
      *_bins("flux ratio", SOURCE_EDGES)]),
    ("Peaks: median of recovered over true, by their true S/N",
     [("peak ratio, all", 10.0, "> 10"), *_bins("peak ratio", SOURCE_EDGES)]),
    (f"Segmentation at reliabilities of {RELIABLE:g}: share of the pixels of large true regions that is"
     " outlined, and of the regions that are detected, by true S/N a pixel",
     [*_bins("completeness at reliability", SEGMENT_EDGES),
      *((q, low, f"regions, {words}") for q, low, words in
        _bins("regions detected at reliability", SEGMENT_EDGES))]),
    ("Segmentation as the method gives it: completeness of pixels; reliabilities; found over true flux of"
     " regions above S/N 5",
     [*_bins("completeness", SEGMENT_EDGES), ("pixel reliability", None, "pixels are true"),
      ("region reliability", None, "regions are true"), ("region flux ratio, all", BRIGHT, "flux, median"),
      ("region flux ratio, mean", BRIGHT, "flux, mean")]),
    ("Scatter of the flux ratio; false regions a square degree of empty fields; time and memory",
     [*_bins("flux scatter", SOURCE_EDGES), ("false regions per deg2", None, "false regions"),
      ("seconds a field", None, "s a field"),
      ("CPU seconds a field", None, "CPU s"), ("peak memory [MB]", None, "MB")]),
    ("Standard deviation of the pulls, by the denoised S/N", _bins("pull std", PIXEL_EDGES)),
)  # fmt: skip
"""Titles, and what is in the columns; tables and rows without anything are left out."""


def report(rows: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> str:
    """All tables as Markdown."""
    lines = [
        "# Evaluation of denoising on LOFAR images",
        "",
        "Errors in units of the noise; ±: bootstrap over fields. Definitions: docs/evaluation.md.",
        "",
    ]
    for cases in dict.fromkeys(r["set"] for r in rows):
        lines += [f"## {cases}", ""]
        for title, quantities in TABLES:
            if table := table_of(rows, cases, quantities):
                lines += [f"**{title}**", "", table]
        models = [m for m in dict.fromkeys(r["method"] for r in rows) if m not in BASELINES]
        for method in models:
            for quantity, words in (("error inside", ""), ("error inside, faint", f", S/N < {FAINT:g}")):
                ratio, best = gain(rows, cases, method, quantity)
                if np.isfinite(ratio):
                    lines.append(f"Error inside sources{words}: {method} / {best} = {ratio:.2f}.")
        lines.append("")
    known = ", ".join(f"{k} {v}" for k, v in versions().items())
    return "\n".join([*lines, f"Seed {run.get('seed')}; {known}.", ""])
