"""DECORAS's autoencoder (Rezaei et al. 2021) as Delli Veneri et al. (2022), Section 5.1, built it.

Beside Blobs Finder it has half the convolutions, a quarter of the latent values, and a chain of transposed
convolutions in place of interpolation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from faintsky.published.deepfocus.networks import WIDTHS, activated, bottleneck, example_image

EMPTY = -4.0
"""What the output's bias begins with: most of the sky is empty, and a bias is slow to learn that."""


class Decoras(nn.Module):
    """See the module's text; 8.5 million weights at 256 pixels.

    Parameters
    ----------
    size : int
        Pixels a side of its images, a multiple of 16.
    latent : int
        Values between encoder and decoder.
    """

    def __init__(self, size: int = 256, latent: int = 256) -> None:
        super().__init__()
        self.size = size
        down: list[nn.Module] = []
        for inner, outer in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True):
            down += [nn.Conv2d(inner, outer, 3, stride=2, padding=1), activated(outer)]
        up: list[nn.Module] = []
        for inner, outer in zip(WIDTHS[::-1], (*WIDTHS[-2::-1], WIDTHS[0]), strict=True):
            up += [
                nn.ConvTranspose2d(inner, outer, 3, stride=2, padding=1, output_padding=1),
                activated(outer),
            ]
        self.encoder = nn.Sequential(*down)
        self.bottleneck = bottleneck(size, latent)
        self.decoder = nn.Sequential(*up)
        self.out = nn.Conv2d(WIDTHS[0], 1, 1)
        nn.init.constant_(self.out.bias, EMPTY)  # type: ignore[arg-type]

    @staticmethod
    def example(size: int) -> tuple[Tensor, ...]:
        """See `faintsky.published.deepfocus.networks.example_image`."""
        return example_image(size)

    def forward(self, image: Tensor) -> Tensor:
        """As `faintsky.published.deepfocus.networks.BlobsFinder.forward`."""
        x = self.encoder(image)
        x = self.bottleneck(x.flatten(1)).reshape(x.shape)
        return torch.sigmoid(self.out(self.decoder(x)).float())
