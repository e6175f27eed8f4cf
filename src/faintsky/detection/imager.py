"""Images of single sources through the psf, and a cube less some of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from faintsky.beams import beam_covariance, beam_pixels
from faintsky.detection.gaussian_fit import LineSource
from faintsky.preparing.psf import gaussian_psf
from faintsky.source_model import frequencies_2d

PENDING = 12
"""Sources that `Residual` carries along before it takes them out of the whole cube."""


class SourceImager:
    """Images of unit sources through the psf of their channel.

    Parameters
    ----------
    psf : array
        ``[1 or chan, y, x]``, peak 1 at ``(n_y // 2, n_x // 2)``.
    shape : tuple
        Of the image, ``(n_y, n_x)``.
    valid : array of bool, optional
        Pixels that hold data, ``[y, x]``: elsewhere the images are 0, as the data are.
    n_planes : int
        At most so many planes of a psf cube are used; it changes slowly with frequency.
    beam_at : callable, optional
        Beam (major, minor [pixel], angle [deg]) at a pixel ``(x, y)``, where the psf is a Gaussian that
        differs from place to place.
    """

    def __init__(
        self,
        psf: NDArray[np.floating],
        shape: tuple[int, int],
        valid: NDArray[np.bool_] | None = None,
        n_planes: int = 9,
        beam_at: Callable[[float, float], tuple[float, float, float]] | None = None,
    ) -> None:
        self.beam_at = beam_at
        self.psf = psf
        self.shape = shape
        self.valid = None if valid is None or valid.all() else valid.astype(np.float32)
        self.padded = tuple(next_fast_len(a + b - 1, real=True) for a, b in zip(shape, psf.shape[1:]))
        self.fx, self.fy = frequencies_2d(*self.padded)
        count = min(n_planes, psf.shape[0])
        self.planes = np.unique(np.linspace(0, psf.shape[0] - 1, count).round().astype(int))
        self._transfers: dict[int, NDArray[np.complex64]] = {}

    def covers(self, s: LineSource) -> bool:
        """Whether a source's centre is on the image: what peaks beyond its border cannot be measured."""
        y, x = round(s.y), round(s.x)
        n_y, n_x = self.shape
        return 1 <= y < n_y - 1 and 1 <= x < n_x - 1 and (self.valid is None or bool(self.valid[y, x]))

    def plane(self, z: float) -> int:
        """Psf plane used for channel `z`."""
        return int(self.planes[np.argmin(np.abs(self.planes - z))])

    def transfer(self, z: float) -> NDArray[np.complex64]:
        """Padded transform of the psf at channel `z`."""
        k = self.plane(z)
        if k not in self._transfers:
            p = np.zeros(self.padded, dtype=np.float32)
            n_y, n_x = self.psf.shape[1:]
            p[:n_y, :n_x] = self.psf[k]
            self._transfers[k] = rfft2(np.roll(p, (-(n_y // 2), -(n_x // 2)), axis=(0, 1)), workers=1)
        return self._transfers[k]

    def psf_at(self, x: float, y: float, z: float) -> NDArray[np.floating]:
        """The psf of a place and channel, ``[y, x]``."""
        if self.beam_at is None:
            return self.psf[self.plane(z)]
        beam = self.beam_at(x, y)
        n_y, n_x = (min(n, 2 * int(2.5 * beam[0]) + 3) for n in self.psf.shape[1:])
        return gaussian_psf((n_y, n_x), *beam)

    def _shape_and_transfer(self, s: LineSource) -> tuple[float, float, float, NDArray[np.complex64]]:
        """Shape of a source, and the psf's transform; or its shape with the beam's, and the beam's area."""
        if self.beam_at is None:
            return s.l11, s.l21, s.l22, self.transfer(s.z)
        beam = self.beam_at(s.x, s.y)
        own = np.array([[s.l11, 0.0], [s.l21, s.l22]])
        (l11, _), (l21, l22) = np.linalg.cholesky(own @ own.T + beam_covariance(beam))
        area = np.full((self.fy.size, self.fx.size), beam_pixels(beam, 1.0)[0], dtype=np.complex64)
        return float(l11), float(l21), float(l22), area

    def image(self, s: LineSource) -> NDArray[np.float32]:
        """The source at unit flux as the telescope shows it, ``[y, x]`` [Jy/beam per Jy]."""
        l11, l21, l22, transfer = self._shape_and_transfer(s)
        quad = np.square(l11 * self.fx + l21 * self.fy, dtype=np.float32, casting="same_kind")
        quad += np.float32(l22**2) * np.square(self.fy, dtype=np.float32, casting="same_kind")
        quad *= np.float32(-2 * np.pi**2)
        m = transfer * np.exp(-2j * np.pi * self.fx * s.x).astype(np.complex64)
        m *= np.exp(-2j * np.pi * self.fy * s.y).astype(np.complex64)
        m *= np.exp(quad, out=quad)
        full = irfft2(m, s=self.padded, workers=1, overwrite_x=True)
        seen = full[: self.shape[0], : self.shape[1]]
        return seen.copy() if self.valid is None else seen * self.valid


class Residual:
    """A cube less sources, each an image times a spectrum.

    They are taken out where and when the data are looked at: a fit needs a small window of a cube that holds
    millions of voxels.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``; it is not changed.
    """

    def __init__(self, cube: NDArray[np.float32]) -> None:
        self._cube = cube
        self._own = False
        self._pending: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def copy(self) -> Residual:
        """Another with the same contents; neither changes the other."""
        twin = Residual(self._cube)
        twin._pending = list(self._pending)
        self._own = False
        return twin

    def subtract(self, image: NDArray[np.float32], spectrum: NDArray[np.floating]) -> None:
        """Take ``spectrum[:, None, None] * image`` out."""
        flux = spectrum.astype(np.float32)
        for k, (other, theirs) in enumerate(self._pending):
            if other is image and np.array_equal(theirs, -flux):
                del self._pending[k]
                return
        self._pending.append((image, flux))
        if len(self._pending) > PENDING:
            self.whole()

    def whole(self) -> NDArray[np.float32]:
        """All of it, ``[chan, y, x]``; to be read only."""
        if self._pending:
            if not self._own:
                self._cube, self._own = self._cube.copy(), True
            self._take_out(self._cube, slice(None), slice(None), slice(None))
            self._pending = []
        return self._cube

    def box(self, zs: slice, ys: slice, xs: slice) -> NDArray[np.float32]:
        """A copy of a part, ``[chan, y, x]``."""
        out = np.array(self._cube[zs, ys, xs])
        self._take_out(out, zs, ys, xs)
        return out

    def _take_out(self, out: NDArray[np.float32], zs: slice, ys: slice, xs: slice) -> None:
        for image, flux in self._pending:
            part = image[ys, xs]
            for k, value in enumerate(flux[zs]):
                if value != 0:
                    out[k] -= value * part
