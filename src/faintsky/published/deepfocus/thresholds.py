"""DeepFocus' thresholds and reliabilities, fitted on cubes that no network was trained on.

One threshold after the other is set to its best value with the others fixed. For this, steps i to iii are
repeated on cubes with stored maps of Blobs Finder. The last cut is one in reliability. A hit is a one-to-one
match by the paper's criteria. A source at a true position but with a poor box is not a hit, and is not
counted as false either, because the true source already counts as missed. In empty cubes all sources are
false."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from astropy.table import Table
from scipy.optimize import minimize
from scipy.special import expit

from faintsky.arrays import Array32, Bool, Float
from faintsky.cutouts import integrated
from faintsky.matching import CRITERIA, match
from faintsky.options import Progress
from faintsky.published.deepfocus.blobs import Blob
from faintsky.published.deepfocus.finding import FindingSettings, Source, Tally, blobs_of
from faintsky.published.deepfocus.pipeline import DeepFocus, noise_level, reliabilities
from faintsky.system import replacing

GRID: dict[str, dict[str, tuple[float, ...]]] = {
    "label": {
        "threshold": (0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2),
        "least": (0.0, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2),
        "friend": (1.0, 1.5, 2.0, 2.5, 3.0),
        "plateau": (0.3, 0.5, 0.65, 0.8),
    },
    "peaks": {
        "share": (0.05, 0.07, 0.1, 0.13, 0.17, 0.22, 0.28),
        "least": (0.01, 0.02, 0.03, 0.05, 0.07, 0.1),
        "dip": (0.02, 0.05, 0.1, 0.2),
        "split": (0.2, 0.3, 0.4),
    },
}
"""Values that are tried; thresholds are fitted in this order."""
BOTH: dict[str, tuple[float, ...]] = {
    "prominence": (0.03, 0.06, 0.12, 0.25),
    "apart": (2.0, 3.0, 4.0, 5.0),
    "bright": (0.0, 3.0, 6.0, 10.0, 20.0, 40.0),
}
ROUNDS = 2
FALSE_IN_EMPTY = 0.05
"""Allowed false sources in an empty cube; each further one costs as much as the whole score."""
BOX = ("x_min", "x_max", "y_min", "y_max")
TRUE = (*BOX, "x", "y", "z", "fwhm_z", "z_min", "z_max")
"""Columns that are kept of true sources and of candidates."""


@dataclass(frozen=True)
class Surveyed:
    """A cube for the fit of thresholds.

    Parameters
    ----------
    file : pathlib.Path
        File with ``cube`` ``[chan, y, x]`` in half precision, its ``scale``, and Blobs Finder's ``picture``.
    true : Table
        True sources, with the columns `TRUE`.
    """

    file: Path
    true: Table

    def open(self) -> tuple[Array32, Array32]:
        """Cube and picture."""
        with np.load(self.file) as kept:
            return kept["cube"].astype(np.float32) * kept["scale"], kept["picture"]


def survey(
    sample: Callable[[int], Any],
    label: str,
    indices: Sequence[int],
    pipeline: DeepFocus,
    out: Path,
    progress: Progress | None = None,
) -> list[Surveyed]:
    """Simulate cubes and store them with their maps; finished ones are kept.

    Parameters
    ----------
    sample : callable
        From a cube's number to a simulated cube, with ``dirty`` and ``truth``.
    label : str
        Beginning of the files' names.
    indices : sequence of int
        Numbers of the cubes.
    pipeline : DeepFocus
        Has ``blobs_finder``.
    out : pathlib.Path
        Folder for one file per cube.
    progress : callable, optional
        Called with cubes done, cubes in all, and a word.

    Returns
    -------
    list of Surveyed
    """
    out.mkdir(parents=True, exist_ok=True)
    surveyed = []
    for done, index in enumerate(indices, start=1):
        file = out / f"{label}_{index:05d}.npz"
        if not file.is_file():
            seen = sample(index)
            scale = np.float32(noise_level(seen.dirty))
            # without sources there are no boxes
            true = np.stack([np.asarray(seen.truth.get(k, ()), dtype=float) for k in TRUE], axis=1)
            picture = pipeline.sky_map(integrated(seen.dirty))
            cube = (seen.dirty / scale).astype(np.float16)
            with replacing(file) as name, open(name, "wb") as opened:
                np.savez(opened, cube=cube, scale=scale, picture=picture, true=true)
            if progress is not None:
                progress(done, len(indices), "validation cubes")
        with np.load(file) as kept:
            surveyed.append(Surveyed(file, Table(kept["true"].reshape(-1, len(TRUE)), names=TRUE)))
    return surveyed


def candidates_of(
    surveyed: Sequence[Surveyed], pipeline: DeepFocus, area: float, tried: Sequence[FindingSettings]
) -> Iterator[list[list[Source]]]:
    """Sources of every cube by steps i to iii, with several settings.

    Parameters
    ----------
    surveyed : sequence of Surveyed
        The cubes.
    pipeline : DeepFocus
        Has the networks.
    area : float
        Area of the beam [pixel].
    tried : sequence of FindingSettings
        The settings.

    Yields
    ------
    list of list of Source
        For each cube, the sources with each of the settings.
    """
    for case in surveyed:
        cube, picture = case.open()
        image, found = integrated(cube), []
        for settings in tried:
            chain, blobs = replace(pipeline, settings=settings), blobs_of(picture, settings)
            found.append(chain.focus(cube, image, blobs, chain.spectra_of(cube, blobs)[1], area, Tally()))
        yield found


@dataclass(frozen=True)
class JudgedCandidates:
    """Candidates of all cubes: true, at a true source's position, or false.

    Attributes
    ----------
    features : array
        Features of `faintsky.published.deepfocus.finding.Source`, ``[n, feature]``.
    hit, place, empty : array of bool
        Whether it is a match by the paper's criteria, a match by position and frequency, in an empty cube.
    n_true, n_empty : int
        Numbers of true sources and of empty cubes.
    """

    features: Float
    hit: Bool
    place: Bool
    empty: Bool
    n_true: int
    n_empty: int

    @classmethod
    def of(cls, true: Sequence[Table], found: Sequence[Sequence[Source]]) -> Self:
        """Match candidates and true sources one-to-one."""
        tables = [sources_table(f) for f in found]
        rows = {
            name: np.concatenate([
                np.zeros(0, bool),
                *(match(t, f, CRITERIA[name]).partner_of_found >= 0 for t, f in zip(true, tables)),
            ])
            for name in ("iou", "position")
        }  # fmt: skip
        empty = np.repeat([len(t) == 0 for t in true], [len(f) for f in found])
        features = np.array([s.features for f in found for s in f], dtype=float)
        width = len(Source.FEATURES)
        return cls(
            features.reshape(-1, width), rows["iou"], rows["iou"] | rows["position"], empty,
            sum(len(t) for t in true), sum(len(t) == 0 for t in true),
        )  # fmt: skip

    def best(self, settings: FindingSettings) -> tuple[float, FindingSettings]:
        """Score and settings with the best fit of reliabilities, and the best threshold on them."""
        fit = logistic(self.features, self.place)
        order = np.argsort(-(self.features @ fit[1:]), kind="stable")
        odds = fit[0] + self.features[order] @ fit[1:]
        hits, false = np.cumsum(self.hit[order]), np.cumsum(~self.place[order])
        score = 2 * hits / (self.n_true + hits + false).clip(1)
        score -= (np.cumsum(self.empty[order]) / max(self.n_empty, 1) - FALSE_IN_EMPTY).clip(0)
        if not len(odds) or score.max() <= 0:
            return 0.0, settings.model_copy(update={"reliability_fit": fit})
        k = int(np.argmax(score))
        # half way to the next one, which is excluded
        cut = expit(0.5 * (odds[k] + odds[k + 1])) if k + 1 < len(odds) else 0.0
        return float(score[k]), settings.model_copy(
            update={"reliability_fit": fit, "reliability": float(cut)}
        )


def sources_table(found: Sequence[Source | Blob]) -> Table:
    """Sources with the columns `TRUE`; blobs, which have no frequency, with NaN there."""
    columns: dict[str, list[float]] = {k: [s.box[i] for s in found] for i, k in enumerate(BOX)}
    columns |= {k: [getattr(s, k, np.nan) for s in found] for k in TRUE[4:]}
    return Table({k: np.asarray(v, dtype=float) for k, v in columns.items()})


def fit_thresholds(
    surveyed: Sequence[Surveyed], pipeline: DeepFocus, area: float, progress: Progress | None = None
) -> tuple[FindingSettings, dict[str, float]]:
    """Fit the thresholds with the best score.

    Parameters
    ----------
    surveyed : sequence of Surveyed
        The cubes.
    pipeline : DeepFocus
        Has ``deep_gru``; its settings choose the method for blobs.
    area : float
        Area of the beam [pixel].
    progress : callable, optional
        Called with steps done, steps in all, and a word.

    Returns
    -------
    settings : FindingSettings
        With the thresholds of `GRID` and `BOTH`, and the reliabilities.
    scores : dict
        ``precision``, ``recall``, ``f1`` by the paper's criteria, ``recall_place`` and ``precision_place`` by
        position and frequency, false sources per empty cube, numbers of cubes and sources.
    """
    grid, true, top = GRID[pipeline.settings.extract] | BOTH, [s.true for s in surveyed], -np.inf
    # faint sources are removed only by the last cut
    middle = {name: values[len(values) // 2] for name, values in grid.items()}
    start = middle | {"faint": 0.0, "bright": 0.0, "reliability": 0.0}
    best = pipeline.settings.model_copy(update=start)
    steps = [*grid] * ROUNDS
    for step, name in enumerate(steps, start=1):
        tried = [best.model_copy(update={name: v}) for v in grid[name]]
        found = zip(*candidates_of(surveyed, pipeline, area, tried))
        for settings, sources in zip(tried, found):
            score, fitted = JudgedCandidates.of(true, sources).best(settings)
            if score > top:
                top, best = score, fitted
        if progress is not None:
            progress(step, len(steps), "thresholds")
    (final,) = zip(*candidates_of(surveyed, pipeline, area, [best]))
    kept = [[s for s, r in zip(f, reliabilities(f, best)) if r >= best.reliability] for f in final]
    return best, scores_of(JudgedCandidates.of(true, kept)) | {"cubes": len(surveyed)}


def scores_of(judged: JudgedCandidates) -> dict[str, float]:
    """See `fit_thresholds`."""
    n_found, n_true, hits, places = len(judged.hit), judged.n_true, judged.hit.sum(), judged.place.sum()
    out = {"f1": 2 * hits / max(n_found + n_true, 1)}
    for end, good in (("", hits), ("_place", places)):
        out |= {f"precision{end}": good / max(n_found, 1), f"recall{end}": good / max(n_true, 1)}
    out |= {"false_in_empty": judged.empty.sum() / max(judged.n_empty, 1), "sources": n_true}
    return {k: float(v) for k, v in out.items()}


def logistic(features: Float, good: Bool) -> tuple[float, ...]:
    """Constant and non-negative slopes of a logistic curve in ``[n, k]`` features, with a weak prior."""
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
