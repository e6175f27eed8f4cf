"""The flood fill of BLOBCAT (Hales et al. 2012) on the integrated image, and its two shipped models."""

from pathlib import Path

from faintsky.registry import DETECTORS, MODELS

DETECTORS.add("flood_fill", "faintsky.published.blobcat.find:find")
for name in ("flood_fill", "flood_fill_paper"):
    MODELS.add(name, Path(__file__).parent / name)
