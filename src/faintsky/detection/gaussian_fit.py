"""Maximum-likelihood fit of one line emitter in a dirty (or restored) cube.

The model is an elliptical Gaussian on the sky times a Gaussian line. The likelihood is the one of
`source_model`: it needs inner products of the data with the *intrinsic* model only, so that a fit sees a
small window, treats the correlated noise exactly where the weighting is natural, and its Fisher information
gives the errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.grid import FWHM_PER_SIGMA
from faintsky.source_model import frequencies_2d, line_profile, rfft_weights

PARAMETERS = ("amplitude", "x", "y", "l11", "l21", "l22", "z", "log_width")
_IMAGE_BASIS = np.array([0, 1, 2, 3, 4, 5, 0, 0])
_LINE_BASIS = np.array([0, 1, 1, 1, 1, 1, 2, 3])
SINGULAR = 1e-10
"""Least eigenvalue of an information matrix of unit diagonal: what is below is rounding."""


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
        Of `PARAMETERS`, ``[8, 8]``.
    norm : float
        ``m . (psf * m)`` of the unit source: its response to the psf.
    fitted_snr : float
        Amplitude over its error at fixed shape.
    """

    amplitude: float
    x: float
    y: float
    l11: float
    l21: float
    l22: float
    z: float
    fwhm_z: float
    covariance: NDArray[np.float64]
    norm: float = 1.0
    fitted_snr: float = 0.0

    def axes(self) -> tuple[float, float, float]:
        """Intrinsic FWHMs [pixel] and position angle [deg east of north]."""
        return axes_of(self.l11, self.l21, self.l22)

    def vector(self) -> NDArray[np.float64]:
        """Values of `PARAMETERS`."""
        return np.array(
            [self.amplitude, self.x, self.y, self.l11, self.l21, self.l22, self.z, np.log(self.fwhm_z)]
        )

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
        rel = cov[0, 0] / self.amplitude**2 + cov[7, 7] + 2 * cov[0, 7] / self.amplitude
        return {
            "amplitude": sd[0],
            "x": sd[1],
            "y": sd[2],
            "z": sd[6],
            "fwhm_z": sd[7] * self.fwhm_z,
            "fwhm_maj": maj,
            "fwhm_min": minor,
            "pa": min(pa, 90.0),
            "flux": float(np.sqrt(max(rel, 0.0))),
        }


def axes_of(l11: float, l21: float, l22: float) -> tuple[float, float, float]:
    """FWHM along the major and minor axis and position angle of a covariance given by its Cholesky factor."""
    cov = np.array([[l11 * l11, l11 * l21], [l11 * l21, l21 * l21 + l22 * l22]])
    val, vec = np.linalg.eigh(cov)
    val = np.sqrt(np.maximum(val, 0.0)) * FWHM_PER_SIGMA
    pa = np.rad2deg(np.arctan2(-vec[0, 1], vec[1, 1])) % 180.0
    return float(val[1]), float(val[0]), float(pa)


@dataclass(frozen=True)
class Window:
    """A cut-out of the data ready to be fitted.

    Attributes
    ----------
    transform : array
        Real FFT of the data, ``[chan, n, n // 2 + 1]``, tapered to zero at the edge.
    transfer : array
        Real FFT of the psf's centre, ``[n, n // 2 + 1]``.
    sigma : array
        Noise of every channel, inf where blank, ``[chan]``.
    x0, y0 : int
        Pixel of the image at the window's ``[0, 0]``.
    z : array
        Channel numbers, ``[chan]``.
    n : int
        Side of the window [pixel].
    """

    transform: NDArray[np.complex128]
    transfer: NDArray[np.float64]
    sigma: NDArray[np.float64]
    x0: int
    y0: int
    z: NDArray[np.int_]
    n: int


def cut_window(
    cube: NDArray[np.floating],
    psf: NDArray[np.floating],
    sigma: NDArray[np.float64],
    x: float,
    y: float,
    channels: slice,
    n: int,
) -> Window:
    """Cut ``n`` x ``n`` pixels about ``(x, y)``; what lies outside the image counts as zero."""
    cx, cy = round(x) - n // 2, round(y) - n // 2
    z = np.arange(cube.shape[0])[channels]
    data = np.zeros((z.size, n, n))
    ys, xs = slice(max(cy, 0), min(cy + n, cube.shape[1])), slice(max(cx, 0), min(cx + n, cube.shape[2]))
    data[:, ys.start - cy : ys.stop - cy, xs.start - cx : xs.stop - cx] = cube[channels, ys, xs]
    # the transform would ring at the window's edges; only the source's own extent has weight in the fit
    ramp = np.clip((np.minimum(np.arange(n), n - 1 - np.arange(n)) + 0.5) / (0.1 * n), 0, 1)
    taper = np.sin(0.5 * np.pi * ramp) ** 2
    data *= taper[:, None] * taper
    return Window(
        np.fft.rfft2(data),
        centre_transform(psf, n),
        np.where(sigma > 0, sigma, np.inf)[channels],
        cx,
        cy,
        z,
        n,
    )


def centre_transform(psf: NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Real FFT ``[n, n // 2 + 1]`` of the central ``n`` x ``n`` pixels of a psf, zero where it is smaller."""
    py, px = psf.shape[0] // 2, psf.shape[1] // 2
    h = n // 2
    patch = np.zeros((n, n))
    ry, rx = min(h, py), min(h, px)
    ry2, rx2 = min(n - h, psf.shape[0] - py), min(n - h, psf.shape[1] - px)
    patch[h - ry : h + ry2, h - rx : h + rx2] = psf[py - ry : py + ry2, px - rx : px + rx2]
    return np.fft.rfft2(np.roll(patch, (-h, -h), axis=(0, 1))).real


class LineFit:
    """Likelihood, score and Fisher information of one source in one window."""

    def __init__(self, window: Window) -> None:
        self.w = window
        self.fx, self.fy = frequencies_2d(window.n, window.n)
        self.weights = rfft_weights(window.n) / window.n**2
        self.data = window.transform.reshape(len(window.transform), -1)
        self.inverse_variance = 1 / window.sigma**2

    def bases(self, p: NDArray[np.float64]) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """Image bases ``[6, n, n // 2 + 1]`` (transforms) and line bases ``[4, chan]`` of parameters `p`."""
        _, x, y, l11, l21, l22, z0, lw = p
        fx, fy = self.fx, self.fy
        quad = (l11 * fx + l21 * fy) ** 2 + (l22 * fy) ** 2
        m = np.exp(-2 * np.pi**2 * quad) * (
            np.exp(-2j * np.pi * fx * (x - self.w.x0)) * np.exp(-2j * np.pi * fy * (y - self.w.y0))
        )
        k = -4 * np.pi**2
        image = np.stack(
            [
                m,
                -2j * np.pi * fx * m,
                -2j * np.pi * fy * m,
                k * fx * (l11 * fx + l21 * fy) * m,
                k * fy * (l11 * fx + l21 * fy) * m,
                k * l22 * fy**2 * m,
            ]
        )
        width = np.exp(lw)
        phi = line_profile(self.w.z, z0, width)
        u = (self.w.z - z0) * FWHM_PER_SIGMA / width
        amplitude = p[0]
        line = np.stack(
            [phi, amplitude * phi, amplitude * phi * u * FWHM_PER_SIGMA / width, amplitude * phi * u * u]
        )
        return image, line

    def evaluate(
        self, p: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64], float, float]:
        """Log likelihood ratio, score, Fisher information, ``m.(psf*m)`` and S/N at fixed shape."""
        image, line = self.bases(p)
        flat = (image * self.weights).reshape(6, -1)
        dots = (flat.conj() @ self.data.T).real
        weighted = (image.conj() * (self.weights * self.w.transfer)).reshape(6, -1)
        gram = (weighted @ image.reshape(6, -1).T).real
        iv = self.inverse_variance
        model = p[0] * line[0]
        residual = dots - model * gram[:, :1]
        score = (line[_LINE_BASIS] * residual[_IMAGE_BASIS] * iv).sum(1)
        spectral = (line * iv) @ line.T
        fisher = gram[np.ix_(_IMAGE_BASIS, _IMAGE_BASIS)] * spectral[np.ix_(_LINE_BASIS, _LINE_BASIS)]
        loglike = float((iv * (model * dots[0] - 0.5 * model**2 * gram[0, 0])).sum())
        norm = float(gram[0, 0])
        snr = float((iv * line[0] * dots[0]).sum() / np.sqrt(max(norm * spectral[0, 0], 1e-300)))
        return loglike, score, fisher, norm, snr

    def best_amplitude(self, p: NDArray[np.float64]) -> float:
        """Amplitude that maximises the likelihood at fixed shape."""
        image, line = self.bases(p)
        dots = ((image[0] * self.weights).ravel().conj() @ self.data.T).real
        norm = float((np.abs(image[0]) ** 2 * self.weights * self.w.transfer).sum())
        iv = self.inverse_variance
        return float((iv * line[0] * dots).sum() / max(norm * float((iv * line[0] ** 2).sum()), 1e-300))


def _bounded(
    p: NDArray[np.float64], fit: LineFit, start: NDArray[np.float64], max_sigma: float
) -> NDArray[np.float64]:
    """Keep a trial inside what the window can tell."""
    q = p.copy()
    q[1:3] = np.clip(q[1:3], start[1:3] - 0.2 * fit.w.n, start[1:3] + 0.2 * fit.w.n)
    q[3:6] = np.clip(q[3:6], -max_sigma, max_sigma)
    q[6] = np.clip(q[6], fit.w.z[0] - 0.5, fit.w.z[-1] + 0.5)
    q[7] = np.clip(q[7], np.log(0.7), np.log(max(2.0, fit.w.z.size)))
    return q


Evaluated = tuple[float, NDArray[np.float64], NDArray[np.float64], Any, float]
"""Log likelihood ratio, score, Fisher information, ``m.(psf*m)`` and S/N."""


def climb(
    evaluate: Callable[[NDArray[np.float64]], Evaluated],
    first: NDArray[np.float64],
    prior: NDArray[np.float64],
    centre: NDArray[np.float64],
    bounded: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    iterations: int = 25,
) -> tuple[NDArray[np.float64], NDArray[np.float64], Any, float]:
    """Maximise a likelihood times a Gaussian prior by Levenberg-damped Fisher scoring.

    Parameters
    ----------
    evaluate : callable
        Parameters to what `LineFit.evaluate` gives.
    first : array
        Where to begin, ``[n]``.
    prior, centre : array
        Inverse variance and mean of the prior, ``[n]``.
    bounded : callable
        Brings parameters back into their range.
    iterations : int, optional
        At most so many.

    Returns
    -------
    parameters, covariance, norm, S/N
        At the maximum.
    """

    def penalty(q: NDArray[np.float64]) -> float:
        return float(0.5 * (prior * (q - centre) ** 2).sum())

    p = first
    loglike, score, fisher, norm, snr = evaluate(p)
    value = loglike - penalty(p)
    damping = 1e-3
    for _ in range(iterations):
        gradient = score - prior * (p - centre)
        hessian = fisher + np.diag(prior)
        scaled, unit = _unit_free(hessian)
        scaled[np.diag_indices_from(scaled)] += damping + 1e-9
        trial = bounded(p + np.linalg.solve(scaled, gradient / unit) / unit)
        new = evaluate(trial)
        new_value = new[0] - penalty(trial)
        if new_value >= value - 1e-12:
            gain = new_value - value
            p, value = trial, new_value
            _, score, fisher, norm, snr = new
            damping = max(damping / 5, 1e-6)
            if gain < 1e-4:
                break
        else:
            damping *= 8
            if damping > 1e6:
                break
    return p, covariance_of(fisher + np.diag(prior)), norm, snr


def _unit_free(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An information matrix in units of each parameter's error, and one over these: no unit is left in it."""
    diagonal = np.diag(matrix)
    unit = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return matrix / np.outer(unit, unit), unit


def covariance_of(information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of an information matrix ``[n, n]``; what the data do not fix gets large errors, not none."""
    scaled, unit = _unit_free(information)
    values, vectors = np.linalg.eigh(scaled)
    return np.asarray((vectors / np.maximum(values, SINGULAR)) @ vectors.T / np.outer(unit, unit))


def fit_source(
    window: Window,
    start: LineSource,
    *,
    size_scale: float,
    iterations: int = 25,
) -> LineSource:
    """Fit a source by Levenberg-damped Fisher scoring.

    Parameters
    ----------
    window : Window
        Data about the source.
    start : LineSource
        Where to begin; its amplitude is replaced by the best one.
    size_scale : float
        Standard deviation [pixel] of a weak Gaussian prior on the intrinsic size (about two beams), and
        the unit of a prior of one e-fold on the line's width about where the search found it: they keep a
        source at the detection limit from growing over its neighbourhood and cost a bright one nothing.

    Returns
    -------
    LineSource
        With covariance, norm and S/N.
    """
    fit = LineFit(window)
    first = start.vector()
    max_sigma = window.n / 4 / FWHM_PER_SIGMA
    first = _bounded(first, fit, first, max_sigma)
    first[0] = fit.best_amplitude(first)
    prior = np.array([0, 0, 0, *[size_scale**-2] * 3, 0, 1.0])
    centre = np.array([0, 0, 0, 0, 0, 0, 0, first[7]])

    p, covariance, norm, snr = climb(
        fit.evaluate, first, prior, centre, lambda q: _bounded(q, fit, first, max_sigma), iterations
    )
    return replace(
        start,
        amplitude=float(p[0]),
        x=float(p[1]),
        y=float(p[2]),
        l11=float(p[3]),
        l21=float(p[4]),
        l22=float(p[5]),
        z=float(p[6]),
        fwhm_z=float(np.exp(p[7])),
        covariance=covariance,
        norm=norm,
        fitted_snr=snr,
    )
