"""DeepFocus' thresholds and reliabilities, fitted on cubes that no network was trained on.

One pass over the cubes keeps, for a grid of thresholds of steps i and ii, every candidate with the numbers
that step iii judges by; the rest is matching and counting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from faintsky.cutouts import integrated
from faintsky.matching import CRITERIA, Criterion, assign, column
from faintsky.published.deepfocus import finding
from faintsky.published.deepfocus.blobs import find_blobs
from faintsky.published.deepfocus.finding import Focus, Settings, Source, Tally
from faintsky.published.deepfocus.pipeline import DeepFocus
from faintsky.system import replacing

Float = NDArray[np.float64]

THRESHOLDS = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3)
PROMINENCES = (0.03, 0.06, 0.12, 0.25)
BRIGHT_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Quantiles of the integrated S/N of true sources that are tried for the bright threshold."""
TRUE = ("x_min", "x_max", "y_min", "y_max", "x", "y", "z", "fwhm_z", "z_min", "z_max")
FOUND = (*TRUE, "threshold", "prominence", "snr", "first_snr", "first_integrated", "peak", "height")
"""Columns of what is kept of true sources and of candidates."""


@dataclass(frozen=True)
class Surveyed:
    """Candidates and true sources of one cube: tables with the columns `FOUND` and `TRUE`."""

    found: Table
    true: Table

    def at(self, threshold: float, prominence: float) -> Table:
        """The candidates of one pair of thresholds, strongest first."""
        same = (self.found["threshold"] == threshold) & (self.found["prominence"] == prominence)
        own = self.found[np.flatnonzero(same)]
        return own[np.argsort(-column(own, "snr"), kind="stable")]


def survey(
    sample: Callable[[int], Any],
    label: str,
    indices: Sequence[int],
    pipeline: DeepFocus,
    area: float,
    out: Path,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Surveyed]:
    """Candidates of simulated cubes at every pair of thresholds; goes on where it stopped.

    Parameters
    ----------
    sample : callable
        From a cube's number to what was simulated, with ``dirty`` and ``truth``.
    label : str
        Begins the files' names.
    indices : sequence of int
        Numbers of the cubes.
    pipeline : DeepFocus
        With ``blobs_finder`` and ``deep_gru``.
    area : float
        Of the beam [pixel].
    out : pathlib.Path
        Folder for one small file a cube.
    progress : callable, optional
        Called with cubes done, cubes in all, and a word.
    """
    out.mkdir(parents=True, exist_ok=True)
    surveyed = []
    for done, index in enumerate(indices, start=1):
        file = out / f"{label}_{index:05d}.npz"
        if not file.is_file():
            seen = sample(index)
            true = np.stack([np.asarray(seen.truth[k], dtype=float) for k in TRUE], axis=1)
            with replacing(file) as name, open(name, "wb") as opened:
                np.savez(opened, found=candidates_of(seen.dirty, pipeline, area), true=true)
            if progress is not None:
                progress(done, len(indices), "candidates of validation cubes")
        with np.load(file) as kept:
            surveyed.append(Surveyed(table_of(kept["found"], FOUND), table_of(kept["true"], TRUE)))
    return surveyed


def table_of(values: Float, names: tuple[str, ...]) -> Table:
    """A table of columns ``[n, len(names)]``."""
    return Table(values.reshape(-1, len(names)), names=names)


def candidates_of(cube: NDArray[np.float32], pipeline: DeepFocus, area: float) -> Float:
    """What steps i to iii make of a cube before any cut in S/N, for all pairs of thresholds; see `FOUND`."""
    image = integrated(cube)
    # nothing is dropped here for being faint
    kept = pipeline.settings.model_copy(update={"bright": -np.inf, "faint": -np.inf})
    focus = Focus(cube, image, kept, area)
    picture = pipeline.sky_map(image)
    rows: list[list[float]] = []
    known: dict[Any, list[Source]] = {}
    for threshold in THRESHOLDS:
        blobs = find_blobs(picture, threshold)
        _, spectra = pipeline.spectra_of(cube, blobs)
        for prominence, (blob, clean) in product(PROMINENCES, zip(blobs, spectra)):
            lines = finding.find_lines(clean, pipeline.settings.height, prominence)
            key = (blob, tuple(lines))
            if key not in known:
                known[key] = focus.sources_of(blob, lines, Tally())
            for s in known[key]:
                first = known[key][0]
                rows.append([
                    *s.box, s.x, s.y, s.z, s.fwhm_z, s.z_min, s.z_max, threshold, prominence, s.snr,
                    first.snr, first.snr_integrated, blob.peak, s.height,
                ])  # fmt: skip
    return np.array(rows, dtype=float).reshape(-1, len(FOUND))


def passing(found: Table, bright: float, apart: float) -> NDArray[np.intp]:
    """Rows of the candidates, in the order given, that pass condition 1 and are not detected twice."""
    first, whole = column(found, "first_snr"), column(found, "first_integrated")
    x, y, z, width = (column(found, k) for k in ("x", "y", "z", "fwhm_z"))
    chosen: list[int] = []
    for i in np.flatnonzero((whole > bright) | (first > whole)):
        j = np.array(chosen, dtype=int)
        near = np.hypot(x[j] - x[i], y[j] - y[i]) <= apart
        if not (near & (np.abs(z[j] - z[i]) < width[j] + width[i])).any():
            chosen.append(int(i))
    return np.array(chosen, dtype=np.intp)


class Pairs:
    """Candidates that may be true sources of a cube, for one matching after the other of some of them."""

    def __init__(self, true: Table, found: Table, criterion: Criterion) -> None:
        self.sizes = len(true), len(found)
        none = np.empty(0, np.intp)
        self.i, self.j, self.cost = (
            criterion.pairs(true, found) if min(self.sizes) else (none, none, np.empty(0))
        )

    def hits(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of the candidates in some rows are true sources, one-to-one."""
        left = np.flatnonzero(np.isin(self.j, rows))
        matched = self.j[left][assign(self.i[left], self.j[left], self.cost[left], *self.sizes)]
        return np.isin(rows, matched)


def fit_thresholds(surveyed: Sequence[Surveyed], settings: Settings) -> tuple[Settings, dict[str, float]]:
    """Thresholds of the highest F1 by the paper's criteria, one-to-one, and the scores there.

    Parameters
    ----------
    surveyed : sequence of Surveyed
    settings : Settings
        Gives everything that is not fitted.

    Returns
    -------
    settings : Settings
        With ``threshold``, ``prominence``, ``bright``, ``faint`` and ``reliability_fit``.
    scores : dict
        ``precision``, ``recall``, ``f1``, cubes and sources.
    """
    n_true = sum(len(s.true) for s in surveyed)
    best, choice = (-1.0, 0.0, 0.0), settings
    for threshold, prominence in product(THRESHOLDS, PROMINENCES):
        lists = [s.at(threshold, prominence) for s in surveyed]
        pairs = [Pairs(s.true, found, CRITERIA["iou"]) for s, found in zip(surveyed, lists)]
        true = [column(f, "first_integrated")[p.hits(np.arange(len(f)))] for f, p in zip(lists, pairs)]
        levels = np.concatenate([np.zeros(0), *true])
        # quantiles over the true sources among the candidates
        for bright in np.quantile(levels, BRIGHT_SHARES).tolist() if len(levels) else [0.0]:
            rows = [passing(found, bright, settings.apart) for found in lists]
            snr = np.concatenate([np.zeros(0), *(column(f, "snr")[r] for f, r in zip(lists, rows))])
            good = np.concatenate([np.zeros(0, bool), *(p.hits(r) for p, r in zip(pairs, rows))])
            score, faint = _best_cut(snr, good, n_true)
            if score[0] > best[0]:
                best = score
                values = {"threshold": threshold, "prominence": prominence, "bright": bright, "faint": faint}
                choice = settings.model_copy(update=values)
    scores = {"f1": best[0], "precision": best[1], "recall": best[2]}
    scores |= {"cubes": len(surveyed), "sources": n_true}
    return choice.model_copy(update={"reliability_fit": fit_reliability(surveyed, choice)}), scores


def _best_cut(snr: Float, good: NDArray[np.bool_], n_true: int) -> tuple[tuple[float, float, float], float]:
    """F1, precision and recall at the best least S/N, and that S/N."""
    if not len(snr) or not n_true:
        return (0.0, 0.0, 0.0), 0.0
    order = np.argsort(-snr, kind="stable")
    tp, number = np.cumsum(good[order]), np.arange(1, len(snr) + 1)
    f1 = 2 * tp / (number + n_true)
    k = int(np.argmax(f1))
    ordered = snr[order]
    # half way to the next one, which is left out
    cut = 0.5 * (ordered[k] + ordered[k + 1]) if k + 1 < len(ordered) else min(0.0, ordered[k])
    return (float(f1[k]), float(tp[k] / number[k]), float(tp[k] / n_true)), float(cut)


def fit_reliability(surveyed: Sequence[Surveyed], settings: Settings) -> tuple[float, ...]:
    """Logistic curve of being real against a candidate's features: a constant and their slopes.

    Real means that the position and the frequency are those of a true source, one-to-one.
    """
    features, truth = [np.zeros((0, 3))], [np.zeros(0, dtype=bool)]
    for s in surveyed:
        found = s.at(settings.threshold, settings.prominence)
        found = found[passing(found, settings.bright, settings.apart)]
        # in the order of `Source.features`; what the last cut drops tells of the slopes, too
        snr = np.log(np.maximum(column(found, "snr"), 1e-3))
        features.append(np.stack([snr, column(found, "peak"), column(found, "height")], axis=1))
        truth.append(Pairs(s.true, found, CRITERIA["position"]).hits(np.arange(len(found))))
    return logistic(np.concatenate(features), np.concatenate(truth))


def logistic(features: Float, good: NDArray[np.bool_]) -> tuple[float, ...]:
    """Constant and slopes, none of them negative, of a logistic curve in ``[n, k]`` features; a weak
    prior."""
    x, sign = np.asarray(features, dtype=float), np.where(good, 1.0, -1.0)
    number = x.shape[1]
    if not len(x):
        return (0.0,) * (number + 1)
    middle = x.mean(axis=0)

    def misfit(beta: Float) -> tuple[float, Float]:
        logit = sign * (beta[0] + (x - middle) @ beta[1:])
        slope = -sign * expit(-logit)
        gradient = np.concatenate([[slope.sum()], (x - middle).T @ slope])
        return np.logaddexp(0, -logit).sum() + 5e-3 * beta @ beta, gradient + 1e-2 * beta

    bounds = [(None, None), *[(0, None)] * number]
    beta = minimize(misfit, np.zeros(number + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    return (float(beta[0] - beta[1:] @ middle), *beta[1:].tolist())
