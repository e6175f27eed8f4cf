"""Methods by name: detectors for cubes, and denoisers for fields."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, maximum

from faintsky.arrays import Array, Array32
from faintsky.denoising import apply_filter, sum_error
from faintsky.detection import find_catalog
from faintsky.errors import InputError
from faintsky.evaluation.image_metrics import RELIABILITIES, RELIABLE, SNR_CUTS, Segments, segments_of
from faintsky.evaluation.running import Method
from faintsky.evaluation.sets import KINDS, Field
from faintsky.models import load_model
from faintsky.preparing import robust_sigma
from faintsky.published.filters import tuned_settings
from faintsky.published.peers import PEERS, find_islands, interpreter
from faintsky.registry import FILTERS

FIXED: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian_paper": ("gaussian", {"sigma": 3.0}),
    "input": ("input", {}),
    "constant": ("constant", {}),
}
"""Filters with fixed settings, among them the Gaussian of Gheller & Vazza (2021)."""
CLEAN = "clean"
"""Name of the method that returns the image of a real deconvolution, if a dirty image's data have it."""
SEES = {
    "sky": ("sky",), "noise": ("noise", "clean", "clean_ideal"), "clean": ("clean", "clean_ideal"),
    "dirty": ("dirty",),
}  # fmt: skip
"""Kinds of images for an autoencoder by its training product; a Noise model is also for Clean images, as in
Section 4.3 of Gheller & Vazza (2021)."""


@dataclass(frozen=True)
class Answer:
    """A method's answer to one field.

    Parameters
    ----------
    image : array
        Estimate of the sky at the image's resolution, in its unit, ``[y, x]``.
    sigma : array or None
        Its standard deviation, if the method gives one.
    segments : Segments or None
        Regions of emission found by the method.
    sharp : array or None
        Estimate of the sky without the image's beam, if the method gives one [Jy/arcsec2].
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
    """Detectors for cubes: models by name or folder.

    Parameters
    ----------
    names : sequence of str
        Names or folders.
    device : str, optional
        A torch device.
    reliability : float, optional
        A reliability threshold; the methods are then called ``MODEL@THRESHOLD``, and are used for curves
        only.

    Returns
    -------
    list of Method

    Raises
    ------
    InputError
        For unknown names, no names, or a name given twice.
    """

    def make(name: str) -> Callable[[Any], Any]:
        load_model(name, job="detect")
        return partial(find_catalog, model=name, device=device, reliability=reliability)

    made = _named(names, make)
    if reliability is None:
        return made
    return [replace(m, name=f"{m.name}@{reliability:g}", deep=True) for m in made]


def denoisers(names: Sequence[str], device: str = "cpu", members: int = 1) -> list[Method]:
    """Denoisers for fields: tuned filters, `FIXED` ones, `CLEAN`, programs, and models by name or folder.

    See `detectors`; ``members`` is the number of mirror images and quarter turns that a model averages.
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
    """Hashes of the models among the denoisers."""
    others = {CLEAN, *FIXED, *FILTERS, *PEERS}
    return {name: load_model(name, job="denoise").hash for name in names if name not in others}


def filter_field(field: Field, name: str, *, cycles: bool = False, **settings: Any) -> Array32:
    """A filter's estimate of a field.

    Parameters
    ----------
    field : Field
        Its rms and the correlation of its noise are given to the filter.
    name : str
        The filter.
    cycles : bool, optional
        Use the filter in place of the network in `faintsky.denoising.major_cycles`, which remove the
        sidelobes of a psf.
    **settings
        Settings of the filter.

    Returns
    -------
    array
        ``[y, x]``
    """
    data = field.image.data
    if not cycles or field.image.psf is None:
        return apply_filter(name, data, field.rms, correlation=field.correlation, **settings)
    from faintsky.denoising import Response, major_cycles

    beam = field.beam
    assert beam is not None
    response = Response((data.shape[0], data.shape[1]), field.image.psf[0], beam)

    def denoised(image: Array32, residual: Array32) -> tuple[Array32, float]:
        # remaining sidelobes count as noise
        rms = max(field.rms, robust_sigma(residual))
        return apply_filter(name, image, rms, correlation=field.correlation, **settings), field.rms

    done = major_cycles(data, np.isfinite(data), response, denoised)
    return denoised(done.image, done.residual)[0]


def program_islands(field: Field, program: str, settings: Mapping[str, Any] | None = None) -> Segments:
    """Islands that a program finds in a field, scored like the regions of a denoiser.

    Parameters
    ----------
    field : Field
        The field.
    program, settings
        As for `faintsky.published.peers.run.find_islands`.

    Returns
    -------
    Segments
    """
    labels, searched = find_islands(
        program, field.image.data / field.rms, field.image.grid.cell, field.width, beam=field.beam,
        correlation=field.correlation, settings=settings,
    )  # fmt: skip
    return scored_islands(labels, field, searched)


def scored_islands(labels: NDArray[np.integer], field: Field, searched: Array) -> Segments:
    """Islands with their peak S/N, and flux with its S/N.

    Parameters
    ----------
    labels : array of int
        Islands, ``[y, x]``.
    field : Field
        The field; the flux is that of its image over its rms.
    searched : array
        The image in which the program searched, over its noise, ``[y, x]``.

    Returns
    -------
    Segments
    """
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
    """A program's islands, and the image within them."""
    if field.kind == "sky":
        return None
    found = program_islands(field, program)
    inside = np.where(found.labels > 0, np.nan_to_num(field.image.data), np.float32(0))
    return Answer(inside.astype(np.float32), None, found)


def _filtered(field: Field, name: str, settings: Mapping[str, Any]) -> Answer:
    return Answer(filter_field(field, name, **settings))


def _tuned(field: Field, name: str, settings: Mapping[str, Mapping[str, Any]]) -> Answer | None:
    """A filter with the settings of the most similar set: of the same sky and kind, or of the same kind."""
    if field.kind == "sky":
        return None  # there is no noise to remove
    kind = field.kind or ("dirty" if field.image.psf is not None else "noise")
    kind = "clean_ideal" if kind == "clean" else kind
    words = field.cases.split()[:-1]
    names = [" ".join([*words[k:], kind]) for k in range(len(words))]
    nearest = next(k for k in (*names, *(k for k in settings if k.endswith(f" {kind}"))) if k in settings)
    return Answer(filter_field(field, name, **settings[nearest]))


@lru_cache(maxsize=4)
def _denoiser(model: str, device: str) -> tuple[Any, tuple[str, ...]]:
    """The denoiser of a model, and the kinds of images that it is for."""
    from faintsky.denoising import make_denoiser

    loaded = load_model(model, job="denoise")
    product = loaded.settings.get("product")
    return make_denoiser(loaded, device), (*KINDS, "clean", "") if product is None else (*SEES[product], "")


def _denoised(field: Field, model: str, device: str, members: int = 1) -> Answer | None:
    denoise, sees = _denoiser(model, device)
    if field.kind not in sees:
        return None
    kind = "dirty" if field.image.psf is not None else "restored"
    # regions below the user's threshold are kept, to score other thresholds
    found = denoise(replace(field.image, kind=kind), members=members, reliability=RELIABILITIES[0])
    image = found.image if found.seen is None else found.seen  # the truth has the beam
    segments = segments_of(found.mask, found.catalog, image, field.rms, RELIABLE)
    if found.seen is not None:
        return Answer(image, None, segments, found.image * np.float32(field.brightness))
    return Answer(image, found.uncertainty, segments)
