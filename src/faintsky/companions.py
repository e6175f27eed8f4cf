"""The maps that go with an image: psf, primary beam, noise, mask. What fits, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError

Array32 = NDArray[np.float32]


def check_companion(
    kind: str, cube: Array32, shape: Sequence[int], name: str, notes: list[str] | None = None
) -> Array32:
    """A companion ``[1 or chan, y, x]`` that fits data of ``shape``; a psf is centred, see `centred_psf`.

    Raises
    ------
    InputError
        Where its shape or its values cannot belong to the data.
    """
    planes_fit = cube.ndim == 3 and cube.shape[0] in (1, shape[0])
    same_shape = planes_fit and tuple(cube.shape[1:]) == tuple(shape[1:])
    if not (planes_fit and (same_shape or kind == "psf")):
        raise InputError(
            f"its shape {tuple(cube.shape)} does not fit the data's {tuple(shape)}",
            f"give a {kind} of the data's shape, with one plane or one a channel",
            name,
        )
    low, high = float(np.fmin.reduce(cube, axis=None)), float(np.fmax.reduce(cube, axis=None))
    if np.isnan(low) or low == high == 0:
        raise InputError(f"the {kind} is blank", f"give another {kind}", name)
    if kind == "psf":
        return centred_psf(cube, name, notes)
    if kind == "pb" and (low < -0.01 or high > 1.1):
        raise InputError(
            f"a primary beam lies between 0 and 1, this one between {low:.3g} and {high:.3g}",
            "give the power pattern, 1 at the pointing centre",
            name,
        )
    if kind == "rms" and low < 0:
        raise InputError("the noise map has negative values", "give standard deviations", name)
    return cube


def centred_psf(psf: Array32, name: str, notes: list[str] | None = None) -> Array32:
    """A psf ``[chan, y, x]`` with its peak of 1 at ``(n_y // 2, n_x // 2)``.

    It is cropped around the peak where that lies elsewhere; blank planes take the nearest good one,
    NaN become 0.

    Raises
    ------
    InputError
        Where a plane's peak is not 1 (to 2 %) or the planes peak at different pixels.
    """
    if not np.isfinite(psf).all():
        psf = np.nan_to_num(psf, nan=0.0, posinf=0.0, neginf=0.0)
    good = np.flatnonzero([plane.any() for plane in psf])
    if len(good) < len(psf):
        psf = psf[good[np.abs(np.arange(len(psf))[:, None] - good[None, :]).argmin(axis=1)]]
    peaks = psf.reshape(len(psf), -1).argmax(axis=1)
    values = psf.reshape(len(psf), -1).max(axis=1)
    if np.any(np.abs(values - 1) > 0.02) or len(set(peaks.tolist())) > 1:
        raise InputError(
            f"not a psf: its planes peak at {values.min():.3g} to {values.max():.3g}, on "
            f"{len(set(peaks.tolist()))} pixel(s)",
            "give the dirty beam, 1 at one central pixel",
            name,
        )
    n_y, n_x = psf.shape[1:]
    y, x = divmod(int(peaks[0]), n_x)
    if (y, x) == (n_y // 2, n_x // 2):
        return psf
    half_y, half_x = min(y, n_y - 1 - y), min(x, n_x - 1 - x)
    if min(half_y, half_x) < 4:
        raise InputError(f"the psf peaks at its edge, pixel ({x}, {y})", "give a whole psf", name)
    if notes is not None:
        notes.append(f"the psf peaks at pixel ({x}, {y}) and was cropped around it")
    return psf[:, y - half_y : y + half_y + 1, x - half_x : x + half_x + 1]
