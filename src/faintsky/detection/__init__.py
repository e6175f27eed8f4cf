"""Sources of cubes: search, pursuit, fits, blends, objects, masks, reliability, catalogue.

Other methods than ours are found by name in the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.detection.find import Detections, find_sources, needs_of_cube, needs_of_search, settle
    from faintsky.detection.fits import LineSource, axes_of, fit_source
    from faintsky.detection.methods import (
        Found,
        beam_of,
        box_span,
        channel_velocity,
        find_catalog,
        for_report,
        integrated_image,
        looked_at,
        source_table,
        whole_pixels,
        world_columns,
    )
    from faintsky.detection.search import NoisePeaks, fit_noise_peaks, list_reliability, search_cube

lazy(__name__)
