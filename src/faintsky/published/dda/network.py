"""The deep denoising autoencoder of Gheller & Vazza (2021), Section 2 and Appendix A.

The encoder has convolutions, ReLU and 2 x 2 max pooling. A dense layer connects all features of the lowest
resolution. The decoder has nearest-neighbour unpooling, convolutions and ReLU, and a final sigmoid. Two
levels with a dense layer of 200 on tiles of 128 pixels have 65,536 features and 26.4 million weights, of
which 26.2 million are dense. This agrees with "around 26 million" and 210 MB (in double precision) in Section
5. Fig. 1, with its single pooling, would have four times as many.

Weights are initialised as in Keras, which the paper used: uniform (Glorot & Bengio 2010), and biases 0.
"""

import math
from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional

from faintsky.errors import InputError

FEATURES = (32, 64, 64, 128)
"""Relative numbers of feature maps at each level, the highest resolution first (Appendix A)."""
BATCH = 32
"""Tiles of an image that are processed together."""


class Dda(nn.Module):
    """The autoencoder; see the module.

    Parameters
    ----------
    tile : int
        Side of its images [pixel]; half of an odd size is rounded up.
    levels : int
        Convolutions with pooling in the encoder, and likewise in the decoder: 2, 3, 4 in Table A1.
    dense : int
        Size of the dense layer: 50 to 400 in Table A1.
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
                f"tile={tile} or kernel={kernel} is not possible",
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
        # the decoder has as many features at each resolution as the encoder
        up = (widths[-1], *widths[::-1])
        self.decoder = nn.ModuleList(nn.Conv2d(a, b, kernel, padding=half) for a, b in pairwise(up))
        self.out = nn.Conv2d(widths[0], 1, kernel, padding=half)
        for layer in (*self.encoder, self.into, self.back, *self.decoder, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        # convolutions take two thirds of the time with this memory format
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def blocks(self, shape: tuple[int, int]) -> tuple[int, tuple[int, int], int]:
        """Number of tiles of an image ``(n_y, n_x)``, their shape, and pixels processed at a time."""
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
        """Denoise tiles in [0, 1].

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
        # half precision would have errors of several per cent on a brightness scale of six decades
        with torch.autocast(x.device.type, enabled=False):
            return torch.sigmoid(self.out(x.float()))
