"""Fitted Gaussians of an image, and images of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from faintsky.detection.gaussians import NUMBERS, slopes_of
from faintsky.grid import FWHM_PER_SIGMA

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass
class Sources:
    """Fitted Gaussians of an image.

    Attributes
    ----------
    values : array
        ``[n, 6]``: peak [unit of the image], x, y [pixel], second moments xx, xy, yy as observed [pixel**2].
    errors : array
        Their covariance, ``[n, 6, 6]``, 0 for what was held.
    resolved : array of bool
        Whether the moments were fitted; those of the others are the beam's.
    group : array of int
        Sources fitted together share it.
    """

    values: Float
    errors: Float = field(default_factory=lambda: np.zeros((0, NUMBERS, NUMBERS)))
    resolved: Bool = field(default_factory=lambda: np.zeros(0, bool))
    group: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))

    def __post_init__(self) -> None:
        n = len(self.values)
        if len(self.errors) != n:
            self.errors = np.zeros((n, NUMBERS, NUMBERS))
            self.resolved, self.group = np.zeros(n, bool), np.arange(n)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.integer] | Bool) -> Sources:
        """Some of them."""
        return Sources(self.values[rows], self.errors[rows], self.resolved[rows], self.group[rows])

    @property
    def snr(self) -> Float:
        """Peaks over their errors; negative for negative sources."""
        return self.values[:, 0] / np.sqrt(np.maximum(self.errors[:, 0, 0], 1e-300))

    @property
    def fwhm(self) -> Float:
        """Larger FWHM as observed [pixel]."""
        xx, xy, yy = self.values[:, 3:].T
        return FWHM_PER_SIGMA * np.sqrt((xx + yy) / 2 + np.hypot((xx - yy) / 2, xy))


def add_sources(image: NDArray[np.floating], values: Float, sign: float = 1.0) -> None:
    """Put Gaussians ``[n, 6]`` into an image, out to where they are 1e-4 of the noise's scale."""
    n_y, n_x = image.shape
    for v in values:
        half = [int(np.ceil(4.5 * np.sqrt(v[k]))) for k in (3, 5)]
        x = np.arange(max(int(v[1]) - half[0], 0), min(int(v[1]) + half[0] + 1, n_x))
        y = np.arange(max(int(v[2]) - half[1], 0), min(int(v[2]) + half[1] + 1, n_y))
        if not (x.size and y.size):
            continue
        det = v[3] * v[5] - v[4] ** 2
        dx, dy = x - v[1], (y - v[2])[:, None]
        power = (v[5] * dx * dx - 2 * v[4] * dx * dy + v[3] * dy * dy) / det
        image[y[0] : y[-1] + 1, x[0] : x[-1] + 1] += sign * v[0] * np.exp(-0.5 * power)


def model_variance(sources: Sources, shape: tuple[int, ...]) -> Float:
    """Variance of the sources' summed images ``[y, x]``, to first order in their errors."""
    out = np.zeros(shape)
    for v, covariance in zip(sources.values, sources.errors):
        half = [int(np.ceil(4.5 * np.sqrt(v[k]))) for k in (3, 5)]
        x, y = (
            np.arange(max(int(c) - h, 0), min(int(c) + h + 1, n))
            for c, h, n in zip(v[1:3], half, shape[::-1])
        )
        if not (x.size and y.size):
            continue
        at = np.meshgrid(x.astype(float), y.astype(float))
        slopes = slopes_of(v[None, None], *(a.reshape(1, -1) for a in at))[1][0]
        out[y[0] : y[-1] + 1, x[0] : x[-1] + 1] += (
            ((slopes @ covariance) * slopes).sum(axis=1).reshape(y.size, x.size)
        )
    return out


def pixels_of(values: Float, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pixels y, x of an image where Gaussians ``[n, 6]`` are."""
    y, x = (np.clip(np.rint(values[:, k]).astype(int), 0, n - 1) for k, n in zip((2, 1), shape))
    return y, x


def highest_about(image: Float, y: NDArray[np.intp], x: NDArray[np.intp], half: int) -> Float:
    """Largest value of an image in the squares about some pixels, which reach `half` pixels to each side."""
    steps = range(-half, half + 1)
    if len(y) * len(steps) ** 2 > 10 * image.size:
        return np.asarray(maximum_filter(image, len(steps))[y, x])
    rows, columns = ([np.clip(at + k, 0, n - 1) for k in steps] for at, n in zip((y, x), image.shape))
    out = image[y, x]
    for j in rows:
        for i in columns:
            np.maximum(out, image[j, i], out=out)
    return out
