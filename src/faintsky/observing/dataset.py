"""Data sets of simulated cubes on disk: files, provenance, resuming, several processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.errors import InputError
from faintsky.files import replacing
from faintsky.observing.fits_out import beam_cards, beams_table, cube_header, write_cube
from faintsky.observing.observatory import AlmaObservatory, Observed
from faintsky.observing.settings import AlmaSettings
from faintsky.observing.truth import BOX_RULES, truth_table
from faintsky.processes import end_with_parent

Progress = Callable[[int, int, str], None]


def write_dataset(
    out: str | os.PathLike[str],
    n: int,
    settings: AlmaSettings,
    seed: int,
    jobs: int,
    device: str,
    overwrite: bool,
    progress: Progress | None,
    command: str | None = None,
) -> dict[str, Any]:
    """Write ``n`` cubes into a folder; see `faintsky.simulate_alma` for the arguments.

    Cubes that are there already, from an earlier run with the same parameters, are kept.
    """
    for name, value, low in (("n", n, 1), ("seed", seed, 0), ("jobs", jobs, 1)):
        if int(value) != value or value < low:
            raise InputError(f"{name} {value!r} is not possible", f"give a whole number of at least {low}")
    folder = Path(out)
    report = progress or (lambda done, total, what: None)
    identity = _identity(settings, seed)
    _check_folder(folder, identity, overwrite)
    with single_threaded():
        observatory = AlmaObservatory(settings, device, lambda text: report(0, n, text))
        # nothing is written before the instrument is known to exist
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite and _recorded(folder) not in (None, identity):
            _clear(folder)
        _write_record(folder, identity, observatory, command)
        _write_shared(folder, observatory, settings, seed)
        missing = [i for i in range(n) if not _is_done(folder, i, settings)]
        report(n - len(missing), n, "simulating")
        done = n - len(missing)
        for _ in _run(folder, missing, observatory, settings, seed, min(jobs, len(missing)), device):
            done += 1
            report(done, n, "simulating")
    instrument = observatory.instrument
    middle = instrument.spectral.n_chan // 2
    return {
        "out": str(folder),
        "cubes": n,
        "shape": [instrument.spectral.n_chan, *instrument.grid.shape],
        "cell_arcsec": instrument.grid.cell,
        "beam_arcsec_arcsec_deg": [float(v) for v in instrument.beams[middle]],
        "noise_jy_per_beam": float(instrument.sigma[middle]) if settings.noise else 0.0,
        "box_rule": BOX_RULES[settings.box_rule],
    }


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread a task: sums then come out the same however many tasks run."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _identity(settings: AlmaSettings, seed: int) -> dict[str, Any]:
    # through JSON, so that it compares equal to what is read back
    return json.loads(json.dumps({"kind": "alma", "seed": seed, "parameters": settings.parameters()}))


def _recorded(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        return {k: record.get(k) for k in ("kind", "seed", "parameters")}
    except (OSError, ValueError, AttributeError):
        return None


def _check_folder(folder: Path, identity: dict[str, Any], overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file", "give a folder to --out", folder)
    if not folder.is_dir() or not any(folder.iterdir()) or overwrite:
        return
    recorded = _recorded(folder)
    if recorded is None:
        raise InputError("holds files of another kind", "choose another --out or give --overwrite", folder)
    if recorded != identity:
        old, new = recorded.get("parameters") or {}, identity["parameters"]
        changed = [k for k in new if old.get(k) != new[k]] or ["seed"]
        raise InputError(
            f"holds a data set made with another {changed[0]}",
            "choose another --out or give --overwrite",
            folder,
        )


def _clear(folder: Path) -> None:
    """Remove the files of an earlier data set, and nothing else."""
    patterns = ("[0-9]*_dirty.fits", "[0-9]*_sky.fits", "[0-9]*_truth.ecsv", "psf.fits", "pb.fits")
    for pattern in (*patterns, "dataset.json"):
        for path in folder.glob(pattern):
            path.unlink()


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in ("faintsky", "numpy", "torch", "astropy", "ducc0"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _write_record(
    folder: Path, identity: dict[str, Any], observatory: AlmaObservatory, command: str | None
) -> None:
    instrument = observatory.instrument
    record = {
        **identity,
        "versions": _versions(),
        "command": command or "",
        "box_rule": BOX_RULES[observatory.settings.box_rule],
        "instrument": instrument.record,
        "frequency_hz": instrument.spectral.frequencies().tolist(),
        "sigma_thermal_jy_per_beam": instrument.sigma.tolist(),
        "beams_arcsec_arcsec_deg": instrument.beams.tolist(),
    }
    with replacing(folder / "dataset.json") as name:
        name.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _provenance(settings: AlmaSettings, seed: int, index: int | None) -> dict[str, Any]:
    cards: dict[str, Any] = {
        "ORIGIN": f"faintsky {_versions()['faintsky']}",
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


def _write_shared(folder: Path, observatory: AlmaObservatory, settings: AlmaSettings, seed: int) -> None:
    instrument = observatory.instrument
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
        write_cube(path, make(), header, tables)


def _paths(folder: Path, index: int, settings: AlmaSettings) -> dict[str, Path]:
    names = [p for p in ("dirty", "sky") if p in settings.products]
    return {
        **{p: folder / f"{index:04d}_{p}.fits" for p in names},
        # last: where it is, the others are
        "truth": folder / f"{index:04d}_truth.ecsv",
    }


def _is_done(folder: Path, index: int, settings: AlmaSettings) -> bool:
    return all(path.is_file() for path in _paths(folder, index, settings).values())


def _run(
    folder: Path,
    missing: list[int],
    observatory: AlmaObservatory,
    settings: AlmaSettings,
    seed: int,
    jobs: int,
    device: str,
) -> Iterator[int]:
    if jobs <= 1:
        for index in missing:
            write_sample(folder, index, observatory, seed)
            yield index
        return
    from multiprocessing import get_context

    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(settings, device)
    ) as pool:
        tasks = [pool.submit(_work, folder, index, seed) for index in missing]
        try:
            for task in tasks:
                yield task.result()
        finally:
            pool.shutdown(cancel_futures=True)


_observatory: AlmaObservatory | None = None


def _start_worker(settings: AlmaSettings, device: str) -> None:
    import torch

    global _observatory
    end_with_parent()
    torch.set_num_threads(1)
    _observatory = AlmaObservatory(settings, device)


def _work(folder: Path, index: int, seed: int) -> int:
    assert _observatory is not None
    write_sample(folder, index, _observatory, seed)
    return index


def write_sample(folder: Path, index: int, observatory: AlmaObservatory, seed: int) -> Observed:
    """Simulate one cube and write its files."""
    settings, instrument = observatory.settings, observatory.instrument
    paths = _paths(folder, index, settings)
    cube = observatory.sample(seed, index)
    cards = _provenance(settings, seed, index)
    if np.isfinite(cube.target_snr):
        cards["TARGSNR"] = (cube.target_snr, "S/N asked of the central source")
    middle = float(cube.sigma[len(cube.sigma) // 2]) if settings.noise else 0.0
    cards["NOISE"] = (middle, "standard deviation, middle channel [Jy/beam]")
    grid, spectral, rest = instrument.grid, instrument.spectral, settings.rest_frequency
    if "sky" in paths:
        header = cube_header(grid, spectral, "Jy/pixel", rest, _provenance(settings, seed, index))
        write_cube(paths["sky"], cube.sky.as_cube(), header)
    if "dirty" in paths:
        header = cube_header(grid, spectral, "Jy/beam", rest, {**beam_cards(instrument.beams), **cards})
        write_cube(paths["dirty"], cube.dirty, header, beams_table(instrument.beams))
    meta = {
        "faintsky": _versions()["faintsky"],
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
