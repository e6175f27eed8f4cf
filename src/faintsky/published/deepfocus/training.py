"""Training of the networks: sky from integrated images, clean spectra, shapes and fluxes from small images.

Delli Veneri et al. (2022), Sections 4.1 to 4.3 and 4.5. Data are folders of ``faintsky simulate alma
--products compact``, split by cube. Phase 1 uses data made with the true parameters, phase 2 detections of
earlier networks, which are the same arrays in another folder."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from faintsky.arrays import Array32, Int
from faintsky.errors import InputError
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.options import Progress
from faintsky.published.deepfocus.networks import (
    crop_centre,
    flux_target,
    shape_targets,
    standardise,
    turned,
    unit_range,
    unit_range_1d,
)
from faintsky.simulating import SimulationSettings, open_observatory, parameters_of
from faintsky.sky import empty_sky
from faintsky.system import Settings
from faintsky.training import VALIDATION, Batch, EpochTask, Plan, Recipe

Arrays = dict[str, Array32]

TRUTH = ("dc_maj", "dc_min", "dc_pa", "fwhm_z", "line_flux_peak", "pb")
"""Columns of the truth tables that are used."""
SOURCES_A_CUBE = 4.5
WINDOW = 11
"""Side of the Gaussian window of the structural similarity [pixel] (Wang et al. 2004)."""
SPREAD = 1.5
"""Standard deviation of that Gaussian [pixel]."""
C1 = 0.01**2
"""Constant of Delli Veneri et al. (2022), eq. 9, for the range L = 1 of images in [0, 1]."""
C2 = 0.03**2
"""The same of eq. 10."""
SHIFT = 1
"""Largest random shift of a training image of a source [pixel]."""
AT_ONCE = 64
"""Examples validated at a time."""
HELD = 64
"""Number of new images for validation."""


# ------------------------------------------------------------------------------------------- stored data


@dataclass(frozen=True)
class CompactSet:
    """The files of a folder, split by cube.

    Parameters
    ----------
    train, held : tuple of pathlib.Path
        ``NNNN_compact.npz`` for training and for validation.
    cell : float
        Side of a pixel [arcsec].
    """

    train: tuple[Path, ...]
    held: tuple[Path, ...]
    cell: float


def open_compact(folder: Path, train: float = 0.6, validation: float = 0.2) -> CompactSet:
    """Split a folder by cube: the first for training, the next for validation; the others are not used.

    Parameters
    ----------
    folder : pathlib.Path
        The folder.
    train, validation : float
        Fractions of the cubes (in the paper 60 and 20 %, and 20 % for tests).

    Returns
    -------
    CompactSet

    Raises
    ------
    InputError
        If it is not such a folder, or holds too few cubes for these fractions.
    """
    files = sorted(folder.glob("*_compact.npz"), key=lambda f: int(f.name.partition("_")[0]))
    cell = parameters_of(folder).get("cell")
    if not files or cell is None:
        raise InputError(
            "holds no *_compact.npz and the dataset.json of a simulation",
            "faintsky simulate alma --products compact",
            folder,
        )
    if min(train, validation) <= 0 or train + validation > 1 + 1e-9:
        raise InputError(f"train={train} and validation={validation} are not fractions", "give 0.6 and 0.2")
    a = round(train * len(files))
    b = round((train + validation) * len(files))
    if a < 1 or b <= a:
        raise InputError(f"{len(files)} cubes are too few to train and to validate", "simulate more", folder)
    return CompactSet(tuple(files[:a]), tuple(files[a:b]), float(cell))


def read_images(files: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Integrated images, each over its largest value, in half precision; they are scaled again before use.

    Returns
    -------
    dirty, sky : Tensor
        ``[image, y, x]``; blanks are 0.

    Raises
    ------
    InputError
        For a damaged file, or images of different sizes.
    """
    pairs = [tuple(_unit(a) for a in _load(f, ("dirty", "sky"))) for f in files]
    if len({image.shape for pair in pairs for image in pair}) > 1:
        raise InputError("its images differ in size", "simulate one size only", files[0].parent)
    dirty, sky = (torch.from_numpy(np.stack(images)) for images in zip(*pairs, strict=True))
    return dirty, sky


def _unit(image: Array32) -> NDArray[np.float16]:
    clean = np.nan_to_num(image)
    return (clean / max(float(np.abs(clean).max()), 1e-30)).astype(np.float16)


def read_sources(files: Sequence[Path], names: Iterable[str], *, truth: bool = False) -> dict[str, Array32]:
    """Read arrays of all sources from compact files.

    Parameters
    ----------
    files : sequence of pathlib.Path
        The files.
    names : iterable of str
        Arrays with one row per source.
    truth : bool
        Also read the columns `TRUTH` of the truth tables.

    Returns
    -------
    dict of arrays
        ``[source, ...]``, with ``rms``, the median noise of the source's cube [Jy/beam].

    Raises
    ------
    InputError
        For a damaged file, a table that does not fit, or no sources.
    """
    names = tuple(names)
    parts: dict[str, list[Array32]] = {n: [] for n in (*names, "rms", *(TRUTH if truth else ()))}
    for file in files:
        *arrays, sigma = _load(file, (*names, "sigma"))
        n = len(arrays[0])
        for name, array in zip(names, arrays, strict=True):
            parts[name].append(array)
        parts["rms"].append(np.full(n, np.median(sigma), dtype=np.float32))
        for name, column in _truth(file, n).items() if truth and n else ():
            parts[name].append(column)
    if not sum(len(rms) for rms in parts["rms"]):
        raise InputError("holds no source", "simulate more cubes", files[0].parent)
    try:
        return {k: np.concatenate([p for p in v if len(p)]) for k, v in parts.items()}
    except ValueError as error:
        raise InputError("its arrays differ in size", "simulate one kind of cube", files[0].parent) from error


def _load(file: Path, names: tuple[str, ...]) -> list[Array32]:
    try:
        with np.load(file) as data:
            return [data[n] for n in names]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError("damaged, or lacks what is needed", "simulate again", file) from error


def _truth(file: Path, n: int) -> dict[str, Array32]:
    """`TRUTH` of a cube, read as text for speed, because there are thousands of tables."""
    table = file.with_name(file.name.replace("_compact.npz", "_truth.ecsv"))
    try:
        text = table.read_text(encoding="utf-8")
        columns, *rows = csv.reader(line for line in text.splitlines() if line[:1] != "#")
        at = {name: columns.index(name) for name in TRUTH}
        out = {name: np.array([float(r[i]) for r in rows], dtype=np.float32) for name, i in at.items()}
    except (OSError, ValueError, IndexError) as error:
        raise InputError("is not a truth table of a simulation", "simulate again", table) from error
    if len(rows) != n:
        raise InputError("does not fit the arrays beside it", "simulate again", table)
    return out


# ------------------------------------------------- losses, in single precision whatever the network is in


@cache
def _window(n: int, device: torch.device) -> Tensor:
    """Matrix ``[n - 10, n]`` that averages along an axis at positions where the window is inside."""
    offsets = (
        torch.arange(n, device=device) - torch.arange(n - WINDOW + 1, device=device)[:, None] - WINDOW // 2
    )
    weights = torch.exp(-0.5 * (offsets / SPREAD) ** 2) * (offsets.abs() <= WINDOW // 2)
    return weights / weights.sum(dim=1, keepdim=True)


def dssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural dissimilarity ``(1 - SSIM) / 2`` (eqs. 7 and 8), a scalar.

    It is the mean over all positions where a Gaussian window of 11 pixels (standard deviation 1.5) is inside.
    Products with two banded matrices are much faster than a convolution on a CPU.

    Parameters
    ----------
    x, y : Tensor
        ``[b, 1, y, x]`` in [0, 1], with sides of at least 11 pixels.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, y = x.float()[:, 0], y.float()[:, 0]
        n_y, n_x = x.shape[-2:]
        maps = torch.stack([x, y, x * x + y * y, x * y])
        mean_x, mean_y, squares, product = _window(n_y, x.device) @ (maps @ _window(n_x, x.device).T)
        both, powers = mean_x * mean_y, mean_x.square() + mean_y.square()
        ratio = (2 * both + C1) * (2 * (product - both) + C2)
        similarity = ratio / ((powers + C1) * (squares - powers + C2))
        return (1 - similarity.mean()) / 2


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference (eq. 6)."""
    return (x.float() - y.float()).abs().mean()


def binary_cross_entropy(x: Tensor, y: Tensor) -> Tensor:
    """Mean binary cross-entropy of values in [0, 1]."""
    with torch.autocast(x.device.type, enabled=False):
        return functional.binary_cross_entropy(x.float(), y.float())


def squared_logarithms(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of ``log(1 + value)``."""
    return (torch.log1p(x.float()) - torch.log1p(y.float())).square().mean()


def ramp(x: Tensor, y: Tensor, done: float) -> Tensor:
    """Linear change from `l1` in the first epoch to `dssim` in the last (eq. 20).

    Parameters
    ----------
    x, y : Tensor
        As for `dssim`.
    done : float
        Fraction of the epochs, 0 in the first and 1 in the last.

    Returns
    -------
    Tensor
        A scalar.
    """
    total = x.new_zeros(())
    if done < 1:
        total = total + (1 - done) * l1(x, y)
    if done > 0:
        total = total + done * dssim(x, y)
    return total


def constant_sum(x: Tensor, y: Tensor) -> Tensor:
    """`l1` plus `dssim`, as in the authors' code."""
    return l1(x, y) + dssim(x, y)


FIXED = {
    "ramp": constant_sum, "sum": constant_sum, "bce": binary_cross_entropy, "msle": squared_logarithms,
}  # fmt: skip
"""Validation score for each loss; it must not depend on the epoch, as the ramp does."""


# ------------------------------------------------------------------------------------- the three tasks


class StoredTask(EpochTask):
    """Training on stored inputs and targets; a subclass defines the network's input and the scores."""

    names: tuple[str, ...] = ("loss",)
    """Names of the values of `scores`."""

    def __init__(self, network: nn.Module, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor]) -> None:
        self.network, self.train, self.held = network, train, held
        self.examples = len(train[0])

    def seen(self, given: Tensor, target: Tensor) -> Batch:
        """``input`` and ``target``, here unchanged."""
        return {"input": given, "target": target}

    def scores(self, made: Tensor, target: Tensor) -> list[Tensor]:
        """Means over some examples, the loss first; here the absolute difference."""
        return [l1(made, target)]

    def take(self, rng: np.random.Generator, pick: Int) -> Batch:
        """Some training examples, see `seen`."""
        return self.seen(*(part[torch.as_tensor(pick)] for part in self.train))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Of a batch."""
        return self.scores(network(batch["input"]), batch["target"])[0]

    def validate(self, network: nn.Module) -> dict[str, float]:
        """`scores` over all validation examples."""
        device = next(network.parameters()).device
        totals = torch.zeros(len(self.names))
        for parts in zip(*(a.split(AT_ONCE) for a in self.held), strict=True):
            batch = {k: v.to(device) for k, v in self.seen(*parts).items()}
            scores = self.scores(network(batch["input"]).float(), batch["target"])
            totals += torch.stack(scores).cpu() * len(parts[0]) / len(self.held[0])
        return dict(zip(self.names, totals.tolist(), strict=True))


class IntegratedImages(StoredTask):
    """Training of Blobs Finder and DECORAS's autoencoder: integrated sky from integrated dirty image.

    Both images are rotated, mirrored and cropped in the same way, and then scaled to [0, 1]. Blank pixels,
    and empty skies, are 0.

    Parameters
    ----------
    network : torch.nn.Module
        ``blobs_finder`` or ``decoras``; its ``size`` is that of the crops.
    train, held : tuple of Tensor
        Dirty images and skies from `read_images`, ``[image, y, x]`` each.
    loss : {"ramp", "sum", "bce", "msle"}
        The loss.
    augment : bool
        Rotate and mirror training images (not those for validation).
    """

    names = ("loss", "l1", "dssim")

    def __init__(
        self,
        network: nn.Module,
        train: tuple[Tensor, Tensor],
        held: tuple[Tensor, Tensor],
        *,
        loss: str = "ramp",
        augment: bool = True,
    ) -> None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(network, train, held)
        self.size: int = network.size  # type: ignore[assignment]
        self.kind, self.augment = loss, augment

    def seen(self, given: Tensor, target: Tensor) -> Batch:
        """Both cropped and scaled to [0, 1], ``[b, 1, size, size]``."""
        made, true = (unit_range(crop_centre(x.float(), self.size))[:, None] for x in (given, target))
        return {"input": made.contiguous(memory_format=torch.channels_last), "target": true}

    def scores(self, made: Tensor, target: Tensor) -> list[Tensor]:
        """Means of the validation loss and of both parts of the ramp."""
        return [FIXED[self.kind](made, target), l1(made, target), dssim(made, target)]

    def take(self, rng: np.random.Generator, pick: Int) -> Batch:
        """Some training examples, rotated and mirrored at random."""
        return self._varied(rng, *(part[torch.as_tensor(pick)] for part in self.train))

    def _varied(self, rng: np.random.Generator, given: Tensor, target: Tensor) -> Batch:
        """Training images ``[b, y, x]``, both rotated and mirrored in the same way if requested."""
        if not self.augment:
            return self.seen(given, target)
        both = torch.stack([given, target], dim=1).float()
        angles = torch.as_tensor(rng.uniform(0, 2 * np.pi, len(both)), dtype=torch.float32)
        mirrors = torch.as_tensor(rng.integers(2, size=(len(both), 2)) * 2 - 1, dtype=torch.float32)
        return self.seen(*turned(both, angles, mirrors, self.size).unbind(dim=1))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Loss of a batch; ``done`` is the position in the ramp."""
        made, target = network(batch["input"]), batch["target"]
        if self.kind == "ramp":
            return ramp(made, target, float(batch.get("done", 0.0)))
        return FIXED[self.kind](made, target)


class FreshImages(IntegratedImages):
    """As `IntegratedImages`, with cubes simulated during training; those for validation have fixed seeds.

    Parameters
    ----------
    observatory : CubeObservatory
        Simulates the cubes.
    empty : float
        Fraction of skies without sources.
    network, loss, augment
        See `IntegratedImages`.
    """

    def __init__(
        self, network: nn.Module, observatory: Any, *, empty: float, loss: str, augment: bool
    ) -> None:
        self.observatory, self.empty = observatory, empty
        held = self.draw(np.random.default_rng([VALIDATION]), HELD)
        super().__init__(network, held, held, loss=loss, augment=augment)

    def draw(self, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
        """``size`` integrated images, dirty and true, ``[b, y, x]``."""
        made, instrument = [], self.observatory.instrument
        for _ in range(size):
            none = rng.random() < self.empty
            sky = empty_sky(instrument.grid, instrument.spectral) if none else self.observatory.draw(rng)
            made.append(self.observatory.observe_integrated(sky, rng, int(rng.integers(2**62))))
        dirty, true = (torch.from_numpy(np.stack(images)) for images in zip(*made, strict=True))
        return torch.nan_to_num(dirty), true

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """A batch of new images."""
        return self._varied(rng, *self.draw(rng, size))


class Spectra(StoredTask):
    """Training of Deep GRU: clean spectra from dirty ones.

    Parameters
    ----------
    network : torch.nn.Module
        ``deep_gru``
    train, held : dict of arrays
        ``spectra`` and ``clean_spectra``, ``[source, chan]``, from `read_sources`.
    augment : bool
        Reverse half of the training spectra, because lines and continua have no preferred direction.

    Raises
    ------
    InputError
        If the network is for another number of channels.
    """

    def __init__(self, network: nn.Module, train: Arrays, held: Arrays, *, augment: bool = False) -> None:
        channels = train["spectra"].shape[1]
        if getattr(network, "channels", None) not in (None, channels):
            raise InputError(f"the spectra have {channels} channels", f"give --set channels={channels}")
        parts = [[torch.as_tensor(a[k]) for k in ("spectra", "clean_spectra")] for a in (train, held)]
        super().__init__(network, *((standardise(dirty), unit_range_1d(clean)) for dirty, clean in parts))
        self.augment = augment

    def take(self, rng: np.random.Generator, pick: Int) -> Batch:
        """Some training examples, half of them reversed if requested."""
        whole = super().take(rng, pick)
        if not self.augment:
            return whole
        back = torch.as_tensor(rng.random(len(pick)) < 0.5)[:, None]
        return {k: torch.where(back, v.flip(1), v) for k, v in whole.items()}


def target_names(parameter: str, angle: str) -> list[str]:
    """Names of a network's outputs for a parameter, in order."""
    turn = ["pa"] if angle == "degrees" else ["sin_2pa", "cos_2pa"]
    each = {"fwhm_x": ["fwhm_x"], "fwhm_y": ["fwhm_y"], "pa": turn, "flux": ["flux"]}
    return each.get(parameter) or [name for names in each.values() for name in names]


def image_name(parameter: str) -> str:
    """Array of the compact data for a parameter: the flux needs the one with a scale."""
    return "line_images" if parameter in ("flux", "all") else "focused"


class FocusedImages(StoredTask):
    """Training of the residual networks: a source's widths, angle or flux from a small image.

    Shapes are measured on the spectrally focused image, scaled to [0, 1]; the flux on the line image over the
    cube's rms, which keeps the scale.

    Parameters
    ----------
    network : torch.nn.Module
        ``shape_resnet`` with one output for each of `target_names`.
    train, held : dict of arrays
        The array `image_name`, ``rms`` and the truth, ``[source, ...]``, from `read_sources`.
    cell : float
        Side of a pixel [arcsec].
    parameter : {"fwhm_x", "fwhm_y", "pa", "flux", "all"}
        ``all`` is one network for all parameters, on line images.
    angle : {"double", "degrees"}
        Sine and cosine of twice the position angle, or the paper's projection angle in [0, 90) [deg].
    augment : bool
        Rotate training images by 180 deg at random, which changes neither psf, widths nor angle, and shift
        them by up to `SHIFT` pixels, like the positions of detections.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Arrays,
        held: Arrays,
        *,
        cell: float,
        parameter: str,
        angle: str = "double",
        augment: bool = False,
    ) -> None:
        self.augment = augment
        targets = target_names(parameter, angle)
        self.names = "loss", *targets
        self.scale = image_name(parameter) == "focused"
        # with fewer channels, a strided backward pass writes outside of its memory on some processors
        self.order = torch.channels_last if network.stem[0].out_channels >= 8 else torch.contiguous_format  # type: ignore[index,union-attr]
        network.to(memory_format=self.order)  # type: ignore[call-overload]
        super().__init__(
            network, *((_images(a, parameter), _targets(a, cell, targets)) for a in (train, held))
        )
        # outputs of different units have equal weight
        self.spread = self.train[1].std(dim=0, correction=0).clamp_min(1e-6)

    def seen(self, given: Tensor, target: Tensor) -> Batch:
        """``input`` ``[b, 1, y, x]`` and ``target`` ``[b, value]``."""
        made = unit_range(given) if self.scale else given.float()
        return {"input": made[:, None].contiguous(memory_format=self.order), "target": target}

    def take(self, rng: np.random.Generator, pick: Int) -> Batch:
        """Some training examples, rotated and shifted if requested."""
        batch = super().take(rng, pick)
        if not self.augment:
            return batch
        shifts, turns = rng.integers(-SHIFT, SHIFT + 1, (len(pick), 2)), rng.random(len(pick)) < 0.5
        images = [
            torch.roll(v.flip((1, 2)) if turn else v, tuple(n + int(turn) for n in shift), (1, 2))
            for v, shift, turn in zip(batch["input"], shifts.tolist(), turns, strict=True)
        ]
        return {**batch, "input": torch.stack(images).contiguous(memory_format=torch.channels_last)}

    def scores(self, made: Tensor, target: Tensor) -> list[Tensor]:
        """Mean absolute differences, in units of the targets' standard deviations, and of each value."""
        errors = (made - target).abs().mean(dim=0)
        return [(errors / self.spread.to(made.device)).mean(), *errors]


def _images(arrays: Arrays, parameter: str) -> Tensor:
    name = image_name(parameter)
    images = torch.as_tensor(arrays[name])
    if name == "line_images":
        return images / torch.as_tensor(arrays["rms"])[:, None, None]
    return unit_range(images).half()


def _targets(arrays: Arrays, cell: float, names: list[str]) -> Tensor:
    shape = (arrays["dc_maj"] / cell, arrays["dc_min"] / cell, arrays["dc_pa"])
    double, degrees = shape_targets(*shape), shape_targets(*shape, degrees=True)
    # the area of a Gaussian line of unit peak and FWHM is sqrt(2 pi) / 2.3548
    flux = arrays["line_flux_peak"] * arrays["fwhm_z"] * arrays["pb"] * np.sqrt(2 * np.pi) / FWHM_PER_SIGMA
    columns = {
        "fwhm_x": double[:, 0], "fwhm_y": double[:, 1], "sin_2pa": double[:, 2], "cos_2pa": double[:, 3],
        "pa": degrees[:, 2], "flux": flux_target(flux, arrays["rms"]),
    }  # fmt: skip
    return torch.as_tensor(np.stack([columns[n] for n in names], axis=1), dtype=torch.float32)


# ------------------------------------------------------------------------------------------- the recipes


class Shares(Settings):
    """Fractions of the cubes for training and validation; in the paper the others are for tests."""

    train: float = Field(0.6, gt=0, le=1)
    validation: float = Field(0.2, gt=0, le=1)


class SpectraSettings(Shares):
    """See `Spectra`."""

    augment: bool = False


class ImageSettings(Shares):
    """See `IntegratedImages`; ``empty`` is the fraction of new skies without sources."""

    loss: Literal["ramp", "sum", "bce", "msle"] = "ramp"
    augment: bool = True
    empty: float = Field(0.05, ge=0, le=1)


class ShapeSettings(Shares):
    """See `FocusedImages`."""

    parameter: Literal["fwhm_x", "fwhm_y", "pa", "flux", "all"] = "fwhm_x"
    angle: Literal["double", "degrees"] = "double"
    augment: bool = False


class CompactRecipe(Recipe):
    """Recipe with compact data and the schedule of Section 4.5, which does not give the batch size."""

    job = "detect"
    method: ClassVar[str] = "deepfocus"
    schedule: ClassVar = {
        "epochs": 300, "batch_size": 64, "learning_rate": 1e-4, "warmup": 10, "rate": "constant",
        "adam": "adam", "weight_decay": 0.0, "clip": 0.0, "decay": 0.0, "patience": 10, "window": 10,
        "workers": 0,
    }  # fmt: skip
    settings: ClassVar[type[Settings]] = Shares
    sources: ClassVar[float] = SOURCES_A_CUBE
    """Number of examples from a cube."""

    def check_data(self, data: Path, settings: Shares) -> None:
        """See `open_compact`."""
        open_compact(data, settings.train, settings.validation)

    def compact(self, plan: Plan) -> CompactSet:
        """The cubes of a folder."""
        assert plan.data is not None
        return open_compact(plan.data, plan.settings.train, plan.settings.validation)

    def examples(self, plan: Plan) -> int:
        """Number of examples, from the number of files."""
        files = 0 if plan.data is None else len(list(plan.data.glob("*_compact.npz")))
        return math.ceil(files * plan.settings.train * self.sources)

    def model_settings(self, task: Any, network: nn.Module) -> dict[str, Any]:
        """The method to which the network belongs."""
        return {"method": self.method}


class BlobsFinderRecipe(CompactRecipe):
    """Recipe of ``blobs_finder``."""

    network = key = "blobs_finder"
    presets = ("paper", "text", "emitters")
    schedule: ClassVar = {**CompactRecipe.schedule, "keep_every": 5}
    settings: ClassVar[type[Settings]] = ImageSettings
    sources = 1
    cost = (2.2e-6, 640)

    def plan(self, *, data: Any = None, changes: Any = None, **more: Any) -> Plan:
        """See `faintsky.training.Recipe.plan`; with new images the length is in steps, not in epochs."""
        return super().plan(data=data, changes={**({} if data else {"epochs": 0}), **(changes or {})}, **more)

    def task(
        self, plan: Plan, network: nn.Module, folder: Path, progress: Progress | None
    ) -> IntegratedImages:
        """See `faintsky.training.Recipe.task`; without a folder images are simulated."""
        s = plan.settings
        if plan.data is None:
            observatory = open_observatory(SimulationSettings(telescope="alma", preset=plan.preset))
            return FreshImages(network, observatory, empty=s.empty, loss=s.loss, augment=s.augment)
        data = self.compact(plan)
        parts = read_images(data.train), read_images(data.held)
        return IntegratedImages(network, *parts, loss=s.loss, augment=s.augment)


class DeepGruRecipe(CompactRecipe):
    """Recipe of ``deep_gru``."""

    network = key = "deep_gru"
    settings: ClassVar[type[Settings]] = SpectraSettings
    schedule: ClassVar = {**CompactRecipe.schedule, "weight_decay": 1e-5}
    cost = (9.9e-6, 16_000)

    def task(self, plan: Plan, network: nn.Module, folder: Path, progress: Progress | None = None) -> Spectra:
        """See `faintsky.training.Recipe.task`."""
        data, names = self.compact(plan), ("spectra", "clean_spectra")
        parts = (read_sources(files, names) for files in (data.train, data.held))
        return Spectra(network, *parts, augment=plan.settings.augment)

    def pixels(self, plan: Plan) -> int:
        """Channels of a spectrum."""
        return int(plan.arguments["channels"])


class ShapeRecipe(CompactRecipe):
    """Recipe of ``shape_resnet``."""

    network, key = "shape_resnet", "{parameter}"
    settings = ShapeSettings
    cost = (1.1e-5, 2800)

    def task(self, plan: Plan, network: nn.Module, folder: Path, progress: Progress | None) -> FocusedImages:
        """See `faintsky.training.Recipe.task`."""
        data, s = self.compact(plan), plan.settings
        names = (image_name(s.parameter),)
        parts = (read_sources(files, names, truth=True) for files in (data.train, data.held))
        return FocusedImages(
            network, *parts, cell=data.cell, **s.model_dump(include={"parameter", "angle", "augment"})
        )

    def pixels(self, plan: Plan) -> int:
        """Pixels of an image."""
        return 64**2

    def fitting(self, settings: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        """As many outputs as there are targets."""
        return {**arguments, "outputs": len(target_names(settings.parameter, settings.angle))}
