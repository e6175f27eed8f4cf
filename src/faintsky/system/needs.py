"""What a run takes of the machine, said by ``--dry-run`` and held against the disk before the work."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faintsky.system.files import check_space, nearest_folder

BYTES_OF_TABLES = 1e6
"""Of a run's catalogues and report."""


@dataclass(frozen=True)
class Needs:
    """Memory, disk and time of a run, estimated before it.

    Parameters
    ----------
    memory : float
        Most that its process holds at a time, libraries included [bytes].
    disk : float
        What it writes [bytes].
    seconds : float
        Of the whole work on one processor core; a factor of two either way is usual.
    blocks : int, optional
        Parts that are worked on one after the other.
    processes : int, optional
        Processes that take ``memory`` each and share the work.
    """

    memory: float
    disk: float
    seconds: float
    blocks: int = 1
    processes: int = 1

    def check(self, out: str | os.PathLike[str] | None) -> None:
        """Refuse a run whose output does not fit on the disk of ``out``; see `check_space`."""
        if out is not None:
            check_space(Path(out), self.disk)

    def summary(self, out: str | os.PathLike[str] | None) -> dict[str, Any]:
        """The same keys for every command."""
        free = None if out is None else shutil.disk_usage(nearest_folder(Path(out))).free / 1e9
        return {
            "blocks": self.blocks,
            "processes": self.processes,
            "memory_gb": _rounded(self.memory / 1e9),
            "disk_gb": _rounded(self.disk / 1e9),
            "disk_free_gb": None if free is None else _rounded(free),
            "time_minutes": _rounded(self.seconds / self.processes / 60),
            "out": None if out is None else str(out),
        }


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
