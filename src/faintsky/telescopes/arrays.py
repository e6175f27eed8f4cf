"""Antenna positions: shipped tables of stations, and CASA's configuration files.

Local coordinates are converted to Earth-fixed ones as in CASA's simutil: they are east, north and up on the
WGS84 ellipsoid at the observatory's reference position.
"""

import csv
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from faintsky.arrays import Float
from faintsky.errors import InputError

WGS84 = 6_378_137.0, 1 - 6_356_752.3142 / 6_378_137.0
"""Equatorial radius [m] and flattening, with CASA's digits."""
OBSERVATORIES = {
    # longitude, latitude [rad] and height [m] above WGS84, from CASA's table of observatories
    "ALMA": (-1.1825465955049892, -0.4018251640113072, 5056.8),
    "ACA": (-1.1825456819705693, -0.40191120447707007, 5056.8),
}


@dataclass(frozen=True)
class AntennaArray:
    """Antenna positions of an interferometer.

    Parameters
    ----------
    name : str
        Name of the configuration.
    pads : tuple of str
        Name of each antenna's pad.
    itrf : array
        Earth-centred positions, ``[antenna, 3]`` [m].
    diameter : float
        Diameter of every dish, or of a station's field [m].
    longitude, latitude : float
        Reference position, geodetic [rad].
    dishes : bool, optional
        False for fields of tiles on the ground, which cannot shadow each other.
    """

    name: str
    pads: tuple[str, ...]
    itrf: Float
    diameter: float
    longitude: float
    latitude: float
    dishes: bool = True


def enu_to_itrf(enu: ArrayLike, longitude: float, latitude: float, height: float) -> Float:
    """Earth-centred positions of points given east, north and up of a reference position on WGS84.

    Parameters
    ----------
    enu : array
        ``[antenna, 3]`` [m].
    longitude, latitude : float
        Geodetic reference position [rad].
    height : float
        Its height above the ellipsoid [m].

    Returns
    -------
    array
        ``[antenna, 3]`` [m]; CASA's simutil gives the same to a micrometre.
    """
    import erfa

    s, c, sl, cl = np.sin(latitude), np.cos(latitude), np.sin(longitude), np.cos(longitude)
    axes = np.array([[-sl, cl, 0.0], [-s * cl, -s * sl, c], [c * cl, c * sl, s]])
    return erfa.gd2gce(*WGS84, longitude, latitude, height) + np.asarray(enu, dtype=float) @ axes


def itrf_to_geodetic(position: ArrayLike) -> tuple[float, float]:
    """Geodetic longitude and latitude [rad] on WGS84 of an Earth-centred position [m]."""
    import erfa

    longitude, latitude, _ = erfa.gc2gde(*WGS84, np.asarray(position, dtype=float))
    return float(longitude), float(latitude)


@dataclass(frozen=True)
class Stations:
    """An array in a shipped table.

    Parameters
    ----------
    table : str
        File of ``data``: a name, then ``x_m, y_m, z_m`` (Earth-centred) or ``east_m, north_m, up_m``.
    diameter : float
        Diameter of every dish, or of a station's field [m].
    site : tuple of float or str
        Longitude, latitude [rad] and height [m] of the reference position; or the name of a station there.
    configuration : str, optional
        Value of the column ``configuration`` in the rows to use, if the table has one.
    dishes : bool, optional
        As for `AntennaArray`.
    """

    table: str
    diameter: float
    site: tuple[float, float, float] | str
    configuration: str = ""
    dishes: bool = True

    def load(self, name: str) -> AntennaArray:
        """The array; it is given this name."""
        text = files("faintsky.telescopes").joinpath("data", self.table).read_text(encoding="utf-8")
        rows = [
            r for r in csv.DictReader(text.splitlines()) if r.pop("configuration", "") == self.configuration
        ]
        pads = tuple(next(iter(r.values())) for r in rows)
        places = np.array([[float(v) for v in list(r.values())[1:4]] for r in rows])
        if isinstance(self.site, str):
            longitude, latitude = itrf_to_geodetic(places[pads.index(self.site)])
        else:
            longitude, latitude, _ = self.site
            places = enu_to_itrf(places, *self.site)
        return AntennaArray(name, pads, places, self.diameter, longitude, latitude, self.dishes)


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
    header: dict[str, str] = {}
    antennas: list[list[float]] = []
    pads: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#") and line.count("=") == 1:
            key, value = line.replace("#", "").split("=")
            # CASA's files add remarks in brackets: "LOC (local tangent plane)"
            header[key.strip()] = value.partition("(")[0].strip()
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            x, y, z, diameter = (float(w) for w in words[:4])
        except ValueError as error:
            raise InputError(f"line {number} is not 'x y z diameter pad'", "correct it", path) from error
        if not np.isfinite([x, y, z, diameter]).all() or diameter <= 0:
            raise InputError(f"line {number} has no finite position or size", "correct that line", path)
        antennas.append([x, y, z, diameter])
        pads.append(words[4] if len(words) > 4 else f"A{len(pads):02d}")
    if len(pads) < 2:
        raise InputError("holds fewer than two antennas", "give lines of x y z diameter pad", path)
    *places, diameters = np.array(antennas).T
    if np.ptp(diameters) > 0:
        raise InputError("has dishes of different sizes", "give an array of one kind of antenna", path)
    system, itrf = header.get("coordsys", "").upper(), np.stack(places, axis=1)
    if system.startswith("XYZ"):
        longitude, latitude = itrf_to_geodetic(itrf.mean(axis=0))
    elif system.startswith("LOC"):
        longitude, latitude, height = _reference(header, path)
        itrf = enu_to_itrf(itrf, longitude, latitude, height)
    else:
        raise InputError(
            f"coordinate system {system or 'missing'!r} is not known",
            "start the file with '# coordsys=LOC' (east, north, up) or '# coordsys=XYZ' (Earth-centred)",
            path,
        )
    return AntennaArray(Path(path).stem, tuple(pads), itrf, float(diameters[0]), longitude, latitude)


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
