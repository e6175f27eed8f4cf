"""Figures of the evaluation of denoisers: errors, fluxes, peaks, pulls against S/N, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.evaluation.figures import COLOURS, MARKERS, new_figure, save, snr_axis, style
from faintsky.evaluation.lofar_paper_figures import Curves, draw_curves, draw_maps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from faintsky.evaluation.fields import Field

PLOTS = (
    ("error", "true S/N of the pixel", "rms error / noise", "log"),
    ("sigma_MRE", "true S/N of the pixel", "mean relative error", "log"),
    ("flux ratio", "S/N of the aperture", "flux, recovered / true (median)", "linear"),
    ("peak ratio", "true S/N of the peak", "peak, recovered / true (median)", "linear"),
    ("completeness at reliability", "true S/N of the pixel", "completeness at reliability 0.9", "linear"),
    ("pull std", "denoised S/N of the pixel", "standard deviation of the pulls", "linear"),
)
SHOWN = ("denoiser", "starlet", "gaussian", "fft")
"""Methods in the pictures, where they were evaluated; the first of other methods takes the first place."""
SIDE = 256
"""Pixels a side that are shown."""


def draw(folder: Path, rows: Sequence[Mapping[str, Any]], curves: Curves) -> list[Path]:
    """Write the figures of all fields together and give their paths.

    Parameters
    ----------
    folder : pathlib.Path
        Where to.
    rows : sequence of mapping
        See `faintsky.evaluation.lofar.DenoisingEvaluation`.
    curves : mapping
        See `faintsky.evaluation.lofar_paper_figures`.
    """
    files = []
    for quantity, x, y, scale in PLOTS:
        if any(r["quantity"] == quantity and r["snr_low"] is not None for r in rows):
            name = quantity.replace(" ", "_") + ".png"
            files.append(save(against_snr(rows, quantity, x, y, scale), folder / name))
    return [*files, *draw_curves(folder, curves)]


def draw_field(folder: Path, cases: str, field: Field, seen: Mapping[str, NDArray]) -> list[Path]:
    """Write the figures of one field of a set; ``seen`` are estimates ``[y, x]`` over the rms, by method."""
    file = save(picture(field, seen), folder / f"picture_{cases.replace(' ', '_')}.png")
    return [file, *draw_maps(folder, cases, field, seen)]


def has_field(folder: Path, cases: str) -> bool:
    """Whether `draw_field` has been here for a set."""
    return (folder / f"maps_{cases.replace(' ', '_')}.png").is_file()


def against_snr(rows: Sequence[Mapping[str, Any]], quantity: str, x: str, y: str, scale: str) -> Figure:
    """One quantity of all methods against S/N, a panel for each set."""
    mine = [r for r in rows if r["quantity"] == quantity and r["snr_low"] is not None]
    sets, methods = (list(dict.fromkeys(r[k] for r in mine)) for k in ("set", "method"))
    columns = min(3, len(sets))
    # the first and the last bin may be open
    ends = np.array([(max(r["snr_low"], 0.03), r["snr_high"] or 3 * r["snr_low"]) for r in mine])
    edges = np.array([ends.min(), ends.max()])
    with style():
        figure, axes = new_figure(-(-len(sets) // columns), columns, 4.0, 3.2)
        for ax, cases in zip(axes, sets):
            for k, method in enumerate(methods):
                some = [r for r in mine if (r["set"], r["method"]) == (cases, method)]
                low = np.array([max(r["snr_low"], 0.03) for r in some])
                high = np.array([r["snr_high"] or 3 * r["snr_low"] for r in some])
                error = np.array([r["error"] for r in some], dtype=float)
                # a little apart, so that methods that agree can both be seen
                at = np.sqrt(low * high) * 1.03 ** (k - len(methods) / 2)
                ax.errorbar(at, [r["value"] for r in some], np.nan_to_num(error), color=COLOURS[k % 7],
                            marker=MARKERS[(k + k // 7) % 7], ms=4, lw=1.2, label=method,
                            ls="-" if k < 7 else "--")  # fmt: skip
            ax.set(yscale=scale, title=cases)
            snr_axis(ax, x, [edges])
            _reference(ax, quantity)
        for ax in axes[len(sets) :]:
            ax.set_visible(False)
        for ax in axes[::columns]:
            ax.set_ylabel(y)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6))
    return figure


def _reference(ax: Axes, quantity: str) -> None:
    ax.axhline(1, color="0.5", lw=1, ls=":", zorder=0)
    if quantity in ("flux ratio", "peak ratio"):
        ax.axhspan(0.95, 1.05, color="0.9", zorder=0)
        ax.set_ylim(-0.1, 1.6)
    elif quantity == "pull std":
        ax.set_ylim(0, 3)
    elif quantity.startswith("completeness"):
        ax.set_ylim(-0.03, 1.05)
    else:
        ax.set_ylim(0.02, 50)


def picture(field: Field, seen: Mapping[str, NDArray]) -> Figure:
    """True sky, input and estimates of the part of a field with most in it, on one scale."""
    truth, data = field.truth / field.rms, field.image.data / field.rms
    others = [m for m in seen if m not in (*SHOWN, "input", "constant", "gaussian_paper")]
    chosen = [*others[:1], *(m for m in SHOWN if m in seen)][:4]
    panels = {"true sky": truth, "input": data, **{m: seen[m] for m in chosen}}
    cut = _richest(truth)
    with style():
        columns = 3
        figure, axes = new_figure(-(-len(panels) // columns), columns, 3.6, 3.6)
        for ax, (name, image) in zip(axes, panels.items()):
            # asinh: linear in the noise, logarithmic in what is bright
            shown = ax.imshow(np.arcsinh(image[cut]), vmin=np.arcsinh(-2), vmax=np.arcsinh(30),
                              origin="lower", cmap="magma", interpolation="nearest")  # fmt: skip
            ax.set_title(name)
            ax.grid(visible=False)
            ax.set(xticks=[], yticks=[])
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        ticks = np.array([-2, 0, 1, 3, 10, 30])
        bar = figure.colorbar(shown, ax=axes, shrink=0.7, ticks=np.arcsinh(ticks).tolist())
        bar.ax.set_yticklabels([f"{t:g}" for t in ticks])
        bar.set_label("brightness / noise")
    return figure


def _richest(truth: NDArray) -> tuple[slice, slice]:
    """The square with most pixels of S/N 0.5 to 10 among those that tile the image."""
    inside = (truth > 0.5) & (truth < 10)
    corners = [
        (y, x)
        for y in range(0, max(truth.shape[0] - SIDE, 0) + 1, SIDE // 4)
        for x in range(0, max(truth.shape[1] - SIDE, 0) + 1, SIDE // 4)
    ]
    y, x = max(corners, key=lambda c: inside[c[0] : c[0] + SIDE, c[1] : c[1] + SIDE].sum())
    return slice(y, y + SIDE), slice(x, x + SIDE)
