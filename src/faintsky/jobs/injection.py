"""`faintsky.inject`: completeness and flux bias in the user's own data, by injected sources."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt

from faintsky import denoising, detection, evaluation, injecting, io, models, system, units
from faintsky import report as pages
from faintsky.errors import InputError
from faintsky.options import RELIABILITY, CubeOpening, PathLike, Reliability, Spread, with_options

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.image import RadioCube, RadioImage


@dataclass
class InjectResult:
    """What `inject` did.

    Attributes
    ----------
    sources : Table or None
        The injected sources, whether each was ``found``, and its measured values; None after a dry run, or
        if the output was complete already.
    recovery : Recovery or None
        Completeness and flux against matched S/N; for images against S/N per pixel.
    facts : dict
        The summary.
    """

    sources: Table | None = None
    recovery: injecting.Recovery | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@with_options
def inject(
    data: Annotated[Any, "DATA.fits"],
    out: PathLike | None = None,
    *,
    model: Annotated[str | None, "NAME|DIR"] = None,
    sources: Literal["auto", "points", "pairs", "diffuse", "lines"] = "auto",
    n: Annotated[int, Ge(1)] = 100,
    per_run: Annotated[int | None, Ge(1)] = None,
    seed: Annotated[int, Ge(0)] = 0,
    snr_low: Annotated[float | None, Gt(0)] = None,
    snr_high: Annotated[float | None, Gt(0)] = None,
    opening: CubeOpening,
    reliability: Reliability = RELIABILITY,
    running: Spread,
) -> InjectResult:
    """Inject sources into your own cube or image and see which are found: completeness and flux bias.

    Only a few are injected at a time. A cube receives emitters (`faintsky.injecting.CubePlace`) and is
    searched for lines. An image receives filaments and blobs (`faintsky.injecting.ImagePlace`), and is
    denoised and catalogued as by `faintsky.denoise`; or it receives points (`faintsky.injecting.PointPlace`),
    and is searched for compact sources.

    Parameters
    ----------
    data : path-like or object
        A spectral cube or an image; anything `faintsky.open_cube` or `faintsky.open_image` takes.
    out : path-like, optional
        Folder for ``completeness.csv``, ``completeness.png``, ``report.html``, ``injected.ecsv`` and
        ``run.json``; for points also ``catalog``, the image's own sources with a column ``completeness``.
    model : str, optional
        As for `faintsky.detect` or `faintsky.denoise`, with the same defaults.
    sources : str
        What is injected: ``lines`` into a cube; ``diffuse`` sources, ``points`` or ``pairs`` of points into
        an image. ``auto`` means lines or diffuse sources.
    n : int
        Number of sources; a pair counts as two. They do not overlap each other, or sources that are found in
        the data themselves.
    per_run : int, optional
        Sources at a time: by default 10 in a cube, 4 in an image, or 50 points.
    seed : int
        Seed of the sources.
    snr_low : float, optional
        Lowest S/N. In a cube it is the matched S/N (`faintsky.source_model.matched_snr`), drawn uniformly
        from 3 by default. In an image it is that of a pixel, drawn uniformly in its logarithm from 0.2. For
        points it is the peak over the noise (of the fainter one in pairs), drawn uniformly in its logarithm
        from 3.
    snr_high : float, optional
        Highest S/N: by default 20 in a cube, 10 in an image, 50 for points.
    mask : path-like or array, optional
        Where to inject and look: whole numbers, 0 outside.
    reliability : float
        Lowest reliability of a detection, 0 to 1.

    Returns
    -------
    InjectResult
        Without `out` nothing is written.

    Raises
    ------
    InputError
        If an input cannot be used, or has no room for a source.
    """
    from faintsky.catalog import without_fluxes, write_catalog
    from faintsky.image import RadioImage

    opened = io.open_image_or_cube(data, **vars(opening))
    image = isinstance(opened, RadioImage)
    kind = sources if sources != "auto" else "diffuse" if image else "lines"
    if image == (kind == "lines"):
        fault = f"{kind} are not injected into {'an image' if image else 'a cube'}"
        hint = f"give --sources {'points, pairs or diffuse' if image else 'lines'}"
        raise InputError(fault, hint, opened.name)
    places = {"lines": injecting.CubePlace, "diffuse": injecting.ImagePlace}
    usual: Any = places.get(kind, injecting.PointPlace)
    diffuse, points = kind == "diffuse", usual is injecting.PointPlace
    at_once = usual.PER_RUN if per_run is None else per_run
    low, high = (u if asked is None else asked for u, asked in zip(usual.SNR_RANGE, (snr_low, snr_high)))
    if not 0 < low < high:
        raise InputError(f"S/N from {low:g} to {high:g} is not a range", "give 0 < low < high")
    usually, task = ("denoiser", "denoise") if diffuse else ("classical", "detect")
    chosen = models.load_model(model or usually, job=task)
    searches = 1 + -(-n // at_once)
    about = {
        "data": opened.name, "shape": list(opened.shape), "sources": n, "searches": searches,
        "notes": opened.notes,
    }  # fmt: skip
    config = {"per_run": at_once, "snr_low": low, "snr_high": high}
    needs = _needs(opened, chosen, searches, points)
    job = io.Job("inject", out, running, needs, about, data=opened, model=chosen, config=config)
    if job.done is not None:
        return InjectResult(facts=job.done)
    opened.check_companions()
    running.tell(0, n, "searching the data themselves")
    with job:
        prepare: Any = {"lines": _cube_place, "diffuse": _image_place}.get(kind, _point_place)
        how = {"pairs": kind == "pairs"} if points else {}
        place, find, own = prepare(opened, chosen, reliability, running.device, **how)
        long = needs.seconds if running.cluster == system.LOCAL else math.inf
        workers = system.worker_count(running.jobs, long)
        table, runs, others = injecting.recover(
            place, find, n, at_once, snr=(low, high), seed=seed, progress=running.progress, jobs=workers,
            cluster=running.cluster,
        )  # fmt: skip
        if points:
            recovery = place.recovery(table, (low, high))
        else:
            recovery = injecting.recovery_of(table, level=usual.LEVEL, image=diffuse)
        facts = {
            "sources": len(table), "found": int(table["found"].sum()), "runs": runs,
            f"completeness_at_snr_{usual.LEVEL:g}": recovery.at_level.value,
            f"completeness_at_snr_{usual.LEVEL:g}_error": recovery.at_level.error,
            "snr_at_half": None if recovery.curve is None else recovery.curve.middle,
            f"other_{'regions' if diffuse else 'detections'}_per_run": others / runs, **own,
        }  # fmt: skip
        if not opened.has_flux:
            without_fluxes(table, keep_values=True)
        if out is not None:
            _write(job, opened, table, recovery, facts)
            if points:
                write_catalog(place.with_completeness(recovery), job.folder)
            facts["out"] = str(out)
    return InjectResult(table, recovery, facts)


def _needs(data: RadioCube | RadioImage, model: models.Model, searches: int, points: bool) -> system.Needs:
    """Needs of a number of searches, one after the other."""
    from faintsky.image import RadioImage

    if points:
        one = detection.needs_of_detection((data.shape[1], data.shape[2]))
    elif isinstance(data, RadioImage):
        shape = (data.shape[1], data.shape[2])
        one, _ = denoising.needs_of_image(model.network("denoiser"), shape)
        one = replace(one, seconds=one.seconds + detection.needs_of_detection(shape).seconds)
    else:
        one = detection.needs_of_cube(data)
    seconds, blocks = one.seconds * searches, one.blocks * searches
    return replace(one, disk=system.BYTES_OF_TABLES, seconds=seconds, blocks=blocks)


def _cube_place(cube: RadioCube, model: models.Model, reliability: float, device: str) -> Any:
    """The place for injected sources in a cube, and facts of the data themselves."""

    def find(one: RadioCube) -> Any:
        return detection.find_catalog(one, model, reliability=reliability, device=device)

    own = detection.for_report(cube, find(cube), device=device)
    known = replace(cube, kind=own.prepared.kind.name)
    place = injecting.place_in_cube(known, own.catalog, own.mask, own.prepared)
    facts = {"psf": own.prepared.psf_origin, "primary_beam": place.beam.origin}
    return place, lambda one: find(one).catalog, {"sources_of_the_cube": len(own.catalog), **facts}


def _image_place(image: RadioImage, model: models.Model, reliability: float, device: str) -> Any:
    """The same for an image."""
    used = system.choose_device(device)
    alone = "method" in model.settings or denoising.deconvolves(image)
    look: Any = denoising.make_denoiser(model, used) if alone else detection.detect_image
    how = {} if alone else {"eye": denoising.make_eye(model, used), "always": True}

    def outlined(seen: Any) -> injecting.Outlined:
        if not alone:
            return injecting.Outlined(seen.mask, seen.denoised, seen.prepared)
        estimate = seen.image if seen.seen is None else seen.seen
        return injecting.Outlined(seen.mask, estimate, seen.prepared, seen.response)

    # no source is injected on a candidate, whatever its reliability
    own = look(image, reliability=0.0, **how)
    place = injecting.place_in_image(replace(image, kind=own.kind), outlined(own))
    return place, lambda one: outlined(look(one, reliability=reliability, **how)), {
        "regions_of_the_image": len(own.catalog), "taken_for": own.kind, "rms": own.prepared.typical_rms,
        "unit": units.unit_text(image.unit),
    }  # fmt: skip


def _point_place(
    image: RadioImage, model: models.Model, reliability: float, _device: str, pairs: bool = False
) -> Any:
    """The same for points, with what is found in the negative of the image."""
    from faintsky.jobs.finding import refuse_lines

    refuse_lines(image, model)

    def find(one: RadioImage) -> Any:
        found = detection.detect_image(one, reliability=reliability)
        return injecting.compact_entries(found.catalog, found.components)

    own, negative = detection.detect_image(image, reliability=reliability), image.negative()
    entries = injecting.compact_entries(own.catalog, own.components)
    place = injecting.PointPlace(image, own.prepared, entries, find(negative), pairs)
    return place, find, {
        "sources_of_the_image": len(place.own), "sources_of_its_negative": len(place.negative),
        "rms": own.prepared.typical_rms, "unit": units.unit_text(image.unit),
    }  # fmt: skip


def _write(
    job: io.Job, data: Any, sources: Table, recovery: injecting.Recovery, facts: dict[str, Any]
) -> None:
    from faintsky.system.figures import save_figure

    rows = recovery.rows()
    evaluation.write_csv(rows, job.folder / "completeness.csv")
    figure = pages.recovery_figure(sources, recovery)
    save_figure(figure, job.folder / "completeness.png")
    sources.meta = job.made_by
    evaluation.write_table(sources, job.folder / "injected.ecsv")
    page = pages.injection_report(figure, rows, facts, data=data, provenance=job.record)
    system.write_text(job.folder / "report.html", page)
