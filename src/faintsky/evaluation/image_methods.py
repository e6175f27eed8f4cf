"""What denoises the evaluation's fields: a model as ``faintsky denoise`` runs it, or a filter."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.classical.filters import FILTERS, apply_filter, tuned_settings
from faintsky.errors import InputError
from faintsky.evaluation.fields import Field
from faintsky.preparing.noise import robust_sigma

Array32 = NDArray[np.float32]

FIXED: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian_paper": ("gaussian", {"sigma": 3.0}),
    "input": ("input", {}),
    "constant": ("constant", {}),
}
"""Methods without anything to tune: filter and settings; the Gaussian of Gheller & Vazza (2021)."""


@dataclass(frozen=True)
class Estimate:
    """A method's answer to one field.

    Parameters
    ----------
    image : array
        Of the sky at the image's resolution, in its unit, ``[y, x]``.
    sigma : array or None
        Its standard deviation, where the method gives one.
    regions : int or None
        Regions of emission that the method reports.
    """

    image: Array32
    sigma: Array32 | None = None
    regions: int | None = None


Denoise = Callable[[Field, str], Estimate]
"""From a field, and the name of its set, to an estimate."""


def filter_field(field: Field, name: str, *, cycles: bool = False, **settings: Any) -> Array32:
    """A filter's estimate of a field, which is told its rms and the correlation of its noise.

    With ``cycles`` the filter takes the part of the network in `faintsky.denoising.dirty.major_cycles`, which
    take out the sidelobes of a psf.
    """
    data = field.image.data
    if not cycles or field.image.psf is None:
        return apply_filter(name, data, field.rms, correlation=field.correlation, **settings)
    from faintsky.denoising.dirty import Response, major_cycles

    beam, cell = field.image.require_beam()[0], field.image.grid.cell
    response = Response(
        (data.shape[0], data.shape[1]), field.image.psf[0], (beam[0] / cell, beam[1] / cell, beam[2])
    )

    def denoised(image: Array32, residual: Array32) -> tuple[Array32, float]:
        # sidelobes that are still there count as noise
        rms = max(field.rms, robust_sigma(residual))
        return apply_filter(name, image, rms, correlation=field.correlation, **settings), field.rms

    done = major_cycles(data, np.isfinite(data), response, denoised)
    return denoised(done.image, done.residual)[0]


def make_methods(names: Sequence[str], device: str = "cpu") -> dict[str, Denoise]:
    """Methods by name: tuned filters, `FIXED` ones, and models by name or folder.

    Raises
    ------
    InputError
        For names of nothing, no names, or two of one name.
    """
    if isinstance(names, str) or not names:
        raise InputError("methods must be a sequence of names", 'give ("denoiser", "starlet")')
    tuned = tuned_settings()
    methods: dict[str, Denoise] = {}
    for name in names:
        label = Path(name).name if os.sep in name else name
        if label in methods:
            raise InputError(f"two methods are called {label!r}", "rename one")
        if name in FIXED:
            kind, settings = FIXED[name]
            methods[label] = _fixed(kind, settings)
        elif name in tuned:
            methods[label] = _tuned(name, tuned[name])
        elif name in FILTERS:
            raise InputError(f"filter {name!r} has not been tuned", f"tuned are {', '.join(tuned)}")
        else:
            methods[label] = _model(name, device)
    return methods


def _fixed(kind: str, settings: dict[str, Any]) -> Denoise:
    return lambda field, cases: Estimate(filter_field(field, kind, **settings))


def _tuned(name: str, settings: dict[str, dict[str, Any]]) -> Denoise:
    def denoise(field: Field, cases: str) -> Estimate:
        if cases in settings:
            return Estimate(filter_field(field, name, **settings[cases]))
        # a user's fields: the settings of the set that is most like them
        kind = next(k for k in settings if k.endswith("dirty" if field.image.psf is not None else "noise"))
        return Estimate(filter_field(field, name, **settings[kind]))

    return denoise


def _model(name: str, device: str) -> Denoise:
    from faintsky.denoising.methods import make_denoiser
    from faintsky.models import load_model

    make = make_denoiser(load_model(name, job="denoise"), device)

    def denoise(field: Field, cases: str) -> Estimate:
        kind = "dirty" if field.image.psf is not None else "restored"
        found = make(field.image, kind=kind)
        if found.seen is not None:  # the truth has the beam
            return Estimate(found.seen, None, len(found.catalog))
        return Estimate(found.image, found.uncertainty, len(found.catalog))

    return denoise
