"""Files of a simulated ALMA data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.simulating.compact import write_compact
from faintsky.simulating.dataset import DataFiles, versions
from faintsky.simulating.fits_out import beam_cards, beams_table, cube_header, write_fits
from faintsky.simulating.instrument import Instrument
from faintsky.simulating.observatory import AlmaObservatory, Observed
from faintsky.simulating.settings import PRODUCTS, AlmaSettings
from faintsky.simulating.truth import BOX_RULES, truth_table
from faintsky.simulating.varied import VariedObservatory, open_observatory
from faintsky.system import replacing

Observatory = AlmaObservatory | VariedObservatory


@dataclass(frozen=True)
class AlmaFiles(DataFiles):
    """Dirty cubes, skies and truth tables, psf and primary beam; see `faintsky.simulate_alma`.

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

    def observatory(self, device: str, report: Callable[[str], None]) -> Observatory:
        """See `faintsky.simulating.varied.open_observatory`."""
        return open_observatory(self.settings, device, report)

    def facts(self, observatory: Observatory) -> dict[str, Any]:
        """Channels, noise, beams and the instrument, where all cubes share them."""
        instrument = observatory.instrument
        if instrument is None:
            return {"box_rule": BOX_RULES[self.settings.box_rule]}
        return {
            "box_rule": BOX_RULES[self.settings.box_rule],
            "instrument": instrument.record,
            "frequency_hz": instrument.spectral.frequencies().tolist(),
            "sigma_thermal_jy_per_beam": instrument.sigma.tolist(),
            "beams_arcsec_arcsec_deg": instrument.beams.tolist(),
        }

    def summary(self, observatory: Observatory) -> dict[str, Any]:
        """Shape, cell, beam and noise, where all cubes share them."""
        instrument = observatory.instrument
        if instrument is None:
            return {"shape": None, "box_rule": BOX_RULES[self.settings.box_rule]}
        middle = instrument.spectral.n_chan // 2
        return {
            "shape": [instrument.spectral.n_chan, *instrument.grid.shape],
            "cell_arcsec": instrument.grid.cell,
            "beam_arcsec_arcsec_deg": [float(v) for v in instrument.beams[middle]],
            "noise_jy_per_beam": float(instrument.sigma[middle]) if self.settings.noise else 0.0,
            "box_rule": BOX_RULES[self.settings.box_rule],
        }

    def paths(self, folder: Path, index: int) -> dict[str, Path]:
        """Dirty cube, sky, psf and primary beam where each has its own, compact data and truth."""
        own = ("dirty", "sky", "psf", "pb") if self.settings.drawn else ("dirty", "sky")
        names = [p for p in own if p in self.settings.products]
        compact = {"compact": folder / f"{index:04d}_compact.npz"}
        return {
            **{p: folder / f"{index:04d}_{p}.fits" for p in names},
            **(compact if "compact" in self.settings.products else {}),
            "truth": folder / f"{index:04d}_truth.ecsv",
        }

    def write_shared(self, folder: Path, observatory: Observatory, seed: int) -> None:
        """Psf and primary beam, where all cubes share them."""
        if observatory.instrument is None or self.settings.backend == "casa":  # CASA's come with a cube
            return
        for product in ("psf", "pb"):
            path = folder / f"{product}.fits"
            if product in self.settings.products and not path.exists():
                self._write_beam(path, product, observatory.instrument, seed, None)

    def _write_beam(
        self, path: Path, product: str, instrument: Instrument, seed: int, index: int | None
    ) -> None:
        grid, spectral, cards = (
            instrument.grid,
            instrument.spectral,
            self._provenance(instrument, seed, index),
        )
        if product == "psf":
            cards = {**beam_cards(instrument.beams), **cards}
            header = cube_header(grid, spectral, "", spectral.middle, cards)
            write_fits(path, instrument.psf_cube(), header, beams_table(instrument.beams))
            return
        pb = np.where(instrument.valid(), instrument.pb_cube(), np.float32(np.nan))
        write_fits(path, pb, cube_header(grid, spectral, "", spectral.middle, cards))

    def write_sample(self, folder: Path, index: int, observatory: Observatory, seed: int) -> Observed:
        """Simulate one cube and write its files."""
        settings, paths = self.settings, self.paths(folder, index)
        cube = observatory.sample(seed, index)
        instrument = cube.instrument
        for product in {"psf", "pb"} & set(settings.products):
            path = paths.get(product) or folder / f"{product}.fits"
            if product in paths or not path.exists():
                self._write_beam(path, product, instrument, seed, index if product in paths else None)
        cards = self._provenance(instrument, seed, index)
        if np.isfinite(cube.target_snr):
            cards["TARGSNR"] = (cube.target_snr, "S/N asked of the central source")
        middle = len(cube.sigma) // 2
        noise = float(cube.sigma[middle] if np.isfinite(cube.sigma[middle]) else instrument.sigma[middle])
        cards["NOISE"] = (noise if settings.noise else 0.0, "standard deviation, middle channel [Jy/beam]")
        grid, spectral, rest = instrument.grid, instrument.spectral, instrument.spectral.middle
        if "compact" in paths:  # first: writing a cube swaps its bytes
            write_compact(paths["compact"], cube)
        if "sky" in paths:
            header = cube_header(grid, spectral, "Jy/pixel", rest, self._provenance(instrument, seed, index))
            write_fits(paths["sky"], cube.sky.as_cube(), header)
        if "dirty" in paths:
            header = cube_header(
                grid,
                spectral,
                "Jy/beam",
                rest,
                {**beam_cards(instrument.beams), "NITER": (0, "iterations of CLEAN"), **cards},
            )
            write_fits(paths["dirty"], cube.dirty, header, beams_table(instrument.beams))
        meta = {
            "faintsky": versions()["faintsky"],
            "preset": settings.preset,
            "seed": seed,
            "sample": index,
            "target_snr": None if np.isnan(cube.target_snr) else cube.target_snr,
            "noise_jy_per_beam": [float(f"{s:.6g}") for s in cube.sigma],
            "box_rule": BOX_RULES[settings.box_rule],
            "rest_frequency_hz": rest,
        }
        if settings.drawn:
            meta["observation"] = instrument.record
        with replacing(paths["truth"]) as name:
            truth_table(cube.truth, meta).write(name, format="ascii.ecsv", delimiter=",")
        return cube

    def _provenance(self, instrument: Instrument, seed: int, index: int | None) -> dict[str, Any]:
        cards: dict[str, Any] = {
            "ORIGIN": f"faintsky {versions()['faintsky']}",
            "PRESET": self.settings.preset,
            "SEED": seed,
        }
        if index is not None:
            cards["SAMPLE"] = (index, "number in its data set")
        made = instrument.record
        cards["HISTORY"] = [
            f"simulated by faintsky: array {made['array']['name']}, weighting {made['weighting']}",
            f"{made['total_time']:g} s in steps of {made['integration']:g} s, PWV {made['pwv']:g} mm",
        ]
        if "casa" in made:
            cards["HISTORY"][0] += f"; simobserve and tclean of CASA {made['casa']}"
        return cards
