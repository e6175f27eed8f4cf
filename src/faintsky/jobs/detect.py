"""`faintsky.detect`: from a cube to a catalogue, a mask, a model and a report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faintsky.errors import InputError
from faintsky.io import open_cube
from faintsky.io.output import OutputFolder, provenance
from faintsky.models import load_model
from faintsky.preparing import of_kind

if TYPE_CHECKING:
    from faintsky.detection import Detections
    from faintsky.image import RadioCube

PathLike = str | os.PathLike[str]


@dataclass
class DetectResult:
    """What `detect` did.

    Attributes
    ----------
    found : Detections or None
        Catalogue, mask, model and more; None after a dry run or where the output was complete already.
    facts : dict
        The summary.
    """

    found: Detections | None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def catalog(self) -> Any:
        """The source table."""
        return None if self.found is None else self.found.catalog

    def summary(self) -> dict[str, Any]:
        """What the command prints."""
        return self.facts


def detect(
    cube: Any,
    out: PathLike | None = None,
    *,
    model: str = "classical",
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
    progress: Callable[[int, int, str], None] | None = None,
) -> DetectResult:
    """Catalogue the line emitters and absorbers of a spectral cube.

    Parameters
    ----------
    cube : path-like or object
        Anything `faintsky.open_cube` takes.
    out : path-like, optional
        Folder for ``catalog.fits`` ``.ecsv`` ``.vot`` ``.csv``, ``mask.fits``, ``model.fits``,
        ``regions.reg``, ``report.html`` and ``run.json``; nothing is written without it, nor a mask or a
        model where the method makes none.
    model : str
        A shipped model's name or a model's folder.
    psf, pb, rms, mask : path-like or array, optional
        Dirty beam, primary beam, noise map and where to look.
    beam : str or sequence, optional
        The synthesised beam, in place of the header's: ``"6arcsec,5arcsec,30deg"``, or major [arcsec], minor
        [arcsec] and position angle [deg].
    stokes : str, optional
        Which of several Stokes planes: ``I`` (by default, where there is one), ``Q``, ``RR`` …
    rest_frequency : float or str, optional
        Of the line, in place of the header's: ``"1420.405752MHz"``, or a number in Hz.
    kind : {"auto", "restored", "dirty"}
        What the cube is; by default its header and its sources' surroundings tell.
    dish : float or str, optional
        Diameter of the dishes, ``"7m"`` or a number in m, for the primary beam where none is given; by
        default ALMA's by name and beam. 0 for a single dish, which has none.
    reliability : float
        Least reliability of a source in the catalogue, 0 to 1.
    device : {"auto", "cpu", "cuda"}
        Where PyTorch computes.
    overwrite : bool
        Replace the output of another run.
    dry_run : bool
        Say what would be done, from the header alone.
    command : str, optional
        For the record.
    progress : callable, optional
        Called with steps done, steps in all, and a word.

    Returns
    -------
    DetectResult
        With `Detections` in ``found``; without, where the same run was complete in `out` already.

    Raises
    ------
    InputError
        Where an input cannot be used; nothing is left behind.
    """
    if not 0 <= reliability <= 1:
        raise InputError(f"reliability {reliability} is not between 0 and 1", "give a probability")
    from faintsky.detection import needs_of_cube

    chosen = load_model(model, job="detect")
    opened = open_cube(
        cube,
        psf=psf,
        pb=pb,
        rms=rms,
        mask=mask,
        beam=beam,
        stokes=stokes,
        rest_frequency=rest_frequency,
        dish=dish,
    )
    if opened.shape[0] == 1:
        raise InputError("is an image of one channel, not a cube", "use faintsky denoise", opened.name)
    opened = of_kind(opened, kind)
    record = provenance(
        command=command,
        config={
            "cube": opened.name, "model": chosen.name, "psf": psf, "pb": pb, "rms": rms, "mask": mask,
            "beam": None if beam is None else opened.require_beam()[0], "stokes": stokes, "dish": opened.dish,
            "rest_frequency": None if rest_frequency is None else opened.rest_frequency,
            "kind": kind, "reliability": reliability,
        },
        job="detect", model=chosen.name, model_hash=chosen.hash,
    )  # fmt: skip
    needs = needs_of_cube(opened)
    folder = None if out is None else OutputFolder(out, record, overwrite=overwrite)
    if folder is not None:
        folder.check()
    if dry_run:
        about = {"cube": opened.name, "shape": list(opened.shape), "notes": opened.notes}
        return DetectResult(None, about | needs.summary(out))
    if folder is not None and folder.complete:
        return DetectResult(None, {"out": str(out), "already_complete": True})
    needs.check(out)
    opened.check_companions()
    start = time.monotonic()
    from faintsky.detection import find_catalog, for_report

    with folder or nullcontext():
        found = find_catalog(opened, chosen, reliability=reliability, device=device, progress=progress)
        seconds = time.monotonic() - start
        shown = for_report(opened, found, device=device)
        shown.catalog.meta.update({k: v for k, v in record.items() if k != "config"})
        if folder is not None:
            if progress is not None:
                progress(0, 1, "writing")
            _write(folder, opened, shown, reliability, record)
    facts = {
        "sources": len(shown.catalog), "candidates": shown.candidates,
        "rms": shown.catalog.meta["rms_median"], "unit": shown.catalog.meta["rms_unit"],
        "psf": shown.catalog.meta["psf"],
        "primary_beam": shown.catalog.meta["primary_beam"], "notes": shown.notes,
        "seconds": round(seconds, 2),
    }  # fmt: skip
    if shown.steps:
        facts["steps"] = shown.steps
    if out is not None:
        facts["out"] = str(out)
    return DetectResult(shown, facts)


def _write(
    folder: OutputFolder, cube: RadioCube, found: Detections, reliability: float, record: dict[str, Any]
) -> None:
    from faintsky.catalog import write_catalog
    from faintsky.io import save_like
    from faintsky.io.regions import write_regions
    from faintsky.report.detection import detection_report

    made = {k: v for k, v in record.items() if k != "config"}
    write_catalog(found.catalog, folder.folder)
    write_regions(folder.folder / "regions.reg", found.catalog)
    if found.mask is not None:
        save_like(folder.folder / "mask.fits", found.mask, cube, provenance=made)
    if found.model is not None:
        unit = "Jy/beam" if cube.has_flux else None
        save_like(folder.folder / "model.fits", found.model, cube, unit=unit, provenance=made)
    page = detection_report(cube, found, reliability=reliability, provenance=record)
    with folder.file("report.html") as name:
        name.write_text(page, encoding="utf-8")
