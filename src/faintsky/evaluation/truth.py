"""True sources of a cube for the evaluation: boxes, matched S/N, neighbours and bounds.

Boxes of truth and predictions follow the same rule, so that scores do not depend on a method's own
convention. It is one of `faintsky.simulating.BOX_RULES` (fidelity page, S7), applied to the source's own
noise-free image. Along frequency a box is always the line's centre plus and minus its FWHM, in real-valued
channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike

from faintsky.arrays import Float, Index
from faintsky.errors import InputError
from faintsky.evaluation.bounds import PARAMETERS, TrueLine, cramer_rao, spectral_derivatives
from faintsky.grid import SPEED_OF_LIGHT, ImageGrid
from faintsky.image import SHAPE, RadioCube
from faintsky.matching import box_extents, column
from faintsky.simulating import BOX_RULES, box
from faintsky.sky import NARROW, gaussian_image
from faintsky.source_model import matched_norm, matched_snr, psf_transform

BOX = ("x_min", "x_max", "y_min", "y_max")


@dataclass(frozen=True)
class Setting:
    """Properties of a cube that the evaluation needs, common to true and found tables.

    Parameters
    ----------
    shape : tuple of int
        ``(n_chan, n_y, n_x)``.
    cell : float
        Side of a pixel [arcsec].
    beam : float
        FWHM of the synthesised beam, major axis [pixel].
    sigma : list of float
        Noise of the dirty image in each channel, ``[chan]`` [Jy/beam].
    box_rule : str
        ``paper`` or ``tenth``.
    """

    shape: tuple[int, int, int]
    cell: float
    beam: float
    sigma: list[float]
    box_rule: str = "paper"

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Setting:
        """The setting in the metadata of a table of `prepared_truth`."""
        n_chan, n_y, n_x = (int(n) for n in meta["shape"])
        sigma = [float(s) for s in meta["sigma"]]
        return cls((n_chan, n_y, n_x), float(meta["cell"]), float(meta["beam"]), sigma, meta["box_rule"])

    @classmethod
    def for_cube(cls, cube: RadioCube, truth: Table, box_rule: str | None = None) -> Setting:
        """Noise and box rule from the truth's metadata; otherwise measured noise and ``paper``.

        Parameters
        ----------
        cube : RadioCube
            With a beam.
        truth : Table
            Its ``meta`` may hold ``noise_jy_per_beam`` (a number, or one per channel) and ``box_rule``.
        box_rule : str, optional
            Takes precedence.

        Returns
        -------
        Setting

        Raises
        ------
        InputError
            If the cube has no beam, or the rule is unknown.
        """
        given = truth.meta.get("noise_jy_per_beam")
        sigma = noise_of(cube.data) if given is None else np.broadcast_to(given, cube.shape[:1])
        beam = float(np.nanmedian(np.asarray(cube.require_beam())[:, 0])) / cube.grid.cell
        wanted = box_rule or truth.meta.get("box_rule") or "paper"
        rule = next((k for k, about in BOX_RULES.items() if wanted in (k, about)), None)
        if rule is None:
            raise InputError(f"unknown box rule {wanted!r}", f"use one of {', '.join(BOX_RULES)}")
        n_chan, n_y, n_x = cube.shape
        return cls((n_chan, n_y, n_x), cube.grid.cell, beam, [float(s) for s in sigma], rule)


def noise_of(data: ArrayLike) -> Float:
    """Robust noise of every channel from the cube itself, ``[chan]``; NaN for blank channels.

    It is the median absolute deviation of differences of neighbouring channels, which is insensitive to
    continuum and to the few pixels with a line. It is used if the data set's record has no noise.
    """
    cube = np.asarray(data, dtype=np.float32)
    sigma = np.full(len(cube), np.nan)
    for k in range(len(cube)):
        step = cube[k] - cube[k - 1 if k else min(1, len(cube) - 1)]
        step = step[np.isfinite(step)]
        if len(step) and np.any(step != 0):
            sigma[k] = 1.4826 * np.median(np.abs(step)) / np.sqrt(2)
    return sigma


def gaussian_box(
    x: float, y: float, maj: float, minor: float, pa: float, shape: tuple[int, int], rule: str = "paper"
) -> tuple[int, int, int, int]:
    """Box of an elliptical Gaussian in an image ``(n_y, n_x)``, by one of the rules.

    Parameters
    ----------
    x, y : float
        Centre [pixel]; outside the image, the box is that of the nearest pixel.
    maj, minor, pa : float
        FWHM [pixel, pixel], angle [deg east of north]; a width of 0 or NaN is a point.
    shape : tuple of int
        Shape of the image, on which the ``paper`` rule depends.
    rule : str, optional
        One of `BOX_RULES`.

    Returns
    -------
    x_min, x_max, y_min, y_max : int
        Both ends inside the box.
    """
    # the paper's sources are all wider; the lobes of a narrow one would make its box too large
    least = NARROW if rule == "paper" else -np.inf
    maj, minor = (max(float(np.nan_to_num(w)), least) for w in (maj, minor))
    far = max(-x, x - shape[1], -y, y - shape[0]) > 3 * maj + 24
    turned = float(np.nan_to_num(pa))
    image = (
        np.zeros(1, np.float32) if far else gaussian_image(ImageGrid(*shape, 1.0), x, y, maj, minor, turned)
    )
    if image.max() > 0:
        return box(image, rule)
    nearest = [round(np.clip(v, 0, n - 1)) for v, n in ((x, shape[1]), (y, shape[0]))]
    return nearest[0], nearest[0], nearest[1], nearest[1]


def with_boxes(table: Table, setting: Setting, *, keep_image_box: bool = False) -> Table:
    """A copy of a catalogue with the boxes of its own positions and shapes.

    Parameters
    ----------
    table : Table
        With ``x``, ``y``, ``z`` [pixel, pixel, channel], ``dc_maj``, ``dc_min`` [arcsec], ``dc_pa`` [deg]
        and ``fwhm_z`` [channel].
    setting : Setting
        Properties of the cube.
    keep_image_box : bool, optional
        Keep ``x_min ... y_max`` if the table has them, as in truths of simulations.

    Returns
    -------
    Table
        Rows without a finite position have boxes of NaN.
    """
    out = table.copy()
    x, y, z, width = (column(table, name) for name in ("x", "y", "z", "fwhm_z"))
    boxes, kept = np.full((len(table), 4), np.nan), np.zeros(len(table), dtype=bool)
    if keep_image_box and all(name in table.colnames for name in BOX):
        boxes = np.stack([column(table, name) for name in BOX], axis=1)
        kept = np.asarray((boxes >= 0).all(axis=1))  # a missing pixel is -1
    maj, minor, pa = (column(table, name) for name in SHAPE)
    for i in np.flatnonzero(np.isfinite(x) & np.isfinite(y) & ~kept):
        shape = (maj[i] / setting.cell, minor[i] / setting.cell, pa[i])
        boxes[i] = gaussian_box(x[i], y[i], *shape, setting.shape[1:], setting.box_rule)
    for k, name in enumerate(BOX):
        out[name] = boxes[:, k]
    out["z_min"], out["z_max"] = z - width, z + width
    return out


def judged_boxes(table: Table, setting: Setting) -> Table:
    """The detections with the boxes by which they are scored.

    These are the method's own boxes if it detects islands of pixels (``meta["own_boxes"]``). Otherwise boxes
    are computed by the data set's rule from positions and widths, if there are any.
    """
    if not len(table) or table.meta.get("own_boxes") or "dc_maj" not in table.colnames:
        return table
    return with_boxes(table, setting)


def neighbour_groups(truth: Table, beam: float) -> Index:
    """Group number of each true source, ``[n]``; sources of one group may disturb each other.

    Two sources are neighbours if their boxes in the image are closer than one beam *and* their boxes along
    frequency (line centre ± FWHM) overlap. Sources on one line of sight at separate frequencies are not
    neighbours, because their continuum is smooth and subtracted. Neighbours of neighbours share a group.

    Parameters
    ----------
    truth : Table
        A catalogue with boxes; see `faintsky.matching`.
    beam : float
        FWHM of the synthesised beam, major axis [pixel].
    """
    from scipy.sparse.csgraph import connected_components

    if not len(truth):
        return np.zeros(0, dtype=np.intp)
    edges, near = box_extents(truth), np.ones((len(truth),) * 2, dtype=bool)
    for lo, hi, apart in zip(edges[::2], edges[1::2], (beam, beam, 0.0), strict=True):
        near &= (lo[:, None] < hi[None, :] + apart) & (lo[None, :] < hi[:, None] + apart)
    return connected_components(near, directed=False)[1].astype(np.intp)


def velocity_per_channel(truth: Table, cube: RadioCube) -> Float:
    """Width of a channel at each true source [km/s], from the table's own widths or from the frequency."""
    width = float(np.median(cube.channel_widths()))
    by_frequency = SPEED_OF_LIGHT / 1e3 * width / cube.frequency(column(truth, "z"))
    if "fwhm_velocity" not in truth.colnames:
        return by_frequency
    ratio = column(truth, "fwhm_velocity") / column(truth, "fwhm_z")
    return np.where(np.isfinite(ratio) & (ratio > 0), ratio, by_frequency)


def received_lines(truth: Table, cube: RadioCube, transfer: Float) -> list[TrueLine]:
    """The true sources as received: attenuated by the primary beam, fluxes in Jy times channels.

    Parameters
    ----------
    truth : Table
        Catalogue of the cube.
    cube : RadioCube
        Gives cell and channels.
    transfer : array
        `faintsky.source_model.psf_transform` of its psf, to convert the continuum's peak from Jy/beam to Jy.

    Returns
    -------
    list of TrueLine
    """
    pb = column(truth, "pb") if "pb" in truth.colnames else np.ones(len(truth))
    pb = np.where(np.isfinite(pb), pb, 1.0)
    sky_shape = (column(truth, name) for name in SHAPE)
    shape = cube.frame(column(truth, "x"), column(truth, "y")).to_pixels(*sky_shape)
    flux = column(truth, "flux") / velocity_per_channel(truth, cube) * pb
    own = np.zeros(len(truth))
    if "continuum_flux" in truth.colnames:
        own = column(truth, "continuum_flux")
    elif "continuum" in truth.colnames:
        # a Gaussian's norm under the psf equals its peak if both widths are divided by sqrt(2)
        widths = zip(shape[0] / np.sqrt(2), shape[1] / np.sqrt(2), shape[2])
        own = column(truth, "continuum") / [matched_norm(transfer, cube.shape[2], *w) for w in widths]
    names = ("x", "y", "dc_maj", "dc_min", "dc_pa", "z", "fwhm_z", "flux", "continuum")
    place = [column(truth, name) for name in ("x", "y", "z", "fwhm_z")]
    rows = zip(*place[:2], *shape, *place[2:], flux, np.nan_to_num(own) * pb, strict=True)
    return [TrueLine(**dict(zip(names, map(float, row)))) for row in rows]


def _add_bounds(
    table: Table, lines: Sequence[TrueLine], groups: Index, transfer: Float, setting: Setting
) -> None:
    """Add columns ``NAME_bound`` and ``NAME_bound_shared`` in the units of the residuals, in place."""
    n_chan, _, n_x = setting.shape
    for continuum, suffix in (("free", "_bound"), ("shared", "_bound_shared")):
        bounds = np.full((len(table), len(PARAMETERS)), np.nan)
        for group in np.unique(groups):
            members = np.flatnonzero(groups == group)
            found = cramer_rao(
                [lines[int(i)] for i in members], transfer, n_x, setting.sigma, n_chan, continuum
            )
            bounds[members] = [list(bound.values()) for bound in found]
        for name, values in zip(PARAMETERS, bounds.T, strict=True):
            unit = setting.cell if name in ("dc_maj", "dc_min") else 1.0
            flux = np.array([abs(line.flux) for line in lines])
            table[name + suffix] = values / flux if name == "flux" else values * unit


def prepared_truth(truth: Table, cube: RadioCube, setting: Setting) -> Table:
    """The truth of a cube with all columns that the evaluation needs.

    Parameters
    ----------
    truth : Table
        Catalogue of the cube's true sources.
    cube : RadioCube
        The cube; its psf is needed for bounds and matched S/N.
    setting : Setting
        Properties of the cube.

    Returns
    -------
    Table
        A copy with boxes (along x and y the simulator's, if given), ``snr`` (the simulator's, or the matched
        S/N from psf and noise), ``isolated``, and the Cramér-Rao bound of every parameter, in the units of
        `faintsky.evaluation.catalogs.UNITS`: ``NAME_bound`` for an unknown continuum in every pixel, and
        ``NAME_bound_shared`` for one with the source's shape. Neighbours are bounded together. ``meta`` holds
        the setting.
    """
    out = with_boxes(truth, setting, keep_image_box=True)
    out.meta = dict(truth.meta) | setting.__dict__ | {"shape": list(setting.shape)}
    groups = neighbour_groups(out, setting.beam)
    out["isolated"] = np.bincount(groups, minlength=1)[groups] == 1
    if not len(out):
        out["snr"] = np.zeros(0)
        for name in PARAMETERS:
            out[f"{name}_bound"] = out[f"{name}_bound_shared"] = np.zeros(0)
        return out
    out["fwhm_velocity"] = velocity_per_channel(out, cube) * column(out, "fwhm_z")
    if cube.psf is None:
        return out
    transfer, n_x = psf_transform(cube.psf[len(cube.psf) // 2]), setting.shape[2]
    lines, sigma = received_lines(out, cube, transfer), np.array(setting.sigma)
    sigma = np.where(np.isfinite(sigma) & (sigma > 0), sigma, np.inf)
    spectra = [s.flux * spectral_derivatives(s, setting.shape[0])[0] for s in lines]
    own = [
        matched_snr(spectrum, sigma, transfer, n_x, s.dc_maj, s.dc_min, s.dc_pa)
        for s, spectrum in zip(lines, spectra, strict=True)
    ]
    given = column(out, "snr") if "snr" in out.colnames else np.full(len(out), np.nan)
    out["snr"] = np.where(np.isfinite(given), given, own)
    _add_bounds(out, lines, groups, transfer, setting)
    return out
