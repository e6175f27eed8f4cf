"""What Blobs Finder learns from where cubes cost little: images of new ones, drawn as training goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from faintsky.published.deepfocus.training import IntegratedImages
from faintsky.sky import empty_sky
from faintsky.training import VALIDATION, Batch

HELD = 64
"""Images that validate."""


class FreshImages(IntegratedImages):
    """The same of cubes that are simulated as training goes; those of validation come from fixed seeds.

    Parameters
    ----------
    network : torch.nn.Module
    observatory : CubeObservatory
    empty : float
        Share of the skies without any source.
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
        """Fresh ones."""
        return self.varied(rng, *self.draw(rng, size))
