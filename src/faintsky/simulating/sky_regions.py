"""The truth table of an image: connected regions of the true sky that could be seen.

The true sky times the primary beam, at the resolution of the fitted beam, is cut at `LEVEL` times the noise;
pixels that touch, by a side or a corner, make a region. Position, widths and flux are of the true sky itself
within the region (not attenuated, not convolved): its centroid, its second moments as the Gaussian that has
them, its sum. The peak is that of the true sky at the beam's resolution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.beams import beam_pixels, observed_sizes
from faintsky.catalog import mask_extents
from faintsky.grid import FWHM_PER_SIGMA, ImageGrid
from faintsky.simulating.truth import grid_frame, to_sky
from faintsky.source_model import frequencies_2d, gaussian_transform

LEVEL = 1.0
"""Least signal-to-noise ratio of a region's pixels."""
RULE = (
    f"pixels of the true sky times the primary beam, convolved with the fitted beam, at or above {LEVEL:g} "
    "times the noise, connected by a side or a corner"
)


def at_resolution(
    image: NDArray[np.floating], beam: NDArray[np.floating], cell: float
) -> NDArray[np.float64]:
    """An image seen with a Gaussian beam of unit peak; nothing is outside the image.

    Parameters
    ----------
    image : array
        ``[y, x]`` [Jy/pixel]
    beam : array
        ``[3]``: major, minor [arcsec], position angle [deg].
    cell : float
        [arcsec]

    Returns
    -------
    array
        ``[y, x]`` [Jy/beam]
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    maj, minor = beam[0] / cell, beam[1] / cell
    n_y, n_x = (next_fast_len(n + int(2.5 * maj), real=True) for n in image.shape)
    kernel = gaussian_transform(*frequencies_2d(n_y, n_x), 0.0, 0.0, maj, minor, float(beam[2])).real
    wide = irfft2(rfft2(image, s=(n_y, n_x)) * kernel, s=(n_y, n_x))
    return wide[: image.shape[0], : image.shape[1]] * float(beam_pixels(beam, cell)[0])


def region_columns(
    sky: NDArray[np.floating],
    pb: NDArray[np.floating],
    beam: NDArray[np.floating],
    rms: float,
    grid: ImageGrid,
) -> dict[str, Any]:
    """Columns of the truth table.

    Parameters
    ----------
    sky : array
        ``[y, x]`` [Jy/arcsec2]
    pb : array
        Primary beam, ``[y, x]``.
    beam : array
        ``[3]``: major, minor [arcsec], position angle [deg].
    rms : float
        [Jy/beam]
    grid : ImageGrid

    Returns
    -------
    dict
        As the catalogue has them, and ``area`` [arcsec2], that of the region.
    """
    from scipy.ndimage import find_objects, label, maximum, maximum_position

    flux = np.asarray(sky, dtype=float) * grid.cell**2
    seen = at_resolution(flux * pb, beam, grid.cell)
    labels, n = label(seen >= LEVEL * rms, structure=np.ones((3, 3)))
    if n == 0:
        return {"id": np.zeros(0, dtype=int)}
    ids = np.arange(1, n + 1)
    inside = np.nonzero(labels.ravel())[0]
    which = labels.ravel()[inside] - 1
    y, x = (v.astype(float) for v in np.divmod(inside, grid.n_x))
    # a region of nothing but another's wings has no flux of its own: its pixels then count alike
    weight = np.maximum(flux.ravel()[inside], 0.0) + 1e-12 * seen.ravel()[inside]

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(which, weights=values, minlength=n).astype(float)

    norm = total(weight)
    x0, y0 = total(weight * x) / norm, total(weight * y) / norm
    xx, yy = total(weight * (x - x0[which]) ** 2) / norm, total(weight * (y - y0[which]) ** 2) / norm
    xy = total(weight * (x - x0[which]) * (y - y0[which])) / norm
    half, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    widths = np.sqrt(np.maximum([half + spread, half - spread], 0)) * FWHM_PER_SIGMA
    # direction of the largest moment from +x toward +y; angles are counted from +y toward -x
    angle = np.rad2deg(np.arctan2(2 * xy, xx - yy)) / 2 - 90.0
    frame = grid_frame(grid, x0, y0)
    intrinsic = dict(zip(("dc_maj", "dc_min", "dc_pa"), frame.to_sky(widths[0], widths[1], angle)))
    peak = np.array(maximum_position(seen, labels, ids))
    ra, dec = to_sky(grid, x0, y0)
    boxes = find_objects(labels)
    return {
        "id": ids,
        "ra": ra,
        "dec": dec,
        "x": x0,
        "y": y0,
        "kind": np.full(n, "diffuse"),
        "n_components": np.ones(n, dtype=int),
        **intrinsic,
        **observed_sizes(intrinsic, beam),
        "las": mask_extents(labels, ids, frame)["las"],
        "flux": total(flux.ravel()[inside]),
        "flux_peak": maximum(at_resolution(flux, beam, grid.cell), labels, ids),
        "pb": np.asarray(pb, dtype=float)[peak[:, 0], peak[:, 1]],
        "rms": np.full(n, rms),
        "snr": maximum(seen, labels, ids) / rms,
        "reliability": np.ones(n),
        "x_min": np.array([b[1].start for b in boxes]),
        "x_max": np.array([b[1].stop - 1 for b in boxes]),
        "y_min": np.array([b[0].start for b in boxes]),
        "y_max": np.array([b[0].stop - 1 for b in boxes]),
        "flags": _flags(boxes, intrinsic["dc_maj"], beam, grid),
        "area": np.bincount(which, minlength=n) * grid.cell**2,
    }


def _flags(
    boxes: list[Any], major: NDArray[np.float64], beam: NDArray[np.floating], grid: ImageGrid
) -> list[str]:
    flags = []
    for (ys, xs), width in zip(boxes, major, strict=True):
        ends = ys.start == 0 or xs.start == 0 or ys.stop == grid.n_y or xs.stop == grid.n_x
        size = "unresolved" if width < beam[1] / 2 else "extended" if width > 2 * beam[0] else ""
        flags.append(",".join(f for f in ("edge" if ends else "", size) if f))
    return flags
