"""One page of the tracked results: ours beside CASA, WSClean, PyBDSF, Aegean, SoFiA-2 and the DDA; growth.

    python -m benchmarks.report

Reads ``results/`` and writes ``results/report.md``. A ratio is ours over theirs; its range is that over
fields, or kinds of images. Times are processor seconds, which say most on a busy machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def read(name: str) -> Any:
    """A file of results."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """In Markdown."""
    return [f"| {' | '.join(r)} |" for r in (head, ["---"] * len(head), *rows)] + [""]


def spread(values: list[float]) -> str:
    """Median, and the range of several."""
    low, middle, high = np.min(values), np.median(values), np.max(values)
    return f"{middle:.3g}" if low == high else f"{middle:.3g} ({low:.3g} to {high:.3g})"


def simulators() -> Iterator[list[str]]:
    """Agreement and cost of simulated images."""
    casa = read("casa_agreement.json").values()
    for name, words in (("dirty_inner_half", "dirty cubes"), ("psf_inner_half", "psf")):
        yield [f"{words}, largest difference over the peak", "CASA", spread([f[name] for f in casa]), "0"]
    rms = [f["noise_rms_ratio"] for f in casa if "noise_rms_ratio" in f]
    yield ["noise", "CASA", spread(rms), "1"]
    pairs = read("casa_pairs.json")["position"]
    for name in ("recall", "precision"):
        p = pairs[name]
        yield [f"{name} of `detect` in its cubes and ours", "CASA", spread([p["fast"] / p["casa"]]), "1"]
    fields = read("wsclean_backend.json")["fields"].values()
    differences = [f["dirty_difference"] for f in fields]
    yield ["dirty images, difference over the peak", "WSClean", spread(differences), "0"]
    cost = [f["cost"]["fast"]["cpu_s"] / f["cost"]["wsclean"]["cpu_s"] for f in fields]
    yield ["processor seconds of dirty and CLEANed images", "WSClean", spread(cost), "below 1"]
    given = read("lofar_agreement.json")["given_their_baselines"]
    yield [
        "visibilities of the same baselines, rms difference",
        "WSClean",
        spread([given["visibilities_rms"]]),
        "0",
    ]
    yield ["dirty image of these", "WSClean", spread([given["dirty"]]), "0"]


def finders() -> Iterator[list[str]]:
    """Images with truth, and line cubes where another was run."""
    rows = [r for r in read("survey/results.json")["rows"] if r["quantity"] in ("Counts", "Seconds an image")]
    known = {(r["quantity"], r["kind"], r["bin"], r["method"]): r["value"] for r in rows}
    kinds = sorted({k for _, k, _, m in known if m != "faintsky"})
    for peer in ("pybdsf", "aegean"):
        for quantity, name, words, wish in (
            ("Counts", "found", "true sources found", "above 1"),
            ("Counts", "false", "false ones", "below 1"),
            ("Counts", "duplicates", "found twice", "below 1"),
            ("Seconds an image", "cpu", "processor seconds", "below 1"),
        ):  # fmt: skip
            both = [[known[quantity, k, name, m] for m in ("faintsky", peer)] for k in kinds]
            ratios = [ours / theirs for ours, theirs in both if theirs > 0]
            yield [f"{words}, six kinds of images", peer, spread(ratios), wish]
    lines = read("line_cubes/results.json")["rows"]
    for peer in sorted({r["method"] for r in lines} - {"faintsky"}):
        for quantity, wish in (("Completeness", "above 1"), ("False rows a cube", "below 1")):
            value = {
                (r["kind"], r["bin"], r["method"]): r["value"] for r in lines if r["quantity"] == quantity
            }
            ratios = [
                v / value[kind, name, peer]
                for (kind, name, method), v in value.items()
                if method == "faintsky" and value.get((kind, name, peer), 0) > 0
            ]
            if ratios:
                yield [f"{quantity.lower()}, HI-like cubes", peer, spread(ratios), wish]
    dda = read("denoise_speed.json")["runs"]
    for name, run in dda.items():
        if name != "dda":
            yield [
                f"processor seconds of `denoise` ({name})",
                "DDA",
                spread([run["cpu_over_dda"]]),
                "below 1",
            ]


def sizes() -> Iterator[list[str]]:
    """Memory and time of one command on larger and larger data."""
    rows = read("large.json")
    for r in sorted(rows, key=lambda r: (r["command"], r.get("channels", 1), r["side"], r["jobs"])):
        pixels = r["side"] ** 2 * r.get("channels", 1)
        size = f"{r['side']:,}²" + (f" × {r['channels']:,}" if r.get("channels", 1) > 1 else "")
        yield [
            f"`{r['command']}` {size}", str(r["jobs"]), f"{r['memory_gb']:.2f}",
            f"{r['cpu_seconds']:,.0f}",
            f"{1e6 * r['cpu_seconds'] / pixels:.2g}", f"{r['sources']:,}",
        ]  # fmt: skip


def main() -> None:
    """See above."""
    lines = ["# Benchmarks", "", "Made by `python -m benchmarks.report` of the files beside it.", ""]
    ratios = ["", "peer", "ours over theirs, or the difference", "wanted"]
    lines += ["## Simulated data", "", *table(ratios, list(simulators()))]
    lines += ["## Sources found", "", *table(ratios, list(finders()))]
    head = [
        "",
        "processes",
        "memory [GB]",
        "processor seconds",
        "µs a pixel or voxel",
        "sources",
    ]
    lines += ["## Growth with size", "", *table(head, list(sizes()))]
    (RESULTS / "report.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
