"""Other source finders, run as programs on a cube's integrated image, or for islands of an image.

They run as separate processes by the interpreter named by `PYTHON`, because they may need older libraries."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from faintsky.arrays import Array, Array32, Float, Labels
from faintsky.beams import beam_covariance, convolved
from faintsky.denoising import sum_error
from faintsky.detection import Found, beam_of, integrated_image, source_table
from faintsky.errors import InputError
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.image import SHAPE, RadioCube
from faintsky.models import Model
from faintsky.published.peers import PEERS, inside
from faintsky.system import run_program

Beam = tuple[float, float, float]

PYTHON = "FAINTSKY_PEERS_PYTHON"
"""Environment variable with the Python interpreter that has the programs; by default faintsky's own."""
TENTH = float(np.sqrt(2 * np.log(10)))
"""Distance at which a Gaussian falls to a tenth of its peak [standard deviations]."""
TUNED = Path(__file__).parent / "tuned_islands.json"
"""Settings for islands by program and kind of noise, found by ``reproduction/tune_islands.py``."""


def interpreter(program: str) -> str:
    """Path of a Python interpreter that has a program.

    Raises
    ------
    InputError
        If it is missing, or cannot import the program.
    """
    python, package = os.environ.get(PYTHON, sys.executable), PEERS[program]
    if not _imports(python, package):
        raise InputError(
            f"{package} cannot be imported by {python}",
            f"install faintsky[peers], or set {PYTHON} to the interpreter of an environment that has it",
        )
    return python


@lru_cache(maxsize=8)
def _imports(python: str, package: str) -> bool:
    try:
        # only importing it shows whether an installed package lacks a library
        run = subprocess.run([python, "-c", f"import {package}"], capture_output=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0


def fitted_gaussians(
    program: str, image: Array, cell: float, beam: Beam, frequency: float, options: Mapping[str, Any]
) -> dict[str, Float]:
    """Gaussians that a program fits to an image.

    Parameters
    ----------
    program : str
        A key of `PEERS`.
    image : array
        [Jy/beam], NaN where blank, ``[y, x]``.
    cell : float
        Side of a pixel [arcsec].
    beam : tuple of float
        Major, minor axis [pixel] and position angle [deg].
    frequency : float
        [Hz]
    options : mapping
        Those of ``bdsf.process_image`` or of Aegean's ``find_sources_in_image``.

    Returns
    -------
    dict of array
        ``x``, ``y``, ``maj``, ``min`` [pixel], ``pa`` [deg], ``peak``, ``total``, ``rms``, each ``[n]``, with
        the shapes as fitted.
    """
    from astropy.wcs import WCS

    header = _header(image, cell, beam)
    given = options if program == "aegean" else {"frequency": frequency, **options}
    rows = json.loads(_call(program, "sources", image, header, given))
    table = {key: np.array([row[key] for row in rows], dtype=float) for key in inside.KEYS}
    x, y = WCS(header).celestial.wcs_world2pix(table.pop("ra"), table.pop("dec"), 0)
    sizes = {name: table[name] * 3600 / cell for name in ("maj", "min")}
    return {**table, **sizes, "x": np.asarray(x), "y": np.asarray(y)}


def find_islands(
    program: str,
    data: Array,
    cell: float,
    width: float,
    *,
    beam: Beam | None = None,
    correlation: Float | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Labels, Array32]:
    """Find islands in an image, which may be smoothed for extended emission, by a program.

    Parameters
    ----------
    program : str
        One of `PEERS`. PyBDSF's islands include those of its wavelet scales, if these are used; Aegean's are
        the positive ones.
    data : array
        Image over its rms, ``[y, x]``, NaN where blank.
    cell : float
        Side of a pixel [arcsec].
    width : float
        FWHM [pixel] that is the unit of smoothing, and by default the beam.
    beam : tuple of float, optional
        Beam of the image (FWHMs [pixel], angle [deg]).
    correlation : array, optional
        Correlation of its noise; by default white.
    settings : mapping, optional
        ``smooth`` (FWHM over `width`), ``seed`` and ``grow`` (S/N of an island's peak and of its pixels),
        and for PyBDSF ``wavelets``; by default the tuned ones.

    Returns
    -------
    labels : array of int
        ``[y, x]``: numbers from 1, 0 outside.
    searched : array
        The image searched, over its rms, ``[y, x]``.

    Raises
    ------
    InputError
        If the program is missing.
    FaintskyError
        If it fails.
    """
    if settings is None:
        tuned = json.loads(TUNED.read_text(encoding="utf-8"))
        settings = dict(tuned[program]["white" if correlation is None else "correlated"])
    image, rms, seen = searched_image(
        data, width, float(settings["smooth"]), beam=beam, correlation=correlation
    )
    options = island_options(program, settings, rms)
    content = _call(program, "islands", image, _header(image, cell, seen), options)
    # merged islands leave gaps in the numbers
    found, labels = np.unique(np.load(BytesIO(content)), return_inverse=True)
    return labels.reshape(image.shape).astype(np.int32) + (1 if found[0] > 0 else 0), image / np.float32(rms)


def island_options(program: str, settings: Mapping[str, Any], rms: float) -> dict[str, Any]:
    """The settings of `find_islands` in a program's words. See `find_islands`.

    Noise is the true one, and there is no background, because subtracting it would remove diffuse emission.
    """
    if program == "aegean":
        return {"innerclip": settings["seed"], "outerclip": settings["grow"], "rms": rms, "bkg": 0.0}
    return {
        "thresh": "hard", "thresh_pix": settings["seed"], "thresh_isl": settings["grow"], "rms_map": False,
        "rms_value": rms, "mean_map": "zero", "atrous_do": bool(settings["wavelets"]), "frequency": 150e6,
    }  # fmt: skip


def searched_image(
    data: Array, width: float, smooth: float, *, beam: Beam | None = None, correlation: Float | None = None
) -> tuple[Array32, float, Beam]:
    """The image that is searched, smoothed or not.

    Parameters
    ----------
    data : array
        Image over its rms, ``[y, x]``.
    width : float
        FWHM [pixel] that is the unit of smoothing, and by default the beam.
    smooth : float
        FWHM of the smoothing over `width`; 0 for none.
    beam, correlation : optional
        See `find_islands`.

    Returns
    -------
    image : array
        ``[y, x]``
    rms : float
        Its noise.
    beam : tuple of float
        Its beam.
    """
    data = np.asarray(data, dtype=np.float32)
    beam = (width, width, 0.0) if beam is None else beam
    if not smooth:
        return data, 1.0, beam
    fwhm = smooth * width
    half = int(np.ceil(1.5 * fwhm))
    spot = np.zeros((2 * half + 1, 2 * half + 1))
    spot[half, half] = 1
    rms = sum_error(
        gaussian_filter(spot, fwhm / FWHM_PER_SIGMA), np.ones((1, 1)) if correlation is None else correlation
    )
    wide = (float(np.hypot(beam[0], fwhm)), float(np.hypot(beam[1], fwhm)), beam[2])
    return gaussian_filter(np.nan_to_num(data), fwhm / FWHM_PER_SIGMA), rms, wide


def _header(image: Array, cell: float, beam: Beam) -> Any:
    from faintsky.grid import ImageGrid, array_header

    grid = ImageGrid(image.shape[0], image.shape[1], cell, 150.0, 0.0)
    header = array_header(grid, None)
    header["BUNIT"] = "JY/BEAM"
    header["BMAJ"], header["BMIN"], header["BPA"] = beam[0] * cell / 3600, beam[1] * cell / 3600, beam[2]
    return header


def _call(program: str, what: str, image: Array, header: Any, options: Mapping[str, Any]) -> bytes:
    """Run `inside` by the interpreter that has the program, and read its output."""
    from astropy.io import fits

    command = [interpreter(program), str(inside.__file__), program, what, "image.fits", "out", "options.json"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        fits.writeto(place / "image.fits", image.astype(np.float32), header)
        (place / "options.json").write_text(json.dumps(dict(options)))
        environment = os.environ | {"MPLBACKEND": "Agg"}
        run_program(command, place, program, leaves="out", environment=environment)
        return (place / "out").read_bytes()


def find(cube: RadioCube, model: Model, *, reliability: float | None = None, device: str = "cpu") -> Found:
    """Gaussians of the mean image over all channels, deconvolved from the beam.

    See `faintsky.registry.DETECTORS`. The model has the settings ``method`` (the program), ``options`` (its
    own), ``least_snr`` at the peak, and those of `faintsky.detection.methods.looked_at`. The programs give no
    reliabilities.
    """
    s = model.settings
    program = str(s["method"])
    image, beam = integrated_image(cube, s) / cube.shape[0], beam_of(cube)
    middle = float(np.median(cube.frequencies))
    found = fitted_gaussians(program, image, cube.grid.cell, beam, middle, s["options"])
    snr = found["peak"] / found["rms"]
    order = np.flatnonzero(snr >= s["least_snr"])
    order = order[np.argsort(-snr[order], kind="stable")]
    found = {name: values[order] for name, values in found.items()}
    x, y = found["x"], found["y"]
    shape = convolved(found["maj"], found["min"], found["pa"], cube.local_beams(beam, x, y), sign=-1)
    spreads = [np.sqrt(np.diag(beam_covariance(one))) for one in zip(*shape)]
    half_x, half_y = TENTH * np.reshape(spreads, (-1, 2)).T
    on_sky = cube.sky_columns({"x": x, "y": y, **dict(zip(SHAPE, shape))})
    columns: dict[str, Any] = {"x": x, "y": y, **on_sky, "kind": "gaussian", "snr": snr[order]}
    for name, half, n in (("x", half_x, cube.shape[2]), ("y", half_y, cube.shape[1])):
        columns[f"{name}_min"] = np.clip(np.round(found[name] - half), 0, n - 1)
        columns[f"{name}_max"] = np.clip(np.round(found[name] + half), 0, n - 1)
    notes = [f"{program} on the integrated image: no positions in frequency, no reliabilities"]
    # boxes are computed from the shapes, like those of the truth
    return Found(source_table(cube, columns, {"own_boxes": False, "steps": {}}), None, None, {}, notes)
