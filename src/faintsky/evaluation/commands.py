"""`evaluate_alma` and `evaluate_lofar`: the sets, methods and scorers behind ``faintsky evaluate``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from faintsky.errors import InputError
from faintsky.options import Spread, with_options

if TYPE_CHECKING:
    from faintsky.evaluation.running import Evaluation, Method, Scorer
    from faintsky.system import Needs

PRESETS = ("paper", "emitters", "empty")
"""Presets simulated by default: the paper's cubes, others without continuum, and empty cubes."""
SIZE = 512
"""Side of a simulated field [pixel]."""
METHODS = ("denoiser", "starlet", "gaussian", "fft", "threshold", "gaussian_paper", "input", "constant")
CURVE_RELIABILITY = 0.05
"""Reliability threshold of the catalogues for the curve of precision against recall."""
CURVE_CUBES = 40
"""Default number of cubes of each set that are searched to this reliability as well."""
CUBES = 200
"""Default number of simulated cubes of each set."""
FIELDS = 12
"""Default number of simulated fields of each set; there are as many without emission."""
# assumptions for the estimate of an evaluation's needs: of cubes and fields, of cubes, and of fields
SECONDS_OF_FIGURES = 60.0
"""Time for all figures [s]."""
BEAM_PIXELS = 8.0
"""FWHM of a cube's beam [pixel]."""
BYTES_OF_A_CATALOG = 2e4
"""Disk space of a cube's catalogue."""
BYTES_OF_FIGURES = 1e7
"""Disk space of all figures."""
BYTES_FIXED = 0.6e9
"""Memory of the libraries."""
BYTES_A_PIXEL = 600
"""Memory for each pixel of a field."""
BYTES_OF_A_SCORE = 1e6
"""Disk space for the scores of a field by a method."""
SECONDS_A_PIXEL = 1e-5
"""Time for each pixel of a field and method [s]."""


def _run(
    out: str | os.PathLike[str],
    sets: Sequence[Any],
    methods: Sequence[Method],
    scorer: Scorer,
    config: Mapping[str, Any],
    needs: Needs,
    what: str,
    running: Spread,
    jobs: int = 1,
) -> Evaluation | dict[str, Any]:
    """Run an evaluation in its folder, or say what would be done."""
    from faintsky.evaluation.running import evaluate
    from faintsky.io import Job

    seed = running.asked["seed"]
    shown = {"methods": [m.name for m in methods if not m.deep]}
    about = {what: sum(len(s.indices) for s in sets), "sets": [s.name for s in sets], **shown}
    running.asked = {"seed": seed}  # sets and methods hold all the rest
    known = {**shown, "sets": {s.name: list(s.indices) for s in sets}, **config}
    job = Job("evaluate", out, running, needs, about, config=known, resumable=True)
    if running.dry_run:
        return dict(job.done or {})
    with job:
        return evaluate(
            Path(out), sets, methods, scorer, seed=seed, jobs=jobs, cluster=running.cluster, run=job.record,
            progress=running.progress,
        )  # fmt: skip


@with_options
def evaluate_alma(
    out: str | os.PathLike[str],
    data: Annotated[str | os.PathLike[str] | None, "DIR"] = None,
    methods: Sequence[str] | Mapping[str, Callable[[Any], Any]] = ("classical",),
    n: Annotated[int | None, Ge(1)] = None,
    seed: Annotated[int, Ge(0)] = 0,
    preset: Sequence[str] = PRESETS,
    *,
    jobs: Annotated[int | None, Ge(1)] = 1,
    curves: Annotated[int, Ge(0)] = CURVE_CUBES,
    box_rule: str | None = None,
    running: Spread,
) -> Any:
    """Score methods on ALMA line cubes by one-to-one matching, with errors on every number.

    Parameters
    ----------
    out : path-like
        Folder for ``table.csv``, ``table.md``, ``residuals.csv``, ``results.json``, ``figures/*.png``
        and the catalogues of every cube, from which an interrupted run continues.
    data : path-like, optional
        Folder written by ``faintsky simulate alma``; by default cubes are simulated.
    methods : sequence of str, or mapping of str to callable, optional
        Names or folders of models; in Python also a mapping of names to functions from `RadioCube` to a
        catalogue (picklable if ``jobs`` is above 1).
    n : int, optional
        Number of cubes of each set: by default all of ``data``, or 200 simulated ones.
    seed : int, optional
        Seed of simulated cubes and of the bootstraps.
    preset : sequence of str, optional
        Sets to simulate.
    jobs : int, optional
        Processes of one thread each: by default 1 in Python, and one per CPU core on the command line.
    curves : int, optional
        Number of cubes of each set that are also searched to low reliability, for precision against recall; 0
        for none.
    box_rule : str, optional
        Rule of the bounding boxes; by default the data set's.

    Returns
    -------
    Evaluation or dict
        The scores and their tables; after a dry run what would be done.

    Raises
    ------
    InputError
        For data without truth, unknown models or presets, or if ``out`` holds another run.
    """
    # imported here and below, so that the command line's help loads only this file
    from faintsky.detection import needs_of_search
    from faintsky.evaluation.catalogs import CatalogScorer
    from faintsky.evaluation.methods import detectors
    from faintsky.evaluation.running import Method
    from faintsky.evaluation.sets import SimulatedCubes, cube_shape, open_cubes
    from faintsky.system import Needs, choose_device, worker_count

    number = CUBES if n is None and data is None else n
    sets: Sequence[Any]
    if data is not None:
        sets = [open_cubes(data, number)]
    else:
        sets = [SimulatedCubes(p, tuple(range(number or 1)), seed) for p in preset]
    if isinstance(methods, Mapping):
        chosen = [Method(name, find) for name, find in methods.items()]
    else:
        where = choose_device(running.device)
        chosen = detectors(methods, where)
        if curves:
            deep = detectors(methods, where, CURVE_RELIABILITY)
            chosen += [Method(m.name, m.run, curves, deep=True) for m in deep]
    traced = curves if any(m.deep for m in chosen) else 0
    config = {
        "data": None if data is None else str(Path(data).resolve()), "seed": seed, "curves": traced,
        "box_rule": box_rule,
    }  # fmt: skip
    # assumes that every method needs as much as our own; few need more
    searches = [needs_of_search(cube_shape(s), BEAM_PIXELS) for s in sets]
    runs = [sum(len(m.seen_of(s)) for m in chosen) for s in sets]
    files, workers = sum(runs) + sum(len(s.indices) for s in sets), worker_count(jobs)
    seconds = SECONDS_OF_FIGURES + sum(k * one.seconds for k, one in zip(runs, searches, strict=True))
    needs = Needs(
        max(one.memory for one in searches), files * BYTES_OF_A_CATALOG + BYTES_OF_FIGURES, seconds, files,
        min(workers, sum(len(s.indices) for s in sets)),
    )  # fmt: skip
    running.jobs = None  # each of the processes works on one thread
    return _run(out, sets, chosen, CatalogScorer(box_rule), config, needs, "cubes", running, workers)


@with_options
def evaluate_lofar(
    out: str | os.PathLike[str],
    data: Annotated[str | os.PathLike[str] | list[str | os.PathLike[str]] | None, "DIR"] = None,
    methods: Sequence[str] = METHODS,
    n: Annotated[int | None, Ge(1)] = None,
    seed: Annotated[int, Ge(0)] = 0,
    *,
    preset: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    web: Annotated[str | os.PathLike[str] | None, "train|validation|test|FILE"] = None,
    size: Annotated[int, Ge(64)] = SIZE,
    running: Spread,
) -> Any:
    """Score denoisers on LOFAR images against the true sky: pixels, fluxes, peaks, false regions, pulls.

    Parameters
    ----------
    out : path-like
        Folder for ``table.csv``, ``table.md``, ``results.json``, ``figures/*.png``, and measurements of each
        method and field (``fields``), from which an interrupted run continues.
    data : path-like or sequence of path-like, optional
        One or several folders written by ``faintsky simulate lofar`` (on the command line one option each);
        by default fields are simulated.
    methods : sequence of str, optional
        Models by name or folder; ``starlet``, ``gaussian``, ``fft`` and ``threshold`` as tuned on validation
        fields; ``gaussian_paper`` (3 pixels), ``input``, ``constant``; ``clean``, if the data have it.
    n : int, optional
        Number of fields of each set: by default all of ``data``, or 12 simulated ones (and as many without
        emission).
    seed : int, optional
        Seed of simulated fields and of the bootstraps.
    preset : sequence of str, optional
        Presets of `faintsky.simulate_lofar` to simulate: ``paper`` and ``lotss``; with a web only ``paper``.
    kinds : sequence of str, optional
        Kinds of images: ``sky``, ``noise``, ``dirty``, ``clean`` and ``clean_ideal``; by default all
        available ones except ``sky``.
    web : str or path-like, optional
        Simulate skies of a cosmic web: ``train``, ``validation`` or ``test``, or a file or folder of webs.
    size : int, optional
        Side of a simulated field [pixel].

    Returns
    -------
    Evaluation or dict
        The scores and their tables; after a dry run what would be done.

    Raises
    ------
    InputError
        For data without truth, unknown methods, presets or kinds, or if ``out`` holds another run.
    """
    from faintsky.evaluation import sets as known
    from faintsky.evaluation.images import ImageScorer
    from faintsky.evaluation.methods import denoisers, model_hashes
    from faintsky.system import BYTES_OF_TABLES, Needs, choose_device

    possible = known.ALL_KINDS if data is not None else tuple(k for k in known.ALL_KINDS if k != "clean")
    wrong = [k for k in kinds or () if k not in possible]
    if wrong:
        raise InputError(f"no kind of image is called {wrong[0]!r}", f"choose from {', '.join(possible)}")
    if data is not None and web is not None:
        raise InputError("both data and a cosmic web are given", "give one of them")
    number = FIELDS if n is None and data is None else n
    sets: Sequence[Any]
    if data is not None:
        sets = known.open_fields(data, number, kinds or known.STORED)
    else:
        web = None if web is None else str(web)
        presets = preset or (known.PRESETS if web is None else known.PRESETS[:1])
        sets = known.simulated_sets(presets, kinds or known.KINDS, number or 1, seed, size, web)
    chosen = denoisers(methods, choose_device(running.device))
    config: dict[str, Any] = {"models": model_hashes(methods), "size": size, "web": None, "data": None}
    if data is not None:
        config["data"] = sorted({s.folder for s in sets if isinstance(s, known.FolderFields)})
    if web is not None:
        from faintsky.sky.web import check_web

        config["web"] = check_web(web)
    # every field is denoised twice, with its emission and without
    runs = sum(len(m.seen_of(s)) for m in chosen for s in sets)
    seconds = SECONDS_OF_FIGURES + 2 * runs * size**2 * SECONDS_A_PIXEL
    disk = runs * BYTES_OF_A_SCORE + BYTES_OF_TABLES
    needs = Needs(BYTES_FIXED + size**2 * BYTES_A_PIXEL, disk, seconds, sum(len(s.indices) for s in sets))
    return _run(out, sets, chosen, ImageScorer(), config, needs, "fields", running)
