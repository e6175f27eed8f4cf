"""A small interferometer for tests: uv tracks, psf, noise of the gridded weights, Gaussian emitters.

Shares no code with the detector: everything is made in the uv plane of an image padded to twice its size, so
that convolutions are linear over the image, the psf is known at all separations, and the covariance of the
noise is exactly ``sigma**2`` times the psf.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from faintsky.image import RadioCube

# on arrays this small, threads wait for each other longer than they compute
torch.set_num_threads(1)

FWHM = 2 * np.sqrt(2 * np.log(2))
CELL = 0.1  # arcsec
FIRST, WIDTH, REST = 230.0e9, 10.0e6, 230.3e9  # Hz


@dataclass(frozen=True)
class Emitter:
    """A Gaussian on the sky times a Gaussian line (and a flat continuum); widths in pixels and channels."""

    x: float
    y: float
    z: float
    flux: float = 0.0  # Jy at the line's peak
    maj: float = 0.0
    min: float = 0.0
    pa: float = 0.0
    fwhm_z: float = 5.0
    continuum: float = 0.0  # Jy

    def line(self, n_chan: int) -> NDArray[np.float64]:
        z = np.arange(n_chan)
        return self.flux * np.exp(-4 * np.log(2) * ((z - self.z) / self.fwhm_z) ** 2)


@dataclass(frozen=True, eq=False)
class Telescope:
    """Gridded weights of natural weighting, ``[2n, n + 1]``, and what follows from them."""

    n: int
    weights: NDArray[np.float64]
    beam: tuple[float, float, float]  # pixels, pixels, degrees

    @property
    def psf(self) -> NDArray[np.float64]:
        """``[n, n]``, 1 at ``(n // 2, n // 2)``: the inner quarter of what is known."""
        full = np.fft.irfft2(self.weights, s=(2 * self.n, 2 * self.n))
        h = self.n // 2
        return np.roll(full, (h, h), axis=(0, 1))[: self.n, : self.n]

    def image(self, s: Emitter) -> NDArray[np.float64]:
        """Dirty image of the emitter at 1 Jy, ``[n, n]`` [Jy/beam]."""
        fy, fx = np.fft.fftfreq(2 * self.n)[:, None], np.fft.rfftfreq(2 * self.n)[None]
        # position angle from north (+y) through east (-x)
        t = np.deg2rad(s.pa)
        along, across = -np.sin(t) * fx + np.cos(t) * fy, np.cos(t) * fx + np.sin(t) * fy
        exponent = -2 * np.pi**2 * ((s.maj / FWHM * along) ** 2 + (s.min / FWHM * across) ** 2)
        g = np.exp(exponent - 2j * np.pi * (fx * s.x + fy * s.y))
        return np.fft.irfft2(g * self.weights, s=(2 * self.n, 2 * self.n))[: self.n, : self.n]

    def autocorrelation(self, s: Emitter) -> float:
        """The emitter's own brightness times its dirty image, for 1 Jy: 1 for a point."""
        middle = replace(s, x=self.n // 2, y=self.n // 2, maj=np.sqrt(2) * s.maj, min=np.sqrt(2) * s.min)
        return float(self.image(middle)[self.n // 2, self.n // 2])

    def snr(self, s: Emitter, sigma: float, n_chan: int) -> float:
        """What the best linear filter reaches."""
        return float(np.sqrt(self.autocorrelation(s) * (s.line(n_chan) ** 2).sum()) / sigma)

    def at_snr(self, s: Emitter, snr: float, sigma: float, n_chan: int) -> Emitter:
        """The emitter with the line flux that gives this S/N."""
        unit = replace(s, flux=1.0)
        return replace(s, flux=snr / self.snr(unit, sigma, n_chan))

    def noise(self, rng: np.random.Generator, n_chan: int) -> NDArray[np.float32]:
        """Noise of unit rms and of the psf's covariance, ``[n_chan, n, n]``."""
        m = 2 * self.n
        filt = np.sqrt(np.maximum(self.weights, 0))
        out = np.empty((n_chan, self.n, self.n), dtype=np.float32)
        for k in range(n_chan):
            plane = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((m, m))) * filt, s=(m, m))
            out[k] = plane[: self.n, : self.n]
        return out

    def cube(
        self, emitters: list[Emitter], n_chan: int = 48, *, sigma: float = 1e-3, seed: int | None = 0
    ) -> NDArray[np.float32]:
        """Dirty cube ``[n_chan, n, n]`` [Jy/beam]; without noise where `seed` is None."""
        out = np.zeros((n_chan, self.n, self.n))
        if seed is not None:
            out += sigma * self.noise(np.random.default_rng(seed), n_chan)
        for s in emitters:
            spectrum = s.line(n_chan) + s.continuum
            out += spectrum[:, None, None] * self.image(s)
        return out.astype(np.float32)

    def radio_cube(self, data: NDArray[np.floating], **details: Any) -> RadioCube:
        """The data with coordinates, beam and (unless ``psf=None``) psf."""
        major, minor, pa = self.beam
        given: dict[str, Any] = {
            "frequencies": FIRST + WIDTH * np.arange(data.shape[0]), "rest_frequency": REST,
            "beam": [major * CELL, minor * CELL, pa], "psf": self.psf, "ra": 150.0, "dec": -30.0,
        }  # fmt: skip
        return RadioCube.from_array(data, cell=CELL, **{**given, **details})


@lru_cache(maxsize=8)
def telescope(
    n: int = 96, *, seed: int = 5, antennas: int = 24, hours: float = 2.0, longest: float = 0.17
) -> Telescope:
    """Tracks of a random array over `hours`, the longest baseline `longest` cycles a pixel."""
    rng = np.random.default_rng(seed)
    radius, angle = rng.uniform(0, 1, antennas) ** 0.7, rng.uniform(0, 2 * np.pi, antennas)
    east, north = radius * np.cos(angle), radius * np.sin(angle)
    i, j = np.triu_indices(antennas, 1)
    de, dn = east[i] - east[j], north[i] - north[j]
    latitude, dec = np.deg2rad(-23.0), np.deg2rad(-30.0)
    bx, by, bz = -dn * np.sin(latitude), de, dn * np.cos(latitude)
    ha = np.deg2rad(15 * np.linspace(-hours / 2, hours / 2, 120))[:, None]
    u = bx * np.sin(ha) + by * np.cos(ha)
    v = -bx * np.sin(dec) * np.cos(ha) + by * np.sin(dec) * np.sin(ha) + bz * np.cos(dec)
    scale = longest / np.hypot(u, v).max()
    m = 2 * n
    # u runs along -x; both halves of the plane, so that images are real
    column, row = np.rint(-u * scale * m).astype(int).ravel(), np.rint(v * scale * m).astype(int).ravel()
    plane = np.zeros((m, m))
    np.add.at(plane, (row % m, column % m), 1.0)
    np.add.at(plane, (-row % m, -column % m), 1.0)
    plane[0, 0] = 0
    weights = plane[:, : n + 1] * (m * m / plane.sum())
    made = Telescope(n, weights, (1.0, 1.0, 0.0))
    return replace(made, beam=_lobe(made.psf))


def _lobe(psf: NDArray[np.float64]) -> tuple[float, float, float]:
    """Least-squares Gaussian of the main lobe above 0.35."""
    from scipy.optimize import least_squares

    n = psf.shape[0]
    y, x = np.indices(psf.shape) - n // 2
    core = (np.hypot(x, y) < 8) & (psf > 0.35)

    def form(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(-(p[0] * x[core] ** 2 + 2 * p[1] * x[core] * y[core] + p[2] * y[core] ** 2))

    a, b, c = least_squares(lambda p: form(p) - psf[core], [0.1, 0.0, 0.1]).x
    val, vec = np.linalg.eigh([[a, b], [b, c]])
    fwhm = 2 * np.sqrt(np.log(2) / val)
    return float(fwhm[0]), float(fwhm[1]), float(np.degrees(np.arctan2(-vec[0, 0], vec[1, 0])) % 180)


def passing_model(folder: Any) -> Any:
    """A denoising model that hands its input on, with an uncertainty of one rms: no training, no surprises.

    The weight image keeps the U-Net from taking anything; all else is zero. Regions are then what stands five
    rms out.
    """
    from faintsky.models import save_model
    from faintsky.networks import make_network
    from faintsky.networks.local_unet import FINE, WIDE

    arguments = {"widths": (4, 4, 4), "encoder": (1, 1, 1), "decoder": (1, 1)}
    network = make_network("local_unet", **arguments)
    pixels = 16
    with torch.no_grad():
        for p in network.parameters():
            p.zero_()
        network.into.weight[0, FINE * pixels : -WIDE, 1, 1] = 1 / pixels  # type: ignore[union-attr,index,operator]
        shut = [*range(FINE * pixels), *range((2 * FINE + 2) * pixels, (2 * FINE + 2) * pixels + WIDE)]
        network.out.weight[shut, 0] = -300.0  # type: ignore[union-attr,index,operator]
        image = torch.randn(1, 1, 32, 32)
        mean, sigma = network(image, torch.ones_like(image), torch.tensor([[5.0, 4.0, 0.0, 1.0]]))
        torch.testing.assert_close(mean, image, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(sigma, torch.ones_like(image), rtol=0.02, atol=0)
    networks = {"denoiser": ("local_unet", arguments, network)}
    return save_model(folder, name="passing", job="denoise", settings={}, networks=networks).path


def random_sky(rng: np.random.Generator, n: int = 64) -> NDArray[np.float64]:
    """A few Gaussians far above the noise of a LOFAR image, ``[n, n]`` [Jy/arcsec2]."""
    y, x = np.indices((n, n))
    image = np.zeros((n, n))
    for cx, cy in rng.uniform(0, n, (5, 2)):
        peak, width = 10 ** rng.uniform(-5, -4), rng.uniform(3, 8)
        image += peak * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
    return image


def write_brightness(path: Any, data: NDArray[np.floating]) -> None:
    """A FITS image in Jy/arcsec2 with pixels of 2 arcsec."""
    from astropy.io import fits

    header = fits.Header()
    for i, (kind, value, step) in enumerate((("RA---SIN", 180.0, -2.0), ("DEC--SIN", 55.0, 2.0)), start=1):
        header[f"CTYPE{i}"], header[f"CRVAL{i}"], header[f"CDELT{i}"] = kind, value, step / 3600
        header[f"CRPIX{i}"], header[f"CUNIT{i}"] = data.shape[1] // 2 + 1.0, "deg"
    header["BUNIT"] = "Jy/arcsec2"
    fits.writeto(path, data.astype(np.float32), header)
