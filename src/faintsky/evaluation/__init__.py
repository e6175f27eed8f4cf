"""What a user scores with: methods on simulated or labelled data, in tables, curves and figures.

A catalogue of a cube is matched one-to-one with the truth, a denoised image is compared with the true sky.
Everything is set beside what is possible (the Cramér–Rao bound) and beside what costs nothing (the input
itself, a constant). The room knows models and published methods, and runs them as their commands do; the
papers' own tables and figures stand in ``reproduction/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.evaluation.bounds import cramer_rao
    from faintsky.evaluation.catalogs import CatalogScorer, Scored, read_table, write_table
    from faintsky.evaluation.commands import evaluate_alma, evaluate_lofar
    from faintsky.evaluation.cubes import FolderCubes, SimulatedCubes, open_cubes
    from faintsky.evaluation.fields import Field, SimulatedFields, open_fields, simulated_sets
    from faintsky.evaluation.figures import fraction
    from faintsky.evaluation.images import ImageScorer
    from faintsky.evaluation.methods import Answer, denoisers, detectors
    from faintsky.evaluation.running import Evaluation, Method, evaluate, run_methods
    from faintsky.evaluation.tables import markdown, number, table_of, write_csv
    from faintsky.evaluation.truth import Setting, gaussian_box, prepared_truth, with_boxes

lazy(__name__)
