"""Training of the published autoencoder, from tiles of images to tiles of the true sky.

This follows Gheller & Vazza (2021), Sections 2, 3.2 and 4. Images of 2000 x 2000 pixels, from a folder or a
simulation, are converted to Jy/arcsec2, scaled (`LogScale`) and cut into tiles without overlap; a remainder
at the far edges is left out. The squared error on the logarithmic scale is minimised. The input is one
product: the sky itself (Identity), or its Noise, Clean or Dirty image.

Tiles are stored in 16 bits, in steps of 0.02 per cent for a brightness scale of six decades.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from faintsky.arrays import Array32, Float, Int
from faintsky.beams import beam_pixels
from faintsky.errors import InputError
from faintsky.io import open_image
from faintsky.options import Progress
from faintsky.preparing import robust_sigma, surface_brightness
from faintsky.published.dda.denoise import (
    EDGES,
    LEAST_MRE,
    WITH_BEAM,
    AutoencoderSettings,
    LogScale,
    Product,
    beam_width,
)
from faintsky.training import Batch, EpochTask, Plan, Recipe, compact_files, primary_beam_of, stored_pairs

Coded = NDArray[np.uint16]
Pair = tuple[Array32, Array32, float, float]
"""Image and sky [Jy/arcsec2], cell and FWHM of the beam [arcsec], 0 without one."""

STEPS = 65_535
VALIDATION_SHARE = 0.1
"""Fraction of the skies for validation: the last ones, at least one."""
SEED = 7_000_000
"""Added to a run's seed for its simulations, so that its skies are used nowhere else."""
CHUNK = 64
"""Tiles validated at a time."""
ERROR_EDGES = EDGES[::2]
"""Edges of the bins of brightness for errors [Jy/arcsec2]."""


class TileSettings(LogScale):
    """Settings of the autoencoder's training data.

    Parameters
    ----------
    floor, ceiling, scaling
        See `LogScale`.
    product : {"sky", "noise", "clean", "dirty"}
        The product that is denoised.
    fields, size : int
        Number of images to simulate, and their side [pixel].
    tiles : int
        Number of training tiles, chosen at random; 0 for all.
    empty : float
        Fraction of the tiles without a pixel above the floor that are used for training (in fields of groups
        nine in ten tiles are empty). Validation uses all.
    augment : bool
        Rotate and mirror training tiles; the paper's skies are rotated views of one simulation.
    calibrate : float
        Brightness [Jy/arcsec2] above which the result is corrected to the mean true brightness at the
        network's brightness, measured on all tiles (`AutoencoderSettings.true`); 0 for no correction, as in
        the paper.
    """

    product: Product = "noise"
    fields: int = Field(112, ge=1)
    size: int = Field(2000, ge=1)
    tiles: int = Field(0, ge=0)
    empty: float = Field(1.0, ge=0, le=1)
    augment: bool = True
    calibrate: float = Field(0.0, ge=0)


@dataclass(frozen=True)
class Tiles:
    """Pairs of tiles in 16 bits, with the limits of their scales.

    Parameters
    ----------
    image, target : array
        ``[tile, y, x]``: 0 to `STEPS` for 0 to 1.
    image_limits, target_limits : array
        From `LogScale.limits`, ``[tile, 2]``.
    """

    image: Coded
    target: Coded
    image_limits: Float
    target_limits: Float

    def __len__(self) -> int:
        return len(self.image)

    def take(self, pick: Any) -> Self:
        """Some of the tiles."""
        return type(self)(*(values[pick] for values in vars(self).values()))


class TileSets(NamedTuple):
    """Tiles for training and for validation, and properties of their images for `AutoencoderSettings`."""

    train: Tiles
    held: Tiles
    cell: float
    beam: float
    rms: float


_kept: dict[Any, TileSets] = {}
"""Cache of the last ones made, because a search for hyperparameters uses the same many times."""


def make_tiles(plan: Plan, progress: Progress | None = None) -> TileSets:
    """Read or simulate images and cut them into tiles.

    Raises
    ------
    InputError
        For fewer than two skies, images in another unit or smaller than a tile, or a product that the preset
        lacks.
    """
    s, data, tile = plan.settings, plan.data, int(plan.arguments["tile"])
    seed = plan.schedule.seed
    key = (s.model_copy(update={"augment": False, "calibrate": 0.0}), data, plan.preset, seed, tile)
    if key in _kept:
        return _kept[key]
    _kept.clear()
    parts: list[Tiles] = []
    seen: list[tuple[float, float, float]] = []
    for image, sky, cell, beam in (
        _simulated(plan, progress) if data is None else _stored(data, s.product, progress)
    ):
        if min(image.shape) < tile:
            raise InputError(f"its images are smaller than a tile of {tile}", "give --set tile=…", data)
        parts.append(_cut(image, sky, tile, s))
        seen.append((round(cell, 6), round(beam, 2), 0.0 if s.product == "sky" else robust_sigma(image)))
    if len(parts) < 2:
        raise InputError(
            f"{len(parts)} skies with a {s.product} image are too few to train on", "give two at least", data
        )
    last = max(1, int(len(parts) * VALIDATION_SHARE))
    train, held = _joined(parts[:-last]), _joined(parts[-last:])
    if not len(train) or not len(held):
        raise InputError("all of its images are blank", "give images with data", data)
    if s.empty < 1:
        lucky = np.random.default_rng([seed, 1]).random(len(train)) < s.empty
        train = train.take(np.flatnonzero(train.target.any(axis=(1, 2)) | lucky))
    if 0 < s.tiles < len(train):
        rng = np.random.default_rng([seed, s.tiles])
        train = train.take(np.sort(rng.permutation(len(train))[: s.tiles]))
    cells, beams, noises = (set(v) for v in zip(*seen, strict=True))
    cell, beam = (v.pop() if len(v) == 1 else 0.0 for v in (cells, beams))
    _kept[key] = TileSets(train, held, cell, beam, float(np.median([*noises])))
    return _kept[key]


def _joined(parts: list[Tiles]) -> Tiles:
    return Tiles(*(np.concatenate(values) for values in zip(*(vars(p).values() for p in parts))))


def _cut(image: Array32, sky: Array32, tile: int, scale: LogScale) -> Tiles:
    sky = np.where(np.isfinite(image), sky, np.float32(np.nan))
    coded, limits = [], []
    for plane in (image, sky):
        limits.append(scale.limits(plane))
        values = np.rint(STEPS * scale.encode(plane, limits[-1])).astype(np.uint16)
        n_y, n_x = (n // tile for n in values.shape)
        cut = values[: n_y * tile, : n_x * tile].reshape(n_y, tile, n_x, tile)
        coded.append(cut.transpose(0, 2, 1, 3).reshape(-1, tile, tile))
    blank = np.isnan(image)[: n_y * tile, : n_x * tile].reshape(n_y, tile, n_x, tile)
    keep = ~blank.all(axis=(1, 3)).ravel()
    ends = (np.broadcast_to(v, (int(keep.sum()), 2)) for v in limits)
    return Tiles(coded[0][keep], coded[1][keep], *ends)


def _simulated(plan: Plan, progress: Progress | None) -> Iterator[Pair]:
    from faintsky.simulating import simulated

    s = plan.settings
    if s.product == "clean":
        raise InputError("Clean images are not simulated during training", "give --data with clean images")
    products = ("sky", "dirty" if s.product == "dirty" else "noise")
    how = {"seed": SEED + plan.schedule.seed, "preset": plan.preset, "size": s.size, "products": products}
    seen = simulated("lofar", s.fields, quick=True, **how)
    for done, field in enumerate(seen, start=1):
        cell, image, sky, beam = field.instrument.grid.cell, field.noisy, field.sky, 0.0
        if s.product == "dirty":
            beam = float(np.sqrt(np.prod(field.beams[0][:2])))
            area = float(beam_pixels(field.beams[0], 1.0)[0])
            image, sky = field.dirty / np.float32(area), sky * field.instrument.pb[0]
        yield (sky if s.product == "sky" else image), sky, cell, beam
        if progress is not None:
            progress(done, s.fields, "skies")


def _stored(folder: Path, product: str, progress: Progress | None) -> Iterator[Pair]:
    """FITS files, or compact data if there are none."""
    compact = compact_files(folder)
    files: list[Any] = [*compact] or [*stored_pairs(folder, (product,))]
    for done, one in enumerate(files, start=1):
        yield _of_compact(one, product) if compact else _of_pair(one[0], one[1], product)
        if progress is not None:
            progress(done, len(files), "skies")


def _of_pair(sky: Path, image: Path, product: str) -> Pair:
    true, seen = (open_image(p) for p in (sky, image))
    planes = [one.data * np.float32(surface_brightness(one)) for one in (seen, true)]
    pb = primary_beam_of(sky) if product in WITH_BEAM else None
    gain = np.float32(1) if pb is None else np.nan_to_num(open_image(pb).data)
    return planes[0], planes[1] * gain, seen.grid.cell, beam_width(seen)


def _of_compact(file: Path, product: str) -> Pair:
    from faintsky.simulating import parameters_of, read_compact

    kept = read_compact(file)
    if product not in kept:
        raise InputError(f"holds no {product} image", f"simulate with --products compact,{product}", file)
    image, truth, beam = kept[product], kept["sky"], 0.0
    if product in WITH_BEAM:
        beam = float(np.sqrt(np.prod(kept["beam"][:2])))
        image = image / np.float32(beam_pixels(kept["beam"], 1.0)[0])
        truth = truth if parameters_of(file.parent).get("pbcor") else truth * np.nan_to_num(kept["pb"])
    return image, truth, kept["cell"], beam


class TilePairs(EpochTask):
    """Training of the autoencoder on pairs of tiles.

    Parameters
    ----------
    network : torch.nn.Module
        ``dda``.
    data : TileSets
        The tiles.
    settings : TileSettings
        Settings of the training data.
    """

    def __init__(self, network: nn.Module, data: TileSets, settings: TileSettings) -> None:
        self.network, self.data, self.settings = network, data, settings
        self.examples = len(data.train)
        # An untrained sigmoid returns 0.5, but most of the sky is at the floor. Training would overshoot into
        # saturation, where there is no gradient.
        last = network.get_parameter("out.bias")
        if not last.any():  # otherwise it has been trained
            mean = np.clip(data.train.target.mean() / STEPS, 1e-3, 1 - 1e-3)
            nn.init.constant_(last, float(np.log(mean / (1 - mean))))

    def take(self, rng: np.random.Generator, pick: Int) -> Batch:
        """``image`` and ``target``, ``[b, 1, tile, tile]`` in [0, 1]."""
        both = np.stack([self.data.train.image[pick], self.data.train.target[pick]], axis=1)
        if self.settings.augment:
            turns = rng.integers(4, size=len(pick))
            mirrors = rng.integers(2, size=len(pick)) * 2 - 1
            for pair, turn, mirror in zip(both, turns, mirrors, strict=True):
                pair[:] = np.rot90(pair, turn, (1, 2))[:, :, ::mirror]
        image, target = (_values(both[:, i]) for i in range(2))
        return {"image": image, "target": target}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean squared error (eq. 3)."""
        return nn.functional.mse_loss(network(batch["image"]), batch["target"])

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Mean squared error; relative error of bright pixels (eq. 7); histograms' difference (eq. A1).

        ``loss`` is the squared error on the network's scale, ``sigma_mre`` the mean of ``|x - y| / x`` over
        true pixels above `LEAST_MRE`, and ``delta_c`` the sum over `EDGES`' bins of the absolute difference
        in the number of pixels, over the number of all pixels.
        """
        squares, relative, bright = 0.0, 0.0, 0
        counts = np.zeros((2, len(EDGES) - 1))
        for square, made, truth in self._answers(network, self.data.held):
            squares += square
            high = truth > LEAST_MRE
            bright += int(high.sum())
            relative += float((np.abs(made - truth)[high] / truth[high]).sum(dtype=np.float64))
            counts += [np.histogram(v, EDGES)[0] for v in (truth, made)]
        pixels = self.data.held.image.size
        return {
            "loss": squares / pixels,
            "sigma_mre": relative / bright if bright else float("nan"),
            "delta_c": float(np.abs(counts[0] - counts[1]).sum() / pixels),
        }

    def errors(self, network: nn.Module) -> dict[str, tuple[float, ...]]:
        """``error_at``, ``error`` and ``true`` of `AutoencoderSettings`.

        Errors are those of validation tiles. The true brightness is measured on all tiles, because bright
        pixels are few.
        """
        held, s = self._sums(network, self.data.held), self.settings
        known = held[0] > 0
        at = np.sqrt(ERROR_EDGES[1:] * ERROR_EDGES[:-1])[known]
        n, m, t, mm, mt, tt = held[:, known]
        ratio = np.ones_like(at)
        if s.calibrate:
            m, t = (m, t) + self._sums(network, self.data.train)[1:3, known]
            ratio = np.where(at >= s.calibrate, np.maximum(t / m, 0.01), 1.0)
        error = np.sqrt(np.maximum(ratio**2 * mm - 2 * ratio * mt + tt, 0) / n)
        found = {"error_at": at, "error": error} | ({"true": ratio * at} if s.calibrate else {})
        return {k: tuple(float(f"{v:.4g}") for v in values) for k, values in found.items()}

    def _sums(self, network: nn.Module, tiles: Tiles) -> Float:
        """Number of pixels, and sums of result, truth and their products, in each bin, ``[6, bin]``.

        Only the central part of a tile counts, as in use.
        """
        sums = np.zeros((6, len(ERROR_EDGES) - 1))
        side = tiles.image.shape[1]
        inner = slice(side // 4, side // 4 + max(side // 2, 1))
        with torch.no_grad():
            for _, made, truth in self._answers(network, tiles):
                m, t = (v[:, inner, inner].ravel().astype(np.float64) for v in (made, truth))
                place = np.clip(np.digitize(m, ERROR_EDGES) - 1, 0, sums.shape[1] - 1)
                sums += [np.bincount(place, w, sums.shape[1]) for w in (None, m, t, m * m, m * t, t * t)]
        return sums

    def _answers(self, network: nn.Module, tiles: Tiles) -> Iterator[tuple[float, Array32, Array32]]:
        """Sums of squares on the network's scale, and brightness as used and true brightness, by chunks."""
        device = next(network.parameters()).device
        for i in range(0, len(tiles), CHUNK):
            part = tiles.take(slice(i, i + CHUNK))
            image, target = _values(part.image).to(device), _values(part.target).to(device)
            made = network(image).float()
            square = float((made - target).double().square().sum())
            # in use, only the image's own limits are known
            bright = LogScale.decode(made[:, 0].cpu().numpy(), part.image_limits)
            yield square, bright, LogScale.decode(target[:, 0].cpu().numpy(), part.target_limits)


def _values(coded: NDArray[np.uint16]) -> Tensor:
    return torch.from_numpy(coded.astype(np.float32) / np.float32(STEPS))[:, None]


class DdaRecipe(Recipe):
    """Recipe of ``dda``, with the schedule of Sections 4.1 and 4.2, which do not name the optimiser."""

    network, job, key = "dda", "denoise", "denoiser"
    presets = ("paper", "lotss", "varied")
    schedule: ClassVar = {
        "epochs": 100, "batch_size": 50, "learning_rate": 1e-4, "warmup": 0, "rate": "constant",
        "adam": "adam", "weight_decay": 0.0, "clip": 0.0, "decay": 0.0, "patience": 100_000, "workers": 0,
        "keep_every": 5,
    }  # fmt: skip
    settings = TileSettings
    spaces: ClassVar = {
        # Appendix B, with the rate of 0.005 that is in Table B1 but not in the text's grid
        "paper": {
            "learning_rate": (0.1, 0.01, 0.005, 1e-3, 1e-4, 5e-5, 1e-5),
            "batch_size": (25, 50, 100, 150, 200),
            "epochs": (50, 100, 300, 500),
        },
        # Table A1
        "architectures": {"levels": (2, 3, 4), "dense": (50, 100, 200, 400), "kernel": (3, 5)},
    }
    cost = (4.6e-6, 1190)

    def check_data(self, data: Path, settings: TileSettings) -> None:
        """Refuse a folder without files like those of ``faintsky simulate lofar``."""
        if not compact_files(data) and not stored_pairs(data, (settings.product,)):
            raise InputError("holds no images", "give a folder of `faintsky simulate lofar`", data)

    def task(self, plan: Plan, network: nn.Module, folder: Path, progress: Progress | None) -> TilePairs:
        """See `faintsky.training.Recipe.task`; tiles are read or simulated now."""
        return TilePairs(network, make_tiles(plan, progress), plan.settings)

    def pixels(self, plan: Plan) -> int:
        """Pixels of a tile."""
        return int(plan.arguments["tile"]) ** 2

    def examples(self, plan: Plan) -> int:
        """Number of tiles, assuming that the folder's images have the size of simulated ones."""
        s = plan.settings
        fields = s.fields if plan.data is None else len(list(plan.data.glob("*_truth.ecsv"))) or 1
        return int(s.tiles or fields * (s.size // plan.arguments["tile"]) ** 2)

    def model_settings(self, task: TilePairs, network: nn.Module) -> dict[str, Any]:
        """The scale, and the errors on validation tiles."""
        s, data = task.settings, task.data
        return AutoencoderSettings(
            product=s.product, floor=s.floor, ceiling=s.ceiling, scaling=s.scaling, cell=data.cell,
            beam=data.beam, rms=float(f"{data.rms:.3g}"), **task.errors(network),
        ).model_dump()  # fmt: skip
