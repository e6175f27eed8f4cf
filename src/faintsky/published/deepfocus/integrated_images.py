"""What Blobs Finder and DECORAS's autoencoder learn: the integrated sky from the integrated dirty image.

Delli Veneri et al. (2022), Sections 4.1 and 4.5. Both images are rotated, mirrored and cropped alike and then
brought to [0, 1], blanks being 0; an empty sky is all 0.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from faintsky.errors import InputError
from faintsky.published.deepfocus import losses
from faintsky.published.deepfocus.scaling import crop_centre, unit_range
from faintsky.training.fit import Batch

LOSSES = ("ramp", "sum", "bce", "msle")
CHUNK = 64
"""Images that are validated at a time."""


class IntegratedImages:
    """The task; see `faintsky.training.fit.EpochTask`.

    Parameters
    ----------
    network : torch.nn.Module
        ``blobs_finder`` or ``decoras``; its ``size`` is that of the crops.
    train, held : tuple of Tensor
        Dirty images and skies, ``[image, y, x]`` each: `compact_sets.read_images`.
    loss : {"ramp", "sum", "bce", "msle"}
        See the slice's `losses`. The validation's ``loss`` must mean the same in every epoch: it is
        L1 + DSSIM for the first two, and itself for the others.
    augment : bool
        Rotate and mirror training images; those of validation never are.

    Raises
    ------
    InputError
        For an unknown loss.
    """

    def __init__(
        self,
        network: nn.Module,
        train: tuple[Tensor, Tensor],
        held: tuple[Tensor, Tensor],
        *,
        loss: str = "ramp",
        augment: bool = True,
    ) -> None:
        if loss not in LOSSES:
            raise InputError(f"no loss {loss!r}", f"choose one of {', '.join(LOSSES)}")
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train, self.held = torch.stack(train, dim=1), torch.stack(held, dim=1)
        self.size: int = network.size  # type: ignore[assignment]
        self.kind, self.augment = loss, augment
        self.examples = len(self.train)

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Random examples."""
        return self.take(rng, rng.integers(self.examples, size=size))

    def take(self, rng: np.random.Generator, pick: NDArray[np.int64]) -> Batch:
        """``image`` and ``target``, ``[b, 1, size, size]`` in [0, 1]."""
        both = self.train[torch.as_tensor(pick)].float()
        if not self.augment:
            return _scaled(crop_centre(both, self.size))
        angles = torch.as_tensor(rng.uniform(0, 2 * np.pi, len(pick)), dtype=torch.float32)
        mirrors = torch.as_tensor(rng.integers(2, size=(len(pick), 2)) * 2 - 1, dtype=torch.float32)
        return _scaled(turned(both, angles, mirrors, self.size))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Of a batch; ``done`` is where the ramp is."""
        made, target = network(batch["image"]), batch["target"]
        if self.kind == "ramp":
            return losses.ramp(made, target, float(batch.get("done", 0.0)))
        return self._fixed(made, target)

    def _fixed(self, made: Tensor, target: Tensor) -> Tensor:
        if self.kind == "bce":
            return losses.binary_cross_entropy(made, target)
        if self.kind == "msle":
            return losses.squared_logarithms(made, target)
        return losses.constant_sum(made, target)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """``loss``, ``l1`` and ``dssim`` over all validation images."""
        device = next(network.parameters()).device
        totals = np.zeros(3)
        for part in self.held.split(CHUNK):
            batch = {k: v.to(device) for k, v in _scaled(crop_centre(part.float(), self.size)).items()}
            made, target = network(batch["image"]).float(), batch["target"]
            scores = [f(made, target) for f in (self._fixed, losses.l1, losses.dssim)]
            totals += np.array([float(s) for s in scores]) * len(part) / len(self.held)
        return dict(zip(("loss", "l1", "dssim"), totals.tolist(), strict=True))


def _scaled(both: Tensor) -> Batch:
    image, target = (unit_range(p)[:, None] for p in both.unbind(dim=1))
    return {"image": image.contiguous(memory_format=torch.channels_last), "target": target}


def turned(images: Tensor, angles: Tensor, mirrors: Tensor, size: int) -> Tensor:
    """Images turned and mirrored about their middle pixel, and cropped about it.

    Parameters
    ----------
    images : Tensor
        ``[b, plane, y, x]``; all planes of an example are treated alike.
    angles : Tensor
        ``[b]`` [rad]
    mirrors : Tensor
        1 or -1 for x and y, ``[b, 2]``.
    size : int
        Of the crop; the middle pixel ``n // 2`` comes to ``size // 2``.

    Returns
    -------
    Tensor
        ``[b, plane, size, size]``, bilinear between pixels, 0 outside.
    """
    n_y, n_x = images.shape[-2:]
    line = torch.arange(size, dtype=torch.float32) - size // 2
    cos, sin = torch.cos(angles), torch.sin(angles)
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1) * mirrors[:, None]
    scale = torch.tensor([2.0 / n_x, 2.0 / n_y])
    # pixel p has its centre at (2 p + 1) / n - 1
    middle = torch.tensor([(2 * (n_x // 2) + 1) / n_x - 1, (2 * (n_y // 2) + 1) / n_y - 1])
    turn = turn * scale[:, None]
    along_x, along_y = line[:, None] * turn[:, None, :, 0], line[:, None] * turn[:, None, :, 1]
    grid = along_x[:, None, :] + along_y[:, :, None] + middle
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
