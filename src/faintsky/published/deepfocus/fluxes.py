"""Step vi: continuum and line images, and the line's flux (Section 4.4 vi, eq. 19)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from faintsky.cutouts import SIZE, box_spectrum, crop, line_image, source_mask
from faintsky.published.deepfocus.focusing import Source
from faintsky.published.deepfocus.shapes import answers
from faintsky.published.deepfocus.spectra import continuum_of, line_free
from faintsky.published.deepfocus.targets import flux_of

Array = NDArray[np.float32]
Float = NDArray[np.float64]


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
