"""Fitted Gaussians of an image, and images of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from faintsky.arrays import Array, Bool, Float, Index
from faintsky.detection.gaussians import NUMBERS, slopes_of
from faintsky.grid import FWHM_PER_SIGMA


@dataclass
class Sources:
    """Fitted Gaussians of an image.

    Attributes
    ----------
    values : array
        ``[n, 6]``: peak [unit of the image], x, y [pixel], second moments xx, xy, yy as observed [pixel**2].
    errors : array
        Their covariance, ``[n, 6, 6]``, 0 for what was held fixed.
    resolved : array of bool
        Whether the moments were fitted; otherwise they are the beam's.
    group : array of int
        Number of the group that was fitted together.
    """

    values: Float
    errors: Float = field(default_factory=lambda: np.zeros((0, NUMBERS, NUMBERS)))
    resolved: Bool = field(default_factory=lambda: np.zeros(0, bool))
    group: Index = field(default_factory=lambda: np.zeros(0, np.intp))

    def __post_init__(self) -> None:
        n = len(self.values)
        if len(self.errors) != n:
            self.errors = np.zeros((n, NUMBERS, NUMBERS))
            self.resolved, self.group = np.zeros(n, bool), np.arange(n)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.integer] | Bool) -> Sources:
        """A selection of the sources."""
        return Sources(self.values[rows], self.errors[rows], self.resolved[rows], self.group[rows])

    def moved(self, x: float, y: float) -> Sources:
        """The same sources in pixels with another origin."""
        values = self.values + np.array([0, x, y, 0, 0, 0])
        return Sources(values, self.errors, self.resolved, self.group)

    @property
    def snr(self) -> Float:
        """Peaks over their errors; negative for negative sources."""
        return self.values[:, 0] / np.sqrt(np.maximum(self.errors[:, 0, 0], 1e-300))

    @property
    def fwhm(self) -> Float:
        """Larger FWHM as observed [pixel]."""
        xx, xy, yy = self.values[:, 3:].T
        return FWHM_PER_SIGMA * np.sqrt((xx + yy) / 2 + np.hypot((xx - yy) / 2, xy))


def add_sources(image: Array, values: Float, sign: float = 1.0, origin: tuple[int, int] = (0, 0)) -> None:
    """Add Gaussians to an image, out to 4.5 standard deviations.

    Parameters
    ----------
    image : array
        ``[y, x]``, changed in place.
    values : array
        Parameters of the Gaussians, ``[n, 6]``.
    sign : float, optional
        Factor; -1 subtracts.
    origin : tuple of int, optional
        Pixel ``(y, x)`` at which `image` begins.
    """
    for v in values:
        (y, x), box = _reached(v, image.shape, origin)
        if not (x.size and y.size):
            continue
        det = v[3] * v[5] - v[4] ** 2
        dx, dy = x - v[1], (y - v[2])[:, None]
        power = (v[5] * dx * dx - 2 * v[4] * dx * dy + v[3] * dy * dy) / det
        image[box] += sign * v[0] * np.exp(-0.5 * power)


def _reached(
    v: Float, shape: tuple[int, ...], origin: tuple[int, int] = (0, 0)
) -> tuple[list[Index], tuple[slice, slice]]:
    """Rows and columns of an image that a Gaussian reaches, and their box in the array."""
    places = []
    for k, variance, first, n in ((2, 5, origin[0], shape[0]), (1, 3, origin[1], shape[1])):
        middle, half = int(np.floor(v[k])), int(np.ceil(4.5 * np.sqrt(v[variance])))
        places.append(np.arange(max(middle - half, first), min(middle + half + 1, first + n)))
    y, x = (slice(p[0] - o, p[-1] + 1 - o) if p.size else slice(0, 0) for p, o in zip(places, origin))
    return places, (y, x)


def model_variance(sources: Sources, shape: tuple[int, ...]) -> Float:
    """Variance of the sources' summed images ``[y, x]``, to first order in their errors."""
    out = np.zeros(shape)
    for v, covariance in zip(sources.values, sources.errors):
        (y, x), box = _reached(v, shape)
        if not (x.size and y.size):
            continue
        at = np.meshgrid(x.astype(float), y.astype(float))
        slopes = slopes_of(v[None, None], *(a.reshape(1, -1) for a in at))[1][0]
        out[box] += ((slopes @ covariance) * slopes).sum(axis=1).reshape(y.size, x.size)
    return out


def joined_sources(parts: Sequence[Sources]) -> Sources:
    """Several lists in one; their groups stay separate."""
    shift = np.cumsum([0, *(int(p.group.max(initial=-1)) + 1 for p in parts)])
    return Sources(
        np.concatenate([p.values for p in parts]), np.concatenate([p.errors for p in parts]),
        np.concatenate([p.resolved for p in parts]),
        np.concatenate([p.group + s for p, s in zip(parts, shift)]),
    )  # fmt: skip


def pixels_of(values: Float, shape: tuple[int, ...]) -> tuple[Index, Index]:
    """Pixels y, x of an image where Gaussians ``[n, 6]`` are."""
    y, x = (np.clip(np.rint(values[:, k]).astype(int), 0, n - 1) for k, n in zip((2, 1), shape))
    return y, x


def highest_about(image: Float, y: Index, x: Index, half: int) -> Float:
    """Largest value of an image in squares around some pixels.

    Parameters
    ----------
    image : array
        ``[y, x]``
    y, x : array of int
        Pixels, ``[n]``.
    half : int
        Reach of the squares to each side [pixel].

    Returns
    -------
    array
        ``[n]``
    """
    steps = range(-half, half + 1)
    if len(y) * len(steps) ** 2 > 10 * image.size:
        return np.asarray(maximum_filter(image, len(steps))[y, x])
    rows, columns = ([np.clip(at + k, 0, n - 1) for k in steps] for at, n in zip((y, x), image.shape))
    out = image[y, x]
    for j in rows:
        for i in columns:
            np.maximum(out, image[j, i], out=out)
    return out
