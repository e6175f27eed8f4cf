"""ALMA: configurations, receivers, atmosphere, primary beam, and presets of simulations.

Thermal noise is that of CASA's simobserve with ``thermalnoise="tsys-atm"``: receivers, efficiencies and the
formula of the system temperature are those of CASA 6.7 (simutil.noisetemp, the simulator's atmospheric
corruptor). The atmosphere comes from a shipped table made with CASA's own ATM library by
``tools/make_atmosphere_table.py``, the pads of Cycle 9's configurations from CASA's data package
(`alma.cycle9.N.cfg`, by ``tools/make_station_tables.py``).

CASA's voltage pattern of an antenna is the transform of a uniformly illuminated dish with a central hole.
Their diameters are 10.7 m and 0.75 m for ALMA's 12 m antennas, and 6.25 m and 0.75 m for the 7 m antennas. In
the hole's term CASA has ``b x`` where an annular aperture would have ``x / b``; that form is kept here,
because simulations must agree with CASA (it differs from the textbook's by 0.011 at most).
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from faintsky.arrays import Float
from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT
from faintsky.telescopes.arrays import OBSERVATORIES, Stations
from faintsky.telescopes.record import Library, Preset, Telescope, Varied

KELVIN_PER_HZ = 0.04799274551e-9
"""Planck's constant over Boltzmann's [K / Hz]."""
BOLTZMANN_JY = 1380.62
"""Boltzmann's constant [Jy m2 / K], with CASA's digits."""
T_CMB = 2.725
T_GROUND = 270.0
SPILLOVER_EFFICIENCY = 0.95
_TAPER_EFFICIENCY = 0.72
_SUBREFLECTOR = 0.75
_EDGES = (35.0, 50.0, 84.0, 116.0, 162.0, 211.0, 275.0, 373.0, 500.0, 720.0)
_RECEIVERS = (28.0, 30.0, 40.0, 42.0, 50.0, 50.0, 72.0, 135.0, 105.0, 230.0)
"""Lower edge of each receiver band [GHz] and its noise temperature [K]; gaps belong to the band below."""


@dataclass(frozen=True)
class Dish:
    """An antenna: correlator efficiency, surface error [m], and diameters of lit dish and hole [m]."""

    correlator_efficiency: float
    surface_error: float
    lit: float
    hole: float


_DISHES = {12.0: Dish(0.845, 25e-6, 10.7, 0.75), 7.0: Dish(0.88, 20e-6, 6.25, 0.75)}


def dish_of(diameter: float) -> Dish:
    """The antenna of a diameter [m]; raises `InputError` for one that ALMA does not have."""
    if diameter not in _DISHES:
        fault = f"no noise and no primary beam are known for dishes of {diameter:g} m"
        raise InputError(fault, "give an array of 12 m or of 7 m dishes")
    return _DISHES[diameter]


def receiver_temperature(freq: float) -> float:
    """Receiver temperature of simobserve at ``freq`` [Hz], in K."""
    return _RECEIVERS[max(bisect_left(_EDGES, freq / 1e9) - 1, 0)]


@lru_cache(maxsize=1)
def _table() -> dict[str, Float]:
    path = files("faintsky.telescopes").joinpath("data/atmosphere.npz")
    with path.open("rb") as file, np.load(file) as table:
        return {k: table[k].astype(float) for k in table.files}


def atmosphere(freq: ArrayLike, pwv: float, airmass: float) -> tuple[Float, Float]:
    """Opacity along the line of sight and mean radiation temperature of the atmosphere.

    Parameters
    ----------
    freq : array
        ``[chan]`` [Hz]
    pwv : float
        Precipitable water [mm].
    airmass : float
        1 / sin(elevation).

    Returns
    -------
    opacity, temperature : array
        ``[chan]`` [neper] and [K].

    Raises
    ------
    InputError
        Outside the table's 35-950 GHz.
    """
    table = _table()
    ghz = np.asarray(freq, dtype=float) / 1e9
    grid = table["freq_ghz"]
    if ghz.min() < grid[0] or ghz.max() > grid[-1]:
        raise InputError(
            f"the atmosphere is known at {grid[0]:.0f}-{grid[-1]:.0f} GHz only", "choose other channels"
        )
    dry, wet = (np.interp(ghz, grid, table[k]) for k in ("dry_opacity", "wet_opacity_per_mm"))
    # the mean temperature hardly depends on water and airmass, so few nodes with linear interpolation suffice
    where = np.interp(np.log(max(pwv, 1e-3)), np.log(table["pwv_mm"]), np.arange(table["pwv_mm"].size))
    i = min(int(where), table["pwv_mm"].size - 2)
    step = np.clip((airmass - table["airmass"][0]) / (table["airmass"][1] - table["airmass"][0]), 0, 3)
    mean = table["mean_temperature_ck"] / 100
    at_pwv = mean[i] + (mean[i + 1] - mean[i]) * (where - i)
    kelvin = np.interp(ghz, grid, at_pwv[0] + (at_pwv[1] - at_pwv[0]) * step)
    return (dry + pwv * wet) * airmass, kelvin


def _photons(freq: Float, kelvin: Float | float) -> Float:
    return 1 / np.expm1(KELVIN_PER_HZ * freq / kelvin)


def system_temperature(freq: ArrayLike, *, pwv: float, elevation: float) -> Float:
    """System temperature referred to above the atmosphere.

    Parameters
    ----------
    freq : array
        ``[chan]`` [Hz]
    pwv : float
        Precipitable water [mm].
    elevation : float
        [rad]

    Returns
    -------
    array
        ``[chan]`` [K]. In photons per mode it is exp(tau) times the sum of receiver, sky and ground. Sky and
        ground are 0.95 of the atmosphere with the background behind it, and 0.05 of ground at 270 K. CASA
        6.7's values are larger by 0.1 % (100 GHz, 3 mm of water), 0.2 % (230 GHz, 0.8 mm) and 1.2 % (345 GHz,
        1.5 mm).
    """
    nu = np.atleast_1d(np.asarray(freq, dtype=float))
    opacity, kelvin = atmosphere(nu, pwv, float(1 / np.sin(elevation)))
    t_rx = receiver_temperature(float(nu[nu.size // 2]))
    through = np.exp(-opacity)
    sky = _photons(nu, kelvin) * (1 - through) + _photons(nu, T_CMB) * through
    ground = _photons(nu, T_GROUND)
    antenna = SPILLOVER_EFFICIENCY * sky + (1 - SPILLOVER_EFFICIENCY) * ground
    total = (antenna + _photons(nu, t_rx)) / through
    return KELVIN_PER_HZ * nu / np.log1p(1 / total)


def visibility_sigma(
    freq: ArrayLike,
    channel_width: float,
    integration: float,
    *,
    pwv: float,
    elevation: float,
    diameter: float = 12.0,
) -> Float:
    """Noise of a visibility of one polarisation: standard deviation of its real and of its imaginary part.

    Parameters
    ----------
    freq : array
        Channel centres, ``[chan]`` [Hz].
    channel_width : float
        Width of a channel [Hz].
    integration : float
        Length of an integration [s].
    pwv : float
        Precipitable water [mm].
    elevation : float
        Elevation of the source [rad].
    diameter : float, optional
        Diameter of the dishes [m]: 12 or 7.

    Returns
    -------
    array
        ``sqrt(2) k Tsys / (eta_a eta_q A sqrt(channel_width integration))``, ``[chan]`` [Jy].
    """
    nu, dish = np.atleast_1d(np.asarray(freq, dtype=float)), dish_of(diameter)
    # as in simobserve, efficiencies and receiver are those of the band's middle
    ruze = np.exp(-((4 * np.pi * dish.surface_error * nu[nu.size // 2] / SPEED_OF_LIGHT) ** 2))
    blockage = 1 - (_SUBREFLECTOR / diameter) ** 2
    efficiency = ruze * SPILLOVER_EFFICIENCY * blockage * _TAPER_EFFICIENCY * dish.correlator_efficiency
    area = np.pi * (diameter / 2) ** 2
    tsys = system_temperature(nu, pwv=pwv, elevation=elevation)
    return np.sqrt(2) * BOLTZMANN_JY * tsys / (efficiency * area * np.sqrt(abs(channel_width) * integration))


# CASA uses a table of its beam, of which the argument is smaller by this factor
_TABLE_SCALE = 0.99973


def primary_beam(radius: ArrayLike, freq: ArrayLike, diameter: float = 12.0) -> Float:
    """Power pattern, 1 on axis.

    Parameters
    ----------
    radius : array
        Distance from the pointing centre [rad].
    freq : array
        Frequency [Hz]; broadcast with ``radius``.
    diameter : float, optional
        Diameter of the dish [m]: 12 or 7.

    Returns
    -------
    array
        ``[(a 2 J1(x)/x - 2 J1(b x)/(b x)) / (a - 1)]**2`` with b = dish / hole, a = b**2,
        x = pi dish radius freq / c.

    Raises
    ------
    InputError
        For a dish that is not in CASA's model.
    """
    from scipy.special import j1

    dish = dish_of(diameter)
    x = _TABLE_SCALE * np.pi * dish.lit / SPEED_OF_LIGHT * np.asarray(freq, dtype=float) * np.asarray(radius)
    x = np.maximum(x, 1e-9)
    b = dish.lit / dish.hole
    outer, inner = 2 * j1(x) / x, 2 * j1(b * x) / (b * x)
    return ((b * b * outer - inner) / (b * b - 1)) ** 2


BANDS = (
    (90e9, 115e9, 5.0),
    (126e9, 162e9, 4.0),
    (163e9, 210e9, 1.5),
    (212e9, 274e9, 2.5),
    (277e9, 370e9, 1.3),
)
"""Bands 3 to 7: range of frequencies [Hz], and largest amount of water [mm]."""
DRIEST = 0.4
"""Least water of ``varied`` observations [mm]."""
MOST_OPAQUE = 1.0
"""Greatest opacity toward the zenith of ``varied`` observations [neper]."""
SIZES = (192, 224, 256, 288, 320, 360)
CHANNELS = (48, 64, 96, 128)
WEIGHTINGS = (*("natural",) * 7, "briggs:2", "briggs:0.5", "briggs:0")
ROBUST_SIZE = 256
"""Largest image with Briggs weights, which may need a psf for each channel [pixel]."""
ROBUST_CHANNELS = 64
"""Most channels with Briggs weights."""
PIXELS = (3.5, 8.0)
"""Pixels across the beam."""


def vary(rng: np.random.Generator, pick: Callable[[str, Any], Any]) -> dict[str, Any] | None:
    """Options of a possible observation with ALMA, see `Varied`; None if the sky is too opaque."""
    array = f"alma.cycle9.{rng.integers(1, 9)}"
    low, high, wettest = BANDS[rng.integers(len(BANDS))]
    n_chan = int(rng.choice(CHANNELS))
    width = round(float(np.exp(rng.uniform(np.log(2e6), np.log(60e6)))), -4)
    freq = pick("freq", round(float(rng.uniform(low, high)), -6))
    water = pick("pwv", round(float(rng.uniform(DRIEST, wettest)), 2))
    dec, ra = round(float(rng.uniform(-70, 30)), 3), round(float(rng.uniform(0, 360)), 3)
    hour_angle = round(float(rng.uniform(-3, 3)), 2)
    total = pick("total_time", round(float(np.exp(rng.uniform(np.log(300), np.log(7200)))), -1))
    step = pick("integration", max(round(total / int(rng.integers(20, 61))), 2.0))
    size = int(rng.choice(SIZES))
    weighting = pick("weighting", WEIGHTINGS[rng.integers(len(WEIGHTINGS))])
    if weighting != "natural":
        size, n_chan = min(size, ROBUST_SIZE), min(n_chan, ROBUST_CHANNELS)
    pixels = float(rng.uniform(*PIXELS))
    if pick("freq", None) is None and float(atmosphere(freq, water, 1.0)[0]) > MOST_OPAQUE:
        return None
    return {
        "array": array, "dec": dec, "ra": ra, "freq": freq, "channel_width": width, "channels": n_chan,
        "total_time": max(total, step), "integration": step, "hour_angle": hour_angle, "pwv": water,
        "weighting": weighting, "size": size, "pixels": pixels,
    }  # fmt: skip


_DEFAULTS = {
    "array": "alma.cycle9.3", "ra": 59.999833333333335, "dec": -34.99986111111111,
    "total_time": "2400s", "integration": "10s", "freq": "230GHz", "channels": 128,
    "channel_width": "10MHz", "size": 360, "pwv": 0.8, "weighting": "natural",
}  # fmt: skip
_DRAWN = (
    *("array", "ra", "dec", "hour_angle", "total_time", "integration", "freq", "channels", "channel_width"),
    *("cell", "size", "pwv", "weighting"),
)
_PAPER = Preset("cube", "paper", "as in Delli Veneri et al. (2022)", box_rule="paper")
TELESCOPE = Telescope(
    name="alma",
    title="ALMA",
    about="ALMA",
    arrays={
        f"alma.cycle9.{n}": Stations("alma_cycle9.csv", 12.0, OBSERVATORIES["ALMA"], f"C-{n}")
        for n in range(1, 11)
    },
    usual_cell=0.1,
    band=(35e9, 950e9),
    beam=primary_beam,
    sigma=visibility_sigma,
    presets={
        "paper": _PAPER,
        "text": Preset("cube", "text", "sizes and places by its text"),
        "emitters": Preset("cube", "emitters", "lines without continuum"),
        "empty": Preset("cube", "empty", "nothing"),
        "varied": Preset(
            "cube",
            "varied",
            "an observation of its own for every cube, and sources of many kinds",
            varied=Varied(vary, _DRAWN, steps=8),
        ),
    },
    backends={"cube": ("fast", "casa")},
    options=("array", "channels", "channel_width", "pwv", "weighting", "snr", "extra_noise"),
    defaults=_DEFAULTS,
    library=Library(tuple(f"alma.cycle9.{n}" for n in range(1, 9)), (-65, 15), 3.0),
)
