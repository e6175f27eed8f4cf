"""Sidelobes in an image, from what surrounds its bright sources: no psf is needed.

A psf is the same about every source, and point-symmetric, ``P(-d) = P(d)``. So all sources, each seen both
ways round and divided by its peak, are views of one pattern. The mean product of two views is the pattern's
square; noise and other sources, which differ from view to view, drop out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

Float = NDArray[np.floating]
Int = NDArray[np.int64]

NEAR, FAR = 1.3, 16.0
"""Distances from a source at which its surroundings tell the kind of an image [beam]."""
SPACING, GROWTH, ANGLES = 0.5, 1.1, 100
"""Distance between offsets up to there [beam]; of the rings beyond, one over the last; offsets in each."""
BRIGHT, MOST, SHARE = 12.0, 20, 0.1
"""Least S/N of a source whose surroundings are looked at; how many at most; least peak over the highest."""
APART = 1.5
"""Beams within which two peaks are one source."""
COMMON = 0.02
"""Sidelobes, over the peak, down to which brighter sources count for more."""
NEIGHBOUR = 0.3
"""What is brighter than this share of a source is another one."""
LEAST_PEAK = 3.0
"""A source is brighter than this many times the rms of the sidelobes of others."""
COARSE = 700
"""Pixels a side of the image that the sidelobes of all sources are added up in, at most twice as many."""


@dataclass(frozen=True)
class Plane:
    """An image: data and noise ``[y, x]`` in one unit, both 0 where it is not valid."""

    data: Float
    rms: Float
    valid: NDArray[np.bool_]


class Surroundings:
    """What surrounds the bright sources of images, over the sources' peaks.

    Parameters
    ----------
    planes : sequence of Plane
        Images with one psf.
    beam_pixels : float
        Geometric mean of the beam's FWHMs.

    Attributes
    ----------
    views : array
        ``[view, offset]``, two a source; NaN outside of the image.
    noise : array
        Noise over peak, ``[view]``.
    offsets : tuple of array
        Along y and x [pixel].
    distance, angle : array
        Of the offsets [beam, rad].
    """

    def __init__(self, planes: Sequence[Plane], beam_pixels: float) -> None:
        size = max(beam_pixels, 1.0)
        dy, dx = self.offsets = _offsets(size, max(np.hypot(*p.data.shape) for p in planes))
        self.distance, self.angle = np.hypot(dy, dx) / size, np.arctan2(dy, dx) % np.pi
        found = [bright_peaks(p, size) for p in planes]
        which = np.repeat(np.arange(len(found)), [len(f[0]) for f in found])
        y, x, snr = (np.concatenate(v) for v in zip(*found))
        # sidelobes raise the noise near bright sources: it is the image's that tells how bright these are
        typical = np.array([np.median(p.rms[p.valid]) for p in planes])
        bright = np.concatenate([p.data[f[0], f[1]] for p, f in zip(planes, found)]) / typical[which]
        views = [np.zeros((0, len(dy)))]
        noise: list[float] = []
        free = (snr > BRIGHT) & (bright > SHARE * bright.max(initial=0.0))
        while free.any() and len(noise) < 2 * MOST:
            k = int(np.argmax(np.where(free, bright, 0)))
            plane = planes[which[k]]
            for sign in (1, -1):
                views.append(_seen(plane, y[k] + sign * dy, x[k] + sign * dx)[None] / plane.data[y[k], x[k]])
                noise.append(1 / snr[k])
            # the same source in another image would see the same neighbours; what is faint may be a sidelobe
            away = np.hypot(y - y[k], x - x[k]) / size
            free &= (away > FAR) | ((away > APART) & (bright > NEIGHBOUR * bright[k]))
        self.views, self.noise = np.concatenate(views), np.array(noise, dtype=float)

    @property
    def sources(self) -> int:
        """How many are bright enough."""
        return len(self.noise) // 2

    def depth(self) -> tuple[float, float]:
        """Covariance of the depths below zero of two views, and its error, over the peaks squared.

        What surrounds sources in a restored image is emission, and positive: it takes no part.
        """
        seen = self._shallow()
        below = np.where(seen, np.maximum(-np.nan_to_num(self.views), 0), 0)
        weight = self._weight(seen)
        # less the mean over rings: a halo leaves no room for depths, and bowls of missing spacings are even
        ring = (self.distance / 2).astype(int)
        inside = np.equal.outer(ring, np.arange(ring.max() + 1))
        mean = (weight * below) @ inside / np.maximum(weight @ inside, 1e-300)
        # neighbouring offsets are not independent: the error is the scatter of sectors of rings
        sector = (6 * self.angle / np.pi).astype(int) % 6 + 6 * ring
        return _mean_product(np.where(seen, below - mean[:, ring], 0), weight, sector)

    def share(self, psf: Float) -> tuple[float, float]:
        """How much there is of a psf's negative sidelobes, and its error: about 0 in restored data.

        In dirty ones it is up to 1, less where noise or other sources fill them up.

        Parameters
        ----------
        psf : array
            1 at ``(n_y // 2, n_x // 2)``.
        """
        y, x = (n // 2 + d for n, d in zip(psf.shape, self.offsets))
        lobes = np.nan_to_num(_values(psf, y, x))
        weight = np.where(self._shallow() & (lobes < 0), 1 / self.noise[:, None] ** 2, 0)
        power = float((weight * lobes**2).sum())
        if not power > 0:
            return 0.0, np.inf
        value = float((weight * lobes * np.nan_to_num(self.views)).sum()) / power
        # with two offsets a beam along both axes, a quarter of them are independent
        return value, float(1 / (SPACING * np.sqrt(power)))

    def level(self, edges: Float) -> Float:
        """Rms of the sidelobes over the peak between distances [beam], and no less than its error."""
        seen = np.isfinite(self.views) & (np.abs(self.views) < NEIGHBOUR)
        values, weight = np.where(seen, self.views, 0), self._weight(seen)
        squares = []
        for low, high in pairwise(edges):
            use = (self.distance >= low) & (self.distance < high)
            sector = (12 * self.angle[use] / np.pi).astype(int) % 12
            squares.append(max(_mean_product(values[:, use], weight[:, use], sector)))
        return np.sqrt(squares)

    def _shallow(self) -> NDArray[np.bool_]:
        """Where a view is no emission, as far as the kind of an image is looked for, ``[view, offset]``."""
        near = np.isfinite(self.views) & (self.distance < FAR)
        return np.asarray(near & (self.views < 3 * self.noise[:, None]))

    def _weight(self, seen: NDArray[np.bool_]) -> Float:
        return np.where(seen, 1 / (self.noise**2 + COMMON**2)[:, None], 0.0)


def _offsets(size: float, reach: float) -> tuple[Int, Int]:
    """Offsets in a half plane, dy and dx [pixel]: dense up to `FAR`, then ever wider rings up to `reach`."""
    rings = list(np.arange(NEAR, FAR, SPACING))
    while rings[-1] * size < reach:
        rings.append(rings[-1] * GROWTH)
    counts = [min(int(np.pi * r / SPACING), ANGLES) for r in rings]
    angle = np.concatenate([np.pi * (np.arange(n) + 0.5) / n for n in counts])
    r = np.repeat(rings, counts) * size
    return np.rint(r * np.sin(angle)).astype(int), np.rint(r * np.cos(angle)).astype(int)


def _values(image: NDArray[Any], y: Int, x: Int) -> Float:
    """Of an image at pixels, NaN outside of it."""
    inside = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
    out = np.full(y.shape, np.nan)
    out[inside] = image[y[inside], x[inside]]
    return out


def _seen(plane: Plane, y: Int, x: Int) -> Float:
    return np.where(_values(plane.valid, y, x) == 1, _values(plane.data, y, x), np.nan)


def _mean_product(values: Float, weight: Float, group: Int) -> tuple[float, float]:
    """Weighted mean product of distinct views, over all pairs and offsets, and its error by groups."""
    product = (weight * values).sum(axis=0) ** 2 - (weight**2 * values**2).sum(axis=0)
    pairs = weight.sum(axis=0) ** 2 - (weight**2).sum(axis=0)
    p, n = np.bincount(group, product), np.bincount(group, pairs)
    if not n.sum() > 0:
        return 0.0, np.inf
    mean = p.sum() / n.sum()
    return float(mean), float(np.sqrt(((p - mean * n) ** 2).sum()) / n.sum())


def bright_peaks(plane: Plane, size: float) -> tuple[Int, Int, Float]:
    """Highest pixels within 1.5 beams that are above five times the noise: y, x and S/N."""
    top = maximum_filter(plane.data, 2 * round(1.5 * size) + 1)
    y, x = np.nonzero(plane.valid & (plane.data == top) & (plane.data > 5 * plane.rms))
    return y, x, plane.data[y, x] / plane.rms[y, x]


def sidelobe_noise(plane: Plane, around: Surroundings, beam_pixels: float) -> NDArray[np.float32]:
    """Rms of the sidelobes of all sources of an image at each pixel, in its unit, ``[y, x]``.

    The squares of the peaks, times that of the sidelobes' level at their distance, are added up.
    """
    size = max(beam_pixels, 1.0)
    step = max(1, int(size / 2), max(plane.data.shape) // COARSE)
    edges = np.concatenate([[0.99 * NEAR], np.geomspace(2, max(around.distance.max(), 4), 16)])
    level, middle = around.level(edges), np.sqrt(edges[1:] * edges[:-1])
    known = np.isfinite(level)
    n_y, n_x = (-(-n // step) for n in plane.data.shape)
    power = np.zeros((n_y, n_x), dtype=np.float32)
    y, x, _ = bright_peaks(plane, size)
    peak = plane.data[y, x].astype(np.float32)
    if known.any():
        r = np.hypot(np.arange(1 - n_y, n_y)[:, None], np.arange(1 - n_x, n_x)) * step / size
        kernel = np.where(r < NEAR, 0, np.interp(r, middle[known], level[known]) ** 2).astype(np.float32)
        for _ in range(2):
            squares = np.zeros_like(power)
            np.add.at(squares, (y // step, x // step), peak**2)
            power = np.maximum(fftconvolve(squares, kernel, mode="same"), 0)
            # what is no brighter than others' sidelobes may be one, and has none of its own
            keep = peak > LEAST_PEAK * np.sqrt(power[y // step, x // step])
            y, x, peak = y[keep], x[keep], peak[keep]
    full = np.repeat(np.repeat(np.sqrt(power), step, axis=0), step, axis=1)
    return np.asarray(full[: plane.data.shape[0], : plane.data.shape[1]], dtype=np.float32)
