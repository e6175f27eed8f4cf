"""Files that are either complete or absent, and one run at a time in a folder."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from faintsky.errors import InputError, disk_error

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\..+")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path``; what was written there becomes ``path`` when the block succeeds.

    Parameters
    ----------
    path : path-like
        Final name; an existing file is replaced in one step, or kept if the block raises.

    Yields
    ------
    pathlib.Path
        The temporary name, with the same extensions (readers and writers choose formats by them).

    Raises
    ------
    DiskError
        If the disk is full, or the file cannot be written for a similar reason.
    """
    final = Path(path)
    temporary = final.with_name(f".{uuid.uuid4().hex[:8]}.{final.name}")
    try:
        yield temporary
        os.replace(temporary, final)
    except Exception as error:
        failed = disk_error(error, final)
        if failed is None:
            raise
        raise failed from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def clear_leftovers(folder: Path) -> None:
    """Remove temporary files of killed runs from a folder and its subfolders."""
    for path in folder.rglob(".*"):
        if path.name.startswith(".partial-") and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def cache_folder() -> Path:
    """``$FAINTSKY_CACHE``, or ``faintsky`` in the user's cache folder."""
    given = os.environ.get("FAINTSKY_CACHE")
    return Path(given or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "faintsky")


def nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest of its parents that exists."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def check_writable(path: Path) -> None:
    """Refuse a folder that cannot be made or written into; nothing on disk changes.

    Raises
    ------
    InputError
        Naming the file or folder that is in the way.
    """
    there = nearest_folder(path)
    if not there.is_dir() or (path.is_symlink() and not path.exists()):
        there = path if there == path.absolute() or path.is_symlink() else there
        raise InputError("is a file, where a folder is to be written", "give another --out", there)
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError("cannot be written into", "give another --out, or change its permissions", there)


def check_space(path: Path, needed: float) -> None:
    """Refuse work whose files do not fit on the disk; quotas cannot be seen.

    Parameters
    ----------
    path : pathlib.Path
        The folder that they go into; it need not exist.
    needed : float
        [bytes]

    Raises
    ------
    InputError
        With the space needed and the space free.
    """
    free = shutil.disk_usage(nearest_folder(path)).free
    if needed > free:
        raise InputError(
            f"the output takes {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB of its disk are free",
            "free some space, give another --out, or ask for less", path,
        )  # fmt: skip


_held: set[Path] = set()
"""Folders that this process has locked: the system's lock does not stop a process from locking twice."""


class FolderLock:
    """One run at a time in a folder; a context manager.

    The lock is the system's own (``lockf``, which network file systems share), so it ends with the process,
    even if that is killed. On a file system without locks nothing is locked.

    Parameters
    ----------
    folder : pathlib.Path
        It must exist.

    Raises
    ------
    InputError
        On entering, where another run holds the lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder.resolve() / ".lock"
        self.file: IO[str] | None = None

    def __enter__(self) -> FolderLock:
        if self.path in _held:
            raise self._refusal("of this process")
        while self.file is None:
            file = self.path.open("a+", encoding="utf-8")
            try:
                self._lock(file)
                # the run before may have removed the file since it was opened
                if self.path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    self.file = file
            except FileNotFoundError:
                pass
            finally:
                if self.file is None:
                    file.close()
        _held.add(self.path)
        with suppress(OSError):
            self.file.truncate(0)
            self.file.write(f"process {os.getpid()} on {socket.gethostname()}")
            self.file.flush()
        return self

    def _lock(self, file: IO[str]) -> None:
        try:
            import fcntl
        except ImportError:  # not a Unix system
            return
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                raise self._refusal(file.read(200)) from None

    def _refusal(self, holder: str) -> InputError:
        who = f"another run ({holder})" if holder else "another run"
        return InputError(f"{who} is writing into it", "wait for its end, or give another --out", self.folder)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _held.discard(self.path)
        self.path.unlink(missing_ok=True)
        if self.file is not None:
            self.file.close()
            self.file = None
