"""Compact sources of an image: found with the matched filter of its noise, fitted, blends split."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from faintsky.arrays import Array, Bool, Float, Index
from faintsky.beams import beam_covariance
from faintsky.detection.gaussians import NUMBERS, Fitted, fit_gaussians, gain_if_freed, images_of
from faintsky.detection.sources import Sources, add_sources, highest_about, pixels_of
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing import (
    NoiseCorrelation,
    PreparedImage,
    background_map,
    convolve,
    noise_correlation_of,
    noise_map,
    scatter_map,
)

LOWEST = 4.0
"""Lowest S/N at which sources are tried."""
NEIGHBOURS = 2.0
"""Distance within which sources are fitted together [beam]."""
STAMP = 1.25
"""A fit uses the data within this many FWHMs of a source."""
SIDE = 19
"""Pixels on a side of a fit's data, about."""
RESOLVED = 10.0
"""Least gain in chi2 for a source wider than the beam."""
NARROWER = 30.0
"""Least gain in chi2 for a source narrower than the beam."""
ADDED = 22.0
"""Least gain in chi2 for an additional source."""
SPLIT = 9.0
"""Least gain in chi2 for two points in place of one Gaussian, which has as many parameters."""
HOPE = 0.5
"""A fit is made where this fraction of the least gain is expected to first order."""
LARGEST = 4.0
"""Largest FWHM of a fitted Gaussian [beam]."""
COMPACT = 3.3
"""Largest FWHM of a compact source [beam]: larger ones are parts of emission that no Gaussian describes."""
TOGETHER = 8
"""Most sources in one fit."""
ROUNDS = 2
"""Rounds of splitting blends."""
TOUCH = 1.5
"""Distance within which two sources touch [FWHM]."""
BRIGHT = 40.0
"""S/N of sources that may have artefacts around them."""
ARTEFACTS = 20
"""Largest distance to which artefacts are looked for [beam]; it is a tenth of the S/N where that is less."""
TENTH = 1.645
"""Standard deviations that a tenth of a Gaussian's values exceed, on either side."""
CUT_FROM = 10.0
"""S/N above which the user is told of a source whose centre is not in the image."""
FAIR = 2.0
"""Largest ratio of the stronger to the weaker sign of artefacts."""
STAGE = 10.0
"""Sources are subtracted down to the brightest one over this factor, the noise is measured again, and so on:
so artefacts around a bright source are known before they could be taken for sources."""


class CompactSearch:
    """Sources of an image, found and fitted in turn until no peak remains.

    Parameters
    ----------
    data : array
        ``[y, x]``, 0 where not valid.
    valid : array of bool
        Pixels that hold data.
    rms : array
        Standard deviation of the noise, ``[y, x]``.
    beam : tuple of float
        Major and minor FWHM [pixel] and position angle [deg].
    correlation : NoiseCorrelation
        Of the noise.

    Attributes
    ----------
    cut : array
        x, y and S/N of what `find_compact` dropped because its centre is not in the image, ``[n, 3]``.
    """

    def __init__(
        self, data: Array, valid: Bool, rms: Array,
        beam: tuple[float, float, float], correlation: NoiseCorrelation,
    ) -> None:  # fmt: skip
        self.data, self.valid, self.beam = np.where(valid, data, 0).astype(float), valid, beam
        self.moments = beam_covariance(beam)[[0, 0, 1], [0, 1, 1]]
        self.size = float(np.sqrt(beam[0] * beam[1]))
        self.bounds = self.size, LARGEST * self.size
        self.residual, self.background = self.data.copy(), np.zeros(self.data.shape)
        self.sources = Sources(np.zeros((0, NUMBERS)))
        self.cut = np.zeros((0, 3))
        self.level: Float = np.ones(self.data.shape)
        self.set_noise(rms, correlation)

    def set_noise(self, rms: Array, correlation: NoiseCorrelation) -> None:
        """Continue with another noise."""
        self._snr: Float | None = None
        self.rms, self.correlation = np.where(self.valid, rms, np.inf).astype(float), correlation
        self.kernel, self.seen = correlation.matched_filter(self.beam)
        self.gain = float(self.seen.max())
        self._share = None if self.valid.all() else np.sqrt(
            np.clip(convolve(self.valid.astype(float), self._overlap), 0.1, 1.0)
        )  # fmt: skip

    def take_background(self, background: Array) -> None:
        """Subtract a background from data and residual."""
        change = np.where(self.valid, background, 0)
        self.background = self.background + change
        self.data, self.residual, self._snr = self.data - change, self.residual - change, None

    @property
    def _overlap(self) -> Float:
        h = self.kernel.shape[0] // 2
        y, x = np.indices(self.kernel.shape) - h
        own = images_of(
            np.array([[1.0, 0, 0, *self.moments]]), x.ravel().astype(float), y.ravel().astype(float)
        )
        product = self.kernel * own.reshape(self.kernel.shape)
        return product / product.sum()

    def _move(self, values: Float, sign: float) -> None:
        """Add sources to the residual, or subtract them."""
        add_sources(self.residual, values, sign)
        self._snr = None

    def snr_map(self) -> Float:
        """S/N of a point at every pixel of the residual; 0 where not valid."""
        if self._snr is None:
            self._snr = self._filtered(self.residual / self.rms)
        return self._snr

    def _filtered(self, scaled: Float) -> Float:
        # mirrored beyond the border: a step there would look like a source
        h = self.kernel.shape[0] // 2
        out = convolve(np.pad(scaled, h, mode="symmetric"), self.kernel)[h:-h, h:-h]
        if self._share is not None:
            out = out / self._share
        return np.where(self.valid, out, 0.0)

    def measure_level(self) -> None:
        """Scatter of the residual's S/N map over that of noise: artefacts around bright sources."""
        snr = self.snr_map()
        level = np.nan_to_num(scatter_map(snr, self.valid, self.size), nan=1.0).astype(float)
        level = np.maximum(level, 1.0)  # low scatter in the core says nothing about sources
        n_y, n_x = snr.shape
        width = self.size
        bright = np.abs(self.sources.snr) > BRIGHT
        for strength, (x0, y0) in zip(np.abs(self.sources.snr[bright]), self.sources.values[bright, 1:3]):
            reach = min(strength / 10, ARTEFACTS) * width
            x = np.arange(max(int(x0 - reach), 0), min(int(x0 + reach) + 1, n_x))
            y = np.arange(max(int(y0 - reach), 0), min(int(y0 + reach) + 1, n_y))
            box = slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)
            dx, dy = x - x0, (y - y0)[:, None]
            ring = np.minimum((np.hypot(dx, dy) / width).astype(int), ARTEFACTS)
            ratio, ring_of = snr[box] / level[box], np.where(self.valid[box], ring, 0)
            part = 4 * ring_of + 2 * (dy > 0) + (dx > 0)
            # spokes fill only part of a ring: its highest values count, at most those of the second worst
            # quarter, as another source may lie in the worst
            high = np.sort(_tails(ratio, part, 4 * (ARTEFACTS + 1)).reshape(-1, 4), axis=1)[:, 2]
            high = np.minimum(high, _tails(ratio, ring_of, ARTEFACTS + 1))
            count = np.bincount(ring_of.ravel(), minlength=ARTEFACTS + 1)
            scatter = np.where(high > 0, high / TENTH, 1.0)
            chance = 1.2 + 1.5 * self.size / np.sqrt(np.maximum(count, 1))
            scatter[[0, -1]] = 1.0
            # a ring that is consistent with noise stays as it is
            scatter = np.where(scatter > chance, scatter, 1.0)
            scatter[1:-1] = np.maximum(scatter[1:-1], (scatter[:-2] + scatter[2:]) / 2)
            level[box] *= scatter[ring]
        self.level = level

    def peaks(self, snr: Float, lowest: float) -> tuple[Index, Index]:
        """Pixels y, x of local maxima above `lowest`, and of minima below its negative."""
        high = np.abs(snr)
        y, x = np.nonzero(high > lowest)
        highest = high[y, x] == highest_about(high, y, x, max(1, round(0.35 * self.size)))
        return y[highest], x[highest]

    def new_peaks(self, snr: Float, lowest: float) -> tuple[Index, Index, Float]:
        """`peaks` that are not the filter's own sidelobes around brighter ones: y, x and S/N."""
        y, x = self.peaks(snr / self.level, lowest)
        strength, h = snr[y, x], self.seen.shape[0] // 2
        kept = np.ones(len(x), bool)
        pairs = cKDTree(np.c_[x, y].reshape(-1, 2)).query_pairs(h, output_type="ndarray").reshape(-1, 2)
        # the brighter one of each pair first
        turned = np.abs(strength[pairs[:, 0]]) < np.abs(strength[pairs[:, 1]])
        bright, faint = np.where(turned[:, None], pairs[:, ::-1], pairs).T
        lobe = np.minimum(self.seen[h + y[faint] - y[bright], h + x[faint] - x[bright]], 0) / self.gain
        kept[faint[np.abs(strength[faint]) < 1.5 * np.abs(lobe * strength[bright])]] = False
        return y[kept], x[kept], strength[kept]

    def add(self, y: NDArray[np.integer], x: NDArray[np.integer], snr: Float) -> None:
        """Add points at some pixels to the list.

        Parameters
        ----------
        y, x : array of int
            Pixels.
        snr : array
            Their S/N.
        """
        values = np.empty((len(x), NUMBERS))
        values[:, 0] = snr / self.gain * self.rms[y, x]
        values[:, 1], values[:, 2], values[:, 3:] = x, y, self.moments
        new = Sources(values)
        old = self.sources
        self.sources = Sources(
            np.concatenate([old.values, values]), np.concatenate([old.errors, new.errors]),
            np.concatenate([old.resolved, new.resolved]), np.concatenate([old.group, new.group]),
        )  # fmt: skip
        self._move(values, -1.0)

    def level_at(self, values: Float) -> Float:
        """`level` where Gaussians ``[n, 6]`` are."""
        return np.asarray(self.level[pixels_of(values, self.data.shape)])

    def source_snr(self) -> Float:
        """S/N of the sources, of the noise and artefacts where they are; negative for negative ones."""
        return self.sources.snr / self.level_at(self.sources.values)

    def off_the_image(self) -> Bool:
        """Sources whose centre lies outside the image, or on a blank pixel."""
        x, y = self.sources.values[:, 1], self.sources.values[:, 2]
        n_y, n_x = self.data.shape
        blank = ~self.valid[pixels_of(self.sources.values, self.data.shape)]
        return np.asarray(blank | (x < -0.5) | (y < -0.5) | (x > n_x - 0.5) | (y > n_y - 0.5))

    def left_over(self) -> Bool:
        """Sources of opposite sign to a brighter one that they touch: errors of its model."""
        s, out = self.sources, np.zeros(len(self.sources), bool)
        tree = cKDTree(s.values[:, 1:3])
        a, b = tree.query_pairs(LARGEST * self.size, output_type="ndarray").reshape(-1, 2).T
        apart = np.hypot(*(s.values[a, 1:3] - s.values[b, 1:3]).T)
        near = apart < TOUCH * np.maximum(np.maximum(s.fwhm[a], s.fwhm[b]), self.size)
        peak = s.values[:, 0]
        odd = near & (peak[a] * peak[b] < 0)
        out[np.where(np.abs(peak[a]) < np.abs(peak[b]), a, b)[odd]] = True
        return out

    def put_back(self, away: Bool) -> None:
        """Drop some sources, and add them to the residual."""
        self._move(self.sources.values[away], 1.0)
        self.sources = self.sources.take(~away)

    def groups(self) -> list[Index]:
        """Sources to be fitted together, single ones first; large groups are cut at their largest gaps."""
        s, link = self.sources, NEIGHBOURS * self.size
        out: list[Index] = []
        todo = [np.arange(len(s))]
        while todo:
            rows = todo.pop()
            pairs = cKDTree(s.values[rows, 1:3]).query_pairs(link, output_type="ndarray")
            graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(rows),) * 2)
            n, label = connected_components(graph, directed=False)
            order = np.argsort(label, kind="stable")
            for part in np.split(rows[order], np.cumsum(np.bincount(label, minlength=n))[:-1]):
                if len(part) <= TOGETHER or link < 0.2 * self.size:
                    out.append(part)
                else:
                    todo.append(part)
            link *= 0.8
        return out

    def fit(self, rows: list[Index] | None = None) -> None:
        """Fit all sources, close ones together."""
        groups = self.groups() if rows is None else rows
        singles = np.array([g[0] for g in groups if len(g) == 1], np.intp)
        left = self._fit_singles(singles)
        for g in [g for g in groups if len(g) > 1] + [np.array([k]) for k in left]:
            self._replace(g, *self._fit_group(self.sources.take(g)))
        for number, g in enumerate(groups):
            self.sources.group[g] = number
        self.put_back(self.sources.values[:, 0] == 0)

    def _replace(self, rows: Index, values: Float, errors: Float, resolved: Bool) -> None:
        s = self.sources
        self._move(s.values[rows], 1.0)
        s.values[rows], s.errors[rows], s.resolved[rows] = values, errors, resolved
        self._move(values, -1.0)

    def _fit_singles(self, rows: Index) -> Index:
        """Fit single sources, many at once; returns those near blanks or an edge, which are not fitted."""
        s = self.sources
        # classes of size, each with one pattern of pixels and one covariance
        wide = np.maximum(s.fwhm[rows], self.size) / self.size
        of = np.ceil(np.log(np.maximum(wide / 1.05, 1.0)) / np.log(1.5)).astype(int)
        left: list[Index] = []
        for k in np.unique(of):
            half = STAMP * self.size * 1.05 * 1.5 ** int(k)
            oy, ox, white = self._pattern(half)
            its = rows[of == k]
            cx, cy = np.rint(s.values[its, 1]).astype(int), np.rint(s.values[its, 2]).astype(int)
            px, py = cx[:, None] + ox, cy[:, None] + oy
            n_y, n_x = self.data.shape
            inside = ((px >= 0) & (px < n_x) & (py >= 0) & (py < n_y)).all(axis=1)
            inside[inside] = self.valid[py[inside], px[inside]].all(axis=1)
            left.append(its[~inside])
            its, px, py = its[inside], px[inside], py[inside]
            for start in range(0, len(its), 2000):
                part = slice(start, start + 2000)
                self._fit_batch(its[part], px[part].astype(float), py[part].astype(float), white)
        return np.concatenate(left) if left else rows

    def _pattern(self, half: float) -> tuple[Index, Index, Float]:
        step = max(1, int(np.ceil((2 * half + 1) / SIDE)))
        line = np.arange(-int(half // step), int(half // step) + 1) * step
        oy, ox = (a.ravel() for a in np.meshgrid(line, line, indexing="ij"))
        return oy, ox, self.correlation.whitening(ox, oy)

    def _fit_batch(self, rows: Index, px: Float, py: Float, white: Float) -> None:
        s = self.sources
        if not len(rows):
            return
        unit = self.rms[pixels_of(s.values[rows], self.data.shape)]
        start = s.values[rows][:, None, :].copy()
        start[:, 0, 0] /= unit
        data = self.residual[py.astype(int), px.astype(int)] / unit[:, None] + images_of(start, px, py)[:, 0]
        point = start.copy()
        point[..., 3:] = self.moments
        free = np.ones(start.shape, bool)
        held = free.copy()
        held[..., 3:] = False
        as_point = fit_gaussians(data, px, py, white, point, held, *self.bounds)
        wide = fit_gaussians(
            data,
            px,
            py,
            white,
            np.where(s.resolved[rows][:, None, None], start, as_point.values),
            free,
            *self.bounds,
        )
        chosen = self._earned(
            wide.values[:, 0], (as_point.chi2 - wide.chi2) / self.level_at(s.values[rows]) ** 2
        )
        chosen &= self._near(wide.values, start).all(axis=1)
        values = np.where(chosen[:, None], wide.values[:, 0], as_point.values[:, 0])
        errors = np.where(chosen[:, None, None], wide.covariance, as_point.covariance)
        values[~self._near(values, start[:, 0]), 0] = 0.0
        self._store(rows, values, errors, chosen, unit)

    def _earned(self, values: Float, gain: Float) -> Bool:
        """Whether Gaussians ``[..., 6]`` with moments other than the beam's gain enough."""
        area = values[..., 3] * values[..., 5] - values[..., 4] ** 2
        beam = self.moments[0] * self.moments[2] - self.moments[1] ** 2
        return np.asarray(gain > np.where(area > beam, RESOLVED, NARROWER))

    def _near(self, values: Float, start: Float) -> Bool:
        """Whether fits ``[..., 6]`` stayed near their start, with a possible size."""
        moved = np.hypot(values[..., 1] - start[..., 1], values[..., 2] - start[..., 2])
        return np.asarray(
            (moved < 0.95 * self.size)
            & (values[..., 3] + values[..., 5] < 2 * (LARGEST * self.size / FWHM_PER_SIGMA) ** 2)
        )

    def _store(self, rows: Index, values: Float, errors: Float, resolved: Bool, unit: Float) -> None:
        scale = np.ones((len(rows), NUMBERS))
        scale[:, 0] = unit
        self._replace(rows, values * scale, errors * scale[:, :, None] * scale[:, None, :], resolved)

    def _stamp(self, values: Float) -> tuple[Float, Float, Float, float]:
        """Pixels around some sources, ``[m]``, their whitening, and the noise there."""
        xx, xy, yy = values[:, 3:].T
        fwhm = FWHM_PER_SIGMA * np.sqrt((xx + yy) / 2 + np.hypot((xx - yy) / 2, xy))
        reach = STAMP * np.maximum(fwhm, self.size)
        low = [max(int(np.floor((values[:, k] - reach).min())), 0) for k in (1, 2)]
        high = [
            min(int(np.ceil((values[:, k] + reach).max())), n - 1)
            for k, n in ((1, self.data.shape[1]), (2, self.data.shape[0]))
        ]
        step = 1
        while True:
            sides = (np.arange(a, b + 1, step) for a, b in zip(low, high))
            x, y = (a.ravel() for a in np.meshgrid(*sides))
            near = (np.hypot(x[:, None] - values[:, 1], y[:, None] - values[:, 2]) <= reach).any(axis=1)
            near &= self.valid[y, x]
            if near.sum() <= 0.8 * SIDE**2 or step >= max(2, 0.75 * self.size):
                break
            step += 1
        x, y = x[near], y[near]
        unit = float(np.median(self.rms[y, x])) if x.size else 1.0
        return x.astype(float), y.astype(float), self.correlation.whitening(x, y), unit

    def _fit_group(self, own: Sources) -> tuple[Float, Float, Bool]:
        """Fit a few sources together, each as a point unless a size gains enough."""
        x, y, white, unit = self._stamp(own.values)
        if x.size < 4:
            return own.values, own.errors, own.resolved
        trial = _Trial(self, own.values, own.resolved, x, y, white, unit)
        stray = self._stray(own.values, trial.values, trial.now.covariance[0])
        if not stray.any():
            trial.settle()
            stray = self._stray(own.values, trial.values, trial.now.covariance[0])
        if not stray.any():
            return trial.result()
        # this source does not exist: fit the others without it
        values, errors, resolved = own.values.copy(), own.errors.copy(), own.resolved.copy()
        values[stray, 0] = 0.0
        if not stray.all():
            values[~stray], errors[~stray], resolved[~stray] = self._fit_group(own.take(~stray))
        return values, errors, resolved

    def _stray(self, start: Float, values: Float, covariance: Float) -> Bool:
        """Sources that have moved away, or that the data do not constrain."""
        k = len(values)
        error = np.diagonal(covariance).reshape(k, NUMBERS)[:, 0]
        lost = (
            ~self._near(values, start) | ~np.isfinite(error) | ~(error > 0) | (np.sqrt(np.abs(error)) > 1e3)
        )
        # of several that move away together the faintest one does not exist
        if lost.sum() > 1:
            lost &= np.abs(start[:, 0]) == np.abs(start[lost, 0]).min()
        return np.asarray(lost)

    def part_blends(self, lowest: float) -> None:
        """Add a source, or replace one Gaussian by two points, wherever the data require it."""
        for again in range(ROUNDS):
            s = self.sources
            if not len(s):
                return
            snr = self.snr_map() / self.level
            high = np.nonzero(np.abs(snr) > lowest)
            snr[high] *= self.level[high] / np.maximum(self.level[high], self.fidelity_floor(*high))
            y, x = self.peaks(snr, lowest)
            far, nearest = cKDTree(s.values[:, 1:3]).query(np.c_[x, y].reshape(-1, 2))
            close = far < 2.0 * np.maximum(s.fwhm[nearest], self.size)
            asked: dict[int, list[tuple[float, int, int]]] = {}
            if not again:  # newer ones have been tried already
                asked = {int(g): [] for g in s.group[s.resolved]}
            for j, i, k in zip(y[close], x[close], nearest[close]):
                asked.setdefault(int(s.group[k]), []).append((abs(float(snr[j, i])), int(i), int(j)))
            changed = False
            away: list[Index] = []
            new: list[Sources] = []
            for g, where in asked.items():
                rows = np.flatnonzero(s.group == g)
                own = s.take(rows)
                values = np.concatenate(
                    [own.values, *[np.array([[0, i, j, *self.moments]]) for _, i, j in where]]
                )
                px, py, white, unit = self._stamp(values)
                trial = _Trial(self, own.values, own.resolved, px, py, white, unit)
                for _, i, j in sorted(where, reverse=True)[:6]:
                    trial.try_one_more(float(i), float(j), float(self.residual[j, i]) / unit)
                trial.try_two_points()
                if trial.changed:
                    changed = True
                    away.append(rows)
                    v, e, r = trial.result()
                    new.append(Sources(v, e, r, np.zeros(len(v), np.intp)))
                else:
                    self._replace(rows, *trial.result())
            if not changed:
                return
            gone = np.zeros(len(s), bool)
            gone[np.concatenate(away)] = True
            self.put_back(gone)
            kept = self.sources
            self.sources = Sources(
                *(
                    np.concatenate([getattr(p, k) for p in (kept, *new)])
                    for k in ("values", "errors", "resolved", "group")
                )
            )
            for part in new:
                self._move(part.values, -1.0)
            self._regroup()

    def _regroup(self) -> None:
        for number, g in enumerate(self.groups()):
            self.sources.group[g] = number

    def fidelity_floor(self, y: Index, x: Index) -> Float:
        """Scatter of the residual over the noise that inexact models may leave at some pixels."""
        model, half = np.abs(self.data - self.residual) / self.rms, max(1, round(self.size / 2))
        bright = self.sources.values[np.abs(self.sources.snr) > 50]
        share = 0.002
        at = pixels_of(bright, model.shape)
        known = model[at] > 0  # not that of a source whose middle is blank
        if known.sum() >= 5:
            worst = highest_about(np.abs(self.snr_map()), *at, half)
            share = max(share, float(np.median(np.maximum(worst - 2.5, 0)[known] / model[at][known])) / 2)
        return np.sqrt(1 + (share * self.gain * highest_about(model, y, x, half)) ** 2)


def _tails(values: Float, part: Index, n: int) -> Float:
    """The level that a tenth of the values of each of ``n`` parts exceed, on either side; 0 for few pixels.

    It is at most `FAIR` times the level that a twentieth exceed on the weaker side: sources have one sign.
    """
    count = np.bincount(part.ravel(), minlength=n)
    first, last = np.cumsum(count) - count, np.cumsum(count) - 1
    top = 2.002 * float(np.abs(values).max()) + 1e-9

    def ordered(what: Float, at: Index) -> Float:
        # one sort for all parts: the values of each lie between its number and the next
        order = np.sort(part + (what / top + 0.5), axis=None)
        return (order[np.clip(at, 0, len(order) - 1)] - np.arange(n) - 0.5) * top

    off = (0.05 * count).astype(int)
    high, low = ordered(values, np.stack([last - off, first + off]))
    tenth = ordered(np.abs(values), last - (0.1 * count).astype(int))
    return np.where(count > 8, np.minimum(tenth, FAIR * np.minimum(high, -low)).clip(0), 0.0)


def _stages(highest: float) -> list[float]:
    """S/N levels down to which sources are subtracted, in turn."""
    stages = []
    while (highest := highest / STAGE) > 2.5 * LOWEST:
        stages.append(highest)
    return [*stages, LOWEST]


def find_compact(
    prepared: PreparedImage, background_scale: float, tell: Callable[[str], None] = lambda word: None
) -> CompactSearch:
    """Find the compact sources of an image, down to `LOWEST`.

    Parameters
    ----------
    prepared : PreparedImage
        With a beam.
    background_scale : float
        Scale of the background [beam].
    tell : callable, optional
        Called with a word as each part begins.

    Returns
    -------
    CompactSearch
    """
    assert prepared.beam is not None
    valid, size = prepared.valid, prepared.beam_pixels
    rms = np.where(valid, prepared.rms, 1).astype(float)
    scaled = np.where(valid, prepared.data / rms, 0)
    quiet = valid & (maximum_filter(np.abs(scaled), 2 * int(1.5 * size) + 1) < 4)
    quiet = quiet if quiet.sum() > 0.2 * valid.sum() else valid & (np.abs(scaled) < 3)
    background = background_map(prepared.data, quiet, size, background_scale)
    scaled = np.where(valid, scaled - background / rms, 0)
    search = CompactSearch(
        prepared.data, valid, rms, prepared.beam, noise_correlation_of(scaled, quiet, prepared.beam)
    )
    search.take_background(background)
    for lowest in _stages(float(np.abs(search.snr_map()).max())):
        tell(f"sources above {lowest:g} sigma")
        search.measure_level()
        snr = search.snr_map()
        search.add(*search.new_peaks(snr, lowest))
        search.fit()
        search.measure_level()
        search.part_blends(lowest)
        search.put_back(search.left_over())
        if prepared.rms_origin != "given":
            rms = np.nan_to_num(noise_map(search.residual, valid, size), nan=1.0).astype(float)
        calm = valid & (search.level < 1.3 * np.median(search.level[valid]))
        search.take_background(background_map(search.residual, calm, size, background_scale))
        search.set_noise(
            rms, noise_correlation_of(np.where(calm, search.residual / rms, 0), calm, prepared.beam)
        )
    search.measure_level()
    search.fit()
    large = search.sources.fwhm > COMPACT * size
    off, snr = search.off_the_image(), search.source_snr()
    search.cut = np.column_stack([search.sources.values[:, 1:3], snr])[off & (np.abs(snr) > CUT_FROM)]
    search.put_back((np.abs(snr) < LOWEST) | off | large)
    search.put_back(search.left_over())
    return search


class _Trial:
    """Models of a few close sources, compared by chi2 on the same pixels."""

    def __init__(
        self,
        search: CompactSearch,
        values: Float,
        resolved: Bool,
        x: Float,
        y: Float,
        white: Float,
        unit: float,
    ) -> None:
        self.search, self.x, self.y, self.white, self.unit = search, x, y, white, unit
        start = values.copy()
        start[:, 0] /= unit
        self.resolved = resolved.copy()
        self.data = search.residual[y.astype(int), x.astype(int)] / unit + images_of(start, x, y).sum(axis=0)
        self.changed = False
        self.worth = 1 / float(search.level_at(values).max()) ** 2
        self.now = self.fitted(start, resolved)

    def fitted(self, start: Float, resolved: Bool) -> Fitted:
        return self.fitted_all(start[None], resolved)

    def fitted_all(self, starts: Float, resolved: Bool) -> Fitted:
        """From several beginnings ``[n, k, 6]``."""
        n = len(starts)
        begin = starts.copy()
        begin[:, ~resolved, 3:] = self.search.moments
        free = np.ones(begin.shape, bool)
        free[..., 3:] = resolved[:, None]
        data, x, y = (np.broadcast_to(a, (n, a.size)) for a in (self.data, self.x, self.y))
        return fit_gaussians(data, x, y, self.white, begin, free, *self.search.bounds)

    @property
    def values(self) -> Float:
        return self.now.values[0]

    def result(self) -> tuple[Float, Float, Bool]:
        k = len(self.values)
        scale = np.ones(NUMBERS)
        scale[0] = self.unit
        blocks = self.now.covariance[0].reshape(k, NUMBERS, k, NUMBERS)
        errors = blocks[np.arange(k), :, np.arange(k), :] * scale[:, None] * scale
        return self.values * scale, errors, self.resolved

    def settle(self) -> None:
        """Turn points into resolved sources, and the reverse, one at a time."""
        search = self.search
        for k in np.flatnonzero(self.resolved):
            without = self.resolved.copy()
            without[k] = False
            other = self.fitted(self.values, without)
            if not search._earned(
                self.values[k], self.worth * (other.chi2[0] - self.now.chi2[0])
            ) or not search._near(self.values[k], other.values[0, k]):
                self.now, self.resolved = other, without
        free = np.ones(self.values.shape, bool)
        free[:, 3:] = self.resolved[:, None]
        hope = gain_if_freed(self.data, self.x, self.y, self.white, self.values, free) * self.worth
        for k in np.flatnonzero(hope > HOPE * RESOLVED):
            with_it = self.resolved.copy()
            with_it[k] = True
            other = self.fitted(self.values, with_it)
            fine = search._near(other.values[0], self.values).all()
            if fine and search._earned(other.values[0, k], self.worth * (self.now.chi2[0] - other.chi2[0])):
                self.now, self.resolved = other, with_it

    def try_one_more(self, x: float, y: float, peak: float) -> None:
        start = np.concatenate([self.values, [[peak, x, y, *self.search.moments]]])
        resolved = np.append(self.resolved, False)
        other = self.fitted(start, resolved)
        # a source that was resolved only because this one was missing is a point now
        found = other.values[0]
        apart = np.hypot(*(found[:-1, 1:3] - found[-1, 1:3]).T).min() if len(found) > 1 else np.inf
        if (
            self.worth * (self.now.chi2[0] - other.chi2[0]) > ADDED
            and self.search._near(found, start).all()
            and apart > 0.35 * self.search.size
            and found[-1, 0] * found[np.argmin(np.hypot(*(found[:-1, 1:3] - found[-1, 1:3]).T)), 0] > 0
        ):
            self.now, self.resolved, self.changed = other, resolved, True
            self.settle()

    def try_two_points(self) -> None:
        """Try two points in place of a Gaussian whose minor axis is that of the beam."""
        search = self.search
        for k in np.flatnonzero(self.resolved):
            v, beam = self.values[k], search.moments
            extra = np.array([[v[3] - beam[0], v[4] - beam[1]], [v[4] - beam[1], v[5] - beam[2]]])
            size, axes = np.linalg.eigh(extra)
            if size[1] <= 0 or size[0] > max(0.3 * size[1], 0.15 * (beam[0] + beam[2])):
                continue
            area = np.sqrt((v[3] * v[5] - v[4] ** 2) / (beam[0] * beam[2] - beam[1] ** 2))
            share = np.array([0.5, 0.25, 0.75])[:, None]
            apart = axes[:, 1] * np.sqrt(size[1] / (share * (1 - share)))
            first = np.concatenate([v[0] * area * share, v[1:3] + apart * (1 - share)], axis=1)
            second = np.concatenate([v[0] * area * (1 - share), v[1:3] - apart * share], axis=1)
            others = np.broadcast_to(np.delete(self.values, k, axis=0), (3, len(self.values) - 1, NUMBERS))
            two = [
                np.concatenate([p, np.broadcast_to(beam, (3, 3))], axis=1)[:, None] for p in (first, second)
            ]
            starts = np.concatenate([others, *two], axis=1)
            resolved = np.append(np.delete(self.resolved, k), [False, False])
            tried = self.fitted_all(starts, resolved)
            fine = search._near(tried.values, starts).all(axis=1) & (tried.values[:, -2:, 0] * v[0] > 0).all(
                axis=1
            )
            chi2 = np.where(fine, tried.chi2, np.inf)
            best = int(chi2.argmin())
            if self.worth * (self.now.chi2[0] - chi2[best]) > SPLIT:
                self.now = Fitted(
                    *(getattr(tried, name)[best : best + 1] for name in ("values", "covariance", "chi2"))
                )
                self.resolved, self.changed = resolved, True
                return self.try_two_points()
        return None
