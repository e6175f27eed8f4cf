"""Final measurement: lines with their continuum where the two agree, and overlapping sources together.

Where a galaxy's continuum has the place and shape of its line, a hundred channels of continuum fix both two
to four times better than ten channels of line can. Whether it has is a likelihood-ratio test. At the place
of a known continuum, too, a line is told from noise at a lower S/N: there are a few such places, and a
million elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from faintsky.detection.continuum_sources import (
    ContinuumImage,
    distance,
    modelled_reach,
    overlapping,
    radius,
    without_lines,
)
from faintsky.detection.gaussian_fit import LineSource
from faintsky.detection.group_fit import GroupFit, GroupWindow, Member, cut_group, member_of
from faintsky.detection.grouping import touching
from faintsky.detection.matched_filter import LINE_WIDTHS
from faintsky.detection.pursuit import Component, Pursuit
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing.cube import PreparedCube
from faintsky.source_model import line_profile

Float = NDArray[np.float64]
AGREE = 25.0
"""Twice the loss of log likelihood, for five shared parameters, at which line and continuum still agree:
chance exceeds it once in ten thousand times."""
SEED_PEAKS = 0.16
"""Noise peaks above u in a filtered spectrum of n channels are ``SEED_PEAKS * n * exp(-u**2 / 2)``: counted
in 80,000 spectra of noise."""

PART = 4.0
"""Least S/N, all else free, of each part of a line that is parted."""
TRIED = 0.5
"""Noise peaks that may be expected at all places, however low the reliability that is asked for."""
SECOND = 30.0
"""By how much rarer another line of a source is than its first: so much stronger it must be."""


class Measurement:
    """Sources of a search, fitted anew.

    Parameters
    ----------
    pursuit : Pursuit
        With the sources that were accepted; changed in place.
    prepared : PreparedCube
        Its continuum, with the sources taken out, is fitted here.
    allowed : callable
        Whether a line may be looked for at a place.
    """

    def __init__(
        self, pursuit: Pursuit, prepared: PreparedCube, allowed: Callable[[LineSource], bool]
    ) -> None:
        self.pursuit, self.prepared, self.allowed = pursuit, prepared, allowed
        self.scale = 1.5 * pursuit.beam_pixels
        self.sky: ContinuumImage | None = None
        self.home: dict[int, int] = {}
        """Continuum source of a component, by the component's ``id``."""

    def run(self, rounds: int, caution: float, least: float, stretch: float = 1.0) -> None:
        """Fit everything: lines alone, continuum alone, and together.

        Parameters
        ----------
        rounds : int
            Of fits of the lines alone.
        caution, least : float
            See `list_reliability`, and the least reliability of a line found at a continuum source.
        stretch : float, optional
            See `NoisePeaks`.
        """
        self.caution, self.least, self.stretch = caution, least, stretch
        p, prepared = self.pursuit, self.prepared
        if p.components and prepared.psf_from_noise:
            p.measure_psf(prepared)
        elif p.components and prepared.present.any():
            p.new_line_cube(prepared)
        p.refit(rounds)
        if not prepared.present.any():
            return
        level = np.nan_to_num(prepared.continuum.level)
        error = float(np.median(prepared.continuum.level_err[prepared.valid]))
        self.sky = ContinuumImage(level, error, prepared.valid & prepared.present, p)
        self.sky.find([c.source for c in sorted(p.components, key=lambda c: -c.snr)])
        self.link(p.components)
        self.split()
        # what deconvolution leaves of bright lines in a restored cube is no noise
        if prepared.psf_origin != "beam":
            self.seed()
        self.join()

    # ------------------------------------------------------------------ windows

    def window(
        self, members: Sequence[Member], own: Sequence[Component], continua: Sequence[int]
    ) -> GroupWindow:
        """Data about members: lines `own` and continua of the sources `continua` left in, all others out."""
        assert self.sky is not None
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
        return cut_group(planes, z, p.sigma[z], rest, sky.error, psf, centre, side, (xs.start, ys.start))

    def channels(self, lines: Sequence[NDArray[np.float64]]) -> NDArray[np.int_]:
        """Channels that some lines' fits look at."""
        used = np.zeros(self.pursuit.sigma.size, dtype=bool)
        for _, z, log_width in lines:
            half = int(max(8, 2.5 * np.exp(log_width)))
            used[max(0, int(z) - half) : max(0, int(z) + half + 1)] = True
        return np.flatnonzero(used)

    # ------------------------------------------------------------------ which line is whose

    def link(self, components: Sequence[Component]) -> None:
        """Give every line the continuum source whose place and shape it has, if there is one."""
        assert self.sky is not None
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
        """Twice the log likelihood lost where a line is to share the shape of continuum source `k`."""
        assert self.sky is not None
        alone, m = member_of(c.source), self.sky.members[k]
        both = replace(m, lines=alone.lines)
        w = self.window([alone, m], [c], [k])
        _, level = GroupFit(w, [without_lines(m)], self.scale).run()
        _, line = GroupFit(w, [alone], self.scale).run()
        _, joint = GroupFit(w, [both], self.scale).run()
        return 2 * (level + line - joint)

    def host(self, c: Component) -> int | None:
        """The one continuum source that a line without a continuum of its own shape lies on, if any."""
        if self.sky is None or id(c) in self.home:
            return None
        line, beam = member_of(c.source), self.sky.beam
        under = [k for k, m in enumerate(self.sky.members) if distance(line, m) < radius(m, beam)]
        return under[0] if len(under) == 1 else None

    # ------------------------------------------------------------------ blends

    def split(self) -> None:
        """Describe lines of no continuum source, and what touches them, by one line on each source beneath.

        That has fewer parameters, and is taken where it costs no more likelihood than these are worth.
        """
        assert self.sky is not None
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
            w = self.window([*members, *(member_of(o.source) for o in parts)], parts, under)
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
                new = self.place(m.source(), c, k)
                new.snr = new.effective_snr = abs(new.source.fitted_snr)

    def place(self, s: LineSource, like: Component, k: int) -> Component:
        """Add a line to the data's model, a part of `like`, on continuum source `k`."""
        new = replace(like, source=s, image=self.pursuit.imager.image(s))
        self.pursuit.subtract(new, 1.0)
        self.pursuit.components.append(new)
        self.home[id(new)] = k
        return new

    # ------------------------------------------------------------------ lines at known places

    def seed(self) -> None:
        """Look for lines at the places of continuum sources, where far fewer noise peaks can pass for one."""
        assert self.sky is not None
        sky, p = self.sky, self.pursuit
        rows = line_rows(p.sigma)
        n_chan = int((p.sigma > 0).sum())
        for k in np.argsort([-(m.continuum or 0.0) for m in sky.members]):
            spectrum, guard = self.spectrum(int(k))
            for _ in range(3):
                value = np.abs(rows @ spectrum) / np.sqrt(1 + (p.fidelity * (np.abs(rows) @ guard)) ** 2)
                value[:, self.near_lines(int(k))] = 0
                t, z = np.unravel_index(int(value.argmax()), value.shape)
                snr = float(value[t, z])
                chance = SECOND if int(k) in self.home.values() else 1.0
                expected = (
                    chance * SEED_PEAKS * n_chan * len(sky.members) * np.exp(-0.5 * (snr / self.stretch) ** 2)
                )
                reliability = 1 - self.caution * expected / (len(p.components) + 1)
                if reliability < self.least or expected > TRIED:
                    break
                c = self.grow(int(k), float(z), LINE_WIDTHS[t], float(np.sign(rows[t, z] @ spectrum)))
                if c is None:
                    break
                c.snr, c.effective_snr, c.reliability = snr, snr, reliability
                spectrum, guard = self.spectrum(int(k))

    def spectrum(self, k: int) -> tuple[Float, Float]:
        """S/N of what is left at continuum source `k` in every channel, and of the lines taken out there."""
        assert self.sky is not None
        sky, p = self.sky, self.pursuit
        m, image = sky.members[k], sky.images[k]
        patch, ys, xs = gaussian_patch(m, image.shape)
        scale = 1 / np.sqrt(max(float((patch * image[ys, xs]).sum()), 1e-12))
        over = np.where(p.sigma > 0, scale / np.where(p.sigma > 0, p.sigma, 1.0), 0.0)
        left = np.tensordot(p.data.box(slice(None), ys, xs), patch, 2) * over
        guard = np.zeros(p.sigma.size)
        for c in p.components:
            x, y = c.source.x, c.source.y
            reach = modelled_reach(c.image, x, y, sky.psf.shape, p.fidelity, 2 * sky.beam)
            guard += np.abs(p.spectrum(c.source)) * float((reach[ys, xs] * patch).sum()) * over
        return left, guard

    def near_lines(self, k: int) -> NDArray[np.bool_]:
        """Channels about the lines that continuum source `k`, or one that covers it, has already."""
        assert self.sky is not None
        z = np.arange(self.pursuit.sigma.size)
        near = np.zeros(z.size, dtype=bool)
        m, beam = self.sky.members[k], self.sky.beam
        for c in self.pursuit.components:
            line = member_of(c.source)
            home = self.home.get(id(c))
            if home == k or (home is None and distance(line, m) < radius(line, beam)):
                near |= np.abs(z - c.source.z) < 1.5 * c.source.fwhm_z + 2
        return near

    def grow(self, k: int, z: float, width: float, sign: float) -> Component | None:
        """Fit a line to continuum source `k` from channel `z` on, and take it out; None where it fails."""
        assert self.sky is not None
        m, p = self.sky.members[k], self.pursuit
        start = replace(m, lines=(np.array([0.1 * sign * (m.continuum or 0.0), z, np.log(width)]),))
        (fitted,), _ = GroupFit(self.window([start], [], [k]), [start], self.scale).run([False])
        s = fitted.source()
        too_deep = s.amplitude < 0 and -s.amplitude > (m.continuum or 0.0) * (1 + 3 / max(-s.fitted_snr, 1.0))
        if np.sign(s.amplitude) != sign or abs(s.z - z) > 2 * width or too_deep or not self.allowed(s):
            return None
        response = torch.zeros(0)
        new = Component(s, p.imager.image(s), response, response, response)
        return self.place(s, new, k)

    # ------------------------------------------------------------------ all together

    def join(self) -> None:
        """Fit overlapping sources together, each line with its continuum; errors with the neighbours free."""
        assert self.sky is not None
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
            fitted, _ = GroupFit(self.window(start, own, continua), start, self.scale).run()
            if not sky.sound(fitted):
                continue
            for k, m in zip(group, fitted):
                if k < len(sky.members):
                    sky.put(k, m)
                for i, c in enumerate(owners[k]):
                    self.renew(c, m, i)

    def renew(self, c: Component, m: Member, i: int) -> None:
        """Give a component the i-th line of a fitted member."""
        assert self.sky is not None
        p = self.pursuit
        new = m.source(i)
        if np.sign(new.amplitude) != np.sign(c.source.amplitude):
            return
        p.subtract(c, -1.0)
        profile = line_profile(np.arange(p.sigma.size), new.z, new.fwhm_z)
        information = (profile[p.sigma > 0] / p.sigma[p.sigma > 0]) ** 2
        snr = new.amplitude * np.sqrt(max(new.norm, 0.0) * information.sum())
        c.source = replace(new, fitted_snr=float(snr))
        c.image = p.imager.image(c.source)
        p.subtract(c, 1.0)
        if m.continuum is not None:
            peak = float(c.image.max())
            c.continuum = (m.continuum * peak, m.continuum_error() * peak)


def line_rows(sigma: Float) -> Float:
    """Line templates as rows of unit norm ``[template, chan, chan]``, a straight line taken out of each."""
    z = np.arange(sigma.size)
    usable = (sigma > 0).astype(float)
    q, _ = np.linalg.qr(np.stack([usable, usable * (z - z.mean())]).T)
    out = []
    for width in LINE_WIDTHS:
        rows = line_profile(z[None, :], z[:, None], width) * usable
        rows -= (rows @ q) @ q.T
        rows /= np.sqrt(np.maximum((rows**2).sum(1, keepdims=True), 1e-12))
        rows[sigma <= 0] = 0
        out.append(rows)
    return np.stack(out)


def gaussian_patch(m: Member, shape: tuple[int, ...]) -> tuple[Float, slice, slice]:
    """A member's own Gaussian of unit flux on the pixels it covers, and where they are.

    What is narrower than two pixels is drawn that wide: images hold no finer detail.
    """
    chol = np.array([[m.shape[2], 0.0], [m.shape[3], m.shape[4]]])
    values, vectors = np.linalg.eigh(chol @ chol.T)
    cov = (vectors * np.maximum(values, (2 / FWHM_PER_SIGMA) ** 2)) @ vectors.T
    half = 4 * np.sqrt(np.diag(cov)) + 1
    xs, ys = (
        slice(max(0, int(c - h)), min(n, int(c + h) + 2)) for c, h, n in zip(m.shape[:2], half, shape[::-1])
    )
    dy = np.arange(ys.start, ys.stop)[:, None] - m.shape[1]
    dx = np.arange(xs.start, xs.stop)[None, :] - m.shape[0]
    inverse = np.linalg.inv(cov)
    quad = inverse[0, 0] * dx * dx + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy * dy
    return np.exp(-0.5 * quad) / (2 * np.pi * np.sqrt(np.linalg.det(cov))), ys, xs
