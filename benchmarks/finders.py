"""Source finders as programs, from an image's file to its catalogue's: ours and the peers, in one form."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from astropy.table import Table

from faintsky.catalog import read_catalog
from faintsky.errors import FaintskyError
from faintsky.injecting import compact_entries
from faintsky.io import open_image
from faintsky.matching import column
from faintsky.published.peers import interpreter

METHODS = ("faintsky", "pybdsf", "aegean")
PEERS = METHODS[1:]
SEED = 5.0
"""Peak over noise that a peer's source must exceed, where nothing else is asked for."""
FREQUENCY = 1.4e9
"""[Hz], where the header has none: PyBDSF does not begin without."""
_NAMES = {
    "flux": ("flux", "Total_flux", "int_flux"), "flux_err": ("flux_err", "E_Total_flux", "err_int_flux"),
    "peak": ("flux_peak", "Peak_flux", "peak_flux"), "rms": ("rms", "Isl_rms", "local_rms"),
    "x_err": ("x_err", "E_Xposn", "err_ra"), "y_err": ("y_err", "E_Yposn", "err_dec"),
    "fwhm_maj": ("fwhm_maj", "Maj", "a"), "fwhm_maj_err": ("fwhm_maj_err", "E_Maj", "err_a"),
}  # fmt: skip
"""Our names, PyBDSF's and Aegean's."""


def run(method: str, image: Path, stem: Path, *, seed: float = SEED, again: bool = False) -> dict[str, float]:
    """Run a method, unless its catalogue of this image is there; its wall-clock and CPU seconds.

    Raises
    ------
    FaintskyError
        It failed.
    """
    times, catalogue = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.fits")
    if times.exists() and times.stat().st_mtime > image.stat().st_mtime and not again:
        return dict(json.loads(times.read_text()))
    stem.parent.mkdir(parents=True, exist_ok=True)
    catalogue.unlink(missing_ok=True)
    folder = stem.with_name(f"{stem.name}.run")
    if method == "faintsky":
        program = str(Path(sys.executable).with_name("faintsky"))
        command = [program, "detect", str(image), "--out", str(folder), "--overwrite"]
    else:
        script = str(Path(__file__).with_name("peer_catalogue.py"))
        command = [interpreter(method), script, method, str(image), str(catalogue), str(seed), str(FREQUENCY)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    used, began = _cpu(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    seconds = {"wall": time.perf_counter() - began, "cpu": _cpu() - used}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise FaintskyError(f"{method} failed on {image}: {last}")
    if method == "faintsky":
        tables = (read_catalog(folder / f"{name}.fits") for name in ("catalog", "components"))
        entries = compact_entries(*tables, diffuse=True)
        entries.meta.clear()  # not all of it fits a header
        entries.write(catalogue, overwrite=True)
        shutil.rmtree(folder)
    times.write_text(json.dumps(seconds))
    return seconds


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read(stem: Path, image: Path, *, diffuse: bool = False) -> Table:
    """A catalogue that `run` made, in one form, without negative sources.

    Parameters
    ----------
    stem, image : pathlib.Path
        As for `run`.
    diffuse : bool
        Whether with diffuse regions.

    Returns
    -------
    Table
        ``x``, ``y``, ``x_err``, ``y_err`` [pixel], ``flux``, ``flux_err`` [Jy], ``peak``, ``rms`` [Jy/beam],
        ``fwhm_maj``, ``fwhm_maj_err`` [arcsec], ``snr``, ``flux_deboosted`` [Jy], ``reliability``, ``pb``;
        NaN where not known.
    """
    path = stem.with_name(f"{stem.name}.fits")
    raw = Table.read(path, hdu=1) if path.exists() else Table()
    empty = np.full(len(raw), np.nan)
    columns = {
        ours: next((column(raw, name) for name in names if name in raw.colnames), empty)
        for ours, names in _NAMES.items()
    }
    columns["snr"] = columns["peak"] / columns["rms"]
    for name in ("snr", "flux_deboosted", "reliability", "pb", "x", "y"):
        columns[name] = column(raw, name) if name in raw.colnames else columns.get(name, empty)
    if "x" not in raw.colnames and len(raw):
        opened, theirs = open_image(image), "RA" in raw.colnames
        place = (column(raw, name) for name in (("RA", "DEC") if theirs else ("ra", "dec")))
        columns["x"], columns["y"] = opened.wcs.wcs_world2pix(*place, 0)
        for name in ("fwhm_maj", "fwhm_maj_err") if theirs else ():
            columns[name] = columns[name] * 3600
        for name in () if theirs else ("x_err", "y_err"):
            columns[name] = columns[name] * 3600 / opened.grid.cell
    keep = ~(columns["flux"] < 0)
    if "kind" in raw.colnames:
        columns["kind"], columns["flags"] = (np.asarray(raw[k]).astype(str) for k in ("kind", "flags"))
        keep &= (columns["kind"] != "diffuse") | diffuse
    return Table(columns)[keep]
