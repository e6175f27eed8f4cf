"""LOFAR's primary beam by EveryBeam, computed in a process of its own; run as a program, that process.

EveryBeam's traps: casacore must be imported first (that import points it at the wheel's measures data);
``EVERYBEAM_DATADIR`` must name the wheel's share folder; without ``use_channel_frequency`` the delays are
formed at 0 Hz, which leaves a beam at the zenith; the pointing is on the grid only where its width is even;
station names must end in HBA, HBA0 or HBA1; and a tile's 16 dipoles have no place in a station that is built
by hand, so that their factor is multiplied in here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import FaintskyError
from faintsky.grid import SPEED_OF_LIGHT, ImageGrid

COARSE = 34
"""Points a side at which the beam is computed; a polynomial goes through them."""
_DEGREE = 6
_TILES = 24
_MJD_UNIX = 40587.0


def everybeam_beam(grid: ImageGrid, freq: float, times: NDArray[np.float64]) -> NDArray[np.float32]:
    """Stokes-I power beam, mean over baselines and times, 1 at the phase centre.

    Remote stations are cut down to their 24 inner tiles (HBA_DUAL_INNER).

    Parameters
    ----------
    grid : ImageGrid
    freq : float
        [Hz]
    times : array
        ``[time]`` [MJD, UTC]

    Returns
    -------
    array
        ``[y, x]``

    Raises
    ------
    FaintskyError
        Where EveryBeam fails; with its last line.
    """
    # half the width of the coarse grid's inner part, which reaches the image's farthest edge
    reach = max(grid.x0, grid.n_x - grid.x0, grid.y0, grid.n_y - grid.y0) * grid.cell_rad
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "beam.npz"
        np.savez(path, place=np.deg2rad([grid.ra, grid.dec]), freq=freq, times=times, reach=reach)
        run = subprocess.run(
            [sys.executable, "-m", "faintsky.telescopes.everybeam", str(path)], capture_output=True, text=True
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
    # the one place where the order of imports matters: casacore before EveryBeam
    import casacore  # noqa: F401

    os.environ.setdefault("EVERYBEAM_DATADIR", os.path.join(sys.prefix, "share", "everybeam"))
    from lofarantpos.db import LofarAntennaDatabase

    with np.load(path) as file:
        (ra, dec), freq = file["place"], float(file["freq"])
        times, reach = file["times"], float(file["reach"])
    from faintsky.telescopes.arrays import LOFAR_HBA, load_array

    names, positions = load_array(LOFAR_HBA).pads, LofarAntennaDatabase()
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
    telescope = eb.create_telescope(
        eb.TelescopeType.LOFAR,
        options,
        root,
        np.array(pointing),
        pointing,
        pointing,
        eb.BeamMode.none,
        [],
        freq,
    )
    grid = eb.GridSettings()
    grid.width = grid.height = COARSE
    grid.ra, grid.dec, grid.dl, grid.dm, grid.l_shift, grid.m_shift = ra, dec, step, step, 0.0, 0.0
    return telescope, grid


def _tile(positions: Any, name: str) -> NDArray[np.float64]:
    """Dipoles of a station's first tile around its middle, Earth-fixed, ``[16, 3]`` [m]."""
    dipoles = positions.hba_dipole_pqr(name).reshape(-1, 16, 3)[0]
    return (dipoles - positions.antenna_pqr(name)[0]) @ positions.pqr_to_etrs[name].T


def _sidereal(mjd: float) -> float:
    """Greenwich mean sidereal time [rad]; UTC stands for UT1."""
    import erfa

    zero = 2400000.5
    return float(erfa.gmst06(zero, mjd, *erfa.taitt(*erfa.utctai(zero, mjd))))


if __name__ == "__main__":
    _main(sys.argv[1])
