"""The network of Stuardi et al. (2024), as their published program (ICSC-Spoke3/Radio-U-Net) builds it.

It has a convolution of stride 2; levels of two convolutions and a maximum over 2 x 2 pixels; and as many
levels of two convolutions and a repetition of each pixel. A level's input, brought to its size and number of
channels by 1 x 1 convolutions, is added to its output; there are no other shortcuts.

The original's input is the logarithm of Jy/pixel between two fixed values, ours that of the S/N, so that one
network serves images of any noise. The beam is not an input.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

FAINTEST = 0.1
"""S/N that becomes 0, as do fainter pixels, including all negative ones."""
BRIGHTEST = 1e3
"""S/N that becomes 1, as do brighter pixels."""


class _Level(nn.Module):
    """Two convolutions with a shortcut, to half or to twice the size."""

    def __init__(self, before: int, width: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        layers: list[nn.Module] = []
        for inner in (before, width):
            layers += [nn.Conv2d(inner, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width)]
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Conv2d(before, width, 1, stride=2 if down else 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, before, y, x]`` to ``[b, width, y, x]`` of half or twice the size."""
        inner = self.layers(x)
        if self.down:
            return functional.max_pool2d(inner, 2) + self.shortcut(x)
        return functional.interpolate(inner + self.shortcut(x), scale_factor=2.0, mode="nearest")


class RadioUNet(nn.Module):
    """Radio U-Net; see the module.

    Parameters
    ----------
    widths : sequence of int
        Channels at 1/2, 1/4 … of the resolution; the original has 32, 64, 128, 256 and 512.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 32, 64, 96)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 3, stride=2, padding=1), nn.ReLU(), nn.BatchNorm2d(widths[0])
        )
        before, levels = widths[0], []
        for width in widths[1:]:
            levels.append(_Level(before, width, down=True))
            before = width
        for width in widths[::-1]:
            levels.append(_Level(before, width, down=False))
            before = width
        self.levels = nn.Sequential(*levels)
        self.out = nn.Conv2d(before, 1, 1)
        self.stride = 2 ** len(widths)
        # two convolutions at each scale, down and up, and the cells of the maxima
        self.reach = 7 * self.stride

    @staticmethod
    def example(size: int = 32) -> tuple[Tensor, ...]:
        """An image, its weights and its beam, which is not used."""
        shape = (2, 1, size, size + 3)
        return 3 * torch.randn(shape), torch.ones(shape), torch.zeros(2, 4)

    def logit(self, image: Tensor) -> Tensor:
        """Logit of the probability, ``[b, 1, y, x]``, from data over the local rms."""
        n_y, n_x = image.shape[-2:]
        seen = torch.log10(image.float().clamp(FAINTEST, BRIGHTEST) / FAINTEST)
        seen = seen / torch.log10(seen.new_tensor(BRIGHTEST / FAINTEST))
        padded = functional.pad(seen, (0, -n_x % self.stride, 0, -n_y % self.stride))
        out: Tensor = self.out(self.levels(self.stem(padded)))
        return out.float()[..., :n_y, :n_x]

    def forward(self, image: Tensor, weight: Tensor, beam: Tensor) -> tuple[Tensor, Tensor]:
        """Probability that a pixel shows diffuse emission, and the binomial standard deviation.

        Parameters
        ----------
        image : Tensor
            ``[b, 1, y, x]``, data over the local rms, 0 where blank.
        weight, beam : Tensor
            As other denoisers take them; not used.

        Returns
        -------
        probability, deviation : Tensor
            ``[b, 1, y, x]``
        """
        p = torch.sigmoid(self.logit(image))
        return p, torch.sqrt(p * (1 - p))
