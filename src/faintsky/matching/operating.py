"""How much a catalogue holds where it is cut so that it is pure: recall at a precision asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.matching.pairing import Criterion, column, match
from faintsky.matching.scores import Estimate

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """The cut of the highest recall among those that are pure enough.

    Parameters
    ----------
    asked : float
        Precision asked for.
    threshold : float
        Least reliability that is kept; NaN where no cut is pure enough.
    precision : float
        What the cut has.
    recall : Estimate
        Its error is of a bootstrap over cubes in which the cut is chosen anew; NaN where there is none.
    n_cubes : int
        Cubes it was measured on.
    """

    asked: float
    threshold: float
    precision: float
    recall: Estimate
    n_cubes: int


def recall_at_precision(
    truths: Sequence[Table],
    founds: Sequence[Table],
    criterion: Criterion | str = "position",
    precision: float = 0.99,
    *,
    n_bootstrap: int = 300,
    seed: int = 0,
) -> OperatingPoint:
    """Highest recall of a catalogue cut in reliability such that its precision is at least ``precision``.

    Parameters
    ----------
    truths, founds : sequence of Table
        True and found sources, a pair of tables a cube; the found ones searched deeper than the cut. Rows
        without a reliability stay in every cut.
    criterion : Criterion or str, optional
        As in `faintsky.matching.match`; matched again wherever a matched detection falls out.
    precision : float, optional
        Least share of true ones.
    n_bootstrap, seed : int, optional
        Draws of cubes and their seed.
    """
    n_cubes = len(truths)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_cubes, np.full(n_cubes, 1 / n_cubes), n_bootstrap)
    weights = np.concatenate([np.ones((1, n_cubes)), draws])
    thresholds, hits, kept = _sweep(truths, founds, criterion, weights)
    true = weights @ np.array([len(t) for t in truths], dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        pure = np.where(kept > 0, hits / kept, 0.0)
        recall = hits / true
    best = np.where(pure >= precision, recall, 0.0).max(axis=0)
    passed = np.flatnonzero(pure[:, 0] >= precision)
    if not len(passed):
        nan = float("nan")
        return OperatingPoint(precision, nan, nan, Estimate(nan, nan), n_cubes)
    at = passed[np.argmax(recall[passed, 0])]
    # a share that comes out as 1 is not certain: half of Wilson's 68 % interval at least
    error = max(float(np.nanstd(best[1:])), 0.5 / (true[0] + 1) if recall[at, 0] in (0.0, 1.0) else 0.0)
    return OperatingPoint(
        precision, float(thresholds[at]), float(pure[at, 0]), Estimate(float(recall[at, 0]), error), n_cubes
    )


def _sweep(
    truths: Sequence[Table], founds: Sequence[Table], criterion: Criterion | str, weights: Float
) -> tuple[Float, Float, Float]:
    """Every cut: its threshold ``[cut]``, hits and detections under each weighting ``[cut, weighting]``."""
    reliability = [
        np.nan_to_num(column(f, "reliability"), nan=np.inf)
        if "reliability" in f.colnames
        else np.full(len(f), np.inf)
        for f in founds
    ]
    matchings = [match(t, f, criterion) for t, f in zip(truths, founds, strict=True)]
    alive = [np.arange(len(f)) for f in founds]
    hits = weights @ np.array([len(m.i_true) for m in matchings], dtype=float)
    kept = weights @ np.array([len(f) for f in founds], dtype=float)
    cube = np.repeat(np.arange(len(founds)), [len(f) for f in founds])
    row = np.concatenate([np.empty(0, dtype=np.intp), *alive])
    value = np.concatenate([np.empty(0), *reliability])
    order = np.argsort(value, kind="stable")
    cuts = [(value[order[0]] if len(order) else 0.0, hits.copy(), kept.copy())]
    for place, k in enumerate(order):
        if np.isinf(value[k]):
            break
        c, gone = int(cube[k]), int(row[k])
        where = int(np.searchsorted(alive[c], gone))
        matched = matchings[c].partner_of_found[where] >= 0
        before = len(matchings[c].i_true)
        alive[c] = np.delete(alive[c], where)
        matchings[c] = match(truths[c], founds[c][alive[c]], criterion)
        # one that was false takes nothing with it; one that was a hit may leave its source to another
        hits = hits - weights[:, c] * (before - len(matchings[c].i_true) if matched else 0)
        kept = kept - weights[:, c]
        last = place + 1 == len(order)
        if last or value[order[place + 1]] > value[k]:
            cuts.append((np.inf if last else value[order[place + 1]], hits.copy(), kept.copy()))
    threshold, all_hits, all_kept = zip(*cuts, strict=True)
    return np.array(threshold), np.stack(all_hits), np.stack(all_kept)
