"""Preparation of data for all methods: noise, background, continuum, psf, primary beam, kind of the data.

It knows data in memory and telescopes, but no network and none of the methods.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.preparing.channels import ChannelCorrelation, channel_correlation, precision
    from faintsky.preparing.cleaning import clean_further, clean_threshold
    from faintsky.preparing.continuum import (
        Continuum,
        LineFree,
        continuum_present,
        curvature,
        find_strong_lines,
        fit_continuum,
        left_out,
        one,
        upsampled,
    )
    from faintsky.preparing.correlation import NoiseCorrelation, noise_correlation_of
    from faintsky.preparing.cube import PreparedCube, prepare_cube, subtract_continuum
    from faintsky.preparing.image import Plane, PreparedImage, prepare_image, surface_brightness
    from faintsky.preparing.kind import (
        Kind,
        Surroundings,
        kind_by_sources,
        kind_of_image,
        said_kind,
        sidelobe_noise,
    )
    from faintsky.preparing.noise import (
        MAD_TO_SIGMA,
        background_map,
        channel_rms,
        core_sigma,
        noise_map,
        peak_over_scatter,
        relative_noise_map,
        robust_sigma,
        scatter_map,
    )
    from faintsky.preparing.primary_beam import PrimaryBeam
    from faintsky.preparing.psf import (
        LEAST_CHANNELS,
        autocorrelation,
        beam_from_noise,
        convolve,
        fitted_beam,
        gaussian_psf,
        noise_correlation,
        psf_from_noise,
        radial_mean,
    )

lazy(__name__)
