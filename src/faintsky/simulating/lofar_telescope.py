"""LOFAR ready to look at skies: dirty and clean images, with what noise and calibration leave in them.

Dirty images are made of visibilities: predicted from the sky times the primary beam, gain errors multiplied
in, noise added, gridded and transformed back, all with the w term. ``quick`` ones are the sky times the beam
convolved with the psf of w = 0, by FFT in torch, with noise drawn in the uv plane; with gain errors that psf
is the one that they make of a point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.simulating.gain_errors import GainErrors, baseline_factors
from faintsky.simulating.instrument import Instrument
from faintsky.simulating.lofar_build import LofarObservation, Sampling, build_lofar, lofar_instrument
from faintsky.simulating.visibilities import dirty_image, predict
from faintsky.telescopes.arrays import LOFAR_HBA, load_array

Array32 = NDArray[np.float32]

_MIDDLE = 256


@dataclass(frozen=True)
class LofarSeen:
    """What the telescope made of a sky.

    Parameters
    ----------
    dirty : array
        ``[y, x]`` [Jy/beam]
    clean : array or None
        Restored image, ``[y, x]`` [Jy/beam].
    beam : array
        ``[3]``: major, minor [arcsec], position angle [deg].
    """

    dirty: Array32
    clean: Array32 | None
    beam: NDArray[np.float64]


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
            self.instrument = build_lofar(observation, self.sampling, flat=quick)

    instrument: Instrument

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
    def beam(self) -> NDArray[np.float64]:
        """Fitted beam, ``[3]``: major, minor [arcsec], position angle [deg]."""
        return self.instrument.beams[0]

    def psf(self) -> Array32:
        """Dirty beam over all distances within the image, of twice its sides, 1 at ``n // 2``, ``[y, x]``."""
        n_y, n_x = self.instrument.grid.shape
        return self._psf_of(2 * n_y, 2 * n_x)

    @cached_property
    def psf_middle(self) -> Array32:
        """Its middle, at most 256 pixels a side, the peak at ``n // 2``."""
        n = min(_MIDDLE, *(side - side % 2 for side in self.instrument.grid.shape))
        return self._psf_of(n, n)

    def _psf_of(self, n_y: int, n_x: int) -> Array32:
        """Dirty beam of these even sides, 1 at ``n // 2``."""
        if not self.quick:
            return self.sampling.psf(self.instrument.grid.padded(n_y, n_x))
        y, x = (side // 2 - n // 2 for side, n in zip(self.instrument.padded, (n_y, n_x)))
        return self.instrument.node_psfs()[0, y : y + n_y, x : x + n_x].copy()

    def gains(self, errors: GainErrors, seed: np.random.SeedSequence) -> NDArray[np.complex64] | None:
        """Gain errors ``[time, station]``, None where there are none."""
        if not errors:
            return None
        count = len(self.sampling.track.ut1_mjd)
        times = np.arange(count, dtype=np.float64) * self.observation.integration
        return errors.draw(np.random.default_rng(seed), times, len(load_array(LOFAR_HBA).pads))

    def dirty(
        self,
        sky: Array32,
        rms: float,
        seed: np.random.SeedSequence,
        gains: NDArray[np.complex64] | None = None,
    ) -> Array32:
        """Dirty image of a sky, ``[y, x]`` [Jy/beam]; arguments as for `observe`."""
        return self.observe(sky, rms, seed, gains).dirty

    def observe(
        self,
        sky: Array32,
        rms: float,
        seed: np.random.SeedSequence,
        gains: NDArray[np.complex64] | None = None,
        clean: bool = False,
    ) -> LofarSeen:
        """Observe a sky.

        Parameters
        ----------
        sky : array
            ``[y, x]`` [Jy/arcsec2]
        rms : float
            Noise of the dirty image [Jy/beam]; 0 for none.
        seed : numpy.random.SeedSequence
            Of the noise.
        gains : array, optional
            From `gains`.
        clean : bool, optional
            Deconvolve the image too.
        """
        from faintsky.simulating import radler_clean

        grid, freq = self.instrument.grid, self.observation.freq
        model = sky * np.float32(grid.cell**2)
        if self.quick:
            seen = self._quick(model, rms, int(seed.generate_state(1, np.uint64)[0] >> 1), gains)
            return LofarSeen(seen, None, self.beam)
        sampling = self.sampling
        vis = predict(model * self.pb, sampling.track.uvw, freq, grid)
        if gains is not None:
            vis *= baseline_factors(gains)
        if rms > 0:
            vis += self.noise(rms, seed)
        restored = None
        if clean:
            restored = radler_clean.clean(vis, sampling.weight, sampling.track.uvw, freq, grid, self.beam)
        return LofarSeen(sampling.image(vis), restored, self.beam)

    def noise(self, rms: float, seed: np.random.SeedSequence) -> NDArray[np.complex64]:
        """Noise of visibilities that gives the image this one [Jy/beam], ``[row]`` [Jy]."""
        sigma = np.float32(rms / self.instrument.sigma[0])
        shape = (len(self.sampling.track.uvw), 2)
        pairs = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        return sigma * pairs.view(np.complex64)[:, 0]

    def _quick(self, model: Array32, rms: float, seed: int, gains: NDArray[np.complex64] | None) -> Array32:
        if gains is None:
            seen = self._fast.observe_terms(model[None]).images[0]
        else:
            seen = self._fast.convolve(model[None] * self.pb, self._transfer_with(gains))
        if rms > 0:
            self._fast.add_noise(seen, np.array([rms]), self._fast.generator(seed))
        return seen[0].cpu().numpy()

    def _transfer_with(self, gains: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Real transform of the psf that gain errors leave, for w = 0, on the padded grid."""
        track, weight, freq = self.sampling.track, self.sampling.weight, self.observation.freq
        wide = self.instrument.grid.padded(*self.instrument.padded)
        psf = dirty_image(baseline_factors(gains), weight, track.uvw, freq, wide, w_term=False)
        return np.fft.rfft2(np.fft.ifftshift(psf)).astype(np.complex64)
