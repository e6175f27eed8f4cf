"""Losses of the published networks, in single precision whatever the network computes in."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

WINDOW, SPREAD = 11, 1.5
"""Of the structural similarity's Gaussian window: pixels a side and standard deviation (Wang et al. 2004)."""
C1, C2 = 0.01**2, 0.03**2
"""Of Delli Veneri et al. (2022), eqs. 9 and 10, with the range L = 1 of images in [0, 1]."""


@cache
def _window(n: int, device: torch.device) -> Tensor:
    """Matrix ``[n - 10, n]`` that averages along an axis, where the window is inside."""
    offsets = (
        torch.arange(n, device=device) - torch.arange(n - WINDOW + 1, device=device)[:, None] - WINDOW // 2
    )
    weights = torch.exp(-0.5 * (offsets / SPREAD) ** 2) * (offsets.abs() <= WINDOW // 2)
    return weights / weights.sum(dim=1, keepdim=True)


def dssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural dissimilarity ``(1 - SSIM) / 2`` (eqs. 7 and 8), a scalar.

    The mean over all places where a Gaussian window of 11 pixels (standard deviation 1.5) is inside. As a
    product with two narrow-banded matrices it takes a fraction of a convolution's time on a CPU.

    Parameters
    ----------
    x, y : Tensor
        ``[b, 1, y, x]`` in [0, 1], at least 11 pixels a side.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, y = x.float()[:, 0], y.float()[:, 0]
        n_y, n_x = x.shape[-2:]
        maps = torch.stack([x, y, x * x + y * y, x * y])
        mean_x, mean_y, squares, product = _window(n_y, x.device) @ (maps @ _window(n_x, x.device).T)
        both, powers = mean_x * mean_y, mean_x.square() + mean_y.square()
        ratio = (2 * both + C1) * (2 * (product - both) + C2)
        similarity = ratio / ((powers + C1) * (squares - powers + C2))
        return (1 - similarity.mean()) / 2


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference (eq. 6)."""
    return (x.float() - y.float()).abs().mean()


def binary_cross_entropy(x: Tensor, y: Tensor) -> Tensor:
    """Mean binary cross-entropy of values in [0, 1]."""
    with torch.autocast(x.device.type, enabled=False):
        return functional.binary_cross_entropy(x.float(), y.float())


def squared_logarithms(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of ``log(1 + value)``."""
    return (torch.log1p(x.float()) - torch.log1p(y.float())).square().mean()


def ramp(x: Tensor, y: Tensor, done: float) -> Tensor:
    """From `l1` in the first epoch to `dssim` in the last, linearly (eq. 20).

    Parameters
    ----------
    x, y : Tensor
        As for `dssim`.
    done : float
        Share of the epochs, 0 in the first and 1 in the last.
    """
    total = x.new_zeros(())
    if done < 1:
        total = total + (1 - done) * l1(x, y)
    if done > 0:
        total = total + done * dssim(x, y)
    return total


def constant_sum(x: Tensor, y: Tensor) -> Tensor:
    """`l1` plus `dssim`, as in the authors' code."""
    return l1(x, y) + dssim(x, y)
