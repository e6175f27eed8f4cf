"""Ours, PyBDSF and Aegean on the same survey-like images: what is found, what is false, fluxes, errors, time.

    python -m benchmarks.survey [--out DIR] [--work DIR] [--kinds uniform,pairs] [--seeds 10]
        [--methods faintsky,pybdsf,aegean] [--again faintsky] [--peers-at 5.1,5.15]

Makes the images (`benchmarks.survey_images`), runs each method from file to file, in turn on each image, and
scores. What lies in the work folder is not made again, unless ``--again`` names the method. The peers'
threshold is the lowest, in steps of 0.05 sigma, at which they list no more on 20 images of noise than ours at
its default reliability, unless ``--peers-at`` gives one for each of them. Writes ``table.md``, ``.csv`` and
``results.json``.

True and found are paired one to one within 2.5 pixels (0.6 beams). A row without a partner is false, or a
duplicate within a beam of a source that has one. ``ideal`` is a point fit in known noise that lists what is
above 5 sigma. Scatter is 1.4826 times the median absolute deviation; outliers are pulls beyond 5. Differences
to the better peer are paired, source by source.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack
from scipy.spatial import cKDTree

from benchmarks.finders import METHODS, PEERS, SEED, read, run
from benchmarks.survey_images import BEAM, EXTENDED, KINDS, MEMBER, NEGATIVE, PIXEL, POINT, make
from faintsky.matching import Criterion, match, robust_scatter
from reproduction import common

EDGES = (5, 6, 8, 10, 15, 30, 100, 501)
"""Of the true S/N."""
MEASURED = (4, 5, 6, 8, 10, 15, 30)
FIRST, EMPTY, N_EMPTY = 111, 901, 20
"""Seeds: of the first image of a kind, and of noise alone."""
RULE = Criterion("survey", along_z=False, radius=2.5)
NEAR = BEAM / PIXEL
OWN = ("deep", "extended")
"""Kinds for questions to ours alone."""
PULLS = ("flux", "x", "y", "fwhm_maj")
"""The last of extended sources only: points have the beam's."""
OURS, LESS = METHODS[0], "ours less the better peer"
Row = dict[str, Any]


def score(truth: Table, found: Table) -> tuple[Table, dict[str, float]]:
    """What became of every true source, and the numbers of an image."""
    holes, truth = truth[truth["kind"] == NEGATIVE], truth[truth["kind"] < NEGATIVE]
    pairs = match(truth, found, RULE)
    mate, out = pairs.partner_of_true, truth["snr", "kind", "separation", "ratio"].copy()
    out["hit"] = hit = mate >= 0
    got = found[mate] if len(found) else Table(dict.fromkeys(found.colnames, np.full(len(truth), np.nan)))
    for name, true in zip(PULLS, ("flux", "x", "y", "fwhm")):
        error = np.where(np.asarray(got[f"{name}_err"]) > 0, got[f"{name}_err"], np.nan)
        out[f"pull_{name}"] = np.where(hit, (got[name] - truth[true]) / error, np.nan)
    for name in ("flux", "flux_deboosted"):
        out[name] = np.where(hit, got[name] / truth["flux"], np.nan)
    out["both"] = -1  # on a pair's first member
    for k in np.unique(truth["pair"][truth["kind"] == MEMBER]):
        members = np.flatnonzero(truth["pair"] == k)
        out["both"][members[0]] = hit[members].all() if len(members) == 2 else -1
    out["measured_snr"] = np.where(hit, got["snr"], np.nan)
    free, true, every = (
        np.stack([t["x"], t["y"]], axis=1) for t in (found[pairs.unmatched_found], truth, found)
    )
    double, out["split"], out["alone"] = np.zeros(len(free), dtype=bool), False, False
    if len(true) > 1:
        out["alone"] = (cKDTree(true).query(true, k=2)[0][:, 1] > 3 * NEAR) & (truth["kind"] == POINT)
    if hit.any() and len(free):
        double = cKDTree(true[hit]).query(free)[0] < NEAR
        out["split"] = cKDTree(free).query(true)[0] < NEAR
    n = {"found": len(found), "false": int((~double).sum()), "duplicates": int(double.sum())}
    n["positive on negative"] = 0
    if len(holes) and len(found):
        tree = cKDTree(np.stack([holes["x"], holes["y"]], axis=1))
        n["positive on negative"] = int((tree.query(every)[0] < 2 * RULE.radius).sum())
    return out, n


def ideal(snr: Any) -> tuple[float, float]:
    """Completeness of a point fit in known noise, and the flux bias that its cut makes."""
    draw = snr[:, None] + np.random.default_rng(0).normal(size=(len(snr), 400))
    kept = draw > SEED
    return float(kept.mean()), float(np.median((draw / snr[:, None])[kept])) if kept.any() else np.nan


def binned(t: Table, name: str, edges: tuple[int, ...]) -> Iterator[tuple[str, Table]]:
    """The bins that hold anything: their name, and the rows."""
    for lo, hi in pairwise(edges):
        inside = t[(t[name] >= lo) & (t[name] < hi)]
        if len(inside):
            yield f"S/N {lo}-{hi}", inside


def share(hit: Any) -> Row:
    """Part of true values, its binomial error, and of how many."""
    part = float(np.mean(hit))
    return {"value": part, "error": float(np.sqrt(part * (1 - part) / len(hit))), "n": len(hit)}


def median(values: Any) -> Row:
    """Median of the finite values, its error, and their number."""
    v = np.asarray(values)[np.isfinite(values)]
    if not len(v):
        return {"value": np.nan, "error": np.nan, "n": 0}
    return {"value": float(np.median(v)), "error": 1.253 * robust_scatter(v) / np.sqrt(len(v)), "n": len(v)}


def less(ours: Any, *peers: Any) -> Row:
    """Completeness of the same sources less that of the better peer, and the paired error."""
    d = np.asarray(ours, dtype=float) - max((np.asarray(p, dtype=float) for p in peers), key=np.mean)
    return {"value": float(d.mean()), "error": float(d.std() / np.sqrt(len(d))), "n": len(d)}


def rows_of(t: Table, images: list[dict[str, float]]) -> Iterator[tuple[str, str, Row]]:
    """Quantity, bin and value of everything that is measured of a method on a kind of image."""
    for name in images[0]:
        each = [float(n[name]) for n in images]
        if name in ("wall", "cpu"):
            yield "Seconds an image", name, median(each)
        else:  # the error is that of a Poisson process
            yield "Counts", name, {"value": sum(each), "error": sum(each) ** 0.5, "n": len(each)}
    points = t[t["kind"] == POINT]
    for name, q in binned(points, "snr", EDGES):
        yield "Completeness of points", name, share(q["hit"])
        yield "Flux over true flux, points", name, median(q["flux"])
    for flux in ("flux", "flux_deboosted"):
        for name, q in binned(points, "measured_snr", MEASURED):
            yield f"{flux} over true flux by measured S/N", name, median(q[flux])
    for kind, what in ((POINT, "points"), (EXTENDED, "extended")):
        for name, q in binned(t[t["kind"] == kind], "snr", (5, 8, 501)):
            for pull in PULLS if kind == EXTENDED else PULLS[:-1]:
                v = np.asarray(q[f"pull_{pull}"])[np.isfinite(q[f"pull_{pull}"])]
                if len(v):
                    scatter = robust_scatter(v)  # its error is that of a Gaussian's median deviation
                    row = {"value": scatter, "error": 1.17 * scatter / np.sqrt(len(v)), "n": len(v)}
                    yield f"Pulls of {what}: scatter", f"{pull}, {name}", row
                    yield f"Pulls of {what}: median", f"{pull}, {name}", median(v)
                    yield f"Pulls of {what}: outliers", f"{pull}, {name}", share(np.abs(v) > 5)
    alone, members = t[t["alone"] & t["hit"]], t[t["kind"] == MEMBER]
    if len(alone):
        yield "Single sources split", "", share(alone["split"])
    for apart, ratio in sorted({(float(r["separation"]), float(r["ratio"])) for r in members}):
        cell = members[(members["separation"] == apart) & (members["ratio"] == ratio)]
        yield "Pairs split", f"{apart:g} beams, 1:{1 / ratio:g}", share(cell["both"][cell["both"] >= 0])


def beside(tables: dict[str, Table]) -> Iterator[tuple[str, str, str, Row]]:
    """The ideal filter, and ours less the better peer: method, quantity, bin, value."""
    points = {m: t[t["kind"] == POINT] for m, t in tables.items()}
    bins = {m: dict(binned(t, "snr", EDGES)) for m, t in points.items()}
    for name, q in next(iter(bins.values())).items():
        full, bias = ideal(np.asarray(q["snr"]))
        yield "ideal", "Completeness of points", name, {"value": full, "error": np.nan, "n": len(q)}
        yield "ideal", "Flux over true flux, points", name, {"value": bias, "error": np.nan, "n": len(q)}
        if set(METHODS) <= set(tables):
            yield LESS, "Completeness of points", name, less(*(bins[m][name]["hit"] for m in METHODS))


class Bench:
    """Images and catalogues in a work folder."""

    def __init__(self, work: Path, again: list[str]) -> None:
        self.work, self.again, self.done = work, again, set[Path]()

    def image(self, kind: str, seed: int) -> Path:
        """An image's folder."""
        folder = self.work / kind / str(seed)
        if not (folder / "survey.fits").exists():
            make(folder, seed, **KINDS[kind])
        return folder

    def catalogue(self, kind: str, seed: int, method: str, threshold: float) -> tuple[Table, Row]:
        """A method's catalogue of an image, and its seconds."""
        image = self.image(kind, seed) / "survey.fits"
        stem = image.with_name(method if method == OURS else f"{method}_{threshold:.2f}")
        again = method in self.again and stem not in self.done
        self.done.add(stem)
        spent = run(method, image, stem, seed=threshold, again=again)
        return read(stem, image), spent

    def false(self, method: str, threshold: float = SEED) -> int:
        """How many rows a method has in all on noise alone."""
        n = sum(len(self.catalogue("empty", EMPTY + i, method, threshold)[0]) for i in range(N_EMPTY))
        print(f"{method} at {threshold:.2f} sigma: {n} on noise", flush=True)
        return n

    def tuned(self, peer: str, at_most: int) -> float:
        """The lowest threshold with no more false sources than ours, by halving the range."""
        low, high = 80, 120  # of 0.05 sigma
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.false(peer, middle / 20) <= at_most else (middle, high)
        return high / 20


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    names = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--out", type=Path, default=common.BENCHMARKS / "survey")
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_survey"))
    parser.add_argument("--kinds", type=names, default=[k for k in KINDS if k not in ("clouds", "empty")])
    parser.add_argument("--methods", type=names, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=FIRST)
    parser.add_argument("--again", type=names, default=[])
    parser.add_argument("--peers-at", type=lambda text: [float(t) for t in text.split(",")])
    o = parser.parse_args()
    bench, peers = Bench(o.work, o.again), [m for m in o.methods if m in PEERS]
    at, noise = dict.fromkeys(METHODS, SEED), {}
    at |= dict(zip(peers, o.peers_at or (), strict=bool(o.peers_at)))
    if OURS in o.methods and peers:
        noise[OURS] = bench.false(OURS)
        if not o.peers_at:
            at |= {peer: bench.tuned(peer, noise[OURS]) for peer in peers}
        noise |= {peer: bench.false(peer, at[peer]) for peer in peers}
    rows: list[Row] = []
    for kind in o.kinds:
        methods = [m for m in o.methods if m == OURS or kind not in OWN]
        tables: dict[str, list[Table]] = defaultdict(list)
        counts: dict[str, list[Row]] = defaultdict(list)
        for seed in range(o.first_seed, o.first_seed + o.seeds):
            common.say(seed - o.first_seed, o.seeds, kind)
            truth = Table.read(bench.image(kind, seed) / "truth.ecsv")
            for method in methods:
                found, spent = bench.catalogue(kind, seed, method, at[method])
                table, n = score(truth, found)
                tables[method].append(table)
                counts[method].append(n | spent)
        pooled = {m: vstack(t, metadata_conflicts="silent") for m, t in tables.items()}
        numbers = [(m, *row) for m in methods for row in rows_of(pooled[m], counts[m])]
        rows += [
            {"quantity": what, "kind": kind, "bin": name, "method": m, **row}
            for m, what, name, row in [*numbers, *beside(pooled)]
        ]
    o.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "images a kind": o.seeds,
        "thresholds": {p: at[p] for p in peers},
        f"on {N_EMPTY} of noise": noise,
    }
    (o.out / "results.json").write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")
    with (o.out / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (o.out / "table.md").write_text(f"# Survey-like images\n\n{json.dumps(facts)}\n" + markdown(rows))


def markdown(rows: list[Row]) -> str:
    """A table for each quantity: a line for each bin, a column for each method."""
    tables: dict[str, dict[tuple[str, str], dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for r in rows:
        digits = 0 if r["quantity"] == "Counts" else 1 if r["quantity"].startswith("Seconds") else 3
        text = f"{r['value']:.{digits}f}" + (f" ± {r['error']:.{digits}f}" if np.isfinite(r["error"]) else "")
        cells = tables[r["quantity"]][r["kind"], r["bin"]]
        cells.setdefault("n", str(r["n"]))
        cells[r["method"]] = text
    lines: list[str] = []
    for title, table in tables.items():
        head = list(dict.fromkeys(name for cells in table.values() for name in cells))
        lines += [
            "",
            f"## {title}",
            "",
            "| kind | | " + " | ".join(head) + " |",
            "|---" * (len(head) + 2) + "|",
        ]
        lines += ["| " + " | ".join([*k, *(c.get(h, "") for h in head)]) + " |" for k, c in table.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
