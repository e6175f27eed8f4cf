"""Errors that reach the user: one line that names the file, the fault and a hint."""

import errno
import re
from os import PathLike


class FaintskyError(Exception):
    """Something failed at run time (exit status 1)."""


class InputError(FaintskyError):
    """Bad usage or bad input (exit status 2).

    Parameters
    ----------
    fault : str
        What is wrong.
    hint : str, optional
        What the user can do about it.
    path : path-like, optional
        The file at fault.
    """

    def __init__(self, fault: str, hint: str = "", path: str | PathLike[str] | None = None) -> None:
        self.fault, self.hint, self.path = fault, hint, path
        where = f"{path}: " if path is not None else ""
        super().__init__(where + fault + (f"; {hint}" if hint else ""))


class NoDataError(InputError):
    """Data that are blank, or constant."""


class UnreadableError(InputError):
    """Data that cannot be read from their file."""


class DiskError(FaintskyError):
    """A file could not be written: a full disk, a quota, a disk that is read-only (exit status 1)."""


_AGAIN = "free some space and give the same command again"
_FAULTS = {
    errno.ENOSPC: ("the disk is full", _AGAIN),
    errno.EDQUOT: ("the disk quota is used up", _AGAIN),
    errno.EFBIG: (
        "the file is larger than the disk or `ulimit -f` allows",
        "give another --out, or raise it",
    ),
    errno.EROFS: ("the disk is read-only", "give another --out"),
    errno.EACCES: ("may not be written", "change its permissions, or give another --out"),
    errno.EIO: ("the disk reports an error", "give an --out on another disk"),
}
_LOST = ("No space left on device", "Not enough space on disk", " requested and ")
"""What libraries say of a full disk where they lose the error's number."""


def disk_error(error: BaseException, path: str | PathLike[str] | None = None) -> DiskError | None:
    """A failed write as one line with the file and a hint; None where the error is another one.

    Parameters
    ----------
    error : BaseException
        What writing raised.
    path : path-like, optional
        The file; the one that the error names where not given.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and any(words in str(error) for words in _LOST):
        number = errno.ENOSPC
    where = path if path is not None else getattr(error, "filename", None)
    if number not in _FAULTS or where is None:
        return None
    fault, hint = _FAULTS[number]
    final = re.sub(r"\.partial-[0-9a-f]{8}/", "", str(where))  # the folder where outputs wait for their end
    return DiskError(f"{final}: {fault}; {hint}")
