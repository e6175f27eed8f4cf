"""Multiscale CLEAN of simulated visibilities by Radler, the deconvolution library of WSClean.

The minor cycles are Radler's, and the major cycles ours (`faintsky.simulating.imaging`). It runs as a
separate process, ``python -m faintsky.simulating.radler_clean job.npz``, because it prints to standard
output.
"""

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32, Float
from faintsky.errors import InputError
from faintsky.grid import ARCSEC, ImageGrid
from faintsky.simulating.imaging import dirty_image, predict_visibilities
from faintsky.system import LONGEST, run_program, start_watching

ITERATIONS = 20_000
"""Most minor iterations."""
MAJOR_GAIN = 0.8
"""Fraction of the peak that is removed in a major iteration."""
MASK_SIGMA = 3.0
"""S/N above which the mask is made."""
STOP_SIGMA = 1.0
"""S/N of the residual's peak at which the deconvolution stops."""
_MOST_MAJOR = 50


def check_radler() -> None:
    """Check that Radler is installed.

    Raises
    ------
    InputError
        If it is not.
    """
    if find_spec("radler") is None:
        raise InputError("clean images need radler", "install faintsky[lofar], or choose the backend wsclean")


def clean(
    vis: NDArray[np.complexfloating], weight: Float, uvw: Float, freq: float, grid: ImageGrid, beam: Float
) -> Array32:
    """The restored image: components at the beam's resolution plus the residual.

    Parameters
    ----------
    vis, weight, uvw, freq, grid
        As for `faintsky.simulating.imaging.dirty_image`.
    beam : array
        ``[3]``: major, minor [arcsec], position angle [deg].

    Returns
    -------
    array
        ``[y, x]`` [Jy/beam]

    Raises
    ------
    FaintskyError
        If Radler fails; with the last line of its output.
    """
    from faintsky.simulating.truth import at_resolution

    place = [grid.n_y, grid.n_x, grid.cell, grid.ra, grid.dec, grid.x0, grid.y0]
    with tempfile.TemporaryDirectory(prefix="faintsky_radler_") as name:
        folder = Path(name)
        np.savez(folder / "job.npz", vis=vis, weight=weight, uvw=uvw, freq=freq, place=place, beam=beam)
        command = [sys.executable, "-m", "faintsky.simulating.radler_clean", "job.npz"]
        run_program(command, folder, "Radler", leaves="clean.npz", limit=LONGEST)
        with np.load(folder / "clean.npz") as file:
            model, residual = file["model"], file["residual"]
    return (at_resolution(model, beam, grid.cell) + residual).astype(np.float32)


def _main(path: str) -> None:
    import radler

    start_watching()
    with np.load(path) as file:
        vis, weight, uvw, freq = file["vis"], file["weight"], file["uvw"], float(file["freq"])
        n_y, n_x, *rest = file["place"].tolist()
        beam = file["beam"]
    grid = ImageGrid(int(n_y), int(n_x), *rest)
    middle = ImageGrid(int(n_y), int(n_x), *rest[:3])
    psf = dirty_image(np.ones(len(vis), dtype=np.complex64), weight, uvw, freq, middle)
    settings = radler.Settings()
    settings.trimmed_image_width, settings.trimmed_image_height = grid.n_x, grid.n_y
    settings.pixel_scale.x = settings.pixel_scale.y = grid.cell_rad
    settings.algorithm_type = radler.AlgorithmType.multiscale
    settings.minor_iteration_count, settings.major_iteration_count = ITERATIONS, _MOST_MAJOR
    settings.major_loop_gain = MAJOR_GAIN
    settings.auto_mask_sigma, settings.auto_threshold_sigma = MASK_SIGMA, STOP_SIGMA
    settings.thread_count = 1
    # Radler changes these arrays in place
    residual = dirty_image(vis, weight, uvw, freq, grid)
    model = np.zeros_like(residual)
    cycle = radler.Radler(settings, psf, residual, model, float(beam[0]) * ARCSEC)
    again, count = True, 0
    while again:
        again = cycle.perform(count)
        count += 1
        residual[:] = dirty_image(vis - predict_visibilities(model, uvw, freq, grid), weight, uvw, freq, grid)
    with open("clean.npz", "wb") as file:
        np.savez(file, model=model, residual=residual)


if __name__ == "__main__":
    _main(sys.argv[1])
