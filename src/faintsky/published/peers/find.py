"""Sources of a cube's integrated image, or islands of an image, by PyBDSF or Aegean, run as programs.

PyBDSF (Mohan & Rafferty 2015) and Aegean (Hancock et al. 2012, 2018) fit elliptical Gaussians to the islands
of an image. They run in a process of their own, by the interpreter that `PYTHON` names, since they need older
libraries than the rest at times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.beams import beam_covariance
from faintsky.detection.gaussian_fit import axes_of
from faintsky.detection.islands import beam_of, integrated_image, source_table
from faintsky.detection.methods import Found
from faintsky.errors import FaintskyError, InputError
from faintsky.image import RadioCube
from faintsky.models import Model
from faintsky.on_sky import SHAPE
from faintsky.published.peers import program as peer_program

if TYPE_CHECKING:
    from astropy.io.fits import Header

PYTHON = "FAINTSKY_PEERS_PYTHON"
"""Environment variable: a Python interpreter that has the programs; without it the one that runs faintsky."""
PACKAGES = {"pybdsf": "bdsf", "aegean": "AegeanTools"}
"""Package of each program."""
TENTH = float(np.sqrt(2 * np.log(10)))
"""Standard deviations at which a Gaussian has a tenth of its peak."""


def interpreter(program: str) -> str:
    """The Python that has a program.

    Raises
    ------
    InputError
        It is missing, or cannot import it.
    """
    python = os.environ.get(PYTHON, sys.executable)
    if not _imports(python, PACKAGES[program]):
        raise InputError(
            f"{PACKAGES[program]} cannot be imported by {python}",
            f"install faintsky[peers], or set {PYTHON} to the interpreter of an environment that has it",
        )
    return python


@lru_cache(maxsize=8)
def _imports(python: str, package: str) -> bool:
    try:
        # a package as good as installed may still lack a library: only importing it tells
        run = subprocess.run([python, "-c", f"import {package}"], capture_output=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0


def run_program(
    program: str,
    image: NDArray[np.floating],
    cell: float,
    beam: tuple[float, float, float],
    frequency: float,
    options: dict[str, Any],
) -> dict[str, NDArray[np.float64]]:
    """Gaussians that a program fits to an image.

    Parameters
    ----------
    program : {"pybdsf", "aegean"}
    image : array
        ``[y, x]`` [Jy/beam], NaN where blank.
    cell : float
        [arcsec]
    beam : tuple of float
        Major, minor FWHM [pixel], position angle [deg].
    frequency : float
        [Hz]
    options : dict
        Of ``bdsf.process_image`` or of Aegean's ``find_sources_in_image``.

    Returns
    -------
    dict
        ``x``, ``y``, ``maj``, ``min`` [pixel], ``pa`` [deg], ``peak``, ``total``, ``rms``, each ``[n]``; the
        shapes as fitted, beam included.

    Raises
    ------
    InputError
        The program is not there.
    FaintskyError
        It failed.
    """
    from astropy.wcs import WCS

    given = {"frequency": frequency, **options} if program == "pybdsf" else options
    header = _header(image, cell, beam)
    rows = json.loads(_call(program, program, image, header, given))
    table = {key: np.array([row[key] for row in rows], dtype=float) for key in peer_program.KEYS}
    x, y = WCS(header).celestial.wcs_world2pix(table.pop("ra"), table.pop("dec"), 0)
    sizes = {name: table[name] * 3600 / cell for name in ("maj", "min")}
    return {**table, **sizes, "x": np.asarray(x), "y": np.asarray(y)}


def run_islands(
    program: str,
    image: NDArray[np.floating],
    cell: float,
    beam: tuple[float, float, float],
    options: dict[str, Any],
) -> NDArray[np.int32]:
    """Islands that a program finds in an image, ``[y, x]``: numbers from 1, 0 outside.

    Parameters and errors as of `run_program`. PyBDSF's include those on the scales of its wavelets where
    ``atrous_do`` is on; Aegean's are the positive ones.
    """
    given = {"frequency": 150e6, **options} if program == "pybdsf" else options
    content = _call(program, f"{program}-islands", image, _header(image, cell, beam), given)
    # islands that became part of others leave gaps in the numbers
    found, labels = np.unique(np.load(BytesIO(content)), return_inverse=True)
    return labels.reshape(image.shape).astype(np.int32) + (1 if found[0] > 0 else 0)


def _header(image: NDArray[np.floating], cell: float, beam: tuple[float, float, float]) -> Header:
    from faintsky.axes import array_header
    from faintsky.grid import ImageGrid

    grid = ImageGrid(image.shape[0], image.shape[1], cell, 150.0, 0.0)
    header = array_header((1, *image.shape), grid, None)
    header["BUNIT"] = "JY/BEAM"
    header["BMAJ"], header["BMIN"], header["BPA"] = beam[0] * cell / 3600, beam[1] * cell / 3600, beam[2]
    return header


def _call(
    program: str, what: str, image: NDArray[np.floating], header: Header, given: dict[str, Any]
) -> bytes:
    """What `peer_program` writes, run by the interpreter that has the program."""
    from astropy.io import fits

    python = interpreter(program)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        fits.writeto(place / "image.fits", image.astype(np.float32), header)
        (place / "settings.json").write_text(json.dumps(given))
        files = ["image.fits", "out", "settings.json"]
        command = [python, str(Path(peer_program.__file__)), what, *files]
        # both spread over threads of their own where they may
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        run = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
        if run.returncode:
            last = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
            raise FaintskyError(f"{program} failed ({run.returncode}): {last}")
        return (place / "out").read_bytes()


def find(cube: RadioCube, model: Model, *, reliability: float | None = None, device: str = "cpu") -> Found:
    """Gaussians of the mean image over all channels, the beam taken out of their shapes.

    Parameters
    ----------
    cube : RadioCube
        With a beam.
    model : Model
        With the settings ``method`` (the program), ``options`` (its own), ``least_snr`` at the peak,
        and those of `faintsky.detection.islands.looked_at`.
    reliability : float, optional
        Not used: they give none.
    device : str, optional
        Not used.

    Raises
    ------
    InputError, FaintskyError
        See `run_program`.
    """
    s = model.settings
    program = str(s["method"])
    image = integrated_image(cube, s) / cube.shape[0]
    beam, middle = beam_of(cube), float(np.median(cube.frequencies))
    found = run_program(program, image, cube.grid.cell, beam, middle, s["options"])
    snr = found["peak"] / found["rms"]
    order = np.flatnonzero(snr >= s["least_snr"])
    order = order[np.argsort(-snr[order], kind="stable")]
    found = {name: values[order] for name, values in found.items()}
    x, y = found["x"], found["y"]
    fits = zip(found["maj"], found["min"], found["pa"], cube.local_beams(beam, x, y))
    shapes = [intrinsic(maj, minor, pa, tuple(there)) for maj, minor, pa, there in fits]
    *shape, half_x, half_y = np.array(shapes).reshape(-1, 5).T
    on_sky = cube.sky_columns({"x": x, "y": y, **dict(zip(SHAPE, shape))})
    columns: dict[str, Any] = {"x": x, "y": y, **on_sky, "snr": snr[order]}
    for name, half, n in (("x", half_x, cube.shape[2]), ("y", half_y, cube.shape[1])):
        columns[f"{name}_min"] = np.clip(np.round(found[name] - half), 0, n - 1)
        columns[f"{name}_max"] = np.clip(np.round(found[name] + half), 0, n - 1)
    notes = [f"{program} on the integrated image: no positions in frequency, no reliabilities"]
    # boxes follow from the shapes, like those of the truth
    return Found(source_table(cube, columns, {"own_boxes": False, "steps": {}}), None, None, {}, notes)


def intrinsic(
    maj: float, minor: float, pa: float, beam: tuple[float, float, float]
) -> tuple[float, float, float, float, float]:
    """A fitted Gaussian with the beam taken out: FWHMs, angle, and half sides of its tenth-peak box."""
    cov = beam_covariance((maj, minor, pa)) - beam_covariance(beam)
    values, vectors = np.linalg.eigh(cov)
    cov = (vectors * np.maximum(values, 0)) @ vectors.T
    l11 = float(np.sqrt(max(cov[0, 0], 0.0)))
    l21 = float(cov[0, 1] / l11) if l11 > 0 else 0.0
    l22 = float(np.sqrt(max(cov[1, 1] - l21**2, 0.0)))
    return *axes_of(l11, l21, l22), TENTH * l11, TENTH * float(np.hypot(l21, l22))
