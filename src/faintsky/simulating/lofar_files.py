"""Files of a simulated LOFAR data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.catalog import make_table
from faintsky.simulating.dataset import DataFiles, versions
from faintsky.simulating.fits_out import beam_cards, image_header, write_fits
from faintsky.simulating.gain_errors import GainErrors
from faintsky.simulating.lofar_compact import write_compact
from faintsky.simulating.lofar_observatory import UNIT_BEAM, LofarObservatory, LofarObserved
from faintsky.simulating.lofar_settings import PRODUCTS, LofarSettings
from faintsky.simulating.lofar_telescope import LofarTelescope
from faintsky.simulating.sky_regions import RULE
from faintsky.simulating.wsclean import check_wsclean, wsclean_version
from faintsky.system import replacing

_UNITS = {
    **{"sky": "Jy/arcsec2", "noise": "Jy/arcsec2"},
    **{"dirty": "Jy/beam", "clean": "Jy/beam", "psf": "", "pb": ""},
}


@dataclass(frozen=True)
class LofarFiles(DataFiles):
    """Skies, noise images, dirty images and truth tables; psf and primary beam of all, or of each.

    Parameters
    ----------
    settings : LofarSettings
    """

    settings: LofarSettings
    kind = "lofar"
    products = PRODUCTS

    def parameters(self) -> dict[str, Any]:
        """Those of the settings."""
        return self.settings.parameters()

    def observatory(self, device: str, report: Callable[[str], None]) -> LofarObservatory:
        """A `LofarObservatory`."""
        return LofarObservatory(self.settings, device, report)

    def facts(self, observatory: LofarObservatory) -> dict[str, Any]:
        """Noise, the truth's rule, and beam and instrument where all images share them."""
        known: dict[str, Any] = {
            "region_rule": RULE,
            "sigma_noise_images_jy_per_arcsec2": self.settings.rms / UNIT_BEAM,
        }
        if self.settings.observation.primary_beam == "everybeam":
            known["everybeam"] = version("everybeam")
        if self.settings.backend == "wsclean":
            known["wsclean"] = wsclean_version(check_wsclean())
        elif "clean" in self.settings.products:
            known["radler"] = version("radler")
        if observatory.telescope is not None:
            instrument = observatory.telescope.instrument
            known["instrument"] = instrument.record
            known["beam_arcsec_arcsec_deg"] = instrument.beams[0].tolist()
            known["sigma_visibility_jy"] = self.settings.rms / float(instrument.sigma[0])
        return known

    def summary(self, observatory: LofarObservatory) -> dict[str, Any]:
        """Shape, cell, beam (where all images share one) and noise."""
        settings, telescope = self.settings, observatory.telescope
        grid = settings.observation.grid
        beam = None if telescope is None else telescope.instrument.beams[0].tolist()
        return {
            "shape": list(grid.shape),
            "cell_arcsec": grid.cell,
            "beam_arcsec_arcsec_deg": beam,
            "noise_jy_per_beam": settings.rms if settings.noise else 0.0,
            "primary_beam": settings.observation.primary_beam,
            "region_rule": RULE,
        }

    def paths(self, folder: Path, index: int) -> dict[str, Path]:
        """The images of a field, psf and primary beam where each has its own, and the truth."""
        shared = () if self.settings.drawn else ("psf", "pb")
        names = [p for p in self.settings.products if p not in shared]
        ends = {"compact": "npz"}
        paths = {p: folder / f"{index:04d}_{p}.{ends.get(p, 'fits')}" for p in names}
        return {**paths, "truth": folder / f"{index:04d}_truth.ecsv"}

    def write_shared(self, folder: Path, observatory: LofarObservatory, seed: int) -> None:
        """Psf and primary beam where they are the same for all images."""
        if observatory.telescope is None:
            return
        for product in ("psf", "pb"):
            path = folder / f"{product}.fits"
            if product in self.settings.products and not path.exists():
                self._write(
                    path, product, observatory.telescope, observatory.telescope.beam, None, seed, None
                )

    def write_sample(
        self, folder: Path, index: int, observatory: LofarObservatory, seed: int
    ) -> LofarObserved:
        """Simulate one field and write its files."""
        seen = observatory.sample(seed, index)
        images = {"sky": seen.sky, "noise": seen.noisy, "dirty": seen.dirty, "clean": seen.clean}
        paths = self.paths(folder, index)
        truth = paths.pop("truth")
        meta = {
            "faintsky": versions()["faintsky"],
            "preset": self.settings.preset,
            "seed": seed,
            "sample": index,
            "noise_jy_per_beam": self.settings.rms,
            "beam_arcsec_arcsec_deg": seen.telescope.beam.tolist(),
            "region_rule": RULE,
        }
        if self.settings.drawn:
            meta["observation"] = seen.telescope.instrument.record
        if seen.errors:
            meta["gain_errors"] = asdict(seen.errors)
        if "compact" in paths:
            write_compact(paths.pop("compact"), seen, self.settings, seed, index)
        for product, path in paths.items():
            self._write(
                path, product, seen.telescope, seen.beam, images.get(product), seed, index, seen.errors
            )
        with replacing(truth) as name:
            table = make_table(seen.truth, meta=meta, two_d=True)
            table.write(name, format="ascii.ecsv", delimiter=",")
        return seen

    def _write(
        self,
        path: Path,
        product: str,
        telescope: LofarTelescope,
        beam: NDArray[np.float64],
        image: NDArray[np.float32] | None,
        seed: int,
        index: int | None,
        errors: GainErrors | None = None,
    ) -> None:
        if image is None:
            image = telescope.psf() if product == "psf" else telescope.pb
        cards = self._provenance(telescope, seed, index)
        if product in ("dirty", "clean", "psf"):
            cards = {**beam_cards(beam[None]), **cards}
        if product in ("dirty", "clean") and errors:
            cards["GAINRMS"] = (errors.amplitude, "rms of the stations' amplitude errors")
            cards["PHASERMS"] = (errors.phase, "rms of their phase errors [deg]")
            cards["GAINTIME"] = (errors.timescale, "their correlation time [s]")
        if product == "dirty":
            cards["NITER"] = (0, "iterations of CLEAN")
        if product in ("dirty", "noise"):
            sigma = self.settings.rms if self.settings.noise else 0.0
            cards["NOISE"] = (sigma if product == "dirty" else sigma / UNIT_BEAM, "standard deviation")
        observation = telescope.observation
        unit = _UNITS[product]
        grid = telescope.instrument.grid
        grid = grid.padded(*image.shape) if product == "psf" else grid
        header = image_header(grid, unit, "LOFAR", observation.freq, cards)
        write_fits(path, image.astype(np.float32), header)

    def _provenance(self, telescope: LofarTelescope, seed: int, index: int | None) -> dict[str, Any]:
        settings, observation = self.settings, telescope.observation
        cards: dict[str, Any] = {
            "ORIGIN": f"faintsky {versions()['faintsky']}",
            "PRESET": settings.preset,
            "SEED": seed,
            "ROBUST": (observation.robust, "Briggs weighting"),
            "PBMODEL": (observation.primary_beam, "primary beam"),
        }
        if index is not None:
            cards["SAMPLE"] = (index, "number in its data set")
        way = "one psf, by FFT (quick)" if settings.quick else "visibilities, w term"
        if settings.backend == "wsclean":
            way = f"WSClean {wsclean_version(check_wsclean())}"
        cards["HISTORY"] = [
            f"simulated by faintsky: LOFAR HBA, 62 Dutch stations, {way}",
            f"{observation.total_time:g} s in steps of {observation.integration:g} s, "
            f"from MJD {observation.begin():.6f} UTC",
        ]
        return cards
