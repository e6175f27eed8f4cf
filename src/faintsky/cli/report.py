"""Progress of a command, and the summary at its end."""

import json
import sys
import threading
import time
from typing import Any, Self

SILENCE = 10.0
"""Longest time without output, after which the command shows that it is still running [s]."""


LEAST_STEPS = 50
"""Fewest steps of a run whose remaining time is estimated."""
LEAST_DONE = 0.02
"""Fraction of the steps that must be done before that."""
AT_ONCE = 0.05
"""Time of a step that was done by an earlier, stopped run, and is only counted [s]."""
COUNTING = 30.0
"""Longest time in which such steps are counted [s]."""


class Report:
    """Progress while a command runs and a summary when it is done; a context manager.

    Progress is a bar on a terminal. Elsewhere it is a line for each stage, and one every ten seconds. Without
    news for so long, this names the stage and the time since it began.

    Parameters
    ----------
    as_json : bool
        End with one line of JSON on standard output instead of a readable summary.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._last = self._since = self._begun = self._came = self._started = time.monotonic()
        self._total = self._first = 0
        self._stage, self._text = "", "starting"
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        if not sys.stderr.isatty():
            threading.Thread(target=self._show_life, daemon=True).start()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stop()

    def progress(self, done: int, total: int, label: str = "") -> None:
        """Show progress.

        Parameters
        ----------
        done, total : int
            Steps done, and steps in all.
        label : str, optional
            The stage; brackets hold details of it.
        """
        stage = label.partition(" (")[0]
        if sys.stderr.isatty():
            self._draw(done, total, stage, label)
            return
        now = time.monotonic()
        if total != self._total or not done:
            self._total, self._started = total, now
            self._begun, self._first = now, done
        elif self._begun == self._came and now - self._came < AT_ONCE and now - self._started < COUNTING:
            self._begun, self._first = now, done
        self._came = now
        left = _time_left(done, total, self._first, now - self._begun)
        self._text = f"{label} {done}/{total}".strip() + left
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

    def finish(self, result: Any) -> None:
        """Print a mapping, or the ``facts`` of an object; as text its ``lines``, or the notes at the end."""
        self._stop()
        from faintsky.io import plain

        values = plain(getattr(result, "facts", result))
        if self.as_json:
            print(json.dumps(values), flush=True)
        else:
            ordered = sorted(values.items(), key=lambda item: item[0] == "notes")
            print("\n".join(getattr(result, "lines", None) or (_line(*item) for item in ordered)))


def _time_left(done: int, total: int, first: int, seconds: float) -> str:
    """Text on the remaining time of many steps, once some of them were done after the first ones."""
    if total < LEAST_STEPS or not LEAST_DONE * (total - first) <= done - first < total - first:
        return ""
    left = seconds * (total - done) / (done - first)
    return f", about {left / 60:.0f} minutes left" if left > 90 else f", about {left:.0f} s left"


def _line(key: str, value: Any) -> str:
    """One line of the summary; a unit at the end of the key is moved behind the number."""
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
