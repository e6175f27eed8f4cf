"""`faintsky.train("deepfocus")`: all networks of the pipeline in both phases, thresholds, one model's folder.

Delli Veneri et al. (2022), Section 4.5. Phase 1 trains every network on what the true parameters give. Phase
2 goes on with each but the first on what the networks before it predict. The thresholds are fitted last, on
cubes that no network has seen. Every part that is finished is kept: the same command goes on after a stop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky.errors import InputError
from faintsky.io.output import OutputFolder, provenance
from faintsky.jobs.train import TrainResult, train
from faintsky.models import Model, load_model, save_model
from faintsky.published.deepfocus.compact_sets import open_compact
from faintsky.system import Needs
from faintsky.training.needs import needs_of_training
from faintsky.training.recipes import change_type, find_recipe, make_plan

if TYPE_CHECKING:
    from faintsky.published.deepfocus.pipeline import DeepFocus
    from faintsky.published.deepfocus.settings import Settings

PathLike = str | os.PathLike[str]
Progress = Callable[[int, int, str], None]

STAGES: dict[str, tuple[str, dict[str, str]]] = {
    "blobs_finder": ("blobs_finder", {}),
    "deep_gru": ("deep_gru", {}),
    "fwhm_x": ("shape_resnet", {"parameter": "fwhm_x"}),
    "fwhm_y": ("shape_resnet", {"parameter": "fwhm_y"}),
    "pa": ("shape_resnet", {"parameter": "pa"}),
    "flux": ("shape_resnet", {"parameter": "flux"}),
}
"""Each network's role, its architecture and what its recipe is told."""
SECOND = (("deep_gru",), ("fwhm_x", "fwhm_y", "pa"), ("flux",))
"""Networks of the second phase, by the step whose predictions they learn from."""


@dataclass(frozen=True)
class Chain:
    """Numbers of the whole; those of one network are given as ``NETWORK.name=value``.

    Parameters
    ----------
    phase2_epochs : int
        Of each network in the second phase (the paper's 50); 0 leaves it out.
    phase2_cubes : int
        Training cubes whose predictions are taken, 0 for all; a third as many validate.
    passes : int
        1 makes all predictions at once with the networks of the first phase; 3 makes those for each step anew
        with the networks of the second, which takes three times as long.
    fit_cubes, fit_seed : int
        Number of cubes that the thresholds are fitted on, and the seed they are simulated with.
    train, validation : float
        Shares of the data's cubes.
    """

    phase2_epochs: int = 50
    phase2_cubes: int = 0
    passes: int = 1
    fit_cubes: int = 200
    fit_seed: int = 9000
    train: float = 0.6
    validation: float = 0.2


def train_deepfocus(
    out: PathLike,
    *,
    data: PathLike | None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    dry_run: bool = False,
    command: str | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train DeepFocus, or go on with a run that was stopped.

    Parameters
    ----------
    out : path-like
        The model's folder; ``phase1``, ``phase2``, ``predicted`` and ``survey`` in it hold what was done.
    data : path-like
        Folder of ``faintsky simulate alma --products compact``.
    settings : mapping, optional
        Numbers of `Chain`; ``NETWORK=FOLDER`` takes a run of the first phase that is there already, and
        ``NETWORK.name=value`` changes a number of that network's recipe. Networks are `STAGES`.
    seed, device, overwrite, dry_run, command, progress
        As in `faintsky.train`.

    Raises
    ------
    InputError
        Where an option is wrong, or the data cannot be made again.
    """
    folder = None if data is None else Path(data)
    how = "made by faintsky simulate alma --products compact"
    if folder is None:
        raise InputError("deepfocus needs data", f"give --data, {how}")
    if not folder.is_dir():
        raise InputError("is no folder", f"give a folder {how}", folder)
    chain, runs, own = _sorted_settings(settings or {})
    open_compact(folder, chain.train, chain.validation)
    for key, run in runs.items():
        if key not in load_model(run, job="detect").card["networks"]:
            raise InputError(f"holds no network {key!r}", "give a run of that network", run)
    record = provenance(
        command=command,
        config={
            "network": "deepfocus", "data": folder, "chain": vars(chain),
            "runs": {k: load_model(v).hash for k, v in runs.items()}, "own": own,
        },
        job="train", seed=seed,
    )  # fmt: skip
    needs = _needs(chain, own, folder)
    output = OutputFolder(out, record, overwrite=overwrite, resumable=True)
    output.check()
    if dry_run:
        return TrainResult(None, {**record["config"], **needs.summary(out)})
    if output.complete:
        return TrainResult(load_model(Path(out)), {"out": str(out), "already_complete": True})
    needs.check(out)
    with output:
        start = time.monotonic()
        work = _Work(output.folder, folder, chain, own, seed, device, progress)
        model, scores = work.whole(runs, record)
    minutes = round((time.monotonic() - start) / 60, 1)
    return TrainResult(model, {"model": str(out), **scores, "minutes": minutes})


def _needs(chain: Chain, own: Mapping[str, Mapping[str, Any]], data: Path) -> Needs:
    """Of all networks one after the other, in both phases."""
    total = Needs(0.0, 0.0, 0.0)
    shares = {"train": chain.train, "validation": chain.validation}
    for key, (network, told) in STAGES.items():
        plan = make_plan(find_recipe(network), {**told, **shares, **own.get(key, {})})
        one = needs_of_training(network, plan, data)
        again = 0 if key == "blobs_finder" else chain.phase2_epochs / max(plan.schedule.epochs, 1)
        total = Needs(
            max(total.memory, one.memory), total.disk + one.disk * (1 + bool(again)),
            total.seconds + one.seconds * (1 + again), total.blocks + 1,
        )  # fmt: skip
    return total


def _sorted_settings(
    settings: Mapping[str, Any],
) -> tuple[Chain, dict[str, Path], dict[str, dict[str, Any]]]:
    """The chain's numbers, runs that are there, and changes of single recipes."""
    numbers: dict[str, Any] = {}
    runs: dict[str, Path] = {}
    own: dict[str, dict[str, Any]] = {key: {} for key in STAGES}
    defaults = {f.name: f.default for f in fields(Chain)}
    for name, value in settings.items():
        key, _, rest = name.partition(".")
        if key in STAGES and rest:
            own[key][rest] = value
        elif key in STAGES:
            runs[key] = Path(str(value))
        elif name in defaults:
            numbers[name] = change_type(name, value, defaults[name])
        else:
            known = ", ".join([*defaults, *STAGES])
            raise InputError(f"unknown setting {name!r}", f"known: {known}, and NETWORK.name")
    chain = Chain(**numbers)
    if chain.passes not in (1, 3) or min(chain.phase2_epochs, chain.phase2_cubes) < 0 or chain.fit_cubes < 1:
        raise InputError("passes is 1 or 3, and numbers are not negative", "change --set")
    return chain, runs, {k: v for k, v in own.items() if v}


@dataclass(frozen=True)
class _Work:
    """One run: where it writes, and what every part of it needs."""

    out: Path
    data: Path
    chain: Chain
    own: Mapping[str, Mapping[str, Any]]
    seed: int
    device: str
    progress: Progress | None

    def whole(self, runs: Mapping[str, Path], record: Mapping[str, Any]) -> tuple[Model, dict[str, Any]]:
        """Both phases, thresholds and the model; without the second where the first finds no true source."""
        from faintsky.published.deepfocus.predicted import count_predicted

        kept: dict[str, list[int]] = {}
        folders = dict(runs)
        for key in STAGES:
            if key not in folders:
                folders[key] = self.stage(key, "phase1", self.data, None)
        first = {key: str(folder) for key, folder in folders.items()}
        if self.chain.phase2_epochs:
            fitted, _ = self.fit(folders, "survey/phase1")
            for step, keys in enumerate(SECOND):
                predicted = self.predict(folders, fitted, 0 if self.chain.passes == 1 else step)
                kind = predicted / ("spectra" if keys == ("deep_gru",) else "images")
                counts = [count_predicted(kind, cubes) for cubes in self.numbers()]
                kept |= {key: counts for key in keys}
                for key in keys if min(counts) else ():
                    folders[key] = self.stage(key, "phase2", kind, folders[key])
        fitted, scores = self.fit(folders, "survey/final")
        models = {key: load_model(folder) for key, folder in folders.items()}
        made = {}
        for key, model in models.items():
            entry = model.card["networks"][key]
            made[key] = entry["network"], entry["arguments"], model.network(key)
        model = save_model(
            self.out, name=self.out.name, job="detect", settings=fitted.as_dict(), networks=made,
            card={
                "title": "DeepFocus, trained by faintsky train",
                "summary": "Blobs in the integrated image, lines in their spectra, spectral focusing, sizes "
                "and fluxes by residual networks (Delli Veneri et al. 2022).",
                "recipe": {"command": record["command"], "seed": self.seed, **record["config"]},
                "stages": {
                    key: {
                        "phase1": first[key], "phase2_sources": kept.get(key),
                        "reached": m.card.get("reached"), **m.card.get("scores", {}),
                    }
                    for key, m in models.items()
                },
                "version": record["version"],
                "scores": {"validation": scores},
            },
        )  # fmt: skip
        return model, scores

    def stage(self, key: str, phase: str, data: Path, init: Path | None) -> Path:
        """Train one network in one phase; its run's folder."""
        network, told = STAGES[key]
        changes: dict[str, Any] = {**told, **self.shares(data), **self.own.get(key, {})}
        if init is not None:
            changes["epochs"] = self.chain.phase2_epochs
        folder = self.out / phase / key
        train(
            network, folder, data=data, init=None if init is None else str(init), settings=changes,
            seed=self.seed, device=self.device, progress=self.say(f"{key}, {phase}"),
        )  # fmt: skip
        return folder

    def shares(self, data: Path) -> dict[str, float]:
        """Of the cubes in a folder: predictions are made for training and validation cubes only."""
        a, b = self.chain.train, self.chain.validation
        if data == self.data:
            return {"train": a, "validation": b}
        training, held = self.numbers()
        share = len(training) / (len(training) + len(held))
        return {"train": share, "validation": 1 - share}

    def numbers(self) -> tuple[list[int], list[int]]:
        """Cubes for the second phase: of those that trained, and of those that validated."""
        compact = open_compact(self.data, self.chain.train, self.chain.validation)
        training, held = ([int(f.name.partition("_")[0]) for f in p] for p in (compact.train, compact.held))
        most = self.chain.phase2_cubes or len(training)
        return training[:most], held[: max(1, most // 3)]

    def pipeline(self, folders: Mapping[str, Path], settings: Settings) -> DeepFocus:
        """The pipeline with the networks that there are."""
        from faintsky.published.deepfocus.find import image_size
        from faintsky.published.deepfocus.pipeline import DeepFocus
        from faintsky.system import choose_device

        device = choose_device(self.device)
        networks = {key: load_model(folder).network(key, device) for key, folder in folders.items()}
        size = image_size(load_model(folders["blobs_finder"]))
        return DeepFocus(networks, settings, size, device)

    def predict(self, folders: Mapping[str, Path], settings: Settings, step: int) -> Path:
        """Predictions on training cubes; their folder."""
        import shutil

        from faintsky.published.deepfocus.predicted import IMAGES, SPECTRA, write_predicted

        out = self.out / "predicted" / str(step)
        training, held = self.numbers()
        pipeline = self.pipeline(folders, settings)
        write_predicted(self.data, pipeline, out, [*training, *held], self.say("predictions"))
        for kind in (SPECTRA, IMAGES):
            shutil.copyfile(self.data / "dataset.json", out / kind / "dataset.json")
        return out

    def fit(self, folders: Mapping[str, Path], where: str) -> tuple[Settings, dict[str, float]]:
        """Thresholds and reliabilities on cubes of their own, and the scores there."""
        import numpy as np

        from faintsky.published.deepfocus.fit import fit_thresholds, survey
        from faintsky.published.deepfocus.predicted import observatory_of
        from faintsky.published.deepfocus.settings import Settings

        observatory, _ = observatory_of(self.data)
        instrument = observatory.instrument
        trained = {
            "cell": instrument.grid.cell, "channels": instrument.spectral.n_chan,
            "beam": float(np.sqrt(instrument.beams[:, :2].prod(axis=1)).mean()),
            "width": abs(instrument.spectral.width),
        }  # fmt: skip
        start = Settings(trained=trained)
        surveyed = survey(
            observatory, self.chain.fit_seed, range(self.chain.fit_cubes), self.pipeline(folders, start),
            self.out / where, self.say("thresholds"),
        )  # fmt: skip
        return fit_thresholds(surveyed, start)

    def say(self, what: str) -> Progress | None:
        """Progress with the stage's name before each word."""
        told = self.progress
        if told is None:
            return None
        return lambda done, total, word: told(done, total, f"{what}: {word}")
