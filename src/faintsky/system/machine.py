"""The machine: installed versions, PyTorch's device, and the memory, disk and time of a run."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from faintsky.errors import InputError
from faintsky.system.files import check_space, nearest_folder
from faintsky.system.processes import CGROUPS


def versions(*packages: str) -> dict[str, str]:
    """Version numbers of installed packages; ``0+unknown`` for one that is not installed as a package."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "0+unknown"
    return found


__version__ = versions("faintsky")["faintsky"]
"""Version of this package."""


def choose_device(device: str) -> str:
    """A torch device's name for ``"auto"``, ``"cpu"``, ``"cuda"`` …

    Raises
    ------
    InputError
        If the device is not available.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        name = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is not known", "choose auto, cpu or cuda") from error
    if name.type == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here", "choose --device cpu")
    return device


BYTES_OF_TABLES = 1e6
"""Allowance for a run's catalogues and report [bytes]."""


@dataclass(frozen=True)
class Needs:
    """Memory, disk and time of a run, estimated before it.

    Parameters
    ----------
    memory : float
        Most memory that its process holds at a time, libraries included [bytes].
    disk : float
        Disk space that it fills [bytes].
    seconds : float
        Time of the whole work on one processor core, usually right to a factor of two.
    blocks : int, optional
        Parts into which the work is cut.
    processes : int, optional
        Processes that take ``memory`` each and share the work.
    beside : float, optional
        Memory of the process that distributes the work [bytes].
    """

    memory: float
    disk: float
    seconds: float
    blocks: int = 1
    processes: int = 1
    beside: float = 0.0

    @property
    def memory_of_all(self) -> float:
        """Memory of all processes together [bytes]."""
        return self.processes * self.memory + self.beside

    def check(self, out: str | os.PathLike[str] | None) -> None:
        """Refuse a run whose output does not fit on the disk of ``out``, or that does not fit into memory."""
        if out is not None:
            check_space(Path(out), self.disk)
        free = free_memory()
        if self.memory_of_all > free:
            takes = f"{self.memory_of_all / 1e9:.3g} GB of memory, and {free / 1e9:.3g} GB are free"
            less = "smaller --jobs, or " if self.processes > 1 else ""
            raise InputError(f"the run takes {takes}", f"give {less}less data, or a larger machine")

    def summary(self, out: str | os.PathLike[str] | None) -> dict[str, Any]:
        """The estimate by name, with the same keys for every command."""
        free = None if out is None else shutil.disk_usage(nearest_folder(Path(out))).free / 1e9
        return {
            "blocks": self.blocks,
            "processes": self.processes,
            "memory_gb": _rounded(self.memory_of_all / 1e9),
            "disk_gb": _rounded(self.disk / 1e9),
            "disk_free_gb": None if free is None else _rounded(free),
            "time_minutes": _rounded(self.seconds / self.processes / 60),
            "out": None if out is None else str(out),
        }


_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""Files of a container's memory limit and use, for both versions of control groups."""


def free_memory() -> float:
    """Memory that is still free on the machine and within the container's limit [bytes]."""
    free = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, StopIteration):  # no Linux
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    for limit, used in _LIMITS:
        try:
            most, now = (int((CGROUPS / name).read_text(encoding="utf-8")) for name in (limit, used))
        except (OSError, ValueError):  # no such file, or no limit: "max"
            continue
        free = min(free, float(most - now))
    return free


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
