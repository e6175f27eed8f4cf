"""Earth-rotation tracks: baselines seen from the source.

The Earth's orientation is erfa's (IAU 2006/2000A precession-nutation, sidereal time). As in CASA, annual
aberration tilts the baselines, and polar motion is ignored. Nothing is downloaded: UT1 comes from the IERS
table that astropy ships, and is taken as UTC outside that table's dates.

Tracks by hour angle follow simobserve, so that baselines agree with CASA's to a millimetre. Two errors of
simobserve are kept: seconds of hour angle are added as seconds of clock time, and TAI is used as UT1. The
middle of a "transit" track is therefore up to two and a half minutes past transit (53 s for the default
field). Tracks by ``start``, and those centred on `transit`, do not have these errors.

For LOFAR, baselines of 120 km agree within 0.35 m with casacore's measures (which include polar motion and an
older nutation). Those written by pyuvdata are rotated about the line of sight, by 0.4 arcsec for a field at
RA 180 deg, Dec 55 deg (0.35 m including other differences) and by 3.4 arcsec at RA 100 deg, Dec 35 deg.
"""

from dataclasses import dataclass

import numpy as np

from faintsky.arrays import Bool, Float, Int
from faintsky.errors import InputError
from faintsky.telescopes.arrays import AntennaArray

DAY = 86400.0
MJD_ZERO = 2400000.5
LIGHT_AU_PER_DAY = 173.1446326846693
SIDEREAL = 1.00273790935
"""Rotations of the Earth in a day of 86400 s."""
CASA_DATE = 56658.0
"""Simobserve's reference date [MJD], 2014-01-01."""
MIN_ELEVATION = np.deg2rad(10.0)


@dataclass(frozen=True)
class Track:
    """Baselines of an array over one observation of a field.

    Parameters
    ----------
    uvw : array
        Baselines without shadowed ones, ``[row, 3]`` [m], toward east, north and the source. They are
        antenna1 minus antenna2, as in measurement sets of simobserve and pyuvdata.
    time_index, pair : array
        Integration of each row, and its pair of antennas in the order of ``numpy.triu_indices``, ``[row]``.
    ut1_mjd : array
        Middle of each integration, ``[time]`` [day, UT1].
    elevation, hour_angle : array
        Those of the source's apparent place, ``[time]`` [rad].
    n_shadowed : int
        Number of shadowed rows, which are left out.
    """

    uvw: Float
    time_index: Int
    pair: Int
    ut1_mjd: Float
    elevation: Float
    hour_angle: Float
    n_shadowed: int


@dataclass(frozen=True)
class _Sky:
    """The Earth's orientation and the source's direction at each time."""

    rotation: Float  # [time, 3, 3], Earth-fixed to J2000
    gast: Float
    apparent_ra: Float
    apparent_dec: Float
    source: Float  # unit vector, J2000
    apparent: Float  # [time, 3], with aberration, J2000


def ut1_minus_utc(mjd: float) -> float:
    """UT1 - UTC [s] at a UTC date, from the table that astropy ships; 0 outside it (an error below 0.9 s)."""
    from astropy.utils import iers

    value, status = iers.IERS_B.open().ut1_utc(MJD_ZERO, mjd, return_status=True)
    return float(value.value) if status == iers.FROM_IERS_B else 0.0


def _attitude(ut1_mjd: Float, ra: float, dec: float) -> _Sky:
    import erfa

    # UT1 in place of UTC, where a second does not matter
    tt = erfa.taitt(*erfa.utctai(MJD_ZERO, ut1_mjd))
    to_date = erfa.pnm06a(*tt)  # J2000 to true equator and equinox of date
    gast = erfa.gst06(MJD_ZERO, ut1_mjd, *tt, to_date)
    c, s, one, zero = np.cos(gast), np.sin(gast), np.ones_like(gast), np.zeros_like(gast)
    spin = np.moveaxis(np.array([[c, -s, zero], [s, c, zero], [zero, zero, one]]), -1, 0)
    source = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    around_sun, around_centre = erfa.epv00(*tt)
    velocity = around_centre["v"] / LIGHT_AU_PER_DAY
    lorentz = np.sqrt(1 - (velocity**2).sum(-1))
    apparent = erfa.ab(source, velocity, np.linalg.norm(around_sun["p"], axis=-1), lorentz)
    of_date = np.einsum("tij,tj->ti", to_date, apparent)
    return _Sky(
        rotation=np.einsum("tji,tjk->tik", to_date, spin),
        gast=gast,
        apparent_ra=np.arctan2(of_date[:, 1], of_date[:, 0]),
        apparent_dec=np.arcsin(of_date[:, 2]),
        source=source,
        apparent=apparent,
    )


def _wrap(angle: Float) -> Float:
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi


def casa_track_middle(array: AntennaArray, ra: float, dec: float, hour_angle: float) -> float:
    """Middle of simobserve's track for an hour angle, by its own time labels (MJD, used as UT1).

    Parameters
    ----------
    array : AntennaArray
        CASA measures hour angles at its first antenna.
    ra, dec : float
        J2000 [rad].
    hour_angle : float
        [hours]

    Returns
    -------
    float
        MJD.
    """
    import erfa

    date = CASA_DATE
    midnight = np.array([date + ut1_minus_utc(date) / DAY])
    sky = _attitude(midnight, ra, dec)
    longitude = np.arctan2(array.itrf[0, 1], array.itrf[0, 0])
    at_midnight = float(_wrap(sky.gast + longitude - sky.apparent_ra)[0])
    tai = erfa.utctai(MJD_ZERO, date)
    leap = (tai[0] - MJD_ZERO + tai[1] - date) * DAY
    return date + (leap - at_midnight * DAY / (2 * np.pi) + hour_angle * 3600.0) / DAY


def transit(array: AntennaArray, ra: float, dec: float, date: float) -> float:
    """Time at which a source's apparent place crosses an array's meridian on a day.

    Parameters
    ----------
    array : AntennaArray
        Its reference position counts.
    ra, dec : float
        J2000 [deg].
    date : float
        Beginning of the day [MJD, UTC].

    Returns
    -------
    float
        The first transit after ``date`` [MJD, UTC], accurate to a few milliseconds.
    """
    when = date
    for first in (True, False):
        ut1 = np.array([when + ut1_minus_utc(when) / DAY])
        sky = _attitude(ut1, np.deg2rad(ra), np.deg2rad(dec))
        angle = float(_wrap(sky.gast + array.longitude - sky.apparent_ra)[0])
        ahead = np.mod(-angle, 2 * np.pi) if first else -angle
        when += ahead / (2 * np.pi) / SIDEREAL
    return when


def make_track(
    array: AntennaArray,
    ra: float,
    dec: float,
    *,
    total_time: float,
    integration: float,
    hour_angle: float = 0.0,
    start: float | None = None,
) -> Track:
    """Baselines of every integration of an observation.

    Parameters
    ----------
    array : AntennaArray
        The antennas.
    ra, dec : float
        Phase centre, J2000 [deg].
    total_time, integration : float
        Length of the track and of an integration [s].
    hour_angle : float, optional
        Hour angle of the track's middle for the apparent place [hours], by CASA's clock (see above).
    start : float, optional
        Beginning of the first integration [MJD, UTC], instead of the hour angle.

    Returns
    -------
    Track
        Baselines, without those that are shadowed.

    Raises
    ------
    InputError
        If the source is below 10 degrees of elevation at any time (CASA flags such data), or if every
        baseline is shadowed.
    """
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    n_times = max(1, int(0.5 + total_time / integration))
    if start is None:
        first = casa_track_middle(array, a, d, hour_angle) - total_time / 2 / DAY
    else:
        first = start + ut1_minus_utc(start) / DAY
    times = np.asarray(first + (np.arange(n_times) + 0.5) * integration / DAY, dtype=np.float64)
    sky = _attitude(times, a, d)
    angle = _wrap(sky.gast + array.longitude - sky.apparent_ra)
    elevation = np.arcsin(
        np.sin(array.latitude) * np.sin(sky.apparent_dec)
        + np.cos(array.latitude) * np.cos(sky.apparent_dec) * np.cos(angle)
    )
    _refuse_low(elevation, array.latitude, dec)
    antennas = _antenna_uvw(array, sky, a, d)
    one, two = np.triu_indices(len(array.pads), k=1)
    baselines = antennas[:, one] - antennas[:, two]
    size = array.diameter if array.dishes else 0.0
    shadowed = _shadowed(baselines, one, two, len(array.pads), size)
    seen = ~(shadowed[:, one] | shadowed[:, two])
    if not seen.any():
        raise InputError("every antenna is shadowed by another", "observe nearer to transit")
    return Track(
        uvw=baselines[seen],
        time_index=np.nonzero(seen)[0],
        pair=np.nonzero(seen)[1],
        ut1_mjd=times,
        elevation=elevation,
        hour_angle=angle,
        n_shadowed=int((~seen).sum()),
    )


def _refuse_low(elevation: Float, latitude: float, dec: float) -> None:
    lowest = float(np.rad2deg(elevation.min()))
    if lowest >= np.rad2deg(MIN_ELEVATION):
        return
    best = 90.0 - abs(np.rad2deg(latitude) - dec)
    if best < np.rad2deg(MIN_ELEVATION):
        hint = f"choose another declination: at transit this one reaches {best:.1f} deg"
    else:
        hint = "choose an hour angle nearer to 0, another start or a shorter track"
    raise InputError(f"the source is at {lowest:.1f} deg of elevation, below the limit of 10 deg", hint)


def _antenna_uvw(array: AntennaArray, sky: _Sky, ra: float, dec: float) -> Float:
    """Antenna positions toward east, north and the source, ``[time, antenna, 3]`` [m]."""
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    axes = np.stack([east, north, sky.source])
    # relative to the first antenna, so that baselines keep their precision
    inertial = np.einsum("tij,aj->tai", sky.rotation, array.itrf - array.itrf[0])
    # aberration: rotation about the common normal that turns the apparent into the true direction
    normal = np.cross(sky.apparent, sky.source)
    sine = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = normal / np.where(sine > 0, sine, 1.0)
    cosine = (sky.apparent @ sky.source)[:, None, None]
    turned = (
        inertial * cosine
        + np.cross(normal[:, None], inertial) * sine[:, :, None]
        + np.einsum("tai,ti->ta", inertial, normal)[..., None] * normal[:, None] * (1 - cosine)
    )
    return turned @ axes.T


def _shadowed(baselines: Float, one: Int, two: Int, n: int, diameter: float) -> Bool:
    """Antennas that CASA flags because discs overlap as seen from the source, ``[time, antenna]``."""
    time, pair = np.nonzero(np.hypot(baselines[..., 0], baselines[..., 1]) < diameter)
    # as in CASA, the antenna nearer to the source counts as shadowed, so that baselines agree
    behind = np.where(baselines[time, pair, 2] > 0, one[pair], two[pair])
    shadowed = np.zeros((baselines.shape[0], n), dtype=bool)
    shadowed[time, behind] = True
    return shadowed
