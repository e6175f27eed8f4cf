"""Spectral cubes: skies of lines, observed by FFT with thermal noise, and their truth."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from faintsky.arrays import Array32, Bool, Float
from faintsky.simulating.fast import FastTelescope, TermImages
from faintsky.simulating.instrument import Instrument, Observation, build_instrument, get_instrument
from faintsky.simulating.observatory import Observatory, Observed, seeds_of
from faintsky.simulating.truth import BeamResponse, truth_columns
from faintsky.sky import EmitterField, SkyModel, draw_lines, empty_sky
from faintsky.system import choose_device

TARGET_SNR = (10.0, 50.0)
"""Range of the central source's S/N in ``paper`` and ``text`` cubes (fidelity page, S10)."""
LOWEST_PB = 0.3
"""Least primary beam at sources of ``emitters`` and ``varied``."""
BLANK = 0.2
"""Fraction of ``varied`` cubes with blank channels."""


class CubeObservatory(Observatory):
    """Draws and observes cubes; see `Observatory` for the arguments.

    Attributes
    ----------
    telescope : FastTelescope
        The instrument, ready to observe.
    visible : array of bool
        Channels that are not blank, ``[chan]``.
    """

    instrument: Instrument
    _drawing = 2

    def _open(self, observation: Observation, keep: bool, rng: np.random.Generator | None = None) -> None:
        self.observation = observation
        self.instrument = (
            get_instrument(observation, self._progress) if keep else build_instrument(observation)
        )
        n_chan = observation.spectral.n_chan
        self.visible = np.ones(n_chan, dtype=bool) if rng is None else draw_visible(rng, n_chan)
        self.telescope = FastTelescope(self.instrument, choose_device(self.device))
        self._response = BeamResponse(self.instrument)

    def _sample(self, seed: int, index: int) -> Observed:
        sky_seed, noise_seed, *_ = seeds_of(seed, index)
        rng = np.random.default_rng(sky_seed)
        sky = self.draw(rng)
        return self.observe(sky, rng, int(noise_seed.generate_state(1, np.uint64)[0] >> 1))

    def psf(self) -> Array32:
        """The psf of all cubes, ``[chan, y, x]``."""
        return self.instrument.psf_cube()

    def draw(self, rng: np.random.Generator) -> SkyModel:
        """A sky of the preset, or the user's own."""
        settings, instrument = self.settings, self.instrument
        grid, spectral = instrument.grid, instrument.spectral
        file = settings.sky_file
        if file is not None:
            sky = empty_sky(grid, spectral)
            if len(file.data) == 1:
                spectra = np.ones((1, spectral.n_chan))
                return replace(sky, images=file.data, spectra=spectra, lines=np.zeros_like(spectra))
            return replace(sky, cube=file.data)
        noise, reach = float(np.median(instrument.sigma)), instrument.reach(LOWEST_PB)
        field = EmitterField(grid, spectral, reach, instrument.beam_pixels, noise, self.visible)
        return draw_lines(settings.preset_record.sky, rng, field, settings.snr)

    def observe(self, sky: SkyModel, rng: np.random.Generator, noise_seed: int) -> Observed:
        """Observe a sky.

        Parameters
        ----------
        sky : SkyModel
            On the instrument's grid and channels.
        rng : numpy.random.Generator
            Draws the target S/N.
        noise_seed : int
            Seed of the noise.

        Returns
        -------
        Observed
        """
        settings, telescope, thermal = self.settings, self.telescope, self.instrument.sigma
        terms = telescope.observe_terms(sky.images) if len(sky.images) else None
        sky = self._with_snr(sky, terms)
        dirty = telescope.dirty(sky, terms)
        target, extra = self._extra_noise(sky, lambda *at: float(dirty[at]), rng)
        sigma = np.sqrt(thermal**2 * settings.noise + extra**2)
        image, instrument = self.receive(sky, dirty, extra, noise_seed)
        image[~self.visible] = np.nan
        reference = np.where(self.visible, sigma if settings.noise else thermal, np.nan)
        return Observed(
            dirty=image, sigma=np.where(self.visible, sigma, np.nan), sky=sky, target_snr=target,
            truth=self._truth(sky, terms, reference), instrument=instrument, beams=instrument.beams,
            psf=instrument.psf_cube,
        )  # fmt: skip

    def observe_integrated(
        self, sky: SkyModel, rng: np.random.Generator, noise_seed: int
    ) -> tuple[Array32, Array32]:
        """The sum over channels of what `observe` gives, without making the cube, in a twentieth of the time.

        The noise has the same power, but is not the same realisation. Images are not corrected for the
        primary beam.

        Parameters
        ----------
        sky, rng, noise_seed
            See `observe`.

        Returns
        -------
        dirty : array
            ``[y, x]`` [Jy/beam]; NaN where all channels are blank. Where only some are blank, near the
            border, it is the sum of all channels.
        true : array
            The sky, ``[y, x]`` [Jy/pixel].
        """
        settings, telescope, instrument = self.settings, self.telescope, self.instrument
        terms = telescope.observe_terms(sky.images) if "rotating" in sky.sources else None
        sky = self._with_snr(sky, terms)
        _, extra = self._extra_noise(sky, lambda *at: telescope.voxel(sky, *at), rng)
        image = telescope.summed(sky, self.visible.astype(float))
        if settings.noise:
            generator, white = telescope.generator(noise_seed), settings.extra_noise == "white"
            own = np.sqrt(instrument.sigma**2 + (0.0 if white else extra**2))
            sigma = np.where(self.visible, own, 0.0)
            telescope.add_summed_noise(image, sigma, generator)
            if white and extra > 0:
                several = extra * float(np.sqrt(self.visible.sum()))
                telescope.add_white_noise(image[None], several, generator)
        out = image.cpu().numpy()
        lowest = instrument.spectral.frequencies()[self.visible].min()
        out[instrument.grid.radius() * lowest >= instrument.pb_cutoff] = np.nan
        return out, sky.integrated()

    def receive(
        self, sky: SkyModel, clean: torch.Tensor, extra: float, noise_seed: int
    ) -> tuple[Array32, Instrument]:
        """The dirty cube with noise and blanks, corrected for the primary beam if requested.

        Parameters
        ----------
        sky : SkyModel
            The sky.
        clean : tensor
            Its noise-free dirty cube, ``[chan, y, x]`` [Jy/beam]; it is overwritten.
        extra : float
            Noise added to the thermal noise [Jy/beam].
        noise_seed : int
            Seed of the noise.

        Returns
        -------
        dirty : array
            ``[chan, y, x]``, float32 [Jy/beam]
        instrument : Instrument
            The instrument of this cube.
        """
        settings, telescope, thermal = self.settings, self.telescope, self.instrument.sigma
        if settings.noise:
            generator = telescope.generator(noise_seed)
            white = settings.extra_noise == "white"
            telescope.add_noise(clean, thermal if white else np.sqrt(thermal**2 + extra**2), generator)
            if white and extra > 0:
                telescope.add_white_noise(clean, extra, generator)
        if settings.pbcor:
            telescope.correct_pb(clean)
        return telescope.blank(clean).cpu().numpy(), self.instrument

    def _with_snr(self, sky: SkyModel, terms: TermImages | None) -> SkyModel:
        """Scale the sources that have a target matched S/N in the thermal noise."""
        s = sky.sources
        wanted = np.asarray(s["wanted_snr"]) if s else np.zeros(0)
        if not np.isfinite(wanted).any():
            return sky
        pb = self.instrument.primary_beam_at(s["x"], s["y"], s["z"])
        sigma = np.where(self.visible, self.instrument.sigma, np.inf)
        shapes = zip(s["fwhm_maj"], s["fwhm_min"], s["pa"], strict=True)
        now = [self._response.snr(sky.line_of(i) * pb[i], sigma, *shape) for i, shape in enumerate(shapes)]
        for i, (snr, _) in self._rotating(sky, terms, sigma).items():
            now[i] = snr
        factors = np.where(np.isfinite(wanted), wanted / np.array(now), 1.0)
        if "source" in s:  # further lines of a source are scaled with its first
            factors = factors[np.searchsorted(s["source"], s["source"])]
        return sky.scaled(factors)

    def _rotating(
        self, sky: SkyModel, terms: TermImages | None, sigma: Float
    ) -> dict[int, tuple[float, float]]:
        """Matched S/N and dirty peak of the rotating discs, by number of the source."""
        if terms is None or "rotating" not in sky.sources:
            return {}
        turning = np.nonzero(sky.sources["rotating"])[0]
        return {int(i): self.telescope.own_response(sky, terms, int(i), sigma) for i in turning}

    def _extra_noise(
        self, sky: SkyModel, voxel: Callable[[int, int, int], float], rng: np.random.Generator
    ) -> tuple[float, float]:
        """Target S/N of the central source, and the noise added for it to each channel [Jy/beam].

        ``voxel`` returns the noise-free dirty cube's value at z, y, x.
        """
        central = np.nonzero(sky.sources["central"])[0] if sky.sources else np.zeros(0, dtype=int)
        if central.size == 0 or not self.settings.noise:
            return float("nan"), 0.0
        target = float(rng.uniform(*TARGET_SNR)) if self.settings.snr is None else self.settings.snr
        z, y, x = (round(float(sky.sources[k][central[0]])) for k in ("z", "y", "x"))
        z = min(max(z, 0), sky.spectral.n_chan - 1)
        extra = (voxel(z, y, x) / target) ** 2 - float(self.instrument.sigma[z]) ** 2
        return target, float(np.sqrt(max(extra, 0.0)))

    def _truth(self, sky: SkyModel, terms: TermImages | None, sigma: Float) -> dict[str, Any]:
        continuum = np.zeros(sky.n_sources)
        if terms is not None:
            seen = replace(sky, spectra=sky.spectra - sky.lines, cube=None)
            for i in range(sky.n_sources):
                y, x, z = (float(sky.sources[k][i]) for k in ("y", "x", "z"))
                iy, ix = (min(max(round(v), 0), n - 1) for v, n in zip((y, x), sky.grid.shape, strict=True))
                spectrum = self.telescope.spectrum_at(seen, terms, iy, ix).sum(axis=0)
                continuum[i] = np.interp(z, np.arange(spectrum.size), spectrum)
        turning = self._rotating(sky, terms, np.where(np.isfinite(sigma), sigma, np.inf))
        rest, rule = self.instrument.spectral.middle, self.settings.box_rule
        return truth_columns(sky, self.instrument, sigma, continuum, rest, rule, self._response, turning)


def draw_visible(rng: np.random.Generator, n_chan: int) -> Bool:
    """Channels that are not blank, ``[chan]``: all in most cubes; others lack some at an end or inside."""
    visible = np.ones(n_chan, dtype=bool)
    if rng.random() >= BLANK:
        return visible
    for _ in range(int(rng.integers(1, 4))):
        length = int(rng.integers(1, max(2, n_chan // 12)))
        first = (0, n_chan - length, int(rng.integers(n_chan - length + 1)))[rng.integers(3)]
        visible[first : first + length] = False
    return visible
