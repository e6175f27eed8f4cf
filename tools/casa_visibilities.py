"""Baselines and noise of visibilities, for ``tools/casa_observe.py``; a program for CASA's interpreter.

    python casa_visibilities.py CASA_RUN.py FOLDER OUT.npz

FOLDER is one that ``faintsky.simulating.casa.run_casa`` has kept. Baselines are those of every 97th row.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np

_, program, folder, out = sys.argv
_, tools = runpy.run_path(program)["casa"]()
clean, noisy = tools.table(), tools.table()
(without,) = (p for p in Path(folder, "sim").glob("*.ms") if not p.name.endswith(".noisy.ms"))
clean.open(str(without))
noisy.open(str(without.with_suffix(".noisy.ms")))
flagged = clean.getcol("FLAG_ROW")
difference = noisy.getcol("DATA") - clean.getcol("DATA")
power = np.abs(difference[:, :, ~flagged]) ** 2
columns = {
    "uvw_m": clean.getcol("UVW").T, "time_mjd_s": clean.getcol("TIME"), "antenna1": clean.getcol("ANTENNA1"),
    "antenna2": clean.getcol("ANTENNA2"), "flagged": flagged,
}  # fmt: skip
sigma = np.sqrt(0.5 * power.mean(axis=(0, 2)))
np.savez_compressed(out, visibility_sigma_jy=sigma, **{k: v[::97] for k, v in columns.items()})
