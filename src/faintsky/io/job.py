"""The run of a command: it estimates its needs, locks its folder, and then works.

Its folder, that of ``--out``, is new, resumed, refused or replaced; its files are complete or absent.
"""

import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from faintsky.companions import COMPANIONS
from faintsky.errors import InputError, disk_error
from faintsky.image import RadioData
from faintsky.options import Running
from faintsky.system import Needs, check_writable, clear_leftovers, folder_lock, limited_threads, write_text


class Job:
    """A run of a command; a context manager around its work.

    Making it checks the folder, and writes nothing. After a dry run, or if the same run was complete already,
    ``done`` is the summary, and there is no work to do.

    Parameters
    ----------
    name : str
        Name of the command.
    out : path-like or None
        Its folder; None if nothing is to be written.
    running : Running
        Options of the function; its arguments are the record's configuration.
    needs : Needs
        Memory, disk and time of the work.
    about : mapping
        Printed first in a dry run.
    data : RadioData, optional
        The input. The configuration holds its name, beam, dish and rest frequency, because the user may have
        written these in many ways.
    model : Model, optional
        The model used, recorded by name and hash.
    config : mapping, optional
        Entries of the configuration that replace the arguments.
    resumable : bool, optional
        Whether files are kept if the work is stopped; see `faintsky.io.OutputFolder`.
    **details
        Further entries of the record.

    Attributes
    ----------
    record : dict
        Version, command, configuration and details, which identify the run.
    folder : pathlib.Path
        Where to write within the block, if there is an ``out``.
    done : dict or None
        The summary if there is no work to do.
    """

    def __init__(
        self,
        name: str,
        out: str | os.PathLike[str] | None,
        running: Running,
        needs: Needs,
        about: Mapping[str, Any],
        *,
        data: RadioData | None = None,
        model: Any = None,
        config: Mapping[str, Any] | None = None,
        resumable: bool = False,
        **details: Any,
    ) -> None:
        asked = dict(running.asked)
        seed = {"seed": asked.pop("seed")} if "seed" in asked else {}
        if data is not None:
            asked |= _as_opened(asked, data)
        if model is not None:
            asked["model"] = model.name
            details |= {"model": model.name, "model_hash": model.hash}
        asked = {k: v for k, v in (asked | dict(config or {})).items() if k != "out" and not callable(v)}
        self.running, self.out, self.needs = running, out, needs
        self.record = provenance(command=running.command, config=asked, job=name, **details, **seed)
        self.output: OutputFolder | None = None
        self.done: dict[str, Any] | None = None
        if out is not None:
            self.output = OutputFolder(out, self.record, overwrite=running.overwrite, resumable=resumable)
            self.output.check()
        if running.dry_run:
            self.done = {**about, **needs.summary(out)}
        elif self.output is not None and self.output.complete:
            self.done = {"out": str(out), "already_complete": True}
        else:
            needs.check(out)
        self._limits, self._start = ExitStack(), time.monotonic()

    @property
    def folder(self) -> Path:
        """Where to write."""
        assert self.output is not None
        return self.output.folder

    @property
    def seconds(self) -> float:
        """Time since the work began [s]."""
        return round(time.monotonic() - self._start, 2)

    @property
    def made_by(self) -> dict[str, Any]:
        """The record as written into headers of files."""
        return {k: v for k, v in self.record.items() if k != "config"}

    def __enter__(self) -> Self:
        with ExitStack() as entered:  # if the folder is refused, the limit on threads ends
            entered.enter_context(limited_threads(self.running.jobs))
            if self.output is not None:
                entered.enter_context(self.output)
            self._limits = entered.pop_all()
        self._start = time.monotonic()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._limits.__exit__(*failure)


def _as_opened(asked: Mapping[str, Any], data: RadioData) -> dict[str, Any]:
    known = {"beam": lambda: data.require_beam()[0], "rest_frequency": lambda: data.rest_frequency}
    found = {next(iter(asked)): data.name, "dish": data.dish}
    found |= {key: look() for key, look in known.items() if asked.get(key) is not None}
    return found | {key: _in_words(asked[key]) for key in COMPANIONS if key in asked}


def _in_words(value: Any) -> Any:
    """Arrays in memory by shape, type and sum; other values as they are."""
    if isinstance(value, np.ndarray):
        return f"array {value.shape} of {value.dtype}, sum {np.nansum(value):.9g}"
    return getattr(value, "name", value) if not isinstance(value, str | os.PathLike) else value


RECORD = "run.json"
_NOT_COMPARED = frozenset({"command", "complete", "files", "others", "created", "seconds"})


def plain(value: Any) -> Any:
    """A value for JSON: numpy numbers and arrays, paths and tuples are converted; NaN becomes null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    return str(value)


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write a value as JSON in one step; see `plain` for what is converted."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")
    return Path(path)


def provenance(
    *, command: str | None = None, config: Mapping[str, Any] | None = None, **details: Any
) -> dict[str, Any]:
    """The record of a run: version, command, configuration, and details such as seed and model."""
    from faintsky.system import __version__

    return {"version": __version__, "command": command or "", "config": plain(config or {}), **plain(details)}


class OutputFolder:
    """A folder that a run fills; a context manager.

    It is entered before the work, so that a folder that cannot be written is noticed early. No other run can
    use it until the end. If ``resumable`` is false, files are written into a hidden folder inside, and moved
    to their names when the block ends without an error. After an error the folder is as before, or removed if
    it was made here. If ``resumable`` is true, files are written in place. They are kept after an error, so
    that the same run can continue; without any file the folder is as before.

    Parameters
    ----------
    path : path-like
        The folder; made with its parents if missing.
    run : mapping
        Record of the run, see `provenance`; written to `RECORD`, and compared except for the command.
    overwrite : bool, optional
        Replace the output of another run.
    resumable : bool, optional
        See above.

    Attributes
    ----------
    folder : pathlib.Path
        Where to write within the block.
    resumed : bool
        Whether the same run has used the folder before.
    complete : bool
        Whether that run was complete.

    Raises
    ------
    InputError
        On entering: if the path is a file or cannot be written, if it holds other files or another run and
        ``overwrite`` is false, or if another run is writing into it.
    DiskError
        If the disk is full.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        run: Mapping[str, Any],
        *,
        overwrite: bool = False,
        resumable: bool = False,
    ) -> None:
        self.path = Path(path)
        self.run = plain(run)
        self.overwrite, self.resumable = overwrite, resumable
        self.folder = self.path
        self.resumed = self.complete = False
        self._others: list[str] = []
        self._old_files: list[str] = []
        self._entered = ExitStack()

    def check(self) -> None:
        """Refuse a folder that must not or cannot be written into; nothing on disk changes."""
        hint = "give another --out, or --overwrite"
        check_writable(self.path)
        if not self.path.exists():
            return
        present = self._present()
        known = self._read_record()
        if known is None:
            if present and not self.overwrite:
                raise InputError("exists and is not empty", hint, self.path)
            self._others = present
            return
        self._old_files = [str(f) for f in known.get("files", [])]
        if known.get("complete") is False and "others" in known:  # stopped before it could list its files
            self._old_files = [f for f in present if f not in known["others"]]
        self._others = [f for f in present if f not in self._old_files]
        changed = sorted(
            key for key in (set(known) | set(self.run)) - _NOT_COMPARED if known.get(key) != self.run.get(key)
        )
        if changed and not self.overwrite:
            fault = f"holds the output of another run (different {', '.join(changed)})"
            raise InputError(fault, hint, self.path)
        self.resumed = not changed and not self.overwrite
        self.complete = self.resumed and bool(known.get("complete"))

    def _present(self) -> list[str]:
        names = (p.name for p in self.path.iterdir())
        return sorted(n for n in names if not n.startswith(".") and n != RECORD)

    def _own(self) -> list[str]:
        return [name for name in self._present() if name not in self._others]

    def _read_record(self) -> dict[str, Any] | None:
        path = self.path / RECORD
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def __enter__(self) -> Self:
        self.check()
        with ExitStack() as stack:
            for folder in reversed([p for p in (self.path, *self.path.parents) if not p.exists()]):
                stack.callback(_remove_empty, folder)
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(folder_lock(self.path))
                clear_leftovers(self.path)
                if self.resumable:
                    if not self.resumed:
                        self._remove_old()
                    unfinished = {"complete": False, "files": [], "others": self._others}
                    write_json(self.path / RECORD, {**self.run, **unfinished})
                else:
                    self.folder = self.path / f".partial-{uuid.uuid4().hex[:8]}"
                    self.folder.mkdir()
            except OSError as error:
                fault = f"cannot be written into ({error.strerror})"
                failed = disk_error(error, self.path)
                raise failed or InputError(fault, "give another --out", self.path) from error
            self._entered = stack.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        with self._entered:
            if error is None:
                try:
                    return self._finish()
                except BaseException as failure:
                    error = failure
            self._abandon()
            failed = disk_error(error)
            if failed is not None:
                raise failed from error
            if kind is None:
                raise error

    def _finish(self) -> None:
        if not self.resumable:
            self._remove_old()
            items = sorted(self.folder.iterdir())
            # if killed between two moves, the run has its record and can be repeated
            moving = {**self.run, "complete": False, "files": [i.name for i in items]}
            write_json(self.path / RECORD, moving)
            for item in items:
                target = self.path / item.name
                if target.is_dir() and not target.is_symlink():
                    shutil.rmtree(target)
                os.replace(item, target)
            self.folder.rmdir()
            self.folder = self.path
        write_json(self.path / RECORD, {**self.run, "complete": True, "files": self._own()})

    def _remove_old(self) -> None:
        """Remove the files of the run that is being replaced."""
        for name in [*self._old_files, RECORD]:
            path = self.path / Path(name).name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _abandon(self) -> None:
        """Keep results and their record; without results, remove both."""
        if not self.resumable:
            if self.folder != self.path:
                shutil.rmtree(self.folder, ignore_errors=True)
            return
        for name in self._own():
            for folder, _, _ in os.walk(self.path / name, topdown=False):
                with suppress(OSError):  # not empty
                    os.rmdir(folder)
        if not self._own():
            (self.path / RECORD).unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # not empty, or not made
        folder.rmdir()
