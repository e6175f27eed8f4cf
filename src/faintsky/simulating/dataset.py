"""Data sets of simulated observations on disk: FITS files, truth, provenance, resuming, several processes."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.arrays import Array32
from faintsky.errors import InputError
from faintsky.io import write_fits
from faintsky.options import Spread
from faintsky.simulating.images import UNIT_BEAM
from faintsky.simulating.instrument import Instrument, data_header
from faintsky.simulating.observatory import Observatory, Observed, open_observatory
from faintsky.simulating.reduced import write_compact
from faintsky.simulating.settings import PRODUCTS, SimulationSettings, read_record
from faintsky.simulating.truth import BOX_RULES, REGION_RULE
from faintsky.system import (
    check_space,
    check_writable,
    clear_leftovers,
    folder_lock,
    one_thread,
    replacing,
    run_tasks,
    versions,
    write_text,
)

UNITS = {
    "cube": {"sky": "Jy/pixel", "dirty": "Jy/beam"},
    "image": {"sky": "Jy/arcsec2", "noise": "Jy/arcsec2", "dirty": "Jy/beam", "clean": "Jy/beam"},
}


@dataclass(frozen=True)
class DataFiles:
    """The files of a data set; pickled to worker processes.

    Parameters
    ----------
    settings : SimulationSettings
        Settings of the data set.
    """

    settings: SimulationSettings

    @property
    def rule(self) -> dict[str, str]:
        """Rule of the truth's boxes or regions, for records."""
        if self.settings.data == "image":
            return {"region_rule": REGION_RULE}
        return {"box_rule": BOX_RULES[self.settings.box_rule]}

    def facts(self, observatory: Observatory) -> dict[str, Any]:
        """Further entries of ``dataset.json``: versions of programs, and properties of all samples."""
        settings, instrument = self.settings, observatory.instrument
        rms = settings.rms if settings.data == "image" else None
        known: dict[str, Any] = {**self.rule}
        if settings.observation.primary_beam in settings.record.maps:
            known |= versions(settings.observation.primary_beam)
        if settings.backend == "wsclean":
            known["wsclean"] = _wsclean()
        elif "clean" in settings.products:
            known |= versions("radler")
        if isinstance(rms, float):
            known["sigma_noise_images_jy_per_arcsec2"] = rms / UNIT_BEAM
        if instrument is None:
            return known
        known |= {"instrument": instrument.record, "frequency_hz": instrument.spectral.frequencies().tolist()}
        known["beams_arcsec_arcsec_deg"] = instrument.beams.tolist()
        if isinstance(rms, float):
            return known | {"sigma_visibility_jy": rms / float(instrument.sigma[0])}
        return known | {"sigma_thermal_jy_per_beam": instrument.sigma.tolist()}

    def summary(self, observatory: Observatory) -> dict[str, Any]:
        """The command's summary: shape, cell, beam and noise, if all samples share them."""
        settings, instrument = self.settings, observatory.instrument
        shape, beam, noise, cell = None, None, settings.rms, settings.observation.grid.cell
        if settings.data == "image":
            shape = list(settings.observation.grid.shape)
        if instrument is not None:
            middle = instrument.spectral.n_chan // 2
            beam = [float(v) for v in instrument.beams[middle]]
            if settings.data == "cube":
                shape = [instrument.spectral.n_chan, *instrument.grid.shape]
                noise = float(instrument.sigma[middle])
        return {
            "shape": shape,
            "cell_arcsec": None if "cell" in settings.drawn else cell,
            "beam_arcsec_arcsec_deg": beam,
            "noise_jy_per_beam": noise if settings.noise else 0.0,
            "primary_beam": settings.observation.primary_beam,
            **self.rule,
        }

    @property
    def shared(self) -> tuple[str, ...]:
        """Products that all samples share."""
        wanted = () if self.settings.drawn else ("psf", "pb")
        return tuple(p for p in wanted if p in self.settings.products)

    def paths(self, folder: Path, index: int) -> dict[str, Path]:
        """Files of one sample by product; the truth is last, so that the others exist if it does."""
        ends = {"compact": "npz", "truth": "ecsv"}
        own = [p for p in self.settings.products if p not in self.shared]
        return {p: folder / f"{index:04d}_{p}.{ends.get(p, 'fits')}" for p in (*own, "truth")}

    def write_shared(self, folder: Path, seen: Any, seed: int) -> None:
        """Write the missing ones of the files that all samples share.

        Parameters
        ----------
        folder : pathlib.Path
            Folder of the data set.
        seen : Observatory or Observed
            Has psf and primary beam.
        seed : int
            Seed of the data set.
        """
        for product in self.shared:
            if not (folder / f"{product}.fits").exists():
                self._write(folder / f"{product}.fits", product, seen, seed, None)

    def write_sample(self, folder: Path, index: int, observatory: Observatory, seed: int) -> Observed:
        """Simulate one sample and write its files.

        Parameters
        ----------
        folder : pathlib.Path
            Folder of the data set.
        index : int
            Number of the sample.
        observatory : Observatory
            Simulates it.
        seed : int
            Seed of the data set.

        Returns
        -------
        Observed
        """
        settings, paths = self.settings, self.paths(folder, index)
        seen, truth = observatory.sample(seed, index), paths.pop("truth")
        self.write_shared(folder, seen, seed)
        if "compact" in paths:
            write_compact(paths.pop("compact"), seen, settings, seed, index)
        for product, path in paths.items():
            self._write(path, product, seen, seed, index)
        meta: dict[str, Any] = {
            "faintsky": _versions()["faintsky"], "preset": settings.shown, "seed": seed, "sample": index,
            **self.rule,
        }  # fmt: skip
        if settings.data == "image":
            meta |= {"noise_jy_per_beam": settings.rms}
            meta["beam_arcsec_arcsec_deg"] = seen.instrument.beams[0].tolist()
        else:
            meta |= {"target_snr": None if np.isnan(seen.target_snr) else seen.target_snr}
            meta["noise_jy_per_beam"] = [float(f"{s:.6g}") for s in seen.sigma]
            meta["rest_frequency_hz"] = seen.instrument.spectral.middle
        if settings.drawn:
            meta["observation"] = seen.instrument.record
        if seen.errors:
            meta["gain_errors"] = asdict(seen.errors)
        with replacing(truth) as name:
            seen.truth_table(**meta).write(name, format="ascii.ecsv", delimiter=",")
        return seen

    def _write(self, path: Path, product: str, seen: Any, seed: int, index: int | None) -> None:
        """Write a product of a sample, or psf or primary beam of an observatory."""
        settings, instrument = self.settings, seen.instrument
        image, beams = settings.data == "image", getattr(seen, "beams", instrument.beams)
        data, grid = self._data(product, seen), instrument.grid
        cards = self._provenance(instrument, seed, index)
        if product in ("dirty", "noise"):
            middle = seen.sigma[len(seen.sigma) // 2]
            sigma = float(middle if np.isfinite(middle) else instrument.sigma[len(seen.sigma) // 2])
            sigma = sigma / UNIT_BEAM if product == "noise" else sigma
            cards["NOISE"] = (sigma if settings.noise else 0.0, "standard deviation, middle channel")
        if product == "dirty":
            cards["NITER"] = (0, "iterations of CLEAN")
            if np.isfinite(seen.target_snr):
                cards["TARGSNR"] = (seen.target_snr, "target S/N of the central source")
        if product in ("dirty", "clean") and seen.errors:
            cards["GAINRMS"] = (seen.errors.amplitude, "rms of the stations' amplitude errors")
            cards["PHASERMS"] = (seen.errors.phase, "rms of their phase errors [deg]")
            cards["GAINTIME"] = (seen.errors.timescale, "their correlation time [s]")
        if image:
            cards["RESTFRQ"] = (instrument.spectral.first, "frequency [Hz]")
            grid = grid.padded(*data.shape) if product == "psf" else grid
        unit, title = UNITS[settings.data].get(product, ""), settings.record.title
        header = data_header(grid, None if image else instrument.spectral, unit, title, cards)
        write_fits(path, data, header, beams=beams if product in ("dirty", "clean", "psf") else None)

    def _data(self, product: str, seen: Any) -> Array32:
        if product == "psf":
            return seen.psf()
        image, instrument = self.settings.data == "image", seen.instrument
        if product == "pb" and image:
            return instrument.pb[0]
        if product == "pb":
            return np.where(instrument.valid(), instrument.pb_cube(), np.float32(np.nan))
        if product == "sky":
            return seen.sky if image else seen.sky.as_cube()
        return seen.noisy if product == "noise" else getattr(seen, product)

    def _provenance(self, instrument: Instrument, seed: int, index: int | None) -> dict[str, Any]:
        made, settings = instrument.record, self.settings
        cards: dict[str, Any] = {
            "ORIGIN": f"faintsky {_versions()['faintsky']}", "PRESET": settings.shown, "SEED": seed,
            "PBMODEL": (made["primary_beam"], "primary beam"),
        }  # fmt: skip
        weights = "natural weights" if made["robust"] is None else f"Briggs {made['robust']:g}"
        if made["robust"] is not None:
            cards["ROBUST"] = (made["robust"], "Briggs weighting")
        if index is not None:
            cards["SAMPLE"] = (index, "number in its data set")
        way = "one psf, by FFT" if settings.data == "cube" or settings.quick else "visibilities, w term"
        if settings.backend == "wsclean":
            way = f"WSClean {_wsclean()}"
        if "casa" in made:
            way = f"simobserve and tclean of CASA {made['casa']}"
        cards["HISTORY"] = [
            f"simulated by faintsky: {settings.record.about}, {way}",
            f"array {made['array']['name']}, {weights}, {made['total_time']:g} s in steps of "
            f"{made['integration']:g} s from MJD {made['first_integration_mjd']:.6f}",
        ]
        return cards


def _wsclean() -> str:
    from faintsky.simulating.wsclean import check_wsclean, wsclean_version

    return wsclean_version(check_wsclean())


def write_dataset(
    out: str | os.PathLike[str], n: int, files: DataFiles, seed: int, jobs: int, running: Spread, size: float
) -> dict[str, Any]:
    """Write samples into a folder.

    Samples from an earlier run with the same parameters are kept.

    Parameters
    ----------
    out : path-like
        The folder.
    n : int
        Number of samples.
    files : DataFiles
        Settings and files of the data set.
    seed : int
        Seed of the data set.
    jobs : int
        Processes.
    running : Spread
        Device, cluster, progress and overwriting.
    size : float
        Disk space of all samples [bytes]; if they do not fit, this is refused before the work.

    Returns
    -------
    dict
        The summary.
    """
    folder = Path(out)
    identity = check_folder(folder, files, seed, running.overwrite)
    # existing samples are kept or replaced, and so need no further space
    check_space(folder, size - sum(path.stat().st_size for path in _ours(folder)))
    with one_thread():
        observatory = open_observatory(files.settings, running.device, lambda text: running.tell(0, n, text))
        # nothing is written if the instrument cannot be made
        folder.mkdir(parents=True, exist_ok=True)
        with folder_lock(folder):
            clear_leftovers(folder)
            if running.overwrite and _other(read_record(folder), identity):
                for path in (*_ours(folder), folder / "dataset.json"):
                    path.unlink(missing_ok=True)
            record = {
                **identity,
                "versions": _versions(),
                "command": running.command or "",
                **files.facts(observatory),
            }
            write_text(folder / "dataset.json", json.dumps(record, indent=1) + "\n")
            if files.settings.backend != "casa":  # CASA's come with a cube
                files.write_shared(folder, observatory, seed)
            missing = [i for i in range(n) if not all(p.is_file() for p in files.paths(folder, i).values())]
            done = n - len(missing)
            running.tell(done, n, "simulating")
            global _worker
            _worker = files, observatory
            start = partial(_start_worker, files, running.device)
            for _ in run_tasks(partial(_work, folder, seed), missing, jobs, start, cluster=running.cluster):
                done += 1
                running.tell(done, n, "simulating")
    return {"out": str(folder), **files.summary(observatory)}


def check_folder(out: str | os.PathLike[str], files: DataFiles, seed: int, overwrite: bool) -> dict[str, Any]:
    """Refuse a folder that cannot or must not be written into.

    Parameters
    ----------
    out : path-like
        The folder.
    files : DataFiles
        Settings and files of the data set.
    seed : int
        Seed of the data set.
    overwrite : bool
        Whether another data set may be replaced.

    Returns
    -------
    dict
        Entries of ``dataset.json`` that identify the data set.
    """
    folder, settings = Path(out), files.settings
    identity: dict[str, Any] = {"kind": settings.telescope, "seed": seed, "parameters": settings.parameters()}
    check_writable(folder)
    if not folder.is_dir() or overwrite or all(p.name.startswith(".") for p in folder.iterdir()):
        return identity
    recorded, hint = read_record(folder), "choose another --out or give --overwrite"
    if not recorded:
        raise InputError("holds files of another kind", hint, folder)
    if _other(recorded, identity):
        old, new = recorded["parameters"], identity["parameters"]
        changed = [k for k in {**new, **old} if k != "drawn" and old.get(k) != new.get(k)] or ["seed"]
        raise InputError(f"holds a data set made with another {changed[0]}", hint, folder)
    return identity


def _other(record: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Whether a record is that of another data set; not if there is none."""
    return bool(record) and any(record.get(k) != v for k, v in identity.items())


def _ours(folder: Path) -> Iterator[Path]:
    """The files of an earlier data set, and no others."""
    for product in {*PRODUCTS["cube"], *PRODUCTS["image"], "truth"}:
        for pattern in (*(f"[0-9]*_{product}.{end}" for end in ("fits", "ecsv", "npz")), f"{product}.fits"):
            yield from folder.glob(pattern)


def _versions() -> dict[str, str]:
    """Versions of this package and of those that affect its numbers."""
    return versions("faintsky", "numpy", "torch", "astropy", "ducc0")


_worker: tuple[DataFiles, Observatory] | None = None


def _start_worker(files: DataFiles, device: str) -> None:
    global _worker
    _worker = files, open_observatory(files.settings, device)


def _work(folder: Path, seed: int, index: int) -> None:
    assert _worker is not None
    files, observatory = _worker
    files.write_sample(folder, index, observatory, seed)


def beside(folder: str | os.PathLike[str], name: str, kind: str) -> Path | None:
    """Path of the psf or primary beam of a sample.

    Parameters
    ----------
    folder : path-like
        Folder of the data set.
    name : str
        The sample, such as ``0000``.
    kind : str
        ``psf`` or ``pb``.

    Returns
    -------
    pathlib.Path or None
        The sample's own file, or that of all samples; None if there is none.
    """
    paths = (Path(folder) / file for file in (f"{name}_{kind}.fits", f"{kind}.fits"))
    return next((p for p in paths if p.is_file()), None)
