"""``faintsky evaluate alma``: methods on ALMA line cubes against the truth, in tables, figures, numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from faintsky.device import choose_device
from faintsky.errors import InputError
from faintsky.evaluation import figures, scoring, tables
from faintsky.evaluation.cubes import CubeSet, SimulatedSet, open_folder
from faintsky.evaluation.metrics import snr_edges
from faintsky.evaluation.runs import Find, Method, method_of, run_methods
from faintsky.evaluation.scoring import ALL, BRIGHT, Pairs, Row, Scored
from faintsky.io import OutputFolder, provenance, write_json

if TYPE_CHECKING:
    from faintsky.matching import Metrics

Progress = Callable[[int, int, str], None]

PRESETS = ("paper", "emitters", "empty")
"""Simulated where no data are given: the paper's cubes, the same without continuum, and empty ones."""
CURVE_RELIABILITY = 0.05
"""Catalogues down to this reliability make the curve of precision against recall."""
CURVE_CUBES = 40
"""Cubes of each set that are searched that deep, besides the search that the tables score."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_alma` found out.

    Parameters
    ----------
    out : pathlib.Path
        Folder with the tables, figures and numbers.
    rows : list of Row
        The main table.
    residuals : list of dict
        Residuals of the parameters.
    files : list of pathlib.Path
        What was written, catalogues apart.
    """

    out: Path
    rows: list[Row] = field(default_factory=list)
    residuals: list[dict[str, Any]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def find(self, method: str, cubes: str, criterion: str = "position", subset: str = ALL) -> Row:
        """One row of the main table; raises KeyError where there is none."""
        wanted = (method, cubes, criterion, subset)
        for row in self.rows:
            if (row.method, row.cubes, row.criterion, row.subset) == wanted:
                return row
        raise KeyError(wanted)

    def summary(self) -> dict[str, Any]:
        """The numbers that are asked for most, flat."""
        out: dict[str, Any] = {"out": str(self.out), "table": str(self.out / "table.md")}
        for r in self.rows:
            if r.criterion != "position":
                continue
            name = f"{r.method} on {r.cubes}"
            if r.metrics.n_true == 0:
                out[f"{name}: false sources a cube"] = tables.estimate(r.metrics.false_per_cube)
                continue
            name += "" if r.subset == ALL else f" ({r.subset})"
            out[f"{name}: precision"] = tables.estimate(r.metrics.precision)
            out[f"{name}: recall"] = tables.estimate(r.metrics.recall)
            out[f"{name}: completeness at S/N {scoring.SNR_ASKED:g}"] = tables.estimate(r.completeness)
        return out


def _methods(
    names: Sequence[str] | Mapping[str, Find], device: str, curves: bool
) -> tuple[list[Method], list[Method]]:
    """Methods for the tables, and those that search deeper for the curves of precision against recall."""
    if isinstance(names, Mapping):
        methods = [Method(name, find) for name, find in names.items()]
        return methods, []
    if isinstance(names, str):
        raise InputError("methods must be a sequence of names", 'give ("classical",)')
    if not names:
        raise InputError("no methods to evaluate", "give --methods classical")
    deep = [method_of(m, device, CURVE_RELIABILITY, CURVE_CUBES) for m in names] if curves else []
    return [method_of(m, device) for m in names], deep


def _sets(
    data: str | os.PathLike[str] | None, n: int | None, seed: int, presets: Sequence[str]
) -> list[CubeSet]:
    if data is not None:
        return [open_folder(Path(data), n)]
    number = 200 if n is None else n
    if number < 1:
        raise InputError("needs at least one cube", "give -n 1 or more")
    return [SimulatedSet(preset, tuple(range(number)), seed) for preset in presets]


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("faintsky", "numpy", "scipy", "astropy", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def evaluate_alma(
    out: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    methods: Sequence[str] | Mapping[str, Find] = ("classical",),
    n: int | None = None,
    seed: int = 0,
    preset: Sequence[str] = PRESETS,
    *,
    device: str = "cpu",
    jobs: int | None = 1,
    curves: bool = True,
    box_rule: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> Evaluation | dict[str, Any]:
    """Score methods on ALMA line cubes, one-to-one, with errors on every number.

    Parameters
    ----------
    out : path-like
        Folder for ``table.csv``, ``table.md``, ``residuals.csv``, ``results.json``, ``figures/*.png`` and the
        catalogues of every cube, by which an interrupted run goes on.
    data : path-like, optional
        Folder that ``faintsky simulate alma`` wrote; without it cubes are simulated.
    methods : sequence of str, or mapping of str to callable, optional
        Names or folders of models, or functions from `RadioCube` to a catalogue by name (picklable where
        ``jobs`` is above 1).
    n : int, optional
        Cubes of each set: by default all of ``data``, or 200 simulated ones.
    seed : int, optional
        Of simulated cubes and of the bootstraps.
    preset : sequence of str, optional
        Sets to simulate.
    device : str, optional
        Where models compute: ``cpu``, ``cuda`` or ``auto``.
    jobs : int, optional
        Processes, one thread each; None is one for each core.
    curves : bool, optional
        Also search the first cubes of each set down to low reliability, for precision against recall.
    box_rule : str, optional
        Rule of the bounding boxes where it is not to be the data set's.
    overwrite : bool, optional
        Replace another run's results in ``out``.
    dry_run : bool, optional
        Only say what would be done.
    progress : callable, optional
        Called with cubes done, cubes in all, and a word.
    command : str, optional
        Recorded.

    Returns
    -------
    Evaluation, or for a dry run a dict

    Raises
    ------
    InputError
        Data without truth, unknown models or presets, or ``out`` holds another run.
    """
    folder = Path(out)
    sets = _sets(data, n, seed, preset)
    shown, deep = _methods(methods, choose_device(device), curves)
    jobs = jobs or os.cpu_count() or 1
    config = {
        "data": None if data is None else str(Path(data).resolve()),
        "methods": [m.name for m in shown],
        "sets": {s.name: list(s.indices) for s in sets},
        "seed": seed,
        "curves": bool(deep),
        "box_rule": box_rule,
    }
    run = provenance(command=command, config=config, seed=seed)
    output = OutputFolder(folder, run, overwrite=overwrite, resumable=True)
    if dry_run:
        output.check()
        cubes = sum(len(s.indices) for s in sets)
        return {"out": str(folder), "cubes": cubes, "methods": ", ".join(m.name for m in shown), "jobs": jobs}
    with output:
        return evaluate_sets(
            folder, sets, shown, deep, seed=seed, jobs=jobs, box_rule=box_rule, run=run, progress=progress
        )


def evaluate_sets(
    out: Path,
    sets: Sequence[CubeSet],
    methods: Sequence[Method],
    deep: Sequence[Method] = (),
    *,
    seed: int = 0,
    jobs: int = 1,
    box_rule: str | None = None,
    run: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score any methods on any sets of cubes; `evaluate_alma` without the command line's conventions.

    Parameters
    ----------
    out : pathlib.Path
        An existing folder; catalogues that are in it already are used as they are.
    sets : sequence of CubeSet
        Cubes with truth.
    methods : sequence of Method
        For the tables.
    deep : sequence of Method, optional
        For the curves of precision against recall; ``methods`` where there are none.
    seed : int, optional
        Of the bootstraps.
    jobs, box_rule, progress
        As in `evaluate_alma`.
    run : mapping, optional
        Provenance, recorded with the results.
    """
    run_methods(sets, [*methods, *deep], out, jobs=jobs, box_rule=box_rule, progress=progress)
    scored = [scoring.load_scored(out, s, m) for s in sets for m in methods]
    traced = [scoring.load_scored(out, s, m) for s in sets for m in deep] or scored
    return _score(out, scored, traced, seed, run or {"seed": seed})


def _score(
    out: Path, scored: Sequence[Scored], traced: Sequence[Scored], seed: int, run: Mapping[str, Any]
) -> Evaluation:
    """Everything from catalogues to files."""
    rows = [row for s in scored for row in scoring.rows_of(s, seed)]
    curves = {s.label: scoring.curves_of(s) for s in scored}
    pairs = {s.label: p for s in scored if (p := scoring.pairs_of(s)) is not None}
    residuals = [r for s in scored if s.label in pairs for r in scoring.residual_rows(s, pairs[s.label])]
    with_truth = [s for s in traced if any(len(t) for t in s.truths)]
    traces = {s.label: scoring.precision_recall_of(s, seed=seed) for s in with_truth}
    write_json(
        out / "results.json",
        {
            "run": run,
            "versions": _versions(),
            "rows": [r.as_dict() for r in rows],
            "residuals": residuals,
            "curves": {
                label: {
                    "completeness": scoring.binned_dict(c.completeness),
                    "completeness_fit": None if c.fit is None else c.fit.__dict__,
                    "reliability": scoring.binned_dict(c.reliability),
                }
                for label, c in curves.items()
            },
            "precision_recall": {k: [scoring.flat_metrics(m) for m in v] for k, v in traces.items()},
        },
    )
    tables.write_csv([r.as_dict() for r in rows], out / "table.csv")
    tables.write_csv(residuals, out / "residuals.csv")
    (out / "table.md").write_text(_report(rows, residuals, run), encoding="utf-8")
    drawn = _figures(out / "figures", scored, curves, pairs, traces)
    written = [out / name for name in ("table.csv", "table.md", "residuals.csv", "results.json")]
    return Evaluation(out, rows, residuals, written + drawn)


def _report(rows: Sequence[Row], residuals: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in _versions().items())
    return "\n".join(
        [
            "# Evaluation on ALMA line cubes",
            "",
            "Errors: bootstrap over cubes. Every unmatched detection is a false positive. Definitions:"
            " docs/evaluation.md.",
            "",
            "## Detection",
            "",
            tables.detection_table(rows),
            "## Parameters of matched sources",
            "",
            "Found minus true, matched by position; fluxes relative. Bound: Cramér–Rao, with a continuum",
            "unknown in every pixel, or one that shares the source's shape.",
            "",
            tables.residual_table(residuals),
            f"Seed {run.get('seed')}; {versions}.",
            "",
        ]
    )


def _figures(
    folder: Path,
    scored: Sequence[Scored],
    curves: Mapping[str, scoring.Curves],
    pairs: Mapping[str, Pairs],
    traces: Mapping[str, Sequence[Metrics]],
) -> list[Path]:
    """Draw every figure and give its path; those of parameters one for each set of cubes."""
    sources = {s.label: s for s in scored if any(len(t) for t in s.truths)}
    drawn = []
    if sources:
        complete = {label: (curves[label].completeness, curves[label].fit) for label in sources}
        reliable = {label: curves[label].reliability for label in sources}
        picture = figures.completeness_and_reliability(complete, reliable, scoring.SNR_ASKED)
        drawn.append(figures.save(picture, folder / "completeness_reliability.png"))
    if traces:
        drawn.append(figures.save(figures.precision_recall(traces), folder / "precision_recall.png"))
    for name in dict.fromkeys(s.cubes for s in sources.values() if s.label in pairs):
        here = {s.method: pairs[s.label] for s in sources.values() if s.cubes == name and s.label in pairs}
        chosen = {method: p.select(p.isolated) for method, p in here.items()}
        residuals = {method: r for method, (r, _) in chosen.items()}
        snr = {method: s for method, (_, s) in chosen.items()}
        edges = snr_edges(np.concatenate(list(snr.values())), 8, low=4.0)
        drawn += [
            figures.save(picture, folder / f"{stem}_{name}.png")
            for stem, picture in (
                ("scatter", figures.scatter_against_bound(residuals, snr, edges)),
                (
                    "residuals",
                    figures.normalised_histograms(residuals, "bound", "residual / Cramér–Rao bound"),
                ),
                ("pulls", figures.normalised_histograms(residuals, "error", "residual / reported error")),
            )
        ]
    return drawn


__all__ = ["ALL", "BRIGHT", "PRESETS", "Evaluation", "evaluate_alma", "evaluate_sets"]
