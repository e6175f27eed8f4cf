"""Self-contained HTML pages on detected sources, denoised images and injected sources; their figures.

All text is escaped, so that a header cannot bring markup of its own.
"""

from __future__ import annotations

import base64
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from faintsky.evaluation import fraction
from faintsky.image import RadioCube, RadioData, RadioImage
from faintsky.matching import column
from faintsky.report.explorer import ROWS, explore, resources
from faintsky.report.layers import (
    Layer,
    brightness_unit,
    cube_layers,
    display_unit,
    image_layers,
    spectral_axis,
)
from faintsky.report.noise import noise_curves
from faintsky.report.spectra import source_drawing
from faintsky.system.figures import COLOURS, panels, save_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from faintsky.denoising import Denoised
    from faintsky.detection import DetectedImage, Detections
    from faintsky.injecting import Recovery


TEXTS = tomllib.loads((Path(__file__).parent / "texts.toml").read_text(encoding="utf-8"))
SPECTRA = 50
"""Most sources whose spectra are shown."""


def detection_report(
    cube: RadioCube, found: Detections, *, verdict: str, reliability: float, provenance: Mapping[str, Any]
) -> str:
    """The page on the sources of a cube as HTML.

    Parameters
    ----------
    cube : RadioCube
        The input.
    found : Detections
        The sources found.
    verdict : str
        Whether the residual is noise.
    reliability : float
        Lowest reliability in the catalogue.
    provenance : mapping
        Version, command, configuration.

    Returns
    -------
    str
    """
    table, prepared = found.catalog, found.prepared
    n_chan, n_y, n_x = cube.shape
    axis, label = spectral_axis(cube)
    scale, unit = brightness_unit(cube)
    name, axis_unit = label.rstrip("]").split(" [")
    facts = {
        "cube": f"{n_chan} channels x {n_y} x {n_x} pixels of {cube.pixel_sides} arcsec",
        name: f"{axis.min():.6g} to {axis.max():.6g} {axis_unit}",
        "channels": _width(float(np.abs(np.gradient(axis)).mean()), axis_unit),
        "beam": _beam(table.meta["beam_arcsec_deg"]),
        "noise": f"{scale * np.median(prepared.sigma[prepared.sigma > 0]):.4g} {unit} per channel (median)",
        "treated as": prepared.kind.name,
        "primary beam": table.meta["primary_beam"],
        "candidates": str(found.candidates),
        "residual": verdict,
    }
    expected = found.noise.fitted.above(table["snr"].min()) if found.noise and len(table) else np.nan
    if np.isfinite(expected):
        facts["noise peaks expected above the faintest source"] = f"{float(expected):.2g}"
    facts |= {f"step: {name}": str(count) for name, count in found.steps.items()}
    units = {"freq": "GHz", "flux_peak": "mJy/beam", "continuum": "mJy/beam"}
    if not cube.has_flux:
        units |= dict.fromkeys(("flux", "flux_peak", "continuum"), "")
    text = TEXTS["maps"]["cube"].format(verdict=verdict)
    sections = [_maps("sources", cube, cube_layers(cube, found), found, "cube", units, text, "fainter")]
    if len(table):
        spectra = [source_drawing(*found.about(cube, row)) for row in table[:SPECTRA]]
        sections.append(Section("Spectra and images", drawings=spectra, text=TEXTS["sources"]["spectra"]))
    return render(
        f"Line emitters in {cube.name}", f"{len(table)} sources of reliability {reliability:g} and above",
        facts, sections, provenance=provenance, notes=found.notes,
    )  # fmt: skip


def denoising_report(image: RadioImage, found: Denoised, *, provenance: Mapping[str, Any]) -> str:
    """The page on a denoised image as HTML.

    Parameters
    ----------
    image : RadioImage
        The input.
    found : Denoised
        The denoised image and its regions.
    provenance : mapping
        Version, command, configuration.

    Returns
    -------
    str
    """
    table, p = found.catalog, found.prepared
    facts = _image_facts(image, found) | {
        "regions before the cut in reliability": str(found.regions),
        "area in regions": f"{100 * (found.mask > 0).sum() / p.valid.sum():.2g} %",
    }
    dirty = found.response is not None
    units = {"flux": "mJy", "flux_peak": "mJy/beam", "area": "arcsec²"}
    text = TEXTS["maps"]["denoised"].format(seen=" convolved with the psf" if dirty else "")
    sections = [
        _maps("regions", image, image_layers(image, found), found, "denoised", units, text),
        _noise(image, found, TEXTS["noise"]["denoised"].format(beam="psf" if dirty else "beam")),
    ]
    return render(
        f"Emission in {image.name}", f"regions {found.rule}: {len(table)}", facts, sections,
        provenance=provenance, notes=found.notes,
    )  # fmt: skip


def image_report(
    image: RadioImage, found: DetectedImage, *, verdict: str, provenance: Mapping[str, Any]
) -> str:
    """The page on the sources of an image as HTML.

    Parameters
    ----------
    image : RadioImage
        The input.
    found : DetectedImage
        The sources found.
    verdict : str
        Whether the residual is noise.
    provenance : mapping
        Version, command, configuration.

    Returns
    -------
    str
    """
    table = found.catalog
    facts = _image_facts(image, found) | {
        "components": str(len(found.components)),
        "candidates before the cut in reliability": str(found.candidates),
        "residual": verdict,
    }
    expected = np.asarray(table["false_alarm"])[np.isfinite(table["false_alarm"])]
    if len(expected):
        facts["noise peaks expected above the faintest source"] = f"{np.max(expected):.2g}"
    if found.regions is not None:
        facts["diffuse regions"] = str((np.asarray(table["kind"]) == "diffuse").sum())
    layers = image_layers(image, found, ("model", "noise"))
    units = {"flux": "mJy", "flux_peak": "mJy/beam", "rms": "mJy/beam"}
    thin = "" if found.thin == 1 else f" The maps show means over squares of {found.thin} pixels."
    part = "" if found.sample is None else " This is for a part in the middle of the image."
    said = TEXTS["noise"]["image"].format(verdict=verdict[:1].upper() + verdict[1:], part=part)
    sections = [
        _maps("objects", image, layers, found, "image", units, TEXTS["maps"]["image"].format(thin=thin)),
        _noise(image, found, said),
    ]
    return render(
        f"Sources of {image.name}", f"objects {found.rule}: {len(table)}", facts, sections,
        provenance=provenance, notes=found.notes,
    )  # fmt: skip


def _maps(
    things: str, data: RadioCube | RadioImage, layers: Sequence[Layer], found: Any, page: str,
    units: Mapping[str, str], text: str, rest: str = "less significant",
) -> Section:  # fmt: skip
    """The maps and the table."""
    table, mask = found.catalog, None if page == "cube" else found.mask
    live = explore(data, layers, table, TEXTS["columns"][page].split(), units, mask)
    more = len(table) - ROWS
    rows = f"{more} {rest} {things}, and further columns," if more > 0 else "Further columns"
    note = f"{rows} are in the catalogue only (catalog.csv, .fits, .ecsv and .vot)."
    if not len(table):
        note = f"No {things[:-1]} reaches the requested reliability."
    return Section(f"Maps and {things}", live=live, text=f"{TEXTS['maps']['explore']} {text}", note=note)


def _noise(image: RadioImage, found: Denoised | DetectedImage, text: str) -> Section:
    return Section("Does the residual look like noise?", live=noise_curves(image, found), text=text)


def _image_facts(image: RadioImage, found: Denoised | DetectedImage) -> dict[str, str]:
    """Summary at the top of a page on an image."""
    table, p = found.catalog, found.prepared
    factor, unit = display_unit(found, image)
    n_y, n_x = image.shape[1:]
    low, high = (factor * float(v) for v in np.nanquantile(p.rms, [0.01, 0.99]))
    noise = f"{factor * p.typical_rms:.4g} {unit} (median)"
    noise += f", {low:.3g} to {high:.3g} over the image" if high > 1.02 * low else ""
    beam = "none: white noise"
    if p.beam is not None:
        beam = _beam(table.meta["beam_arcsec_deg"])
        beam += "" if p.beam_origin == "given" else f" (from the {p.beam_origin})"
    facts = {
        "image": f"{n_x} x {n_y} pixels of {image.pixel_sides} arcsec",
        "treated as": found.kind,
        "beam": beam,
        "noise": noise + (", given" if p.rms_origin == "given" else ""),
        "primary beam": table.meta["primary_beam"],
    }
    if image.frequencies is not None:
        facts["frequency"] = f"{image.frequencies[0] / 1e9:.6g} GHz"
    return facts


def _width(width: float, unit: str) -> str:
    """The width of a channel as text: 39.06 kHz rather than 3.906e-05 GHz."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter("Hz", places=2)(1e9 * width) if unit == "GHz" else f"{width:.4g} {unit}"


def _beam(beam: Sequence[float]) -> str:
    return f"{beam[0]:.3g} x {beam[1]:.3g} arcsec, position angle {beam[2]:.0f} deg"


_MEASURED = {
    "flux_bias": "flux bias, measured S/N", "deboosted_bias": "deboosted", "reliability": "reliability",
    "entries": "entries",
}  # fmt: skip


def injection_report(
    figure: Figure,
    rows: Sequence[Mapping[str, float]],
    facts: Mapping[str, Any],
    *,
    data: RadioData,
    provenance: Mapping[str, Any],
) -> str:
    """The page on injected sources as HTML.

    Parameters
    ----------
    figure : Figure
        From `faintsky.report.recovery_figure`.
    rows : sequence of mapping
        ``completeness.csv``.
    facts : mapping
        The summary.
    data : RadioData
        The input.
    provenance : mapping
        Version, command, configuration.

    Returns
    -------
    str
    """
    diffuse, points = "share" in rows[0], "reliability" in rows[0]
    kind = "diffuse" if diffuse else "points" if points else "lines"
    snr = {"diffuse": "S/N per pixel", "points": "S/N", "lines": "matched S/N"}[kind]
    names = [snr, "injected", "completeness", "68 %", "found / true flux", "its scatter"]
    more = {"share": "share of their area"} if diffuse else _MEASURED if points else {}
    names += more.values()
    cells = [
        [
            f"{r['snr_from']:.2g}–{r['snr_to']:.2g}", f"{r['n']:.0f}", _two(r["completeness"]),
            f"{r['low']:.2f}–{r['high']:.2f}", _two(r["flux_ratio"]), _two(r["flux_scatter"]),
            *(_two(r[key]) for key in more),
        ]
        for r in rows
    ]  # fmt: skip
    shown = {
        k.replace("_", " "): f"{v:.3g}" if isinstance(v, float) else str(v)
        for k, v in facts.items()
        if v is not None and v == v  # NaN is not shown
    }
    section = Section(
        "Completeness and flux", [embedded(figure)], "completeness and flux ratio against S/N",
        TEXTS["injected"][kind], names, cells,
    )  # fmt: skip
    said = f"{facts['found']} of {facts['sources']} found"
    return render(f"Sources injected into {data.name}", said, shown, [section], provenance=provenance)


def _two(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"


def embedded(figure: Figure, dpi: int = 90) -> str:
    """A figure as a ``data:`` URL for an ``<img>``."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_level": 2}
    )
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@dataclass
class Section:
    """A part of a page.

    Parameters
    ----------
    title : str
        Its heading.
    figures : sequence of str, optional
        From `embedded`.
    shows : str, optional
        Alternative text of the figures.
    text : str, optional
        Explains the figures.
    columns : sequence of str, optional
        Headings of a table.
    rows : sequence of sequence of str, optional
        Its cells.
    note : str, optional
        Text after the table, or instead of it.
    drawings : sequence of str, optional
        SVG drawings, in which text is already escaped.
    live : str, optional
        HTML of Bokeh's figures.
    """

    title: str
    figures: Sequence[str] = ()
    shows: str = ""
    text: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    drawings: Sequence[str] = ()
    live: str = ""


def render(
    title: str,
    subtitle: str,
    facts: Mapping[str, Any],
    sections: Sequence[Section],
    *,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> str:
    """The page as HTML; all text is escaped, so that a header cannot bring markup of its own.

    Parameters
    ----------
    title, subtitle : str
        Headings.
    facts : mapping
        Names and values of the summary.
    sections : sequence of Section
        Parts of the page.
    provenance : mapping
        Version, command, configuration.
    notes : sequence of str, optional
        Assumptions and corrections.

    Returns
    -------
    str
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    known = {k: v for k, v in provenance.items() if v not in ("", None)}
    return environment.get_template("report.html").render(
        title=title, subtitle=subtitle, facts=facts, notes=notes, sections=sections, provenance=known,
        head=resources() if any(s.live for s in sections) else "",
    )  # fmt: skip


def recovery_figure(sources: Table, recovery: Recovery) -> Figure:
    """Completeness against S/N, and found over true flux of detections; for images also the share of area."""
    diffuse, points = recovery.share is not None, bool(recovery.measured)
    image = diffuse or points
    label = "S/N per pixel" if diffuse else "S/N" if points else "matched S/N"
    snr, ratio = column(sources, "snr"), column(sources, "found_flux") / column(sources, "flux")
    known = np.isfinite(ratio)
    b = recovery.completeness
    with style():
        figure, (left, right) = panels(1, 2, 4.8, 3.6)
        fraction(left, b, 0, "injected sources, 68 % interval")
        if recovery.curve is not None:
            fine = np.geomspace(b.edges[0], b.edges[-1], 200)
            left.plot(fine, recovery.curve(fine), color=COLOURS[0], lw=1.4, label="fit")
        centres = b.centres if image else (b.edges[:-1] + b.edges[1:]) / 2
        if recovery.share is not None:
            left.plot(
                centres, recovery.share, "s--", color=COLOURS[2], ms=4, lw=1, label="share of their area"
            )
        if image:
            left.set_xscale("log")
            right.set_xscale("log")
        left.set(xlabel=label, ylabel="completeness", ylim=(-0.03, 1.18))
        left.legend(loc="upper left", ncols=1 if image else 2)
        right.scatter(snr[known], ratio[known], s=12, lw=0, alpha=0.5, color=COLOURS[5], label="source")
        seen = np.isfinite(recovery.flux_ratio)
        right.errorbar(centres[seen], recovery.flux_ratio[seen], recovery.flux_error[seen], fmt="o",
                       color=COLOURS[1], ms=5, label="median")  # fmt: skip
        right.axhline(1, color="0.4", lw=0.8)
        top = float(np.nanquantile(ratio[known], 0.98)) if known.any() else 2.0
        right.set(xlabel=label, ylabel="found / true flux", ylim=(0, max(2.0, 1.1 * top)))
        if known.any():
            right.legend(loc="upper right")
    return figure


def training_figure(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw the loss of training and validation, and one panel for every other score.

    Parameters
    ----------
    history : sequence of dict
        ``step``, ``epoch`` (if any), ``train``, ``loss`` and further scores of every validation.
    path : pathlib.Path
        A PNG file.
    """
    along = "epoch" if "epoch" in history[0] else "step"
    steps = [h[along] for h in history]
    scores = [k for k in history[0] if k not in ("step", "epoch", "train", "loss")]
    with style():
        figure, axes = panels(1, 1 + len(scores), 4.2, 3.4)
        axes[0].plot(steps, [h["train"] for h in history], label="training", color="0.6")
        axes[0].plot(steps, [h["loss"] for h in history], label="validation", color=COLOURS[0])
        best = min(history, key=lambda h: h["loss"])
        axes[0].plot(best[along], best["loss"], "o", color=COLOURS[1], label="kept")
        axes[0].set_ylabel("loss")
        axes[0].legend()
        for ax, score in zip(axes[1:], scores, strict=True):
            ax.plot(steps, [h[score] for h in history], color=COLOURS[0])
            ax.set_ylabel(score)
        for ax in axes:
            ax.set_xlabel(along)
        save_figure(figure, path, dpi=120)
