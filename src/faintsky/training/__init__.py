"""Training: `fit`, recipes, the search for hyperparameters, and the training data of our denoiser.

A network is trained by the recipe registered under its name; this room holds only that of our denoiser.
"""

from typing import TYPE_CHECKING

from faintsky.registry import RECIPES
from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.training.artefacts import (
        compact_residues,
        deconvolution_errors,
        gain_errors,
        holes,
        stripes,
    )
    from faintsky.training.denoiser import UNetRecipe, UNetSettings, importance
    from faintsky.training.diffuse_images import DiffuseImages, cut_sky, draw_sky, make_skies, open_skies
    from faintsky.training.loop import VALIDATION, Batch, EpochTask, Schedule, Task, fit, stalled
    from faintsky.training.recipes import Plan, Recipe, read_value, source
    from faintsky.training.search import (
        JOURNAL,
        LOCK,
        PRUNERS,
        SAMPLERS,
        TRIALS,
        Range,
        Study,
        combinations,
        make_space,
    )
    from faintsky.training.stored_images import (
        StoredImages,
        check_library,
        compact_files,
        primary_beam_of,
        stored_pairs,
    )

lazy(__name__)

RECIPES.add("local_unet", "faintsky.training.denoiser:UNetRecipe")
