"""`faintsky.inject`: how complete a search of the user's own cube is, by sources injected into it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faintsky.errors import InputError
from faintsky.io import open_cube
from faintsky.io.output import OutputFolder, provenance
from faintsky.models import load_model

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.evaluation.injection import Recovery

PathLike = str | os.PathLike[str]


@dataclass
class InjectResult:
    """What `inject` did.

    Attributes
    ----------
    sources : Table or None
        The injected sources, ``found`` or not, with what was measured of them; None after a dry run or
        where the output was complete already.
    recovery : Recovery or None
        Completeness and flux against matched S/N.
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
    model: str = "classical",
    n: int = 100,
    per_run: int = 10,
    seed: int = 0,
    snr: tuple[float, float] = (3.0, 20.0),
    psf: Any = None,
    pb: Any = None,
    rms: Any = None,
    mask: Any = None,
    reliability: float = 0.9,
    device: str = "auto",
    overwrite: bool = False,
    dry_run: bool = False,
    command: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> InjectResult:
    """Inject emitters into a cube, a few at a time, search it, and see which are found again.

    Parameters
    ----------
    data : path-like or object
        A spectral cube; anything `faintsky.open_cube` takes.
    out : path-like, optional
        Folder for ``completeness.csv``, ``completeness.png``, ``report.html``, ``injected.ecsv`` and
        ``run.json``; nothing is written without it.
    model : str
        Method, as for `faintsky.detect`.
    n, per_run : int
        Sources in all, and in the cube at a time. Sources lie three beams apart, and a beam from what is
        found in the cube itself.
    seed : int
        Of the sources.
    snr : tuple of float
        Lowest and highest matched S/N (`faintsky.source_model.matched_snr`); uniform between.
    psf, pb, rms, mask : path-like or array, optional
        Dirty beam, primary beam, noise map, and where to inject and look.
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
        Where an input cannot be used, is an image without a spectral axis, or has no room for a source.
    """
    if not 0 <= reliability <= 1:
        raise InputError(f"reliability {reliability} is not between 0 and 1", "give a probability")
    if n < 1 or per_run < 1:
        raise InputError("needs at least one source", "give -n 1 or more")
    if not 0 < snr[0] < snr[1]:
        raise InputError(
            f"S/N from {snr[0]:g} to {snr[1]:g} is no range", "give a low above 0 and a higher one"
        )
    chosen = load_model(model, job="detect")
    cube = open_cube(data, psf=psf, pb=pb, rms=rms, mask=mask)
    config = {
        "data": cube.name, "model": chosen.name, "n": n, "per_run": per_run, "snr": list(snr), "psf": psf,
        "pb": pb, "rms": rms, "mask": mask, "reliability": reliability,
    }  # fmt: skip
    record = provenance(
        command=command, config=config, job="inject", model=chosen.name, model_hash=chosen.hash, seed=seed
    )
    if dry_run:
        searches = 1 + -(-n // per_run)
        return InjectResult(facts={"data": cube.name, "sources": n, "searches": searches, "out": out})
    folder = None if out is None else OutputFolder(out, record, overwrite=overwrite)
    if folder is not None:
        folder.check()
        if folder.complete:
            return InjectResult(facts={"out": str(out), "already_complete": True})
    from faintsky.detection.methods import find_catalog, for_report
    from faintsky.evaluation.injection import field_of, recover, recovery_of

    def find(one: Any) -> Table:
        return find_catalog(one, chosen, reliability=reliability, device=device).catalog

    if progress is not None:
        progress(0, n, "searching the cube itself")
    own = for_report(cube, find_catalog(cube, chosen, reliability=reliability, device=device), device=device)
    where = field_of(cube, own.catalog, own.mask, own.prepared)
    sources, runs, others = recover(where, find, n, per_run, seed=seed, snr=snr, progress=progress)
    recovery = recovery_of(sources)
    facts: dict[str, Any] = {
        "sources": len(sources), "found": int(sources["found"].sum()), "runs": runs,
        "completeness_at_snr_7": recovery.at_seven.value,
        "completeness_at_snr_7_error": recovery.at_seven.error,
        "snr_at_half": None if recovery.curve is None else recovery.curve.middle,
        "sources_of_the_cube": len(own.catalog), "other_detections_per_run": others / runs,
        "psf": own.prepared.psf_origin, "primary_beam": where.beam.origin,
    }  # fmt: skip
    if folder is not None:
        with folder:
            _write(folder, sources, recovery, facts, record)
        facts["out"] = str(out)
    return InjectResult(sources, recovery, facts)


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
