"""Images from visibilities: imaging weights, gridding with the w term, restoring beams, gain errors.

Weights are natural, or Briggs' robust ones as in CASA's tclean and in WSClean, which use the same formula.
They differ in the uv cells in which visibilities are counted. CASA's cells are those of the image, and each
visibility counts in the nearest one. WSClean's are those of the padded image (1.2 times as many pixels, a
multiple of four), and a visibility counts in the cell that begins below it.

Baselines are antenna 1 minus antenna 2, as in `faintsky.telescopes.Track`. With this sign, and images ``[y,
x]`` whose x runs against right ascension, visibilities and images agree with WSClean's ``-use-wgridder``,
which does not divide by n.

Gain errors are residual errors of calibration. Each station multiplies its signal by ``g = (1 + a) exp(i
phi)`` in all directions, so that a visibility of stations p and q becomes ``g_p conj(g_q) V_pq`` (Smirnov
2011, A&A 527, A106, eq. 7, scalar Jones terms). ``a`` and ``phi`` are Gaussian random functions of time,
independent from station to station. Noise is not changed, because it is that of the calibrated data.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array, Bool, Float, Int
from faintsky.errors import InputError
from faintsky.grid import FWHM_PER_SIGMA, SPEED_OF_LIGHT, ImageGrid


def parse_weighting(text: str) -> float | None:
    """Robustness of ``"briggs:R"``, None for ``"natural"``.

    Raises
    ------
    InputError
        For anything else, or a robustness outside -2 to 2.
    """
    word = text.strip().lower()
    if word == "natural":
        return None
    match = re.fullmatch(r"briggs:([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)", word)
    if not match:
        raise InputError(
            f"weighting {text!r} is not known", "give 'natural' or 'briggs:R' with R from -2 to 2"
        )
    robust = float(match[1])
    if not -2 <= robust <= 2:
        raise InputError(f"robustness {robust:g} is out of range", "give a number from -2 to 2")
    return robust


def uv_cells(uvw: Float, freq: float, grid: ImageGrid) -> tuple[NDArray, NDArray]:
    """Nearest cells ``(iy, ix)`` of a uv grid of the image's shape, centred on ``(n_y // 2, n_x // 2)``.

    Parameters
    ----------
    uvw : array
        Baselines, ``[row, 3]`` [m].
    freq : float
        [Hz]
    grid : ImageGrid
        Its cell and shape set the uv cells: ``1 / (n cell)``.

    Returns
    -------
    iy, ix : array of int
        ``[row]``
    """
    scale = freq / SPEED_OF_LIGHT * grid.cell_rad
    # x runs against l, so the spatial frequency along x is -u
    ix = np.rint(-uvw[:, 0] * scale * grid.n_x).astype(np.int64) + grid.n_x // 2
    iy = np.rint(uvw[:, 1] * scale * grid.n_y).astype(np.int64) + grid.n_y // 2
    return iy, ix


def gridded(uvw: Float, freq: float, grid: ImageGrid, weight: Float) -> Float:
    """Sums of weights in the nearest cells of the uv plane, for each baseline and its mirror image.

    Parameters
    ----------
    uvw : array
        ``[row, 3]`` [m]
    freq : float
        [Hz]
    grid : ImageGrid
        Grid of the image, which sets the uv cells.
    weight : array
        ``[row]``

    Returns
    -------
    array
        Sums, ``[n_y, n_x]``.
    """
    total = np.zeros(grid.n_y * grid.n_x)
    for sign in (1, -1):
        iy, ix = uv_cells(sign * uvw, freq, grid)
        inside = (iy >= 0) & (iy < grid.n_y) & (ix >= 0) & (ix < grid.n_x)
        cell = iy[inside] * grid.n_x + ix[inside]
        total += np.bincount(cell, weights=weight[inside], minlength=total.size)
    return total.reshape(grid.n_y, grid.n_x)


def padded_size(n: int) -> int:
    """Pixels along a side of WSClean's padded image; odd sides are made even first."""
    wide = math.ceil(1.2 * (n + n % 2))
    return wide + -wide % 4


def wsclean_cells(uvw: Float, freq: float, grid: ImageGrid) -> tuple[NDArray, NDArray]:
    """WSClean's uv cells, in the half plane v >= 0.

    Parameters
    ----------
    uvw, freq, grid
        As for `uv_cells`.

    Returns
    -------
    iy, ix : array of int
        ``[row]``
    """
    scale = freq / SPEED_OF_LIGHT * grid.cell_rad
    n_y, n_x = padded_size(grid.n_y), padded_size(grid.n_x)
    sign = np.where(uvw[:, 1] < 0, -1.0, 1.0)
    ix = np.floor(uvw[:, 0] * sign * scale * n_x + n_x // 2).astype(np.int64)
    iy = np.floor(uvw[:, 1] * sign * scale * n_y).astype(np.int64)
    return iy, ix


def imaging_weights(
    uvw: Float, freq: float, grid: ImageGrid, robust: float | None, rule: str = "casa"
) -> Float:
    """Weight of every row in the image of one channel.

    Parameters
    ----------
    uvw : array
        ``[row, 3]`` [m]
    freq : float
        Frequency of the channel [Hz].
    grid : ImageGrid
        Grid of the image, which sets the uv cells in which visibilities are counted.
    robust : float or None
        Briggs' robustness; None for natural weighting.
    rule : str, optional
        Rule for the cells: ``"casa"`` or ``"wsclean"``.

    Returns
    -------
    array
        ``1 / (1 + W f**2)`` with W the summed weight in a row's cell and
        ``f**2 = (5 10**-robust)**2 / (sum W**2 / sum w)`` (Briggs 1995); 0 for rows outside the grid.
    """
    weight = np.ones(uvw.shape[0])
    if robust is None:
        return weight
    if rule == "wsclean":
        iy, ix = wsclean_cells(uvw, freq, grid)
        n_y, n_x = padded_size(grid.n_y) // 2, padded_size(grid.n_x)
        inside = (iy < n_y) & (ix >= 0) & (ix < n_x)
        counts = np.bincount(iy[inside] * n_x + ix[inside], minlength=n_y * n_x)
        density = counts.reshape(n_y, n_x).astype(float)
    else:
        density = gridded(uvw, freq, grid, weight)
        iy, ix = uv_cells(uvw, freq, grid)
        inside = (iy >= 0) & (iy < grid.n_y) & (ix >= 0) & (ix < grid.n_x)
    squared = (5 * 10.0**-robust) ** 2 / ((density**2).sum() / density.sum())
    local = np.zeros_like(weight)
    local[inside] = density[iy[inside], ix[inside]]
    return np.where(inside, 1 / (1 + local * squared), 0.0)


CUTOFF = 0.35
"""Pixels of the main lobe above this level are fitted (CASA's ``psfcutoff``)."""
MOST_OF_CORE = 2.5
"""Largest ratio of WSClean's major axis to the core's for which it is accepted."""
_WANTED_POINTS = 3001


def main_lobe(psf: Array) -> Bool:
    """The connected region above `CUTOFF` around the central pixel ``(n_y // 2, n_x // 2)``."""
    from scipy.ndimage import label

    regions, _ = label(np.asarray(psf) > CUTOFF, structure=np.ones((3, 3)))
    return regions == regions[psf.shape[0] // 2, psf.shape[1] // 2]


def fit_beam(psf: Array) -> tuple[float, float, float]:
    """Gaussian of unit peak that fits a psf's main lobe best (least squares).

    As in CASA, the lobe is first sampled finely (about 3000 points above the cutoff). With the few pixels of
    a beam, the result would depend on which of them lie just above the cutoff.

    Parameters
    ----------
    psf : array
        ``[y, x]``, 1 at ``(n_y // 2, n_x // 2)``.

    Returns
    -------
    fwhm_maj, fwhm_min, pa : float
        [pixel, pixel, deg east of north, 0-180]
    """
    from scipy.ndimage import map_coordinates

    psf = np.asarray(psf, dtype=float)
    y0, x0 = psf.shape[0] // 2, psf.shape[1] // 2
    iy, ix = np.nonzero(main_lobe(psf))
    fine = max(1, int(np.ceil(np.sqrt(_WANTED_POINTS / iy.size))))
    reach_y = min(int(np.abs(iy - y0).max()) + 2, y0, psf.shape[0] - 1 - y0)
    reach_x = min(int(np.abs(ix - x0).max()) + 2, x0, psf.shape[1] - 1 - x0)
    dy = np.arange(-reach_y * fine, reach_y * fine + 1) / fine
    dx = np.arange(-reach_x * fine, reach_x * fine + 1) / fine
    sampled = map_coordinates(psf, np.meshgrid(y0 + dy, x0 + dx, indexing="ij"), order=3, mode="nearest")
    y, x = np.nonzero(main_lobe(sampled))
    return _least_squares(dx[x], dy[y], sampled[y, x])


def fit_beam_wsclean(psf: Array) -> tuple[float, float, float]:
    """The beam that WSClean 3.1 fits to a psf; arguments and result as for `fit_beam`.

    It fits a box of ten major axes, including the faintest pixels. By an error in its arithmetic (differences
    of unsigned numbers) it uses only the quadrant of the box with x and y not below the centre's. For psfs
    with a broad base, such as LOFAR's at robust 0, widths and angle thus differ from those of the core or of
    the whole box. If sidelobes dominate the fit, the beam of the core is returned.
    """
    image = np.asarray(psf, dtype=float)
    y0, x0 = image.shape[0] // 2, image.shape[1] // 2
    core = fit = fit_beam(image)
    for _ in range(5):
        reach = int(np.ceil(5 * fit[0]))
        value = image[y0 : y0 + reach, x0 : x0 + reach]
        dy, dx = np.indices(value.shape, dtype=float)
        before, fit = fit[0], _least_squares(dx.ravel(), dy.ravel(), value.ravel())
        if fit[0] <= 1.25 * before:
            break
    return fit if fit[0] < MOST_OF_CORE * core[0] else core


def _least_squares(dx: Float, dy: Float, value: Float) -> tuple[float, float, float]:
    from scipy.optimize import least_squares

    # first guess from the logarithm, which is linear in the coefficients
    design = np.stack([dx * dx, 2.0 * dx * dy, dy * dy], axis=1).astype(float)
    far = (dx * dx + dy * dy > 0) & (value > CUTOFF)
    log = -np.log(np.clip(value[far], 1e-3, 1 - 1e-9))
    guess = np.linalg.lstsq(design[far], log, rcond=None)[0] if far.sum() >= 3 else np.array([1.0, 0.0, 1.0])
    scale = np.abs(guess).max() + 1e-12
    fit = least_squares(lambda q: np.exp(np.minimum(-design @ q, 50.0)) - value, guess, x_scale=scale)
    a, b, c = fit.x
    half, spread = (a + c) / 2, np.hypot((a - c) / 2, b)
    widths = FWHM_PER_SIGMA / np.sqrt(2 * np.maximum([half - spread, half + spread], 1e-12))
    # direction of slowest decrease: the major axis, from +x toward +y; east is -x
    along_x = 0.5 * np.arctan2(-2 * b, c - a)
    return float(widths[0]), float(widths[1]), float(np.mod(np.rad2deg(along_x) - 90.0, 180.0))


ACCURACY = 2e-5
"""Relative error allowed in the gridder."""
_SIGNS = np.array([1.0, -1.0, 1.0])
_SMALLEST = 32


def _arguments(uvw: Float, freq: float, grid: ImageGrid, w_term: bool) -> dict[str, Any]:
    n_y, n_x = _even(grid)
    return {
        "uvw": uvw * _SIGNS,
        "freq": np.array([freq]),
        "pixsize_x": grid.cell_rad,
        "pixsize_y": grid.cell_rad,
        "center_x": (n_x // 2 - grid.x0) * grid.cell_rad,
        "center_y": (n_y // 2 - grid.y0) * grid.cell_rad,
        "epsilon": ACCURACY,
        "do_wgridding": w_term,
        "divide_by_n": False,
        "nthreads": 1,
    }


def _even(grid: ImageGrid) -> tuple[int, int]:
    """A shape that the gridder accepts: even and not too small."""
    n_y, n_x = (max(n + n % 2, _SMALLEST) for n in grid.shape)
    return n_y, n_x


def predict_visibilities(model: Array, uvw: Float, freq: float, grid: ImageGrid) -> NDArray[np.complex64]:
    """Visibilities of an image.

    Parameters
    ----------
    model : array
        ``[y, x]`` [Jy/pixel]
    uvw : array
        Baselines, ``[row, 3]`` [m].
    freq : float
        [Hz]
    grid : ImageGrid
        Grid of the image.

    Returns
    -------
    array
        ``[row]`` [Jy]
    """
    from ducc0.wgridder import dirty2vis

    wide = np.zeros(_even(grid), dtype=np.float32)
    wide[: grid.n_y, : grid.n_x] = model
    return dirty2vis(dirty=np.ascontiguousarray(wide.T), **_arguments(uvw, freq, grid, True))[:, 0]


def dirty_image(
    vis: NDArray[np.complexfloating],
    weight: Float,
    uvw: Float,
    freq: float,
    grid: ImageGrid,
    *,
    w_term: bool = True,
    exact: bool = False,
) -> NDArray[Any]:
    """Dirty image ``sum w Re(V exp(-2 pi i (u l + v m + w (n - 1)))) / sum w`` of visibilities.

    Parameters
    ----------
    vis, weight : array
        Visibilities, ``[row]`` [Jy], and their imaging weights; visibilities of 1 give the psf.
    uvw, freq, grid
        As for `predict_visibilities`.
    w_term : bool, optional
        Whether to use the w term; otherwise w is taken as 0.
    exact : bool, optional
        Compute in double precision, to 1e-6.

    Returns
    -------
    array
        ``[y, x]`` [Jy/beam]
    """
    from ducc0.wgridder import vis2dirty

    (n_y, n_x), kind = _even(grid), np.float64 if exact else np.float32
    image = vis2dirty(
        vis=np.asarray(vis, dtype=np.complex128 if exact else np.complex64)[:, None],
        wgt=weight.astype(kind)[:, None],
        npix_x=n_x,
        npix_y=n_y,
        **_arguments(uvw, freq, grid, w_term) | ({"epsilon": 1e-6} if exact else {}),
    )
    return np.ascontiguousarray(image.T[: grid.n_y, : grid.n_x] / kind(weight.sum()))


def exact_psf(uvw: Float, weight: Float, freq: float, grid: ImageGrid) -> Float:
    """``sum w cos(2 pi (u l + v m)) / sum w`` in double precision.

    Parameters
    ----------
    uvw : array
        Baselines, ``[row, 3]`` [m].
    weight : array
        Imaging weights, ``[row]``.
    freq : float
        [Hz]
    grid : ImageGrid
        Grid of the psf.

    Returns
    -------
    array
        ``[y, x]``, 1 at its centre, ``n // 2``.
    """
    ones = np.ones(len(uvw), dtype=np.complex128)
    return dirty_image(ones, weight, uvw, freq, grid, w_term=False, exact=True)


def noise_factor(weight: Float) -> float:
    """Noise of the dirty image, for visibilities with a noise of 1 in real and imaginary part."""
    return float(np.sqrt((weight**2).sum()) / weight.sum())


_REACH = 4.0
_KNOTS = 3.0


@dataclass(frozen=True)
class GainErrors:
    """Sizes of gain errors.

    Parameters
    ----------
    amplitude : float
        Standard deviation of ``a``.
    phase : float
        Standard deviation of ``phi`` [deg].
    timescale : float
        Lag at which the correlation, a Gaussian, falls to 1/e [s].
    """

    amplitude: float = 0.0
    phase: float = 0.0
    timescale: float = 1200.0

    def __bool__(self) -> bool:
        return self.amplitude > 0 or self.phase > 0

    def draw(self, rng: np.random.Generator, times: Float, n_stations: int) -> NDArray[np.complex64]:
        """Random gains.

        Parameters
        ----------
        rng : numpy.random.Generator
            The source of random numbers.
        times : array
            ``[time]`` [s]
        n_stations : int
            Number of stations.

        Returns
        -------
        array
            ``[time, station]``, complex.
        """
        # white noise on knots, smoothed by a Gaussian: the random numbers do not depend on the times
        width = self.timescale / 2
        step = width / _KNOTS
        knots = np.arange(times[0] - _REACH * width, times[-1] + _REACH * width + step, step)
        weights = np.exp(-0.5 * ((times[:, None] - knots) / width) ** 2)
        weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
        a, phi = (weights @ rng.standard_normal((len(knots), n_stations)) for _ in range(2))
        gains = (1 + self.amplitude * a) * np.exp(1j * np.deg2rad(self.phase) * phi)
        return gains.astype(np.complex64)


def baseline_factors(gains: NDArray[np.complexfloating], time_index: Int, pair: Int) -> NDArray[np.complex64]:
    """Factors of gain errors on visibilities.

    Parameters
    ----------
    gains : array
        ``[time, station]``, complex.
    time_index, pair : array of int
        Integration and pair of stations of each row of a track, ``[row]``.

    Returns
    -------
    array
        ``[row]``, complex.
    """
    one, two = np.triu_indices(gains.shape[1], k=1)
    return (gains[time_index, one[pair]] * gains[time_index, two[pair]].conj()).astype(np.complex64)
