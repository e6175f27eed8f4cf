"""`faintsky.denoise`: from an image to a denoised one, its uncertainty, a mask, a catalogue and a report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faintsky.errors import InputError
from faintsky.io import open_image
from faintsky.io.output import OutputFolder, provenance
from faintsky.models import load_model
from faintsky.preparing import of_kind
from faintsky.system import choose_device

if TYPE_CHECKING:
    from faintsky.denoising import Denoised
    from faintsky.image import RadioImage

PathLike = str | os.PathLike[str]


@dataclass
class DenoiseResult:
    """What `denoise` did.

    Attributes
    ----------
    found : Denoised or None
        Images, mask, catalogue and more; None after a dry run or where the output was complete already.
    facts : dict
        The summary.
    """

    found: Denoised | None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def image(self) -> Any:
        """The denoised image, ``[y, x]``, in the unit of the input."""
        return None if self.found is None else self.found.image

    @property
    def uncertainty(self) -> Any:
        """Its standard deviation."""
        return None if self.found is None else self.found.uncertainty

    @property
    def catalog(self) -> Any:
        """The table of regions."""
        return None if self.found is None else self.found.catalog

    def summary(self) -> dict[str, Any]:
        """What the command prints."""
        return self.facts


def denoise(
    image: Any,
    out: PathLike | None = None,
    *,
    model: str = "denoiser",
    psf: Any = None,
    pb: Any = None,
    rms: Any = None,
    mask: Any = None,
    beam: Any = None,
    stokes: str | None = None,
    dish: Any = None,
    kind: str = "auto",
    members: int = 1,
    reliability: float = 0.9,
    negative: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    dry_run: bool = False,
    command: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> DenoiseResult:
    """Denoise a continuum image and catalogue its regions of emission.

    Parameters
    ----------
    image : path-like or object
        Anything `faintsky.open_image` takes, of any size and unit; NaN is blank.
    out : path-like, optional
        Folder for ``denoised.fits``, ``uncertainty.fits``, ``mask.fits``,
        ``catalog.fits`` ``.ecsv`` ``.vot`` ``.csv``, ``regions.reg``, ``report.html`` and ``run.json``;
        nothing is written without it.
    model : str
        A shipped model's name or a model's folder.
    psf, pb, rms, mask : path-like or array, optional
        Dirty beam of a dirty image, primary beam, noise map (unit of the image), where to look for regions.
    beam : str or sequence, optional
        The synthesised beam, in place of the header's: ``"6arcsec,5arcsec,30deg"``, or major [arcsec], minor
        [arcsec] and position angle [deg].
    stokes : str, optional
        Which of several Stokes planes: ``I`` (by default, where there is one), ``Q``, ``RR`` …
    dish : float or str, optional
        Diameter of the dishes, ``"7m"`` or a number in m, for the primary beam where none is given; by
        default ALMA's by name and beam. 0 for a single dish, which has none.
    kind : {"auto", "restored", "dirty"}
        What the image is; by default its header and its sources' surroundings tell.
    members : int
        Mirror images and quarter turns to average, 1 to 8: steadier, and slower in proportion. Those of an
        autoencoder also differ by where its tiles begin.
    reliability : float
        Least reliability of a region in mask and catalogue, 0 to 1; an autoencoder has a threshold instead.
    negative : bool
        Denoise the negative of the image as well: its regions give those of the image a second reliability,
        ``reliability_negative``, of the image's own noise and artefacts. Twice the time.
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
    DenoiseResult
        With `Denoised` in ``found``; without, where the same run was complete in `out` already.

    Raises
    ------
    InputError
        Where an input cannot be used; nothing is left behind.
    """
    if not 0 <= reliability <= 1:
        raise InputError(f"reliability {reliability} is not between 0 and 1", "give a probability")
    if not 1 <= members <= 8:
        raise InputError(f"{members} members are asked for", "give 1 to 8")
    from faintsky.denoising import needs_of_image

    chosen = load_model(model, job="denoise")
    opened = open_image(image, psf=psf, pb=pb, rms=rms, mask=mask, beam=beam, stokes=stokes, dish=dish)
    opened = of_kind(opened, kind)
    record = provenance(
        command=command,
        config={
            "image": opened.name, "model": chosen.name, "psf": psf, "pb": pb, "rms": rms, "mask": mask,
            "beam": None if beam is None else opened.require_beam()[0], "stokes": stokes, "dish": opened.dish,
            "kind": kind, "members": members, "reliability": reliability,
            "negative": negative,
        },
        job="denoise", model=chosen.name, model_hash=chosen.hash,
    )  # fmt: skip
    folder = None if out is None else OutputFolder(out, record, overwrite=overwrite)
    if folder is not None:
        folder.check()
    needs, block = needs_of_image(
        chosen.network("denoiser"), (opened.shape[1], opened.shape[2]), dirty="psf" in opened.companions,
        passes=members * (2 if negative else 1),
    )  # fmt: skip
    if dry_run:
        about = {"image": opened.name, "shape": list(opened.shape[1:]), "block_shape": list(block)}
        return DenoiseResult(None, about | {"members": members, "notes": opened.notes} | needs.summary(out))
    if folder is not None and folder.complete:
        return DenoiseResult(None, {"out": str(out), "already_complete": True})
    needs.check(out)
    opened.check_companions()
    start = time.monotonic()
    from faintsky.denoising import make_denoiser

    with folder or nullcontext():
        denoiser = make_denoiser(chosen, choose_device(device))
        how: dict[str, Any] = {"members": members, "reliability": reliability}
        found = denoiser(opened, progress=progress, **how)
        if negative:
            from faintsky.denoising import compare_with_negative

            in_negative = compare_with_negative(opened, found, denoiser, **how)
        seconds = time.monotonic() - start
        found.catalog.meta.update({k: v for k, v in record.items() if k != "config"})
        if folder is not None:
            if progress is not None:
                progress(0, 1, "writing")
            _write(folder, opened, found, record)
    facts = {
        "kind": found.kind, "regions": len(found.catalog), "candidates": found.regions,
        "rms": found.prepared.typical_rms, "unit": found.catalog.meta["rms_unit"],
        "area_covered": float((found.mask > 0).sum() / found.prepared.valid.sum()),
        "primary_beam": found.catalog.meta["primary_beam"], "notes": found.notes,
        "seconds": round(seconds, 2),
    }  # fmt: skip
    if negative:
        facts["regions_in_negative"] = in_negative
    if out is not None:
        facts["out"] = str(out)
    return DenoiseResult(found, facts)


def _write(folder: OutputFolder, image: RadioImage, found: Denoised, record: dict[str, Any]) -> None:
    from faintsky.catalog import write_catalog
    from faintsky.io import save_like
    from faintsky.io.regions import write_regions
    from faintsky.report.denoising import denoising_report

    made = {k: v for k, v in record.items() if k != "config"}
    write_catalog(found.catalog, folder.folder)
    write_regions(folder.folder / "regions.reg", found.catalog)
    save_like(folder.folder / "denoised.fits", found.image, image, provenance=made)
    save_like(
        folder.folder / "uncertainty.fits", found.uncertainty, image, kind="uncertainty", provenance=made
    )
    save_like(folder.folder / "mask.fits", found.mask, image, provenance=made)
    page = denoising_report(image, found, provenance=record)
    with folder.file("report.html") as name:
        name.write_text(page, encoding="utf-8")
