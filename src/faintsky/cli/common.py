"""What every command shares: its options, a configuration file, progress, and the summary at the end."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from faintsky.errors import InputError


def _configure(context: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a TOML file; what stands on the command line wins."""
    if path is not None and not context.resilient_parsing:
        known = {p.name: p for p in context.command.params if p.name not in ("config", "debug", "help", None)}
        context.default_map = {**(context.default_map or {}), **read_config(path, known)}
    return path


def read_config(path: Path, known: Any) -> dict[str, Any]:
    """Options by parameter name from a TOML file.

    Parameters
    ----------
    path : pathlib.Path
        Keys are options' names, with ``-`` or ``_`` and without leading dashes; a list stands for its items
        joined by commas, and ``set`` is a table, or a list of ``"key=value"``.
    known : container of str
        Parameter names that exist.

    Raises
    ------
    InputError
        Where the file cannot be read, or has a key that is no option.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", "check the path of --config", path) from error
    except ValueError as error:
        raise InputError(f"cannot be read as TOML ({error})", "correct the file", path) from error
    values = {}
    for key, value in settings.items():
        name = {"json": "as_json", "set": "change"}.get(key, key.replace("-", "_"))
        if name not in known:
            plain = {"as_json": "json", "change": "set"}
            options = ", ".join(sorted(plain.get(n, n).replace("_", "-") for n in known))
            raise InputError(f"unknown key {key!r}", f"this command's options are {options}", path)
        if name == "change":
            items = value.items() if isinstance(value, dict) else ()
            words = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in items]
            values[name] = words or value
        else:
            values[name] = ",".join(str(v) for v in value) if isinstance(value, list) else value
    return values


def _use_cores(jobs: int | None) -> int | None:
    # numerical libraries read these once, when they are first imported, which is later than this
    if jobs is not None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(jobs)
    return jobs


Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write into.")]
Beam = Annotated[
    str | None,
    typer.Option(metavar="MAJ,MIN,PA", help="Beam, such as 6arcsec,5arcsec,30deg, instead of the header's."),
]
Stokes = Annotated[
    str | None, typer.Option(metavar="I", help="Which of several Stokes planes: I, Q, RR … I by default.")
]
RestFrequency = Annotated[
    str | None, typer.Option(metavar="1420.405752MHz", help="Rest frequency of the line, not the header's.")
]
Dish = Annotated[
    str | None, typer.Option(metavar="7m", help="Diameter of the dishes, for the primary beam; 0m: one dish.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE.toml", callback=_configure, is_eager=True,
        help="Take options by name from a file; the command line wins.",
    ),
]  # fmt: skip
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where to compute.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes; one a CPU core by default.")]
Cores = Annotated[
    int | None, typer.Option("--jobs", min=1, callback=_use_cores, help="CPU cores to use; all by default.")
]
Kind = Annotated[str, typer.Option(metavar="auto|restored|dirty", help="Whether it was deconvolved.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output of another run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print a machine-readable summary as the last line.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def command_line() -> str:
    """The command as it was typed, for the record."""
    return shlex.join(["faintsky", *sys.argv[1:]])


def split(text: str | None) -> tuple[str, ...]:
    """The parts of a comma-separated option."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def pairs(items: list[str] | None) -> dict[str, str]:
    """``key=value`` options as a mapping.

    Raises
    ------
    InputError
        For an item without ``=``.
    """
    for item in items or []:
        if "=" not in item:
            raise InputError(f"{item!r} is not of the form key=value", "give such as --set steps=2000")
    return {key.strip(): value for key, _, value in (item.partition("=") for item in items or [])}


SILENCE = 10.0
"""Seconds after which a command that has nothing new to say shows that it is alive."""


class Report:
    """Progress while a command runs and a summary when it is done; a context manager.

    Progress is a bar on a terminal. Elsewhere it is a line for each stage, and one every ten seconds: where
    the work itself says nothing for so long, what it is at and since when.

    Parameters
    ----------
    as_json : bool
        End with one line of JSON on standard output instead of a readable summary.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._last = self._since = time.monotonic()
        self._stage, self._text = "", "starting"
        self._ended = threading.Event()

    def __enter__(self) -> Report:
        if not sys.stderr.isatty():
            threading.Thread(target=self._show_life, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def progress(self, done: int, total: int, label: str = "") -> None:
        """Show that ``done`` of ``total`` steps are done; brackets hold details of a stage."""
        stage = label.partition(" (")[0]
        if sys.stderr.isatty():
            self._draw(done, total, stage, label)
            return
        self._text = f"{label} {done}/{total}".strip()
        if stage != self._stage or done >= total or time.monotonic() - self._last > SILENCE:
            if stage != self._stage:
                self._stage, self._since = stage, time.monotonic()
            self._print(self._text)

    def _print(self, text: str) -> None:
        self._last = time.monotonic()
        print(text, file=sys.stderr, flush=True)

    def _show_life(self) -> None:
        while not self._ended.wait(SILENCE / 10):
            now = time.monotonic()
            if now - self._last > SILENCE:
                self._print(f"{self._text}, for {now - self._since:.0f} s")

    def _draw(self, done: int, total: int, stage: str, label: str) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

        if self._bar is None:
            columns = (SpinnerColumn(), *Progress.get_default_columns(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        text = label.replace("[", r"\[")
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(text, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total, description=text)

    def _stop(self) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def finish(self, summary: Any, lines: Sequence[str] | None = None) -> None:
        """Print a summary: a mapping, or an object whose ``summary()`` gives one; for people as `lines`."""
        self._stop()
        from faintsky.io.output import plain

        values = plain(summary.summary() if hasattr(summary, "summary") else summary)
        if self.as_json:
            print(json.dumps(values), flush=True)
            return
        print("\n".join(_line(*item) for item in values.items()) if lines is None else "\n".join(lines))


def _line(key: str, value: Any) -> str:
    """A number's unit stands at the end of its key, and is written behind the number."""
    name, _, unit = key.rpartition("_")
    if unit in ("gb", "minutes") and name and value is not None:
        value = f"about {value:g} minutes" if unit == "minutes" else f"{value:g} GB"
        key = name
    if key == "notes":  # sentences with commas of their own
        return "\n  ".join(["notes:", *value]) if value else "notes: none"
    return f"{key.replace('_', ' ')}: {_readable(value)}"


def _readable(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_readable(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_readable(v) for v in value)
    return "-" if value is None else str(value)
