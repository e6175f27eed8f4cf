"""The observations of the preset ``varied``: every cube has its own array, field, band, weather and channels.

What the user gives is not drawn. Instruments are not kept in the cache: there is one for each cube.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.grid import ARCSEC, SPEED_OF_LIGHT, ImageGrid, SpectralGrid
from faintsky.simulating.build import Observation, build_instrument, natural_cell
from faintsky.simulating.casa import CasaObservatory, casa_python
from faintsky.simulating.observatory import AlmaObservatory, Observed
from faintsky.simulating.settings import AlmaSettings
from faintsky.telescopes.arrays import load_array
from faintsky.telescopes.noise import atmosphere
from faintsky.telescopes.primary_beam import cutoff_radius

BANDS = (
    (90e9, 115e9, 5.0),
    (126e9, 162e9, 4.0),
    (163e9, 210e9, 1.5),
    (212e9, 274e9, 2.5),
    (277e9, 370e9, 1.3),
)
"""Bands 3 to 7: range of frequencies [Hz], and the most water that they are used with [mm]."""
DRIEST = 0.4
"""Least water [mm]."""
MOST_OPAQUE = 1.0
"""Greatest opacity toward the zenith [neper]."""
LOWEST = np.deg2rad(20)
"""Tracks stay above this elevation [rad]."""
SIZES = (128, 160, 192, 224, 256, 288, 320, 360)
MARGIN = 1.2
"""Images reach to this many times the radius at which they are blank, at most."""
CHANNELS = (48, 64, 96, 128)
WEIGHTINGS = (*("natural",) * 7, "briggs:2", "briggs:0.5", "briggs:0")
MOST_ROBUST = 256, 64
"""Largest image [pixel] and most channels with Briggs weights: each channel may need its own psf."""
PIXELS = (3.5, 8.0)
"""Pixels across the beam."""
BLANK = 0.2
"""Share of cubes with blank channels."""
_TRIES = 500


class VariedObservatory:
    """Draws an observation for each cube, and observes with it; see `AlmaObservatory` for the arguments.

    Parameters
    ----------
    settings : AlmaSettings
        With ``drawn``, the names of what is not given.
    device : str, optional
    """

    instrument = None

    def __init__(self, settings: AlmaSettings, device: str = "cpu") -> None:
        if settings.backend == "casa":
            casa_python()
        self.settings = settings
        self._device = device

    def at(self, seed: int, index: int) -> AlmaObservatory:
        """The observatory of one cube."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, index]).spawn(3)[2])
        observation = draw_observation(rng, self.settings.observation, self.settings.drawn)
        visible = draw_visible(rng, observation.spectral.n_chan)
        one = replace(self.settings, observation=observation, drawn=())
        kind = _observatory(self.settings)
        return kind(one, self._device, instrument=build_instrument(observation), visible=visible)

    def sample(self, seed: int, index: int) -> Observed:
        """Cube ``index`` of the data set of ``seed``: depends on these two numbers and the settings only."""
        return self.at(seed, index).sample(seed, index)


def open_observatory(
    settings: AlmaSettings, device: str = "cpu", progress: Callable[[str], None] | None = None
) -> AlmaObservatory | VariedObservatory:
    """The observatory of some settings: one instrument for all cubes, or one for each."""
    if settings.drawn:
        return VariedObservatory(settings, device)
    return _observatory(settings)(settings, device, progress)


def _observatory(settings: AlmaSettings) -> type[AlmaObservatory]:
    return CasaObservatory if settings.backend == "casa" else AlmaObservatory


def draw_observation(rng: np.random.Generator, base: Observation, drawn: tuple[str, ...]) -> Observation:
    """An observation that ALMA could make.

    Parameters
    ----------
    rng : numpy.random.Generator
    base : Observation
        What is given.
    drawn : tuple of str
        Names of the options of `faintsky.simulate_alma` that are not.

    Raises
    ------
    InputError
        What is given leaves no possible observation.
    """
    reason = InputError("no observation like this is possible", "give fewer options, or others")
    for _ in range(_TRIES):
        draws = _draws(rng, base, drawn)
        if draws is None:
            continue
        pixels = draws.pop("pixels")
        one = replace(base, **draws)
        try:
            coarse = replace(one, integration=one.total_time / 8).track()
        except InputError as error:  # below the telescope's limit
            reason = error
            continue
        if coarse.elevation.min() < LOWEST and {"dec", "hour_angle"} & set(drawn):
            continue
        with suppress(InputError):
            return _imaged(one, pixels, drawn)
    raise reason


def _draws(rng: np.random.Generator, base: Observation, drawn: tuple[str, ...]) -> dict[str, Any] | None:
    """Fields of an observation, and the pixels across its beam; None where the sky is too opaque."""

    def pick(name: str, value: Any, given: Any) -> Any:
        return value if name in drawn else given

    spectral, grid = base.spectral, base.grid
    array = pick("array", load_array(f"alma.cycle9.{rng.integers(1, 9)}"), base.array)
    low, high, wettest = BANDS[rng.integers(len(BANDS))]
    n_chan = int(rng.choice(CHANNELS))
    width = pick(
        "channel_width", round(float(np.exp(rng.uniform(np.log(2e6), np.log(60e6)))), -4), spectral.width
    )
    middle = spectral.first + spectral.n_chan // 2 * spectral.width
    freq = float(pick("freq", round(float(rng.uniform(low, high)), -6), middle))
    water = float(pick("pwv", round(float(rng.uniform(DRIEST, wettest)), 2), base.pwv))
    dec = float(pick("dec", round(float(rng.uniform(-70, 30)), 3), grid.dec))
    ra = float(pick("ra", round(float(rng.uniform(0, 360)), 3), grid.ra))
    hour_angle = float(pick("hour_angle", round(float(rng.uniform(-3, 3)), 2), base.hour_angle))
    total = float(
        pick("total_time", round(float(np.exp(rng.uniform(np.log(300), np.log(7200)))), -1), base.total_time)
    )
    number = int(rng.integers(20, 61))
    step = float(pick("integration", max(round(total / number), 2.0), base.integration))
    size = int(rng.choice(SIZES[2:]))
    weighting = pick("weighting", WEIGHTINGS[rng.integers(len(WEIGHTINGS))], base.weighting)
    if weighting != "natural":
        size, n_chan = min(size, MOST_ROBUST[0]), min(n_chan, MOST_ROBUST[1])
    n_chan, shape = pick("channels", n_chan, spectral.n_chan), pick("size", (size, size), grid.shape)
    pixels = float(rng.uniform(*PIXELS))
    if "freq" in drawn and float(atmosphere(freq, water, 1.0)[0]) > MOST_OPAQUE:
        return None
    return {
        "array": array,
        "grid": ImageGrid(shape[0], shape[1], grid.cell, ra, dec),
        "spectral": SpectralGrid.centred(n_chan, freq, width),
        "total_time": max(total, step),
        "integration": step,
        "hour_angle": hour_angle,
        "pwv": water,
        "weighting": weighting,
        "pixels": pixels,
    }


def _imaged(observation: Observation, pixels: float, drawn: tuple[str, ...]) -> Observation:
    """With a cell that gives so many pixels across the beam, and no larger than the primary beam allows."""
    grid = observation.grid
    if "cell" in drawn:
        track = observation.track()
        freq = float(observation.spectral.frequencies().max())
        longest = float(np.abs(track.uvw[:, :2]).max()) * freq / SPEED_OF_LIGHT
        # the longest baseline must be sampled
        cell = min(natural_cell(observation) * 8 / pixels, 0.48 / longest / ARCSEC)
        grid = replace(grid, cell=float(f"{cell:.3g}"))
    if "size" in drawn:
        radius = cutoff_radius(observation.spectral.middle, observation.array.diameter) / grid.cell_rad
        n = max(s for s in SIZES if s <= max(min(grid.n_x, 2 * MARGIN * radius), SIZES[0]))
        grid = grid.padded(n, n)
    return replace(observation, grid=grid)


def draw_visible(rng: np.random.Generator, n_chan: int) -> NDArray[np.bool_]:
    """Channels that are not blank, ``[chan]``: all in most cubes, else some lack at an end or within."""
    visible = np.ones(n_chan, dtype=bool)
    if rng.random() >= BLANK:
        return visible
    for _ in range(int(rng.integers(1, 4))):
        length = int(rng.integers(1, max(2, n_chan // 12)))
        first = (0, n_chan - length, int(rng.integers(n_chan - length + 1)))[rng.integers(3)]
        visible[first : first + length] = False
    return visible
