"""The report on a detection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from faintsky.detection import Detections
from faintsky.image import RadioCube
from faintsky.report.detection_figures import brightness_unit, maps_figure, source_figure
from faintsky.report.page import embedded, render
from faintsky.report.parts import with_error

SHOWN = (
    "id", "ra", "dec", "freq", "velocity", "dc_maj", "dc_min", "dc_pa", "fwhm_velocity", "flux", "flux_peak",
    "continuum", "snr", "reliability", "flags",
)  # fmt: skip
_FORMATS = {
    "ra": "{:.5f}", "dec": "{:+.5f}", "velocity": "{:.1f}", "dc_pa": "{:.0f}", "reliability": "{:.3f}",
    "snr": "{:.1f}", "id": "{:d}", "flags": "{}",
}  # fmt: skip
TABLE_ROWS, SPECTRA = 200, 30


def detection_report(
    cube: RadioCube, found: Detections, *, reliability: float, provenance: Mapping[str, Any]
) -> str:
    """The page as HTML, figures inside.

    Parameters
    ----------
    cube : RadioCube
        The input.
    found : Detections
        What was found in it.
    reliability : float
        The cut that was asked for.
    provenance : mapping
        Version, command, configuration.
    """
    table = found.catalog
    return render(
        "detection.html",
        title=f"Line emitters in {cube.name}",
        subtitle=f"{len(table)} sources of reliability {reliability:g} and above",
        facts=facts(cube, found),
        notes=found.notes,
        maps=embedded(maps_figure(cube, found)),
        columns=[(name, _unit(name, str(table[name].unit or ""), cube.has_flux)) for name in SHOWN],
        rows=[[_cell(name, row) for name in SHOWN] for row in table[:TABLE_ROWS]],
        more=max(0, len(table) - TABLE_ROWS),
        spectra=[embedded(source_figure(cube, found, row), 90) for row in table[:SPECTRA]],
        provenance={k: v for k, v in provenance.items() if v not in ("", None)},
    )


def facts(cube: RadioCube, found: Detections) -> dict[str, str]:
    """What a reader wants to know of the data first."""
    p = found.prepared
    n_chan, n_y, n_x = cube.shape
    ghz = cube.frequencies / 1e9
    beam = found.catalog.meta["beam_arcsec_deg"]
    scale, unit = brightness_unit(cube)
    expected = np.nan
    if found.noise is not None and len(found.catalog):
        expected = float(found.noise.fitted_above(found.catalog["snr"].min()))
    out = {
        "cube": f"{n_chan} channels x {n_y} x {n_x} pixels of {cube.pixel_sides} arcsec",
        "frequencies": f"{ghz.min():.6g} to {ghz.max():.6g} GHz",
        "channels": f"{cube.channel_widths().mean() / 1e6:.4g} MHz",
        "beam": f"{beam[0]:.3g} x {beam[1]:.3g} arcsec, position angle {beam[2]:.0f} deg",
        "noise": f"{scale * np.median(p.sigma[p.sigma > 0]):.4g} {unit} a channel (median)",
        "taken for": p.kind.name,
        "primary beam": found.catalog.meta["primary_beam"],
        "candidates": str(found.candidates),
    }
    if np.isfinite(expected):
        out["noise peaks expected above the faintest source"] = f"{expected:.2g}"
    return out | {f"step: {name}": str(count) for name, count in found.steps.items()}


def _unit(name: str, unit: str, has_flux: bool) -> str:
    if "Jy" in unit and not has_flux:
        return ""
    return {"freq": "GHz", "flux_peak": "mJy/beam", "continuum": "mJy/beam"}.get(name, unit)


def _cell(name: str, row: Any) -> str:
    value = row[name]
    if name in ("dc_maj", "dc_min", "fwhm_velocity", "flux"):
        return with_error(value, row[name + "_err"])
    if name in ("flux_peak", "continuum"):
        return with_error(1e3 * value, 1e3 * row[name + "_err"])
    if name == "flags":
        return str(value).replace(",", ", ")
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        return "-"
    if name == "freq":
        return f"{value / 1e9:.6f}"
    return _FORMATS[name].format(value)
