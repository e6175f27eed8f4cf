"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path``; what was written there becomes ``path`` when the block succeeds.

    Parameters
    ----------
    path : path-like
        Final name; an existing file is replaced in one step, and kept where the block raises.

    Yields
    ------
    pathlib.Path
        The temporary name, with the same extensions (readers and writers choose formats by them).
    """
    final = Path(path)
    temporary = final.with_name(f".{uuid.uuid4().hex[:8]}.{final.name}")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
