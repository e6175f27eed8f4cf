"""Step ii: spectra of the blobs, denoised, and the lines in them (Sections 4.2 and 4.4 ii)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.signal import find_peaks, peak_widths
from torch import nn

from faintsky.grid import FWHM_PER_SIGMA
from faintsky.published.deepfocus.scaling import standardise

Array = NDArray[np.float32]
Float = NDArray[np.float64]


MOST_PEAKS = 8
"""Peaks of a spectrum that are looked at, the highest: more are noise, or a network that is not trained."""


@dataclass(frozen=True)
class Line:
    """An emission peak of a spectrum.

    Parameters
    ----------
    z, fwhm_z : float
        Middle and full width at half maximum of the Gaussian fitted [channel].
    height : float
        Its amplitude in Deep GRU's answer.
    """

    z: float
    fwhm_z: float
    height: float

    @property
    def low(self) -> float:
        """First end of the emission range of 2 FWHM [channel]."""
        return self.z - self.fwhm_z

    @property
    def high(self) -> float:
        """Its other end."""
        return self.z + self.fwhm_z

    def overlaps(self, other: Line) -> bool:
        """Whether the emission ranges have channels in common."""
        return self.low < other.high and other.low < self.high


def clean_spectra(spectra: Array, network: nn.Module, device: str = "cpu") -> Array:
    """Deep GRU's answer in [0, 1] to dirty spectra, both ``[n, chan]``."""
    if not len(spectra):
        return np.zeros_like(spectra)
    with torch.no_grad():
        answer: Array = network(standardise(torch.as_tensor(spectra, device=device))).float().cpu().numpy()
    return answer


def find_lines(clean: NDArray[np.floating], height: float = 0.1, prominence: float = 0.05) -> list[Line]:
    """Peaks of a denoised spectrum ``[chan]``, each with its Gaussian, highest first.

    Parameters
    ----------
    clean : array
        From `clean_spectra`.
    height, prominence : float, optional
        Least of a peak. The paper's threshold of 0.1 is its height: the ``threshold`` of
        `scipy.signal.find_peaks`, a step between neighbours, finds nothing in lines wider than 4 channels.
    """
    # a peak at the end of the band is one, too
    padded = np.concatenate([[0.0], np.asarray(clean, dtype=float), [0.0]])
    places, _ = find_peaks(padded, height=height, prominence=prominence)
    most = min(MOST_PEAKS, len(clean) // 3)
    places = np.sort(places[np.argsort(-padded[places])[:most]])
    if not len(places):
        return []
    widths = np.clip(peak_widths(padded, places, rel_height=0.5)[0], 1.0, len(clean))
    start = np.stack([padded[places], places - 1.0, widths / FWHM_PER_SIGMA], axis=1)
    fitted = _fit(padded[1:-1], start)
    lines = []
    for first, best in zip(start, fitted):
        good = best[0] > 0 and abs(best[1] - first[1]) <= max(3.0, FWHM_PER_SIGMA * first[2])
        good = good and 1.0 <= FWHM_PER_SIGMA * best[2] <= len(clean)
        amplitude, z, sigma = best if good else first
        lines.append(Line(float(z), float(sigma * FWHM_PER_SIGMA), float(amplitude)))
    return sorted(lines, key=lambda line: -line.height)


def _fit(spectrum: Float, start: Float) -> Float:
    """Gaussians ``[n, 3]`` (amplitude, middle, sigma) fitted together by Levenberg-Marquardt."""
    channels = np.arange(len(spectrum))[:, None]

    def terms(p: Float) -> tuple[Float, Float, Float]:
        amplitude, z, sigma = p.reshape(-1, 3).T
        t = (channels - z) / sigma
        return np.exp(-0.5 * t * t), t, amplitude / sigma

    def misfit(p: Float) -> Float:
        profile, _, _ = terms(p)
        return profile @ p.reshape(-1, 3)[:, 0] - spectrum

    def slopes(p: Float) -> Float:
        profile, t, scale = terms(p)
        return np.stack([profile, scale * profile * t, scale * profile * t * t], axis=2).reshape(
            len(spectrum), -1
        )

    with np.errstate(all="ignore"):
        try:
            found = least_squares(misfit, start.ravel(), slopes, method="lm", max_nfev=50).x.reshape(-1, 3)
        except ValueError:  # a step led to infinite values
            return start
    found[:, 2] = np.abs(found[:, 2])
    return np.where(np.isfinite(found).all(axis=1, keepdims=True), found, start)


def line_free(n_chan: int, lines: Sequence[Line]) -> NDArray[np.bool_]:
    """Channels outside of every emission range, ``[chan]``."""
    channels = np.arange(n_chan)
    free = np.ones(n_chan, dtype=bool)
    for line in lines:
        free &= (channels < line.low) | (channels > line.high)
    return free


def continuum_of(spectrum: Array, lines: Sequence[Line]) -> Float:
    """Straight line through the channels without emission, ``[chan]``; 0 where fewer than two are left."""
    free = line_free(len(spectrum), lines)
    if free.sum() < 2:
        return np.zeros(len(spectrum))
    channels = np.arange(len(spectrum))
    slope, level = np.polyfit(channels[free], spectrum[free], 1)
    return np.asarray(level + slope * channels, dtype=float)
