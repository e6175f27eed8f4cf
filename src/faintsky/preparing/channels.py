"""Correlation of the noise between a cube's channels: smoothed, interpolated or oversampled spectra."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import toeplitz

from faintsky.arrays import Array, Bool, Float
from faintsky.grid import FWHM_PER_SIGMA

LAGS = 8
"""Largest separation at which the correlation is measured [channel]."""
LEAST = 0.03
"""Correlation of neighbouring channels below which they count as independent."""
SURE = 5.0
"""Standard errors above which a correlation is accepted."""
FLOOR = 0.01
"""Least variance of any spectral pattern over that of a channel: smoothing removes nearly all noise from some
patterns, in which only errors of models would count."""
LINE_FREE = 0.3
"""Least fraction of the channels with neither lines nor sidelobes."""
WIDEST = 4.0
"""Largest smoothing [channel]: correlations over more channels are emission or its sidelobes."""
CLIP = 3.5
"""Voxels beyond this are left out [standard deviation]."""


@dataclass(frozen=True)
class ChannelCorrelation:
    """The noise of a spectrum in units of each channel's rms.

    Attributes
    ----------
    matrix : array
        Correlation of each pair of channels, ``[chan, chan]``, regularised by `FLOOR`.
    response : float
        FWHM of the smoothing that made it [channel]: no line appears narrower.
    period : float
        Channels after which it repeats, as in regridded cubes; 0 where it is the same along the band.
    """

    matrix: Float
    response: float
    period: float = 0.0

    @property
    def neighbours(self) -> float:
        """Mean correlation of neighbouring channels."""
        return float(np.diag(self.matrix, 1).mean())

    def mean_error(self, channels: int) -> float:
        """Noise of the mean of `channels` neighbouring channels over that of as many independent ones."""
        m = min(channels, len(self.matrix))
        part = self.matrix[(len(self.matrix) - m) // 2 :, (len(self.matrix) - m) // 2 :][:m, :m]
        return float(np.sqrt(max(part.mean() * m, 1e-6)))

    @property
    def note(self) -> str:
        """Remark for the user."""
        again = f", repeating every {self.period:.1f} channels" if self.period else ""
        return (
            f"the noise of neighbouring channels is correlated by {self.neighbours:.2f} (spectral resolution "
            f"{self.response:.1f} channels{again}): widths, S/N and errors allow for it"
        )


def precision(sigma: Float, channels: ChannelCorrelation | None, z: NDArray[np.int_]) -> Float:
    """Inverse covariance of channels, 0 where their noise is 0.

    Parameters
    ----------
    sigma : array
        Noise of the channels, ``[n]``.
    channels : ChannelCorrelation or None
    z : array of int
        Which channels, ``[n]``.

    Returns
    -------
    array
        ``[n, n]``
    """
    weight = np.where(sigma > 0, 1 / np.where(sigma > 0, sigma, 1.0), 0.0)
    if channels is None:
        return np.diag(weight**2)
    used = np.flatnonzero(sigma > 0)
    out = np.zeros((len(z), len(z)))
    out[np.ix_(used, used)] = np.linalg.inv(channels.matrix[np.ix_(z[used], z[used])])
    return out * weight[:, None] * weight


def channel_correlation(
    scaled: Array, used: Bool, beam_area: float, taken_out: int = 0
) -> ChannelCorrelation | None:
    """Correlation of the channels of pure noise; None where they are independent.

    Parameters
    ----------
    scaled : array
        Line-free data over the rms of each channel, ``[chan, y, x]``.
    used : array of bool
        Voxels with noise only, ``[chan, y, x]``.
    beam_area : float
        Pixels of one independent value.
    taken_out : int, optional
        Parameters of each spectrum's continuum that were fitted and subtracted, which correlates channels.

    Returns
    -------
    ChannelCorrelation or None
        None where the channels are independent.
    """
    n = len(scaled)
    lags = min(LAGS, n // 4)
    if lags < 1:
        return None
    flat = np.where(used & (np.abs(scaled) < CLIP), scaled, 0).reshape(n, -1).astype(np.float32)
    count = (flat != 0).astype(np.float32)
    variance = (flat**2).sum(1) / np.maximum(count.sum(1), 1)
    live = variance > 0
    by_lag, pairs = np.full((lags + 1, n), np.nan), np.zeros((lags + 1, n))
    for k in range(lags + 1):
        a, b = slice(0, n - k), slice(k, n)
        pairs[k, a] = np.einsum("zi,zi->z", count[a], count[b])
        product = np.einsum("zi,zi->z", flat[a], flat[b]) / np.maximum(pairs[k, a], 1)
        known = live[a] & live[b] & (pairs[k, a] > 10 * beam_area)
        by_lag[k, a] = np.where(
            known, product / np.sqrt(np.where(known, variance[a] * variance[b], 1)), np.nan
        )
    known = np.isfinite(by_lag)
    if not known[1].any():
        return None
    # lines, and the sidelobes of bright ones all over a dirty image, are limited to their own channels
    if np.quantile(by_lag[1][known[1]], LINE_FREE) < LEAST:
        return None
    mean = np.array([np.median(v[m]) if m.any() else 0.0 for v, m in zip(by_lag, known)])
    lost = _before(mean, n, taken_out) - mean
    mean, by_lag = mean + lost, by_lag + lost[:, None]
    independent = float(np.mean(pairs[1][known[1]])) / beam_area
    error = np.sqrt((1 + 2 * mean[1] ** 2) / (independent * np.maximum(known.sum(1), 1)))
    real = np.abs(mean) > np.maximum(SURE * error, LEAST)
    if not real[1]:
        return None
    # stop at the first uncorrelated lag: later ones are tails of lines
    reach = int(np.argmin(real)) if not real.all() else lags + 1
    period = _period(by_lag[1], float((1 - mean[1] ** 2) / np.sqrt(independent)))
    matrix = np.eye(n)
    for k in range(1, reach):
        values = np.full(n - k, mean[k])
        if period:
            values = _periodic(by_lag[k, : n - k], period)
        matrix += np.diag(values, k) + np.diag(values, -k)
    values, vectors = np.linalg.eigh(matrix)
    matrix = (vectors * np.maximum(values, FLOOR)) @ vectors.T
    scale = np.sqrt(np.diag(matrix))
    lag = np.arange(1, reach)
    # the variance of the smoothing kernel is half that of its autocorrelation
    spread = (lag**2 * mean[1:reach]).sum() / max(0.5 + mean[1:reach].sum(), 0.1)
    response = FWHM_PER_SIGMA * float(np.sqrt(max(spread, 0.0) / 2))
    if response > WIDEST:
        return None
    return ChannelCorrelation(matrix / np.outer(scale, scale), response, period)


def _before(mean: Float, n: int, taken_out: int) -> Float:
    """Correlations by lag as they were before polynomials of `taken_out` parameters were subtracted."""
    if not taken_out:
        return mean
    q, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, n), taken_out, increasing=True))
    rest, out = np.eye(n) - q @ q.T, mean
    for _ in range(6):
        whole = rest @ toeplitz(np.append(out, np.zeros(n - mean.size))) @ rest
        scale = np.sqrt(np.diag(whole))
        seen = np.array([np.diag(whole / np.outer(scale, scale), k).mean() for k in range(mean.size)])
        out = out + mean - seen
    return np.asarray(out)


def _period(values: Float, error: float) -> float:
    """Period of correlations along a band; 0 where they vary only by chance."""
    z = np.flatnonzero(np.isfinite(values))
    if z.size < 16:
        return 0.0
    rest = values[z] - values[z].mean()
    periods = 1 / np.linspace(4 / z.size, 0.5, 4 * z.size)
    wave = np.exp(-2j * np.pi * z / periods[:, None])
    power = np.abs(wave @ rest) ** 2 / (z.size * error**2)
    best = int(power.argmax())
    # exponentially distributed without a period
    return float(periods[best]) if power[best] > 25 else 0.0


def _periodic(values: Float, period: float) -> Float:
    """Mean and two harmonics of a period fitted to values along a band, at every channel."""
    z = np.arange(values.size)
    angle = 2 * np.pi * z / period
    basis = np.stack([np.ones(z.size), *(f(m * angle) for m in (1, 2) for f in (np.cos, np.sin))], axis=1)
    known = np.isfinite(values)
    return np.asarray(basis @ np.linalg.lstsq(basis[known], values[known], rcond=None)[0])
