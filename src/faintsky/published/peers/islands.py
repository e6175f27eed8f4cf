"""Islands of an image by PyBDSF or Aegean, as regions that are scored like those of a denoiser.

Both are told the true noise, and to subtract no background, which would take diffuse emission with it. They
see the image itself, or smoothed with a Gaussian, as one does by hand to bring out extended emission.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, maximum

from faintsky.denoising.catalogue import sum_error
from faintsky.evaluation.fields import Field
from faintsky.evaluation.segments import SNR_CUTS, Segments
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.published.peers.find import run_islands

Array32 = NDArray[np.float32]

PROGRAMS = ("pybdsf", "aegean")


def tuned_islands(program: str, white: bool) -> dict[str, Any]:
    """Settings of a program for images with or without a beam, found by ``benchmarks/tune_islands.py``."""
    text = (Path(__file__).parent / "tuned_islands.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)[program]["white" if white else "correlated"]
    return found


def find_islands(field: Field, program: str, settings: Mapping[str, Any] | None = None) -> Segments:
    """Islands of a field, scored by their peak S/N in the image that is searched.

    Parameters
    ----------
    field : Field
    program : {"pybdsf", "aegean"}
    settings : mapping, optional
        ``smooth`` (FWHM over that of the beam), ``seed`` and ``grow`` (S/N of an island's peak and of its
        pixels), and for PyBDSF ``wavelets``; the tuned ones where not given.

    Raises
    ------
    InputError, FaintskyError
        See `faintsky.published.peers.find.run_program`.
    """
    s = tuned_islands(program, field.correlation is None) if settings is None else settings
    image, rms, beam = searched_image(field, float(s["smooth"]))
    labels = run_islands(program, image, field.image.grid.cell, beam, options_of(program, s, rms))
    return scored(labels, field, image / rms)


def searched_image(field: Field, smooth: float) -> tuple[Array32, float, tuple[float, float, float]]:
    """What is searched, over the field's rms; the rms of that; its beam (FWHMs [pixel], angle [deg])."""
    data = np.asarray(field.image.data / field.rms, dtype=np.float32)
    beam = (field.width, field.width, 0.0)
    if field.correlation is not None:
        field.image.require_beam()
        assert field.image.pixel_beams is not None
        major, minor, pa = (float(v) for v in field.image.pixel_beams[0])
        beam = (major, minor, pa)
    if not smooth:
        return data, 1.0, beam
    fwhm = smooth * field.width
    half = int(np.ceil(1.5 * fwhm))
    spot = np.zeros((2 * half + 1, 2 * half + 1))
    spot[half, half] = 1
    kernel = gaussian_filter(spot, fwhm / FWHM_PER_SIGMA)
    wide = (float(np.hypot(beam[0], fwhm)), float(np.hypot(beam[1], fwhm)), beam[2])
    rms = sum_error(kernel, correlation_of(field))
    return gaussian_filter(np.nan_to_num(data), fwhm / FWHM_PER_SIGMA), rms, wide


def correlation_of(field: Field) -> NDArray[np.float64]:
    """Of the field's noise, by separation."""
    return np.ones((1, 1)) if field.correlation is None else np.asarray(field.correlation, dtype=float)


def options_of(program: str, s: Mapping[str, Any], rms: float) -> dict[str, Any]:
    """A program's own names for the settings."""
    if program == "aegean":
        return {"innerclip": s["seed"], "outerclip": s["grow"], "rms": rms, "bkg": 0.0}
    return {
        "thresh": "hard", "thresh_pix": s["seed"], "thresh_isl": s["grow"], "rms_map": False,
        "rms_value": rms, "mean_map": "zero", "atrous_do": bool(s["wavelets"]),
    }  # fmt: skip


def scored(labels: NDArray[np.integer], field: Field, searched: NDArray[np.floating]) -> Segments:
    """Islands with their peak S/N, and flux (of the image over its rms) with its S/N."""
    n = int(labels.max())
    data, kernel = np.nan_to_num(field.image.data / field.rms), correlation_of(field)
    peak = np.asarray(maximum(np.nan_to_num(searched), labels, np.arange(1, n + 1)), dtype=float)
    flux = np.bincount(labels.ravel(), data.ravel(), n + 1)[1:].astype(float)
    noise = [sum_error(labels[b] == k, kernel) for k, b in enumerate(find_objects(labels), 1) if b]
    return Segments(labels, peak, -np.inf, SNR_CUTS, flux=flux, snr=flux / np.array(noise).reshape(n))
