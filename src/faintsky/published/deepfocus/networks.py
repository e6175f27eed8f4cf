"""The three architectures of DeepFocus, what they see, and what they answer.

Delli Veneri et al. (2022), Sections 4.1 to 4.5. What the networks see of images and spectra is the same in
training and in use; what the residual ones answer, and the way back to a source's parameters, are on the
fidelity page, R4 and R5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from faintsky.errors import InputError
from faintsky.grid import paper_frame_to_sky, sky_to_paper_frame

Float = NDArray[np.float64]

IMAGE = 256
"""Pixels a side of what Blobs Finder looks at."""
FLUX_UNIT = 100.0
"""Line fluxes, in units of the noise, are divided by this to be of order one."""
NARROWEST = 0.5
"""Least width that is believed [pixel]."""
STATES, HIDDEN = 32, 256
"""Hidden states of each recurrent layer, and values before the residual network's answer."""
WIDTHS = (8, 16, 32, 64)
"""Channels of the autoencoder after each halving (Table 3)."""
STRIDE = 2 ** len(WIDTHS)
OFFSET = 3.0
"""Standard deviations of the features."""


def activated(width: int) -> nn.Sequential:
    """Leaky ReLU and batch normalisation, in the text's order."""
    return nn.Sequential(nn.LeakyReLU(), nn.BatchNorm2d(width))


def bottleneck(size: int, latent: int, maps: int = WIDTHS[-1], identity: bool = False) -> nn.Sequential:
    """The two fully connected layers between encoder and decoder, on ``maps`` flat feature maps.

    With ``identity`` they begin as one, or as near to it as ``latent`` values allow: each place of the image
    then knows from the first step which place of the sky it is.

    Raises
    ------
    InputError
        Where the images' size is no multiple of 16.
    """
    if size < STRIDE or size % STRIDE:
        raise InputError(f"size={size} is no multiple of {STRIDE}", "give one that is")
    features = maps * (size // STRIDE) ** 2
    into, back = nn.Linear(features, latent), nn.Linear(latent, features)
    if identity:
        with torch.no_grad():
            (nn.init.eye_ if latent == features else nn.init.orthogonal_)(into.weight)
            back.weight.copy_(into.weight.T)
            # normalised features stay above 0, where a leaky ReLU leaves them as they are
            into.bias.fill_(OFFSET)
            back.bias.copy_(OFFSET - back.weight.sum(dim=1) * OFFSET)
    return nn.Sequential(into, nn.LeakyReLU(), back, nn.LeakyReLU())


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
    squeeze : int
        Where not 0, the feature maps that the fully connected layers see: convolutions of one pixel make
        them of the encoder's 64, and 64 of them for the decoder. 8, with ``latent=512``, leaves 2.3 of the
        33.7 million weights.
    bare : bool
        As in the authors' code: neither activation nor normalisation after the interpolation and the
        transposed convolution, and interpolation between the corners' centres.
    identity : bool
        How the fully connected layers begin; see `bottleneck`.
    """

    def __init__(
        self,
        size: int = 256,
        latent: int = 1024,
        squeeze: int = 0,
        bare: bool = False,
        identity: bool = False,
    ) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for inner, outer in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True):
            layers += [nn.Conv2d(inner, outer, 3, stride=2, padding=1), activated(outer)]
            layers += [nn.Conv2d(outer, outer, 3, padding=1), activated(outer)]
        self.encoder = nn.Sequential(*layers)
        maps = WIDTHS[-1]
        self.squeezed: nn.Module = nn.Identity()
        self.widened: nn.Module = nn.Identity()
        if squeeze:
            self.squeezed = nn.Sequential(nn.Conv2d(maps, squeeze, 1), activated(squeeze))
            self.widened = nn.Sequential(nn.Conv2d(squeeze, maps, 1), activated(maps))
        self.bottleneck = bottleneck(size, latent, squeeze or maps, identity)
        steps = zip(WIDTHS[::-1], (*WIDTHS[-2::-1], 1), strict=True)
        self.decoder = nn.Sequential(*(Up(inner, outer, bare) for inner, outer in steps))
        self.out = nn.Conv2d(1, 1, 1)
        # most of the sky is empty: from a half everywhere it takes hundreds of steps to get there
        nn.init.constant_(self.out.bias, -3.0)  # type: ignore[arg-type]
        nn.init.ones_(self.out.weight)

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
        x = self.squeezed(self.encoder(image))
        x = self.widened(self.bottleneck(x.flatten(1)).reshape(x.shape))
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

    def __init__(self, head: Literal["dense", "per_channel"] = "dense", channels: int = 128) -> None:
        super().__init__()
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
        self,
        outputs: int = 1,
        join: Literal["add", "concatenate"] = "add",
        pool: Literal["max", "mean"] = "max",
        stem: int = 1,
        width: int = 64,
    ) -> None:
        super().__init__()
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


def unit_range(images: Tensor) -> Tensor:
    """Images ``[..., y, x]``, each brought to [0, 1]; blanks count as 0, a constant image becomes all 0."""
    clean = torch.nan_to_num(images.float())
    low, high = clean.amin((-2, -1), keepdim=True), clean.amax((-2, -1), keepdim=True)
    span = high - low
    return torch.where(span > 0, (clean - low) / torch.where(span > 0, span, 1.0), 0.0)


def unit_range_1d(spectra: Tensor) -> Tensor:
    """Spectra ``[..., chan]``, each brought to [0, 1] like `unit_range`: what Deep GRU is to give."""
    return unit_range(spectra[..., None, :])[..., 0, :]


def standardise(spectra: Tensor) -> Tensor:
    """Spectra ``[..., chan]``, each with mean 0 and standard deviation 1; a constant one becomes all 0."""
    clean = torch.nan_to_num(spectra.float())
    centred = clean - clean.mean(-1, keepdim=True)
    spread = centred.std(-1, correction=0, keepdim=True)
    return torch.where(spread > 0, centred / torch.where(spread > 0, spread, 1.0), 0.0)


def crop_slices(shape: Sequence[int], size: int = IMAGE) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the middle of an image ``(n_y, n_x)`` lies in it, and in its crop, which may be larger."""
    first = [n // 2 - size // 2 for n in shape]
    inside = tuple(slice(max(a, 0), min(a + size, n)) for a, n in zip(first, shape))
    return inside, tuple(slice(s.start - a, s.stop - a) for s, a in zip(inside, first))


def crop_centre(images: Tensor, size: int = IMAGE) -> Tensor:
    """The middle of images ``[..., y, x]``, ``[..., size, size]``; 0 where they are smaller or blank."""
    out = images.new_zeros((*images.shape[:-2], size, size))
    inside, target = crop_slices(images.shape[-2:], size)
    out[(..., *target)] = torch.nan_to_num(images[(..., *inside)])  # type: ignore[index]
    return out


def shape_targets(fwhm_maj: ArrayLike, fwhm_min: ArrayLike, pa: ArrayLike, degrees: bool = False) -> Float:
    """Targets ``[n, 4]``, or ``[n, 3]`` with the angle in degrees.

    Parameters
    ----------
    fwhm_maj, fwhm_min : array
        Intrinsic widths, ``[n]`` [pixel].
    pa : array
        Of the major axis, ``[n]`` [deg east of north].
    degrees : bool
        The papers' projection angle in [0, 90) instead of sine and cosine.

    Returns
    -------
    array
        The widths ``fwhm_x`` and ``fwhm_y`` of the papers' frame [pixel], then sine and cosine of twice the
        position angle.
    """
    maj, minor, angle = (np.asarray(v, dtype=float) for v in (fwhm_maj, fwhm_min, pa))
    wide_x, wide_y, turned = sky_to_paper_frame(maj, minor, angle)
    if degrees:
        return np.stack([wide_x, wide_y, turned], axis=-1)
    twice = 2 * np.deg2rad(angle)
    return np.stack([wide_x, wide_y, np.sin(twice), np.cos(twice)], axis=-1)


def shape_of(fwhm_x: ArrayLike, fwhm_y: ArrayLike, angle: ArrayLike) -> tuple[Float, Float, Float]:
    """Major and minor axis [pixel] and position angle [deg, 0-180) from the networks' answers.

    Parameters
    ----------
    fwhm_x, fwhm_y : array
        ``[n]`` [pixel]
    angle : array
        ``[n, 2]``, sine and cosine, or ``[n, 1]``, degrees; see `shape_targets`.
    """
    wide = np.maximum(np.asarray(fwhm_x, dtype=float), NARROWEST)
    high = np.maximum(np.asarray(fwhm_y, dtype=float), NARROWEST)
    answer = np.asarray(angle, dtype=float)
    if answer.shape[-1] == 1:
        return paper_frame_to_sky(wide, high, answer[..., 0])
    pa = np.mod(np.rad2deg(np.arctan2(answer[..., 0], answer[..., 1])) / 2, 180.0)
    return np.maximum(wide, high), np.minimum(wide, high), pa


def flux_target(flux: ArrayLike, rms: ArrayLike) -> Float:
    """Target of a line flux as received ``[n]`` [Jy channel], given the cube's rms [Jy/beam]."""
    return np.asarray(flux, dtype=float) / np.asarray(rms, dtype=float) / FLUX_UNIT


def flux_of(answer: ArrayLike, rms: ArrayLike) -> Float:
    """Line flux as received [Jy channel] from the network's answer; never negative."""
    return np.maximum(np.asarray(answer, dtype=float), 0.0) * np.asarray(rms, dtype=float) * FLUX_UNIT
