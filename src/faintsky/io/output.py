"""The folder behind ``--out``: resumed, refused or replaced; complete or not there at all."""

from __future__ import annotations

import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from faintsky.errors import InputError
from faintsky.files import replacing

_NOT_COMPARED = frozenset({"command", "complete", "files", "created", "seconds"})


def plain(value: Any) -> Any:
    """A value as JSON can hold it: numpy numbers and arrays, paths and tuples made plain, NaN as null."""
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
    final = Path(path)
    with replacing(final) as name:
        name.write_text(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return final


def provenance(
    *, command: str | None = None, config: Mapping[str, Any] | None = None, **details: Any
) -> dict[str, Any]:
    """What a run is to be known by: version, command, configuration, and details such as seed and model."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("faintsky")
    except PackageNotFoundError:
        number = "0+unknown"
    return {"version": number, "command": command or "", "config": plain(config or {}), **plain(details)}


class OutputFolder:
    """A folder that a run fills; a context manager.

    Where ``resumable`` is false, files are written into a hidden folder inside and moved to their names when
    the block ends without an error: after an error the folder is as it was, or gone if it was made here.
    Where it is true, ``file`` puts each file in place as it is finished, and they stay after an error, so
    that the same run can go on from there.

    Parameters
    ----------
    path : path-like
        The folder; made with its parents where missing.
    run : mapping
        What the run is known by, see `provenance`; kept in ``record`` and compared, but for the command.
    overwrite : bool, optional
        Replace the output of another run.
    resumable : bool, optional
        See above.
    record : str, optional
        Name of the file that holds ``run``.

    Attributes
    ----------
    folder : pathlib.Path
        Where to write, within the block.
    resumed : bool
        Whether the same run was here before.
    complete : bool
        Whether it had come to its end.

    Raises
    ------
    InputError
        On entering, where the path is a file, or holds other files or another run without ``overwrite``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        run: Mapping[str, Any],
        *,
        overwrite: bool = False,
        resumable: bool = False,
        record: str = "run.json",
    ) -> None:
        self.path = Path(path)
        self.run = plain(run)
        self.overwrite, self.resumable, self.record = overwrite, resumable, record
        self.folder = self.path
        self.resumed = self.complete = False
        self._made: list[Path] = []
        self._old_files: list[str] = []

    def check(self) -> None:
        """Refuse what must not be written into; changes nothing on disk."""
        hint = "give another --out, or --overwrite"
        if not self.path.exists() and not self.path.is_symlink():
            return
        if not self.path.is_dir():
            raise InputError("is a file, where a folder is to be written", "give another --out", self.path)
        before = self._read_record()
        if before is None:
            if any(not p.name.startswith(".") for p in self.path.iterdir()) and not self.overwrite:
                raise InputError("exists and is not empty", hint, self.path)
            return
        self._old_files = [str(f) for f in before.get("files", [])]
        changed = sorted(
            key
            for key in (set(before) | set(self.run)) - _NOT_COMPARED
            if before.get(key) != self.run.get(key)
        )
        if changed and not self.overwrite:
            raise InputError(f"holds another run (different {', '.join(changed)})", hint, self.path)
        self.resumed = not changed and not self.overwrite
        self.complete = self.resumed and bool(before.get("complete"))

    def _read_record(self) -> dict[str, Any] | None:
        path = self.path / self.record
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def __enter__(self) -> OutputFolder:
        self.check()
        missing = [p for p in (self.path, *self.path.parents) if not p.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fault = f"cannot be made ({error.strerror})"
            raise InputError(fault, "give a folder that can be written", self.path) from error
        self._made = missing
        for leftover in self.path.glob(".partial-*"):  # of a run that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            if self.resumable:
                if not self.resumed:
                    self._remove_old()
                write_json(self.path / self.record, {**self.run, "complete": False, "files": []})
            else:
                self.folder = self.path / f".partial-{uuid.uuid4().hex[:8]}"
                self.folder.mkdir()
        except OSError as error:
            self._unmake()
            fault = f"cannot be written into ({error.strerror})"
            raise InputError(fault, "give another --out", self.path) from error
        return self

    def file(self, name: str) -> AbstractContextManager[Path]:
        """A temporary name for a file of the output, which takes its own name when the block succeeds."""
        return replacing(self.folder / name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        if not self.resumable:
            self._remove_old()
            items = sorted(self.folder.iterdir())
            # killed between two moves, the run is known by its record and can be done again
            moving = {**self.run, "complete": False, "files": [i.name for i in items]}
            write_json(self.path / self.record, moving)
            for item in items:
                target = self.path / item.name
                if target.is_dir() and not target.is_symlink():
                    shutil.rmtree(target)
                os.replace(item, target)
            self.folder.rmdir()
            self.folder = self.path
        files = sorted(
            p.name for p in self.path.iterdir() if not p.name.startswith(".") and p.name != self.record
        )
        write_json(self.path / self.record, {**self.run, "complete": True, "files": files})

    def _remove_old(self) -> None:
        """Remove what the run that is being replaced had written, by its own list."""
        for name in [*self._old_files, self.record]:
            path = self.path / Path(name).name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _abandon(self) -> None:
        if self.resumable:
            others = [p for p in self.path.iterdir() if p.name != self.record]
            if others or self.resumed:
                return
            (self.path / self.record).unlink(missing_ok=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._unmake()

    def _unmake(self) -> None:
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()
