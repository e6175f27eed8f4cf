"""PyTorch Lightning as training uses it: an extra, without words of its own, and ended by Ctrl-C."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faintsky.errors import InputError


def lightning() -> Any:
    """The package, its own messages turned off.

    Raises
    ------
    InputError
        Where it is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import pytorch_lightning as pl
        except ImportError as error:
            raise InputError("training needs the extra 'train'", "pip install 'faintsky[train]'") from error
    for word in ("pytorch_lightning", "lightning.pytorch", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(word).setLevel(logging.ERROR)
    return pl


@contextmanager
def interruptible(trainer: Any) -> Iterator[None]:
    """Let Ctrl-C through: Lightning makes an exit with status 1 of it, some versions a quiet end."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, before)  # which Lightning leaves without effect
            raise end.__context__ from None
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt
