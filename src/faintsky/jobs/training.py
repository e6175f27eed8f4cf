"""Training: `faintsky.train` makes a model's folder; `faintsky.tune` searches for the best settings.

All runs of the same ``tune`` share the search.
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from faintsky import evaluation, io, models, registry, system, training
from faintsky import report as pages
from faintsky.errors import InputError
from faintsky.options import PathLike, Running, with_options


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

    model: models.Model | None
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
        Such as ``local_unet``, ``dda`` or ``deepfocus``; the error message for a wrong name lists all.
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
    given: dict[str, Any] = {"data": data, "simulate": simulate, "init": init, "seed": seed}
    plan = registry.RECIPES[network]().plan(changes=settings, **given)
    config = plan.record()
    running.asked = {"seed": seed}  # the plan holds all the rest, including defaults
    if plan.rank:  # ends with the training, for the first of the processes that share it does the rest
        plan.fit(Path(out), {}, device=running.device)
    job = io.Job("train", out, running, plan.needs(), io.plain(config), config=config, resumable=True)
    if job.done is not None:
        return TrainResult(models.load_model(Path(out)) if "already_complete" in job.done else None, job.done)
    with job:
        model, facts = plan.fit(
            job.folder, job.record, device=running.device, progress=running.progress, watch=watch
        )
        for history in job.folder.rglob("history.json"):
            numbers = json.loads(history.read_text(encoding="utf-8"))
            pages.training_figure(numbers, history.with_name("training.png"))
    return TrainResult(model, {"model": str(out), **facts, "minutes": round(job.seconds / 60, 1)})


TRIALS = 50
"""Default number of trials of a sampler."""
PLANNED = "planned"
"""A folder that never exists, for the plan that is made before there are any trials."""


class _Diverged(Exception):
    """The loss became NaN or infinite."""


@dataclass
class TuneResult:
    """The result of `tune`.

    Attributes
    ----------
    best : dict or None
        The contents of ``best.json``; None if no trial is complete, and after a dry run.
    facts : dict
        The summary.
    """

    best: dict[str, Any] | None
    facts: dict[str, Any] = field(default_factory=dict)


@with_options
def tune(
    network: Annotated[str, "NETWORK"],
    out: PathLike,
    *,
    data: Annotated[PathLike | None, "DIR"] = None,
    simulate: Annotated[str | None, "PRESET"] = None,
    init: Annotated[str | None, "NAME|DIR"] = None,
    settings: Annotated[Mapping[str, Any] | None, "key=a/b/c|key=low..high|key=value"] = None,
    grid: Annotated[str | None, "NAME"] = None,
    sampler: Annotated[str | None, "grid|tpe|random"] = None,
    trials: Annotated[int | None, Ge(1)] = None,
    prune: Annotated[str, "median|halving|none"] = "median",
    metric: str = "loss",
    seed: Annotated[int, Ge(0)] = 0,
    running: Running,
) -> TuneResult:
    """Search for a network's best settings; several runs of the same command share the work.

    Any number of processes, on all machines that share ``out``, may run the same call at the same time: they
    divide the trials among them. The same call also continues a search that was stopped.

    Parameters
    ----------
    network : str
        One that ``train`` takes, except ``deepfocus``.
    out : path-like
        The study's folder: ``table.csv`` and ``table.md`` (all trials, the best first), ``best.json`` (the
        best recipe, and the command that trains it), ``journal.log`` (Optuna's), ``run.json``, and in
        ``trials`` a folder for each trial, of which only the best one's keeps its weights.
    data : path-like, optional
        A folder of ``faintsky simulate``, instead of a simulation during training.
    simulate : str, optional
        The simulation's preset; by default the recipe's first.
    init : str, optional
        A model to start from: its name or folder.
    settings : mapping, optional
        Settings of the recipe. Text such as ``25/50/100`` is a choice; ``1e-5..1e-2`` is a range (logarithmic
        if it spans more than a factor of ten); anything else is one value for every trial.
    grid : str, optional
        One of the recipe's named grids, which `settings` may change; those of ``dda`` are ``paper`` and
        ``architectures``.
    sampler : {"grid", "tpe", "random"}, optional
        ``grid`` tries all combinations; ``tpe`` draws trials by Optuna's tree-structured Parzen estimator;
        ``random`` draws uniformly. The default is ``tpe`` if there are ranges, otherwise ``grid``.
    trials : int, optional
        Number of trials of all workers together: by default those of the grid, or 50.
    prune : {"median", "halving", "none"}
        Stop trials whose validation is worse than the median of the others at the same step, or than the
        better quarter of them (successive halving).
    metric : str
        The validation's score that is minimised. Losses of different kinds cannot be compared.
    seed : int
        Seed of weights, data and sampler.
    overwrite : bool
        Remove the existing study. Use it with one worker only: each would remove the others' work.

    Returns
    -------
    TuneResult
        The best trial so far, of all workers, and a summary.

    Raises
    ------
    InputError
        If an option is wrong, the folder holds another study, or Optuna is not installed.
    """
    recipe = registry.RECIPES[network]()
    if not isinstance(recipe, training.Recipe):
        raise InputError(f"{network} cannot be tuned as a whole", "tune one of its networks")
    space, fixed = training.make_space(recipe, grid, settings or {})
    if sampler is None:
        sampler = "tpe" if any(isinstance(v, training.Range) for v in space.values()) else "grid"
    for name, value, known in (("sampler", sampler, training.SAMPLERS), ("pruning", prune, training.PRUNERS)):
        if value not in known:
            raise InputError(f"no {name} {value!r}", f"choose one of {', '.join(known)}")
    points = training.combinations(space) if sampler == "grid" else []
    for point in points or [{}]:
        recipe.numbers({**fixed, **point})
    call: dict[str, Any] = {"data": data, "simulate": simulate, "init": init, "seed": seed}
    call |= {"device": running.device, "jobs": running.jobs}
    one = train(network, Path(out) / "trials" / PLANNED, settings=fixed, dry_run=True, **call)
    config = {
        "network": network, "data": None if data is None else str(Path(data).resolve()), "simulate": simulate,
        "init": None if init is None else models.load_model(init).hash, "fixed": fixed,
        "space": {k: vars(v) if isinstance(v, training.Range) else list(v) for k, v in space.items()},
        "sampler": sampler, "prune": prune, "metric": metric, "seed": seed,
    }  # fmt: skip
    record = io.plain(config)
    most = trials if sampler == "grid" or trials is not None else TRIALS
    if running.dry_run:
        number = most or len(points)
        each = {
            key: one.facts[key]
            for key in ("memory_gb", "disk_gb", "disk_free_gb", "time_minutes", "processes")
        }
        each["time_minutes"] = float(f"{number * each['time_minutes']:.3g}")
        return TuneResult(None, {**record, "trials": number, "blocks": number, **each, "out": str(out)})
    system.check_space(Path(out), one.facts["disk_gb"] * 1e9)
    if running.overwrite:
        _remove(Path(out))
    study = training.Study(Path(out), record, space, sampler=sampler, prune=prune, seed=seed)
    made_by = io.provenance(command=running.command, config=record, job="tune", seed=seed)
    io.write_json(study.folder / "run.json", made_by)
    start, worked = time.monotonic(), 0
    while (trial := study.next(most)) is not None:
        _work(study, trial, network, fixed, call, metric, running)
        _tidy(study)
        _write(study, record, data)
        worked += 1
    best = _write(study, record, data)
    return TuneResult(best, {
        "out": str(out), "trials": _counts(study), "worked_at": worked,
        "best": best and {k: best[k] for k in ("value", "settings", "model")},
        "minutes": round((time.monotonic() - start) / 60, 1),
    })  # fmt: skip


def _work(
    study: training.Study,
    trial: Any,
    network: str,
    fixed: Mapping[str, Any],
    call: Mapping[str, Any],
    metric: str,
    running: Running,
) -> None:
    """Train with a trial's settings and report the score to the study."""
    states, pruned = study.optuna.trial.TrialState, study.optuna.TrialPruned
    folder, step = study.trial_folder(trial), 0

    def watch(scores: Mapping[str, float]) -> None:
        nonlocal step
        value = _score(scores, metric)
        if not math.isfinite(scores["loss"]) or not math.isfinite(value):
            raise _Diverged
        trial.report(value, step)
        step += 1
        if trial.should_prune():
            raise pruned

    def tell(done: int, total: int, word: str) -> None:
        running.tell(done, total, f"trial {trial.number}: {word}")

    start = time.monotonic()
    with study.alive(trial):
        try:
            train(
                network, folder, settings={**fixed, **trial.params}, watch=watch, progress=tell,
                **call,
            )  # fmt: skip
            history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
            value = _score(min(history, key=lambda h: h["loss"]), metric)
        except pruned:
            study.study.tell(trial, state=states.PRUNED)
        except InputError:
            study.study.tell(trial, state=states.FAIL)
            raise
        except (_Diverged, RuntimeError, ValueError, MemoryError) as error:
            # a combination of settings may need too much memory, or diverge
            trial.set_user_attr("reason", "diverged" if isinstance(error, _Diverged) else str(error)[:200])
            study.study.tell(trial, state=states.FAIL)
        else:
            trial.set_user_attr("minutes", round((time.monotonic() - start) / 60, 2))
            study.study.tell(trial, value)


def _score(scores: Mapping[str, float], metric: str) -> float:
    if metric not in scores:
        known = ", ".join(k for k in scores if k not in ("step", "epoch"))
        raise InputError(f"validation has no score {metric!r}", f"choose one of {known}")
    return float(scores[metric])


def _ranked(study: training.Study) -> list[Any]:
    """Trials, the best first; complete trials before those that were stopped."""
    order = ("COMPLETE", "PRUNED", "RUNNING", "WAITING", "FAIL")
    far = math.inf
    return sorted(
        study.trials(),
        key=lambda t: (order.index(t.state.name), far if t.value is None else t.value, t.number),
    )


def _tidy(study: training.Study) -> None:
    """Keep only the weights of the best trial, and no checkpoints of finished trials."""
    for place, trial in enumerate(_ranked(study)):
        if trial.state.is_finished():
            for file in study.trial_folder(trial).glob("*"):
                if file.suffix == ".ckpt" or (file.suffix == ".safetensors" and place > 0):
                    file.unlink(missing_ok=True)


def _write(study: training.Study, record: Mapping[str, Any], data: PathLike | None) -> dict[str, Any] | None:
    """Tables, and the best recipe."""
    ranked = [t for t in _ranked(study) if t.state.name != "WAITING"]
    rows = []
    for rank, trial in enumerate(ranked, start=1):
        history = study.trial_folder(trial) / "history.json"
        scores = json.loads(history.read_text(encoding="utf-8")) if history.is_file() else []
        kept = min(scores, key=lambda h: h["loss"]) if scores else {}
        extra = {k: trial.user_attrs[k] for k in ("minutes", "reason") if k in trial.user_attrs}
        rows.append({
            "rank": rank, "trial": trial.number, "state": trial.state.name.lower(),
            **({} if trial.value is None else {record["metric"]: trial.value}), **trial.params,
            **{k: v for k, v in kept.items() if k != record["metric"]},
            **({"validations": len(scores)} if scores else {}), **extra,
        })  # fmt: skip
    title = f"{record['network']}: {len(rows)} trials by {record['metric']}, the lowest first"
    names = list(dict.fromkeys(name for row in rows for name in row))
    whole = [{name: row.get(name, "") for name in names} for row in rows]
    evaluation.write_csv(whole, study.folder / "table.csv")
    cells = [list(map(_cell, row.values())) for row in whole]
    table = evaluation.markdown([name.replace("_", " ") for name in names], cells)
    system.write_text(study.folder / "table.md", f"{title}\n\n{table}")
    if not ranked or ranked[0].state.name != "COMPLETE":
        return None
    settings = {**record["fixed"], **_plain_values(record, ranked[0].params)}
    words = ["faintsky", "train", record["network"], "--out", "RUN", "--seed", str(record["seed"])]
    for option, value in (("--data", data), ("--simulate", record["simulate"])):
        words += [] if value is None else [option, str(value)]
    for key, value in settings.items():
        words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    best = {
        "network": record["network"], "settings": settings, "metric": record["metric"],
        "value": ranked[0].value, "trial": ranked[0].number, "seed": record["seed"],
        "model": str(study.trial_folder(ranked[0])), "command": shlex.join(words),
    }  # fmt: skip
    io.write_json(study.folder / "best.json", best)
    return best


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain_values(record: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna's values for the recipe: lists are stored as text in Optuna."""
    lists = {k for k, v in record["space"].items() if isinstance(v, list) and isinstance(v[0], list)}
    return {k: json.loads(v) if k in lists else v for k, v in params.items()}


def _counts(study: training.Study) -> dict[str, int]:
    return dict(Counter(t.state.name.lower() for t in study.trials()))


def _remove(folder: Path) -> None:
    """Remove a study's own files; a folder that holds none is left, and will be refused."""
    if (folder / training.JOURNAL).is_file():
        shutil.rmtree(folder / training.TRIALS, ignore_errors=True)
        for name in (training.JOURNAL, training.LOCK, "run.json", "best.json", "table.csv", "table.md"):
            (folder / name).unlink(missing_ok=True)
