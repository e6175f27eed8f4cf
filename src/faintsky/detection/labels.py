"""The 3-D label mask of the sources found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faintsky.detection.pursuit import Component, line_channels
from faintsky.grid import FWHM_PER_SIGMA, major_axis_direction
from faintsky.preparing.cube import PreparedCube
from faintsky.source_model import line_profile


def beam_covariance(beam: tuple[float, float, float]) -> NDArray[np.float64]:
    """Second moments of a Gaussian beam in (x, y) [pixel**2]."""
    dx, dy = major_axis_direction(beam[2])
    rotation = np.array([[dx, -dy], [dy, dx]])
    return rotation @ np.diag([(beam[0] / FWHM_PER_SIGMA) ** 2, (beam[1] / FWHM_PER_SIGMA) ** 2]) @ rotation.T


def restored_patch(
    c: Component, beam: tuple[float, float, float], shape: tuple[int, int]
) -> tuple[slice, slice, NDArray[np.float32]]:
    """The source at unit peak seen with a Gaussian beam, on the patch of the image it covers.

    Without the sidelobes of the psf, which belong to no source's mask.
    """
    s = c.source
    chol = np.array([[s.l11, 0.0], [s.l21, s.l22]])
    cov = chol @ chol.T + beam_covariance(beam)
    half = 3.5 * np.sqrt(np.diag(cov)) + 1
    x0, x1 = max(0, int(s.x - half[0])), min(shape[1], int(s.x + half[0]) + 2)
    y0, y1 = max(0, int(s.y - half[1])), min(shape[0], int(s.y + half[1]) + 2)
    dy = np.arange(y0, y1)[:, None] - s.y
    dx = np.arange(x0, x1)[None, :] - s.x
    inv = np.linalg.inv(cov)
    r2 = inv[0, 0] * dx * dx + 2 * inv[0, 1] * dx * dy + inv[1, 1] * dy * dy
    return slice(y0, y1), slice(x0, x1), np.exp(-0.5 * r2).astype(np.float32)


def label_mask(
    components: Sequence[Component],
    groups: Sequence[Sequence[int]],
    prepared: PreparedCube,
    *,
    depth: float = 2.0,
) -> NDArray[np.int32]:
    """Label the voxels of every source, ``[chan, y, x]``: 1 for the first group, and so on.

    A voxel belongs to the source whose model is brightest there, where that model, seen with the Gaussian
    beam, exceeds `depth` times the noise, or half of its own peak if that is fainter.
    """
    n_chan, n_y, n_x = prepared.line.shape
    labels = np.zeros((n_chan, n_y, n_x), dtype=np.int32)
    best = np.zeros((n_chan, n_y, n_x), dtype=np.float32)
    for number, group in enumerate(groups, start=1):
        top = max(abs(components[i].source.amplitude) * components[i].source.norm for i in group)
        for i in group:
            c = components[i]
            ys, xs, patch = restored_patch(c, prepared.beam, (n_y, n_x))
            if patch.size == 0:
                continue
            peak = abs(c.source.amplitude) * c.source.norm
            zs = line_channels(c.source, n_chan)
            profile = peak * line_profile(np.arange(n_chan)[zs], c.source.z, c.source.fwhm_z)
            for k, value in zip(range(n_chan)[zs], profile):
                if prepared.sigma[k] <= 0:
                    continue
                seen = patch * np.float32(value)
                own = seen > min(0.5 * top, depth * prepared.sigma[k])
                own &= prepared.valid[ys, xs]
                wins = own & (seen > best[k, ys, xs])
                labels[k, ys, xs][wins] = number
                best[k, ys, xs][wins] = seen[wins]
    return labels
