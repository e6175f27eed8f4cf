"""The run of a command: it estimates its needs, locks its folder, and then works."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.companions import COMPANIONS
from faintsky.image import RadioData
from faintsky.io.output import OutputFolder, provenance
from faintsky.options import Running
from faintsky.system import Needs, limited_threads


class Job:
    """A run of a command; a context manager around its work.

    Making it checks the folder, and writes nothing. After a dry run, or if the same run was complete already,
    ``done`` is the summary, and there is no work to do.

    Parameters
    ----------
    name : str
        Name of the command.
    out : path-like or None
        Its folder; None if nothing is to be written.
    running : Running
        Options of the function; its arguments are the record's configuration.
    needs : Needs
        Memory, disk and time of the work.
    about : mapping
        Printed first in a dry run.
    data : RadioData, optional
        The input. The configuration holds its name, beam, dish and rest frequency, because the user may have
        written these in many ways.
    model : Model, optional
        The model used, recorded by name and hash.
    config : mapping, optional
        Entries of the configuration that replace the arguments.
    resumable : bool, optional
        Whether files are kept if the work is stopped; see `faintsky.io.OutputFolder`.
    **details
        Further entries of the record.

    Attributes
    ----------
    record : dict
        Version, command, configuration and details, which identify the run.
    folder : pathlib.Path
        Where to write within the block, if there is an ``out``.
    done : dict or None
        The summary if there is no work to do.
    """

    def __init__(
        self,
        name: str,
        out: str | os.PathLike[str] | None,
        running: Running,
        needs: Needs,
        about: Mapping[str, Any],
        *,
        data: RadioData | None = None,
        model: Any = None,
        config: Mapping[str, Any] | None = None,
        resumable: bool = False,
        **details: Any,
    ) -> None:
        asked = dict(running.asked)
        seed = {"seed": asked.pop("seed")} if "seed" in asked else {}
        if data is not None:
            asked |= _as_opened(asked, data)
        if model is not None:
            asked["model"] = model.name
            details |= {"model": model.name, "model_hash": model.hash}
        asked = {k: v for k, v in (asked | dict(config or {})).items() if k != "out" and not callable(v)}
        self.running, self.out, self.needs = running, out, needs
        self.record = provenance(command=running.command, config=asked, job=name, **details, **seed)
        self.output: OutputFolder | None = None
        self.done: dict[str, Any] | None = None
        if out is not None:
            self.output = OutputFolder(out, self.record, overwrite=running.overwrite, resumable=resumable)
            self.output.check()
        if running.dry_run:
            self.done = {**about, **needs.summary(out)}
        elif self.output is not None and self.output.complete:
            self.done = {"out": str(out), "already_complete": True}
        else:
            needs.check(out)
        self._limits, self._start = ExitStack(), time.monotonic()

    @property
    def folder(self) -> Path:
        """Where to write."""
        assert self.output is not None
        return self.output.folder

    @property
    def seconds(self) -> float:
        """Time since the work began [s]."""
        return round(time.monotonic() - self._start, 2)

    @property
    def made_by(self) -> dict[str, Any]:
        """The record as written into headers of files."""
        return {k: v for k, v in self.record.items() if k != "config"}

    def __enter__(self) -> Job:
        with ExitStack() as entered:  # if the folder is refused, the limit on threads ends
            entered.enter_context(limited_threads(self.running.jobs))
            if self.output is not None:
                entered.enter_context(self.output)
            self._limits = entered.pop_all()
        self._start = time.monotonic()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._limits.__exit__(*failure)


def _as_opened(asked: Mapping[str, Any], data: RadioData) -> dict[str, Any]:
    known = {"beam": lambda: data.require_beam()[0], "rest_frequency": lambda: data.rest_frequency}
    found = {next(iter(asked)): data.name, "dish": data.dish}
    found |= {key: look() for key, look in known.items() if asked.get(key) is not None}
    return found | {key: _in_words(asked[key]) for key in COMPANIONS if key in asked}


def _in_words(value: Any) -> Any:
    """Arrays in memory by shape, type and sum; other values as they are."""
    if isinstance(value, np.ndarray):
        return f"array {value.shape} of {value.dtype}, sum {np.nansum(value):.9g}"
    return getattr(value, "name", value) if not isinstance(value, str | os.PathLike) else value
