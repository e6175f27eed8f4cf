"""A LOFAR observatory in memory: it draws skies and observes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.simulating.gain_errors import GainErrors
from faintsky.simulating.lofar_build import LofarObservation
from faintsky.simulating.lofar_settings import LofarSettings
from faintsky.simulating.lofar_telescope import Array32, LofarTelescope
from faintsky.simulating.sky_regions import region_columns
from faintsky.sky import draw_diffuse, draw_radio_galaxies
from faintsky.sky.web import draw_web, open_web
from faintsky.sky.web.boxes import INDEX
from faintsky.sky.web.shocks import FREQUENCY
from faintsky.system import choose_device
from faintsky.telescopes.primary_beam import CUTOFF

UNIT_BEAM = np.pi / (4 * np.log(2)) * 6.0**2
"""Area of a beam of 6 arcsec [arcsec2]: noise images have the rms asked for in such a beam, in each pixel."""


@dataclass(frozen=True)
class LofarObserved:
    """One simulated field.

    Parameters
    ----------
    sky : array
        What is there, ``[y, x]`` [Jy/arcsec2].
    noisy : array
        The sky with white noise, ``[y, x]`` [Jy/arcsec2].
    dirty, clean : array
        ``[y, x]`` [Jy/beam]; empty where they were not asked for.
    truth : dict
        Columns of the truth table.
    telescope : LofarTelescope
        What it was observed with.
    beam : array
        Of the images, ``[3]``: major, minor [arcsec], position angle [deg].
    errors : GainErrors
        What calibration left.
    """

    sky: Array32
    noisy: Array32
    dirty: Array32
    clean: Array32
    truth: dict[str, Any]
    telescope: LofarTelescope
    beam: NDArray[np.float64]
    errors: GainErrors


def seeds_of(seed: int, index: int) -> list[np.random.SeedSequence]:
    """Of a field's observation, sky, visibilities' noise, pixels' noise, and gain errors."""
    return np.random.SeedSequence([seed, index]).spawn(5)


def add_white_noise(sky: Array32, sigma: float, seed: int, index: int) -> Array32:
    """The noise image of field ``index`` of the data set of ``seed``; sky and noise in Jy/arcsec2."""
    rng = np.random.default_rng(seeds_of(seed, index)[3])
    return sky + np.float32(sigma) * rng.standard_normal(sky.shape, dtype=np.float32)


class LofarObservatory:
    """Settings and telescope together: draws and observes fields, writes nothing but the cache.

    Parameters
    ----------
    settings : LofarSettings
        From `faintsky.simulating.lofar_settings.make_lofar_settings`.
    device : str, optional
        ``"auto"``, or a torch device; the quick way only.
    progress : callable, optional
        Called with a line when something takes long.
    """

    def __init__(
        self, settings: LofarSettings, device: str = "cpu", progress: Callable[[str], None] | None = None
    ) -> None:
        self.settings = settings
        self._device = choose_device(device) if settings.quick else "cpu"
        self.telescope = None
        self._web = open_web(settings.web, settings.field, progress) if settings.web else None
        if not settings.drawn:
            self.telescope = self._open(settings.observation, True, progress)

    def _open(
        self,
        observation: LofarObservation,
        keep: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> LofarTelescope:
        kind = LofarTelescope
        if self.settings.backend == "wsclean":
            from faintsky.simulating.wsclean import WscleanTelescope

            kind = WscleanTelescope
        return kind(observation, self.settings.quick, self._device, keep, progress)

    def sample(self, seed: int, index: int) -> LofarObserved:
        """Field ``index`` of the data set of ``seed``: depends on these two numbers and the settings only."""
        settings = self.settings
        observing, drawing, receiving, _, calibrating = seeds_of(seed, index)
        telescope = self.telescope
        if telescope is None:
            telescope = self._open(settings.observation_of(np.random.default_rng(observing)))
        sky = self.draw(np.random.default_rng(drawing), telescope.observation)
        noisy, dirty = sky, np.zeros((0, 0), dtype=np.float32)
        if settings.noise:
            noisy = add_white_noise(sky, settings.rms / UNIT_BEAM, seed, index)
        size, course = calibrating.spawn(2)
        errors, clean, beam = settings.errors_of(np.random.default_rng(size)), dirty, telescope.beam
        if {"dirty", "clean", "compact"} & set(settings.products):
            gains = telescope.gains(errors, course)
            rms = settings.rms if settings.noise else 0.0
            seen = telescope.observe(sky, rms, receiving, gains, "clean" in settings.products)
            dirty, beam = self._corrected(seen.dirty, telescope), seen.beam
            if seen.clean is not None:
                clean = self._corrected(seen.clean, telescope)
        grid = telescope.instrument.grid
        truth = region_columns(sky, telescope.pb, telescope.beam, settings.rms, grid)
        return LofarObserved(sky, noisy, dirty, clean, truth, telescope, beam, errors)

    def _corrected(self, image: Array32, telescope: LofarTelescope) -> Array32:
        if not self.settings.pbcor:
            return image
        return np.where(telescope.pb >= CUTOFF, image / telescope.pb, np.float32(np.nan))

    def draw(self, rng: np.random.Generator, observation: LofarObservation) -> Array32:
        """A sky of the preset, or the user's own, ``[y, x]`` [Jy/arcsec2]."""
        grid = observation.grid
        area = np.float32(grid.cell**2)
        if self.settings.sky_file is not None:
            return self.settings.sky_file.data[0] / area
        if self._web is not None:
            sky = draw_web(self._web, rng, grid.n_x, grid.cell, self.settings.field)
            sky *= np.float32((observation.freq / FREQUENCY) ** -INDEX)
        else:
            sky = draw_diffuse(rng, grid.shape, grid.cell)
        if self.settings.preset != "paper":
            sky = sky + draw_radio_galaxies(rng, grid.shape, grid.cell, freq=observation.freq) / area
        return sky.astype(np.float32)
