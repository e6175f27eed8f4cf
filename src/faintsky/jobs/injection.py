"""`faintsky.inject`: completeness and flux bias in the user's own data, by injected sources."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt

from faintsky.errors import InputError
from faintsky.options import RELIABILITY, CubeOpening, Reliability, Spread, with_options

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.image import RadioCube, RadioImage
    from faintsky.injecting import Recovery
    from faintsky.io import Job
    from faintsky.models import Model
    from faintsky.system import Needs

PathLike = str | os.PathLike[str]


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
    recovery: Recovery | None = None
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
        Least reliability of a detection, 0 to 1.

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
    from faintsky.injecting import CubePlace, ImagePlace, PointPlace, recover, recovery_of
    from faintsky.io import Job, open_image_or_cube
    from faintsky.models import load_model
    from faintsky.system import LOCAL, worker_count

    opened = open_image_or_cube(data, **vars(opening))
    image = isinstance(opened, RadioImage)
    kind = sources if sources != "auto" else "diffuse" if image else "lines"
    if image == (kind == "lines"):
        raise InputError(
            f"{kind} are not injected into {'an image' if image else 'a cube'}",
            f"give --sources {'points, pairs or diffuse' if image else 'lines'}",
            opened.name,
        )
    usual: Any = {"lines": CubePlace, "diffuse": ImagePlace}.get(kind, PointPlace)
    at_once = usual.PER_RUN if per_run is None else per_run
    low, high = (u if asked is None else asked for u, asked in zip(usual.SNR_RANGE, (snr_low, snr_high)))
    if not 0 < low < high:
        raise InputError(f"S/N from {low:g} to {high:g} is not a range", "give 0 < low < high")
    chosen = load_model(
        model or ("denoiser" if usual is ImagePlace else "classical"),
        job="denoise" if usual is ImagePlace else "detect",
    )
    searches = 1 + -(-n // at_once)
    about = {
        "data": opened.name, "shape": list(opened.shape), "sources": n, "searches": searches,
        "notes": opened.notes,
    }  # fmt: skip
    config = {"per_run": at_once, "snr_low": low, "snr_high": high}
    needs = _needs(opened, chosen, searches, usual is PointPlace)
    job = Job("inject", out, running, needs, about, data=opened, model=chosen, config=config)
    if job.done is not None:
        return InjectResult(facts=job.done)
    opened.check_companions()
    running.tell(0, n, "searching the data themselves")
    with job:
        prepare: Any = {"lines": _cube_place, "diffuse": _image_place}.get(kind, _point_place)
        how = {"pairs": kind == "pairs"} if usual is PointPlace else {}
        place, find, own = prepare(opened, chosen, reliability, running.device, **how)
        workers = worker_count(running.jobs, needs.seconds if running.cluster == LOCAL else math.inf)
        table, runs, others = recover(
            place, find, n, at_once, snr=(low, high), seed=seed, progress=running.progress, jobs=workers,
            cluster=running.cluster,
        )  # fmt: skip
        if usual is PointPlace:
            recovery = place.recovery(table, (low, high))
        else:
            recovery = recovery_of(table, level=usual.LEVEL, image=usual is ImagePlace)
        facts = {
            "sources": len(table), "found": int(table["found"].sum()), "runs": runs,
            f"completeness_at_snr_{usual.LEVEL:g}": recovery.at_level.value,
            f"completeness_at_snr_{usual.LEVEL:g}_error": recovery.at_level.error,
            "snr_at_half": None if recovery.curve is None else recovery.curve.middle,
            f"other_{'regions' if usual is ImagePlace else 'detections'}_per_run": others / runs, **own,
        }  # fmt: skip
        if not opened.has_flux:
            without_fluxes(table, keep_values=True)
        if out is not None:
            _write(job, opened, table, recovery, facts)
            if usual is PointPlace:
                write_catalog(place.with_completeness(recovery), job.folder)
            facts["out"] = str(out)
    return InjectResult(table, recovery, facts)


def _needs(data: RadioCube | RadioImage, model: Model, searches: int, points: bool) -> Needs:
    """Needs of a number of searches, one after the other."""
    from faintsky.denoising import needs_of_image
    from faintsky.detection import needs_of_cube, needs_of_detection
    from faintsky.image import RadioImage
    from faintsky.system import BYTES_OF_TABLES

    if points:
        one = needs_of_detection((data.shape[1], data.shape[2]))
    elif isinstance(data, RadioImage):
        shape = (data.shape[1], data.shape[2])
        one, _ = needs_of_image(model.network("denoiser"), shape)
        one = replace(one, seconds=one.seconds + needs_of_detection(shape).seconds)
    else:
        one = needs_of_cube(data)
    return replace(one, disk=BYTES_OF_TABLES, seconds=one.seconds * searches, blocks=searches * one.blocks)


def _cube_place(cube: RadioCube, model: Model, reliability: float, device: str) -> Any:
    """The place for injected sources in a cube, and facts of the data themselves."""
    from faintsky.detection import find_catalog, for_report
    from faintsky.injecting import place_in_cube

    def find(one: RadioCube) -> Any:
        return find_catalog(one, model, reliability=reliability, device=device)

    own = for_report(cube, find(cube), device=device)
    place = place_in_cube(replace(cube, kind=own.prepared.kind.name), own.catalog, own.mask, own.prepared)
    facts = {"psf": own.prepared.psf_origin, "primary_beam": place.beam.origin}
    return place, lambda one: find(one).catalog, {"sources_of_the_cube": len(own.catalog), **facts}


def _image_place(image: RadioImage, model: Model, reliability: float, device: str) -> Any:
    """The same for an image."""
    from faintsky.denoising import deconvolves, make_denoiser, make_eye
    from faintsky.detection import detect_image
    from faintsky.injecting import Outlined, place_in_image
    from faintsky.system import choose_device
    from faintsky.units import unit_text

    used = choose_device(device)
    alone = "method" in model.settings or deconvolves(image)
    look: Any = make_denoiser(model, used) if alone else detect_image
    how = {} if alone else {"eye": make_eye(model, used), "always": True}

    def outlined(seen: Any) -> Outlined:
        if not alone:
            return Outlined(seen.mask, seen.denoised, seen.prepared)
        estimate = seen.image if seen.seen is None else seen.seen
        return Outlined(seen.mask, estimate, seen.prepared, seen.response)

    # no source is injected on a candidate, whatever its reliability
    own = look(image, reliability=0.0, **how)
    place = place_in_image(replace(image, kind=own.kind), outlined(own))
    return place, lambda one: outlined(look(one, reliability=reliability, **how)), {
        "regions_of_the_image": len(own.catalog), "taken_for": own.kind, "rms": own.prepared.typical_rms,
        "unit": unit_text(image.unit),
    }  # fmt: skip


def _point_place(
    image: RadioImage, model: Model, reliability: float, _device: str, pairs: bool = False
) -> Any:
    """The same for points, with what is found in the negative of the image."""
    from faintsky.detection import detect_image
    from faintsky.injecting import PointPlace, compact_entries
    from faintsky.jobs.finding import refuse_lines
    from faintsky.units import unit_text

    refuse_lines(image, model)

    def find(one: RadioImage) -> Any:
        found = detect_image(one, reliability=reliability)
        return compact_entries(found.catalog, found.components)

    own, negative = detect_image(image, reliability=reliability), image.negative()
    entries = compact_entries(own.catalog, own.components)
    place = PointPlace(image, own.prepared, entries, find(negative), pairs)
    return place, find, {
        "sources_of_the_image": len(place.own), "sources_of_its_negative": len(place.negative),
        "rms": own.prepared.typical_rms, "unit": unit_text(image.unit),
    }  # fmt: skip


def _write(
    job: Job, data: RadioCube | RadioImage, sources: Table, recovery: Recovery, facts: dict[str, Any]
) -> None:
    from faintsky.evaluation import write_csv, write_table
    from faintsky.report import injection_report, recovery_figure
    from faintsky.system import write_text
    from faintsky.system.figures import save_figure

    rows = recovery.rows()
    write_csv(rows, job.folder / "completeness.csv")
    figure = recovery_figure(sources, recovery)
    save_figure(figure, job.folder / "completeness.png")
    sources.meta = job.made_by
    write_table(sources, job.folder / "injected.ecsv")
    page = injection_report(figure, rows, facts, data=data, provenance=job.record)
    write_text(job.folder / "report.html", page)
