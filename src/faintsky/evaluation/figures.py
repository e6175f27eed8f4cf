"""Figures of the evaluation: completeness, reliability, precision against recall, residuals, pulls."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.matching import Binned, CompletenessCurve, Metrics, robust_scatter
from faintsky.system import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.float64]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LABELS = {
    "x": "x [pixel]",
    "y": "y [pixel]",
    "z": "line centre [channel]",
    "dc_maj": "major axis FWHM [arcsec]",
    "dc_min": "minor axis FWHM [arcsec]",
    "dc_pa": "position angle [deg]",
    "fwhm_z": "line FWHM [channel]",
    "flux": "line flux (relative)",
    "paper_fwhm_x": "FWHM$_x$ / 2.355 [pixel]",
    "paper_fwhm_y": "FWHM$_y$ / 2.355 [pixel]",
}
BOUNDED = ("x", "y", "dc_maj", "dc_min", "dc_pa", "z", "fwhm_z", "flux")


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure: quiet axes, readable at the width of a page, no global state."""
    import matplotlib as mpl

    settings: Any = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "0.9",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.titlesize": 10,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.6,
        "errorbar.capsize": 2,
        "figure.constrained_layout.use": True,
    }
    with mpl.rc_context(settings):
        yield


def new_figure(
    rows: int = 1, columns: int = 1, width: float = 5.2, height: float = 3.8
) -> tuple[Figure, list[Axes]]:
    """An empty figure and its panels in reading order; sizes of one panel in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a PNG in one step and give its path."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    with replacing(final) as name:
        figure.savefig(name, format="png", dpi=150)
    return final


def fraction(ax: Axes, binned: Binned, k: int, label: str) -> None:
    """Draw a fraction in bins with its errors, as the ``k``-th of several."""
    seen = binned.n > 0
    value = binned.fraction[seen]
    errors = np.clip([value - binned.low[seen], binned.high[seen] - value], 0, None)
    ax.errorbar(
        binned.centres[seen],
        value,
        errors,
        fmt=MARKERS[k % 7],
        color=COLOURS[k % 7],
        ms=5,
        lw=1.2,
        label=label,
    )


def snr_axis(ax: Axes, label: str, edges: Sequence[Float]) -> None:
    """A logarithmic axis over all the bins, whether or not there is anything in them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    if edges:
        ax.set_xlim(min(e[0] for e in edges) / 1.1, max(e[-1] for e in edges) * 1.1)
    ax.set_xlabel(label)


def completeness_and_reliability(
    completeness: Mapping[str, tuple[Binned, CompletenessCurve | None]],
    reliability: Mapping[str, Binned],
    level: float = 7.0,
) -> Figure:
    """Completeness against matched S/N with its fit, and reliability against the S/N a method reports.

    Parameters
    ----------
    completeness : mapping
        For each label, the binned fraction and the fitted curve.
    reliability : mapping
        For each label, the share of true ones among the detections in bins.
    level : float
        Matched S/N to mark.
    """
    with style():
        figure, (left, right) = new_figure(1, 2)
        for k, (label, (binned, curve)) in enumerate(completeness.items()):
            fraction(left, binned, k, label)
            if curve is not None:
                snr = np.geomspace(binned.edges[0], binned.edges[-1], 300)
                left.plot(snr, curve(snr), color=COLOURS[k % 7], lw=1.4)
        left.axvline(level, color="0.5", lw=1, ls=":")
        left.axhline(0.95, color="0.5", lw=1, ls=":")
        left.annotate(
            f"S/N {level:g}", (level, 0.02), (3, 0), textcoords="offset points", color="0.4", fontsize=8
        )
        where: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        left.annotate("0.95", (0, 0.95), (4, -11), color="0.4", fontsize=8, **where)
        for k, (label, binned) in enumerate(reliability.items()):
            fraction(right, binned, k, label)
        for ax, text in ((left, "completeness"), (right, "reliability")):
            ax.set_ylim(-0.03, 1.05)
            ax.set_ylabel(text)
        snr_axis(left, "matched S/N of the true source", [b.edges for b, _ in completeness.values()])
        snr_axis(right, "reported S/N of the detection", [b.edges for b in reliability.values()])
        for ax, entries in ((left, completeness), (right, reliability)):
            if entries:
                ax.legend(loc="lower right")
    return figure


def precision_recall(curves: Mapping[str, Sequence[Metrics]]) -> Figure:
    """Precision against recall as the reliability threshold rises; crosses are bootstrap errors.

    Parameters
    ----------
    curves : mapping
        For each label, metrics at rising thresholds; a few are marked with their threshold.
    """
    with style():
        figure, (ax,) = new_figure(width=5.6, height=4.4)
        lowest = 1.0
        for k, (label, points) in enumerate(curves.items()):
            seen = [m for m in points if np.isfinite(m.precision.value) and np.isfinite(m.recall.value)]
            if not seen:
                continue
            r, p = ([getattr(m, name).value for m in seen] for name in ("recall", "precision"))
            r_error, p_error = ([getattr(m, name).error for m in seen] for name in ("recall", "precision"))
            ax.errorbar(r, p, p_error, r_error, color=COLOURS[k % 7], lw=1.4, elinewidth=0.6, capsize=0,
                        marker=MARKERS[k % 7], ms=4, label=label)  # fmt: skip
            lowest = min(lowest, *r, *p)
            moved = (r[0], p[0]) != (r[-1], p[-1])
            for m in (seen[0], seen[-1]) if moved else seen[:1]:
                where = (m.recall.value, m.precision.value)
                ax.annotate(f"≥ {m.threshold:g}", where, (5, 5), textcoords="offset points", fontsize=7,
                            color=COLOURS[k % 7])  # fmt: skip
        low = max(-0.02, lowest - 0.08 * (1.05 - lowest) - 0.02)
        ax.set(xlabel="recall", ylabel="precision", xlim=(low, 1.02), ylim=(low, 1.05))
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="lower left", title="from reliability ≥ low to high", title_fontsize=8)
    return figure


def scatter_against_bound(
    methods: Mapping[str, Mapping[str, Float]], snr: Mapping[str, Float], edges: Float
) -> Figure:
    """Robust scatter of each parameter in bins of matched S/N, above the Cramér-Rao bound.

    Parameters
    ----------
    methods : mapping
        For each method the residuals of `faintsky.evaluation.residuals.pair_residuals`, ``[pair]`` each.
    snr : mapping
        Matched S/N of the pairs of each method, ``[pair]``.
    edges : array
        Bins, ``[bin + 1]``.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    with style():
        figure, axes = new_figure(2, 4, 3.2, 2.9)
        centres = np.sqrt(edges[:-1] * edges[1:])
        for ax, name in zip(axes, BOUNDED):
            every_snr = np.concatenate([snr[m] for m in methods]) if methods else np.empty(0)
            every_bound = np.concatenate([p[f"{name}_bound"] for p in methods.values()] or [np.empty(0)])
            line = _in_bins(every_snr, every_bound, edges, np.median, 1)
            ax.plot(centres, line, color="0.35", lw=2, label="Cramér–Rao bound (median)", zorder=1)
            for k, (label, pairs) in enumerate(methods.items()):
                scatter = _in_bins(snr[label], pairs[name], edges, robust_scatter, 5)
                number = _in_bins(snr[label], pairs[name], edges, len, 5)
                error = 1.17 * scatter / np.sqrt(number)
                ax.errorbar(
                    centres, scatter, error, fmt=MARKERS[k % 7], color=COLOURS[k % 7], ms=4, label=label
                )
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
            ax.set_title(LABELS[name])
            snr_axis(ax, "matched S/N", [edges])
        for ax in axes[::4]:
            ax.set_ylabel("robust scatter")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _in_bins(values: Float, what: Float, edges: Float, function: Any, least: int) -> Float:
    """A statistic of the finite ``what`` in bins of ``values``; NaN with fewer than ``least`` of them."""
    out = np.full(len(edges) - 1, np.nan)
    place = np.digitize(values, edges) - 1
    for b in range(len(out)):
        inside = what[(place == b) & np.isfinite(what)]
        if len(inside) >= least:
            out[b] = function(inside)
    return out


def normalised_histograms(methods: Mapping[str, Mapping[str, Float]], over: str, title: str) -> Figure:
    """Histograms of residual over Cramér-Rao bound, or over reported error, beside the unit Gaussian.

    Parameters
    ----------
    methods : mapping
        As in `scatter_against_bound`.
    over : str
        ``"bound"`` or ``"error"``.
    title : str
        What the abscissa is.
    """
    with style():
        figure, axes = new_figure(2, 4, 3.2, 2.7)
        edges = np.linspace(-5, 5, 41)
        grid = np.linspace(-5, 5, 201)
        for ax, name in zip(axes, BOUNDED):
            for k, (label, pairs) in enumerate(methods.items()):
                ok = (
                    np.isfinite(pairs[name])
                    & np.isfinite(pairs[f"{name}_{over}"])
                    & (pairs[f"{name}_{over}"] > 0)
                )
                ratio = pairs[name][ok] / pairs[f"{name}_{over}"][ok]
                if len(ratio):
                    # What lies outside is counted in the outermost bins, so that tails do not vanish.
                    colour = COLOURS[k % 7]
                    drawn = np.clip(ratio, -4.999, 4.999)
                    ax.hist(
                        drawn,
                        edges.tolist(),
                        density=True,
                        histtype="step",
                        lw=1.4,
                        color=colour,
                        label=label,
                    )
                    place = (0.97, 0.95 - 0.11 * k)
                    text = f"{np.median(ratio):+.2f} ± {robust_scatter(ratio):.2f}"
                    style_of_text: Any = {"ha": "right", "va": "top", "fontsize": 8, "color": colour}
                    ax.text(*place, text, transform=ax.transAxes, **style_of_text)
            ax.plot(
                grid, np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi), color="0.35", lw=1.2, label="unit Gaussian"
            )
            ax.set(xlim=(-5, 5), xlabel=title)
            ax.set_title(LABELS[name].split(" [")[0].split(" (")[0])
            ax.set_ylim(0, max(0.62, ax.get_ylim()[1]))
        for ax in axes[::4]:
            ax.set_ylabel("density")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=max(len(labels), 1))
    return figure
