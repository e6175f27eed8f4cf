"""Observatories, which draw skies and observe them in memory; only the instrument's cache is written.

`Observatory` is the common base for cubes and images. It has one observation for a whole data set, or one for
each sample if the preset draws it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from faintsky.arrays import Array32, Float
from faintsky.errors import InputError
from faintsky.grid import ARCSEC
from faintsky.simulating.imaging import GainErrors
from faintsky.simulating.instrument import Instrument, Observation
from faintsky.simulating.settings import SimulationSettings
from faintsky.telescopes import cutoff_radius

LOWEST = np.deg2rad(20.0)
"""Least elevation of tracks that are drawn."""
SIZES = (128, 160, 192, 224, 256, 288, 320, 360)
"""Range of drawn sizes of images [pixel]."""
MARGIN = 1.2
"""Largest distance of a drawn image's edge from its centre, over the radius at which it becomes blank."""
_TRIES = 500


@dataclass(frozen=True)
class Observed:
    """One simulated cube or image.

    Parameters
    ----------
    dirty : array
        ``[chan, y, x]`` or ``[y, x]``, float32 [Jy/beam]; cubes are NaN where the primary beam is below 0.2.
        Empty if an image was not requested.
    sigma : array
        Its noise before correction for the primary beam, ``[chan]`` [Jy/beam]; 0 without noise, NaN for blank
        channels.
    truth : dict
        Columns of the truth table.
    sky : SkyModel, or for images array
        The true sky; of an image ``[y, x]`` [Jy/arcsec2].
    instrument : Instrument
        Its instrument.
    beams : array
        Fitted beams, ``[chan, 3]`` [arcsec, arcsec, deg].
    target_snr : float, optional
        For cubes: S/N of the central source to which the noise was raised; NaN if none.
    noisy, clean : array, optional
        For images: the sky with white noise [Jy/arcsec2], and the deconvolved image [Jy/beam], if requested.
    errors : GainErrors, optional
        Residual gain errors.
    psf, psf_middle : callable
        Return the psf as it is written, and its central part for compact data.
    """

    dirty: Array32
    sigma: Float
    truth: dict[str, Any]
    sky: Any
    instrument: Instrument
    beams: Float
    target_snr: float = float("nan")
    noisy: Array32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    clean: Array32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    errors: GainErrors = field(default_factory=GainErrors)
    psf: Callable[[], Array32] | None = None
    psf_middle: Callable[[], Array32] | None = None

    def truth_table(self, **meta: Any) -> Any:
        """The truth as an astropy table."""
        from faintsky.catalog import make_table

        return make_table(self.truth, meta=meta, two_d=self.dirty.ndim == 2)


class Observatory(ABC):
    """Draws and observes skies by its settings.

    Parameters
    ----------
    settings : SimulationSettings
        Settings of the data set.
    device : str, optional
        ``"auto"``, or a torch device.
    progress : callable, optional
        Called with a line of text during long steps.

    Attributes
    ----------
    instrument : Instrument or None
        Instrument of all samples; None if each has its own.
    """

    instrument: Any = None
    _drawing: int
    """Index of the seed that draws a sample's observation."""

    def __init__(
        self, settings: SimulationSettings, device: str = "cpu", progress: Callable[[str], None] | None = None
    ) -> None:
        self.settings, self.device, self._progress = settings, device, progress
        if not settings.drawn:
            self._open(settings.observation, keep=True)

    def at(self, seed: int, index: int) -> Self:
        """The observatory of one sample: this one, unless each has its own."""
        if self.instrument is not None:
            return self
        rng, one = np.random.default_rng(seeds_of(seed, index)[self._drawing]), copy(self)
        one._open(draw_observation(rng, self.settings), keep=False, rng=rng)
        return one

    def sample(self, seed: int, index: int) -> Observed:
        """Sample ``index`` of the data set of ``seed``; it depends only on these two and the settings."""
        return self.at(seed, index)._sample(seed, index)

    @abstractmethod
    def _open(self, observation: Observation, keep: bool, rng: np.random.Generator | None = None) -> None: ...

    @abstractmethod
    def _sample(self, seed: int, index: int) -> Observed: ...

    @abstractmethod
    def psf(self) -> Array32:
        """The psf of all samples, as it is written."""


def open_observatory(
    settings: SimulationSettings, device: str = "cpu", progress: Callable[[str], None] | None = None
) -> Any:
    """The observatory for some settings.

    Parameters
    ----------
    settings : SimulationSettings
        Settings of the data set.
    device : str, optional
        ``"auto"``, or a torch device.
    progress : callable, optional
        Called with a line of text during long steps.

    Returns
    -------
    Observatory
    """
    if settings.data == "image":
        from faintsky.simulating.images import ImageObservatory

        return ImageObservatory(settings, device, progress)
    from faintsky.simulating.casa import CasaObservatory
    from faintsky.simulating.cubes import CubeObservatory

    kind = CasaObservatory if settings.backend == "casa" else CubeObservatory
    return kind(settings, device, progress)


def seeds_of(seed: int, index: int) -> list[np.random.SeedSequence]:
    """Five seeds of a sample.

    For images they are for observation, sky, noise of visibilities, noise of pixels, and gain errors. For
    cubes they are for sky, noise and observation; the others are not used.
    """
    return np.random.SeedSequence([seed, index]).spawn(5)


def draw_observation(rng: np.random.Generator, settings: SimulationSettings) -> Observation:
    """A random, possible observation.

    Raises
    ------
    InputError
        If the options leave no possible observation.
    """
    varied, drawn = settings.preset_record.varied, settings.drawn
    assert varied is not None
    given = settings.values

    def pick(name: str, value: Any) -> Any:
        return value if name in drawn else given[name]

    reason = InputError("no observation like this is possible", "give fewer options, or others")
    for _ in range(_TRIES):
        draws = varied.draw(rng, pick)
        if draws is None:
            continue
        one = settings.observe({**given, **{name: draws[name] for name in drawn if name in draws}})
        try:
            coarse = replace(one, integration=one.total_time / varied.steps).track()
        except InputError as error:  # below the telescope's limit
            reason = error
            continue
        if coarse.elevation.min() < LOWEST and {"dec", "hour_angle"} & set(drawn):
            continue
        with suppress(InputError):
            return _imaged(one, draws.get("pixels", 8.0), drawn)
    raise reason


def _imaged(observation: Observation, pixels: float, drawn: tuple[str, ...]) -> Observation:
    """The observation with ``pixels`` across the beam, and an image limited by the primary beam."""
    grid = observation.grid
    if "cell" in drawn:
        # the longest baseline must be sampled
        longest = observation.longest(observation.track())
        cell = min(observation.natural_cell() * 8 / pixels, 0.48 / longest / ARCSEC)
        grid = replace(grid, cell=float(f"{cell:.3g}"))
    if "size" in drawn:
        radius = cutoff_radius(observation.record.beam, observation.freq, observation.array.diameter)
        most = max(min(grid.n_x, 2 * MARGIN * radius / grid.cell_rad), SIZES[0])
        n = max(s for s in SIZES if s <= most)
        grid = grid.padded(n, n)
    return replace(observation, grid=grid)
