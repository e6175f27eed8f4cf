"""Figures 2, 3 and 16-22 of Delli Veneri et al. (2022), and those against flux and blendedness."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.cutouts import integrated
from faintsky.evaluation import Scored, Setting, fraction
from faintsky.evaluation.catalogs import LEAST_AXIS_RATIO
from faintsky.evaluation.figures import snr_axis
from faintsky.grid import ImageGrid, sky_to_paper_frame
from faintsky.matching import box_extents, column, robust_scatter
from faintsky.sky import gaussian_image
from faintsky.system.figures import COLOURS, MAPS, panels, panels_of, style
from reproduction.deepfocus_tables import dependence_of, stacked_parameters

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.float64]

TRUE, FOUND = "#56B4E9", "#E69F00"
"""Colours of true and found boxes."""
TRUTH_COLUMNS = ("snr", "paper_sum", "paper_continuum", "dc_maj", "dc_min", "dc_pa", "fwhm_z", "x", "y")
DETECTED = ("flux", "blendedness")
NAMES = {
    "x": "x [pixel]",
    "y": "y [pixel]",
    "fwhm_x": "FWHM$_x$ / 2.355 [pixel]",
    "fwhm_y": "FWHM$_y$ / 2.355 [pixel]",
    "z": "z [channel]",
    "dz": "Δz = 2 FWHM$_z$ [channel]",
    "pa": "paper's angle [deg]",
    "flux": "line flux [Jy km/s]",
}
SNR_PARTS = (0.0, 10.0, 20.0, 40.0, np.inf)
"""Sections of the figure of flux error against S/N."""


def _histogram(ax: Axes, values: Float, label: str, *, log: bool = False, colour: str = COLOURS[0]) -> None:
    """Shares of the sources in bins over the middle 99.8 %, and mean and standard deviation in a corner."""
    v = values[np.isfinite(values) & ((values > 0) if log else True)]
    ax.set(xlabel=label, ylabel="share of sources")
    if not len(v):
        return
    low, high = np.quantile(v, [0.001, 0.999])
    high = high if high > low else low + 1e-9
    edges = np.geomspace(low, high, 31) if log else np.linspace(low, high, 31)
    ax.hist(np.clip(v, low, high), edges.tolist(), weights=np.full(len(v), 1 / len(v)), color=colour)
    if log:
        snr_axis(ax, label, [edges])
    ax.set_ylim(0, 1.18 * ax.get_ylim()[1])
    ax.text(0.97, 0.95, f"{v.mean():.3g} ± {v.std():.3g}", transform=ax.transAxes, ha="right", va="top",
            fontsize=9)  # fmt: skip


def source_distributions(truth: Mapping[str, Float], cell: float) -> Figure:
    """Figs. 2 and 3: S/N, brightness, continuum, angle, widths and places of the simulated sources.

    Parameters
    ----------
    truth : mapping of str to array
        Columns of all true sources, ``[n]``: ``snr``, ``paper_sum``, ``paper_continuum``, ``dc_maj``,
        ``dc_min``, ``dc_pa``, ``fwhm_z``, ``x``, ``y``.
    cell : float
        Side of a pixel [arcsec].
    """
    wide, narrow, angle = sky_to_paper_frame(truth["dc_maj"] / cell, truth["dc_min"] / cell, truth["dc_pa"])
    with style():
        figure, axes = panels(2, 3, 3.6, 3.0)
        _histogram(axes[0], truth["snr"], "matched S/N", log=True)
        _histogram(axes[1], truth["paper_sum"], "sum of the box's dirty voxels [Jy/beam]", log=True)
        _histogram(axes[2], 1e3 * truth["paper_continuum"], "mean continuum in the box [mJy/beam]")
        _histogram(axes[3], angle, "paper's angle [deg]")
        axes[3].texts[-1].remove() if axes[3].texts else None
        everything = np.concatenate([wide, narrow, truth["fwhm_z"]])
        everything = everything[np.isfinite(everything)]
        edges = np.linspace(0, max(float(everything.max(initial=1.0)), 1.0), 41)
        widths = {"x": wide, "y": narrow, "z": truth["fwhm_z"]}
        for k, (axis, values) in enumerate(widths.items()):
            axes[4].hist(values, edges.tolist(), weights=np.full(len(values), 1 / max(len(values), 1)),
                         histtype="step", lw=1.6, color=COLOURS[k], label=f"FWHM$_{axis}$")  # fmt: skip
        axes[4].set(xlabel="FWHM [pixel, channel]", ylabel="share of sources")
        axes[4].legend()
        axes[5].scatter(truth["x"], truth["y"], s=4, lw=0, alpha=0.5, color=COLOURS[0])
        axes[5].set(xlabel="x [pixel]", ylabel="y [pixel]", aspect="equal")
    return figure


def detected_distributions(methods: Mapping[str, Mapping[str, Float]], every: Mapping[str, Float]) -> Figure:
    """Fig. 16: fluxes of the sources that each method detected, and their blendedness (eq. 22), cumulative.

    Parameters
    ----------
    methods : mapping
        For each method, ``flux`` [Jy km/s] and ``blendedness`` of the true sources it detected.
    every : mapping
        The same of all true sources.
    """
    with style():
        figure, (left, right) = panels(1, 2, 4.6, 3.6)
        flux = every["flux"][np.isfinite(every["flux"]) & (every["flux"] > 0)]
        edges = np.geomspace(flux.min() * 0.999, flux.max() * 1.001, 25) if len(flux) else np.array([1.0, 2])
        left.hist(every["flux"], edges.tolist(), color="0.85", label="all true sources")
        b = every["blendedness"]
        top = np.sort(b[b > 0])
        drawn = {"all true sources": (b, "0.6")}
        for k, (label, detected) in enumerate(methods.items()):
            colour = COLOURS[k % 7]
            left.hist(detected["flux"], edges.tolist(), histtype="step", lw=1.5, color=colour, label=label)
            drawn[label] = (detected["blendedness"], colour)
        for label, (values, colour) in drawn.items():
            v = np.sort(values[np.isfinite(values)])
            if len(v):
                most = f"{label} (to {v[-1]:.2f})"
                right.step([0.0, *v, 1.0], [0, *range(1, len(v) + 1), len(v)], where="post", color=colour,
                           label=most)  # fmt: skip
        snr_axis(left, "line flux [Jy km/s]", [edges])
        left.set_ylabel("sources")
        high = float(top[-1]) if len(top) else 1.0
        low = min(float(np.sum(values <= 0)) for values, _ in drawn.values())
        right.set(xlabel="blendedness", ylabel="sources up to it", xlim=(0, min(1.05 * high, 1)))
        right.set_ylim(max(0.0, 0.9 * low), 1.02 * len(b) + 0.5)
        left.legend(fontsize=8)
        right.legend(loc="lower right", fontsize=8)
    return figure


def true_against_found(pairs: Mapping[str, Float]) -> Figure:
    """Fig. 20: each parameter found against true, and below it the histogram of the residuals.

    Parameters
    ----------
    pairs : mapping
        `reproduction.deepfocus_tables.stacked_parameters` of one method and set.
    """
    with style():
        figure, axes = panels(4, 4, 3.0, 2.6)
        for k, (name, label) in enumerate(NAMES.items()):
            upper, lower = axes[8 * (k // 4) + k % 4], axes[8 * (k // 4) + 4 + k % 4]
            true, found = pairs[f"{name}_true"], pairs[f"{name}_found"]
            known = np.isfinite(true) & np.isfinite(found)
            true, found = true[known], found[known]
            upper.scatter(true, found, s=5, lw=0, alpha=0.4, color=COLOURS[0], rasterized=True)
            upper.set(xlabel=f"true {label}", ylabel="found")
            if not len(true):
                continue
            if name == "flux":
                upper.set(xscale="log", yscale="log")
            ends = [true.min(), true.max()]
            upper.plot(ends, ends, color=COLOURS[1], lw=1.2, ls=":")
            residual, title = true - found, "true − found"
            if name == "flux":
                residual, title = residual / true, "(true − found) / true"
            spread = max(5 * robust_scatter(residual), 1e-6)
            shown = np.clip(residual, -0.999 * spread, 0.999 * spread)
            lower.hist(shown, np.linspace(-spread, spread, 41).tolist(), color=COLOURS[0])
            lower.set(xlabel=title, ylabel="sources")
            text = f"{residual.mean():.2g} ± {residual.std():.2g}\ncore {robust_scatter(residual):.2g}"
            lower.text(0.97, 0.95, text, transform=lower.transAxes, ha="right", va="top", fontsize=8)
    return figure


def snr_against_flux_error(methods: Mapping[str, Mapping[str, Float]]) -> Figure:
    """Fig. 21: relative error of the flux against the S/N, with its standard deviation in sections of S/N.

    Parameters
    ----------
    methods : mapping
        For each method, `reproduction.deepfocus_tables.stacked_parameters`.
    """
    with style():
        figure, axes = panels_of(len(methods), 4.2, 3.3)
        for ax, (label, p) in zip(axes, methods.items()):
            snr, error = p["snr"], 1 - p["flux_found"] / p["flux_true"]
            known = np.isfinite(snr) & np.isfinite(error)
            snr, error = snr[known], error[known]
            for k, (low, high) in enumerate(pairwise(SNR_PARTS)):
                inside = (snr >= low) & (snr < high)
                if not inside.any():
                    continue
                section = f"S/N > {low:g}" if np.isinf(high) else f"S/N {low:g}–{high:g}"
                text = f"{section}: std {error[inside].std():.3f}"
                ax.scatter(snr[inside], np.clip(error[inside], -1, 1), s=8, lw=0, alpha=0.6,
                           color=COLOURS[k], label=text)  # fmt: skip
            ax.axhline(0, color="0.4", lw=0.8)
            snr_axis(ax, "matched S/N", [np.array([snr.min(), snr.max()])] if len(snr) else [])
            ax.set(title=label, ylabel="(true − found) / true flux", ylim=(-1.05, 1.05))
            ax.legend(fontsize=7, loc="lower right", handletextpad=0.1)
    return figure


def angle_against_axis_ratio(methods: Mapping[str, Mapping[str, Float]]) -> Figure:
    """Fig. 22: error of the position angle, modulo 180 degrees, against the true axis ratio.

    Parameters
    ----------
    methods : mapping
        As in `snr_against_flux_error`.
    """
    with style():
        figure, axes = panels_of(len(methods), 4.2, 3.3)
        for ax, (label, p) in zip(axes, methods.items()):
            error = np.abs(p["pa_axial_found"] - p["pa_axial_true"])
            known = np.isfinite(error) & np.isfinite(p["ratio"])
            error, ratio, snr = error[known], p["ratio"][known], p["snr"][known]
            for k, (name, inside) in enumerate({"S/N ≥ 20": snr >= 20, "S/N < 20": snr < 20}.items()):
                ax.scatter(ratio[inside], np.maximum(error[inside], 0.02), s=8, lw=0, alpha=0.6,
                           color=COLOURS[k], label=name)  # fmt: skip
            ax.axvline(LEAST_AXIS_RATIO, color="0.4", lw=0.8, ls="--")
            ax.axhline(10, color="0.4", lw=0.8, ls=":")
            ax.set(title=label, xlabel="true axis ratio", ylabel="error of the angle [deg]", yscale="log")
            ax.set_ylim(0.015, 120)
            long = error[ratio > LEAST_AXIS_RATIO]
            if len(long):
                text = f"ratio > {LEAST_AXIS_RATIO:g}: std {np.sqrt(np.mean(long**2)):.1f}°"
                ax.text(0.97, 0.95, text, transform=ax.transAxes, ha="right", va="top", fontsize=8)
            ax.legend(fontsize=8, loc="lower right", handletextpad=0.1)
    return figure


def against_flux_and_blendedness(methods: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Completeness and reliability against flux and blendedness, and the share of blends that were split."""
    with style():
        figure, axes = panels(2, 3, 3.9, 3.1)
        for k, (label, d) in enumerate(methods.items()):
            for row, word in ((0, "completeness"), (3, "reliability")):
                fraction(axes[row], d[word]["flux"], k, label)
                _against_overlap(axes[row + 1], d[word]["blendedness"], k, label)
                for ax in axes[row : row + 2]:
                    ax.set_ylabel(word)
            _against_overlap(axes[2], d["split"], k, label)
        for ax, name in ((axes[0], "true line flux [Jy km/s]"), (axes[3], "reported line flux [Jy km/s]")):
            snr_axis(ax, name, [])
        axes[1].set_xlabel("blendedness of the true source")
        axes[4].set_xlabel("blendedness of the detection")
        axes[2].set(xlabel="overlap (IoU) of two true sources", ylabel="share of pairs split")
        for ax in axes[:5]:
            ax.set_ylim(-0.03, 1.05)
        axes[5].set_axis_off()
        handles, labels = axes[0].get_legend_handles_labels()
        axes[5].legend(handles, labels, loc="center")
    return figure


def _against_overlap(ax: Axes, binned: Any, k: int, label: str) -> None:
    """Fractions against blendedness; its first bin holds those that do not overlap."""
    fraction(ax, binned, k, label, at=(binned.edges[:-1] + binned.edges[1:]) / 2 + 0.004 * k)
    ax.set_xlim(-0.03, 1.0)


def true_image(truth: Table, setting: Setting) -> NDArray[np.float32]:
    """The true sky summed over the channels, ``[y, x]`` [Jy/pixel], drawn from the catalogue's Gaussians."""
    n_chan, n_y, n_x = setting.shape
    grid = ImageGrid(n_y, n_x, setting.cell)
    with np.errstate(invalid="ignore", divide="ignore"):
        line = column(truth, "flux") * column(truth, "fwhm_z") / column(truth, "fwhm_velocity")
    known = "continuum_flux" in truth.colnames
    continuum = column(truth, "continuum_flux") if known else np.zeros(len(truth))
    if "source" in truth.colnames:  # a continuum is given with every line of its object, and is there once
        first = np.unique(column(truth, "source"), return_index=True)[1]
        continuum = np.where(np.isin(np.arange(len(truth)), first), continuum, 0.0)
    flux = np.nan_to_num(line) + n_chan * np.nan_to_num(continuum)
    shape = [column(truth, name) for name in ("x", "y", "dc_maj", "dc_min", "dc_pa")]
    image = np.zeros((n_y, n_x), dtype=np.float32)
    for f, x, y, major, minor, pa in zip(flux, *shape):
        image += np.float32(f) * gaussian_image(grid, x, y, major / setting.cell, minor / setting.cell, pa)
    return image


def _boxes(ax: Axes, table: Table, colour: str, dashed: bool = False) -> None:
    from matplotlib.patches import Rectangle

    if not len(table) or "x_min" not in table.colnames:
        return
    for x0, x1, y0, y1 in zip(*box_extents(table)[:4]):
        if np.isfinite([x0, x1, y0, y1]).all():
            line = "--" if dashed else "-"
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=1.0, ls=line))


def examples(here: Mapping[str, Scored], cases: Any, images: Path, most: int, crop: int = 200) -> Figure:
    """Figs. 17-19: integrated dirty cube, true sky and each method's image, with true and found boxes.

    A method whose image of the sky was not kept in the folder has its boxes over the dirty one.
    """
    from matplotlib.lines import Line2D

    first = next(iter(here.values()))
    shown = min(most, *(len(s.founds) for s in here.values()))
    with style():
        figure, axes = panels(2 + len(here), shown, 2.3, 2.3)
        grid = np.array(axes, dtype=object).reshape(2 + len(here), shown)
        for k in range(shown):
            truth, index = first.truths[k], first.indices[k]
            dirty = integrated(cases.load(index)[0].data)
            rows = [("dirty, integrated", dirty, None)]
            rows.append(("true sky", true_image(truth, Setting.of(truth.meta)), None))
            for method, scored in here.items():
                own = images / f"{method}_{cases.name}_{index:04d}.npy"
                rows.append((method, np.load(own) if own.is_file() else dirty, scored.founds[k]))
            for ax, (name, image, found) in zip(grid[:, k], rows):
                finite = image[np.isfinite(image)] if np.isfinite(image).any() else np.zeros(1)
                low, high = np.percentile(finite, [1, 99.9]) if name != "true sky" else (0, finite.max())
                ax.imshow(image, origin="lower", cmap=MAPS["paper"], vmin=low, vmax=max(high, low + 1e-12),
                          interpolation="nearest")  # fmt: skip
                _boxes(ax, truth, TRUE)
                if found is not None:
                    _boxes(ax, found, FOUND, dashed=True)
                n_y, n_x = image.shape
                half = min(crop, n_y, n_x) / 2
                ax.set(xlim=(n_x / 2 - half, n_x / 2 + half), ylim=(n_y / 2 - half, n_y / 2 + half))
                ax.set(xticks=[], yticks=[], ylabel=name if k == 0 else "")
                ax.grid(False)
            grid[0, k].set_title(f"{cases.name} {index:04d}", fontsize=9)
        marks = [Line2D([], [], color=TRUE, label="true box"),
                 Line2D([], [], color=FOUND, ls="--", label="found box")]  # fmt: skip
        figure.legend(handles=marks, loc="outside lower center", ncols=2)
    return figure


def of_set(here: Mapping[str, Scored], cases: Any, images: Path, most: int) -> dict[str, Figure]:
    """All figures of one set of cubes with its methods, by name."""
    first = next(iter(here.values()))
    truth = {name: first.joined(name) for name in TRUTH_COLUMNS}
    detected = {m: {c: s.joined(c)[s.detected()] for c in DETECTED} for m, s in here.items()}
    made = {
        "sources": source_distributions(truth, Setting.of(first.truths[0].meta).cell),
        "flux_blendedness": against_flux_and_blendedness({m: dependence_of(s) for m, s in here.items()}),
        "detected": detected_distributions(detected, {c: first.joined(c) for c in DETECTED}),
        "examples": examples(here, cases, images, most),
    }
    measured = {m: p for m, s in here.items() if s.main == "position" and (p := stacked_parameters(s))}
    if measured:
        made["flux_error"] = snr_against_flux_error(measured)
        made["angle_error"] = angle_against_axis_ratio(measured)
    return made | {f"parameters_{method}": true_against_found(p) for method, p in measured.items()}
