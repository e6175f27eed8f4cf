"""Maps, spectra and noise: the figures of reports on images and cubes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.beams import beam_covariance
from faintsky.catalog import has_flag
from faintsky.detection import strongest
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.image import SHAPE, RadioCube, RadioImage
from faintsky.preparing import autocorrelation, gaussian_psf, radial_mean
from faintsky.system.figures import COLOURS, MAPS
from faintsky.units import unit_text

if TYPE_CHECKING:
    from astropy.table import Row
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse

    from faintsky.denoising import Denoised
    from faintsky.detection import DetectedImage, Detections

EMISSION, ABSORPTION, REGION = COLOURS[1], COLOURS[0], "#19d3c5"
"""Emitters, absorbers, and outlines of regions on dark maps."""
MOST_PIXELS = 900
"""Pixels along an axis of a map that is drawn; larger images are averaged."""


_MARGINS = (1.1, 0.8, 0.5, 0.3, 1.95, 0.85)
"""Left, right, below and above all panels, and between them along x and y [inch]."""


def _panels(width: float, height: float, rows: int, columns: int, **how: Any) -> tuple[Figure, Any]:
    """An empty figure of that size [inch] and its panels.

    Its margins are fixed: a layout by what is drawn takes longer than to draw it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    left, right, bottom, top, wide, high = _MARGINS
    gaps = {
        "wspace": wide / ((width - left - right + wide) / columns - wide),
        "hspace": high / ((height - bottom - top + high) / rows - high),
    }
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, **gaps)
    return figure, figure.subplots(rows, columns, **how)


def world_labels(ax: Axes) -> None:
    """Right ascension and declination, or Galactic coordinates, along the axes of a map."""
    galactic = ax.wcs.wcs.lngtyp.strip() == "GLON"  # type: ignore[attr-defined]
    names = ("Galactic longitude", "Galactic latitude") if galactic else ("right ascension", "declination")
    for coordinate, name in zip(ax.coords, names):  # type: ignore[attr-defined]
        coordinate.set_axislabel(name)
        coordinate.set_ticklabel(exclude_overlapping=True, size=8)


def _ellipse(centre: tuple[float, float], cov: NDArray[np.float64], **style: str) -> Ellipse:
    """The half-maximum ellipse of a Gaussian with covariance ``cov`` in (x, y)."""
    from matplotlib.patches import Ellipse

    val, vec = np.linalg.eigh(cov)
    angle = float(np.degrees(np.arctan2(vec[1, 1], vec[0, 1])))
    fwhm = FWHM_PER_SIGMA * np.sqrt(val)
    face, edge = style.get("facecolor", "none"), style["edgecolor"]
    return Ellipse(centre, fwhm[1], fwhm[0], angle=angle, facecolor=face, edgecolor=edge, linewidth=1.2)


def _draw_map(ax: Axes, values: NDArray[Any], title: str, unit: str, **look: Any) -> Any:
    """A map with its colour bar and coordinates; gives the bar."""
    drawn = ax.imshow(values, origin="lower", interpolation="nearest", **look)
    bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.9, label=unit, pad=0.02, fraction=0.06)
    ax.set_title(title)
    ax.set_facecolor("0.75")
    world_labels(ax)
    return bar


def _label(ax: Axes, row: Row, place: tuple[float, float], away: float, colour: str) -> None:
    ax.annotate(
        str(row["id"]), place, xytext=(away, away), textcoords="offset points", color=colour, fontsize=9
    )


def brightness_unit(cube: RadioCube) -> tuple[float, str]:
    """Factor and name of the unit that brightness is shown in: mJy/beam, or the data's own without fluxes."""
    return (1e3, "mJy/beam") if cube.has_flux else (1.0, str(cube.unit))


def cube_figure(cube: RadioCube, found: Detections) -> Figure:
    """Peak S/N, what is left of it without the model, moment 0 and continuum, sources marked."""
    height = 2.4 + 6.6 * min(max(cube.shape[1] / cube.shape[2], 0.4), 1.5)
    figure, axes = _panels(11.5, height, 2, 2, subplot_kw={"projection": cube.wcs})
    p = found.prepared
    scale, name = brightness_unit(cube)
    where = "of all channels" if found.mask is None else "within the mask"
    continuum = p.restored(p.continuum.at(p.continuum.middle)) * scale
    if found.shown:
        snr, rest, moment = (found.shown[k] for k in ("snr", "rest", "moment"))
        moment = moment * scale
    else:
        line, whole = p.restored(p.line), tuple(slice(0, n) for n in cube.shape)
        moment = (line if found.mask is None else np.where(found.mask > 0, line, 0)).sum(axis=0) * scale
        snr = strongest(p.line, p.sigma, whole, signed=False)
        other = p.line if found.model is None else p.line - p.flat(found.model)
        rest = strongest(other, p.sigma, whole, signed=True)
    left = "residual" if found.model is not None else "line"
    maps = [
        (snr, "line: peak S/N of 3 channels", "S/N", "snr", (0, 100)),
        (rest, f"{left}: strongest S/N of 3 channels", "S/N", "signed", (0, 100)),
        (moment, f"line: moment 0 {where}", f"{name} channel", "amount", (0, 100)),
        (continuum, "continuum", name, "paper", (0.5, 99.7)),
    ]
    for ax, (image, title, unit, shown, ends) in zip(axes.flat, maps):
        values = np.where(p.valid, image, np.nan)
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, ends) if finite.size else (0, 1)
        low = low if shown == "paper" else -high if shown == "signed" else min(low, 0)
        look: Any = {"cmap": MAPS[shown], "vmin": low, "vmax": max(high, low + 1e-12)}
        _draw_map(ax, values, title, unit, **look)
        _mark_sources(ax, found, cube)
    return figure


def _mark_sources(ax: Axes, found: Detections, cube: RadioCube) -> None:
    """An ellipse of the observed size and the number of every source, and the beam in a corner."""
    from matplotlib.collections import EllipseCollection

    table, beam = found.catalog, found.prepared.beam
    n_y, n_x = found.prepared.valid.shape
    corner = (0.07 * n_x, 0.07 * n_y)
    ax.add_patch(_ellipse(corner, beam_covariance(beam), edgecolor="0.5", facecolor="0.5"))
    if not len(table):
        return
    colours = np.where(has_flag(table["flags"], "absorption"), ABSORPTION, EMISSION)
    shapes = cube.frame(table["x"], table["y"]).to_pixels(*(table[name] for name in SHAPE))
    beams = cube.local_beams(beam, table["x"], table["y"])
    # a method that measures no shape leaves the beam
    cov = [
        beam_covariance(tuple(np.nan_to_num(shape))) + beam_covariance(tuple(there))
        for shape, there in zip(np.transpose(shapes), beams)
    ]
    val, vec = np.linalg.eigh(cov)
    fwhm, angle = FWHM_PER_SIGMA * np.sqrt(val), np.degrees(np.arctan2(vec[:, 1, 1], vec[:, 0, 1]))
    places = np.transpose([table["x"], table["y"]])
    how: Any = {"units": "xy", "offsets": places, "transOffset": ax.transData}
    shown = EllipseCollection(
        fwhm[:, 1], fwhm[:, 0], angle, facecolors="none", edgecolors=colours, linewidths=1.2, **how
    )
    ax.add_collection(shown, autolim=False)
    for row, place, colour in zip(table, places, colours):
        _label(ax, row, tuple(place), 7, colour)


def spectral_axis(cube: RadioCube) -> tuple[NDArray, str]:
    """Frequencies, or velocities where only these are known, ``[chan]``, and their name."""
    velocities = cube.velocities()
    if cube.spectral.relative and velocities is not None:
        return velocities, "velocity [km/s]"
    return cube.frequencies / 1e9, "frequency [GHz]"


def display_unit(found: Denoised | DetectedImage, image: RadioImage) -> tuple[float, str]:
    """Factor and name of the unit that the noise has a handy size in."""
    name = unit_text(image.unit) if str(image.unit) else ""
    rms = found.prepared.typical_rms
    if not name.startswith("Jy"):
        return 1.0, name
    prefixes = ((1.0, ""), (1e3, "m"), (1e6, "µ"), (1e9, "n"))
    factor, prefix = next((p for p in prefixes if rms * p[0] > 0.01), prefixes[-1])
    return factor, prefix + name


def image_figure(
    image: RadioImage, found: Denoised | DetectedImage, names: tuple[str, str] = ("denoised", "uncertainty")
) -> Figure:
    """Input, denoised image or model with its objects, uncertainty or noise, and residual."""
    from matplotlib.colors import AsinhNorm, Normalize

    factor, unit = display_unit(found, image)
    n_y, n_x = image.shape[1:]
    height = 1.65 + 8.9 * min(max(n_y / n_x, 0.4), 1.6)
    figure, axes = _panels(13.5, height, 2, 2, subplot_kw={"projection": image.wcs})
    rms = found.prepared.typical_rms * factor
    finite = found.image[np.isfinite(found.image)] * factor
    top = max(8 * rms, 1.2 * float(np.quantile(finite, 0.999)))
    bright = AsinhNorm(linear_width=2 * rms, vmin=-2.5 * rms, vmax=top)
    data = np.where(found.prepared.valid, found.prepared.data, np.nan)
    spread = found.uncertainty[np.isfinite(found.uncertainty)] * factor
    maps = [
        (data, "input", "brightness", bright),
        (found.image, names[0], "brightness", bright),
        (found.uncertainty, names[1], "amount", Normalize(0, float(np.quantile(spread, 0.995)))),
        (found.residual, "residual", "signed", Normalize(-5 * rms, 5 * rms)),
    ]
    for ax, (values, title, shown, norm) in zip(axes.flat, maps):
        extent = (-0.5, n_x - 0.5, -0.5, n_y - 0.5)
        values = _averaged(values) * factor
        bar = _draw_map(ax, values, title, unit, cmap=MAPS[shown], norm=norm, extent=extent)
        if norm is bright:
            bar.set_ticks(_ticks(rms, top), minor=False)
            bar.ax.minorticks_off()
            bar.ax.yaxis.set_major_formatter("{x:.3g}")
    _mark_regions(axes[0, 1], found)
    beam = found.prepared.beam
    if beam is not None:
        place = (0.03 * n_x + beam[0], 0.03 * n_y + beam[0])
        axes[0, 0].add_patch(_ellipse(place, beam_covariance(beam), edgecolor="white", facecolor="0.5"))
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
    parts = [values[j:n_y:step, i:n_x:step] for j in range(step) for i in range(step)]
    count = sum(np.isfinite(part).astype(np.float32) for part in parts)
    total = sum(np.nan_to_num(part) for part in parts)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _mark_regions(ax: Axes, found: Denoised | DetectedImage) -> None:
    """The regions' outlines, and the numbers of the most significant ones."""
    if not found.mask.any():
        return
    step = -(-max(found.mask.shape) // MOST_PIXELS)
    inside = (found.mask[::step, ::step] > 0).astype(float)
    apart = step * getattr(found, "thin", 1)
    ax.contour(
        *(apart * np.arange(n) for n in inside.shape[::-1]),
        inside,
        levels=[0.5],
        colors=REGION,
        linewidths=0.9,
    )
    for row in found.catalog[:40]:
        _label(ax, row, (row["x_max"], row["y_max"]), 2, REGION)


def noise_figure(image: RadioImage, found: Denoised | DetectedImage) -> Figure:
    """Histogram of the residual against a Gaussian, and its autocorrelation beside the beam's."""
    figure, (left, right) = _panels(11, 3.9, 1, 2)
    found = getattr(found, "sample", None) or found
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
    for chosen, colour, name in ((outside, "k", "outside the regions"), (inside, EMISSION, "inside")):
        if chosen.sum() > 30:
            density = np.histogram(scaled[chosen], bins=edges)[0] / (chosen.sum() * np.diff(edges))
            width = float(np.std(scaled[chosen]))
            ax.step(middle, density, where="mid", color=colour, lw=1.2, label=f"{name}: σ = {width:.2f} rms")
    ax.set_yscale("log")
    ax.set_ylim(1e-5, 60)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.minorticks_off()
    ax.set_xlabel("residual / rms")
    ax.set_ylabel("density")
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    ax.set_title("Residual's values", fontsize=10)


def _correlation(
    ax: Axes,
    image: RadioImage,
    found: Denoised | DetectedImage,
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


def _expected(
    image: RadioImage, found: Denoised | DetectedImage, reach: int
) -> list[tuple[NDArray[np.float64], str, str]]:
    """Radial profiles that the noise's correlation is to be held against."""
    curves = []
    box = (2 * reach + 1, 2 * reach + 1)
    if getattr(found, "response", None) is not None and image.psf is not None:
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
