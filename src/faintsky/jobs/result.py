"""The result of `detect` and `denoise`, in memory and as files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.denoising import Denoised
    from faintsky.detection import DetectedImage, Detections
    from faintsky.image import RadioCube, RadioImage
    from faintsky.io import FitsMaps, Job

Array32 = NDArray[np.float32]


@dataclass
class Result:
    """What was found in an image or a cube.

    After a dry run, or if the run was complete already, it holds only ``facts``. Arrays are ``[y, x]`` or
    ``[chan, y, x]``, in the unit and at the resolution of the data. The data are the sum of `model` and
    `residual`.

    Attributes
    ----------
    facts : dict
        The summary.
    catalog : astropy.table.Table or None
        One row an object, the most significant first.
    components : astropy.table.Table or None
        One row a fitted Gaussian, line or region, with the object that it belongs to.
    mask : array of int or None
        ``id`` of the object at each pixel, 0 for none; None for a method that makes no mask.
    mask_diffuse : array of int or None
        ``id`` of the diffuse region at each pixel, under any compact sources, 0 for none; None if diffuse
        emission was not searched for.
    model : array or None
        The emission found, at the data's resolution; None for a method that makes no model. For a cube it
        holds the lines without the continuum. For an image it holds the fitted sources, and the network's
        image of diffuse emission within its regions. For a dirty image it is the denoised image within the
        mask, convolved with the psf.
    image, uncertainty : array or None
        The denoised image and its standard deviation.
    data : RadioCube or RadioImage or None
        The input.
    found : Detections or Denoised or None
        The full result of the search.
    maps : FitsMaps or None
        Files that hold the arrays of data of several tiles; they are read when used.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    catalog: Table | None = None
    components: Table | None = None
    mask: NDArray[np.int32] | None = None
    mask_diffuse: NDArray[np.int32] | None = None
    model: Array32 | None = None
    image: Array32 | None = None
    uncertainty: Array32 | None = None
    data: RadioCube | RadioImage | None = None
    found: Detections | Denoised | Any = None
    maps: FitsMaps | None = None

    @cached_property
    def residual(self) -> Array32 | None:
        """Data less model."""
        return None if self.model is None or self.data is None else self.data.data - self.model

    @property
    def notes(self) -> list[str]:
        """Assumptions and corrections."""
        return list(self.facts.get("notes", []))

    def deliver(
        self,
        job: Job,
        page: Callable[[], str],
        *,
        report: bool = True,
        columns: str | None = None,
        cutouts: bool = False,
    ) -> Result:
        """Add the time taken to the facts, and write all files and a report into the job's folder, if any.

        Parameters
        ----------
        job : Job
            The run.
        page : callable
            Makes the report's HTML.
        report : bool, optional
            Whether to write the report.
        columns : str, optional
            Also write the tables with the columns of another program: see `faintsky.columns.write_columns`.
        cutouts : bool, optional
            Also write cutouts of the sources of a cube: see `faintsky.jobs.cutouts`.

        Returns
        -------
        Result
            Itself.
        """
        assert self.data is not None
        assert self.catalog is not None
        self.facts["seconds"] = job.seconds
        self.catalog.meta.update(job.made_by)
        if job.out is None:
            return self
        self.facts["out"] = str(job.out)
        html = page() if report else None
        from faintsky.catalog import write_catalog
        from faintsky.columns import write_columns
        from faintsky.io import save_like, write_regions
        from faintsky.jobs.cutouts import write_cutouts
        from faintsky.system import write_text

        job.running.tell(0, 1, "writing")
        write_catalog(self.catalog, job.folder)
        if self.components is not None:
            write_catalog(self.components, job.folder, "components")
        if columns == "sofia":
            prepared: Any = self.found.prepared
            parts = {"mask": self.mask, "line": prepared.restored(prepared.line)}
            for suffix in ("fits", "xml"):
                write_columns(
                    self.catalog, columns, job.folder / f"catalog_sofia.{suffix}", self.data, **parts
                )
        elif columns is not None:
            for stem, table in (("catalog", self.catalog), ("components", self.components)):
                if table is not None:
                    write_columns(table, columns, job.folder / f"{stem}_{columns}.fits", self.data)
        for suffix in ("reg", "crtf"):
            write_regions(job.folder / f"regions.{suffix}", self.catalog)
        if self.maps is not None:
            arrays = self.maps.finish(job.folder)
            self.mask, self.mask_diffuse, self.model = map(arrays.get, ("mask", "mask_diffuse", "model"))
            self.image, self.uncertainty = map(arrays.get, ("denoised", "uncertainty"))
            self.__dict__["residual"] = arrays["residual"]
        images: dict[str, Any] = {
            "mask": self.mask,
            "mask_diffuse": self.mask_diffuse,
            "model": self.model,
            "residual": self.residual,
            "denoised": self.image,
            "uncertainty": self.uncertainty,
        }
        for name, array in images.items():
            if array is not None and self.maps is None:
                kind = name if name == "uncertainty" else ""
                save_like(job.folder / f"{name}.fits", array, self.data, kind=kind, provenance=job.made_by)
        if cutouts:
            write_cutouts(self, job.folder, job.made_by)
        for order, (image, unit) in enumerate(self.moments()):
            path, kind = job.folder / f"moment{order}.fits", f"moment {order}"
            save_like(path, image, self.data, unit=unit, kind=kind, provenance=job.made_by)
        if html is not None:
            write_text(job.folder / "report.html", html)
        return self

    def moments(self) -> list[tuple[NDArray[np.float64], Any]]:
        """Moment maps of a cube's lines within the mask, each with its unit; NaN where the mask is empty.

        Returns
        -------
        list of tuple
            ``[y, x]`` each. The first is the integral over velocity, or over frequency without a rest
            frequency. With a rest frequency there follow the flux-weighted mean velocity and the standard
            deviation about it [km/s]; these are NaN where noise dominates. Empty for an image, or without a
            mask.
        """
        if self.mask is None or self.mask.ndim < 3:
            return []
        found, cube = cast(Any, self.found), cast(Any, self.data)
        if found.moments is not None:
            return list(found.moments.maps(cube))
        from faintsky.detection import moment_sums

        line = found.prepared.restored(found.prepared.line)
        return moment_sums(cube, line, self.mask > 0, slice(None)).maps(cube)


def result_of_cube(cube: RadioCube, found: Detections, maps: FitsMaps | None = None) -> Result:
    """The result for a cube.

    Parameters
    ----------
    cube : RadioCube
        The data.
    found : Detections
        The sources found.
    maps : FitsMaps, optional
        Files that hold the arrays.

    Returns
    -------
    Result
    """
    meta = found.catalog.meta
    facts = {
        "sources": len(found.catalog), "candidates": found.candidates, "rms": meta["rms_median"],
        "unit": meta["rms_unit"], "psf": meta["psf"], "primary_beam": meta["primary_beam"],
        "notes": found.notes,
    }  # fmt: skip
    if found.steps:
        facts["steps"] = found.steps
    if maps is not None:
        return Result(facts, found.catalog, found.components, data=cube, found=found, maps=maps)
    model = found.model
    if model is not None and found.moments is None:
        factors = np.broadcast_to(cube.working_factors(), len(model)).astype(np.float32)
        model = model / factors[:, None, None]
    return Result(facts, found.catalog, found.components, found.mask, model=model, data=cube, found=found)


def result_of_detected(image: RadioImage, found: DetectedImage, maps: FitsMaps | None = None) -> Result:
    """The result for an image that was searched for sources.

    Parameters
    ----------
    image : RadioImage
        The data.
    found : DetectedImage
        The sources found.
    maps : FitsMaps, optional
        Files that hold the arrays.

    Returns
    -------
    Result
    """
    facts = {
        "kind": found.kind, "sources": len(found.catalog), "components": len(found.components),
        "candidates": found.candidates, "rms": found.prepared.typical_rms,
        "unit": found.catalog.meta["rms_unit"], "primary_beam": found.catalog.meta["primary_beam"],
        "notes": found.notes,
    }  # fmt: skip
    if found.regions is not None:
        facts["regions"] = int((np.asarray(found.catalog["kind"]) == "diffuse").sum())
    if maps is not None:
        return Result(facts, found.catalog, found.components, data=image, found=found, maps=maps)
    return Result(
        facts, found.catalog, found.components, found.mask, found.regions, np.nan_to_num(found.image),
        found.denoised, found.denoised_error, image, found,
    )  # fmt: skip


def result_of_image(image: RadioImage, found: Denoised) -> Result:
    """The result for a denoised image without a search for compact sources."""
    facts = {
        "kind": found.kind, "regions": len(found.catalog), "candidates": found.regions,
        "rms": found.prepared.typical_rms, "unit": found.catalog.meta["rms_unit"],
        "area_covered": float((found.mask > 0).sum() / found.prepared.valid.sum()),
        "primary_beam": found.catalog.meta["primary_beam"], "notes": found.notes,
    }  # fmt: skip
    estimate = found.image if found.seen is None else found.seen
    model = np.where(found.mask > 0, estimate, np.float32(0))
    if found.response is not None:
        model = found.response(model)
    from faintsky.catalog import components_of

    return Result(
        facts,
        found.catalog,
        components_of(found.catalog),
        found.mask,
        found.mask,
        model,
        found.image,
        found.uncertainty,
        image,
        found,
    )
