"""The command line: one file a command, each a thin call of a public function."""

from __future__ import annotations

import sys
from collections.abc import Sequence

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``faintsky`` with some arguments (those of the process by default) and return its exit status.

    0: done; 1: failed at run time; 2: bad usage or bad input; 130: interrupted; 143: ended by SIGTERM. An
    error is one line on standard error, after the traceback where ``--debug`` is given.
    """
    from faintsky.cli.app import build_command
    from faintsky.cli.errors import ended_by_signals, exit_status_of

    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        with ended_by_signals():
            status = build_command().main(args=arguments, prog_name="faintsky", standalone_mode=False)
    except BaseException as error:
        return exit_status_of(error, debug="--debug" in arguments)
    if status == INTERRUPTED:  # newer versions of typer turn the interrupt into a quiet exit
        return exit_status_of(KeyboardInterrupt())
    return status if isinstance(status, int) else 0
