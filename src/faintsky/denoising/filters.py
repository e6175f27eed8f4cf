"""Filters that denoise images without training, behind one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.registry import FILTERS

Array32 = NDArray[np.float32]


def apply_filter(
    which: str | Callable[..., Array32],
    image: NDArray[np.floating],
    rms: float | NDArray[np.floating],
    *,
    correlation: NDArray[np.floating] | None = None,
    **settings: Any,
) -> Array32:
    """Denoise an image with a filter.

    Parameters
    ----------
    which : str or callable
        A filter, or its name: one of `faintsky.registry.FILTERS`.
    image : array
        ``[y, x]``, in any unit; NaN is blank and stays so.
    rms : float or array
        Noise, in the same unit; ``[y, x]`` where it varies. Pixels without noise are left as they are.
    correlation : array, optional
        Of the noise between pixels, 1 at its middle, odd sides; white where not given.
    **settings
        Of the filter.

    Returns
    -------
    array of float32
        ``[y, x]``, in the unit of the image.

    Raises
    ------
    InputError
        For an unknown name, or an image that does not have two axes.
    """
    denoise = FILTERS[which] if isinstance(which, str) else which
    data = np.asarray(image, dtype=np.float32)
    if data.ndim != 2:
        raise InputError(f"an image has 2 axes, not {data.ndim}", "give an array [y, x]")
    level = np.broadcast_to(np.asarray(rms, dtype=np.float32), data.shape)
    known = np.isfinite(data) & (level > 0)
    if not known.any():
        return data.copy()
    scale = np.where(known, level, np.float32(1))
    signal = np.where(known, data, np.float32(0)) / scale
    return np.where(known, denoise(signal, known, correlation, **settings) * scale, data).astype(np.float32)
