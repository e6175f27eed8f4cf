"""A denoising network over an image of any size: in blocks, and over mirror images and quarter turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.blocks.cover import LARGEST, cover, in_blocks

if TYPE_CHECKING:
    from torch import Tensor, nn

Array32 = NDArray[np.float32]

TURNS = ((0, False), (2, False), (1, True), (3, True), (1, False), (3, False), (0, True), (2, True))
"""Quarter turns and mirroring of each member: the symmetries of the square, opposite ones first."""


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
    import torch

    out = torch.rot90(image, turns, (-2, -1))
    return out.flip(-1) if mirror else out


def _turned_back(image: Tensor, turns: int, mirror: bool) -> Tensor:
    import torch

    return torch.rot90(image.flip(-1) if mirror else image, -turns, (-2, -1))


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
    """Mean and standard deviation of the sky given an image, in units of the local noise.

    Parameters
    ----------
    network : torch.nn.Module
        As `faintsky.networks.local_unet` is, on `device`.
    image : array
        Data over local rms, ``[y, x]``, 0 where blank.
    weight : array
        Median rms over local rms, ``[y, x]``, 0 where blank.
    beam : sequence of float or None
        Major and minor FWHM [pixel] and position angle [deg]; None for noise without correlation.
    members : int
        Mirror images and quarter turns to average, 1 to 8.
    device : str
        A torch device.
    largest : int
        Side of the largest block [pixel].
    progress : callable, optional
        Called with the blocks done and the blocks in all.

    Returns
    -------
    mean, sigma : array
        ``[y, x]``. Over several members, `mean` is their mean, and `sigma` squared the mean of theirs plus
        the variance of their means.
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

    # the blocks' sides are multiples of the stride, so that turned ones are cut like the others
    reach, stride = (int(getattr(network, name)) for name in ("reach", "stride"))
    blocks = cover(image.shape, reach=reach, stride=stride, largest=largest)
    with torch.inference_mode():
        mean, sigma = in_blocks(one_block, [image, weight], blocks, outputs=2, progress=progress)
    return mean, sigma
