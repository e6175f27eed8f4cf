"""`faintsky.detect` and `faintsky.denoise`: from data to a catalogue, a mask, a model and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from faintsky import denoising, detection, io, models, system
from faintsky import report as pages
from faintsky.errors import FaintskyError, InputError
from faintsky.jobs.many import many
from faintsky.jobs.result import Result, result_of_cube, result_of_detected, result_of_image
from faintsky.options import (
    BACKGROUND_SCALE,
    RELIABILITY,
    BackgroundScale,
    CubeOpening,
    Opening,
    PathLike,
    Reliability,
    Spread,
    with_options,
)

if TYPE_CHECKING:
    from faintsky.image import RadioCube, RadioImage

TILES = ".tiles"
"""Subfolder for the results of an image's tiles until the run is complete."""
NEGATIVE = ".tiles-negative"
"""The same for the negative of the image."""


@with_options
def detect(
    data: Annotated[Any, "DATA.fits…"],
    out: PathLike | None = None,
    *,
    model: Annotated[str, "NAME|DIR"] = "classical",
    opening: CubeOpening,
    reliability: Reliability = RELIABILITY,
    background_scale: BackgroundScale = BACKGROUND_SCALE,
    columns: Literal["pybdsf", "aegean", "sofia"] | None = None,
    cutouts: bool = False,
    report: bool = True,
    running: Spread,
) -> Result:
    """Catalogue the sources of a continuum image, or the line emitters and absorbers of a spectral cube.

    Parameters
    ----------
    data : path-like or object, or a list of paths
        Image or cube: ``.fits``, ``.fits.gz``, ``.fits.fz``, ``.zarr``, or an object that
        `faintsky.open_image` or `faintsky.open_cube` takes. Several files have a folder each under `out`, and
        a joint catalogue; failures are listed at the end.
    out : path-like, optional
        Folder for ``catalog`` and ``components``, ``mask.fits``, ``model.fits``, ``residual.fits``,
        ``regions.reg``, ``report.html`` and ``run.json``; for a cube also ``moment0.fits`` and so on, for an
        image with diffuse emission ``mask_diffuse.fits``. Mask and model are missing if the method makes
        none.
    model : str
        Method or trained model: the name of a shipped one (see ``faintsky models``) or a folder. For images
        only the classical method.
    reliability : float
        Lowest reliability of a source in the catalogue, 0 to 1.
    background_scale : float
        Images: smallest scale of the smooth background that is subtracted when sources are fitted [beam].
    columns : {"pybdsf", "aegean", "sofia"}, optional
        Also write the tables with the columns of this program (``catalog_pybdsf.fits`` and so on): PyBDSF or
        Aegean for an image, SoFiA-2 for a cube.
    cutouts : bool
        Write a cubelet, its mask, moments and spectrum for each source of a cube, under SoFiA-2's names.
    report : bool
        Write ``report.html`` (2 MB or more; for small files it takes half of the time).

    Returns
    -------
    Result
        With ``facts`` alone where the same run was complete in `out` already. Without `out` nothing is
        written.

    Raises
    ------
    InputError
        Where an input cannot be used; nothing is left behind.
    """
    from faintsky.image import RadioImage

    if isinstance(data, list):
        return many(detect, data, out, running)
    chosen = models.load_model(model, job="detect")
    opened = io.open_image_or_cube(data, **vars(opening))
    image = isinstance(opened, RadioImage)
    if columns is not None and image == (columns == "sofia"):
        fault = "cubes, and this is an image" if image else "images, and this is a cube"
        raise InputError(f"columns of {columns!r} are for {fault}", "leave out --columns", opened.name)
    if isinstance(opened, RadioImage):
        _refuse_for_cubes(opened, opening, cutouts)
    plan = (
        _plan_for_image(opened, chosen, reliability, background_scale, running)
        if isinstance(opened, RadioImage)
        else _plan_for_cube(opened, chosen, reliability, running)
    )
    return _run("detect", opened, chosen, out, running, plan, report=report, columns=columns, cutouts=cutouts)


@dataclass
class RunPlan:
    """What a run takes, and the work, which returns its result and what makes the report.

    ``several`` says whether the data are cut into parts, ``unlike`` what of them is unlike the training's.
    """

    needs: system.Needs
    several: bool
    work: Callable[[io.Job], tuple[Result, Callable[..., str]]]
    unlike: Sequence[str] = ()
    about: dict[str, Any] = field(default_factory=dict)


def _plan_for_cube(cube: RadioCube, model: models.Model, reliability: float, running: Spread) -> RunPlan:
    unlike = models.check_model(cube, model)
    several = detection.method_name(model) == detection.MATCHED_FILTER and len(detection.bricks_of(cube)) > 1
    needs = _shared(running, partial(detection.needs_of_bricks, cube)) if several else None

    def work(job: io.Job) -> tuple[Result, Callable[..., str]]:
        opened, maps, spread = _spread(job, cube, several)
        find: Any = partial(detection.detect_cube, **spread) if several else detection.find_catalog
        where: dict[str, Any] = {"device": running.device}
        found = find(opened, model, reliability=reliability, progress=running.progress, **where)
        found = detection.for_report(opened, found, **where)
        verdict = _judged(opened, found)
        page = partial(pages.detection_report, opened, found, verdict=verdict, reliability=reliability)
        return result_of_cube(opened, found, maps), page

    return RunPlan(needs or detection.needs_of_cube(cube), several, work, unlike)


def _judged(data: RadioCube | RadioImage, found: Any) -> str:
    """Whether the residual is noise; doubts about the result become the first of its notes."""
    verdict = pages.residual_verdict(data, found)
    found.notes = [*pages.doubts(found, verdict), *found.notes]
    return verdict.words


def refuse_lines(image: RadioImage, model: models.Model) -> None:
    """Refuse a model for cubes."""
    if "method" in model.settings:
        fault = f"model {model.name!r} looks for lines in cubes, and this is an image"
        raise InputError(fault, "leave out --model", image.name)


def _refuse_for_cubes(image: RadioImage, opening: CubeOpening, cutouts: bool) -> None:
    """Refuse options that would do nothing for an image."""
    types = [str(value).strip().upper() for value in image.header["CTYPE*"].values()]
    # the frequency of a plane along a velocity axis follows from the rest frequency
    velocity = any(t.startswith(("V", "FELO", "ZOPT", "BETA")) for t in types)
    asked = {
        "cutouts": cutouts,
        "continuum": opening.continuum != "auto",
        "rest-frequency": opening.rest_frequency is not None and not velocity,
    }
    for name in (f"--{name}" for name, given in asked.items() if given):
        raise InputError(f"{name} is for cubes, and this is an image", f"leave out {name}", image.name)


def _plan_for_image(
    image: RadioImage, model: models.Model, reliability: float, background_scale: float, running: Spread
) -> RunPlan:
    refuse_lines(image, model)
    several = len(detection.tiles_of(image)) > 1
    shape = (image.shape[1], image.shape[2])
    needs = _shared(running, partial(detection.needs_of_tiles, image)) if several else None

    def work(job: io.Job) -> tuple[Result, Callable[..., str]]:
        opened, maps, spread = _spread(job, image, several)
        eye, how = partial(_see, "denoiser", running.device, 1), {"progress": running.progress, **spread}
        found = detection.detect_image(
            opened, eye=eye, reliability=reliability, background_scale=background_scale, **how
        )
        page = partial(pages.image_report, opened, found, verdict=_judged(opened, found))
        return result_of_detected(opened, found, maps), page

    return RunPlan(needs or detection.needs_of_detection(shape), several, work)


def _run(
    name: str,
    data: Any,
    model: models.Model,
    out: PathLike | None,
    running: Spread,
    plan: RunPlan,
    **how: Any,
) -> Result:
    """Do the work, and deliver its result and report; of data in several parts it can be resumed."""
    from faintsky.image import RadioImage

    image = isinstance(data, RadioImage)
    about = {"image" if image else "cube": data.name, "shape": list(data.shape[image:]), **plan.about}
    about["notes"] = [*data.notes, *plan.unlike]
    job = io.Job(name, out, running, plan.needs, about, data=data, model=model, resumable=plan.several)
    if job.done is not None:
        return Result(job.done)
    if image or not plan.several:  # those of a large cube are read in parts
        data.check_companions()
    for note in plan.unlike:
        running.tell(0, 1, f"note: {note}")
    with job:
        result, page = plan.work(job)
        result.deliver(job, partial(page, provenance=job.record), **how)
    lost = getattr(result.found, "lost", [])
    if lost:  # now that all else is done
        more = f", and {len(lost) - 1} more places" if len(lost) > 1 else ""
        raise FaintskyError(f"{data.name}: {lost[0]}{more}; the rest was searched")
    return result


def _spread(
    job: io.Job, image: Any, several: bool = True, folder: str = TILES
) -> tuple[Any, io.FitsMaps | None, dict[str, Any]]:
    """An image or cube; if it has several tiles, files for them, and options on how to share the tiles."""
    running: Any = job.running
    image = image.forgiving() if several else image
    if job.out is None or not several:
        return image, None, {}
    known = {k: v for k, v in job.record.items() if k != "command"}
    if Path(image.name).is_file():  # a file that was rewritten is a different image
        known["written"] = Path(image.name).stat().st_mtime_ns
    maps = io.FitsMaps(Path(job.out) / folder, image, job.made_by, known, fresh=running.overwrite)
    return image, maps, {"maps": maps, "jobs": job.needs.processes, "cluster": running.cluster}


def _shared(running: Spread, needs_of: Callable[[int], system.Needs]) -> system.Needs:
    """What a run takes whose tiles are shared by as many processes as are worth starting."""
    return needs_of(system.worker_count(running.jobs, needs_of(1).seconds))


def _see(model: str, device: str, members: int, prepared: Any) -> Any:
    """A network, which is loaded when it is first used."""
    return _loaded(model, device, members)(prepared)


@lru_cache(maxsize=1)
def _loaded(model: str, device: str, members: int) -> denoising.Eye:
    loaded = models.load_model(model, job="denoise")
    return denoising.make_eye(loaded, system.choose_device(device), members=members)


@with_options
def denoise(
    image: Annotated[Any, "IMAGE.fits…"],
    out: PathLike | None = None,
    *,
    model: Annotated[str, "NAME|DIR"] = "denoiser",
    opening: Opening,
    members: Annotated[int, Interval(ge=1, le=8)] = 1,
    reliability: Reliability = RELIABILITY,
    background_scale: BackgroundScale = BACKGROUND_SCALE,
    negative: bool = False,
    report: bool = True,
    running: Spread,
) -> Result:
    """Denoise a continuum image and catalogue its sources and regions of diffuse emission.

    Compact sources are found as by `detect`; the network denoises the residual. For dirty images with their
    psf, images of white noise and autoencoders, the catalogue holds only regions.

    Parameters
    ----------
    image : path-like or object, or a list of paths
        Continuum image of any size and unit: ``.fits``, ``.fits.gz``, ``.fits.fz``, ``.zarr``, or an object
        that `faintsky.open_image` takes; NaN is blank. Several files have a folder each under `out`, and a
        joint catalogue; failures are listed at the end.
    out : path-like, optional
        Folder for ``denoised.fits``, ``uncertainty.fits``, ``probability.fits``, ``catalog`` and
        ``components``, ``mask.fits``, ``mask_diffuse.fits``, ``model.fits``, ``residual.fits``,
        ``regions.reg``, ``report.html`` and ``run.json``.
    model : str
        Trained model: the name of a shipped one (see ``faintsky models``) or a folder.
    members : int
        Number of mirrored and rotated copies of the image to average: more are more accurate and slower in
        proportion. For an autoencoder the tiles are also shifted.
    reliability : float
        Lowest reliability in mask and catalogue, 0 to 1; an autoencoder has a threshold instead.
    background_scale : float
        Smallest scale of the smooth background that is subtracted when compact sources are fitted [beam].
    negative : bool
        Also denoise the negative of the image, in twice the time. This gives each region a second
        reliability, ``reliability_negative``, from the image's own noise and artefacts. Without it, regions
        no stronger than the deepest negatives of the image are left out.
    report : bool
        Write ``report.html`` (2 MB or more).

    Returns
    -------
    Result
        With ``facts`` alone where the same run was complete in `out` already. Without `out` nothing is
        written.

    Raises
    ------
    InputError
        Where an input cannot be used; nothing is left behind.
    """
    if isinstance(image, list):
        return many(denoise, image, out, running)
    chosen = models.load_model(model, job="denoise")
    given, published = io.open_image(image, **vars(opening)), "method" in chosen.settings
    unlike = models.check_model(given, chosen)
    shape, passes = (given.shape[1], given.shape[2]), members * (2 if negative else 1)
    network, dirty = chosen.network("denoiser"), "psf" in given.companions
    whole, block = denoising.needs_of_image(network, shape, dirty=dirty, passes=passes)
    several, needs = not published and len(detection.tiles_of(given)) > 1, whole
    if several:
        needs = _shared(running, partial(detection.needs_of_tiles, given, passes=2 * passes))
    elif not published:
        search = detection.needs_of_detection(shape)
        memory, seconds = whole.memory + search.memory / 2, whole.seconds + search.seconds
        needs = replace(whole, memory=memory, seconds=seconds)

    def work(job: io.Job) -> tuple[Result, Callable[..., str]]:
        alone = published or denoising.deconvolves(given)
        opened, maps, spread = _spread(job, given, several and not alone)
        how: dict[str, Any] = {"reliability": reliability}
        find: Any
        if alone:
            if several:  # an image of several tiles may not fit into memory
                whole.check(out)
            made = denoising.make_denoiser(chosen, system.choose_device(running.device))
            find = partial(made, members=members, **how)
        else:
            how |= {"background_scale": background_scale, **({"against": 0.0} if negative else {})}
            eye = partial(_see, model, running.device, members)
            find = partial(detection.detect_image, eye=eye, always=True, **how)
        found: Any = find(opened, **spread, progress=running.progress)
        others = {}
        if negative:
            kept, other = None, dict[str, Any]()
            if maps is not None:
                _, kept, other = _spread(job, opened.negative(), folder=NEGATIVE)
            again = partial(find, **other)
            others["regions_in_negative"] = denoising.compare_with_negative(opened, found, again)
            if kept is not None:
                kept.drop()
        if alone:
            result, page = result_of_image(opened, found), partial(pages.denoising_report, opened, found)
        else:
            page = partial(pages.image_report, opened, found, verdict=_judged(opened, found))
            result = result_of_detected(opened, found, maps)
        result.facts |= others
        if not published:
            settings = denoising.DenoiserSettings.read(chosen.settings)
            result.errors = settings.of(found.prepared.beam is None, getattr(found, "response", None))
        return result, page

    plan = RunPlan(needs, several, work, unlike, {"block_shape": list(block), "members": members})
    return _run("denoise", given, chosen, out, running, plan, report=report)
