"""Simulated ALMA observations: `simulate_alma` writes data sets, `simulate_cubes` gives cubes in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from faintsky.simulating.observatory import AlmaObservatory, Observed
from faintsky.simulating.settings import USUAL_PRODUCTS, AlmaSettings, make_settings
from faintsky.simulating.truth import BOX_RULES
from faintsky.simulating.varied import VariedObservatory, open_observatory
from faintsky.system import Needs, worker_count

__all__ = [
    "AlmaObservatory",
    "Observed",
    "VariedObservatory",
    "make_settings",
    "open_observatory",
    "plan_alma",
    "simulate_alma",
    "simulate_cubes",
]

BYTES_FIXED = 0.37e9
"""Memory of the libraries."""
SECONDS_FIXED, SECONDS_A_BYTE, SECONDS_OF_INSTRUMENT = 3.0, 1e-8, 3.0
"""Time of a run: start, a byte of a cube, the instrument where it is not in the cache."""


def simulate_cubes(n: int = 1, *, seed: int = 0, device: str = "auto", **settings: Any) -> Iterator[Observed]:
    """Simulated cubes in memory, one after the other; nothing is written but the instrument's cache.

    Parameters
    ----------
    n : int
        How many.
    seed : int, optional
    device : str, optional
        A torch device or ``"auto"``.
    **settings
        As for `simulate_alma`.

    Yields
    ------
    Observed
        Cube i is the one that `simulate_alma` writes as number i.
    """
    observatory = open_observatory(make_settings(**settings), device)
    for index in range(n):
        yield observatory.sample(seed, index)


def simulate_alma(
    out: str | os.PathLike[str],
    n: int = 1,
    *,
    seed: int = 0,
    preset: str = "paper",
    sky: str | os.PathLike[str] | None = None,
    array: str | os.PathLike[str] | None = None,
    ra: float | None = None,
    dec: float | None = None,
    hour_angle: float | None = None,
    start: str | float | None = None,
    total_time: float | str | None = None,
    integration: float | str | None = None,
    freq: float | str | None = None,
    channels: int | None = None,
    channel_width: float | str | None = None,
    cell: float | str | None = None,
    size: int | None = None,
    pwv: float | None = None,
    weighting: str | None = None,
    snr: float | None = None,
    products: str | tuple[str, ...] | list[str] = USUAL_PRODUCTS,
    noise: bool = True,
    pbcor: bool = False,
    extra_noise: str = "correlated",
    backend: str = "fast",
    jobs: int | None = 1,
    device: str = "cpu",
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Simulate ALMA cubes and write them with their truth.

    Parameters
    ----------
    out : path-like
        Folder: ``NNNN_dirty.fits``, ``NNNN_sky.fits``, ``NNNN_truth.ecsv``, ``psf.fits``, ``pb.fits`` and
        ``dataset.json``.
    n : int, optional
        Number of cubes.
    seed : int, optional
        Of the whole data set; cube i depends on (seed, i) alone.
    preset : str, optional
        ``paper``, ``text`` (Delli Veneri et al. 2022), ``emitters`` (lines without continuum), ``empty`` or
        ``varied``: every cube with its own observation (of all that is not given here) and sources of many
        kinds.
    sky : path-like, optional
        The user's own model instead: a FITS image or cube in Jy/pixel or Jy/arcsec2.
    array : str or path-like, optional
        ``alma.cycle9.1`` … ``.10`` (also ``C-3``) or a CASA ``.cfg`` file; C-3 where not given.
    ra, dec : float or str, optional
        Phase centre [deg].
    hour_angle : float or str, optional
        Of the track's middle, apparent place [hours]; 0 where not given.
    start : str, optional
        UTC of the first integration's beginning, instead of the hour angle.
    total_time, integration : float or str, optional
        2400 and 10 where not given [s].
    freq, channels, channel_width : optional
        Frequency of channel ``channels // 2`` [Hz], their number and width [Hz]: 230 GHz, 128, 10 MHz.
    cell, size : optional
        Pixel [arcsec] (an eighth of the beam where not given; 0.1 for C-3 at 230 GHz) and pixels a side.
    pwv : float or str, optional
        Precipitable water [mm]; 0.8 where not given.
    weighting : str, optional
        ``natural`` (where not given) or ``briggs:R``.
    snr : float, optional
        ``paper`` and ``text``: S/N of the central source's peak, by extra noise (10-50 at random where not
        given). ``emitters`` and ``varied``: matched S/N of every line (4-14 and 3-50 at random where not
        given).
    products : str or sequence, optional
        Of ``sky``, ``dirty``, ``psf``, ``pb`` and ``compact`` (``NNNN_compact.npz``: what networks are
        trained on, 1 MB a cube; see `faintsky.simulating.compact`); the truth is always written.
    noise : bool, optional
        False for noise-free cubes.
    pbcor : bool, optional
        Divide the dirty cube by the primary beam.
    extra_noise : str, optional
        ``correlated`` (in the visibilities) or ``white`` (the paper's text: in the pixels).
    backend : str, optional
        ``fast``, or ``casa``: the same skies through CASA's simobserve and tclean, minutes each; see
        `faintsky.simulating.casa`.
    jobs : int, optional
        Processes; the files do not depend on it. None is one for each core.
    device : str, optional
        ``cpu``, ``cuda`` or ``auto``. The noise of a GPU is another one than the CPU's.
    overwrite : bool, optional
        Replace another data set in ``out``. The same one is resumed.
    dry_run : bool, optional
        Only say what would be done; see `plan_alma`.
    progress : callable, optional
        Called with ``(done, n, what)``.
    command : str, optional
        Recorded.

    Returns
    -------
    dict
        ``out``, ``cubes``, ``shape``, ``cell_arcsec``, ``beam_arcsec_arcsec_deg`` and ``noise_jy_per_beam``
        (thermal) of the middle channel, ``box_rule``.

    Raises
    ------
    InputError
        For bad values, a source that does not rise, or an ``out`` that holds something else.
    """
    from faintsky.simulating.alma_files import AlmaFiles
    from faintsky.simulating.dataset import check_folder, write_dataset

    settings = make_settings(
        preset=preset, sky=sky, array=array, ra=ra, dec=dec, hour_angle=hour_angle, start=start,
        total_time=total_time, integration=integration, freq=freq, channels=channels,
        channel_width=channel_width, cell=cell, size=size, pwv=pwv, weighting=weighting, snr=snr,
        products=products, noise=noise, pbcor=pbcor, extra_noise=extra_noise, backend=backend,
    )  # fmt: skip
    workers = min(n, worker_count(jobs))
    files = AlmaFiles(settings)
    needs, about = _plan(n, settings)
    if dry_run:
        check_folder(out, files, seed, overwrite)
        return about | replace(needs, processes=workers).summary(out)
    result = write_dataset(out, n, files, seed, workers, device, overwrite, progress, command, needs.disk)
    return {"out": result.pop("out"), "cubes": n, **result}


def plan_alma(n: int = 1, **settings: Any) -> dict[str, Any]:
    """What `simulate_alma` would do, without doing it.

    Parameters
    ----------
    n : int
    **settings
        As for `simulate_alma`.

    Returns
    -------
    dict
        ``files``, ``shape`` ``[chan, y, x]``, ``cell_arcsec``, ``instrument_cached``, ``box_rule``, and what
        `faintsky.system.machine.Needs` says. Of ``varied`` cubes: of the largest.
    """
    needs, about = _plan(n, make_settings(**settings))
    return about | needs.summary(None)


def _plan(n: int, ready: AlmaSettings) -> tuple[Needs, dict[str, Any]]:
    from faintsky.simulating.build import good_fft_size
    from faintsky.system import cache_folder

    grid, spectral = ready.observation.grid, ready.observation.spectral
    cube = 4 * grid.n_y * grid.n_x * spectral.n_chan
    own = ("sky", "dirty", "psf", "pb") if ready.drawn else ("sky", "dirty")
    per_sample = [p for p in ready.products if p in own]
    shared = [p for p in ready.products if p in ("psf", "pb") and p not in own]
    compact = 4 * (2 * grid.n_y * grid.n_x + 5 * 2 * (64**2 + spectral.n_chan))
    compact = compact if "compact" in ready.products else 0
    padded = good_fft_size(2 * grid.n_y) * good_fft_size(2 * grid.n_x)
    cached = (cache_folder() / f"alma_{ready.observation.key()}.npz").is_file()
    seconds = SECONDS_FIXED + n * cube * SECONDS_A_BYTE + (0 if cached else SECONDS_OF_INSTRUMENT)
    disk = cube * (n * len(per_sample) + len(shared)) + n * compact
    needs = Needs(BYTES_FIXED + 4.6 * cube + 32 * padded, disk, seconds, blocks=n)
    return needs, {
        "files": n * (len(per_sample) + 1 + bool(compact)) + len(shared) + 1,
        "shape": [spectral.n_chan, grid.n_y, grid.n_x],
        "cell_arcsec": grid.cell,
        "instrument_cached": cached,
        "box_rule": BOX_RULES[ready.box_rule],
    }
