"""Files of a simulated ALMA data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.files import replacing
from faintsky.observing.compact import write_compact
from faintsky.observing.dataset import DataFiles, versions
from faintsky.observing.fits_out import beam_cards, beams_table, cube_header, write_fits
from faintsky.observing.observatory import AlmaObservatory, Observed
from faintsky.observing.settings import PRODUCTS, AlmaSettings
from faintsky.observing.truth import BOX_RULES, truth_table


@dataclass(frozen=True)
class AlmaFiles(DataFiles):
    """Dirty cubes, skies and truth tables, one psf and primary beam; see `faintsky.simulate_alma`.

    Parameters
    ----------
    settings : AlmaSettings
    """

    settings: AlmaSettings
    kind = "alma"
    products = PRODUCTS

    def parameters(self) -> dict[str, Any]:
        """Those of the settings."""
        return self.settings.parameters()

    def observatory(self, device: str, report: Callable[[str], None]) -> AlmaObservatory:
        """An `AlmaObservatory`."""
        return AlmaObservatory(self.settings, device, report)

    def facts(self, observatory: AlmaObservatory) -> dict[str, Any]:
        """Channels, noise, beams and the instrument."""
        instrument = observatory.instrument
        return {
            "box_rule": BOX_RULES[self.settings.box_rule],
            "instrument": instrument.record,
            "frequency_hz": instrument.spectral.frequencies().tolist(),
            "sigma_thermal_jy_per_beam": instrument.sigma.tolist(),
            "beams_arcsec_arcsec_deg": instrument.beams.tolist(),
        }

    def summary(self, observatory: AlmaObservatory) -> dict[str, Any]:
        """Shape, cell, beam and noise."""
        instrument = observatory.instrument
        middle = instrument.spectral.n_chan // 2
        return {
            "shape": [instrument.spectral.n_chan, *instrument.grid.shape],
            "cell_arcsec": instrument.grid.cell,
            "beam_arcsec_arcsec_deg": [float(v) for v in instrument.beams[middle]],
            "noise_jy_per_beam": float(instrument.sigma[middle]) if self.settings.noise else 0.0,
            "box_rule": BOX_RULES[self.settings.box_rule],
        }

    def paths(self, folder: Path, index: int) -> dict[str, Path]:
        """Dirty cube, sky, compact data and truth."""
        names = [p for p in ("dirty", "sky") if p in self.settings.products]
        compact = {"compact": folder / f"{index:04d}_compact.npz"}
        return {
            **{p: folder / f"{index:04d}_{p}.fits" for p in names},
            **(compact if "compact" in self.settings.products else {}),
            "truth": folder / f"{index:04d}_truth.ecsv",
        }

    def write_shared(self, folder: Path, observatory: AlmaObservatory, seed: int) -> None:
        """Psf and primary beam."""
        settings, instrument = self.settings, observatory.instrument
        cards = _provenance(settings, seed, None)
        for product, unit, make in (
            ("psf", "", instrument.psf_cube),
            ("pb", "", lambda: np.where(instrument.valid(), instrument.pb_cube(), np.float32(np.nan))),
        ):
            path = folder / f"{product}.fits"
            if product not in settings.products or path.exists():
                continue
            extra = beam_cards(instrument.beams) if product == "psf" else {}
            header = cube_header(
                instrument.grid, instrument.spectral, unit, settings.rest_frequency, {**extra, **cards}
            )
            tables = beams_table(instrument.beams) if product == "psf" else b""
            write_fits(path, make(), header, tables)

    def write_sample(self, folder: Path, index: int, observatory: AlmaObservatory, seed: int) -> Observed:
        """Simulate one cube and write its files."""
        settings, instrument = self.settings, observatory.instrument
        paths = self.paths(folder, index)
        cube = observatory.sample(seed, index)
        cards = _provenance(settings, seed, index)
        if np.isfinite(cube.target_snr):
            cards["TARGSNR"] = (cube.target_snr, "S/N asked of the central source")
        middle = float(cube.sigma[len(cube.sigma) // 2]) if settings.noise else 0.0
        cards["NOISE"] = (middle, "standard deviation, middle channel [Jy/beam]")
        grid, spectral, rest = instrument.grid, instrument.spectral, settings.rest_frequency
        if "sky" in paths:
            header = cube_header(grid, spectral, "Jy/pixel", rest, _provenance(settings, seed, index))
            write_fits(paths["sky"], cube.sky.as_cube(), header)
        if "dirty" in paths:
            header = cube_header(grid, spectral, "Jy/beam", rest, {**beam_cards(instrument.beams), **cards})
            write_fits(paths["dirty"], cube.dirty, header, beams_table(instrument.beams))
        if "compact" in paths:
            write_compact(paths["compact"], cube)
        meta = {
            "faintsky": versions()["faintsky"],
            "preset": settings.preset,
            "seed": seed,
            "sample": index,
            "target_snr": None if np.isnan(cube.target_snr) else cube.target_snr,
            "noise_jy_per_beam": [float(f"{s:.6g}") for s in cube.sigma],
            "box_rule": BOX_RULES[settings.box_rule],
            "rest_frequency_hz": settings.rest_frequency,
        }
        with replacing(paths["truth"]) as name:
            truth_table(cube.truth, meta).write(name, format="ascii.ecsv", delimiter=",")
        return cube


def _provenance(settings: AlmaSettings, seed: int, index: int | None) -> dict[str, Any]:
    cards: dict[str, Any] = {
        "ORIGIN": f"faintsky {versions()['faintsky']}",
        "PRESET": settings.preset,
        "SEED": seed,
    }
    if index is not None:
        cards["SAMPLE"] = (index, "number in its data set")
    observation = settings.observation
    cards["HISTORY"] = [
        f"simulated by faintsky: array {observation.array.name}, weighting {observation.weighting}",
        f"{observation.total_time:g} s in steps of {observation.integration:g} s, PWV {observation.pwv:g} mm",
    ]
    return cards
