"""An ALMA observatory in memory: it draws skies and observes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.simulating.build import get_instrument
from faintsky.simulating.fast import FastTelescope, TermImages
from faintsky.simulating.instrument import Instrument
from faintsky.simulating.settings import AlmaSettings
from faintsky.simulating.truth import BeamResponse, primary_beam_at, truth_columns, truth_table
from faintsky.sky import Field, SkyModel, draw_lines, draw_varied, empty_sky
from faintsky.system import choose_device

if TYPE_CHECKING:
    import torch
    from astropy.table import Table

TARGET_SNR = (10.0, 50.0)
"""Range of the central source's S/N in ``paper`` and ``text`` cubes (fidelity page, S10)."""
LOWEST_PB = 0.3
"""``emitters`` are drawn where the primary beam is above this."""


@dataclass(frozen=True)
class Observed:
    """One simulated cube.

    Parameters
    ----------
    dirty : array
        ``[chan, y, x]``, float32 [Jy/beam]; NaN where the primary beam is below 0.2.
    sigma : array
        Its noise, ``[chan]`` [Jy/beam] (before a correction for the primary beam); 0 without noise, NaN where
        the channel is blank.
    truth : dict
        Columns of the truth table.
    sky : SkyModel
        What was observed.
    target_snr : float
        S/N of the central source that the noise was raised to; NaN where there is none.
    instrument : Instrument
        What it was observed with.
    """

    dirty: NDArray[np.float32]
    sigma: NDArray[np.float64]
    truth: dict[str, Any]
    sky: SkyModel
    target_snr: float
    instrument: Instrument

    def truth_table(self) -> Table:
        """The truth as an astropy table."""
        return truth_table(self.truth, {})


class AlmaObservatory:
    """Settings, instrument and telescope together: draws and observes cubes, writes nothing but the cache.

    Parameters
    ----------
    settings : AlmaSettings
        From `faintsky.simulating.settings.make_settings`.
    device : str, optional
        ``"auto"``, or a torch device.
    progress : callable, optional
        Called with a line when something takes long.
    instrument : Instrument, optional
        Instead of the cached one.
    visible : array of bool, optional
        Channels that are not blank, ``[chan]``; all where not given.
    """

    def __init__(
        self,
        settings: AlmaSettings,
        device: str = "cpu",
        progress: Callable[[str], None] | None = None,
        instrument: Instrument | None = None,
        visible: NDArray[np.bool_] | None = None,
    ) -> None:
        self.settings = settings
        self.instrument = instrument or get_instrument(settings.observation, progress)[0]
        n_chan = self.instrument.spectral.n_chan
        self.visible = np.ones(n_chan, dtype=bool) if visible is None else visible
        self.telescope = FastTelescope(self.instrument, choose_device(device))
        self._response = BeamResponse(self.instrument)

    @property
    def beam_pixels(self) -> float:
        """Geometric mean of the beam's axes in the middle channel [pixel]."""
        maj, minor, _ = self.instrument.beams[len(self.instrument.beams) // 2]
        return float(np.sqrt(maj * minor)) / self.instrument.grid.cell

    def sample(self, seed: int, index: int) -> Observed:
        """Cube ``index`` of the data set of ``seed``: depends on these two numbers and the settings only."""
        sky_seed, noise_seed = np.random.SeedSequence([seed, index]).spawn(2)
        rng = np.random.default_rng(sky_seed)
        sky = self.draw(rng)
        return self.observe(sky, rng, int(noise_seed.generate_state(1, np.uint64)[0] >> 1))

    def draw(self, rng: np.random.Generator) -> SkyModel:
        """A sky of the preset, or the user's own."""
        grid, spectral = self.instrument.grid, self.instrument.spectral
        file = self.settings.sky_file
        if file is not None:
            sky = empty_sky(grid, spectral)
            if len(file.data) == 1:
                spectra = np.ones((1, spectral.n_chan))
                return SkyModel(grid, spectral, file.data, spectra, np.zeros_like(spectra))
            return SkyModel(grid, spectral, sky.images, sky.spectra, sky.lines, cube=file.data)
        if self.settings.preset == "varied":
            noise = float(np.median(self.instrument.sigma))
            field = Field(grid, spectral, self._reach(LOWEST_PB), self.beam_pixels, noise, self.visible)
            return draw_varied(rng, field, self.settings.snr)
        return draw_lines(
            self.settings.preset,
            rng,
            grid,
            spectral,
            reach=self._reach(LOWEST_PB),
            beam=self.beam_pixels,
            snr=self.settings.snr,
        )

    def _reach(self, level: float) -> float:
        """Radius at which the primary beam falls to ``level`` at the highest frequency [pixel]."""
        from faintsky.telescopes.primary_beam import cutoff_radius

        highest = float(self.instrument.spectral.frequencies().max())
        radius = cutoff_radius(highest, self.instrument.record["array"]["diameter"], level)
        return radius / self.instrument.grid.cell_rad

    def observe(self, sky: SkyModel, rng: np.random.Generator, noise_seed: int) -> Observed:
        """The dirty cube of a sky.

        Parameters
        ----------
        sky : SkyModel
            On the instrument's grid and channels.
        rng : numpy.random.Generator
            Draws the target S/N.
        noise_seed : int
        """
        settings, telescope = self.settings, self.telescope
        thermal = self.instrument.sigma if settings.noise else np.zeros_like(self.instrument.sigma)
        terms = telescope.observe_terms(sky.images) if len(sky.images) else None
        sky = self._with_snr(sky, terms)
        dirty = telescope.dirty(sky, terms)
        target, extra = self._extra_noise(sky, dirty, rng)
        sigma = np.sqrt(thermal**2 + extra**2)
        image, instrument = self.receive(sky, dirty, extra, noise_seed)
        image[~self.visible] = np.nan
        reference = np.where(self.visible, sigma if settings.noise else self.instrument.sigma, np.nan)
        return Observed(
            dirty=image,
            sigma=np.where(self.visible, sigma, np.nan),
            truth=self._truth(sky, terms, reference),
            sky=sky,
            target_snr=target,
            instrument=instrument,
        )

    def receive(
        self, sky: SkyModel, clean: torch.Tensor, extra: float, noise_seed: int
    ) -> tuple[NDArray[np.float32], Instrument]:
        """The dirty cube with noise and blanks, corrected for the primary beam where that is wanted.

        Parameters
        ----------
        sky : SkyModel
        clean : tensor
            Its noise-free dirty cube, ``[chan, y, x]`` [Jy/beam]; overwritten.
        extra : float
            Noise besides the thermal one [Jy/beam].
        noise_seed : int

        Returns
        -------
        dirty : array
            ``[chan, y, x]``, float32 [Jy/beam]
        instrument : Instrument
            What it was observed with.
        """
        settings, telescope, thermal = self.settings, self.telescope, self.instrument.sigma
        if settings.noise:
            generator = telescope.generator(noise_seed)
            white = settings.extra_noise == "white"
            sigma = thermal if white else np.sqrt(thermal**2 + extra**2)
            telescope.add_noise(clean, sigma, generator)
            if white and extra > 0:
                telescope.add_white_noise(clean, np.full(thermal.shape, extra), generator)
        if settings.pbcor:
            telescope.correct_pb(clean)
        return telescope.blank(clean).cpu().numpy(), self.instrument

    def _with_snr(self, sky: SkyModel, terms: TermImages | None) -> SkyModel:
        """Scale the sources that are to have a certain matched S/N in the thermal noise."""
        wanted = np.asarray(sky.sources["wanted_snr"]) if sky.sources else np.zeros(0)
        if not np.isfinite(wanted).any():
            return sky
        s = sky.sources
        pb = primary_beam_at(self.instrument, s["x"], s["y"], s["z"])
        sigma = np.where(self.visible, self.instrument.sigma, np.inf)
        shapes = zip(s["fwhm_maj"], s["fwhm_min"], s["pa"], strict=True)
        now = [self._response.snr(sky.line_of(i) * pb[i], sigma, *shape) for i, shape in enumerate(shapes)]
        for i, (snr, _) in self._rotating(sky, terms, sigma).items():
            now[i] = snr
        factors = np.where(np.isfinite(wanted), wanted / np.array(now), 1.0)
        if "source" in s:  # further lines of a source go with its first
            factors = factors[np.searchsorted(s["source"], s["source"])]
        return sky.scaled(factors)

    def _rotating(
        self, sky: SkyModel, terms: TermImages | None, sigma: NDArray[np.float64]
    ) -> dict[int, tuple[float, float]]:
        """Matched S/N and dirty peak of the sources that are rotating discs, by their number."""
        if terms is None or "rotating" not in sky.sources:
            return {}
        turning = np.nonzero(sky.sources["rotating"])[0]
        return {int(i): self.telescope.own_response(sky, terms, int(i), sigma) for i in turning}

    def _extra_noise(
        self, sky: SkyModel, dirty: torch.Tensor, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Target S/N of the central source and the noise to add for it, alike in all channels [Jy/beam]."""
        central = np.nonzero(sky.sources["central"])[0] if sky.sources else np.zeros(0, dtype=int)
        if central.size == 0 or not self.settings.noise:
            return float("nan"), 0.0
        target = float(rng.uniform(*TARGET_SNR)) if self.settings.snr is None else self.settings.snr
        i = int(central[0])
        y, x = round(float(sky.sources["y"][i])), round(float(sky.sources["x"][i]))
        c = int(np.clip(round(float(sky.sources["z"][i])), 0, sky.spectral.n_chan - 1))
        peak = float(dirty[c, y, x])
        extra = (peak / target) ** 2 - float(self.instrument.sigma[c]) ** 2
        return target, float(np.sqrt(max(extra, 0.0)))

    def _truth(self, sky: SkyModel, terms: TermImages | None, sigma: NDArray[np.float64]) -> dict[str, Any]:
        continuum = np.zeros(sky.n_sources)
        if terms is not None:
            flat = sky.spectra - sky.lines
            seen = SkyModel(sky.grid, sky.spectral, sky.images, flat, sky.lines)
            for i in range(sky.n_sources):
                y, x, z = (float(sky.sources[k][i]) for k in ("y", "x", "z"))
                iy, ix = (
                    int(np.clip(round(v), 0, n - 1)) for v, n in zip((y, x), sky.grid.shape, strict=True)
                )
                spectrum = self.telescope.spectrum_at(seen, terms, iy, ix).sum(axis=0)
                continuum[i] = np.interp(z, np.arange(spectrum.size), spectrum)
        return truth_columns(
            sky,
            self.instrument,
            sigma,
            continuum,
            self.settings.rest_frequency,
            self.settings.box_rule,
            self._response,
            self._rotating(sky, terms, np.where(np.isfinite(sigma), sigma, np.inf)),
        )
