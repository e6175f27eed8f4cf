"""DECORAS (Rezaei et al. 2021) as built and used by Delli Veneri et al. (2022), Section 5.1."""

from faintsky.registry import DETECTORS, NETWORKS, RECIPES

NETWORKS.add("decoras", "faintsky.published.decoras.find:Decoras")
RECIPES.add("decoras", "faintsky.published.decoras.find:DecorasRecipe")
DETECTORS.add("decoras", "faintsky.published.decoras.find:find")
