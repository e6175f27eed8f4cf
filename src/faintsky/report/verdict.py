"""Text on whether a residual looks like noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.catalog import has_flag
from faintsky.preparing import autocorrelation, radial_mean, robust_sigma

if TYPE_CHECKING:
    from faintsky.detection import DetectedImage, Detections

FEW = 5
"""Fewest objects for which fractions are meaningful."""
WINGS, FAR = 1.15, 0.1
"""Limits above which a residual has wings (standard deviation over that of its core), or is correlated."""
CHANNELS = 12
"""Channels of a cube whose correlation is measured."""


def doubts(found: DetectedImage | Detections, verdict: str) -> list[str]:
    """Warnings that a result should not be used as it is."""
    table, valid = found.catalog, found.prepared.valid
    out = [f"the residual is {verdict}: limits and errors are too small"] if "not noise" in verdict else []
    if len(table) < FEW:
        return out
    negative, artefact = (has_flag(table["flags"], name) for name in ("negative", "artefact"))
    if negative.sum() > 0.5 * (~negative).sum():
        out.append("objects are negative almost as often as positive: most are artefacts")
    elif artefact.mean() > 0.5:
        out.append("most objects lie among the artefacts of bright sources")
    if found.mask is not None and found.mask.ndim == 2 and (found.mask[valid] > 0).mean() > 0.5:
        out.append("objects cover more than half of the image: its noise is uncertain")
    return out


def residual_verdict(found: DetectedImage) -> str:
    """Text on whether an image's residual is noise, and if not, why; for a large image, from a part of it."""
    found = found.sample or found
    p = found.prepared
    outside = p.valid & (found.mask == 0)
    scaled = np.where(outside, found.residual / np.where(outside, found.uncertainty, 1), 0)
    return _verdict(scaled[None], outside[None], p.beam_pixels)


def cube_verdict(found: Detections) -> str:
    """Text on whether the residual of a cube's channels is noise, and if not, why."""
    found = found.sample or found
    p = found.prepared
    left = p.line if found.model is None else p.line - p.flat(found.model)
    used = np.flatnonzero(p.sigma > 0)
    outside = np.broadcast_to(p.valid, left[used].shape)
    if found.mask is not None:
        outside = outside & (found.mask[used] == 0)
    scaled = left[used] * (1 / p.sigma[used]).astype(np.float32)[:, None, None]
    return _verdict(scaled, outside, p.beam_pixels, p.psf[len(p.psf) // 2])


def _verdict(
    scaled: NDArray[np.floating],
    outside: NDArray[np.bool_],
    beam_pixels: float,
    psf: NDArray[np.floating] | None = None,
) -> str:
    """The verdict on a residual in units of the noise, where it counts, ``[chan, y, x]``."""
    if outside.sum() < 1000:
        return "unknown: too few pixels lie outside the objects"
    reach = int(np.clip(12 * max(beam_pixels, 2.0), 8, min(scaled.shape[1:]) // 2))
    expected = np.zeros(reach + 1)
    if psf is not None:
        half = min(reach, *((n - 1) // 2 for n in psf.shape))
        y, x = (n // 2 for n in psf.shape)
        expected[: half + 1] = radial_mean(psf[y - half : y + half + 1, x - half : x + half + 1])
    seen = []
    for k in np.unique(np.linspace(0, len(scaled) - 1, CHANNELS).astype(int)):
        if outside[k].sum() > 500:
            plane = np.where(outside[k], scaled[k] - scaled[k][outside[k]].mean(), 0)
            seen.append(radial_mean(autocorrelation(plane, outside[k], reach)))
    faults = []
    # the noise of an image is correlated over its beam and slightly farther
    far = np.flatnonzero(np.abs(np.mean(seen, axis=0)) > FAR + np.abs(expected)) if seen else np.zeros(1)
    if far.max(initial=0) > 1.6 * max(beam_pixels, 1.0) + 1:
        faults.append(f"correlated over {far.max()} pixels")
    values = scaled[outside]
    wings = float(np.std(values)) / max(robust_sigma(values), 1e-9)
    if wings > WINGS:
        faults.append("with wings beyond a Gaussian's")
    return f"not noise: {', '.join(faults)}" if faults else "looks like noise"
