"""The restoring beam: a Gaussian fitted to the psf's main lobe, as CASA and as WSClean fit it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faintsky.grid import FWHM_PER_SIGMA

CUTOFF = 0.35
"""Pixels of the main lobe above this level are fitted (CASA's ``psfcutoff``)."""
MOST_OF_CORE = 2.5
"""WSClean's major axis is believed up to this many times the core's."""
_WANTED_POINTS = 3001


def main_lobe(psf: NDArray[np.floating], level: float = CUTOFF) -> NDArray[np.bool_]:
    """The connected region above ``level`` around the middle pixel ``(n_y // 2, n_x // 2)``."""
    from scipy.ndimage import label

    regions, _ = label(np.asarray(psf) > level, structure=np.ones((3, 3)))
    return regions == regions[psf.shape[0] // 2, psf.shape[1] // 2]


def _lobe_points(
    psf: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Offsets [pixel] and values of the finely sampled main lobe."""
    from scipy.ndimage import map_coordinates

    y0, x0 = psf.shape[0] // 2, psf.shape[1] // 2
    coarse = main_lobe(psf)
    iy, ix = np.nonzero(coarse)
    fine = max(1, int(np.ceil(np.sqrt(_WANTED_POINTS / iy.size))))
    reach_y = min(int(np.abs(iy - y0).max()) + 2, y0, psf.shape[0] - 1 - y0)
    reach_x = min(int(np.abs(ix - x0).max()) + 2, x0, psf.shape[1] - 1 - x0)
    dy = np.arange(-reach_y * fine, reach_y * fine + 1) / fine
    dx = np.arange(-reach_x * fine, reach_x * fine + 1) / fine
    sampled = map_coordinates(psf, np.meshgrid(y0 + dy, x0 + dx, indexing="ij"), order=3, mode="nearest")
    lobe = np.nonzero(main_lobe(sampled))
    return dx[lobe[1]], dy[lobe[0]], sampled[lobe]


def fit_beam(psf: NDArray[np.floating]) -> tuple[float, float, float]:
    """Gaussian of unit peak that fits a psf's main lobe best (least squares).

    As in CASA, the lobe is first sampled finely (about 3000 points above the cutoff), because with the few
    pixels of a beam the result would depend on which of them lie just above the cutoff.

    Parameters
    ----------
    psf : array
        ``[y, x]``, 1 at ``(n_y // 2, n_x // 2)``.

    Returns
    -------
    fwhm_maj, fwhm_min, pa : float
        [pixel, pixel, deg east of north, 0-180]
    """
    dx, dy, value = _lobe_points(np.asarray(psf, dtype=float))
    return _least_squares(dx, dy, value)


def fit_beam_wsclean(psf: NDArray[np.floating]) -> tuple[float, float, float]:
    """The beam that WSClean 3.1 gives a psf; arguments and result as for `fit_beam`.

    It fits a box of ten major axes, down to the faintest pixels, and by a slip in its arithmetic (differences
    of unsigned numbers) only the quadrant of the box with x and y not below the middle's. Psfs with a broad
    foot, such as LOFAR's at robust 0, so get other widths and another angle than from their core or from all
    of the box. Where the psf's sidelobes take hold of the fit, the core's is returned.
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


def _least_squares(
    dx: NDArray[np.float64], dy: NDArray[np.float64], value: NDArray[np.float64]
) -> tuple[float, float, float]:
    from scipy.optimize import least_squares

    # a first guess from the logarithm, which is linear in the quadratic form
    design = np.stack([dx * dx, 2.0 * dx * dy, dy * dy], axis=1).astype(float)
    far = (dx * dx + dy * dy > 0) & (value > CUTOFF)
    log = -np.log(np.clip(value[far], 1e-3, 1 - 1e-9))
    guess = np.linalg.lstsq(design[far], log, rcond=None)[0] if far.sum() >= 3 else np.array([1.0, 0.0, 1.0])
    scale = np.abs(guess).max() + 1e-12
    fit = least_squares(lambda q: np.exp(np.minimum(-design @ q, 50.0)) - value, guess, x_scale=scale)
    a, b, c = fit.x
    half, spread = (a + c) / 2, np.hypot((a - c) / 2, b)
    widths = FWHM_PER_SIGMA / np.sqrt(2 * np.maximum([half - spread, half + spread], 1e-12))
    # direction of slowest fall: the major axis, from +x toward +y; east is -x
    along_x = 0.5 * np.arctan2(-2 * b, c - a)
    return float(widths[0]), float(widths[1]), float(np.mod(np.rad2deg(along_x) - 90.0, 180.0))
