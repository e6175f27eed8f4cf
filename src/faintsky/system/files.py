"""Files that are either complete or absent, and one run at a time in a folder."""

import errno
import fcntl
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from faintsky.errors import InputError, disk_error

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\..+")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path``; what was written there becomes ``path`` when the block succeeds.

    Parameters
    ----------
    path : path-like
        Final name of a file or folder; an existing one is replaced in one step, or kept if the block raises.

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
        if temporary.is_dir() and final.is_dir():
            shutil.rmtree(final)
        os.replace(temporary, final)
    except Exception as error:
        failed = disk_error(error, final)
        if failed is None:
            raise
        raise failed from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in one step."""
    with replacing(path) as name:
        name.write_text(text, encoding="utf-8")


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
        raise InputError("is a file, not a folder", "give another --out", there)
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


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """One run at a time in a folder, within the block.

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
    path = folder.resolve() / ".lock"
    if path in _held:
        raise _in_use(folder, "of this process")
    file = _locked(path, folder)
    _held.add(path)
    try:
        with suppress(OSError):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        yield
    finally:
        _held.discard(path)
        path.unlink(missing_ok=True)
        file.close()


def _locked(path: Path, folder: Path) -> IO[str]:
    """The lock's file, open and locked."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                with file:
                    raise _in_use(folder, file.read(200)) from None
        # the run before may have removed the file since it was opened
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()


def _in_use(folder: Path, holder: str) -> InputError:
    who = f"another run ({holder})" if holder else "another run"
    return InputError(f"{who} is writing into it", "wait for its end, or give another --out", folder)
