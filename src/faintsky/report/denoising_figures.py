"""Figures of a denoised image: before and after, uncertainty, residual, and whether the latter is noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.beams import beam_covariance
from faintsky.denoising import Denoised
from faintsky.image import RadioImage
from faintsky.preparing import autocorrelation, gaussian_psf, radial_mean
from faintsky.report.parts import ellipse, new_figure, world_labels
from faintsky.units import unit_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REGION, SECOND = "#19d3c5", "#d95f02"
"""Colours of regions on dark maps and of second lines in plots."""
MOST_PIXELS = 900
"""Pixels along an axis of a map that is drawn; larger images are averaged."""


def display_unit(found: Denoised, image: RadioImage) -> tuple[float, str]:
    """Factor and name of the unit that the noise has a handy size in."""
    name = unit_text(image.unit) if str(image.unit) else ""
    rms = found.prepared.typical_rms
    if not name.startswith("Jy"):
        return 1.0, name
    prefixes = ((1.0, ""), (1e3, "m"), (1e6, "µ"), (1e9, "n"))
    factor, prefix = next((p for p in prefixes if rms * p[0] > 0.01), prefixes[-1])
    return factor, prefix + name


def maps_figure(image: RadioImage, found: Denoised) -> Figure:
    """Input, denoised image with its regions, uncertainty and residual."""
    from matplotlib.colors import AsinhNorm, Normalize

    factor, unit = display_unit(found, image)
    n_y, n_x = found.image.shape
    figure = new_figure(13.5, 0.9 + 9.8 * min(max(n_y / n_x, 0.4), 1.6))
    axes = figure.subplots(2, 2, subplot_kw={"projection": image.wcs})
    rms = found.prepared.typical_rms * factor
    finite = found.image[np.isfinite(found.image)] * factor
    top = max(8 * rms, 1.2 * float(np.quantile(finite, 0.999)))
    bright = AsinhNorm(linear_width=2 * rms, vmin=-2.5 * rms, vmax=top)
    data = np.where(found.prepared.valid, found.prepared.data, np.nan)
    spread = found.uncertainty[np.isfinite(found.uncertainty)] * factor
    panels = [
        (data, "input", "inferno", bright),
        (found.image, "denoised", "inferno", bright),
        (found.uncertainty, "uncertainty", "viridis", Normalize(0, float(np.quantile(spread, 0.995)))),
        (found.residual, "residual", "RdBu_r", Normalize(-5 * rms, 5 * rms)),
    ]
    for ax, (values, title, colours, norm) in zip(axes.flat, panels):
        drawn = ax.imshow(
            _averaged(values) * factor, origin="lower", cmap=colours, norm=norm,
            extent=(-0.5, n_x - 0.5, -0.5, n_y - 0.5), interpolation="nearest",
        )  # fmt: skip
        bar = figure.colorbar(drawn, ax=ax, shrink=0.85, label=unit, pad=0.01)
        if norm is bright:
            bar.set_ticks(_ticks(rms, top), minor=False)
            bar.ax.minorticks_off()
            bar.ax.yaxis.set_major_formatter("{x:.3g}")
        ax.set_title(title)
        ax.set_facecolor("0.75")
        world_labels(ax)
    _mark_regions(axes[0, 1], found)
    _draw_beam(axes[0, 0], found)
    return figure


def _ticks(rms: float, top: float) -> list[float]:
    """Round numbers for a scale that is linear up to the noise and logarithmic above."""
    decades = range(int(np.floor(np.log10(rms))), int(np.ceil(np.log10(top))) + 1)
    steps = (1, 2, 5) if top < 100 * rms else (1, 3) if top < 1000 * rms else (1,)
    rising = [m * 10.0**k for k in decades for m in steps]
    shown = [v for v in rising if 1.5 * rms < v <= top]
    return [-shown[0], 0.0, *shown] if shown and shown[0] <= 2.5 * rms else [0.0, *shown]


def _averaged(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Means over squares of pixels, so that a map has no more than it can show."""
    step = -(-max(values.shape) // MOST_PIXELS)
    if step == 1:
        return values
    n_y, n_x = (n // step * step for n in values.shape)
    parts = values[:n_y, :n_x].reshape(n_y // step, step, n_x // step, step)
    seen = np.isfinite(parts)
    count = seen.sum(axis=(1, 3))
    total = np.where(seen, parts, 0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mark_regions(ax: Axes, found: Denoised) -> None:
    """The regions' outlines, and the numbers of the most significant ones."""
    if not found.mask.any():
        return
    n_y, n_x = found.mask.shape
    step = -(-max(found.mask.shape) // MOST_PIXELS)
    inside = (found.mask[::step, ::step] > 0).astype(float)
    ax.contour(
        np.arange(0, n_x, step), np.arange(0, n_y, step), inside, levels=[0.5], colors=REGION, linewidths=0.9
    )
    for row in found.catalog[:40]:
        ax.annotate(
            str(row["id"]), (row["x_max"], row["y_max"]), xytext=(2, 2), textcoords="offset points",
            color=REGION, fontsize=9,
        )  # fmt: skip


def _draw_beam(ax: Axes, found: Denoised) -> None:
    beam = found.prepared.beam
    if beam is None:
        return
    n_y, n_x = found.image.shape
    place = (0.03 * n_x + beam[0], 0.03 * n_y + beam[0])
    ax.add_patch(ellipse(place, beam_covariance(beam), edgecolor="white", facecolor="0.5"))


def noise_figure(image: RadioImage, found: Denoised) -> Figure:
    """Histogram of the residual against a Gaussian, and its autocorrelation beside the beam's."""
    figure = new_figure(11, 3.9)
    left, right = figure.subplots(1, 2)
    prepared = found.prepared
    scaled = np.where(prepared.valid, found.residual / np.where(prepared.valid, prepared.rms, 1), 0)
    outside = prepared.valid & (found.mask == 0)
    _histogram(left, scaled, outside, prepared.valid & ~outside)
    _correlation(right, image, found, scaled, outside)
    return figure


def _histogram(
    ax: Axes, scaled: NDArray[np.floating], outside: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> None:
    edges = np.linspace(-7, 7, 71)
    middle = (edges[1:] + edges[:-1]) / 2
    ax.plot(middle, np.exp(-0.5 * middle**2) / np.sqrt(2 * np.pi), color="0.6", lw=4, label="Gaussian")
    for chosen, colour, name in ((outside, "k", "outside the regions"), (inside, SECOND, "inside")):
        if chosen.sum() > 30:
            density = np.histogram(scaled[chosen], bins=edges)[0] / (chosen.sum() * np.diff(edges))
            width = float(np.std(scaled[chosen]))
            ax.step(middle, density, where="mid", color=colour, lw=1.2, label=f"{name}: σ = {width:.2f} rms")
    ax.set_yscale("log")
    ax.set_ylim(1e-5, 60)
    ax.set_xlabel("residual / rms")
    ax.set_ylabel("density")
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    ax.set_title("Residual's values", fontsize=10)


def _correlation(
    ax: Axes,
    image: RadioImage,
    found: Denoised,
    scaled: NDArray[np.floating],
    outside: NDArray[np.bool_],
) -> None:
    size = max(found.prepared.beam_pixels, 2.0)
    reach = int(np.clip(6 * size, 8, min(scaled.shape) // 2))
    # from means over the pixels used, or what is left of a slope would correlate at all distances
    centred = scaled - (scaled[outside].mean() if outside.any() else 0)
    seen = radial_mean(autocorrelation(centred, outside if outside.any() else found.prepared.valid, reach))
    radius = np.arange(reach + 1)
    ax.axhline(0, color="0.8", lw=0.8)
    for curve, name, colour in _expected(image, found, reach):
        ax.plot(radius, curve, color=colour, lw=4, alpha=0.6, label=name)
    ax.plot(radius, seen, "k.-", lw=1.2, label="residual outside the regions")
    ax.set_xlabel("separation [pixel]")
    ax.set_ylabel("correlation")
    ax.set_ylim(min(-0.35, float(seen.min()) - 0.05), 1.05)
    ax.legend(frameon=False, fontsize=8)
    ax.set_title("Residual's autocorrelation, mean over circles", fontsize=10)


def _expected(image: RadioImage, found: Denoised, reach: int) -> list[tuple[NDArray[np.float64], str, str]]:
    """Radial profiles that the noise's correlation is to be held against."""
    curves = []
    box = (2 * reach + 1, 2 * reach + 1)
    if found.response is not None and image.psf is not None:
        psf = image.psf[0]
        half = min(reach, *((n - 1) // 2 for n in psf.shape))
        y, x = (n // 2 for n in psf.shape)
        inner = radial_mean(psf[y - half : y + half + 1, x - half : x + half + 1])
        curves.append((np.pad(inner, (0, reach - half), constant_values=np.nan), "psf", "#7fa7d8"))
    beam = found.prepared.beam
    shape = gaussian_psf(box, *beam) if beam is not None else gaussian_psf(box, 0.2, 0.2, 0.0)
    name = "clean beam" if beam is not None else "white noise"
    curves.append((radial_mean(shape), name, "#e3b071"))
    return curves
