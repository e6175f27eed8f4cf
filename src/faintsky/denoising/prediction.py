"""A denoising network over an image of any size: in blocks, and over mirror images and quarter turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from faintsky.arrays import Array32
from faintsky.blocks import LARGEST, cover, in_blocks
from faintsky.preparing import PreparedImage

if TYPE_CHECKING:
    from torch import Tensor, nn


EVEN = 1.1
"""A noise map with a smaller ratio of largest to least value is not measured again."""
EMPTY = 1.0
"""Denoised pixels below this, over the rms, are empty sky, where two noise maps must agree."""
TURNS = ((0, False), (2, False), (1, True), (3, True), (1, False), (3, False), (0, True), (2, True))
"""Quarter turns and mirroring of each member: the symmetries of the square, opposites first."""


def describe_beam(beam: Sequence[float] | None) -> Array32:
    """``[4]``: FWHMs [pixel], sine and cosine of twice the position angle; zeros for white noise.

    Parameters
    ----------
    beam : sequence of float or None
        Major and minor FWHM [pixel] and position angle [deg east of north].
    """
    if beam is None:
        return np.zeros(4, dtype=np.float32)
    twice = 2 * np.deg2rad(beam[2])
    return np.array([beam[0], beam[1], np.sin(twice), np.cos(twice)], dtype=np.float32)


def _turned(image: Tensor, turns: int, mirror: bool) -> Tensor:
    out = image.rot90(turns, (-2, -1))
    return out.flip(-1) if mirror else out


def _turned_back(image: Tensor, turns: int, mirror: bool) -> Tensor:
    return (image.flip(-1) if mirror else image).rot90(-turns, (-2, -1))


def _turned_beam(beam: Tensor, turns: int, mirror: bool) -> Tensor:
    """A quarter turn adds 90 degrees to a position angle, a mirror image negates it."""
    sign = beam.new_ones(4)
    if turns % 2:
        sign[2:] *= -1
    if mirror:
        sign[2] *= -1
    return beam * sign


def predict(
    network: nn.Module,
    image: Array32,
    weight: Array32,
    beam: Sequence[float] | None,
    *,
    members: int = 1,
    device: str = "cpu",
    largest: int = LARGEST,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Array32, Array32]:
    """Predict mean and standard deviation of the sky from an image, in units of the local noise.

    Parameters
    ----------
    network : torch.nn.Module
        Such as `faintsky.networks.local_unet`, on `device`.
    image : array
        Data over local rms, ``[y, x]``, 0 where blank.
    weight : array
        Median rms over local rms, ``[y, x]``, 0 where blank.
    beam : sequence of float or None
        Major and minor FWHM [pixel] and position angle [deg]; None for noise without correlation.
    members : int
        Mirrored and rotated images to average, 1 to 8.
    device : str
        A torch device.
    largest : int
        Side of the largest block [pixel].
    progress : callable, optional
        Called with the blocks done and the blocks in all.

    Returns
    -------
    mean, sigma : array
        ``[y, x]``. With several members, `mean` is their mean, and `sigma` squared the mean of their
        variances plus the variance of their means.
    """
    import torch

    described = torch.as_tensor(describe_beam(beam), device=device)

    def one_block(*pieces: Array32) -> Sequence[Array32]:
        pair = [torch.as_tensor(p, device=device)[None, None] for p in pieces]
        means, variances = [], []
        for turn in TURNS[:members]:
            seen = [_turned(p, *turn) for p in pair]
            mean, sigma = network(*seen, _turned_beam(described, *turn)[None])
            means.append(_turned_back(mean[0, 0], *turn))
            variances.append(_turned_back(sigma[0, 0], *turn) ** 2)
        if members == 1:
            return mean[0, 0].cpu().numpy(), sigma[0, 0].cpu().numpy()
        stack = torch.stack(means)
        spread = stack.var(dim=0, unbiased=False) + torch.stack(variances).mean(dim=0)
        return stack.mean(dim=0).cpu().numpy(), spread.sqrt().cpu().numpy()

    # the blocks' sides are multiples of the stride, so that rotated images have the same blocks
    reach, stride = (int(getattr(network, name)) for name in ("reach", "stride"))
    blocks = cover(image.shape, reach=reach, stride=stride, largest=largest)
    with torch.inference_mode():
        mean, sigma = in_blocks(one_block, [image, weight], blocks, progress=progress)
    return mean, sigma


def estimate(
    network: nn.Module,
    prepared: PreparedImage,
    *,
    members: int = 1,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[PreparedImage, Array32, Array32]:
    """`predict` for a restored image, whose noise is measured again on the residual.

    The texture of bright emission raises a noise map, and the network smooths what looks like noise. Where
    the map varies over the image, the network runs twice, the second time with the noise of the first
    residual, which is nowhere higher than before. The difference of the two results counts as uncertainty.

    Parameters
    ----------
    network, members, device, progress
        As for `predict`.
    prepared : PreparedImage

    Returns
    -------
    prepared : PreparedImage
        With the noise of the last run.
    mean, sigma : array
        In units of that noise.
    """
    tell = progress or (lambda done, total: None)

    def ask(image: PreparedImage, turn: int) -> tuple[Array32, Array32]:
        return predict(
            network, image.scaled, image.weight, image.beam, members=members, device=device,
            progress=lambda done, total: tell(turn * total + done, (1 + again) * total),
        )  # fmt: skip

    rms = np.where(prepared.valid, prepared.rms, prepared.typical_rms)
    again = prepared.rms_origin == "measured" and bool(rms.max() > EVEN * rms.min())
    mean, sigma = ask(prepared, 0)
    empty = prepared.valid & (np.abs(mean) < EMPTY)
    if not again or not empty.any():
        return prepared, mean, sigma
    left = prepared.with_noise(prepared.data - np.where(prepared.valid, mean * rms, 0))
    # a residual contains less than the full noise
    scale = np.median(rms[empty] / left.rms[empty])
    measured = replace(prepared, rms=np.minimum(prepared.rms, left.rms * np.float32(scale)))
    first = mean * np.where(prepared.valid, prepared.rms / measured.rms, 0)
    mean, sigma = ask(measured, 1)
    return measured, mean, np.hypot(sigma, mean - first)
