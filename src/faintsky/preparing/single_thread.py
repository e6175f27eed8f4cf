"""Small matrix products are slower on several threads than on one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep NumPy's linear algebra on one thread within the block; PyTorch keeps its own.

    The fits multiply many small matrices. On a busy machine a threaded BLAS spends a hundred times longer
    waiting for its own threads than multiplying.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        yield
