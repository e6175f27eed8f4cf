"""Training of the whole of DeepFocus: all networks in both phases, thresholds, and the model's folder.

This follows Delli Veneri et al. (2022), Section 4.5. Phase 1 trains every network on data made with the true
parameters. Phase 2 continues with all networks except the first, on predictions of the networks before them.
For this, the data set's cubes are simulated again one at a time and processed by the networks trained so far;
detections of true sources are kept. For Deep GRU they are the spectra of Blobs Finder's boxes, for the
residual networks the focused and line images about the sources found. The files are like those of phase 1.
The thresholds are fitted last, on cubes that no network has seen. Finished parts are kept: after a stop, the
same command continues."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field

from faintsky.arrays import Index
from faintsky.beams import beam_pixels
from faintsky.catalog import make_table
from faintsky.errors import InputError
from faintsky.matching import CRITERIA, match
from faintsky.models import Model, load_model, save_model
from faintsky.options import Progress
from faintsky.published.deepfocus.finding import FindingSettings
from faintsky.published.deepfocus.pipeline import CubeResult, DeepFocus, image_size
from faintsky.published.deepfocus.thresholds import TRUE, fit_thresholds, sources_table, survey
from faintsky.published.deepfocus.training import open_compact
from faintsky.registry import RECIPES
from faintsky.simulating import Observatory, Observed, open_observatory, recorded_settings
from faintsky.sky import empty_sky
from faintsky.system import Needs, Settings, choose_device, replacing, write_text
from faintsky.training import Plan, read_value, source

SPECTRA = "spectra"
"""Folder with the spectra at found blobs."""
IMAGES = "images"
"""Folder with the line images of found sources."""
MATCHED = {SPECTRA: "iou2d", IMAGES: "iou"}
"""Criteria for true sources (Section 5.1); blobs have no frequency yet, and are matched in the image only."""
STAGES: dict[str, tuple[str, dict[str, str]]] = {
    "blobs_finder": ("blobs_finder", {}),
    "deep_gru": ("deep_gru", {}),
    **{key: ("shape_resnet", {"parameter": key}) for key in ("fwhm_x", "fwhm_y", "pa", "flux")},
}
"""Each network's role, its architecture and settings of its recipe."""
EMPTY_EVERY = 6
"""One in this number of cubes for the fit of thresholds has no source."""
SECOND = (("deep_gru",), ("fwhm_x", "fwhm_y", "pa"), ("flux",))
"""Networks of the second phase, by the step with the predictions on which they are trained."""


class Numbers(Settings):
    """Settings of the whole chain; those of one network are given as ``NETWORK.name=value``.

    Parameters
    ----------
    phase2_epochs : int
        Epochs of each network in the second phase (50 in the paper); 0 skips it.
    phase2_cubes : int
        Number of training cubes for predictions, 0 for all; a third as many are used for validation.
    passes : int
        1 makes all predictions at once, with networks of the first phase. 3 repeats them for each step with
        networks of the second phase, which takes three times as long.
    fit_cubes, fit_seed : int
        Number of cubes for the fit of thresholds, and the seed of their simulation.
    extract : str
        Method for blobs in Blobs Finder's map: relative to their ``peaks``, or by one threshold, ``label``.
    train, validation : float
        Fractions of the data's cubes.
    """

    phase2_epochs: int = Field(50, ge=0)
    phase2_cubes: int = Field(0, ge=0)
    passes: Literal[1, 3] = 1
    fit_cubes: int = Field(120, ge=1)
    fit_seed: int = 9000
    extract: Literal["label", "peaks"] = "peaks"
    train: float = 0.6
    validation: float = 0.2


class ChainRecipe:
    """Recipe of ``deepfocus``, like a `faintsky.training.Recipe`; its stages are the networks' recipes."""

    network, job = "deepfocus", "detect"

    def plan(
        self,
        *,
        data: str | os.PathLike[str] | None = None,
        simulate: str | None = None,
        init: str | None = None,
        changes: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Chain:
        """The chain to be trained, checked.

        Parameters
        ----------
        data : path-like
            Folder of ``faintsky simulate alma --products compact``.
        simulate, init
            Not possible here.
        changes : mapping, optional
            Values of `Numbers`. ``NETWORK=FOLDER`` uses an existing run of the first phase, and
            ``NETWORK.name=value`` changes a setting of that network's recipe. Networks are `STAGES`.
        seed : int, optional
            Seed of weights and data.

        Returns
        -------
        Chain

        Raises
        ------
        InputError
            If an option is wrong.
        """
        folder, _ = source(self.network, data, simulate, ())
        assert folder is not None
        if init is not None:
            raise InputError("a chain takes no initial model", "give the networks' runs as --set NETWORK=DIR")
        numbers: dict[str, Any] = {}
        runs: dict[str, Path] = {}
        own: dict[str, dict[str, Any]] = {}
        for name, value in (changes or {}).items():
            key, _, rest = name.partition(".")
            if key in STAGES and rest:
                own.setdefault(key, {})[rest] = value
            elif key in STAGES:
                runs[key] = Path(str(value))
            elif name in Numbers.model_fields:
                numbers[name] = read_value(value)
            else:
                known = ", ".join([*Numbers.model_fields, *STAGES])
                raise InputError(f"unknown setting {name!r}", f"known: {known}, and NETWORK.name")
        chain = Numbers.read(numbers)
        open_compact(folder, chain.train, chain.validation)
        for key, run in runs.items():
            if key not in load_model(run, job="detect").card["networks"]:
                raise InputError(f"holds no network {key!r}", "give a run of that network", run)
        return Chain(folder, chain, runs, own, seed)


@dataclass(frozen=True)
class Chain:
    """A planned training of all networks; `faintsky.training.Plan` is that of a single one.

    Parameters
    ----------
    data : pathlib.Path
        Folder of the data.
    numbers : Numbers
        Settings of the chain.
    runs : mapping
        Folders of networks of which the first phase is done.
    own : mapping
        Changes to recipes of single networks.
    seed : int
        Seed of weights and data.
    """

    data: Path
    numbers: Numbers
    runs: Mapping[str, Path]
    own: Mapping[str, Mapping[str, Any]]
    seed: int
    rank: ClassVar[int] = 0

    def record(self) -> dict[str, Any]:
        """The settings, for the card and ``run.json``."""
        return {
            "network": "deepfocus", "data": str(self.data), "chain": self.numbers.model_dump(),
            "runs": {k: load_model(v).hash for k, v in self.runs.items()}, "own": self.own,
        }  # fmt: skip

    def needs(self) -> Needs:
        """Needs of all networks one after the other, in both phases."""
        total = Needs(0.0, 0.0, 0.0)
        for key in STAGES:
            plan = self.stage(key, self.data)
            one = plan.needs()
            epochs = max(plan.schedule.epochs, 1)
            again = 0 if key == "blobs_finder" else self.numbers.phase2_epochs / epochs
            total = Needs(
                max(total.memory, one.memory), total.disk + one.disk * (1 + bool(again)),
                total.seconds + one.seconds * (1 + again), total.blocks + 1,
            )  # fmt: skip
        return total

    def stage(self, key: str, data: Path, init: Path | None = None) -> Plan:
        """The training of one network.

        Parameters
        ----------
        key : str
            One of `STAGES`.
        data : pathlib.Path
            Folder of its data.
        init : pathlib.Path, optional
            Its run of the first phase, for the second.

        Returns
        -------
        Plan
        """
        network, told = STAGES[key]
        changes: dict[str, Any] = {**told, **self._shares(data), **self.own.get(key, {})}
        if init is not None:
            changes["epochs"] = self.numbers.phase2_epochs
        made: Plan = RECIPES[network]().plan(
            data=data, init=None if init is None else str(init), changes=changes, seed=self.seed
        )
        if made.schedule.devices * made.schedule.nodes > 1:
            raise InputError(
                "the whole chain is trained by one process",
                f"train its networks alone, as {network}, with several, and give {key}=FOLDER",
            )
        return made

    def _shares(self, data: Path) -> dict[str, float]:
        """Fractions of the cubes in a folder; predictions exist for training and validation cubes only."""
        if data == self.data:
            return {"train": self.numbers.train, "validation": self.numbers.validation}
        training, held = self.cubes()
        share = len(training) / (len(training) + len(held))
        return {"train": share, "validation": 1 - share}

    def cubes(self) -> tuple[list[int], list[int]]:
        """Cubes for the second phase, from those for training and those for validation."""
        compact = open_compact(self.data, self.numbers.train, self.numbers.validation)
        training, held = ([int(f.name.partition("_")[0]) for f in p] for p in (compact.train, compact.held))
        most = self.numbers.phase2_cubes or len(training)
        return training[:most], held[: max(1, most // 3)]

    def fit(
        self,
        folder: Path,
        record: Mapping[str, Any],
        *,
        device: str = "auto",
        progress: Progress | None = None,
        watch: Callable[[Mapping[str, float]], None] | None = None,
    ) -> tuple[Model, dict[str, Any]]:
        """Train both phases, fit thresholds and write the model.

        The second phase is skipped if the first finds no true source.

        Parameters
        ----------
        folder : pathlib.Path
            Finished parts are in ``phase1``, ``phase2``, ``predicted`` and files of thresholds. ``survey``,
            with 33 MB for each cube of ``paper``, is removed at the end.
        record : mapping
            The run's provenance, with this plan's `record` as ``config``.
        device, progress
            See `faintsky.training.Plan.fit`.
        watch : callable, optional
            Not used, because the networks' losses are of different kinds.
        """
        work = _Work(self, folder, record, device, progress)
        folders = dict(self.runs)
        for key in STAGES:
            if key not in folders:
                folders[key] = work.train(key, "phase1", self.data, None)
        first = {key: str(path) for key, path in folders.items()}
        kept: dict[str, list[int]] = {}
        if self.numbers.phase2_epochs:
            fitted, _ = work.thresholds(folders, "phase1")
            for step, keys in enumerate(SECOND):
                predicted = work.predict(folders, fitted, 0 if self.numbers.passes == 1 else step)
                kind = predicted / (SPECTRA if keys == ("deep_gru",) else IMAGES)
                counts = [count_predicted(kind, cubes) for cubes in self.cubes()]
                kept |= {key: counts for key in keys}
                for key in keys if min(counts) else ():
                    folders[key] = work.train(key, "phase2", kind, folders[key])
        fitted, scores = work.thresholds(folders, "final")
        shutil.rmtree(folder / "survey", ignore_errors=True)
        models = {key: load_model(path) for key, path in folders.items()}
        made = {}
        for key, model in models.items():
            entry = model.card["networks"][key]
            made[key] = entry["network"], entry["arguments"], model.network(key)
        whole = save_model(
            folder, name=folder.name, job="detect", settings=fitted.model_dump(), networks=made,
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
        return whole, dict(scores)


@dataclass(frozen=True)
class _Work:
    """One run: its folder and common parameters."""

    chain: Chain
    out: Path
    record: Mapping[str, Any]
    device: str
    progress: Progress | None

    def train(self, key: str, phase: str, data: Path, init: Path | None) -> Path:
        """Train one network in one phase, unless that is done; returns its run's folder."""
        folder = self.out / phase / key
        if not (folder / "model.json").is_file():
            plan = self.chain.stage(key, data, init)
            record = {**self.record, "config": plan.record()}
            plan.fit(folder, record, device=self.device, progress=self.say(f"{key}, {phase}"))
        return folder

    def pipeline(self, folders: Mapping[str, Path], settings: FindingSettings) -> DeepFocus:
        """The pipeline with the networks trained so far."""
        device = choose_device(self.device)
        networks = {key: load_model(folder).network(key, device) for key, folder in folders.items()}
        size = image_size(load_model(folders["blobs_finder"]))
        return DeepFocus(networks, settings, size, device)

    def predict(self, folders: Mapping[str, Path], settings: FindingSettings, step: int) -> Path:
        """Make predictions on training cubes; returns their folder."""
        out = self.out / "predicted" / str(step)
        training, held = self.chain.cubes()
        pipeline = self.pipeline(folders, settings)
        write_predicted(self.chain.data, pipeline, out, [*training, *held], self.say("predictions"))
        for kind in MATCHED:
            shutil.copyfile(self.chain.data / "dataset.json", out / kind / "dataset.json")
        return out

    def thresholds(self, folders: Mapping[str, Path], where: str) -> tuple[FindingSettings, dict[str, float]]:
        """Fit thresholds and reliabilities on separate cubes; returns them with the scores there."""
        file = self.out / f"thresholds_{where}.json"
        if file.is_file():
            known = json.loads(file.read_text(encoding="utf-8"))
            return FindingSettings.read(known["settings"]), known["scores"]
        numbers = self.chain.numbers
        observatory: Any = observatory_of(self.chain.data)[0]
        instrument = observatory.instrument
        start = FindingSettings(extract=numbers.extract, trained={
            "cell": instrument.grid.cell, "channels": instrument.spectral.n_chan,
            "beam": float(np.sqrt(instrument.beams[:, :2].prod(axis=1)).mean()),
            "width": abs(instrument.spectral.width),
        })  # fmt: skip

        def sample(index: int) -> Observed:
            if index % EMPTY_EVERY != EMPTY_EVERY - 1:
                return observatory.sample(numbers.fit_seed, index)
            sky = empty_sky(instrument.grid, instrument.spectral)
            return observatory.observe(sky, np.random.default_rng([numbers.fit_seed, index]), index)

        pipeline, told = self.pipeline(folders, start), self.say("thresholds")
        seed, kept = str(numbers.fit_seed), self.out / "survey"
        surveyed = survey(sample, seed, range(numbers.fit_cubes), pipeline, kept, told)
        fitted, scores = fit_thresholds(surveyed, pipeline, beam_area(observatory), told)
        write_text(file, json.dumps({"settings": fitted.model_dump(), "scores": scores}))
        return fitted, scores

    def say(self, what: str) -> Progress | None:
        """A progress function that adds the stage's name."""
        told = self.progress
        if told is None:
            return None
        return lambda done, total, word: told(done, total, f"{what}: {word}")


def write_predicted(
    data: Path, pipeline: DeepFocus, out: Path, indices: Sequence[int], progress: Progress | None = None
) -> None:
    """Run a pipeline over cubes of a data set and keep its data of true sources.

    Parameters
    ----------
    data : pathlib.Path
        Folder of ``faintsky simulate alma``; only its ``dataset.json`` is read.
    pipeline : DeepFocus
        Has the networks trained so far, at least ``blobs_finder`` and ``deep_gru``.
    out : pathlib.Path
        Folder for ``spectra`` and ``images``, each with ``NNNN_compact.npz`` and ``NNNN_truth.ecsv``.
    indices : sequence of int
        Numbers of the cubes; finished ones are skipped.
    progress : callable, optional
        Called with cubes done, cubes in all, and a word.

    Raises
    ------
    InputError
        If the data set cannot be simulated again.
    """
    missing = [i for i in indices if not _files(out / IMAGES, i)[1].is_file()]
    if not missing:
        return
    observatory, seed = observatory_of(data)
    for folder in (SPECTRA, IMAGES):
        (out / folder).mkdir(parents=True, exist_ok=True)
    area = beam_area(observatory)
    for done, index in enumerate(missing, start=len(indices) - len(missing) + 1):
        seen = observatory.sample(seed, index)
        result = pipeline.run(seen.dirty, area)
        # images are written last, so that spectra exist if they do
        _write(out / SPECTRA, index, seen, *_spectra(seen, result))
        _write(out / IMAGES, index, seen, *_images(seen, result))
        if progress is not None:
            progress(done, len(indices), "predictions on training cubes")


def count_predicted(folder: Path, indices: Sequence[int]) -> int:
    """Number of sources of some cubes in one of the folders ``spectra`` and ``images``."""
    total = 0
    for index in indices:
        with np.load(_files(folder, index)[0]) as arrays:
            total += len(arrays["spectra" if folder.name == SPECTRA else "focused"])
    return total


def observatory_of(data: Path) -> tuple[Observatory, int]:
    """The observatory of a data set, and its seed."""
    settings, seed = recorded_settings(data)
    return open_observatory(settings), seed


def beam_area(observatory: Observatory) -> float:
    """Area of the synthesised beam, median over the channels [pixel]."""
    return float(np.median(beam_pixels(observatory.instrument.beams, observatory.instrument.grid.cell)))


def _true_ones(kind: str, seen: Observed, found: Sequence[Any]) -> tuple[Index, Index]:
    """Numbers of the blobs or sources that match true ones, and rows of these in the truth."""
    truth = Table({k: np.asarray(seen.truth[k], dtype=float) for k in TRUE})
    matched = match(truth, sources_table(found), CRITERIA[MATCHED[kind]])
    order = np.argsort(matched.i_found)
    return matched.i_found[order], matched.i_true[order]


def _spectra(seen: Observed, result: CubeResult) -> tuple[dict[str, NDArray], Index]:
    """Dirty and true spectra of the blobs that match true sources, and rows of these."""
    good, true = _true_ones(SPECTRA, seen, result.blobs)
    clean = np.zeros((len(good), len(seen.dirty)), dtype=np.float32)
    for row, i in enumerate(good):
        x0, x1, y0, y1 = result.blobs[i].box
        clean[row] = seen.sky.images[:, y0 : y1 + 1, x0 : x1 + 1].sum(axis=(1, 2)) @ seen.sky.spectra
    return {"spectra": result.spectra[good], "clean_spectra": clean}, true


def _images(seen: Observed, result: CubeResult) -> tuple[dict[str, NDArray], Index]:
    """Focused and line images of the sources that match true ones, and rows of these."""
    good, true = _true_ones(IMAGES, seen, result.sources)
    return {"focused": result.focused[good], "line_images": result.lines[good]}, true


def _files(folder: Path, index: int) -> tuple[Path, Path]:
    return folder / f"{index:04d}_compact.npz", folder / f"{index:04d}_truth.ecsv"


def _write(folder: Path, index: int, seen: Observed, arrays: dict[str, NDArray], rows: NDArray) -> None:
    compact, truth = _files(folder, index)
    arrays["sigma"] = seen.sigma.astype(np.float32)
    with replacing(compact) as name, open(name, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    columns = {k: np.asarray(v)[rows] for k, v in seen.truth.items()}
    with replacing(truth) as name:
        make_table(columns, meta={"sample": index}).write(name, format="ascii.ecsv", delimiter=",")
