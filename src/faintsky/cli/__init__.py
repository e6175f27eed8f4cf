"""The command line: commands and options are made from the public functions' signatures and docstrings."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``faintsky`` with some arguments (those of the process by default) and return its exit status.

    0: done; 1: failed at run time; 2: bad usage or bad input; 130: interrupted; 143: ended by SIGTERM. An
    error is one line on standard error, after the traceback where ``--debug`` is given.
    """
    from faintsky.cli.commands import build_command
    from faintsky.cli.errors import ended_by_signals, exit_status_of

    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        with ended_by_signals():
            status = build_command().main(args=arguments, prog_name="faintsky", standalone_mode=False)
    except BaseException as error:
        return exit_status_of(error, debug="--debug" in arguments)
    return status if isinstance(status, int) else 0
