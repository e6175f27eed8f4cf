"""Simulated LOFAR observations: `simulate_lofar` writes data sets, `simulate_fields` gives them in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from faintsky.simulating.lofar_files import LofarFiles
from faintsky.simulating.lofar_observatory import LofarObservatory, LofarObserved
from faintsky.simulating.lofar_settings import DEFAULT_PRODUCTS, LofarSettings, make_lofar_settings
from faintsky.simulating.lofar_telescope import LofarTelescope
from faintsky.simulating.sky_regions import RULE
from faintsky.system import Needs, worker_count

__all__ = [
    "LofarObservatory",
    "LofarObserved",
    "LofarTelescope",
    "make_lofar_settings",
    "simulate_fields",
    "simulate_lofar",
]

SECONDS_FIXED, SECONDS_A_FIELD, SECONDS_A_BYTE = 4.0, 0.3, 3e-7
"""Time of a run: start, a field, and a byte of its images."""


def simulate_fields(
    n: int = 1, *, seed: int = 0, device: str = "auto", **settings: Any
) -> Iterator[LofarObserved]:
    """Simulated fields in memory, one after the other; nothing is written but the instrument's cache.

    Parameters
    ----------
    n : int
        How many.
    seed : int, optional
    device : str, optional
        A torch device or ``"auto"``; for ``quick`` only.
    **settings
        As for `simulate_lofar`.

    Yields
    ------
    LofarObserved
        Field i is the one that `simulate_lofar` writes as number i.
    """
    observatory = LofarObservatory(make_lofar_settings(**settings), device)
    for index in range(n):
        yield observatory.sample(seed, index)


def simulate_lofar(
    out: str | os.PathLike[str],
    n: int = 1,
    *,
    seed: int = 0,
    preset: str = "paper",
    sky: str | os.PathLike[str] | None = None,
    ra: float | None = None,
    dec: float | None = None,
    hour_angle: float | None = None,
    start: str | float | None = None,
    total_time: float | str | None = None,
    integration: float | str | None = None,
    freq: float | str | None = None,
    cell: float | str | None = None,
    size: int | None = None,
    robust: float | None = None,
    rms: float | str | None = None,
    products: str | tuple[str, ...] | list[str] = DEFAULT_PRODUCTS,
    noise: bool = True,
    pbcor: bool = False,
    quick: bool = False,
    primary_beam: str = "auto",
    gain_rms: float | None = None,
    phase_rms: float | None = None,
    gain_time: float | str | None = None,
    web: str | os.PathLike[str] | None = None,
    field: str | None = None,
    backend: str = "fast",
    jobs: int | None = 1,
    device: str = "cpu",
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Simulate LOFAR HBA continuum images and write them with their truth.

    Parameters
    ----------
    out : path-like
        Folder: ``NNNN_sky.fits``, ``NNNN_noise.fits`` [Jy/arcsec2], ``NNNN_dirty.fits``,
        ``NNNN_clean.fits`` [Jy/beam], ``NNNN_compact.npz``, ``NNNN_truth.ecsv``, ``psf.fits``, ``pb.fits``
        (``NNNN_psf.fits``, ``NNNN_pb.fits`` where they differ) and ``dataset.json``.
    n : int, optional
        Number of fields.
    seed : int, optional
        Of the whole data set; field i depends on (seed, i) alone.
    preset : str, optional
        ``paper`` (diffuse emission, Briggs 0), ``lotss`` (with radio galaxies, Briggs -0.5), or ``varied``
        (with radio galaxies; declination, track, robustness and gain errors at random for every field,
        except for what is given).
    sky : path-like, optional
        The user's own model instead: a FITS image in Jy/pixel or Jy/arcsec2.
    ra, dec : float or str, optional
        Phase centre [deg]: 180, 55.
    hour_angle : float or str, optional
        Of the track's middle, on 2021-03-20 [hours]; 0, that is transit, where not given.
    start : str, optional
        UTC of the first integration's beginning, instead of the hour angle.
    total_time, integration : float or str, optional
        8 h and 60 s where not given [s].
    freq : float or str, optional
        150 MHz where not given [Hz].
    cell, size : optional
        Pixel [arcsec] and pixels a side: 2 and 2000.
    robust : float, optional
        Briggs' robustness.
    rms : float or str, optional
        Noise of the dirty image [Jy/beam], 0.1 mJy/beam where not given. Noise images have it in a beam of
        6 arcsec, white: 2.45e-6 Jy/arcsec2 in each pixel.
    products : str or sequence, optional
        Of ``sky``, ``noise``, ``dirty``, ``clean`` (multiscale CLEAN, minutes each), ``psf``, ``pb`` and
        ``compact`` (what networks are trained on, a third of the size; see
        `faintsky.simulating.lofar_compact`); the truth is always written.
    noise : bool, optional
        False for noise-free images.
    pbcor : bool, optional
        Divide dirty and clean images by the primary beam, and blank them where that is below 0.2.
    quick : bool, optional
        One psf for the whole field, by FFT, instead of visibilities: a few per cent off, see the simulator's
        page.
    primary_beam : str, optional
        ``everybeam``, ``gaussian``, or ``auto``: EveryBeam where it is installed.
    gain_rms, phase_rms : float, optional
        Residual gain errors of the stations: standard deviations of the amplitude, and of the phase [deg].
        None for ``paper`` and ``lotss``, up to 0.05 and 10 at random for ``varied``.
    gain_time : float or str, optional
        Lag at which their correlation has fallen to 1/e [s]: 20 min, 5 to 60 min at random for ``varied``.
    web : str or path-like, optional
        Draw diffuse emission from cosmic webs (`faintsky.sky.web.boxes`) instead of `faintsky.sky.diffuse`:
        ``train``, ``validation`` or ``test``, different realisations that are made once (minutes each) and
        cached, or an ``.npz`` file or folder of them.
    field : str, optional
        Of the webs: ``sky1`` (a massive cluster) or ``sky2`` (groups); a quarter of the fields are ``sky1``
        where not given.
    backend : str, optional
        ``fast``, or ``wsclean``: measurement set, prediction and imaging by the program; see
        `faintsky.simulating.wsclean`.
    jobs : int, optional
        Processes; the files do not depend on it. None is one for each core.
    device : str, optional
        ``cpu``, ``cuda`` or ``auto``; for ``quick`` only. The noise of a GPU is another one than the CPU's.
    overwrite : bool, optional
        Replace another data set in ``out``. The same one is resumed.
    dry_run : bool, optional
        Only say what would be done: ``files``, ``shape``, ``cell_arcsec``, ``primary_beam``, and what
        `faintsky.system.machine.Needs` says.
    progress : callable, optional
        Called with ``(done, n, what)``.
    command : str, optional
        Recorded.

    Returns
    -------
    dict
        ``out``, ``images``, ``shape``, ``cell_arcsec``, ``beam_arcsec_arcsec_deg``, ``noise_jy_per_beam``,
        ``primary_beam``, ``region_rule``.

    Raises
    ------
    InputError
        For bad values, a source that does not rise, or an ``out`` that holds something else.
    """
    from faintsky.simulating.dataset import check_folder, write_dataset

    given: dict[str, Any] = {"integration": integration, "rms": rms}
    settings = make_lofar_settings(
        preset=preset,
        sky=sky,
        ra=ra,
        dec=dec,
        hour_angle=hour_angle,
        start=start,
        total_time=total_time,
        freq=freq,
        cell=cell,
        size=size,
        robust=robust,
        products=products,
        noise=noise,
        pbcor=pbcor,
        quick=quick,
        primary_beam=primary_beam,
        gain_rms=gain_rms,
        phase_rms=phase_rms,
        gain_time=gain_time,
        backend=backend,
        web=web,
        field=field,
        **{name: value for name, value in given.items() if value is not None},
    )
    workers = min(n, worker_count(jobs))
    files = LofarFiles(settings)
    needs, about = _plan(n, settings)
    if dry_run:
        check_folder(out, files, seed, overwrite)
        return about | replace(needs, processes=workers).summary(out)
    result = write_dataset(out, n, files, seed, workers, device, overwrite, progress, command, needs.disk)
    return {"out": result.pop("out"), "images": n, **result}


def _plan(n: int, settings: LofarSettings) -> tuple[Needs, dict[str, Any]]:
    observation = settings.observation
    grid = observation.grid
    image = 4 * grid.n_y * grid.n_x
    shared = [] if settings.drawn else [p for p in ("psf", "pb") if p in settings.products]
    own = [p for p in settings.products if p not in shared]
    # two float16 images and the middle of the psf, and a third where there is a clean one
    sizes = {"compact": image * (3 if "clean" in own else 2) // 2 + 4 * min(256, grid.n_x) ** 2}
    rows = 1891 * round(observation.total_time / observation.integration)
    disk = n * sum(sizes.get(p, image) for p in own) + image * len(shared)
    seconds = SECONDS_FIXED + n * (SECONDS_A_FIELD + image * SECONDS_A_BYTE)
    needs = Needs(3.6e8 + 42 * image + 150 * rows, disk, seconds, blocks=n)
    return needs, {
        "files": n * (len(own) + 1) + len(shared) + 1,
        "shape": list(grid.shape),
        "cell_arcsec": grid.cell,
        "primary_beam": observation.primary_beam,
        "region_rule": RULE,
    }
