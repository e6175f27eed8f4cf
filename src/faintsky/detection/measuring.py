"""The sources of a cube's continuum image, found in turn and fitted together where they overlap; their
lines."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from faintsky.arrays import Array32, Bool, Float
from faintsky.detection.fits import GroupFit, GroupWindow, LineSource, Member, axes_of, cut_group, member_of
from faintsky.detection.matched_filter import seen_widths
from faintsky.detection.objects import gaussian_patch, touching
from faintsky.detection.pursuit import Component, Pursuit, modelled_reach
from faintsky.grid import FWHM_PER_SIGMA, major_axis_direction
from faintsky.preparing import ChannelCorrelation, PreparedCube, precision
from faintsky.source_model import (
    frequencies_2d,
    gaussian_transform,
    line_profile,
    matched_norm,
    psf_transform,
)

SIZES = (0.0, 1.0, 2.0)
"""Intrinsic FWHM of the filters [beam]."""
FAINTEST = 5.5
"""Lowest S/N of a source found in the image; one beneath a line needs `BENEATH`."""
BENEATH = 5.0
MOST = 60
"""Largest number of continuum sources."""
SAME = 0.35
"""Two fits closer than this [beam] describe one source."""
WIDEST = 6.0
"""Fits larger than this [beam] are dropped: fits of emission that is not a source grow."""
TWO = 40.0
"""Twice the log likelihood that two sources must gain over one: noise gains 40 once in two million times."""


def axes(m: Member) -> tuple[float, float, float]:
    """Intrinsic FWHMs [pixel] and position angle [deg] of a member."""
    return axes_of(*(float(v) for v in m.shape[2:]))


def radius(m: Member, beam: float) -> float:
    """Half its observed FWHM along the major axis [pixel]."""
    return 0.5 * float(np.hypot(axes(m)[0], beam))


def distance(a: Member, b: Member) -> float:
    """Distance between the centres [pixel]."""
    return float(np.hypot(*(a.shape[:2] - b.shape[:2])))


def overlapping(members: Sequence[Member], beam: float, reach: float = 1.0, most: int = 6) -> list[list[int]]:
    """Group members that overlap.

    Groups that are too large fall apart at the largest gaps.

    Parameters
    ----------
    members : sequence of Member
    beam : float
        FWHM of the beam [pixel].
    reach : float, optional
        Two overlap within this times the sum of their observed half widths.
    most : int, optional
        Largest size of a group.

    Returns
    -------
    list of list of int
    """
    n = len(members)
    label = list(range(n))

    def root(i: int) -> int:
        while label[i] != i:
            i = label[i]
        return i

    place, half = np.array([m.shape[:2] for m in members]), np.array([radius(m, beam) for m in members])
    gaps = np.hypot(*(place[:, None] - place).T) / (half[:, None] + half) if n else np.zeros((0, 0))
    pairs = [(gaps[i, j], i, j) for i, j in np.argwhere(np.tril(gaps < reach, -1)).tolist()]
    size = [1] * n
    for _, i, j in sorted(pairs):
        a, b = root(i), root(j)
        if a != b and size[a] + size[b] <= most:
            label[a] = b
            size[b] += size[a]
    groups: dict[int, list[int]] = {}
    for i in range(n):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


class ContinuumImage:
    """The continuum image of a cube, and its sources.

    Parameters
    ----------
    level : array
        Mean over the channels, lines subtracted, ``[y, x]`` [Jy/beam].
    error : float
        Its noise.
    valid : array of bool
        ``[y, x]``
    pursuit : Pursuit
        Gives psf and beam.
    """

    def __init__(self, level: Array32, error: float, valid: Bool, pursuit: Pursuit) -> None:
        self.level, self.error, self.pursuit = np.where(valid, level, np.float32(0)), error, pursuit
        self.valid = valid
        self.beam = pursuit.beam_pixels
        self.members: list[Member] = []
        self.images: list[Array32] = []
        self.total, self.guard = np.zeros_like(self.level), np.zeros_like(self.level)
        psf = pursuit.imager.psf
        self.psf = psf[psf.shape[0] // 2]
        margin = int(2 * max(SIZES) * self.beam)
        self._padded = tuple(next_fast_len(n + margin, real=True) for n in level.shape)
        fx, fy = frequencies_2d(*self._padded)
        transfer, n_x = psf_transform(self.psf), self.psf.shape[1]
        widths = [size * self.beam for size in SIZES]
        self._kernels = [gaussian_transform(fx, fy, 0.0, 0.0, w, w, 0.0).real for w in widths]
        self._norms = [matched_norm(transfer, n_x, w, w, 0.0) for w in widths]

    def image(self, m: Member) -> Array32:
        """Image of a member of unit flux, with the psf."""
        x, y, l11, l21, l22 = m.shape.tolist()
        return self.pursuit.imager.image(
            LineSource(1.0, x, y, l11, l21, l22, 0.5 * self.pursuit.sigma.size, 1.0, np.zeros((8, 8)))
        )

    def put(self, k: int, m: Member, image: Array32 | None = None) -> None:
        """Replace member `k`, or add one at the end.

        Parameters
        ----------
        k : int
        m : Member
        image : array, optional
            Of unit flux, ``[y, x]``, if already known.
        """
        if image is None:
            image = self.image(m)
        if k < len(self.members):
            self._add(k, -1.0)
            self.members[k], self.images[k] = m, image
        else:
            self.members.append(m)
            self.images.append(image)
        self._add(k, 1.0)

    def _add(self, k: int, sign: float) -> None:
        m, image = self.members[k], self.images[k]
        self.total += np.float32(sign * (m.continuum or 0.0)) * image
        reach = modelled_reach(
            image, m.shape[0], m.shape[1], self.psf.shape, self.pursuit.fidelity, max(SIZES) * self.beam
        )
        self.guard += np.float32(sign * abs(m.continuum or 0.0)) * reach

    def find(self, starts: Sequence[LineSource]) -> None:
        """Find the sources: beneath lines, strongest first, then at the remaining peaks of the image."""
        scale = 1.5 * self.beam
        for s in starts:
            shape = np.array([s.x, s.y, s.l11, s.l21, s.l22])
            if not shape[2:].any():  # a point in its line may be resolved in its continuum
                shape[[2, 4]] = 0.35 * self.beam / FWHM_PER_SIGMA
            self._try(Member(shape, 0.0), BENEATH, scale)
        self.refit()
        # separate blends before their residuals are taken for sources
        split = [self._part(k) for k in range(len(self.members))]
        if any(split):
            self.refit()
        self._prune()
        for _ in range(MOST):
            start = self._peak()
            if start is None or not self._try(start, FAINTEST, scale):
                break
            new = len(self.members) - 1
            self._part(new)
            self.refit([new])

    def _try(self, start: Member, least: float, scale: float) -> bool:
        """Fit one more source to the residual; whether it is kept."""
        rest = self.level - self.total
        window = self._window([start], rest)
        (m,), _ = GroupFit(window, [start], scale).run()
        if m.continuum is None or m.continuum < least * self.error / np.sqrt(max(m.norm, 1e-6)):
            return False
        if any(distance(m, o) < SAME * self.beam for o in self.members) or axes(m)[0] > WIDEST * self.beam:
            return False
        image = self.image(m)
        # a real source lowers the residual
        if np.abs(rest - np.float32(m.continuum) * image).max() > 1.1 * np.abs(rest).max():
            return False
        self.put(len(self.members), m, image)
        return True

    def _prune(self) -> None:
        """Drop sources without which their neighbours describe the image nearly as well."""
        k = 0
        while k < len(self.members):
            m = self.members[k]
            near = [
                i for i, o in enumerate(self.members)
                if i != k and distance(m, o) < 0.7 * (radius(m, self.beam) + radius(o, self.beam))
            ]  # fmt: skip
            if near and self._without(k, near):
                k = 0
            else:
                k += 1

    def _without(self, k: int, near: Sequence[int]) -> bool:
        """Remove source `k` if its neighbours describe the image without it; whether it was removed."""
        group = [k, *near]
        own = sum(np.float32(self.members[i].continuum) * self.images[i] for i in group)
        members = [self.members[i] for i in group]
        window = self._window(members, self.level - self.total + own)
        _, every = GroupFit(window, members, 1.5 * self.beam).run()
        others, fewer = GroupFit(window, members[1:], 1.5 * self.beam).run(iterations=25)
        if 2 * (every - fewer) > self._doubt(members[1:]) or not self.sound(others):
            return False
        for i, m in zip(near, others):
            self.put(i, m)
        self._add(k, -1.0)
        del self.members[k], self.images[k]
        return True

    def _doubt(self, members: Sequence[Member]) -> float:
        """Twice the log likelihood that one more source must gain over some.

        Sources that are not Gaussian gain as well, at most by the square of the fraction that the model
        misses.
        """
        snr = max((m.continuum or 0.0) * np.sqrt(max(m.norm, 0.0)) for m in members) / self.error
        return TWO + (self.pursuit.fidelity * snr) ** 2

    def _part(self, k: int) -> bool:
        """Replace a source by two where that is much more likely; whether it was replaced."""
        m = self.members[k]
        flux = m.continuum or 0.0
        least = self._doubt([m])
        if flux**2 * m.norm < 2 * least * self.error**2:
            return False
        wide, _, pa = axes(m)
        offset = 0.5 * max(wide, 0.5 * self.beam) * np.array(major_axis_direction(pa)) * 0.8
        size = max(0.35 * wide, 0.2 * self.beam) / FWHM_PER_SIGMA
        places = [m.shape[:2] + sign * offset for sign in (1, -1)]
        halves = [Member(np.array([*place, size, 0.0, size]), 0.5 * flux) for place in places]
        rest = self.level - self.total + np.float32(flux) * self.images[k]
        window = self._window([m, *halves], rest)
        _, alone = GroupFit(window, [m], 1.5 * self.beam).run()
        two, both = GroupFit(window, halves, 1.5 * self.beam).run(iterations=25)
        faint = min((q.continuum or 0.0) * np.sqrt(max(q.norm, 0.0)) for q in two)
        near = distance(*two) < SAME * self.beam
        if 2 * (both - alone) < least or faint < 2 * FAINTEST * self.error or near or not self.sound(two):
            return False
        self.put(k, two[0])
        self.put(len(self.members), two[1])
        return True

    def _window(self, members: Sequence[Member], image: Array32) -> GroupWindow:
        centre, side = self.frame(members)
        empty = np.zeros((0, *image.shape), dtype=np.float32)
        psf = self.pursuit.imager.psf_at(*centre, 0.5 * self.pursuit.sigma.size)
        return cut_group(empty, np.zeros(0, dtype=int), np.zeros(0), image, self.error, psf, centre, side)

    def frame(self, members: Sequence[Member]) -> tuple[tuple[float, float], int]:
        """Centre and side of a window that contains some members."""
        half = np.array([0.5 * self.pursuit.window_side(axes(m)[0]) for m in members])
        place = np.array([m.shape[:2] for m in members])
        low, high = (place - half[:, None]).min(0), (place + half[:, None]).max(0)
        side = next_fast_len(int(np.ceil((high - low).max())), real=True)
        return (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2), side

    def refit(self, which: Sequence[int] | None = None) -> None:
        """Fit overlapping sources together; if `which` is given, only the groups of these."""
        for group in overlapping(self.members, self.beam):
            if which is not None and not set(group) & set(which):
                continue
            own = sum(np.float32(self.members[k].continuum) * self.images[k] for k in group)
            members = [self.members[k] for k in group]
            window = self._window(members, self.level - self.total + own)
            fitted, _ = GroupFit(window, members, 1.5 * self.beam).run()
            if self.sound(fitted):
                for k, m in zip(group, fitted):
                    self.put(k, m)

    def sound(self, fitted: Sequence[Member]) -> bool:
        """Whether all continua are plausible: fits of emission that is not a source grow or turn negative."""
        return all(
            m.continuum is None or (m.continuum > 0 and axes(m)[0] <= WIDEST * self.beam) for m in fitted
        )

    def _peak(self) -> Member | None:
        """Start for a fit of the highest remaining peak; None where there is none."""
        rest = self.level - self.total
        guard = np.sqrt(1 + (self.pursuit.fidelity * self.guard / self.error) ** 2)
        transform = rfft2(rest, s=self._padded, workers=1)
        best: tuple[float, int, int, float] = (FAINTEST, 0, 0, -1.0)
        for size, kernel, norm in zip(SIZES, self._kernels, self._norms):
            filtered = irfft2(transform * kernel, s=self._padded, workers=1) if size else rest
            value = filtered[: rest.shape[0], : rest.shape[1]] / (np.sqrt(norm) * self.error * guard)
            value = np.where(self.valid, value, 0)
            j, i = np.unravel_index(int(value.argmax()), value.shape)
            if value[j, i] > best[0]:
                best = (float(value[j, i]), int(j), int(i), size)
        if best[3] < 0:
            return None
        side = max(best[3], 0.35) * self.beam / FWHM_PER_SIGMA
        return Member(np.array([best[2], best[1], side, 0.0, side], dtype=float), 0.0)


def without_lines(m: Member) -> Member:
    """The member with its continuum alone."""
    return replace(m, lines=())


AGREE = 25.0
"""Twice the log likelihood that line and continuum may lose by sharing five parameters: noise exceeds it once
in ten thousand times."""
SEED_PEAKS = 0.16
"""Noise peaks above u in a filtered spectrum of n channels are ``SEED_PEAKS * n * exp(-u**2 / 2)``: counted
in 80,000 spectra of noise."""

PART = 4.0
"""Lowest S/N, all else free, of each part of a line that is split."""
TRIED = 0.5
"""Most noise peaks expected at all positions together, however low the reliability asked for."""
LINED = 0.5
"""Expected fraction of continuum sources with a line above S/N `BENEATH`; integral counts fall as 1/S/N."""
SECOND = 30.0
"""Further lines of a source are this many times rarer than the first, and must be stronger accordingly."""


class Measurement:
    """Final fits of the sources of a search: lines, continuum, and both together.

    Parameters
    ----------
    pursuit : Pursuit
        With the accepted sources; changed in place.
    prepared : PreparedCube
        Its continuum, without the sources, is fitted here.
    allowed : callable
        Whether a line is allowed at a position.
    """

    def __init__(
        self, pursuit: Pursuit, prepared: PreparedCube, allowed: Callable[[LineSource], bool]
    ) -> None:
        self.pursuit, self.prepared, self.allowed = pursuit, prepared, allowed
        self.scale = 1.5 * pursuit.beam_pixels
        self.home: dict[int, int] = {}
        """Continuum source of a component, by the component's ``id``."""

    def run(self, rounds: int, least: float, stretch: float = 1.0) -> None:
        """Fit everything: lines alone, continuum alone, and together.

        Parameters
        ----------
        rounds : int
            Of fits of the lines alone.
        least : float
            Lowest reliability of a line found at a continuum source.
        stretch : float, optional
            See `NoisePeaks`.
        """
        self.least, self.stretch = least, stretch
        p, prepared = self.pursuit, self.prepared
        if p.components and prepared.psf_from_noise:
            p.measure_psf(prepared)
        elif p.components and prepared.present.any():
            p.new_line_cube(prepared)
        p.refit(rounds)
        level = np.nan_to_num(prepared.continuum.level)
        error = float(np.median(prepared.continuum.level_err[prepared.valid]))
        self.sky = ContinuumImage(level, error, prepared.valid & prepared.present, p)
        if not prepared.present.any():
            return
        self.sky.find([c.source for c in sorted(p.components, key=lambda c: -c.snr)])
        self.link(p.components)
        self.split()
        # remains of bright lines after deconvolution, in a restored cube, are not noise
        if prepared.psf_origin != "beam":
            self.seed()
        self.join()

    # ------------------------------------------------------------------ windows

    def _window(
        self, members: Sequence[Member], own: Sequence[Component], continua: Sequence[int]
    ) -> GroupWindow:
        """Data around members, without any other lines than `own` and continua of sources `continua`."""
        p, sky = self.pursuit, self.sky
        p.tell(len(p.components))
        centre, side = sky.frame(members)
        half = side // 2 + 8
        shape = sky.level.shape
        ys = slice(max(0, int(centre[1]) - half), min(shape[0], int(centre[1]) + half + 1))
        xs = slice(max(0, int(centre[0]) - half), min(shape[1], int(centre[0]) + half + 1))
        z = self.channels([line for m in members for line in m.lines])
        planes = p.data.box(slice(z[0], z[-1] + 1), ys, xs)[z - z[0]]
        for c in own:
            spectrum = p.spectrum(c.source)[z].astype(np.float32)
            for i in np.flatnonzero(spectrum):
                planes[i] += spectrum[i] * c.image[ys, xs]
        rest = sky.level[ys, xs] - sky.total[ys, xs]
        for k in continua:
            rest = rest + np.float32(sky.members[k].continuum) * sky.images[k][ys, xs]
        middle = float(np.mean([line[1] for m in members for line in m.lines] or [0.5 * p.sigma.size]))
        psf = p.imager.psf_at(*centre, middle)
        origin = (xs.start, ys.start)
        return cut_group(
            planes, z, p.sigma[z], rest, sky.error, psf, centre, side, origin, channels=p.channels
        )

    def channels(self, lines: Sequence[Float]) -> NDArray[np.int_]:
        """Channels that the fits of some lines use."""
        used = np.zeros(self.pursuit.sigma.size, dtype=bool)
        for _, z, log_width in lines:
            half = int(max(8, 2.5 * np.exp(log_width)))
            used[max(0, int(z) - half) : max(0, int(z) + half + 1)] = True
        return np.flatnonzero(used)

    # ------------------------------------------------------------------ which line is whose

    def link(self, components: Sequence[Component]) -> None:
        """Assign every line to the continuum source of the same position and shape, if there is one."""
        beam = self.sky.beam
        for c in components:
            line = member_of(c.source)
            slack = 3 * min(c.source.errors()["x"], beam)
            members = self.sky.members
            near = [k for k, m in enumerate(members) if distance(line, m) < radius(m, beam) + slack]
            best = AGREE
            self.home.pop(id(c), None)
            for k in near:
                loss = self.disagreement(c, k)
                if loss < best:
                    best, self.home[id(c)] = loss, k

    def disagreement(self, c: Component, k: int) -> float:
        """Twice the log likelihood that a line loses by sharing the shape of continuum source `k`."""
        alone, m = member_of(c.source), self.sky.members[k]
        both = replace(m, lines=alone.lines)
        w = self._window([alone, m], [c], [k])
        _, level = GroupFit(w, [without_lines(m)], self.scale).run()
        _, line = GroupFit(w, [alone], self.scale).run()
        _, joint = GroupFit(w, [both], self.scale).run()
        return 2 * (level + line - joint)

    def host(self, c: Component) -> int | None:
        """The single continuum source beneath a line that shares no continuum's shape, if any."""
        if id(c) in self.home:
            return None
        line, beam = member_of(c.source), self.sky.beam
        under = [k for k, m in enumerate(self.sky.members) if distance(line, m) < radius(m, beam)]
        return under[0] if len(under) == 1 else None

    # ------------------------------------------------------------------ blends

    def split(self) -> None:
        """Replace lines without a continuum source, and those they touch, by one line on each source beneath.

        That takes fewer parameters, and is kept where it does not lose more likelihood than these are worth.
        """
        sky, p = self.sky, self.pursuit
        for c in list(p.components):
            if id(c) in self.home or not any(c is o for o in p.components):
                continue
            line = member_of(c.source)
            parts = [o for o in p.components if o is c or touching(o, c, sky.beam)]
            under = [k for k, m in enumerate(sky.members) if distance(line, m) < radius(line, sky.beam)]
            if not 0 < len(under) <= 4 or len(under) + len(parts) < 3:
                continue
            of = {self.home[id(o)]: o for o in parts if id(o) in self.home}
            members = [replace(sky.members[k], lines=member_of(of.get(k, c).source).lines) for k in under]
            w = self._window([*members, *(member_of(o.source) for o in parts)], parts, under)
            _, lines = GroupFit(w, [member_of(o.source) for o in parts], self.scale).run()
            _, continua = GroupFit(w, [without_lines(m) for m in members], self.scale).run()
            fitted, joint = GroupFit(w, members, self.scale).run(iterations=25)
            sign = np.sign(c.source.amplitude)
            weakest = min(sign * m.source().fitted_snr for m in fitted)
            if 2 * (lines + continua - joint) > AGREE * len(parts) or weakest < PART:
                continue
            for o in parts:
                p.subtract(o, -1.0)
            p.components = [o for o in p.components if not any(o is q for q in parts)]
            for k, m in zip(under, fitted):
                new = self._place(m.source(), c, k)
                new.snr = new.effective_snr = abs(new.source.fitted_snr)

    def _place(self, s: LineSource, like: Component, k: int) -> Component:
        """Add a line, a part of `like`, on continuum source `k` to the model."""
        new = replace(like, source=s, image=self.pursuit.imager.image(s))
        self.pursuit.subtract(new, 1.0)
        self.pursuit.components.append(new)
        self.home[id(new)] = k
        return new

    # ------------------------------------------------------------------ lines at known places

    def seed(self) -> None:
        """Look for lines at continuum sources: few positions, so fewer noise peaks to confuse them with."""
        sky, p = self.sky, self.pursuit
        rows = line_rows(p.sigma, p.channels)
        n_chan = int((p.sigma > 0).sum())
        for k in np.argsort([-(m.continuum or 0.0) for m in sky.members]):
            spectrum, guard = self.spectrum(int(k))
            for _ in range(3):
                value = np.abs(rows @ spectrum) / np.sqrt(1 + (p.fidelity * (np.abs(rows) @ guard)) ** 2)
                value[:, self.near_lines(int(k))] = 0
                t, z = np.unravel_index(int(value.argmax()), value.shape)
                snr = float(value[t, z])
                rarer = SECOND if int(k) in self.home.values() else 1.0
                places = SEED_PEAKS * n_chan * len(sky.members)
                expected = places * float(np.exp(-0.5 * (snr / self.stretch) ** 2))
                real = LINED / rarer * len(sky.members) * BENEATH / max(snr, 1.0) ** 2
                reliability = real / (real + expected * snr / self.stretch**2)
                if reliability < self.least or rarer * expected > TRIED:
                    break
                c = self._grow(
                    int(k), float(z), float(seen_widths(p.channels)[t]), float(np.sign(rows[t, z] @ spectrum))
                )
                if c is None:
                    break
                c.snr, c.effective_snr, c.reliability, c.false_alarm = snr, snr, reliability, expected
                spectrum, guard = self.spectrum(int(k))

    def spectrum(self, k: int) -> tuple[Float, Float]:
        """S/N of the residual at continuum source `k` in every channel, and of the lines subtracted there."""
        sky, p = self.sky, self.pursuit
        m, image = sky.members[k], sky.images[k]
        chol = np.array([[m.shape[2], 0.0], [m.shape[3], m.shape[4]]])
        # draw at least two pixels wide: images contain no finer detail
        values, vectors = np.linalg.eigh(chol @ chol.T)
        cov = (vectors * np.maximum(values, (2 / FWHM_PER_SIGMA) ** 2)) @ vectors.T
        ys, xs, patch = gaussian_patch(cov, m.shape[0], m.shape[1], image.shape, 4.0)
        patch /= 2 * np.pi * np.sqrt(np.linalg.det(cov))
        scale = 1 / np.sqrt(max(float((patch * image[ys, xs]).sum()), 1e-12))
        over = np.where(p.sigma > 0, scale / np.where(p.sigma > 0, p.sigma, 1.0), 0.0)
        left = np.tensordot(p.data.box(slice(None), ys, xs), patch, 2) * over
        guard = np.zeros(p.sigma.size)
        for c in p.components:
            x, y = c.source.x, c.source.y
            reach = modelled_reach(c.image, x, y, sky.psf.shape, p.fidelity, 2 * sky.beam)
            guard += np.abs(p.spectrum(c.source)) * float((reach[ys, xs] * patch).sum()) * over
        return left, guard

    def near_lines(self, k: int) -> Bool:
        """Channels of the lines that continuum source `k`, or one that covers it, has already."""
        z = np.arange(self.pursuit.sigma.size)
        near = np.zeros(z.size, dtype=bool)
        m, beam = self.sky.members[k], self.sky.beam
        for c in self.pursuit.components:
            line = member_of(c.source)
            home = self.home.get(id(c))
            if home == k or (home is None and distance(line, m) < radius(line, beam)):
                near |= np.abs(z - c.source.z) < 1.5 * c.source.fwhm_z + 2
        return near

    def _grow(self, k: int, z: float, width: float, sign: float) -> Component | None:
        """Fit a line at continuum source `k`, starting at channel `z`, and subtract it; None on failure."""
        m, p = self.sky.members[k], self.pursuit
        start = replace(m, lines=(np.array([0.1 * sign * (m.continuum or 0.0), z, np.log(width)]),))
        (fitted,), _ = GroupFit(self._window([start], [], [k]), [start], self.scale).run([False])
        s = fitted.source()
        too_deep = s.amplitude < 0 and -s.amplitude > (m.continuum or 0.0) * (1 + 3 / max(-s.fitted_snr, 1.0))
        if np.sign(s.amplitude) != sign or abs(s.z - z) > 2 * width or too_deep or not self.allowed(s):
            return None
        response = torch.zeros(0)
        new = Component(s, p.imager.image(s), response, response, response)
        return self._place(s, new, k)

    # ------------------------------------------------------------------ all together

    def join(self) -> None:
        """Fit overlapping sources together, lines with their continua; errors allow for neighbours."""
        p, sky = self.pursuit, self.sky
        lines: dict[int, list[Component]] = {k: [] for k in range(len(sky.members))}
        alone = []
        for c in p.components:
            if id(c) in self.home:
                lines[self.home[id(c)]].append(c)
            else:
                alone.append(c)
        members = [
            replace(m, lines=tuple(member_of(c.source).lines[0] for c in lines[k]))
            for k, m in enumerate(sky.members)
        ] + [member_of(c.source) for c in alone]
        owners = [lines[k] for k in range(len(sky.members))] + [[c] for c in alone]
        for group in overlapping(members, sky.beam):
            own = [c for k in group for c in owners[k]]
            if not own:
                continue
            continua = [k for k in group if k < len(sky.members)]
            start = [members[k] for k in group]
            fitted, _ = GroupFit(self._window(start, own, continua), start, self.scale).run()
            if not sky.sound(fitted):
                continue
            for k, m in zip(group, fitted):
                if k < len(sky.members):
                    sky.put(k, m)
                for i, c in enumerate(owners[k]):
                    self._renew(c, m, i)

    def _renew(self, c: Component, m: Member, i: int) -> None:
        """Give a component the i-th line of a fitted member."""
        p = self.pursuit
        new = m.source(i)
        if np.sign(new.amplitude) != np.sign(c.source.amplitude):
            return
        if not m.shape[2:].any():  # a point's size is as uncertain as it was alone
            covariance = new.covariance.copy()
            covariance[3:6, 3:6] = c.source.covariance[3:6, 3:6]
            new = replace(new, covariance=covariance)
        p.subtract(c, -1.0)
        profile = line_profile(np.arange(p.sigma.size), new.z, new.fwhm_z)
        information = profile @ precision(p.sigma, p.channels, np.arange(p.sigma.size)) @ profile
        snr = new.amplitude * np.sqrt(max(new.norm, 0.0) * information)
        c.source = replace(new, fitted_snr=float(snr))
        c.image = p.imager.image(c.source)
        p.subtract(c, 1.0)
        if m.continuum is not None:
            peak = float(c.image.max())
            c.continuum = (m.continuum * peak, m.continuum_error() * peak)


def line_rows(sigma: Float, channels: ChannelCorrelation | None = None) -> Float:
    """Line templates as rows of unit noise ``[template, chan, chan]``, each less a straight line."""
    z = np.arange(sigma.size)
    usable = (sigma > 0).astype(float)
    q, _ = np.linalg.qr(np.stack([usable, usable * (z - z.mean())]).T)
    out = []
    for width in seen_widths(channels):
        rows = line_profile(z[None, :], z[:, None], width) * usable
        rows = rows @ precision(usable, channels, z)
        rows -= (rows @ q) @ q.T
        power = rows * rows if channels is None else rows * (rows @ channels.matrix)
        rows /= np.sqrt(np.maximum(power.sum(1, keepdims=True), 1e-12))
        rows[sigma <= 0] = 0
        out.append(rows)
    return np.stack(out)
