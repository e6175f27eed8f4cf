"""What `simulate_alma` is asked for: parsed, checked and completed with defaults."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.errors import InputError
from faintsky.grid import ImageGrid, SpectralGrid
from faintsky.simulating.build import Observation, natural_cell
from faintsky.simulating.parsing import count, direction, positive, quantity, start_mjd
from faintsky.simulating.weighting import parse_weighting
from faintsky.sky import PRESETS, ModelFile, read_model
from faintsky.telescopes.arrays import load_array

PRODUCTS = ("sky", "dirty", "psf", "pb", "compact")
USUAL_PRODUCTS = ("sky", "dirty", "psf", "pb")
DEFAULT_ARRAY, DEFAULT_FREQ, DEFAULT_CELL = "alma.cycle9.3", 230e9, 0.1
DEFAULT_RA, DEFAULT_DEC = 59.999833333333335, -34.99986111111111
"""03h59m59.96s -34d59m59.5s, the field of Delli Veneri et al. (2022), Table 2."""
EXTRA_NOISE = ("correlated", "white")
BACKENDS = ("fast", "casa")


@dataclass(frozen=True)
class AlmaSettings:
    """Everything that decides what a data set holds, checked; see `make_settings` for the arguments.

    Parameters
    ----------
    observation : Observation
    preset : str
        ``"sky"`` where the user's own model is observed.
    sky_file : ModelFile or None
    snr : float or None
    noise, pbcor : bool
    extra_noise : str
        ``"correlated"`` or ``"white"``.
    products : tuple of str
    sky_path : str
        For the record.
    drawn : tuple of str
        Options of which each cube has its own value (``varied``); those in ``observation`` are not used.
    backend : str
        One of `BACKENDS`.
    """

    observation: Observation
    preset: str
    sky_file: ModelFile | None
    snr: float | None
    noise: bool
    pbcor: bool
    extra_noise: str
    products: tuple[str, ...]
    sky_path: str = ""
    drawn: tuple[str, ...] = ()
    backend: str = "fast"

    @property
    def rest_frequency(self) -> float:
        """Of the velocities: the middle channel's frequency [Hz]."""
        return self.observation.spectral.middle

    @property
    def box_rule(self) -> str:
        """Which rule of `faintsky.simulating.truth.BOX_RULES` the truth's boxes follow."""
        return "paper" if self.preset == "paper" else "tenth"

    def parameters(self) -> dict[str, Any]:
        """Plain values for ``dataset.json``: equal for equal data sets."""
        plain = {
            k: getattr(self, k) for k in ("preset", "rest_frequency", "snr", "noise", "pbcor", "extra_noise")
        }
        record = {**self.observation.parameters(), **plain, "products": list(self.products)}
        if self.drawn:
            record["drawn"] = list(self.drawn)
        if self.backend != "fast":
            record["backend"] = self.backend
        if self.sky_file is not None:
            import hashlib

            record["sky"] = self.sky_path
            record["sky_sha256"] = hashlib.sha256(self.sky_file.data.tobytes()).hexdigest()
        return record


def _spectral(
    freq: float | str | None, channels: int | None, width: float | str | None, file: ModelFile | None
) -> SpectralGrid:
    given = file.spectral if file is not None else None
    if given is not None:
        if channels is not None and channels != given.n_chan:
            raise InputError(f"channels {channels} is not the sky's {given.n_chan}", "leave --channels out")
        step = given.width if width is None else positive(width, "width", "--channel-width")
        middle = given.first + given.n_chan // 2 * given.width
        centre = middle if freq is None else positive(freq, "frequency", "--freq")
        return SpectralGrid.centred(given.n_chan, centre, step)
    number = 128 if channels is None else count(channels, "channels", 1, 100_000)
    centre = DEFAULT_FREQ if freq is None else positive(freq, "frequency", "--freq")
    return SpectralGrid.centred(
        number, centre, positive(10e6 if width is None else width, "width", "--channel-width")
    )


def make_settings(
    *,
    preset: str = "paper",
    sky: str | os.PathLike[str] | None = None,
    array: str | os.PathLike[str] | None = None,
    ra: float | str | None = None,
    dec: float | str | None = None,
    hour_angle: float | str | None = None,
    start: str | float | None = None,
    total_time: float | str | None = None,
    integration: float | str | None = None,
    freq: float | str | None = None,
    channels: int | None = None,
    channel_width: float | str | None = None,
    cell: float | str | None = None,
    size: int | None = None,
    pwv: float | str | None = None,
    weighting: str | None = None,
    snr: float | None = None,
    products: str | tuple[str, ...] | list[str] = USUAL_PRODUCTS,
    noise: bool = True,
    pbcor: bool = False,
    extra_noise: str = "correlated",
    backend: str = "fast",
) -> AlmaSettings:
    """Check and complete the arguments of `faintsky.simulate_alma`, which explains them.

    Raises
    ------
    InputError
        For any value that makes no sense.
    """
    varied = {
        "array": array, "ra": ra, "dec": dec, "hour_angle": hour_angle if start is None else start,
        "total_time": total_time, "integration": integration, "freq": freq, "channels": channels,
        "channel_width": channel_width, "cell": cell, "size": size, "pwv": pwv, "weighting": weighting,
    }  # fmt: skip
    drawn = tuple(k for k, v in varied.items() if v is None) if preset == "varied" and sky is None else ()
    hour_angle = 0.0 if hour_angle is None else hour_angle
    weighting = "natural" if weighting is None else weighting
    file = read_model(sky) if sky is not None else None
    if file is None and preset not in PRESETS:
        raise InputError(f"preset {preset!r} is not known", f"choose one of {', '.join(PRESETS)}")
    spectral = _spectral(freq, channels, channel_width, file)
    antennas = load_array(DEFAULT_ARRAY if array is None else array)
    names = tuple(products.split(",")) if isinstance(products, str) else tuple(products)
    wrong = [p for p in names if p not in PRODUCTS]
    if wrong or not names:
        raise InputError(f"product {wrong[0] if wrong else ''!r} is not known", f"choose from {PRODUCTS}")
    if extra_noise not in EXTRA_NOISE:
        raise InputError(f"extra noise {extra_noise!r} is not known", f"choose from {EXTRA_NOISE}")
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r} is not known", f"choose one of {', '.join(BACKENDS)}")
    if snr is not None and not (math.isfinite(snr) and snr > 0):
        raise InputError(f"snr {snr!r} is not above 0", "give a positive number")
    if snr is not None and (file is not None or preset == "empty"):
        raise InputError("an S/N cannot be set for this sky", "leave --snr out")
    parse_weighting(weighting)
    if start is not None and quantity(hour_angle, "hours", "--hour-angle") != 0:
        raise InputError("both an hour angle and a start are given", "give one of them")
    times = {
        "total_time": positive(2400.0 if total_time is None else total_time, "time", "--total-time"),
        "integration": positive(10.0 if integration is None else integration, "time", "--integration"),
    }
    if times["total_time"] < times["integration"] and not {"total_time", "integration"} & set(drawn):
        raise InputError("the total time is shorter than one integration", "make it longer")
    water = quantity(0.8 if pwv is None else pwv, "length", "--pwv")
    if not 0 <= water <= 20:
        raise InputError(f"pwv {pwv!r} is out of range", "give 0 to 20 mm")
    observation = Observation(
        array=antennas,
        grid=_grid(file, ra, dec, cell, size),
        spectral=spectral,
        hour_angle=quantity(hour_angle, "hours", "--hour-angle"),
        start=start_mjd(start),
        pwv=water,
        weighting=weighting.strip().lower(),
        **times,
    )
    if cell is None and file is None and not drawn:
        observation = _with_cell(observation, antennas.name)
    return AlmaSettings(
        observation=observation,
        preset=preset if file is None else "sky",
        sky_file=file,
        snr=None if snr is None else float(snr),
        noise=bool(noise),
        pbcor=bool(pbcor),
        extra_noise=extra_noise,
        products=tuple(p for p in PRODUCTS if p in names),
        sky_path=Path(sky).name if sky is not None else "",
        drawn=drawn,
        backend=backend,
    )


def _grid(
    file: ModelFile | None,
    ra: float | str | None,
    dec: float | str | None,
    cell: float | str | None,
    size: int | None,
) -> ImageGrid:
    if file is not None:
        grid = file.grid
        if size is not None and (size, size) != grid.shape:
            raise InputError(f"size {size} is not the sky's {grid.n_x} x {grid.n_y}", "leave --size out")
        place = direction(grid.ra % 360 if ra is None else ra, grid.dec if dec is None else dec)
        side = grid.cell if cell is None else positive(cell, "angle", "--cell")
        return ImageGrid(grid.n_y, grid.n_x, side, *place, grid.x0, grid.y0)
    n = 360 if size is None else count(size, "size", 16, 20_000)
    place = direction(DEFAULT_RA if ra is None else ra, DEFAULT_DEC if dec is None else dec)
    return ImageGrid(n, n, DEFAULT_CELL if cell is None else positive(cell, "angle", "--cell"), *place)


def _with_cell(observation: Observation, array: str) -> Observation:
    """The presets' 0.1 arcsec with their array and frequency, otherwise an eighth of the beam."""
    if array == DEFAULT_ARRAY and np.isclose(observation.spectral.middle, DEFAULT_FREQ, rtol=0.05):
        return observation
    return replace(observation, grid=replace(observation.grid, cell=natural_cell(observation)))
