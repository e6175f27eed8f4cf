"""MeerKAT at L band: its 64 dishes, their primary beam and noise, and presets of simulations.

The positions of the dishes come from antenna descriptions of the observatory's library katpoint, in its tests
and in observing scripts ("m048, -30:42:39.8, 21:26:38.0, 1086.6, 13.5, -2805.653 2686.863 -9.755"). They are
east, north and up of the array's reference position. (CASA's data package has a plan of 80 dishes instead, of
which 64 were built, at other positions.) The default field is DEEP2 (Mauch et al. 2020, ApJ 888, 61).
"""

import numpy as np
from numpy.typing import ArrayLike

from faintsky.arrays import Float
from faintsky.telescopes.arrays import Stations
from faintsky.telescopes.record import Preset, Telescope

SITE = np.deg2rad(21 + 26 / 60 + 38.0 / 3600), -np.deg2rad(30 + 42 / 60 + 39.8 / 3600), 1086.6
"""Longitude, latitude [rad] and height [m] of the reference position."""
FWHM = np.deg2rad(57.5 / 60)
"""FWHM of the primary beam at the frequency `REFERENCE` [rad]."""
REFERENCE = 1.5e9
"""[Hz]"""
SEFD = 426.0
"""System equivalent flux density of a dish for one polarisation [Jy]."""


def cosine_beam(radius: ArrayLike, freq: ArrayLike, diameter: float = 13.5) -> Float:
    """Primary beam of a dish illuminated with a cosine taper, 1 on axis (Mauch et al. 2020, ApJ 888, 61).

    Parameters
    ----------
    radius : array
        Distance from the pointing centre [rad].
    freq : array
        [Hz]; broadcast with ``radius``.
    diameter : float, optional
        Not used: the width is the measured one.

    Returns
    -------
    array
        ``(cos(1.189 pi r) / (1 - 4 (1.189 r)**2))**2`` with r the radius over 57.5 arcmin (1.5 GHz / freq).
    """
    r = 1.189 * np.asarray(radius) / (FWHM * REFERENCE / np.asarray(freq, dtype=float))
    # where both vanish, at r = 1/2, the ratio is pi / 4
    below = 1 - 4 * r**2
    near = np.abs(below) < 1e-6
    return np.where(near, np.pi / 4, np.cos(np.pi * r) / np.where(near, 1.0, below)) ** 2


def visibility_sigma(
    freq: ArrayLike,
    channel_width: float,
    integration: float,
    *,
    pwv: float = 0.0,
    elevation: float = 0.0,
    diameter: float = 13.5,
) -> Float:
    """Noise of a visibility of one polarisation.

    Parameters
    ----------
    freq : array
        ``[chan]`` [Hz]; the SEFD is the same at all frequencies.
    channel_width, integration : float
        Width of a channel [Hz] and length of an integration [s].
    pwv, elevation, diameter : float, optional
        Not used.

    Returns
    -------
    array
        Standard deviation of its real part, ``SEFD / sqrt(2 width time)``, ``[chan]`` [Jy].
    """
    return np.full(np.size(freq), SEFD / np.sqrt(2 * abs(channel_width) * integration))


_DEFAULTS = {
    "array": "meerkat", "ra": 63.36, "dec": -80.0, "total_time": "4h", "integration": "60s",
    "freq": "1.28GHz", "channels": 1, "channel_width": "856MHz", "cell": "1.5arcsec", "size": 2000,
    "robust": 0.0,
}  # fmt: skip
_LINES = {
    "freq": "1.35GHz", "channels": 64, "channel_width": "209kHz", "cell": "3arcsec", "size": 256,
    "robust": 0.5,
}  # fmt: skip
TELESCOPE = Telescope(
    name="meerkat",
    title="MeerKAT",
    about="MeerKAT's L band, 64 dishes",
    arrays={"meerkat": Stations("meerkat.csv", 13.5, SITE)},
    band=(856e6, 1712e6),
    beam=cosine_beam,
    beam_name="cosine",
    sigma=visibility_sigma,
    date=59293.0,
    presets={
        "continuum": Preset(
            "image", "galaxies", "images of radio galaxies and diffuse emission", {"rms": "10uJy/beam"}
        ),
        "lines": Preset(
            "cube", "varied", "cubes of lines as of neutral hydrogen, rotating discs among them", _LINES
        ),
    },
    backends={"image": ("fast", "wsclean"), "cube": ("fast",)},
    options=(
        *("channels", "channel_width", "robust", "rms", "snr", "quick", "gain_rms", "phase_rms", "gain_time"),
        *("web", "field"),
    ),
    defaults=_DEFAULTS,
)
