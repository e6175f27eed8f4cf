"""Artefacts of real images, for training: calibration and deconvolution errors, stripes, residues of sources.

With a model m of the sky s, a restored image is ``b * m + psf * (s - m)``: the sky at the beam's resolution,
``b * s``, and ``(psf - b) * (s - m)``. The model lacks a
fraction of the extended emission that differs from place to place, less at spatial frequencies that the psf
measures well than at others: each step of a deconvolution takes a part of the residual that is proportional
to ``psf / b``.

Gains that are not quite 1 multiply each visibility by ``1 + e``, whatever its source. Errors of one time lie
on a spoke of the uv plane, those of one baseline on an arc, and appear as spokes and rings around sources.
A single bad baseline makes a stripe all over the image.

Compact sources are subtracted before a network runs (`faintsky.detection.diffuse`). The residue of one is an
error of its brightness and position: a spot and a dipole, from the noise and from its difference to a
Gaussian.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import grey_opening, map_coordinates

from faintsky.arrays import Array32
from faintsky.sky import log_uniform, random_field
from faintsky.source_model import frequencies_2d

# All ranges are log-uniform. Those of steps and of what a model lacks include the residuals of WSClean for a
# sky with bright extended emission: errors of 5 to 10 per cent at well measured spatial frequencies, and of
# 30 to 50 where psf / b is below a half.
STEPS = (0.3, 10.0)
"""Range of the number of steps of the deconvolution."""
UNMODELLED = (0.05, 0.5)
"""Range of the rms fraction of the sky that the model of the deconvolution lacks."""
GAIN = (0.01, 0.3)
"""Range of the relative rms error of a visibility."""
COMPACT = 5
"""Sources narrower than this [pixel] are always in the model."""
STRIPES = 4
"""Largest number of stripes in an image."""
STRIPE_RMS = (0.1, 1.5)
"""Range of the total rms of the stripes, over the noise."""
STRIPE_WAVE = (1.5, 40.0)
"""Range of a stripe's wavelength [beam]."""
SUBTRACTED = (3, 60)
"""Range of the number of compact sources that are subtracted."""
SUBTRACTED_SNR = (8.0, 3000.0)
"""Range of their S/N."""
MODEL_ERROR = (0.003, 0.05)
"""Range of the relative error of their models."""
HOLES = 3
"""Largest number of negative spots: bowls and negative sources."""
DEPTH = (0.2, 4.0)
"""Range of the depth of a negative spot, over the noise."""
WIDTH = (1.0, 25.0)
"""Range of the FWHM of a negative spot [beam]."""


def deconvolution_errors(rng: np.random.Generator, sky: Array32, psf: Array32, beam: Array32) -> Array32:
    """Residual errors of a deconvolution.

    Parameters
    ----------
    rng : numpy.random.Generator
    sky : array
        ``[y, x]``, in units of a pixel's noise.
    psf, beam : array
        Their real transforms, ``[y, x // 2 + 1]``.

    Returns
    -------
    array
        ``[y, x]``
    """
    scale = log_uniform(rng, 2.0, 40.0)
    lacking = random_field(rng, (sky.shape[0], sky.shape[1]), 4.0, scale) + np.float32(rng.normal())
    lacking *= np.float32(log_uniform(rng, *UNMODELLED))
    seen = np.maximum(psf, 0) * beam / (beam**2 + (0.01 * beam.max()) ** 2)
    left = np.exp(-log_uniform(rng, *STEPS) * seen)
    extended = grey_opening(sky, COMPACT, mode="wrap")
    return _image(np.fft.rfft2(extended * lacking) * (psf - beam) * left, sky.shape)


def gain_errors(
    rng: np.random.Generator, spectrum: NDArray[np.complexfloating], psf: Array32, shape: tuple[int, ...]
) -> Array32:
    """Errors of an image caused by wrong gains.

    Parameters
    ----------
    rng : numpy.random.Generator
    spectrum, psf : array
        Real transforms of sky and psf, ``[y, x // 2 + 1]``.
    shape : tuple of int
        Of the image.

    Returns
    -------
    array
        ``[y, x]``
    """
    fx, fy = frequencies_2d(shape[0], shape[1])
    spokes, rings = (int(log_uniform(rng, 4, 96)) for _ in range(2))
    angle = (np.arctan2(fy, fx) / np.pi + 0.5) * (spokes - 1)
    radius = np.minimum(np.hypot(fx, fy) * 2, 1) * (rings - 1)
    amplitude, phase = (
        map_coordinates(rng.standard_normal((spokes, rings)), [angle, radius], order=1) for _ in range(2)
    )
    error = np.float32(log_uniform(rng, *GAIN)) * (rng.uniform(0, 1) * amplitude + 1j * phase)
    return _image(spectrum * psf * error, shape)


def stripes(rng: np.random.Generator, shape: tuple[int, int], size: float) -> Array32:
    """Plane waves over the whole image, of varying strength, in units of the noise.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    size : float
        FWHM of the beam [pixel].

    Returns
    -------
    array
        ``[y, x]``
    """
    y, x = np.indices(shape, dtype=np.float32)
    out = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, STRIPES + 1))):
        turn, wave = rng.uniform(0, np.pi), size * log_uniform(rng, *STRIPE_WAVE)
        along = (x * np.cos(turn) + y * np.sin(turn)) * (2 * np.pi / wave)
        strength = 1 + np.float32(0.5) * random_field(rng, shape, 5.0, min(shape) / 2)
        out += strength * np.cos(along + rng.uniform(0, 2 * np.pi)) * np.float32(rng.exponential())
    return out * np.float32(log_uniform(rng, *STRIPE_RMS) / max(float(out.std()), 1e-9))


def compact_residues(rng: np.random.Generator, beam: Array32, shape: tuple[int, int], size: float) -> Array32:
    """Residues of subtracted compact sources, in units of the noise.

    A fit's amplitude has the error of the noise, its position about half of a beam's FWHM over the S/N
    (Condon 1997); the difference between source and model adds to both.

    Parameters
    ----------
    rng : numpy.random.Generator
    beam : array
        The real transform of the beam of unit peak, ``[y, x // 2 + 1]``.
    shape : tuple of int
    size : float
        FWHM of the beam [pixel].

    Returns
    -------
    array
        ``[y, x]``
    """
    n = int(log_uniform(rng, *SUBTRACTED))
    snr = np.exp(rng.uniform(np.log(SUBTRACTED_SNR[0]), np.log(SUBTRACTED_SNR[1]), n))
    at = tuple(rng.integers(0, side, n) for side in shape)
    unlike = log_uniform(rng, *MODEL_ERROR)
    amplitude = rng.normal(size=n) * np.hypot(0.7, unlike * snr)
    place = rng.normal(size=(2, n)) * size * np.hypot(0.4 / snr, unlike / 2) * snr
    fx, fy = frequencies_2d(shape[0], shape[1])
    spectrum = np.zeros(beam.shape, np.complex64)
    for value, factor in ((amplitude, 1.0), (place[0], 2j * np.pi * fx), (place[1], 2j * np.pi * fy)):
        spots = np.zeros(shape, np.float32)
        np.add.at(spots, at, value)
        spectrum += np.fft.rfft2(spots) * factor
    return _image(spectrum * beam, shape)


def holes(rng: np.random.Generator, shape: tuple[int, int], size: float) -> Array32:
    """Bowls, as missing short spacings cause them, and negative sources, in units of the noise.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    size : float
        FWHM of the beam [pixel].

    Returns
    -------
    array
        ``[y, x]``
    """
    y, x = np.indices(shape, dtype=np.float32)
    out = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, HOLES + 1))):
        cy, cx = (rng.uniform(0, side) for side in shape)
        wide = size * log_uniform(rng, *WIDTH)
        # narrow ones are sources, and may be as deep as positive ones are high
        deep = log_uniform(rng, *DEPTH) * (10 if wide < 2 * size else 1)
        out -= np.float32(deep) * np.exp(-4 * np.log(2) * ((x - cx) ** 2 + (y - cy) ** 2) / wide**2)
    return out


def _image(spectrum: NDArray[np.complexfloating], shape: tuple[int, ...]) -> Array32:
    return np.fft.irfft2(spectrum, s=shape).astype(np.float32)
