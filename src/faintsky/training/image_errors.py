"""What real images hold beside sky and noise: leftovers of the deconvolution, and errors of the calibration.

With a model m of the sky s, a restored image is ``b * m + psf * (s - m)``: the sky at the beam's resolution,
``b * s``, and ``(psf - b) * (s - m)``. What the model lacks is a share of the extended emission that differs
from place to place, and less of what the psf measures well than of what it hardly sees: each step of a
deconvolution takes a part of the residual that is proportional to ``psf / b``.

Gains that are not quite 1 multiply each visibility by ``1 + e``, whatever its source. Errors of one time lie
on a spoke of the uv plane, those of one baseline on an arc, and appear as spokes and rings about sources.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import grey_opening, map_coordinates

from faintsky.sky import random_field
from faintsky.source_model import frequencies_2d

Array32 = NDArray[np.float32]

STEPS, UNMODELLED, GAIN = (0.3, 10.0), (0.05, 0.5), (0.01, 0.3)
"""Ranges, all log-uniform: steps of the deconvolution; rms share of the sky that its model lacks; rms error
of a visibility. The steps and shares enclose what WSClean leaves of a sky with bright extended emission:
errors of 5 to 10 per cent at well measured spatial frequencies, 30 to 50 where psf / b is below a half."""
COMPACT = 5
"""Sources narrower than that [pixel] are in any model."""


def deconvolution_errors(
    rng: np.random.Generator, sky: Array32, psf: Array32, beam: Array32
) -> NDArray[np.float32]:
    """Leftovers of a deconvolution, ``[y, x]``.

    Parameters
    ----------
    rng : numpy.random.Generator
    sky : array
        ``[y, x]``, in units of the noise (a pixel).
    psf, beam : array
        Their real transforms, ``[y, x // 2 + 1]``.
    """
    scale = _log_uniform(rng, (2.0, 40.0))
    lacking = random_field(rng, (sky.shape[0], sky.shape[1]), 4.0, scale) + np.float32(rng.normal())
    lacking *= np.float32(_log_uniform(rng, UNMODELLED))
    seen = np.maximum(psf, 0) * beam / (beam**2 + (0.01 * beam.max()) ** 2)
    left = np.exp(-_log_uniform(rng, STEPS) * seen)
    extended = grey_opening(sky, COMPACT, mode="wrap")
    return _image(np.fft.rfft2(extended * lacking) * (psf - beam) * left, sky.shape)


def gain_errors(
    rng: np.random.Generator, spectrum: NDArray[np.complexfloating], psf: Array32, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """What wrong gains add to an image, ``[y, x]``; the sky's transform and the psf's are given."""
    fx, fy = frequencies_2d(shape[0], shape[1])
    spokes, rings = (int(_log_uniform(rng, (4, 96))) for _ in range(2))
    angle = (np.arctan2(fy, fx) / np.pi + 0.5) * (spokes - 1)
    radius = np.minimum(np.hypot(fx, fy) * 2, 1) * (rings - 1)
    amplitude, phase = (
        map_coordinates(rng.standard_normal((spokes, rings)), [angle, radius], order=1) for _ in range(2)
    )
    error = np.float32(_log_uniform(rng, GAIN)) * (rng.uniform(0, 1) * amplitude + 1j * phase)
    return _image(spectrum * psf * error, shape)


def _image(spectrum: NDArray[np.complexfloating], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.fft.irfft2(spectrum, s=shape).astype(np.float32)


def _log_uniform(rng: np.random.Generator, between: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(between))))
