"""Networks that need no training in the place of DeepFocus' own, and of the autoencoder."""

import torch
from torch import nn

from faintsky.models import save_model
from faintsky.networks import make_network
from faintsky.published.dda import AutoencoderSettings


class Smooth(nn.Module):
    """In Blobs Finder's place: what is left of an image that is smoothed."""

    def forward(self, x):
        k = torch.exp(-0.5 * (torch.arange(-6, 7.0) / 2) ** 2)
        k = k / k.sum()
        rows = nn.functional.conv2d(x - x.median(), k[None, None, None], padding=(0, 6))
        y = nn.functional.conv2d(rows, k[None, None, :, None], padding=(6, 0))
        return (y / y.max()).clamp(0, 1)


class Running(nn.Module):
    """In Deep GRU's place: a running mean."""

    def forward(self, x):
        y = nn.functional.conv1d(x[:, None], torch.ones(1, 1, 3) / 3, padding=1)[:, 0]
        y = y - y.median(1, keepdim=True).values
        return (y / y.amax(1, keepdim=True).clamp_min(1e-6)).clamp(0, 1)


class Constant(nn.Module):
    """In a residual network's place."""

    def __init__(self, *values):
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, x):
        return self.values.expand(len(x), -1)


NETWORKS = {
    "blobs_finder": Smooth(), "deep_gru": Running(), "fwhm_x": Constant(6.0), "fwhm_y": Constant(4.0),
    "pa": Constant(0.0, 1.0), "flux": Constant(1.0),
}  # fmt: skip


def autoencoder(folder, product):
    """The folder of an autoencoder for a product that has learnt nothing."""
    torch.manual_seed(0)
    arguments = {"tile": 32, "levels": 2, "dense": 8, "kernel": 3}
    card = {"recipe": {"arguments": arguments, "schedule": {"epochs": 1}, "command": "nothing to see"}}
    save_model(
        folder / product, name=product, job="denoise", card=card,
        settings=AutoencoderSettings(product=product).model_dump(),
        networks={"denoiser": ("dda", arguments, make_network("dda", **arguments))},
    )  # fmt: skip
    return str(folder / product)
