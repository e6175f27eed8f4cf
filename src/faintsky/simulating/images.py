"""Continuum images: skies of diffuse emission and radio galaxies, observed through visibilities.

Visibilities are predicted from the sky times the primary beam, multiplied by gain errors, given noise,
gridded and transformed back, all with the w term. ``quick`` images are the sky times the primary beam,
convolved with the psf of w = 0 by FFT in torch, with noise drawn in the uv plane. With gain errors, the psf
is that of a point observed with them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32, Float
from faintsky.simulating.imaging import GainErrors, baseline_factors, predict_visibilities
from faintsky.simulating.instrument import Observation, Sampling, build_instrument, get_instrument
from faintsky.simulating.observatory import Observatory, Observed, seeds_of
from faintsky.simulating.settings import SimulationSettings
from faintsky.simulating.truth import region_columns
from faintsky.sky import draw_diffuse, draw_radio_galaxies, log_uniform
from faintsky.sky.web import SPECTRAL_INDEX, WEB_FREQUENCY, draw_web, open_web
from faintsky.system import choose_device
from faintsky.telescopes import CUTOFF

UNIT_BEAM = np.pi / (4 * np.log(2)) * 6.0**2
"""Area of a beam of 6 arcsec [arcsec2], to which the rms of noise images refers."""
MOST_GAIN = 0.05
"""Largest relative error of the amplitude in ``varied`` images."""
MOST_PHASE = 10.0
"""Largest error of the phase in ``varied`` images [deg]."""
TIMESCALES = (300.0, 3600.0)
"""Range of the time scale of these errors [s]."""
_MIDDLE = 256


@dataclass(frozen=True)
class ObservedSky:
    """An observed sky: dirty and restored image [Jy/beam], and the beam ``[3]``."""

    dirty: Array32
    clean: Array32 | None
    beam: Float


class ImageTelescope:
    """One observation, ready to observe skies.

    Parameters
    ----------
    observation : Observation
        Array, field, frequency and track.
    quick : bool, optional
        Use one psf and FFTs instead of visibilities.
    device : str, optional
        Torch device, for `quick` only.
    keep : bool, optional
        Keep the instrument in the cache.
    progress : callable, optional
        Called with a line of text during long steps.
    """

    def __init__(
        self,
        observation: Observation,
        quick: bool = False,
        device: str = "cpu",
        keep: bool = True,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.observation, self.quick, self._device = observation, quick, device
        if keep:
            self.instrument = get_instrument(
                observation, progress, lambda: build_instrument(observation, self.sampling)
            )
        else:
            self.instrument = build_instrument(observation, self.sampling, flat=quick)

    @cached_property
    def sampling(self) -> Sampling:
        """Baselines and weights."""
        return Sampling(self.observation)

    @cached_property
    def _fast(self) -> Any:
        from faintsky.simulating.fast import FastTelescope

        return FastTelescope(self.instrument, self._device)

    @property
    def pb(self) -> Array32:
        """Primary beam, ``[y, x]``."""
        return self.instrument.pb[0]

    @property
    def beam(self) -> Float:
        """Fitted beam, ``[3]``: major, minor [arcsec], position angle [deg]."""
        return self.instrument.beams[0]

    def psf(self) -> Array32:
        """Dirty beam of twice the image's sides, 1 at ``n // 2``, ``[y, x]``."""
        n_y, n_x = self.instrument.grid.shape
        return self._psf_of(2 * n_y, 2 * n_x)

    def psf_middle(self) -> Array32:
        """Central part of the psf, with sides of at most 256 pixels and the peak at ``n // 2``."""
        n = min(_MIDDLE, *(side - side % 2 for side in self.instrument.grid.shape))
        return self._psf_of(n, n)

    def _psf_of(self, n_y: int, n_x: int) -> Array32:
        """Dirty beam with given even sides, 1 at ``n // 2``."""
        if not self.quick:
            return self.sampling.psf(self.instrument.grid.padded(n_y, n_x))
        y, x = (side // 2 - n // 2 for side, n in zip(self.instrument.padded, (n_y, n_x)))
        return self.instrument.node_psfs()[0, y : y + n_y, x : x + n_x].copy()

    def gains(self, errors: GainErrors, seed: np.random.SeedSequence) -> NDArray[np.complex64] | None:
        """Gain errors ``[time, station]``; None without errors."""
        if not errors:
            return None
        times = np.arange(len(self.sampling.track.ut1_mjd), dtype=float) * self.observation.integration
        return errors.draw(np.random.default_rng(seed), times, len(self.observation.array.pads))

    def factors(self, gains: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Factors of gain errors on visibilities, ``[row]``."""
        return baseline_factors(gains, self.sampling.track.time_index, self.sampling.track.pair)

    def dirty(self, sky: Array32, rms: float, seed: np.random.SeedSequence) -> Array32:
        """Dirty image of a sky, ``[y, x]`` [Jy/beam]. See `observe`."""
        return self.observe(sky, rms, seed).dirty

    def observe(
        self,
        sky: Array32,
        rms: float,
        seed: np.random.SeedSequence,
        gains: NDArray[np.complex64] | None = None,
        clean: bool = False,
    ) -> ObservedSky:
        """Observe a sky.

        Parameters
        ----------
        sky : array
            ``[y, x]`` [Jy/arcsec2]
        rms : float
            Noise of the dirty image [Jy/beam]; 0 for none.
        seed : numpy.random.SeedSequence
            Seed of the noise.
        gains : array, optional
            From `gains`.
        clean : bool, optional
            Also deconvolve the image.

        Returns
        -------
        ObservedSky
        """
        grid, freq = self.instrument.grid, self.observation.freq
        model = sky * np.float32(grid.cell**2)
        if self.quick:
            return ObservedSky(self._quick(model, rms, seed, gains), None, self.beam)
        uvw, weight = self.sampling.track.uvw, self.sampling.weight
        vis = predict_visibilities(model * self.pb, uvw, freq, grid)
        if gains is not None:
            vis *= self.factors(gains)
        if rms > 0:
            vis += self.noise(rms, seed)
        restored = None
        if clean:
            from faintsky.simulating import radler_clean

            restored = radler_clean.clean(vis, weight, uvw, freq, grid, self.beam)
        return ObservedSky(self.sampling.image(vis), restored, self.beam)

    def noise(self, rms: float, seed: np.random.SeedSequence) -> NDArray[np.complex64]:
        """Noise of visibilities ``[row]`` [Jy] that causes a noise of ``rms`` in the image [Jy/beam]."""
        sigma = np.float32(rms / self.instrument.sigma[0])
        shape = (len(self.sampling.track.uvw), 2)
        pairs = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        return sigma * pairs.view(np.complex64)[:, 0]

    def _quick(
        self, model: Array32, rms: float, seed: np.random.SeedSequence, gains: NDArray[np.complex64] | None
    ) -> Array32:
        if gains is None:
            seen = self._fast.observe_terms(model[None]).images[0]
        else:
            # the real transform of the psf with gain errors, for w = 0, on the padded grid
            wide = self.instrument.grid.padded(*self.instrument.padded)
            psf = self.sampling.image(self.factors(gains), wide, w_term=False)
            transfer = np.fft.rfft2(np.fft.ifftshift(psf)).astype(np.complex64)
            seen = self._fast.convolve(model[None] * self.pb, transfer)
        if rms > 0:
            generator = self._fast.generator(int(seed.generate_state(1, np.uint64)[0] >> 1))
            self._fast.add_noise(seen, np.array([rms]), generator)
        return seen[0].cpu().numpy()


def add_white_noise(sky: Array32, sigma: float, seed: int, index: int) -> Array32:
    """A noise image: a sky with white noise.

    Parameters
    ----------
    sky : array
        ``[y, x]`` [Jy/arcsec2]
    sigma : float
        Noise [Jy/arcsec2].
    seed, index : int
        Seed of the data set, and number of the sample.

    Returns
    -------
    array
        ``[y, x]`` [Jy/arcsec2]
    """
    rng = np.random.default_rng(seeds_of(seed, index)[3])
    return sky + np.float32(sigma) * rng.standard_normal(sky.shape, dtype=np.float32)


class ImageObservatory(Observatory):
    """Draws and observes fields; see `Observatory` for the arguments (the device is for `quick` only).

    Attributes
    ----------
    telescope : ImageTelescope
        Set if all fields share one.
    """

    telescope: ImageTelescope
    _drawing = 0

    def __init__(
        self, settings: SimulationSettings, device: str = "cpu", progress: Callable[[str], None] | None = None
    ) -> None:
        device = choose_device(device) if settings.quick else "cpu"
        self._web = None if settings.web is None else open_web(settings.web, settings.field, progress)
        super().__init__(settings, device, progress)

    def _open(self, observation: Observation, keep: bool, rng: np.random.Generator | None = None) -> None:
        kind = ImageTelescope
        if self.settings.backend == "wsclean":
            from faintsky.simulating.wsclean import WscleanTelescope

            kind = WscleanTelescope
        self.telescope = kind(observation, self.settings.quick, self.device, keep, self._progress)
        self.instrument = self.telescope.instrument

    def _sample(self, seed: int, index: int) -> Observed:
        settings, telescope = self.settings, self.telescope
        _, drawing, receiving, _, calibrating = seeds_of(seed, index)
        rms, products = settings.rms, set(settings.products)
        assert isinstance(rms, float)
        sky = self.draw(np.random.default_rng(drawing), telescope.observation)
        noisy = add_white_noise(sky, rms / UNIT_BEAM, seed, index) if settings.noise else sky
        size, course = calibrating.spawn(2)
        errors = errors_of(settings, np.random.default_rng(size))
        images: dict[str, Any] = {"dirty": np.zeros((0, 0), np.float32)}
        beam = telescope.beam
        if {"dirty", "clean", "compact"} & products:
            gains = telescope.gains(errors, course)
            seen = telescope.observe(sky, rms * settings.noise, receiving, gains, "clean" in products)
            beam = seen.beam
            for name, image in (("dirty", seen.dirty), ("clean", seen.clean)):
                if image is not None:
                    images[name] = self._corrected(image)
        return Observed(
            **images, sky=sky, noisy=noisy, sigma=np.array([rms * settings.noise]), beams=beam[None],
            truth=region_columns(sky, telescope.pb, telescope.beam, rms, telescope.instrument.grid),
            instrument=telescope.instrument, errors=errors, psf=telescope.psf,
            psf_middle=telescope.psf_middle,
        )  # fmt: skip

    def psf(self) -> Array32:
        """The psf of all images, with twice their sides."""
        return self.telescope.psf()

    def _corrected(self, image: Array32) -> Array32:
        if not self.settings.pbcor:
            return image
        pb = self.telescope.pb
        return np.where(pb >= CUTOFF, image / pb, np.float32(np.nan))

    def draw(self, rng: np.random.Generator, observation: Observation) -> Array32:
        """A sky of the preset, or the user's own, ``[y, x]`` [Jy/arcsec2]."""
        grid, settings = observation.grid, self.settings
        area = np.float32(grid.cell**2)
        if settings.sky_file is not None:
            return settings.sky_file.data[0] / area
        if self._web is not None:
            sky = draw_web(self._web, rng, grid.n_x, grid.cell, settings.field)
            sky *= np.float32((observation.freq / WEB_FREQUENCY) ** -SPECTRAL_INDEX)
        else:
            sky = draw_diffuse(rng, grid.shape, grid.cell)
        if settings.preset_record.sky == "galaxies":
            sky = sky + draw_radio_galaxies(rng, grid.shape, grid.cell, freq=observation.freq) / area
        return sky.astype(np.float32)


def errors_of(settings: SimulationSettings, rng: np.random.Generator) -> GainErrors:
    """Size of one image's gain errors: as given, or random for ``varied`` images, or none."""
    amplitude, phase = round(rng.uniform(0, MOST_GAIN), 4), round(rng.uniform(0, MOST_PHASE), 2)
    time = float(round(log_uniform(rng, *TIMESCALES)))
    if settings.preset_record.varied is None:
        amplitude, phase, time = 0.0, 0.0, GainErrors.timescale
    given = (settings.gain_rms, settings.phase_rms, settings.gain_time)
    found = (one if one is not None else two for one, two in zip(given, (amplitude, phase, time)))
    return GainErrors(*(float(v) for v in found))
