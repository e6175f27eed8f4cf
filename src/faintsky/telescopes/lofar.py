"""LOFAR's Dutch high-band stations, their primary beam, and presets of simulations.

The stations are 24 in the core, of two fields each, and 14 remote ones. Their phase centres are those of the
package lofarantpos 0.8 (ITRF; from LOFAR's own tables, by ``tools/make_station_tables.py``).

The primary beam is EveryBeam's if that is installed. Otherwise it is a Gaussian with a full width at half
maximum of 4.29 degrees at 150 MHz, which scales with the wavelength. This is the width of EveryBeam's beam
for fields of 24 tiles (HBA_DUAL_INNER) at a declination of 55 degrees.

EveryBeam (Hamaker's element model, times the array factor of a tile's 16 dipoles) gives the Stokes-I power
beam averaged over baselines and time. It runs as a separate process, with this file as the program, because
it needs casacore, which loads its own libraries. Some points need care. Casacore must be imported first (this
import sets the path of the wheel's measures data). ``EVERYBEAM_DATADIR`` must name the wheel's share folder.
Without ``use_channel_frequency`` the delays are formed at 0 Hz, which leaves a beam at the zenith. The
pointing is on the grid only if its width is even. Station names must end in HBA, HBA0 or HBA1. A station that
is built by hand lacks the 16 dipoles of a tile, so their array factor is multiplied in here.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from faintsky.arrays import Array32, Float
from faintsky.errors import FaintskyError
from faintsky.grid import SPEED_OF_LIGHT, ImageGrid
from faintsky.telescopes.arrays import Stations
from faintsky.telescopes.record import BeamMap, Library, Preset, Telescope, Varied

HBA = "lofar.hba.dutch"
FWHM = np.deg2rad(4.29)
"""FWHM of the Gaussian at `REFERENCE` [rad]."""
REFERENCE = 150e6
COARSE = 34
"""Points along a side at which the beam is computed; it is interpolated by a polynomial."""
_DEGREE = 6
_TILES = 24


def everybeam_beam(grid: ImageGrid, freq: float, times: Float) -> Array32:
    """Stokes-I power beam, mean over baselines and times, 1 at the phase centre.

    Only the 24 inner tiles of remote stations are used (HBA_DUAL_INNER).

    Parameters
    ----------
    grid : ImageGrid
        The pixels.
    freq : float
        Frequency [Hz].
    times : array
        Times of the track, ``[time]`` [MJD, UTC].

    Returns
    -------
    array
        ``[y, x]``

    Raises
    ------
    FaintskyError
        If EveryBeam fails; with the last line of its output.
    """
    # half the width of the coarse grid's inner part, which extends to the image's farthest edge
    reach = max(grid.x0, grid.n_x - grid.x0, grid.y0, grid.n_y - grid.y0) * grid.cell_rad
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "beam.npz"
        np.savez(path, place=np.deg2rad([grid.ra, grid.dec]), freq=freq, times=times, reach=reach)
        run = subprocess.run(
            [sys.executable, "-m", "faintsky.telescopes.lofar", str(path)], capture_output=True, text=True
        )
        if run.returncode:
            last = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
            raise FaintskyError(f"EveryBeam failed ({last}); choose the gaussian primary beam")
        with np.load(path) as file:
            coarse = file["power"].mean(axis=0)
    x = (np.arange(COARSE) - COARSE // 2) / (COARSE // 2 - 1)
    across, up = np.meshgrid(x, x)
    terms = np.polynomial.polynomial.polyvander2d(across.ravel(), up.ravel(), [_DEGREE, _DEGREE])
    fit = np.linalg.lstsq(terms, coarse.ravel(), rcond=None)[0].reshape(_DEGREE + 1, _DEGREE + 1)
    at_x = (np.arange(grid.n_x) - grid.x0) * grid.cell_rad / reach
    at_y = (np.arange(grid.n_y) - grid.y0) * grid.cell_rad / reach
    return np.polynomial.polynomial.polygrid2d(at_x, at_y, fit).T.astype(np.float32)


def _main(path: str) -> None:
    # casacore must be imported before EveryBeam
    import casacore  # noqa: F401

    os.environ.setdefault("EVERYBEAM_DATADIR", os.path.join(sys.prefix, "share", "everybeam"))
    from lofarantpos.db import LofarAntennaDatabase

    with np.load(path) as file:
        (ra, dec), freq = file["place"], float(file["freq"])
        times, reach = file["times"], float(file["reach"])
    names, positions = TELESCOPE.arrays[HBA].load(HBA).pads, LofarAntennaDatabase()
    step = reach / (COARSE // 2 - 1)
    telescope, grid = _telescope(positions, names, ra, dec, freq, step)
    offset = (np.arange(COARSE) - COARSE // 2) * step
    east, north = np.meshgrid(-offset, offset)
    tiles = [_tile(positions, name) for name in names]
    power = []
    for mjd in times:
        # direction minus pointing, to first order, in the frame of the rotating Earth
        hour = ra - _sidereal(mjd)
        to_east = np.array([-np.sin(hour), np.cos(hour), 0.0])
        to_north = np.array([-np.sin(dec) * np.cos(hour), -np.sin(dec) * np.sin(hour), np.cos(dec)])
        shift = east[..., None] * to_east + north[..., None] * to_north
        total: Any = 0.0
        squares: Any = 0.0
        for k, dipoles in enumerate(tiles):
            factor = np.exp(2j * np.pi * freq / SPEED_OF_LIGHT * shift @ dipoles.T).mean(axis=-1)
            jones = telescope.gridded_response(grid, float(mjd * 86400), freq, k).astype(complex)
            jones = jones * factor[..., None, None]
            total = total + jones
            squares = squares + (np.abs(jones) ** 2).sum(axis=(-1, -2))
        pairs = (np.abs(total) ** 2).sum(axis=(-1, -2)) - squares
        power.append(pairs / pairs[COARSE // 2, COARSE // 2])
    np.savez(path, power=np.array(power))


def _telescope(
    positions: Any, names: tuple[str, ...], ra: float, dec: float, freq: float, step: float
) -> tuple[Any, Any]:
    import everybeam as eb

    root = eb.StationNode()
    for name in names:
        centre = positions.phase_centres[name]
        axes = np.ascontiguousarray(positions.pqr_to_etrs[name].T)
        node = eb.StationNode(eb.StationCoordinateSystem(centre, axes), name)
        tiles = positions.antenna_pqr(name)
        for place in tiles[np.argsort((tiles**2).sum(axis=1))[:_TILES]]:
            node.add_child_element(np.ascontiguousarray(place))
        root.add_child_node(node, centre)
    options = eb.Options()
    options.element_response_model = eb.ElementResponseModel.hamaker
    options.beam_normalisation_mode = eb.BeamNormalisationMode.amplitude
    options.use_channel_frequency = True
    pointing = [ra, dec]
    centres = np.array(pointing), pointing, pointing
    kind, mode = eb.TelescopeType.LOFAR, eb.BeamMode.none
    telescope = eb.create_telescope(kind, options, root, *centres, mode, [], freq)
    grid = eb.GridSettings()
    grid.width = grid.height = COARSE
    grid.ra, grid.dec, grid.dl, grid.dm, grid.l_shift, grid.m_shift = ra, dec, step, step, 0.0, 0.0
    return telescope, grid


def _tile(positions: Any, name: str) -> Float:
    """Dipoles of a station's first tile relative to its centre, Earth-fixed, ``[16, 3]`` [m]."""
    dipoles = positions.hba_dipole_pqr(name).reshape(-1, 16, 3)[0]
    return (dipoles - positions.antenna_pqr(name)[0]) @ positions.pqr_to_etrs[name].T


def _sidereal(mjd: float) -> float:
    """Greenwich mean sidereal time [rad], with UTC in place of UT1."""
    import erfa

    zero = 2400000.5
    return float(erfa.gmst06(zero, mjd, *erfa.taitt(*erfa.utctai(zero, mjd))))


def gaussian_beam(radius: ArrayLike, freq: ArrayLike, diameter: float = 0.0) -> Float:
    """The Gaussian primary beam that is used if EveryBeam is not installed.

    Parameters
    ----------
    radius : array
        Distance from the pointing centre [rad].
    freq : array
        Frequency [Hz]; broadcast with ``radius``.
    diameter : float, optional
        Not used: the width is that of a station.

    Returns
    -------
    array
        Power, 1 on axis.
    """
    width = FWHM * REFERENCE / np.asarray(freq, dtype=float)
    return np.exp(-4 * np.log(2) * (np.asarray(radius) / width) ** 2)


def vary(rng: np.random.Generator, pick: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Options of an observation, see `Varied`."""
    draws = {
        "dec": float(np.rad2deg(np.arcsin(rng.uniform(0, 1)))),
        "hour_angle": float(rng.uniform(-2, 2)),
        "total_time": float(rng.uniform(2, 8)) * 3600,
        "robust": float(rng.uniform(-1, 0.5)),
    }
    return {name: round(value, 3) for name, value in draws.items()}


_DEFAULTS = {
    "array": HBA, "ra": 180.0, "dec": 55.0, "total_time": "8h", "integration": "60s", "freq": "150MHz",
    "channels": 1, "channel_width": 195312.5, "cell": "2arcsec", "size": 2000, "robust": 0.0,
    "rms": "0.1mJy/beam",
}  # fmt: skip
TELESCOPE = Telescope(
    name="lofar",
    title="LOFAR",
    about="LOFAR HBA, 62 Dutch stations",
    # the diameter of a core station's field, also used of remote stations (HBA_DUAL_INNER)
    arrays={HBA: Stations("lofar_hba.csv", 30.75, "CS002HBA0", dishes=False)},
    band=(100e6, 250e6),
    beam=gaussian_beam,
    maps={"everybeam": BeamMap(everybeam_beam, ("casacore", "lofarantpos", "everybeam"), "faintsky[lofar]")},
    beam_name="gaussian",
    date=59293.0,
    presets={
        "paper": Preset("image", "diffuse", "diffuse emission, Briggs 0"),
        "lotss": Preset("image", "galaxies", "radio galaxies too, Briggs -0.5", {"robust": -0.5}),
        "varied": Preset(
            "image",
            "galaxies",
            "an observation and gain errors of its own for every image",
            varied=Varied(vary, ("dec", "hour_angle", "total_time", "robust")),
        ),
    },
    backends={"image": ("fast", "wsclean")},
    options=("robust", "rms", "quick", "primary_beam", "gain_rms", "phase_rms", "gain_time", "web", "field"),
    defaults=_DEFAULTS,
    library=Library((HBA,) * 12, (15, 75), 8.0),
)

if __name__ == "__main__":
    _main(sys.argv[1])
