"""The three architectures of DeepFocus, their inputs and outputs.

Delli Veneri et al. (2022), Sections 4.1 to 4.5. Images and spectra are prepared in the same way for training
and for use. The outputs of the residual networks, and their conversion to a source's parameters, are
described on the fidelity page, R4 and R5."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from faintsky.arrays import Array32, Float
from faintsky.errors import InputError
from faintsky.grid import paper_frame_to_sky, sky_to_paper_frame

IMAGE = 256
"""Side of Blobs Finder's images [pixel]."""
FLUX_UNIT = 100.0
"""Unit of line fluxes over the noise for the network, so that values are of order one."""
NARROWEST = 0.5
"""Least accepted width [pixel]."""
STATES = 32
"""Hidden states of each recurrent layer."""
HIDDEN = 256
"""Size of the residual network's last hidden layer."""
WIDTHS = (8, 16, 32, 64)
"""Channels of the autoencoder after each halving (Table 3)."""
STRIDE = 2 ** len(WIDTHS)
OFFSET = 3.0
"""Offset of the features in units of their standard deviation."""


def activated(width: int) -> nn.Sequential:
    """Leaky ReLU and batch normalisation, in the paper's order."""
    return nn.Sequential(nn.LeakyReLU(), nn.BatchNorm2d(width))


def bottleneck(size: int, latent: int, maps: int = WIDTHS[-1], identity: bool = False) -> nn.Sequential:
    """The two fully connected layers between encoder and decoder.

    Parameters
    ----------
    size : int
        Side of the images [pixel].
    latent : int
        Number of latent values.
    maps : int, optional
        Number of feature maps.
    identity : bool, optional
        Initialise the layers as the identity, or as near to it as the latent values allow, so that positions
        are preserved from the first step.

    Returns
    -------
    torch.nn.Sequential

    Raises
    ------
    InputError
        If the size is not a multiple of 16.
    """
    if size < STRIDE or size % STRIDE:
        raise InputError(f"size={size} is not a multiple of {STRIDE}", "give one that is")
    features = maps * (size // STRIDE) ** 2
    into, back = nn.Linear(features, latent), nn.Linear(latent, features)
    if identity:
        with torch.no_grad():
            (nn.init.eye_ if latent == features else nn.init.orthogonal_)(into.weight)
            back.weight.copy_(into.weight.T)
            # with the offset, normalised features are positive, where a leaky ReLU does not change them
            into.bias.fill_(OFFSET)
            back.bias.copy_(OFFSET - back.weight.sum(dim=1) * OFFSET)
    return nn.Sequential(into, nn.LeakyReLU(), back, nn.LeakyReLU())


def example_image(size: int) -> tuple[Tensor, ...]:
    """Two images, of the nearest size that is a multiple of 16."""
    side = max(STRIDE, round(size / STRIDE) * STRIDE)
    return (torch.rand(2, 1, side, side),)


class Up(nn.Module):
    """Doubles the size in two ways, by interpolation and by transposed convolution, and convolves both."""

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
        return self.convolved(both)


class BlobsFinder(nn.Module):
    """The autoencoder from an integrated dirty image to an image of the sky.

    Section 4.1, Fig. 4 and Table 3; 33.7 million weights at 256 pixels. The decoder's convolutions have
    stride 1; with the stride 2 of the text they would undo the doubling before them.

    Parameters
    ----------
    size : int
        Side of its images, a multiple of 16 [pixel].
    latent : int
        Values between encoder and decoder.
    squeeze : int
        If not 0, number of feature maps for the fully connected layers. Convolutions of one pixel reduce the
        encoder's 64 to this number, and expand them for the decoder. With 8 and ``latent=512`` there are 2.3
        instead of 33.7 million weights.
    bare : bool
        As in the authors' code, omit activation and normalisation after the interpolation and the transposed
        convolution, and interpolate between the corners' centres.
    identity : bool
        Initialisation of the fully connected layers; see `bottleneck`.
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
        # most of the sky is empty: starting from 0.5 everywhere would take hundreds of steps more
        nn.init.constant_(self.out.bias, -3.0)  # type: ignore[arg-type]
        nn.init.ones_(self.out.weight)

    @staticmethod
    def example(size: int) -> tuple[Tensor, ...]:
        """See `example_image`."""
        return example_image(size)

    def forward(self, image: Tensor) -> Tensor:
        """Image of the sky.

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
    """Denoises spectra (Section 4.2 and Fig. 6).

    It has two layers of gated recurrent units in opposite directions, and a layer on their states.

    Parameters
    ----------
    head : {"dense", "per_channel"}
        ``dense`` follows the text: the second layer runs backwards over the first one's states, and one fully
        connected layer sees the states of all channels (1.06 million weights). ``per_channel`` follows the
        authors' code: both directions read the spectrum, and the same small layer is applied to each channel
        (6,785 weights), so that any number of channels is possible.
    channels : int
        Channels of the spectra; ``per_channel`` ignores it.
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
        """Denoised spectrum of a source.

        Parameters
        ----------
        spectrum : Tensor
            Standardised, ``[b, chan]``.

        Returns
        -------
        Tensor
            ``[b, chan]``, in [0, 1].
        """
        # errors of half precision would accumulate along the spectrum
        with torch.autocast(spectrum.device.type, enabled=False):
            x = spectrum.float()[..., None]
            if self.dense:
                forth, _ = self.forth(x)
                back, _ = self.back(forth.flip(1))
                states = torch.cat([forth, back.flip(1)], dim=2)
                return torch.sigmoid(self.out(states.flatten(1)))
            states, _ = self.both(x)
            return torch.sigmoid(self.out(states)[..., 0])


def convolution(inner: int, outer: int, size: int, stride: int = 1) -> nn.Sequential:
    """A convolution without bias, and batch normalisation.

    Parameters
    ----------
    inner, outer : int
        Input and output channels.
    size : int
        Side of the kernel.
    stride : int, optional
        Stride.

    Returns
    -------
    torch.nn.Sequential
    """
    return nn.Sequential(
        nn.Conv2d(inner, outer, size, stride=stride, padding=size // 2, bias=False), nn.BatchNorm2d(outer)
    )


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which are added or, without ``add``, concatenated.

    When concatenated, the shortcut has half of the output channels, so that their number is the same.
    """

    def __init__(self, inner: int, outer: int, stride: int, add: bool) -> None:
        super().__init__()
        self.add = add
        width = outer if add else outer // 2
        self.first, self.second = convolution(inner, width, 3, stride), convolution(width, width, 3)
        same = stride == 1 and inner == width
        self.shortcut = nn.Identity() if same else convolution(inner, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """From ``[b, inner, y, x]`` to ``[b, outer, y / stride, x / stride]``."""
        made, kept = self.second(functional.relu(self.first(x))), self.shortcut(x)
        return functional.relu(made + kept if self.add else torch.cat([made, kept], dim=1))


class ShapeResNet(nn.Module):
    """Measures a source's shape or flux from a small image (Section 4.3, Figs 7 and 8).

    It has 11.3 million weights. The residual blocks are those of He et al. (2016, arXiv:1512.03385), with
    convolution, batch normalisation and ReLU in this order.

    Parameters
    ----------
    outputs : int
        Number of values.
    join : {"add", "concatenate"}
        Whether shortcuts are added, as in the authors' code, or concatenated with half of the channels each,
        as in the text.
    pool : {"max", "mean"}
        Pooling of the last features, ``[512, 4, 4]``.
    stem : int
        Stride of the first convolution. With 2, as in the authors' code, the last features are ``[512, 2,
        2]``, and the time is less than half.
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
            blocks += [
                ResidualBlock(inner, middle, 1 if i == 0 else 2, add),
                ResidualBlock(middle, outer, 1, add),
            ]
            inner = outer
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveMaxPool2d(1) if pool == "max" else nn.AdaptiveAvgPool2d(1)
        self.out = nn.Sequential(nn.Linear(widths[-1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))

    @staticmethod
    def example(size: int) -> tuple[Tensor, ...]:
        """Two images."""
        return (torch.rand(2, 1, size, size),)

    def forward(self, image: Tensor) -> Tensor:
        """The measured values.

        Parameters
        ----------
        image : Tensor
            ``[b, 1, y, x]``, with sides of 64 pixels in the paper, and at least 16.

        Returns
        -------
        Tensor
            ``[b, outputs]``, single precision.
        """
        features = self.pool(self.blocks(self.stem(image))).flatten(1)
        with torch.autocast(image.device.type, enabled=False):
            return self.out(features.float())


def unit_range(images: Tensor) -> Tensor:
    """Images ``[..., y, x]``, each scaled to [0, 1]; blank pixels count as 0, constant images become 0."""
    clean = torch.nan_to_num(images.float())
    low, high = clean.amin((-2, -1), keepdim=True), clean.amax((-2, -1), keepdim=True)
    span = high - low
    return torch.where(span > 0, (clean - low) / torch.where(span > 0, span, 1.0), 0.0)


def unit_range_1d(spectra: Tensor) -> Tensor:
    """Spectra ``[..., chan]``, each scaled to [0, 1] like `unit_range`, as targets of Deep GRU."""
    return unit_range(spectra[..., None, :])[..., 0, :]


def standardise(spectra: Tensor) -> Tensor:
    """Spectra ``[..., chan]``, each with mean 0 and standard deviation 1; constant ones become 0."""
    clean = torch.nan_to_num(spectra.float())
    centred = clean - clean.mean(-1, keepdim=True)
    spread = centred.std(-1, correction=0, keepdim=True)
    return torch.where(spread > 0, centred / torch.where(spread > 0, spread, 1.0), 0.0)


def clean_spectra(spectra: Array32, network: nn.Module, device: str = "cpu") -> Array32:
    """Denoise spectra by Deep GRU.

    Parameters
    ----------
    spectra : array
        Dirty spectra, ``[n, chan]``.
    network : torch.nn.Module
        ``deep_gru``.
    device : str, optional
        A torch device.

    Returns
    -------
    array
        ``[n, chan]``, in [0, 1].
    """
    if not len(spectra):
        return np.zeros_like(spectra)
    with torch.no_grad():
        return network(standardise(torch.as_tensor(spectra, device=device))).float().cpu().numpy()


def crop_slices(shape: Sequence[int], size: int = IMAGE) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the centre of an image ``(n_y, n_x)`` in the image, and in its crop, which may be larger."""
    first = [n // 2 - size // 2 for n in shape]
    inside = tuple(slice(max(a, 0), min(a + size, n)) for a, n in zip(first, shape))
    return inside, tuple(slice(s.start - a, s.stop - a) for s, a in zip(inside, first))


def crop_centre(images: Tensor, size: int = IMAGE) -> Tensor:
    """The centre of images ``[..., y, x]``, ``[..., size, size]``; 0 where they are smaller or blank."""
    out = images.new_zeros((*images.shape[:-2], size, size))
    inside, target = crop_slices(images.shape[-2:], size)
    out[(..., *target)] = torch.nan_to_num(images[(..., *inside)])  # type: ignore[index]
    return out


def turned(images: Tensor, angles: Tensor, mirrors: Tensor, size: int) -> Tensor:
    """Images rotated and mirrored about their central pixel, and cropped.

    Parameters
    ----------
    images : Tensor
        ``[b, plane, y, x]``; all planes of an example are treated in the same way.
    angles : Tensor
        ``[b]`` [rad]
    mirrors : Tensor
        1 or -1 for x and y, ``[b, 2]``.
    size : int
        Side of the crop; the central pixel ``n // 2`` comes to ``size // 2``.

    Returns
    -------
    Tensor
        ``[b, plane, size, size]``, interpolated bilinearly, 0 outside.
    """
    n_y, n_x = images.shape[-2:]
    line = torch.arange(size, dtype=torch.float32) - size // 2
    cos, sin = torch.cos(angles), torch.sin(angles)
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1) * mirrors[:, None]
    scale = torch.tensor([2.0 / n_x, 2.0 / n_y])
    # pixel p has its centre at (2 p + 1) / n - 1
    middle = torch.tensor([(2 * (n_x // 2) + 1) / n_x - 1, (2 * (n_y // 2) + 1) / n_y - 1])
    turn = turn * scale[:, None]
    along_x, along_y = line[:, None] * turn[:, None, :, 0], line[:, None] * turn[:, None, :, 1]
    grid = along_x[:, None, :] + along_y[:, :, None] + middle
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def shape_targets(fwhm_maj: ArrayLike, fwhm_min: ArrayLike, pa: ArrayLike, degrees: bool = False) -> Float:
    """Training targets of shapes, ``[n, 4]``, or ``[n, 3]`` with the angle in degrees.

    Parameters
    ----------
    fwhm_maj, fwhm_min : array
        Intrinsic widths, ``[n]`` [pixel].
    pa : array
        Position angle of the major axis, ``[n]`` [deg east of north].
    degrees : bool
        Use the papers' projection angle in [0, 90) instead of sine and cosine.

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
    """Major and minor axis [pixel] and position angle [deg, 0-180) from the networks' results.

    Parameters
    ----------
    fwhm_x, fwhm_y : array
        ``[n]`` [pixel]
    angle : array
        ``[n, 2]``, sine and cosine, or ``[n, 1]``, degrees; see `shape_targets`.

    Returns
    -------
    fwhm_maj, fwhm_min, pa : array
        ``[n]`` [pixel], [pixel], [deg].
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
    """Line flux as received [Jy channel] from the network's result; not negative."""
    return np.maximum(np.asarray(answer, dtype=float), 0.0) * np.asarray(rms, dtype=float) * FLUX_UNIT
