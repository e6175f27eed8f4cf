"""What denoises the evaluation's fields: a model as ``faintsky denoise`` runs it, or a filter."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, maximum

from faintsky.denoising import apply_filter, sum_error
from faintsky.errors import InputError
from faintsky.evaluation.fields import KINDS, Field
from faintsky.evaluation.segments import RELIABILITIES, RELIABLE, SNR_CUTS, Segments, segments_of
from faintsky.preparing import robust_sigma
from faintsky.published.filters import tuned_settings
from faintsky.published.peers import PEERS
from faintsky.published.peers.run import find_islands, interpreter
from faintsky.registry import FILTERS

Array32 = NDArray[np.float32]

FIXED: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian_paper": ("gaussian", {"sigma": 3.0}),
    "input": ("input", {}),
    "constant": ("constant", {}),
}
"""Methods without anything to tune: filter and settings; the Gaussian of Gheller & Vazza (2021)."""
CLEAN = "clean"
"""The image that a real deconvolution made, where a dirty image's data have it."""
SEES = {
    "sky": ("sky",),
    "noise": ("noise", "clean", "clean_ideal"),
    "clean": ("clean", "clean_ideal"),
    "dirty": ("dirty",),
}
"""Kinds of image that an autoencoder trained on a product is shown: a Noise model also Clean ones, as in
Section 4.3 of Gheller & Vazza (2021)."""


@dataclass(frozen=True)
class Estimate:
    """A method's answer to one field.

    Parameters
    ----------
    image : array
        Of the sky at the image's resolution, in its unit, ``[y, x]``.
    sigma : array or None
        Its standard deviation, where the method gives one.
    segments : Segments or None
        Regions of emission that the method finds.
    sharp : array or None
        Of the sky with the image's beam taken out, where the method gives that [Jy/arcsec2].
    """

    image: Array32
    sigma: Array32 | None = None
    segments: Segments | None = None
    sharp: Array32 | None = None


Denoise = Callable[[Field, str], Estimate | None]
"""From a field, and the name of its set, to an estimate, or None where the method is not for such images."""


def filter_field(field: Field, name: str, *, cycles: bool = False, **settings: Any) -> Array32:
    """A filter's estimate of a field, which is told its rms and the correlation of its noise.

    With ``cycles`` the filter takes the part of the network in `faintsky.denoising.dirty.major_cycles`, which
    take out the sidelobes of a psf.
    """
    data = field.image.data
    if not cycles or field.image.psf is None:
        return apply_filter(name, data, field.rms, correlation=field.correlation, **settings)
    from faintsky.denoising import Response, major_cycles

    field.image.require_beam()
    assert field.image.pixel_beams is not None
    response = Response((data.shape[0], data.shape[1]), field.image.psf[0], tuple(field.image.pixel_beams[0]))

    def denoised(image: Array32, residual: Array32) -> tuple[Array32, float]:
        # sidelobes that are still there count as noise
        rms = max(field.rms, robust_sigma(residual))
        return apply_filter(name, image, rms, correlation=field.correlation, **settings), field.rms

    done = major_cycles(data, np.isfinite(data), response, denoised)
    return denoised(done.image, done.residual)[0]


def make_methods(names: Sequence[str], device: str = "cpu") -> dict[str, Denoise]:
    """Methods by name: tuned filters, `FIXED` ones, `CLEAN`, `PEERS`, and models by name or folder.

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
        if name == CLEAN:
            methods[label] = _clean
        elif name in PEERS:
            interpreter(name)
            methods[label] = _islands(name)
        elif name in FIXED:
            kind, settings = FIXED[name]
            methods[label] = _fixed(kind, settings)
        elif name in tuned:
            methods[label] = _tuned(name, tuned[name])
        elif name in FILTERS:
            raise InputError(f"filter {name!r} has not been tuned", f"tuned are {', '.join(tuned)}")
        else:
            methods[label] = _model(name, device)
    return methods


def model_hashes(names: Sequence[str]) -> dict[str, str]:
    """What the models among the methods are known by."""
    from faintsky.models import load_model

    others = {CLEAN, *FIXED, *FILTERS, *PEERS}
    return {name: load_model(name, job="denoise").hash for name in names if name not in others}


def _clean(field: Field, cases: str) -> Estimate | None:
    return None if field.clean is None else Estimate(field.clean)


def islands_of(field: Field, program: str, settings: Mapping[str, Any] | None = None) -> Segments:
    """Islands that a program finds in a field, scored like the regions of a denoiser.

    See `faintsky.published.peers.run.find_islands` for the settings and errors.
    """
    beam = None
    if field.correlation is not None:
        field.image.require_beam()
        assert field.image.pixel_beams is not None
        major, minor, pa = map(float, field.image.pixel_beams[0])
        beam = (major, minor, pa)
    labels, searched = find_islands(
        program, field.image.data / field.rms, field.image.grid.cell, field.width, beam=beam,
        correlation=field.correlation, settings=settings,
    )  # fmt: skip
    return scored(labels, field, searched)


def scored(labels: NDArray[np.integer], field: Field, searched: NDArray[np.floating]) -> Segments:
    """Islands with their peak S/N, and flux (of the image over its rms) with its S/N."""
    n = int(labels.max())
    data = np.nan_to_num(field.image.data / field.rms)
    kernel = np.ones((1, 1)) if field.correlation is None else field.correlation
    peak = np.asarray(maximum(np.nan_to_num(searched), labels, np.arange(1, n + 1)), dtype=float)
    flux = np.bincount(labels.ravel(), data.ravel(), n + 1)[1:].astype(float)
    noise = [sum_error(labels[b] == k, kernel) for k, b in enumerate(find_objects(labels), 1) if b]
    return Segments(labels, peak, -np.inf, SNR_CUTS, flux=flux, snr=flux / np.array(noise).reshape(n))


def _islands(program: str) -> Denoise:
    """A program's islands, and of the image what lies in them."""

    def denoise(field: Field, cases: str) -> Estimate | None:
        if field.kind == "sky":
            return None
        found = islands_of(field, program)
        inside = np.where(found.labels > 0, np.nan_to_num(field.image.data), np.float32(0))
        return Estimate(inside.astype(np.float32), None, found)

    return denoise


def _fixed(kind: str, settings: dict[str, Any]) -> Denoise:
    return lambda field, cases: Estimate(filter_field(field, kind, **settings))


def _tuned(name: str, settings: dict[str, dict[str, Any]]) -> Denoise:
    def denoise(field: Field, cases: str) -> Estimate | None:
        if field.kind == "sky":
            return None  # nothing to take out
        return Estimate(filter_field(field, name, **settings[_nearest(settings, field, cases)]))

    return denoise


def _nearest(settings: Collection[str], field: Field, cases: str) -> str:
    """The set that a filter was tuned on that is most like a field's: of its sky and kind, or of its kind."""
    kind = field.kind or ("dirty" if field.image.psf is not None else "noise")
    kind = "clean_ideal" if kind == "clean" else kind
    words = cases.split()[:-1]
    names = [" ".join([*words[k:], kind]) for k in range(len(words))]
    return next(k for k in (*names, *(k for k in settings if k.endswith(f" {kind}"))) if k in settings)


def _model(name: str, device: str) -> Denoise:
    from faintsky.denoising import make_denoiser
    from faintsky.models import load_model

    model = load_model(name, job="denoise")
    make = make_denoiser(model, device)
    product = model.settings.get("product")
    sees = (*KINDS, "clean", "") if product is None else (*SEES[product], "")

    def denoise(field: Field, cases: str) -> Estimate | None:
        if field.kind not in sees:
            return None
        kind = "dirty" if field.image.psf is not None else "restored"
        # what is below the cut that a user gets shows what other cuts would give
        found = make(replace(field.image, kind=kind), reliability=RELIABILITIES[0])
        image = found.image if found.seen is None else found.seen  # the truth has the beam
        segments = segments_of(found.mask, found.catalog, image, field.rms, RELIABLE)
        if found.seen is not None:
            return Estimate(image, None, segments, found.image * np.float32(field.brightness))
        return Estimate(image, found.uncertainty, segments)

    return denoise
