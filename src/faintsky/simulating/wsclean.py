"""WSClean as a backend for images: measurement set, prediction, dirty image, multiscale CLEAN.

It needs the program ``wsclean`` (3.1; from Debian's package, or named by the environment variable
``FAINTSKY_WSCLEAN``) and python-casacore, from the extra ``lofar``. Baselines, primary beam, gain errors and
noise are exactly those of the fast telescope, so that both backends give the same images.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32
from faintsky.errors import InputError
from faintsky.grid import ImageGrid
from faintsky.simulating.images import ImageTelescope, Seen
from faintsky.simulating.instrument import data_header
from faintsky.simulating.radler_clean import ITERATIONS, MAJOR_GAIN, MASK_SIGMA, STOP_SIGMA
from faintsky.simulating.truth import to_sky
from faintsky.simulating.wsclean_run import DONE
from faintsky.system import LONGEST, run_program
from faintsky.telescopes import DAY

PROGRAM = "FAINTSKY_WSCLEAN"
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
    ) -> Seen:
        """See `ImageTelescope.observe`; here the images and the beam are WSClean's."""
        rows = {}
        if gains is not None:
            rows["factor"] = self.factors(gains)
        if rms > 0:
            rows["noise"] = self.noise(rms, seed)
        predict = ["-predict", "-name", "in", *_geometry(self.instrument.grid)]
        image = [
            "-make-psf",
            *(CLEAN if clean else ("-niter", 0)),
            "-name",
            "out",
            "-no-update-model-required",
        ]
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
        return Seen(dirty, restored if clean else None, beam)

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
        command = [sys.executable, "-m", "faintsky.simulating.wsclean_run", "job.json"]
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
