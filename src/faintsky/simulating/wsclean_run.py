"""Observe and image with WSClean; a program, ``python -m faintsky.simulating.wsclean_run job.json``.

`faintsky.simulating.wsclean` prepares its folder with ``job.json``, ``rows.npz`` and the model image. The
program writes a measurement set with python-casacore, predicts the visibilities of the model by WSClean, adds
gain errors and noise, and images the result by WSClean. It leaves WSClean's FITS files and ``done``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Float
from faintsky.system import start_watching

MS = "obs.ms"
DONE = "done"
WORDS = "wsclean.log"
_XX_YY = (9, 12)
"""Casacore's codes of the correlations."""


def write_measurement_set(path: str, job: Mapping[str, Any], rows: Mapping[str, NDArray[Any]]) -> None:
    """Write a measurement set of one field and one channel, XX and YY, with data of zero.

    Parameters
    ----------
    path : str
        The measurement set.
    job : mapping
        ``ra``, ``dec`` [rad], ``freq``, ``width`` [Hz], ``integration`` [s], ``telescope``,
        ``stations``, ``diameter`` [m].
    rows : mapping
        ``itrf`` ``[station, 3]`` [m], ``uvw`` ``[row, 3]`` [m], ``antenna1``, ``antenna2`` and ``time``
        [s of MJD, UTC] ``[row]``.
    """
    from casacore.tables import default_ms, makearrcoldesc, maketabdesc

    shape = [1, len(_XX_YY)]
    columns = [
        makearrcoldesc("DATA", 0j, valuetype="complex", shape=shape, options=4),
        makearrcoldesc("MODEL_DATA", 0j, valuetype="complex", shape=shape, options=4),
    ]
    n = len(rows["uvw"])
    with default_ms(path, maketabdesc(columns)) as main:
        main.addrows(n)
        scalars: dict[str, Any] = {
            "ANTENNA1": rows["antenna1"], "ANTENNA2": rows["antenna2"],
            "TIME": rows["time"], "TIME_CENTROID": rows["time"],
            "INTERVAL": job["integration"], "EXPOSURE": job["integration"],
        }  # fmt: skip
        for name in ("DATA_DESC_ID", "FIELD_ID", "SCAN_NUMBER", "ARRAY_ID", "FEED1", "FEED2"):
            scalars[name] = 0
        scalars |= {"OBSERVATION_ID": 0, "PROCESSOR_ID": -1, "STATE_ID": -1}
        for name, value in scalars.items():
            kind = float if main.coldatatype(name) == "double" else np.int32
            main.putcol(name, np.broadcast_to(np.asarray(value, dtype=kind), (n,)).copy())
        main.putcol("FLAG_ROW", np.zeros(n, dtype=bool))
        main.putcol("UVW", rows["uvw"])
        main.putcol("FLAG", np.zeros((n, *shape), dtype=bool))
        main.putcol("WEIGHT", np.ones((n, shape[1]), dtype=np.float32))
        main.putcol("SIGMA", np.ones((n, shape[1]), dtype=np.float32))
        main.putcol("DATA", np.zeros((n, *shape), dtype=np.complex64))
    _write_subtables(path, job, rows["itrf"])


def _write_subtables(path: str, job: Mapping[str, Any], itrf: Float) -> None:
    n, names = len(itrf), np.array(job["stations"])
    place = np.array([[[job["ra"], job["dec"]]]])
    _fill(path, "ANTENNA", n, NAME=names, STATION=names, POSITION=itrf, OFFSET=np.zeros((n, 3)),
          DISH_DIAMETER=np.full(n, job["diameter"]), TYPE=np.full(n, "GROUND-BASED"),
          MOUNT=np.full(n, "X-Y"), FLAG_ROW=np.zeros(n, dtype=bool))  # fmt: skip
    _fill(path, "DATA_DESCRIPTION", 1, SPECTRAL_WINDOW_ID=0, POLARIZATION_ID=0, FLAG_ROW=False)
    _fill(path, "FEED", n, ANTENNA_ID=np.arange(n), FEED_ID=0, SPECTRAL_WINDOW_ID=-1, NUM_RECEPTORS=2,
          BEAM_ID=-1, TIME=0.0, INTERVAL=1e30, POSITION=np.zeros((n, 3)),
          BEAM_OFFSET=np.zeros((n, 2, 2)), RECEPTOR_ANGLE=np.zeros((n, 2)),
          POLARIZATION_TYPE=np.tile(["X", "Y"], (n, 1)),
          POL_RESPONSE=np.tile(np.eye(2, dtype=np.complex64), (n, 1, 1)))  # fmt: skip
    _fill(path, "FIELD", 1, NAME="field", CODE="", TIME=job["begin"], NUM_POLY=0, SOURCE_ID=-1,
          PHASE_DIR=place, DELAY_DIR=place, REFERENCE_DIR=place, FLAG_ROW=False)  # fmt: skip
    _fill(path, "OBSERVATION", 1, TELESCOPE_NAME=job["telescope"], OBSERVER="faintsky", PROJECT="simulated",
          SCHEDULE_TYPE="", RELEASE_DATE=job["begin"], TIME_RANGE=np.array([[job["begin"], job["end"]]]),
          FLAG_ROW=False)  # fmt: skip
    _fill(path, "POLARIZATION", 1, NUM_CORR=2, CORR_TYPE=np.array([_XX_YY], dtype=np.int32),
          CORR_PRODUCT=np.array([[[0, 0], [1, 1]]], dtype=np.int32), FLAG_ROW=False)  # fmt: skip
    one = {name: np.array([[job["width"]]]) for name in ("CHAN_WIDTH", "EFFECTIVE_BW", "RESOLUTION")}
    _fill(path, "SPECTRAL_WINDOW", 1, NAME="channel", NUM_CHAN=1, REF_FREQUENCY=job["freq"],
          CHAN_FREQ=np.array([[job["freq"]]]), TOTAL_BANDWIDTH=job["width"], MEAS_FREQ_REF=5,
          NET_SIDEBAND=1, FREQ_GROUP=0, FREQ_GROUP_NAME="", IF_CONV_CHAIN=0, FLAG_ROW=False,
          **one)  # fmt: skip


def _fill(path: str, name: str, n: int, **columns: Any) -> None:
    from casacore.tables import table

    with table(f"{path}::{name}", readonly=False, ack=False) as rows:
        rows.addrows(n)
        for column, value in columns.items():
            values = np.asarray(value)
            values = np.broadcast_to(values, (n,)) if values.ndim == 0 else values
            kinds = {"double": float, "int": np.int32, "boolean": bool}
            kind = kinds.get(rows.coldatatype(column))
            rows.putcol(column, values.tolist() if kind is None and values.dtype.kind == "U"
                        and values.ndim == 1 else np.array(values, dtype=kind))  # fmt: skip


def add_what_the_telescope_adds(path: str, rows: Mapping[str, NDArray[Any]]) -> None:
    """Set DATA to MODEL_DATA times ``factor`` ``[row]`` (if given) plus ``noise`` ``[row]`` [Jy].

    The noise is that of Stokes I, equal in both correlations.
    """
    from casacore.tables import table

    with table(path, readonly=False, ack=False) as main:
        vis = main.getcol("MODEL_DATA")
        for name, operation in (("factor", np.multiply), ("noise", np.add)):
            if name in rows:
                operation(vis, rows[name][:, None, None], out=vis)
        main.putcol("DATA", vis)


def wsclean(program: str, words: Sequence[Any]) -> None:
    """Run WSClean on one thread, with its output in a file, and its last line as the message of a failure."""
    command = [program, "-j", "1", *(str(w) for w in words), MS]
    with open(WORDS, "ab") as log:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
    if status:
        text = Path(WORDS).read_text(errors="replace").splitlines()
        said = [line.strip(" +>") for line in text if line.strip(" +>")]
        raise SystemExit(said[-1] if said else f"exit status {status}")


def main() -> None:
    """Run the program."""
    start_watching()
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with np.load("rows.npz") as file:
        rows = {name: file[name] for name in file.files}
    write_measurement_set(MS, job, rows)
    for words in job["steps"]:
        wsclean(job["program"], words)
        if "-predict" in words:
            add_what_the_telescope_adds(MS, rows)
    Path(DONE).touch()


if __name__ == "__main__":
    main()
