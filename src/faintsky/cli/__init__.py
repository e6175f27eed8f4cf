"""The command line: commands and options are made from the public functions' signatures and docstrings.

Exceptions become one line and an exit status.
"""

import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from faintsky.errors import FaintskyError, InputError, disk_error

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``faintsky`` with some arguments (those of the process by default) and return its exit status.

    0: done; 1: failed at run time; 2: bad usage or bad input; 130: interrupted; 143: ended by SIGTERM. An
    error is one line on standard error, after the traceback where ``--debug`` is given.
    """
    from faintsky.cli.commands import build_command

    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        with ended_by_signals():
            status = build_command().main(args=arguments, prog_name="faintsky", standalone_mode=False)
    except BaseException as error:
        return exit_status_of(error, debug="--debug" in arguments)
    return status if isinstance(status, int) else 0


class Terminated(SystemExit):
    """SIGTERM, which batch systems send before they kill a process; it ends a command like Ctrl-C."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Make SIGTERM raise `Terminated` within the block, so that a command cleans up as after an error."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_status_of(error: BaseException, *, debug: bool = False) -> int:
    """Print an error as one line on standard error and return its exit status."""
    if isinstance(error, click.exceptions.Exit):
        return int(error.exit_code)
    if isinstance(error, Terminated):
        return _say("stopped by a signal; run the same command to continue", 143)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if debug:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _say("interrupted; run the same command to continue", 130)
    if isinstance(error, InputError):
        return _say(str(error), 2)
    if isinstance(error, click.ClickException):
        return _say(f"{_source(error)}{error.format_message()} {_see_help(error)}".strip(), 2)
    if isinstance(error, FaintskyError):
        return _say(str(error), 1)
    if isinstance(error, MemoryError):
        return _say("out of memory; use less data, or a machine with more memory", 1)
    failed = disk_error(error)
    if failed is not None:
        return _say(str(failed), 1)
    hint = "" if debug else " (--debug shows the traceback)"
    return _say(f"{type(error).__name__}: {error}{hint}", 1)


def _source(error: BaseException) -> str:
    """The configuration file and a colon, if the faulty value comes from it."""
    context, name = getattr(error, "ctx", None), getattr(getattr(error, "param", None), "name", None)
    if context is None or name is None:
        return ""
    source = context.get_parameter_source(name)
    return f"{context.meta['config']}: " if getattr(source, "name", "") == "DEFAULT_MAP" else ""


def _see_help(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return f"(see {context.command_path} --help)" if context is not None else ""


def _say(message: str, status: int) -> int:
    print("faintsky: error: " + " ".join(message.split()), file=sys.stderr)
    return status
