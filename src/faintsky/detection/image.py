"""The sources of a continuum image: searched for, judged, catalogued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.denoising import Eye, Response
from faintsky.detection.compact import LOWEST, CompactSearch, find_compact
from faintsky.detection.counts import SURE, NoisePeaks, SourceCounts, deboosted, fit_counts
from faintsky.detection.diffuse import AGAINST, Diffuse, find_diffuse, join_tables, measure_again, pieces
from faintsky.detection.image_catalogue import build_tables, join_objects, label_objects
from faintsky.detection.sources import Sources, add_sources, model_variance, pixels_of
from faintsky.image import RadioImage
from faintsky.options import BACKGROUND_SCALE, RELIABILITY
from faintsky.preparing import (
    PreparedImage,
    PrimaryBeam,
    clean_further,
    clean_threshold,
    convolve,
    gaussian_psf,
    kind_of_image,
    prepare_image,
    sidelobe_noise,
)
from faintsky.system import BYTES_OF_TABLES, Needs

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]
Progress = Callable[[int, int, str], None]
STEPS = 6
"""Steps that progress is told in."""
UNCLEAN, ABOUT = 0.5, 1.2
"""Share of a source's peak in the residual, and its peak over the threshold of CLEAN, with which it counts as
not cleaned."""


@dataclass
class DetectedImage:
    """What was found in an image, in the unit of the file; NaN where the image is blank.

    Attributes
    ----------
    catalog, components : astropy.table.Table
        Objects, the most significant first, and the Gaussians and regions that they are made of.
    mask : array of int
        Number of the object in the catalogue, 0 outside, ``[y, x]``.
    image : array
        The model: all components, ``[y, x]``.
    uncertainty : array
        The noise, with artefacts where there are any, ``[y, x]``.
    residual : array
        Input less the model.
    prepared : PreparedImage
        Input, noise and beam.
    kind : str
        ``restored`` or ``dirty``.
    candidates : int
        Components before the cut in reliability.
    noise : NoisePeaks
        Expected in the image.
    notes : list of str
        What was assumed or corrected.
    rule : str
        What the objects have in common, in words.
    regions : array of int or None
        Number of the diffuse region in the catalogue, 0 outside, ``[y, x]``; None where the network was not
        asked.
    denoised, denoised_error : array or None
        The network's image of what is not compact, and all compact sources, at the beam's resolution, and its
        standard deviation, ``[y, x]``.
    """

    catalog: Table
    components: Table
    mask: NDArray[np.int32]
    image: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    residual: NDArray[np.float32]
    prepared: PreparedImage
    kind: str
    candidates: int
    noise: NoisePeaks
    notes: list[str] = field(default_factory=list)
    rule: str = ""
    regions: NDArray[np.int32] | None = None
    denoised: NDArray[np.float32] | None = None
    denoised_error: NDArray[np.float32] | None = None


def detect_image(
    image: RadioImage, *, eye: Eye | None = None, always: bool = False, against: float = AGAINST,
    reliability: float = RELIABILITY, background_scale: float = BACKGROUND_SCALE,
    progress: Progress | None = None,
) -> DetectedImage:  # fmt: skip
    """Find and measure the sources of a continuum image.

    Where diffuse emission is found, the compact sources are searched for again without it.

    Parameters
    ----------
    image : RadioImage
        With whichever of psf, pb, rms and mask it has.
    eye : callable, optional
        A network that sees diffuse emission; without it there are compact sources alone.
    always : bool, optional
        Ask it even where nothing hints at diffuse emission.
    against : float, optional
        How many times the deepest negative the S/N of a region is at least.
    reliability : float
        Least reliability of an object.
    background_scale : float
        Fits take out a background that follows nothing smaller [beam].
    progress : callable, optional
        Called with steps done, steps in all, and a word.

    Raises
    ------
    InputError
        Where the image cannot be used.
    """
    from threadpoolctl import threadpool_limits

    def tell(done: int, word: str) -> None:
        if progress is not None:
            progress(done, STEPS, word)

    tell(0, "noise")
    prepared = prepare_image(image)
    if prepared.beam is None:
        prepared = replace(prepared, beam=WHITE_BEAM)
    response = None
    assert prepared.beam is not None
    if image.psf is not None and image.residual is None is image.model_image:
        response = Response((image.shape[1], image.shape[2]), image.psf[0], prepared.beam)
    kind = kind_of_image(image, prepared, response)
    notes = [*image.notes, *PrimaryBeam(image).notes, kind.note]
    prepared, left, said = _cleaned(image, prepared, kind.name == "dirty")
    done = iter(range(1, STEPS))
    with threadpool_limits(limits=1, user_api="blas"):  # many small matrices
        search = find_compact(prepared, background_scale, lambda word: tell(next(done, STEPS - 2), word))
    diffuse = None
    if eye is not None and (always or kind.name == "restored"):
        tell(STEPS - 2, "diffuse emission")
        dirty = kind.name == "dirty" and image.psf is None
        sidelobes = sidelobe_noise(prepared.plane, prepared.beam_pixels) if dirty else None
        diffuse = find_diffuse(
            image, prepared, search, eye, always=always, against=against, reliability=reliability,
            sidelobes=sidelobes,
        )  # fmt: skip
    with threadpool_limits(limits=1, user_api="blas"):
        if diffuse is not None and len(diffuse.table):
            rest = replace(prepared, data=prepared.data - diffuse.model)
            search = find_compact(rest, background_scale, lambda word: tell(STEPS - 2, f"once more, {word}"))
        tell(STEPS - 1, "catalogue")
        found = _judged(image, prepared, search, diffuse, reliability, left)
    found.kind, found.notes = kind.name, notes + said
    if search.background.any():
        most = np.abs(search.background).max() / prepared.typical_rms
        found.notes.append(f"a slow background of up to {most:.2g} sigma was taken out for the fits")
    tell(STEPS, "done")
    return found


def _cleaned(
    image: RadioImage, prepared: PreparedImage, dirty: bool
) -> tuple[PreparedImage, NDArray[np.floating] | None, list[str]]:
    """The image, cleaned further where that can be done, what CLEAN has left where known, and notes."""
    assert prepared.beam is not None
    left: NDArray[np.floating] | None = None
    if image.residual is not None:
        left = np.where(prepared.valid, np.nan_to_num(image.residual[0]), 0)
    elif image.model_image is not None:
        side = 2 * int(np.ceil(3 * max(prepared.beam[0], 1.0))) + 1
        model = convolve(np.nan_to_num(image.model_image[0]), gaussian_psf((side, side), *prepared.beam))
        left = np.where(prepared.valid, prepared.data - model / prepared.jy_per_beam, 0)
    elif dirty:
        left = prepared.data
    if left is None:
        return prepared, None, []
    if image.psf is None:
        if not dirty:
            return prepared, left, ["without --psf nothing is cleaned further; what is not clean is flagged"]
        note = "the sidelobes of bright sources stay in a dirty image, and raise its noise about these: "
        return prepared, left, [f"{note}give --psf, or clean it first"]
    given = prepared.rms if prepared.rms_origin == "given" else None
    rest, restored = clean_further(left, prepared.valid, image.psf[0], prepared.beam, given)
    data = np.where(prepared.valid, prepared.data - left + rest + restored, 0).astype(np.float32)
    prepared = replace(prepared, data=data).with_noise(data)
    return prepared, rest, ["sources that were seen through the dirty beam were cleaned first, with the psf"]


def _not_clean(
    image: RadioImage, prepared: PreparedImage, values: Float, rms: Float, left: NDArray[np.floating] | None
) -> NDArray[np.bool_]:
    """Which Gaussians ``[n, 6]`` CLEAN has hardly reached."""
    at = pixels_of(values, prepared.data.shape)
    if left is not None:
        return np.asarray(np.abs(left[at]) > UNCLEAN * np.abs(prepared.data[at]))
    level, sigma = clean_threshold(image.header)
    level = np.nan_to_num(level / prepared.jy_per_beam)
    return np.asarray(np.abs(values[:, 0]) < ABOUT * np.maximum(level, sigma * rms[at]))


ABOVE = 2.0
"""Peak over the region's brightness that makes a source of what may be a piece of the region."""
FIDELITY = 0.05
"""Error of Gaussians that stand for a source, over its brightness: `tools/compare_denoisers.py`."""
PLAIN = 3.0
"""Excess of negative peaks over those of Gaussian noise, in its error, that counts as artefacts."""
LOW = (1.013, 1.025)
"""What the noise is stretched by at least: fits have taken their share of what it is measured on. For one
level, and for a map, which scatters (images 101 and 102 of `benchmarks.survey`, uniform and pbcor)."""
ODD = 14.0
"""S/N of negatives that are sources of their own, but about bright sources."""
WHITE_BEAM = (2.0, 2.0, 0.0)
"""What sources of an image of white noise without a beam are taken for [pixel]."""


def _judged(
    image: RadioImage, prepared: PreparedImage, search: CompactSearch, diffuse: Diffuse | None,
    reliability: float, left: NDArray[np.floating] | None,
) -> DetectedImage:  # fmt: skip
    """Reliabilities, the cut, objects, tables and maps of a search's sources."""
    sources = search.sources
    snr = search.source_snr()
    noise = noise_peaks(search, snr)
    values, counts = np.zeros(len(sources)), {}
    for sign in (1.0, -1.0):
        its = sign * snr > 0
        strength = np.abs(snr[its])
        counts[sign] = fit_counts(strength)
        values[its] = counts[sign].reliability(strength, noise, strength)
    # artefacts are counted where they are: about bright sources, and elsewhere
    level = search.level_at(sources.values)
    about = level > 1.2 * np.median(search.level[search.valid])
    for those, deepest in ((about, np.inf), (~about, ODD)):
        high, low = those & (snr > 0), those & (snr < 0) & (snr > -deepest)
        values[high] *= _against_negatives(snr[high], -snr[low], noise)
    # two Gaussians at one place share an S/N, and neither is to be left out
    at = pixels_of(sources.values, prepared.data.shape)
    alone = np.abs(sources.values[:, 0]) * search.gain / (search.rms * search.level)[at]
    together = np.bincount(sources.group)[sources.group] > 1 if len(sources) else np.zeros(0, bool)
    kept = (values >= reliability) | (together & (alone > SURE))
    if image.mask is not None:
        kept &= image.mask[0][at]
    if diffuse is not None:
        # what the network has smoothed away within a region is the region's, unless it is much brighter
        brightness = diffuse.model[at]
        kept &= ~(pieces(sources, search) & (np.abs(sources.values[:, 0]) < ABOVE * brightness))
    chosen = sources.take(kept)
    local = np.where(prepared.valid, search.rms * search.level, 0.0)
    members = join_objects(chosen, search)
    labels = label_objects(chosen, members, local)
    judged = {
        "snr": np.abs(snr[kept]), "reliability": values[kept], "false_alarm": noise.above(np.abs(snr[kept])),
        "boost": _boost(chosen, snr[kept], counts),
        "background": search.background[pixels_of(chosen.values, search.background.shape)],
        "undeconvolved": _not_clean(image, prepared, chosen.values, search.rms, left),
    }  # fmt: skip
    catalog, components, order = build_tables(image, prepared, chosen, members, judged, local, labels)
    numbers = np.zeros(len(members) + 1, np.int32)
    numbers[1 + np.asarray(order, int)] = np.arange(1, len(members) + 1)
    model = np.zeros(prepared.data.shape)
    add_sources(model, chosen.values)
    catalog.meta |= {"noise_peaks_amplitude": noise.amplitude, "noise_peaks_stretch": noise.stretch}
    blank = np.where(prepared.valid, np.float32(0), np.float32(np.nan))
    found = DetectedImage(
        catalog, components, numbers[labels], model.astype(np.float32) + blank,
        local.astype(np.float32) + blank, (prepared.data - model).astype(np.float32) + blank, prepared, "",
        len(sources), noise, rule=f"of reliability {reliability:g} and above",
    )  # fmt: skip
    if diffuse is not None:
        _add_diffuse(found, image, search, diffuse, chosen)
    return found


def _add_diffuse(
    found: DetectedImage, image: RadioImage, search: CompactSearch, diffuse: Diffuse, chosen: Sources
) -> None:
    """Join what is diffuse to what is compact."""
    prepared, compact = found.prepared, np.nan_to_num(found.image)
    measure_again(diffuse, image, prepared, search, prepared.data - compact)
    found.catalog, found.components, found.mask, found.regions = join_tables(
        found.catalog, found.components, found.mask, diffuse
    )
    found.image, found.residual = found.image + diffuse.model, found.residual - diffuse.model
    # the network has not seen the compact sources; the data count where Gaussians are less true than these
    taken, noise = np.zeros(compact.shape), np.where(prepared.valid, prepared.rms, 1).astype(float) ** 2
    add_sources(taken, diffuse.compact.values)
    weight = (FIDELITY * taken) ** 2 / ((FIDELITY * taken) ** 2 + noise)
    estimate = diffuse.image + diffuse.alone + taken
    variance = diffuse.sigma.astype(float) ** 2 + model_variance(diffuse.compact, compact.shape)
    blank = np.where(prepared.valid, np.float32(0), np.float32(np.nan))
    found.denoised = (estimate + weight * (prepared.data - estimate)).astype(np.float32) + blank
    spread = np.sqrt((1 - weight) ** 2 * variance + weight * noise)
    found.denoised_error = spread.astype(np.float32) + blank


def _against_negatives(snr: Float, negative: Float, noise: NoisePeaks) -> Float:
    """Share of the candidates as strong that are real if artefacts, like noise, are as often negative.

    Only what the negative ones are more than noise makes, and twice its error, counts as artefacts.
    """
    strong, low = np.sort(snr), np.sort(negative)
    as_strong, as_low = (len(v) - np.searchsorted(v, snr) for v in (strong, low))
    expected = noise.above(snr)
    excess = np.maximum(as_low - expected - 2 * np.sqrt(np.maximum(expected, 0.25)), 0)
    return np.asarray(np.clip(1 - excess / np.maximum(as_strong, 1), 0, 1))


def _boost(chosen: Sources, snr: Float, counts: dict[float, SourceCounts]) -> tuple[Float, Float]:
    """What fluxes are to be multiplied by for the counts' sake, and the error of that flux, in S/N."""
    strength = np.abs(snr)
    middle, error = deboosted(strength, counts[1.0])
    lower, lower_error = deboosted(strength, counts[-1.0])
    negative = snr < 0
    return np.where(negative, lower, middle) / strength, np.where(negative, lower_error, error) / strength


def noise_peaks(search: CompactSearch, snr: Float) -> NoisePeaks:
    """Noise peaks expected in the image: those of a Gaussian field with the filtered noise's correlation.

    Adler (1981): ``N(> u) = area sqrt(det L) (2 pi)**-1.5 u exp(-u**2 / 2)``, where ``L`` is the curvature of
    the correlation. Stretched where the negative ones among `snr`, of the candidates, are plainly more above
    some level, as stripes and other artefacts make them, and always by `LOW`.
    """
    h = search.seen.shape[0] // 2
    near = search.seen[h - 1 : h + 2, h - 1 : h + 2] / search.seen[h, h]
    bend = [2 - near[1, 0] - near[1, 2], 2 - near[0, 1] - near[2, 1]]
    cross = (near[0, 2] + near[2, 0] - near[0, 0] - near[2, 2]) / 4
    curved = np.sqrt(max(bend[0] * bend[1] - cross**2, 1e-12))
    amplitude = float(search.valid.sum()) * curved / (2 * np.pi) ** 1.5
    levels = np.arange(LOWEST, SURE)
    counted = ((snr < -levels[:, None]) & (snr > -SURE)).sum(axis=1)
    flat = np.ptp(search.rms[search.valid]) == 0
    for stretch in np.linspace(LOW[not flat], 2.5, 301):
        noise = NoisePeaks(amplitude, float(stretch), power=1)
        expected = noise.above(levels) - noise.above(SURE)
        if np.all(counted <= expected + PLAIN * np.sqrt(np.maximum(expected, 1.0))):
            break
    return noise


def needs_of_detection(shape: tuple[int, int]) -> Needs:
    """Memory, disk and time of `detect_image`, as measured on a CPU; crowded images take longer."""
    pixels = shape[0] * shape[1]
    return Needs(0.35e9 + 150 * pixels, 16 * pixels + BYTES_OF_TABLES, 3.0 + 3.5e-6 * pixels)
