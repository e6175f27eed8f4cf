"""Haloes of the density on a mesh: where they are, and what mass they hold."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faintsky.sky.web.linear_power import MEAN_DENSITY

CONTRAST = 200.0
"""Mean densities within a halo's radius."""
LARGEST = 3.0
"""No halo reaches further [Mpc]."""


def find_haloes(density: Tensor, box: float, *, least: float = 1e12) -> NDArray[np.float32]:
    """Haloes around maxima of the density, none within a heavier one.

    Parameters
    ----------
    density : Tensor
        Over its mean, ``[n, n, n]``.
    box : float
        Side [Mpc].
    least : float, optional
        Mass [solar masses].

    Returns
    -------
    array
        ``[m, 5]``: position [Mpc], mass [solar masses] and radius [Mpc], the heaviest first.
    """
    n = density.shape[0]
    cell = box / n
    wrapped = torch.nn.functional.pad(density[None, None], (2,) * 6, mode="circular")
    peak = (density == torch.nn.functional.max_pool3d(wrapped, 5, 1)[0, 0]) & (density > CONTRAST)
    places = peak.nonzero().cpu().numpy()
    values = density.cpu().numpy()
    offset = np.arange(-(reach := min(int(LARGEST / cell) + 1, n // 2 - 1)), reach + 1)
    r = np.sqrt(offset[:, None, None] ** 2 + offset[:, None] ** 2 + offset**2).ravel()
    order = np.argsort(r, kind="stable")
    order, counts = order[r[order] <= reach], np.arange(1, len(order) + 1)
    found = []
    for place in places:
        inside = np.cumsum(values[np.ix_(*((c + offset) % n for c in place))].ravel()[order])
        beyond = inside / counts[: len(order)] < CONTRAST
        last = int(np.argmax(beyond)) if beyond.any() else len(order) - 1
        mass = inside[last] * cell**3 * MEAN_DENSITY
        found.append([*(place * cell), mass, np.cbrt(3 * mass / (4 * np.pi * CONTRAST * MEAN_DENSITY))])
    haloes = np.array(sorted(found, key=lambda h: -h[3]), dtype=np.float32).reshape(-1, 5)
    kept: list[NDArray[np.float32]] = []
    for halo in haloes[haloes[:, 3] > least]:
        away = np.array([np.abs((k[:3] - halo[:3] + box / 2) % box - box / 2) for k in kept]).reshape(-1, 3)
        if not any(np.linalg.norm(a) < k[4] for a, k in zip(away, kept)):
            kept.append(halo)
    return np.array(kept, dtype=np.float32).reshape(-1, 5)
