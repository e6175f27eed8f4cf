"""Whether a residual looks like noise: in words, and as histogram and autocorrelation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from faintsky.arrays import Array, Bool, Float, Index
from faintsky.catalog import has_flag
from faintsky.image import RadioData, RadioImage
from faintsky.preparing import autocorrelation, gaussian_psf, radial_mean, robust_sigma
from faintsky.report.layers import EMISSION

if TYPE_CHECKING:
    from faintsky.denoising import Denoised
    from faintsky.detection import DetectedImage, Detections

PSF = "#7fa7d8"
"""Colour of the psf's curve."""
BEAM = "#e3b071"
"""Colour of the clean beam's, or white noise's, curve."""
FEW = 5
"""Fewest objects for which fractions are meaningful."""
WINGS = 1.15
"""Standard deviation of a residual, over that of its core, above which it has wings."""
FAR = 0.1
"""Correlation beyond the expected one above which a residual is correlated."""
FEWEST = 1000
"""Fewest pixels outside the objects by which a residual is judged."""
REMAINS = 1.5
"""S/N of a residual's highest pixel, less that expected of as many pixels of Gaussian noise, above which it
is not explained by noise. A simulated ALMA cube of the default size has 0.6."""
CHANNELS = 12
"""Channels of a cube whose correlation is measured."""


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
    gaussian = np.exp(-0.5 * middle**2) / np.sqrt(2 * np.pi)
    left.line(middle, gaussian, color="#999999", width=4, legend_label="Gaussian")
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


def histogram(scaled: Array, outside: Bool, inside: Bool) -> tuple[Float, list[tuple[str, str, Float]]]:
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


def _correlation(scaled: Array, used: Bool, beam_pixels: float) -> tuple[int, Float]:
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
        curves.append((_psf_profile(image.psf[0], reach, beyond=np.nan), "psf", PSF))
    beam = found.prepared.beam
    shape = gaussian_psf(box, *beam) if beam is not None else gaussian_psf(box, 0.2, 0.2, 0.0)
    curves.append((radial_mean(shape), "clean beam" if beam is not None else "white noise", BEAM))
    return curves


def _psf_profile(psf: Array, reach: int, *, beyond: float) -> Float:
    """Mean of a psf over circles up to `reach`, with another value beyond its border, ``[reach + 1]``."""
    half = min(reach, *((n - 1) // 2 for n in psf.shape))
    y, x = (n // 2 for n in psf.shape)
    inner = radial_mean(psf[y - half : y + half + 1, x - half : x + half + 1])
    return np.pad(inner, (0, reach - half), constant_values=beyond)


class Verdict(NamedTuple):
    """Whether a residual looks like noise.

    Attributes
    ----------
    words : str
        The verdict, and the reasons for it.
    left : float
        S/N of the highest pixel outside the objects; 0 where noise may have made it.
    """

    words: str
    left: float = 0.0


def doubts(found: DetectedImage | Detections, verdict: Verdict) -> list[str]:
    """Warnings that a result should not be used as it is."""
    table, valid = found.catalog, found.prepared.valid
    out = []
    if "not noise" in verdict.words:
        out.append(f"the residual is {verdict.words}: detection limits and errors are too small")
    elif verdict.left:
        out.append(f"the residual {verdict.words}")
    # where the network was asked, `denoise` made the image
    if verdict.left > 0 and getattr(found, "kind", "") == "dirty" and getattr(found, "regions", 0) is None:
        out.append("to find diffuse emission in a dirty image, use `faintsky denoise` with --psf")
    if len(table) < FEW:
        return out
    negative, artefact = (has_flag(table["flags"], name) for name in ("negative", "artefact"))
    if negative.sum() > 0.5 * (~negative).sum():
        out.append("objects are negative almost as often as positive: most are artefacts")
    elif artefact.mean() > 0.5:
        out.append("most objects lie among the artefacts of bright sources")
    if found.mask is not None and found.mask.ndim == 2 and (found.mask[valid] > 0).mean() > 0.5:
        out.append("objects cover more than half of the image: its noise is uncertain")
    return out


def residual_verdict(data: RadioData, found: DetectedImage | Detections) -> Verdict:
    """Whether the residual of an image or of a cube's channels is noise; of large data, that of a part."""
    part: Any = found.sample or found
    image = isinstance(data, RadioImage)
    scaled, outside, used, psf = _image_residual(part) if image else _cube_residual(part)
    if outside.sum() < FEWEST:
        return Verdict("unknown: too few pixels lie outside the objects")
    faults = _faults(scaled, outside, part.prepared.beam_pixels, psf)
    words = f"not noise: {', '.join(faults)}, and" if faults else "looks like noise, but"
    corner = part.corner or (0, 0, 0)
    # nothing was searched for beyond the user's mask
    sides = (used[-1] + 1, *scaled.shape[1:])
    mask = data.companion_part("mask", tuple(slice(c, c + n) for c, n in zip(corner, sides)))
    if mask is not None:
        outside = outside & (mask if len(mask) == 1 else mask[used])
    left, (z, y, x) = _highest(scaled, outside)
    # a method with neither masks nor model leaves its sources in the residual
    if not left or (not image and part.mask is part.model is None):
        return Verdict(words.rpartition(",")[0])
    where = f"x {x + corner[2]}, y {y + corner[1]}"
    if data.shape[0] > 1:
        where += f", channel {used[z] + corner[0]}"
    return Verdict(f"{words} {left:.1f} sigma remain outside the objects at {where}", left)


def _image_residual(found: DetectedImage) -> tuple[Array, Bool, Index, None]:
    """Residual in units of the noise, where it counts, ``[1, y, x]``, its only plane, and no psf."""
    outside = found.prepared.valid & (found.mask == 0)
    scaled = np.where(outside, found.residual / np.where(outside, found.uncertainty, 1), 0)
    return scaled[None], outside[None], np.zeros(1, np.intp), None


def _cube_residual(found: Detections) -> tuple[Array, Bool, Index, Array]:
    """The same of a cube's channels with data, ``[chan, y, x]``, the numbers of these, and the psf."""
    p = found.prepared
    rest = p.line if found.model is None else p.line - p.flat(found.model)
    used = np.flatnonzero(p.sigma > 0)
    outside = np.broadcast_to(p.valid, rest[used].shape)
    if found.mask is not None:
        outside = outside & (found.mask[used] == 0)
    scaled = rest[used] * (1 / p.sigma[used]).astype(np.float32)[:, None, None]
    return scaled, outside, used, p.psf[len(p.psf) // 2]


def _highest(scaled: Array, outside: Bool) -> tuple[float, tuple[int, ...]]:
    """Value and place of the highest pixel, in units of the noise; 0 where noise may have made it."""
    from scipy.special import ndtri

    values = np.where(outside, scaled, 0)
    at = np.unravel_index(int(np.abs(values).argmax()), values.shape)
    expected = -float(ndtri(0.5 / max(outside.sum(), 1)))
    value = float(values[at])
    return value if abs(value) > expected + REMAINS else 0.0, tuple(int(k) for k in at)


def _faults(scaled: Array, outside: Bool, beam_pixels: float, psf: Array | None) -> list[str]:
    """Why a residual in units of the noise, ``[chan, y, x]``, is not noise where it counts."""
    reach = int(np.clip(12 * max(beam_pixels, 2.0), 8, min(scaled.shape[1:]) // 2))
    expected = np.zeros(reach + 1) if psf is None else _psf_profile(psf, reach, beyond=0.0)
    seen = []
    for k in np.unique(np.linspace(0, len(scaled) - 1, CHANNELS).astype(int)):
        if outside[k].sum() > 500:
            plane = np.where(outside[k], scaled[k] - scaled[k][outside[k]].mean(), 0)
            seen.append(radial_mean(autocorrelation(plane, outside[k], reach)))
    faults = []
    # the noise of an image is correlated over its beam and slightly farther
    far = np.flatnonzero(np.abs(np.mean(seen, axis=0)) > FAR + np.abs(expected)) if seen else np.zeros(1)
    if far.max(initial=0) > 1.6 * max(beam_pixels, 1.0) + 1:
        faults.append(f"correlated over {far.max()} pixels")
    values = scaled[outside]
    wings = float(np.std(values)) / max(robust_sigma(values), 1e-9)
    if wings > WINGS:
        faults.append("with wings wider than a Gaussian's")
    return faults
