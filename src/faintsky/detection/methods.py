"""Methods by name, and their shared parts: boxes, the integrated image, catalogue columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray

from faintsky.arrays import Array32, Bool, Float, Index, Labels
from faintsky.beams import observed_sizes
from faintsky.catalog import COLUMNS, has_flag, make_table, mask_extents
from faintsky.cutouts import integrated
from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT
from faintsky.image import RadioCube
from faintsky.models import Model, load_model
from faintsky.registry import DETECTORS

if TYPE_CHECKING:
    from faintsky.detection.find import Detections
    from faintsky.preparing import PreparedCube, PrimaryBeam

MATCHED_FILTER = "matched_filter"
BOXES = ("mask", "moments")
"""Origin of a box: the ends of the mask, or centroid and spread of the brightness in it."""


def world_columns(
    cube: RadioCube, x: ArrayLike, y: ArrayLike, z: ArrayLike, fwhm_z: ArrayLike
) -> dict[str, NDArray[Any]]:
    """Catalogue columns: those given, and ``id``, ``ra``, ``dec``, ``freq``, ``velocity``, ``fwhm_velocity``.

    Parameters
    ----------
    cube : RadioCube
        For its coordinates.
    x, y, z, fwhm_z : array
        ``[source]`` [pixel, pixel, channel, channel]; NaN where not known.

    Returns
    -------
    dict of array
    """
    x, y, z, fwhm_z = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (x, y, z, fwhm_z))
    ra, dec = cube.sky(x, y) if len(x) else (x, y)
    known = np.isfinite(z)
    freq = np.where(known, cube.frequency(np.where(known, z, 0.0)), np.nan)
    channels = np.arange(cube.shape[0])
    velocities = cube.velocities()
    velocity = np.full(len(z), np.nan) if velocities is None else np.interp(z, channels, velocities)
    return {
        "id": np.arange(1, len(x) + 1), "x": x, "y": y, "z": z, "fwhm_z": fwhm_z, "ra": ra, "dec": dec,
        "freq": freq, "velocity": velocity, "fwhm_velocity": fwhm_z * channel_velocity(cube, z),
    }  # fmt: skip


def channel_velocity(cube: RadioCube, z: ArrayLike) -> Float:
    """Width of a channel at a line [km/s]: in the header's convention, or ``c dnu / nu``."""
    z = np.atleast_1d(np.asarray(z, dtype=float))
    widths = cube.channel_widths_velocity()
    channels = np.arange(cube.shape[0])
    if widths is not None:
        return np.interp(z, channels, widths)
    return np.where(np.isfinite(z), flux_width(cube, z), np.nan)


def flux_width(cube: RadioCube, z: ArrayLike) -> Float:
    """``c dnu / nu`` of a channel at a line [km/s], over which fluxes are summed, whatever the axis."""
    at = np.nan_to_num(np.atleast_1d(np.asarray(z, dtype=float)))
    hertz = np.interp(at, np.arange(cube.shape[0]), cube.channel_widths())
    return SPEED_OF_LIGHT / 1e3 * hertz / cube.frequency(at)


def integrated_image(cube: RadioCube, settings: Mapping[str, Any] | None = None) -> Array32:
    """Sum of a cube over its channels, continuum included, ``[y, x]`` [Jy/beam channel]; NaN where blank.

    Parameters
    ----------
    cube : RadioCube
        Its mask, if any, says where to look.
    settings : mapping, optional
        For `looked_at`.

    Raises
    ------
    InputError
        No pixels remain.
    """
    factors = np.broadcast_to(cube.working_factors(), (cube.shape[0],)).astype(np.float32)
    data = cube.data if np.all(factors == 1) else cube.data * factors[:, None, None]
    image = integrated(data)
    image[~looked_at(cube, settings or {})] = np.nan
    finite = image[np.isfinite(image)]
    if not finite.size or finite.min() == finite.max():
        raise InputError("its integrated image is blank or constant", "give a cube with data", cube.name)
    return image


def looked_at(cube: RadioCube, settings: Mapping[str, Any]) -> Bool:
    """Pixels that are searched, ``[y, x]``: those of the cube's mask that the settings allow.

    The settings are ``central``, the side of a square in the middle [pixel], and ``least_pb``, the least
    primary beam (where it is known); 0 or none means the whole image.
    """
    n_y, n_x = cube.shape[1:]
    inside = np.ones((n_y, n_x), dtype=bool)
    central, least = int(settings.get("central", 0)), float(settings.get("least_pb", 0.0))
    if central:
        y0, x0 = max(0, (n_y - central) // 2), max(0, (n_x - central) // 2)
        inside[:] = False
        inside[y0 : y0 + central, x0 : x0 + central] = True
    if least > 0 and cube.pb is not None:
        inside &= np.nan_to_num(cube.pb[len(cube.pb) // 2]) >= least
    return inside if cube.mask is None else inside & cube.mask.any(axis=0)


def beam_of(cube: RadioCube) -> tuple[float, float, float]:
    """Major, minor FWHM [pixel] and position angle [deg] in the middle of the band, or `InputError`."""
    cube.require_beam()
    assert cube.middle_beam is not None
    return cube.middle_beam


def whole_pixels(
    low: ArrayLike, high: ArrayLike, centre: ArrayLike, spread: ArrayLike, kind: str, factor: float, n: int
) -> tuple[Index, Index]:
    """First and last pixel of boxes along one axis of ``n`` pixels.

    Parameters
    ----------
    low, high : array of int
        First and last pixel of the mask.
    centre, spread : array
        Centroid and standard deviation of the brightness.
    kind : str
        One of `BOXES`.
    factor : float
        Length of the box over that of the mask, or half length over the standard deviation.

    Returns
    -------
    first, last : array of int
    """
    middle, half = box_span(low, high, centre, spread, kind, factor)
    first = np.clip(np.round(middle - half + 0.5), 0, n - 1).astype(np.intp)
    last = np.clip(np.round(middle + half - 0.5), first, n - 1).astype(np.intp)
    return first, last


def box_span(
    low: ArrayLike, high: ArrayLike, centre: ArrayLike, spread: ArrayLike, kind: str, factor: float
) -> tuple[Float, Float]:
    """Middle and half length of boxes along one axis. See `whole_pixels` for the arguments."""
    low, high, centre, spread = (np.asarray(v, dtype=float) for v in (low, high, centre, spread))
    if kind == "moments":
        return centre, np.maximum(factor * spread, 0.5)
    return (low + high) / 2, factor * (high - low + 1) / 2


def source_table(cube: RadioCube, columns: Mapping[str, Any], meta: Mapping[str, Any]) -> Table:
    """Catalogue of sources that have their own boxes, in the order given.

    Parameters
    ----------
    cube : RadioCube
        For its coordinates.
    columns : mapping
        ``x``, ``y`` and, where known, ``z``, ``fwhm_z``, the boxes and more.
    meta : mapping
        Of the table.

    Returns
    -------
    Table
    """
    given = {name: np.asarray(value) for name, value in columns.items()}
    unknown = np.full(len(given["x"]), np.nan)
    z, fwhm_z = given.pop("z", unknown), given.pop("fwhm_z", unknown)
    world = world_columns(cube, given.pop("x"), given.pop("y"), z, fwhm_z)
    given.setdefault("kind", np.where(np.isfinite(z), "line", ""))
    return make_table(world | given, meta={"own_boxes": True, **meta})


@dataclass
class Found:
    """What a method found in a cube.

    Attributes
    ----------
    catalog : astropy.table.Table
        One row for each source; quantities that the method does not measure are NaN. Its ``meta`` may hold
        ``stages`` (seconds by stage), ``own_boxes`` (True where a source's box is the detection itself, not
        made from its shape) and ``removed`` (``[rule, x, y, z]`` of candidates).
    mask : array or None
        Labels, ``[chan, y, x]``: the source's id, or 0. None for a method without masks.
    model : array or None
        The sources as observed, ``[chan, y, x]`` [Jy/beam].
    steps : dict of str to int
        Candidates after each step, or removed by each rule, in the order of the steps.
    notes : list of str
        Remarks for the user.
    image : array or None
        The method's image of the integrated sky, ``[y, x]``, 0 where it does not look.
    """

    catalog: Table
    mask: Labels | None = None
    model: Array32 | None = None
    steps: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    image: Array32 | None = None


def method_name(model: Model) -> str:
    """The method of a model: the matched filter where its card names none.

    Raises
    ------
    InputError
        For an unknown method.
    """
    name = str(model.settings.get("method", MATCHED_FILTER))
    if name != MATCHED_FILTER and name not in DETECTORS:
        known = ", ".join(sorted([MATCHED_FILTER, *DETECTORS]))
        raise InputError(f"model {model.name!r} is for an unknown method {name!r}", f"known: {known}")
    return name


def find_catalog(
    cube: RadioCube,
    model: str | Model,
    *,
    reliability: float | None = None,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
) -> Found:
    """Find the sources of a cube with any model.

    Parameters
    ----------
    cube : RadioCube
        With its psf and primary beam where they are known.
    model : str or Model
        A shipped model's name, a folder or a model.
    reliability : float, optional
        Lowest reliability of a source; the method's own threshold by default.
    device : {"auto", "cpu", "cuda"}
        Where PyTorch computes.
    progress : callable, optional
        Called with steps done, steps in all, and a word.

    Returns
    -------
    Found

    Raises
    ------
    InputError
        For an unknown model or method, or a cube that the method cannot take.
    """
    chosen = load_model(model, job="detect") if isinstance(model, str) else model
    name = method_name(chosen)
    if name == MATCHED_FILTER:
        from faintsky.detection.find import find_sources

        asked = {} if reliability is None else {"reliability": reliability}
        return find_sources(cube, chosen, device=device, progress=progress, **asked)
    from faintsky.system import choose_device

    if progress is not None:
        progress(0, 1, name)
    found: Found = DETECTORS[name](cube, chosen, reliability=reliability, device=choose_device(device))
    if progress is not None:
        progress(1, 1, "done")
    return found


def for_report(cube: RadioCube, found: Found, *, device: str = "cpu") -> Detections:
    """Add to any method's result the line cube, noise and continuum that report and files need.

    Data whose unit gives no flux have no fluxes in the catalogue.

    Parameters
    ----------
    cube : RadioCube
    found : Found
        Its tables are changed in place.
    device : str, optional
        Where PyTorch computes.

    Returns
    -------
    Detections

    Raises
    ------
    InputError
        See `faintsky.preparing.cube.prepare_cube`.
    """
    from faintsky.catalog import components_of, coordinates_meta, without_fluxes
    from faintsky.detection.find import Detections
    from faintsky.preparing import PrimaryBeam, prepare_cube
    from faintsky.system import choose_device

    known: dict[str, Any] = {}
    if not isinstance(found, Detections):
        prepared = prepare_cube(cube, device=choose_device(device))
        beam = PrimaryBeam(cube, prepared.relative, prepared.valid)
        known = noise_meta(cube, prepared, beam, prepared.sigma)
        notes = [*cube.notes, *beam.notes, *found.notes]
        candidates = next(iter(found.steps.values()), len(found.catalog))
        made = vars(found) | {"notes": notes, "prepared": prepared, "candidates": candidates}
        found = Detections(**made)
    if found.moments is None:  # otherwise the tiles have done it
        complete_columns(found.catalog, cube, found.prepared, found.mask)
    if found.components is None:
        found.components = components_of(found.catalog)
    elif found.moments is None:
        complete_columns(found.components, cube, found.prepared)
    for table in (found.catalog, found.components):
        table.meta = coordinates_meta(cube) | dict(table.meta)
        if not cube.has_flux:
            without_fluxes(table)
    found.catalog.meta = known | dict(found.catalog.meta)
    return found


def noise_meta(cube: RadioCube, prepared: PreparedCube, beam: PrimaryBeam, sigma: Float) -> dict[str, Any]:
    """Beam, psf and noise of a cube, for its tables.

    Parameters
    ----------
    cube : RadioCube
    prepared : PreparedCube
        Beam and psf.
    beam : PrimaryBeam
    sigma : array
        Noise of the channels, ``[chan]``, 0 where there are no data [Jy/beam].

    Returns
    -------
    dict
    """
    return {
        "beam_arcsec_deg": cube.sky_beam(prepared.beam), "psf": prepared.psf_origin, **beam.meta,
        "rms_median": float(np.median(sigma[sigma > 0])),
        "rms_unit": "Jy/beam" if cube.has_flux else str(cube.unit),
    }  # fmt: skip


def complete_columns(
    table: Table, cube: RadioCube, prepared: PreparedCube, mask: Labels | None = None
) -> None:
    """Fill in the columns of observed sizes, ``rms``, ``las`` and ``area``.

    Parameters
    ----------
    table : Table
        Changed in place.
    cube : RadioCube
    prepared : PreparedCube
    mask : array of int, optional
        Labels, ``[chan, y, x]``.
    """
    if not len(table):
        return
    x, y, z = (np.asarray(table[name], dtype=float) for name in "xyz")
    intrinsic = {name: table[name] for name in COLUMNS if name.startswith("dc_") and name != "dc_maj_max"}
    values = observed_sizes(intrinsic, cube.sky_beams(prepared.beam, x, y))
    values["dc_maj_max"][~has_flag(table["flags"], "unresolved")] = np.nan
    # of the nearest channel with data: that in the middle of a line may be blank
    used = np.flatnonzero(prepared.sigma > 0)
    sigma = prepared.sigma[used[np.abs(used - np.nan_to_num(z)[:, None]).argmin(axis=1)]]
    gain = np.array([prepared.gain(*place) for place in zip(x, y)]) * cube.peak_factor(x, y)
    values["rms"] = np.where(np.isfinite(z), sigma * gain, np.nan)
    if mask is not None:
        flat = mask[0] if mask.strides[0] == 0 else mask
        values |= mask_extents(flat, table["id"], cube.frame(x, y))
    if cube.spectral.relative:
        unknown = (n for n in ("freq", "freq_err", "flux_hz", "flux_hz_err") if n in table.colnames)
        values |= dict.fromkeys(unknown, np.full(len(table), np.nan))
    for name, value in values.items():
        table[name][:] = value
