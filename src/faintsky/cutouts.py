"""Spectra and small images about sources, cut in the same way for training and for prediction.

Delli Veneri et al. (2022), Sections 4.4 and 4.5. Blank voxels count as 0 everywhere here.
"""

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32, Bool, Index
from faintsky.grid import major_axis_direction

Box = tuple[int, int, int, int]

SIZE = 64
"""Pixels a side of the images about a source."""
DILATION = 1.5
"""Factor by which a source's mask is enlarged, because the dirty beam spreads its emission (step v)."""


def integrated(cube: Array32) -> Array32:
    """Sum over the channels ``[chan, y, x]`` that are not blank; NaN where all are, ``[y, x]``."""
    blank = np.isnan(cube)
    total: Array32 = np.where(blank, np.float32(0), cube).sum(axis=0, dtype=np.float32)
    total[blank.all(axis=0)] = np.nan
    return total


def box_spectrum(cube: Array32, box: Box) -> Array32:
    """Sum of the pixels of a box in every channel, ``[chan]``.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``
    box : tuple
        ``x_min, x_max, y_min, y_max``, both ends in it; what lies outside of the cube is left out.
    """
    x0, x1, y0, y1 = box
    part = cube[:, max(y0, 0) : max(y1 + 1, 0), max(x0, 0) : max(x1 + 1, 0)]
    return np.nan_to_num(part).sum(axis=(1, 2), dtype=np.float32)


def label_boxes(labels: NDArray[np.integer]) -> dict[int, tuple[slice, ...]]:
    """Where each label but 0 is, ``[chan, y, x]``; channel by channel, so that a file may hold the labels."""
    from scipy.ndimage import find_objects

    ends: dict[int, Index] = {}
    for k, plane in enumerate(labels):
        for number, box in enumerate(find_objects(np.ascontiguousarray(plane, np.int32)), start=1):
            if box is not None:
                here = np.array([[k, k + 1], *((s.start, s.stop) for s in box)], np.intp).T
                low, high = ends.get(number, here)
                ends[number] = np.stack([np.minimum(low, here[0]), np.maximum(high, here[1])])
    return {n: tuple(slice(int(a), int(b)) for a, b in pairs.T) for n, pairs in sorted(ends.items())}


def crop(array: Array32, y: float, x: float, size: int = SIZE) -> Array32:
    """Cut a square about a pixel out of the last two axes, padded with 0.

    Parameters
    ----------
    array : array
        ``[..., y, x]``; blank pixels become 0.
    y, x : float
        Centre [pixel]; rounded, it comes to ``size // 2`` on both axes.
    size : int, optional
        Side of the square [pixel].

    Returns
    -------
    array
        ``[..., size, size]``.
    """
    out = np.zeros((*array.shape[:-2], size, size), dtype=np.float32)
    y0, x0 = round(y) - size // 2, round(x) - size // 2
    n_y, n_x = array.shape[-2:]
    ys, xs = slice(max(y0, 0), min(y0 + size, n_y)), slice(max(x0, 0), min(x0 + size, n_x))
    if ys.start < ys.stop and xs.start < xs.stop:
        part = np.nan_to_num(array[..., ys, xs])
        out[..., ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0] = part
    return out


def channel_range(z_min: float, z_max: float, n_chan: int) -> slice:
    """Channels whose centres lie within a range, at least one.

    Parameters
    ----------
    z_min, z_max : float
        Ends of the range [channel].
    n_chan : int
        Channels of the cube.

    Returns
    -------
    slice
    """
    first = int(np.clip(np.ceil(z_min), 0, n_chan - 1))
    last = int(np.clip(np.floor(z_max), first, n_chan - 1))
    return slice(first, last + 1)


def focus(cube: Array32, y: float, x: float, z_min: float, z_max: float, size: int = SIZE) -> Array32:
    """Spectrally focused image: a range of channels summed about a position.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``
    y, x : float
        Centre [pixel].
    z_min, z_max : float
        Range of channels.
    size : int, optional
        Side of the image [pixel].

    Returns
    -------
    array
        ``[size, size]`` [unit of the cube times channels].
    """
    return crop(cube[channel_range(z_min, z_max, len(cube))], y, x, size).sum(axis=0)


def source_mask(
    shape: tuple[int, int, int], x: float, y: float, z: float, fwhm_maj: float, fwhm_min: float, pa: float,
    fwhm_z: float, dilation: float = DILATION,
) -> Bool:  # fmt: skip
    """Voxels of a source's three-dimensional Gaussian.

    They fill the ellipsoid whose half-axes are the widths times `dilation`: along frequency this is the range
    of 2 FWHM of step ii.

    Parameters
    ----------
    shape : tuple of int
        ``(chan, y, x)`` of the mask.
    x, y, z : float
        Centre [pixel], [channel].
    fwhm_maj, fwhm_min : float
        Widths [pixel].
    pa : float
        Position angle [deg], from +y toward -x.
    fwhm_z : float
        Width [channel].
    dilation : float, optional
        Factor on the widths.

    Returns
    -------
    array of bool
        ``[chan, y, x]``
    """
    n_z, n_y, n_x = shape
    dz = (np.arange(n_z) - z)[:, None, None] / max(fwhm_z * dilation, 0.5)
    dy, dx = (np.arange(n_y) - y)[:, None], (np.arange(n_x) - x)[None, :]
    ux, uy = major_axis_direction(pa)
    along = (dx * ux + dy * uy) / max(fwhm_maj * dilation, 0.5)
    across = (dy * ux - dx * uy) / max(fwhm_min * dilation, 0.5)
    mask: Bool = dz**2 + (along**2 + across**2)[None] <= 1
    return mask


def line_image(cube: Array32, mask: Bool, spectrum: Array32) -> Array32:
    """The line's image without continuum, eq. 19, ``[y, x]`` [unit of the cube times channels].

    Parameters
    ----------
    cube : array
        ``[chan, y, x]`` about the source.
    mask : array of bool
        The source's voxels, `source_mask`.
    spectrum : array
        Spectrum of the source, ``[chan]``: its line-free channels give the continuum's shape with frequency,
        f(z).

    Returns
    -------
    array
        Sum over the masked channels of cube less f(z) times the mean image of the channels that have none.
    """
    cube = np.nan_to_num(cube)
    inside = mask.any(axis=(1, 2))
    if not inside.any():
        return np.zeros(cube.shape[1:], dtype=np.float32)
    if inside.all():
        return (cube * mask).sum(axis=0)
    channels = np.arange(len(cube))
    free = channels[~inside]
    slope, level = np.polyfit(free, spectrum[free], 1) if len(free) > 1 else (0.0, 1.0)
    mean = level + slope * free.mean()
    # without continuum there is no shape to fit
    steady = abs(mean) <= 1e-3 * float(np.abs(spectrum).max())
    course = np.ones(len(cube)) if steady else np.clip((level + slope * channels) / mean, 0.5, 2.0)
    continuum = cube[free].mean(axis=0)
    lines = cube[inside] - course[inside, None, None].astype(np.float32) * continuum
    return (lines * mask[inside]).sum(axis=0)
