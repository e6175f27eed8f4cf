"""Threads, worker processes and other programs: their numbers, and that none outlives its parent.

The package imports this before anything that computes: numerical libraries read the environment once, when
they are loaded. Values set by the user are kept.
"""

import ctypes
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from faintsky.errors import FaintskyError

CGROUPS = Path("/sys/fs/cgroup")
KEPT = 2**28
"""Bytes of freed memory that a process keeps."""
TRIM_THRESHOLD = -1
"""Number of glibc's parameter ``M_TRIM_THRESHOLD``, from its ``malloc.h``."""
MMAP_THRESHOLD = -3
"""Number of glibc's parameter ``M_MMAP_THRESHOLD``."""


def cpu_count() -> int:
    """CPUs that this process may use: those of its affinity, or its container's quota where that is less."""
    count = _affinity()
    for quota, period in _quotas():
        count = min(count, math.ceil(quota / period))
    return max(count, 1)


def prepare_memory() -> None:
    """Keep freed memory of up to `KEPT` bytes for what comes next, where the C library is glibc.

    It would go back to the system at once if an array has more than 32 MB, or in a worker of Dask more than
    64 kB; and each time it is used again the system clears every page of it. That takes a quarter of the time
    of a search, or half of it in a worker.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library
        change = ctypes.CDLL(None).mallopt
        for threshold in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            change(threshold, KEPT)


def prepare_threads() -> None:
    """Set how threads wait and how many there are, and limit forked processes to one."""
    # A thread that spins while it waits can take the core from the one that it waits for. Beside other
    # programs, that makes work ten times slower. The second variable is for Intel's and LLVM's OpenMP.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("KMP_BLOCKTIME", "0")
    # the libraries see the affinity themselves, but no quota
    if cpu_count() < _affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(cpu_count()))
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    # A fork has only one thread, and OpenMP would wait for the others for ever.
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas() -> list[tuple[int, int]]:
    """CPU quotas and their periods, of all control groups of this process."""
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


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch and BLAS on one thread within the block: sums are then the same for any number of tasks."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Limit numerical libraries and started programs to ``count`` threads within the block; None: all."""
    if count is None:
        yield
        return
    import torch
    from threadpoolctl import threadpool_limits

    before, environment = torch.get_num_threads(), {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
        for name, value in environment.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def may_start_workers() -> bool:
    """Whether this process may start workers; members of a `multiprocessing.Pool` may not."""
    from multiprocessing import current_process

    return not current_process().daemon


def worker_count(jobs: int | None, seconds: float = math.inf) -> int:
    """Processes to work with: ``jobs``, or one per CPU if the work takes long enough to start them.

    It is 1 if this process may not start any.
    """
    if not may_start_workers():
        return 1
    return int(min(cpu_count(), max(seconds // WORTH, 1))) if jobs is None else jobs


LOG = "words.log"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
WORTH = 12.0
"""Work for which it is worth starting a process [s], which takes some ten seconds with all that it loads."""
LONGEST = 12 * 3600.0
"""Longest time that the cleaning of one image may take [s]."""
_GRACE = 10.0


def run_program(
    command: Sequence[str],
    folder: Path,
    name: str,
    *,
    leaves: str,
    environment: Mapping[str, str] | None = None,
    limit: float | None = None,
) -> None:
    """Run a program that ends when its standard input closes.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    folder : Path
        Where it runs; its output goes to ``words.log`` there.
    name : str
        Its name in messages.
    leaves : str
        A file that it has written in ``folder`` if it succeeded.
    environment : mapping, optional
        Its whole environment, except for the number of threads, which is 1.
    limit : float, optional
        Seconds after which it is ended.

    Raises
    ------
    FaintskyError
        If it failed (the message has the last line of its output) or took too long.
    """
    log = folder / LOG
    with (
        log.open("wb") as words,
        subprocess.Popen(
            list(command),
            cwd=folder,
            env={**(os.environ if environment is None else environment), **dict.fromkeys(THREADS, "1")},
            stdin=subprocess.PIPE,
            stdout=words,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            assert process.stdin is not None
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
            process.kill()
            raise FaintskyError(f"{name} took longer than {limit:g} s and was ended") from None
    if status or not (folder / leaves).is_file():
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise FaintskyError(f"{name} failed: {lines[-1] if lines else f'exit status {status}'}")


def _end_with_input() -> None:
    """End this program, and those that it started, when standard input closes; runs in a thread.

    The working folder is removed too, because the process that should remove it may have been killed.
    """
    os.read(0, 1)
    shutil.rmtree(os.getcwd(), ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def start_watching() -> None:
    """Make this program, and those that it starts, end with its parent; returns at once."""
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_input, daemon=True).start()
