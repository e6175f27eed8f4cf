"""DeepFocus (Delli Veneri et al. 2022): networks, data, training, and the six logical steps."""

from typing import TYPE_CHECKING

from faintsky.registry import CHECKS, DETECTORS, NETWORKS, RECIPES
from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.published.deepfocus.chain import beam_area, observatory_of, write_predicted
    from faintsky.published.deepfocus.finding import RULES
    from faintsky.published.deepfocus.networks import (
        WIDTHS,
        activated,
        bottleneck,
        crop_centre,
        crop_slices,
        example_image,
        flux_of,
        flux_target,
        shape_of,
        shape_targets,
        standardise,
        turned,
        unit_range,
        unit_range_1d,
    )
    from faintsky.published.deepfocus.pipeline import DeepFocus, noise_level
    from faintsky.published.deepfocus.thresholds import (
        JudgedCandidates,
        candidates_of,
        fit_thresholds,
        logistic,
        survey,
    )
    from faintsky.published.deepfocus.training import (
        BlobsFinderRecipe,
        CompactRecipe,
        FocusedImages,
        FreshImages,
        ImageSettings,
        IntegratedImages,
        Spectra,
        open_compact,
        read_images,
        read_sources,
    )

lazy(__name__)

NETWORKS.add("blobs_finder", "faintsky.published.deepfocus.networks:BlobsFinder")
NETWORKS.add("deep_gru", "faintsky.published.deepfocus.networks:DeepGru")
NETWORKS.add("shape_resnet", "faintsky.published.deepfocus.networks:ShapeResNet")
RECIPES.add("blobs_finder", "faintsky.published.deepfocus.training:BlobsFinderRecipe")
RECIPES.add("deep_gru", "faintsky.published.deepfocus.training:DeepGruRecipe")
RECIPES.add("shape_resnet", "faintsky.published.deepfocus.training:ShapeRecipe")
RECIPES.add("deepfocus", "faintsky.published.deepfocus.chain:ChainRecipe")
DETECTORS.add("deepfocus", "faintsky.published.deepfocus.pipeline:find")
CHECKS.add("deepfocus", "faintsky.published.deepfocus.pipeline:check")
