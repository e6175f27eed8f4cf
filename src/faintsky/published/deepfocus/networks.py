"""The three architectures of DeepFocus: Delli Veneri et al. (2022), Sections 4.1 to 4.3."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from faintsky.errors import InputError

STATES, HIDDEN = 32, 256
"""Hidden states of each recurrent layer, and values before the residual network's answer."""
HEADS, JOINS, POOLS = ("dense", "per_channel"), ("add", "concatenate"), ("max", "mean")
WIDTHS = (8, 16, 32, 64)
"""Channels of the autoencoder after each halving (Table 3)."""
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


class BlobsFinder(nn.Module):
    """The autoencoder that turns an integrated dirty image into one of the sky.

    Section 4.1, Fig. 4 and Table 3; 33.7 million weights at 256 pixels. The decoder's convolutions have
    stride 1: with the stride 2 of the text they would undo the doubling before them.

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


class DeepGru(nn.Module):
    """From a dirty spectrum to a denoised one (Section 4.2 and Fig. 6).

    Two layers of gated recurrent units in opposite directions, and a layer on their states together.

    Parameters
    ----------
    head : {"dense", "per_channel"}
        ``dense`` is the text: the second layer runs back over the first one's states, and one fully
        connected layer sees the states of all channels (1.06 million weights). ``per_channel`` is the
        authors' code: both directions read the spectrum, and the same small layer is applied to each channel
        (6,785 weights), so that it takes any number of channels.
    channels : int
        Of the spectra; ``per_channel`` does not need it.
    """

    def __init__(self, head: str = "dense", channels: int = 128) -> None:
        super().__init__()
        if head not in HEADS:
            raise InputError(f"no head {head!r}", f"choose one of {', '.join(HEADS)}")
        self.channels = channels if head == "dense" else None
        self.dense = head == "dense"
        if self.dense:
            self.forth = nn.GRU(1, STATES, batch_first=True)
            self.back = nn.GRU(STATES, STATES, batch_first=True)
            self.out = nn.Linear(2 * STATES * channels, channels)
        else:
            self.both = nn.GRU(1, STATES, batch_first=True, bidirectional=True)
            self.out = nn.Linear(2 * STATES, 1)

    @staticmethod
    def example(size: int) -> tuple[Tensor, ...]:
        """Two spectra of ``size`` channels."""
        return (torch.randn(2, size),)

    def forward(self, spectrum: Tensor) -> Tensor:
        """Where along frequency a source emits.

        Parameters
        ----------
        spectrum : Tensor
            Standardised, ``[b, chan]``.

        Returns
        -------
        Tensor
            ``[b, chan]``, in [0, 1].
        """
        # errors of half precision would add up along the spectrum
        with torch.autocast(spectrum.device.type, enabled=False):
            x = spectrum.float()[..., None]
            if self.dense:
                forth, _ = self.forth(x)
                back, _ = self.back(forth.flip(1))
                states = torch.cat([forth, back.flip(1)], dim=2)
                return torch.sigmoid(self.out(states.flatten(1)))
            states, _ = self.both(x)
            return torch.sigmoid(self.out(states)[..., 0])


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


class ShapeResNet(nn.Module):
    """Reads a source's shape or flux off a small image of it (Section 4.3, Figs 7 and 8).

    11.3 million weights. The residual blocks are those of He et al. (2016, arXiv:1512.03385) with
    convolution, batch normalisation, ReLU in this order.

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
