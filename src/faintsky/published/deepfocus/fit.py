"""DeepFocus' thresholds and reliabilities, fitted on cubes that no network was trained on.

One pass over the cubes keeps, for a grid of thresholds of steps i and ii, every candidate with the numbers
that step iii judges by; the rest is counting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.cutouts import integrated
from faintsky.published.deepfocus.blobs import find_blobs, sky_map
from faintsky.published.deepfocus.focusing import Focus, Source, Tally
from faintsky.published.deepfocus.pipeline import DeepFocus, Result
from faintsky.published.deepfocus.predicted import LEAST_IOU, beam_area, in_image, overlap, paired
from faintsky.published.deepfocus.settings import Settings
from faintsky.published.deepfocus.spectra import find_lines
from faintsky.system import replacing

if TYPE_CHECKING:
    from faintsky.simulating.observatory import AlmaObservatory, Observed

Float = NDArray[np.float64]

THRESHOLDS = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3)
PROMINENCES = (0.03, 0.06, 0.12, 0.25)
BRIGHT_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Quantiles of the integrated S/N of true sources that are tried for the bright threshold."""
FOUND = ("threshold", "prominence", "x_min", "x_max", "y_min", "y_max", "x", "y", "z", "fwhm_z", "snr",
         "first_snr", "first_integrated", "peak", "height")  # fmt: skip
TRUE = ("x_min", "x_max", "y_min", "y_max", "x", "y", "z", "fwhm_z")
"""Columns of what is kept of candidates and true sources."""


@dataclass(frozen=True)
class Surveyed:
    """Candidates ``[n, len(FOUND)]`` and true sources ``[m, len(TRUE)]`` of one cube."""

    found: Float
    true: Float

    def at(self, threshold: float, prominence: float) -> Float:
        """The candidates of one pair of thresholds, strongest first."""
        own = self.found[(self.found[:, 0] == threshold) & (self.found[:, 1] == prominence)]
        return own[np.argsort(-own[:, FOUND.index("snr")], kind="stable")]


def survey(
    observatory: AlmaObservatory,
    seed: int,
    indices: Sequence[int],
    pipeline: DeepFocus,
    out: Path,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Surveyed]:
    """Candidates of simulated cubes at every pair of thresholds; goes on where it stopped.

    Parameters
    ----------
    observatory : AlmaObservatory
    seed : int
        Of the cubes.
    indices : sequence of int
        Their numbers.
    pipeline : DeepFocus
        With ``blobs_finder`` and ``deep_gru``.
    out : pathlib.Path
        Folder for one small file a cube.
    progress : callable, optional
        Called with cubes done, cubes in all, and a word.
    """
    out.mkdir(parents=True, exist_ok=True)
    area, surveyed = beam_area(observatory), []
    for done, index in enumerate(indices, start=1):
        file = out / f"{seed}_{index:05d}.npz"
        if not file.is_file():
            seen = observatory.sample(seed, index)
            with replacing(file) as name, open(name, "wb") as opened:
                np.savez(opened, found=candidates_of(seen.dirty, pipeline, area), true=true_sources(seen))
            if progress is not None:
                progress(done, len(indices), "candidates of validation cubes")
        with np.load(file) as kept:
            surveyed.append(Surveyed(kept["found"], kept["true"]))
    return surveyed


def true_sources(seen: Observed) -> Float:
    """See `TRUE`."""
    return np.stack([np.asarray(seen.truth[k], dtype=float) for k in TRUE], axis=1).reshape(-1, len(TRUE))


def candidates_of(cube: NDArray[np.float32], pipeline: DeepFocus, area: float) -> Float:
    """What steps i to iii make of a cube before any cut in S/N, for all pairs of thresholds; see `FOUND`."""
    image = integrated(cube)
    # nothing is dropped here for being faint
    focus = Focus(cube, image, replace(pipeline.settings, bright=-np.inf, faint=-np.inf), area)
    picture = sky_map(image, pipeline.networks["blobs_finder"], pipeline.size, pipeline.device)
    rows: list[list[float]] = []
    known: dict[Any, list[Source]] = {}
    for threshold in THRESHOLDS:
        result = Result(picture)
        result.blobs = find_blobs(picture, threshold)
        pipeline.denoise(cube, result)
        for prominence, (blob, clean) in product(PROMINENCES, zip(result.blobs, result.clean)):
            lines = find_lines(clean, pipeline.settings.height, prominence)
            key = (blob, tuple(lines))
            if key not in known:
                known[key] = focus.sources_of(blob, lines, Tally())
            for s in known[key]:
                first = known[key][0]
                rows.append([
                    threshold, prominence, *s.box, s.x, s.y, s.z, s.fwhm_z, s.snr, first.snr,
                    first.snr_integrated, blob.peak, s.height,
                ])  # fmt: skip
    return np.array(rows, dtype=float).reshape(-1, len(FOUND))


def kept_rows(found: Float, bright: float, apart: float) -> Float:
    """Candidates that pass condition 1 and are not detected twice, in the order given."""
    c = {name: found[:, k] for k, name in enumerate(FOUND)}
    passing = (c["first_integrated"] > bright) | (c["first_snr"] > c["first_integrated"])
    chosen: list[int] = []
    for i in np.flatnonzero(passing):
        j = np.array(chosen, dtype=int)
        near = np.hypot(c["x"][j] - c["x"][i], c["y"][j] - c["y"][i]) <= apart
        if not (near & (np.abs(c["z"][j] - c["z"][i]) < c["fwhm_z"][j] + c["fwhm_z"][i])).any():
            chosen.append(int(i))
    return found[chosen]


def hits(found: Float, true: Float) -> NDArray[np.bool_]:
    """Which candidates, strongest first, are true sources by the paper's criteria, ``[n]``."""
    near, apart = in_image(found[:, 2:6], true[:, :4])
    z, width = FOUND.index("z"), FOUND.index("fwhm_z")
    ranges = np.stack([found[:, z] - found[:, width], found[:, z] + found[:, width]], axis=1)
    true_ranges = np.stack([true[:, 6] - true[:, 7], true[:, 6] + true[:, 7]], axis=1)
    return paired(near & (overlap(ranges, true_ranges) >= LEAST_IOU), apart) >= 0


def real(found: Float, true: Float) -> NDArray[np.bool_]:
    """Which candidates, strongest first, are true sources by their position, ``[n]``."""
    x, y, z = (found[:, FOUND.index(k)][:, None] for k in ("x", "y", "z"))
    apart = np.hypot(x - true[None, :, 4], y - true[None, :, 5])
    near = (apart <= 3.0) & (np.abs(z - true[None, :, 6]) <= true[None, :, 7])
    return paired(near, apart) >= 0


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
        lists = [(s.at(threshold, prominence), s.true) for s in surveyed]
        for bright in _bright_levels(lists):
            kept = [(kept_rows(found, bright, settings.apart), true) for found, true in lists]
            snr = np.concatenate([found[:, FOUND.index("snr")] for found, _ in kept])
            good = np.concatenate([hits(found, true) for found, true in kept])
            score, faint = _best_cut(snr, good, n_true)
            if score[0] > best[0]:
                best = score
                choice = replace(
                    settings, threshold=threshold, prominence=prominence, bright=bright, faint=faint
                )
    scores = {"f1": best[0], "precision": best[1], "recall": best[2]}
    scores |= {"cubes": len(surveyed), "sources": n_true}
    return replace(choice, reliability_fit=fit_reliability(surveyed, choice)), scores


def _bright_levels(lists: Sequence[tuple[Float, Float]]) -> list[float]:
    """Bright thresholds to be tried: quantiles over the true sources among the candidates."""
    column = FOUND.index("first_integrated")
    values = np.concatenate([found[hits(found, true), column] for found, true in lists] or [np.zeros(0)])
    return [float(v) for v in np.quantile(values, BRIGHT_SHARES)] if len(values) else [0.0]


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
    columns = [FOUND.index(k) for k in ("snr", "peak", "height")]
    for s in surveyed:
        found = kept_rows(s.at(settings.threshold, settings.prominence), settings.bright, settings.apart)
        # in the order of `Source.features`; what the last cut drops tells of the slopes, too
        own = found[:, columns]
        own[:, 0] = np.log(np.maximum(own[:, 0], 1e-3))
        features.append(own)
        truth.append(real(found, s.true))
    return logistic(np.concatenate(features), np.concatenate(truth))


def logistic(features: Float, good: NDArray[np.bool_]) -> tuple[float, ...]:
    """Constant and slopes of a logistic curve in ``[n, k]`` features, by Newton's method with a weak prior.

    No slope is negative: a feature whose slope would be is left out.
    """
    x, target = np.asarray(features, dtype=float), np.asarray(good, dtype=float)
    used = list(range(x.shape[1]))
    slopes = np.zeros(x.shape[1])
    if not len(x):
        return (0.0, *slopes)
    while True:
        middle = x[:, used].mean(axis=0)
        beta = _newton(np.column_stack([np.ones(len(x)), x[:, used] - middle]), target)
        worst = int(np.argmin(beta[1:])) if used else -1
        if not used or beta[1 + worst] >= 0:
            break
        used.pop(worst)
    slopes[used] = beta[1:]
    return (float(beta[0] - beta[1:] @ middle), *(float(v) for v in slopes))


def _newton(design: Float, target: Float) -> Float:
    prior, beta = 1e-2 * np.eye(design.shape[1]), np.zeros(design.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        hessian = (design * (p * (1 - p))[:, None]).T @ design + prior
        step = np.linalg.solve(hessian, design.T @ (target - p) - prior @ beta)
        beta += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return beta
