"""One command on many files: a folder for each, one joint catalogue, and failures listed at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky import io, system
from faintsky.errors import FaintskyError, InputError
from faintsky.jobs.result import Result
from faintsky.options import PathLike, Spread

if TYPE_CHECKING:
    from astropy.table import Table

JOINT = ("catalog", "components")
SHOWN = 3
"""Most failures listed in the final message; all are in ``run.json``."""
LOOKED_AT = 32
"""Largest number of files that are opened to estimate the time for all."""


def many(
    function: Callable[..., Result], files: Sequence[PathLike], out: PathLike | None, running: Spread
) -> Result:
    """Run a function on each of several files, into folders of their names under `out`.

    If a file fails, the others are still done. The tables of all finished files are joined, with the file's
    name as the first column. A second run does only what is missing.

    Parameters
    ----------
    function : callable
        `faintsky.detect` or `faintsky.denoise`.
    files : sequence of path-like
        The data.
    out : path-like
        The folder.
    running : Spread
        Options of the function, with all its arguments.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        Without a folder, or for data that are not files.
    FaintskyError
        At the end, if some of the files failed.
    """
    if out is None:
        raise InputError("several files need a folder for their results", "give --out DIR")
    if not all(isinstance(f, str | os.PathLike) for f in files):
        raise InputError("several inputs at once must be files", "give their paths, or one object at a time")
    first = next(iter(running.asked))
    options = {k: v for k, v in running.asked.items() if k not in (first, "out")}
    options |= {"device": running.device, "overwrite": running.overwrite, "command": running.command}
    tasks = [(str(f), str(Path(out) / stem)) for f, stem in zip(files, _stems(files), strict=True)]
    asked = running.jobs is not None or running.cluster != system.LOCAL
    dry = partial(_one, function, options | {"dry_run": True, "progress": None})
    if asked:
        jobs = min(system.worker_count(running.jobs), len(tasks))
    else:
        few = tasks[:: -(-len(tasks) // LOOKED_AT)]
        jobs = min(_worth([dry(task)[1] for task in few], len(tasks) / len(few)), len(tasks))
    if running.dry_run:
        each = [dry(task)[1] for task in tasks]
        return Result({"files": len(tasks), "processes": jobs, "each": each})
    about = {"files": len(tasks)}
    config = {first: [str(f) for f in files]}
    needs = system.Needs(0.0, 0.0, 0.0)
    job = io.Job(function.__name__, out, running, needs, about, config=config, resumable=True)
    if job.done is not None:
        return Result(job.done)
    options |= {"jobs": 1 if jobs > 1 else running.jobs, "cluster": system.LOCAL}
    work = partial(_one, function, options)
    ledger: dict[str, Any] = {}
    tables: dict[str, dict[str, Table]] = {}
    with job:
        done_tasks = system.run_tasks(work, tasks, jobs, cluster=running.cluster)
        for number, (task, (failed, facts, tables[task[0]])) in enumerate(done_tasks, start=1):
            ledger[task[0]] = {"folder": Path(task[1]).name, "error": failed} if failed else facts
            running.tell(number, len(tasks), f"files ({Path(task[0]).name}{': failed' if failed else ''})")
        done = {f: ledger[f] for f, _ in tasks}
        wrong = {f: facts["error"] for f, facts in done.items() if "error" in facts}
        joint = _joined([tables[f] for f, _ in tasks], Path(out))
        io.write_json(Path(out) / "files.json", done)
        if wrong:
            some = "; ".join(list(wrong.values())[:SHOWN]) + ("; …" if len(wrong) > SHOWN else "")
            raise FaintskyError(f"{len(wrong)} of {len(tasks)} files failed: {some}")
    rows = {k: len(t) for k, t in joint.items()}
    facts = {"files": len(tasks), **rows, "seconds": job.seconds, "out": str(out)}
    return Result(facts, joint.get("catalog"), joint.get("components"))


def _worth(some: Sequence[dict[str, Any]], times: float) -> int:
    """Number of processes worth starting, limited by memory; one where tiles are shared already.

    Dry runs of some files give the estimate; all files are `times` as many.
    """
    known = [facts for facts in some if "memory_gb" in facts]
    if not known or any(facts["blocks"] > 1 for facts in known):
        return 1
    most = max(facts["memory_gb"] for facts in known) * 1e9
    seconds = sum(60 * facts["time_minutes"] * facts["processes"] for facts in known)
    return min(system.worker_count(None, seconds * times), max(1, int(system.free_memory() / most)))


def _stems(files: Sequence[PathLike]) -> list[str]:
    """Names of folders: those of the files without extensions, numbered if several are equal."""
    stems: list[str] = []
    for file in files:
        stem = Path(file).name
        for ending in (".gz", ".fz", ".fits", ".fit", ".zarr", ".image"):
            stem = stem.removesuffix(ending) or stem
        number, own = 1, stem
        while own in stems:
            number += 1
            own = f"{stem}_{number}"
        stems.append(own)
    return stems


def _one(
    function: Callable[..., Result], options: dict[str, Any], task: tuple[str, str]
) -> tuple[str, dict[str, Any], dict[str, Table]]:
    """Reason of a file's failure (empty if it succeeded), its summary, and its tables that have rows."""
    try:
        result = function(task[0], task[1], **options)
    except FaintskyError as error:
        return str(error), {}, {}
    except Exception as error:  # the other files are done whatever the error
        return f"{task[0]}: {type(error).__name__}: {error}", {}, {}
    return "", result.facts, {} if options.get("dry_run") else _tables(result, *task)


def _tables(result: Result, file: str, folder: str) -> dict[str, Table]:
    """The tables of a file that have rows, with the file's name as the first column."""
    from astropy.table import Column

    from faintsky.catalog import read_catalog

    tables = {}
    for stem in JOINT:
        path = Path(folder) / f"{stem}.ecsv"
        table = getattr(result, stem)
        if table is None and path.exists():  # done by an earlier run
            table = read_catalog(path)
        if table is not None and len(table):
            table = table.copy()
            table.add_column(Column([Path(file).name] * len(table), name="file"), index=0)
            table.meta = {}
            tables[stem] = table
    return tables


def _joined(tables: Sequence[dict[str, Table]], out: Path) -> dict[str, Table]:
    """Join the tables of all folders, and write them."""
    from astropy.table import vstack

    from faintsky.catalog import write_catalog

    joint = {}
    for stem in JOINT:
        if parts := [t[stem] for t in tables if stem in t]:
            joint[stem] = vstack(parts, metadata_conflicts="silent")
            write_catalog(joint[stem], out, stem)
    return joint
