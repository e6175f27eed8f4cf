"""Counts of noise peaks and sources by S/N: reliabilities, and corrections of measured fluxes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from faintsky.arrays import Float, Index

FITTED_GAIN = 1.015
"""S/N of a source after the fit of position, size and width over that of its peak in the filter bank, whose
grids of pixels and templates are coarse: `tools/fit_classical.py`, from empty cubes."""


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
        1 for Gaussian noise; more where the counts fall more slowly.
    power : int
        Dimensions of the field minus one: 2 in a cube, 1 in an image.
    """

    amplitude: float
    stretch: float = 1.0
    power: int = 2

    def above(self, snr: ArrayLike) -> Float:
        """Expected number of noise peaks above each S/N, in the whole of the data."""
        u = np.asarray(snr, dtype=float) / self.stretch
        return self.amplitude * u**self.power * np.exp(-0.5 * u**2)

    @property
    def fitted(self) -> NoisePeaks:
        """The same for peaks that were fitted like sources."""
        return replace(self, stretch=self.stretch * FITTED_GAIN)

    def density(self, snr: ArrayLike) -> Float:
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
"""S/N above which every detection is real."""
SLOPE = 1.0
"""Prior mean of the slope of integral counts: those of radio sources between 0.1 mJy and 1 Jy have
0.6 to 1.4 (de Zotti et al. 2010, fig. 1)."""
SLOPE_ERROR = 0.4
"""Prior range of that slope."""

WINDOW = 0.4
"""Half of the range of S/N in which candidates are counted."""
CONTINUED = 0.5
"""Relative error of extrapolated counts: there may be fewer faint sources, or others may hide some."""


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

    def reliability(
        self, snr: Float, noise: NoisePeaks, candidates: Float, likeness: Float | float = 1.0
    ) -> Float:
        """Probability that a candidate of some S/N is a source and no noise peak.

        Below `SURE` the number of sources is the weighted mean of the extrapolated counts and of the observed
        ones: candidates within `WINDOW` of the S/N, minus the noise peaks there.

        Parameters
        ----------
        snr : array
            Of the candidates to judge.
        noise : NoisePeaks
            Expected in the same data.
        candidates : array
            S/N of all candidates, complete down to the lowest.
        likeness : array or float, optional
            How many times more often sources than noise peaks have the shape of each.

        Returns
        -------
        array
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
        real = real * likeness * np.where(snr < SURE, np.clip(share, 0.0, 1.0), 1.0)
        return np.asarray(real / np.maximum(real + false, 1e-300))


def fit_counts(snr: Float) -> SourceCounts:
    """The counts of the candidates above `SURE`, extrapolated below.

    Half a source is counted where there is none: an empty field does not prove that there are no sources.
    """
    sure = snr[snr > SURE]
    logs = np.log(sure / SURE)
    slopes = np.linspace(0.3, 2.5, 221)
    like = len(sure) * np.log(slopes) - slopes * logs.sum() - ((slopes - SLOPE) / SLOPE_ERROR) ** 2 / 2
    weight = np.exp(like - like.max())
    return SourceCounts(max(len(sure), 0.5), float((slopes * weight).sum() / weight.sum()))


def against_negatives(
    snr: Float, negative: Float, noise: NoisePeaks, candidates: Float | None = None
) -> Float:
    """Share of equally strong candidates that are real if artefacts are as often negative as positive.

    Only negatives beyond the expected noise peaks, plus twice their error, count as artefacts.

    Parameters
    ----------
    snr : array
        Of the candidates to judge.
    negative : array
        S/N of the negative peaks, taken as positive.
    noise : NoisePeaks
        Expected in the same data.
    candidates : array, optional
        S/N of all candidates; `snr` by default.

    Returns
    -------
    array
        For each of `snr`, in [0, 1].
    """
    strong, low = np.sort(snr if candidates is None else candidates), np.sort(negative)
    as_strong, as_low = (len(v) - np.searchsorted(v, snr) for v in (strong, low))
    expected = noise.above(snr)
    excess = np.maximum(as_low - expected - 2 * np.sqrt(np.maximum(expected, 0.25)), 0)
    return np.asarray(np.clip(1 - excess / np.maximum(as_strong, 1), 0, 1))


SIZE_SHARES = (0.66, 0.16, 0.09, 0.06, 0.03)
WIDTH_SHARES = (0.50, 0.19, 0.13, 0.08, 0.06, 0.04)
"""Fractions of the noise peaks of a cube that each sky size and each line width fits best."""
UNSEEN = 4.0
"""Sources of unknown shape that are added to the observed ones, so that a few do not decide."""


def likeness(template: Index, sure: Index, n_widths: int) -> Float:
    """How many times more often sources than noise peaks have a template of the default filter bank.

    Most noise peaks are as small and narrow as possible. The shapes of sources follow from the certain ones
    of the cube, each counted by half for its own size and width and by a quarter for the neighbouring ones,
    plus `UNSEEN` sources spread evenly.

    Parameters
    ----------
    template : array of int
        Of the candidates, ``size * n_widths + width``.
    sure : array of int
        Of the certain sources.
    n_widths : int
        Line widths of the bank, the narrowest of the default ones.

    Returns
    -------
    array
    """
    widths = np.array(WIDTH_SHARES[:n_widths])
    noise = np.outer(SIZE_SHARES, widths / widths.sum())
    seen = np.zeros(noise.shape)
    for size, width in zip(*np.divmod(sure, n_widths)):
        seen += np.outer(_near(size, seen.shape[0]), _near(width, n_widths))
    real = (seen + UNSEEN / seen.size) / (len(sure) + UNSEEN)
    return np.asarray((real / noise).ravel()[template])


def _near(k: int, n: int) -> Float:
    """Half at `k`, a quarter on both sides; at an end, that end gets the outer quarter."""
    out = np.zeros(n)
    np.add.at(out, np.clip([k - 1, k, k, k + 1], 0, n - 1), 0.25)
    return out


def deboosted(snr: Float, counts: SourceCounts) -> tuple[Float, Float]:
    """Median true S/N of sources, and half of the interval that contains 68 %.

    The posterior is a Gaussian of width 1 around the measured S/N, times the counts, which end at the noise.

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
