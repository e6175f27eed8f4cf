"""Sources of images and cubes: search, pursuit, fits, blends, objects, masks, reliability, catalogue.

Other methods are found by name in the registry.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.detection.catalogue import build_catalog
    from faintsky.detection.counts import NoisePeaks, SourceCounts, deboosted, fit_counts
    from faintsky.detection.cube import detect_cube, needs_of_bricks
    from faintsky.detection.cube_tiles import bricks_of
    from faintsky.detection.find import Detections, find_sources, needs_of_cube, needs_of_search
    from faintsky.detection.fits import (
        GroupFit,
        LineSource,
        Member,
        axes_of,
        cut_group,
        member_of,
        point_or_not,
    )
    from faintsky.detection.gaussians import fit_gaussians, images_of
    from faintsky.detection.image import DetectedImage, detect_image, needs_of_detection, needs_of_tiles
    from faintsky.detection.matched_filter import LINE_WIDTHS, SKY_SIZES, FilterBank
    from faintsky.detection.measuring import ContinuumImage, overlapping
    from faintsky.detection.methods import (
        MATCHED_FILTER,
        Found,
        beam_of,
        box_span,
        find_catalog,
        flux_width,
        for_report,
        integrated_image,
        looked_at,
        method_name,
        source_table,
        whole_pixels,
        world_columns,
    )
    from faintsky.detection.moments import moment_sums, strongest
    from faintsky.detection.objects import group_components, grown, label_mask
    from faintsky.detection.resolved import width_at
    from faintsky.detection.search import (
        COUNT_FROM,
        fit_noise_peaks,
        judge_lines,
        line_reliability,
        local_peaks,
        search_cube,
    )
    from faintsky.detection.tiles import tiles_of

lazy(__name__)
