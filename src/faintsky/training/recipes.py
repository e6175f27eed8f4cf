"""How a network is trained: a recipe, the plan that it makes from the user's numbers, and the trained model.

A recipe is found by the name of its network in `faintsky.registry.RECIPES`. It defines the task (see
`faintsky.training.loop`), the data, the hyperparameters, and the content of the model's card.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from faintsky.errors import InputError
from faintsky.models import Model, load_model, save_model
from faintsky.networks import arguments_of, make_network
from faintsky.options import Progress
from faintsky.system import BYTES_OF_TABLES, Needs, Settings
from faintsky.training.loop import Schedule, Task, fit, process_rank

Watch = Callable[[Mapping[str, float]], None]

BYTES_FIXED = 0.6e9
"""Memory of the libraries."""
BYTES_A_WEIGHT = 28
"""Memory of a weight with gradient, two moments, average, best and a copy."""
BYTES_A_WEIGHT_KEPT = 24
"""Disk space of a weight in the model and its checkpoint."""


class Recipe(ABC):
    """How one network is trained; subclasses override what differs.

    Attributes
    ----------
    network : str
        Its name in `faintsky.registry.NETWORKS`.
    job : str
        Purpose of the model.
    key : str
        The network's name in the model's card; ``{setting}`` stands for that setting's value.
    presets : tuple of str
        Simulations for training, the default first; if empty, data are required.
    schedule : mapping
        Differences from `Schedule`'s defaults.
    settings : type of Settings
        Settings of the task; the network's arguments are those of its class.
    spaces : mapping
        Named grids of a search (`faintsky.training.search`): values by key.
    cost : tuple of float
        Seconds of a processor core, and bytes, of a step for each pixel or channel of each example, forward
        and backward; measured with the recipe's own sizes.
    """

    network: ClassVar[str]
    job: ClassVar[str]
    key: ClassVar[str]
    presets: ClassVar[tuple[str, ...]] = ()
    schedule: ClassVar[Mapping[str, Any]] = {}
    settings: ClassVar[type[Settings]] = Settings
    spaces: ClassVar[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {}
    cost: ClassVar[tuple[float, float]] = (1e-5, 2e3)

    @abstractmethod
    def check_data(self, data: Path, settings: Any) -> None:
        """Refuse a folder of data unless all of it would be used for training.

        Parameters
        ----------
        data : pathlib.Path
            The folder.
        settings : Settings
            Of the task.
        """

    @abstractmethod
    def task(self, plan: Plan, network: nn.Module, folder: Path, progress: Progress | None) -> Task:
        """The task to learn.

        Parameters
        ----------
        plan : Plan
            What is to be done.
        network : torch.nn.Module
            To be trained.
        folder : pathlib.Path
            Of the run; the task stores there what it computes once.
        progress : callable or None
            Called with steps done, steps in all, and a word.

        Returns
        -------
        Task
            What `fit` trains.
        """

    def pixels(self, plan: Plan) -> int:
        """Size of an example.

        Parameters
        ----------
        plan : Plan
            What is to be done.

        Returns
        -------
        int
            Pixels or channels.
        """
        return int(plan.arguments["size"]) ** 2

    def examples(self, plan: Plan) -> int:
        """Number of stored examples.

        Parameters
        ----------
        plan : Plan
            What is to be done.

        Returns
        -------
        int
            Approximate number.
        """
        return 0

    def kept_bytes(self, plan: Plan) -> float:
        """Size of the data that are made once for the run and kept in its folder.

        Parameters
        ----------
        plan : Plan
            What is to be done.

        Returns
        -------
        float
            Bytes.
        """
        return 0.0

    def fitting(self, settings: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        """The network's arguments, including those that follow from the settings.

        Parameters
        ----------
        settings : Settings
            Of the task.
        arguments : dict
            The user's values and defaults.

        Returns
        -------
        dict
            Arguments of the network's class.
        """
        return arguments

    def model_settings(self, task: Any, network: nn.Module) -> dict[str, Any]:
        """Settings for the model's card, once the network is trained.

        Parameters
        ----------
        task : Task
            The trained task.
        network : torch.nn.Module
            As trained.

        Returns
        -------
        dict
            The card's ``settings``, such as thresholds.
        """
        return {}

    def numbers(self, changes: Mapping[str, Any]) -> tuple[Schedule, Settings, dict[str, Any]]:
        """Schedule, settings and the network's arguments, with the user's ``key=value`` in place of defaults.

        Parameters
        ----------
        changes : mapping
            By key of any of the three; text is read as JSON.

        Returns
        -------
        schedule : Schedule
            Length and pace.
        settings : Settings
            Of the task.
        arguments : dict
            Of the network.

        Raises
        ------
        InputError
            For an unknown key, or a value of wrong type or out of bounds.
        """
        kinds: tuple[type[Settings], ...] = (Schedule, self.settings, arguments_of(self.network))
        groups: list[dict[str, Any]] = [dict(self.schedule), {}, {}]
        for key, value in changes.items():
            group = next((g for k, g in zip(kinds, groups) if key in k.model_fields), None)
            if group is None:
                known = ", ".join(name for kind in kinds for name in kind.model_fields)
                raise InputError(f"unknown setting {key!r}", f"known: {known}")
            group[key] = read_value(value)
        schedule, settings, arguments = (kind.read(group) for kind, group in zip(kinds, groups))
        assert isinstance(schedule, Schedule)
        return schedule, settings, self.fitting(settings, arguments.model_dump(mode="json"))

    def plan(
        self,
        *,
        data: str | os.PathLike[str] | None = None,
        simulate: str | None = None,
        init: str | None = None,
        changes: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Plan:
        """Plan of a training, checked.

        Parameters
        ----------
        data : path-like, optional
            A folder of data.
        simulate : str, optional
            A preset; the first one by default, if no data are given.
        init : str, optional
            Name or folder of a model to start from.
        changes : mapping, optional
            See `numbers`.
        seed : int, optional
            Of weights and data.

        Returns
        -------
        Plan
            A training that can start.

        Raises
        ------
        InputError
            Where any of these is wrong.
        """
        folder, preset = source(self.network, data, simulate, self.presets)
        schedule, settings, arguments = self.numbers({**(changes or {}), "seed": seed})
        if folder is not None:
            self.check_data(folder, settings)
        first = None if init is None else load_model(init, job=self.job)
        return Plan(self, folder, preset, first, schedule, settings, arguments)


def read_value(value: Any) -> Any:
    """A setting's value; text is read as JSON where possible."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def source(
    network: str, data: str | os.PathLike[str] | None, simulate: str | None, presets: tuple[str, ...]
) -> tuple[Path | None, str]:
    """The source of training data.

    Parameters
    ----------
    network : str
        Name of the network, for messages.
    data : path-like or None
        The user's folder.
    simulate : str or None
        The user's preset.
    presets : tuple of str
        Presets of the recipe.

    Returns
    -------
    folder : pathlib.Path or None
    preset : str
        Of the simulation, if there is no folder.

    Raises
    ------
    InputError
        Where there is neither, or both.
    """
    if data is not None and simulate is not None:
        raise InputError("both data and a simulation were given", "give one of them")
    if data is not None:
        folder = Path(data)
        if not folder.is_dir():
            raise InputError("is not a folder", "give a folder of `faintsky simulate`", folder)
        return folder, ""
    if not presets:
        hint = "give --data, made by faintsky simulate alma --products compact"
        raise InputError(f"{network} needs data", hint)
    preset = presets[0] if simulate is None else simulate
    if preset not in presets:
        raise InputError(f"{network} has no simulation {preset!r}", f"choose {', '.join(presets)}")
    return None, preset


@dataclass(frozen=True)
class Plan:
    """A training that can start.

    Parameters
    ----------
    recipe : Recipe
        Of the network.
    data : pathlib.Path or None
        Folder of the data.
    preset : str
        Of the simulation, if there are no data.
    init : Model or None
        Model to start from.
    schedule : Schedule
        From `Recipe.numbers`, like the next two.
    settings : Settings
        Of the task.
    arguments : dict
        Of the network.
    """

    recipe: Recipe
    data: Path | None
    preset: str
    init: Model | None
    schedule: Schedule
    settings: Any
    arguments: dict[str, Any]

    @property
    def rank(self) -> int:
        """Number of this process among those that share the training; the first, 0, writes the folder."""
        return process_rank(self.schedule)

    def record(self) -> dict[str, Any]:
        """Description of the training for the card and ``run.json``.

        Returns
        -------
        dict
            Plain values.
        """
        where = {"simulate": self.preset} if self.data is None else {"data": str(self.data)}
        return {
            "network": self.recipe.network, **where, "init": self.init and self.init.hash,
            "schedule": self.schedule.model_dump(), "task": self.settings.model_dump(),
            "arguments": self.arguments,
        }  # fmt: skip

    def needs(self) -> Needs:
        """Needs of the whole run; for epochs over stored data, by the number of their files.

        Returns
        -------
        Needs
            Memory, disk and time.
        """
        s, kept = self.schedule, self.recipe.kept_bytes(self)
        weights = sum(p.numel() for p in make_network(self.recipe.network, **self.arguments).parameters())
        seconds, memory = self.recipe.cost
        pixels = self.recipe.pixels(self)
        steps, held = s.steps, 0.0
        if s.epochs:
            examples = self.recipe.examples(self)
            steps = s.epochs * max(1, examples // s.batch_size)
            held = 4.0 * examples * pixels  # both images of a pair, in half precision
        return Needs(
            BYTES_FIXED + weights * BYTES_A_WEIGHT + s.batch_size * pixels * memory + held + kept,
            weights * BYTES_A_WEIGHT_KEPT + kept + BYTES_OF_TABLES,
            60.0 + steps * s.batch_size * pixels * seconds,
        )

    def fit(
        self,
        folder: Path,
        record: Mapping[str, Any],
        *,
        device: str = "auto",
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> tuple[Model, dict[str, Any]]:
        """Train, or continue a stopped run in the folder, and write the model there.

        Parameters
        ----------
        folder : pathlib.Path
            Of the run.
        record : mapping
            The run's provenance, with ``command``, ``version`` and this plan's `record` as ``config``.
        device : str, optional
            ``"auto"``, or a torch device.
        progress, watch : callable, optional
            See `faintsky.training.loop`.

        Returns
        -------
        model : Model
            The model in the folder.
        facts : dict
            Weights, steps, epochs, and the best validation.
        """
        recipe, seed = self.recipe, self.schedule.seed
        key = recipe.key.format(**self.settings.model_dump())
        task = recipe.task(self, self._start(key), folder, progress)
        trained, history = fit(task, folder, self.schedule, device=device, progress=progress, watch=watch)
        if self.rank:
            raise SystemExit
        best = min(history, key=lambda h: h["loss"])
        reached = {k: history[-1][k] for k in ("step", "epoch") if k in history[-1]}
        model = save_model(
            folder, name=folder.name, job=recipe.job, settings=recipe.model_settings(task, trained),
            networks={key: (recipe.network, self.arguments, trained)},
            card={
                "title": f"{recipe.network}, trained by faintsky train",
                "recipe": {"command": record["command"], "seed": seed, **record["config"]},
                "version": record["version"], "scores": {"validation": best}, "reached": reached,
            },
        )  # fmt: skip
        weights = sum(p.numel() for p in trained.parameters())
        return model, {"parameters": weights, **{f"{k}s": v for k, v in reached.items()}, "best": best}

    def _start(self, key: str) -> nn.Module:
        torch.manual_seed(self.schedule.seed)
        fresh = make_network(self.recipe.network, **self.arguments)
        if self.init is not None:
            entry = self.init.card["networks"].get(key, {})
            wanted = {"network": self.recipe.network, "arguments": self.arguments}
            if any(entry.get(name) != value for name, value in wanted.items()):
                raise InputError(
                    f"model {self.init.name!r} holds another network than {self.recipe.network} with "
                    f"{self.arguments}",
                    "give its own numbers with --set, or another --init",
                )
            fresh.load_state_dict(self.init.network(key).state_dict())
        return fresh
