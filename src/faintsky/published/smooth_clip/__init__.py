"""Smoothing and clipping like SoFiA-2 (Westmeier et al. 2021), and its shipped models."""

from pathlib import Path
from typing import TYPE_CHECKING

from faintsky.registry import DETECTORS, MODELS
from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.published.smooth_clip.clipping import (
        Objects,
        link,
        measure_objects,
        negative_rms,
        smooth_clip,
    )
    from faintsky.published.smooth_clip.find import Scaled, scaled_cube, search

lazy(__name__)

DETECTORS.add("smooth_clip", "faintsky.published.smooth_clip.find:find")
for folder in Path(__file__).parent.glob("smooth_clip*"):
    MODELS.add(folder.name, folder)
