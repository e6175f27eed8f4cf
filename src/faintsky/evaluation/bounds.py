"""Cramér-Rao bounds of every parameter of a source, given psf and noise.

Model
    A source is ``m(z, k) = F P(z) G(k)``: flux times a line profile of unit sum times the transform of an
    elliptical Gaussian of unit flux (`faintsky.source_model`). The dirty image is ``W(k) m(z, k)`` with the
    psf's transfer ``W``, and its noise in channel z has the covariance ``sigma_z**2 * psf`` (natural
    weighting), so that the Fisher information is

        F_ij = sum_z sum_k W(k) Re[conj(d_i m) d_j m] / (N sigma_z**2),

    which separates into a spectral and a spatial factor for every pair of parameters.
Continuum
    ``free``: every pixel has an unknown constant and slope along frequency, which are projected out of the
    spectral factors. This is the bound of methods that subtract the continuum pixel by pixel. ``shared``: the
    source's continuum has the source's shape, and helps to measure position and shape; its constant and slope
    are unknown. ``none``: there is known to be no continuum.
Blends
    Sources given together are bounded together, so that errors of each include the uncertainty of the others.

Source: Kay, Fundamentals of Statistical Signal Processing I (1993), section 3.9.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.arrays import Float
from faintsky.grid import FWHM_PER_SIGMA, major_axis_direction
from faintsky.source_model import frequencies_2d, gaussian_transform, line_profile, rfft_weights

PARAMETERS = ("x", "y", "dc_maj", "dc_min", "dc_pa", "z", "fwhm_z", "flux")
"""Order of the parameters [pixel, pixel, pixel, pixel, deg, channel, channel, flux]."""
SPATIAL = PARAMETERS[:5]
CONTINUUM = ("free", "shared", "none")


@dataclass(frozen=True)
class TrueLine:
    """One true source as received (primary beam included).

    Parameters
    ----------
    x, y : float
        Centre [pixel].
    dc_maj, dc_min, dc_pa : float
        Intrinsic shape [pixel, pixel, deg east of north].
    z, fwhm_z : float
        Centre and width of the line [channel].
    flux : float
        Line flux summed over channels, in the noise's unit without "per beam" (Jy for Jy/beam).
    continuum, slope : float
        Continuum flux density at the line's centre, and its change per channel; used if it is ``shared``.
    """

    x: float
    y: float
    dc_maj: float
    dc_min: float
    dc_pa: float
    z: float
    fwhm_z: float
    flux: float
    continuum: float = 0.0
    slope: float = 0.0


def spatial_derivatives(source: TrueLine, fx: Float, fy: Float) -> NDArray[np.complex128]:
    """Transform of a source's Gaussian of unit flux, and its derivatives.

    Parameters
    ----------
    source : TrueLine
        The source.
    fx, fy : array
        Spatial frequencies, see `faintsky.source_model.frequencies_2d` [cycles/pixel].

    Returns
    -------
    array, complex
        ``[6, n_y, n_x // 2 + 1]``: the transform, and its derivatives by `SPATIAL`, per pixel and per degree.
    """
    g = gaussian_transform(fx, fy, source.x, source.y, source.dc_maj, source.dc_min, source.dc_pa)
    dx, dy = major_axis_direction(source.dc_pa)
    along, across = fx * dx + fy * dy, -fx * dy + fy * dx
    unit = 4 * np.pi**2 / FWHM_PER_SIGMA**2
    # d(along)/d(pa) = across and d(across)/d(pa) = -along, for pa in radians
    turn = -unit * (source.dc_maj**2 - source.dc_min**2) * along * across * np.deg2rad(1.0)
    place = [-2j * np.pi * fx, -2j * np.pi * fy]
    widths = [-unit * source.dc_maj * along**2, -unit * source.dc_min * across**2]
    return np.stack([g * f for f in (np.ones_like(along), *place, *widths, turn)])


def spectral_derivatives(source: TrueLine, n_chan: int) -> Float:
    """Line of unit sum, and derivatives of the line of the source's flux by z and width, ``[3, chan]``."""
    channel = np.arange(n_chan, dtype=float)
    # normalised by its integral, not by its sum over the band, because a line cut by the band's edge loses
    # flux
    norm = FWHM_PER_SIGMA / (np.sqrt(2 * np.pi) * source.fwhm_z)
    profile = norm * line_profile(channel, source.z, source.fwhm_z)
    t = (channel - source.z) * FWHM_PER_SIGMA / source.fwhm_z
    by_z = source.flux * profile * t * FWHM_PER_SIGMA / source.fwhm_z
    by_width = source.flux * profile * (t**2 - 1) / source.fwhm_z
    return np.stack([profile, by_z, by_width])


def _without_continuum(spectra: Float, sigma: Float) -> Float:
    """Spectra over the noise ``[row, chan]``, with constant and slope projected out."""
    basis = np.stack([np.ones(spectra.shape[1]), np.linspace(-1, 1, spectra.shape[1])]) / sigma
    q = np.linalg.qr(basis.T)[0]
    weighted = spectra / sigma
    return weighted - (weighted @ q) @ q.T


def _factors(source: TrueLine, n_chan: int, continuum: str) -> tuple[Float, list[int]]:
    """Spectral factor ``[parameter, chan]`` and index of the spatial plane of each parameter."""
    profile, by_z, by_width = spectral_derivatives(source, n_chan)
    spectrum = source.flux * profile
    extra: list[Float] = []
    if continuum == "shared":
        away = np.arange(n_chan, dtype=float) - source.z
        spectrum = np.asarray(spectrum + source.continuum + source.slope * away)
        extra = [np.ones(n_chan), np.asarray(away)]
    rows = [spectrum] * 5 + [by_z, by_width, profile, *extra]
    return np.stack(rows), [1, 2, 3, 4, 5] + [0] * (3 + len(extra))


def fisher_information(
    sources: Sequence[TrueLine],
    transfer: Float,
    n_x: int,
    sigma: ArrayLike,
    n_chan: int,
    continuum: str = "free",
) -> Float:
    """Fisher matrix of all parameters of the sources.

    Parameters
    ----------
    sources : sequence of TrueLine
        One source, or a group that is bounded together.
    transfer : array
        `faintsky.source_model.psf_transform` of the psf, ``[n_y, n_x // 2 + 1]``.
    n_x : int
        Width of the psf image [pixel].
    sigma : float or array
        Noise of each channel, ``[chan]``, or of all [Jy/beam]; not finite or not positive for blank channels.
    n_chan : int
        Number of channels.
    continuum : str
        One of `CONTINUUM`; see the module.

    Returns
    -------
    array
        ``[n, n]``, with `PARAMETERS` of each source in turn (for ``shared`` followed by its continuum and
        slope).

    Raises
    ------
    ValueError
        For an unknown treatment of the continuum, or a line without width.
    """
    if continuum not in CONTINUUM:
        raise ValueError(f"unknown continuum {continuum!r}; one of {', '.join(CONTINUUM)}")
    if any(not s.fwhm_z > 0 for s in sources):
        raise ValueError("the bound of a line needs a width above 0")
    noise = np.broadcast_to(np.asarray(sigma, dtype=float), (n_chan,))
    noise = np.where(np.isfinite(noise) & (noise > 0), noise, np.inf)
    fx, fy = frequencies_2d(transfer.shape[0], n_x)
    weight = transfer * rfft_weights(n_x) / (transfer.shape[0] * n_x)
    # Only the sampled part of the uv plane carries information. The transfer of a cropped psf has ripples
    # below zero; these are kept, because the sums over separations inside the image are correct only with
    # them.
    used = np.abs(weight) > 1e-12 * weight.max()
    fx_used, fy_used = (np.broadcast_to(f, weight.shape)[used] for f in (fx, fy))
    weight = np.concatenate([weight[used]] * 2)
    spectra, planes, blocks = [], [], []
    for s in sources:
        rows, which = _factors(s, n_chan, continuum)
        shapes = spatial_derivatives(s, fx_used, fy_used)
        spectra.append(rows)
        planes.append(which)
        blocks.append(np.concatenate([shapes.real, shapes.imag], axis=1))
    rows = np.concatenate(spectra)
    rows = _without_continuum(rows, noise) if continuum == "free" else rows / noise
    place = np.concatenate([6 * k + np.array(which) for k, which in enumerate(planes)])
    shapes = np.concatenate(blocks)
    gram = (shapes * weight) @ shapes.T
    return (rows @ rows.T) * gram[np.ix_(place, place)]


def bounds_from_fisher(fisher: Float, tolerance: float = 1e-10) -> Float:
    """Standard deviations from a Fisher matrix, ``[n]``; infinite for unconstrained parameters.

    Parameters
    ----------
    fisher : array
        ``[n, n]``, symmetric.
    tolerance : float
        Relative eigenvalue of the matrix scaled to unit diagonal that counts as zero.
    """
    scale = np.sqrt(np.clip(np.diag(fisher), 0.0, None))
    bound = np.full(len(scale), np.inf)
    known = scale > 0
    if not known.any():
        return bound
    scaled = fisher[np.ix_(known, known)] / np.outer(scale[known], scale[known])
    value, vector = np.linalg.eigh(scaled)
    good = value > tolerance * value.max()
    variance = (vector[:, good] ** 2 / value[good]).sum(axis=1)
    # a parameter with a component along an unconstrained direction is unconstrained
    free = (vector[:, ~good] ** 2).sum(axis=1) > 1e-6
    bound[known] = np.where(free, np.inf, np.sqrt(variance) / scale[known])
    return bound


def cramer_rao(
    sources: Sequence[TrueLine],
    transfer: Float,
    n_x: int,
    sigma: ArrayLike,
    n_chan: int,
    continuum: str = "free",
) -> list[dict[str, float]]:
    """Smallest standard deviation of every parameter that an unbiased estimate can have.

    Parameters
    ----------
    sources, transfer, n_x, sigma, n_chan, continuum
        As in `fisher_information`.

    Returns
    -------
    list of dict
        For each source, `PARAMETERS` and their bounds [pixel, pixel, pixel, pixel, deg, channel, channel,
        flux]. They are infinite for unconstrained parameters: widths and angle of a point source, and the
        angle of a round one. A bound of more than about 30 degrees on an angle means that it is unknown.
    """
    bound = bounds_from_fisher(fisher_information(sources, transfer, n_x, sigma, n_chan, continuum))
    size = len(bound) // max(len(sources), 1)
    return [dict(zip(PARAMETERS, bound[k * size :].tolist())) for k in range(len(sources))]
