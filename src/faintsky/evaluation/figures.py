"""Figures of the evaluation: curves against S/N, precision against recall, scatter, pulls, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Float
from faintsky.matching import Binned, CompletenessCurve, robust_scatter, snr_edges
from faintsky.system.figures import COLOURS, MAPS, MARKERS, panels, panels_of, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
Pairs = Mapping[str, Mapping[str, Float]]

LABELS = {
    "x": "x [pixel]", "y": "y [pixel]", "dc_maj": "major axis FWHM [arcsec]",
    "dc_min": "minor axis FWHM [arcsec]", "dc_pa": "position angle [deg]", "z": "line centre [channel]",
    "fwhm_z": "line FWHM [channel]", "flux": "line flux (relative)",
}  # fmt: skip
SHOWN = ("denoiser", "starlet", "gaussian", "fft")
"""Methods in the pictures, if they were evaluated, after the first of the other methods."""
SIDE = 256
"""Side of the area shown [pixel]."""


def fraction(ax: Axes, binned: Binned, k: int, label: str, at: Float | None = None) -> None:
    """Draw a binned fraction with its errors.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The panel.
    binned : Binned
        The fraction.
    k : int
        Number of the curve, for colour and marker.
    label : str
        Label in the legend.
    at : array, optional
        Abscissa, ``[bin]``; by default the bins' centres.
    """
    seen = binned.n > 0
    value = binned.fraction[seen]
    errors = np.clip([value - binned.low[seen], binned.high[seen] - value], 0, None)
    look: Any = {"fmt": MARKERS[k % 7], "color": COLOURS[k % 7], "ms": 5, "lw": 1.2, "label": label}
    ax.errorbar((binned.centres if at is None else at)[seen], value, errors, **look)


def plain_ticks(axis: Any) -> None:
    """Plain numbers at 1, 2 and 5 per decade on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def snr_axis(ax: Axes, label: str, edges: Sequence[Float]) -> None:
    """Make a logarithmic S/N axis that covers all bins, including empty ones.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The panel.
    label : str
        Label of the axis.
    edges : sequence of array
        Edges of the bins of each curve.
    """
    ax.set_xscale("log")
    plain_ticks(ax.xaxis)
    if edges:
        ax.set_xlim(min(e[0] for e in edges) / 1.1, max(e[-1] for e in edges) * 1.1)
    ax.set_xlabel(label)


def completeness_and_reliability(
    curves: Mapping[str, tuple[Binned, CompletenessCurve | None, Binned]], level: float
) -> Figure:
    """Completeness against matched S/N with its fit, and reliability against the reported S/N.

    Parameters
    ----------
    curves : mapping
        For each label, the binned completeness, its fit, and the binned fraction of true detections.
    level : float
        Matched S/N that is marked.
    """
    with style():
        figure, (left, right) = panels(1, 2)
        for k, (label, (complete, fit, reliable)) in enumerate(curves.items()):
            fraction(left, complete, k, label)
            fraction(right, reliable, k, label)
            if fit is not None:
                snr = np.geomspace(complete.edges[0], complete.edges[-1], 300)
                left.plot(snr, fit(snr), color=COLOURS[k % 7], lw=1.4)
        left.axvline(level, color="0.5", lw=1, ls=":")
        left.axhline(0.95, color="0.5", lw=1, ls=":")
        for ax, text in ((left, "completeness"), (right, "reliability")):
            ax.set(ylim=(-0.03, 1.05), ylabel=text)
            ax.legend(loc="lower right")
        snr_axis(left, "matched S/N of the true source", [c.edges for c, _, _ in curves.values()])
        snr_axis(right, "reported S/N of the detection", [r.edges for _, _, r in curves.values()])
    return figure


def precision_recall(curves: Mapping[str, Rows]) -> Figure:
    """Precision against recall at increasing reliability thresholds; crosses are bootstrap errors.

    Parameters
    ----------
    curves : mapping
        For each label, `faintsky.matching.Metrics.flat` at increasing thresholds; the first and the last are
        labelled with their threshold.
    """
    with style():
        figure, (ax,) = panels(width=5.6, height=4.4)
        lowest = 1.0
        for k, (label, points) in enumerate(curves.items()):
            seen = [m for m in points if np.isfinite(m["precision"]) and np.isfinite(m["recall"])]
            if not seen:
                continue
            names = ("recall", "precision", "precision_error", "recall_error")
            r, p, p_error, r_error = ([m[name] for m in seen] for name in names)
            ax.errorbar(r, p, p_error, r_error, color=COLOURS[k % 7], lw=1.4, elinewidth=0.6, capsize=0,
                        marker=MARKERS[k % 7], ms=4, label=label)  # fmt: skip
            lowest = min(lowest, *r, *p)
            for m in {(m["recall"], m["precision"]): m for m in (seen[-1], seen[0])}.values():
                ax.annotate(f"≥ {m['threshold']:g}", (m["recall"], m["precision"]), (5, 5), fontsize=7,
                            textcoords="offset points", color=COLOURS[k % 7])  # fmt: skip
        low = max(-0.02, lowest - 0.08 * (1.05 - lowest) - 0.02)
        ax.set(xlabel="recall", ylabel="precision", xlim=(low, 1.02), ylim=(low, 1.05))
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="lower left", title="from reliability ≥ low to high", title_fontsize=8)
    return figure


def _of_parameters(draw: Callable[[Axes, str], None], title: str, label: str) -> Figure:
    """A panel for each parameter."""
    with style():
        figure, axes = panels(2, 4, 3.2, 2.9)
        for ax, name in zip(axes, LABELS, strict=True):
            draw(ax, name)
            ax.set_title(LABELS[name])
            ax.set_xlabel(title)
        for ax in axes[::4]:
            ax.set_ylabel(label)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=max(len(labels), 1))
    return figure


def _in_bins(values: Float, what: Float, edges: Float, function: Any, least: int) -> Float:
    """A statistic of the finite ``what`` in bins of ``values``; NaN with fewer than ``least`` of them."""
    place = np.digitize(values, edges) - 1
    groups = [what[(place == b) & np.isfinite(what)] for b in range(len(edges) - 1)]
    return np.array([function(g) if len(g) >= least else np.nan for g in groups])


def scatter_against_bound(methods: Pairs) -> Figure:
    """Robust scatter of each parameter in bins of matched S/N, above the Cramér-Rao bound.

    Parameters
    ----------
    methods : mapping
        For each method the residuals of `faintsky.evaluation.catalogs.pair_residuals`, ``[pair]`` each.
    """
    every = {k: np.concatenate([p[k] for p in methods.values()]) for k in next(iter(methods.values()))}
    edges = snr_edges(every["snr"], 8, low=4.0)
    centres = np.sqrt(edges[:-1] * edges[1:])

    def draw(ax: Axes, name: str) -> None:
        line = _in_bins(every["snr"], every[f"{name}_bound"], edges, np.median, 1)
        ax.plot(centres, line, color="0.35", lw=2, label="Cramér–Rao bound (median)", zorder=1)
        for k, (label, pairs) in enumerate(methods.items()):
            scatter, count = (_in_bins(pairs["snr"], pairs[name], edges, f, 5) for f in (robust_scatter, len))
            look: Any = {"fmt": MARKERS[k % 7], "color": COLOURS[k % 7], "ms": 4, "label": label}
            ax.errorbar(centres, scatter, 1.17 * scatter / np.sqrt(count), **look)
        ax.set_yscale("log")
        plain_ticks(ax.yaxis)
        snr_axis(ax, "", [edges])

    return _of_parameters(draw, "matched S/N", "robust scatter")


def pulls(methods: Pairs) -> Figure:
    """Histograms of residual over reported error, beside the unit Gaussian; see `scatter_against_bound`."""
    grid = np.linspace(-5, 5, 201)

    def draw(ax: Axes, name: str) -> None:
        for k, (label, pairs) in enumerate(methods.items()):
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = pairs[name] / pairs[f"{name}_error"]
            ratio = ratio[np.isfinite(ratio)]
            if len(ratio):
                # values outside are counted in the outermost bins, so that tails remain visible
                look: Any = {"density": True, "histtype": "step", "lw": 1.4, "color": COLOURS[k % 7]}
                ax.hist(np.clip(ratio, -4.999, 4.999), grid[::5].tolist(), label=label, **look)
                text = f"{np.median(ratio):+.2f} ± {robust_scatter(ratio):.2f}"
                ax.text(0.97, 0.95 - 0.11 * k, text, transform=ax.transAxes, ha="right", va="top",
                        fontsize=8, color=COLOURS[k % 7])  # fmt: skip
        unit = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
        ax.plot(grid, unit, color="0.35", lw=1.2, label="unit Gaussian")
        ax.set(xlim=(-5, 5), ylim=(0, max(0.62, ax.get_ylim()[1])))

    return _of_parameters(draw, "residual / reported error", "density")


def against_snr(rows: Rows, quantity: str, x: str, y: str, limits: tuple[float, float]) -> Figure:
    """One quantity of all methods against S/N, with a panel for each set.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of `faintsky.evaluation.ImageScorer`.
    quantity : str
        The quantity in those rows.
    x, y : str
        Labels of the axes.
    limits : tuple of float
        Limits of the ordinate, which is logarithmic if they are positive.

    Returns
    -------
    matplotlib.figure.Figure
    """
    mine = [r for r in rows if r["quantity"] == quantity and r["snr_low"] is not None]
    sets, methods = (list(dict.fromkeys(r[k] for r in mine)) for k in ("set", "method"))

    def ends(some: Rows) -> tuple[Float, Float]:
        # the first and the last bin may be open
        low = np.array([max(r["snr_low"], 0.03) for r in some])
        return low, np.array([r["snr_high"] or 3 * r["snr_low"] for r in some])

    lows, highs = ends(mine)
    with style():
        figure, axes = panels_of(len(sets), 4.0, 3.2)
        for ax, cases in zip(axes, sets):
            for k, method in enumerate(methods):
                some = [r for r in mine if (r["set"], r["method"]) == (cases, method)]
                low, high = ends(some)
                error = np.nan_to_num(np.array([r["error"] for r in some], dtype=float))
                # slightly displaced, so that methods that agree are both visible
                at = np.sqrt(low * high) * 1.03 ** (k - len(methods) / 2)
                ax.errorbar(at, [r["value"] for r in some], error, color=COLOURS[k % 7], label=method, ms=4,
                            marker=MARKERS[(k + k // 7) % 7], lw=1.2, ls="-" if k < 7 else "--")  # fmt: skip
            ax.axhline(1, color="0.5", lw=1, ls=":", zorder=0)
            ax.set(yscale="log" if limits[0] > 0 else "linear", title=cases, ylim=limits)
            snr_axis(ax, x, [np.array([lows.min(), highs.max()])])
        for ax in axes[::3]:
            ax.set_ylabel(y)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6))
    return figure


def picture(truth: NDArray, data: NDArray, seen: Mapping[str, NDArray]) -> Figure:
    """True sky, input and estimates of the part of a field with most emission.

    Parameters
    ----------
    truth, data : array
        True sky and input over the noise, ``[y, x]``.
    seen : mapping of str to array
        Estimates by method, likewise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    others = [m for m in seen if m not in (*SHOWN, "input", "constant", "gaussian_paper")]
    chosen = [*others[:1], *(m for m in SHOWN if m in seen)][:4]
    images = {"true sky": truth, "input": data, **{m: seen[m] for m in chosen}}
    cut = _richest(truth)
    with style():
        figure, axes = panels_of(len(images), 3.6, 3.6)
        for ax, (name, image) in zip(axes, images.items()):
            # asinh: linear for noise, logarithmic for bright emission
            shown = ax.imshow(np.arcsinh(image[cut]), vmin=np.arcsinh(-2), vmax=np.arcsinh(30),
                              origin="lower", cmap=MAPS["snr"], interpolation="nearest")  # fmt: skip
            ax.set(title=name, xticks=[], yticks=[])
            ax.grid(visible=False)
        ticks = np.array([-2, 0, 1, 3, 10, 30])
        bar = figure.colorbar(shown, ax=axes, shrink=0.7, ticks=np.arcsinh(ticks).tolist())
        bar.ax.set_yticklabels([f"{t:g}" for t in ticks])
        bar.set_label("brightness / noise")
    return figure


def _richest(truth: NDArray) -> tuple[slice, slice]:
    """The square with most pixels of S/N 0.5 to 10 among those that tile the image."""
    inside = (truth > 0.5) & (truth < 10)
    starts = [range(0, max(n - SIDE, 0) + 1, SIDE // 4) for n in truth.shape]
    squares = [(slice(y, y + SIDE), slice(x, x + SIDE)) for y in starts[0] for x in starts[1]]
    return max(squares, key=lambda square: inside[square].sum())
