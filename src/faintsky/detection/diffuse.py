"""Diffuse emission of an image: regions in what a network sees once the compact sources are subtracted."""

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_dilation,
    distance_transform_edt,
    find_objects,
    gaussian_filter,
    map_coordinates,
    maximum,
    maximum_filter,
)
from scipy.spatial import cKDTree

from faintsky.arrays import Array, Array32, Bool, Float, Int, Labels
from faintsky.blocks import connected_labels
from faintsky.catalog import components_of
from faintsky.denoising import (
    Eye,
    RegionSettings,
    measure,
    region_reliability,
    relabelled,
    segment,
    split_regions,
    sum_error,
)
from faintsky.detection.compact import CompactSearch
from faintsky.detection.sources import Sources, add_sources, pixels_of
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.image import RadioImage
from faintsky.preparing import PreparedImage

SMALLEST = 10.0
"""Least area of a region [beam] unless an edge cuts it: remains of compact sources are smaller."""
BROAD = 2.8
"""Gaussians of a larger FWHM may be pieces of diffuse emission [beam]."""
FAINTER = 0.5
"""So may positive sources fainter than this fraction of the sum of such Gaussians at their position."""
PLAIN = 20.0
"""S/N above which such a Gaussian is a source by itself where it touches no other."""
SURE = 5.0
"""S/N above which compact sources are subtracted before the network runs."""
SMOOTH = 3.0
"""FWHM of the Gaussian that smooths the residual [beam]."""
SMOOTHINGS = {1.0: 5.0, SMOOTH: 4.0, 8.0: 5.0}
"""This and others, for thin filaments and wide haloes; with the S/N that a region reaches in one of them."""
HINT = 7.0
"""S/N of the smoothed residual that hints at diffuse emission."""
GROW = 2.0
"""S/N that a region has everywhere."""
SEED = 2.0
"""Least mean over standard deviation of the network somewhere in a region. It is lower than for the network
alone, because the smoothed residual must show the region, too."""
ALONE = 5.0
"""S/N of the smoothed residual that makes a region without the network."""
OUTLINE = 3.0
"""S/N that such a region has everywhere."""
HALF = 0.5
"""So it has over its peak: smoothing spreads bright emission."""
AGAINST = 1.5
"""`HINT` and the S/N of `SMOOTHINGS` are at least this many times the depth of the deepest negative nearby,
if that is deeper than noise."""
USUAL = 3.5
"""Depth of negatives that Gaussian noise has, too: they do not count [deviation]."""
STRANGE = 4.5
"""Depth from which they count fully."""
ABOUT = 20.0
"""Distance within which a negative counts against a region [beam]: artefacts are as deep nearby as high."""
QUIET = 60.0
"""Side of the squares in which the scatter of the smoothed residual is measured [beam]: large ones, so that
emission does not count as scatter; but some parts of an image are quieter than others."""
ENOUGH = 100
"""Least number of values in such a square."""
OFFSET = 0.2
"""Offset of the median of a Gaussian's values up to one deviation above its middle [deviation]."""
NEAR = 50.0
"""Area up to which a region around a brighter source may be a remainder of its fit [beam]."""
OUTLINED = 1.7
"""Error of a flux because outlines include peaks of noise and leave out its troughs, over the error by the
noise, for a mean S/N of 1 in a beam's area; it falls as that rises. Measured on 126 regions of simulated
LOFAR fields, where it is mostly positive."""
FEW = 2
"""Number of Gaussians that may describe a region alone."""
DESCRIBED = 0.6
"""Share of its flux that they must hold."""


@dataclass
class Diffuse:
    """Diffuse emission of a tile.

    Attributes
    ----------
    labels : array of int
        Candidate regions, ``[y, x]``, 1 … n, 0 elsewhere.
    inside : array of bool
        Where regions are, judged by this tile alone, ``[y, x]``.
    image, sigma : array
        The network's image of the diffuse emission, and its standard deviation, ``[y, x]``, in the unit of
        the file, 0 where blank.
    rms : array
        The noise given to the network, 0 where blank.
    snr, clear : array
        S/N of the smoothed residual, and its ratio to the least S/N of a region, ``[y, x]``.
    settings : RegionSettings
        Of the network.
    compact : Sources
        Sources that were subtracted before the network ran.
    alone : array
        Image of the broad compact sources, which the network shows better than Gaussians do; it is subtracted
        from `image`.
    signs : dict of array
        Of each candidate, ``[n + 1]``, within the tile's write region: ``pixels``; ``flux`` of the residual;
        ``taken``, flux of the subtracted sources; ``highest`` value of `clear`;
        ``cut``, pixels at an edge.
    broad : array
        Candidate and flux of the broad Gaussians, ``[m, 2]``.
    """

    labels: Labels
    inside: Bool
    image: Array32
    sigma: Array32
    rms: Array32
    snr: Float
    clear: Float
    settings: RegionSettings
    compact: Sources
    alone: Float
    signs: dict[str, Float]
    broad: Float

    @property
    def model(self) -> Array32:
        """The network's image within the regions, 0 outside."""
        return np.where(self.inside, self.image, np.float32(0))


def significance(search: CompactSearch, residual: Float, wide: float = SMOOTH) -> tuple[Float, Float]:
    """S/N of a smoothed residual, and depth of its deepest minimum nearby.

    The noise is the larger of the one expected from the noise's correlation and the scatter of the residual
    without sources below its zero level: stripes are correlated over longer distances than are measured. S/N
    is counted from the zero level if that is positive: emission that fills most of an image cannot be told
    from it. Both are those of the surroundings where these are quieter than the whole image. Depths are those
    within `ABOUT` beams, at least 1 / `AGAINST` of the deepest of all.

    Parameters
    ----------
    search : CompactSearch
    residual : array
        ``[y, x]``
    wide : float, optional
        FWHM of the smoothing [beam].

    Returns
    -------
    snr, depth : array
        ``[y, x]``
    """
    width = wide * search.size / FWHM_PER_SIGMA
    noise = np.where(search.valid, search.rms * search.level, 1.0)
    lags = search.correlation.lags
    apart = np.fft.fftfreq(len(lags), 1 / len(lags))
    seen = np.exp(-(apart[:, None] ** 2 + apart**2) / (4 * width**2)) / (4 * np.pi * width**2)
    empty, smooth = (
        gaussian_filter(np.where(search.valid, image / noise, 0), width)
        for image in (search.residual + search.background, residual)
    )
    zero, spread = _local_levels(empty, search.valid, QUIET * search.size, width)
    scatter = np.maximum(np.sqrt(max((lags * seen).sum(), 0.0)), spread)
    away = gaussian_filter(search.valid.astype(float), width) * np.maximum(zero, 0.0)
    depth = (away - empty) / scatter
    about = maximum_filter(depth, size=2 * int(ABOUT * search.size) + 1)
    return (smooth - away) / scatter, np.maximum(about, depth.max() / AGAINST)


def _local_levels(values: Float, valid: Bool, side: float, width: float) -> tuple[Float, Float]:
    """`_zero_level` about each place, at most that of the whole image, ``[y, x]``.

    Both are raised by their errors: of many places one is quiet by chance.

    Parameters
    ----------
    values : array
        Smoothed, ``[y, x]``.
    valid : array of bool
        ``[y, x]``
    side : float
        Of the squares that are looked at, all within the image; each overlaps half of the next [pixel].
    width : float
        Standard deviation of the smoothing [pixel].
    """
    step = max(1, round(width))
    few, known = values[::step, ::step], valid[::step, ::step]
    whole = _zero_level(values[valid])
    half = side / 2 / step
    places = [np.linspace(0, n - 1, max(1, round(n / half)) + 1) for n in few.shape]
    full = round(2 * half)
    levels = np.empty((2, *(len(p) for p in places)))
    for j, y in enumerate(places[0]):
        for i, x in enumerate(places[1]):
            first = (max(min(round(c - half), n - full), 0) for c, n in zip((y, x), few.shape))
            box = tuple(slice(start, start + full) for start in first)
            own = few[box][known[box]]
            levels[:, j, i] = whole
            if own.size > known[box].size / 4 and own.size >= ENOUGH:
                zero, spread = _zero_level(own)
                # a smoothed field has one independent value in 4 pi variances; half of them lie below zero
                error = spread * np.sqrt(8 * np.pi * width**2 / (own.size * step**2))
                levels[:, j, i] = np.minimum((zero + error, spread + error), whole)
    where = [np.arange(n) * (len(p) - 1) / max(n - 1, 1) for n, p in zip(values.shape, places)]
    at = np.meshgrid(*where, indexing="ij")
    zero, spread = (map_coordinates(level, at, order=1, mode="nearest") for level in levels)
    return zero, spread


def _shown(search: CompactSearch, residual: Float, against: float) -> tuple[Float, Float, Bool, Bool]:
    """What the smoothed residual shows, ``[y, x]``.

    Returns
    -------
    snr : array
        S/N for the middle smoothing.
    clear : array
        S/N over the least S/N of a region, for the best smoothing.
    seeds, grown : array of bool
        Where a region is sure without the network, away from edges and in a smoothing with a higher peak in
        its area than the next finer one has; and where such a region may be.
    """
    inner = _inner(search)
    snr, clear = {}, np.zeros(search.data.shape)
    seeds, grown = (np.zeros(search.data.shape, bool) for _ in range(2))
    before = None
    for wide, least in SMOOTHINGS.items():
        snr[wide], depth = significance(search, residual, wide)
        over = snr[wide] / _least(least, depth, against, inner)
        if before is not None:
            sure = inner & (over > 1) & (snr[wide] > ALONE)
            areas = connected_labels(snr[wide] > OUTLINE)
            numbers = np.arange(int(areas.max(initial=0)) + 1)
            peak, finer = (
                maximum(np.where(sure, snr[wide], 0), areas, numbers),
                maximum(snr[before], areas, numbers),
            )
            # around a bright source the broader smoothing has more, but not at its peak
            peak[(peak < finer) | (numbers == 0)] = np.inf
            grown |= snr[wide] > HALF * peak[areas]
            seeds |= sure & np.isfinite(peak[areas])
        clear, before = np.maximum(clear, over), wide
    return snr[SMOOTH], clear, seeds, grown


def _least(least: float, depth: Float, against: float, inner: Bool) -> Float:
    """Least S/N of a region: `least`, or more where negatives are deeper than those of Gaussian noise."""
    strange = np.where(inner, np.clip((depth - USUAL) / (STRANGE - USUAL), 0, 1), 1.0)
    return np.maximum(least, against * depth * strange)


def _inner(search: CompactSearch) -> Bool:
    """Away from edges, which cut sources and where noise is less well known."""
    away: Bool = distance_transform_edt(np.pad(search.valid, 1))[1:-1, 1:-1] > SMOOTH * search.size
    return away


def _zero_level(values: Float) -> tuple[float, float]:
    """Middle and deviation of the values without emission: those below the middle, and as far above."""
    middle, spread = float(np.median(values)), 0.0
    for _ in range(50):
        low = values[values <= middle]
        spread = float(np.sqrt(np.mean((middle - low) ** 2)))
        before, middle = middle, float(np.median(values[values <= middle + spread])) + OFFSET * spread
        if abs(middle - before) < 0.01 * spread:
            break
    return middle, spread


def pieces(sources: Sources, search: CompactSearch) -> Bool:
    """Sources that may be pieces of diffuse emission."""
    values = sources.values
    positive = values[:, 0] > 0
    broad = sources.resolved & positive & (sources.fwhm > BROAD * search.size)
    broad[broad] = _beside(sources.take(broad)) | (np.abs(search.source_snr()[broad]) < PLAIN)
    theirs = np.zeros(search.data.shape)
    add_sources(theirs, values[broad])
    return broad | (positive & (values[:, 0] < FAINTER * theirs[pixels_of(values, theirs.shape)]))


def _beside(sources: Sources) -> Bool:
    """Which sources touch another one."""
    if len(sources) < 2:
        return np.zeros(len(sources), bool)
    places = sources.values[:, 1:3]
    return np.asarray(cKDTree(places).query(places, k=2)[0][:, 1] < sources.fwhm)


def _hinted(search: CompactSearch, rest: Float, broad: Sources, against: float) -> bool:
    """Whether a residual, with the broad sources that touch each other, hints at diffuse emission."""
    seen = rest.copy()
    add_sources(seen, broad.values[_beside(broad)])
    inner = _inner(search)
    for wide in (w for w in SMOOTHINGS if w >= SMOOTH):
        snr, depth = significance(search, seen, wide)
        if (snr > _least(HINT, depth, against, inner))[inner].any():
            return True
    return False


def find_diffuse(
    image: RadioImage,
    prepared: PreparedImage,
    search: CompactSearch,
    eye: Eye,
    gain: Float,
    core: tuple[slice, slice],
    *,
    always: bool = False,
    against: float = AGAINST,
    reliability: float,
    sidelobes: Array32 | None = None,
) -> Diffuse | None:
    """Find regions of diffuse emission.

    Parameters
    ----------
    image, prepared : RadioImage, PreparedImage
        The input.
    search : CompactSearch
        Its compact sources.
    eye : callable
        The network.
    gain : array
        Factor that corrects the image for the primary beam, ``[y, x]``.
    core : tuple of slice
        The write region, in the image.
    always : bool, optional
        Whether to run it even where nothing hints at diffuse emission.
    against : float, optional
        Lowest S/N of a region over that of the deepest negative near it; 0 where they are compared later.
    reliability : float
        Lowest reliability of a region.
    sidelobes : array, optional
        Rms of the sidelobes that are in a dirty image, ``[y, x]``, in its unit.

    Returns
    -------
    Diffuse or None
        None where the network was not run.
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
    snr, clear, seeds, grown = _shown(search, rest, against)
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
    seed = min(SEED, settings.seed[0]), settings.seed[1]
    easy = settings.model_copy(update={"seed": seed})
    labels = segment(mean, sigma, allowed, easy, prepared.beam_area)
    labels = _with_plain(labels, seeds & allowed, grown & allowed)
    taken = np.zeros(labels.shape)
    add_sources(taken, sources.values[sure])
    v = sources.values[broad]
    flux = 2 * np.pi * v[:, 0] * np.sqrt(np.maximum(v[:, 3] * v[:, 5] - v[:, 4] ** 2, 0))
    at = pixels_of(v, labels.shape)
    own = np.array([(p >= c.start) & (p < c.stop) for p, c in zip(at, core)]).all(axis=0)
    fluxes = np.stack([labels[at], flux], axis=1)
    edge = binary_dilation(~valid, border_value=1)
    whole = slice(0, labels.shape[0]), slice(0, labels.shape[1])
    signs = [
        _signs(labels[box], rest[box], taken[box], clear[box], edge[box], int(labels.max(initial=0)))
        for box in (whole, core)
    ]
    likely = are_regions(signs[0], fluxes, prepared.beam_area)
    mean, sigma = mean * rms, sigma * rms
    kernel = settings.error_kernel(prepared.beam, max(mean.shape))
    regions = split_at_saddles(relabelled(labels, np.flatnonzero(likely)), snr, clear)
    noise = np.nan_to_num(seen.rms * gain)
    right = np.zeros(int(regions.max(initial=0)) + 1)
    for r in measure(mean * gain, sigma * gain, regions, kernel, shapes=False):
        right[r.number] = region_reliability(r, noise, settings, prepared.beam_area)
    likely = joint_reliability(right, clear, regions) >= reliability
    return Diffuse(
        labels, (regions > 0) & likely[regions], mean, sigma, rms, snr, clear, settings,
        sources.take(sure & ~wide), alone, signs[1], fluxes[own],
    )  # fmt: skip


def _with_plain(labels: Labels, seeds: Bool, grown: Bool) -> Labels:
    """Candidates of the network, and areas of the residual with a seed."""
    areas = connected_labels(grown)
    keep = np.bincount(areas[seeds & grown], minlength=int(areas.max(initial=0)) + 1) > 0
    keep[0] = False
    return connected_labels((labels > 0) | keep[areas]) if keep.any() else labels


def _signs(
    labels: Labels, rest: Float, taken: Float, clear: Float, edge: Bool, count: int
) -> dict[str, Float]:
    """See `Diffuse`."""
    at = labels > 0
    own = labels[at]
    pixels, flux, gone, cut = (
        np.bincount(own, weights=w, minlength=count + 1).astype(float)
        for w in (None, rest[at], taken[at], edge[at].astype(float))
    )
    highest = np.full(count + 1, -np.inf)
    np.maximum.at(highest, own, clear[at])
    return {"pixels": pixels, "flux": flux, "taken": gone, "highest": highest, "cut": cut}


def joint_reliability(reliability: Array, clear: Array, labels: Labels) -> Array:
    """Reliability of regions by what the network sees and by the smoothed residual together.

    The chance that the network is wrong is divided by the square of the factor by which the residual exceeds
    the least value of a region: peaks of noise are that much rarer there.

    Parameters
    ----------
    reliability : array
        By the network, ``[n + 1]``; the first is not used.
    clear : array
        See `Diffuse`, ``[y, x]``.
    labels : array of int
        The regions, ``[y, x]``.

    Returns
    -------
    array
        ``[n + 1]``
    """
    highest = np.ones(len(reliability))
    np.maximum.at(highest, labels.ravel(), clear.ravel())
    return np.asarray(1 - (1 - reliability) / highest**2)


def split_at_saddles(labels: Labels, snr: Array, clear: Array) -> Labels:
    """Cut regions at their saddles, and drop parts that are too faint.

    Parameters
    ----------
    labels : array of int
        Regions, ``[y, x]``.
    snr, clear : array
        See `Diffuse`; each part has `clear` above 1 somewhere.

    Returns
    -------
    array of int
        Parts from 1, ``[y, x]``.
    """
    parts = split_regions(labels, snr)
    found = find_objects(parts)
    kept = [k for k, box in enumerate(found, start=1) if (clear[box][parts[box] == k] > 1).any()]
    return relabelled(parts, np.array(kept, np.intp))


def are_regions(signs: dict[str, Float], broad: Float, beam_area: float) -> Bool:
    """Which candidates are regions, by their signs; see `Diffuse`.

    Parameters
    ----------
    signs : dict of array
        Of each candidate, ``[n + 1]``.
    broad : array
        Candidate and flux of the broad Gaussians, ``[m, 2]``.
    beam_area : float
        [pixel]

    Returns
    -------
    array of bool
        ``[n + 1]``; the first is False.
    """
    pixels, flux = signs["pixels"], signs["flux"]
    clear = signs["highest"] > 1
    clear &= (pixels > SMALLEST * beam_area) | (signs["cut"] > 0)
    # small, and with less flux than the sources subtracted from it
    clear &= ~((pixels < NEAR * beam_area) & (signs["taken"] > flux))
    held = np.zeros(len(pixels))
    home = broad[:, 0].astype(int)
    order = np.lexsort([-broad[:, 1], home])
    rank = np.arange(len(order)) - np.searchsorted(home[order], home[order])
    np.add.at(held, home[order][rank < FEW], broad[order, 1][rank < FEW])
    # a few Gaussians describe the emission
    clear &= ~(held > DESCRIBED * flux)
    clear[0] = False
    return np.asarray(clear)


def measure_again(
    table: Table, gain: Float, labels: Labels, seen: Array32, rest: Float, noise: Float, kernel: Float,
    beam_area: float,
) -> None:  # fmt: skip
    """Measure the fluxes of regions in the data minus the compact model.

    Errors are those of the noise, and of outlines that follow it (`OUTLINED`).

    Parameters
    ----------
    table : Table
        Of the regions, in the order of their labels; changed in place.
    gain : array
        As for `find_diffuse`.
    labels : array of int
        The regions, ``[y, x]``.
    seen, rest : array
        The network's image, and the data minus the compact model.
    noise, kernel : array
        The noise, and its correlation by the separation of two pixels.
    beam_area : float
        [pixel]
    """
    before, now = (
        np.bincount(labels.ravel(), weights=(v * gain).ravel(), minlength=len(table) + 1)[1:]
        for v in (seen, rest)
    )
    scale = np.asarray(table["flux"], float) / before
    error = np.array(
        [
            sum_error(np.where(labels[box] == k, (noise * gain)[box], 0), kernel) if box is not None else 0.0
            for k, box in enumerate(find_objects(labels, max_label=len(table)), start=1)
        ]
    )
    table["flux"] = table["flux_mask"] = now * scale
    area = np.bincount(labels.ravel(), minlength=len(table) + 1)[1:] / beam_area
    level = np.abs(now) / np.maximum(error * np.sqrt(area), 1e-300)
    error *= np.hypot(1, OUTLINED / np.maximum(level, 1e-3))
    table["flux_err"] = table["flux_mask_err"] = error * np.abs(scale)


def join_tables(
    catalog: Table, components: Table, regions: Table, islands: NDArray[np.integer]
) -> tuple[Table, Table]:
    """Join the catalogues of compact objects and regions.

    Parameters
    ----------
    catalog, components : Table
        Of the compact objects.
    regions : Table
    islands : array of int
        Connected area of each row, by its id.

    Returns
    -------
    catalog, components : Table
        With the columns ``island`` and ``group`` (in the catalogue): the number of regions that touch each
        other and of the objects inside them.
    """

    joined = vstack([catalog, regions], metadata_conflicts="silent")
    joined = joined[np.argsort(joined["id"], kind="stable")]
    parts = vstack([components, components_of(regions)], metadata_conflicts="silent")
    parts = parts[np.argsort(parts["id"], kind="stable")]
    for table in (joined, parts):
        table["island"] = islands[np.asarray(table["id"], int)]
    joined["group"] = _groups(joined)
    return joined, parts


def _groups(table: Table) -> Int:
    """A number for regions that touch each other and the objects in them; 0 for single objects."""
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
