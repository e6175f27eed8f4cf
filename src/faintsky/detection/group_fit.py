"""Maximum-likelihood fits of several sources at once, each one Gaussian on the sky with lines and continuum.

The likelihood is that of `faintsky.detection.gaussian_fit`, of the channels of the lines with their continuum
taken out and of the continuum's own image. A source's lines and continuum share place and shape. Sources
that overlap are fitted together, so that each one's errors allow for the others.

Only the Fourier cells are used in which the telescope measured anything: a tenth of them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len, rfft2

from faintsky.detection.gaussian_fit import Evaluated, LineSource, centre_transform, climb, covariance_of
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.source_model import frequencies_2d, line_profile, rfft_weights

Float = NDArray[np.float64]
SHAPE, LINE = 5, 3
"""Parameters of a shape (x, y and Cholesky factor) and of a line (amplitude, channel, log of its FWHM)."""
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
        Flux density as received [Jy]; None where the shape is not that of a continuum.
    lines : tuple of array
        ``amplitude, z, log FWHM`` of each line.
    covariance : array
        Of shape, continuum (where there is one) and lines in turn, neighbours free.
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
        return SHAPE + (self.continuum is not None) + LINE * len(self.lines)

    def vector(self) -> Float:
        """Its parameters."""
        level = [] if self.continuum is None else [self.continuum]
        return np.concatenate([self.shape, level, *self.lines])

    def with_vector(self, p: Float) -> Member:
        """The same kind of member with other parameters."""
        first = SHAPE + (self.continuum is not None)
        lines = tuple(p[i : i + LINE] for i in range(first, p.size, LINE))
        level = None if first == SHAPE else float(p[SHAPE])
        return replace(self, shape=p[:SHAPE], continuum=level, lines=lines)

    def continuum_error(self) -> float:
        """Standard error of its continuum [Jy]."""
        return float(np.sqrt(max(self.covariance[SHAPE, SHAPE], 0.0)))

    def source(self, k: int = 0) -> LineSource:
        """Its k-th line as a source, with the covariance of that line's parameters."""
        amplitude, z, width = self.lines[k]
        at = SHAPE + (self.continuum is not None) + LINE * k
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
    """Data of a group, in the Fourier cells that are used.

    Attributes
    ----------
    planes : array
        Real and imaginary parts, ``[chan + 1, 2 * cell]``; the last plane is the continuum.
    inverse_variance : array
        ``[chan + 1]``
    z : array
        Channels, ``[chan]``.
    fx, fy, weight, transfer : array
        Of every cell: frequencies [cycles/pixel], share in a sum over the plane, and the psf's transform.
    x0, y0, n : int
        Corner and side of the window [pixel].
    """

    planes: Float
    inverse_variance: Float
    z: NDArray[np.int_]
    fx: Float
    fy: Float
    weight: Float
    transfer: Float
    x0: int
    y0: int
    n: int


def cut_group(
    lines: NDArray[np.floating],
    z: NDArray[np.int_],
    sigma: Float,
    continuum: NDArray[np.floating],
    continuum_error: float,
    psf: NDArray[np.floating],
    centre: tuple[float, float],
    side: int,
    origin: tuple[int, int] = (0, 0),
) -> GroupWindow:
    """Cut a square of about `side` pixels about ``centre`` ``(x, y)`` out of planes and continuum.

    Parameters
    ----------
    lines : array
        Channels `z`, ``[chan, y, x]``, of the image from `origin` ``(x, y)`` on.
    sigma : array
        Noise of these channels, ``[chan]``; 0 is blank.
    continuum, continuum_error : array, float
        Image ``[y, x]``, likewise, and its noise.
    psf : array
        ``[y, x]``
    """
    n = next_fast_len(side, real=True)
    x0, y0 = round(centre[0]) - n // 2 - origin[0], round(centre[1]) - n // 2 - origin[1]
    ys, xs = (slice(max(a, 0), min(a + n, size)) for a, size in zip((y0, x0), continuum.shape))
    data = np.zeros((len(z) + 1, n, n), dtype=np.float32)
    inner = (slice(None), slice(ys.start - y0, ys.stop - y0), slice(xs.start - x0, xs.stop - x0))
    data[:-1][inner] = lines[:, ys, xs]
    data[-1][inner[1:]] = continuum[ys, xs]
    # the transform would ring at the window's edges; only the sources' own extent has weight in the fit
    ramp = np.clip((np.minimum(np.arange(n), n - 1 - np.arange(n)) + 0.5) / (0.1 * n), 0, 1)
    taper = (np.sin(0.5 * np.pi * ramp) ** 2).astype(np.float32)
    data *= taper[:, None] * taper
    transfer = centre_transform(psf, n)
    used = np.abs(transfer) > MEASURED * np.abs(transfer).max()
    cells = rfft2(data, workers=1)[:, used]
    fx, fy = (np.broadcast_to(f, used.shape)[used] for f in frequencies_2d(n, n))
    weight = np.broadcast_to(rfft_weights(n), used.shape)[used] / n**2
    noise = np.append(np.where(sigma > 0, sigma, np.inf), continuum_error)
    return GroupWindow(
        np.concatenate([cells.real, cells.imag], axis=1).astype(float), noise**-2.0, np.asarray(z),
        fx, fy, weight, transfer[used], x0 + origin[0], y0 + origin[1], n,
    )  # fmt: skip


class GroupFit:
    """Likelihood, score and Fisher information of a group's members.

    Parameters
    ----------
    window : GroupWindow
        Data with nothing else in them.
    members : sequence of Member
        Where to begin; their kinds stay.
    size_scale : float
        See `faintsky.detection.gaussian_fit.fit_source`.
    """

    def __init__(self, window: GroupWindow, members: Sequence[Member], size_scale: float) -> None:
        self.w, self.members, self.size_scale = window, list(members), size_scale
        self.starts = np.cumsum([0, *(m.size for m in members)])
        self.double = np.concatenate([window.weight, window.weight])
        self.weighed = np.concatenate([window.weight * window.transfer] * 2)
        basis: list[int] = []
        for k, m in enumerate(members):
            own = [6 * k + i for i in (1, 2, 3, 4, 5)]
            basis += [*own, *[6 * k] * (m.size - SHAPE)]
        self.basis = np.array(basis)

    def _images(self, shape: Float) -> Float:
        """Transform of the unit source and its derivatives by its shape, ``[6, 2 * cell]``."""
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
        for k, f in ((3, c * fx * along), (4, c * fy * along), (5, c * l22 * fy**2)):
            out[k] = f * re, f * im
        return out.reshape(6, -1)

    def _spectra(self, p: Float, m: Member) -> tuple[Float, Float]:
        """Spectrum of a member, ``[plane]``, and what multiplies its images, ``[parameter, plane]``."""
        z = self.w.z
        rows = np.zeros((m.size, z.size + 1))
        total = np.zeros(z.size + 1)
        first = SHAPE
        if m.continuum is not None:
            rows[SHAPE, -1] = 1.0
            total[-1] = p[SHAPE]
            first += 1
        for i in range(first, m.size, LINE):
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

    def evaluate(self, p: Float) -> Evaluated:
        """Log likelihood ratio, score, Fisher information, and ``m.(psf*m)`` of the members."""
        parts = [p[a:b] for a, b in zip(self.starts, self.starts[1:])]
        images = np.concatenate([self._images(q[:SHAPE]) for q in parts])
        totals, rows = zip(*(self._spectra(q, m) for q, m in zip(parts, self.members)))
        total, spectra = np.stack(totals), np.concatenate(rows)
        dots = (images * self.double) @ self.w.planes.T
        gram = (images * self.weighed) @ images.T
        iv = self.w.inverse_variance
        model = gram[:, ::6] @ total
        score = (spectra * (dots - model)[self.basis] * iv).sum(1)
        fisher = gram[np.ix_(self.basis, self.basis)] * ((spectra * iv) @ spectra.T)
        loglike = float((iv * total * (dots[::6] - 0.5 * model[::6])).sum())
        return loglike, score, fisher, gram.diagonal()[::6].copy(), 0.0

    def run(self, free: Sequence[bool] | None = None, iterations: int = 12) -> tuple[list[Member], float]:
        """Fit; the members, with their covariances, and the log likelihood ratio.

        Parameters
        ----------
        free : sequence of bool, optional
            Whether each member's shape is fitted, too; otherwise it stays.
        iterations : int, optional
            At most so many.
        """
        first = np.concatenate([m.vector() for m in self.members])
        prior, centre = np.zeros(first.size), np.zeros(first.size)
        active = np.ones(first.size, dtype=bool)
        z = self.w.z
        low, high = np.full(first.size, -np.inf), np.full(first.size, np.inf)
        widest = self.w.n / 4 / FWHM_PER_SIGMA
        for k, (m, at) in enumerate(zip(self.members, self.starts)):
            prior[at + 2 : at + 5] = self.size_scale**-2
            if free is not None and not free[k]:
                active[at : at + SHAPE] = False
            low[at : at + 2], high[at : at + 2] = m.shape[:2] - self.size_scale, m.shape[:2] + self.size_scale
            low[at + 2 : at + 5], high[at + 2 : at + 5] = -widest, widest
            for i in range(at + SHAPE + (m.continuum is not None), at + m.size, LINE):
                low[i + 1], high[i + 1] = z[0] - 0.5, z[-1] + 0.5
                low[i + 2], high[i + 2] = np.log(0.7), np.log(max(2.0, z.size))
                prior[i + 2], centre[i + 2] = 1.0, first[i + 2]

        def evaluate(q: Float) -> Evaluated:
            full = first.copy()
            full[active] = q
            loglike, score, fisher, norms, snr = self.evaluate(full)
            return loglike, score[active], fisher[np.ix_(active, active)], norms, snr

        def bounded(q: Float) -> Float:
            return np.clip(q, low[active], high[active])

        p, _, norms, _ = climb(evaluate, first[active], prior[active], centre[active], bounded, iterations)
        full = first.copy()
        full[active] = p
        loglike, _, fisher, _, _ = self.evaluate(full)
        # errors with everything free: a shape that was kept is not known exactly
        covariance = covariance_of(fisher + np.diag(prior))
        out = []
        for k, m in enumerate(self.members):
            s = slice(self.starts[k], self.starts[k + 1])
            out.append(replace(m.with_vector(full[s]), covariance=covariance[s, s], norm=float(norms[k])))
        return out, loglike
