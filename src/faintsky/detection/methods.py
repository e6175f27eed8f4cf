"""Methods by name: a model's card says which it is for, and one call runs any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.models import Model, load_model
from faintsky.registry import DETECTORS

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.detection.find import Detections
    from faintsky.image import RadioCube

MATCHED_FILTER = "matched_filter"


@dataclass
class Found:
    """What a method found in a cube.

    Attributes
    ----------
    catalog : astropy.table.Table
        One row a source; what the method does not measure is NaN. Its ``meta`` may hold ``stages`` (seconds
        by stage), ``own_boxes`` (True where a source's box is what was detected, not made from its shape)
        and ``removed`` (``[rule, x, y, z]`` of candidates).
    mask : array or None
        Labels, ``[chan, y, x]``; the source's id, 0 where none. None for a method without any.
    model : array or None
        The sources as the telescope shows them, ``[chan, y, x]`` [Jy/beam].
    steps : dict of str to int
        Candidates after each step, or removed by each rule, in the order of the steps.
    notes : list of str
        What the reader should know.
    image : array or None
        The method's picture of the integrated sky, ``[y, x]``, 0 outside what it looks at.
    """

    catalog: Table
    mask: NDArray[np.int32] | None = None
    model: NDArray[np.float32] | None = None
    steps: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    image: NDArray[np.float32] | None = None


def method_name(model: Model) -> str:
    """The method that a model is for: the matched filter where its card does not say.

    Raises
    ------
    InputError
        For a method that there is not.
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
) -> Found | Detections:
    """Find the sources of a cube with any model.

    Parameters
    ----------
    cube : RadioCube
        With its psf and primary beam where they are known.
    model : str or Model
        A shipped model's name, a folder or a model.
    reliability : float, optional
        Sources below are left out; the method's own threshold where not given.
    device : {"auto", "cpu", "cuda"}
        Where PyTorch computes.
    progress : callable, optional
        Called with steps done, steps in all, and a word.

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


def for_report(cube: RadioCube, found: Found | Detections, *, device: str = "cpu") -> Detections:
    """What any method found, with the line cube, noise and continuum that the report and the files show.

    Data whose unit gives no flux have none in the catalogue.

    Raises
    ------
    InputError
        See `faintsky.preparing.cube.prepare_cube`.
    """
    from faintsky.catalog import without_fluxes
    from faintsky.detection.field import PrimaryBeam
    from faintsky.detection.find import Detections
    from faintsky.preparing import pattern
    from faintsky.preparing.cube import prepare_cube
    from faintsky.system import choose_device

    if not cube.has_flux:
        without_fluxes(found.catalog)
    if isinstance(found, Detections):
        return found
    prepared = prepare_cube(cube, device=choose_device(device))
    beam = PrimaryBeam(cube, prepared)
    known = {
        "beam_arcsec_deg": cube.sky_beam(prepared.beam),
        "psf": prepared.psf_origin,
        "primary_beam": beam.origin,
        "primary_beam_in_data": beam.applied,
        "rms_median": float(np.median(prepared.sigma[prepared.sigma > 0])),
        "rms_unit": "Jy/beam" if cube.has_flux else str(cube.unit),
        "spectral_frame": cube.spectral_frame,
    }
    found.catalog.meta = known | dict(found.catalog.meta)
    candidates = next(iter(found.steps.values()), len(found.catalog))
    return Detections(
        found.catalog,
        found.mask,
        found.model,
        prepared,
        None,
        candidates,
        [*cube.notes, *pattern.notes(cube), *found.notes],
        found.steps,
    )
