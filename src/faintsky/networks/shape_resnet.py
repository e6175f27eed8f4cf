"""The residual network that reads a source's shape or flux off a small image of it.

Delli Veneri et al. (2022), Section 4.3, Figs 7 and 8; the residual blocks are those of He et al. (2016,
arXiv:1512.03385) with convolution, batch normalisation, ReLU in this order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from faintsky.errors import InputError
from faintsky.networks.registry import register

HIDDEN = 256
JOINS, POOLS = ("add", "concatenate"), ("max", "mean")


def convolved(inner: int, outer: int, size: int, stride: int = 1) -> nn.Sequential:
    """A convolution without bias, and batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inner, outer, size, stride=stride, padding=size // 2, bias=False), nn.BatchNorm2d(outer)
    )


class Residual(nn.Module):
    """Two convolutions beside a shortcut; with ``add`` their sum goes on, else their channels side by side.

    Side by side the shortcut has half of the channels that come out, so that there are no more of them.
    """

    def __init__(self, inner: int, outer: int, stride: int, add: bool) -> None:
        super().__init__()
        self.add = add
        width = outer if add else outer // 2
        self.first, self.second = convolved(inner, width, 3, stride), convolved(width, width, 3)
        same = stride == 1 and inner == width
        self.shortcut = nn.Identity() if same else convolved(inner, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """From ``[b, inner, y, x]`` to ``[b, outer, y / stride, x / stride]``."""
        made, kept = self.second(functional.relu(self.first(x))), self.shortcut(x)
        return functional.relu(made + kept if self.add else torch.cat([made, kept], dim=1))


@register
class ShapeResNet(nn.Module):
    """See the module's text; 11.3 million weights.

    Parameters
    ----------
    outputs : int
        Values to be given.
    join : {"add", "concatenate"}
        What becomes of a shortcut: added as in the authors' code, or concatenated as in the text, where each
        of both has half of the channels.
    pool : {"max", "mean"}
        Over the last ``[512, 4, 4]``.
    stem : int
        Stride of the first convolution. 2, as in the authors' code, ends at ``[512, 2, 2]`` and takes less
        than half of the time.
    width : int
        Channels of the first block; the others have 2, 4 and 8 times as many.
    """

    def __init__(
        self, outputs: int = 1, join: str = "add", pool: str = "max", stem: int = 1, width: int = 64
    ) -> None:
        super().__init__()
        if join not in JOINS or pool not in POOLS:
            raise InputError(
                f"no join {join!r} or pool {pool!r}",
                f"choose of {', '.join(JOINS)} and of {', '.join(POOLS)}",
            )
        add = join == "add"
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 7, stride=stem, padding=3, bias=False),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        blocks: list[nn.Module] = []
        inner = width
        for i, outer in enumerate(widths):
            middle = outer if add else outer // 2
            blocks += [Residual(inner, middle, 1 if i == 0 else 2, add), Residual(middle, outer, 1, add)]
            inner = outer
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveMaxPool2d(1) if pool == "max" else nn.AdaptiveAvgPool2d(1)
        self.out = nn.Sequential(nn.Linear(widths[-1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))

    @staticmethod
    def example(size: int) -> tuple[Tensor, ...]:
        """Two images."""
        return (torch.rand(2, 1, size, size),)

    def forward(self, image: Tensor) -> Tensor:
        """The values asked for.

        Parameters
        ----------
        image : Tensor
            ``[b, 1, y, x]``, 64 pixels a side in the paper; any size from 16 on.

        Returns
        -------
        Tensor
            ``[b, outputs]``, single precision.
        """
        features = self.pool(self.blocks(self.stem(image))).flatten(1)
        with torch.autocast(image.device.type, enabled=False):
            out: Tensor = self.out(features.float())
        return out
