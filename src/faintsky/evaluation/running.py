"""Methods run on labelled samples in parallel processes; an interrupted run can be resumed.

A *set* has a ``name``, ``indices`` and ``load(index)``, which returns a sample with its truth. It is small,
so that it can be sent to another process. A *method* is a function of a sample. A *scorer* writes the
relevant part of a method's answer to a file, and makes numbers, tables and figures from these files.
"""

from __future__ import annotations

import csv
import math
import os
import re
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from faintsky.errors import InputError
from faintsky.io import write_json
from faintsky.options import Progress
from faintsky.system import LOCAL, replacing, run_tasks, versions
from faintsky.system.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Method:
    """A method that is scored.

    Parameters
    ----------
    name : str
        Name in tables and folders.
    run : callable
        Function of a cube or a field; it must be picklable for several processes.
    most : int, optional
        Most samples of a set on which it is run.
    sets : tuple of str, optional
        Names of the sets on which it is run; by default all.
    deep : bool, optional
        Whether its answers are used only for curves over its threshold.
    """

    name: str
    run: Callable[[Any], Any]
    most: int | None = None
    sets: tuple[str, ...] | None = None
    deep: bool = False

    def seen_of(self, cases: Any) -> tuple[int, ...]:
        """Numbers of the samples on which it is run."""
        return cases.indices[: self.most] if self.sets is None or cases.name in self.sets else ()


def file_name(name: str) -> str:
    """A name that is valid in a file system."""
    return re.sub(r"[^\w.+@-]+", "_", name).strip("_") or "_"


@dataclass
class Scores:
    """Results of a scorer.

    Attributes
    ----------
    rows : list of dict
        The main table.
    tables : dict
        Further tables, each written as ``NAME.csv``.
    results : dict
        Further entries of ``results.json``.
    summary : dict
        The most important numbers, as a flat mapping.
    report : list of str
        Parts of ``table.md``.
    """

    rows: Rows
    tables: dict[str, Rows] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    report: list[str] = field(default_factory=list)


class Scorer(Protocol):
    """Keeps the relevant part of each answer, and makes scores from them."""

    def path(self, out: Path, method: str, cases: str, index: int) -> Path:
        """File for a method's answer to a sample.

        Parameters
        ----------
        out : pathlib.Path
            Folder of the evaluation.
        method, cases : str
            Names of the method and of the set.
        index : int
            Number of the sample.

        Returns
        -------
        pathlib.Path
        """

    def load(self, out: Path, cases: Any, index: int) -> Any:
        """A sample, and what all methods share of it.

        Parameters
        ----------
        out : pathlib.Path
            Folder of the evaluation.
        cases : SampleSet
            The set.
        index : int
            Number of the sample.

        Returns
        -------
        object
        """

    def keep(self, sample: Any, method: Method, file: Path) -> None:
        """Run a method on a sample and write the relevant part of its answer.

        Parameters
        ----------
        sample : object
            From `load`.
        method : Method
            The method.
        file : pathlib.Path
            From `path`.
        """

    def finish(self, out: Path, sample: Any, cases: Any, index: int) -> None:
        """Write what is needed of the sample itself, as of a method ``truth``.

        Parameters
        ----------
        out : pathlib.Path
            Folder of the evaluation.
        sample : object
            From `load`.
        cases : SampleSet
            The set.
        index : int
            Number of the sample.
        """

    def score(self, out: Path, sets: Sequence[Any], methods: Sequence[Method], seed: int) -> Scores:
        """Scores from all files.

        Parameters
        ----------
        out : pathlib.Path
            Folder of the evaluation.
        sets : sequence of SampleSet
            The sets.
        methods : sequence of Method
            The methods.
        seed : int
            Seed of the bootstraps.

        Returns
        -------
        Scores
        """

    def figures(
        self, out: Path, sets: Sequence[Any], methods: Sequence[Method], scores: Scores
    ) -> Iterator[tuple[str, Figure]]:
        """Figures of the scores.

        Parameters
        ----------
        out : pathlib.Path
            Folder of the evaluation.
        sets : sequence of SampleSet
            The sets.
        methods : sequence of Method
            The methods.
        scores : Scores
            From `score`.

        Yields
        ------
        name : str
        figure : matplotlib.figure.Figure
        """


@contextmanager
def measured_cost() -> Iterator[list[float]]:
    """Time [s], CPU time including child programs [s] and peak memory [MB] of a block, set at its end.

    If the system cannot reset the peak, it is that of the process since its start.
    """
    cost: list[float] = []
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter(), sum(os.times()[:4])
    yield cost
    cost += [time.perf_counter() - start[0], sum(os.times()[:4]) - start[1]]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    cost.append(peak * 1024 / 1e6)


Task = tuple[Any, int, tuple[Method, ...]]
TRUTH = "truth"
"""Name under which the samples themselves are kept, like that of a method."""


def pending(sets: Sequence[Any], methods: Sequence[Method], out: Path, scorer: Scorer) -> list[Task]:
    """Samples that lack a file, each with the methods missing.

    Parameters
    ----------
    sets, methods, out, scorer
        As for `run_methods`.

    Returns
    -------
    list of tuple
        Set, number of the sample, methods.

    Raises
    ------
    InputError
        If two methods, or two sets, share a name.
    """
    for what, names in (
        ("methods", [TRUTH, *(file_name(m.name) for m in methods)]),
        ("sets", [file_name(s.name) for s in sets]),
    ):
        if len(set(names)) < len(names):
            raise InputError(f"two {what} share a name: {', '.join(names)}", "rename one")
    tasks: list[Task] = []
    for cases in sets:
        for index in cases.indices:
            lacking = [
                m
                for m in methods
                if index in m.seen_of(cases) and not scorer.path(out, m.name, cases.name, index).is_file()
            ]
            if lacking or not scorer.path(out, TRUTH, cases.name, index).is_file():
                tasks.append((cases, index, tuple(lacking)))
    return tasks


def _work(task: Task, out: Path, scorer: Scorer) -> None:
    cases, index, methods = task
    sample = scorer.load(out, cases, index)
    for method in methods:
        path = scorer.path(out, method.name, cases.name, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            scorer.keep(sample, method, file)
    # last, so that nothing is left if no method succeeds
    scorer.finish(out, sample, cases, index)


def run_methods(
    sets: Sequence[Any],
    methods: Sequence[Method],
    out: Path,
    scorer: Scorer,
    *,
    jobs: int = 1,
    cluster: str = LOCAL,
    progress: Progress | None = None,
) -> None:
    """Run every method on every sample that it lacks, and write the results under ``out``.

    Parameters
    ----------
    sets : sequence of SampleSet
        The sets.
    methods : sequence of Method
        The methods.
    out : pathlib.Path
        Folder of the evaluation.
    scorer : Scorer
        Writes the relevant part of each answer.
    jobs : int, optional
        Processes, each with one thread.
    cluster : str, optional
        Where they run; see `faintsky.system.run_tasks`.
    progress : callable, optional
        Called with samples done, samples in all and a word.

    Raises
    ------
    FaintskyError
        Raised by a method or a reader; the files written until then are kept, and the next run continues from
        there.
    """
    tasks = pending(sets, methods, out, scorer)
    say = progress or (lambda done, total, word: None)
    say(0, len(tasks), "samples")
    for done, _ in enumerate(
        run_tasks(partial(_work, out=out, scorer=scorer), tasks, jobs, cluster=cluster), start=1
    ):
        say(done, len(tasks), "samples")


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Parameters
    ----------
    out : pathlib.Path
        Folder with the tables, figures and numbers.
    scores : Scores
        All numbers.
    """

    out: Path
    scores: Scores

    @property
    def rows(self) -> Rows:
        """The main table."""
        return self.scores.rows

    def find(self, **wanted: Any) -> dict[str, Any]:
        """The first row of the main table with these values; KeyError if there is none."""
        for row in self.rows:
            if all(row[name] == value for name, value in wanted.items()):
                return row
        raise KeyError(wanted)

    @property
    def facts(self) -> dict[str, Any]:
        """The most important numbers, as a flat mapping."""
        return {"out": str(self.out), "table": str(self.out / "table.md"), **self.scores.summary}


def evaluate(
    out: Path,
    sets: Sequence[Any],
    methods: Sequence[Method] | Mapping[str, Callable[[Any], Any]],
    scorer: Scorer,
    *,
    seed: int = 0,
    jobs: int = 1,
    cluster: str = LOCAL,
    run: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score any methods on any labelled sets, and write tables and figures into an existing folder.

    Parameters
    ----------
    out : pathlib.Path
        Results that are in it already are reused.
    sets : sequence of SampleSet
        Sets with truth.
    methods : sequence of Method, or mapping
        Methods, or functions by name.
    scorer : Scorer
        `faintsky.evaluation.CatalogScorer` or `faintsky.evaluation.ImageScorer`.
    seed : int, optional
        Seed of the bootstraps.
    jobs, cluster : int and str, optional
        As in `run_methods`.
    run : mapping, optional
        Provenance, recorded with the results.
    progress : callable, optional
        As in `run_methods`.

    Returns
    -------
    Evaluation
    """
    if isinstance(methods, Mapping):
        methods = [Method(name, run_) for name, run_ in methods.items()]
    run_methods(sets, methods, out, scorer, jobs=jobs, cluster=cluster, progress=progress)
    scores = scorer.score(out, sets, methods, seed)
    made_with = versions("faintsky", "numpy", "scipy", "astropy", "torch")
    known = {"run": run or {"seed": seed}, "versions": made_with, "rows": scores.rows}
    write_json(out / "results.json", known | scores.tables | scores.results)
    for name, rows in {"table": scores.rows, **scores.tables}.items():
        write_csv(rows, out / f"{name}.csv")
    last = f"Seed {seed}; {', '.join(f'{k} {v}' for k, v in made_with.items())}."
    (out / "table.md").write_text("\n".join([*scores.report, last, ""]), encoding="utf-8")
    for name, figure in scorer.figures(out, sets, methods, scores):
        save_figure(figure, out / "figures" / f"{name}.png")
    return Evaluation(out, scores)


def number_text(value: float, form: str = ".3f") -> str:
    """Text of a number, or a dash for NaN."""
    return format(value, form) if math.isfinite(value) else "–"


def with_error(value: float, error: float | None, form: str = ".3f", error_form: str | None = None) -> str:
    """Text of a number with its error, if known, or a dash for NaN.

    Parameters
    ----------
    value : float
        The number.
    error : float or None
        Its error.
    form, error_form : str, optional
        Formats of the number and of its error; the latter is by default the former.

    Returns
    -------
    str
    """
    known = error is not None and math.isfinite(error)
    tail = f" ± {error:{error_form or form}}" if known else ""
    return f"{number_text(value, form)}{tail}" if math.isfinite(value) else "–"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(r) + " |" for r in rows) + "\n"


def table_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows of one kind as Markdown.

    Parameters
    ----------
    rows : sequence of mapping
        The rows; they may be empty.
    columns : mapping of str to str
        Headings by column; the column may end in a colon and a format (``recall:.3f``). A column is shown
        with its error if there is a ``NAME_error``.
    """
    lines = []
    for row in rows:
        cells = []
        for key in columns:
            name, _, form = key.partition(":")
            value, error = row[name], row.get(f"{name}_error")
            cells.append(with_error(value, error, form or ".3g") if isinstance(value, float) else str(value))
        lines.append(cells)
    return markdown(list(columns.values()), lines) if rows else ""


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows of one kind as CSV, in one step."""
    with replacing(path) as name, open(name, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
