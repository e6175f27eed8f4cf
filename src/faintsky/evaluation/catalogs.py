"""Scores of catalogues of line cubes: precision, recall, completeness, residuals beside what is possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import DiskError, FaintskyError, InputError
from faintsky.evaluation import figures
from faintsky.evaluation.running import TRUTH, Method, Rows, Scores, measured, plain
from faintsky.evaluation.tables import table_of, with_error
from faintsky.evaluation.truth import Setting, judged_boxes, prepared_truth
from faintsky.grid import axial_difference
from faintsky.matching import (
    CRITERIA,
    Binned,
    CompletenessCurve,
    Matching,
    Metrics,
    binned_fraction,
    column,
    completeness_at,
    match,
    metrics,
    robust_scatter,
    snr_edges,
    summarise,
    tally,
)
from faintsky.system import replacing

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

    from faintsky.image import RadioCube

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

SNR_ASKED = 7.0
"""Matched S/N at which the completeness is reported."""
SNR_BRIGHT = 8.0
"""Isolated sources above this matched S/N have rows of their own."""
ALL = "all"
BRIGHT = f"isolated, S/N > {SNR_BRIGHT:g}"
FLAT = ("position2d", "iou2d")
"""Criteria for methods that see the integrated image only."""
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Reliabilities at which precision and recall are traced."""
LEAST_AXIS_RATIO = 1.2
"""Position angles of rounder true sources are not judged."""
UNITS = {
    "x": "pixel", "y": "pixel", "z": "channel", "dc_maj": "arcsec", "dc_min": "arcsec", "dc_pa": "deg",
    "fwhm_z": "channel", "flux": "relative",
}  # fmt: skip
"""What is compared, and in which unit its residual is."""
NO_RATIO = ("x", "y", "z")
"""Their zero is arbitrary, so that a relative error means nothing."""
KEPT = ("steps", "removed", "stages", "own_boxes")
"""What a method says of its run in its catalogue's metadata that is kept."""


def write_table(table: Table, path: Path) -> None:
    """Write one ECSV file in one step, its columns as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as name:
        table.write(name, format="ascii.ecsv", delimiter=",")


def read_table(path: Path) -> Table:
    """Read what `write_table` wrote."""
    from astropy.table import Table

    return Table.read(path, format="ascii.ecsv")


def of(table: Table, name: str) -> Float:
    """A column, or NaN where there is none, ``[n]``."""
    return column(table, name) if name in table.colnames else np.full(len(table), np.nan)


def pair_residuals(truth: Table, found: Table, matching: Matching) -> dict[str, Float]:
    """Residuals of the matched pairs of one cube.

    Parameters
    ----------
    truth, found : Table
        Catalogues of the cube, the truth as `prepared_truth` makes it.
    matching : Matching
        Of these tables.

    Returns
    -------
    dict of array
        For every name in `UNITS`: ``NAME`` (found minus true; relative to the true value for the flux),
        ``NAME_true``, ``NAME_error`` (as reported), ``NAME_bound`` and ``NAME_bound_shared``, each
        ``[pair]``; ``snr`` and ``isolated`` of the true sources. Where something is not known, or an angle
        is not judged, NaN.
    """
    t, f = truth[matching.i_true], found[matching.i_found]
    out = {"snr": of(t, "snr"), "isolated": of(t, "isolated")}
    for name in UNITS:
        true, error = of(t, name), of(f, f"{name}_err")
        value = of(f, name) - true
        if name == "flux":
            value, error = of(f, name) / true - 1.0, error / np.abs(true)
        elif name == "dc_pa":
            judged = of(t, "dc_maj") > LEAST_AXIS_RATIO * of(t, "dc_min")
            value = np.where(judged, axial_difference(of(f, name), true), np.nan)
        out |= {name: value, f"{name}_true": true, f"{name}_error": error}
        out |= {f"{name}_{bound}": of(t, f"{name}_{bound}") for bound in ("bound", "bound_shared")}
    return out


def ratio_of(a: Float, b: Float) -> Float:
    """Finite values over finite positive ones."""
    ok = np.isfinite(a) & np.isfinite(b) & (b > 0)
    return a[ok] / b[ok]


def _median(values: Float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def summarise_residuals(pairs: Mapping[str, Float], where: Bool) -> Rows:
    """A row for every parameter of `UNITS`, over the pairs ``where`` is true (``[pair]``).

    ``name``, ``unit``; ``n`` finite residuals, their ``mean``, ``std`` and robust ``scatter``, with errors
    (Gaussian core: ``1.17 / sqrt(n)`` of it); ``over_bound``, the robust scatter of residual over Cramér-Rao
    bound, 1 being the best there is, and ``median_bound``, both also for a ``shared`` continuum;
    ``pull_mean``, ``pull_scatter`` of residual over reported error, 0 and 1 where errors are right; shares
    ``within_1``, ``10``, ``20`` % of the true value, NaN for a position.
    """
    rows: Rows = []
    for name, unit in UNITS.items():
        keep = np.isfinite(pairs[name]) & where
        r, true, error, bound, shared = (
            pairs[name + s][keep] for s in ("", "_true", "_error", "_bound", "_bound_shared")
        )
        n, nan, scatter, pulls = len(r), float("nan"), robust_scatter(r), ratio_of(r, error)
        relative = np.abs(r) if unit == "relative" else np.abs(r) / np.where(true == 0, np.nan, np.abs(true))
        row: dict[str, Any] = {"name": name, "unit": unit, "n": n}
        row |= {
            "mean": float(r.mean()) if n else nan, "mean_error": float(r.std() / np.sqrt(n)) if n else nan,
            "std": float(r.std()) if n else nan, "scatter": scatter,
            "scatter_error": 1.17 * scatter / np.sqrt(n) if n else nan,
            "over_bound": robust_scatter(ratio_of(r, bound)), "median_bound": _median(bound),
            "pull_mean": _median(pulls), "pull_scatter": robust_scatter(pulls),
        }  # fmt: skip
        for p in (1, 10, 20):
            row[f"within_{p}"] = float(np.mean(relative < p / 100)) if n and name not in NO_RATIO else nan
        row["over_bound_shared"] = robust_scatter(ratio_of(r, shared))
        rows.append(row | {"median_bound_shared": _median(shared)})
    return rows


@dataclass
class Scored:
    """A method's catalogues of one set of cubes, beside the truth.

    Parameters
    ----------
    method, cubes : str
        Names of the method and the set.
    truths, founds : list of Table
        For each cube; the detections with the boxes they are judged by.
    indices : tuple of int, optional
        Numbers of the cubes.
    """

    method: str
    cubes: str
    truths: list[Table]
    founds: list[Table]
    indices: tuple[int, ...] = ()
    matchings: dict[str, list[Matching]] = field(init=False)

    def __post_init__(self) -> None:
        self.matchings = {
            name: [match(t, f, rule) for t, f in zip(self.truths, self.founds, strict=True)]
            for name, rule in CRITERIA.items()
        }

    @classmethod
    def read(cls, scorer: CatalogScorer, out: Path, cubes: Any, method: Method) -> Scored:
        """What `faintsky.evaluation.run_methods` left of one method and set."""
        indices = method.seen_of(cubes)
        truths = [read_table(scorer.path(out, TRUTH, cubes.name, i)) for i in indices]
        founds = [read_table(scorer.path(out, method.name, cubes.name, i)) for i in indices]
        boxed = [judged_boxes(f, Setting.of(t.meta)) for t, f in zip(truths, founds, strict=True)]
        return cls(method.name, cubes.name, truths, boxed, indices)

    @cached_property
    def criteria(self) -> tuple[str, ...]:
        """The criteria by which the method can be judged: in the image alone where no detection has a z."""
        z = [column(f, "z") for f in self.founds if len(f)]
        return FLAT if z and not np.isfinite(np.concatenate(z)).any() else tuple(CRITERIA)

    @property
    def main(self) -> str:
        """The criterion of curves and residuals."""
        return self.criteria[0]

    @property
    def label(self) -> str:
        """For legends."""
        return f"{self.method}, {self.cubes}"

    def joined(self, name: str, found: bool = False) -> Float:
        """A column of all true, or found, sources in the order of the cubes, ``[n]``; NaN without one."""
        return np.concatenate([np.empty(0), *(of(t, name) for t in (self.founds if found else self.truths))])

    def detected(self, criterion: str | None = None) -> Bool:
        """Whether each true source was found, by the main criterion or another, ``[n]``."""
        parts = [m.partner_of_true >= 0 for m in self.matchings[criterion or self.main]]
        return np.concatenate([np.zeros(0, dtype=bool), *parts])

    def real(self) -> Bool:
        """Whether each detection is a true source by the main criterion, ``[n]``."""
        parts = [m.partner_of_found >= 0 for m in self.matchings[self.main]]
        return np.concatenate([np.zeros(0, dtype=bool), *parts])

    def pairs(self) -> dict[str, Float]:
        """`pair_residuals` of all cubes by the main criterion; empty where nothing was matched."""
        cubes = zip(self.truths, self.founds, self.matchings[self.main], strict=True)
        parts = [pair_residuals(t, f, m) for t, f, m in cubes if len(m.i_true)]
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} if parts else {}

    def rows(self, seed: int = 0) -> Rows:
        """Every criterion, all sources and the bright isolated ones; with time and memory a cube."""
        seconds = [float(f.meta["seconds"]) for f in self.founds]
        snr, isolated = self.joined("snr"), self.joined("isolated") > 0.5
        cube = np.repeat(np.arange(len(self.truths)), [len(t) for t in self.truths])
        bright = [(of(t, "isolated") > 0.5) & (of(t, "snr") > SNR_BRIGHT) for t in self.truths]
        rows: Rows = []
        for criterion in self.criteria:
            found = self.detected(criterion)
            for subset in (ALL, BRIGHT):
                members = bright if subset == BRIGHT else [np.ones(len(t), dtype=bool) for t in self.truths]
                if subset == BRIGHT and not any(m.any() for m in members):
                    continue
                counts = [tally(m, k) for m, k in zip(self.matchings[criterion], members, strict=True)]
                use = isolated if subset == BRIGHT else np.ones(len(snr), dtype=bool)
                complete, _ = completeness_at(SNR_ASKED, snr[use], found[use], cube[use], seed=seed)
                head: dict[str, Any] = {
                    "method": self.method,
                    "cubes": self.cubes,
                    "criterion": criterion,
                    "subset": subset,
                }
                head |= {"completeness": complete.value, "completeness_error": complete.error}
                head |= {"seconds": float(np.mean(seconds)), "seconds_error": float(np.std(seconds))}
                rows.append(head | summarise(np.array(counts), seed=seed).flat())
                if not len(snr):
                    return rows  # without true sources every criterion says the same
        return rows

    def curves(self) -> tuple[Binned, CompletenessCurve | None, Binned]:
        """Completeness against matched S/N, its fit, and reliability against the reported S/N."""
        snr, reported = self.joined("snr"), self.joined("snr", found=True)
        _, fit = completeness_at(SNR_ASKED, snr, self.detected(), np.zeros(len(snr)), n_bootstrap=0)
        complete = binned_fraction(snr, self.detected(), snr_edges(snr))
        return complete, fit, binned_fraction(reported, self.real(), snr_edges(reported))

    def traced(self, seed: int) -> list[Metrics]:
        """Precision and recall by the main criterion as the reliability threshold rises; empty ones apart."""
        points = metrics(self.truths, self.founds, self.main, THRESHOLDS, seed=seed)
        return [p for p in points if p.tp + p.fp > 0]


def binned_dict(binned: Binned) -> dict[str, Any]:
    """For JSON."""
    return asdict(binned) | {"centres": binned.centres}


COLUMNS = {
    "method": "method", "cubes": "set", "criterion": "criterion", "subset": "sources", "n_cubes": "cubes",
    "n_true": "true", "n_found": "found", "precision:.3f": "precision", "recall:.3f": "recall",
    "f1:.3f": "F1",
    "iou_2d:.3f": "IoU 2-D", "iou_z:.3f": "IoU z", "false_per_cube:.3f": "false a cube",
    "completeness:.3f": f"completeness at S/N {SNR_ASKED:g}", "seconds:.2f": "s a cube",
}  # fmt: skip
RESIDUALS = {
    "method": "method", "cubes": "set", "subset": "sources", "name": "parameter", "unit": "unit", "n": "n",
    "mean": "mean", "std": "std", "scatter": "robust scatter", "over_bound:.2f": "scatter / bound",
    "over_bound_shared:.2f": "scatter / bound (shared continuum)", "pull_mean:.2f": "pull mean",
    "pull_scatter:.2f": "pull scatter", "within_1:.2f": "within 1 %", "within_10:.2f": "10 %",
    "within_20:.2f": "20 %",
}  # fmt: skip


@dataclass(frozen=True)
class CatalogScorer:
    """What is kept of a detector's answer to a cube: its catalogue.

    A method is a function of a `faintsky.RadioCube` that gives a catalogue, or something that has one as
    ``catalog``.

    Parameters
    ----------
    box_rule : str, optional
        Rule of the bounding boxes where it is not to be the data set's.
    """

    box_rule: str | None = None

    def path(self, out: Path, method: str, cases: str, index: int) -> Path:
        """Where the catalogue of one cube lies."""
        return out / "catalogs" / plain(method) / cases / f"{index:04d}.ecsv"

    def load(self, out: Path, cases: Any, index: int) -> tuple[RadioCube, Table]:
        """A cube with its prepared truth."""
        cube, truth = cases.load(index)
        path = self.path(out, TRUTH, cases.name, index)
        return cube, read_table(path) if path.is_file() else self.prepare(cube, truth)

    def prepare(self, cube: RadioCube, truth: Table) -> Table:
        """The truth with everything that scores need."""
        return prepared_truth(truth, cube, Setting.for_cube(cube, truth, self.box_rule))

    def keep(self, sample: tuple[RadioCube, Table], method: Method, file: Path) -> None:
        """Write a method's catalogue; one that fails on a cube has found nothing there."""
        from faintsky.catalog import make_table

        cube, truth = sample
        _ = cube.data  # reading the file is not the method's time
        with measured() as cost:
            try:
                found = method.run(cube)
            except (InputError, DiskError):
                raise
            except FaintskyError as error:
                found = make_table({}, meta={"steps": {f"failed: {error}": 1}})
        table = getattr(found, "catalog", found).copy()
        meta = {"steps": getattr(found, "steps", {}), **table.meta}
        # the file would sort a mapping by its keys, and the order of the steps is theirs
        kept = {k: list(map(list, v.items())) if isinstance(v, dict) else v for k, v in meta.items()}
        spent = dict(zip(("seconds", "cpu_seconds", "memory_mb"), cost, strict=True))
        table.meta = {**spent, "method": method.name, **{k: kept[k] for k in KEPT if kept.get(k)}}
        self.describe(table, cube, Setting.of(truth.meta))
        write_table(table, file)

    def describe(self, table: Table, cube: RadioCube, setting: Setting) -> None:
        """Add to a method's catalogue, in place; nothing here."""

    def finish(self, out: Path, sample: tuple[RadioCube, Table], cases: Any, index: int) -> None:
        """Write the prepared truth."""
        path = self.path(out, TRUTH, cases.name, index)
        if not path.is_file():
            write_table(sample[1], path)

    def read(self, out: Path, sets: Sequence[Any], methods: Sequence[Method], deep: bool) -> list[Scored]:
        """Everything that was kept, of the deep methods or the others."""
        pairs = [(s, m) for s in sets for m in methods if m.deep == deep and m.seen_of(s)]
        return [Scored.read(self, out, s, m) for s, m in pairs]

    def score(self, out: Path, sets: Sequence[Any], methods: Sequence[Method], seed: int) -> Scores:
        """The tables ``table`` and ``residuals``, curves, and precision against recall."""
        shown = self.read(out, sets, methods, deep=False)
        rows = [row for s in shown for row in s.rows(seed)]
        residuals: Rows = []
        for s in shown:
            pairs, head = s.pairs(), {"method": s.method, "cubes": s.cubes}
            bright = (pairs["isolated"] > 0.5) & (pairs["snr"] > SNR_BRIGHT) if pairs else np.zeros(0, bool)
            for subset, where in ((ALL, np.ones(len(bright), dtype=bool)), (BRIGHT, bright)):
                if where.any():
                    own = {**head, "subset": subset}
                    residuals += [own | row for row in summarise_residuals(pairs, where)]
        traced = self.read(out, sets, methods, deep=True) or shown
        results: dict[str, Any] = {"curves": {}}
        for s in shown:
            complete, fit, reliable = s.curves()
            results["curves"][s.label] = {
                "completeness": binned_dict(complete), "reliability": binned_dict(reliable),
                "completeness_fit": None if fit is None else asdict(fit),
            }  # fmt: skip
        results["precision_recall"] = {
            s.label: [p.flat() for p in s.traced(seed)] for s in traced if len(s.joined("snr"))
        }
        report = [
            "# Evaluation on line cubes", "",
            "Errors: bootstrap over cubes. Every unmatched detection is a false positive. Definitions:"
            " docs/evaluation.md.", "",
            "## Detection", "", table_of(rows, COLUMNS),
            "## Parameters of matched sources", "",
            "Found minus true, matched by position; fluxes relative. Bound: Cramér–Rao, with a continuum",
            "unknown in every pixel, or one that shares the source's shape.", "",
            table_of(residuals, RESIDUALS),
        ]  # fmt: skip
        return Scores(rows, {"residuals": residuals}, results, summary_of(rows), report)

    def figures(
        self, out: Path, sets: Sequence[Any], methods: Sequence[Method], scores: Scores
    ) -> Iterator[tuple[str, Figure]]:
        """Precision against recall of all; of every set completeness, scatter and pulls."""
        traces = scores.results["precision_recall"]
        if traces:
            yield "precision_recall", figures.precision_recall(traces)
        shown = [s for s in self.read(out, sets, methods, deep=False) if len(s.joined("snr"))]
        for name in dict.fromkeys(s.cubes for s in shown):
            here = {s.method: s for s in shown if s.cubes == name}
            curves = {method: s.curves() for method, s in here.items()}
            yield f"completeness_{name}", figures.completeness_and_reliability(curves, SNR_ASKED)
            every = {m: p for m, s in here.items() if s.main == "position" and (p := s.pairs())}
            alone = {m: {k: v[p["isolated"] > 0.5] for k, v in p.items()} for m, p in every.items()}
            if alone:
                yield f"scatter_{name}", figures.scatter_against_bound(alone)
                yield f"pulls_{name}", figures.pulls(alone)


def summary_of(rows: Rows) -> dict[str, Any]:
    """Precision, recall and completeness by the main criterion, flat."""
    out: dict[str, Any] = {}
    flat = {r["method"] for r in rows} - {r["method"] for r in rows if r["criterion"] == "position"}

    def text(row: Mapping[str, Any], name: str) -> str:
        return with_error(row[name], row[f"{name}_error"])

    for r in rows:
        if r["criterion"] != ("position2d" if r["method"] in flat else "position"):
            continue
        name = f"{r['method']} on {r['cubes']}"
        if r["n_true"] == 0:
            out[f"{name}: false sources a cube"] = text(r, "false_per_cube")
            continue
        name += "" if r["subset"] == ALL else f" ({r['subset']})"
        for key, words in (("precision", ""), ("recall", ""), ("completeness", f" at S/N {SNR_ASKED:g}")):
            out[f"{name}: {key}{words}"] = text(r, key)
    return out
