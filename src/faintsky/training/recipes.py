"""What is trained for each network: the task, its defaults, and the model that comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from faintsky.published.deepfocus.compact_sets import CompactSet
    from faintsky.training.fit import Schedule, Task

Progress = Callable[[int, int, str], None]


PUBLISHED = {
    "epochs": 300, "batch_size": 64, "learning_rate": 1e-4, "warmup": 10, "rate": "constant", "adam": "adam",
    "weight_decay": 0.0, "clip": 0.0, "decay": 0.0, "patience": 10, "window": 10, "workers": 0,
}  # fmt: skip
"""Schedule of Delli Veneri et al. (2022), Section 4.5; they do not give the size of the batches."""


GHELLER_VAZZA = {
    "epochs": 100, "batch_size": 50, "learning_rate": 1e-4, "warmup": 0, "rate": "constant", "adam": "adam",
    "weight_decay": 0.0, "clip": 0.0, "decay": 0.0, "patience": 100_000, "workers": 0, "keep_every": 5,
}  # fmt: skip
"""Schedule of Gheller & Vazza (2021), Sections 4.1 and 4.2; they do not name the optimiser."""


@dataclass(frozen=True)
class Request:
    """What a task is made of.

    Parameters
    ----------
    network : torch.nn.Module
        To be trained.
    folder : pathlib.Path
        Of the run: what the task computes once is kept there.
    data : pathlib.Path or None
        The user's folder of data.
    preset : str
        Of the simulation, where there is no such folder.
    settings : mapping
        The recipe's settings, with the user's in place of defaults.
    seed : int
    progress : callable, optional
    """

    network: nn.Module
    folder: Path
    data: Path | None
    preset: str
    settings: Mapping[str, Any]
    seed: int
    progress: Progress | None = None


@dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    Parameters
    ----------
    job : str
        What the model will be for.
    key : str
        The network's name in the model's card; ``{setting}`` stands for that setting's value.
    presets : tuple of str
        Simulations it can be trained on; the first is the default. Where empty it needs data.
    make_task : callable
        `Request` to `Task`.
    check_data : callable
        Refuses a folder of data, with the settings, that is not what would be trained on, all of it.
    schedule : mapping
        Where it differs from `Schedule`'s defaults.
    settings : mapping
        Settings of the task with their defaults.
    arguments : mapping
        Of the network, with their defaults.
    model_settings : callable
        What the model's card begins with for the job's own settings.
    follow : callable
        From the settings, arguments of the network that follow from them.
    learned : callable
        From the task and the trained network, settings of the job that come of the training.
    spaces : mapping
        Named grids of a search (`faintsky.training.spaces`): values by key.
    """

    job: str
    key: str
    presets: tuple[str, ...]
    make_task: Callable[[Request], Task]
    check_data: Callable[[Path, Mapping[str, Any]], None]
    schedule: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    model_settings: Callable[[], dict[str, Any]] = dict
    follow: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda _: {}
    learned: Callable[[Any, nn.Module], dict[str, Any]] = lambda task, network: {}
    spaces: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)


def _diffuse_images(request: Request) -> Task:
    from faintsky.simulating.psf_library import PsfLibrary, make_library
    from faintsky.training.diffuse_images import DiffuseImages
    from faintsky.training.stored_images import StoredImages
    from faintsky.training.stored_pairs import holds_images
    from faintsky.training.web_skies import WebSkies, make_skies

    options = {k: request.settings[k] for k in ("tile", "blur")}
    data = request.data
    if data is not None and holds_images(data):
        return StoredImages(request.network, data, **options)
    library = (request.folder if data is None else data) / "psfs.npz"
    if not library.is_file():
        make_library(int(request.settings["psfs"]), request.seed, request.progress).save(library)
    bank, web = library.with_name("skies.npy"), request.settings["web"]
    if web and not bank.is_file():
        make_skies(bank, web, int(request.settings["skies"]), request.seed, request.progress)
    skies, errors = WebSkies.load(bank) if web else None, float(request.settings["errors"])
    return DiffuseImages(request.network, PsfLibrary.load(library), errors=errors, skies=skies, **options)


def _check_images(data: Path, settings: Mapping[str, Any]) -> None:
    """A folder of images, or psfs and skies that another run has made; not both, and nothing else."""
    from faintsky.training.stored_pairs import check_library, holds_images, stored_pairs

    if not holds_images(data):
        check_library(data)
        return
    if settings["web"] or settings["errors"]:
        raise InputError("web and errors are for simulated images", "leave them out, or --data", data)
    stored_pairs(data, ("noise", "dirty"))


def _check_tiles(data: Path, settings: Mapping[str, Any]) -> None:
    from faintsky.published.dda.tile_data import check_product
    from faintsky.training.stored_pairs import compact_files, stored_pairs

    check_product(settings["product"])
    if not compact_files(data) and not stored_pairs(data, (settings["product"],)):
        raise InputError("holds no images", "give a folder of `faintsky simulate lofar`", data)


def _check_compact(data: Path, settings: Mapping[str, Any]) -> None:
    from faintsky.published.deepfocus.compact_sets import open_compact

    open_compact(data, settings["train"], settings["validation"])


def _tile_pairs(request: Request) -> Task:
    from faintsky.published.dda.log_scale import LogScale
    from faintsky.published.dda.tile_data import TileSource, make_tiles
    from faintsky.published.dda.tile_pairs import TilePairs

    s = request.settings
    scale = LogScale(s["floor"], s["ceiling"], s["scaling"])
    numbers = {k: s[k] for k in ("fields", "size", "product", "tiles")}
    source = TileSource(
        request.data,
        request.preset,
        seed=request.seed,
        tile=int(request.network.tile),  # type: ignore[arg-type]
        scale=scale,
        **numbers,
    )
    return TilePairs(request.network, make_tiles(source, request.progress), augment=s["augment"])


def _denoiser_settings() -> dict[str, Any]:
    from faintsky.denoising import Settings

    return Settings().as_dict()


def _integrated_images(request: Request) -> Task:
    from faintsky.published.deepfocus.compact_sets import read_images
    from faintsky.published.deepfocus.integrated_images import IntegratedImages

    data, s = _compact(request), request.settings
    parts = read_images(data.train), read_images(data.held)
    return IntegratedImages(request.network, *parts, loss=s["loss"], augment=s["augment"])


def _spectra(request: Request) -> Task:
    from faintsky.published.deepfocus.compact_sets import read_sources
    from faintsky.published.deepfocus.spectra_data import Spectra

    data, names = _compact(request), ("spectra", "clean_spectra")
    return Spectra(request.network, read_sources(data.train, names), read_sources(data.held, names))


def _focused_images(request: Request) -> Task:
    from faintsky.published.deepfocus.compact_sets import read_sources
    from faintsky.published.deepfocus.focused_images import FocusedImages, image_name

    data, s = _compact(request), request.settings
    names = (image_name(s["parameter"]),)
    parts = (read_sources(files, names, truth=True) for files in (data.train, data.held))
    return FocusedImages(request.network, *parts, cell=data.cell, parameter=s["parameter"], angle=s["angle"])


def _compact(request: Request) -> CompactSet:
    from faintsky.published.deepfocus.compact_sets import open_compact

    if request.data is None:
        raise InputError("this network needs data", "give --data, a folder of compact data")
    return open_compact(request.data, request.settings["train"], request.settings["validation"])


def _shape_outputs(settings: Mapping[str, Any]) -> dict[str, Any]:
    from faintsky.published.deepfocus.focused_images import target_names

    return {"outputs": len(target_names(settings["parameter"], settings["angle"]))}


SHARES = {"train": 0.6, "validation": 0.2}
"""Of the cubes; the paper leaves the others for tests."""

RECIPES: dict[str, Recipe] = {
    "local_unet": Recipe(
        job="denoise",
        key="denoiser",
        presets=("diffuse",),
        make_task=_diffuse_images,
        check_data=_check_images,
        schedule={"steps": 8000, "learning_rate": 1e-3},
        settings={"psfs": 64, "tile": 192, "blur": 0.3, "errors": 0.0, "web": "", "skies": 24},
        arguments={"widths": [64, 96, 128, 160], "encoder": [1, 1, 1, 1], "decoder": [1, 1, 2]},
        model_settings=_denoiser_settings,
    ),
    "dda": Recipe(
        job="denoise",
        key="denoiser",
        presets=("paper", "lotss", "varied"),
        make_task=_tile_pairs,
        check_data=_check_tiles,
        schedule=GHELLER_VAZZA,
        settings={
            "product": "noise",
            "fields": 112,
            "size": 2000,
            "tiles": 0,
            "floor": 1e-8,
            "ceiling": 1e-2,
            "scaling": "fixed",
            "augment": False,
        },
        arguments={"tile": 128, "levels": 2, "dense": 200, "kernel": 3},
        learned=lambda task, network: task.model_settings(network),
        spaces={
            # Appendix B, with the rate of 0.005 that Table B1 lists and the text's grid lacks
            "paper": {
                "learning_rate": (0.1, 0.01, 0.005, 1e-3, 1e-4, 5e-5, 1e-5),
                "batch_size": (25, 50, 100, 150, 200),
                "epochs": (50, 100, 300, 500),
            },
            # Table A1
            "architectures": {"levels": (2, 3, 4), "dense": (50, 100, 200, 400), "kernel": (3, 5)},
        },
    ),
    "blobs_finder": Recipe(
        job="detect",
        key="blobs_finder",
        presets=(),
        make_task=_integrated_images,
        check_data=_check_compact,
        schedule=PUBLISHED | {"keep_every": 5},
        settings=SHARES | {"loss": "ramp", "augment": True},
        arguments={"size": 256, "latent": 1024, "bare": False},
        model_settings=lambda: {"method": "deepfocus"},
    ),
    "decoras": Recipe(
        job="detect",
        key="decoras",
        presets=(),
        make_task=_integrated_images,
        check_data=_check_compact,
        schedule=PUBLISHED | {"keep_every": 5},
        settings=SHARES | {"loss": "bce", "augment": True},
        arguments={"size": 256, "latent": 256},
        model_settings=lambda: {"method": "decoras"},
    ),
    "deep_gru": Recipe(
        job="detect",
        key="deep_gru",
        presets=(),
        make_task=_spectra,
        check_data=_check_compact,
        schedule=PUBLISHED | {"weight_decay": 1e-5},
        settings=SHARES,
        arguments={"head": "dense", "channels": 128},
        model_settings=lambda: {"method": "deepfocus"},
    ),
    "shape_resnet": Recipe(
        job="detect",
        key="{parameter}",
        presets=(),
        make_task=_focused_images,
        check_data=_check_compact,
        schedule=PUBLISHED,
        settings=SHARES | {"parameter": "fwhm_x", "angle": "double"},
        arguments={"join": "add", "pool": "max", "stem": 1, "width": 64},
        model_settings=lambda: {"method": "deepfocus"},
        follow=_shape_outputs,
    ),
}


def find_recipe(network: str) -> Recipe:
    """The recipe of a network.

    Raises
    ------
    InputError
        Where there is none.
    """
    if network not in RECIPES:
        raise InputError(f"no network {network!r} to train", f"choose one of {', '.join(sorted(RECIPES))}")
    return RECIPES[network]


@dataclass(frozen=True)
class Plan:
    """A recipe's numbers with the user's in their places."""

    schedule: Schedule
    settings: dict[str, Any]
    arguments: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """For the card and for ``run.json``."""
        return {"schedule": asdict(self.schedule), "task": self.settings, "arguments": self.arguments}


def make_plan(recipe: Recipe, changes: Mapping[str, Any]) -> Plan:
    """Take the user's ``key=value`` into a recipe's defaults.

    Parameters
    ----------
    recipe : Recipe
    changes : mapping of str to str or value
        Keys of `Schedule`, of the recipe's settings or of the network's arguments; text is read as JSON.

    Raises
    ------
    InputError
        For an unknown key, or a value of another type than the default's.
    """
    from faintsky.training.fit import Schedule

    schedule: dict[str, Any] = asdict(Schedule()) | dict(recipe.schedule)
    settings, arguments = dict(recipe.settings), dict(recipe.arguments)
    groups: tuple[dict[str, Any], ...] = (schedule, settings, arguments)
    for key, text in changes.items():
        group = next((g for g in groups if key in g), None)
        if group is None:
            known = ", ".join(k for g in groups for k in g)
            raise InputError(f"unknown setting {key!r}", f"known: {known}")
        group[key] = change_type(key, text, group[key])
    for key in ("steps", "batch_size", "validate_every", "keep_every"):
        if schedule[key] < 1:
            raise InputError(f"{key} must be at least 1", "give a larger number")
    return Plan(Schedule(**schedule), settings, arguments | recipe.follow(settings))


def change_type(key: str, text: Any, default: Any) -> Any:
    """A setting given as text (read as JSON) or a value, of the type of its default; else `InputError`."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        value = text
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        raise InputError(f"{key}={text} is not of the type of its default {default!r}", "give such a value")
    return value
