"""How an instrument is computed from antenna positions, and where it is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import DiskError, InputError
from faintsky.grid import ARCSEC, SPEED_OF_LIGHT, ImageGrid, SpectralGrid
from faintsky.simulating.beam_fit import fit_beam
from faintsky.simulating.instrument import (
    FORMAT_VERSION,
    PSF_TOLERANCE,
    Instrument,
    chebyshev_nodes,
    lagrange,
)
from faintsky.simulating.weighting import gridded, imaging_weights, parse_weighting
from faintsky.system import cache_folder
from faintsky.telescopes.arrays import AntennaArray
from faintsky.telescopes.noise import visibility_sigma
from faintsky.telescopes.primary_beam import cutoff_radius, primary_beam
from faintsky.telescopes.tracks import Track, make_track

MAX_NODES = 16
MAX_ROBUST_NODES = 6
ROBUST_TOLERANCE = 1e-3
MAX_PSF_BYTES = 2**30
_GRIDDING_ACCURACY = 1e-6


@dataclass(frozen=True)
class Observation:
    """What is asked of the telescope.

    Parameters
    ----------
    array : AntennaArray
    grid : ImageGrid
    spectral : SpectralGrid
    total_time, integration : float
        [s]
    hour_angle : float
        Of the track's middle [hours].
    start : float or None
        Beginning [MJD, UTC], instead of the hour angle.
    pwv : float
        Precipitable water [mm].
    weighting : str
        ``"natural"`` or ``"briggs:R"``.
    """

    array: AntennaArray
    grid: ImageGrid
    spectral: SpectralGrid
    total_time: float = 2400.0
    integration: float = 10.0
    hour_angle: float = 0.0
    start: float | None = None
    pwv: float = 0.8
    weighting: str = "natural"

    def parameters(self) -> dict[str, Any]:
        """Everything that the instrument depends on, as plain values."""
        plain = asdict(self)
        positions = np.ascontiguousarray(self.array.itrf).tobytes()
        plain["array"] = {
            "name": self.array.name,
            "antennas": len(self.array.pads),
            "diameter": self.array.diameter,
            "positions": hashlib.sha256(positions).hexdigest()[:16],
        }
        return plain

    def key(self) -> str:
        """Hash of `parameters` and of the format: the name of the cache file."""
        text = json.dumps({"format": FORMAT_VERSION, **self.parameters()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def track(self) -> Track:
        """Its baselines; see `faintsky.telescopes.tracks.make_track`."""
        return make_track(
            self.array,
            self.grid.ra,
            self.grid.dec,
            total_time=self.total_time,
            integration=self.integration,
            hour_angle=self.hour_angle,
            start=self.start,
        )


def natural_cell(observation: Observation) -> float:
    """An eighth of the beam of an observation, whatever its cell is now, to two digits [arcsec]."""
    track = observation.track()
    freq = float(observation.spectral.frequencies().max())
    longest = float(np.abs(track.uvw[:, :2]).max()) * freq / SPEED_OF_LIGHT
    # fine enough for any psf; its beam then sets the cell
    trial = ImageGrid(256, 256, 0.125 / longest / ARCSEC)
    weight = imaging_weights(track.uvw, freq, trial, parse_weighting(observation.weighting))
    maj, minor, _ = fit_beam(exact_psf(track.uvw, weight, freq, trial.cell_rad, trial.shape))
    return float(f"{np.sqrt(maj * minor) * trial.cell / 8:.2g}")


def get_instrument(
    observation: Observation, progress: Callable[[str], None] | None = None
) -> tuple[Instrument, Path | None]:
    """The instrument of an observation, from the cache or computed and put there.

    Returns
    -------
    instrument : Instrument
    path : Path or None
        The cache file; None where the cache folder cannot be written.
    """
    return cached(f"alma_{observation.key()}", lambda: build_instrument(observation), progress)


def cached(
    name: str, build: Callable[[], Instrument], progress: Callable[[str], None] | None = None
) -> tuple[Instrument, Path | None]:
    """The instrument of that name from the cache, or built and put there; see `get_instrument`."""
    path = cache_folder() / f"{name}.npz"
    if path.is_file():
        # a damaged or older file is simply made again
        with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile):
            return Instrument.load(path), path
    if progress:
        progress("computing the instrument (once; later runs read it from the cache)")
    instrument = build()
    try:
        instrument.save(path)
    except (OSError, DiskError):
        return instrument, None
    return instrument, path


def good_fft_size(n: int) -> int:
    """Smallest even size of at least ``n`` with no prime factor above 5."""
    size = n + n % 2
    while True:
        rest = size
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return size
        size += 2


def exact_psf(
    uvw: NDArray[np.float64],
    weight: NDArray[np.float64],
    freq: float,
    cell_rad: float,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """``sum w cos(2 pi (u l + v m)) / sum w`` by ducc0's gridder, ``[y, x]``, its middle at ``n // 2``."""
    from ducc0.wgridder import vis2dirty

    # ducc0's axes are [l, m] with its own signs; a psf is the same under a half turn, so u's alone matters
    flipped = uvw * np.array([-1.0, 1.0, 1.0])
    image = vis2dirty(
        uvw=flipped,
        freq=np.array([freq]),
        vis=np.ones((uvw.shape[0], 1), dtype=np.complex128),
        wgt=weight[:, None],
        npix_x=shape[1],
        npix_y=shape[0],
        pixsize_x=cell_rad,
        pixsize_y=cell_rad,
        epsilon=_GRIDDING_ACCURACY,
        do_wgridding=False,
        nthreads=1,
    )
    return np.asarray(image).T / weight.sum()


def psf_transfer(psf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Real transform ``[p_y, p_x // 2 + 1]`` of a psf ``[p_y, p_x]``; lags of -p/2 (unused) are cleared."""
    clean = psf.copy()
    clean[0, :] = 0.0
    clean[:, 0] = 0.0
    return np.fft.rfft2(np.fft.ifftshift(clean)).real


def _channel_sigmas(observation: Observation, track: Track, freq: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise of a visibility in each integration, ``[time, chan]`` [Jy]."""
    return np.stack(
        [
            visibility_sigma(
                freq,
                observation.spectral.width,
                observation.integration,
                pwv=observation.pwv,
                elevation=float(e),
                diameter=observation.array.diameter,
            )
            for e in track.elevation
        ]
    )


def _psf_at(
    observation: Observation, track: Track, padded: tuple[int, int], freq: float
) -> NDArray[np.float64]:
    weight = imaging_weights(track.uvw, freq, observation.grid, parse_weighting(observation.weighting))
    if weight.sum() <= 0:
        raise InputError(
            "no baseline falls into the image's uv plane", "give a smaller cell or a smaller array"
        )
    return exact_psf(track.uvw, weight, freq, observation.grid.cell_rad, padded)


def build_instrument(observation: Observation) -> Instrument:
    """Compute an instrument; seconds for a compact array, see `get_instrument` for the cached one.

    Raises
    ------
    InputError
        Where the source does not rise high enough, the array is not one of ALMA's dishes, the frequency
        is outside ALMA's bands, the cell is too coarse, …
    """
    grid, spectral = observation.grid, observation.spectral
    freq = spectral.frequencies()
    if freq.min() <= 0:
        raise InputError("the band reaches below 0 Hz", "choose fewer or narrower channels")
    track = observation.track()
    _check_sampling(track, grid, float(freq.max()))
    padded = (good_fft_size(2 * grid.n_y), good_fft_size(2 * grid.n_x))
    nodes, psfs, error = _nodes(observation, track, padded)
    transfer = np.stack([psf_transfer(p) for p in psfs]).astype(np.float32)
    cells, power, noise_nodes = _noise_spectrum(observation, track, padded)
    radius = grid.radius()
    diameter = observation.array.diameter
    beams = _beams(np.stack(psfs), nodes, freq, grid.cell)
    sigma = _image_sigma(observation, track)
    middle = float(freq[freq.size // 2])
    return Instrument(
        grid=grid,
        spectral=spectral,
        nodes=nodes,
        transfer=transfer,
        pb=np.stack([primary_beam(radius, f, diameter) for f in nodes]).astype(np.float32),
        noise_cells=cells,
        noise_nodes=noise_nodes,
        noise_power=power,
        sigma=sigma,
        beams=beams,
        pb_cutoff=cutoff_radius(middle, diameter) * middle,
        padded=padded,
        record={
            **observation.parameters(),
            "rows": int(track.uvw.shape[0]),
            "shadowed_rows": track.n_shadowed,
            "psf_interpolation_error": error,
            "elevation_deg": [float(np.rad2deg(track.elevation[i])) for i in (0, -1)],
            "hour_angle_h": [float(np.rad2deg(track.hour_angle[i]) / 15) for i in (0, -1)],
            "first_integration_mjd": float(track.ut1_mjd[0]),
        },
    )


def _check_sampling(track: Track, grid: ImageGrid, freq: float) -> None:
    longest = float(np.abs(track.uvw[:, :2]).max()) * freq / SPEED_OF_LIGHT
    if longest * grid.cell_rad > 0.5:
        needed = 0.5 / longest / ARCSEC
        raise InputError(
            f"cells of {grid.cell:g} arcsec do not sample the longest baselines",
            f"give a cell below {needed:.2g} arcsec",
        )


def _nodes(
    observation: Observation, track: Track, padded: tuple[int, int]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]], float]:
    """Frequencies and psfs that give every channel's psf by interpolation, and the error of that.

    Nodes are added until the error is within tolerance. Robust weights jump from channel to channel, as
    baselines move from one uv cell to the next: such psfs are kept for every channel, as long as they fit
    into `MAX_PSF_BYTES`.
    """
    freq = observation.spectral.frequencies()
    natural = parse_weighting(observation.weighting) is None
    low, high = float(freq.min()), float(freq.max())
    # at the end, in the middle and between: odd and even numbers of nodes err most at different places
    checks = sorted({low, float(freq[freq.size // 2]), float(freq[freq.size * 3 // 10])})
    truth = [_psf_at(observation, track, padded, f) for f in checks]
    sides = zip(padded, observation.grid.shape, strict=True)
    core = tuple(slice(p // 2 - n + 1, p // 2 + n) for p, n in sides)
    error, psfs = np.inf, []
    most = min(MAX_NODES, freq.size - 1) if natural else MAX_ROBUST_NODES * (freq.size > MAX_NODES)
    for count in range(1, most + 1):
        nodes = chebyshev_nodes(low, high, count)
        psfs = [_psf_at(observation, track, padded, float(f)) for f in nodes]
        error = max(
            float(np.abs(np.tensordot(row, [p[core] for p in psfs], axes=1) - t[core]).max())
            for row, t in zip(lagrange(nodes, np.array(checks)), truth, strict=True)
        )
        if error <= (PSF_TOLERANCE if natural else ROBUST_TOLERANCE):
            return nodes, psfs, error
    if freq.size > 1 and 2 * freq.size * padded[0] * padded[1] > MAX_PSF_BYTES:
        if error < 0.02:
            return nodes, psfs, error
        raise InputError(
            f"the psf changes too much over {low / 1e9:g}-{high / 1e9:g} GHz for one cube",
            "simulate the band in parts, or a smaller image",
        )
    return freq, [_psf_at(observation, track, padded, float(f)) for f in freq], 0.0


def _noise_spectrum(
    observation: Observation, track: Track, padded: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    """Cells, power and frequencies of noise that is correlated like the dirty image's.

    The transform of the noise's correlation is the density of squared weights times variance, counted here in
    the nearest cells of the padded uv plane: nowhere negative, and zero where no baseline comes. Neighbouring
    nodes are so close in frequency that the longest baseline moves by less than a cell from one to the next.
    """
    freq = observation.spectral.frequencies()
    wide = observation.grid.padded(*padded)
    robust = parse_weighting(observation.weighting)
    reach = float(np.abs(track.uvw[:, :2]).max()) * freq.max() / SPEED_OF_LIGHT * wide.cell_rad * max(padded)
    count = int(np.clip(np.ceil(reach * np.ptp(freq) / freq.max()) + 1, 1, freq.size))
    nodes = np.linspace(freq.min(), freq.max(), count)
    variance = _channel_sigmas(observation, track, nodes) ** 2
    planes = []
    for i, f in enumerate(nodes):
        weight = imaging_weights(track.uvw, float(f), observation.grid, robust)
        planes.append(gridded(track.uvw, float(f), wide, weight**2 * variance[track.time_index, i]))
    return *noise_cells(planes), nodes


def noise_cells(planes: list[NDArray[np.float64]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Cells of a real transform and the power in them, ``[plane, cell]``, of gridded squares of weights."""
    halves = [np.fft.ifftshift(p)[:, : p.shape[1] // 2 + 1].ravel() / p.sum() for p in planes]
    power = np.stack(halves)
    cells = np.nonzero(power.max(axis=0) > 0)[0]
    return cells, power[:, cells].astype(np.float32)


def _image_sigma(observation: Observation, track: Track) -> NDArray[np.float64]:
    """Thermal noise of the dirty image, two hands added, ``[chan]`` [Jy/beam]."""
    freq = observation.spectral.frequencies()
    robust = parse_weighting(observation.weighting)
    per_time = _channel_sigmas(observation, track, freq)
    if robust is None:
        share = np.bincount(track.time_index, minlength=len(per_time)) / track.uvw.shape[0] ** 2
        return np.sqrt(share @ per_time**2 / 2)
    shares = []
    for f in (freq.min(), freq.max()):
        weight = imaging_weights(track.uvw, float(f), observation.grid, robust)
        squares = np.bincount(track.time_index, weights=weight**2, minlength=len(per_time))
        shares.append(squares / weight.sum() ** 2)
    part = (freq - freq.min()) / (np.ptp(freq) or 1.0)
    share = shares[0] + part[:, None] * (shares[1] - shares[0])
    return np.sqrt((share * per_time.T**2).sum(axis=1) / 2)


def _beams(
    psfs: NDArray[np.float64], nodes: NDArray[np.float64], freq: NDArray[np.float64], cell: float
) -> NDArray[np.float64]:
    """Fitted beam of every channel, ``[chan, 3]`` [arcsec, arcsec, deg]."""
    n = min(*psfs.shape[1:], 128)
    y0, x0 = (s // 2 - n // 2 for s in psfs.shape[1:])
    core = psfs[:, y0 : y0 + n, x0 : x0 + n]
    weights = lagrange(nodes, freq)
    fits = [fit_beam(np.tensordot(w, core, axes=1)) for w in weights]
    return np.array([[maj * cell, minor * cell, pa] for maj, minor, pa in fits])
