"""The instrument: all properties of a telescope and an observation that do not change from sample to sample.

It is computed once (antenna positions, track, imaging weights, exact psf, primary beam, noise) and kept in
one file. With this file, simulating needs only torch and numpy.

The psf and the primary beam change slowly over a cube. They are stored at a few Chebyshev nodes in frequency
and interpolated by polynomials. Nodes are added until the error of the psf between them is below
`PSF_TOLERANCE` of its peak. An image has one node.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array, Array32, Bool, Float, Int
from faintsky.errors import DiskError, InputError
from faintsky.grid import ARCSEC, SPEED_OF_LIGHT, ImageGrid, Spectral, SpectralGrid, array_header
from faintsky.simulating.imaging import (
    dirty_image,
    exact_psf,
    fit_beam,
    fit_beam_wsclean,
    gridded,
    imaging_weights,
    noise_factor,
)
from faintsky.system import cache_folder, replacing
from faintsky.telescopes import (
    DAY,
    SIDEREAL,
    AntennaArray,
    Telescope,
    Track,
    cutoff_radius,
    make_track,
    telescope,
    transit,
)

FORMAT_VERSION = 4
PSF_TOLERANCE = 2e-4
"""Largest error of a psf between nodes with natural weights, over its peak."""
ROBUST_TOLERANCE = 1e-3
"""The same with Briggs weights, which change with the frequency."""
MAX_NODES = 16
"""Most nodes with natural weights."""
MAX_ROBUST_NODES = 6
"""The same with Briggs weights."""
MAX_PSF_BYTES = 2**30
"""Most memory for the psfs of all channels, where nodes do not reach the tolerance."""
MOST_LEFT_OUT = {"casa": 0.0, "wsclean": 0.05}
"""Fraction of visibilities that may lie outside the image's uv plane."""
_FITTED = 256
"""Side of the central part of a psf for what needs no more of it [pixel]."""


@dataclass(frozen=True)
class Observation:
    """Parameters of an observation.

    Parameters
    ----------
    telescope : str
        One of `faintsky.telescopes.TELESCOPES`.
    array : AntennaArray
        The antennas.
    grid : ImageGrid
        The pixels.
    spectral : SpectralGrid
        The channels; an image has one, of which the width is only recorded (there is no smearing).
    total_time, integration : float
        Length of the track and of an integration [s].
    hour_angle : float
        Hour angle of the track's middle, for the apparent place [hours].
    start : float or None
        Beginning [MJD, UTC], instead of the hour angle.
    robust : float or None
        Briggs' robustness; None for natural weights.
    pwv : float
        Precipitable water [mm].
    primary_beam : str
        The telescope's own, or one of its ``maps``.
    cells : str
        Rule for uv cells and for the fit of the beam: ``"casa"`` (cubes) or ``"wsclean"`` (images).
    """

    telescope: str
    array: AntennaArray
    grid: ImageGrid
    spectral: SpectralGrid
    total_time: float = 2400.0
    integration: float = 10.0
    hour_angle: float = 0.0
    start: float | None = None
    robust: float | None = None
    pwv: float = 0.8
    primary_beam: str = "dish"
    cells: str = "casa"

    @property
    def record(self) -> Telescope:
        """Record of the telescope."""
        return telescope(self.telescope)

    @property
    def freq(self) -> float:
        """Frequency of the middle channel [Hz]."""
        return self.spectral.middle

    def parameters(self) -> dict[str, Any]:
        """All parameters of the instrument as plain values."""
        positions = hashlib.sha256(np.ascontiguousarray(self.array.itrf).tobytes()).hexdigest()[:16]
        about = {"name": self.array.name, "antennas": len(self.array.pads), "diameter": self.array.diameter}
        return asdict(self) | {"array": {**about, "positions": positions}}

    @property
    def file(self) -> Path:
        """File in the cache, named by a hash of `parameters` and the format."""
        text = json.dumps({"format": FORMAT_VERSION, **self.parameters()}, sort_keys=True)
        return cache_folder() / f"{self.telescope}_{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"

    def begin(self) -> float | None:
        """Beginning of the first integration [MJD, UTC]; None if the track follows CASA's clock."""
        if self.start is not None or self.record.date is None:
            return self.start
        middle = transit(self.array, self.grid.ra, self.grid.dec, self.record.date)
        return middle + self.hour_angle / 24 / SIDEREAL - self.total_time / 2 / DAY

    def track(self) -> Track:
        """Baselines of the observation; see `faintsky.telescopes.make_track`."""
        return make_track(
            self.array, self.grid.ra, self.grid.dec, total_time=self.total_time,
            integration=self.integration, hour_angle=self.hour_angle, start=self.begin(),
        )  # fmt: skip

    def longest(self, track: Track) -> float:
        """Longest baseline along u or v, at the highest frequency [wavelengths]."""
        freq = float(self.spectral.frequencies().max())
        return float(np.abs(track.uvw[:, :2]).max()) * freq / SPEED_OF_LIGHT

    def natural_cell(self) -> float:
        """An eighth of the beam, to two digits [arcsec]; it does not depend on the present cell."""
        track, freq = self.track(), float(self.spectral.frequencies().max())
        # a cell that is fine enough for any psf; its beam then sets the final one
        trial = ImageGrid(256, 256, 0.125 / self.longest(track) / ARCSEC)
        weight = imaging_weights(track.uvw, freq, trial, self.robust)
        maj, minor, _ = fit_beam(exact_psf(track.uvw, weight, freq, trial))
        return float(f"{np.sqrt(maj * minor) * trial.cell / 8:.2g}")


class Sampling:
    """Baselines of an observation and their weights in its image.

    Raises
    ------
    InputError
        If the source is too low, or the cell too coarse.
    """

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        self.track = observation.track()
        grid, uvw = observation.grid, self.track.uvw
        scale = observation.spectral.frequencies().max() / SPEED_OF_LIGHT * grid.cell_rad
        # like WSClean, the few baselines that the cells do not sample are left out
        beyond = np.mean(np.abs(uvw[:, :2]).max(axis=1) * scale > 0.5)
        if beyond > MOST_LEFT_OUT[observation.cells]:
            raise InputError(
                f"cells of {grid.cell:g} arcsec do not sample the longest baselines",
                f"give a cell below {0.5 / observation.longest(self.track) / ARCSEC:.2g} arcsec",
            )

    def weights(self, freq: float) -> Float:
        """Imaging weights at a frequency [Hz], ``[row]``."""
        o = self.observation
        return imaging_weights(self.track.uvw, freq, o.grid, o.robust, o.cells)

    @cached_property
    def weight(self) -> Float:
        """Imaging weights of the middle channel, ``[row]``."""
        return self.weights(self.observation.freq)

    def image(self, vis: NDArray[np.complexfloating], grid: ImageGrid | None = None, **how: Any) -> Any:
        """Dirty image ``[y, x]`` of the middle channel's visibilities ``[row]``, on its own or another grid.

        Parameters
        ----------
        vis : array
            ``[row]`` [Jy]
        grid : ImageGrid, optional
            Another grid.
        **how
            As for `faintsky.simulating.imaging.dirty_image`.
        """
        o = self.observation
        return dirty_image(vis, self.weight, self.track.uvw, o.freq, grid or o.grid, **how)

    def psf(self, grid: ImageGrid) -> Array32:
        """Dirty image of a point of 1 Jy at the phase centre of ``grid``, ``[y, x]``."""
        return self.image(np.ones(self.weight.size, dtype=np.complex64), grid)

    def exact_psf(self, freq: float, padded: tuple[int, int]) -> Float:
        """The psf for w = 0 at a frequency [Hz], with its centre at ``n // 2`` of the padded shape."""
        wide = self.observation.grid.padded(*padded)
        return exact_psf(self.track.uvw, self.weights(freq), freq, wide)

    def sigmas(self, freq: Float) -> Float:
        """Thermal noise of a visibility of one polarisation, ``[time, chan]`` [Jy]."""
        o = self.observation
        assert o.record.sigma is not None
        how = {"pwv": o.pwv, "diameter": o.array.diameter}
        width, time = o.spectral.width, o.integration
        rows = (o.record.sigma(freq, width, time, elevation=float(e), **how) for e in self.track.elevation)
        return np.stack(list(rows))


@dataclass(frozen=True)
class Instrument:
    """Properties of one array, field, band, image and weighting.

    Parameters
    ----------
    grid : ImageGrid
        The pixels.
    spectral : SpectralGrid
        The channels.
    nodes : array
        Frequencies of the nodes, ``[node]`` [Hz].
    transfer : array
        Real transform of the psf on the padded grid, ``[node, p_y, p_x // 2 + 1]``, float32; it is exact for
        lags smaller than the image.
    pb : array
        Primary beam at the nodes, ``[node, n_y, n_x]``, float32.
    noise_cells : array
        Flat indices into ``[p_y, p_x // 2 + 1]`` of cells with noise, ``[cell]``.
    noise_nodes : array
        Frequencies at which the noise's power is stored, ``[noise_node]`` [Hz].
    noise_power : array
        Power of the noise, ``[noise_node, cell]``, float32, not negative; its sum over the plane is 1.
    sigma : array
        Thermal noise of the dirty image, ``[chan]`` [Jy/beam].
    beams : array
        Fitted beam, ``[chan, 3]`` [arcsec, arcsec, deg east of north].
    pb_cutoff : float
        Radius times frequency where the primary beam is `faintsky.telescopes.CUTOFF` [rad Hz].
    padded : tuple of int
        ``(p_y, p_x)``.
    record : dict
        Its parameters, and properties of the track, for headers and ``dataset.json``.
    """

    grid: ImageGrid
    spectral: SpectralGrid
    nodes: Float
    transfer: Array32
    pb: Array32
    noise_cells: Int
    noise_nodes: Float
    noise_power: Array32
    sigma: Float
    beams: Float
    pb_cutoff: float
    padded: tuple[int, int]
    record: dict[str, Any]

    def node_weights(self) -> Float:
        """Lagrange weights of the nodes at every channel, ``[chan, node]``."""
        return lagrange(self.nodes, self.spectral.frequencies())

    def noise_at(self, channels: slice | Int) -> Array32:
        """Power of the noise of some channels, ``[chan, cell]``; linear between nodes."""
        freq = self.spectral.frequencies()[channels]
        where = np.interp(freq, self.noise_nodes, np.arange(self.noise_nodes.size))
        low = np.minimum(where.astype(int), max(self.noise_nodes.size - 2, 0))
        high = np.minimum(low + 1, self.noise_nodes.size - 1)
        part = (where - low).astype(np.float32)[:, None]
        return self.noise_power[low] * (1 - part) + self.noise_power[high] * part

    def summed_noise(self, sigma: Array) -> Array32:
        """Power ``[cell]`` of the sum over channels of noises with standard deviations ``[chan]``."""
        freq = self.spectral.frequencies()
        hats = [np.interp(freq, self.noise_nodes, hat) for hat in np.eye(self.noise_nodes.size)]
        amounts = np.array(hats) @ np.square(sigma)
        return np.tensordot(amounts.astype(np.float32), self.noise_power, axes=1)

    def pb_cube(self) -> Array32:
        """Primary beam, ``[chan, y, x]``."""
        return np.tensordot(self.node_weights().astype(np.float32), self.pb, axes=1)

    def valid(self) -> Bool:
        """Where the primary beam is above the cutoff, ``[chan, y, x]``."""
        radius = self.grid.radius()[None] * self.spectral.frequencies()[:, None, None]
        return radius < self.pb_cutoff

    def node_psfs(self) -> Array32:
        """Psf at the nodes for all lags smaller than the image, ``[node, p_y, p_x]``, centred on p // 2."""
        images = np.fft.irfft2(self.transfer.astype(float), s=self.padded)
        return np.fft.fftshift(images, axes=(1, 2)).astype(np.float32)

    def psf_cube(self) -> Array32:
        """Psf of every channel with the image's shape, 1 at the phase centre's pixel, ``[chan, y, x]``."""
        y0, x0 = (p // 2 - round(c) for p, c in zip(self.padded, (self.grid.y0, self.grid.x0)))
        nodes = self.node_psfs()[:, y0 : y0 + self.grid.n_y, x0 : x0 + self.grid.n_x]
        return np.tensordot(self.node_weights().astype(np.float32), nodes, axes=1)

    def small_transfer(self) -> tuple[Float, int]:
        """Transform of the middle channel's psf within 256 pixels, and its width."""
        n = min(_FITTED, *(2 * (p // 2) for p in self.padded))
        weights = self.node_weights()[self.spectral.n_chan // 2]
        psf = np.tensordot(weights, self.node_psfs().astype(float), axes=1)
        y0, x0 = self.padded[0] // 2 - n // 2, self.padded[1] // 2 - n // 2
        return np.fft.rfft2(np.fft.ifftshift(psf[y0 : y0 + n, x0 : x0 + n])).real, n

    def primary_beam_at(self, x: NDArray, y: NDArray, z: NDArray) -> Float:
        """Primary beam at sources.

        Parameters
        ----------
        x, y, z : array
            Pixels and channels, ``[source]``.

        Returns
        -------
        array
            ``[source]``
        """
        radius = np.hypot(x - self.grid.x0, y - self.grid.y0) * self.grid.cell_rad
        array, beam = self.record["array"], telescope(self.record["telescope"]).beam
        return beam(radius, self.spectral.first + self.spectral.width * z, array["diameter"])

    def reach(self, level: float) -> float:
        """Radius at which the primary beam falls to ``level`` at the highest frequency [pixel]."""
        beam, highest = telescope(self.record["telescope"]).beam, float(self.spectral.frequencies().max())
        return cutoff_radius(beam, highest, self.record["array"]["diameter"], level) / self.grid.cell_rad

    @property
    def beam_pixels(self) -> float:
        """Geometric mean of the beam's axes in the middle channel [pixel]."""
        maj, minor, _ = self.beams[len(self.beams) // 2]
        return float(np.sqrt(maj * minor)) / self.grid.cell

    def save(self, path: str | Path) -> None:
        """Write everything to one ``.npz`` file, in one step."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        plain = {name: getattr(self, name) for name in ("pb_cutoff", "padded", "record")}
        plain |= {"format": FORMAT_VERSION, "grid": asdict(self.grid), "spectral": asdict(self.spectral)}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as name, name.open("wb") as file:
            np.savez(file, plain=np.array(json.dumps(plain)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; raises ValueError for a file of another format."""
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            plain = json.loads(str(file["plain"]))
            if plain.pop("format", None) != FORMAT_VERSION:
                raise ValueError("an instrument file of another version")
            arrays = {name: file[name] for name in _ARRAYS}
        grid, spectral = ImageGrid(**plain.pop("grid")), SpectralGrid(**plain.pop("spectral"))
        return cls(grid=grid, spectral=spectral, padded=tuple(plain.pop("padded")), **plain, **arrays)


_ARRAYS = ("nodes", "transfer", "pb", "noise_cells", "noise_nodes", "noise_power", "sigma", "beams")


def lagrange(nodes: Float, at: Float) -> Float:
    """Weights of values at ``nodes`` in the polynomial through them, ``[at, node]``."""
    scale = np.ptp(nodes) or 1.0
    x, a = (nodes - nodes[0]) / scale, (np.asarray(at) - nodes[0]) / scale
    weights = np.ones((a.size, x.size))
    for j in range(x.size):
        for k in range(x.size):
            if k != j:
                weights[:, j] *= (a - x[k]) / (x[j] - x[k])
    return weights


def chebyshev_nodes(low: float, high: float, count: int) -> Float:
    """Chebyshev nodes of an interval.

    Parameters
    ----------
    low, high : float
        Ends of the interval.
    count : int
        Number of nodes.

    Returns
    -------
    array
        ``[count]``; the centre for one node.
    """
    angle = (2 * np.arange(count) + 1) * np.pi / (2 * count)
    return (low + high) / 2 - (high - low) / 2 * np.cos(angle)


def get_instrument(
    observation: Observation,
    progress: Callable[[str], None] | None = None,
    build: Callable[[], Instrument] | None = None,
) -> Instrument:
    """The instrument of an observation from the cache; if missing it is computed and stored.

    Parameters
    ----------
    observation : Observation
        Its parameters.
    progress : callable, optional
        Called with a line of text during long steps.
    build : callable, optional
        Returns the instrument, instead of `build_instrument`.

    Returns
    -------
    Instrument
    """
    path = observation.file
    if path.is_file():
        # a damaged or older file is replaced
        with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile):
            return Instrument.load(path)
    if progress:
        progress("computing the instrument (once; later runs read it from the cache)")
    instrument = build_instrument(observation) if build is None else build()
    with suppress(OSError, DiskError):
        instrument.save(path)
    return instrument


def padded_shape(grid: ImageGrid) -> tuple[int, int]:
    """Even sizes of at least twice the image's, for which FFTs are fast."""
    from scipy.fft import next_fast_len

    n_y, n_x = (2 * next_fast_len(n, real=True) for n in grid.shape)
    return n_y, n_x


def build_instrument(
    observation: Observation, sampling: Sampling | None = None, flat: bool = True
) -> Instrument:
    """Compute an instrument, in seconds for a compact array; see `get_instrument` for the cached one.

    Parameters
    ----------
    observation : Observation
        Its parameters.
    sampling : Sampling, optional
        Its baselines and weights, if known.
    flat : bool, optional
        Whether to compute the psf of w = 0 and the power of the noise, which images from visibilities do not
        need.

    Returns
    -------
    Instrument
        For an image, ``sigma`` is the noise of the dirty image for visibilities with a noise of 1 Jy, and the
        beam is WSClean's fit to the psf with the w term.

    Raises
    ------
    InputError
        For example if the source does not rise high enough, the telescope lacks this frequency or dish, or
        the cell is too coarse.
    """
    grid, freq, middle = observation.grid, observation.spectral.frequencies(), observation.freq
    if freq.min() <= 0:
        raise InputError("the band reaches below 0 Hz", "choose fewer or narrower channels")
    sampling = sampling or Sampling(observation)
    track, padded, record = sampling.track, padded_shape(grid), observation.record
    image, diameter = observation.cells == "wsclean", observation.array.diameter
    nodes, psfs, error = _nodes(sampling, padded) if flat else (freq, [], 0.0)
    transfer = np.stack([_transfer(p) for p in psfs]) if flat else np.zeros((1, 0, 0))
    cells, power, noise_nodes = np.zeros(0, np.int64), np.zeros((1, 0), np.float32), freq[:1]
    if flat:
        cells, power, noise_nodes = _noise_spectrum(sampling, padded, thermal=not image)
    if image:
        sigma = np.array([noise_factor(sampling.weight)])
        fit = fit_beam_wsclean(sampling.psf(grid.padded(_FITTED, _FITTED)))
        beams = np.array([[fit[0] * grid.cell, fit[1] * grid.cell, fit[2]]])
    else:
        sigma, beams = _image_sigma(sampling), _beams(np.stack(psfs), nodes, freq, grid.cell)
    if observation.primary_beam in record.maps:
        begin = observation.begin()
        times = (begin or 0.0) + (np.arange(10) + 0.5) / 10 * observation.total_time / DAY
        pb = record.maps[observation.primary_beam].beam(grid, middle, times)[None]
    else:
        pb = np.stack([record.beam(grid.radius(), f, diameter) for f in nodes])
    cutoff = 1e30 if image else cutoff_radius(record.beam, middle, diameter) * middle
    return Instrument(
        grid=grid, spectral=observation.spectral, nodes=nodes, transfer=transfer.astype(np.float32),
        pb=pb.astype(np.float32), noise_cells=cells, noise_nodes=noise_nodes, noise_power=power, sigma=sigma,
        beams=beams, pb_cutoff=cutoff, padded=padded,
        record={
            **observation.parameters(),
            "rows": int(track.uvw.shape[0]),
            "shadowed_rows": track.n_shadowed,
            "psf_interpolation_error": error,
            "elevation_deg": [float(np.rad2deg(track.elevation[i])) for i in (0, -1)],
            "hour_angle_h": [float(np.rad2deg(track.hour_angle[i]) / 15) for i in (0, -1)],
            "first_integration_mjd": float(track.ut1_mjd[0]),
        },
    )  # fmt: skip


def _transfer(psf: Float) -> Float:
    """Real transform ``[p_y, p_x // 2 + 1]`` of a psf ``[p_y, p_x]``; lags of -p/2 (unused) are cleared."""
    clean = psf.copy()
    clean[0, :] = 0.0
    clean[:, 0] = 0.0
    return np.fft.rfft2(np.fft.ifftshift(clean)).real


def _nodes(sampling: Sampling, padded: tuple[int, int]) -> tuple[Float, list[Float], float]:
    """Nodes and psfs from which every channel's psf is interpolated, and the error of the interpolation.

    Nodes are added until the error is within tolerance. Robust weights jump from channel to channel when
    baselines move to another uv cell. Such psfs are stored for every channel, if they fit into
    `MAX_PSF_BYTES`.
    """
    observation = sampling.observation
    freq, natural = observation.spectral.frequencies(), observation.robust is None
    if freq.size == 1:
        return freq, [sampling.exact_psf(float(freq[0]), padded)], 0.0
    low, high = float(freq.min()), float(freq.max())
    # at the end, in the middle and between, because the error's maximum depends on the number of nodes
    checks = sorted({low, float(freq[freq.size // 2]), float(freq[freq.size * 3 // 10])})
    truth = [sampling.exact_psf(f, padded) for f in checks]
    sides = zip(padded, observation.grid.shape, strict=True)
    core = tuple(slice(p // 2 - n + 1, p // 2 + n) for p, n in sides)
    error, psfs = np.inf, []
    most = min(MAX_NODES, freq.size - 1) if natural else MAX_ROBUST_NODES * (freq.size > MAX_NODES)
    for count in range(1, most + 1):
        nodes = chebyshev_nodes(low, high, count)
        psfs = [sampling.exact_psf(float(f), padded) for f in nodes]
        error = max(
            float(np.abs(np.tensordot(row, [p[core] for p in psfs], axes=1) - t[core]).max())
            for row, t in zip(lagrange(nodes, np.array(checks)), truth, strict=True)
        )
        if error <= (PSF_TOLERANCE if natural else ROBUST_TOLERANCE):
            return nodes, psfs, error
    if 2 * freq.size * padded[0] * padded[1] > MAX_PSF_BYTES:
        if error < 0.02:
            return nodes, psfs, error
        raise InputError(
            f"the psf changes too much over {low / 1e9:g}-{high / 1e9:g} GHz for one cube",
            "simulate the band in parts, or a smaller image",
        )
    return freq, [sampling.exact_psf(float(f), padded) for f in freq], 0.0


def _noise_spectrum(sampling: Sampling, padded: tuple[int, int], thermal: bool) -> tuple[Int, Array32, Float]:
    """Cells, power and frequencies of noise that is correlated like the dirty image's.

    The transform of the noise's correlation is the density of squared weights times variance. Here it is
    summed in the nearest cells of the padded uv plane, so that it is not negative, and 0 in cells without
    baselines. From one node to the next the longest baseline moves by less than a cell.
    """
    track, freq = sampling.track, sampling.observation.spectral.frequencies()
    wide = sampling.observation.grid.padded(*padded)
    reach = sampling.observation.longest(track) * wide.cell_rad * max(padded)
    count = int(np.clip(np.ceil(reach * np.ptp(freq) / freq.max()) + 1, 1, freq.size))
    nodes = np.linspace(freq.min(), freq.max(), count)
    sigma = sampling.sigmas(nodes) if thermal else np.ones((len(track.ut1_mjd), count))
    halves = []
    for i, f in enumerate(nodes):
        variance = (sampling.weights(float(f)) * sigma[track.time_index, i]) ** 2
        plane = gridded(track.uvw, float(f), wide, variance)
        halves.append(np.fft.ifftshift(plane)[:, : padded[1] // 2 + 1].ravel() / plane.sum())
    power = np.stack(halves)
    cells = np.nonzero(power.max(axis=0) > 0)[0]
    return cells, power[:, cells].astype(np.float32), nodes


def _image_sigma(sampling: Sampling) -> Float:
    """Thermal noise of the dirty image from two polarisations, ``[chan]`` [Jy/beam]."""
    freq, track = sampling.observation.spectral.frequencies(), sampling.track
    per_time = sampling.sigmas(freq)
    shares = []
    for f in (freq.min(), freq.max()):
        weight = sampling.weights(float(f))
        squares = np.bincount(track.time_index, weights=weight**2, minlength=len(per_time))
        shares.append(squares / weight.sum() ** 2)
    part = (freq - freq.min()) / (np.ptp(freq) or 1.0)
    share = shares[0] + part[:, None] * (shares[1] - shares[0])
    return np.sqrt((share * per_time.T**2).sum(axis=1) / 2)


def _beams(psfs: Float, nodes: Float, freq: Float, cell: float) -> Float:
    """Fitted beam of every channel, ``[chan, 3]`` [arcsec, arcsec, deg]."""
    n = min(*psfs.shape[1:], 128)
    y0, x0 = (s // 2 - n // 2 for s in psfs.shape[1:])
    core = psfs[:, y0 : y0 + n, x0 : x0 + n]
    weights = lagrange(nodes, freq)
    fits = [fit_beam(np.tensordot(w, core, axes=1)) for w in weights]
    return np.array([[maj * cell, minor * cell, pa] for maj, minor, pa in fits])


def data_header(
    grid: ImageGrid, spectral: SpectralGrid | None, unit: str, telescope: str, cards: Mapping[str, Any]
) -> Any:
    """Header of an image ``[y, x]`` or a cube ``[chan, y, x]``: SIN projection, LSRK frequencies, provenance.

    Parameters
    ----------
    grid : ImageGrid
    spectral : SpectralGrid or None
        None for images.
    unit : str
        BUNIT; empty for none.
    telescope : str
        TELESCOP.
    cards : mapping
        Further cards: a value or ``(value, comment)`` each; ``HISTORY`` takes a list.

    Returns
    -------
    astropy.io.fits.Header
    """
    known: dict[str, Any] = {"BTYPE": "Intensity", **({"BUNIT": unit} if unit else {})}
    axis = None
    if spectral is not None:
        rest = spectral.middle
        axis = Spectral(spectral.frequencies(), spectral.width, rest, "LSRK")
        velocity = (1 - spectral.first / rest) * SPEED_OF_LIGHT
        known |= {"VELREF": (257, "radio velocity, LSR"), "ALTRPIX": 1.0}
        known["ALTRVAL"] = (velocity, "velocity of channel 1 [m/s]")
    header = array_header(grid, axis)
    for name, card in {**known, "TELESCOP": telescope, **cards}.items():
        if name == "HISTORY":
            for line in card:
                header.add_history(line)
        else:
            header[name] = card
    return header
