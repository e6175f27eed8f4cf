"""Simulated observations: from sky and telescope to dirty cubes and images, psf and truth, and data sets.

It knows telescopes by their records alone, and no network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.simulating.dataset import beside, parameters_of
    from faintsky.simulating.images import UNIT_BEAM, ImageTelescope
    from faintsky.simulating.imaging import GainErrors, fit_beam
    from faintsky.simulating.instrument import Instrument, Observation, Sampling, build_instrument
    from faintsky.simulating.observatory import Observatory, Observed, open_observatory
    from faintsky.simulating.psf_library import PsfLibrary, make_library
    from faintsky.simulating.reduced import compact, read_compact
    from faintsky.simulating.settings import Settings, recorded_settings
    from faintsky.simulating.simulate import simulated, simulator
    from faintsky.simulating.truth import BOX_RULES, at_resolution

lazy(__name__)
