"""Maximum-likelihood fits of emitters in dirty (or restored) data: one, or several that overlap.

Each is an elliptical Gaussian on the sky with Gaussian lines and a continuum, which share position and shape.
The likelihood is that of `source_model`, of the channels of the lines without their continuum and of the
continuum's own image: it needs inner products of the data with the *intrinsic* model only, so that a fit
sees a small window, treats the correlated noise exactly where the weighting is natural, and its Fisher
information gives the errors. Sources that overlap are fitted together, so that each one's errors allow for
the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft2

from faintsky.arrays import Array, Float
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing import ChannelCorrelation, precision
from faintsky.source_model import frequencies_2d, line_profile, rfft_weights

SINGULAR = 1e-10
"""Least eigenvalue of an information matrix of unit diagonal: smaller ones are rounding."""


@dataclass(frozen=True)
class LineSource:
    """A Gaussian emitter, in pixels, channels and the cube's flux unit.

    Attributes
    ----------
    amplitude : float
        Flux density at the line's peak, as received [Jy]; negative in absorption.
    x, y, z : float
        Centre [pixel, pixel, channel].
    l11, l21, l22 : float
        Cholesky factor of the intrinsic covariance in (x, y) [pixel].
    fwhm_z : float
        Line width [channel].
    covariance : array
        Of amplitude, x, y, l11, l21, l22, z and the logarithm of the line width, ``[8, 8]``.
    norm : float
        ``m . (psf * m)`` of the unit source: its response to the psf.
    fitted_snr : float
        Amplitude over its error at fixed shape.
    larger : float
        By which part of it the flux of what was fitted as a point may be larger, rms.
    """

    amplitude: float
    x: float
    y: float
    l11: float
    l21: float
    l22: float
    z: float
    fwhm_z: float
    covariance: Float
    norm: float = 1.0
    fitted_snr: float = 0.0
    larger: float = 0.0

    @property
    def peak(self) -> float:
        """Absolute brightness of the observed peak [Jy/beam]."""
        return abs(self.amplitude) * self.norm

    def axes(self) -> tuple[float, float, float]:
        """Intrinsic FWHMs [pixel] and position angle [deg east of north]."""
        return axes_of(self.l11, self.l21, self.l22)

    def errors(self) -> dict[str, float]:
        """Standard errors of ``amplitude, x, y, z, fwhm_z, fwhm_maj, fwhm_min, pa`` and relative ``flux``."""
        cov = self.covariance
        sd = np.sqrt(np.maximum(np.diag(cov), 0))
        base = np.array([self.l11, self.l21, self.l22])
        jac = np.empty((3, 3))
        for k in range(3):
            up, down = base.copy(), base.copy()
            up[k] += 1e-4
            down[k] -= 1e-4
            a, b = np.array(axes_of(*up)), np.array(axes_of(*down))
            d = a - b
            d[2] = (d[2] + 90) % 180 - 90
            jac[:, k] = d / 2e-4
        shape = jac @ cov[3:6, 3:6] @ jac.T
        maj, minor, pa = np.sqrt(np.maximum(np.diag(shape), 0))
        # the slope of an unresolved axis is zero at zero: one standard deviation up is its error then
        wider = axes_of(abs(self.l11) + float(sd[3]), self.l21, abs(self.l22) + float(sd[5]))
        maj, minor = (max(e, w - own) for e, w, own in zip((maj, minor), wider, self.axes()))
        # relative error of amplitude * width
        rel = cov[0, 0] / self.amplitude**2 + cov[7, 7] + 2 * cov[0, 7] / self.amplitude + self.larger**2
        return {
            "amplitude": sd[0], "x": sd[1], "y": sd[2], "z": sd[6], "fwhm_z": sd[7] * self.fwhm_z,
            "fwhm_maj": maj, "fwhm_min": minor, "pa": min(pa, 90.0), "flux": float(np.sqrt(max(rel, 0.0))),
        }  # fmt: skip


def axes_of(l11: float, l21: float, l22: float) -> tuple[float, float, float]:
    """FWHMs and position angle from a covariance's Cholesky factor.

    Parameters
    ----------
    l11, l21, l22 : float
        Of the covariance in (x, y) [pixel].

    Returns
    -------
    tuple of float
        Major and minor FWHM [pixel], position angle [deg east of north].
    """
    return axes_of_covariance(np.array([[l11 * l11, l11 * l21], [l11 * l21, l21 * l21 + l22 * l22]]))


def axes_of_covariance(covariance: Float) -> tuple[float, float, float]:
    """FWHM along the major and minor axis and position angle of a covariance in (x, y)."""
    (a, b), (_, c) = np.asarray(covariance).tolist()
    half = math.hypot((a - c) / 2, b)
    major = max((a + c) / 2 + half, 0.0)
    minor = max(a * c - b * b, 0.0) / major if major > 0 else 0.0
    along = math.atan2(2 * b, a - c) / 2 if half > 0 else math.pi / 2
    pa = math.degrees(along - math.pi / 2) % 180.0
    return math.sqrt(major) * FWHM_PER_SIGMA, math.sqrt(minor) * FWHM_PER_SIGMA, pa


def centre_transform(psf: Array, n: int) -> Float:
    """Real FFT ``[n, n // 2 + 1]`` of the central ``n`` x ``n`` pixels of a psf, zero where it is smaller."""
    py, px = psf.shape[0] // 2, psf.shape[1] // 2
    h = n // 2
    patch = np.zeros((n, n))
    ry, rx = min(h, py), min(h, px)
    ry2, rx2 = min(n - h, psf.shape[0] - py), min(n - h, psf.shape[1] - px)
    patch[h - ry : h + ry2, h - rx : h + rx2] = psf[py - ry : py + ry2, px - rx : px + rx2]
    return np.fft.rfft2(np.roll(patch, (-h, -h), axis=(0, 1))).real


Evaluated = tuple[float, Float, Float]
"""Log likelihood ratio, score and Fisher information."""


def _unit_free(matrix: Float) -> tuple[Float, Float]:
    """An information matrix scaled to unit diagonal, and the scales."""
    diagonal = np.diag(matrix)
    unit = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return matrix / np.outer(unit, unit), unit


SHAPE = 5
"""Parameters of a shape: x, y and Cholesky factor."""
LINE = 3
"""Parameters of a line: amplitude, channel, log of its FWHM."""
MEASURED = 2e-3
"""Fraction of the transfer function's maximum above which a Fourier cell is used."""


@dataclass(frozen=True)
class Member:
    """One source of a group: its shape, its continuum and its lines.

    Attributes
    ----------
    shape : array
        ``x, y, l11, l21, l22`` [pixel].
    continuum : float or None
        Flux density as received [Jy]; None without continuum.
    lines : tuple of array
        ``amplitude, z, log FWHM`` of each line.
    covariance : array
        Of shape, continuum (if any) and lines in turn, with the neighbours free.
    norm : float
        ``m . (psf * m)`` of the unit source.
    """

    shape: Float
    continuum: float | None
    lines: tuple[Float, ...] = ()
    covariance: Float = field(default_factory=lambda: np.zeros((0, 0)))
    norm: float = 1.0

    @property
    def size(self) -> int:
        """Number of its parameters."""
        return self.first_line + LINE * len(self.lines)

    @property
    def first_line(self) -> int:
        """Number of parameters before those of the lines."""
        return SHAPE + (self.continuum is not None)

    def vector(self) -> Float:
        """Its parameters."""
        level = [] if self.continuum is None else [self.continuum]
        return np.concatenate([self.shape, level, *self.lines])

    def with_vector(self, p: Float) -> Member:
        """The same kind of member with other parameters."""
        lines = tuple(p[i : i + LINE] for i in range(self.first_line, p.size, LINE))
        level = None if self.continuum is None else float(p[SHAPE])
        return replace(self, shape=p[:SHAPE], continuum=level, lines=lines)

    def continuum_error(self) -> float:
        """Standard error of its continuum [Jy]."""
        return float(np.sqrt(max(self.covariance[SHAPE, SHAPE], 0.0)))

    def source(self, k: int = 0) -> LineSource:
        """Its k-th line as a source, with the covariance of that line's parameters."""
        amplitude, z, width = self.lines[k]
        at = self.first_line + LINE * k
        order = [at, 0, 1, 2, 3, 4, at + 1, at + 2]
        covariance = self.covariance[np.ix_(order, order)] if self.covariance.size else np.zeros((8, 8))
        error = np.sqrt(max(covariance[0, 0], 1e-300))
        x, y, l11, l21, l22 = self.shape.tolist()
        return LineSource(
            float(amplitude), x, y, l11, l21, l22, float(z), float(np.exp(width)), covariance,
            norm=self.norm, fitted_snr=float(amplitude / error),
        )  # fmt: skip


def member_of(s: LineSource, continuum: float | None = None) -> Member:
    """A source with one line as a member."""
    line = np.array([s.amplitude, s.z, np.log(s.fwhm_z)])
    return Member(np.array([s.x, s.y, s.l11, s.l21, s.l22]), continuum, (line,), norm=s.norm)


@dataclass(frozen=True)
class GroupWindow:
    """Data of a group of sources, in the Fourier cells that are used.

    Attributes
    ----------
    planes : array
        Real and imaginary parts, ``[chan + 1, 2 * cell]``; the last plane is the continuum.
    precision : array
        Inverse covariance of the planes' noise, ``[chan + 1, chan + 1]``.
    response : float
        Least FWHM of a line [channel].
    z : array
        Channels, ``[chan]``.
    fx, fy, weight, transfer : array
        Of every cell: frequencies [cycles/pixel], share in a sum over the plane, and the psf's transform.
    x0, y0, n : int
        Corner and side of the window [pixel].
    """

    planes: Float
    precision: Float
    z: NDArray[np.int_]
    fx: Float
    fy: Float
    weight: Float
    transfer: Float
    x0: int
    y0: int
    n: int
    response: float = 0.0


def cut_group(
    lines: Array,
    z: NDArray[np.int_],
    sigma: Float,
    continuum: Array | None,
    continuum_error: float,
    psf: Array,
    centre: tuple[float, float],
    n: int,
    origin: tuple[int, int] = (0, 0),
    precise: bool = False,
    channels: ChannelCorrelation | None = None,
) -> GroupWindow:
    """Cut ``n`` x ``n`` pixels about ``centre`` ``(x, y)`` out of planes and continuum.

    Pixels outside the image count as zero.

    Parameters
    ----------
    lines : array
        Channels `z`, ``[chan, y, x]``, of the image from `origin` ``(x, y)`` on.
    sigma : array
        Noise of these channels, ``[chan]``; 0 is blank.
    continuum, continuum_error : array, float
        Image ``[y, x]``, with the same origin, and its noise; None and infinite without continuum.
    psf : array
        ``[y, x]``
    precise : bool, optional
        Use all Fourier cells, in double precision.
    channels : ChannelCorrelation, optional
        Where the noise of the channels is correlated.

    Returns
    -------
    GroupWindow
    """
    x0, y0 = round(centre[0]) - n // 2 - origin[0], round(centre[1]) - n // 2 - origin[1]
    ys, xs = (slice(max(a, 0), min(a + n, size)) for a, size in zip((y0, x0), lines.shape[1:]))
    data = np.zeros((len(z) + 1, n, n), dtype=float if precise else np.float32)
    inner = (slice(None), slice(ys.start - y0, ys.stop - y0), slice(xs.start - x0, xs.stop - x0))
    data[:-1][inner] = lines[:, ys, xs]
    if continuum is not None:
        data[-1][inner[1:]] = continuum[ys, xs]
    # a sharp window would make the transform ring; only the sources' own extent has weight in the fit
    ramp = np.clip((np.minimum(np.arange(n), n - 1 - np.arange(n)) + 0.5) / (0.1 * n), 0, 1)
    taper = (np.sin(0.5 * np.pi * ramp) ** 2).astype(data.dtype)
    data *= taper[:, None] * taper
    transfer = centre_transform(psf, n)
    used = np.abs(transfer) > (-1 if precise else MEASURED * np.abs(transfer).max())
    cells = rfft2(data, workers=1)[:, used]
    fx, fy = (np.broadcast_to(f, used.shape)[used] for f in frequencies_2d(n, n))
    weight = np.broadcast_to(rfft_weights(n), used.shape)[used] / n**2
    inverse = np.zeros((len(z) + 1,) * 2)
    inverse[:-1, :-1] = precision(np.asarray(sigma, dtype=float), channels, np.asarray(z))
    inverse[-1, -1] = continuum_error**-2.0
    return GroupWindow(
        np.concatenate([cells.real, cells.imag], axis=1).astype(float), inverse, np.asarray(z),
        fx, fy, weight, transfer[used], x0 + origin[0], y0 + origin[1], n,
        0.0 if channels is None else channels.response,
    )  # fmt: skip


class GroupFit:
    """Likelihood, score and Fisher information of a group's members.

    Parameters
    ----------
    window : GroupWindow
        Data without any other source.
    members : sequence of Member
        Where to start; points stay points, and so on.
    size_scale : float
        See `point_or_not`.
    reach : float, optional
        How far a member may move along x and y [pixel]; as far as `size_scale` by default.
    """

    def __init__(
        self, window: GroupWindow, members: Sequence[Member], size_scale: float, reach: float | None = None
    ) -> None:
        self.w, self.members, self.size_scale = window, list(members), size_scale
        reach = size_scale if reach is None else reach
        self.starts = np.cumsum([0, *(m.size for m in members)])
        self.double = np.concatenate([window.weight, window.weight])
        self.weighed = np.concatenate([window.weight * window.transfer] * 2)
        basis: list[int] = []
        z, widest = window.z, window.n / 4 / FWHM_PER_SIGMA
        self.low, self.high = np.full((2, self.starts[-1]), [[-np.inf], [np.inf]])
        for k, (m, at) in enumerate(zip(members, self.starts)):
            basis += [*range(6 * k + 1, 6 * k + 6), *[6 * k] * (m.size - SHAPE)]
            self.low[at : at + SHAPE] = [*(m.shape[:2] - reach), -widest, -widest, -widest]
            self.high[at : at + SHAPE] = [*(m.shape[:2] + reach), widest, widest, widest]
            for i in range(at + m.first_line, at + m.size, LINE):
                self.low[i + 1 : i + LINE] = z[0] - 0.5, np.log(np.hypot(0.7, window.response))
                self.high[i + 1 : i + LINE] = z[-1] + 0.5, np.log(max(2.0, z.size))
        self.basis = np.array(basis)

    def _images(self, shape: Float, squares: bool = False) -> Float:
        """Transform of the unit source and its derivatives by its shape, ``[6, 2 * cell]``.

        A point's derivatives by the Cholesky factor vanish: with `squares` they are by xx, xy and yy.
        """
        x, y, l11, l21, l22 = shape
        fx, fy = self.w.fx, self.w.fy
        along = l11 * fx + l21 * fy
        phase = -2 * np.pi * (fx * (x - self.w.x0) + fy * (y - self.w.y0))
        size = np.exp(-2 * np.pi**2 * (along**2 + (l22 * fy) ** 2))
        re, im = size * np.cos(phase), size * np.sin(phase)
        out = np.empty((6, 2, fx.size))
        out[0] = re, im
        # -2 pi i f m
        for k, f in ((1, 2 * np.pi * fx), (2, 2 * np.pi * fy)):
            out[k] = f * im, -f * re
        c = -4 * np.pi**2
        sizes = (c * fx * along, c * fy * along, c * l22 * fy**2)
        if squares:
            sizes = (c / 2 * fx**2, c * fx * fy, c / 2 * fy**2)
        for k, f in enumerate(sizes, start=3):
            out[k] = f * re, f * im
        return out.reshape(6, -1)

    def _spectra(self, p: Float, m: Member) -> tuple[Float, Float]:
        """Spectrum of a member, ``[plane]``, and the factors of its images, ``[parameter, plane]``."""
        z = self.w.z
        rows = np.zeros((m.size, z.size + 1))
        total = np.zeros(z.size + 1)
        if m.continuum is not None:
            rows[SHAPE, -1] = 1.0
            total[-1] = p[SHAPE]
        for i in range(m.first_line, m.size, LINE):
            amplitude, centre, log_width = p[i : i + LINE]
            width = np.exp(log_width)
            phi = line_profile(z, centre, width)
            u = (z - centre) * FWHM_PER_SIGMA / width
            rows[i, :-1] = phi
            rows[i + 1, :-1] = amplitude * phi * u * FWHM_PER_SIGMA / width
            rows[i + 2, :-1] = amplitude * phi * u * u
            total[:-1] += amplitude * phi
        rows[:SHAPE] = total
        return total, rows

    def evaluate(self, p: Float, squares: bool = False) -> Evaluated:
        """Log likelihood ratio, score and Fisher information; see `_images` for `squares`."""
        parts = [p[a:b] for a, b in zip(self.starts, self.starts[1:])]
        images = np.concatenate([self._images(q[:SHAPE], squares) for q in parts])
        totals, rows = zip(*(self._spectra(q, m) for q, m in zip(parts, self.members)))
        total, spectra = np.stack(totals), np.concatenate(rows)
        dots = (images * self.double) @ self.w.planes.T
        gram = (images * self.weighed) @ images.T
        weighed = spectra @ self.w.precision
        model = gram[:, ::6] @ total
        score = (weighed * (dots - model)[self.basis]).sum(1)
        fisher = gram[np.ix_(self.basis, self.basis)] * (weighed @ spectra.T)
        loglike = float(((total @ self.w.precision) * (dots[::6] - 0.5 * model[::6])).sum())
        self.norms = gram.diagonal()[::6]
        return loglike, score, fisher

    def run(self, free: Sequence[bool] | None = None, iterations: int = 12) -> tuple[list[Member], float]:
        """Fit; the members, with their covariances, and the log likelihood ratio.

        Levenberg-damped Fisher scoring maximises the likelihood times a Gaussian prior on sizes and widths.

        Parameters
        ----------
        free : sequence of bool, optional
            Whether each member's shape is fitted too; otherwise it is held.
        iterations : int, optional
            Largest number."""
        full = np.concatenate([m.vector() for m in self.members])
        prior, centre = np.zeros((2, full.size))
        active = np.ones(full.size, dtype=bool)
        for k, (m, at) in enumerate(zip(self.members, self.starts)):
            prior[at + 2 : at + 5] = self.size_scale**-2
            if free is not None and not free[k]:
                active[at : at + SHAPE] = False
            if not m.shape[2:].any():  # a point stays one
                active[at + 2 : at + SHAPE] = False
            for i in range(at + m.first_line + 2, at + m.size, LINE):
                prior[i], centre[i] = 1.0, full[i]
        low, high, weight, middle = (v[active] for v in (self.low, self.high, prior, centre))
        where = np.cumsum(active) - 1
        sizes = [slice(where[at + 2], where[at + 2] + 3) for at in self.starts[:-1] if active[at + 2]]
        ends = LEAST_SIZE * self.size_scale, self.high[2]

        def posterior(q: Float) -> Evaluated:
            full[active] = q
            loglike, score, fisher = self.evaluate(full)
            penalty, slope = float(0.5 * (weight * (q - middle) ** 2).sum()), weight * (q - middle)
            return loglike - penalty, score[active] - slope, fisher[np.ix_(active, active)] + np.diag(weight)

        p = full[active]
        value, gradient, hessian = posterior(p)
        damping = 1e-3
        for _ in range(iterations):
            scaled, unit = _unit_free(hessian)
            scaled[np.diag_indices_from(scaled)] += damping + 1e-9
            step = np.linalg.solve(scaled, gradient / unit) / unit
            trial = np.clip(p + step, low, high)
            for size in sizes:
                trial[size] = _resized(p[size], step[size], ends)
            new = posterior(trial)
            if new[0] >= value - 1e-12:
                gain = new[0] - value
                p, (value, gradient, hessian) = trial, new
                damping = max(damping / 5, 1e-6)
                if gain < 1e-4:
                    break
            else:
                damping *= 8
                if damping > 1e6:
                    break
        full[active] = p
        loglike, _, fisher = self.evaluate(full)
        # errors with everything free: a shape that was held is not known exactly, and what the data do not
        # constrain gets large errors
        scaled, unit = _unit_free(fisher + np.diag(prior))
        values, vectors = np.linalg.eigh(scaled)
        covariance = (vectors / np.maximum(values, SINGULAR)) @ vectors.T / np.outer(unit, unit)
        out = []
        for k, m in enumerate(self.members):
            s = slice(self.starts[k], self.starts[k + 1])
            out.append(
                replace(m.with_vector(full[s]), covariance=covariance[s, s], norm=float(self.norms[k]))
            )
        return out, loglike


LEAST_SIZE = 0.015
"""Standard deviation of the narrowest shape that is fitted, in units of the prior's: a beam over 20."""


def _resized(cholesky: Float, step: Float, ends: tuple[float, float]) -> Float:
    """A Cholesky factor after a step of the covariance; its standard deviations stay within `ends`.

    Steps of the factor itself fail where an axis is short: the likelihood depends on its square only.
    """
    l11, l21, l22 = cholesky
    factor, change = np.array([[l11, 0.0], [l21, l22]]), np.array([[step[0], 0.0], [step[1], step[2]]])
    turned = factor @ change.T
    values, vectors = np.linalg.eigh(factor @ factor.T + turned + turned.T)
    values = np.clip(values, ends[0] ** 2, ends[1] ** 2)
    (a, _), (b, c) = np.linalg.cholesky((vectors * values) @ vectors.T)
    return np.array([a, b, c])


POINT = 4.0
"""Twice the log likelihood that a shape must gain over a point: noise gains it once in ten times with three
parameters, and free ones would raise the flux by their noise."""


def point_or_not(window: GroupWindow, start: LineSource, *, size_scale: float) -> LineSource:
    """Fit one source with one line by damped Fisher scoring, as a point unless the data show a size.

    The curvature of the likelihood at the point decides; a shape is fitted only if it says so, or if the
    start has one.

    Parameters
    ----------
    window : GroupWindow
        Data about the source.
    start : LineSource
        Where to start; its amplitude is replaced by the best one.
    size_scale : float
        Standard deviation [pixel] of a weak Gaussian prior on the intrinsic size (about two beams), and
        the unit of a prior of one e-fold on the line's width about where the search found it: they keep a
        source at the detection limit from growing over its neighbourhood and cost a bright one nothing.

    Returns
    -------
    LineSource
        The fit, with covariance, norm and S/N.
    """
    point, alone, size, spread, growth = _fitted_point(window, start, size_scale)
    gain, best = _likelier_size(size, spread)
    least = 0.2 * size_scale / 1.5 / FWHM_PER_SIGMA
    large = start.axes()[0] > 3 * least * FWHM_PER_SIGMA
    if large or gain > POINT / 2:
        if not large:
            (l11, _), (l21, l22) = np.linalg.cholesky(best + least**2 * np.eye(2)).tolist()
            start = replace(point, l11=l11, l21=l21, l22=l22)
        free, extended = _fitted(window, start, size_scale)
        if 2 * (extended - alone) > POINT or point.amplitude * free.amplitude <= 0:
            return free
    # errors of the size of a point: those of squares, which `axes` halves
    covariance = point.covariance.copy()
    variances = 0.5 * np.sqrt(np.diag(spread)) + np.maximum(size, 0) / 3.29
    covariance[3:6, 3:6] = np.diag([variances[0], min(variances[[0, 2]]), variances[2]])
    return replace(point, covariance=covariance, larger=_larger(size, spread, growth, size_scale / 1.5))


def _fitted_point(
    window: GroupWindow, start: LineSource, size_scale: float
) -> tuple[LineSource, float, Float, Float, Float]:
    """The best point, its log likelihood ratio, and the best covariance (xx, xy, yy).

    Also that covariance's own errors, and the derivatives of the log flux by its elements.
    """
    point, alone = _fitted(window, replace(start, l11=0.0, l21=0.0, l22=0.0), size_scale)
    # Where the psf's transform is below 0 there is only what the cut of the psf leaves. The derivatives are
    # large there, and may outweigh all else.
    positive = replace(window, weight=np.where(window.transfer > 0, window.weight, 0.0))
    for cells in (window, positive):
        fit = GroupFit(cells, [member_of(point)], size_scale)
        _, score, fisher = fit.evaluate(fit.members[0].vector(), squares=True)
        fisher[-1, -1] += 1.0
        scaled, unit = _unit_free(fisher)
        if np.linalg.eigvalsh(scaled)[0] > 0:
            break
    scaled[np.diag_indices_from(scaled)] += 1e-9
    inverse = np.linalg.inv(scaled) / np.outer(unit, unit)
    spread = inverse[2:5, 2:5]
    together = inverse[2:5, SHAPE] / point.amplitude + inverse[2:5, SHAPE + 2]
    growth: Float = np.linalg.inv(spread) @ together
    return point, alone, (inverse @ score)[2:5], spread, growth


def _larger(size: Float, spread: Float, growth: Float, beam: float) -> float:
    """See `LineSource.larger`: half of all sources are points, the others round and up to a beam wide."""
    round_ = np.array([1.0, 0.0, 1.0])
    variance = (np.linspace(0, beam, 33) / FWHM_PER_SIGMA) ** 2
    weight = np.linalg.solve(spread, round_)
    like = np.exp(variance * (weight @ size) - 0.5 * variance**2 * (weight @ round_))
    more = float(growth @ round_) * variance
    return float(np.sqrt((like @ more**2) / (like.sum() + len(like))))


def _likelier_size(size: Float, spread: Float) -> tuple[float, Float]:
    """Twice the log likelihood that non-negative sizes gain over a point, and the best covariance.

    The arguments are the best-fitting covariance (xx, xy, yy), whatever its sign, and its covariance matrix.
    """
    weight = np.linalg.inv(spread)
    xx, xy, yy = size
    if xx > 0 and xx * yy > xy * xy:
        return float(size @ weight @ size), np.array([[xx, xy], [xy, yy]])
    # otherwise the best is a line, along one of these
    angle = np.linspace(0, np.pi, 24, endpoint=False)
    lines = np.stack([np.cos(angle) ** 2, np.cos(angle) * np.sin(angle), np.sin(angle) ** 2], axis=1)
    norm = np.einsum("ni,ij,nj->n", lines, weight, lines)
    length = np.maximum(lines @ weight @ size, 0) / norm
    k = int((length**2 * norm).argmax())
    xx, xy, yy = length[k] * lines[k]
    return float(length[k] ** 2 * norm[k]), np.array([[xx, xy], [xy, yy]])


def _fitted(window: GroupWindow, start: LineSource, size_scale: float) -> tuple[LineSource, float]:
    """The source, and its log likelihood ratio."""
    fit = GroupFit(window, [member_of(start)], size_scale, reach=0.2 * window.n)
    p = np.clip(member_of(replace(start, amplitude=0.0)).vector(), fit.low, fit.high)
    _, score, fisher = fit.evaluate(p)
    p[SHAPE] = score[SHAPE] / max(fisher[SHAPE, SHAPE], 1e-300)
    fit.members = [fit.members[0].with_vector(p)]
    (fitted,), loglike = fit.run(iterations=25)
    _, score, fisher = fit.evaluate(fitted.vector())
    information = max(float(fisher[SHAPE, SHAPE]), 1e-300)
    source = fitted.source()
    # S/N of the amplitude at fixed shape
    snr = float(score[SHAPE] / information + source.amplitude) * information**0.5
    return replace(source, fitted_snr=snr), loglike
