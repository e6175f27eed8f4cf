"""Filters that denoise images without training, behind one function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.denoising.starlet import threshold_starlets
from faintsky.errors import InputError
from faintsky.published.filters.fft import cut_frequencies
from faintsky.published.filters.gaussian import smooth_gaussian

Array32 = NDArray[np.float32]


def _same(signal: Array32, known: NDArray[np.bool_], correlation: Any) -> Array32:
    """The input itself: what doing nothing is worth."""
    return signal


def _constant(signal: Array32, known: NDArray[np.bool_], correlation: Any) -> Array32:
    """The median everywhere: what knowing nothing is worth."""
    return np.full_like(signal, np.median(signal[known]))


def _threshold(signal: Array32, known: NDArray[np.bool_], correlation: Any, *, k: float) -> Array32:
    """What is brighter than ``k`` times the noise, as it is, and nothing elsewhere."""
    return np.where(signal > k, signal, np.float32(0))


FILTERS: dict[str, Any] = {
    "gaussian": smooth_gaussian,
    "fft": cut_frequencies,
    "starlet": threshold_starlets,
    "threshold": _threshold,
    "input": _same,
    "constant": _constant,
}
"""Functions of image over rms (0 where blank), known pixels, correlation of the noise, and their settings."""


def apply_filter(
    name: str,
    image: NDArray[np.floating],
    rms: float | NDArray[np.floating],
    *,
    correlation: NDArray[np.floating] | None = None,
    **settings: Any,
) -> Array32:
    """Denoise an image with one of `FILTERS`.

    Parameters
    ----------
    name : str
        Of the filter.
    image : array
        ``[y, x]``, in any unit; NaN is blank and stays so.
    rms : float or array
        Noise, in the same unit; ``[y, x]`` where it varies. Pixels without noise are left as they are.
    correlation : array, optional
        Of the noise between pixels, 1 at its middle, odd sides; white where not given.
    **settings
        Of the filter: see the functions in `FILTERS`.

    Returns
    -------
    array of float32
        ``[y, x]``, in the unit of the image.

    Raises
    ------
    InputError
        For an unknown name, or an image that does not have two axes.
    """
    if name not in FILTERS:
        raise InputError(f"no filter of the name {name!r}", f"known: {', '.join(FILTERS)}")
    data = np.asarray(image, dtype=np.float32)
    if data.ndim != 2:
        raise InputError(f"an image has 2 axes, not {data.ndim}", "give an array [y, x]")
    level = np.broadcast_to(np.asarray(rms, dtype=np.float32), data.shape)
    finite = np.isfinite(data)
    known = finite & (level > 0)
    if not known.any():
        return data.copy()
    scale = np.where(known, level, np.float32(1))
    signal = np.where(known, data, np.float32(0)) / scale
    made = FILTERS[name](signal, known, correlation, **settings) * scale
    return np.where(known, made, data).astype(np.float32)


def tuned_settings() -> dict[str, dict[str, dict[str, Any]]]:
    """Settings of each filter for each kind of image, fitted on validation fields, by filter and kind."""
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(
        (Path(__file__).parent / "tuned_filters.json").read_text(encoding="utf-8")
    )
    return found
