"""Diffuse radio emission drawn at random: haloes, relics, shells and filaments with turbulent texture.

They imitate the emission of the cosmic web and of galaxy clusters at low frequency, and are fast enough to
draw a new sky for every training example. Shapes follow observations: haloes fall off exponentially (Murgia
et al. 2009, A&A 499, 679), relics are arcs with a sharp outer edge and a tail towards the cluster (van Weeren
et al. 2019, SSRv 215, 16), shells are limb-brightened, filaments are the level sets of a random field. All of
them are multiplied by log-normal fields with power-law spectra, P(k) ~ k**-index with index 3.3 to 4 (11/3 is
a Kolmogorov cascade seen in projection) and fluctuations of up to 60 per cent. Peak brightness is
log-uniform, so that every signal-to-noise ratio from far below one upwards occurs.
"""

from collections.abc import Callable

import numpy as np

from faintsky.arrays import Array32
from faintsky.grid import FWHM_PER_SIGMA

PEAKS = (1e-7, 1e-3)
"""Range of peak brightness [Jy/arcsec2]; a tenth of the objects are in its upper half."""
FIELD = 1000.0
"""Side of the area to which the mean numbers below refer [arcsec]."""


def draw_diffuse(
    rng: np.random.Generator, shape: tuple[int, int], cell: float, *, crowding: float | None = None
) -> Array32:
    """A random diffuse sky.

    Parameters
    ----------
    rng : numpy.random.Generator
        The source of random numbers.
    shape : tuple of int
        ``(n_y, n_x)``.
    cell : float
        Side of a pixel [arcsec].
    crowding : float, optional
        Mean number of objects in 1000 x 1000 arcsec; by default drawn from 1 to 10.

    Returns
    -------
    array
        ``[y, x]``, float32 [Jy/arcsec2], not negative.
    """
    n_y, n_x = shape
    if crowding is None:
        crowding = log_uniform(rng, 1, 10)
    count = rng.poisson(crowding * n_y * n_x * (cell / FIELD) ** 2)
    sky = np.zeros(shape, dtype=np.float32)
    texture = _Texture(rng, shape)
    for _ in range(count):
        kind = _KINDS[rng.choice(len(_KINDS), p=_SHARES)]
        kind(sky, rng, cell, texture)
    for _ in range(rng.poisson(min(crowding, 3) / 2)):
        _filaments(sky, rng, cell, texture)
    return sky


def random_field(rng: np.random.Generator, shape: tuple[int, int], index: float, largest: float) -> Array32:
    """A Gaussian random field of zero mean and unit variance.

    Parameters
    ----------
    rng : numpy.random.Generator
        The source of random numbers.
    shape : tuple of int
        ``(n_y, n_x)``; the field is periodic.
    index : float
        Its power spectrum falls as ``k**-index`` on scales below `largest`, and is flat above.
    largest : float
        That scale [pixel].

    Returns
    -------
    array
        ``[y, x]``, float32.
    """
    n_y, n_x = shape
    fx, fy = np.fft.rfftfreq(n_x)[None, :], np.fft.fftfreq(n_y)[:, None]
    amplitude = (fx**2 + fy**2 + largest**-2.0) ** (-index / 4)
    amplitude[0, 0] = 0
    white = rng.standard_normal(shape, dtype=np.float32)
    field = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=shape).astype(np.float32)
    spread = field.std()
    return field / spread if spread > 0 else field


class _Texture:
    """Log-normal fields of unit mean: two are drawn, and shifted at random for every object."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        largest = min(shape) / 3
        self.fields = [random_field(rng, shape, rng.uniform(3.3, 4.0), largest) for _ in range(2)]

    def __call__(self, rng: np.random.Generator, ys: slice, xs: slice) -> Array32:
        """``[y, x]`` of the slices' shape; contrast from none to 60 per cent."""
        field = self.fields[rng.integers(2)]
        n_y, n_x = field.shape
        rows = (np.arange(ys.start, ys.stop) + rng.integers(n_y)) % n_y
        columns = (np.arange(xs.start, xs.stop) + rng.integers(n_x)) % n_x
        contrast = np.float32(rng.uniform(0.0, 0.6))
        return np.exp(contrast * field[rows[:, None], columns] - contrast**2 / 2)


def _peak(rng: np.random.Generator) -> float:
    """Peak brightness, log-uniform in each half of the logarithmic range; a tenth lies in the upper half."""
    faintest, brightest = PEAKS
    middle = np.sqrt(faintest * brightest)
    low, high = (faintest, middle) if rng.random() < 0.9 else (middle, brightest)
    return log_uniform(rng, low, high)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A random number with uniform logarithm. See `numpy.random.Generator.uniform`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _place(sky: Array32, rng: np.random.Generator, reach: float) -> tuple[slice, slice, Array32, Array32]:
    """A random centre, the slices within ``reach`` pixels of it, and the offsets dy, dx in them.

    Centres may lie outside the image by up to half the reach, so that its edges are as crowded as the rest.
    """
    n_y, n_x = sky.shape
    cy, cx = rng.uniform(-reach / 2, n_y + reach / 2), rng.uniform(-reach / 2, n_x + reach / 2)
    ys = slice(max(int(cy - reach), 0), max(min(int(cy + reach) + 2, n_y), 0))
    xs = slice(max(int(cx - reach), 0), max(min(int(cx + reach) + 2, n_x), 0))
    dy = (np.arange(ys.start, ys.stop) - cy).astype(np.float32)[:, None]
    dx = (np.arange(xs.start, xs.stop) - cx).astype(np.float32)[None, :]
    return ys, xs, dy, dx


def _elliptical(rng: np.random.Generator, dy: Array32, dx: Array32, least: float) -> Array32:
    """Radius in the frame of a random ellipse of axis ratio ``least`` to 1, in units of its major axis."""
    ratio, angle = rng.uniform(least, 1), rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return np.hypot(dx * c + dy * s, (dy * c - dx * s) / np.float32(ratio))


def _halo(sky: Array32, rng: np.random.Generator, cell: float, texture: _Texture) -> None:
    scale = log_uniform(rng, 5, 120) / cell
    ys, xs, dy, dx = _place(sky, rng, 6 * scale)
    radius = _elliptical(rng, dy, dx, 0.4) / np.float32(scale)
    profile = np.exp(-radius) if rng.random() < 0.5 else np.exp(-0.5 * radius**2)
    profile *= np.square(np.maximum(1 - np.square(radius / 6), 0))
    sky[ys, xs] += np.float32(_peak(rng)) * profile * texture(rng, ys, xs)


def _relic(sky: Array32, rng: np.random.Generator, cell: float, texture: _Texture) -> None:
    radius = log_uniform(rng, 40, 500) / cell
    tail = radius * log_uniform(rng, 0.03, 0.2)
    edge = max(tail * rng.uniform(0.05, 0.3), 0.5)
    direction, opening = rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 0.9)
    ys, xs, dy, dx = _place(sky, rng, radius + 5 * edge)
    behind = (np.float32(radius) - _elliptical(rng, dy, dx, 0.7)).astype(np.float32)
    profile = np.where(behind > 0, np.exp(-behind / tail), np.exp(-0.5 * (behind / edge) ** 2))
    away = np.angle(np.exp(1j * (np.arctan2(dy, dx) - direction))).astype(np.float32)
    sky[ys, xs] += (
        np.float32(_peak(rng)) * profile * np.exp(-0.5 * (away / opening) ** 4) * texture(rng, ys, xs)
    )


def _shell(sky: Array32, rng: np.random.Generator, cell: float, texture: _Texture) -> None:
    radius = log_uniform(rng, 20, 250) / cell
    inner = rng.uniform(0.6, 0.95)
    ys, xs, dy, dx = _place(sky, rng, radius + 2)
    r2 = np.square(_elliptical(rng, dy, dx, 0.6) / np.float32(radius))
    # path through a hollow sphere
    path = np.sqrt(np.maximum(1 - r2, 0)) - np.sqrt(np.maximum(inner**2 - r2, 0))
    largest = np.sqrt(1 - inner**2)
    sky[ys, xs] += np.float32(_peak(rng) / largest) * path * texture(rng, ys, xs)


def _filaments(sky: Array32, rng: np.random.Generator, cell: float, texture: _Texture) -> None:
    """Where a smooth random field crosses zero, broken up by a second one."""
    everywhere = (slice(0, sky.shape[0]), slice(0, sky.shape[1]))
    width = log_uniform(rng, 4, 40) / cell
    coarse = min(width * log_uniform(rng, 15, 80), 2.0 * max(sky.shape))
    level = random_field(rng, sky.shape, 6.0, coarse)
    where = random_field(rng, sky.shape, 6.0, coarse)
    part = np.clip((where - np.float32(rng.uniform(0, 1.2))) / 1.2, 0, 1)
    slope = np.sqrt(np.mean(np.diff(level, axis=0) ** 2) + np.mean(np.diff(level, axis=1) ** 2))
    if slope > 0:
        ridge = np.exp(-0.5 * np.square(level / np.float32(width / FWHM_PER_SIGMA * slope)))
        sky += np.float32(_peak(rng)) * ridge * part * texture(rng, *everywhere)


_KINDS: tuple[Callable[[Array32, np.random.Generator, float, _Texture], None], ...] = (_halo, _relic, _shell)
_SHARES = (0.5, 0.3, 0.2)
