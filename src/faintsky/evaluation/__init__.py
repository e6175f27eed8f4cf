"""Scores of methods on simulated or labelled data, in tables, curves and figures.

A catalogue of a cube is matched one-to-one with the truth, and a denoised image is compared with the true
sky. Results are compared with the Cramér–Rao bound, and with trivial methods (the input itself, a constant).
This room knows models and published methods, and runs them as their commands do. The papers' own tables and
figures are in ``reproduction/``.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.evaluation.bounds import (
        PARAMETERS,
        TrueLine,
        bounds_from_fisher,
        cramer_rao,
        fisher_information,
        spatial_derivatives,
        spectral_derivatives,
    )
    from faintsky.evaluation.catalogs import (
        CatalogScorer,
        Scored,
        pair_residuals,
        summarise_residuals,
        write_table,
    )
    from faintsky.evaluation.commands import evaluate_alma, evaluate_lofar
    from faintsky.evaluation.figures import fraction
    from faintsky.evaluation.image_metrics import (
        PIXEL_EDGES,
        SEGMENT_COLUMNS,
        SEGMENT_QUANTITIES,
        Segments,
        draw_apertures,
        operating_curve,
        over_fields,
        pixel_sums,
        pull_sums,
        ratio_statistic,
        region_fluxes,
        segment_statistic,
        segment_sums,
        segments_of,
        true_regions,
    )
    from faintsky.evaluation.images import ImageScorer, gain
    from faintsky.evaluation.methods import Answer, denoisers, detectors, program_islands, scored_islands
    from faintsky.evaluation.running import (
        Method,
        Scores,
        evaluate,
        markdown,
        measured_cost,
        number_text,
        pending,
        run_methods,
        table_of,
        with_error,
        write_csv,
    )
    from faintsky.evaluation.sets import (
        Field,
        FolderCubes,
        SimulatedCubes,
        SimulatedFields,
        open_cubes,
        open_fields,
        simulated_sets,
    )
    from faintsky.evaluation.truth import (
        Setting,
        gaussian_box,
        judged_boxes,
        neighbour_groups,
        noise_of,
        prepared_truth,
        with_boxes,
    )

lazy(__name__)
