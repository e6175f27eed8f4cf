"""Worker processes: how many, and that they do not outlive the process that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import current_process

from faintsky.system.threads import cpu_count


def may_start_workers() -> bool:
    """Whether this process may have workers of its own; those of a `multiprocessing.Pool` may not."""
    return not current_process().daemon


def worker_count(jobs: int | None) -> int:
    """Processes to work with: ``jobs``, or one a CPU; 1 where this process may not start any."""
    if not may_start_workers():
        return 1
    return cpu_count() if jobs is None else jobs


def end_with_parent() -> None:
    """Make this worker process end when its parent does, however that ends; returns at once.

    A parent that is killed cannot stop its workers, and they would wait for work for ever.
    """
    threading.Thread(target=_wait, daemon=True).start()
    # Ctrl-C in a terminal reaches the workers, too: their parent says what there is to say
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def stop_workers(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Where the block fails or is interrupted, end a pool's workers at once, whatever they are doing."""
    try:
        yield
    except BaseException:
        workers = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        raise


def _wait() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
