"""The deep denoising autoencoder (DDA) of Gheller & Vazza (2021): network, data, training and use."""

from typing import TYPE_CHECKING

from faintsky.registry import CHECKS, DENOISERS, NETWORKS, RECIPES
from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.published.dda.denoise import (
        EDGES,
        LEAST_MRE,
        AutoencoderSettings,
        LogScale,
        autoencode_image,
        encode,
        stack_encodings,
    )
    from faintsky.published.dda.training import DdaRecipe, TilePairs, TileSettings, make_tiles

lazy(__name__)

NETWORKS.add("dda", "faintsky.published.dda.network:Dda")
RECIPES.add("dda", "faintsky.published.dda.training:DdaRecipe")
DENOISERS.add("dda", "faintsky.published.dda.denoise:make_denoiser")
CHECKS.add("dda", "faintsky.published.dda.denoise:check")
