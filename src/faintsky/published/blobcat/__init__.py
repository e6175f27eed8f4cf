"""The flood fill of BLOBCAT (Hales et al. 2012) on the integrated image, and its two shipped models."""

from pathlib import Path
from typing import TYPE_CHECKING

from faintsky.registry import DETECTORS, MODELS
from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.published.blobcat.find import flood_fill, parabola_peak

lazy(__name__)

DETECTORS.add("flood_fill", "faintsky.published.blobcat.find:find")
for folder in Path(__file__).parent.glob("flood_fill*"):
    MODELS.add(folder.name, folder)
