"""A LOFAR observatory in memory: it draws skies and observes them.

Dirty images are made of visibilities: predicted from the sky times the primary beam, noise added, gridded and
transformed back, all with the w term. ``quick`` ones are the sky times the beam convolved with the psf of
w = 0, by FFT in torch, with noise drawn in the uv plane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.device import choose_device
from faintsky.observing.instrument import Instrument
from faintsky.observing.lofar_build import LofarObservation, Sampling, build_lofar, lofar_instrument
from faintsky.observing.lofar_settings import LofarSettings
from faintsky.observing.sky_regions import region_columns
from faintsky.observing.visibilities import predict
from faintsky.sky.diffuse import draw_diffuse
from faintsky.sky.radio_galaxies import draw_radio_galaxies
from faintsky.telescope.primary_beam import CUTOFF

Array32 = NDArray[np.float32]

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
    dirty : array
        ``[y, x]`` [Jy/beam]
    truth : dict
        Columns of the truth table.
    telescope : LofarTelescope
        What it was observed with.
    """

    sky: Array32
    noisy: Array32
    dirty: Array32
    truth: dict[str, Any]
    telescope: LofarTelescope


class LofarTelescope:
    """One observation, ready to look at skies.

    Parameters
    ----------
    observation : LofarObservation
    quick : bool, optional
    device : str, optional
        Of the quick way.
    keep : bool, optional
        Keep the instrument in the cache.
    progress : callable, optional
        Called with a line when something takes long.
    """

    def __init__(
        self,
        observation: LofarObservation,
        quick: bool = False,
        device: str = "cpu",
        keep: bool = True,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.observation, self.quick, self._device = observation, quick, device
        if keep:
            self.instrument = lofar_instrument(observation, lambda: self.sampling, progress)
        else:
            self.instrument = build_lofar(observation, self.sampling)

    instrument: Instrument

    @cached_property
    def sampling(self) -> Sampling:
        """Baselines and weights."""
        return Sampling(self.observation)

    @cached_property
    def _fast(self) -> Any:
        from faintsky.observing.fast import FastTelescope

        return FastTelescope(self.instrument, self._device)

    @property
    def pb(self) -> Array32:
        """Primary beam, ``[y, x]``."""
        return self.instrument.pb[0]

    def psf(self) -> Array32:
        """Dirty beam, 1 on the phase centre's pixel, ``[y, x]``."""
        if self.quick:
            return self.instrument.psf_nodes_at_image()[0]
        grid = self.instrument.grid
        return self.sampling.psf(replace(grid, x0=float(round(grid.x0)), y0=float(round(grid.y0))))

    def dirty(self, sky: Array32, rms: float, seed: np.random.SeedSequence) -> Array32:
        """Dirty image of a sky.

        Parameters
        ----------
        sky : array
            ``[y, x]`` [Jy/arcsec2]
        rms : float
            Noise [Jy/beam]; 0 for none.
        seed : numpy.random.SeedSequence
            Of the noise.

        Returns
        -------
        array
            ``[y, x]`` [Jy/beam]
        """
        grid = self.instrument.grid
        model = sky * np.float32(grid.cell**2)
        if self.quick:
            return self._quick(model, rms, int(seed.generate_state(1, np.uint64)[0] >> 1))
        vis = predict(model * self.pb, self.sampling.track.uvw, self.observation.freq, grid)
        if rms > 0:
            sigma = np.float32(rms / self.instrument.sigma[0])
            pairs = np.random.default_rng(seed).standard_normal((vis.size, 2), dtype=np.float32)
            vis += sigma * pairs.view(np.complex64)[:, 0]
        return self.sampling.image(vis)

    def _quick(self, model: Array32, rms: float, seed: int) -> Array32:
        seen = self._fast.observe_terms(model[None]).images[0]
        if rms > 0:
            self._fast.add_noise(seen, np.array([rms]), self._fast.generator(seed))
        return seen[0].cpu().numpy()


class LofarObservatory:
    """Settings and telescope together: draws and observes fields, writes nothing but the cache.

    Parameters
    ----------
    settings : LofarSettings
        From `faintsky.observing.lofar_settings.make_lofar_settings`.
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
        if not settings.drawn:
            self.telescope = LofarTelescope(
                settings.observation, settings.quick, self._device, progress=progress
            )

    def sample(self, seed: int, index: int) -> LofarObserved:
        """Field ``index`` of the data set of ``seed``: depends on these two numbers and the settings only."""
        settings = self.settings
        observing, drawing, receiving, pixels = np.random.SeedSequence([seed, index]).spawn(4)
        telescope = self.telescope
        if telescope is None:
            one = settings.observation_of(np.random.default_rng(observing))
            telescope = LofarTelescope(one, settings.quick, self._device, keep=False)
        sky = self.draw(np.random.default_rng(drawing), telescope.observation)
        noisy, dirty = sky, np.zeros((0, 0), dtype=np.float32)
        if settings.noise:
            white = np.random.default_rng(pixels).standard_normal(sky.shape, dtype=np.float32)
            noisy = sky + np.float32(settings.rms / UNIT_BEAM) * white
        if "dirty" in settings.products:
            dirty = telescope.dirty(sky, settings.rms if settings.noise else 0.0, receiving)
            if settings.pbcor:
                dirty = np.where(telescope.pb >= CUTOFF, dirty / telescope.pb, np.float32(np.nan))
        grid, beam = telescope.instrument.grid, telescope.instrument.beams[0]
        truth = region_columns(sky, telescope.pb, beam, settings.rms, grid)
        return LofarObserved(sky, noisy, dirty, truth, telescope)

    def draw(self, rng: np.random.Generator, observation: LofarObservation) -> Array32:
        """A sky of the preset, or the user's own, ``[y, x]`` [Jy/arcsec2]."""
        grid = observation.grid
        area = np.float32(grid.cell**2)
        if self.settings.sky_file is not None:
            return self.settings.sky_file.data[0] / area
        sky = draw_diffuse(rng, grid.shape, grid.cell)
        if self.settings.preset != "paper":
            sky = sky + draw_radio_galaxies(rng, grid.shape, grid.cell, freq=observation.freq) / area
        return sky.astype(np.float32)
