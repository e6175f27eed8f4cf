"""True skies: lines, discs, diffuse emission, radio galaxies, the cosmic web, or the user's model.

A sky is drawn from random numbers on a grid of pixels and channels. This room knows no telescope.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.sky.diffuse import draw_diffuse, log_uniform, random_field
    from faintsky.sky.emitters import PRESETS, EmitterField, draw_lines
    from faintsky.sky.model import (
        NARROW,
        ModelFile,
        SkyModel,
        empty_sky,
        gaussian_image,
        read_model,
        shape_of_moments,
    )
    from faintsky.sky.radio_galaxies import draw_fluxes, draw_radio_galaxies
    from faintsky.sky.rotating_discs import Disc, disc_terms

lazy(__name__)
