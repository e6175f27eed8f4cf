"""One-to-one matching of found and true sources, and the scores that rest on it.

A criterion decides which pairs of a true and a found source are *admissible*. The matching chooses the
largest possible number of admissible pairs, using each source at most once, and among such choices the one
with the smallest sum of distances (Hungarian algorithm). Every unmatched found source is a false positive,
and every unmatched true source is missed: two detections of one source are one hit and one false positive.

Boxes
    ``x_min ... y_max`` are pixels and both ends belong to the box, so its extent is ``max - min + 1``, as for
    any pixel mask. ``z_min, z_max`` are real-valued edges (the line's centre plus and minus its FWHM), so
    the extent along frequency is ``max - min``. Every overlap and every width in the package follows this.

This room knows tables with the catalogue's columns, but not their origin.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.catalog import column
    from faintsky.matching.pairing import (
        CRITERIA,
        REGION_DETECTED,
        Criterion,
        Matching,
        assign,
        box_extents,
        iou_2d,
        iou_z,
        match,
    )
    from faintsky.matching.scores import (
        Binned,
        CompletenessCurve,
        Estimate,
        Metrics,
        above,
        binned_fraction,
        completeness_at,
        fit_completeness,
        metrics,
        reliability_of,
        robust_scatter,
        snr_edges,
        summarise,
        tally,
    )

lazy(__name__)
