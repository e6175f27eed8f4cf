"""Gaussians fitted to many small pieces of an image at once, in noise that is correlated between pixels."""

from dataclasses import dataclass

import numpy as np

from faintsky.arrays import Bool, Float, Index
from faintsky.grid import FWHM_PER_SIGMA

NUMBERS = 6
"""Parameters of a Gaussian: peak, x, y [pixel], and second moments xx, xy, yy as observed [pixel**2]."""
_STEPS = 25
"""Most steps of a fit."""
_TOLERANCE = 0.01
"""Gain in chi2 at which a fit ends."""
_SMALLEST = 0.3
"""Least standard deviation of a Gaussian [pixel]."""


@dataclass
class Fitted:
    """Gaussians fitted to ``n`` pieces of an image, ``k`` in each.

    Attributes
    ----------
    values : array
        ``[n, k, 6]``: peak, x, y, xx, xy, yy.
    covariance : array
        Of the values, ``[n, 6 k, 6 k]``; 0 for what was held fixed.
    chi2 : array
        Of the residual, with the noise's covariance, ``[n]``.
    """

    values: Float
    covariance: Float
    chi2: Float


def images_of(values: Float, x: Float, y: Float) -> Float:
    """Images of Gaussians, one by one.

    Parameters
    ----------
    values : array
        Parameters, ``[..., k, 6]``.
    x, y : array
        Pixels, ``[..., m]``.

    Returns
    -------
    array
        ``[..., k, m]``
    """
    return _parts(values, x, y)[0]


def _parts(values: Float, x: Float, y: Float) -> tuple[Float, tuple[Float, Float, Float, Float]]:
    """The Gaussians, and with ``q`` the inverse of the second moments: ``q d`` (x, y) and ``d`` (x, y)."""
    peak, x0, y0, xx, xy, yy = (v[..., None] for v in np.moveaxis(values, -1, 0))
    det = xx * yy - xy * xy
    dx, dy = x[..., None, :] - x0, y[..., None, :] - y0
    gx, gy = (yy * dx - xy * dy) / det, (xx * dy - xy * dx) / det
    return peak * np.exp(-0.5 * (gx * dx + gy * dy)), (gx, gy, dx, dy)


def slopes_of(values: Float, x: Float, y: Float) -> tuple[Float, Float]:
    """Summed image of Gaussians, and its derivatives.

    Parameters
    ----------
    values : array
        Parameters, ``[n, k, 6]``.
    x, y : array
        Pixels, ``[n, m]``.

    Returns
    -------
    image : array
        ``[n, m]``
    slopes : array
        By all parameters, ``[n, m, 6 k]``.
    """
    parts, (gx, gy, _, _) = _parts(values, x, y)
    n, k, m = parts.shape
    unit = parts / np.where(values[..., :1] == 0, 1e-300, values[..., :1])
    # d(log)/d(moments) = (q d)(q d)/2: the peak is held, not the flux
    slopes = np.stack(
        [unit, parts * gx, parts * gy, 0.5 * parts * gx * gx, parts * gx * gy, 0.5 * parts * gy * gy], axis=2
    )
    return parts.sum(axis=1), slopes.reshape(n, k * NUMBERS, m).transpose(0, 2, 1)


def fit_gaussians(
    data: Float, x: Float, y: Float, whitening: Float, start: Float, free: Bool, roam: float,
    widest: float,
) -> Fitted:  # fmt: skip
    """Least squares with the noise's covariance (Levenberg-Marquardt), for many pieces at a time.

    Parameters
    ----------
    data : array
        Pixels of each piece in units of the noise, ``[n, m]``.
    x, y : array
        Where they are, ``[n, m]``.
    whitening : array
        Matrix that turns the noise of a piece into independent numbers of variance 1, ``[m, m]``, or ``[n, m,
        m]``.
    start : array
        ``[n, k, 6]``; see `NUMBERS`.
    free : array of bool
        Which parameters are fitted, ``[n, k, 6]``; the others are held.
    roam : float
        How far a centre may go from where it starts, along x and y [pixel].
    widest : float
        Largest FWHM [pixel].

    Returns
    -------
    Fitted
    """
    n, k, _ = start.shape
    values, out = start.astype(float).copy(), free.reshape(n, k * NUMBERS)
    white = whitening if whitening.ndim == 3 else np.broadcast_to(whitening, (n, *whitening.shape))
    shared = whitening.ndim == 2

    def whitened(rows: Index, array: Float) -> Float:
        if shared:
            return array @ whitening.T if array.ndim == 2 else np.matmul(whitening, array)
        return np.matmul(white[rows], array[..., None])[..., 0] if array.ndim == 2 else white[rows] @ array

    def cost(rows: Index, at: Float) -> Float:
        rest = whitened(rows, data[rows] - images_of(at, x[rows], y[rows]).sum(axis=1))
        return np.asarray((rest * rest).sum(axis=1))

    everyone = np.arange(n)
    chi2, damping, active = cost(everyone, values), np.full(n, 1e-3), everyone
    unit = np.eye(k * NUMBERS)
    # two Gaussians that nearly cancel each other fit anything
    highest = 1.5 * np.abs(data).max(axis=1, keepdims=True) + 5
    for _ in range(_STEPS):
        if not active.size:
            break
        model, slopes = slopes_of(values[active], x[active], y[active])
        jac = whitened(active, slopes) * out[active][:, None, :]
        rest = whitened(active, data[active] - model)
        square = np.matmul(jac.transpose(0, 2, 1), jac)
        pull = np.einsum("nmp,nm->np", jac, rest)
        diagonal = np.einsum("npp->np", square)
        held = ~out[active]
        better = np.zeros(active.size, bool)
        gain = np.zeros(active.size)
        damp = damping[active]
        todo = np.arange(active.size)
        for _ in range(6):
            matrix = (
                square[todo] + unit * (damp[todo, None] * diagonal[todo] + held[todo] + 1e-12)[:, None, :]
            )
            move = np.linalg.solve(matrix, pull[todo][..., None])[..., 0].reshape(-1, k, NUMBERS)
            tried = values[active[todo]] + move
            fine = _possible(tried, start[active[todo]], roam, widest)
            fine &= (np.abs(tried[..., 0]) <= highest[active[todo]]).all(axis=1)
            tried = np.where(fine[:, None, None], tried, values[active[todo]])
            new = cost(active[todo], tried)
            won = fine & (new <= chi2[active[todo]])
            rows = todo[won]
            gain[rows] = chi2[active[rows]] - new[won]
            values[active[rows]], chi2[active[rows]] = tried[won], new[won]
            better[rows] = True
            damp[rows] = np.maximum(damp[rows] * 0.2, 1e-9)
            todo = todo[~won]
            if not todo.size:
                break
            damp[todo] = np.maximum(damp[todo] * 8, 1e-6)
        damping[active] = damp
        active = active[better & (gain > _TOLERANCE)]
    _, slopes = slopes_of(values, x, y)
    jac = whitened(everyone, slopes) * out[:, None, :]
    normal = np.matmul(jac.transpose(0, 2, 1), jac) + unit * (~out)[:, None, :]
    size = np.sqrt(np.maximum(np.einsum("npp->np", normal), 1e-300))
    size = np.maximum(size, 1e-12)
    inverse = np.linalg.pinv(normal / (size[:, :, None] * size[:, None, :]), hermitian=True)
    covariance = inverse / (size[:, :, None] * size[:, None, :]) * (out[:, None, :] & out[:, :, None])
    return Fitted(values, covariance, chi2)


def _possible(values: Float, start: Float, roam: float, widest: float) -> Bool:
    """Whether all Gaussians of each piece have possible moments, near where they started."""
    xx, xy, yy = values[..., 3], values[..., 4], values[..., 5]
    fine = (xx > _SMALLEST**2) & (yy > _SMALLEST**2) & (xy * xy < 0.999 * xx * yy)
    fine &= np.maximum(xx, yy) < (widest / FWHM_PER_SIGMA) ** 2
    fine &= (np.abs(values[..., 1:3] - start[..., 1:3]) <= roam).all(axis=-1)
    return np.asarray((fine & np.isfinite(values).all(axis=-1)).all(axis=-1))


def gain_if_freed(data: Float, x: Float, y: Float, whitening: Float, values: Float, free: Bool) -> Float:
    """Expected fall of chi2, to first order, if the moments of each Gaussian were fitted: a score test.

    Parameters
    ----------
    data, x, y, whitening
        Of one piece, as in `fit_gaussians`, without the first axis.
    values, free : array
        Fitted values, and which of them were free, ``[k, 6]``.

    Returns
    -------
    array
        ``[k]``; 0 where the moments were fitted.
    """
    model, slopes = slopes_of(values[None], x[None], y[None])
    jac, rest = whitening @ slopes[0], whitening @ (data - model[0])
    square, pull = jac.T @ jac, jac.T @ rest
    fitted, out = np.flatnonzero(free.ravel()), np.zeros(len(values))
    known = np.linalg.pinv(square[np.ix_(fitted, fitted)], hermitian=True)
    for k in np.flatnonzero(~free[:, 3]):
        new = NUMBERS * k + np.arange(3, NUMBERS)
        cross = square[np.ix_(new, fitted)]
        rest_of = square[np.ix_(new, new)] - cross @ known @ cross.T
        step = pull[new] - cross @ known @ pull[fitted]
        out[k] = step @ np.linalg.pinv(rest_of, hermitian=True) @ step
    return out
