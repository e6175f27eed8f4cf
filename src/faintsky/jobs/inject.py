"""`faintsky.inject`: what is found in the user's own cube or image, by sources injected into it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from faintsky.catalog import without_fluxes
from faintsky.errors import InputError
from faintsky.image import RadioCube, RadioImage
from faintsky.io import open_cube, open_image
from faintsky.io.output import OutputFolder, provenance
from faintsky.models import Model, load_model
from faintsky.preparing import of_kind
from faintsky.system import BYTES_OF_TABLES, Needs
from faintsky.units import unit_text

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.injecting.recovery import Recovery

PathLike = str | os.PathLike[str]
Progress = Callable[[int, int, str], None]
PER_RUN = {"cube": 10, "image": 4}
"""Sources at a time: those of images are many beams long."""
SNR_CUBE, SNR_IMAGE = (3.0, 20.0), (0.2, 10.0)
"""Matched S/N in cubes and S/N per pixel in images, where none are given."""


@dataclass
class InjectResult:
    """What `inject` did.

    Attributes
    ----------
    sources : Table or None
        The injected sources, ``found`` or not, with what was measured of them; None after a dry run or
        where the output was complete already.
    recovery : Recovery or None
        Completeness and flux against matched S/N, of images against S/N per pixel.
    facts : dict
        The summary.
    """

    sources: Table | None = None
    recovery: Recovery | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """What the command prints."""
        return self.facts


def inject(
    data: Any,
    out: PathLike | None = None,
    *,
    model: str | None = None,
    n: int = 100,
    per_run: int | None = None,
    seed: int = 0,
    snr: tuple[float | None, float | None] = (None, None),
    psf: Any = None,
    pb: Any = None,
    rms: Any = None,
    mask: Any = None,
    beam: Any = None,
    stokes: str | None = None,
    rest_frequency: Any = None,
    kind: str = "auto",
    dish: Any = None,
    reliability: float = 0.9,
    device: str = "auto",
    overwrite: bool = False,
    dry_run: bool = False,
    command: str | None = None,
    progress: Progress | None = None,
) -> InjectResult:
    """Inject sources into a cube or an image, a few at a time, and see which are found again.

    Into a cube go emitters (`faintsky.injecting.cube`), which are searched for; into an image filaments
    and blobs (`faintsky.injecting.image`), and it is denoised and segmented.

    Parameters
    ----------
    data : path-like or object
        A spectral cube or an image; anything `faintsky.open_cube` or `faintsky.open_image` takes.
    out : path-like, optional
        Folder for ``completeness.csv``, ``completeness.png``, ``report.html``, ``injected.ecsv`` and
        ``run.json``; nothing is written without it.
    model : str, optional
        As for `faintsky.detect` or `faintsky.denoise`, whose defaults hold.
    n, per_run : int
        Sources in all, and at a time (10 in a cube, 4 in an image). They lie apart from each other, and from
        what is found in the data themselves.
    seed : int
        Of the sources.
    snr : tuple of float or None, optional
        Lowest and highest S/N: in a cube the matched one (`faintsky.source_model.matched_snr`), uniform from
        3 to 20; in an image that of a pixel, uniform in its logarithm from 0.2 to 10.
    psf, pb, rms, mask : path-like or array, optional
        Dirty beam, primary beam, noise map, and where to inject and look.
    beam : str or sequence, optional
        The synthesised beam, in place of the header's: ``"6arcsec,5arcsec,30deg"``, or major [arcsec], minor
        [arcsec] and position angle [deg].
    stokes : str, optional
        Which of several Stokes planes: ``I`` (by default, where there is one), ``Q``, ``RR`` …
    rest_frequency : float or str, optional
        Of the line, in place of the header's: ``"1420.405752MHz"``, or a number in Hz.
    kind : {"auto", "restored", "dirty"}
        What the data are; by default their header and their sources' surroundings tell.
    dish : float or str, optional
        Diameter of the dishes, ``"7m"`` or a number in m, for the primary beam where none is given; by
        default ALMA's by name and beam. 0 for a single dish, which has none.
    reliability : float
        Least reliability of a detection, 0 to 1.
    device : {"auto", "cpu", "cuda"}
        Where PyTorch computes.
    overwrite : bool
        Replace the output of another run.
    dry_run : bool
        Say what would be done.
    command : str, optional
        For the record.
    progress : callable, optional
        Called with sources done, sources in all, and a word.

    Raises
    ------
    InputError
        Where an input cannot be used, or has no room for a source.
    """
    if not 0 <= reliability <= 1:
        raise InputError(f"reliability {reliability} is not between 0 and 1", "give a probability")
    opened = _open(
        data,
        psf=psf,
        pb=pb,
        rms=rms,
        mask=mask,
        beam=beam,
        stokes=stokes,
        rest_frequency=rest_frequency,
        dish=dish,
    )
    opened = of_kind(opened, kind)
    image = isinstance(opened, RadioImage)
    at_once = PER_RUN["image" if image else "cube"] if per_run is None else per_run
    low, high = (
        usual if asked is None else asked for usual, asked in zip(SNR_IMAGE if image else SNR_CUBE, snr)
    )
    if n < 1 or at_once < 1:
        raise InputError("needs at least one source", "give -n 1 or more")
    if not 0 < low < high:
        raise InputError(f"S/N from {low:g} to {high:g} is no range", "give a low above 0 and a higher one")
    name = model or ("denoiser" if image else "classical")
    chosen = load_model(name, job="denoise" if image else "detect")
    config = {
        "data": opened.name, "model": chosen.name, "n": n, "per_run": at_once, "snr": [low, high],
        "psf": psf, "pb": pb, "rms": rms, "mask": mask, "stokes": stokes, "dish": opened.dish,
        "beam": None if beam is None else opened.require_beam()[0],
        "rest_frequency": None if rest_frequency is None else opened.rest_frequency,
        "kind": kind, "reliability": reliability,
    }  # fmt: skip
    record = provenance(
        command=command, config=config, job="inject", model=chosen.name, model_hash=chosen.hash, seed=seed
    )
    folder = None if out is None else OutputFolder(out, record, overwrite=overwrite)
    if folder is not None:
        folder.check()
    searches = 1 + -(-n // at_once)
    needs = _needs(opened, chosen, searches)
    if dry_run:
        about = {"data": opened.name, "shape": list(opened.shape), "sources": n, "searches": searches}
        about["notes"] = opened.notes
        return InjectResult(facts=about | needs.summary(out))
    if folder is not None and folder.complete:
        return InjectResult(facts={"out": str(out), "already_complete": True})
    needs.check(out)
    opened.check_companions()
    if progress is not None:
        progress(0, n, "searching the data themselves")
    way: Any = _into_image if image else _into_cube
    with folder or nullcontext():
        sources, recovery, facts = way(
            opened, chosen, n, at_once, reliability=reliability, device=device, seed=seed, snr=(low, high),
            progress=progress,
        )  # fmt: skip
        if not opened.has_flux:
            without_fluxes(sources, keep_values=True)
        if folder is not None:
            _write(folder, sources, recovery, facts, record)
            facts["out"] = str(out)
    return InjectResult(sources, recovery, facts)


def _needs(data: RadioCube | RadioImage, model: Model, searches: int) -> Needs:
    """What a number of searches, one after the other, need: they write a table and a figure."""
    from faintsky.denoising import needs_of_image
    from faintsky.detection import needs_of_cube

    if isinstance(data, RadioImage):
        one, _ = needs_of_image(model.network("denoiser"), (data.shape[1], data.shape[2]))
    else:
        one = needs_of_cube(data)
    return replace(one, disk=BYTES_OF_TABLES, seconds=one.seconds * searches, blocks=searches * one.blocks)


def _open(data: Any, **companions: Any) -> RadioCube | RadioImage:
    """An image where there is one plane, a cube where there are more."""
    if not isinstance(data, RadioCube):
        try:
            return open_image(data, **companions)
        except InputError:
            pass  # a cube, or something that is neither, which is said next
    return open_cube(data, **companions)


def _into_cube(
    cube: RadioCube, model: Model, n: int, per_run: int, *, reliability: float, device: str, **how: Any
) -> tuple[Table, Recovery, dict[str, Any]]:
    from faintsky.detection import find_catalog, for_report
    from faintsky.injecting.cube import field_of, recover
    from faintsky.injecting.recovery import recovery_of

    def find(one: Any) -> Table:
        return find_catalog(one, model, reliability=reliability, device=device).catalog

    own = for_report(cube, find_catalog(cube, model, reliability=reliability, device=device), device=device)
    cube = replace(cube, kind=own.prepared.kind.name)
    where = field_of(cube, own.catalog, own.mask, own.prepared)
    sources, runs, others = recover(where, find, n, per_run, **how)
    recovery = recovery_of(sources)
    return sources, recovery, {
        "sources": len(sources), "found": int(sources["found"].sum()), "runs": runs,
        "completeness_at_snr_7": recovery.at_level.value,
        "completeness_at_snr_7_error": recovery.at_level.error,
        "snr_at_half": None if recovery.curve is None else recovery.curve.middle,
        "sources_of_the_cube": len(own.catalog), "other_detections_per_run": others / runs,
        "psf": own.prepared.psf_origin, "primary_beam": where.beam.origin,
    }  # fmt: skip


def _into_image(
    image: RadioImage, model: Model, n: int, per_run: int, *, reliability: float, device: str, **how: Any
) -> tuple[Table, Recovery, dict[str, Any]]:
    from faintsky.denoising import make_denoiser
    from faintsky.injecting.image import place_of, recover
    from faintsky.injecting.recovery import recovery_of
    from faintsky.system import choose_device

    denoiser = make_denoiser(model, choose_device(device))
    # what may be a source is no place for another, whatever its reliability
    own = denoiser(image, reliability=0.0)

    def find(one: RadioImage) -> Any:
        return denoiser(one, reliability=reliability)

    image = replace(image, kind=own.kind)
    sources, runs, others = recover(place_of(image, own), find, n, per_run, **how)
    recovery = recovery_of(sources, level=1.0, image=True)
    return sources, recovery, {
        "sources": len(sources), "found": int(sources["found"].sum()), "runs": runs,
        "completeness_at_snr_1": recovery.at_level.value,
        "completeness_at_snr_1_error": recovery.at_level.error,
        "snr_at_half": None if recovery.curve is None else recovery.curve.middle,
        "regions_of_the_image": len(own.catalog), "other_regions_per_run": others / runs,
        "taken_for": own.kind, "rms": own.prepared.typical_rms, "unit": unit_text(image.unit),
    }  # fmt: skip


def _write(
    folder: OutputFolder, sources: Table, recovery: Recovery, facts: dict[str, Any], record: dict[str, Any]
) -> None:
    from faintsky.evaluation.figures import save
    from faintsky.evaluation.runs import write_table
    from faintsky.evaluation.tables import write_csv
    from faintsky.report.injection import injection_report, recovery_figure

    rows = recovery.rows()
    write_csv(rows, folder.folder / "completeness.csv")
    figure = recovery_figure(sources, recovery)
    save(figure, folder.folder / "completeness.png")
    sources.meta = {k: v for k, v in record.items() if k != "config"}
    write_table(sources, folder.folder / "injected.ecsv")
    page = injection_report(figure, rows, facts, name=str(record["config"]["data"]), provenance=record)
    with folder.file("report.html") as name:
        name.write_text(page, encoding="utf-8")
