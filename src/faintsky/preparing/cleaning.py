"""Deeper CLEAN: what an image still shows with the dirty beam gets the clean beam.

A restored image is ``model * clean beam + residual``. Sources below the threshold of its CLEAN are in the
residual, with the shape of the dirty beam and its sidelobes; a dirty image is a residual without model.
"""

import re
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from faintsky.arrays import Array, Bool, Float
from faintsky.preparing.noise import noise_map
from faintsky.preparing.psf import convolve, gaussian_psf

MASKED = 4.0
"""S/N in the residual above which sources are cleaned: the auto-mask of Offringa & Smirnov (2017, MNRAS
471, 301)."""
DEPTH = 1.0
"""S/N down to which they are cleaned: the auto-threshold of the same paper."""
GAIN = 0.2
"""Loop gain."""
STAGE = 0.2
"""Fraction of the brightest peak, above all sidelobes, down to which one major cycle cleans."""
ROUNDS = 20
"""Most major cycles."""
MOST = 60_000
"""Most components in a major cycle."""


def clean_further(
    residual: Array, valid: Bool, psf: Array, beam: tuple[float, float, float], rms: Array | None = None
) -> tuple[Float, Float]:
    """Clean a residual (Högbom 1974) where it stands out from its noise, positive and negative.

    Parameters
    ----------
    residual : array
        In Jy/beam of the dirty beam, ``[y, x]``, 0 where not valid.
    valid : array of bool
        Pixels that hold data.
    psf : array
        Dirty beam, 1 at ``(n_y // 2, n_x // 2)``; taken as 0 beyond its border.
    beam : tuple of float
        Of the clean beam: FWHMs [pixel] and position angle [deg].
    rms : array, optional
        Noise; measured on the residual, again in each cycle, where not given.

    Returns
    -------
    residual : array
        The residual after cleaning.
    restored : array
        The new components convolved with the clean beam.
    """
    n_y, n_x = residual.shape
    size = float(np.sqrt(beam[0] * beam[1]))
    wide = np.zeros((2 * n_y - 1, 2 * n_x - 1))
    half = [min(a // 2, b - 1, (a - 1) // 2) for a, b in zip(psf.shape, residual.shape)]
    cy, cx = (n // 2 for n in psf.shape)
    wide[n_y - 1 - half[0] : n_y + half[0], n_x - 1 - half[1] : n_x + half[1]] = psf[
        cy - half[0] : cy + half[0] + 1, cx - half[1] : cx + half[1] + 1
    ]
    left, components = residual.astype(float), np.zeros((n_y, n_x))
    mask = np.zeros((n_y, n_x), bool)
    for _ in range(ROUNDS):
        noise = noise_map(left, valid, size) if rms is None else rms
        noise = np.where(valid & (noise > 0), noise, np.inf)
        strength = np.abs(left) / noise
        lowest = max(MASKED, STAGE * float(strength.max()))
        new = strength > lowest
        if lowest == MASKED and not (new & ~mask).any():
            break
        mask |= binary_dilation(new, iterations=max(1, round(size / 2))) & valid
        found = _minor_cycle(left, mask, noise, wide, lowest * DEPTH / MASKED)
        components += found
        left -= convolve(found, wide)
    side = 2 * int(np.ceil(3 * max(beam[0], 1.0))) + 1
    return np.where(valid, left, 0.0), convolve(components, gaussian_psf((side, side), *beam))


def _minor_cycle(residual: Float, mask: Bool, noise: Array, psf: Float, depth: float) -> Float:
    """Components in a mask down to an S/N, ``[y, x]``; the psf ``[2 y - 1, 2 x - 1]`` peaks in its middle."""
    y, x = np.nonzero(mask)
    values, weight = residual[y, x].copy(), 1 / noise[y, x]
    cy, cx = residual.shape[0] - 1, residual.shape[1] - 1
    out = np.zeros(residual.shape)
    for _ in range(MOST):
        k = int(np.argmax(np.abs(values) * weight))
        if abs(values[k]) * weight[k] < depth:
            break
        part = GAIN * values[k]
        out[y[k], x[k]] += part
        values -= part * psf[cy + y - y[k], cx + x - x[k]]
    return out


def clean_threshold(header: Any) -> tuple[float, float]:
    """Depth of CLEAN by the header: in Jy/beam, and in units of the noise; 0 where not given.

    It is read from WSClean's keyword and options, or from the last threshold in the history (CASA and
    others).

    Parameters
    ----------
    header : astropy.io.fits.Header
    """
    history = "\n".join(str(line) for line in header.get("HISTORY", []))
    level = float(header.get("WSCTHRES", 0.0) or 0.0)
    if said := re.findall(r"threshold\s*=\s*([\d.]+)\s*([mun]?)Jy", history, re.IGNORECASE):
        number, prefix = said[-1]
        level = level or float(number) * {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}[prefix.lower()]
    sigma = [float(v) for v in re.findall(r"-auto-(?:mask|threshold)\s+([\d.]+)", history.replace("\n", ""))]
    return level, max(sigma, default=0.0)
