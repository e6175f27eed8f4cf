"""Smoothing and clipping like SoFiA-2 (Westmeier et al. 2021), and its two shipped models."""

from pathlib import Path

from faintsky.registry import DETECTORS, MODELS

DETECTORS.add("smooth_clip", "faintsky.published.smooth_clip.find:find")
for name in ("smooth_clip", "smooth_clip_paper"):
    MODELS.add(name, Path(__file__).parent / name)
