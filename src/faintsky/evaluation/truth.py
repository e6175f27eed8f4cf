"""What the evaluation knows of every true source of a cube: its boxes, matched S/N, neighbours and bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.evaluation.boxes import rule_name, with_boxes
from faintsky.evaluation.cramer_rao import PARAMETERS, Line, cramer_rao, spectral_derivatives
from faintsky.evaluation.metrics import blendedness, isolated, neighbour_groups
from faintsky.grid import SPEED_OF_LIGHT
from faintsky.image import SHAPE
from faintsky.matching import box_extents, column
from faintsky.source_model import matched_norm, matched_snr, psf_transform

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.image import RadioCube

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """What the evaluation needs of a cube besides its data; everything that true and found tables share.

    Parameters
    ----------
    shape : tuple of int
        ``(n_chan, n_y, n_x)``.
    cell : float
        Side of a pixel [arcsec].
    beam : float
        FWHM of the synthesised beam, major axis [pixel].
    sigma : array
        Noise of the dirty image in each channel, ``[chan]`` [Jy/beam].
    box_rule : str
        One of `faintsky.evaluation.boxes.RULES`.
    """

    shape: tuple[int, int, int]
    cell: float
    beam: float
    sigma: Float
    box_rule: str = "paper"

    def as_meta(self) -> dict[str, Any]:
        """For a table's metadata; `setting_of` reads it back."""
        return {
            "shape": list(self.shape),
            "cell": self.cell,
            "beam": self.beam,
            "sigma": [float(s) for s in self.sigma],
            "box_rule": self.box_rule,
        }


def setting_of(meta: Mapping[str, Any]) -> Setting:
    """The setting in the metadata of a table that `prepared_truth` made."""
    n_chan, n_y, n_x = (int(n) for n in meta["shape"])
    return Setting(
        (n_chan, n_y, n_x),
        float(meta["cell"]),
        float(meta["beam"]),
        np.array(meta["sigma"]),
        meta["box_rule"],
    )


def noise_of(data: ArrayLike) -> Float:
    """Robust noise of every channel from the cube itself, ``[chan]``; NaN for a blank one.

    From the differences of neighbouring channels, so that continuum does not count, by the median absolute
    deviation, so that the few pixels with a line do not either. Used where the data set does not say.
    """
    cube = np.asarray(data, dtype=np.float32)
    sigma = np.full(len(cube), np.nan)
    for k in range(len(cube)):
        other = k - 1 if k else min(1, len(cube) - 1)
        step = cube[k] - cube[other]
        step = step[np.isfinite(step)]
        if len(step) and np.any(step != 0):
            sigma[k] = 1.4826 * np.median(np.abs(step)) / np.sqrt(2)
    return sigma


def setting_for(cube: RadioCube, truth: Table, box_rule: str | None = None) -> Setting:
    """Setting of a cube: noise and box rule as the truth's metadata say them, else measured and ``paper``.

    Parameters
    ----------
    cube : RadioCube
        With a beam.
    truth : Table
        Of its ``meta``, ``noise_jy_per_beam`` (a number, or one a channel) and ``box_rule`` are used.
    box_rule : str, optional
        Takes precedence.

    Raises
    ------
    InputError
        The cube has no beam.
    """
    n_chan, n_y, n_x = cube.shape
    given = truth.meta.get("noise_jy_per_beam")
    sigma = (
        noise_of(cube.data) if given is None else np.broadcast_to(np.asarray(given, dtype=float), (n_chan,))
    )
    beam = float(np.nanmedian(np.asarray(cube.require_beam())[:, 0]))
    rule = rule_name(box_rule or truth.meta.get("box_rule"))
    return Setting((n_chan, n_y, n_x), cube.grid.cell, beam / cube.grid.cell, np.array(sigma), rule)


def velocity_per_channel(truth: Table, cube: RadioCube) -> Float:
    """Width of a channel at each true source [km/s], by the table's own widths or else by the frequency."""
    ratio = np.full(len(truth), np.nan)
    if "fwhm_velocity" in truth.colnames:
        ratio = column(truth, "fwhm_velocity") / column(truth, "fwhm_z")
    width = float(np.median(cube.channel_widths()))
    by_frequency = SPEED_OF_LIGHT / 1e3 * width / cube.frequency(column(truth, "z"))
    return np.where(np.isfinite(ratio) & (ratio > 0), ratio, by_frequency)


def received_lines(truth: Table, cube: RadioCube, transfer: Float) -> list[Line]:
    """The true sources as received: attenuated by the primary beam, fluxes in Jy times channels.

    Parameters
    ----------
    truth : Table
        Catalogue of the cube.
    cube : RadioCube
        For its cell and channels.
    transfer : array
        `faintsky.source_model.psf_transform` of its psf: turns the continuum's peak in Jy/beam into Jy.
    """
    per_channel = velocity_per_channel(truth, cube)
    pb = column(truth, "pb") if "pb" in truth.colnames else np.ones(len(truth))
    pb = np.where(np.isfinite(pb), pb, 1.0)
    sky_shape = (column(truth, name) for name in SHAPE)
    shape = cube.frame(column(truth, "x"), column(truth, "y")).to_pixels(*sky_shape)
    flux = column(truth, "flux") / per_channel * pb
    own = _continuum_flux(truth, transfer, shape, cube.shape[2]) * pb
    return [
        Line(
            x=float(row["x"]),
            y=float(row["y"]),
            dc_maj=float(maj),
            dc_min=float(minor),
            dc_pa=float(pa),
            z=float(row["z"]),
            fwhm_z=float(row["fwhm_z"]),
            flux=float(line_flux),
            continuum=float(continuum),
        )
        for row, line_flux, continuum, maj, minor, pa in zip(truth, flux, own, *shape)
    ]


def _continuum_flux(truth: Table, transfer: Float, shape: Sequence[Float], n_x: int) -> Float:
    """Continuum flux density of each source, before the primary beam, ``[n]`` [Jy]."""
    if "continuum_flux" in truth.colnames:
        return np.nan_to_num(column(truth, "continuum_flux"))
    if "continuum" not in truth.colnames:
        return np.zeros(len(truth))
    # A Gaussian's norm under the psf is its peak when both widths are taken down by sqrt(2).
    peak = [matched_norm(transfer, n_x, a / np.sqrt(2), b / np.sqrt(2), p) for a, b, p in zip(*shape)]
    return np.nan_to_num(column(truth, "continuum")) / np.array(peak)


def box_sums(table: Table, cube: RadioCube, *, continuum: bool = False) -> Float:
    """The paper's total brightness: the sum of all dirty voxels in each source's box, ``[n]`` [Jy/beam].

    Line, continuum, noise and neighbours together, as in Fig. 2b of Delli Veneri et al. (2022). With
    ``continuum`` the mean of the voxels in the box's pixels outside its channels (Fig. 2c). NaN without a
    box; a box without channels reaches over all of them.
    """
    out = np.full(len(table), np.nan)
    if "x_min" not in table.colnames or not len(table):
        return out
    n_chan, n_y, n_x = cube.shape
    edges = np.stack(box_extents(table), axis=1)
    channel = np.arange(n_chan)
    for k, (x0, x1, y0, y1, z0, z1) in enumerate(edges):
        if not np.isfinite([x0, x1, y0, y1]).all():
            continue
        rows = slice(max(int(y0 + 0.5), 0), min(int(y1 + 0.5), n_y))
        columns = slice(max(int(x0 + 0.5), 0), min(int(x1 + 0.5), n_x))
        inside = ~((channel < z0) | (channel > z1))  # all of them where the edges are NaN
        patch = cube.data[:, rows, columns]
        if not continuum:
            out[k] = float(np.nansum(patch[inside], dtype=float))
        elif not inside.all() and np.isfinite(patch[~inside]).any():
            out[k] = float(np.nanmean(patch[~inside], dtype=float))
    return out


def _add_bounds(
    table: Table, lines: Sequence[Line], groups: NDArray[np.intp], transfer: Float, setting: Setting
) -> None:
    """Columns ``NAME_bound`` and ``NAME_bound_shared`` in the units of the residuals, in place."""
    n_chan, _, n_x = setting.shape
    to_unit = {"dc_maj": setting.cell, "dc_min": setting.cell}
    for continuum, suffix in (("free", "_bound"), ("shared", "_bound_shared")):
        columns = {name: np.full(len(table), np.nan) for name in PARAMETERS}
        for group in np.unique(groups):
            members = np.flatnonzero(groups == group).tolist()
            found = cramer_rao([lines[i] for i in members], transfer, n_x, setting.sigma, n_chan, continuum)
            for i, bound in zip(members, found):
                for name, value in bound.items():
                    unit = 1 / abs(lines[i].flux) if name == "flux" else to_unit.get(name, 1.0)
                    columns[name][i] = value * unit
        for name, values in columns.items():
            table[name + suffix] = values


def prepared_truth(truth: Table, cube: RadioCube, setting: Setting) -> Table:
    """The truth of a cube with everything the evaluation needs, in one table.

    Parameters
    ----------
    truth : Table
        Catalogue of the cube's true sources.
    cube : RadioCube
        With a psf, if there are to be bounds and matched S/N.
    setting : Setting
        Of the cube.

    Returns
    -------
    Table
        A copy with boxes (those along x and y kept where the simulator gave them), ``snr`` (matched, from
        psf and noise, where the simulator does not say it), ``isolated``, ``blendedness``, and the
        Cramér-Rao bound ``NAME_bound`` of every parameter, in the units of
        `faintsky.evaluation.residuals.UNITS`: for an unknown continuum in every pixel, and
        ``NAME_bound_shared`` for one of the source's shape. Neighbours are bounded together.
        ``paper_sum`` and ``paper_continuum`` are `box_sums`. ``meta`` holds the setting.
    """
    n_chan, n_y, n_x = setting.shape
    out = with_boxes(truth, (n_y, n_x), setting.cell, setting.box_rule, keep_image_box=True)
    out.meta = dict(truth.meta) | setting.as_meta()
    groups = neighbour_groups(out, setting.beam)
    out["isolated"] = isolated(out, setting.beam)
    out["blendedness"] = blendedness(out)
    if len(out):
        out["fwhm_velocity"] = velocity_per_channel(out, cube) * column(out, "fwhm_z")
    out["paper_sum"], out["paper_continuum"] = box_sums(out, cube), box_sums(out, cube, continuum=True)
    if not len(out):
        out["snr"] = np.zeros(0)
        for name in PARAMETERS:
            out[f"{name}_bound"] = out[f"{name}_bound_shared"] = np.zeros(0)
        return out
    if cube.psf is None:
        return out
    plane = cube.psf[len(cube.psf) // 2]
    transfer = psf_transform(plane)
    lines = received_lines(out, cube, transfer)
    sigma = np.where(np.isfinite(setting.sigma) & (setting.sigma > 0), setting.sigma, np.inf)
    own = [
        matched_snr(
            s.flux * spectral_derivatives(s, n_chan)[0], sigma, transfer, n_x, s.dc_maj, s.dc_min, s.dc_pa
        )
        for s in lines
    ]
    given = column(out, "snr") if "snr" in out.colnames else np.full(len(out), np.nan)
    out["snr"] = np.where(np.isfinite(given), given, own)
    _add_bounds(out, lines, groups, transfer, setting)
    return out
