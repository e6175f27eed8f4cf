"""Training of Radio U-Net: where our simulated skies have diffuse emission, by cross-entropy.

The original learns from images of a simulated cosmic web as seen by LOFAR, and their pixels above 1e-8 Jy;
ours from `faintsky.training.DiffuseImages`: diffuse emission and radio galaxies together, where only the
first is to be outlined, with errors of calibration and deconvolution, stripes and bowls.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from faintsky.arrays import Array32
from faintsky.published.radio_unet.segment import SegmentSettings
from faintsky.training import Batch, DiffuseImages, UNetRecipe, UNetSettings, check_library, draw_sky

VALIDATION_BATCHES = 8


class SegmentTaskSettings(UNetSettings):
    """As for our denoiser, with errors in most images; ``blur`` and ``emission`` have no effect.

    Attributes
    ----------
    least : float
        Least true brightness of a pixel to be outlined, over the noise.
    """

    errors: float = Field(0.5, ge=0, le=1)
    artefacts: float = Field(0.3, ge=0, le=1)
    least: float = Field(0.5, gt=0)


class SegmentTask(DiffuseImages):
    """Which pixels show diffuse emission above ``least`` times the noise at the beam's resolution."""

    settings: SegmentTaskSettings

    def draw(self, rng: np.random.Generator, cell: float, held: bool) -> Array32:
        """A sky, and its diffuse part [Jy/arcsec2], ``[2, y, x]``. See `DiffuseImages.draw`."""
        diffuse, galaxies = draw_sky(rng, cell, self.skies, held)
        return np.stack([diffuse + galaxies, diffuse])

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy of the pixels with data."""
        logit = network.logit(batch["image"])  # type: ignore[operator]
        true = (batch["target"][:, 1:] > self.settings.least).float()
        seen = (batch["weight"] > 0).float()
        loss = nn.functional.binary_cross_entropy_with_logits(logit, true, reduction="none")
        return (loss * seen).sum() / seen.sum()

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Loss; completeness and purity of pixels with a probability above one half."""
        loss, counts = [], np.zeros(3)
        for batch in self.held_batches(network, VALIDATION_BATCHES):
            loss.append(float(self.loss(network, batch)))
            seen = batch["weight"] > 0
            said = (network.logit(batch["image"]) > 0) & seen  # type: ignore[operator]
            true = (batch["target"][:, 1:] > self.settings.least) & seen
            counts += [float(v.sum()) for v in (said & true, true, said)]
        both, true_count, said_count = np.maximum(counts, 1e-9)
        return {
            "loss": float(np.mean(loss)), "completeness": both / true_count, "purity": both / said_count,
        }  # fmt: skip


class RadioUNetRecipe(UNetRecipe):
    """Recipe of ``radio_unet``."""

    network = "radio_unet"
    schedule: ClassVar = {"steps": 3000, "learning_rate": 1e-3}
    settings = SegmentTaskSettings
    cost = (1.5e-6, 1200)

    def check_data(self, data: Path, settings: Any) -> None:
        """Allow psfs and skies from another run."""
        check_library(data)

    def simulated(self, *given: Any) -> SegmentTask:
        """Simulated images with known diffuse emission."""
        return SegmentTask(*given)

    def model_settings(self, task: Any, network: nn.Module) -> dict[str, Any]:
        """Settings with a threshold of one half."""
        return SegmentSettings().model_dump()
