"""Counts of noise peaks and of sources: how likely one of some strength is real, how bright it truly is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

FITTED_GAIN = 1.015
"""A source's S/N once its place, size and width are fitted, over that of the same peak in the filter bank,
whose grids of pixels and templates are coarse: `tools/fit_classical.py`, from empty cubes."""


@dataclass(frozen=True)
class NoisePeaks:
    """Expected number of noise peaks above an S/N: ``amplitude * (u/s)**power * exp(-(u/s)**2 / 2)``.

    The form is that of the peaks of a smooth Gaussian random field (Adler 1981; Worsley et al. 1992, eq. 1)
    at high thresholds.

    Attributes
    ----------
    amplitude : float
        Set by the counted peaks.
    stretch : float
        1 for Gaussian noise; more where the counts fall off more slowly.
    power : int
        Dimensions of the field less one: 2 in a cube, 1 in an image.
    """

    amplitude: float
    stretch: float = 1.0
    power: int = 2

    def above(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Expected number of noise peaks above each S/N, in the whole of the data."""
        u = np.asarray(snr, dtype=float) / self.stretch
        return self.amplitude * u**self.power * np.exp(-0.5 * u**2)

    def fitted_above(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Expected number of noise peaks that pass for sources above each S/N, in the whole cube."""
        return self.above(np.asarray(snr, dtype=float) / FITTED_GAIN)

    def density(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Noise peaks per unit S/N."""
        s = np.asarray(snr, dtype=float)
        u = s / self.stretch
        slope = u ** (self.power + 1) - self.power * u ** (self.power - 1)
        return self.amplitude * slope * np.exp(-0.5 * u**2) / self.stretch

    def threshold(self, count: float) -> float:
        """S/N above which `count` noise peaks are expected."""
        grid = np.linspace(3.5, 12, 851) * self.stretch
        below = self.above(grid) <= count
        return float(grid[np.argmax(below)]) if below.any() else float(grid[-1])


SURE = 7.0
"""S/N above which all that is found is real."""
SLOPE, SLOPE_ERROR = 1.0, 0.4
"""What the slope of integral counts is taken for before they are seen: those of radio sources between 0.1 mJy
and 1 Jy lie between 0.6 and 1.4 (de Zotti et al. 2010, fig. 1)."""

WINDOW, CONTINUED = 0.4, 0.5
"""Half of the range of S/N that candidates are counted in, and the relative error of counts that are
continued to lower S/N: there may be fewer there, or some may hide behind others."""


@dataclass(frozen=True)
class SourceCounts:
    """Sources by S/N, ``number (u / SURE)**-slope`` above ``u``."""

    number: float
    slope: float

    def density(self, snr: Float) -> Float:
        """Sources per unit S/N."""
        return np.asarray(self.number * self.slope / SURE * (snr / SURE) ** (-self.slope - 1))

    def between(self, low: Float, high: Float) -> Float:
        """Sources between two S/N."""
        return np.asarray(self.number * ((low / SURE) ** -self.slope - (high / SURE) ** -self.slope))

    def reliability(self, snr: Float, noise: NoisePeaks, candidates: Float) -> Float:
        """Probability that a candidate of some S/N is a source and no noise peak.

        Below `SURE` the counts are what is continued from above and what is seen, each by its error: the
        candidates within `WINDOW` of the S/N, less the noise peaks there.

        Parameters
        ----------
        snr : array
            Of those to judge.
        noise : NoisePeaks
            Expected in the same data.
        candidates : array
            S/N of all that was found, complete down to its least.
        """
        ranked = np.sort(candidates)
        low = np.maximum(snr - WINDOW, ranked[0] if len(ranked) else 0.0)
        high = np.maximum(snr, low) + WINDOW
        seen = np.searchsorted(ranked, high) - np.searchsorted(ranked, low)
        peaks = noise.above(low) - noise.above(high)
        continued = self.between(low, high)
        weight = continued**2 / np.maximum(continued + peaks, 1e-30)
        share = ((seen - peaks) * continued / np.maximum(continued + peaks, 1e-30) + CONTINUED**-2) / (
            weight + CONTINUED**-2
        )
        real, false = self.density(snr), np.maximum(noise.density(snr), 0.0)
        real = real * np.where(snr < SURE, np.clip(share, 0.0, 1.0), 1.0)
        return np.asarray(real / np.maximum(real + false, 1e-300))


def fit_counts(snr: Float) -> SourceCounts:
    """The counts of the candidates above `SURE`, continued below.

    Half a source is counted where there is none: an empty field is no proof that there are no sources.
    """
    sure = snr[snr > SURE]
    logs = np.log(sure / SURE)
    slopes = np.linspace(0.3, 2.5, 221)
    like = len(sure) * np.log(slopes) - slopes * logs.sum() - ((slopes - SLOPE) / SLOPE_ERROR) ** 2 / 2
    weight = np.exp(like - like.max())
    return SourceCounts(max(len(sure), 0.5), float((slopes * weight).sum() / weight.sum()))


def deboosted(snr: Float, counts: SourceCounts) -> tuple[Float, Float]:
    """Median S/N that sources truly have, and half of the interval that holds 68 %.

    The posterior of Bayes: a Gaussian of width 1 about the measured S/N, times the counts, of which none is
    fainter than the noise.

    Parameters
    ----------
    snr : array
        As measured, ``[n]``.
    counts : SourceCounts
        Of the same image.
    """
    place = np.linspace(-6, 5, 441)
    true = snr[:, None] + place
    weight = np.exp(-0.5 * place**2) * np.where(true > 1, np.maximum(true, 1.0) ** (-counts.slope - 1), 0.0)
    share = np.cumsum(weight, axis=1)
    share /= share[:, -1:]
    low, middle, high = (true[np.arange(len(snr)), (share < q).sum(axis=1)] for q in (0.16, 0.5, 0.84))
    return middle, (high - low) / 2
