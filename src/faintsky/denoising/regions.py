"""Regions of emission in a denoised image: thresholds, errors and reliability as calibrated for a model."""

from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator
from scipy.ndimage import gaussian_filter, grey_opening, label, map_coordinates, maximum
from scipy.special import ndtr

from faintsky.arrays import Array, Array32, Bool, Float, Index, Labels
from faintsky.blocks import connected_labels
from faintsky.denoising.dirty import Response
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing import gaussian_psf
from faintsky.system import Settings

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
FAINT = 0.5
"""Brightness that `emission_probability` asks for, over the noise."""


class RegionSettings(Settings):
    """Settings for images with one kind of noise; the defaults are guesses for an uncalibrated network.

    Attributes
    ----------
    seed, grow : tuple of float
        Least mean over sigma, and least mean over rms, for a region's seeds and for the pixels added to them.
    smooth, cap : float
        Emission too faint for single pixels is looked for in the mean, cut off at `cap` times the rms to
        avoid haloes of bright sources, and smoothed with a round Gaussian of FWHM `smooth` [root of the
        beam's area; pixel for white noise]; 0 to skip this.
    faint : tuple of float
        Least smoothed value over rms, for a region's seeds and for the pixels added to them.
    least_area : float
        Least area of a region [beam; pixel for white noise].
    sigma_at, sigma_raw : tuple of float
        Increasing values of mean over rms, and of the network's standard deviation over rms.
    sigma_factor, sigma_factor_points : tuple of tuple of float
        Factors on the network's standard deviation, ``[sigma_at, sigma_raw]``, for smooth emission and for
        points (`pointed`), whose errors are larger; by default the same for both. Their logarithms are
        interpolated in the mean and in the logarithm of the standard deviation.
    error_lengths, error_weights : tuple of float
        Correlation of the denoised image's errors: FWHMs of Gaussians [beam; pixel for white noise], and
        their weights.
    error_factor, error_fraction, error_floor : float
        Factor on a flux's error, and two terms added in quadrature: a fraction of the flux, and a factor
        times the rms over a beam (a pixel for white noise). The last is for small regions, whose errors have
        wider tails than a Gaussian.
    reliability : tuple of float
        Logit of the probability that a region is real: constant, and weights of the logarithms of S/N, peak
        significance and area [beam].
    """

    seed: tuple[float, float] = (5.0, 0.5)
    grow: tuple[float, float] = (3.0, 0.2)
    smooth: float = 0.0
    cap: float = 0.3
    faint: tuple[float, float] = (0.28, 0.16)
    least_area: float = 1.0
    sigma_at: tuple[float, ...] = (0.0,)
    sigma_raw: tuple[Positive, ...] = (1.0,)
    sigma_factor: tuple[tuple[Positive, ...], ...] = ((1.0,),)
    sigma_factor_points: tuple[tuple[Positive, ...], ...] = ()
    error_lengths: tuple[Positive, ...] = (1.5,)
    error_weights: tuple[NotNegative, ...] = (1.0,)
    error_factor: float = 1.0
    error_fraction: float = 0.0
    error_floor: float = 0.0
    reliability: tuple[float, ...] = (-8.0, 4.0, 2.0, 0.0)

    @model_validator(mode="after")
    def _table(self) -> Self:
        for factors in (self.sigma_factor, self.sigma_factor_points or self.sigma_factor):
            if [len(self.sigma_raw)] * len(self.sigma_at) != [len(row) for row in factors]:
                raise ValueError("sigma_factor is not a table over sigma_at and sigma_raw")
        if len(self.error_lengths) != len(self.error_weights):
            raise ValueError("each of error_lengths needs one of error_weights")
        return self

    def calibrated(self, mean: Array, sigma: Array, beam_area: float) -> Array32:
        """Calibrated standard deviation of the network.

        Parameters
        ----------
        mean, sigma : array
            Of the network, in units of the local rms, ``[y, x]``.
        beam_area : float
            [pixel]; 1 for white noise.

        Returns
        -------
        array
        """
        level, raw = np.abs(np.asarray(mean, dtype=np.float32)), np.asarray(sigma, dtype=np.float32)
        place = [
            np.interp(level, self.sigma_at, np.arange(len(self.sigma_at))),
            np.interp(np.log(np.maximum(raw, 1e-9)), np.log(self.sigma_raw), np.arange(len(self.sigma_raw))),
        ]

        def factor(table: tuple[tuple[float, ...], ...]) -> Array32:
            logs = map_coordinates(np.log(table), place, order=1, mode="nearest", output=np.float32)
            return np.asarray(raw * np.exp(logs), dtype=np.float32)

        smooth = factor(self.sigma_factor)
        if not self.sigma_factor_points:
            return smooth
        return np.where(pointed(level, beam_area), factor(self.sigma_factor_points), smooth)

    def error_kernel(self, beam: tuple[float, float, float] | None, most: int = 10_000) -> Float:
        """Correlation of the denoised image's errors, ``[y, x]``, by the separation of two pixels.

        Parameters
        ----------
        beam : tuple of float or None
            FWHMs [pixel] and position angle [deg]; None for white noise.
        most : int, optional
            Largest reach [pixel], the image's side: the beam measured on an image without noise can have any
            size.
        """
        major, minor, pa = (1.0, 1.0, 0.0) if beam is None else beam
        half = min(int(np.ceil(1.1 * max(self.error_lengths) * major)) + 1, most)
        side = 2 * half + 1
        return np.sum(
            [
                weight * gaussian_psf((side, side), max(length * major, 0.1), max(length * minor, 0.1), pa)
                for length, weight in zip(self.error_lengths, self.error_weights)
            ],
            axis=0,
        )

    def flux_error(self, flux: ArrayLike, error: ArrayLike, noise: ArrayLike) -> Float:
        """Error of a region's flux.

        Parameters
        ----------
        flux, error : array or float
            Sum of the denoised image, and its error.
        noise : array or float
            Flux of the noise in a beam (a pixel for white noise).

        Returns
        -------
        array
        """
        f, e, n = (np.asarray(v, dtype=float) for v in (flux, error, noise))
        parts = (self.error_factor * e, self.error_fraction * f, self.error_floor * n)
        return np.sqrt(sum(p**2 for p in parts))

    def probability(self, snr: ArrayLike, peak: ArrayLike, area: ArrayLike) -> Float:
        """Probability that regions are real.

        Parameters
        ----------
        snr, peak, area : array or float
            S/N of the flux, highest mean over sigma, area [beam].

        Returns
        -------
        array
        """
        logs = [np.log(np.maximum(np.asarray(v, dtype=float), 1e-6)) for v in (snr, peak, area)]
        logit = self.reliability[0] + sum(w * v for w, v in zip(self.reliability[1:], logs))
        return 1 / (1 + np.exp(-np.clip(logit, -60, 60)))


POINT = 2.0
"""Side of a square that points do not fill [beam]."""
WHITE_POINT = 5
"""The same for white noise [pixel]."""


def _point_side(beam_area: float) -> int:
    return WHITE_POINT if beam_area <= 1 else max(3, round(POINT * np.sqrt(beam_area / 1.133)))


def pointed(level: Array, beam_area: float) -> Bool:
    """Where emission is narrow: an opening with a square of `POINT` beams removes half of its brightness.

    Parameters
    ----------
    level : array
        Denoised image, at least 0, ``[y, x]``.
    beam_area : float
        [pixel]; 1 for white noise.
    """
    return np.asarray(grey_opening(level, _point_side(beam_area)) < 0.5 * level)


class WhiteSettings(RegionSettings):
    """`RegionSettings` for white noise."""

    least_area: float = 25.0
    error_lengths: tuple[Positive, ...] = (6.0,)


class DenoiserSettings(Settings):
    """Settings for each kind of image.

    Attributes
    ----------
    correlated : RegionSettings
        Restored images without their compact sources: noise correlated like the beam.
    white : RegionSettings
        Whole images with white noise.
    dirty : RegionSettings
        Dirty images after major cycles; as `correlated` by default.
    cut : RegionSettings
        Those with a psf that does not reach from each pixel to every other; as `dirty` by default.
    """

    correlated: RegionSettings = RegionSettings()
    white: WhiteSettings = WhiteSettings()
    dirty: RegionSettings = RegionSettings()
    cut: RegionSettings = RegionSettings()

    @model_validator(mode="before")
    @classmethod
    def _older(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for kind, like in (("dirty", "correlated"), ("cut", "dirty")):
                if like in values:
                    values = {kind: values[like], **values}
        return values

    def of(self, white: bool, response: Response | None = None) -> RegionSettings:
        """Settings for an image's noise, and for its psf if it is dirty."""
        if white:
            return self.white
        if response is None:
            return self.correlated
        return self.dirty if response.whole else self.cut


def segment(mean: Array, sigma: Array, allowed: Bool, settings: RegionSettings, beam_area: float) -> Labels:
    """Label regions of emission by thresholds with hysteresis, in the image and in the smoothed image.

    Parameters
    ----------
    mean, sigma : array
        Denoised image and its calibrated standard deviation, ``[y, x]``, in units of the local rms.
    allowed : array of bool
        Where to look.
    settings : RegionSettings
        Thresholds.
    beam_area : float
        [pixel]; 1 for white noise.

    Returns
    -------
    array
        1 … n for pixels above the lower thresholds of either image that are connected, by sides or corners,
        to one above the upper ones, in regions of at least the least area; 0 elsewhere.
    """
    seeds, grown = thresholded(mean, sigma, allowed, settings, beam_area)
    labels = connected_labels(grown | seeds)
    n = int(labels.max(initial=0))
    keep = np.bincount(labels[seeds], minlength=n + 1) > 0
    # with a beam hardly larger than a pixel, a point may show only one pixel
    area = beam_area if beam_area > 2 else 1.0
    keep &= np.bincount(labels.ravel(), minlength=n + 1) >= settings.least_area * area
    keep[0] = False
    return relabelled(labels, np.flatnonzero(keep))


def emission_probability(image: Array, sigma: Array, noise: Array) -> Array32:
    """Probability that the sky is brighter than `FAINT` times the noise, if errors are Gaussian.

    Parameters
    ----------
    image, sigma, noise : array
        Denoised image, its standard deviation, and the noise of the data; NaN where blank.

    Returns
    -------
    array
        Of the same shape.
    """
    return ndtr((image - FAINT * noise) / sigma).astype(np.float32)


def large_regions(mask: Bool, least_area: float) -> Labels:
    """Labels of the connected regions of a mask that have at least this area [pixel]."""
    labels = connected_labels(mask)
    large = np.bincount(labels.ravel()) >= least_area
    large[0] = False
    return relabelled(labels, np.flatnonzero(large))


def thresholded(
    mean: Array, sigma: Array, allowed: Bool, settings: RegionSettings, beam_area: float
) -> tuple[Bool, Bool]:
    """Pixels above the upper, and pixels above the lower thresholds. See `segment` for the arguments."""
    seeds, grown = (
        allowed & (mean > k_sigma * sigma) & (mean > k_rms)
        for k_sigma, k_rms in (settings.seed, settings.grow)
    )
    if settings.smooth:
        smooth = smoothed(mean, allowed, settings, beam_area)
        seeds, grown = (
            now | (allowed & (smooth > level)) for now, level in zip((seeds, grown), settings.faint)
        )
    return seeds, grown


def smoothed(mean: Array, allowed: Bool, settings: RegionSettings, beam_area: float) -> Array32:
    """The denoised image over rms, cut off at the cap and smoothed, in which faint regions are found.

    Parameters
    ----------
    mean : array
        Denoised image over rms, ``[y, x]``.
    allowed : array of bool
        Where to look.
    settings : RegionSettings
    beam_area : float
        [pixel]; 1 for white noise.

    Returns
    -------
    array
        ``[y, x]``
    """
    capped = np.where(allowed, np.minimum(mean, settings.cap), 0).astype(np.float32)
    return np.asarray(gaussian_filter(capped, settings.smooth * np.sqrt(beam_area) / FWHM_PER_SIGMA))


def relabelled(labels: NDArray[np.integer], order: NDArray[np.integer]) -> Labels:
    """Labels 1 … n for the regions listed by their old numbers, in that order; 0 for others."""
    numbers = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    return np.asarray(numbers[labels])


DIP = 2.5
"""Two peaks are separate regions if the S/N of the lower one exceeds that of the saddle by this."""
CONTRAST = 1.5
"""The same for the ratio of the S/N."""


def split_regions(labels: Labels, snr: Array) -> Labels:
    """Cut regions at the saddles between clearly separate peaks.

    Parameters
    ----------
    labels : array of int
        Regions, which do not touch each other, 0 elsewhere, ``[y, x]``.
    snr : array
        S/N of the smoothed image, ``[y, x]``: noise makes dips of about 1.

    Returns
    -------
    array of int
        1 … n; pixels go to the peak that they lead up to.
    """
    from skimage.morphology import local_maxima
    from skimage.segmentation import watershed

    inside = labels > 0
    tops, _ = label(local_maxima(np.where(inside, snr, -np.inf)) & inside, np.ones((3, 3)))
    basins = watershed(-snr, tops, mask=inside, connectivity=2)
    n = int(basins.max(initial=0))
    if not n:
        return labels
    peak = np.concatenate([[0.0], maximum(snr, basins, np.arange(1, n + 1))])
    first, second, saddle = _saddles(basins, snr)
    home = np.arange(n + 1)

    def top(k: int) -> int:
        while home[k] != k:
            home[k] = home[home[k]]
            k = int(home[k])
        return k

    for a, b, level in zip(first, second, saddle):
        low, high = sorted((top(a), top(b)), key=lambda k: peak[k])
        if low != high and (peak[low] - level <= DIP or peak[low] <= CONTRAST * level):
            home[low] = high
    homes = np.array([top(k) for k in range(n + 1)])
    return relabelled(homes[basins], np.unique(homes[1:]))


def _saddles(basins: NDArray[np.integer], snr: Array) -> tuple[Index, Index, Array]:
    """Pairs of basins that touch, and the S/N of the saddle between them; highest first."""
    found = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(None, -dy or None), slice(1, None) if dx < 0 else slice(None, -dx or None))
        there = (slice(dy, None), slice(None, -1) if dx < 0 else slice(dx, None))
        touch = (basins[here] != basins[there]) & (basins[here] > 0) & (basins[there] > 0)
        level = np.minimum(snr[here], snr[there])[touch]
        found.append(np.stack([basins[here][touch], basins[there][touch], level]))
    a, b, level = np.concatenate(found, axis=1)
    low, high = np.minimum(a, b).astype(np.intp), np.maximum(a, b).astype(np.intp)
    order = np.argsort(-level, kind="stable")
    pairs = np.stack([low, high], axis=1)[order]
    _, once = np.unique(pairs, axis=0, return_index=True)
    once.sort()
    return pairs[once, 0], pairs[once, 1], level[order][once]
