"""The results of all tiles, judged together: each source once, reliabilities, objects, regions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from faintsky.arrays import Float, Index
from faintsky.blocks import merged_pieces
from faintsky.detection.compact import LOWEST
from faintsky.detection.counts import SURE, NoisePeaks, SourceCounts, against_negatives, deboosted, fit_counts
from faintsky.detection.diffuse import are_regions
from faintsky.detection.image_catalogue import join_objects, split_by, strengths
from faintsky.detection.sources import Sources, joined_sources
from faintsky.detection.tiles import SearchPlan, SeenRegions, SeenTile

ABOVE = 2.0
"""Peak over the region's brightness above which a possible piece of the region is a source."""
PLAIN = 3.0
"""Excess of negative peaks over those of Gaussian noise, in standard errors, that counts as artefacts."""
LOW = (1.013, 1.025)
"""Least stretch of the noise, as fits have removed part of the noise it is measured on. For a constant
level, and for a map, which scatters (images 101 and 102 of `benchmarks.survey`, uniform and pbcor)."""
ODD = 14.0
"""S/N above which negative peaks are sources, except around bright sources."""
SAME = 0.35
"""Two tiles' sources at a seam count as one within this separation [beam], less than that of any blend."""
ORPHAN = 0.5
"""Least distance of a source that neither tile owns from all others [beam]."""


@dataclass
class Judged:
    """The sources of an image.

    Attributes
    ----------
    sources : Sources
        Those in the catalogue.
    tile : array of int
        The tile that owns each.
    members : list of array
        Components of each object, the most significant object first.
    values : dict of array
        Of each component, as `build_tables` takes them.
    noise : NoisePeaks
        Expected in the image.
    candidates : int
        Components before the cut in reliability.
    """

    sources: Sources
    tile: Index
    members: list[Index]
    values: dict[str, Any]
    noise: NoisePeaks
    candidates: int

    @property
    def strength(self) -> Float:
        """S/N of each object."""
        return strengths(self.sources, self.members, self.values["snr"])


def judge(plan: SearchPlan, seen: Sequence[SeenTile], size: float) -> Judged:
    """Reliabilities, the cut, and objects, from the results of all tiles.

    Parameters
    ----------
    plan : SearchPlan
    seen : sequence of SeenTile
        Of all tiles.
    size : float
        FWHM of the beam [pixel].

    Returns
    -------
    Judged
    """
    sources, tile, columns = _gathered(seen, size)
    snr = columns["snr"]
    noise = noise_peaks(sum(s.noise_peaks for s in seen), all(s.flat for s in seen), snr)
    values, counts = np.zeros(len(sources)), {}
    for sign in (1.0, -1.0):
        its = sign * snr > 0
        strength = np.abs(snr[its])
        counts[sign] = fit_counts(strength)
        values[its] = counts[sign].reliability(strength, noise, strength)
    # artefacts are counted separately around bright sources and elsewhere
    about = columns["about"]
    for those, deepest in ((about, np.inf), (~about, ODD)):
        high, low = those & (snr > 0), those & (snr < 0) & (snr > -deepest)
        values[high] *= against_negatives(snr[high], -snr[low], noise)
    # two Gaussians at one place share an S/N: keep both
    together = np.bincount(sources.group)[sources.group] > 1 if len(sources) else np.zeros(0, bool)
    kept = (values >= plan.reliability) | (together & (columns["alone"] > SURE))
    kept &= columns["looked"]
    # what the network smooths away within a region belongs to the region, unless it is much brighter
    kept &= ~(columns["piece"] & (np.abs(sources.values[:, 0]) < ABOVE * columns["brightness"]))
    # but an object of several such Gaussians is kept or dropped as a whole
    place = np.flatnonzero(kept)
    for rows in join_objects(sources.take(kept), columns["level"][kept]):
        kept[place[rows]] = values[place[rows]].max() >= plan.reliability
    chosen = sources.take(kept)
    judged = {
        "snr": np.abs(snr[kept]), "reliability": values[kept], "false_alarm": noise.above(np.abs(snr[kept])),
        "boost": _boost(snr[kept], counts), "background": columns["background"][kept],
        "undeconvolved": columns["undeconvolved"][kept],
    }  # fmt: skip
    found = Judged(
        chosen, tile[kept], join_objects(chosen, columns["level"][kept]), judged, noise, len(sources)
    )
    order = np.argsort(-found.strength, kind="stable")
    found.members = [found.members[k] for k in order]
    return found


def _gathered(seen: Sequence[SeenTile], size: float) -> tuple[Sources, Index, dict[str, NDArray[Any]]]:
    """Each source once, the tile that owns it, and its columns."""
    known = [s for s in seen if s.columns]
    sources = joined_sources([s.sources for s in known])
    tile = np.repeat([s.number for s in known], [len(s.sources) for s in known]).astype(np.intp)
    columns = {name: np.concatenate([s.columns[name] for s in known]) for name in known[0].columns}
    if len(known) == 1:
        return sources, tile, columns
    kept, places = columns["inside"].astype(bool), sources.values[:, 1:3]
    owned = np.flatnonzero(kept)
    a, b = cKDTree(places[owned]).query_pairs(SAME * size, output_type="ndarray").reshape(-1, 2).T
    later = np.where(tile[owned[a]] > tile[owned[b]], a, b)[tile[owned[a]] != tile[owned[b]]]
    kept[owned[later]] = False
    # the brightest member decides for its group
    strays = np.flatnonzero(~columns["inside"].astype(bool))
    for group in split_by(sources.group[strays]):
        rows = strays[group]
        lead = rows[np.abs(sources.values[rows, 0]).argmax()]
        near = np.hypot(*(places[kept] - places[lead]).T)
        if not len(near) or near.min() > ORPHAN * size:
            kept[rows] = True
    return sources.take(kept), tile[kept], {name: v[kept] for name, v in columns.items()}


def _boost(snr: Float, counts: dict[float, SourceCounts]) -> tuple[Float, Float]:
    """Factor on fluxes that corrects for the source counts (Eddington bias), and its flux's error, in S/N."""
    strength = np.abs(snr)
    middle, error = deboosted(strength, counts[1.0])
    lower, lower_error = deboosted(strength, counts[-1.0])
    negative = snr < 0
    return np.where(negative, lower, middle) / strength, np.where(negative, lower_error, error) / strength


def noise_peaks(amplitude: float, flat: bool, snr: Float) -> NoisePeaks:
    """Noise peaks expected in an image: those of a Gaussian field with the filtered noise's correlation.

    Adler (1981): ``N(> u) = area sqrt(det L) (2 pi)**-1.5 u exp(-u**2 / 2)``, where ``L`` is the curvature of
    the correlation. The law is stretched where clearly more negative candidates exceed some level, as stripes
    and other artefacts cause, and always at least by `LOW`.

    Parameters
    ----------
    amplitude : float
        Of the law.
    flat : bool
        Whether the noise is constant.
    snr : array
        S/N of the candidates, negative for negative ones.

    Returns
    -------
    NoisePeaks
    """
    levels = np.arange(LOWEST, SURE)
    counted = ((snr < -levels[:, None]) & (snr > -SURE)).sum(axis=1)
    for stretch in np.linspace(LOW[not flat], 2.5, 301):
        noise = NoisePeaks(amplitude, float(stretch), power=1)
        expected = noise.above(levels) - noise.above(SURE)
        if np.all(counted <= expected + PLAIN * np.sqrt(np.maximum(expected, 1.0))):
            break
    return noise


@dataclass
class DiffuseRegion:
    """A region of diffuse emission.

    Attributes
    ----------
    codes : array of int
        Numbers of its pieces in the map ``pieces``.
    box : array of int
        ``[4]``: first y and x, and one past the last y and x.
    tile : SeenTile
        The one that holds most of it.
    """

    codes: Index
    box: Index
    tile: SeenTile


def regions_of(
    plan: SearchPlan, seen: Sequence[SeenTile], beam_area: float, many: int
) -> list[DiffuseRegion]:
    """The regions that the candidates of all tiles form, in the order of their first pixels.

    Parameters
    ----------
    plan : SearchPlan
    seen : sequence of SeenTile
        Of all tiles.
    beam_area : float
        [pixel]
    many : int
        Offset of piece numbers between tiles in the map ``pieces``.

    Returns
    -------
    list of DiffuseRegion
    """
    known = [s for s in seen if s.regions is not None]
    if not known:
        return []
    parts: list[SeenRegions] = [s.regions for s in known if s.regions is not None]
    numbers = merged_pieces([p.pieces for p in parts], [plan.blocks[s.number] for s in known])
    count = max(int(n.max(initial=0)) for n in numbers)
    signs = {name: np.zeros(count + 1) for name in parts[0].signs} | {"highest": np.full(count + 1, -np.inf)}
    for part, number in zip(parts, numbers):
        for name, values in part.signs.items():
            (np.maximum if name == "highest" else np.add).at(signs[name], number[1:], values[1:])
    broad = np.concatenate(
        [np.stack([n[p.broad[:, 0].astype(int)], p.broad[:, 1]], axis=1) for p, n in zip(parts, numbers)]
    )
    clear = are_regions(signs, broad, beam_area)
    codes, home, boxes, pixels, owner = (
        np.concatenate(v)
        for v in zip(
            *(
                (
                    np.arange(1, len(n)) + many * s.number, n[1:], p.boxes[1:], p.signs["pixels"][1:],
                    np.full(len(n) - 1, k),
                )
                for k, (s, p, n) in enumerate(zip(known, parts, numbers))
            )
        )
    )  # fmt: skip
    out = []
    for rows in split_by(home):
        if clear[home[rows[0]]]:
            box = np.concatenate([boxes[rows, :2].min(axis=0), boxes[rows, 2:].max(axis=0)])
            out.append(DiffuseRegion(codes[rows], box, known[owner[rows[pixels[rows].argmax()]]]))
    return out
