"""`faintsky.train`: from a simulation or a folder of data to a model's folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky.errors import InputError
from faintsky.io.output import OutputFolder, provenance
from faintsky.models import Model, load_model, save_model
from faintsky.training.needs import needs_of_training
from faintsky.training.recipes import Recipe, Request, find_recipe, make_plan

if TYPE_CHECKING:
    from torch import nn

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
        A registered network that has a recipe.
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
        Numbers of the recipe to change; see `faintsky.training.recipes`.
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
    if network == "deepfocus":
        from faintsky.published.deepfocus.training import train_deepfocus

        return train_deepfocus(
            out, data=data, settings=settings, seed=seed, device=device, overwrite=overwrite, dry_run=dry_run,
            command=command, progress=progress,
        )  # fmt: skip
    recipe = find_recipe(network)
    if data is not None and simulate is not None:
        raise InputError("both data and a simulation were given", "give one of them")
    folder = None if data is None else Path(data)
    if folder is not None and not folder.is_dir():
        raise InputError("is no folder", "give a folder of `faintsky simulate`", folder)
    if folder is None and not recipe.presets:
        raise InputError(
            f"{network} needs data", "give --data, made by faintsky simulate alma --products compact"
        )
    preset = next(iter(recipe.presets), "") if simulate is None else simulate
    if preset and preset not in recipe.presets:
        raise InputError(f"{network} has no simulation {preset!r}", f"choose {', '.join(recipe.presets)}")
    plan = make_plan(recipe, {**(settings or {}), "seed": seed})
    if folder is not None:
        recipe.check_data(folder, plan.settings)
    first = None if init is None else load_model(init, job=recipe.job)
    source = {"simulate": preset} if folder is None else {"data": folder}
    record = provenance(
        command=command,
        config={"network": network, **source, "init": first and first.hash, **plan.record()},
        job="train", seed=seed,
    )  # fmt: skip
    needs = needs_of_training(network, plan, folder)
    output = OutputFolder(out, record, overwrite=overwrite, resumable=True)
    output.check()
    if dry_run:
        return TrainResult(None, {**record["config"], **needs.summary(out)})
    if output.complete:
        return TrainResult(load_model(Path(out)), {"out": str(out), "already_complete": True})
    needs.check(out)
    with output:
        start = time.monotonic()
        fresh = _start(network, plan.arguments, recipe.key.format(**plan.settings), first, seed)
        request = Request(fresh, output.folder, folder, preset, plan.settings, seed, progress)
        model, history = _fit(network, recipe, request, plan, record, device, watch)
        best = min(history, key=lambda h: h["loss"])
        facts = {
            "model": str(out), "parameters": sum(p.numel() for p in fresh.parameters()),
            **{k + "s": history[-1][k] for k in ("step", "epoch") if k in history[-1]}, "best": best,
            "minutes": round((time.monotonic() - start) / 60, 1),
        }  # fmt: skip
    return TrainResult(model, facts)


def _start(network: str, arguments: Mapping[str, Any], key: str, first: Model | None, seed: int) -> nn.Module:
    import torch

    from faintsky.networks import make_network

    torch.manual_seed(seed)
    fresh = make_network(network, **arguments)
    if first is not None:
        entry = first.card["networks"].get(key, {})
        if entry.get("network") != network or dict(entry.get("arguments", {})) != dict(arguments):
            raise InputError(
                f"model {first.name!r} holds another network than {network} with {dict(arguments)}",
                "give its own numbers with --set, or another --init",
            )
        fresh.load_state_dict(first.network(key).state_dict())
    return fresh


def _fit(
    network: str,
    recipe: Recipe,
    request: Request,
    plan: Any,
    record: Mapping[str, Any],
    device: str,
    watch: Callable[[Mapping[str, float]], None] | None,
) -> tuple[Model, list[dict[str, float]]]:
    from faintsky.report.training import training_figure
    from faintsky.training.fit import fit

    task = recipe.make_task(request)
    trained, history = fit(
        task, request.folder, plan.schedule, device=device, progress=request.progress, watch=watch
    )
    best = min(history, key=lambda h: h["loss"])
    training_figure(history, request.folder / "training.png")
    card = {
        "title": f"{network}, trained by faintsky train",
        "recipe": {"command": record["command"], "seed": request.seed, **record["config"]},
        "version": record["version"],
        "scores": {"validation": best},
        "reached": {k: history[-1][k] for k in ("step", "epoch") if k in history[-1]},
    }
    model = save_model(
        request.folder,
        name=Path(request.folder).name,
        job=recipe.job,
        settings=recipe.model_settings() | recipe.learned(task, trained),
        networks={recipe.key.format(**plan.settings): (network, plan.arguments, trained)},
        card=card,
    )
    return model, history
