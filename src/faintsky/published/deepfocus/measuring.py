"""Steps iv to vi: sizes and angles, the three-dimensional model and mask, and the line's flux (eq. 19).

Delli Veneri et al. (2022), Sections 4.3 and 4.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from faintsky.beams import beam_covariance
from faintsky.cutouts import SIZE, box_spectrum, crop, focus, line_image, source_mask
from faintsky.published.deepfocus.finding import Source, continuum_of, line_free
from faintsky.published.deepfocus.networks import flux_of, shape_of, unit_range
from faintsky.source_model import line_profile

Array = NDArray[np.float32]
Float = NDArray[np.float64]

KEYS = ("fwhm_x", "fwhm_y", "pa")
"""The networks of step iv."""
_REACH = 3.5


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


def add_label(
    labels: NDArray[np.int32],
    number: int,
    place: tuple[float, float, float],
    shape: tuple[float, float, float],
    fwhm_z: float,
    dilation: float,
) -> None:
    """Give a source's voxels its number, in place, those that have none yet.

    Parameters
    ----------
    labels : array of int
        ``[chan, y, x]``
    number : int
    place : tuple of float
        x, y [pixel] and z [channel].
    shape : tuple of float
        Major and minor FWHM [pixel] and position angle [deg].
    fwhm_z : float
        [channel]
    dilation : float
        See `faintsky.cutouts.source_mask`.
    """
    x, y, z = place
    half = int(np.ceil(max(shape[0] * dilation, 1.0))) + 1
    depth = int(np.ceil(max(fwhm_z * dilation, 1.0))) + 1
    part, origin = _part(labels, (z, y, x), (depth, half, half))
    mask = source_mask(
        part.shape, x - origin[2], y - origin[1], z - origin[0], *shape, fwhm_z, dilation
    ) & (part == 0)  # fmt: skip
    part[mask] = number


def add_model(
    model: Array,
    place: tuple[float, float, float],
    shape: tuple[float, float, float],
    fwhm_z: float,
    flux: float,
    beam: tuple[float, float, float],
) -> float:
    """Add a source as the telescope shows it, in place: a Gaussian widened by the beam, times its line.

    Parameters
    ----------
    model : array
        ``[chan, y, x]`` [Jy/beam]
    place, shape, fwhm_z
        As in `add_label`.
    flux : float
        At the line's peak [Jy], as received.
    beam : tuple of float
        Major, minor FWHM [pixel], position angle [deg].

    Returns
    -------
    float
        Its peak [Jy/beam].
    """
    x, y, z = place
    own = beam_covariance(beam)
    cov = beam_covariance(shape) + own
    half = _REACH * np.sqrt(np.diag(cov)) + 1
    depth = int(np.ceil(2.5 * fwhm_z)) + 1
    part, origin = _part(model, (z, y, x), (depth, int(half[1]) + 1, int(half[0]) + 1))
    dy = (np.arange(part.shape[1]) + origin[1] - y)[:, None]
    dx = (np.arange(part.shape[2]) + origin[2] - x)[None, :]
    inverse = np.linalg.inv(cov)
    r2 = inverse[0, 0] * dx * dx + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy * dy
    peak = flux * float(np.sqrt(np.linalg.det(own) / np.linalg.det(cov)))
    profile = line_profile(np.arange(part.shape[0]) + origin[0], z, fwhm_z)
    part += (peak * profile[:, None, None] * np.exp(-0.5 * r2)).astype(np.float32)
    return peak


def _part(
    cube: NDArray, place: tuple[float, float, float], half: tuple[int, int, int]
) -> tuple[NDArray, list[int]]:
    """The part of a cube about a place, as a view, and the index of its first voxel."""
    slices = [
        slice(min(max(round(c) - h, 0), n), max(min(round(c) + h + 1, n), 0))
        for c, h, n in zip(place, half, cube.shape, strict=True)
    ]
    return cube[tuple(slices)], [s.start for s in slices]


def line_images(
    cube: Array, sources: Sequence[Source], shapes: tuple[Float, Float, Float], dilation: float
) -> Array:
    """Line emission images about the sources, ``[n, 64, 64]`` [unit of the cube times channels].

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``
    sources : sequence of Source
    shapes : tuple of array
        Major and minor FWHM [pixel] and position angle [deg], each ``[n]``.
    dilation : float
        Of the mask.
    """
    out = np.zeros((len(sources), SIZE, SIZE), dtype=np.float32)
    for i, (s, maj, minor, pa) in enumerate(zip(sources, *shapes)):
        near = crop(cube, s.y, s.x)
        middle = SIZE // 2
        x, y = s.x - round(s.x) + middle, s.y - round(s.y) + middle
        mask = source_mask(near.shape, x, y, s.z, maj, minor, pa, s.fwhm_z, dilation)
        course = continuum_of(box_spectrum(cube, s.box), s.lines)
        out[i] = line_image(near, mask, course.astype(np.float32))
    return out


def fluxes(images: Array, network: nn.Module, rms: float, device: str = "cpu") -> Float:
    """Line fluxes as received, ``[n]`` [Jy channel], of line images [Jy/beam channel] and the cube's rms."""
    if not len(images):
        return np.zeros(0)
    return flux_of(answers(images / np.float32(rms), network, device)[:, 0], rms)


def continuum_at(cube: Array, source: Source) -> float:
    """Mean of the channels without lines at a source's pixel [unit of the cube]; NaN where there are none."""
    n_chan, n_y, n_x = cube.shape
    y, x = int(np.clip(round(source.y), 0, n_y - 1)), int(np.clip(round(source.x), 0, n_x - 1))
    values = cube[line_free(n_chan, source.lines), y, x]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")
