"""Tables of the pages on images and on cubes, from the benchmarks' tracked results."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.real_diffuse import EDGES, found_share
from faintsky.evaluation import markdown
from reproduction.common import BENCHMARKS

Row = dict[str, Any]


def pooled(
    rows: list[dict[str, Any]], method: str, quantity: str, *bins: str, kinds: Sequence[str] = ()
) -> str:
    """Share of what is counted in some bins of some kinds (all where none is named), with its error."""
    here = [
        r for r in rows
        if (r["method"], r["quantity"]) == (method, quantity) and r["bin"] in bins
        and (not kinds or r["kind"] in kinds) and r["n"]
    ]  # fmt: skip
    n = sum(r["n"] for r in here)
    share = sum(r["n"] * r["value"] for r in here) / n
    return f"{share:.3f} ± {math.sqrt(max(share * (1 - share), 0.25 / n) / n):.3f}"


def total(rows: list[dict[str, Any]], method: str, name: str, kinds: Sequence[str]) -> int:
    """Sum of a count of survey images over some kinds."""
    return round(
        sum(
            r["value"] for r in rows
            if (r["method"], r["quantity"], r["bin"]) == (method, "Counts", name) and r["kind"] in kinds
        )
    )  # fmt: skip


def results(path: str) -> Any:
    """A tracked result of a benchmark."""
    return json.loads((BENCHMARKS / path).read_text(encoding="utf-8"))


def cell(
    rows: list[Row], method: str, quantity: str, bin_: str = "", kind: str = "", form: str = ".2f"
) -> str:
    """A number with its error, where it was measured."""
    wanted = (method, quantity, bin_, kind)
    for r in rows:
        if (r["method"], r["quantity"], r["bin"], r["kind"]) == wanted:
            return f"{r['value']:{form}}" + (f" ± {r['error']:{form}}" if math.isfinite(r["error"]) else "")
    return "–"


NOISES = {
    "uniform": "uniform", "gradient": "fourfold gradient", "pbcor": "primary beam",
    "stripes": "stripes, artefacts", "negative": "negative sources", "pairs": "uniform, pairs of points",
}  # fmt: skip
"""The kinds of survey images that all methods see."""
METHODS = ("faintsky", "pybdsf", "aegean")


def points() -> str:
    """Points found in survey-like images."""
    rows = results("survey/results.json")["rows"]
    lines = []
    for kind, words in NOISES.items():
        false = [str(sum(total(rows, m, name, [kind]) for name in ("false", "duplicates"))) for m in METHODS]
        for bin_ in ("S/N 5-6", "S/N 6-8", "S/N 8-10"):
            found = [cell(rows, m, "Completeness of points", bin_, kind) for m in METHODS]
            if any(f != "–" for f in found):
                lines.append([words, bin_[4:].replace("-", "–"), *found, ", ".join(false)])
                words, false = "", []
    return markdown(
        ["noise", "S/N", "faintsky", "PyBDSF", "Aegean", "false and double rows of the three"], lines
    ).rstrip()


def clouds() -> str:
    """The summary of `benchmarks.clouds`."""
    text = (BENCHMARKS / "survey" / "clouds.md").read_text(encoding="utf-8")
    return text.partition("\n\n")[2].strip()


WHO = {
    "faintsky": "faintsky", "starlet": "starlet, set to one false region per square degree of noise",
    "starlet_tuned": "starlet, tuned on simulated fields", "pybdsf": "PyBDSF with wavelets",
    "dda_clean": "`dda_clean`, as shipped",
}  # fmt: skip


def diffuse_sources() -> str:
    """Diffuse sources found in real images."""
    every = results("real_diffuse/real_diffuse.json")
    lines = []
    for method, words in WHO.items():
        found = [e[method] for e in every.values() if method in e]
        rows = [r for e in found for r in e["sources"]]
        shares = [found_share(rows, low, high) for low, high in pairwise(EDGES)]
        lines.append([words, *shares[1:], str(sum(e["false"] for e in found))])
    head = [f"found, S/N {low:g}–{high:g}" for low, high in pairwise(EDGES)][1:]
    return markdown(["method", *head, "false regions"], lines).rstrip()


def lines() -> str:
    """Lines and galaxies in HI-like cubes."""
    rows = results("line_cubes/results.json")["rows"]
    kinds = list(dict.fromkeys(r["kind"] for r in rows))

    def spread(quantity: str, *bins: str, form: str = ".2f") -> str:
        values = [
            float(np.average([r["value"] for r in here], weights=[r.get("n") or 1 for r in here]))
            for kind in kinds
            if (
                here := [
                    r for r in rows if (r["quantity"], r["kind"]) == (quantity, kind) and r["bin"] in bins
                ]
            )
        ]
        return f"{min(values):{form}} to {max(values):{form}}"

    high = ("S/N 8-10", "S/N 10-14", "S/N 14-20")
    galaxies = [r["value"] for r in rows if r["bin"] in ("least", "largest") and r["value"]]
    table = [
        [
            f"lines found, {bin_.replace('-', '–')}",
            pooled(rows, "classical", "Completeness", bin_),
            spread("Completeness", bin_),
        ]
        for bin_ in ("S/N 5-6", "S/N 6-7", "S/N 7-8")
    ]
    table.append(
        [
            "lines found, S/N 8–20",
            pooled(rows, "classical", "Completeness", *high),
            spread("Completeness", *high),
        ]
    )
    table += [
        ["S/N in the catalogue over matched S/N", "", spread("S/N over matched S/N", "", form=".3f")],
        ["flux over true flux, S/N 8–20, mean of medians", "", spread("Flux over true flux", *high)],
        ["scatter of (flux − true flux) / error, S/N 8–20", "", spread("Pull of the flux: scatter", *high)],
        ["false rows per cube", "", spread("False rows a cube", "")],
        ["flux of a galaxy over its true flux", "", f"{min(galaxies):.2f} to {max(galaxies):.2f}"],
    ]  # fmt: skip
    return markdown(["", "all kinds", "range of the kinds"], table).rstrip()


def presets() -> str:
    """Dirty cubes of three presets."""
    rows = results("simulated_cubes/results.json")["rows"]
    lines = []
    for kind in dict.fromkeys(r["kind"] for r in rows):
        recalls = [cell(rows, "faintsky", "Recall", b, kind) for b in ("all", "S/N > 8", "isolated, S/N > 8")]
        lines.append([f"`{kind}`", cell(rows, "faintsky", "Precision", "", kind), *recalls])
    head = ["preset", "precision", "recall", "recall, S/N above 8", "the same, isolated"]
    return markdown(head, lines).rstrip()
