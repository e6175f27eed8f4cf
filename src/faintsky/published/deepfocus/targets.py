"""What the ResNets are to give, and the way back to a source's parameters (fidelity page, R4 and R5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.grid import paper_frame_to_sky, sky_to_paper_frame

Float = NDArray[np.float64]

FLUX_UNIT = 100.0
"""Line fluxes, in units of the noise, are divided by this to be of order one."""
NARROWEST = 0.5
"""Least width that is believed [pixel]."""


def shape_targets(fwhm_maj: ArrayLike, fwhm_min: ArrayLike, pa: ArrayLike, degrees: bool = False) -> Float:
    """Targets ``[n, 4]``, or ``[n, 3]`` with the angle in degrees.

    Parameters
    ----------
    fwhm_maj, fwhm_min : array
        Intrinsic widths, ``[n]`` [pixel].
    pa : array
        Of the major axis, ``[n]`` [deg east of north].
    degrees : bool
        The papers' projection angle in [0, 90) instead of sine and cosine.

    Returns
    -------
    array
        The widths ``fwhm_x`` and ``fwhm_y`` of the papers' frame [pixel], then sine and cosine of twice the
        position angle.
    """
    maj, minor, angle = (np.asarray(v, dtype=float) for v in (fwhm_maj, fwhm_min, pa))
    wide_x, wide_y, turned = sky_to_paper_frame(maj, minor, angle)
    if degrees:
        return np.stack([wide_x, wide_y, turned], axis=-1)
    twice = 2 * np.deg2rad(angle)
    return np.stack([wide_x, wide_y, np.sin(twice), np.cos(twice)], axis=-1)


def shape_of(fwhm_x: ArrayLike, fwhm_y: ArrayLike, angle: ArrayLike) -> tuple[Float, Float, Float]:
    """Major and minor axis [pixel] and position angle [deg, 0-180) from the networks' answers.

    Parameters
    ----------
    fwhm_x, fwhm_y : array
        ``[n]`` [pixel]
    angle : array
        ``[n, 2]``, sine and cosine, or ``[n, 1]``, degrees; see `shape_targets`.
    """
    wide = np.maximum(np.asarray(fwhm_x, dtype=float), NARROWEST)
    high = np.maximum(np.asarray(fwhm_y, dtype=float), NARROWEST)
    answer = np.asarray(angle, dtype=float)
    if answer.shape[-1] == 1:
        return paper_frame_to_sky(wide, high, answer[..., 0])
    pa = np.mod(np.rad2deg(np.arctan2(answer[..., 0], answer[..., 1])) / 2, 180.0)
    return np.maximum(wide, high), np.minimum(wide, high), pa


def flux_target(flux: ArrayLike, rms: ArrayLike) -> Float:
    """Target of a line flux as received ``[n]`` [Jy channel], given the cube's rms [Jy/beam]."""
    return np.asarray(flux, dtype=float) / np.asarray(rms, dtype=float) / FLUX_UNIT


def flux_of(answer: ArrayLike, rms: ArrayLike) -> Float:
    """Line flux as received [Jy channel] from the network's answer; never negative."""
    return np.maximum(np.asarray(answer, dtype=float), 0.0) * np.asarray(rms, dtype=float) * FLUX_UNIT
