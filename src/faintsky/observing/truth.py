"""The truth table of a simulated cube: the source table's columns, from what was injected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.grid import FWHM_PER_SIGMA, SPEED_OF_LIGHT, ImageGrid
from faintsky.observing.instrument import Instrument
from faintsky.sky.model import SkyModel
from faintsky.source_model import frequencies_2d, gaussian_transform, matched_snr, rfft_weights

if TYPE_CHECKING:
    from astropy.table import Table

BOX_RULES = {
    "paper": "pixels of the source's own noise-free image, scaled to 0-1, at or above 3 standard deviations "
    "of that image; along z the line's centre +- its FWHM",
    "tenth": "pixels of the source's own noise-free image at or above a tenth of its peak; along z the "
    "line's centre +- its FWHM",
}


def to_sky(grid: ImageGrid, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """Right ascension and declination of pixels (SIN projection), both [deg].

    Parameters
    ----------
    grid : ImageGrid
    x, y : array
        0-based pixels.
    """
    east, north = -(x - grid.x0) * grid.cell_rad, (y - grid.y0) * grid.cell_rad
    forward = np.sqrt(1 - east**2 - north**2)
    dec0 = np.deg2rad(grid.dec)
    ra = np.deg2rad(grid.ra) + np.arctan2(east, forward * np.cos(dec0) - north * np.sin(dec0))
    dec = np.arcsin(north * np.cos(dec0) + forward * np.sin(dec0))
    return np.mod(np.rad2deg(ra), 360), np.rad2deg(dec)


class BeamResponse:
    """What a compact source's peak becomes in the dirty image.

    Parameters
    ----------
    instrument : Instrument
        Its middle channel's psf is taken.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.transfer, self.n = instrument.small_transfer()
        self._fx, self._fy = frequencies_2d(*((self.n,) * 2))
        self._total = self.transfer * rfft_weights(self.n) / self.n**2

    def peak(self, fwhm_maj: float, fwhm_min: float, pa: float) -> float:
        """Dirty brightness at the middle of a Gaussian of unit flux: 1 for a point, less when resolved."""
        shape = gaussian_transform(self._fx, self._fy, 0.0, 0.0, fwhm_maj, fwhm_min, pa).real
        return float((self._total * shape).sum())

    def snr(
        self,
        line: NDArray[np.float64],
        sigma: NDArray[np.float64],
        fwhm_maj: float,
        fwhm_min: float,
        pa: float,
    ) -> float:
        """Matched S/N of a line ``[chan]`` [Jy, as received]; see `faintsky.source_model.matched_snr`."""
        return matched_snr(line, sigma, self.transfer, self.n, fwhm_maj, fwhm_min, pa)


def box(image: NDArray[np.float32], rule: str) -> tuple[int, int, int, int]:
    """``x_min, x_max, y_min, y_max`` (inclusive) of a source's own image ``[y, x]``; see `BOX_RULES`."""
    low, high = float(image.min()), float(image.max())
    if rule == "paper":
        level = low + 3 * float(image.std())
    else:
        level = 0.1 * high
    ys, xs = np.nonzero(image >= min(level, high))
    return int(xs.min()), int(xs.max()), int(ys.min()), int(ys.max())


def primary_beam_at(
    instrument: Instrument, x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Primary beam at sources' positions and line frequencies, ``[source]``."""
    from faintsky.telescope.primary_beam import primary_beam

    grid = instrument.grid
    radius = np.hypot(x - grid.x0, y - grid.y0) * grid.cell_rad
    freq = instrument.spectral.first + instrument.spectral.width * z
    return primary_beam(radius, freq, instrument.record["array"]["diameter"])


def truth_columns(
    sky: SkyModel,
    instrument: Instrument,
    sigma: NDArray[np.float64],
    continuum: NDArray[np.float64],
    rest_frequency: float,
    rule: str,
    response: BeamResponse | None = None,
) -> dict[str, Any]:
    """Columns of the truth table.

    Parameters
    ----------
    sky : SkyModel
    instrument : Instrument
    sigma : array
        Noise of the cube, ``[chan]`` [Jy/beam]: the S/N refer to it.
    continuum : array
        Noise-free dirty continuum at each source's place and line frequency, ``[source]`` [Jy/beam].
    rest_frequency : float
        [Hz]
    rule : str
        One of `BOX_RULES`.
    response : BeamResponse, optional
        Kept from an earlier cube of the same instrument.

    Returns
    -------
    dict
        As the catalogue has them, and ``continuum_flux`` and ``line_flux_peak`` [Jy], ``spectral_index``
        and ``central``.
    """
    response = response or BeamResponse(instrument)
    s, grid, spectral = sky.sources, sky.grid, sky.spectral
    n = sky.n_sources
    if n == 0:
        return {"id": np.zeros(0, dtype=int)}
    pb = primary_beam_at(instrument, s["x"], s["y"], s["z"])
    shapes = list(zip(s["fwhm_maj"], s["fwhm_min"], s["pa"], strict=True))
    peak = np.array([response.peak(*shape) for shape in shapes])
    snr = [response.snr(sky.lines[i] * pb[i], sigma, *shapes[i]) for i in range(n)]
    ra, dec = to_sky(grid, s["x"], s["y"])
    freq = spectral.first + spectral.width * s["z"]
    kms = SPEED_OF_LIGHT / 1e3
    fwhm_velocity = s["fwhm_z"] * abs(spectral.width) / rest_frequency * kms
    boxes = np.array([box(image, rule) for image in sky.images[:n]])
    beam = float(np.sqrt(instrument.beams[:, :2].prod(axis=1)).mean()) / grid.cell
    return {
        "id": np.arange(1, n + 1),
        "ra": ra,
        "dec": dec,
        "freq": freq,
        "velocity": kms * (1 - freq / rest_frequency),
        "x": s["x"],
        "y": s["y"],
        "z": s["z"],
        "fwhm_maj": s["fwhm_maj"] * grid.cell,
        "fwhm_min": s["fwhm_min"] * grid.cell,
        "pa": s["pa"],
        "fwhm_z": s["fwhm_z"],
        "fwhm_velocity": fwhm_velocity,
        # the area of a Gaussian of unit peak and FWHM is sqrt(2 pi) / 2.3548
        "flux": s["line_flux_peak"] * fwhm_velocity * np.sqrt(2 * np.pi) / FWHM_PER_SIGMA,
        "flux_peak": s["line_flux_peak"] * peak,
        "pb": pb,
        "continuum": continuum / pb,
        "snr": np.array(snr),
        "reliability": np.ones(n),
        "x_min": boxes[:, 0],
        "x_max": boxes[:, 1],
        "y_min": boxes[:, 2],
        "y_max": boxes[:, 3],
        "z_min": s["z"] - s["fwhm_z"],
        "z_max": s["z"] + s["fwhm_z"],
        "flags": _flags(s, beam, grid, spectral.n_chan),
        "continuum_flux": s["continuum_flux"],
        "line_flux_peak": s["line_flux_peak"],
        "spectral_index": s["spectral_index"],
        "central": s["central"].astype(bool),
    }


def _flags(s: Mapping[str, NDArray], beam: float, grid: ImageGrid, n_chan: int) -> list[str]:
    """``blended`` where two sources' widths with the beam meet, ``edge`` at the cube's ends."""
    flags = []
    reach = np.sqrt(s["fwhm_maj"] ** 2 + beam**2)
    for i in range(len(s["x"])):
        apart = np.hypot(s["x"] - s["x"][i], s["y"] - s["y"][i])
        near = (apart < (reach + reach[i]) / 2) & (np.arange(len(apart)) != i)
        names = ["blended"] if near.any() else []
        beyond = s["z"][i] - s["fwhm_z"][i] < 0 or s["z"][i] + s["fwhm_z"][i] > n_chan - 1
        outside = not (0 <= s["x"][i] <= grid.n_x - 1 and 0 <= s["y"][i] <= grid.n_y - 1)
        flags.append(",".join([*names, "edge"] if beyond or outside else names))
    return flags


def truth_table(columns: Mapping[str, Any], meta: Mapping[str, Any]) -> Table:
    """The table itself; see `faintsky.catalog.make_table`."""
    from faintsky.catalog import make_table

    return make_table(columns, meta=meta)
