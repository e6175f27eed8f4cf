"""Precision, recall, completeness and reliability over many cubes, with errors; robust scatter.

Errors of ratios are from a bootstrap over cubes. The signal-to-noise ratio of a true source is the *matched*
one, `faintsky.source_model.matched_snr`: that of a filter that knows shape, position and line. That of a
detection is the value reported by its method.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike
from scipy.special import expit

from faintsky.arrays import Bool, Float, Index
from faintsky.catalog import column
from faintsky.matching.pairing import Criterion, Matching, match


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


def tally(matching: Matching, subset: Bool | None = None) -> Float:
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


_FEW = 0.05
"""Weight of two pseudo-sources, one detected and one missed, which keep the fit finite."""


@dataclass(frozen=True)
class Binned:
    """A fraction in bins.

    Parameters
    ----------
    edges : array
        ``[bin + 1]``.
    n : array of int
        Trials in each bin, ``[bin]``.
    fraction, low, high : array
        Fraction of successes (NaN in an empty bin) and its 68 % Wilson interval, ``[bin]``.
    """

    edges: Float
    n: Index
    fraction: Float
    low: Float
    high: Float

    @property
    def centres(self) -> Float:
        """Geometric centres of the bins, ``[bin]``."""
        return np.sqrt(self.edges[:-1] * self.edges[1:])


def binned_fraction(values: ArrayLike, success: ArrayLike, edges: ArrayLike) -> Binned:
    """Fraction of successes in bins of a positive quantity (such as S/N), with Wilson intervals.

    Parameters
    ----------
    values : array
        The quantity, ``[n]``.
    success : array of bool
        ``[n]``
    edges : array
        Edges of the bins, increasing, ``[bin + 1]``.

    Returns
    -------
    Binned
        Numbers, fractions (NaN in empty bins) and their 68 % intervals, ``[bin]``.
    """
    from astropy.stats import binom_conf_interval

    v, s, e = np.asarray(values, dtype=float), np.asarray(success, dtype=bool), np.asarray(edges, dtype=float)
    n, k = np.histogram(v, e)[0], np.histogram(v[s], e)[0]
    trials = np.maximum(n, 1)
    low, high = np.where(n > 0, binom_conf_interval(k, trials, interval="wilson"), [[0.0], [1.0]])
    return Binned(e, n.astype(np.intp), np.where(n > 0, k / trials, np.nan), low, high)


def snr_edges(values: ArrayLike, n_bins: int = 12, low: float = 2.0, high: float = 200.0) -> Float:
    """Logarithmic bins for S/N.

    Parameters
    ----------
    values : array
        The S/N; values that are not positive and finite are ignored.
    n_bins : int, optional
        Number of bins.
    low, high : float, optional
        Limits of the bins, which do not extend beyond the values.

    Returns
    -------
    array
        Edges, increasing, ``[n_bins + 1]``.
    """
    v = np.asarray(values, dtype=float)
    v = v[np.isfinite(v) & (v > 0)]
    if not len(v):
        return np.geomspace(low, high, n_bins + 1)
    start = float(np.clip(v.min(), low, high / 2))
    stop = float(np.clip(v.max(), 2 * start, high))
    return np.geomspace(start * 0.999, stop * 1.001, n_bins + 1)


def robust_scatter(values: Float) -> float:
    """Standard deviation from the median absolute deviation of the finite values (times 1.4826)."""
    v = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(v - np.median(v)))) if len(v) else float("nan")


@dataclass(frozen=True)
class CompletenessCurve:
    """Completeness ``top / (1 + (middle / snr) ** steepness)``: logistic in the logarithm of the ratio.

    Parameters
    ----------
    top : float
        Completeness far above the threshold.
    middle : float
        Matched S/N at half of that.
    steepness : float
        Exponent; a larger one gives a steeper curve.
    """

    top: float
    middle: float
    steepness: float

    def __call__(self, snr: ArrayLike) -> Float:
        """Completeness at matched S/N, with the input's shape."""
        with np.errstate(divide="ignore"):
            return self.top * expit(self.steepness * np.log(np.asarray(snr, dtype=float) / self.middle))


def _likelihood(p: Float, log_s: Float, detected: Bool, weights: Float) -> tuple[float, Float]:
    """Negative log likelihood and its gradient, by the logit of the top, log middle and log steepness."""
    top, k = expit(p[0]), np.exp(p[2])
    q = expit(k * (log_s - p[1]))
    c = np.clip(top * q, 1e-9, 1 - 1e-9)
    slope = top * q * (1 - q) * k
    by = np.stack([top * (1 - top) * q, -slope, slope * (log_s - p[1])])
    gradient = -(by * weights * np.where(detected, 1 / c, -1 / (1 - c))).sum(axis=1)
    gradient[0] -= _FEW * (1 - 2 * top)
    likely = (weights * np.where(detected, np.log(c), np.log1p(-c))).sum()
    return float(-likely - _FEW * (np.log(top) + np.log1p(-top))), gradient


def fit_completeness(
    snr: ArrayLike,
    detected: ArrayLike,
    weights: ArrayLike | None = None,
    start: CompletenessCurve | None = None,
) -> CompletenessCurve:
    """Maximum-likelihood `CompletenessCurve` of sources that were detected or not, without bins.

    Parameters
    ----------
    snr : array
        Matched S/N of the true sources, ``[n]``; values that are not positive and finite are ignored.
    detected : array of bool
        ``[n]``.
    weights : array, optional
        Weight of each source, ``[n]``.
    start : CompletenessCurve, optional
        Initial curve; by default several are tried.

    Returns
    -------
    CompletenessCurve
        The most likely one.

    Raises
    ------
    ValueError
        With fewer than three valid sources.
    """
    from scipy.optimize import minimize

    s, d = np.asarray(snr, dtype=float), np.asarray(detected, dtype=bool)
    w = np.ones(len(s)) if weights is None else np.asarray(weights, dtype=float)
    use = np.isfinite(s) & (s > 0) & (w > 0)
    s, d, w = s[use], d[use], w[use]
    if len(s) < 3:
        raise ValueError("a completeness curve needs at least three sources")
    log_s = np.log(s)
    limits = [(-4.0, 12.0), (log_s.min() - 3, log_s.max() + 3), (np.log(0.5), np.log(60.0))]
    if start is not None:
        top = np.clip(start.top, 0.02, 1 - 1e-5)
        first = [[np.log(top / (1 - top)), np.log(start.middle), np.log(start.steepness)]]
    else:
        share = np.clip(np.average(d, weights=w), 0.02, 0.98)
        first = [[3.0, np.quantile(log_s, 1 - share), k] for k in (np.log(5.0), np.log(15.0))]
    fits = [
        minimize(_likelihood, p, (log_s, d, w), "L-BFGS-B", jac=True, bounds=limits, options={"ftol": 1e-11})
        for p in first
    ]
    best = min(fits, key=lambda fit: float(fit.fun)).x
    return CompletenessCurve(float(expit(best[0])), *np.exp(best[1:]).tolist())


def completeness_at(
    level: float,
    snr: ArrayLike,
    detected: ArrayLike,
    cubes: ArrayLike,
    *,
    n_bootstrap: int = 100,
    seed: int = 0,
) -> tuple[Estimate, CompletenessCurve | None]:
    """Completeness at one matched S/N from a fit to all sources, with its error from a bootstrap over cubes.

    Parameters
    ----------
    level : float
        The matched S/N.
    snr, detected : array
        As in `fit_completeness`, ``[n]``.
    cubes : array of int
        Number of the cube each source is in, ``[n]``.
    n_bootstrap, seed : int, optional
        Draws and seed.

    Returns
    -------
    Estimate, CompletenessCurve or None
        NaN and None with fewer than ten sources, or if the level lies outside the sources' range of S/N.
    """
    s, d = np.asarray(snr, dtype=float), np.asarray(detected, dtype=bool)
    good = np.isfinite(s) & (s > 0)
    s, d, cube = s[good], d[good], np.unique(np.asarray(cubes)[good], return_inverse=True)[1]
    if len(s) < 10 or not s.min() <= level <= s.max():
        return Estimate(float("nan"), float("nan")), None
    curve = fit_completeness(s, d)
    n_cubes = int(cube.max()) + 1
    counts = np.random.default_rng(seed).multinomial(n_cubes, np.full(n_cubes, 1 / n_cubes), n_bootstrap)
    draws = [
        float(fit_completeness(s, d, count, curve)(level))
        for count in counts[:, cube]
        if (count > 0).sum() >= 3
    ]
    # as for any fraction, the error is not 0 if all sources near the level were found
    near = int(np.sum(np.abs(np.log(s / level)) < 0.2))
    error = max(float(np.std(draws)) if draws else 0.0, 0.5 / (near + 1))
    return Estimate(float(curve(level)), error), curve


LEAST_WIDTH = 0.05
"""Least standard deviation of the kernel along any direction [dex]."""
LEAST_NEGATIVES = 4
"""Below this number of negative detections the kernel takes the scatter of all detections."""


def reliability_of(positive: Float, negative: Float, scale: float = 0.4, least: float = LEAST_WIDTH) -> Float:
    """Probability that each positive detection is real, ``[n]``, 0 to 1, from the negative ones.

    Noise causes negative detections as often as positive ones. Serra, Jurek & Floer (2012, PASA 29, 296): in
    the space of (log peak, log sum, log mean) the densities of both are smoothed with a Gaussian kernel, and
    ``R = (P - N) / P``.

    Parameters
    ----------
    positive, negative : array
        Parameters of the detections, ``[n, parameter]``, logarithms of base 10.
    scale : float
        Width of the kernel in units of the scatter of the negative detections.
    least : float, optional
        Least width: few detections may be close together by chance [dex].

    Returns
    -------
    array
        All 1 if there are no negative detections.
    """
    if not len(positive) or not len(negative):
        return np.ones(len(positive))
    sample = negative if len(negative) >= LEAST_NEGATIVES else np.concatenate([positive, negative])
    dimensions = positive.shape[1]
    covariance = scale**2 * np.cov(sample, rowvar=False) if len(sample) > 1 else np.zeros((dimensions,) * 2)
    # log mean is nearly a sum of the other two, and a few detections may lie on a line
    values, vectors = np.linalg.eigh(covariance)
    white = vectors / np.sqrt(np.maximum(values, least**2))
    ours, theirs = positive @ white, negative @ white
    p, n = _density(ours, ours), _density(ours, theirs)
    return np.clip((p - n) / p, 0.0, 1.0)


def _density(at: Float, points: Float) -> Float:
    squared = ((at[:, None, :] - points[None, :, :]) ** 2).sum(axis=-1)
    density: Float = np.exp(-0.5 * squared).sum(axis=1)
    return density
