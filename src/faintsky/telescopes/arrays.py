"""Antenna positions: the shipped ALMA configurations and LOFAR stations, and CASA's configuration files.

The shipped table holds the pads of ALMA's Cycle 9 configurations C-1 to C-10 as CASA's data package lists
them (`alma.cycle9.N.cfg`). Local coordinates become Earth-fixed ones by the rule of CASA's simutil: east,
north and up on the WGS84 ellipsoid at the observatory's reference position.

The Dutch HBA stations of LOFAR, 24 in the core as two fields each and 14 remote ones, have the phase centres
that the package lofarantpos 0.8 gives (ITRF; from LOFAR's own tables).
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.errors import InputError

WGS84_EQUATOR = 6_378_137.0
WGS84_POLE = 6_356_752.3142
OBSERVATORIES = {
    # longitude, latitude [rad] and height [m] above WGS84, from CASA's table of observatories
    "ALMA": (-1.1825465955049892, -0.4018251640113072, 5056.8),
    "ACA": (-1.1825456819705693, -0.40191120447707007, 5056.8),
}


LOFAR_HBA = "lofar.hba.dutch"
LOFAR_FIELD = 30.75
"""Size of a core station's field, to which remote stations are cut down (HBA_DUAL_INNER) [m]."""


@dataclass(frozen=True)
class AntennaArray:
    """Where the antennas of an interferometer stand.

    Parameters
    ----------
    name : str
        Of the configuration.
    pads : tuple of str
        One name an antenna.
    itrf : array
        Earth-centred positions, ``[antenna, 3]`` [m].
    diameter : float
        Of every dish, or of a station's field [m].
    longitude, latitude : float
        Reference position, geodetic [rad].
    dishes : bool, optional
        False for fields of tiles on the ground: they cannot shadow each other.
    """

    name: str
    pads: tuple[str, ...]
    itrf: NDArray[np.float64]
    diameter: float
    longitude: float
    latitude: float
    dishes: bool = True

    @property
    def n_baselines(self) -> int:
        """Number of antenna pairs."""
        return len(self.pads) * (len(self.pads) - 1) // 2

    @property
    def longest_baseline(self) -> float:
        """Largest distance between two antennas [m]."""
        d = self.itrf[:, None] - self.itrf[None]
        return float(np.sqrt((d**2).sum(-1)).max())


def enu_to_itrf(enu: ArrayLike, longitude: float, latitude: float, height: float) -> NDArray[np.float64]:
    """Earth-centred positions of points given east, north and up of a place on WGS84.

    Parameters
    ----------
    enu : array
        ``[antenna, 3]`` [m].
    longitude, latitude : float
        Geodetic, of the place [rad].
    height : float
        Above the ellipsoid [m].

    Returns
    -------
    array
        ``[antenna, 3]`` [m]; CASA's simutil gives the same to a micrometre.
    """
    east, north, up = np.asarray(enu, dtype=float).T
    squared = (WGS84_POLE / WGS84_EQUATOR) ** 2
    s, c = np.sin(latitude), np.cos(latitude)
    curvature = WGS84_EQUATOR / np.sqrt(1 - (1 - squared) * s**2)
    outwards = (curvature + height + up) * c - north * s
    x = outwards * np.cos(longitude) - east * np.sin(longitude)
    y = outwards * np.sin(longitude) + east * np.cos(longitude)
    z = (curvature * squared + height + up) * s + north * c
    return np.stack([x, y, z], axis=-1)


def itrf_to_geodetic(position: ArrayLike) -> tuple[float, float]:
    """Geodetic longitude and latitude [rad] on WGS84 of an Earth-centred position [m] (Bowring's method)."""
    x, y, z = np.asarray(position, dtype=float)
    p = float(np.hypot(x, y))
    e2 = 1 - (WGS84_POLE / WGS84_EQUATOR) ** 2
    beta = np.arctan2(z * WGS84_EQUATOR, p * WGS84_POLE)
    top = z + e2 / (1 - e2) * WGS84_POLE * np.sin(beta) ** 3
    return float(np.arctan2(y, x)), float(np.arctan2(top, p - e2 * WGS84_EQUATOR * np.cos(beta) ** 3))


def shipped_arrays() -> list[str]:
    """Names that `load_array` knows without a file."""
    return [*(f"alma.cycle9.{n}" for n in range(1, 11)), LOFAR_HBA]


def load_array(name: str | os.PathLike[str]) -> AntennaArray:
    """A shipped configuration or a CASA configuration file.

    Parameters
    ----------
    name : str or path-like
        ``alma.cycle9.1`` … ``alma.cycle9.10`` (also ``C-3``, ``c3``), ``lofar.hba.dutch``, or the path of a
        ``.cfg`` file.

    Returns
    -------
    AntennaArray

    Raises
    ------
    InputError
        Where there is no such name or file, or the file cannot be understood.
    """
    path = Path(name)
    if path.is_file():
        return read_cfg(path)
    text = str(name)
    match = re.fullmatch(r"(?:alma\.cycle9\.|c-?)(\d+)(?:\.cfg)?", text.strip(), flags=re.IGNORECASE)
    if match and 1 <= int(match[1]) <= 10:
        return _shipped(int(match[1]))
    if text == LOFAR_HBA:
        return _dutch_stations()
    hint = "give a CASA .cfg file or one of alma.cycle9.1 to alma.cycle9.10"
    if path.suffix == ".cfg":
        raise InputError("there is no such array file", hint, text)
    raise InputError(f"there is no array {text!r}", hint)


def _table(name: str) -> Iterable[dict[str, str]]:
    text = files("faintsky.telescopes").joinpath("data", name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _dutch_stations() -> AntennaArray:
    rows = list(_table("lofar_hba.csv"))
    itrf = np.array([[float(r[k]) for k in ("x_m", "y_m", "z_m")] for r in rows])
    names = tuple(r["station"] for r in rows)
    longitude, latitude = itrf_to_geodetic(itrf[names.index("CS002HBA0")])
    return AntennaArray(LOFAR_HBA, names, itrf, LOFAR_FIELD, longitude, latitude, dishes=False)


def _shipped(number: int) -> AntennaArray:
    rows = [r for r in _table("alma_cycle9.csv") if r["configuration"] == f"C-{number}"]
    enu = [[float(r[k]) for k in ("east_m", "north_m", "up_m")] for r in rows]
    longitude, latitude, height = OBSERVATORIES["ALMA"]
    return AntennaArray(
        name=f"alma.cycle9.{number}",
        pads=tuple(r["pad"] for r in rows),
        itrf=enu_to_itrf(enu, longitude, latitude, height),
        diameter=float(rows[0]["diameter_m"]),
        longitude=longitude,
        latitude=latitude,
    )


def read_cfg(path: str | os.PathLike[str]) -> AntennaArray:
    """Read a CASA antenna configuration file.

    Comment lines ``# key=value`` give ``coordsys`` (``LOC``: east, north, up; ``XYZ``: Earth-centred),
    ``observatory`` and, for local coordinates of an observatory that is not ALMA, ``COFA=lon,lat`` [deg].
    Every other line is ``x y z diameter [pad [antenna]]``.

    Raises
    ------
    InputError
        Naming the file, the fault and a hint.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("not a readable text file", "give a CASA .cfg file", path) from error
    header = dict(_header(text.splitlines()))
    positions, diameters, pads = _antennas(text.splitlines(), path)
    if len(pads) < 2:
        raise InputError("holds fewer than two antennas", "give lines of x y z diameter pad", path)
    if np.ptp(diameters) > 0:
        raise InputError("has dishes of different sizes", "give an array of one kind of antenna", path)
    system = header.get("coordsys", "").upper()
    if system.startswith("XYZ"):
        itrf = np.array(positions)
        longitude, latitude = itrf_to_geodetic(itrf.mean(axis=0))
    elif system.startswith("LOC"):
        longitude, latitude, height = _reference(header, path)
        itrf = enu_to_itrf(positions, longitude, latitude, height)
    else:
        raise InputError(
            f"coordinate system {system or 'missing'!r} is not known",
            "start the file with '# coordsys=LOC' (east, north, up) or '# coordsys=XYZ' (Earth-centred)",
            path,
        )
    return AntennaArray(Path(path).stem, tuple(pads), itrf, float(diameters[0]), longitude, latitude)


def _header(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        if line.startswith("#") and line.count("=") == 1:
            key, value = line.replace("#", "").split("=")
            # CASA's files add remarks in brackets: "LOC (local tangent plane)"
            yield key.strip(), value.partition("(")[0].strip()


def _antennas(
    lines: Iterable[str], path: str | os.PathLike[str]
) -> tuple[list[list[float]], list[float], list[str]]:
    positions: list[list[float]] = []
    diameters: list[float] = []
    pads: list[str] = []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            x, y, z, diameter = (float(w) for w in words[:4])
        except ValueError as error:
            raise InputError(f"line {number} is not 'x y z diameter pad'", "correct it", path) from error
        if not np.isfinite([x, y, z, diameter]).all() or diameter <= 0:
            raise InputError(f"line {number} has no finite position or size", "correct that line", path)
        positions.append([x, y, z])
        diameters.append(diameter)
        pads.append(words[4] if len(words) > 4 else f"A{len(pads):02d}")
    return positions, diameters, pads


def _reference(header: dict[str, str], path: str | os.PathLike[str]) -> tuple[float, float, float]:
    if "COFA" in header:
        try:
            longitude, latitude = (float(v) for v in header["COFA"].split(",")[:2])
        except ValueError as error:
            raise InputError("COFA is not 'longitude,latitude'", "give both in degrees", path) from error
        return float(np.deg2rad(longitude)), float(np.deg2rad(latitude)), 0.0
    observatory = header.get("observatory", "").upper()
    if observatory not in OBSERVATORIES:
        raise InputError(
            f"local coordinates of an unknown observatory {observatory or 'without name'!r}",
            "add a line '# COFA=longitude,latitude' in degrees",
            path,
        )
    return OBSERVATORIES[observatory]
