"""Methods by name: what detects in cubes, and what denoises fields."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, maximum

from faintsky.denoising import apply_filter, sum_error
from faintsky.detection import find_catalog
from faintsky.errors import InputError
from faintsky.evaluation.fields import KINDS, Field
from faintsky.evaluation.regions import RELIABILITIES, RELIABLE, SNR_CUTS, Segments, segments_of
from faintsky.evaluation.running import Method
from faintsky.models import load_model
from faintsky.preparing import robust_sigma
from faintsky.published.filters import tuned_settings
from faintsky.published.peers import PEERS, find_islands, interpreter
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
class Answer:
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


def _named(names: Sequence[str], make: Callable[[str], Callable[[Any], Any]]) -> list[Method]:
    """Methods by name or folder.

    Raises
    ------
    InputError
        For no names, or two of one name.
    """
    if isinstance(names, str) or not names:
        raise InputError("methods must be a sequence of names", 'give ("classical",)')
    methods: dict[str, Method] = {}
    for name in names:
        label = Path(name).name if os.sep in name else name
        if label in methods:
            raise InputError(f"two methods are called {label!r}", "rename one")
        methods[label] = Method(label, make(name))
    return list(methods.values())


def detectors(names: Sequence[str], device: str = "cpu", reliability: float | None = None) -> list[Method]:
    """What detects in cubes: models by name or folder.

    With a reliability threshold of their own they are called ``MODEL@THRESHOLD``, and are for curves only.

    Raises
    ------
    InputError
        For names of nothing, no names, or two of one name.
    """

    def make(name: str) -> Callable[[Any], Any]:
        load_model(name, job="detect")
        return partial(find_catalog, model=name, device=device, reliability=reliability)

    made = _named(names, make)
    if reliability is None:
        return made
    return [replace(m, name=f"{m.name}@{reliability:g}", deep=True) for m in made]


def denoisers(names: Sequence[str], device: str = "cpu", members: int = 1) -> list[Method]:
    """What denoises fields: tuned filters, `FIXED` ones, `CLEAN`, programs, and models by name or folder.

    Models predict with ``members``.

    Raises
    ------
    InputError
        For names of nothing, no names, or two of one name.
    """
    tuned = tuned_settings()

    def make(name: str) -> Callable[[Any], Any]:
        if name == CLEAN:
            return _clean
        if name in PEERS:
            interpreter(name)
            return partial(_islands, program=name)
        if name in FIXED:
            return partial(_filtered, name=FIXED[name][0], settings=FIXED[name][1])
        if name in tuned:
            return partial(_tuned, name=name, settings=tuned[name])
        if name in FILTERS:
            raise InputError(f"filter {name!r} has not been tuned", f"tuned are {', '.join(tuned)}")
        load_model(name, job="denoise")
        return partial(_denoised, model=name, device=device, members=members)

    return _named(names, make)


def model_hashes(names: Sequence[str]) -> dict[str, str]:
    """What the models among the denoisers are known by."""
    others = {CLEAN, *FIXED, *FILTERS, *PEERS}
    return {name: load_model(name, job="denoise").hash for name in names if name not in others}


def filter_field(field: Field, name: str, *, cycles: bool = False, **settings: Any) -> Array32:
    """A filter's estimate of a field, which is told its rms and the correlation of its noise.

    With ``cycles`` the filter takes the part of the network in `faintsky.denoising.dirty.major_cycles`, which
    take out the sidelobes of a psf.
    """
    data = field.image.data
    if not cycles or field.image.psf is None:
        return apply_filter(name, data, field.rms, correlation=field.correlation, **settings)
    from faintsky.denoising import Response, major_cycles

    beam = field.beam
    assert beam is not None
    response = Response((data.shape[0], data.shape[1]), field.image.psf[0], beam)

    def denoised(image: Array32, residual: Array32) -> tuple[Array32, float]:
        # sidelobes that are still there count as noise
        rms = max(field.rms, robust_sigma(residual))
        return apply_filter(name, image, rms, correlation=field.correlation, **settings), field.rms

    done = major_cycles(data, np.isfinite(data), response, denoised)
    return denoised(done.image, done.residual)[0]


def islands_of(field: Field, program: str, settings: Mapping[str, Any] | None = None) -> Segments:
    """Islands that a program finds in a field, scored like the regions of a denoiser.

    See `faintsky.published.peers.run.find_islands` for the settings and errors.
    """
    labels, searched = find_islands(
        program, field.image.data / field.rms, field.image.grid.cell, field.width, beam=field.beam,
        correlation=field.correlation, settings=settings,
    )  # fmt: skip
    return scored_islands(labels, field, searched)


def scored_islands(labels: NDArray[np.integer], field: Field, searched: NDArray[np.floating]) -> Segments:
    """Islands with their peak S/N, and flux (of the image over its rms) with its S/N."""
    n = int(labels.max())
    data = np.nan_to_num(field.image.data / field.rms)
    kernel = np.ones((1, 1)) if field.correlation is None else field.correlation
    peak = np.asarray(maximum(np.nan_to_num(searched), labels, np.arange(1, n + 1)), dtype=float)
    flux = np.bincount(labels.ravel(), data.ravel(), n + 1)[1:].astype(float)
    noise = [sum_error(labels[b] == k, kernel) for k, b in enumerate(find_objects(labels), 1) if b]
    return Segments(labels, peak, -np.inf, SNR_CUTS, flux=flux, snr=flux / np.array(noise).reshape(n))


def _clean(field: Field) -> Answer | None:
    return None if field.clean is None else Answer(field.clean)


def _islands(field: Field, program: str) -> Answer | None:
    """A program's islands, and of the image what lies in them."""
    if field.kind == "sky":
        return None
    found = islands_of(field, program)
    inside = np.where(found.labels > 0, np.nan_to_num(field.image.data), np.float32(0))
    return Answer(inside.astype(np.float32), None, found)


def _filtered(field: Field, name: str, settings: Mapping[str, Any]) -> Answer:
    return Answer(filter_field(field, name, **settings))


def _tuned(field: Field, name: str, settings: Mapping[str, Mapping[str, Any]]) -> Answer | None:
    """By the settings of the set most like the field's: of its sky and kind, or of its kind."""
    if field.kind == "sky":
        return None  # nothing to take out
    kind = field.kind or ("dirty" if field.image.psf is not None else "noise")
    kind = "clean_ideal" if kind == "clean" else kind
    words = field.cases.split()[:-1]
    names = [" ".join([*words[k:], kind]) for k in range(len(words))]
    nearest = next(k for k in (*names, *(k for k in settings if k.endswith(f" {kind}"))) if k in settings)
    return Answer(filter_field(field, name, **settings[nearest]))


@lru_cache(maxsize=4)
def _denoiser(model: str, device: str) -> tuple[Any, tuple[str, ...]]:
    """What denoises as a model's card says, and the kinds of image that it is for."""
    from faintsky.denoising import make_denoiser

    loaded = load_model(model, job="denoise")
    product = loaded.settings.get("product")
    return make_denoiser(loaded, device), (*KINDS, "clean", "") if product is None else (*SEES[product], "")


def _denoised(field: Field, model: str, device: str, members: int = 1) -> Answer | None:
    denoise, sees = _denoiser(model, device)
    if field.kind not in sees:
        return None
    kind = "dirty" if field.image.psf is not None else "restored"
    # what is below the cut that a user gets shows what other cuts would give
    found = denoise(replace(field.image, kind=kind), members=members, reliability=RELIABILITIES[0])
    image = found.image if found.seen is None else found.seen  # the truth has the beam
    segments = segments_of(found.mask, found.catalog, image, field.rms, RELIABLE)
    if found.seen is not None:
        return Answer(image, None, segments, found.image * np.float32(field.brightness))
    return Answer(image, found.uncertainty, segments)
