"""Histogram and autocorrelation of a residual, to compare it with noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.image import RadioImage
from faintsky.preparing import autocorrelation, gaussian_psf, radial_mean
from faintsky.report.layers import EMISSION

if TYPE_CHECKING:
    from faintsky.denoising import Denoised
    from faintsky.detection import DetectedImage

Float = NDArray[np.float64]
PSF, BEAM = "#7fa7d8", "#e3b071"


def noise_curves(image: RadioImage, found: Denoised | DetectedImage) -> str:
    """Histogram of the residual against a Gaussian, and its autocorrelation beside the beam's, as HTML."""
    from bokeh.embed import components
    from bokeh.layouts import row
    from bokeh.plotting import figure

    found = getattr(found, "sample", None) or found
    prepared = found.prepared
    scaled = np.where(prepared.valid, found.residual / np.where(prepared.valid, prepared.rms, 1), 0)
    outside = prepared.valid & (found.mask == 0)
    look: dict[str, Any] = {"width": 560, "height": 340, "tools": "pan,wheel_zoom,reset,save"}
    left = figure(
        title="Residual's values", y_axis_type="log", y_range=(1e-5, 60), x_axis_label="residual / rms",
        y_axis_label="density", **look,
    )  # fmt: skip
    middle, curves = histogram(scaled, outside, prepared.valid & ~outside)
    left.line(
        middle,
        np.exp(-0.5 * middle**2) / np.sqrt(2 * np.pi),
        color="#999999",
        width=4,
        legend_label="Gaussian",
    )
    for name, colour, density in curves:
        seen = np.where(density > 0, density, np.nan)
        left.step(middle, seen, mode="center", color=colour, width=1.3, legend_label=name)
    right = figure(
        title="Residual's autocorrelation, mean over circles", x_axis_label="separation [pixel]",
        y_axis_label="correlation", **look,
    )  # fmt: skip
    reach, seen = _correlation(scaled, outside if outside.any() else prepared.valid, prepared.beam_pixels)
    radius = np.arange(reach + 1)
    for curve, name, colour in _expected(image, found, reach):
        right.line(radius, curve, color=colour, width=4, alpha=0.6, legend_label=name)
    right.line(radius, seen, color="black", width=1.2, legend_label="residual outside the regions")
    right.scatter(radius, seen, color="black", size=4)
    for f in (left, right):
        f.legend.background_fill_alpha = 0.6
        f.legend.label_text_font_size = "11px"
    left.legend.location = "top_left"
    script, div = components(row(left, right))
    return div + script


def histogram(
    scaled: NDArray[np.floating], outside: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> tuple[Float, list[tuple[str, str, Float]]]:
    """Histograms of a residual outside and inside the regions.

    Parameters
    ----------
    scaled : array
        Residual in units of the noise, ``[y, x]``.
    outside, inside : array of bool
        Pixels of each, ``[y, x]``.

    Returns
    -------
    centres : array
        Centres of the bins.
    curves : list of tuple
        Name, colour and density of each that has enough pixels.
    """
    edges = np.linspace(-7, 7, 71)
    curves = []
    for chosen, colour, name in ((outside, "black", "outside the regions"), (inside, EMISSION, "inside")):
        if chosen.sum() > 30:
            density = np.histogram(scaled[chosen], bins=edges)[0] / (chosen.sum() * np.diff(edges))
            curves.append((f"{name}: σ = {float(np.std(scaled[chosen])):.2f} rms", colour, density))
    return (edges[1:] + edges[:-1]) / 2, curves


def _correlation(
    scaled: NDArray[np.floating], used: NDArray[np.bool_], beam_pixels: float
) -> tuple[int, Float]:
    """The largest separation [pixel], and the autocorrelation at each separation up to it."""
    reach = int(np.clip(6 * max(beam_pixels, 2.0), 8, min(scaled.shape) // 2))
    # means of the pixels used are subtracted, because a residual slope would correlate at all distances
    centred = scaled - (scaled[used].mean() if used.any() else 0)
    return reach, radial_mean(autocorrelation(centred, used, reach))


def _expected(image: RadioImage, found: Denoised | DetectedImage, reach: int) -> list[tuple[Float, str, str]]:
    """Radial profiles expected for the correlation of the noise."""
    curves = []
    box = (2 * reach + 1, 2 * reach + 1)
    if getattr(found, "response", None) is not None and image.psf is not None:
        psf = image.psf[0]
        half = min(reach, *((n - 1) // 2 for n in psf.shape))
        y, x = (n // 2 for n in psf.shape)
        inner = radial_mean(psf[y - half : y + half + 1, x - half : x + half + 1])
        curves.append((np.pad(inner, (0, reach - half), constant_values=np.nan), "psf", PSF))
    beam = found.prepared.beam
    shape = gaussian_psf(box, *beam) if beam is not None else gaussian_psf(box, 0.2, 0.2, 0.0)
    curves.append((radial_mean(shape), "clean beam" if beam is not None else "white noise", BEAM))
    return curves
