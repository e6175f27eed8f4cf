"""The deep denoising autoencoder of Gheller & Vazza (2021), Section 2 and Appendix A.

Convolution, ReLU and 2 x 2 maximum on the way down; one dense layer that every feature at the lowest
resolution is connected to; nearest-neighbour unpooling, convolution and ReLU on the way up; a sigmoid at the
end. Two levels with a dense layer of 200 on tiles of 128 pixels have 65,536 features and 26.4 million
weights, 26.2 million of them dense: "around 26 million" and the 210 MB (in double precision) of their
Section 5. Fig. 1 with its single pooling would have four times as many.

Weights begin as in Keras, which the paper used: uniform after Glorot & Bengio (2010), constants 0.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional

from faintsky.errors import InputError

FEATURES = (32, 64, 64, 128)
"""Feature maps of each level, the highest resolution first (Appendix A)."""
BATCH = 32
"""Tiles of an image at a time."""


class Dda(nn.Module):
    """See the module's text.

    Parameters
    ----------
    tile : int
        Pixels a side of the images it takes; odd sizes are halved upwards.
    levels : int
        Convolutions, each with its pooling, on either side: 2, 3, 4 in Table A1.
    dense : int
        Values between encoder and decoder: 50 to 400 in Table A1.
    kernel : int
        Side of the convolutions: 3, or 5 (Table A1).
    features : int
        Feature maps of the highest resolution; the other levels have as many times `FEATURES`.
    """

    def __init__(
        self,
        tile: int = 128,
        levels: Annotated[int, Ge(1), Le(4)] = 2,
        dense: Annotated[int, Ge(1)] = 200,
        kernel: Annotated[int, Ge(1)] = 3,
        features: Annotated[int, Ge(1)] = FEATURES[0],
    ) -> None:
        super().__init__()
        if tile < 2**levels or kernel % 2 == 0:
            raise InputError(
                f"tile={tile} or kernel={kernel} makes no autoencoder",
                f"give a tile of {2**levels} pixels or more, and an odd kernel",
            )
        self.tile = tile
        widths = [width * features // FEATURES[0] for width in FEATURES[:levels]]
        self.sides = [tile]
        for _ in widths:
            self.sides.append(-(-self.sides[-1] // 2))
        half = kernel // 2
        self.encoder = nn.ModuleList(nn.Conv2d(a, b, kernel, padding=half) for a, b in pairwise((1, *widths)))
        lowest = widths[-1] * self.sides[-1] ** 2
        self.into = nn.Linear(lowest, dense)
        self.back = nn.Linear(dense, lowest)
        # as many features at a resolution on the way up as on the way down
        up = (widths[-1], *widths[::-1])
        self.decoder = nn.ModuleList(nn.Conv2d(a, b, kernel, padding=half) for a, b in pairwise(up))
        self.out = nn.Conv2d(widths[0], 1, kernel, padding=half)
        for layer in (*self.encoder, self.into, self.back, *self.decoder, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        # the convolutions take two thirds of the time that way
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def blocks(self, shape: tuple[int, int]) -> tuple[int, tuple[int, int], int]:
        """Tiles that an image ``(n_y, n_x)`` is cut into, their shape, and pixels in work at a time."""
        keep = max(self.tile // 2, 1)
        # features at the full resolution take twice the memory of those of our own network
        return (
            math.prod(-(-n // keep) for n in shape), (self.tile, self.tile), 2 * BATCH * self.tile**2
        )  # fmt: skip

    @staticmethod
    def example(size: int) -> tuple[Tensor, ...]:
        """Two tiles."""
        return (torch.rand(2, 1, size, size),)

    def forward(self, image: Tensor) -> Tensor:
        """Tiles to tiles, both in [0, 1].

        Parameters
        ----------
        image : Tensor
            ``[b, 1, tile, tile]``
        """
        x = image
        for layer in self.encoder:
            x = functional.max_pool2d(functional.relu(layer(x)), 2, ceil_mode=True)
        shape = x.shape
        x = functional.relu(self.back(functional.relu(self.into(x.flatten(1))))).reshape(shape)
        for layer, side in zip(self.decoder, self.sides[-2::-1], strict=True):
            x = functional.relu(layer(functional.interpolate(x, size=(side, side), mode="nearest")))
        # half precision would round a brightness over six decades by several per cent
        with torch.autocast(x.device.type, enabled=False):
            return torch.sigmoid(self.out(x.float()))
