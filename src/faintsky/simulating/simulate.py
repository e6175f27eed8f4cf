"""Data sets of simulated observations: one function for each telescope, made from its record."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from faintsky.errors import InputError
from faintsky.options import Spread, with_options
from faintsky.simulating.settings import SimulationSettings, telescope_options
from faintsky.system import LOCAL, Needs, worker_count
from faintsky.telescopes import telescope

if TYPE_CHECKING:
    from faintsky.simulating.observatory import Observed

BYTES_FIXED = 0.37e9
"""Memory of the libraries [bytes]."""
SECONDS_FIXED = 3.0
"""Time of a run's start [s]."""
SECONDS_OF_INSTRUMENT = 3.0
"""Time for the instrument if it is not in the cache [s]."""


def simulated(
    telescope: str, n: int = 1, *, seed: int = 0, device: str = "auto", **options: Any
) -> Iterator[Observed]:
    """Simulated cubes or images in memory, one after the other; only the instrument's cache is written.

    Parameters
    ----------
    telescope : str
        One of `faintsky.telescopes.TELESCOPES`.
    n : int
        Number of samples.
    seed : int, optional
        Seed of the data set.
    device : str, optional
        A torch device or ``"auto"``; for images with ``quick`` only.
    **options
        As for `faintsky.simulate_alma`, `faintsky.simulate_lofar` and so on.

    Yields
    ------
    Observed
        Sample i is the same as in a data set with this seed.
    """
    from faintsky.simulating.observatory import open_observatory

    observatory = open_observatory(SimulationSettings(telescope=telescope, **options), device)
    for index in range(n):
        yield observatory.sample(seed, index)


@cache
def simulator(name: str) -> Callable[..., dict[str, Any]]:
    """The public function of a telescope: ``faintsky.simulate_alma`` is ``simulator("alma")``."""
    record = telescope(name)

    def function(
        out: str | os.PathLike[str],
        n: Annotated[int, Ge(1)] = 1,
        *,
        seed: Annotated[int, Ge(0)] = 0,
        jobs: Annotated[int | None, Ge(1)] = 1,
        options: Any,
        running: Spread,
    ) -> dict[str, Any]:
        """Simulate {title} {data} and write them with their truth.

        Parameters
        ----------
        out : path-like
            Folder for ``NNNN_PRODUCT.fits`` and ``NNNN_truth.ecsv`` of each sample, ``psf.fits`` and
            ``pb.fits`` if all samples share them, and ``dataset.json``.
        n : int, optional
            Number of samples.
        seed : int, optional
            Seed of the data set; sample i depends on (seed, i) only. GPU and CPU give different noise.
        jobs : int, optional
            Processes: by default 1 in Python, and one per CPU core on the command line. The files do not
            depend on it.

        Returns
        -------
        dict
            ``out``, number, ``shape``, ``cell_arcsec``, ``beam_arcsec_arcsec_deg`` and ``noise_jy_per_beam``
            (of the middle channel), and the truth's rule. For a dry run, what would be done.

        Raises
        ------
        InputError
            For invalid values, a source that does not rise, or an ``out`` that holds something else.
        """
        from faintsky.simulating.dataset import DataFiles, check_folder, write_dataset

        settings = SimulationSettings(telescope=name, **dict(options))
        for word, value in (("n", n), ("seed", seed), ("jobs", running.jobs or 1)):
            if int(value) != value:
                raise InputError(f"{word} {value!r} is not possible", "give a whole number")
        files, (needs, about) = DataFiles(settings), _plan(n, settings)
        local = running.cluster == LOCAL
        workers = min(n, worker_count(running.jobs, needs.seconds if local else math.inf))
        if running.dry_run:
            check_folder(out, files, seed, running.overwrite)
            return about | replace(needs, processes=workers).summary(out)
        result = write_dataset(out, n, files, seed, workers, running, needs.disk)
        return {"out": result.pop("out"), f"{settings.data}s": n, **result}

    data = " and ".join({"cube": "line cubes", "image": "continuum images"}[d] for d in record.backends)
    function.__doc__ = str(function.__doc__).format(title=record.title, data=data)
    function.__annotations__["options"] = telescope_options(name)
    function.__name__ = function.__qualname__ = f"simulate_{name}"
    return with_options(function)


def _plan(n: int, settings: SimulationSettings) -> tuple[Needs, dict[str, Any]]:
    """Needs of a run, and the facts that a dry run prints."""
    from faintsky.simulating.dataset import DataFiles
    from faintsky.simulating.instrument import padded_shape

    files, made = DataFiles(settings), settings.observation
    n_chan, products = made.spectral.n_chan, settings.products
    plane = 4 * made.grid.n_y * made.grid.n_x
    own = [p for p in products if p not in files.shared]
    whole = plane * n_chan
    if settings.data == "cube":
        # two images, and for each of five sources a spectrum and a cut-out, twice
        sizes = {"compact": 2 * plane + 4 * 5 * 2 * (64**2 + n_chan)}
        padded = padded_shape(made.grid)
        memory, seconds = 4.6 * whole + 32 * padded[0] * padded[1], whole * 1e-8
    else:
        # two float16 images and the centre of the psf, and a third image if there is a clean one
        sizes = {"compact": plane * (3 if "clean" in own else 2) // 2 + 4 * min(256, made.grid.n_x) ** 2}
        rows = len(made.array.pads) ** 2 / 2 * round(made.total_time / made.integration)
        memory, seconds = 42 * plane + 150 * rows, 0.3 + plane * 3e-7
    disk = n * sum(sizes.get(p, whole) for p in own) + whole * len(files.shared)
    cached = made.file.is_file()
    seconds = SECONDS_FIXED + n * seconds + (0 if cached else SECONDS_OF_INSTRUMENT)
    shape = [n_chan, *made.grid.shape] if settings.data == "cube" else list(made.grid.shape)
    return Needs(BYTES_FIXED + memory, disk, seconds, blocks=n), {
        "files": n * (len(own) + 1) + len(files.shared) + 1,
        "shape": shape,
        "cell_arcsec": made.grid.cell,
        "instrument_cached": cached,
        "primary_beam": made.primary_beam,
        **files.rule,
    }
