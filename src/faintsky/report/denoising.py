"""The report on a denoised image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from faintsky.denoising import Denoised
from faintsky.image import RadioImage
from faintsky.report.denoising_figures import display_unit, maps_figure, noise_figure
from faintsky.report.page import embedded, render
from faintsky.report.parts import with_error

SHOWN = (
    "id", "ra", "dec", "flux", "flux_peak", "dc_maj", "dc_min", "dc_pa", "area", "pb", "snr", "reliability",
    "flags",
)  # fmt: skip
_FORMATS = {
    "ra": "{:.5f}", "dec": "{:+.5f}", "dc_pa": "{:.0f}", "reliability": "{:.3f}", "snr": "{:.1f}",
    "id": "{:d}", "area": "{:.4g}", "pb": "{:.2f}", "flags": "{}",
}  # fmt: skip
TABLE_ROWS = 200


def denoising_report(image: RadioImage, found: Denoised, *, provenance: Mapping[str, Any]) -> str:
    """The page as HTML, figures inside.

    Parameters
    ----------
    image : RadioImage
        The input.
    found : Denoised
        What became of it.
    provenance : mapping
        Version, command, configuration.
    """
    table = found.catalog
    units = {"flux": "mJy", "flux_peak": "mJy/beam", "area": "arcsec²"}
    return render(
        "denoising.html",
        title=f"Emission in {image.name}",
        subtitle=f"regions {found.rule}: {len(table)}",
        facts=facts(image, found),
        notes=found.notes,
        dirty=found.response is not None,
        maps=embedded(maps_figure(image, found)),
        noise=embedded(noise_figure(image, found)),
        columns=[(name, units.get(name, str(table[name].unit or ""))) for name in SHOWN],
        rows=[[_cell(name, row) for name in SHOWN] for row in table[:TABLE_ROWS]],
        more=max(0, len(table) - TABLE_ROWS),
        provenance={k: v for k, v in provenance.items() if v not in ("", None)},
    )


def facts(image: RadioImage, found: Denoised) -> dict[str, str]:
    """What a reader wants to know of the data first."""
    p = found.prepared
    factor, unit = display_unit(found, image)
    n_y, n_x = p.data.shape
    low, high = (factor * float(v) for v in np.nanquantile(p.rms, [0.01, 0.99]))
    noise = f"{factor * p.typical_rms:.4g} {unit} (median)"
    if high > 1.02 * low:
        noise += f", {low:.3g} to {high:.3g} over the image"
    beam = "none: white noise"
    if p.beam is not None:
        major, minor, pa = found.catalog.meta["beam_arcsec_deg"]
        beam = f"{major:.3g} x {minor:.3g} arcsec, position angle {pa:.0f} deg"
        beam += "" if p.beam_origin == "given" else f" (from the {p.beam_origin})"
    out = {
        "image": f"{n_x} x {n_y} pixels of {image.pixel_sides} arcsec",
        "taken for": found.kind,
        "beam": beam,
        "noise": noise + (" as given" if p.rms_origin == "given" else ""),
        "primary beam": found.catalog.meta["primary_beam"],
        "regions before the cut in reliability": str(found.regions),
        "area in regions": f"{100 * (found.mask > 0).sum() / p.valid.sum():.2g} %",
    }
    if image.frequencies is not None:
        out["frequency"] = f"{image.frequencies[0] / 1e9:.6g} GHz"
    return out


def _cell(name: str, row: Any) -> str:
    value = row[name]
    if name in ("dc_maj", "dc_min"):
        return with_error(value, row[name + "_err"])
    if name in ("flux", "flux_peak"):
        return with_error(1e3 * value, 1e3 * row[name + "_err"])
    if name == "flags":
        return str(value).replace(",", ", ")
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        return "-"
    return _FORMATS[name].format(value)
