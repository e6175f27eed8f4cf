"""What `simulate_lofar` is asked for: parsed, checked and completed with defaults."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.errors import InputError
from faintsky.grid import ImageGrid
from faintsky.simulating.gain_errors import GainErrors
from faintsky.simulating.lofar_build import LofarObservation
from faintsky.simulating.parsing import count, direction, positive, quantity, start_mjd
from faintsky.sky import ModelFile, read_model
from faintsky.sky.web import check_web
from faintsky.sky.web.boxes import VERSION
from faintsky.telescopes.lofar_beam import choose_beam

PRODUCTS = ("sky", "noise", "dirty", "clean", "psf", "pb", "compact")
DEFAULT_PRODUCTS = ("sky", "noise", "dirty", "psf", "pb")
BACKENDS = ("fast", "wsclean")
ROBUST = {"paper": 0.0, "lotss": -0.5, "varied": 0.0}
"""Presets, and their robustness where nothing else says it."""
DEFAULT_RA, DEFAULT_DEC = 180.0, 55.0
DEFAULT_FREQ, DEFAULT_CELL, DEFAULT_SIZE = 150e6, 2.0, 2000
FIELDS = ("sky1", "sky2")
_TRIES = 200
MOST_GAIN, MOST_PHASE, TIMESCALES = 0.05, 10.0, (300.0, 3600.0)
"""Largest gain errors that ``varied`` draws: of the amplitude, of the phase [deg], and how fast [s]."""
LOWEST = np.deg2rad(20.0)
"""``varied`` tracks stay above this elevation."""


@dataclass(frozen=True)
class LofarSettings:
    """Everything that decides what a data set holds, checked; see `make_lofar_settings` for the arguments.

    Parameters
    ----------
    observation : LofarObservation
    preset : str
        ``"sky"`` where the user's own model is observed.
    rms : float
        Noise of the dirty image [Jy/beam].
    noise, pbcor, quick : bool
    products : tuple of str
    gain_rms, phase_rms, gain_time : float or None
        Of the gain errors (amplitude, phase [deg], timescale [s]); None: drawn anew for every image.
    backend : str
    drawn : tuple of str
        Of ``dec``, ``hour_angle``, ``total_time`` and ``robust``: what is drawn anew for every image.
    sky_file : ModelFile or None
    sky_path : str
        For the record.
    web, web_record : str
        The cosmic web that skies are drawn from, and what the record says of it; empty for none.
    field : str or None
        ``sky1``, ``sky2``, or None for both.
    """

    observation: LofarObservation
    preset: str
    rms: float
    noise: bool
    pbcor: bool
    quick: bool
    products: tuple[str, ...]
    gain_rms: float | None = 0.0
    phase_rms: float | None = 0.0
    gain_time: float | None = 1200.0
    backend: str = "fast"
    drawn: tuple[str, ...] = ()
    sky_file: ModelFile | None = None
    sky_path: str = ""
    web: str = ""
    web_record: str = ""
    field: str | None = None

    def parameters(self) -> dict[str, Any]:
        """Plain values for ``dataset.json``: equal for equal data sets."""
        names = (
            *("preset", "rms", "noise", "pbcor", "quick", "products", "drawn"),
            *("gain_rms", "phase_rms", "gain_time", "backend"),
        )
        record = {**self.observation.parameters(), **{k: getattr(self, k) for k in names}}
        if self.sky_file is not None:
            record["sky"] = self.sky_path
            record["sky_sha256"] = hashlib.sha256(self.sky_file.data.tobytes()).hexdigest()
        if self.web:
            record |= {"web": self.web_record, "web_version": VERSION, "field": self.field}
        return record

    def errors_of(self, rng: np.random.Generator) -> GainErrors:
        """Size of the gain errors of one image."""
        amplitude, phase = rng.uniform(0, MOST_GAIN), rng.uniform(0, MOST_PHASE)
        time = float(np.exp(rng.uniform(*np.log(TIMESCALES))))
        return GainErrors(
            round(amplitude, 4) if self.gain_rms is None else self.gain_rms,
            round(phase, 2) if self.phase_rms is None else self.phase_rms,
            round(time) if self.gain_time is None else self.gain_time,
        )

    def observation_of(self, rng: np.random.Generator) -> LofarObservation:
        """The observation of one image: its own where something is drawn."""
        if not self.drawn:
            return self.observation
        for _ in range(_TRIES):
            draws = {
                "dec": float(np.rad2deg(np.arcsin(rng.uniform(0, 1)))),
                "hour_angle": float(rng.uniform(-2, 2)),
                "total_time": float(rng.uniform(2, 8)) * 3600,
                "robust": float(rng.uniform(-1, 0.5)),
            }
            wanted: dict[str, Any] = {k: round(v, 3) for k, v in draws.items() if k in self.drawn}
            grid = replace(self.observation.grid, dec=wanted.pop("dec", self.observation.grid.dec))
            one = replace(self.observation, grid=grid, **wanted)
            with suppress(InputError):  # below the telescope's own limit
                coarse = replace(one, integration=one.total_time / 16).track()
                if coarse.elevation.min() > LOWEST or self.drawn == ("robust",):
                    return one
        raise InputError("no track stays above 20 deg of elevation", "give a shorter one, or another place")


def make_lofar_settings(
    *,
    preset: str = "paper",
    sky: str | os.PathLike[str] | None = None,
    ra: float | str | None = None,
    dec: float | str | None = None,
    hour_angle: float | str | None = None,
    start: str | float | None = None,
    total_time: float | str | None = None,
    integration: float | str = 60.0,
    freq: float | str | None = None,
    cell: float | str | None = None,
    size: int | None = None,
    robust: float | None = None,
    rms: float | str = 1e-4,
    products: str | tuple[str, ...] | list[str] = DEFAULT_PRODUCTS,
    noise: bool = True,
    pbcor: bool = False,
    quick: bool = False,
    primary_beam: str = "auto",
    gain_rms: float | None = None,
    phase_rms: float | None = None,
    gain_time: float | str | None = None,
    backend: str = "fast",
    web: str | os.PathLike[str] | None = None,
    field: str | None = None,
) -> LofarSettings:
    """Check and complete the arguments of `faintsky.simulate_lofar`, which explains them.

    Raises
    ------
    InputError
        For any value that makes no sense.
    """
    if preset not in ROBUST:
        raise InputError(f"preset {preset!r} is not known", f"choose one of {', '.join(ROBUST)}")
    file = read_model(sky) if sky is not None else None
    if file is not None and len(file.data) > 1:
        raise InputError("holds more than one plane", "give an image", sky)
    if web is not None and sky is not None:
        raise InputError("both a sky and a cosmic web are given", "give one of them")
    if field is not None and (web is None or field not in FIELDS):
        raise InputError(f"field {field!r} is not possible", f"give {' or '.join(FIELDS)}, and a web")
    if start is not None and hour_angle is not None:
        raise InputError("both an hour angle and a start are given", "give one of them")
    if robust is not None and not -2 <= robust <= 2:
        raise InputError(f"robustness {robust!r} is out of range", "give a number from -2 to 2")
    observation = LofarObservation(
        grid=_grid(file, ra, dec, cell, size),
        freq=_frequency(freq, file),
        total_time=positive(28800.0 if total_time is None else total_time, "time", "--total-time"),
        integration=positive(integration, "time", "--integration"),
        hour_angle=quantity(0.0 if hour_angle is None else hour_angle, "hours", "--hour-angle"),
        start=start_mjd(start),
        robust=ROBUST[preset] if robust is None else float(robust),
        primary_beam=choose_beam(primary_beam),
    )
    if observation.total_time < observation.integration:
        raise InputError("the total time is shorter than one integration", "make it longer")
    names = _products(products)
    _check_backend(backend, quick, "clean" in names)
    unset = None if preset == "varied" else 0.0
    given = {"dec": dec if file is None else 0, "total_time": total_time, "robust": robust}
    given["hour_angle"] = hour_angle if start is None else start
    return LofarSettings(
        observation=observation,
        preset=preset if file is None else "sky",
        rms=positive(rms, "brightness", "--rms"),
        noise=bool(noise),
        pbcor=bool(pbcor),
        quick=bool(quick),
        products=names,
        gain_rms=_size_of_errors(gain_rms, "gain rms", 0.5, unset),
        phase_rms=_size_of_errors(phase_rms, "phase rms", 90.0, unset),
        gain_time=_timescale(gain_time, None if unset is None else GainErrors.timescale),
        backend=backend,
        drawn=tuple(k for k, v in given.items() if v is None) if preset == "varied" else (),
        sky_file=file,
        sky_path=Path(sky).name if sky is not None else "",
        web="" if web is None else str(web),
        web_record="" if web is None else check_web(web),
        field=field,
    )


def _products(products: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    names = tuple(products.split(",")) if isinstance(products, str) else tuple(products)
    wrong = [p for p in names if p not in PRODUCTS]
    if wrong or not names:
        raise InputError(f"product {wrong[0] if wrong else ''!r} is not known", f"choose from {PRODUCTS}")
    return tuple(p for p in PRODUCTS if p in names)


def _size_of_errors(value: float | None, option: str, most: float, unset: float | None) -> float | None:
    if value is None:
        return unset
    if not 0 <= value <= most:
        raise InputError(f"{option} {value!r} is out of range", f"give a number from 0 to {most:g}")
    return float(value)


def _timescale(value: float | str | None, unset: float | None) -> float | None:
    return unset if value is None else positive(value, "time", "--gain-time")


def _check_backend(backend: str, quick: bool, clean: bool) -> None:
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r} is not known", f"choose one of {', '.join(BACKENDS)}")
    if quick and (clean or backend != "fast"):
        what = "clean images need" if clean else "WSClean needs"
        raise InputError(f"{what} visibilities, which --quick leaves out", "leave --quick out")
    if backend == "wsclean":
        from faintsky.simulating.wsclean import check_wsclean

        check_wsclean()
    elif clean:
        from faintsky.simulating.radler_clean import check_radler

        check_radler()


def _frequency(freq: float | str | None, file: ModelFile | None) -> float:
    if freq is None:
        spectral = None if file is None else file.spectral
        freq = DEFAULT_FREQ if spectral is None else spectral.first
    value = positive(freq, "frequency", "--freq")
    if not 100e6 <= value <= 250e6:
        raise InputError(f"{value / 1e6:g} MHz is outside LOFAR's high band", "give 100 to 250 MHz")
    return value


def _grid(
    file: ModelFile | None,
    ra: float | str | None,
    dec: float | str | None,
    cell: float | str | None,
    size: int | None,
) -> ImageGrid:
    old = ImageGrid(DEFAULT_SIZE, DEFAULT_SIZE, DEFAULT_CELL, DEFAULT_RA, DEFAULT_DEC)
    if file is not None:
        old = file.grid
        if size is not None and (size, size) != old.shape:
            raise InputError(f"size {size} is not the sky's {old.n_x} x {old.n_y}", "leave --size out")
    place = direction(old.ra % 360 if ra is None else ra, old.dec if dec is None else dec)
    side = old.cell if cell is None else positive(cell, "angle", "--cell")
    if file is not None:
        return ImageGrid(old.n_y, old.n_x, side, *place, old.x0, old.y0)
    n = DEFAULT_SIZE if size is None else count(size, "size", 32, 20_000)
    return ImageGrid(n, n, side, *place)
