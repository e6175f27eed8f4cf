"""The 3-D label mask of the sources found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from skimage.segmentation import watershed

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
    residual: NDArray[np.float32],
    *,
    depth: float = 2.0,
) -> NDArray[np.int32]:
    """Label the voxels of every source, ``[chan, y, x]``: 1 for the first group, and so on.

    A voxel belongs to the source whose model is brightest there, where that model, seen with the Gaussian
    beam, exceeds `depth` times the noise, or half of its own peak if that is fainter. Emission that the
    models miss but that is joined to a source is added to it: see `grown`.

    Parameters
    ----------
    components, groups
        Fitted components, and which of them make each source.
    prepared : PreparedCube
        The cube.
    residual : array
        Line cube less all models, ``[chan, y, x]``.
    depth : float, optional
        See above.
    """
    n_chan, n_y, n_x = prepared.line.shape
    labels = np.zeros((n_chan, n_y, n_x), dtype=np.int32)
    best = np.zeros((n_chan, n_y, n_x), dtype=np.float32)
    restored = residual.copy()
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
                restored[k, ys, xs] += np.float32(np.sign(c.source.amplitude)) * seen
                own = seen > min(0.5 * top, depth * prepared.sigma[k])
                own &= prepared.valid[ys, xs]
                wins = own & (seen > best[k, ys, xs])
                labels[k, ys, xs][wins] = number
                best[k, ys, xs][wins] = seen[wins]
    return grown(labels, restored, prepared)


def grown(
    labels: NDArray[np.int32],
    restored: NDArray[np.float32],
    prepared: PreparedCube,
    *,
    threshold: float = 5.0,
    floor: float = 0.01,
) -> NDArray[np.int32]:
    """Labels extended over the emission that is joined to them, each voxel to the source it slopes up to.

    Parameters
    ----------
    labels : array of int
        ``[chan, y, x]``.
    restored : array
        Residual and models seen with the Gaussian beam, free of sidelobes, ``[chan, y, x]``.
    prepared : PreparedCube
        The cube.
    threshold : float
        Of the restored cube averaged over three channels, in units of its noise.
    floor : float
        Fraction of the cube's brightest voxel below which nothing is added: deconvolution and calibration
        leave as much.
    """
    usable = prepared.sigma > 0
    scale = np.where(usable, 1 / np.where(usable, prepared.sigma, 1.0), 0.0).astype(np.float32)
    smooth = restored * scale[:, None, None]
    smooth[1:-1] = (smooth[:-2] + smooth[1:-1] + smooth[2:]) / np.float32(np.sqrt(3))
    bright = (smooth > threshold) & (restored > floor * restored.max()) & prepared.valid
    bright[~usable] = False
    if not (bright & (labels == 0)).any() or not labels.any():
        return labels
    joined, _ = label(bright | (labels > 0))
    keep = np.isin(joined, np.unique(joined[labels > 0])) & (bright | (labels > 0))
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(keep))
    labels[box] = watershed(-restored[box], markers=labels[box], mask=keep[box]).astype(np.int32)
    return labels
