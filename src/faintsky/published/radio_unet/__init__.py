"""Radio U-Net (Stuardi et al. 2024, MNRAS 533, 3194): which pixels of a radio image show diffuse emission."""

from typing import TYPE_CHECKING

from faintsky.registry import DENOISERS, NETWORKS, RECIPES
from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.published.radio_unet.segment import SegmentSettings, probability, segment_image
    from faintsky.published.radio_unet.training import SegmentTask, SegmentTaskSettings

lazy(__name__)

NETWORKS.add("radio_unet", "faintsky.published.radio_unet.network:RadioUNet")
RECIPES.add("radio_unet", "faintsky.published.radio_unet.training:RadioUNetRecipe")
DENOISERS.add("radio_unet", "faintsky.published.radio_unet.segment:make_denoiser")
