"""Recovery of injected sources: completeness and flux against their S/N."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import ArrayLike
from scipy.ndimage import binary_erosion

from faintsky.arrays import Bool, Float
from faintsky.errors import InputError
from faintsky.image import RadioData
from faintsky.matching import (
    Binned,
    CompletenessCurve,
    Estimate,
    Matching,
    binned_fraction,
    column,
    completeness_at,
    robust_scatter,
)
from faintsky.options import Progress
from faintsky.system import LOCAL, run_tasks

N_BINS = 8


def recover(
    place: Any,
    find: Callable[[Any], Any],
    n: int,
    per_run: int,
    *,
    snr: tuple[float, float],
    seed: int = 0,
    progress: Progress | None = None,
    jobs: int = 1,
    cluster: str = LOCAL,
) -> tuple[Table, int, int]:
    """Inject sources, a few in each run, and search for them.

    Parameters
    ----------
    place : CubePlace or ImagePlace
        Data into which sources are injected.
    find : callable
        From a cube or image to what ``compare`` of the place takes: a catalogue, or `Outlined`.
    n, per_run : int
        Numbers of all sources and of those in each run.
    snr : tuple of float
        Range of their S/N.
    seed : int, optional
        Seed of the sources; run i depends on (seed, i) only.
    progress : callable, optional
        Called with sources done, sources in all, and a word.
    jobs, cluster : int and str, optional
        As for `faintsky.system.run_tasks`, where a run is a task.

    Returns
    -------
    sources : Table
        Injected sources and their measured values, see ``compare`` of the place, and ``run``.
    runs, others : int
        Number of runs, and of detections that are neither injected nor the data's own.

    Raises
    ------
    InputError
        If there is no room for a source.
    """

    tell = progress or (lambda done, total, word: None)
    runs: list[tuple[int, Any]] = []
    there = done = 0
    while there < n:
        drawn = place.draw(min(per_run, n - there), np.random.default_rng([seed, len(runs)]), snr)
        if not len(drawn):
            fault = "has no room for another source beside its own sources and blank pixels"
            raise InputError(fault, "give larger data or a mask with room", place.data.name)
        runs.append((len(runs), drawn))
        there += len(drawn)
    tell(0, n, "sources injected")
    parts: dict[int, tuple[Table, int]] = {}
    for (run, drawn), found in run_tasks(partial(_recovered, place, find), runs, jobs, cluster=cluster):
        found[0]["run"] = run
        parts[run], done = found, done + len(drawn)
        tell(done, n, "sources injected")
    tables, others = zip(*(parts[k] for k in sorted(parts)))
    return vstack(tables, metadata_conflicts="silent"), len(runs), sum(others)


def add_found(sources: Table, pairs: Matching, measured: Mapping[str, Float]) -> None:
    """Add whether injected sources were found, and columns ``found_NAME``, NaN for those that were not.

    Parameters
    ----------
    sources : Table
        The injected sources, changed in place.
    pairs : Matching
        Of them and the detections.
    measured : mapping
        Columns of the detections by NAME.
    """
    sources["found"] = pairs.partner_of_true >= 0
    for name, values in measured.items():
        own = np.full(len(sources), np.nan)
        own[pairs.i_true] = values[pairs.i_found]
        sources[f"found_{name}"] = own


def inner_pixels(data: RadioData, prepared: Any) -> Bool:
    """Pixels at least a beam away from blank ones and within the mask, if there is one, ``[y, x]``."""
    valid, beams = np.pad(prepared.valid, 1), max(1, round(prepared.beam_pixels))
    inner: Bool = binary_erosion(valid, iterations=beams)[1:-1, 1:-1]
    return inner if data.mask is None else inner & data.mask.any(axis=0)


def _recovered(place: Any, find: Callable[[Any], Any], run: tuple[int, Any]) -> tuple[Table, int]:
    """A run's sources with their measured values, and the number of other detections."""
    found: tuple[Table, int] = place.compare(run[1], find(place.with_sources(run[1])))
    return found


@dataclass(frozen=True)
class Recovery:
    """Completeness and flux of injected sources against their S/N.

    Parameters
    ----------
    completeness : Binned
        Fraction found, with Wilson's 68 % interval.
    curve : CompletenessCurve or None
        Fitted to all sources; None with too few.
    at_level : Estimate
        The curve at the requested S/N.
    flux_ratio, flux_error, flux_scatter : array
        Median found over true flux in each bin, its error, and the robust scatter, ``[bin]``.
    share : array or None
        For diffuse sources, mean fraction of the outline in regions, ``[bin]``.
    measured : mapping of str to array, optional
        For points, values of `by_measured_snr` in the same bins of measured S/N.
    """

    completeness: Binned
    curve: CompletenessCurve | None
    at_level: Estimate
    flux_ratio: Float
    flux_error: Float
    flux_scatter: Float
    share: Float | None = None
    measured: Mapping[str, Float] = field(default_factory=dict)

    def rows(self) -> list[dict[str, float]]:
        """One row for each bin."""
        b = self.completeness
        columns = {
            "snr_from": b.edges[:-1], "snr_to": b.edges[1:], "n": b.n, "completeness": b.fraction,
            "low": b.low, "high": b.high, "flux_ratio": self.flux_ratio, "flux_ratio_error": self.flux_error,
            "flux_scatter": self.flux_scatter,
        }  # fmt: skip
        if self.share is not None:
            columns["share"] = self.share
        columns |= self.measured
        return [dict(zip(columns, (float(v) for v in row))) for row in zip(*columns.values())]


def recovery_of(
    sources: Table, edges: ArrayLike | None = None, *, level: float = 7.0, image: bool = False
) -> Recovery:
    """`Recovery` of injected sources, with ``snr``, ``found``, ``flux``, ``found_flux`` and ``run``.

    Parameters
    ----------
    sources : Table
        From `recover`.
    edges : array, optional
        Edges of the bins of S/N: by default eight of equal width, for images of equal ratio.
    level : float, optional
        S/N at which the completeness is reported.
    image : bool, optional
        Whether they were injected into an image; then ``share`` is averaged as well.

    Returns
    -------
    Recovery
    """
    snr, found = column(sources, "snr"), np.asarray(sources["found"], dtype=bool)
    spaced = np.geomspace if image else np.linspace
    limits = spaced(snr.min() * 0.999, snr.max() * 1.001, N_BINS + 1) if edges is None else edges
    bins = np.asarray(limits, dtype=float)
    value, curve = completeness_at(level, snr, found, column(sources, "run"))
    ratio = column(sources, "found_flux") / column(sources, "flux")
    place = np.digitize(snr, bins) - 1
    numbers = np.full((4, len(bins) - 1), np.nan)
    for k in range(len(bins) - 1):
        inside = ratio[(place == k) & np.isfinite(ratio)]
        if len(inside):
            scatter = robust_scatter(inside)
            numbers[:3, k] = np.median(inside), 1.253 * scatter / np.sqrt(len(inside)), scatter
        if image and (place == k).any():
            numbers[3, k] = column(sources, "share")[place == k].mean()
    share = numbers[3] if image else None
    ratio, error, spread = numbers[:3]
    return Recovery(binned_fraction(snr, found, bins), curve, value, ratio, error, spread, share)
