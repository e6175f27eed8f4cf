"""Synthesised beams: arrays ``[chan, 3]`` of major and minor axis [arcsec] and position angle [deg]."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from faintsky.arrays import Float
from faintsky.errors import InputError
from faintsky.grid import FWHM_PER_SIGMA, major_axis_direction
from faintsky.units import quantity


def given_beam(value: Any) -> Float:
    """Beams ``[1 or chan, 3]`` that a user gives: numbers in arcsec, arcsec and deg, quantities, or text.

    Parameters
    ----------
    value : array, sequence, str or radio_beam.Beam
        ``[3]`` or ``[chan, 3]``; text as ``"6arcsec,6arcsec,0deg"``, each with its unit.

    Raises
    ------
    InputError
        Where a single beam is invalid; several are checked by `normalise_beams`.
    """
    if hasattr(value, "major") and hasattr(value, "pa"):
        value = (value.major, value.minor, value.pa)
    parts = value.split(",") if isinstance(value, str) else value
    if len(parts) and np.ndim(parts[0]) == 1:
        return np.asarray(parts, dtype=float)
    hint = "give such as --beam 6arcsec,6arcsec,0deg"
    if len(parts) != 3:
        raise InputError(f"a beam has 3 values, not {len(parts)}", hint)
    # numbers are in arcsec, but for the position angle
    pa = parts[2] * 3600 if isinstance(parts[2], int | float | np.number) else parts[2]
    major, minor, pa = (quantity(v, "angle", "--beam") for v in (*parts[:2], pa))
    if not (np.isfinite([major, pa]).all() and 0 < minor <= major):
        raise InputError("a beam is major axis, minor axis (above 0) and position angle", hint)
    return np.array([[major, minor, pa / 3600]])


def channel_beams(table: Float, n_chan: int, plane: int) -> tuple[Float | None, list[str]]:
    """Beams of every channel from the rows of a beams table, and notes.

    Parameters
    ----------
    table : array, ``[row, 5]``
        Major [arcsec], minor [arcsec], position angle [deg], channel and Stokes plane, from 0; NaN where the
        table has no value. Channels may be in any order.
    n_chan, plane : int
        Channels of the data, and the Stokes plane that is used.

    Returns
    -------
    beams : array, ``[chan, 3]`` or ``[1, 3]``, or None
        NaN for missing channels. If the table is for other channels, the beam of median area.
    notes : list of str
    """
    of_plane = table[table[:, 4] == plane]
    rows = of_plane if len(of_plane) else table[~(table[:, 4] > np.nanmin(table[:, 4], initial=np.inf))]
    channels = rows[:, 3]
    if not np.isfinite(channels).all():
        channels = np.arange(len(rows), dtype=float)
        fits = len(rows) in (1, n_chan)
    else:
        first = channels.min()
        whole = len(rows) == n_chan and np.array_equal(np.sort(channels), first + np.arange(n_chan))
        if whole or (first == 1 and channels.max() == n_chan):  # a part of a cube, or counted from 1
            channels = channels - first
        fits = channels.max() < n_chan and channels.min() >= 0
    if len(rows) == 1:
        return rows[:, :3], []
    if not fits:
        good = rows[np.isfinite(rows[:, 0]) & (rows[:, 0] > 0)]
        middle = good[np.argsort(good[:, 0] * good[:, 1])[len(good) // 2]][None, :3] if len(good) else None
        return middle, [f"the beams table does not fit the {n_chan} channels: its median beam is used"]
    beams = np.full((n_chan, 3), np.nan)
    beams[channels.astype(int)] = rows[:, :3]
    return beams, []


IMPOSSIBLE = "the beam is impossible"
"""How the note begins where no beam can be used."""


def normalise_beams(
    raw: ArrayLike, *, largest: float = np.inf, smallest: float = 0.0
) -> tuple[Float | None, list[str]]:
    """Beams that can be used, and what had to be corrected.

    A beam is impossible where an axis is not a positive number, the minor axis exceeds the major, or its size
    is out of the bounds given; CASA writes zeros for flagged channels. Impossible beams take the value of the
    nearest good channel. Position angles are brought to [0, 180).

    Parameters
    ----------
    raw : array
        ``[chan, 3]`` or ``[3]``: major [arcsec], minor [arcsec], position angle [deg east of north].
    largest, smallest : float, optional
        Bounds of the major axis [arcsec], beyond which a beam cannot be this image's.

    Returns
    -------
    beams : array, ``[chan, 3]``, or None
        None where every beam is impossible.
    notes : list of str
        What was changed, in words.
    """
    beams = np.array(raw, dtype=float).reshape(-1, 3)
    major, minor, pa = beams.T
    round_beam = np.isclose(major, minor)
    beams[:, 2] = pa = np.where(~np.isfinite(pa) & round_beam, 0.0, pa)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(beams).all(axis=1) & (minor > 0) & (minor <= major * (1 + 1e-6))
        good &= (major <= largest) & (major >= smallest)
    if not good.any():
        shown = ", ".join(f"{v:.4g}" for v in beams[0])
        return None, [f"{IMPOSSIBLE} (major, minor [arcsec], PA [deg]: {shown})"]
    notes = []
    if not good.all():
        index = np.arange(len(beams))
        known = index[good]
        nearest = known[np.abs(index[:, None] - known[None, :]).argmin(axis=1)]
        beams = beams[nearest]
        notes.append(
            f"{int((~good).sum())} of {len(good)} beams are missing or impossible: replaced by the nearest "
            "channel's"
        )
    wrapped = np.mod(beams[:, 2], 180.0)
    wrapped[wrapped >= 180.0] = 0.0  # the remainder of a tiny negative angle rounds to 180 itself
    if np.any(np.abs(beams[:, 2]) > 180.0):
        notes.append("beam position angles out of range: taken modulo 180 deg")
    beams[:, 2] = wrapped
    return beams, notes


def beam_pixels(beams: ArrayLike, cell: float) -> Float:
    """Area of each beam in pixels, ``[chan]``: ``pi / (4 ln 2) * major * minor / cell**2``.

    Parameters
    ----------
    beams : array
        ``[chan, 3]`` or ``[3]``, axes in arcsec.
    cell : float
        Side of a pixel [arcsec].
    """
    b = np.asarray(beams, dtype=float).reshape(-1, 3)
    return np.pi / (4 * np.log(2)) * b[:, 0] * b[:, 1] / cell**2


NARROW = 1.5
"""FWHM [pixel] below which the sum of a beam's samples differs from its area (by 0.1 % at this width)."""


def sampled_area(beams: ArrayLike, cell: float) -> Float:
    """Sum of each beam's samples, with its peak at the centre of a pixel, ``[chan]``.

    A sum over pixels [Jy/beam] divided by it is a flux [Jy]. It equals `beam_pixels` except for beams
    narrower than `NARROW` pixels; for a beam far narrower than a pixel it is 1, because a point then fills
    one pixel.
    """
    area = beam_pixels(beams, cell)
    b = np.asarray(beams, dtype=float).reshape(-1, 3)
    for k in np.flatnonzero(b[:, 1] < NARROW * cell):
        area[k] = _sum_of_samples(b[k] / (cell, cell, 1), 0.0, 0.0)
    return np.asarray(area)


def sampling_errors(beam: tuple[float, float, float]) -> tuple[float, float]:
    """Errors of a point source that arise because the image is sampled at pixel centres.

    Parameters
    ----------
    beam : tuple of float
        Major, minor FWHM [pixel] and position angle [deg].

    Returns
    -------
    sum : float
        Relative error of a sum over pixels, 0 for beams of `NARROW` pixels and more. Away from a pixel's
        centre a narrower beam sums to less than `sampled_area`. The error is the scatter of
        ``true / measured - 1`` over positions in a pixel, weighted by the measured flux. At its largest
        value, 1, fluxes are lower limits.
    alias : float
        Fourier transform of the beam at the Nyquist frequency, to which higher frequencies are aliased. As
        measured for points and beams of 0.8 to 2 pixels, ``alias / 2`` is about the relative error of fluxes
        fitted with a shifted beam, ``alias / sqrt(12)`` that of positions, and ``2 * sqrt(alias)`` that of
        sizes [pixel].
    """
    alias = float(np.exp(-0.5 * (np.pi * beam[1] / FWHM_PER_SIGMA) ** 2))
    if beam[1] >= NARROW:
        return 0.0, alias
    places = (np.arange(8) + 0.5) / 8 - 0.5
    sums = np.array([_sum_of_samples(np.array(beam), x, y) for x in places for y in places])
    missed = (_sum_of_samples(np.array(beam), 0.0, 0.0) - sums) ** 2 / np.maximum(sums, 1e-3)
    return (min(float(np.sqrt(missed.sum() / sums.sum())), 1.0) if sums.any() else 1.0), alias


def _sum_of_samples(beam: Float, x0: float, y0: float) -> float:
    """Sum of a beam's samples, its peak at ``(x0, y0)``; FWHMs and position in pixels."""
    half = int(2 * beam[0]) + 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    dx, dy = major_axis_direction(beam[2])
    x, y = x - x0, y - y0
    radius = ((x * dx + y * dy) / beam[0]) ** 2 + ((y * dx - x * dy) / beam[1]) ** 2
    return float(np.exp(-4 * np.log(2) * radius).sum())


def beam_covariance(beam: tuple[float, float, float]) -> Float:
    """Second moments of a Gaussian beam in (x, y) [pixel**2]."""
    dx, dy = major_axis_direction(beam[2])
    rotation = np.array([[dx, -dy], [dy, dx]])
    return rotation @ np.diag([(beam[0] / FWHM_PER_SIGMA) ** 2, (beam[1] / FWHM_PER_SIGMA) ** 2]) @ rotation.T


def convolved(
    fwhm_maj: ArrayLike, fwhm_min: ArrayLike, pa: ArrayLike, beam: ArrayLike, sign: float = 1.0
) -> tuple[Float, Float, Float]:
    """Widths and position angle of Gaussians convolved with a beam: the second moments add.

    `radio_beam.Beam.convolve` and ``deconvolve`` do the same for one Gaussian at a time.

    Parameters
    ----------
    fwhm_maj, fwhm_min, pa : array
        Widths [unit of the beam] and position angles [deg east of north].
    beam : array
        ``[3]``, or ``[n, 3]`` with one for each: major, minor, position angle [deg].
    sign : float
        -1 deconvolves instead; an axis narrower than the beam becomes 0.

    Returns
    -------
    fwhm_maj, fwhm_min, pa : array
        Observed, or intrinsic; position angles in [0, 180).
    """
    b = np.asarray(beam, dtype=float)
    pairs = zip(_moments(fwhm_maj, fwhm_min, pa), _moments(b[..., 0], b[..., 1], b[..., 2]), strict=True)
    total, cos, sin = (own + sign * beams for own, beams in pairs)
    split = np.hypot(cos, sin)
    angle = np.mod(np.rad2deg(np.arctan2(sin, cos)) / 2, 180.0)
    return np.sqrt(np.maximum(total + split, 0) / 2), np.sqrt(np.maximum(total - split, 0) / 2), angle


def _moments(major: ArrayLike, minor: ArrayLike, pa: ArrayLike) -> list[Float]:
    """Sum of the squared axes, and their difference times cosine and sine of twice the angle."""
    a2, b2 = np.asarray(major, dtype=float) ** 2, np.asarray(minor, dtype=float) ** 2
    twice = 2 * np.deg2rad(np.asarray(pa, dtype=float))
    return [a2 + b2, (a2 - b2) * np.cos(twice), (a2 - b2) * np.sin(twice)]


SIZES = ("fwhm_maj", "fwhm_min", "pa")
"""Columns of an ellipse as observed; ``dc_maj``, ``dc_min`` and ``dc_pa`` are those without the beam."""


def observed_sizes(intrinsic: Mapping[str, ArrayLike], beam: ArrayLike) -> dict[str, Float]:
    """Catalogue columns of observed sizes, from those of intrinsic sizes.

    Parameters
    ----------
    intrinsic : mapping
        ``dc_maj``, ``dc_min``, ``dc_pa``, and their errors where they are known.
    beam : array
        ``[3]``, or ``[n, 3]`` with one for each, in the same units.

    Returns
    -------
    dict
        ``fwhm_maj``, ``fwhm_min`` and ``pa``. Given errors, also theirs, to first order, and ``dc_maj_max``,
        the 95 % upper limit of ``dc_maj`` if that is not resolved.
    """
    dc = {k: np.asarray(v, dtype=float) for k, v in intrinsic.items() if k.startswith("dc_")}
    major, minor, angle = (dc[f"dc_{k}"] for k in ("maj", "min", "pa"))
    out = dict(zip(SIZES, convolved(major, minor, angle, beam)))
    if "dc_pa_err" not in dc:
        return out
    # errors of the squared axes; an axis of size 0 is known to be below its error
    a2_err, b2_err = (
        2 * np.maximum(v, e) * e for v, e in ((major, dc["dc_maj_err"]), (minor, dc["dc_min_err"]))
    )
    turn = 2 * np.deg2rad(angle - out["pa"])
    turned = (major**2 - minor**2) * np.deg2rad(dc["dc_pa_err"])
    along, across = (1 + np.cos(turn)) / 2, (1 - np.cos(turn)) / 2
    for name, one, other in (("fwhm_maj", along, across), ("fwhm_min", across, along)):
        parts = [one * a2_err, other * b2_err, turned * np.sin(turn)]
        out[f"{name}_err"] = np.linalg.norm(parts, axis=0) / (2 * np.maximum(out[name], 1e-12))
    parts = [np.sin(turn) * a2_err / 2, np.sin(turn) * b2_err / 2, turned * np.cos(turn)]
    split = np.maximum(out["fwhm_maj"] ** 2 - out["fwhm_min"] ** 2, 1e-12)
    out["pa_err"] = np.minimum(np.rad2deg(np.linalg.norm(parts, axis=0) / split), 90.0)
    out["dc_maj_max"] = np.sqrt(major**2 + 1.645 * a2_err)
    return out
