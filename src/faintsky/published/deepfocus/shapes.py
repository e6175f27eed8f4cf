"""Step iv: sizes and angles of the focused sources (Sections 4.3 and 4.4 iv)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from faintsky.cutouts import focus
from faintsky.published.deepfocus.focusing import Source
from faintsky.published.deepfocus.scaling import unit_range
from faintsky.published.deepfocus.targets import shape_of

Array = NDArray[np.float32]
Float = NDArray[np.float64]

KEYS = ("fwhm_x", "fwhm_y", "pa")
"""The networks of this step."""


def focused_images(cube: Array, sources: Sequence[Source]) -> Array:
    """Spectrally focused images about the sources, ``[n, 64, 64]`` [unit of the cube times channels]."""
    images = [focus(cube, s.y, s.x, s.z_min, s.z_max) for s in sources]
    return np.stack(images) if images else np.zeros((0, 64, 64), dtype=np.float32)


def answers(images: NDArray[np.floating], network: nn.Module, device: str = "cpu") -> Array:
    """What a ResNet says of images already scaled, ``[n, y, x]`` to ``[n, outputs]``."""
    with torch.no_grad():
        seen = torch.as_tensor(np.asarray(images, dtype=np.float32), device=device)[:, None]
        out: Array = network(seen).float().cpu().numpy()
    return out.reshape(len(images), -1)


def shapes(
    images: Array, networks: Mapping[str, nn.Module], device: str = "cpu"
) -> tuple[Float, Float, Float]:
    """Intrinsic axes [pixel] and position angle [deg east of north] of focused images, each ``[n]``."""
    if not len(images):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    scaled = unit_range(torch.as_tensor(images)).numpy()
    wide, high, angle = (answers(scaled, networks[key], device) for key in KEYS)
    return shape_of(wide[:, 0], high[:, 0], angle)
