"""Correlation of an image's noise between pixels, and the matched filter that follows from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2

from faintsky.arrays import Array, Bool, Float
from faintsky.preparing.noise import core_sigma
from faintsky.preparing.psf import autocorrelation, gaussian_psf

FLOOR = 2e-3
"""Least fraction of white noise in the noise's variance: rounding, pixels, and errors of models."""
HOLES = 0.2
"""Least power of the noise at any scale, over that of noise correlated like the beam with the same variance
after smoothing with it. At scales that the telescope did not measure, an image holds only what deconvolution
put there: with a noise of 0 the filter would list the clean components of noise peaks."""
REACH_BEAMS = 6.0
"""Largest separation at which the correlation is measured [beam]."""


@dataclass(frozen=True)
class NoiseCorrelation:
    """Correlation of an image's noise in units of the local rms; the same over the whole image.

    Attributes
    ----------
    lags : array
        Covariance by separation, ``[n, n]``, the variance at ``[0, 0]``; periodic.
    power : array
        Its power spectrum, for a real FFT of ``[n, n]``; nowhere below `FLOOR` of the variance.
    """

    lags: Float
    power: Float

    @property
    def reach(self) -> int:
        """Reach of the matched filter to each side [pixel]."""
        return self.lags.shape[0] // 4

    def covariance(self, x: NDArray[np.integer], y: NDArray[np.integer]) -> Float:
        """Covariance of pixels ``[m]``: ``[m, m]``."""
        n = self.lags.shape[0]
        x, y = np.asarray(x, int), np.asarray(y, int)
        return self.lags[(y[:, None] - y[None, :]) % n, (x[:, None] - x[None, :]) % n]

    def whitening(self, x: NDArray[np.integer], y: NDArray[np.integer]) -> Float:
        """Matrix that turns the noise of pixels into independent numbers of variance 1, ``[m, m]``."""
        from scipy.linalg import cholesky, solve_triangular

        # pixels farther apart than a period would be identical: the white noise keeps the matrix regular
        lower = cholesky(self.covariance(x, y) + FLOOR * self.lags[0, 0] * np.eye(len(x)), lower=True)
        return np.asarray(solve_triangular(lower, np.eye(len(x)), lower=True))

    def matched_filter(self, beam: tuple[float, float, float]) -> tuple[Float, Float]:
        """The kernel that gives the S/N of points, and a point's response to it.

        The filter of North (1943) for correlated noise: beam over power spectrum.

        Parameters
        ----------
        beam : tuple of float
            Major and minor FWHM [pixel] and position angle [deg].

        Returns
        -------
        kernel : array
            ``[2 h + 1, 2 h + 1]``: the image in units of the noise, correlated with it, has noise of
            variance 1.
        seen : array
            The beam, of peak 1, correlated with the kernel.
        """
        n, h = (self.power.shape[0],) * 2, self.reach
        source = gaussian_psf((n[0] + 1, n[1] + 1), *beam)[:-1, :-1]
        transfer = rfft2(np.fft.ifftshift(source))
        kernel = transfer / self.power
        norm = np.sqrt(float(irfft2((transfer * np.conj(kernel)).real, s=n)[0, 0]))
        pair = (irfft2(kernel / norm, s=n), irfft2((transfer * np.conj(kernel)).real / norm, s=n))
        middle = [
            np.fft.fftshift(a)[n[0] // 2 - h : n[0] // 2 + h + 1, n[1] // 2 - h : n[1] // 2 + h + 1]
            for a in pair
        ]
        return middle[0], middle[1]


def noise_correlation_of(scaled: Array, quiet: Bool, beam: tuple[float, float, float]) -> NoiseCorrelation:
    """Measure the correlation of an image's noise.

    Parameters
    ----------
    scaled : array
        Image over local rms, ``[y, x]``, its sources masked or subtracted.
    quiet : array of bool
        Pixels with noise only.
    beam : tuple of float
        Major and minor FWHM [pixel] and position angle [deg]; sets the scale of the measurement.

    Returns
    -------
    NoiseCorrelation
    """
    size = float(np.sqrt(beam[0] * beam[1]))
    reach = int(min(np.ceil(REACH_BEAMS * max(size, 2.0)), min(scaled.shape) // 4, 60))
    mean = float(scaled[quiet].mean())
    lags = autocorrelation(scaled - mean, quiet, reach)
    y, x = np.indices(lags.shape) - reach
    # the autocorrelation of a disc: its power spectrum is nowhere negative, so stripes leave no holes.
    # Its cusp adds a little noise at fine waves, which models do not describe exactly
    t = np.clip(np.hypot(x, y) / reach, 0, 1)
    taper = (np.arccos(t) - t * np.sqrt(1 - t * t)) * 2 / np.pi
    return correlation_from(lags * taper, core_sigma(scaled[quiet]) ** 2, beam)


def correlation_from(
    lags: Float, variance: float = 1.0, beam: tuple[float, float, float] | None = None
) -> NoiseCorrelation:
    """Make measured correlations such as noise can have.

    With a beam, no scale has less than `HOLES` of the noise of a beam, and the variance grows accordingly.

    Parameters
    ----------
    lags : array
        Correlation by separation, falling to 0 at the rim, ``[2 reach + 1, 2 reach + 1]``.
    variance : float, optional
    beam : tuple of float, optional
        Major and minor FWHM [pixel] and position angle [deg].

    Returns
    -------
    NoiseCorrelation
    """
    reach = lags.shape[0] // 2
    n = 4 * reach
    plane = np.zeros((n, n))
    shift = np.arange(-reach, reach + 1) % n
    plane[np.ix_(shift, shift)] = lags / lags[reach, reach]
    power = np.maximum(rfft2(plane).real, FLOOR)
    power *= variance / irfft2(power, s=(n, n))[0, 0]
    if beam is not None:
        own = rfft2(np.fft.ifftshift(gaussian_psf((n + 1, n + 1), *beam)[:-1, :-1])).real
        within = float((power * own).sum() / (own * own).sum())
        power = np.maximum(power, HOLES * within * own)
    return NoiseCorrelation(irfft2(power, s=(n, n)), power)
