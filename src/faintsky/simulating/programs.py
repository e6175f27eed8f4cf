"""Other programs, run in a folder of their own: they end with this process, and fail in one line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from faintsky.errors import FaintskyError

LOG = "words.log"
LONGEST = 12 * 3600.0
"""Seconds that the cleaning of one image may take."""
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
    """Run a program that watches its standard input and ends when that closes.

    Parameters
    ----------
    command : sequence of str
    folder : Path
        Where it runs; what it says goes there, to ``words.log``.
    name : str
        For the user.
    leaves : str
        A file that it has written in ``folder`` when all went well.
    environment : mapping, optional
        Its whole environment.
    limit : float, optional
        Seconds after which it is ended.

    Raises
    ------
    FaintskyError
        It failed, with its last words, or took too long.
    """
    log = folder / LOG
    with (
        log.open("wb") as words,
        subprocess.Popen(
            list(command),
            cwd=folder,
            env=None if environment is None else dict(environment),
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


def _end_with_parent() -> None:
    """End this program and those that it runs when standard input closes; for programs of ours, in a thread.

    The folder they run in goes too: whoever would have removed it may have been killed.
    """
    os.read(0, 1)
    shutil.rmtree(os.getcwd(), ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def start_watching() -> None:
    """Make this program, and those that it runs, end with the one that started it; returns at once."""
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
