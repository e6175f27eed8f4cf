"""How likely a candidate is real: the noise's own peaks, counted on the negative side, against the finds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

COUNT_FROM = 3.8
"""S/N above which the noise's peaks are counted: lower ones crowd each other."""
FEW_PEAKS = 50
"""Counted peaks below which their number alone is no safe guide."""
PEAKS_A_BEAM_CHANNEL = 0.11
"""Amplitude of `NoisePeaks` for each beam and channel of pure noise with the default filter bank, as counted
in cubes of 360 x 360 x 128 (0.110) and 64 x 64 x 32 (0.116)."""
FITTED_GAIN = 1.015
"""A source's S/N once its place, size and width are fitted, over that of the same peak in the filter bank,
whose grids of pixels and templates are coarse: `benchmarks/fit_classical.py`, from empty cubes."""


@dataclass(frozen=True)
class NoisePeaks:
    """Expected number of noise peaks above an S/N: ``amplitude * (u/s)**2 * exp(-(u/s)**2 / 2)``.

    The form is that of the peaks of a smooth Gaussian random field in three dimensions (Adler 1981; Worsley
    et al. 1992, eq. 1) at high thresholds.

    Attributes
    ----------
    amplitude : float
        Set by the counted peaks.
    stretch : float
        1 for Gaussian noise; more where the counts fall off more slowly.
    """

    amplitude: float
    stretch: float = 1.0

    def above(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Expected number of noise peaks above each S/N, in the whole cube."""
        u = np.asarray(snr, dtype=float) / self.stretch
        return self.amplitude * u**2 * np.exp(-0.5 * u**2)

    def fitted_above(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Expected number of noise peaks that pass for sources above each S/N, in the whole cube."""
        return self.above(np.asarray(snr, dtype=float) / FITTED_GAIN)

    def density(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Noise peaks per unit S/N."""
        s = np.asarray(snr, dtype=float)
        u = s / self.stretch
        return self.amplitude * (u**3 - 2 * u) * np.exp(-0.5 * u**2) / self.stretch

    def threshold(self, count: float) -> float:
        """S/N above which `count` noise peaks are expected."""
        grid = np.linspace(3.5, 12, 851) * self.stretch
        below = self.above(grid) <= count
        return float(grid[np.argmax(below)]) if below.any() else float(grid[-1])


def local_peaks(values: torch.Tensor, size: tuple[int, int, int], floor: float) -> NDArray[np.float64]:
    """Values of the local maxima above `floor` of ``[chan, y, x]``, over boxes of odd `size`, sorted."""
    pad = [s // 2 for s in size]
    at = torch.nonzero(values > floor)
    # few voxels stand that high: looking round each is far cheaper than a maximum filter of the cube, and
    # after each step fewer are left that may be peaks
    top = values[tuple(at.T)]
    limits = torch.tensor(values.shape, device=values.device) - 1
    shifts = itertools.product(*(range(-p, p + 1) for p in pad))
    for shift in sorted(shifts, key=lambda s: sum(abs(v) for v in s)):
        near = at + torch.tensor(shift, device=values.device)
        near = torch.minimum(near.clamp_min(0), limits)
        peak = values[tuple(near.T)] <= top
        at, top = at[peak], top[peak]
    return np.sort(top.cpu().numpy().astype(float))


def fit_noise_peaks(
    peaks: NDArray[np.float64], *, beam_channels: float = 0.0, start: float = COUNT_FROM
) -> NoisePeaks:
    """Amplitude and stretch of the noise's peak distribution from counted peaks.

    The amplitude matches the count above `start`. The stretch is the maximum-likelihood one, and is taken
    only where it exceeds 1 by more than twice its error: real images have heavier tails than noise, never
    lighter ones. Where fewer than `FEW_PEAKS` were counted, as in a small cube, the amplitude is at least the
    one that pure noise has in so many beams and channels.

    Parameters
    ----------
    peaks : array
        S/N of the noise's peaks, those below `start` are ignored.
    beam_channels : float
        Beams in the image times channels.
    """
    u = np.asarray(peaks, dtype=float)
    u = u[u > start]
    unit = NoisePeaks(1.0)
    # half a peak where none was seen: an empty sky is no proof of a perfect one
    if u.size < FEW_PEAKS:
        counted = max(u.size, 0.5) / float(unit.above(start))
        return NoisePeaks(max(counted, PEAKS_A_BEAM_CHANNEL * beam_channels))
    stretches = np.linspace(0.9, 2.0, 221)
    loglike = []
    for s in stretches:
        m = NoisePeaks(1.0, float(s))
        loglike.append(float(np.log(np.maximum(m.density(u) / m.above(start), 1e-300)).sum()))
    like = np.exp(np.array(loglike) - np.max(loglike))
    mean = float((stretches * like).sum() / like.sum())
    error = float(np.sqrt(((stretches - mean) ** 2 * like).sum() / like.sum()))
    stretch = mean if mean - 2 * error > 1.0 else 1.0
    return NoisePeaks(u.size / float(NoisePeaks(1.0, stretch).above(start)), stretch)


def list_reliability(snr: ArrayLike, noise: NoisePeaks, *, caution: float = 15.0) -> NDArray[np.float64]:
    """Reliability of each source of a list, from the noise peaks expected above its S/N.

    ``1 - caution * N_noise(> snr) / N_found(>= snr)``: the false discovery rate of the list down to that
    source (Benjamini & Hochberg 1995; Serra et al. 2012 for line cubes). A source at the end of a list is
    less reliable than the mean of those above it, as noise peaks crowd at the limit: `caution` is for that.

    Parameters
    ----------
    snr : array
        Of the candidates.
    noise : NoisePeaks
        Expected in the whole cube.
    caution : float
        See above.

    Returns
    -------
    array
        In [0, 1], not rising as the S/N falls.
    """
    s = np.asarray(snr, dtype=float)
    order = np.argsort(-s)
    found = np.arange(1, s.size + 1)
    raw = 1 - caution * noise.fitted_above(s[order]) / found
    out = np.empty(s.size)
    # a source is as reliable as the longest list that holds it
    out[order] = np.clip(np.maximum.accumulate(raw[::-1])[::-1], 0, 1)
    return out
