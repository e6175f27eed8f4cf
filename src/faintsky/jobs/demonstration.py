"""`faintsky.demo`: detection in a cube and denoising of an image, each on one small simulated observation."""

from __future__ import annotations

import os
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from faintsky.jobs.finding import denoise, detect
from faintsky.options import Running, with_options

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.matching import Matching
    from faintsky.system import Needs

IMAGE_SIZE = 512
"""Side of the LOFAR image [pixel]."""
BEAM_PIXELS = 8.5
"""Beam of the cube, for the estimate of its needs [pixel]."""


@dataclass
class DemoResult:
    """What `demo` made.

    Attributes
    ----------
    truth, catalog : astropy.table.Table
        True and found sources of the cube.
    matching : Matching
        One-to-one matching of the two.
    published : Matching
        The same for the sources that DeepFocus finds in the cube.
    image_errors : dict
        Rms difference from the true sky, where this is brighter than half the noise, in units of the noise:
        of the image (``before``) and of the denoised image (``after``); and the number of ``regions``.
    reports : dict of str to pathlib.Path
        Reports on our detection, on DeepFocus's detection, and on the denoised image.
    """

    truth: Table
    catalog: Table
    matching: Matching
    published: Matching
    image_errors: dict[str, float]
    reports: dict[str, Path]

    @property
    def facts(self) -> dict[str, Any]:
        """The summary that the command prints."""
        found = {int(i): int(j) for i, j in zip(self.matching.i_true, self.matching.i_found)}
        lines = {}
        for i, true in enumerate(self.truth):
            there = f"S/N {true['snr']:.1f}, {true['flux']:.2f} Jy km/s"
            if i in found:
                row = self.catalog[found[i]]
                seen = f"found, {row['flux']:.2f} ± {row['flux_err']:.2f} Jy km/s"
            else:
                seen = "missed"
            lines[f"true source {i + 1}"] = f"{there}: {seen}"
        return {
            "sources": len(self.truth),
            "found": len(found),
            "false": len(self.matching.unmatched_found),
            **lines,
            "DeepFocus": f"found {len(self.published.i_found)}, "
            f"false {len(self.published.unmatched_found)} (Delli Veneri et al. 2022, as shipped)",
            "image_errors": {k: round(v, 3) for k, v in self.image_errors.items()},
            **{f"report on the {name}": str(path) for name, path in self.reports.items()},
        }


@with_options
def demo(
    out: str | os.PathLike[str] = "faintsky-demo",
    *,
    seed: Annotated[int, Ge(0)] = 1,
    open_report: bool = True,
    running: Running,
) -> DemoResult | dict[str, Any]:
    """Find the sources of a simulated ALMA cube, denoise a simulated LOFAR image, and open both reports.

    Parameters
    ----------
    out : path-like, optional
        Folder for ``alma/`` and ``lofar/`` (as the simulators write them), ``detected/`` and ``deepfocus/``
        (as `detect` does) and ``denoised/`` (as `denoise` does).
    seed : int, optional
        Seed of the simulated sky.
    open_report : bool
        Open the reports in a browser at the end, where there is one to open.

    Returns
    -------
    DemoResult or dict
        What was found and what is true; after a dry run, what would be done.

    Raises
    ------
    InputError
        If `out` holds something else.
    """
    from faintsky.catalog import read_catalog
    from faintsky.io import Job
    from faintsky.matching import match
    from faintsky.simulating import simulator

    folder = Path(out)
    del running.asked["open_report"]
    job = Job("demo", out, running, _needs(folder), {}, resumable=True)
    if running.dry_run:
        return dict(job.done or {})
    shared: dict[str, Any] = {
        "overwrite": running.overwrite, "progress": running.progress, "command": running.command
    }  # fmt: skip
    with job:
        cubes, images = folder / "alma", folder / "lofar"
        simulator("alma")(cubes, 1, seed=seed, preset="paper", **shared)
        shared_cube: dict[str, Any] = {"pb": cubes / "pb.fits", "device": running.device, **shared}
        dirty = cubes / "0000_dirty.fits"
        detect(dirty, folder / "detected", psf=cubes / "psf.fits", **shared_cube)
        detect(dirty, folder / "deepfocus", model="deepfocus", **shared_cube)
        simulator("lofar")(images, 1, seed=seed, size=IMAGE_SIZE, products=("sky", "noise"), **shared)
        denoise(images / "0000_noise.fits", folder / "denoised", device=running.device, **shared)
    truth = read_catalog(cubes / "0000_truth.ecsv")
    catalogs = [read_catalog(folder / name / "catalog.ecsv") for name in ("detected", "deepfocus")]
    ours, published = (match(truth, catalog) for catalog in catalogs)
    errors = _image_errors(images, folder / "denoised")
    reports = {"cube": "detected", "cube by DeepFocus": "deepfocus", "image": "denoised"}
    pages = {what: folder / name / "report.html" for what, name in reports.items()}
    if open_report and sys.stdout.isatty() and (os.environ.get("DISPLAY") or sys.platform != "linux"):
        for page in pages.values():
            webbrowser.open(page.resolve().as_uri())
    return DemoResult(truth, catalogs[0], ours, published, errors, pages)


def _needs(folder: Path) -> Needs:
    """Needs of both simulations and of the work on them."""
    from faintsky.denoising import needs_of_image
    from faintsky.detection import needs_of_search
    from faintsky.models import load_model
    from faintsky.simulating import simulator
    from faintsky.system import Needs

    plans = [
        simulator("alma")(folder / "alma", 1, preset="paper", dry_run=True, overwrite=True),
        simulator("lofar")(folder / "lofar", 1, size=IMAGE_SIZE, dry_run=True, overwrite=True),
    ]
    network = load_model("denoiser").network("denoiser")
    parts = [
        needs_of_search(tuple(plans[0]["shape"]), BEAM_PIXELS),
        needs_of_image(network, (IMAGE_SIZE, IMAGE_SIZE))[0],
        *(Needs(p["memory_gb"] * 1e9, p["disk_gb"] * 1e9, p["time_minutes"] * 60) for p in plans),
    ]
    memory = max(p.memory for p in parts)
    return Needs(memory, sum(p.disk for p in parts), sum(p.seconds for p in parts), len(parts))


def _image_errors(images: Path, denoised: Path) -> dict[str, float]:
    """Errors before and after, over the noise, where the true sky is above half the noise."""
    import numpy as np

    from faintsky.catalog import read_catalog
    from faintsky.io import open_image
    from faintsky.preparing import robust_sigma

    truth, before, after = (
        open_image(p).data
        for p in (images / "0000_sky.fits", images / "0000_noise.fits", denoised / "denoised.fits")
    )
    noise = robust_sigma(before - truth)
    there = truth > 0.5 * noise
    errors = {
        name: float(np.sqrt(np.mean((image - truth)[there] ** 2))) / noise if there.any() else 0.0
        for name, image in (("before", before), ("after", after))
    }
    return {**errors, "regions": float(len(read_catalog(denoised / "catalog.ecsv")))}
