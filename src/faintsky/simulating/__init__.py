"""Simulated observations of skies with telescopes: dirty cubes and images, psf, truth, and data sets.

This room knows telescopes only by their records, and no networks.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.simulating.casa import casa_python
    from faintsky.simulating.cubes import draw_visible
    from faintsky.simulating.dataset import beside
    from faintsky.simulating.fast import FastTelescope
    from faintsky.simulating.images import UNIT_BEAM, ImageTelescope, errors_of
    from faintsky.simulating.imaging import (
        GainErrors,
        baseline_factors,
        dirty_image,
        fit_beam,
        fit_beam_wsclean,
        gridded,
        imaging_weights,
        noise_factor,
        padded_size,
        predict_visibilities,
    )
    from faintsky.simulating.instrument import Instrument, Observation, Sampling, build_instrument
    from faintsky.simulating.observatory import Observatory, Observed, draw_observation, open_observatory
    from faintsky.simulating.psf_library import PSF_SIDE, PsfLibrary, make_library
    from faintsky.simulating.radler_clean import check_radler
    from faintsky.simulating.reduced import compact, read_compact
    from faintsky.simulating.settings import SimulationSettings, parameters_of, recorded_settings
    from faintsky.simulating.simulate import simulated, simulator
    from faintsky.simulating.truth import BOX_RULES, at_resolution, box, grid_frame, region_columns, to_sky
    from faintsky.simulating.wsclean import check_wsclean

lazy(__name__)
