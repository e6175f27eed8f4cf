"""Line and continuum of a source fitted together, as one Gaussian on the sky with one spectrum.

Where a galaxy's continuum has the place and shape of its line, its hundred channels say far more about both
than the line's ten. Where it has not, the two fits disagree, which can be seen: these fits are material for
`faintsky.detection.refine` and are not believed by themselves.

The likelihood is that of `faintsky.detection.gaussian_fit` for the cube before its continuum was taken out.
All channels beside the line hold nothing but continuum, so that their weighted mean stands for them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from faintsky.detection.gaussian_fit import (
    Evaluated,
    LineFit,
    LineSource,
    Window,
    climb,
    cut_window,
)
from faintsky.detection.pursuit import Component, Pursuit
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing.cube import PreparedCube

_IMAGE_BASIS = np.array([0, 1, 2, 3, 4, 5, 0, 0, 0])
_SPECTRUM_BASIS = np.array([0, 1, 1, 1, 1, 1, 2, 3, 4])


AGREED = 0.15
"""Change in units of the error, from one round of fits to the next, below which there is no other."""


class SpectrumFit(LineFit):
    """Likelihood of a line upon a continuum: the window's last plane is the mean of all other channels.

    Its parameters are those of `LineFit` and the continuum's flux density.
    """

    def evaluate(self, p: NDArray[np.float64]) -> Evaluated:
        """As `LineFit.evaluate`, for nine parameters; the S/N is the line's."""
        image, line = self.bases(p[:8])
        n = line.shape[1]
        spectra = np.zeros((5, n + 1))
        spectra[[0, 2, 3], :n] = line[[0, 2, 3]]
        spectra[4] = 1.0
        total = p[0] * spectra[0] + p[8]
        spectra[1] = total
        flat = (image * self.weights).reshape(6, -1)
        dots = (flat.conj() @ self.data.T).real
        weighted = (image.conj() * (self.weights * self.w.transfer)).reshape(6, -1)
        gram = (weighted @ image.reshape(6, -1).T).real
        iv = self.inverse_variance
        residual = dots - total * gram[:, :1]
        score = (spectra[_SPECTRUM_BASIS] * residual[_IMAGE_BASIS] * iv).sum(1)
        inner = (spectra * iv) @ spectra.T
        fisher = gram[np.ix_(_IMAGE_BASIS, _IMAGE_BASIS)] * inner[np.ix_(_SPECTRUM_BASIS, _SPECTRUM_BASIS)]
        loglike = float((iv * (total * dots[0] - 0.5 * total**2 * gram[0, 0])).sum())
        norm = float(gram[0, 0])
        snr = float(p[0] * np.sqrt(max(norm * inner[0, 0], 0.0)))
        return loglike, score, fisher, norm, snr


@dataclass(frozen=True)
class JointSource:
    """A line emitter with its continuum.

    Attributes
    ----------
    source : LineSource
        The line; its covariance is that of the joint fit.
    continuum, continuum_err : float
        Flux density of the continuum as received [Jy].
    image : array
        The source at unit flux through the psf, ``[y, x]``.
    """

    source: LineSource
    continuum: float
    continuum_err: float
    image: NDArray[np.float32]


class JointFits:
    """Fits of all sources of a search, each with the continua of the others taken out.

    Parameters
    ----------
    pursuit : Pursuit
        After its last fits; it is not changed.
    prepared : PreparedCube
        With the continuum that was taken out of `pursuit`'s data.
    """

    def __init__(self, pursuit: Pursuit, prepared: PreparedCube) -> None:
        self.pursuit, self.prepared = pursuit, prepared
        self.level = np.nan_to_num(prepared.continuum.level)
        self.taken = np.where(prepared.present, self.level, np.float32(0))
        self.inverse = np.where(pursuit.sigma > 0, 1 / np.maximum(pursuit.sigma, 1e-300) ** 2, 0.0)
        self.total = np.zeros_like(self.level)
        self.found: list[JointSource | None] = [None] * len(pursuit.components)

    def run(self, rounds: int = 10) -> list[JointSource]:
        """Fit all sources, the brightest continuum first, until they agree; in the pursuit's order."""
        peaks = [self._peak(c) for c in self.pursuit.components]
        for _ in range(rounds):
            moved = 0.0
            for i in np.argsort(peaks)[::-1]:
                old = self.found[i]
                if old is not None:
                    self.total -= np.float32(old.continuum) * old.image
                new = self.fit(self.pursuit.components[i], old, float(peaks[i]))
                self.total += np.float32(new.continuum) * new.image
                self.found[i] = new
                moved = max(moved, np.inf if old is None else _distance(old, new))
            if moved < AGREED:
                break
        return [f for f in self.found if f is not None]

    def _peak(self, c: Component) -> float:
        y, x = (int(np.clip(round(v), 0, n - 1)) for v, n in zip((c.source.y, c.source.x), self.level.shape))
        return float(self.level[y, x])

    def fit(self, c: Component, old: JointSource | None, peak: float) -> JointSource:
        """Fit one source to the data less the lines and continua of all others."""
        start = c.source if old is None else old.source
        window = self._window(c, start)
        fit = SpectrumFit(window)
        size = 1.5 * self.pursuit.beam_pixels
        prior = np.array([0, 0, 0, *[size**-2] * 3, 0, 1.0, 0])
        first = np.append(start.vector(), peak / max(start.norm, 0.1) if old is None else old.continuum)
        centre = np.zeros(9)
        centre[7] = np.log(c.source.fwhm_z)
        widest = window.n / 4 / FWHM_PER_SIGMA
        home = c.source.vector()

        def bounded(p: NDArray[np.float64]) -> NDArray[np.float64]:
            q = p.copy()
            q[1:3] = np.clip(q[1:3], home[1:3] - 0.2 * window.n, home[1:3] + 0.2 * window.n)
            q[3:6] = np.clip(q[3:6], -widest, widest)
            q[6] = np.clip(q[6], window.z[0] - 0.5, window.z[-1] + 0.5)
            q[7] = np.clip(q[7], np.log(0.7), np.log(max(2.0, window.z.size)))
            return q

        p, covariance, norm, snr = climb(fit.evaluate, bounded(first), prior, centre, bounded)
        source = replace(
            c.source, amplitude=float(p[0]), x=float(p[1]), y=float(p[2]), l11=float(p[3]), l21=float(p[4]),
            l22=float(p[5]), z=float(p[6]), fwhm_z=float(np.exp(p[7])), covariance=covariance[:8, :8],
            norm=norm, fitted_snr=snr,
        )  # fmt: skip
        error = float(np.sqrt(max(covariance[8, 8], 0.0)))
        return JointSource(source, float(p[8]), error, self.pursuit.imager.image(source))

    def _window(self, c: Component, start: LineSource) -> Window:
        """Channels of the line and, as last plane, the mean of all others, this source alone in them."""
        p, s = self.pursuit, c.source
        n = p.window_side(max(s.axes()[0], start.axes()[0]))
        half = int(max(8, 2.5 * s.fwhm_z))
        channels = slice(max(0, int(s.z) - half), min(p.sigma.size, int(s.z) + half + 1))
        ys, xs = (
            slice(max(0, round(v) - n), min(size, round(v) + n))
            for v, size in zip((s.y, s.x), self.level.shape)
        )
        lines = p.residual[channels, ys, xs] + self.taken[ys, xs]
        weight = self.inverse[channels].astype(np.float32)
        beside = max(float(self.inverse.sum() - weight.sum()), 1e-6 * float(self.inverse.sum()))
        sums = self.level[ys, xs] * self.inverse.sum() - np.tensordot(weight, lines, 1)
        spectrum = p.spectrum(s)[channels].astype(np.float32)
        lines = lines + spectrum[:, None, None] * c.image[ys, xs]
        planes = np.concatenate([lines, (sums / beside)[None].astype(np.float32)]) - self.total[ys, xs]
        sigma = np.append(p.sigma[channels], beside**-0.5)
        psf = p.imager.psf[p.imager.plane(s.z)]
        cut = cut_window(planes, psf, sigma, s.x - xs.start, s.y - ys.start, slice(None), n)
        return replace(
            cut, x0=cut.x0 + xs.start, y0=cut.y0 + ys.start, z=np.arange(channels.start, channels.stop)
        )


def _distance(a: JointSource, b: JointSource) -> float:
    """Largest change of place or continuum, in units of its error."""
    e = b.source.errors()
    moves = (abs(getattr(a.source, k) - getattr(b.source, k)) / max(e[k], 1e-30) for k in ("x", "y"))
    return float(max(*moves, abs(a.continuum - b.continuum) / max(b.continuum_err, 1e-30)))
