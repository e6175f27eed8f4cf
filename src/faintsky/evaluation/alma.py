"""``faintsky evaluate alma``: methods on ALMA line cubes against the truth, in tables, figures, numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faintsky.errors import InputError
from faintsky.evaluation import scoring, tables
from faintsky.evaluation.alma_output import Numbers, numbers_of, write_files
from faintsky.evaluation.cubes import CubeSet, SimulatedSet, open_folder, shape_of
from faintsky.evaluation.runs import Find, Method, method_of, run_methods
from faintsky.evaluation.scoring import ALL, BRIGHT, Row
from faintsky.io import OutputFolder, provenance
from faintsky.models import load_model
from faintsky.system import Needs, choose_device, versions, worker_count

Progress = Callable[[int, int, str], None]

PRESETS = ("paper", "emitters", "empty")
"""Simulated where no data are given: the paper's cubes, the same without continuum, and empty ones."""
CURVE_RELIABILITY = 0.05
"""Catalogues down to this reliability make the curve of precision against recall."""
CURVE_CUBES = 40
"""Cubes of each set that are searched that deep by default, besides the search that the tables score."""
BEAM_PIXELS, SECONDS_OF_FIGURES, BYTES_OF_A_CATALOG, BYTES_OF_FIGURES = 8.0, 60.0, 2e4, 1e7
"""What the estimate of an evaluation's needs takes for granted."""


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
    numbers : Numbers
        All of it.
    """

    out: Path
    rows: list[Row] = field(default_factory=list)
    residuals: list[dict[str, Any]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    numbers: Numbers = field(default_factory=Numbers)

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
        flat = {r.method for r in self.rows} - {r.method for r in self.rows if r.criterion == "position"}
        for r in self.rows:
            if r.criterion != ("position2d" if r.method in flat else "position"):
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
    names: Sequence[str] | Mapping[str, Find], device: str, curves: int
) -> tuple[list[Method], list[Method]]:
    """Methods for the tables, and those that search deeper for the curves of precision against recall."""
    if isinstance(names, Mapping):
        methods = [Method(name, find) for name, find in names.items()]
        return methods, []
    if isinstance(names, str):
        raise InputError("methods must be a sequence of names", 'give ("classical",)')
    if not names:
        raise InputError("no methods to evaluate", "give --methods classical")
    for name in names:
        load_model(name, job="detect")
    deep = [method_of(m, device, CURVE_RELIABILITY, curves) for m in names] if curves else []
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


def _needs(sets: Sequence[CubeSet], methods: Sequence[Method], jobs: int) -> Needs:
    """As if every method took what our own takes, which few exceed."""
    from faintsky.detection import needs_of_search

    memory, seconds, files = 0.0, SECONDS_OF_FIGURES, 0
    for cubes in sets:
        n = len(cubes.indices)
        one = needs_of_search(shape_of(cubes), BEAM_PIXELS)
        runs = [n if m.most is None else min(n, m.most) for m in methods if m.sees(cubes)]
        memory = max(memory, one.memory)
        seconds += sum(runs) * one.seconds
        files += n + sum(runs)
    return Needs(memory, files * BYTES_OF_A_CATALOG + BYTES_OF_FIGURES, seconds, files, jobs)


def evaluate_alma(
    out: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    methods: Sequence[str] | Mapping[str, Find] = ("classical",),
    n: int | None = None,
    seed: int = 0,
    preset: Sequence[str] = PRESETS,
    *,
    device: str = "auto",
    jobs: int | None = 1,
    curves: int = CURVE_CUBES,
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
        Folder for ``table.csv``, ``table.md``, the other tables as CSV, ``results.json``, ``figures/*.png``
        and the catalogues of every cube, by which an interrupted run goes on.
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
    curves : int, optional
        So many cubes of each set are also searched down to low reliability, for precision against recall
        and the recall of a pure catalogue; 0 for none.
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
    jobs = worker_count(jobs)
    config = {
        "data": None if data is None else str(Path(data).resolve()),
        "methods": [m.name for m in shown],
        "sets": {s.name: list(s.indices) for s in sets},
        "seed": seed,
        "curves": curves if deep else 0,
        "box_rule": box_rule,
    }
    run = provenance(command=command, config=config, seed=seed)
    output = OutputFolder(folder, run, overwrite=overwrite, resumable=True)
    output.check()
    cubes = sum(len(s.indices) for s in sets)
    needs = _needs(sets, [*shown, *deep], min(jobs, cubes))
    if dry_run:
        return {"cubes": cubes, "methods": [m.name for m in shown]} | needs.summary(folder)
    needs.check(folder)
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
    scored = [scoring.load_scored(out, s, m) for s in sets for m in methods if m.sees(s)]
    traced = [scoring.load_scored(out, s, m) for s in sets for m in deep if m.sees(s)] or scored
    numbers = numbers_of(scored, traced, seed)
    files = write_files(
        out,
        numbers,
        scored,
        run or {"seed": seed},
        versions("faintsky", "numpy", "scipy", "astropy", "torch"),
    )
    return Evaluation(out, numbers.rows, numbers.residuals, files, numbers)


__all__ = ["ALL", "BRIGHT", "PRESETS", "Evaluation", "evaluate_alma", "evaluate_sets"]
