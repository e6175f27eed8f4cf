"""Training of our denoiser: loss, scores and recipe.

It learns the sky at the beam's resolution, and the error of the estimate, from images simulated during
training (`faintsky.training.diffuse_images`) or stored ones (`faintsky.training.stored_images`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from faintsky.denoising import DenoiserSettings
from faintsky.errors import InputError
from faintsky.options import Progress
from faintsky.system import Settings
from faintsky.training.loop import VALIDATION, Batch
from faintsky.training.recipes import Plan, Recipe

OUTLIER = 5.0
"""Error over the noise beyond which it counts linearly."""
BRIGHT = 100.0
"""S/N above which the relative error counts."""
SURE = 4.0
"""S/N above which emission is certain, so that its weight no longer grows."""
SIGMA_SHARE = 0.1
"""Weight of sigma's likelihood beside the loss of the mean."""
USUAL_LOSS = 0.3
"""Loss of an example above which it counts by its logarithm."""
WHITE_EMISSION = 15.0
"""Weight of a pixel of S/N 1 over that of empty sky in white noise."""
BEAM_EMISSION = 45.0
"""The same with a beam: fewer pixels are independent, and uncertain emission would be shrunk more."""
VALIDATION_BATCHES = 12


class UNetSettings(Settings):
    """Settings of the task.

    Parameters
    ----------
    psfs : int
        Random arrays to simulate.
    tile : int
        Side of the tiles cut out of the images [pixel].
    blur : float
        Weight in the loss of errors averaged over 4, 8 and 16 pixels, which matter for aperture fluxes.
    emission : float
        See `importance`.
    errors : float
        Fraction of the images with a beam that have deconvolution errors, and fraction with calibration
        errors.
    artefacts : float
        Fraction of the images with a beam that have stripes; the same fraction for residues of compact
        sources, and for bowls and negative sources.
    mismatch : float
        Relative error of the beam that is given to the network.
    web : str
        Cosmic web that half of the diffuse skies come from, as `faintsky.sky.web.open_web` takes it.
    skies : int
        Number of skies to draw from it.
    """

    psfs: int = Field(64, ge=1)
    tile: int = Field(192, ge=1)
    blur: float = Field(0.3, ge=0)
    emission: float = Field(1.0, gt=0)
    errors: float = Field(0.0, ge=0, le=1)
    artefacts: float = Field(0.0, ge=0, le=1)
    mismatch: float = Field(0.0, ge=0, le=0.5)
    web: str = ""
    skies: int = Field(24, ge=2)


def importance(target: Tensor, beam: Tensor, factor: float = 1.0) -> Tensor:
    """Weight of a pixel, 1 in empty sky, by its true S/N or that of the 4, 8 or 16 pixels around it.

    Parameters
    ----------
    target : Tensor
        ``[b, 1, y, x]``, true sky over the noise.
    beam : Tensor
        ``[b, 4]``, as networks take it.
    factor : float, optional
        Factor on the additional weight of emission.

    Returns
    -------
    Tensor
        ``[b, 1, y, x]``
    """
    root = (1.133 * beam[:, 0] * beam[:, 1]).clamp(min=1).sqrt()[:, None, None, None]
    snr, faint = target, target.clamp(0, 3)
    for pixels in (4, 8, 16):
        mean = nn.functional.avg_pool2d(faint, pixels) * pixels / root
        near = nn.functional.interpolate(mean, size=target.shape[-2:])
        # the surroundings of a source do not count as source
        snr = torch.maximum(snr, torch.minimum(near, 10 * target))
    emission = torch.where(beam[:, 0] > 0, BEAM_EMISSION, WHITE_EMISSION)[:, None, None, None]
    return 1 + factor * emission * snr.clamp(0, SURE)


def _huber(x: Tensor) -> Tensor:
    return nn.functional.huber_loss(x, torch.zeros_like(x), reduction="none", delta=OUTLIER)


def _by_example(share: Tensor, loss: Tensor) -> Tensor:
    """Mean loss of each example, ``[b]``."""
    return (share * loss).sum(dim=(1, 2, 3)) / share.sum(dim=(1, 2, 3)).clamp(min=1)


class DenoiserTask(ABC):
    """Task with batches of ``image``, ``weight``, ``target`` ``[b, 1, y, x]`` and ``beam`` ``[b, 4]``.

    Parameters
    ----------
    network : torch.nn.Module
        Such as ``local_unet``: (image, weight, beam) to (mean, sigma).
    settings : UNetSettings
        Sizes and shares of what is drawn, weights of the loss.
    """

    def __init__(self, network: nn.Module, settings: UNetSettings) -> None:
        self.network, self.settings = network, settings

    @abstractmethod
    def batch(self, rng: np.random.Generator, size: int, held: bool = False) -> Batch:
        """Draw examples.

        Parameters
        ----------
        rng : numpy.random.Generator
        size : int
            Number of examples.
        held : bool, optional
            Whether to take them from the validation data.

        Returns
        -------
        dict of Tensor
        """

    def held_batches(self, network: nn.Module, number: int) -> Iterator[Batch]:
        """Examples of the validation data, the same every time, on the network's device."""
        device = next(network.parameters()).device
        for i in range(number):
            batch = self.batch(np.random.default_rng([VALIDATION, i]), 8, held=True)
            yield {k: v.to(device) for k, v in batch.items()}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Squared error of the mean, and the negative log likelihood of the errors under sigma.

        Pixels with true emission count more (`importance`), more so the higher their S/N. The mean is then
        that of a posterior with more emission in its prior: an unweighted one shrinks uncertain emission, and
        fluxes and peaks would come out low. Sigma learns from errors that it cannot change: in one joint
        likelihood the empty sky, where both can go to zero, would dominate. Very bright pixels count less, as
        their relative error matters; beyond OUTLIER errors count linearly. The logarithm of each example's
        loss is averaged, or a few with strong artefacts would dominate.
        """
        mean, sigma = network(batch["image"], batch["weight"], batch["beam"])
        target = batch["target"]
        seen = (batch["weight"] > 0).float()
        error = (mean - target) * seen
        scaled = error / torch.sqrt(1 + (target / BRIGHT) ** 2)
        share = seen * importance(target, batch["beam"], self.settings.emission)
        loss = _by_example(share, _huber(scaled))
        for pixels in (4, 8, 16) if self.settings.blur else ():
            local, means = (nn.functional.avg_pool2d(x, pixels) for x in (share, scaled))
            loss = loss + self.settings.blur * pixels / 4 * _by_example(local, _huber(means))
        loss = torch.log1p(loss / USUAL_LOSS).mean()
        likelihood = (_huber(error.detach() / sigma) + torch.log(sigma)) * seen
        return loss + SIGMA_SHARE * likelihood.sum() / seen.sum()

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Loss; rms errors in units of the noise inside sources (true S/N 1 to 30) and outside; pulls.

        Errors inside are given for images with white noise and for images with a beam.
        """
        loss, squares = [], {k: [] for k in ("white", "beam", "outside", "pull")}  # type: ignore[var-annotated]
        for batch in self.held_batches(network, VALIDATION_BATCHES):
            loss.append(float(self.loss(network, batch)))
            mean, sigma = network(batch["image"], batch["weight"], batch["beam"])
            target, seen = batch["target"], batch["weight"] > 0
            square = (mean - target).square()
            white = (batch["beam"][:, 0] == 0)[:, None, None, None]
            inside = seen & (target > 1) & (target < 30)
            squares["white"].append(square[inside & white])
            squares["beam"].append(square[inside & ~white])
            squares["outside"].append(square[seen & (target < 0.1)])
            squares["pull"].append((square / sigma.square())[seen])
        rms = {k: float(torch.cat(v).mean().sqrt()) for k, v in squares.items()}
        return {"loss": float(np.mean(loss)), **rms}


class UNetRecipe(Recipe):
    """Recipe of ``local_unet``."""

    network, job, key = "local_unet", "denoise", "denoiser"
    presets = ("diffuse",)
    schedule: ClassVar = {"steps": 8000, "learning_rate": 1e-3}
    settings = UNetSettings
    cost = (2.3e-6, 1200)

    def check_data(self, data: Path, settings: UNetSettings) -> None:
        """Allow a folder of images, or psfs and skies from another run; not both, and nothing else."""
        from faintsky.training.stored_images import check_library, holds_images, stored_pairs

        if not holds_images(data):
            check_library(data)
            return
        if settings.web or settings.errors or settings.artefacts or settings.mismatch:
            raise InputError(
                "web, errors, artefacts and mismatch are for simulated images",
                "leave them out, or --data",
                data,
            )
        stored_pairs(data, ("noise", "dirty"))

    def task(self, plan: Plan, network: nn.Module, folder: Path, progress: Progress | None) -> DenoiserTask:
        """Task on the folder's images, or on images of stored psfs and skies. See `Recipe.task`."""
        from faintsky.simulating import PsfLibrary, make_library
        from faintsky.training.diffuse_images import make_skies, open_skies
        from faintsky.training.stored_images import StoredImages, holds_images

        s, data, seed = plan.settings, plan.data, plan.schedule.seed
        if data is not None and holds_images(data):
            return StoredImages(network, data, s)
        library = (folder if data is None else data) / "psfs.npz"
        if not library.is_file():
            make_library(s.psfs, seed, progress).save(library)
        bank = library.with_name("skies.npy")
        if s.web and not bank.is_file():
            make_skies(bank, s.web, s.skies, seed, progress)
        return self.simulated(network, PsfLibrary.load(library), s, open_skies(bank) if s.web else None)

    def simulated(self, *given: Any) -> DenoiserTask:
        """The task on images that are simulated during training: see `DiffuseImages`."""
        from faintsky.training.diffuse_images import DiffuseImages

        return DiffuseImages(*given)

    def pixels(self, plan: Plan) -> int:
        """Pixels of a tile."""
        return int(plan.settings.tile) ** 2

    def kept_bytes(self, plan: Plan) -> float:
        """Size of the skies: 2000 x 2000 pixels in half precision each."""
        return 8e6 * plan.settings.skies if plan.settings.web else 0.0

    def model_settings(self, task: Any, network: nn.Module) -> dict[str, Any]:
        """Settings of a network that is not calibrated yet."""
        return DenoiserSettings().model_dump()
