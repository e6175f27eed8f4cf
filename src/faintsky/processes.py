"""Worker processes that do not outlive the process that started them."""

from __future__ import annotations

import os
import threading


def end_with_parent() -> None:
    """Make this worker process end when its parent does, however that ends; returns at once.

    A parent that is killed cannot stop its workers, and they would wait for work for ever.
    """
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
