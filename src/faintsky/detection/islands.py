"""What finders that return islands, blobs or masks share: the integrated image, boxes, the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.catalog import make_table
from faintsky.cutouts import integrated
from faintsky.detection.world import world_columns
from faintsky.errors import InputError
from faintsky.image import RadioCube

if TYPE_CHECKING:
    from astropy.table import Table

BOXES = ("mask", "moments")
"""Where a box comes from: the ends of the mask, or centroid and spread of the brightness in it."""


def integrated_image(cube: RadioCube, settings: Mapping[str, Any] | None = None) -> NDArray[np.float32]:
    """Sum of a cube over its channels, continuum included, ``[y, x]`` [Jy/beam channel]; NaN where blank.

    Parameters
    ----------
    cube : RadioCube
        Its mask, where it has one, says where to look.
    settings : mapping, optional
        For `looked_at`.

    Raises
    ------
    InputError
        Nothing is left to look at.
    """
    factors = np.broadcast_to(cube.working_factors(), (cube.shape[0],)).astype(np.float32)
    data = cube.data if np.all(factors == 1) else cube.data * factors[:, None, None]
    image = integrated(data)
    image[~looked_at(cube, settings or {})] = np.nan
    finite = image[np.isfinite(image)]
    if not finite.size or finite.min() == finite.max():
        raise InputError("its integrated image is blank or constant", "give a cube with data", cube.name)
    return image


def looked_at(cube: RadioCube, settings: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Pixels that are searched, ``[y, x]``: those of the cube's mask, and of what the settings leave.

    The settings ``central``, the side of a square in the middle [pixel], and ``least_pb``, the least primary
    beam (where it is known); 0 or none for the whole image.
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
    """Major, minor FWHM [pixel] and position angle [deg] in the middle of the band."""
    cube.require_beam()
    assert cube.pixel_beams is not None
    major, minor, pa = (float(v) for v in cube.pixel_beams[cube.shape[0] // 2])
    return major, minor, pa


def whole_pixels(
    low: ArrayLike,
    high: ArrayLike,
    centre: ArrayLike,
    spread: ArrayLike,
    kind: str,
    factor: float,
    n: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last pixel of boxes along one axis of ``n`` pixels.

    Parameters
    ----------
    low, high : array of int
        Ends of the mask, both in it.
    centre, spread : array
        Centroid and standard deviation of the brightness.
    kind : str
        One of `BOXES`.
    factor : float
        On the mask's length, or on the standard deviation for the half of the box.
    """
    middle, half = box_span(low, high, centre, spread, kind, factor)
    first = np.clip(np.round(middle - half + 0.5), 0, n - 1).astype(np.intp)
    last = np.clip(np.round(middle + half - 0.5), first, n - 1).astype(np.intp)
    return first, last


def box_span(
    low: ArrayLike, high: ArrayLike, centre: ArrayLike, spread: ArrayLike, kind: str, factor: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle and half length of boxes along one axis; see `whole_pixels`."""
    low, high, centre, spread = (np.asarray(v, dtype=float) for v in (low, high, centre, spread))
    if kind == "moments":
        return centre, np.maximum(factor * spread, 0.5)
    return (low + high) / 2, factor * (high - low + 1) / 2


def source_table(cube: RadioCube, columns: Mapping[str, Any], meta: Mapping[str, Any]) -> Table:
    """Catalogue of sources with boxes of their own, in the order given.

    Parameters
    ----------
    cube : RadioCube
        For its coordinates.
    columns : mapping
        ``x``, ``y`` and, where known, ``z``, ``fwhm_z``, the boxes and more.
    meta : mapping
        For the table.
    """
    given = {name: np.asarray(value) for name, value in columns.items()}
    unknown = np.full(len(given["x"]), np.nan)
    z, fwhm_z = given.pop("z", unknown), given.pop("fwhm_z", unknown)
    world = world_columns(cube, given.pop("x"), given.pop("y"), z, fwhm_z)
    return make_table(world | given, meta={"own_boxes": True, **meta})


def label_cube(shape: Sequence[int], labels: NDArray[np.integer]) -> NDArray[np.int32]:
    """Labels of an image in every channel of a cube, ``[chan, y, x]``; a view, not to be written to."""
    return np.broadcast_to(labels.astype(np.int32), tuple(shape))
