"""Training of Blobs Finder on images of new cubes, simulated during training."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from faintsky.published.deepfocus.training import IntegratedImages
from faintsky.sky import empty_sky
from faintsky.training import VALIDATION, Batch

HELD = 64
"""Number of images for validation."""


class FreshImages(IntegratedImages):
    """As `IntegratedImages`, with cubes simulated during training; those for validation have fixed seeds.

    Parameters
    ----------
    network : torch.nn.Module
        ``blobs_finder``.
    observatory : CubeObservatory
        Simulates the cubes.
    empty : float
        Fraction of skies without sources.
    loss, augment
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
