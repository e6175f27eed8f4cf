"""Small FITS files made to order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from faintsky.errors import InputError

CELL = 0.5 / 3600


def pytest_configure() -> None:
    """Let Ctrl-C interrupt: jobs that a shell starts in the background have it switched off."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def skip_without(check: Callable[..., Any], *words: Any) -> None:
    """Skip the test where ``check`` finds a program or an extra missing, and say which."""
    try:
        check(*words)
    except InputError as error:
        pytest.skip(str(error))


def cube_header(**cards: Any) -> fits.Header:
    """A header of RA, Dec and frequency; cards given as keywords are set, or removed where None."""
    header = fits.Header()
    header["BUNIT"], header["BMAJ"], header["BMIN"], header["BPA"] = "Jy/beam", 4 * CELL, 3 * CELL, 30.0
    axes = [("RA---SIN", 150.0, -CELL, "deg"), ("DEC--SIN", -30.0, CELL, "deg"), ("FREQ", 1e11, 1e7, "Hz")]
    for i, (kind, value, step, unit) in enumerate(axes, start=1):
        header[f"CTYPE{i}"], header[f"CRVAL{i}"], header[f"CDELT{i}"] = kind, value, step
        header[f"CRPIX{i}"], header[f"CUNIT{i}"] = (1.0 if i == 3 else 17.0), unit
    header["RADESYS"], header["SPECSYS"], header["RESTFRQ"] = "ICRS", "LSRK", 1.001e11
    for key, value in cards.items():
        if value is None:
            header.remove(key)
        else:
            header[key] = value
    return header


def noise_cube(n_chan: int = 24, n: int = 32, seed: int = 1) -> np.ndarray:
    """Smooth noise of unit rms with a source of peak 30 in the middle of image and band, ``[chan, y, x]``."""
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :])
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n_chan, n, n))) * np.exp(-18 * k**2), s=(n, n))
    z, y, x = np.ogrid[:n_chan, :n, :n]
    r2 = ((x - n // 2) ** 2 + (y - n // 2) ** 2) / 1.5**2 + ((z - n_chan // 2) / 1.7) ** 2
    return noise / noise.std() + 30 * np.exp(-0.5 * r2)


@pytest.fixture
def header() -> Callable[..., fits.Header]:
    return cube_header


@pytest.fixture
def noisy() -> Callable[..., np.ndarray]:
    return noise_cube


@pytest.fixture
def make_fits(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a cube (or ``data``) with changed cards, and extra HDUs, and gives the path."""

    def write(
        name: str = "cube.fits", data: np.ndarray | None = None, extra: list[Any] | None = None, **cards: Any
    ) -> Path:
        array = (noise_cube() * 1e-3).astype(np.float32) if data is None else data
        path = tmp_path / name
        hdus = fits.HDUList([fits.PrimaryHDU(array, cube_header(**cards)), *(extra or [])])
        hdus.writeto(path)
        return path

    return write


@pytest.fixture(scope="session")
def passing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a denoising model that hands its input on; see `synthetic.passing_model`."""
    from synthetic import passing_model

    return passing_model(tmp_path_factory.mktemp("models") / "passing")


LOADED = (
    "distributed.nanny", "distributed.worker", "torch", "scipy.ndimage", "scipy.optimize", "skimage.measure",
    "astropy.table", "astropy.wcs", "astropy.io.fits", "matplotlib.figure", "bokeh.plotting", "ducc0",
    "faintsky.jobs", "faintsky.detection", "faintsky.simulating", "faintsky.evaluation", "faintsky.report",
)  # fmt: skip
"""What workers need, and take ten seconds to load."""


@pytest.fixture
def quick_workers() -> Iterator[None]:
    """Workers are forks of a process that has loaded the libraries, and so start at once.

    They are processes as before: they know nothing of the test's process, and get their tasks pickled. Tests
    of how workers start (`test_cluster`, `test_threads`) do without it.
    """
    if not hasattr(signal, "SIGALRM"):  # no system with forks
        yield
        return
    import dask
    import distributed  # noqa: F401  # its defaults must be there before one is changed for a while

    get_context("forkserver").set_forkserver_preload(list(LOADED))
    forkserver.ensure_running()
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield
