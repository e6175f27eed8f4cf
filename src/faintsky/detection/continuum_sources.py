"""The sources of a cube's continuum image: found one after the other, those that overlap fitted together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from faintsky.detection.gaussian_fit import LineSource, axes_of
from faintsky.detection.group_fit import GroupFit, GroupWindow, Member, cut_group
from faintsky.detection.pursuit import Pursuit
from faintsky.grid import FWHM_PER_SIGMA, major_axis_direction
from faintsky.source_model import frequencies_2d, gaussian_transform, matched_norm, psf_transform

SIZES = (0.0, 1.0, 2.0)
"""Intrinsic FWHM of the filters [beam]."""
FAINTEST = 5.5
"""S/N of a source found in the image; one beneath a line needs `BENEATH`."""
BENEATH = 5.0
MOST = 60
"""Continuum sources looked for, at most."""
SAME = 0.35
"""Beams within which two fits describe one source."""
WIDEST = 6.0
"""Beams above which a source is none: fits of what is no source grow."""
TWO = 40.0
"""Twice the log likelihood that two sources must gain over one: chance gains 40 once in two million times."""


def axes(m: Member) -> tuple[float, float, float]:
    """Intrinsic FWHMs [pixel] and position angle [deg] of a member."""
    return axes_of(*(float(v) for v in m.shape[2:]))


def radius(m: Member, beam: float) -> float:
    """Half its observed FWHM along the major axis [pixel]."""
    return 0.5 * float(np.hypot(axes(m)[0], beam))


def distance(a: Member, b: Member) -> float:
    """Between the centres [pixel]."""
    return float(np.hypot(*(a.shape[:2] - b.shape[:2])))


def overlapping(members: Sequence[Member], beam: float, reach: float = 1.0, most: int = 6) -> list[list[int]]:
    """Groups of members whose observed half widths, times `reach`, meet; none larger than `most`.

    Too large a group falls apart by a smaller reach: those that touch least are parted first.
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
        Mean over the channels, ``[y, x]`` [Jy/beam], lines taken out.
    error : float
        Its noise.
    valid : array of bool
        ``[y, x]``
    pursuit : Pursuit
        For psf and beam.
    """

    def __init__(
        self, level: NDArray[np.float32], error: float, valid: NDArray[np.bool_], pursuit: Pursuit
    ) -> None:
        self.level, self.error, self.pursuit = np.where(valid, level, np.float32(0)), error, pursuit
        self.valid = valid
        self.beam = pursuit.beam_pixels
        self.members: list[Member] = []
        self.images: list[NDArray[np.float32]] = []
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

    def image(self, m: Member) -> NDArray[np.float32]:
        """A member of unit flux through the psf."""
        x, y, l11, l21, l22 = m.shape.tolist()
        return self.pursuit.imager.image(
            LineSource(1.0, x, y, l11, l21, l22, 0.5 * self.pursuit.sigma.size, 1.0, np.zeros((8, 8)))
        )

    def put(self, k: int, m: Member, image: NDArray[np.float32] | None = None) -> None:
        """Replace member `k`, or add one at the end."""
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
        """Find the sources: beneath lines, strongest first, then wherever the image has peaks left."""
        scale = 1.5 * self.beam
        for s in starts:
            shape = np.array([s.x, s.y, s.l11, s.l21, s.l22])
            self._try(Member(shape, 0.0), BENEATH, scale)
        self.refit()
        # a blend is best parted before its remains are taken for sources
        parted = [self._part(k) for k in range(len(self.members))]
        if any(parted):
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
        """Fit one more source to what is left; whether it holds."""
        rest = self.level - self.total
        window = self._window([start], rest)
        (m,), _ = GroupFit(window, [start], scale).run()
        if m.continuum is None or m.continuum < least * self.error / np.sqrt(max(m.norm, 1e-6)):
            return False
        if any(distance(m, o) < SAME * self.beam for o in self.members) or axes(m)[0] > WIDEST * self.beam:
            return False
        image = self.image(m)
        # what is a source leaves less behind than it found
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
        """Take source `k` out if its neighbours can do without it; whether they can."""
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

        What is no Gaussian gains as well, by no more than the square of the fraction of it that no model has.
        """
        snr = max((m.continuum or 0.0) * np.sqrt(max(m.norm, 0.0)) for m in members) / self.error
        return TWO + (self.pursuit.fidelity * snr) ** 2

    def _part(self, k: int) -> bool:
        """Describe a source by two where that is much more likely; whether it is."""
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

    def _window(self, members: Sequence[Member], image: NDArray[np.float32]) -> GroupWindow:
        centre, side = self.frame(members)
        empty = np.zeros((0, *image.shape), dtype=np.float32)
        psf = self.pursuit.imager.psf_at(*centre, 0.5 * self.pursuit.sigma.size)
        return cut_group(empty, np.zeros(0, dtype=int), np.zeros(0), image, self.error, psf, centre, side)

    def frame(self, members: Sequence[Member]) -> tuple[tuple[float, float], int]:
        """Centre and side of a window that holds some members."""
        half = np.array([0.5 * self.pursuit.window_side(axes(m)[0]) for m in members])
        place = np.array([m.shape[:2] for m in members])
        low, high = (place - half[:, None]).min(0), (place + half[:, None]).max(0)
        return (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2), int(np.ceil((high - low).max()))

    def refit(self, which: Sequence[int] | None = None) -> None:
        """Fit overlapping sources together; only the groups of some where those are named."""
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
        """Whether no continuum has run away: what no source describes makes some grow, or turn negative."""
        return all(
            m.continuum is None or (m.continuum > 0 and axes(m)[0] <= WIDEST * self.beam) for m in fitted
        )

    def _peak(self) -> Member | None:
        """Where to begin with what stands out most; None where nothing does."""
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
    """Its continuum alone."""
    return replace(m, lines=())


def modelled_reach(
    image: NDArray[np.float32],
    x: float,
    y: float,
    psf_shape: tuple[int, ...],
    fidelity: float,
    margin: float = 0.0,
) -> NDArray[np.float32]:
    """Size of a source's image, ``[y, x]``; where the psf ends, its sidelobes' level over the fidelity.

    A psf as large as the image ends half an image away from a source; what lies beyond is not modelled, and
    filters see it from `margin` pixels before.
    """
    out = np.abs(image)
    far_y = np.abs(np.arange(image.shape[0]) - y) / max(psf_shape[0] // 2 - margin, 1.0)
    far_x = np.abs(np.arange(image.shape[1]) - x) / max(psf_shape[1] // 2 - margin, 1.0)
    far = np.maximum(far_y[:, None], far_x[None, :])
    if far.max() > 1:
        ring = image[(far > 0.7) & (far <= 1)]
        out[far > 1] = (np.sqrt(np.mean(ring**2)) if ring.size else out.max()) / fidelity
    return out
