"""Threads: how many there are, how they wait for work, and what a forked process does without them.

The package imports this before anything that computes: numerical libraries read the environment once, when
they are loaded. What the user has set stays.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cpu_count() -> int:
    """CPUs that this process may use: those of its affinity, or its container's quota where that is less."""
    count = _affinity()
    for quota, period in _quotas():
        count = min(count, math.ceil(quota / period))
    return max(count, 1)


def prepare_threads() -> None:
    """Set how threads wait and how many there are, and make forked processes work on one."""
    # A thread that spins while it waits takes the core from the one that it waits for: where other programs
    # run, too, that takes ten times longer. The second word is for Intel's and LLVM's OpenMP.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("KMP_BLOCKTIME", "0")
    # the libraries see the affinity themselves, but no quota
    if cpu_count() < _affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(cpu_count()))
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    # A fork takes only one thread along, and OpenMP would wait for the others for ever.
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas() -> list[tuple[int, int]]:
    """CPU time and period in which it may be used, of all control groups that this process is in."""
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().rpartition(":")[2].strip("/")
    except OSError:
        own = ""
    version_1 = CGROUPS / "cpu"
    pairs = [[version_1 / "cpu.cfs_quota_us", version_1 / "cpu.cfs_period_us"]]
    pairs += [[CGROUPS / folder / "cpu.max"] for folder in (Path(own), *Path(own).parents)]
    found = []
    for files in pairs:
        try:
            quota, period = " ".join(f.read_text(encoding="utf-8") for f in files).split()
            if int(quota) > 0 and int(period) > 0:
                found.append((int(quota), int(period)))
        except (OSError, ValueError):  # no such file, or no quota: "max"
            continue
    return found
