"""Search for a recipe's hyperparameters: their space, and the study that many workers share.

As text, ``batch_size=25/50/100`` are choices, ``learning_rate=1e-5..1e-2`` is a range (logarithmic if it
spans more than a factor of ten), and ``epochs=50`` is one value for all trials.

A study is Optuna's journal in one file. A worker is a process that runs the same command, on any machine that
sees the folder. Trials of a killed worker are continued by another: workers sign each of their trials with
host and process, and renew that every minute; a trial whose process is gone, or that was not renewed for
long, is handed out again with its folder, which holds its checkpoint."""

import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from faintsky.errors import InputError
from faintsky.system import write_text
from faintsky.training.recipes import Recipe, read_value

WIDE = 10.0
"""Least ratio of a range's ends for which it is logarithmic."""
SAMPLERS = ("grid", "tpe", "random")
PRUNERS = ("median", "halving", "none")
JOURNAL = "journal.log"
"""Optuna's record of a study."""
LOCK = ".workers"
"""File that the workers of a study lock."""
TRIALS = "trials"
"""Folder of the trials of a study."""
RENEWED = 60.0
"""Time between a worker's signs of life [s]."""
GONE = 600.0
"""Time without a sign of life until a worker's trial is given to another [s]."""
FIRST_TRIALS = 5
"""Trials that end before any is stopped because it is worse than the median."""
FIRST_STEPS = 5
"""Validations of a trial before it may be stopped for that reason."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, integers if both are; logarithmic if ``log`` is true."""

    low: float
    high: float
    log: bool


Space = dict[str, Range | tuple[Any, ...]]


def make_space(recipe: Recipe, grid: str | None, changes: Mapping[str, Any]) -> tuple[Space, dict[str, Any]]:
    """The values to search, and those that are the same for all trials.

    Parameters
    ----------
    recipe : Recipe
    grid : str or None
        Name of one of the recipe's spaces.
    changes : mapping
        By key of the recipe: text as described in the module, or a value. They replace the grid's values.

    Returns
    -------
    space : dict
        `Range` or tuple of choices by key. By default the learning rate within a factor of thirty and the
        batch size within a factor of two.
    fixed : dict
        Values by key.

    Raises
    ------
    InputError
        For an unknown grid or key, or a value that the recipe does not take.
    """
    if grid is not None and grid not in recipe.spaces:
        names = ", ".join(recipe.spaces) or "none"
        raise InputError(f"no grid of the name {grid!r} for this network", f"known: {names}")
    space: Space = dict(recipe.spaces[grid]) if grid is not None else {}
    fixed: dict[str, Any] = {}
    for key, given in changes.items():
        read = _read(recipe, key, given)
        if isinstance(read, Range | tuple):
            space[key] = read
        else:
            space.pop(key, None)
            fixed[key] = read
    if not space:
        rate, batch = (_typed(recipe, key) for key in ("learning_rate", "batch_size"))
        whole: Space = {
            "learning_rate": Range(rate / 30, rate * 30, True),
            "batch_size": (max(batch // 2, 1), batch, 2 * batch),
        }
        space = {k: v for k, v in whole.items() if k not in fixed}
    return space, fixed


def _typed(recipe: Recipe, key: str, *given: Any) -> Any:
    """A recipe's value of a key, or the one given in its place, read and checked."""
    schedule, settings, arguments = recipe.numbers({key: given[0]} if given else {})
    return {**schedule.model_dump(), **settings.model_dump(), **arguments}[key]


def _read(recipe: Recipe, key: str, given: Any) -> Range | tuple[Any, ...] | Any:
    if isinstance(given, Range):
        return given
    parts = given.split("/") if isinstance(given, str) else [given]
    if len(parts) > 1:
        return tuple(_typed(recipe, key, part) for part in parts)
    ends = [read_value(part) for part in given.split("..", 1)] if isinstance(given, str) else []
    if len(ends) < 2 or any(isinstance(end, str) for end in ends):
        return _typed(recipe, key, given)
    low, high = (_typed(recipe, key, end) for end in ends)
    if not low < high:
        raise InputError(f"{key}={given} is not a range", "give the lower end first")
    return Range(low, high, low > 0 and high / low > WIDE)


def combinations(space: Space) -> list[dict[str, Any]]:
    """All combinations of the choices, the last key changing fastest; `InputError` for a range."""
    for key, values in space.items():
        if isinstance(values, Range):
            raise InputError(
                f"{key} has a range, which no grid can cover",
                "give choices, such as key=1/2/3, or --sampler tpe",
            )
    return [dict(zip(space, values, strict=True)) for values in product(*space.values())]  # type: ignore[arg-type]


def optuna() -> Any:
    """The package Optuna, its messages turned off.

    Raises
    ------
    InputError
        Where it is missing.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError("tuning needs the extra 'train'", "pip install 'faintsky[train]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Study:
    """A study's journal.

    Parameters
    ----------
    folder : pathlib.Path
        Of the study; made where missing.
    record : mapping
        Values that must be the same for all workers.
    space : dict
        Of `make_space`.
    sampler, prune : str
        Of `SAMPLERS` and `PRUNERS`.
    seed : int
        Of the sampler.

    Raises
    ------
    InputError
        Where the folder holds another study, or other files.
    """

    def __init__(
        self, folder: Path, record: Mapping[str, Any], space: Space, *, sampler: str, prune: str, seed: int
    ) -> None:
        self.folder, self.space, self.sampler, self.seed = folder.resolve(), space, sampler, seed
        self.optuna = optuna()
        if folder.exists() and not folder.is_dir():
            raise InputError("is a file, not a folder", "give another --out", folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / LOCK).touch()
        pruners = self.optuna.pruners
        stop = {
            "median": pruners.MedianPruner(FIRST_TRIALS, FIRST_STEPS),
            "halving": pruners.SuccessiveHalvingPruner(),
            "none": pruners.NopPruner(),
        }[prune]
        with self._alone():
            others = any(not p.name.startswith(".") for p in self.folder.iterdir())
            if others and not (self.folder / JOURNAL).is_file():
                (self.folder / LOCK).unlink()
                raise InputError("exists and is not empty", "give another --out", folder)
            (self.folder / TRIALS).mkdir(exist_ok=True)
            backend = self.optuna.storages.journal.JournalFileBackend(str(self.folder / JOURNAL))
            self.study = self.optuna.create_study(
                storage=self.optuna.storages.JournalStorage(backend), study_name="faintsky", pruner=stop,
                direction="minimize", load_if_exists=True,
            )  # fmt: skip
            before = self.study.user_attrs.get("record")
            if before is None:
                self.study.set_user_attr("record", dict(record))
                for point in combinations(space) if sampler == "grid" else []:
                    self.study.enqueue_trial({k: _coded(v) for k, v in point.items()})
            elif before != record:
                changed = sorted(k for k in {*before, *record} if before.get(k) != record.get(k))
                raise InputError(
                    f"holds another study (different {', '.join(changed)})",
                    "give another --out, or --overwrite", folder,
                )  # fmt: skip

    def next(self, most: int | None) -> Any:
        """The next trial, signed; None where nothing is left to do.

        Parameters
        ----------
        most : int or None
            Largest number of trials of all workers; None for no limit, only with a grid.
        """
        with self._alone():
            self._take_up()
            trials = self.trials()
            waiting = [t for t in trials if t.state.name == "WAITING"]
            if not waiting and (self.sampler == "grid" or len(trials) >= (most or 0)):
                return None
            if waiting and most is not None and len(trials) - len(waiting) >= most:
                return None
            samplers, seed = self.optuna.samplers, self.seed + len(trials)
            # seed depends on the number of trials, or all workers would draw the same
            self.study.sampler = (
                samplers.TPESampler(seed=seed) if self.sampler == "tpe" else samplers.RandomSampler(seed=seed)
            )
            trial = self.study.ask({k: self._distribution(v) for k, v in self.space.items()})
            self._sign(self.trial_folder(trial))
        return trial

    def trials(self) -> list[Any]:
        """All trials except those that were handed out again."""
        every = self.study.get_trials(deepcopy=False)
        again = {t.user_attrs["instead_of"] for t in every if "instead_of" in t.user_attrs}
        return [t for t in every if t.number not in again]

    def trial_folder(self, trial: Any) -> Path:
        """Folder of a trial; a continued trial uses that of the original one."""
        return self.folder / TRIALS / str(trial.user_attrs.get("folder", f"{trial.number:04d}"))

    @contextmanager
    def alive(self, trial: Any) -> Iterator[None]:
        """Sign a trial as long as the block runs."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(RENEWED):
                self._sign(self.trial_folder(trial))

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _take_up(self) -> None:
        """Hand out again the trials of workers that are gone."""
        states = self.optuna.trial.TrialState
        for trial in self.study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            folder = self.trial_folder(trial)
            if self._works(folder, trial):
                continue
            self.study.tell(trial.number, state=states.FAIL)
            self.study.enqueue_trial(
                trial.params, user_attrs={"folder": folder.name, "instead_of": trial.number}
            )

    def _works(self, folder: Path, trial: Any) -> bool:
        file = folder.with_suffix(".worker")
        try:
            signed = json.loads(file.read_text(encoding="utf-8"))
            age = time.time() - file.stat().st_mtime
        except (OSError, ValueError):
            return bool(time.time() - trial.datetime_start.timestamp() < GONE)
        if signed["host"] == socket.gethostname() and not _runs(int(signed["process"])):
            return False
        return age < GONE

    def _sign(self, folder: Path) -> None:
        me = {"host": socket.gethostname(), "process": os.getpid()}
        write_text(folder.with_suffix(".worker"), json.dumps(me))

    def _distribution(self, values: Range | tuple[Any, ...]) -> Any:
        kinds = self.optuna.distributions
        if not isinstance(values, Range):
            return kinds.CategoricalDistribution([_coded(v) for v in values])
        kind = kinds.IntDistribution if isinstance(values.low, int) else kinds.FloatDistribution
        return kind(values.low, values.high, log=values.log)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One worker at a time, on any machine; without Optuna's warnings."""
        lock = self.optuna.storages.journal.JournalFileSymlinkLock(str(self.folder / LOCK))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lock.acquire()
            try:
                yield
            finally:
                lock.release()


def _coded(value: Any) -> Any:
    """A value as Optuna stores it: lists as text that a recipe reads."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
