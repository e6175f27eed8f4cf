"""Filters for comparison, which need no training.

Gaussian smoothing and a frequency cut are those of Gheller & Vazza (2021), Section 4.2. Our own denoiser also
uses starlets, to begin the deconvolution of a dirty image."""

import json
from pathlib import Path
from typing import Any

from faintsky.registry import FILTERS

__all__ = ["tuned_settings"]

FILTERS.add("starlet", "faintsky.denoising.filters:threshold_starlets")
FILTERS.add("gaussian", "faintsky.published.filters.filters:smooth_gaussian")
FILTERS.add("fft", "faintsky.published.filters.filters:cut_frequencies")
FILTERS.add("threshold", "faintsky.published.filters.filters:threshold")
FILTERS.add("input", "faintsky.published.filters.filters:same")
FILTERS.add("constant", "faintsky.published.filters.filters:constant")


def tuned_settings() -> dict[str, dict[str, dict[str, Any]]]:
    """Settings of each filter for each kind of image, fitted on validation fields; by filter, then kind."""
    file = Path(__file__).parent / "tuned_filters.json"
    return json.loads(file.read_text(encoding="utf-8"))
