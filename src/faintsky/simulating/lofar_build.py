"""The LOFAR instrument: baselines, Briggs weights in WSClean's cells, psf, primary beam, noise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.grid import ARCSEC, SPEED_OF_LIGHT, ImageGrid, SpectralGrid
from faintsky.simulating.beam_fit import fit_beam_wsclean
from faintsky.simulating.build import cached, exact_psf, good_fft_size, noise_cells, psf_transfer
from faintsky.simulating.instrument import FORMAT_VERSION, Instrument
from faintsky.simulating.visibilities import dirty_image, noise_factor
from faintsky.simulating.weighting import gridded, imaging_weights
from faintsky.telescopes.arrays import LOFAR_HBA, load_array
from faintsky.telescopes.lofar_beam import gaussian_beam
from faintsky.telescopes.tracks import DAY, SIDEREAL, Track, make_track, transit

DATE = 59293.0
"""MJD of 2021-03-20, the day of tracks that are asked for by hour angle."""
CHANNEL_WIDTH = 195312.5
"""Of a LOFAR sub-band [Hz]; for the record only, there is no smearing."""
MOST_LEFT_OUT = 0.05
"""Share of visibilities that may lie outside the image's uv plane."""
_FITTED = 256


@dataclass(frozen=True)
class LofarObservation:
    """What is asked of the telescope.

    Parameters
    ----------
    grid : ImageGrid
    freq : float
        [Hz]
    total_time, integration : float
        [s]
    hour_angle : float
        Of the track's middle, apparent place [hours], on 2021-03-20.
    start : float or None
        Beginning [MJD, UTC], instead of the hour angle.
    robust : float
        Briggs' robustness.
    primary_beam : str
        ``"everybeam"`` or ``"gaussian"``.
    """

    grid: ImageGrid
    freq: float = 150e6
    total_time: float = 28800.0
    integration: float = 60.0
    hour_angle: float = 0.0
    start: float | None = None
    robust: float = 0.0
    primary_beam: str = "gaussian"

    def parameters(self) -> dict[str, Any]:
        """Everything that the instrument depends on, as plain values."""
        return {"array": LOFAR_HBA, **asdict(self)}

    def key(self) -> str:
        """Hash of `parameters` and of the format: the name of the cache file."""
        text = json.dumps({"format": [FORMAT_VERSION, 2], **self.parameters()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def begin(self) -> float:
        """Beginning of the first integration [MJD, UTC]."""
        if self.start is not None:
            return self.start
        middle = transit(load_array(LOFAR_HBA), self.grid.ra, self.grid.dec, DATE)
        return middle + self.hour_angle / 24 / SIDEREAL - self.total_time / 2 / DAY

    def track(self) -> Track:
        """Its baselines."""
        return make_track(
            load_array(LOFAR_HBA),
            self.grid.ra,
            self.grid.dec,
            total_time=self.total_time,
            integration=self.integration,
            start=self.begin(),
        )


class Sampling:
    """Baselines of an observation and their weights in its image.

    Parameters
    ----------
    observation : LofarObservation

    Attributes
    ----------
    track : Track
    weight : array
        ``[row]``

    Raises
    ------
    InputError
        Where the source is too low, or the cell too coarse.
    """

    def __init__(self, observation: LofarObservation) -> None:
        self.observation = observation
        self.track = observation.track()
        grid, freq = observation.grid, observation.freq
        self.weight = imaging_weights(self.track.uvw, freq, grid, observation.robust, "wsclean")
        # like WSClean, which leaves out the few baselines that the cells do not sample
        if np.mean(self.weight > 0) < 1 - MOST_LEFT_OUT:
            longest = float(np.abs(self.track.uvw[:, :2]).max()) * freq / SPEED_OF_LIGHT
            raise InputError(
                f"cells of {grid.cell:g} arcsec do not sample the longer baselines",
                f"give a cell below {0.5 / longest / ARCSEC:.2g} arcsec",
            )

    def image(self, vis: NDArray[np.complexfloating]) -> NDArray[np.float32]:
        """Dirty image of visibilities ``[row]``, ``[y, x]``."""
        grid, freq = self.observation.grid, self.observation.freq
        return dirty_image(vis, self.weight, self.track.uvw, freq, grid)

    def psf(self, grid: ImageGrid) -> NDArray[np.float32]:
        """Dirty image of a point of 1 Jy at the phase centre of an image like this, ``[y, x]``."""
        ones = np.ones(self.weight.size, dtype=np.complex64)
        return dirty_image(ones, self.weight, self.track.uvw, self.observation.freq, grid)


def lofar_instrument(
    observation: LofarObservation, sampling: Callable[[], Sampling], progress: Callable[[str], None] | None
) -> Instrument:
    """The instrument of an observation, from the cache or computed and put there.

    Its ``sigma`` is the noise of the dirty image for visibilities with a noise of 1 Jy, its psf
    (``transfer``) that of w = 0, its beam the one that WSClean fits to the psf with the w term.
    """
    return cached(f"lofar_{observation.key()}", lambda: build_lofar(observation, sampling()), progress)[0]


def build_lofar(observation: LofarObservation, sampling: Sampling, flat: bool = True) -> Instrument:
    """Compute an instrument; see `lofar_instrument`.

    Without ``flat`` its transfer and noise cells are empty: the quick way alone needs them.
    """
    grid, freq, weight = observation.grid, observation.freq, sampling.weight
    track = sampling.track
    padded = (good_fft_size(2 * grid.n_y), good_fft_size(2 * grid.n_x))
    transfer, cells, power = np.zeros((0, 0)), np.zeros(0, dtype=np.int64), np.zeros((1, 0), dtype=np.float32)
    if flat:
        cells, power = noise_cells([gridded(track.uvw, freq, grid.padded(*padded), weight**2)])
        transfer = psf_transfer(exact_psf(track.uvw, weight, freq, grid.cell_rad, padded))
    maj, minor, pa = fit_beam_wsclean(sampling.psf(grid.padded(_FITTED, _FITTED)))
    return Instrument(
        grid=grid,
        spectral=SpectralGrid(1, freq, CHANNEL_WIDTH),
        nodes=np.array([freq]),
        transfer=transfer[None].astype(np.float32),
        pb=primary_beam_of(observation, track)[None],
        noise_cells=cells,
        noise_nodes=np.array([freq]),
        noise_power=power,
        sigma=np.array([noise_factor(weight)]),
        beams=np.array([[maj * grid.cell, minor * grid.cell, pa]]),
        pb_cutoff=1e30,
        padded=padded,
        record={
            **observation.parameters(),
            "rows": int(track.uvw.shape[0]),
            "begin_mjd_utc": observation.begin(),
            "elevation_deg": [float(np.rad2deg(track.elevation[i])) for i in (0, -1)],
            "hour_angle_h": [float(np.rad2deg(track.hour_angle[i]) / 15) for i in (0, -1)],
        },
    )


def primary_beam_of(observation: LofarObservation, track: Track) -> NDArray[np.float32]:
    """Primary beam on the image, ``[y, x]``."""
    if observation.primary_beam == "gaussian":
        return gaussian_beam(observation.grid, observation.freq)
    from faintsky.telescopes.everybeam import everybeam_beam

    times = observation.begin() + (np.arange(10) + 0.5) / 10 * observation.total_time / DAY
    return everybeam_beam(observation.grid, observation.freq, times)
