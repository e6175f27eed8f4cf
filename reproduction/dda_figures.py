"""The figures of Gheller & Vazza (2021) for any methods and sets: maps, histograms, C(r), discrepancies.

``maps_SET.png`` are their Figs 3, 6, 7, 10 and 11, ``zoom_SET.png`` Fig. 4, ``cut_SET.png`` Fig. 8,
``histograms.png`` Figs 2, 5 and 12, ``correlation.png`` Figs 9 and 13, ``discrepancy.png`` Fig. A1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.evaluation import Field
from faintsky.evaluation.images import OTHERS
from faintsky.published.dda import EDGES, LEAST_MRE
from faintsky.system.figures import COLOURS, MAPS, panels_of, style
from reproduction.dda_measures import radii

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
"""By set and method: of `reproduction.dda_measures.PaperImages`."""

WORTH_A_MAP = ("clean", "starlet", "gaussian_paper", "fft", "gaussian")
"""Methods without training, in the order in which they get a panel; models come before them."""
PANELS = 6
ZOOM = 160
"""Pixels a side of a zoom."""
CUT = 1 / 3
"""S/N per pixel that Fig. 8 of the paper is cut at."""
SHOWN = (1e-8, 2e-3)
"""Brightness that histograms show [Jy/arcsec2]."""
BRIGHT = 1e-4
"""Upper end of the colours [Jy/arcsec2], where the brightest pixel does not say less."""


def of_field(field: Field, seen: Mapping[str, NDArray]) -> dict[str, Figure]:
    """Figures of one field of a set; ``seen`` are images ``[y, x]`` over the rms, by method."""
    unit = np.float32(field.rms * field.brightness)
    first = ("true sky", "input image")
    shown = [*first, *chosen([m for m in seen if m not in first])]
    images = {name.removesuffix(" image"): seen[name] * unit for name in shown}
    sky = images["true sky"]
    top = float(np.clip(np.nanquantile(sky, 0.9999), 30 * LEAST_MRE, BRIGHT))
    cut = _about_the_brightest(sky)
    zoomed = {k: v[cut] for k, v in images.items()}
    peak = float(np.nanmax(zoomed["true sky"]))
    made = {"maps": maps(images, LEAST_MRE, top)}
    made["zoom"] = maps(zoomed, LEAST_MRE, max(peak, 30 * LEAST_MRE))
    if field.kind == "noise":
        made["cut"] = maps(images, CUT * float(unit), top)
    return made


def chosen(methods: Sequence[str]) -> list[str]:
    """Those that get a panel: models, then the most telling of the others."""
    models = [m for m in methods if m not in OTHERS]
    return [*models, *(m for m in WORTH_A_MAP if m in methods)][: PANELS - 2]


def maps(images: Mapping[str, NDArray], low: float, high: float) -> Figure:
    """Brightness [Jy/arcsec2] on one logarithmic scale; what is below its lower end is black."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    colours = colormaps[MAPS["brightness"]].with_extremes(under="black", bad="0.5")
    with style():
        figure, axes = panels_of(len(images), 3.7, 3.6)
        for ax, (name, image) in zip(axes, images.items()):
            # noise below nothing is as dark as nothing; a logarithm would leave it out as if it were blank
            shown = ax.imshow(
                np.maximum(image, low / 10), norm=LogNorm(low, high), cmap=colours, origin="lower",
                interpolation="nearest" if max(image.shape) < 600 else None,
            )  # fmt: skip
            ax.set_title(name)
            ax.grid(visible=False)
            ax.set(xticks=[], yticks=[])
        bar = figure.colorbar(shown, ax=axes, shrink=0.7, extend="both")
        bar.set_label("brightness [Jy/arcsec²]")
    return figure


def _about_the_brightest(truth: NDArray) -> tuple[slice, slice]:
    """A square about the main source: the brightest place of the sky smoothed over a few beams."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(np.nan_to_num(truth), 8.0)
    place = np.unravel_index(int(smooth.argmax()), smooth.shape)
    corner = [int(np.clip(p - ZOOM // 2, 0, max(n - ZOOM, 0))) for p, n in zip(place, truth.shape)]
    return slice(corner[0], corner[0] + ZOOM), slice(corner[1], corner[1] + ZOOM)


def of_curves(curves: Curves) -> dict[str, Figure]:
    """Histograms, correlations and discrepancies, a panel for each set."""
    drawn = {name: {m: c for m, c in of.items() if m != "constant"} for name, of in curves.items()}
    sets = {name: of for name, of in drawn.items() if of}
    kinds = {"histograms": _histogram, "correlation": _correlation, "discrepancy": _discrepancy}
    return {name: _of_sets(sets, panel) for name, panel in kinds.items()} if sets else {}


def _of_sets(curves: Curves, draw: Any) -> Figure:
    methods = list(dict.fromkeys(m for of in curves.values() for m in of))
    models = [m for m in methods if m not in OTHERS]
    looks: dict[str, dict[str, Any]] = {}
    for names, dashes, width in ((models, "-", 1.8), ([m for m in methods if m in OTHERS], "--", 1.1)):
        for k, name in enumerate(names):
            # models from the front of the palette, the others from its back
            colour = COLOURS[k % 7] if dashes == "-" else COLOURS[-2 - k % 6]
            looks[name] = {"color": colour, "ls": dashes if k < 6 else ":", "lw": width, "label": name}
    columns = 2 if len(curves) in (2, 4) else min(3, len(curves))
    with style():
        figure, axes = panels_of(len(curves), 4.6, 3.5, columns)
        for k, (ax, (name, of)) in enumerate(zip(axes, curves.items())):
            draw(ax, of, looks)
            ax.set_title(name)
            if k % columns:
                ax.set_ylabel("")
        known = {label: line for ax in axes for line, label in zip(*ax.get_legend_handles_labels())}
        figure.legend(list(known.values()), list(known), loc="outside upper center", ncols=5)
    return figure


def _bars(ax: Axes, counts: Any, **look: Any) -> None:
    share = np.asarray(counts, dtype=float)
    ax.stairs(share, EDGES.tolist(), **look)


def _histogram(ax: Axes, of: Mapping[str, Any], looks: Mapping[str, Mapping[str, Any]]) -> None:
    truth = np.asarray(next(iter(of.values()))["histogram true"])
    total = truth.sum()
    _bars(ax, truth / total, fill=True, color="0.8", label="true sky")
    for name, curve in of.items():
        _bars(ax, np.asarray(curve["histogram"]) / total, **looks[name])
    ax.set(xscale="log", yscale="log", xlim=SHOWN, ylim=(0.3 / total, 2))
    ax.set(xlabel="brightness [Jy/arcsec²]", ylabel="share of the pixels")


def _discrepancy(ax: Axes, of: Mapping[str, Any], looks: Mapping[str, Mapping[str, Any]]) -> None:
    for name, curve in of.items():
        truth = np.asarray(curve["histogram true"])
        _bars(ax, np.abs(np.asarray(curve["histogram"]) - truth) / truth.sum(), **looks[name])
    ax.set(xscale="log", yscale="log", xlim=SHOWN, ylim=(0.3 / truth.sum(), 2))
    ax.set(xlabel="brightness [Jy/arcsec²]", ylabel="|difference|, share of the pixels")


def _correlation(ax: Axes, of: Mapping[str, Any], looks: Mapping[str, Mapping[str, Any]]) -> None:
    at = radii()
    at[0] = 1.0  # no separation has no place on a logarithmic axis
    truth = np.asarray(next(iter(of.values()))["C true"], dtype=float)
    for name, curve in {**of, "": {"C": truth}}.items():
        value = np.asarray(curve["C"], dtype=float)
        known = np.isfinite(value)
        if known.any():
            look = looks.get(name, {"color": "0.6", "lw": 4.0, "label": "true sky", "zorder": 1})
            ax.plot(at[known], value[known], **look)
    ax.axhline(0, color="0.5", lw=0.8)
    ax.set(xscale="log", xlim=(1, 1600), ylim=(-0.1, 1.05), xlabel="separation [arcsec]", ylabel="C(r)")
