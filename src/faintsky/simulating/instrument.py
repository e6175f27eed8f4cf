"""The instrument: everything about a telescope and an observation that does not change from cube to cube.

It is computed once (antenna positions, track, imaging weights, exact psf, primary beam, noise) and kept in
one file, from which simulating needs torch and numpy alone.

The psf and the primary beam change slowly over a cube. They are held at a few Chebyshev nodes in frequency
and interpolated by polynomials; nodes are added until the psf between them is right to `PSF_TOLERANCE` of its
peak.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.grid import ImageGrid, SpectralGrid
from faintsky.system import replacing

FORMAT_VERSION = 3
PSF_TOLERANCE = 2e-4


@dataclass(frozen=True)
class Instrument:
    """One array, field, band, image and weighting.

    Parameters
    ----------
    grid : ImageGrid
    spectral : SpectralGrid
    nodes : array
        Frequencies of the nodes, ``[node]`` [Hz].
    transfer : array
        Real transform of the psf on the padded grid, ``[node, p_y, p_x // 2 + 1]``, float32: exact for
        lags smaller than the image.
    pb : array
        Primary beam at the nodes, ``[node, n_y, n_x]``, float32.
    noise_cells : array
        Flat indices into ``[p_y, p_x // 2 + 1]`` at which the noise has power, ``[cell]``.
    noise_nodes : array
        Frequencies at which the noise's power is held, ``[noise_node]`` [Hz].
    noise_power : array
        Its power, ``[noise_node, cell]``, float32, not negative; sums to 1 over the whole plane.
    sigma : array
        Thermal noise of the dirty image, ``[chan]`` [Jy/beam].
    beams : array
        Fitted beam, ``[chan, 3]`` [arcsec, arcsec, deg east of north].
    pb_cutoff : float
        Radius times frequency where the primary beam is `faintsky.telescopes.primary_beam.CUTOFF` [rad Hz].
    padded : tuple of int
        ``(p_y, p_x)``.
    record : dict
        The parameters it was made from, and facts of the track, for headers and ``dataset.json``.
    """

    grid: ImageGrid
    spectral: SpectralGrid
    nodes: NDArray[np.float64]
    transfer: NDArray[np.float32]
    pb: NDArray[np.float32]
    noise_cells: NDArray[np.int64]
    noise_nodes: NDArray[np.float64]
    noise_power: NDArray[np.float32]
    sigma: NDArray[np.float64]
    beams: NDArray[np.float64]
    pb_cutoff: float
    padded: tuple[int, int]
    record: dict[str, Any]

    def node_weights(self) -> NDArray[np.float64]:
        """Lagrange weights of the nodes at every channel, ``[chan, node]``."""
        return lagrange(self.nodes, self.spectral.frequencies())

    def noise_at(self, channels: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Power of the noise at the cells for some channels, ``[chan, cell]``; linear between nodes."""
        freq = self.spectral.frequencies()[channels]
        where = np.interp(freq, self.noise_nodes, np.arange(self.noise_nodes.size))
        low = np.minimum(where.astype(int), max(self.noise_nodes.size - 2, 0))
        high = np.minimum(low + 1, self.noise_nodes.size - 1)
        part = (where - low).astype(np.float32)[:, None]
        return self.noise_power[low] * (1 - part) + self.noise_power[high] * part

    def pb_cube(self) -> NDArray[np.float32]:
        """Primary beam, ``[chan, y, x]``."""
        return np.tensordot(self.node_weights().astype(np.float32), self.pb, axes=1)

    def valid(self) -> NDArray[np.bool_]:
        """Where the primary beam is above the cutoff, ``[chan, y, x]``."""
        radius = self.grid.radius()[None] * self.spectral.frequencies()[:, None, None]
        return radius < self.pb_cutoff

    def node_psfs(self) -> NDArray[np.float32]:
        """Psf at the nodes over all lags smaller than the image, ``[node, p_y, p_x]``, middle at p // 2."""
        images = np.fft.irfft2(self.transfer.astype(float), s=self.padded)
        return np.fft.fftshift(images, axes=(1, 2)).astype(np.float32)

    def psf_nodes_at_image(self) -> NDArray[np.float32]:
        """Psf at the nodes with the image's shape, 1 on the phase centre's pixel, ``[node, y, x]``."""
        y0 = self.padded[0] // 2 - round(self.grid.y0)
        x0 = self.padded[1] // 2 - round(self.grid.x0)
        return self.node_psfs()[:, y0 : y0 + self.grid.n_y, x0 : x0 + self.grid.n_x]

    def psf_cube(self) -> NDArray[np.float32]:
        """Psf of every channel with the image's shape, ``[chan, y, x]``."""
        return np.tensordot(self.node_weights().astype(np.float32), self.psf_nodes_at_image(), axes=1)

    def small_transfer(self, size: int = 256) -> tuple[NDArray[np.float64], int]:
        """Transform of the middle channel's psf within ``size`` pixels, and its width."""
        n = min(size, *(2 * (p // 2) for p in self.padded))
        weights = self.node_weights()[self.spectral.n_chan // 2]
        psf = np.tensordot(weights, self.node_psfs().astype(float), axes=1)
        y0, x0 = self.padded[0] // 2 - n // 2, self.padded[1] // 2 - n // 2
        return np.fft.rfft2(np.fft.ifftshift(psf[y0 : y0 + n, x0 : x0 + n])).real, n

    def save(self, path: str | Path) -> None:
        """Write everything to one ``.npz`` file, in one step."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name in _ARRAYS}
        plain = {
            "format": FORMAT_VERSION,
            "grid": asdict(self.grid),
            "spectral": asdict(self.spectral),
            "pb_cutoff": self.pb_cutoff,
            "padded": list(self.padded),
            "record": self.record,
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as name, name.open("wb") as file:
            np.savez(file, allow_pickle=False, plain=np.array(json.dumps(plain)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Instrument:
        """Read what `save` wrote; raises ValueError for a file of another format."""
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            plain = json.loads(str(file["plain"]))
            if plain.pop("format", None) != FORMAT_VERSION:
                raise ValueError("an instrument file of another version")
            arrays = {name: file[name] for name in _ARRAYS}
        return cls(
            grid=ImageGrid(**plain["grid"]),
            spectral=SpectralGrid(**plain["spectral"]),
            pb_cutoff=plain["pb_cutoff"],
            padded=(plain["padded"][0], plain["padded"][1]),
            record=plain["record"],
            **arrays,
        )


_ARRAYS = ("nodes", "transfer", "pb", "noise_cells", "noise_nodes", "noise_power", "sigma", "beams")


def lagrange(nodes: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of values at ``nodes`` in the polynomial through them, ``[at, node]``."""
    scale = np.ptp(nodes) or 1.0
    x, a = (nodes - nodes[0]) / scale, (np.asarray(at) - nodes[0]) / scale
    weights = np.ones((a.size, x.size))
    for j in range(x.size):
        for k in range(x.size):
            if k != j:
                weights[:, j] *= (a - x[k]) / (x[j] - x[k])
    return weights


def chebyshev_nodes(low: float, high: float, count: int) -> NDArray[np.float64]:
    """``count`` Chebyshev nodes within [low, high]; the middle for one."""
    angle = (2 * np.arange(count) + 1) * np.pi / (2 * count)
    return (low + high) / 2 - (high - low) / 2 * np.cos(angle)
