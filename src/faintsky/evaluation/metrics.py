"""Which true sources are isolated or blended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.matching import box_extents, column, iou_2d

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


def _overlapping(lo: Float, hi: Float) -> Bool:
    """Which intervals overlap which, ``[n, n]``."""
    return (lo[:, None] < hi[None, :]) & (lo[None, :] < hi[:, None])


def neighbour_groups(truth: Table, beam: float) -> NDArray[np.intp]:
    """Number of the group that each true source is in: sources that could disturb each other, ``[n]``.

    Two sources are neighbours where their boxes in the image come nearer than one beam *and* their boxes
    along frequency (line centre ± FWHM) overlap. Sources on one line of sight at separate frequencies are
    not: their continuum is smooth and subtracted. Neighbours of neighbours share a group.

    Parameters
    ----------
    truth : Table
        With boxes; see `faintsky.matching`.
    beam : float
        FWHM of the synthesised beam, major axis [pixel].
    """
    from scipy.sparse.csgraph import connected_components

    if not len(truth):
        return np.zeros(0, dtype=np.intp)
    lo_x, hi_x, lo_y, hi_y, lo_z, hi_z = box_extents(truth)
    half = beam / 2
    near = _overlapping(lo_x - half, hi_x + half) & _overlapping(lo_y - half, hi_y + half)
    near &= _overlapping(lo_z, hi_z)
    return connected_components(near, directed=False)[1].astype(np.intp)


def isolated(truth: Table, beam: float) -> Bool:
    """Which true sources are alone in their group of neighbours, ``[n]``; see `neighbour_groups`."""
    groups = neighbour_groups(truth, beam)
    return np.bincount(groups, minlength=1)[groups] == 1


def overlaps(table: Table) -> Float:
    """2-D IoU of every two boxes of a table, ``[n, n]``; 0 of each with itself, and of lines of one object.

    The rows of an object with several lines share the number in the column ``source``, where there is one.
    """
    n = len(table)
    if n < 2:
        return np.zeros((n, n))
    i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    overlap = iou_2d(table, table, i.astype(np.intp), j.astype(np.intp)).reshape(n, n)
    own = column(table, "source") if "source" in table.colnames else np.arange(n, dtype=float)
    overlap[own[:, None] == own] = 0.0
    return np.nan_to_num(overlap)


def blendedness(table: Table) -> Float:
    """Largest 2-D IoU of each source's box with another's in the same cube, ``[n]``.

    Delli Veneri et al. (2022), eq. 22: 0 is alone, 1 lies on top of another.
    """
    return overlaps(table).max(axis=1, initial=0.0)
