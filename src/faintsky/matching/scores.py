"""Precision, recall, F1 and mean overlap over many cubes, with errors from a bootstrap over cubes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.matching.pairing import Criterion, Matching, column, match

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number and its 1-sigma error.

    Parameters
    ----------
    value, error : float
        In the same unit.
    """

    value: float
    error: float


@dataclass(frozen=True)
class Metrics:
    """Scores of a method at one reliability threshold; errors are from a bootstrap over cubes.

    Parameters
    ----------
    threshold : float
        Detections of lower reliability were left out before matching.
    n_cubes, n_true, n_found : int
        Cubes, true sources in the subset, and detections that are hits in the subset or false.
    tp, fp, fn : int
        Hits, false positives, misses.
    precision, recall, f1, iou_2d, iou_z, false_per_cube : Estimate
        NaN where undefined (no detection, no source).
    """

    threshold: float
    n_cubes: int
    n_true: int
    n_found: int
    tp: int
    fp: int
    fn: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    iou_2d: Estimate
    iou_z: Estimate
    false_per_cube: Estimate

    def flat(self) -> dict[str, float]:
        """One row of a table.

        Returns
        -------
        dict of str to float
            All numbers by name, every estimate as ``NAME`` and ``NAME_error``.
        """
        row: dict[str, float] = {}
        for name, value in self.__dict__.items():
            if isinstance(value, Estimate):
                row[name], row[f"{name}_error"] = value.value, value.error
            else:
                row[name] = value
        return row


def tally(matching: Matching, subset: NDArray[np.bool_] | None = None) -> Float:
    """Sums over one cube: hits, false positives, misses, summed IoU in 2-D and along frequency, ``[5]``.

    With a ``subset`` of the truth (boolean, ``[n_true]``), hits and misses count its members only. A
    detection that is matched to another true source is then neither a hit nor false.
    """
    wanted = np.ones(matching.n_true, dtype=bool) if subset is None else np.asarray(subset, dtype=bool)
    hit = wanted[matching.i_true]
    tp = int(hit.sum())
    fp = len(matching.unmatched_found)
    return np.array(
        [tp, fp, int(wanted.sum()) - tp, matching.iou_2d[hit].sum(), matching.iou_z[hit].sum()], dtype=float
    )


def _ratios(sums: Float, n_cubes: int) -> Float:
    """Precision, recall, F1, mean IoU in 2-D and in z, false positives per cube; from sums ``[..., 5]``."""
    tp, fp, fn, sum_2d, sum_z = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = [tp / (tp + fp), tp / (tp + fn), 2 * tp / (2 * tp + fp + fn), sum_2d / tp, sum_z / tp]
        return np.stack([*ratios, fp / n_cubes], axis=-1)


def _least_errors(tp: float, fp: float, fn: float, n_cubes: int) -> Float:
    """Smallest errors, for scores of 0 or 1, which do not vary in a bootstrap.

    They are half the 68 % interval: Wilson's for fractions, Poisson's for a number of false sources of 0.
    Elsewhere they are 0.
    """
    least = np.zeros(6)
    for k, (hits, misses) in enumerate(((tp, fp), (tp, fn), (2 * tp, fp + fn))):
        if hits == 0 or misses == 0:
            least[k] = 0.5 / (hits + misses + 1.0)
    least[5] = 1.84 / n_cubes if fp == 0 else 0.0  # upper end of Poisson's 68 % interval for none seen
    return least


def summarise(tallies: Float, threshold: float = 0.0, *, n_bootstrap: int = 1000, seed: int = 0) -> Metrics:
    """Metrics from the tallies of every cube.

    Parameters
    ----------
    tallies : array
        `tally` of each cube, ``[cube, 5]``.
    threshold : float, optional
        Recorded in the result only.
    n_bootstrap : int, optional
        Number of draws of all cubes with replacement. Whole cubes are drawn because the sources of a cube
        share its noise and sidelobes, and so are not independent.
    seed : int, optional
        Seed of the bootstrap.

    Returns
    -------
    Metrics

    Raises
    ------
    ValueError
        There is no cube.
    """
    import warnings

    n_cubes = len(tallies)
    if n_cubes == 0:
        raise ValueError("metrics need at least one cube")
    total = tallies.sum(axis=0)
    values = _ratios(total, n_cubes)
    weights = np.random.default_rng(seed).multinomial(n_cubes, np.full(n_cubes, 1 / n_cubes), n_bootstrap)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of NaN where a ratio is undefined
        scatter = np.nanstd(_ratios(weights @ tallies, n_cubes), axis=0)
    tp, fp, fn = (int(v) for v in total[:3])
    errors = np.maximum(scatter, _least_errors(tp, fp, fn, n_cubes))
    errors = np.where(np.isfinite(values), errors, np.nan)
    estimates = [Estimate(float(v), float(e)) for v, e in zip(values, errors)]
    return Metrics(threshold, n_cubes, tp + fn, tp + fp, tp, fp, fn, *estimates)


def above(found: Table, threshold: float) -> Table:
    """The detections of at least that reliability; all if the table has no such column."""
    if "reliability" not in found.colnames or not len(found):
        return found
    return found[~(column(found, "reliability") < threshold)]


def metrics(
    truths: Sequence[Table],
    founds: Sequence[Table],
    criterion: Criterion | str = "position",
    thresholds: Sequence[float] = (0.0,),
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> list[Metrics]:
    """Precision, recall, F1 and mean IoU over many cubes, at one or many reliability thresholds.

    Parameters
    ----------
    truths, founds : sequence of Table
        True and found sources: a pair of tables for each cube.
    criterion : Criterion or str, optional
        As in `match`.
    thresholds : sequence of float, optional
        Reliability thresholds. The matching is repeated at each, because a detection that is left out may
        free its true source for another.
    n_bootstrap, seed : int, optional
        As in `summarise`.

    Returns
    -------
    list of Metrics
        One for each threshold.
    """
    out = []
    for limit in thresholds:
        cut = [
            match(truth, above(found, limit), criterion) for truth, found in zip(truths, founds, strict=True)
        ]
        tallies = np.array([tally(m) for m in cut]).reshape(-1, 5)
        out.append(summarise(tallies, limit, n_bootstrap=n_bootstrap, seed=seed))
    return out
