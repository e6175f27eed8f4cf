"""`faintsky.train`: from a simulation or a folder of data to a model's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from faintsky.options import Running, with_options

if TYPE_CHECKING:
    from faintsky.models import Model

PathLike = str | os.PathLike[str]


@dataclass
class TrainResult:
    """The result of `train`.

    Attributes
    ----------
    model : Model or None
        The model's folder; None after a dry run.
    facts : dict
        The summary.
    """

    model: Model | None
    facts: dict[str, Any] = field(default_factory=dict)


@with_options
def train(
    network: Annotated[str, "NETWORK"],
    out: PathLike,
    *,
    data: Annotated[PathLike | None, "DIR"] = None,
    simulate: Annotated[str | None, "PRESET"] = None,
    init: Annotated[str | None, "NAME|DIR"] = None,
    settings: Annotated[Mapping[str, Any] | None, "key=value"] = None,
    seed: Annotated[int, Ge(0)] = 0,
    watch: Callable[[Mapping[str, float]], None] | None = None,
    running: Running,
) -> TrainResult:
    """Train or fine-tune a network; the run's folder is a model that --model takes.

    A run that was killed continues from its last checkpoint.

    Parameters
    ----------
    network : str
        Such as ``local_unet``, ``dda`` or ``deepfocus``; the message on a wrong name lists them all.
    out : path-like
        The run's folder: it becomes a model's folder with ``model.json``, weights, ``history.json``,
        ``training.png``, ``run.json`` and the last checkpoint.
    data : path-like, optional
        A folder of ``faintsky simulate``, instead of a simulation during training.
    simulate : str, optional
        The simulation's preset; by default the recipe's first.
    init : str, optional
        A model to start from: its name or folder.
    settings : mapping, optional
        Settings of the recipe to change, such as ``steps=2000``; a dry run shows them all.
    seed : int, optional
        Seed of weights and data.
    watch : callable, optional
        Called with the scores of each validation; an exception from it ends the training.

    Returns
    -------
    TrainResult
        The model, and a summary; ``facts`` alone after a dry run.

    Raises
    ------
    InputError
        If an option is wrong, or the packages for training are not installed.
    """
    from faintsky.io import Job, plain
    from faintsky.models import load_model
    from faintsky.report import training_figure
    from faintsky.training import RECIPES

    plan = RECIPES[network]().plan(data=data, simulate=simulate, init=init, changes=settings, seed=seed)
    config = plan.record()
    running.asked = {"seed": seed}  # the plan holds all the rest, including defaults
    if plan.rank:  # ends with the training, for the first of the processes that share it does the rest
        plan.fit(Path(out), {}, device=running.device)
    job = Job("train", out, running, plan.needs(), plain(config), config=config, resumable=True)
    if job.done is not None:
        return TrainResult(load_model(Path(out)) if "already_complete" in job.done else None, job.done)
    with job:
        model, facts = plan.fit(
            job.folder, job.record, device=running.device, progress=running.progress, watch=watch
        )
        for history in job.folder.rglob("history.json"):
            numbers = json.loads(history.read_text(encoding="utf-8"))
            training_figure(numbers, history.with_name("training.png"))
    return TrainResult(model, {"model": str(out), **facts, "minutes": round(job.seconds / 60, 1)})
