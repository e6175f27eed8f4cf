"""From the scores of denoisers to rows of numbers, and to tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.evaluation.image_metrics import (
    INSIDE,
    PIXEL_EDGES,
    SOURCE_EDGES,
    over_fields,
    ratio_statistic,
)
from faintsky.evaluation.tables import markdown, number
from faintsky.matching import Estimate
from faintsky.observing.dataset import versions

if TYPE_CHECKING:
    from faintsky.evaluation.lofar import Scores

Float = NDArray[np.float64]
CLASSICAL = ("starlet", "gaussian", "fft", "gaussian_paper")
FAINT = 10.0
"""Pixels inside sources below this S/N have a row of their own: they are what denoising is for."""


def _pixel_statistic(sums: NDArray) -> Float:
    """Rms error inside sources, there at S/N below `FAINT`, then by bin, bias and relative error by bin."""
    total = sums.sum(axis=0)
    groups = [PIXEL_EDGES[:-1] >= INSIDE, (PIXEL_EDGES[:-1] >= INSIDE) & (PIXEL_EDGES[1:] <= FAINT)]
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = [np.sqrt(total[g, 2].sum() / total[g, 0].sum()) for g in groups]
        n, bias, square, relative = total.T
        by_bin = [
            np.sqrt(square / n),
            bias / n,
            np.where(PIXEL_EDGES[:-1] > 0, np.sqrt(relative / n), np.nan),
        ]
    return np.concatenate([errors, *by_bin])


def _pull_statistic(sums: NDArray) -> Float:
    """Mean, standard deviation, and share within one sigma of the pulls in each bin."""
    with np.errstate(invalid="ignore", divide="ignore"):
        n, pull, square, within = sums.sum(axis=0).T
        return np.concatenate([pull / n, np.sqrt(square / n - (pull / n) ** 2), within / n])


def _false(counts: Float, area: float) -> Estimate:
    """Regions a square degree; where none was seen the error is Poisson's 68 % limit."""
    total = float(np.sum(counts))
    return Estimate(total / area, (np.sqrt(total) if total else 1.84) / area)


def rows_of(scores: Scores, seed: int = 0) -> list[dict[str, Any]]:
    """Every number of one method on one set; see `faintsky.evaluation.lofar.DenoisingEvaluation`."""
    rows: list[dict[str, Any]] = []

    def add(quantity: str, value: Estimate, low: float | None, high: float | None, count: float) -> None:
        place = {"snr_low": low, "snr_high": None if high is None or np.isinf(high) else high}
        name = {"method": scores.method, "set": scores.cases, "quantity": quantity}
        rows.append({**name, **place, "value": value.value, "error": value.error, "n": int(count)})

    def bins(values: Sequence[Estimate], names: Sequence[str], edges: Float, counts: Float) -> None:
        per = len(edges) - 1
        for k, value in enumerate(values):
            if np.isfinite(value.value):
                add(names[k // per], value, float(edges[k % per]), float(edges[k % per + 1]), counts[k % per])

    counts = np.sum(scores.pixels, axis=(0, 1))[:, 0]
    inside, faint, *binned = over_fields(_pixel_statistic, scores.pixels, seed=seed)
    add("error inside", inside, INSIDE, None, counts[PIXEL_EDGES[:-1] >= INSIDE].sum())
    faint_bins = (PIXEL_EDGES[:-1] >= INSIDE) & (PIXEL_EDGES[1:] <= FAINT)
    add("error inside, faint", faint, INSIDE, FAINT, counts[faint_bins].sum())
    bins(binned, ("error", "bias", "relative error"), PIXEL_EDGES, counts)
    for name, parts in (("flux", scores.flux), ("peak", scores.peak)):
        snr = np.concatenate(parts)[:, 0]
        values = over_fields(ratio_statistic(), parts, seed=seed)
        bins(values, (f"{name} ratio", f"{name} scatter"), SOURCE_EDGES, np.histogram(snr, SOURCE_EDGES)[0])
        # all above the S/N at which the aim is to be unbiased
        least = 5.0 if name == "flux" else 10.0
        (whole, *_) = over_fields(ratio_statistic(np.array([least, np.inf])), parts, seed=seed)
        if np.isfinite(whole.value):
            add(f"{name} ratio, all", whole, least, None, int(np.sum(snr >= least)))
    for name, sums in (("pull", scores.pulls), ("pull by truth", scores.pulls_true)):
        if sums:
            names = (f"{name} mean", f"{name} std", f"{name} within 1 sigma")
            counts = np.sum(sums, axis=(0, 1))[:, 0]
            bins(over_fields(_pull_statistic, sums, seed=seed), names, PIXEL_EDGES, counts)
    if scores.false:
        false = _false(np.array(scores.false), scores.empty_area)
        add("false regions per deg2", false, None, None, sum(scores.false))
    spread = Estimate(float(np.mean(scores.seconds)), float(np.std(scores.seconds)))
    add("seconds a field", spread, None, None, len(scores.seconds))
    return rows


def _shown(row: Mapping[str, Any] | None, digits: int = 2) -> str:
    if row is None:
        return "–"
    error = row["error"]
    tail = f" ± {error:.{digits}f}" if error is not None and np.isfinite(error) else ""
    return f"{number(row['value'], digits)}{tail}"


def table_of(
    rows: Sequence[Mapping[str, Any]], cases: str, quantities: Sequence[tuple[str, float | None, str]]
) -> str:
    """Methods against quantities (name, lower end of the S/N, heading) on one set, as Markdown."""
    known = {(r["method"], r["quantity"], r["snr_low"]): r for r in rows if r["set"] == cases}
    methods = list(dict.fromkeys(m for m, _, _ in known))
    lines = [[m, *(_shown(known.get((m, q, low))) for q, low, _ in quantities)] for m in methods]
    return markdown(["method", *(heading for _, _, heading in quantities)], lines)


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


def report(rows: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> str:
    """All tables as Markdown."""
    lines = [
        "# Evaluation of denoising on LOFAR images",
        "",
        "Everything in units of the noise; errors: bootstrap over fields. Definitions: docs/evaluation.md.",
        "",
    ]
    tables = (
        ("Rms error of the pixels, by their true S/N",
         [("error inside", INSIDE, f"inside (> {INSIDE:g})"),
          ("error inside, faint", INSIDE, f"inside, < {FAINT:g}"), *_bins("error", PIXEL_EDGES)]),
        ("Flux in apertures: median of recovered over true, by the S/N of the aperture",
         [("flux ratio, all", 5.0, "> 5"), *_bins("flux ratio", SOURCE_EDGES)]),
        ("Peaks: median of recovered over true, by their true S/N",
         [("peak ratio, all", 10.0, "> 10"), *_bins("peak ratio", SOURCE_EDGES)]),
        ("Scatter of the flux ratio; false regions a square degree of empty fields; time",
         [*_bins("flux scatter", SOURCE_EDGES), ("false regions per deg2", None, "false regions"),
          ("seconds a field", None, "s a field")]),
    )  # fmt: skip
    pulls = _bins("pull std", PIXEL_EDGES)
    for cases in dict.fromkeys(r["set"] for r in rows):
        lines += [f"## {cases}", ""]
        for title, quantities in tables:
            lines += [f"**{title}**", "", table_of(rows, cases, quantities)]
        uncertain = {r["method"] for r in rows if r["set"] == cases and r["quantity"] == "pull std"}
        if uncertain:
            lines += ["**Standard deviation of the pulls, by the denoised S/N**", ""]
            lines += [table_of([r for r in rows if r["method"] in uncertain], cases, pulls)]
        for method in sorted(uncertain):
            for quantity, words in (("error inside", ""), ("error inside, faint", f", S/N < {FAINT:g}")):
                ratio, best = gain(rows, cases, method, quantity)
                if np.isfinite(ratio):
                    lines.append(f"Error inside sources{words}: {method} / {best} = {ratio:.2f}.")
            lines.append("")
    known = ", ".join(f"{k} {v}" for k, v in versions().items())
    return "\n".join([*lines, f"Seed {run.get('seed')}; {known}.", ""])
