"""Scores of catalogues of line cubes: precision, recall, completeness, residuals against bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from faintsky.arrays import Bool, Float
from faintsky.errors import DiskError, FaintskyError, InputError
from faintsky.evaluation import figures
from faintsky.evaluation.running import (
    TRUTH,
    Method,
    Rows,
    Scores,
    file_name,
    measured_cost,
    table_of,
    with_error,
)
from faintsky.evaluation.truth import Setting, judged_boxes, prepared_truth
from faintsky.grid import axial_difference
from faintsky.image import RadioCube
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
    from matplotlib.figure import Figure

SNR_ASKED = 7.0
"""Matched S/N at which the completeness is reported."""
SNR_BRIGHT = 8.0
"""Matched S/N above which isolated sources have a separate row."""
ALL = "all"
BRIGHT = f"isolated, S/N > {SNR_BRIGHT:g}"
FLAT = ("position2d", "iou2d")
"""Criteria for methods that use only the integrated image."""
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Reliabilities at which precision and recall are traced."""
LEAST_AXIS_RATIO = 1.2
"""Largest axis ratio of true sources of which the position angle is scored."""
UNITS = {
    "x": "pixel", "y": "pixel", "z": "channel", "dc_maj": "arcsec", "dc_min": "arcsec", "dc_pa": "deg",
    "fwhm_z": "channel", "flux": "relative",
}  # fmt: skip
"""Parameters that are compared, and units of their residuals."""
NO_RATIO = ("x", "y", "z")
"""Parameters with an arbitrary zero, for which relative errors are meaningless."""
KEPT = ("steps", "removed", "stages", "own_boxes")
"""Entries of a method's catalogue metadata that are kept."""


def write_table(table: Table, path: Path) -> None:
    """Write a table as ECSV in one step, with its columns unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as name:
        table.write(name, format="ascii.ecsv", delimiter=",")


def read_table(path: Path) -> Table:
    """Read what `write_table` wrote."""

    return Table.read(path, format="ascii.ecsv")


def of(table: Table, name: str) -> Float:
    """A column, ``[n]``; NaN if there is none."""
    return column(table, name) if name in table.colnames else np.full(len(table), np.nan)


def pair_residuals(truth: Table, found: Table, matching: Matching) -> dict[str, Float]:
    """Residuals of the matched pairs of one cube.

    Parameters
    ----------
    truth, found : Table
        Catalogues of the cube; the truth from `prepared_truth`.
    matching : Matching
        Matching of these tables.

    Returns
    -------
    dict of array
        For every name in `UNITS`: ``NAME`` (found minus true; relative to the true value for the flux),
        ``NAME_true``, ``NAME_error`` (as reported), ``NAME_bound`` and ``NAME_bound_shared``, each
        ``[pair]``; ``snr`` and ``isolated`` of the true sources. Unknown values, and angles that are not
        scored, are NaN.
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
    """Ratios of finite values to finite positive ones."""
    ok = np.isfinite(a) & np.isfinite(b) & (b > 0)
    return a[ok] / b[ok]


def _median(values: Float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def summarise_residuals(pairs: Mapping[str, Float], where: Bool) -> Rows:
    """A row for every parameter of `UNITS`, over the pairs for which ``where`` is true (``[pair]``).

    Columns: ``name``, ``unit``; ``n``, the number of finite residuals; their ``mean``, ``std`` and robust
    ``scatter`` with errors (for a Gaussian core ``1.17 / sqrt(n)`` of it); ``over_bound``, the robust scatter
    of residual over Cramér-Rao bound, at best 1, and ``median_bound``, both also for a ``shared`` continuum;
    ``pull_mean`` and ``pull_scatter`` of residual over reported error, 0 and 1 for correct errors; the
    fractions ``within_1``, ``10`` and ``20`` % of the true value, NaN for positions.
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
    """A method's catalogues of one set of cubes, with the truth.

    Parameters
    ----------
    method, cubes : str
        Names of the method and the set.
    truths, founds : list of Table
        Tables of each cube; the detections with the boxes of `judged_boxes`.
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
        """Read what `faintsky.evaluation.run_methods` wrote for one method and set.

        Parameters
        ----------
        scorer : CatalogScorer
            Knows the paths.
        out : pathlib.Path
            Folder of the evaluation.
        cubes : SampleSet
            The set.
        method : Method
            The method.

        Returns
        -------
        Scored
        """
        indices = method.seen_of(cubes)
        truths = [scorer.table(scorer.path(out, TRUTH, cubes.name, i)) for i in indices]
        founds = [scorer.table(scorer.path(out, method.name, cubes.name, i)) for i in indices]
        boxed = [judged_boxes(f, Setting.of(t.meta)) for t, f in zip(truths, founds, strict=True)]
        return cls(method.name, cubes.name, truths, boxed, indices)

    @cached_property
    def criteria(self) -> tuple[str, ...]:
        """The criteria that apply to the method: only those of the image if no detection has a z."""
        z = [column(f, "z") for f in self.founds if len(f)]
        return FLAT if z and not np.isfinite(np.concatenate(z)).any() else tuple(CRITERIA)

    @property
    def main(self) -> str:
        """The criterion for curves and residuals."""
        return self.criteria[0]

    @property
    def label(self) -> str:
        """Label in legends."""
        return f"{self.method}, {self.cubes}"

    def joined(self, name: str, found: bool = False) -> Float:
        """A column of all true or found sources in the order of the cubes, ``[n]``; NaN if missing."""
        return np.concatenate([np.empty(0), *(of(t, name) for t in (self.founds if found else self.truths))])

    def detected(self, criterion: str | None = None) -> Bool:
        """Whether each true source was found, by the main criterion or another, ``[n]``."""
        parts = [m.partner_of_true >= 0 for m in self.matchings[criterion or self.main]]
        return np.concatenate([np.zeros(0, dtype=bool), *parts])

    def real(self) -> Bool:
        """Whether each detection is matched to a true source by the main criterion, ``[n]``."""
        parts = [m.partner_of_found >= 0 for m in self.matchings[self.main]]
        return np.concatenate([np.zeros(0, dtype=bool), *parts])

    def pairs(self) -> dict[str, Float]:
        """`pair_residuals` of all cubes by the main criterion; empty if nothing was matched."""
        cubes = zip(self.truths, self.founds, self.matchings[self.main], strict=True)
        parts = [pair_residuals(t, f, m) for t, f, m in cubes if len(m.i_true)]
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} if parts else {}

    def rows(self, seed: int = 0) -> Rows:
        """Rows for every criterion, for all and for bright isolated sources."""
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
                head: dict[str, Any] = {"method": self.method, "cubes": self.cubes}
                head |= {"criterion": criterion, "subset": subset}
                head |= {"completeness": complete.value, "completeness_error": complete.error}
                head |= {"seconds": float(np.mean(seconds)), "seconds_error": float(np.std(seconds))}
                rows.append(head | summarise(np.array(counts), seed=seed).flat())
                if not len(snr):
                    return rows  # without true sources all criteria agree
        return rows

    def curves(self) -> tuple[Binned, CompletenessCurve | None, Binned]:
        """Completeness against matched S/N, its fit, and reliability against the reported S/N."""
        snr, reported = self.joined("snr"), self.joined("snr", found=True)
        _, fit = completeness_at(SNR_ASKED, snr, self.detected(), np.zeros(len(snr)), n_bootstrap=0)
        complete = binned_fraction(snr, self.detected(), snr_edges(snr))
        return complete, fit, binned_fraction(reported, self.real(), snr_edges(reported))

    def traced(self, seed: int) -> list[Metrics]:
        """Precision and recall by the main criterion at increasing thresholds, without empty ones."""
        points = metrics(self.truths, self.founds, self.main, THRESHOLDS, seed=seed)
        return [p for p in points if p.tp + p.fp > 0]


def binned_dict(binned: Binned) -> dict[str, Any]:
    """A binned fraction for JSON."""
    return asdict(binned) | {"centres": binned.centres}


COLUMNS = {
    "method": "method", "cubes": "set", "criterion": "criterion", "subset": "sources", "n_cubes": "cubes",
    "n_true": "true", "n_found": "found", "precision:.3f": "precision", "recall:.3f": "recall",
    "f1:.3f": "F1",
    "iou_2d:.3f": "IoU 2-D", "iou_z:.3f": "IoU z", "false_per_cube:.3f": "false per cube",
    "completeness:.3f": f"completeness at S/N {SNR_ASKED:g}", "seconds:.2f": "s per cube",
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
    """Scorer of detectors in cubes, of which the catalogues are kept.

    A method is a function of a `faintsky.RadioCube` that returns a catalogue, or an object with a
    ``catalog``.

    Parameters
    ----------
    box_rule : str, optional
        Rule of the bounding boxes; by default the data set's.
    """

    box_rule: str | None = None
    _tables: dict[Path, Table] = field(default_factory=dict, compare=False, repr=False)

    def table(self, path: Path) -> Table:
        """What `write_table` wrote; each file is read once, as reading takes longer than all scores."""
        if path not in self._tables:
            self._tables[path] = read_table(path)
        return self._tables[path]

    def path(self, out: Path, method: str, cases: str, index: int) -> Path:
        """See `Scorer.path`; here it is the catalogue of one cube."""
        return out / "catalogs" / file_name(method) / cases / f"{index:04d}.ecsv"

    def load(self, out: Path, cases: Any, index: int) -> tuple[RadioCube, Table]:
        """See `Scorer.load`; here a sample is a cube with its prepared truth."""
        cube, truth = cases.load(index)
        path = self.path(out, TRUTH, cases.name, index)
        return cube, read_table(path) if path.is_file() else self.prepare(cube, truth)

    def prepare(self, cube: RadioCube, truth: Table) -> Table:
        """The truth with all columns needed for the scores."""
        return prepared_truth(truth, cube, Setting.for_cube(cube, truth, self.box_rule))

    def keep(self, sample: tuple[RadioCube, Table], method: Method, file: Path) -> None:
        """See `Scorer.keep`; a method that fails on a cube has found nothing in it."""
        from faintsky.catalog import make_table

        cube, truth = sample
        _ = cube.data  # reading the file does not count as the method's time
        with measured_cost() as cost:
            try:
                found = method.run(cube)
            except (InputError, DiskError):
                raise
            except FaintskyError as error:
                found = make_table({}, meta={"steps": {f"failed: {error}": 1}})
        table = getattr(found, "catalog", found).copy()
        meta = {"steps": getattr(found, "steps", {}), **table.meta}
        # as a list, because the file would sort a mapping by its keys
        kept = {k: list(map(list, v.items())) if isinstance(v, dict) else v for k, v in meta.items()}
        spent = dict(zip(("seconds", "cpu_seconds", "memory_mb"), cost, strict=True))
        table.meta = {**spent, "method": method.name, **{k: kept[k] for k in KEPT if kept.get(k)}}
        self.describe(table, cube, Setting.of(truth.meta))
        write_table(table, file)

    def describe(self, table: Table, cube: RadioCube, setting: Setting) -> None:
        """Add to a method's catalogue, in place; here nothing, for subclasses.

        Parameters
        ----------
        table : Table
            The catalogue.
        cube : RadioCube
            The data.
        setting : Setting
            Properties of the cube.
        """

    def finish(self, out: Path, sample: tuple[RadioCube, Table], cases: Any, index: int) -> None:
        """See `Scorer.finish`; here it is the prepared truth."""
        path = self.path(out, TRUTH, cases.name, index)
        if not path.is_file():
            write_table(sample[1], path)

    def read(self, out: Path, sets: Sequence[Any], methods: Sequence[Method], deep: bool) -> list[Scored]:
        """All catalogues that were kept.

        Parameters
        ----------
        out, sets, methods
            As for `Scorer.score`.
        deep : bool
            Whether to read the deep methods, or the others.

        Returns
        -------
        list of Scored
        """
        pairs = [(s, m) for s in sets for m in methods if m.deep == deep and m.seen_of(s)]
        return [Scored.read(self, out, s, m) for s, m in pairs]

    def score(self, out: Path, sets: Sequence[Any], methods: Sequence[Method], seed: int) -> Scores:
        """See `Scorer.score`; the tables are ``table`` and ``residuals``."""
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
        """See `Scorer.figures`: precision against recall; completeness, scatter and pulls of each set."""
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
    """Precision, recall and completeness by the main criterion, as a flat mapping."""
    out: dict[str, Any] = {}
    flat = {r["method"] for r in rows} - {r["method"] for r in rows if r["criterion"] == "position"}

    def text(row: Mapping[str, Any], name: str) -> str:
        return with_error(row[name], row[f"{name}_error"])

    for r in rows:
        if r["criterion"] != ("position2d" if r["method"] in flat else "position"):
            continue
        name = f"{r['method']} on {r['cubes']}"
        if r["n_true"] == 0:
            out[f"{name}: false sources per cube"] = text(r, "false_per_cube")
            continue
        name += "" if r["subset"] == ALL else f" ({r['subset']})"
        for key, words in (("precision", ""), ("recall", ""), ("completeness", f" at S/N {SNR_ASKED:g}")):
            out[f"{name}: {key}{words}"] = text(r, key)
    return out
