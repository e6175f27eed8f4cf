"""Errors that reach the user: one line that names the file, the fault and a hint."""

from __future__ import annotations

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
