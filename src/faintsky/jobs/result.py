"""The result of `detect` and `denoise`, in memory and as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32, Bool, Float, Labels
from faintsky.errors import InputError
from faintsky.system import replacing, write_text

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.denoising import Denoised, RegionSettings
    from faintsky.detection import DetectedImage, Detections
    from faintsky.image import RadioCube, RadioImage
    from faintsky.io import FitsMaps, Job


@dataclass(repr=False)
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
        One row per object, the most significant first.
    components : astropy.table.Table or None
        One row per fitted Gaussian, line or region, with the `id` of its object.
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
    errors : RegionSettings or None
        How the errors of pixels in `uncertainty` are correlated.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    catalog: Table | None = None
    components: Table | None = None
    mask: Labels | None = None
    mask_diffuse: Labels | None = None
    model: Array32 | None = None
    image: Array32 | None = None
    uncertainty: Array32 | None = None
    data: RadioCube | RadioImage | None = None
    found: Detections | Denoised | Any = None
    maps: FitsMaps | None = None
    errors: RegionSettings | None = None

    def __repr__(self) -> str:
        """What it is of, in a line: arrays and tables would fill hundreds."""
        from faintsky.image import RadioCube

        said = []
        if self.data is not None:
            cube = isinstance(self.data, RadioCube)
            shape = self.data.shape if cube else self.data.shape[1:]
            said.append(f"{'cube' if cube else 'image'} of {' x '.join(map(str, shape))}")
        said.append("no catalogue" if self.catalog is None else f"objects: {len(self.catalog)}")
        return f"<Result: {', '.join([*said, f'notes: {len(self.notes)}'])}>"

    @cached_property
    def residual(self) -> Array32 | None:
        """Data less model."""
        return None if self.model is None or self.data is None else self.data.data - self.model

    @cached_property
    def probability(self) -> Array32 | None:
        """Probability that the sky is brighter than half of the noise; None if the model does not tell."""
        found: Any = self.found
        if self.image is None or self.uncertainty is None or getattr(found, "seen", None) is not None:
            return None
        from faintsky.denoising import emission_probability

        noise = found.uncertainty if hasattr(found, "denoised") else found.prepared.rms
        return emission_probability(self.image, self.uncertainty, noise)

    def flux(self, where: Bool) -> tuple[float, float]:
        """Flux of the denoised image in an aperture.

        Parameters
        ----------
        where : array of bool
            ``[y, x]``; blank pixels do not count.

        Returns
        -------
        flux, error : float
            With the correlation of the pixels' errors, corrected for the primary beam [Jy; NaN where the unit
            of the data is unknown].

        Raises
        ------
        InputError
            For the result of another job than `denoise`, or of an autoencoder.
        """
        if self.image is None or self.uncertainty is None or self.errors is None:
            raise InputError("no denoised image with known errors", "use denoise with one of our own models")
        from faintsky.denoising import sum_error
        from faintsky.preparing import PrimaryBeam

        p = cast(Any, self.found).prepared
        box = tuple(slice(int(i.min()), int(i.max()) + 1) if len(i) else slice(0) for i in np.nonzero(where))
        gain = PrimaryBeam(cast(Any, self.data), p.rms, p.valid).gain()
        factor = np.broadcast_to(gain, where.shape)[box] * p.jy_per_pixel * where[box]
        image, sigma = (np.nan_to_num(v[box] * factor) for v in (self.image, self.uncertainty))
        return float(image.sum()), sum_error(sigma, self.errors.error_kernel(p.beam, max(where.shape)))

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
            Also write cutouts of the sources of a cube: see `write_cutouts`.

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
        from faintsky.io import KINDS, RESULTS, save_like, write_regions

        job.running.tell(0, 1, "writing")
        for stem, table in (("catalog", self.catalog), ("components", self.components)):
            if table is not None:
                write_catalog(table, job.folder, stem)
                if columns not in (None, "sofia"):
                    write_columns(table, columns, job.folder / f"{stem}_{columns}.fits", self.data)
        if columns == "sofia":
            prepared: Any = self.found.prepared
            parts = {"mask": self.mask, "line": prepared.restored(prepared.line)}
            for suffix in ("fits", "xml"):
                path = job.folder / f"catalog_sofia.{suffix}"
                write_columns(self.catalog, columns, path, self.data, **parts)
        for suffix in ("reg", "crtf"):
            write_regions(job.folder / f"regions.{suffix}", self.catalog)
        arrays = {} if self.maps is None else self.maps.finish(job.folder)
        for name in RESULTS:
            attribute, kind = "image" if name == "denoised" else name, name if name in KINDS else ""
            unit = "" if name == "probability" else None
            if self.maps is not None:
                vars(self)[attribute] = arrays.get(name)
            elif (array := getattr(self, attribute)) is not None:
                made: dict[str, Any] = {"kind": kind, "unit": unit, "provenance": job.made_by}
                save_like(job.folder / f"{name}.fits", array, self.data, **made)
        if cutouts:
            write_cutouts(self, job.folder, job.made_by)
        for order, (image, unit) in enumerate(self.moments()):
            path, kind = job.folder / f"moment{order}.fits", f"moment {order}"
            save_like(path, image, self.data, unit=unit, kind=kind, provenance=job.made_by)
        if html is not None:
            write_text(job.folder / "report.html", html)
        return self

    def moments(self) -> list[tuple[Float, Any]]:
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
    """The result for an image that was searched for sources. See `result_of_cube`."""
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
        facts, found.catalog, components_of(found.catalog), found.mask, found.mask, model, found.image,
        found.uncertainty, image, found,
    )  # fmt: skip


MARGIN = (2, 6, 6)
"""Margin around a source's mask [channel and pixel]."""


def write_cutouts(result: Result, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write ``STEM_cubelets/STEM_ID_cube.fits`` and, likewise, mask, ``mom0``, ``mom1``, ``mom2``, ``chan``.

    A method without a three-dimensional mask has none. The cubelet holds the data, including the continuum.
    Moments and spectrum are those of the data without continuum, within the mask. The moments have the units
    of ``moment0.fits`` and so on. The spectrum, ``spec.txt``, is a table of channel, frequency [Hz], flux
    density [Jy] and number of pixels.

    Parameters
    ----------
    result : Result
        Result of a cube.
    folder : pathlib.Path
        Folder in which that of the cutouts is made.
    provenance : mapping
        Entries for the headers.
    """
    from faintsky.beams import beam_pixels
    from faintsky.cutouts import label_boxes
    from faintsky.detection import moment_sums
    from faintsky.io import header_like, write_fits

    cube: Any = result.data
    if result.mask is None or result.mask.ndim < 3 or result.catalog is None:
        return
    stem = Path(cube.name).name.split(".")[0]
    prepared: Any = result.found.prepared
    line = prepared.restored(prepared.line)
    area = float(beam_pixels(prepared.beam, 1.0)[0])
    to = folder / f"{stem}_cubelets"
    to.mkdir(exist_ok=True)

    def save(name: str, array: NDArray[Any], box: tuple[slice, ...], **how: Any) -> None:
        native = cube.layout.to_native(array)
        header = header_like(cube, native.shape, provenance=provenance, **how)
        for axis, start in zip(("chan", "y", "x"), (s.start for s in box)):
            number = len(cube.layout.axes) - cube.layout.axes.index(axis)
            if axis != "chan" or array.ndim == 3:
                header[f"CRPIX{number}"] = header.get(f"CRPIX{number}", 0.0) - start
        write_fits(to / name, native, header)

    for number, its in label_boxes(result.mask).items():
        box = tuple(
            slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(its, MARGIN, cube.shape)
        )
        inside, data, name = result.mask[box] == number, line[box], f"{stem}_{number}"
        save(f"{name}_cube.fits", cube.taken(box), box)
        save(f"{name}_mask.fits", inside.astype(np.int32), box, labels=True)
        for order, (image, unit) in enumerate(moment_sums(cube, data, inside, box[0]).maps(cube)):
            save(f"{name}_mom{order}.fits", image.astype(np.float32), box, unit=unit, kind=f"moment {order}")
        save(f"{name}_chan.fits", inside.sum(axis=0, dtype=np.int32), box, labels=True, kind="channels")
        flux = np.where(inside, data, 0).sum(axis=(1, 2)) / area
        with replacing(to / f"{name}_spec.txt") as path:
            z = np.arange(box[0].start, box[0].stop)
            columns = np.stack([z, cube.frequencies[z], flux, inside.sum(axis=(1, 2))], axis=1)
            words = "channel frequency[Hz] flux_density[Jy] pixels"
            np.savetxt(path, columns, fmt=("%d", "%.9e", "%.6e", "%d"), header=words)
