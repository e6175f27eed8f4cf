"""Completeness and reliability against signal-to-noise ratio, and which true sources are isolated or blended.

The signal-to-noise ratio of a true source is its *matched* one, `faintsky.source_model.matched_snr`: what a
filter that knows shape, position and line would reach. That of a detection is what its method reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.matching import Estimate, box_extents, column, iou_2d

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


def wilson(successes: ArrayLike, trials: ArrayLike, z: float = 1.0) -> tuple[Float, Float]:
    """Wilson's confidence interval of a fraction; the whole range where there were no trials.

    Parameters
    ----------
    successes, trials : array
        Counts.
    z : float, optional
        Half width in standard deviations; 1 is 68 %.

    Returns
    -------
    low, high : array

    Notes
    -----
    Wilson (1927), JASA 22, 209.
    """
    k, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    safe = np.maximum(n, 1.0)
    p = k / safe
    middle = (p + z**2 / (2 * safe)) / (1 + z**2 / safe)
    half = z / (1 + z**2 / safe) * np.sqrt(p * (1 - p) / safe + z**2 / (4 * safe**2))
    low, high = np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)
    return np.where(n > 0, low, 0.0), np.where(n > 0, high, 1.0)


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
    n: NDArray[np.intp]
    fraction: Float
    low: Float
    high: Float

    @property
    def centres(self) -> Float:
        """Geometric centres of the bins, ``[bin]``."""
        return np.sqrt(self.edges[:-1] * self.edges[1:])


def binned_fraction(values: ArrayLike, success: ArrayLike, edges: ArrayLike) -> Binned:
    """Fraction of successes in bins of a positive quantity (as the S/N); errors by `wilson`."""
    v, s, e = np.asarray(values, dtype=float), np.asarray(success, dtype=bool), np.asarray(edges, dtype=float)
    n = np.histogram(v, e)[0]
    k = np.histogram(v[s], e)[0]
    low, high = wilson(k, n)
    fraction = np.where(n > 0, k / np.maximum(n, 1), np.nan)
    return Binned(e, n.astype(np.intp), fraction, low, high)


def snr_edges(values: ArrayLike, n_bins: int = 12, low: float = 2.0, high: float = 200.0) -> Float:
    """Logarithmic bins that hold the finite values between ``low`` and ``high``, ``[n_bins + 1]``."""
    v = np.asarray(values, dtype=float)
    v = v[np.isfinite(v) & (v > 0)]
    if not len(v):
        return np.geomspace(low, high, n_bins + 1)
    start = float(np.clip(v.min(), low, high / 2))
    stop = float(np.clip(v.max(), 2 * start, high))
    return np.geomspace(start * 0.999, stop * 1.001, n_bins + 1)


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
        Larger is steeper.
    """

    top: float
    middle: float
    steepness: float

    def __call__(self, snr: ArrayLike) -> Float:
        """Completeness at some matched S/N, of the shape given."""
        with np.errstate(divide="ignore"):
            t = self.steepness * (np.log(self.middle) - np.log(np.asarray(snr, dtype=float)))
        return self.top / (1 + np.exp(np.clip(t, -500, 500)))


def _step(p: Float, log_s: Float, detected: Bool, weights: Float) -> tuple[float, Float, Float]:
    """Negative log likelihood, its gradient and Fisher information, ``[3]`` and ``[3, 3]``.

    Parameters are the logit of the top and the logarithms of middle and steepness.
    """
    top, k = 1 / (1 + np.exp(-p[0])), np.exp(p[2])
    q = 1 / (1 + np.exp(np.clip(k * (p[1] - log_s), -500, 500)))
    c = np.clip(top * q, 1e-9, 1 - 1e-9)
    slope = top * q * (1 - q) * k
    by = np.stack([top * (1 - top) * q, -slope, slope * (log_s - p[1])])
    # A twentieth of a pseudo-source of either kind keeps a perfect record from running to infinity.
    few = 0.05
    value = -(weights * np.where(detected, np.log(c), np.log1p(-c))).sum() - few * (
        np.log(top) + np.log1p(-top)
    )
    gradient = -(by * weights * np.where(detected, 1 / c, -1 / (1 - c))).sum(axis=1)
    gradient[0] -= few * (1 - 2 * top)
    information = (by * weights / (c * (1 - c))) @ by.T
    information[0, 0] += 2 * few * top * (1 - top)
    return float(value), gradient, information


def _minimised(p: Float, limits: Float, log_s: Float, detected: Bool, weights: Float) -> tuple[float, Float]:
    """Damped Fisher scoring from ``p`` within ``limits`` ``[3, 2]``: lowest value and where it is."""
    value, gradient, information = _step(p, log_s, detected, weights)
    damping = 1e-3
    for _ in range(100):
        scale = np.diag(np.diag(information) + 1e-9)
        new = np.clip(
            p - np.linalg.solve(information + damping * scale, gradient), limits[:, 0], limits[:, 1]
        )
        trial = _step(new, log_s, detected, weights)
        if trial[0] <= value:
            done = value - trial[0] < 1e-7
            p, (value, gradient, information) = new, trial
            damping = max(damping / 5, 1e-6)
            if done:
                break
        else:
            damping *= 5
            if damping > 1e8:
                break
    return value, p


def fit_completeness(
    snr: ArrayLike,
    detected: ArrayLike,
    weights: ArrayLike | None = None,
    start: CompletenessCurve | None = None,
) -> CompletenessCurve:
    """Maximum-likelihood `CompletenessCurve` of sources that were detected or not; no bins.

    Parameters
    ----------
    snr : array
        Matched S/N of the true sources, ``[n]``; not positive or not finite are left out.
    detected : array of bool
        ``[n]``.
    weights : array, optional
        How often each source counts, ``[n]``.
    start : CompletenessCurve, optional
        Where to begin; several places are tried where it is not given.

    Raises
    ------
    ValueError
        Fewer than three sources are left.
    """
    s, d = np.asarray(snr, dtype=float), np.asarray(detected, dtype=bool)
    w = np.ones(len(s)) if weights is None else np.asarray(weights, dtype=float)
    use = np.isfinite(s) & (s > 0) & (w > 0)
    s, d, w = s[use], d[use], w[use]
    if len(s) < 3:
        raise ValueError("a completeness curve needs at least three sources")
    log_s = np.log(s)
    limits = np.array([(-4.0, 12.0), (log_s.min() - 3, log_s.max() + 3), (np.log(0.5), np.log(60.0))])
    if start is not None:
        top = np.clip(start.top, 0.02, 1 - 1e-5)
        first = [[np.log(top / (1 - top)), np.log(start.middle), np.log(start.steepness)]]
    else:
        share = np.clip(np.average(d, weights=w), 0.02, 0.98)
        first = [[3.0, np.quantile(log_s, 1 - share), k] for k in (np.log(5.0), np.log(15.0))]
    _, best = min((_minimised(np.array(p), limits, log_s, d, w) for p in first), key=lambda fit: fit[0])
    return CompletenessCurve(
        float(1 / (1 + np.exp(-best[0]))), float(np.exp(best[1])), float(np.exp(best[2]))
    )


def completeness_at(
    level: float,
    snr: ArrayLike,
    detected: ArrayLike,
    cubes: ArrayLike,
    *,
    n_bootstrap: int = 100,
    seed: int = 0,
) -> tuple[Estimate, CompletenessCurve | None]:
    """Completeness at one matched S/N, by a fit to all sources; error by a bootstrap over cubes.

    Parameters
    ----------
    level : float
        Matched S/N asked for.
    snr, detected : array
        As in `fit_completeness`, ``[n]``.
    cubes : array of int
        Number of the cube each source is in, ``[n]``.
    n_bootstrap, seed : int, optional
        Draws and seed.

    Returns
    -------
    Estimate, CompletenessCurve or None
        NaN and None with fewer than ten sources, or where the level lies outside the sources' S/N:
        that would be extrapolation.
    """
    s, d = np.asarray(snr, dtype=float), np.asarray(detected, dtype=bool)
    good = np.isfinite(s) & (s > 0)
    s, d, cube = s[good], d[good], np.unique(np.asarray(cubes)[good], return_inverse=True)[1]
    if len(s) < 10 or not s.min() <= level <= s.max():
        return Estimate(float("nan"), float("nan")), None
    curve = fit_completeness(s, d)
    rng = np.random.default_rng(seed)
    n_cubes = int(cube.max()) + 1
    draws = []
    for _ in range(n_bootstrap):
        count = rng.multinomial(n_cubes, np.full(n_cubes, 1 / n_cubes))[cube]
        if (count > 0).sum() >= 3:
            draws.append(float(fit_completeness(s, d, count, curve)(level)))
    # As for any fraction: sources near the level that were all found still do not make it certain.
    near = int(np.sum(np.abs(np.log(s / level)) < 0.2))
    error = max(float(np.std(draws)) if draws else 0.0, 0.5 / (near + 1))
    return Estimate(float(curve(level)), error), curve


def _overlapping(lo: Float, hi: Float) -> Bool:
    """Which intervals overlap which, ``[n, n]``."""
    return (lo[:, None] < hi[None, :]) & (lo[None, :] < hi[:, None])


def neighbour_groups(truth: Table, beam: float) -> NDArray[np.intp]:
    """Number of the group that each true source is in: sources that could disturb each other, ``[n]``.

    Two sources are neighbours where their boxes in the image come nearer than one beam *and* their boxes
    along frequency (line centre ± FWHM) overlap. Sources on one line of sight at separate frequencies are
    not: their continuum is smooth and subtracted. Neighbours of neighbours share a group.

    Parameters
    ----------
    truth : Table
        With boxes; see `faintsky.matching`.
    beam : float
        FWHM of the synthesised beam, major axis [pixel].
    """
    from scipy.sparse.csgraph import connected_components

    if not len(truth):
        return np.zeros(0, dtype=np.intp)
    lo_x, hi_x, lo_y, hi_y, lo_z, hi_z = box_extents(truth)
    half = beam / 2
    near = _overlapping(lo_x - half, hi_x + half) & _overlapping(lo_y - half, hi_y + half)
    near &= _overlapping(lo_z, hi_z)
    return connected_components(near, directed=False)[1].astype(np.intp)


def isolated(truth: Table, beam: float) -> Bool:
    """Which true sources are alone in their group of neighbours, ``[n]``; see `neighbour_groups`."""
    groups = neighbour_groups(truth, beam)
    return np.bincount(groups, minlength=1)[groups] == 1


def overlaps(table: Table) -> Float:
    """2-D IoU of every two boxes of a table, ``[n, n]``; 0 of each with itself, and of lines of one object.

    The rows of an object with several lines share the number in the column ``source``, where there is one.
    """
    n = len(table)
    if n < 2:
        return np.zeros((n, n))
    i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    overlap = iou_2d(table, table, i.astype(np.intp), j.astype(np.intp)).reshape(n, n)
    own = column(table, "source") if "source" in table.colnames else np.arange(n, dtype=float)
    overlap[own[:, None] == own] = 0.0
    return np.nan_to_num(overlap)


def blendedness(table: Table) -> Float:
    """Largest 2-D IoU of each source's box with another's in the same cube, ``[n]``.

    Delli Veneri et al. (2022), eq. 22: 0 is alone, 1 lies on top of another.
    """
    return overlaps(table).max(axis=1, initial=0.0)
