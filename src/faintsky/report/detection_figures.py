"""Figures of a detection: line and continuum maps, spectra, cut-outs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.beams import beam_covariance
from faintsky.catalog import has_flag
from faintsky.detection import Detections
from faintsky.image import SHAPE, RadioCube
from faintsky.report.parts import ellipse, new_figure, world_labels
from faintsky.source_model import line_profile

if TYPE_CHECKING:
    from astropy.table import Row
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EMISSION, ABSORPTION = "#d95f02", "#1b6fb5"
"""Colours of emitters and absorbers: told apart by the colour-blind, too."""


def line_map(found: Detections) -> NDArray[np.float32]:
    """Moment 0 within the mask where there is one, or of all channels, ``[y, x]`` [Jy/beam channel]."""
    line = found.prepared.restored(found.prepared.line)
    return line.sum(axis=0) if found.mask is None else np.where(found.mask > 0, line, 0).sum(axis=0)


def peak_snr_map(found: Detections) -> NDArray[np.float32]:
    """Largest S/N along frequency of the line cube averaged over three channels, ``[y, x]``."""
    p = found.prepared
    scale = np.where(p.sigma > 0, 1 / np.maximum(p.sigma, 1e-300), 0).astype(np.float32)
    snr = p.line * scale[:, None, None]
    best = np.zeros(snr.shape[1:], dtype=np.float32)
    for k in range(1, snr.shape[0] - 1):
        np.maximum(best, (snr[k - 1] + snr[k] + snr[k + 1]) / np.float32(np.sqrt(3)), out=best)
    return best


def brightness_unit(cube: RadioCube) -> tuple[float, str]:
    """Factor and name of the unit that brightness is shown in: mJy/beam, or the data's own without fluxes."""
    return (1e3, "mJy/beam") if cube.has_flux else (1.0, str(cube.unit))


def maps_figure(cube: RadioCube, found: Detections) -> Figure:
    """Peak S/N, moment 0 and continuum side by side, sources marked."""
    figure = new_figure(15, 4.4)
    axes = figure.subplots(1, 3, subplot_kw={"projection": cube.wcs})
    p = found.prepared
    scale, name = brightness_unit(cube)
    moment = line_map(found) * scale
    where = "of all channels" if found.mask is None else "within the mask"
    images = [
        (peak_snr_map(found), "line: peak S/N of 3 channels", "S/N", "magma", None),
        (moment, f"line: moment 0 {where}", f"{name} channel", "viridis", None),
        (p.restored(p.continuum.at(p.continuum.middle)) * scale, "continuum", name, "gray_r", 3.0),
    ]
    for ax, (image, title, unit, colours, robust) in zip(axes, images):
        shown = np.where(p.valid, image, np.nan)
        finite = shown[np.isfinite(shown)]
        if robust:
            low, high = np.percentile(finite, [0.5, 99.7]) if finite.size else (0, 1)
        else:
            low, high = (min(0.0, float(finite.min())), float(finite.max())) if finite.size else (0, 1)
        drawn = ax.imshow(
            shown,
            origin="lower",
            cmap=colours,
            vmin=low,
            vmax=max(high, low + 1e-12),
            interpolation="nearest",
        )
        figure.colorbar(drawn, ax=ax, shrink=0.8, label=unit)
        ax.set_title(title)
        world_labels(ax)
        _mark(ax, found, cube)
    return figure


def _mark(ax: Axes, found: Detections, cube: RadioCube) -> None:
    """An ellipse of the observed size and the number of every source, and the beam in a corner."""
    table, beam = found.catalog, found.prepared.beam
    absorbing = has_flag(table["flags"], "absorption")
    shapes = cube.frame(table["x"], table["y"]).to_pixels(*(table[name] for name in SHAPE))
    beams = cube.local_beams(beam, table["x"], table["y"])
    for row, absorber, there, shape in zip(table, absorbing, beams, np.transpose(shapes)):
        # a method that measures no shape leaves the beam
        cov = beam_covariance(tuple(np.nan_to_num(shape))) + beam_covariance(tuple(there))
        colour = ABSORPTION if absorber else EMISSION
        ax.add_patch(ellipse((row["x"], row["y"]), cov, edgecolor=colour))
        ax.annotate(
            str(row["id"]), (row["x"], row["y"]), xytext=(7, 7), textcoords="offset points",
            color=colour, fontsize=8,
        )  # fmt: skip
    n_y, n_x = found.prepared.valid.shape
    corner = (0.07 * n_x, 0.07 * n_y)
    ax.add_patch(ellipse(corner, beam_covariance(beam), edgecolor="0.5", facecolor="0.5"))


def source_figure(cube: RadioCube, found: Detections, row: Row) -> Figure:
    """Spectrum at a source's position with its fit, and its line image."""
    figure = new_figure(10, 2.7)
    spectrum_ax, image_ax = figure.subplots(1, 2, width_ratios=[3, 1])
    _draw_spectrum(spectrum_ax, cube, found, row)
    _draw_cutout(image_ax, cube, found, row)
    return figure


def _draw_spectrum(ax: Axes, cube: RadioCube, found: Detections, row: Row) -> None:
    p = found.prepared
    n_chan, n_y, n_x = p.line.shape
    x, y = int(np.clip(round(row["x"]), 0, n_x - 1)), int(np.clip(round(row["y"]), 0, n_y - 1))
    scale, unit = brightness_unit(cube)
    gain = p.gain(x, y) * scale
    z = np.arange(n_chan)
    used = p.sigma > 0
    spectrum = np.where(used, p.data[:, y, x] * gain, np.nan)
    base = (p.continuum.level[y, x] + p.continuum.slope[y, x] * (z - p.continuum.middle)) * gain
    base = base if p.present[y, x] else np.zeros(n_chan)
    ghz = cube.frequencies / 1e9
    ax.fill_between(ghz, base - p.sigma * gain, base + p.sigma * gain, color="0.88", step="mid", lw=0)
    ax.step(ghz, spectrum, where="mid", color="0.3", lw=0.9)
    if found.model is not None:
        ax.plot(ghz, base + found.model[:, y, x] * scale, color=EMISSION, lw=1.4)
    if np.isfinite(row["z"]):
        _draw_line(ax, found, row, ghz, base)
    ax.set_xlabel("frequency [GHz]")
    ax.set_ylabel(unit)
    ax.set_title(f"source {row['id']}: S/N {row['snr']:.1f}", fontsize=10)
    ax.margins(x=0)


def _draw_line(ax: Axes, found: Detections, row: Row, ghz: NDArray, base: NDArray) -> None:
    """The source's own line on its continuum, and its extent in frequency."""
    n_chan = len(ghz)
    z = np.arange(n_chan)
    fine = np.linspace(0, n_chan - 1, 8 * n_chan)
    divided = np.isfinite(row["pb"]) and not found.catalog.meta["primary_beam_in_data"]
    own = row["flux_peak"] * (row["pb"] if divided else 1.0) * 1e3
    ax.plot(
        np.interp(fine, z, ghz), np.interp(fine, z, base) + own * line_profile(fine, row["z"], row["fwhm_z"]),
        color=ABSORPTION, lw=1, ls="--",
    )  # fmt: skip
    low, high = (float(np.interp(v, z, ghz)) for v in (row["z"] - row["fwhm_z"], row["z"] + row["fwhm_z"]))
    ax.axvspan(min(low, high), max(low, high), color=EMISSION, alpha=0.12, lw=0)


def _draw_cutout(ax: Axes, cube: RadioCube, found: Detections, row: Row) -> None:
    p = found.prepared
    n_chan = p.line.shape[0]
    frame = cube.frame(row["x"], row["y"])
    wide = np.nan_to_num(frame.to_pixels(*(row[name] for name in SHAPE))[0][0])
    half = int(max(2.5 * p.beam_pixels, 1.5 * np.hypot(wide, p.beam_pixels)))
    x, y = round(row["x"]), round(row["y"])
    ys, xs = slice(max(0, y - half), y + half + 1), slice(max(0, x - half), x + half + 1)
    low, high = 0, n_chan - 1
    if np.isfinite(row["z"]):
        low = int(np.clip(np.floor(row["z"] - row["fwhm_z"] / 2), 0, n_chan - 1))
        high = int(np.clip(np.ceil(row["z"] + row["fwhm_z"] / 2), low, n_chan - 1))
    image = p.restored(p.line[low : high + 1].sum(axis=0))[ys, xs] * 1e3
    side_x, side_y = np.hypot(*frame.matrix[0])
    extent = (
        (xs.start - 0.5 - row["x"]) * side_x, (xs.start + image.shape[1] - 0.5 - row["x"]) * side_x,
        (ys.start - 0.5 - row["y"]) * side_y, (ys.start + image.shape[0] - 0.5 - row["y"]) * side_y,
    )  # fmt: skip
    ax.imshow(image, origin="lower", cmap="viridis", extent=extent, interpolation="nearest")
    ax.plot(0, 0, "+", color=EMISSION, ms=10)
    ax.set_xlabel("along x [arcsec]")
    ax.set_ylabel("along y [arcsec]")
    over = "the line" if np.isfinite(row["z"]) else "all channels"
    ax.set_title(f"integrated over {over}", fontsize=9)
