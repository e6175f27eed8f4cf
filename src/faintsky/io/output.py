"""The folder of ``--out``: new, resumed, refused or replaced; its files are complete or absent."""

from __future__ import annotations

import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from faintsky.errors import InputError, disk_error
from faintsky.system import check_writable, clear_leftovers, folder_lock, write_text

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
            raise InputError(f"holds another run (different {', '.join(changed)})", hint, self.path)
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

    def __enter__(self) -> OutputFolder:
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
