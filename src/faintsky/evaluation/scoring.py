"""From catalogues on disk to numbers: the rows of the tables, the curves, the residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.evaluation.boxes import own_or_ruled_boxes
from faintsky.evaluation.cubes import CubeSet
from faintsky.evaluation.residuals import UNITS, pair_residuals, summarise_residuals
from faintsky.evaluation.runs import TRUTH, Method, catalog_path, read_table
from faintsky.evaluation.truth import setting_of
from faintsky.matching import (
    CRITERIA,
    Binned,
    CompletenessCurve,
    Estimate,
    Matching,
    Metrics,
    binned_fraction,
    column,
    completeness_at,
    match,
    metrics,
    snr_edges,
    summarise,
    tally,
)

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

SNR_ASKED = 7.0
"""Matched S/N at which the completeness is reported."""
SNR_BRIGHT = 8.0
"""Isolated sources above this matched S/N have rows of their own."""
ALL = "all"
BRIGHT = f"isolated, S/N > {SNR_BRIGHT:g}"
FLAT = ("position2d", "iou2d")
"""Criteria for methods that see the integrated image only."""
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Reliabilities at which precision and recall are traced."""


@dataclass
class Scored:
    """A method's catalogues of one set of cubes, beside the truth.

    Parameters
    ----------
    method, cubes : str
        Names of the method and the set.
    truths, founds : list of Table
        For each cube; the detections with boxes by the data set's rule.
    seconds : array
        Time of the method on each cube, ``[cube]``.
    folder : str
        Of the method's files.
    indices : tuple of int
        Numbers of the cubes.
    """

    method: str
    cubes: str
    truths: list[Table]
    founds: list[Table]
    seconds: Float
    folder: str = ""
    indices: tuple[int, ...] = ()
    matchings: dict[str, list[Matching]] = field(init=False)

    def __post_init__(self) -> None:
        self.matchings = {
            name: [match(t, f, rule) for t, f in zip(self.truths, self.founds)]
            for name, rule in CRITERIA.items()
        }

    @cached_property
    def flat(self) -> bool:
        """Whether the method sees the integrated image only: no detection has a place along frequency."""
        z = [column(f, "z") for f in self.founds if len(f)]
        return bool(z) and not np.isfinite(np.concatenate(z)).any()

    @property
    def criteria(self) -> tuple[str, ...]:
        """The criteria by which the method can be judged."""
        return FLAT if self.flat else tuple(CRITERIA)

    @property
    def main(self) -> str:
        """The criterion of curves and residuals."""
        return self.criteria[0]

    @property
    def label(self) -> str:
        """For legends."""
        return f"{self.method}, {self.cubes}"

    def joined(self, name: str) -> Float:
        """A column of all true sources in the order of the cubes, ``[n]``; NaN where there is none."""
        parts = [column(t, name) if name in t.colnames else np.full(len(t), np.nan) for t in self.truths]
        return np.concatenate([np.empty(0), *parts])

    @cached_property
    def cube_of_true(self) -> NDArray[np.intp]:
        """Place of the cube that each true source is in, ``[n]``."""
        return np.repeat(np.arange(len(self.truths)), [len(t) for t in self.truths])

    def detected(self, criterion: str | None = None) -> Bool:
        """Whether each true source was found, by the main criterion or another, ``[n]``."""
        parts = [m.partner_of_true >= 0 for m in self.matchings[criterion or self.main]]
        return np.concatenate([np.zeros(0, dtype=bool), *parts])

    def members(self, subset: str) -> list[Bool]:
        """Which true sources of each cube a subset holds."""
        if subset == ALL:
            return [np.ones(len(t), dtype=bool) for t in self.truths]
        return [_isolated(t) & (column(t, "snr") > SNR_BRIGHT) for t in self.truths]


def _isolated(truth: Table) -> Bool:
    return column(truth, "isolated") > 0.5 if len(truth) else np.zeros(0, dtype=bool)


def load_scored(out: Path, cubes: CubeSet, method: Method) -> Scored:
    """Read back what `faintsky.evaluation.runs.run_methods` wrote of one method and set."""
    truths, founds, seconds = [], [], []
    for index in cubes.indices[: method.most]:
        truth = read_table(catalog_path(out, TRUTH, cubes.name, index))
        found = read_table(catalog_path(out, method.folder, cubes.name, index))
        s = setting_of(truth.meta)
        truths.append(truth)
        seconds.append(float(found.meta["seconds"]))
        founds.append(own_or_ruled_boxes(found, s))
    indices = tuple(cubes.indices[: method.most])
    return Scored(method.name, cubes.name, truths, founds, np.array(seconds), method.folder, indices)


@dataclass(frozen=True)
class Row:
    """One line of the main table.

    Parameters
    ----------
    method, cubes, criterion, subset : str
        What was scored how.
    metrics : Metrics
        Precision, recall and so on.
    completeness : Estimate
        At matched S/N `SNR_ASKED`, of all sources or of the isolated ones, by a fit; NaN where the set
        does not reach around it.
    seconds : Estimate
        Time a cube, and its scatter.
    """

    method: str
    cubes: str
    criterion: str
    subset: str
    metrics: Metrics
    completeness: Estimate
    seconds: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Flat: every estimate as ``NAME`` and ``NAME_error``."""
        out: dict[str, Any] = {}
        for key, value in {**self.__dict__, **self.metrics.__dict__}.items():
            if isinstance(value, Estimate):
                out[key], out[f"{key}_error"] = value.value, value.error
            elif not isinstance(value, Metrics):
                out[key] = value
        return out


def rows_of(scored: Scored, seed: int = 0) -> list[Row]:
    """The rows of one method and set: every criterion, all sources and the bright isolated ones."""
    time = Estimate(float(np.mean(scored.seconds)), float(np.std(scored.seconds)))
    snr, isolated = scored.joined("snr"), scored.joined("isolated") > 0.5
    rows = []
    for criterion in scored.criteria:
        matchings = scored.matchings[criterion]
        found = scored.detected(criterion)
        for subset in (ALL, BRIGHT):
            members = scored.members(subset)
            if subset != ALL and not any(m.any() for m in members):
                continue
            counts = np.array([tally(m, k) for m, k in zip(matchings, members)])
            use = np.ones(len(snr), dtype=bool) if subset == ALL else isolated
            complete, _ = completeness_at(
                SNR_ASKED, snr[use], found[use], scored.cube_of_true[use], seed=seed
            )
            score = summarise(counts, seed=seed)
            rows.append(Row(scored.method, scored.cubes, criterion, subset, score, complete, time))
            if not len(snr):
                return rows  # without true sources every criterion says the same
    return rows


@dataclass(frozen=True)
class Curves:
    """Completeness against matched S/N and reliability against reported S/N, by the main criterion."""

    completeness: Binned
    fit: CompletenessCurve | None
    reliability: Binned


def curves_of(scored: Scored) -> Curves:
    """Curves of one method and set, over all its sources."""
    snr, found = scored.joined("snr"), scored.detected()
    _, fit = completeness_at(SNR_ASKED, snr, found, scored.cube_of_true, n_bootstrap=0)
    reported = [column(f, "snr") if "snr" in f.colnames else np.full(len(f), np.nan) for f in scored.founds]
    values = np.concatenate([np.empty(0), *reported])
    true = [m.partner_of_found >= 0 for m in scored.matchings[scored.main]]
    success = np.concatenate([np.zeros(0, dtype=bool), *true])
    return Curves(
        binned_fraction(snr, found, snr_edges(snr)), fit, binned_fraction(values, success, snr_edges(values))
    )


@dataclass(frozen=True)
class Pairs:
    """Residuals of all pairs of a method and set by one criterion, and what they are chosen by."""

    residuals: dict[str, Float]
    shared: dict[str, Float]
    snr: Float
    isolated: Bool

    @property
    def bright(self) -> Bool:
        """Isolated and above `SNR_BRIGHT`, ``[pair]``."""
        return self.isolated & (self.snr > SNR_BRIGHT)

    def select(self, where: Bool) -> tuple[dict[str, Float], Float]:
        """Residuals and S/N of some pairs."""
        return {name: values[where] for name, values in self.residuals.items()}, self.snr[where]


def _bounds(truth: Table, suffix: str) -> dict[str, Float]:
    return {name: column(truth, name + suffix) for name in UNITS if name + suffix in truth.colnames}


def pairs_of(scored: Scored, criterion: str | None = None) -> Pairs | None:
    """Residuals of one method and set by a criterion, or the main one; None where nothing was matched."""
    free, shared, snr, alone = [], [], [], []
    for truth, found, matching in zip(
        scored.truths, scored.founds, scored.matchings[criterion or scored.main]
    ):
        if not len(matching.i_true):
            continue
        cell = setting_of(truth.meta).cell
        free.append(pair_residuals(truth, found, matching, cell, _bounds(truth, "_bound")))
        shared.append(pair_residuals(truth, found, matching, cell, _bounds(truth, "_bound_shared")))
        snr.append(column(truth, "snr")[matching.i_true])
        alone.append(_isolated(truth)[matching.i_true])
    if not free:
        return None
    return Pairs(_stacked(free), _stacked(shared), np.concatenate(snr), np.concatenate(alone))


def _stacked(parts: Sequence[Mapping[str, Float]]) -> dict[str, Float]:
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def residual_rows(scored: Scored, pairs: Pairs) -> list[dict[str, Any]]:
    """Residuals of every parameter, over all pairs and over the bright isolated ones, as flat rows.

    ``over_bound`` refers to a continuum unknown in every pixel, ``over_bound_shared`` to one that has the
    source's shape (and so helps to measure it).
    """
    rows = []
    for subset, where in ((ALL, np.ones(len(pairs.snr), dtype=bool)), (BRIGHT, pairs.bright)):
        if not where.any():
            continue
        for free, shared in zip(
            summarise_residuals(pairs.residuals, where), summarise_residuals(pairs.shared, where), strict=True
        ):
            head = {"method": scored.method, "cubes": scored.cubes, "subset": subset}
            extra = {"over_bound_shared": shared.over_bound, "median_bound_shared": shared.median_bound}
            rows.append({**head, **free.as_dict(), **extra})
    return rows


def precision_recall_of(
    scored: Scored, thresholds: Sequence[float] = THRESHOLDS, seed: int = 0
) -> list[Metrics]:
    """Precision and recall by the main criterion as the reliability threshold rises; empty ones apart."""
    points = metrics(scored.truths, scored.founds, scored.main, thresholds, seed=seed)
    return [p for p in points if p.tp + p.fp > 0]


def binned_dict(binned: Binned) -> dict[str, Any]:
    """For JSON."""
    return asdict(binned) | {"centres": binned.centres}


def flat_metrics(point: Metrics) -> dict[str, Any]:
    """For JSON: every estimate as ``NAME`` and ``NAME_error``."""
    nothing = Estimate(float("nan"), float("nan"))
    row = Row("", "", "", "", point, nothing, nothing).as_dict()
    drop = {"method", "cubes", "criterion", "subset", "completeness", "completeness_error"}
    return {k: v for k, v in row.items() if k not in drop | {"seconds", "seconds_error"}}
