"""Points, single or in pairs, injected into a user's own image and searched for as compact sources.

They have the shape of the image's clean beam, and a known S/N, their peak over the local noise. Noise,
artefacts, diffuse emission and other sources are the image's own.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import ClassVar

import numpy as np
from astropy.table import Table, vstack
from scipy.ndimage import distance_transform_edt

from faintsky.arrays import Bool, Float
from faintsky.beams import beam_covariance
from faintsky.companions import cut
from faintsky.image import RadioImage
from faintsky.injecting.recovery import N_BINS, Recovery, add_found, inner_pixels, recovery_of
from faintsky.matching import Criterion, column, match
from faintsky.preparing import PreparedImage

SEPARATIONS = (0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
"""Pairs: separations of the two points [beam]."""
FLUX_RATIOS = (1.0, 0.2)
"""Pairs: ratios of the fainter to the brighter point's flux."""
SPACING = 4.0
"""Least distance between injected points, or between the members of pairs [beam]."""
FROM_OWN = 1.5
"""Least distance of an injected point from the image's own sources [beam]."""
RADIUS = 0.6
"""Largest distance of a detection from its source [beam]."""
_TRIES = 40


@dataclass
class PointPlace:
    """An image into which points are injected.

    Parameters
    ----------
    data : RadioImage
        The user's image.
    prepared : PreparedImage
        Its noise and beam.
    own, negative : Table
        Compact sources of the image itself and of its negative, see `compact_entries`.
    pairs : bool, optional
        Whether to inject pairs; the S/N is then that of the fainter point.

    Attributes
    ----------
    SNR_RANGE : tuple of float
        Default range of the sources' S/N, which is uniform in its logarithm.
    PER_RUN, LEVEL : int, float
        Default number of sources at a time, and S/N at which the completeness is reported.
    """

    SNR_RANGE: ClassVar = (3.0, 50.0)
    PER_RUN: ClassVar = 50
    LEVEL: ClassVar = 5.0

    data: RadioImage
    prepared: PreparedImage
    own: Table
    negative: Table
    pairs: bool = False

    @cached_property
    def room(self) -> Bool:
        """Pixels away from blank ones and from the image's own sources, and within the mask, if any."""
        beam, empty = self.prepared.beam_pixels, np.ones(self.prepared.valid.shape, dtype=bool)
        inner = inner_pixels(self.data, self.prepared)
        place = [np.rint(column(self.own, name)).astype(int) for name in "yx"]
        y, x = np.clip(place, 0, np.array(empty.shape)[:, None] - 1)
        empty[y, x] = False
        if len(x):
            inner = inner & (distance_transform_edt(empty) > FROM_OWN * beam)
        return inner

    def draw(self, n: int, rng: np.random.Generator, snr: tuple[float, float]) -> Table:
        """Draw points away from each other and from the image's own sources.

        Parameters
        ----------
        n : int
            Number of points, each of a pair counted.
        rng : numpy.random.Generator
            The source of random numbers.
        snr : tuple of float
            Range of the S/N.

        Returns
        -------
        Table
            ``x``, ``y`` [pixel], ``ra``, ``dec`` [deg], ``snr``, ``peak`` [unit of the image], ``flux`` [Jy,
            not corrected for the primary beam], ``pair`` (-1 for none), ``separation`` [beam], ``ratio``. It
            has fewer rows if there is no room.
        """

        ys, xs = np.nonzero(self.room)
        rows: list[tuple[float, ...]] = []
        centres = np.zeros((0, 2))
        for _ in range(_TRIES * n if len(ys) else 0):
            if len(rows) >= n:
                break
            k = int(rng.integers(len(ys)))
            centre = np.array([xs[k], ys[k]]) + rng.uniform(-0.5, 0.5, 2)
            wanted, turn = float(np.exp(rng.uniform(*np.log(snr)))), rng.uniform(0, np.pi)
            pair = (-1, 0.0, 1.0)
            if self.pairs:
                pair = (len(centres), float(rng.choice(SEPARATIONS)), float(rng.choice(FLUX_RATIOS)))
            half = pair[1] * self.prepared.beam_pixels / 2 * np.array([np.cos(turn), np.sin(turn)])
            if (np.hypot(*(centres - centre).T) < (SPACING + pair[1]) * self.prepared.beam_pixels).any():
                continue
            members = [(centre - half, 1 / pair[2]), (centre + half, 1.0)][not self.pairs :]
            noise = [self._noise(place) for place, _ in members]
            if not all(noise):
                continue
            for (place, factor), sigma in zip(members, noise):
                peak = wanted * noise[-1] * factor
                rows.append((*place, peak / sigma, peak, *pair))
            centres = np.vstack([centres, centre])
        table = Table(rows=rows or None, names=("x", "y", "snr", "peak", "pair", "separation", "ratio"),
                      dtype=[float] * 4 + [int, float, float])  # fmt: skip
        x, y = (column(table, k) for k in "xy")
        table["ra"], table["dec"] = self.data.sky(x, y)
        factor = self.prepared.jy_per_beam if np.isfinite(self.prepared.jy_per_beam) else 1.0
        table["flux"] = column(table, "peak") * factor * self.data.peak_factor(x, y)
        return table

    def _noise(self, place: Float) -> float:
        """Noise at a position, 0 if there is no room."""
        x, y = (int(np.floor(v + 0.5)) for v in place)
        n_y, n_x = self.room.shape
        inside = 0 <= x < n_x and 0 <= y < n_y and self.room[y, x]
        return float(self.prepared.rms[y, x]) if inside else 0.0

    def with_sources(self, sources: Table) -> RadioImage:
        """The image with the points of `draw`; blank pixels stay blank."""
        data = np.array(self.data.data, dtype=np.float64)
        x, y = (column(sources, k) for k in "xy")
        assert self.prepared.beam is not None, "points have the image's beam"
        beams = self.data.local_beams(self.prepared.beam, x, y)
        for px, py, peak, beam in zip(x, y, column(sources, "peak"), beams):
            half = int(2.5 * beam[0]) + 2
            j, i = (slice(max(int(v) - half, 0), int(v) + half + 1) for v in (py, px))
            v, u = np.mgrid[j, i][:, : data.shape[0] - j.start, : data.shape[1] - i.start]
            offsets = np.stack([u - px, v - py])
            inverse = np.linalg.inv(beam_covariance(tuple(beam)))
            data[j, i] += peak * np.exp(-0.5 * np.einsum("iyx,ij,jyx->yx", offsets, inverse, offsets))
        seen = data.astype(np.float32)
        return replace(self.data, load=partial(cut, seen[None]))

    def compare(self, sources: Table, found: Table) -> tuple[Table, int]:
        """Match injected points and catalogue entries.

        Returns
        -------
        sources : Table
            With ``found`` and ``found_flux`` [as ``flux``], ``found_deboosted``, ``found_snr``, ``found_x``,
            ``found_y``, ``found_flux_err``, ``found_reliability``.
        others : int
            Entries that are neither injected nor the image's own.
        """
        rule = Criterion("place", along_z=False, radius=RADIUS * self.prepared.beam_pixels)
        pairs = match(sources, found, rule)
        through = np.nan_to_num(column(found, "pb"), nan=1.0)
        fluxes = {"flux": "flux", "flux_err": "flux_err", "deboosted": "flux_deboosted"}
        measured = {name: column(found, of) * through for name, of in fluxes.items()}
        measured |= {name: column(found, name) for name in ("snr", "x", "y", "reliability")}
        add_found(sources, pairs, measured)
        rest = found["x", "y"][pairs.unmatched_found]
        return sources, len(match(self.own["x", "y"], rest, rule).unmatched_found)

    def recovery(self, sources: Table, snr: tuple[float, float]) -> Recovery:
        """Completeness and flux against true and measured S/N, in bins of equal ratio."""
        edges = np.geomspace(*snr, N_BINS + 1)
        measured = by_measured_snr(sources, self.own, self.negative, edges)
        return replace(recovery_of(sources, edges, level=self.LEVEL), measured=measured)

    def with_completeness(self, recovery: Recovery) -> Table:
        """The image's own sources with a column ``completeness``, from the curve at their S/N."""
        own, curve = self.own.copy(), recovery.curve
        own["completeness"] = np.full(len(own), np.nan) if curve is None else curve(column(own, "snr"))
        return own


def compact_entries(catalog: Table, components: Table, *, diffuse: bool = False) -> Table:
    """Compact sources of positive flux: objects of one component, and the components of other objects.

    Parameters
    ----------
    catalog, components : Table
        Objects and components.
    diffuse : bool, optional
        Include diffuse regions.

    Returns
    -------
    Table
    """

    several = np.asarray(catalog["n_components"]) > 1
    parts = components[np.isin(components["id"], catalog["id"][several])]
    both = vstack([catalog[~several], parts], metadata_conflicts="silent")
    return both[((both["kind"] != "diffuse") | diffuse) & ~(column(both, "flux") < 0)]


def by_measured_snr(sources: Table, own: Table, negative: Table, edges: Float) -> dict[str, Float]:
    """Flux bias and reliability of entries by their measured S/N.

    Parameters
    ----------
    sources : Table
        Injected sources, see `PointPlace.compare`. They are weighted to counts N(>S) proportional to 1/S.
    own, negative : Table
        Compact entries of the image, and of its negative, where all are false.
    edges : array
        Edges of the bins of measured S/N.

    Returns
    -------
    dict
        ``flux_bias`` and ``deboosted_bias``, weighted medians of found over true flux; ``entries`` and
        ``negative_entries``; ``reliability``, 1 minus the ratio of the latter to the former. Each is
        ``[bin]``, NaN in empty bins.
    """
    place = np.digitize(column(sources, "found_snr"), edges) - 1
    counts = [np.histogram(column(t, "snr"), edges)[0].astype(float) for t in (own, negative)]
    out: dict[str, Float] = {}
    for name, of in (("flux_bias", "found_flux"), ("deboosted_bias", "found_deboosted")):
        ratio = column(sources, of) / column(sources, "flux")
        rows = [np.flatnonzero((place == k) & np.isfinite(ratio)) for k in range(len(edges) - 1)]
        out[name] = np.array([_weighted_median(ratio[r], 1 / column(sources, "snr")[r]) for r in rows])
    out["entries"], out["negative_entries"] = counts
    with np.errstate(divide="ignore", invalid="ignore"):
        out["reliability"] = np.where(counts[0] > 0, np.clip(1 - counts[1] / counts[0], 0, 1), np.nan)
    return out


def _weighted_median(values: Float, weights: Float) -> float:
    if not len(values):
        return float("nan")
    order = np.argsort(values)
    part = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(part, part[-1] / 2)])
