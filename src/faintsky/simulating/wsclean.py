"""WSClean as a backend for images: measurement set, prediction, dirty image, multiscale CLEAN.

It needs the program ``wsclean`` (3.1; from Debian's package, or named by the environment variable
``FAINTSKY_WSCLEAN``) and python-casacore, from the extra ``lofar``. Baselines, primary beam, gain errors and
noise are exactly those of the fast telescope, so that both backends give the same images.

It runs in a separate process, ``python -m faintsky.simulating.wsclean job.json``, in a folder with
``job.json``, ``rows.npz`` and the model image. This writes a measurement set with python-casacore, predicts
the visibilities of the model by WSClean, adds gain errors and noise, and images the result by WSClean. It
leaves WSClean's FITS files and ``done``.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32, Float
from faintsky.errors import InputError
from faintsky.grid import ImageGrid
from faintsky.simulating.images import ImageTelescope, ObservedSky
from faintsky.simulating.instrument import data_header
from faintsky.simulating.radler_clean import ITERATIONS, MAJOR_GAIN, MASK_SIGMA, STOP_SIGMA
from faintsky.simulating.truth import to_sky
from faintsky.system import LONGEST, run_program, start_watching
from faintsky.telescopes import DAY

PROGRAM = "FAINTSKY_WSCLEAN"
MS = "obs.ms"
"""The measurement set."""
DONE = "done"
"""File that is there when the run is complete."""
LOG = "wsclean.log"
"""File of what the program printed."""
_XX_YY = (9, 12)
"""Casacore's codes of the correlations."""
CLEAN = (
    *("-multiscale", "-mgain", MAJOR_GAIN, "-niter", ITERATIONS),
    *("-auto-mask", MASK_SIGMA, "-auto-threshold", STOP_SIGMA),
)


def check_wsclean() -> str:
    """The program's path, after a check that all requirements are met.

    Raises
    ------
    InputError
        If WSClean or python-casacore is missing.
    """
    given = os.environ.get(PROGRAM)
    path = shutil.which(given or "wsclean")
    if path is None and given:
        raise InputError(f"{PROGRAM} names no program", "set it to WSClean's path", given)
    if path is None:
        raise InputError(
            "WSClean is not installed",
            f"install it (Debian: apt install wsclean), set {PROGRAM} to it, or choose the backend fast",
        )
    if find_spec("casacore") is None:
        raise InputError(
            "python-casacore is not installed", "install faintsky[lofar], or choose the backend fast"
        )
    return path


@lru_cache(maxsize=1)
def wsclean_version(program: str) -> str:
    """The program's version, e.g. ``3.1.0``."""
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stdout
    return next((line.split()[2] for line in said.splitlines() if line.startswith("WSClean version")), "?")


class WscleanTelescope(ImageTelescope):
    """A telescope with images by WSClean, and psfs as of `ImageTelescope`; see there for the arguments."""

    def observe(
        self,
        sky: Array32,
        rms: float,
        seed: np.random.SeedSequence,
        gains: NDArray[np.complex64] | None = None,
        clean: bool = False,
    ) -> ObservedSky:
        """See `ImageTelescope.observe`; here the images and the beam are WSClean's."""
        rows = {}
        if gains is not None:
            rows["factor"] = self.factors(gains)
        if rms > 0:
            rows["noise"] = self.noise(rms, seed)
        predict = ["-predict", "-name", "in", *_geometry(self.instrument.grid)]
        steps = CLEAN if clean else ("-niter", 0)
        image = ["-make-psf", *steps, "-name", "out", "-no-update-model-required"]
        image += ["-weight", "briggs", self.observation.robust, *_geometry(self.instrument.grid)]
        with tempfile.TemporaryDirectory(prefix="faintsky_wsclean_") as name:
            folder = Path(name)
            self._write_model(folder / "in-model.fits", sky)
            self._run(folder, [predict, image], **rows)
            dirty, _ = self._read(folder, "dirty")
            restored, header = self._read(folder, "image")
        beam = self.beam
        if "BMAJ" in header:
            beam = np.array([header["BMAJ"] * 3600, header["BMIN"] * 3600, header["BPA"] % 180.0])
        return ObservedSky(dirty, restored if clean else None, beam)

    def _write_model(self, path: Path, sky: Array32) -> None:
        from astropy.io import fits

        grid = self.instrument.grid
        even = _even(grid)
        model = np.zeros((1, 1, *even.shape), dtype=np.float32)
        model[0, 0, : grid.n_y, : grid.n_x] = sky * np.float32(grid.cell**2) * self.pb
        header = data_header(even, None, "JY/PIXEL", self.observation.record.title, {})
        for i, (kind, value, step) in enumerate(
            (("FREQ", self.observation.freq, self.observation.spectral.width), ("STOKES", 1.0, 1.0)), start=3
        ):
            header.update({f"CTYPE{i}": kind, f"CRVAL{i}": value, f"CDELT{i}": step, f"CRPIX{i}": 1.0})
        fits.writeto(path, model, header)

    def _run(self, folder: Path, steps: list[list[Any]], **rows: Any) -> None:
        observation, track = self.observation, self.sampling.track
        array, n_times = observation.array, len(track.ut1_mjd)
        begin, step = (observation.begin() or 0.0) * DAY, observation.integration
        one, two = np.triu_indices(len(array.pads), k=1)
        np.savez(
            folder / "rows.npz",
            itrf=array.itrf,
            uvw=track.uvw,
            antenna1=one[track.pair],
            antenna2=two[track.pair],
            time=begin + (track.time_index + 0.5) * step,
            **rows,
        )
        program = check_wsclean()
        job = {
            "program": program,
            "steps": [["-use-wgridder", *words] for words in steps],
            "ra": float(np.deg2rad(self.instrument.grid.ra)),
            "dec": float(np.deg2rad(self.instrument.grid.dec)),
            "freq": observation.freq,
            "width": observation.spectral.width,
            "integration": step,
            "begin": begin,
            "end": begin + n_times * step,
            "telescope": observation.record.title,
            "stations": list(array.pads),
            "diameter": array.diameter,
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-m", "faintsky.simulating.wsclean", "job.json"]
        run_program(command, folder, "WSClean", leaves=DONE, limit=LONGEST)

    def _read(self, folder: Path, name: str) -> tuple[Array32, Any]:
        from astropy.io import fits

        grid = self.instrument.grid
        data, header = fits.getdata(folder / f"out-{name}.fits", header=True)
        image = np.asarray(data, dtype=np.float32).reshape(_even(grid).shape)
        return np.ascontiguousarray(image[: grid.n_y, : grid.n_x]), header


def _even(grid: ImageGrid) -> ImageGrid:
    """The grid with even sides, as WSClean needs it."""
    return replace(grid, n_y=grid.n_y + grid.n_y % 2, n_x=grid.n_x + grid.n_x % 2)


def _geometry(grid: ImageGrid) -> list[Any]:
    """WSClean's options for size and cell, and for an image not centred on the phase centre."""
    even = _even(grid)
    # WSClean's small inversion would make a coarser image and resample it, with ringing at the edges
    words = ["-size", even.n_x, even.n_y, "-scale", f"{grid.cell:.12g}asec", "-pol", "I"]
    words.append("-no-small-inversion")
    if (even.x0, even.y0) == (even.n_x // 2, even.n_y // 2):
        return words
    from astropy.coordinates import Angle

    ra, dec = to_sky(grid, np.array(even.n_x // 2), np.array(even.n_y // 2))
    places = (Angle(float(ra), "deg").to("hourangle"), Angle(float(dec), "deg"))
    return [*words, "-shift", *(p.to_string(sep=s, precision=7) for p, s in zip(places, ("hms", "dms")))]


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
    with open(LOG, "ab") as log:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
    if status:
        text = Path(LOG).read_text(errors="replace").splitlines()
        said = [line.strip(" +>") for line in text if line.strip(" +>")]
        raise SystemExit(said[-1] if said else f"exit status {status}")


def _main(path: str) -> None:
    start_watching()
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    with np.load("rows.npz") as file:
        rows = {name: file[name] for name in file.files}
    write_measurement_set(MS, job, rows)
    for words in job["steps"]:
        wsclean(job["program"], words)
        if "-predict" in words:
            add_what_the_telescope_adds(MS, rows)
    Path(DONE).touch()


if __name__ == "__main__":
    _main(sys.argv[1])
