"""The measures of Gheller & Vazza (2021) of how well a brightness [Jy/arcsec2] is recovered.

Each takes one field and gives what can be added up or joined over fields; the functions named ``*_statistic``
make the numbers of them, for `faintsky.evaluation.image_metrics.over_fields`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.evaluation.image_metrics import PIXEL_EDGES
from faintsky.published.dda import EDGES, LEAST_MRE, LogScale

Float = NDArray[np.float64]
Image = NDArray[np.floating]

RADII = np.concatenate([[0.0], np.geomspace(1.0, 1600.0, 41)])
"""Edges of the bins of separation in C(r) [arcsec]; the first holds a separation of nothing alone."""
FALLEN = 0.01
"""Correlations have fallen where they are below this."""
BRIGHTEST = 0.01
"""Share of the pixels whose dimming is looked at."""
_SCALE = LogScale(floor=float(EDGES[0]), ceiling=float(EDGES[-1]))


def brightness_sums(estimate: Image, truth: Image, snr: Image, edges: Float = PIXEL_EDGES) -> Float:
    """Sums over the pixels of each bin of true S/N, ``[bin, 4]``.

    Number of pixels, squared error of their places on the logarithmic scale (the paper's code units; eq. 3),
    number of pixels above `LEAST_MRE`, and sum of these pixels' relative errors (eq. 7).

    Parameters
    ----------
    estimate, truth : array
        ``[y, x]`` [Jy/arcsec2]; pixels where either is NaN are left out.
    snr : array
        True S/N, ``[y, x]``.
    edges : array, optional
        Bins of ``snr``.
    """
    use = np.isfinite(estimate) & np.isfinite(truth) & (snr >= edges[0])
    e, t = (v[use].astype(np.float64) for v in (estimate, truth))
    place = np.clip(np.digitize(snr[use], edges) - 1, 0, len(edges) - 2)
    limits = _SCALE.limits(t)
    square = (_SCALE.encode(e, limits) - _SCALE.encode(t, limits)).astype(np.float64) ** 2
    counted = t > LEAST_MRE
    relative = np.abs(e - t) / np.where(counted, t, np.inf)
    what = (np.ones_like(t), square, counted, relative)
    return np.stack([np.bincount(place, w, minlength=len(edges) - 1) for w in what], axis=1)


def brightness_statistic(sums: NDArray) -> Float:
    """Mean squared error and mean relative error of all pixels, then both by bin, ``[2 + 2 bin]``."""
    total = sums.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = [total[:, 1].sum() / total[:, 0].sum(), total[:, 3].sum() / total[:, 2].sum()]
        return np.concatenate([whole, total[:, 1] / total[:, 0], total[:, 3] / total[:, 2]])


def mre_of_each(sums: NDArray) -> Float:
    """The mean relative error of each field, ``[field]``; NaN where no pixel is above `LEAST_MRE`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 3].sum(axis=-1) / sums[..., 2].sum(axis=-1))


def histograms(estimate: Image, truth: Image) -> Float:
    """Pixels of estimate and truth in each of the bins of `EDGES`, ``[2, bin]``.

    What lies below the floor is counted at the floor, as both are in the paper, and what lies above at the
    upper end, so that both sum up to the same.
    """
    use = np.isfinite(estimate) & np.isfinite(truth)
    inside = (np.clip(v[use], EDGES[0] * 1.0001, EDGES[-1] * 0.9999) for v in (estimate, truth))
    return np.stack([np.histogram(v, EDGES)[0] for v in inside]).astype(np.float64)


def discrepancy_statistic(counts: NDArray) -> Float:
    """The discrepancy Delta_c (eq. A1) of histograms ``[field, 2, bin]``, over the number of pixels."""
    estimate, truth = counts.sum(axis=0)
    return np.array([np.abs(estimate - truth).sum() / max(truth.sum(), 1.0)])


class Correlator:
    """Correlation of images with one true sky, as a function of separation: C(r) of eq. 8.

    Lags reach beyond the borders of neither image: both are padded with zeros after their means are taken
    off. Pixels that are blank in the true sky or in an estimate count as its mean.

    Parameters
    ----------
    truth : array
        ``[y, x]``
    cell : float
        [arcsec]
    edges : array, optional
        Bins of separation [arcsec].
    """

    def __init__(self, truth: Image, cell: float, edges: Float = RADII) -> None:
        from scipy.fft import next_fast_len

        self._reach = min(int(edges[-1] / cell) + 1, min(truth.shape) - 1)
        # only lags up to the reach need to be free of what is wrapped round
        self._padded = tuple(next_fast_len(n + self._reach, real=True) for n in truth.shape)
        lag = np.arange(-self._reach, self._reach + 1) * cell
        r = np.hypot(lag[:, None], lag[None, :])
        self._bin = np.where(r < edges[-1], np.digitize(r, edges) - 1, -1).ravel()
        self._bins, self._pixels = len(edges) - 1, truth.size
        self._counts = np.bincount(self._bin[self._bin >= 0], minlength=self._bins)
        self._truth = self._transform(truth)
        self.truth = self._profile(self._truth)

    def __call__(self, estimate: Image) -> Float:
        """C(r) of an estimate, ``[bin]``; NaN throughout where either image is constant."""
        return self._profile(self._transform(estimate))

    def _transform(self, image: Image) -> NDArray[np.complex64] | None:
        from scipy.fft import rfft2

        known = np.isfinite(image)
        mean = float(image[known].mean(dtype=np.float64)) if known.any() else 0.0
        flat = np.where(known, image - mean, 0).astype(np.float64)
        spread = float(flat.std())
        if not spread > 1e-6 * abs(mean):
            return None
        return np.asarray(rfft2((flat / spread).astype(np.float32), s=self._padded))

    def _profile(self, other: NDArray[np.complex64] | None) -> Float:
        from scipy.fft import irfft2

        if other is None or self._truth is None:
            return np.full(self._bins, np.nan)
        plane = irfft2(np.conj(self._truth) * other, s=self._padded)
        rows = np.arange(-self._reach, self._reach + 1)
        near = plane[np.ix_(rows, rows)].ravel()
        inside = self._bin >= 0
        total = np.bincount(self._bin[inside], near[inside], self._bins)
        with np.errstate(invalid="ignore"):
            return np.asarray(total / self._counts / self._pixels)


def correlation_statistic(profiles: NDArray) -> Float:
    """Of curves ``[field, 2, bin]`` (estimate, true sky), of which the means over fields are taken.

    ``1 - C(0)``; the separation at which the estimate's, and the true sky's, have fallen [arcsec]; and the
    root mean square difference of the two over the bins up to there.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bins without any lag are NaN in all fields
        estimate, truth = np.nanmean(profiles, axis=0)
    reach = fallen(truth)
    seen = np.isfinite(estimate) & np.isfinite(truth) & (RADII[:-1] <= (reach if reach > 0 else 0.0))
    apart = float(np.sqrt(np.mean((estimate - truth)[seen] ** 2))) if seen.any() else np.nan
    return np.array([1 - estimate[0], fallen(estimate), reach, apart])


def fallen(profile: Float, level: float = FALLEN) -> float:
    """Separation at which a curve in the bins of `RADII` first falls below a level [arcsec].

    NaN where it never does or there is none.
    """
    known = np.isfinite(profile)
    below = np.flatnonzero(known & (profile < level))
    return float(radii()[below[0]]) if len(below) else float("nan")


def radii() -> Float:
    """Middles of the bins of `RADII` [arcsec]."""
    middle = np.sqrt(RADII[1:] * RADII[:-1])
    middle[0] = 0.0
    return middle


def dimming_sums(estimate: Image, truth: Image) -> Float:
    """Of the brightest pixels of the true sky ``[4]``: number, sums of estimate over truth, of both."""
    use = np.isfinite(estimate) & np.isfinite(truth)
    e, t = (v[use].astype(np.float64) for v in (estimate, truth))
    if not t.size or not t.max() > 0:
        return np.zeros(4)
    top = (t >= np.quantile(t, 1 - BRIGHTEST)) & (t > 0)
    return np.array([top.sum(), (e[top] / t[top]).sum(), e[top].sum(), t[top].sum()])


def dimming_statistic(sums: NDArray) -> Float:
    """By how much the brightest pixels are too faint: the mean over pixels, and that of their sum."""
    n, ratio, estimate, truth = sums.sum(axis=0)
    return np.array([1 - ratio / n, 1 - estimate / truth]) if n else np.full(2, np.nan)


def brightness_parts(
    estimate: Image, truth: Image, snr: Image, correlator: Correlator
) -> dict[str, NDArray[Any]]:
    """Everything of one field, by name, with a first axis of 1."""
    profile = np.stack([correlator(estimate), correlator.truth])
    made = {
        "brightness": brightness_sums(estimate, truth, snr),
        "histogram": histograms(estimate, truth),
        "profile": profile,
        "dimming": dimming_sums(estimate, truth),
    }
    return {name: value[None] for name, value in made.items()}
