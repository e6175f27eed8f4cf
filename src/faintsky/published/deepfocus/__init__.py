"""DeepFocus (Delli Veneri et al. 2022): networks, data, training, and the six logical steps."""

from faintsky.registry import DETECTORS, NETWORKS

NETWORKS.add("blobs_finder", "faintsky.published.deepfocus.networks:BlobsFinder")
NETWORKS.add("deep_gru", "faintsky.published.deepfocus.networks:DeepGru")
NETWORKS.add("shape_resnet", "faintsky.published.deepfocus.networks:ShapeResNet")
DETECTORS.add("deepfocus", "faintsky.published.deepfocus.find:find")
