"""Denoised images: prediction by a network, deconvolution, regions and their catalogue.

Other methods are found by name in the registry.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.denoising.catalogue import (
        catalog_by_flux,
        measure,
        region_catalog,
        region_reliability,
        sum_error,
    )
    from faintsky.denoising.denoiser import (
        DenoiseCall,
        Denoised,
        Eye,
        compare_with_negative,
        deconvolves,
        denoise_image,
        make_denoiser,
        make_eye,
        needs_of_image,
    )
    from faintsky.denoising.dirty import Cleaned, Response, clean_bright, major_cycles
    from faintsky.denoising.filters import (
        apply_filter,
        power_spectrum,
        scale_sigmas,
        starlet_transform,
        threshold_starlets,
    )
    from faintsky.denoising.prediction import TURNS, describe_beam, estimate, predict
    from faintsky.denoising.regions import (
        FAINT,
        DenoiserSettings,
        RegionSettings,
        emission_probability,
        large_regions,
        pointed,
        relabelled,
        segment,
        smoothed,
        split_regions,
    )

lazy(__name__)
