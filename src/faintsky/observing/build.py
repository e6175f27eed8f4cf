"""How an instrument is computed from antenna positions, and where it is kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.grid import ARCSEC, SPEED_OF_LIGHT, ImageGrid, SpectralGrid
from faintsky.observing.beam_fit import fit_beam
from faintsky.observing.instrument import (
    FORMAT_VERSION,
    PSF_TOLERANCE,
    Instrument,
    chebyshev_nodes,
    lagrange,
)
from faintsky.observing.weighting import imaging_weights, parse_weighting
from faintsky.telescope.arrays import AntennaArray
from faintsky.telescope.noise import visibility_sigma
from faintsky.telescope.primary_beam import cutoff_radius, primary_beam
from faintsky.telescope.tracks import Track, make_track

MAX_NODES = 16
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
        """Its baselines; see `faintsky.telescope.tracks.make_track`."""
        return make_track(
            self.array,
            self.grid.ra,
            self.grid.dec,
            total_time=self.total_time,
            integration=self.integration,
            hour_angle=self.hour_angle,
            start=self.start,
        )


def default_cell(array: AntennaArray, freq: float) -> float:
    """An eighth of the natural beam's width, by the rule FWHM = 0.6 lambda / (80th percentile baseline) [arcsec].

    Rounded down to one significant digit and a half (1, 1.5, 2, 3, 4, 5, 7 of each decade).
    """
    d = array.itrf[:, None] - array.itrf[None]
    lengths = np.sqrt((d**2).sum(-1))[np.triu_indices(len(array.pads), k=1)]
    beam = 0.6 * SPEED_OF_LIGHT / freq / float(np.percentile(lengths, 80)) / ARCSEC
    decade = 10 ** np.floor(np.log10(beam / 8))
    steps = [s for s in (1, 1.5, 2, 3, 4, 5, 7) if s * decade <= beam / 8 * (1 + 1e-9)]
    return float(f"{steps[-1] * decade:.6g}")


def cache_folder() -> Path:
    """``$FAINTSKY_CACHE``, or ``faintsky`` in the user's cache folder."""
    given = os.environ.get("FAINTSKY_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "faintsky"


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
    path = cache_folder() / f"alma_{observation.key()}.npz"
    if path.is_file():
        # a damaged or older file is simply made again
        with suppress(OSError, ValueError, KeyError):
            return Instrument.load(path), path
    if progress:
        progress("computing the instrument (once; later runs read it from the cache)")
    instrument = build_instrument(observation)
    try:
        instrument.save(path)
    except OSError:
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
    uvw: NDArray[np.float64], weight: NDArray[np.float64], freq: float, cell_rad: float, shape: tuple[int, int]
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


def _transfer(psf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Real transform ``[p_y, p_x // 2 + 1]`` of a psf ``[p_y, p_x]``; lags of -p/2, never used, are cleared."""
    clean = psf.copy()
    clean[0, :] = 0.0
    clean[:, 0] = 0.0
    return np.fft.rfft2(np.fft.ifftshift(clean)).real


class _Plane:
    """What one frequency sees: weights, psf and noise spectrum."""

    def __init__(self, observation: Observation, track: Track, padded: tuple[int, int], freq: float) -> None:
        grid = observation.grid
        robust = parse_weighting(observation.weighting)
        weight = imaging_weights(track.uvw, freq, grid, robust)
        if weight.sum() <= 0:
            raise InputError(
                "no baseline falls into the image's uv plane", "give a smaller cell or a smaller array"
            )
        sigma = np.array(
            [
                visibility_sigma(
                    freq,
                    observation.spectral.width,
                    observation.integration,
                    pwv=observation.pwv,
                    elevation=float(e),
                    diameter=observation.array.diameter,
                )[0]
                for e in track.elevation
            ]
        )
        self.psf = exact_psf(track.uvw, weight, freq, grid.cell_rad, padded)
        variance = weight**2 * sigma[track.time_index] ** 2
        even = robust is None and np.ptp(sigma) < 1e-3 * sigma.mean()
        self.noise_psf = (
            self.psf if even else exact_psf(track.uvw, variance, freq, grid.cell_rad, padded)
        )


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
    nodes, planes = _nodes(observation, track, padded)
    transfer = np.stack([_transfer(p.psf) for p in planes]).astype(np.float32)
    cells, power = _noise_spectrum([p.noise_psf for p in planes], track.uvw, observation, padded)
    radius = grid.radius()
    diameter = observation.array.diameter
    beams = _beams(np.stack([p.psf for p in planes]), nodes, freq, grid.cell)
    sigma = _image_sigma(observation, track)
    middle = float(freq[freq.size // 2])
    return Instrument(
        grid=grid,
        spectral=spectral,
        nodes=nodes,
        transfer=transfer,
        pb=np.stack([primary_beam(radius, f, diameter) for f in nodes]).astype(np.float32),
        noise_cells=cells,
        noise_power=power,
        sigma=sigma,
        beams=beams,
        pb_cutoff=cutoff_radius(middle, diameter) * middle,
        padded=padded,
        record={
            **observation.parameters(),
            "rows": int(track.uvw.shape[0]),
            "shadowed_rows": track.n_shadowed,
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
) -> tuple[NDArray[np.float64], list[_Plane]]:
    """Nodes enough for the psf between them, or every channel where that is fewer."""
    freq = observation.spectral.frequencies()
    low, high = float(freq.min()), float(freq.max())
    checks = [low, float(freq[freq.size // 2])]
    truth = [_Plane(observation, track, padded, f) for f in checks]
    core = tuple(slice(p // 2 - n + 1, p // 2 + n) for p, n in zip(padded, observation.grid.shape, strict=True))
    for count in range(1, MAX_NODES + 1):
        nodes = freq if count >= freq.size else chebyshev_nodes(low, high, count)
        planes = [_Plane(observation, track, padded, float(f)) for f in nodes]
        if nodes is freq:
            return nodes, planes
        weights = lagrange(nodes, np.array(checks))
        errors = [
            np.abs(sum(w * p.psf[core] for w, p in zip(row, planes, strict=True)) - t.psf[core]).max()
            for row, t in zip(weights, truth, strict=True)
        ]
        if max(errors) <= PSF_TOLERANCE:
            return nodes, planes
    raise InputError(
        f"the psf changes too much over {low / 1e9:g}-{high / 1e9:g} GHz for one cube",
        "simulate the band in parts, or a smaller image",
    )


def _noise_spectrum(
    psfs: list[NDArray[np.float64]],
    uvw: NDArray[np.float64],
    observation: Observation,
    padded: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Cells and power of noise that is correlated like ``psfs``.

    The transform of the noise's correlation is the density of the weights, which is nowhere negative; cut to
    the padded grid it rings about zero where there are no baselines. Only the cells that baselines reach, and
    their neighbours, are kept, and what is negative there is cleared.
    """
    half = padded[1] // 2 + 1
    wide = observation.grid.padded(*padded)
    freq = observation.spectral.frequencies()
    reached = np.zeros((padded[0], half), dtype=bool)
    from faintsky.observing.weighting import uv_cells

    for f in (freq.min(), freq.max()):
        for sign in (1, -1):
            iy, ix = uv_cells(sign * uvw, float(f), wide)
            ky, kx = iy - padded[0] // 2, ix - padded[1] // 2
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    keep = (kx + dx >= 0) & (kx + dx < half)
                    reached[(ky[keep] + dy) % padded[0], kx[keep] + dx] = True
    # the zero column and the last are their own mirror images: the kept set must be symmetric there
    for column in (0, half - 1):
        reached[:, column] |= np.roll(reached[::-1, column], 1)
    cells = np.nonzero(reached.ravel())[0]
    multiplicity = np.where((cells % half == 0) | (cells % half == half - 1), 1.0, 2.0)
    power = np.stack([np.maximum(_transfer(p).ravel()[cells], 0.0) for p in psfs])
    power /= (power * multiplicity).sum(axis=1, keepdims=True)
    return cells, power.astype(np.float32)


def _image_sigma(observation: Observation, track: Track) -> NDArray[np.float64]:
    """Thermal noise of the dirty image, two hands added, ``[chan]`` [Jy/beam]."""
    freq = observation.spectral.frequencies()
    robust = parse_weighting(observation.weighting)
    per_time = np.stack(
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
