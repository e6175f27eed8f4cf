"""DeepFocus (Delli Veneri et al. 2022): networks, data, training, and the six logical steps."""

from faintsky.registry import DETECTORS, NETWORKS, RECIPES

NETWORKS.add("blobs_finder", "faintsky.published.deepfocus.networks:BlobsFinder")
NETWORKS.add("deep_gru", "faintsky.published.deepfocus.networks:DeepGru")
NETWORKS.add("shape_resnet", "faintsky.published.deepfocus.networks:ShapeResNet")
RECIPES.add("blobs_finder", "faintsky.published.deepfocus.training:BlobsFinderRecipe")
RECIPES.add("deep_gru", "faintsky.published.deepfocus.training:DeepGruRecipe")
RECIPES.add("shape_resnet", "faintsky.published.deepfocus.training:ShapeRecipe")
RECIPES.add("deepfocus", "faintsky.published.deepfocus.chain:ChainRecipe")
DETECTORS.add("deepfocus", "faintsky.published.deepfocus.pipeline:find")
