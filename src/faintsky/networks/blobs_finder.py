"""Blobs Finder: the autoencoder that turns an integrated dirty image into one of the sky.

Delli Veneri et al. (2022), Section 4.1, Fig. 4 and Table 3. The decoder's convolutions have stride 1: with
the stride 2 of the text they would undo the doubling before them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from faintsky.errors import InputError
from faintsky.networks.registry import register

WIDTHS = (8, 16, 32, 64)
"""Channels after each halving (Table 3)."""
STRIDE = 2 ** len(WIDTHS)


def activated(width: int) -> nn.Sequential:
    """Leaky ReLU and batch normalisation, in the text's order."""
    return nn.Sequential(nn.LeakyReLU(), nn.BatchNorm2d(width))


def bottleneck(size: int, latent: int) -> nn.Sequential:
    """The two fully connected layers between encoder and decoder, on flat features.

    Raises
    ------
    InputError
        Where the images' size is no multiple of 16.
    """
    if size < STRIDE or size % STRIDE:
        raise InputError(f"size={size} is no multiple of {STRIDE}", "give one that is")
    features = WIDTHS[-1] * (size // STRIDE) ** 2
    return nn.Sequential(
        nn.Linear(features, latent), nn.LeakyReLU(), nn.Linear(latent, features), nn.LeakyReLU()
    )


def example_image(size: int) -> tuple[Tensor, ...]:
    """Two images, of the nearest size that halves four times."""
    side = max(STRIDE, round(size / STRIDE) * STRIDE)
    return (torch.rand(2, 1, side, side),)


class Up(nn.Module):
    """Doubles the size twice over, by interpolation and by learned weights, and convolves both."""

    def __init__(self, inner: int, outer: int, bare: bool) -> None:
        super().__init__()
        self.bare = bare
        self.learned = nn.ConvTranspose2d(inner, outer, 3, stride=2, padding=1, output_padding=1)
        self.after_smooth = nn.Identity() if bare else activated(inner)
        self.after_learned = nn.Identity() if bare else activated(outer)
        self.convolved = nn.Sequential(
            nn.Conv2d(inner + outer, outer, 3, padding=1),
            activated(outer),
            nn.Conv2d(outer, outer, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """From ``[b, inner, y, x]`` to ``[b, outer, 2 y, 2 x]``."""
        smooth = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.bare)
        both = torch.cat([self.after_smooth(smooth), self.after_learned(self.learned(x))], dim=1)
        out: Tensor = self.convolved(both)
        return out


@register
class BlobsFinder(nn.Module):
    """See the module's text; 33.7 million weights at 256 pixels.

    Parameters
    ----------
    size : int
        Pixels a side of its images, a multiple of 16.
    latent : int
        Values between encoder and decoder.
    bare : bool
        As in the authors' code: neither activation nor normalisation after the interpolation and the
        transposed convolution, and interpolation between the corners' centres.
    """

    def __init__(self, size: int = 256, latent: int = 1024, bare: bool = False) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for inner, outer in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True):
            layers += [nn.Conv2d(inner, outer, 3, stride=2, padding=1), activated(outer)]
            layers += [nn.Conv2d(outer, outer, 3, padding=1), activated(outer)]
        self.encoder = nn.Sequential(*layers)
        self.bottleneck = bottleneck(size, latent)
        steps = zip(WIDTHS[::-1], (*WIDTHS[-2::-1], 1), strict=True)
        self.decoder = nn.Sequential(*(Up(inner, outer, bare) for inner, outer in steps))
        self.out = nn.Conv2d(1, 1, 1)

    @staticmethod
    def example(size: int) -> tuple[Tensor, ...]:
        """See `example_image`."""
        return example_image(size)

    def forward(self, image: Tensor) -> Tensor:
        """Where the sky is bright.

        Parameters
        ----------
        image : Tensor
            Integrated dirty images scaled to [0, 1], ``[b, 1, size, size]``.

        Returns
        -------
        Tensor
            Of the same shape, in [0, 1], single precision.
        """
        x = self.encoder(image)
        x = self.bottleneck(x.flatten(1)).reshape(x.shape)
        return torch.sigmoid(self.out(self.decoder(x)).float())
