"""`faintsky.train`: from a simulation or a folder of data to a model's folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faintsky.io.output import OutputFolder, provenance
from faintsky.models import Model, load_model
from faintsky.training import RECIPES

PathLike = str | os.PathLike[str]


@dataclass
class TrainResult:
    """What `train` did.

    Attributes
    ----------
    model : Model or None
        The model's folder; None after a dry run.
    facts : dict
        The summary.
    """

    model: Model | None
    facts: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """What the command prints."""
        return self.facts


def train(
    network: str,
    out: PathLike,
    *,
    data: PathLike | None = None,
    simulate: str | None = None,
    init: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    dry_run: bool = False,
    command: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    watch: Callable[[Mapping[str, float]], None] | None = None,
) -> TrainResult:
    """Train a network, or go on with a run that was killed.

    Parameters
    ----------
    network : str
        One of `faintsky.registry.RECIPES`.
    out : path-like
        The run's folder: it becomes a model's folder with ``model.json``, weights, ``history.json``,
        ``training.png``, ``run.json`` and the last checkpoint.
    data : path-like, optional
        A folder of ``faintsky simulate``, instead of a simulation as training goes.
    simulate : str, optional
        The simulation's preset; the recipe's first where neither is given.
    init : str, optional
        A model to begin with: its name or folder.
    settings : mapping, optional
        Numbers of the recipe to change; see `faintsky.training.Recipe`.
    seed : int, optional
        Of weights and data.
    device : {"auto", "cpu", "cuda"}
    overwrite : bool
        Replace another run.
    dry_run : bool
        Say what would be done.
    command : str, optional
        For the record.
    progress : callable, optional
        Called with steps done, steps in all, and a word.
    watch : callable, optional
        Called with the scores of each validation; what it raises ends the training.

    Raises
    ------
    InputError
        Where an option is wrong, or training is not installed.
    """
    from faintsky.report.training import training_figure

    plan = RECIPES[network]().plan(data=data, simulate=simulate, init=init, changes=settings, seed=seed)
    record = provenance(command=command, config=plan.record(), job="train", seed=seed)
    needs = plan.needs()
    output = OutputFolder(out, record, overwrite=overwrite, resumable=True)
    output.check()
    if dry_run:
        return TrainResult(None, {**record["config"], **needs.summary(out)})
    if output.complete:
        return TrainResult(load_model(Path(out)), {"out": str(out), "already_complete": True})
    needs.check(out)
    with output:
        start = time.monotonic()
        model, facts = plan.fit(output.folder, record, device=device, progress=progress, watch=watch)
        for history in output.folder.rglob("history.json"):
            training_figure(
                json.loads(history.read_text(encoding="utf-8")), history.with_name("training.png")
            )
    minutes = round((time.monotonic() - start) / 60, 1)
    return TrainResult(model, {"model": str(out), **facts, "minutes": minutes})
