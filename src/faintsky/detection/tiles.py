"""Search of single tiles of an image, each with its surroundings.

`judging` joins the results in one list, `painting` makes the maps.

An image of any size is worked on in tiles of one fixed grid (`faintsky.blocks.tiles`); one that
fits into a tile is one tile. Results do not depend on how many tiles are worked on at a time, or where. How
far each step looks:

=========================  =============================================================================
data or blank              2 pixels
noise, background          one and a half boxes of 12 beams (the background's: of its scale)
whether they are flat      the tile
noise's correlation        statistics of the tile
matched filter             6 beams, at most 60 pixels
artefacts about sources    20 beams
fits, blends               a group of up to 8 sources, each within 2 beams of the next: some 10 beams
smoothed residual          14 beams, and 20 beams to the negatives near it
regions                    their pieces in all tiles, whose signs are sums and maxima
network                    the tile and its margin
kind                       the tiles with the brightest sources
primary beam in the data   every n-th pixel of the image
counts, reliabilities      the whole list
=========================  =============================================================================

A tile reads `MARGIN` beams around the pixels it writes. It owns the sources that were fitted together with
one whose peak it writes; two tiles' fits of one source at a seam count once. The background's boxes may be
larger than the margin: then it follows the part that the tile reads.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from faintsky.arrays import Array, Bool, Float, Index
from faintsky.blocks import Block, Maps, Pieces, pieces_of, tiles
from faintsky.denoising import Eye, RegionSettings, Response, emission_probability
from faintsky.detection.compact import CompactSearch, find_compact
from faintsky.detection.diffuse import Diffuse, find_diffuse, pieces
from faintsky.detection.sources import Sources, add_sources, model_variance, pixels_of
from faintsky.errors import InputError
from faintsky.grid import unpickled_wcs
from faintsky.image import RadioImage
from faintsky.preparing import (
    Kind,
    PreparedImage,
    PrimaryBeam,
    Surroundings,
    clean_further,
    clean_threshold,
    convolve,
    gaussian_psf,
    kind_by_sources,
    kind_of_image,
    peak_over_scatter,
    prepare_image,
    said_kind,
    sidelobe_noise,
)

Tell = Callable[[int, str], None]
MARGIN = 30.0
"""Margin that a tile reads [beam], in whole cells of the network (32 pixels): 4 to 12 of them."""
UNCLEAN = 0.5
"""A source counts as not cleaned above this fraction of its peak in the residual."""
ABOUT = 1.2
"""So it does below this peak over the threshold of CLEAN."""
FIDELITY = 0.05
"""Relative error of the Gaussian models of sources: `tools/compare_denoisers.py`."""
WHITE_BEAM = (2.0, 2.0, 0.0)
"""FWHM assumed of point sources in an image of white noise without a beam [pixel]."""
MOST_SHOWN = 900
"""Side of the thinned image that is kept for the report of a large one [pixel]."""
MANY = 1 << 14
"""Largest number of candidate regions in a tile."""


@dataclass(frozen=True)
class SearchPlan:
    """How an image is searched, the same for all tiles.

    Attributes
    ----------
    image : RadioImage
        With a beam, where there are several tiles.
    blocks : list of Block
    eye, always, against, reliability, background_scale
        As for `detect_image`.
    kind : Kind or None
        None where the only tile determines it.
    prepared : PreparedImage or None
        Of a part of the image: beam and units hold for the whole.
    thin : int
        The report shows every ``thin``-th pixel along both axes.
    """

    image: RadioImage
    blocks: list[Block]
    eye: Eye | None
    always: bool
    against: float
    reliability: float
    background_scale: float
    kind: Kind | None = None
    prepared: PreparedImage | None = None
    thin: int = 1

    @property
    def whole(self) -> bool:
        """Whether the image is one tile."""
        return len(self.blocks) == 1


@dataclass
class SeenTile:
    """Result of the search of a tile, in pixels of the image.

    Attributes
    ----------
    number : int
        Of the tile.
    sources : Sources
        Those that it owns, and those at its seams that it owns unless another tile does.
    columns : dict of array
        Of each: ``inside``, whether it owns it; S/N; ``level`` of the noise over that without artefacts;
        whether it is ``about`` (around) a bright source; S/N ``alone`` at its place; whether it may be a
        ``piece`` of diffuse emission, and the ``brightness`` of that; whether the user's mask allows it
        (``looked``); ``undeconvolved``; ``background``.
    prepared : PreparedImage or None
        The whole tile where there is only one, otherwise every n-th pixel; None where it is blank.
    noise_peaks : float
        Amplitude of their number law.
    background : float
        Largest value, over the noise.
    flat : bool
        Whether the noise is constant.
    kind : Kind or None
    notes : list of str
    regions : SeenRegions or None
        None where the network was not run.
    lost : list of str
        Parts of the file that could not be read.
    cut : array
        x, y and S/N of sources whose centre is beside the image or on a blank pixel, ``[n, 3]``.
    """

    number: int
    sources: Sources = field(default_factory=lambda: Sources(np.zeros((0, 6))))
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    prepared: PreparedImage | None = None
    noise_peaks: float = 0.0
    background: float = 0.0
    flat: bool = True
    kind: Kind | None = None
    notes: list[str] = field(default_factory=list)
    regions: SeenRegions | None = None
    lost: list[str] = field(default_factory=list)
    cut: Float = field(default_factory=lambda: np.zeros((0, 3)))


@dataclass
class SeenRegions:
    """Diffuse emission in a tile: see `Diffuse`; boxes ``[n + 1, 4]`` in pixels of the image."""

    pieces: Pieces
    signs: dict[str, Float]
    broad: Float
    boxes: Index
    settings: RegionSettings
    kernel: Float


def tiles_of(image: RadioImage) -> list[Block]:
    """Tiles of an image; a single one where its psf is given, as sidelobes reach over the whole image."""
    shape, beam = (image.shape[1], image.shape[2]), image.middle_beam
    beam_pixels = 4.0 if beam is None else float(np.sqrt(beam[0] * beam[1]))
    if "psf" in image.companions:
        return tiles(shape, 0, whole=max(shape))
    return tiles(shape, 32 * int(np.clip(np.ceil(MARGIN * beam_pixels / 32), 4, 12)))


def plan(image: RadioImage, **how: Any) -> SearchPlan:
    """Determine what all tiles of an image share; `how` holds further arguments of `SearchPlan`."""
    blocks = tiles_of(image)
    if len(blocks) == 1:
        return SearchPlan(image, blocks, **how)
    thin = 1
    while max(image.shape) > MOST_SHOWN * thin:
        thin *= 2
    said = said_kind(image)
    brightest = _brightest(image, blocks, 4 if said is None else 1)
    parts = [image.part(b.read) for b in brightest]
    prepared = [prepare_image(part) for part in parts]
    if not prepared:
        raise InputError("holds no data: it is blank", "give an image with data", image.name)
    first = prepared[0]
    kind = said or kind_by_sources(Surroundings([p.plane for p in prepared], first.beam_pixels))
    beam = first.beam or WHITE_BEAM
    first = replace(first, beam=beam)
    if image.beams is None:
        image.take_notes(parts[0])
        image = replace(image, beams=np.array([image.sky_beam(beam)]))
    # pickling rounds coordinates by a digit: do it here too, so that all processes have the same
    image = replace(image, wcs=unpickled_wcs(pickle.dumps(image.wcs)))
    return SearchPlan(image, blocks, **how, kind=kind, prepared=bare(first), thin=thin)


def _brightest(image: RadioImage, blocks: list[Block], most: int) -> list[Block]:
    """The tiles with the highest peaks over their scatter; if one is asked for, the first with data."""
    if most == 1:
        blocks = blocks[len(blocks) // 2 :] + blocks[: len(blocks) // 2]
    found: list[tuple[float, int]] = []
    for k, block in enumerate(blocks):
        data = image.taken(block.write)[0]
        if (peak := peak_over_scatter(data, data[::7, ::7])) > -np.inf:
            found.append((-peak, k))
        if found and most == 1:
            break
    return [blocks[k] for _, k in sorted(found)[:most]]


def bare(prepared: PreparedImage, thin: int = 0, box: tuple[slice, slice] | None = None) -> PreparedImage:
    """The same without its arrays, or with every n-th pixel of a box of them.

    Parameters
    ----------
    prepared : PreparedImage
    thin : int, optional
        Step between the pixels that are kept.
    box : tuple of slice, optional
        Pixels ``(y, x)`` to thin; without it the arrays are empty.

    Returns
    -------
    PreparedImage
    """
    where = (slice(0), slice(0)) if box is None else tuple(slice(s.start, s.stop, thin) for s in box)
    arrays = {name: getattr(prepared, name)[where].copy() for name in ("data", "valid", "rms")}
    return replace(prepared, **arrays)


def look(plan: SearchPlan, number: int, maps: Maps, tell: Tell = lambda done, word: None) -> SeenTile:
    """Search a tile, and write its maps.

    ``noise``, 0 where blank; with the network ``diffuse`` and its companions, and ``pieces``, the candidate
    regions; where the network always runs ``denoised``, ``uncertainty`` and, in shared maps, ``probability``.

    Parameters
    ----------
    plan : SearchPlan
    number : int
        Of the tile.
    maps : Maps
        Where to write.
    tell : callable, optional
        Called with steps done and a word.

    Returns
    -------
    SeenTile
    """
    from threadpoolctl import threadpool_limits

    block = plan.blocks[number]
    part = plan.image if plan.whole else plan.image.part(block.read)
    prepared = _prepared(plan, part)
    if prepared is None:
        return SeenTile(number)
    assert prepared.beam is not None
    response = None
    if part.psf is not None and part.residual is None is part.model_image:
        response = Response((part.shape[1], part.shape[2]), part.psf[0], prepared.beam)
    kind = plan.kind or kind_of_image(part, prepared, response)
    prepared, left, said = _cleaned(part, prepared, kind.name == "dirty")
    done = iter(range(1, 4))
    with threadpool_limits(limits=1, user_api="blas"):  # many small matrices
        search = find_compact(prepared, plan.background_scale, lambda word: tell(next(done, 3), word))
    core, valid = block.inner, prepared.valid
    diffuse = None
    if plan.eye is not None and (plan.always or kind.name == "restored"):
        tell(3, "diffuse emission")
        sidelobes = None
        if kind.name == "dirty" and part.psf is None:
            sidelobes = sidelobe_noise(prepared.plane, prepared.beam_pixels)
            maps.write("sidelobes", block.write, sidelobes[core])
        flat = np.ptp(prepared.rms[valid]) == 0
        gain = PrimaryBeam(part, None if flat else prepared.rms, valid).gain()
        diffuse = find_diffuse(
            part, prepared, search, plan.eye, gain, core, always=plan.always, against=plan.against,
            reliability=plan.reliability, sidelobes=sidelobes,
        )  # fmt: skip
    if diffuse is not None and diffuse.inside.any():
        rest = replace(prepared, data=prepared.data - diffuse.model)
        with threadpool_limits(limits=1, user_api="blas"):
            search = find_compact(rest, plan.background_scale, lambda word: tell(3, f"again, {word}"))
    noise = np.where(valid, search.rms * search.level, 0.0)
    maps.write("noise", block.write, noise[core])
    seen = _sources_seen(plan, number, part, prepared, search, diffuse, left)
    # among those of the image is what was noticed when this process read it
    seen.kind, seen.notes = kind, [*plan.image.notes, *said]
    # those beside the tile, but in the image, are another tile's
    at = pixels_of(np.insert(search.cut, 0, 0, axis=1), valid.shape)
    own = np.all([(p >= c.start) & (p < c.stop) for p, c in zip(at, core)], axis=0)
    seen.cut = search.cut[own] + [block.origin[1], block.origin[0], 0]
    if diffuse is not None:
        seen.regions = _regions_seen(plan, number, diffuse, search, maps)
        if plan.always or plan.whole:
            image, spread = _denoised(prepared, diffuse)
            maps.write("denoised", block.write, image[core])
            maps.write("uncertainty", block.write, spread[core])
            if maps.shared:
                chance = emission_probability(image[core], spread[core], noise[core])
                maps.write("probability", block.write, chance)
    return seen


def _prepared(plan: SearchPlan, part: RadioImage) -> PreparedImage | None:
    """A prepared tile; None where it is blank."""
    if plan.prepared is None:
        prepared = prepare_image(part)
        return prepared if prepared.beam is not None else replace(prepared, beam=WHITE_BEAM)
    if not np.isfinite(part.data).any():
        return None
    try:
        prepared = prepare_image(part)
    except InputError:  # blank or constant here, not everywhere
        return None
    known = plan.prepared
    return replace(
        prepared, beam=known.beam, beam_origin=known.beam_origin, jy_per_pixel=known.jy_per_pixel,
        jy_per_beam=known.jy_per_beam,
    )  # fmt: skip


def _sources_seen(
    plan: SearchPlan, number: int, part: RadioImage, prepared: PreparedImage, search: CompactSearch,
    diffuse: Diffuse | None, left: Array | None,
) -> SeenTile:  # fmt: skip
    """The compact sources of a tile; see `SeenTile`."""
    block, sources, valid = plan.blocks[number], search.sources, prepared.valid
    values = sources.values
    at = pixels_of(values, valid.shape)
    level = search.level_at(values)
    columns: dict[str, NDArray[Any]] = {
        "snr": search.source_snr(), "level": level, "about": level > 1.2 * np.median(search.level[valid]),
        "alone": np.abs(values[:, 0]) * search.gain / (search.rms * search.level)[at],
        "piece": np.zeros(len(sources), bool), "brightness": np.zeros(len(sources)),
        "looked": np.ones(len(sources), bool) if part.mask is None else part.mask[0][at],
        "undeconvolved": _not_clean(part, prepared, values, search.rms, left),
        "background": search.background[at],
    }  # fmt: skip
    if diffuse is not None:
        columns |= {"piece": pieces(sources, search), "brightness": diffuse.model[at]}
    # the tile with the brightest peak of a group owns the whole group
    order = np.lexsort([-np.abs(values[:, 0]), sources.group])
    first = order[np.unique(sources.group[order], return_index=True)[1]]
    lead = first[np.unique(sources.group, return_inverse=True)[1]] if len(sources) else first
    core, strip = block.inner, int(np.ceil(prepared.beam_pixels / 2))
    inside, near = (
        np.all([(p[lead] >= c.start - m) & (p[lead] < c.stop + m) for p, c in zip(at, core)], axis=0)
        for m in (0, strip)
    )
    columns["inside"] = inside
    h = search.seen.shape[0] // 2
    around = search.seen[h - 1 : h + 2, h - 1 : h + 2] / search.seen[h, h]
    bend = [2 - around[1, 0] - around[1, 2], 2 - around[0, 1] - around[2, 1]]
    cross = (around[0, 2] + around[2, 0] - around[0, 0] - around[2, 2]) / 4
    curved = np.sqrt(max(bend[0] * bend[1] - cross**2, 1e-12))
    return SeenTile(
        number, sources.take(near).moved(block.origin[1], block.origin[0]),
        {name: values[near] for name, values in columns.items()},
        prepared if plan.whole else bare(prepared, plan.thin, core),
        float(valid[core].sum()) * curved / (2 * np.pi) ** 1.5,
        float(np.abs(search.background).max()) / prepared.typical_rms, bool(np.ptp(search.rms[valid]) == 0),
    )  # fmt: skip


def _regions_seen(
    plan: SearchPlan, number: int, diffuse: Diffuse, search: CompactSearch, maps: Maps
) -> SeenRegions:
    """Candidate regions of a tile, numbered from 1 within its write region."""
    block = plan.blocks[number]
    core, count = block.inner, len(diffuse.signs["pixels"])
    labels = diffuse.labels[core]
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=count)[1:]) + 1
    if not plan.whole:
        present = present[:MANY]
    new = np.zeros(count, np.int32)
    new[present] = np.arange(1, len(present) + 1)
    labels = new[labels]
    boxes = np.zeros((len(present) + 1, 4), np.intp)
    for k, box in enumerate(find_objects(labels), start=1):
        assert box is not None
        boxes[k] = [s.start + w.start for s, w in zip(box, block.write)] + [
            s.stop + w.start for s, w in zip(box, block.write)
        ]
    kept = np.concatenate([[0], present])
    broad = diffuse.broad.copy()
    broad[:, 0] = new[broad[:, 0].astype(int)]
    maps.write("pieces", block.write, np.where(labels > 0, labels + MANY * number, 0))
    arrays: dict[str, NDArray[Any]] = {
        "": diffuse.image,
        "_sigma": diffuse.sigma,
        "_rms": diffuse.rms,
        "_snr": diffuse.snr,
        "_clear": diffuse.clear,
    }
    for name, array in arrays.items():
        maps.write(f"diffuse{name}", block.write, array[core])
    return SeenRegions(
        pieces_of(labels, block, plan.image.shape[2]), {k: v[kept] for k, v in diffuse.signs.items()}, broad,
        boxes, diffuse.settings, np.fft.fftshift(search.correlation.lags)[1:, 1:],
    )  # fmt: skip


def _denoised(prepared: PreparedImage, diffuse: Diffuse) -> tuple[Float, Float]:
    """The image at the beam's resolution without noise, and its standard deviation; NaN where blank."""
    # the network has not seen the compact sources; where Gaussians describe them worse than the data, use
    # these
    shape = prepared.data.shape
    taken, noise = np.zeros(shape), np.where(prepared.valid, prepared.rms, 1).astype(float) ** 2
    add_sources(taken, diffuse.compact.values)
    weight = (FIDELITY * taken) ** 2 / ((FIDELITY * taken) ** 2 + noise)
    estimate = diffuse.image + diffuse.alone + taken
    variance = diffuse.sigma.astype(float) ** 2 + model_variance(diffuse.compact, shape)
    blank = np.where(prepared.valid, 0.0, np.nan)
    spread = np.sqrt((1 - weight) ** 2 * variance + weight * noise)
    return estimate + weight * (prepared.data - estimate) + blank, spread + blank


def _cleaned(
    image: RadioImage, prepared: PreparedImage, dirty: bool
) -> tuple[PreparedImage, Array | None, list[str]]:
    """The image, cleaned further where possible, the residual of CLEAN where known, and notes."""
    assert prepared.beam is not None
    left: Array | None = None
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
            note = "without --psf no source is cleaned further; those that CLEAN did not reach are flagged"
            return prepared, left, [note]
        note = "the sidelobes of bright sources stay in a dirty image, and raise the noise around them: "
        return prepared, left, [f"{note}give --psf, or clean the image first"]
    given = prepared.rms if prepared.rms_origin == "given" else None
    rest, restored = clean_further(left, prepared.valid, image.psf[0], prepared.beam, given)
    data = np.where(prepared.valid, prepared.data - left + rest + restored, 0).astype(np.float32)
    prepared = replace(prepared, data=data).with_noise(data)
    return prepared, rest, ["sources that still had the dirty beam's shape were first cleaned with the psf"]


def _not_clean(
    image: RadioImage, prepared: PreparedImage, values: Float, rms: Float, left: Array | None
) -> Bool:
    """Which Gaussians ``[n, 6]`` were hardly cleaned."""
    at = pixels_of(values, prepared.data.shape)
    if left is not None:
        return np.asarray(np.abs(left[at]) > UNCLEAN * np.abs(prepared.data[at]))
    level, sigma = clean_threshold(image.header)
    level = np.nan_to_num(level / prepared.jy_per_beam)
    return np.asarray(np.abs(values[:, 0]) < ABOUT * np.maximum(level, sigma * rms[at]))
