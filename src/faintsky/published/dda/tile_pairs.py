"""What the published autoencoder learns: tiles of true skies from tiles of what was made of them.

Gheller & Vazza (2021), Sections 2 and 4: the squared error of the tiles on the logarithmic scale is made
small. The input is one product: the sky itself (Identity), or the Noise, Clean or Dirty image of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faintsky.published.dda.denoise import AutoencoderSettings
from faintsky.published.dda.log_scale import EDGES, LEAST_MRE, decode
from faintsky.published.dda.tile_data import STEPS, TileData
from faintsky.training.fit import Batch

Array32 = NDArray[np.float32]

CHUNK = 64
"""Tiles that are validated at a time."""
ERROR_EDGES = EDGES[::2]
"""Of the bins of brightness that errors are given for [Jy/arcsec2]."""


class TilePairs:
    """The task; see `faintsky.training.fit.EpochTask`.

    Parameters
    ----------
    network : torch.nn.Module
        ``dda``.
    data : TileData
        Of `make_tiles`.
    augment : bool, optional
        Turn and mirror training tiles; the paper does not say that it did.
    """

    def __init__(self, network: nn.Module, data: TileData, *, augment: bool = False) -> None:
        self.network, self.data, self.augment = network, data, augment
        self.examples = len(data.train)
        # An untrained sigmoid says 0.5 where most of the sky is at the floor; on the way down from there it
        # overshoots into saturation, and no gradient leads out of that.
        last = network.get_parameter("out.bias")
        if not last.any():  # else it has been trained
            mean = np.clip(data.train.target.mean() / STEPS, 1e-3, 1 - 1e-3)
            nn.init.constant_(last, float(np.log(mean / (1 - mean))))

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Random examples."""
        return self.take(rng, rng.integers(self.examples, size=size))

    def take(self, rng: np.random.Generator, pick: NDArray[np.int64]) -> Batch:
        """``image`` and ``target``, ``[b, 1, tile, tile]`` in [0, 1]."""
        both = np.stack([self.data.train.image[pick], self.data.train.target[pick]], axis=1)
        if self.augment:
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
        for square, made, truth in self._held(network):
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

    def model_settings(self, network: nn.Module) -> dict[str, Any]:
        """What the model's card says for its use: the scale, and the errors on validation tiles."""
        source = self.data.source
        at, error = self._errors(network)
        return AutoencoderSettings(
            product=source.product, floor=source.scale.floor, ceiling=source.scale.ceiling,
            scaling=source.scale.scaling, cell=self.data.cell, error_at=at, error=error,
        ).as_dict()  # fmt: skip

    def _errors(self, network: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Brightness that the network says, and its root mean square error there [Jy/arcsec2]."""
        sums = np.zeros((2, len(ERROR_EDGES) - 1))
        with torch.no_grad():
            for _, made, truth in self._held(network):
                place = np.clip(np.digitize(made, ERROR_EDGES) - 1, 0, sums.shape[1] - 1).ravel()
                error = (made - truth).astype(np.float64).ravel() ** 2
                sums += [np.bincount(place, w, sums.shape[1]) for w in (None, error)]
        at = np.sqrt(ERROR_EDGES[1:] * ERROR_EDGES[:-1])
        known = sums[0] > 0
        error = np.sqrt(sums[1, known] / sums[0, known])
        return tuple(float(f"{v:.4g}") for v in at[known]), tuple(float(f"{v:.4g}") for v in error)

    def _held(self, network: nn.Module) -> Iterator[tuple[float, Array32, Array32]]:
        """Sum of squares on the network's scale, and brightness as it is used and as it is, by chunks."""
        device, held = next(network.parameters()).device, self.data.held
        for i in range(0, len(held), CHUNK):
            part = held.take(slice(i, i + CHUNK))
            image, target = _values(part.image).to(device), _values(part.target).to(device)
            made = network(image).float()
            square = float((made - target).double().square().sum())
            # of an image in use nothing but its own limits is known
            bright = decode(made[:, 0].cpu().numpy(), part.image_limits)
            yield square, bright, decode(target[:, 0].cpu().numpy(), part.target_limits)


def _values(coded: NDArray[np.uint16]) -> Tensor:
    return torch.from_numpy(coded.astype(np.float32) / np.float32(STEPS))[:, None]
