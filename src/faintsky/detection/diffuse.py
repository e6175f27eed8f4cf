"""Diffuse emission of an image: what a network sees in it where its compact sources are taken out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, label, maximum

from faintsky.blocks import step
from faintsky.catalog import components_of
from faintsky.denoising import Eye, build_catalog, relabelled, segment, split_regions, sum_error
from faintsky.detection.compact import CompactSearch
from faintsky.detection.sources import Sources, add_sources, pixels_of
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.image import RadioImage
from faintsky.preparing import PreparedImage, PrimaryBeam, robust_sigma

if TYPE_CHECKING:
    from astropy.table import Table

Array32 = NDArray[np.float32]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

SMALLEST = 10.0
"""Area of a region [beam] unless an edge cuts it: what is left of compact sources is smaller."""
BROAD, FAINTER = 2.8, 0.5
"""Gaussians of a larger FWHM [beam] may be pieces of something larger, and so may be positive ones that are
less than that share of the sum of these at their place."""
PLAIN = 20.0
"""S/N of such a Gaussian that is a source of its own where it touches no other."""
SURE = 5.0
"""S/N of compact sources that are taken out before the network looks."""
SMOOTH = 3.0
"""FWHM of the Gaussian that the residual is smoothed with [beam]."""
HINT, LEAST, GROW, AGAINST = 7.0, 4.0, 2.0, 1.5
"""S/N of the smoothed residual that hints at diffuse emission, that a region holds somewhere, and that it has
everywhere; the first two are at least `AGAINST` times the deepest negative one."""
NEAR = 50.0
"""Area of a region about a brighter source that may be what its fit has left [beam]."""
FEW, DESCRIBED = 2, 0.6
"""A region is left to the Gaussians where this number of them holds this share of its flux."""


@dataclass
class Diffuse:
    """Diffuse emission of an image.

    Attributes
    ----------
    labels : array of int
        Regions, ``[y, x]``, 1 … n, 0 elsewhere.
    table : astropy.table.Table
        Their catalogue, in that order.
    image, sigma : array
        The network's image of what is not compact, and its standard deviation, ``[y, x]``, in the unit of the
        file, 0 where blank.
    compact : Sources
        What the network has not seen.
    alone : array
        Image of the compact sources that it has seen, as it sees broad ones better than Gaussians are: they
        were taken out of `image`.
    """

    labels: NDArray[np.int32]
    table: Table
    image: Array32
    sigma: Array32
    compact: Sources
    alone: Float

    @property
    def model(self) -> Array32:
        """The network's image within the regions, 0 outside."""
        return np.where(self.labels > 0, self.image, np.float32(0))


@step(whole="in units of its own scatter over the image")
def significance(search: CompactSearch, residual: Float) -> tuple[Float, float]:
    """S/N of a residual smoothed over `SMOOTH` beams, ``[y, x]``, and the S/N as deep as its deepest minimum.

    Its noise is what the noise's correlation makes of it, or the scatter of the residual without sources,
    whichever is more: stripes are correlated over more than is followed.
    """
    width = SMOOTH * search.size / FWHM_PER_SIGMA
    noise = np.where(search.valid, search.rms * search.level, 1.0)
    lags = search.correlation.lags
    apart = np.fft.fftfreq(len(lags), 1 / len(lags))
    seen = np.exp(-(apart[:, None] ** 2 + apart**2) / (4 * width**2)) / (4 * np.pi * width**2)
    empty = gaussian_filter(np.where(search.valid, (search.residual + search.background) / noise, 0), width)
    scatter = max(float(np.sqrt(max((lags * seen).sum(), 0.0))), robust_sigma(empty[search.valid]))
    smooth = gaussian_filter(np.where(search.valid, residual / noise, 0), width)
    return smooth / scatter, float(-empty.min() / scatter)


def pieces(sources: Sources, search: CompactSearch) -> Bool:
    """Sources that may be pieces of something larger."""
    values = sources.values
    positive = values[:, 0] > 0
    broad = sources.resolved & positive & (sources.fwhm > BROAD * search.size)
    broad[broad] = _beside(sources.take(broad)) | (np.abs(search.source_snr()[broad]) < PLAIN)
    theirs = np.zeros(search.data.shape)
    add_sources(theirs, values[broad])
    return broad | (positive & (values[:, 0] < FAINTER * theirs[pixels_of(values, theirs.shape)]))


def _beside(sources: Sources) -> Bool:
    """Which sources touch another."""
    apart = np.hypot(*(sources.values[:, None, 1:3] - sources.values[None, :, 1:3]).T)
    np.fill_diagonal(apart, np.inf)
    return np.asarray((apart < sources.fwhm).any(axis=0))


def _hinted(search: CompactSearch, rest: Float, broad: Sources, against: float) -> bool:
    """Whether a residual, with those broad sources that touch each other, hints at diffuse emission."""
    seen = rest.copy()
    add_sources(seen, broad.values[_beside(broad)])
    snr, deepest = significance(search, seen)
    # sources cut by an edge are no hint
    inner = distance_transform_edt(np.pad(search.valid, 1))[1:-1, 1:-1] > SMOOTH * search.size
    return bool(snr[inner].max(initial=0.0) > max(HINT, against * deepest))


def find_diffuse(
    image: RadioImage,
    prepared: PreparedImage,
    search: CompactSearch,
    eye: Eye,
    *,
    always: bool = False,
    against: float = AGAINST,
    reliability: float,
    sidelobes: Array32 | None = None,
) -> Diffuse | None:
    """Regions of emission that is not compact.

    Parameters
    ----------
    image, prepared : RadioImage, PreparedImage
        The input.
    search : CompactSearch
        Its compact sources.
    eye : callable
        The network.
    always : bool, optional
        Whether to ask it even where nothing hints at diffuse emission.
    against : float, optional
        How many times the deepest negative the S/N of a region is at least; 0 where negatives are compared
        otherwise.
    reliability : float
        Least reliability of a region.
    sidelobes : array, optional
        Rms of the sidelobes that are in a dirty image, ``[y, x]``, in its unit.

    Returns
    -------
    Diffuse or None
        None where the network was not asked.
    """
    sources, valid = search.sources, prepared.valid
    broad = pieces(sources, search)
    sure = ~broad & (np.abs(search.source_snr()) > SURE)
    rest, alone = search.residual + search.background, np.zeros(search.data.shape)
    if not always and not _hinted(search, rest, sources.take(broad), against):
        return None
    add_sources(rest, sources.values[~sure])
    wide = sure & sources.resolved & (sources.fwhm > BROAD * search.size)
    add_sources(alone, sources.values[wide])
    snr, deepest = significance(search, rest)
    noise = search.rms * (1.0 if prepared.rms_origin == "given" else search.level)
    if sidelobes is not None:
        noise = np.hypot(noise, sidelobes)
    seen, mean, sigma, settings = eye(
        replace(
            prepared, data=np.where(valid, rest + alone, 0).astype(np.float32),
            rms=np.where(valid, noise, np.nan).astype(np.float32),
        )
    )  # fmt: skip
    rms = np.where(valid, seen.rms, np.float32(0))
    mean = mean - np.where(valid, alone / np.where(valid, seen.rms, 1), 0).astype(np.float32)
    allowed = valid & (snr > GROW)
    if image.mask is not None:
        allowed &= image.mask[0]
    labels = segment(mean, sigma, allowed, settings, prepared.beam_area)
    numbers = np.arange(1, labels.max(initial=0) + 1)
    highest = np.asarray(maximum(snr, labels, numbers)) if len(numbers) else np.zeros(0)
    clear = highest > max(LEAST, against * deepest)
    large = np.bincount(labels.ravel(), minlength=len(numbers) + 1)[1:] > SMALLEST * prepared.beam_area
    clear &= large | np.isin(numbers, labels[binary_dilation(~valid, border_value=1)])
    clear &= ~_left_of(labels, numbers, sources.take(sure), rest, NEAR * prepared.beam_area)
    labels = relabelled(labels, numbers[clear & ~_described(labels, numbers, sources.take(broad), rest)])
    labels = split_regions(labels, snr)
    mean, sigma = mean * rms, sigma * rms
    table = build_catalog(image, seen, mean, sigma, labels, settings, sidelobes)
    table = table[np.asarray(table["reliability"]) >= reliability]
    labels = relabelled(labels, np.asarray(table["id"]))
    table["id"] = table["island"] = np.arange(1, len(table) + 1)
    return Diffuse(labels, table, mean, sigma, sources.take(sure & ~wide), alone)


def _left_of(
    labels: NDArray[np.int32], numbers: NDArray[np.intp], compact: Sources, rest: Float, area: float
) -> Bool:
    """Small regions that hold less flux than the sources that were taken out of them."""
    taken = np.zeros(labels.shape)
    add_sources(taken, compact.values)
    pixels, theirs, own = (
        np.bincount(labels.ravel(), weights=w, minlength=len(numbers) + 1)[1:]
        for w in (None, taken.ravel(), rest.ravel())
    )
    return np.asarray((pixels < area) & (theirs > own))


def _described(
    labels: NDArray[np.int32], numbers: NDArray[np.intp], broad: Sources, rest: Float
) -> Bool:  # fmt: skip
    """Regions that a few Gaussians describe."""
    v = broad.values
    flux = 2 * np.pi * v[:, 0] * np.sqrt(np.maximum(v[:, 3] * v[:, 5] - v[:, 4] ** 2, 0))
    home = labels[pixels_of(v, labels.shape)]
    total = np.bincount(labels.ravel(), weights=rest.ravel(), minlength=len(numbers) + 1)
    out = []
    for number in numbers:
        own = np.sort(flux[home == number])[::-1]
        out.append(own[:FEW].sum() > DESCRIBED * total[number])
    return np.array(out, bool)


def measure_again(
    diffuse: Diffuse,
    image: RadioImage,
    prepared: PreparedImage,
    search: CompactSearch,
    rest: NDArray[np.floating],
) -> None:
    """Give regions the flux of the data less the compact model.

    Parameters
    ----------
    diffuse : Diffuse
        Of the image; its table is changed.
    image, prepared : RadioImage, PreparedImage
        The input.
    search : CompactSearch
        Noise and its correlation.
    rest : array
        Data less compact model, ``[y, x]``.
    """
    labels, table = diffuse.labels, diffuse.table
    if not len(table):
        return
    flat = np.ptp(prepared.rms[prepared.valid]) == 0
    gain = PrimaryBeam(image, None if flat else prepared.rms, prepared.valid).gain()
    before, now = (
        np.bincount(labels.ravel(), weights=(np.nan_to_num(v) * gain).ravel(), minlength=len(table) + 1)[1:]
        for v in (diffuse.image, rest)
    )
    kernel = np.fft.fftshift(search.correlation.lags)[1:, 1:]
    noise = np.where(prepared.valid, search.rms * search.level, 0) * gain
    error: Float = np.array([sum_error(np.where(labels == k, noise, 0)[b], kernel) for k, b in _boxes(table)])
    scale: Float = np.asarray(table["flux"], float) / before
    table["flux"] = table["flux_mask"] = now * scale
    table["flux_err"] = table["flux_mask_err"] = np.maximum(table["flux_err"], error * np.abs(scale))


def _boxes(table: Table) -> list[tuple[int, tuple[slice, slice]]]:
    sides = [[slice(int(a), int(b) + 1) for a, b in zip(table[f"{k}_min"], table[f"{k}_max"])] for k in "yx"]
    return [(k, (j, i)) for k, (j, i) in enumerate(zip(*sides), start=1)]


def join_tables(
    catalog: Table, components: Table, mask: NDArray[np.int32], diffuse: Diffuse
) -> tuple[Table, Table, NDArray[np.int32], NDArray[np.int32]]:
    """One catalogue of compact objects and regions, the most significant first.

    Returns
    -------
    catalog, components : Table
        ``parent`` is the region that an object lies in; ``group`` the number of regions that touch each
        other and of what lies in them.
    mask : array of int
        The objects, and the regions where there are none.
    regions : array of int
        The regions, with their ids.
    """
    from astropy.table import vstack

    few = len(diffuse.table)
    if not few:
        return catalog, components, mask, diffuse.labels
    joined = vstack([catalog, diffuse.table], metadata_conflicts="silent")
    order = np.argsort(-np.asarray(joined["snr"]), kind="stable")
    new = np.empty(len(joined), np.int32)
    new[order] = np.arange(1, len(joined) + 1)
    of_objects, of_regions = (
        np.concatenate([[0], v]).astype(np.int32) for v in (new[: len(catalog)], new[len(catalog) :])
    )
    regions = of_regions[diffuse.labels]
    whole = np.where(mask > 0, of_objects[mask], regions)
    islands = label(whole > 0, np.ones((3, 3)))[0]
    place = np.stack([joined[k] for k in ("x", "x", "y")], axis=1)
    joined["parent"] = np.where(
        np.asarray(joined["kind"]) == "diffuse", 0, regions[pixels_of(place, mask.shape)]
    )
    joined["id"] = new
    first = np.zeros(len(joined) + 1, np.int64)
    seen = whole.ravel()
    first[seen[::-1]] = islands.ravel()[::-1]
    own = np.where(first[new] > 0, first[new], islands[pixels_of(place, mask.shape)])
    joined["island"] = own
    joined["group"] = _groups(joined)
    parts = vstack([components, components_of(diffuse.table)], metadata_conflicts="silent")
    parts["id"] = np.concatenate(
        [of_objects[np.asarray(components["id"], int)], of_regions[np.asarray(diffuse.table["id"], int)]]
    )
    by_id = np.concatenate([[0], own[order]])
    parts["island"] = by_id[np.asarray(parts["id"])]
    return joined[order], parts[np.argsort(parts["id"], kind="stable")], whole, regions


def _groups(table: Table) -> NDArray[np.int64]:
    """A number for regions that touch each other and the objects in them; 0 for what is alone."""
    home, diffuse = np.array(table["id"]), np.asarray(table["kind"]) == "diffuse"
    island = np.asarray(table["island"])
    _, first, which = np.unique(island[diffuse], return_index=True, return_inverse=True)
    home[diffuse] = home[diffuse][first][which]
    by_id = np.zeros(len(table) + 1, home.dtype)
    by_id[np.asarray(table["id"])] = home
    _, group = np.unique(
        by_id[np.where(np.asarray(table["parent"]) > 0, table["parent"], table["id"])], return_inverse=True
    )
    several = np.bincount(group) > 1
    return np.where(several[group], np.cumsum(several)[group], 0)
