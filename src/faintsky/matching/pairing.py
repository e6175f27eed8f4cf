"""Admissible pairs of true and found sources, and the choice between them."""

from dataclasses import dataclass, field

import numpy as np
from astropy.table import Table

from faintsky.arrays import Float, Index
from faintsky.catalog import column

RADIUS = 3.0
"""Largest distance of the centres of a pair [pixel] (Delli Veneri et al. 2022, section 5.1)."""
REGION_DETECTED = 0.25
"""Smallest fraction of a true region's pixels in found regions for which it counts as detected."""


def box_extents(table: Table) -> tuple[Float, Float, Float, Float, Float, Float]:
    """Lower and upper edges of the boxes along x, y and z, each ``[n]`` [pixel, pixel, channel]."""
    lo_x, hi_x = column(table, "x_min") - 0.5, column(table, "x_max") + 0.5
    lo_y, hi_y = column(table, "y_min") - 0.5, column(table, "y_max") + 0.5
    return lo_x, hi_x, lo_y, hi_y, column(table, "z_min"), column(table, "z_max")


def _iou(a: list[Float], b: list[Float]) -> Float:
    """Intersection over union of boxes from alternating lower and upper edges, ``[pair]``; 0 if disjoint."""
    inside = whole_a = whole_b = np.ones(len(a[0]))
    for lo_a, hi_a, lo_b, hi_b in zip(a[::2], a[1::2], b[::2], b[1::2], strict=True):
        inside = inside * np.clip(np.minimum(hi_a, hi_b) - np.maximum(lo_a, lo_b), 0.0, None)
        whole_a, whole_b = whole_a * (hi_a - lo_a), whole_b * (hi_b - lo_b)
    union = whole_a + whole_b - inside
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(union > 0, inside / union, 0.0)


def iou_2d(truth: Table, found: Table, i: Index, j: Index) -> Float:
    """Intersection over union of boxes in x and y.

    Parameters
    ----------
    truth, found : astropy.table.Table
        Catalogues with boxes.
    i, j : array of int
        Rows of the truth and of what was found, ``[pair]``.

    Returns
    -------
    array
        ``[pair]``, 0 to 1.
    """
    return _iou([e[i] for e in box_extents(truth)[:4]], [e[j] for e in box_extents(found)[:4]])


def iou_z(truth: Table, found: Table, i: Index, j: Index) -> Float:
    """Intersection over union of boxes along frequency; NaN where a box has no edges there. See `iou_2d`."""
    a, b = [e[i] for e in box_extents(truth)[4:]], [e[j] for e in box_extents(found)[4:]]
    return np.where(np.isnan(sum([*a, *b])), np.nan, _iou(a, b))


def _neighbours(xy_a: Float, xy_b: Float, radius: float) -> tuple[Index, Index]:
    """Pairs of finite points ``[n, 2]`` separated by at most ``radius``."""
    from scipy.spatial import cKDTree

    rows_a, rows_b = (np.flatnonzero(np.isfinite(xy).all(axis=1)) for xy in (xy_a, xy_b))
    if not len(rows_a) or not len(rows_b):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    near = cKDTree(xy_b[rows_b]).query_ball_point(xy_a[rows_a], radius)
    counts = np.array([len(n) for n in near])
    j = np.fromiter((k for n in near for k in n), dtype=np.intp, count=int(counts.sum()))
    return np.repeat(rows_a, counts).astype(np.intp), rows_b[j].astype(np.intp)


@dataclass(frozen=True)
class Criterion:
    """Criterion for a pair of a true and a found source to be admissible.

    By default, centres within a few pixels and, along frequency, within the true line's width.

    Parameters
    ----------
    name : str
        Short name, used in tables.
    overlap : float or None
        Delli Veneri et al. (2022), section 5.1: the least intersection over union of the boxes, in the image
        and along frequency; the centres are then those of the boxes.
    along_z : bool
        Whether positions along frequency count; otherwise only those in the integrated image.
    radius : float
        Largest distance of the centres in x and y [pixel].
    """

    name: str = "position"
    overlap: float | None = None
    along_z: bool = True
    radius: float = RADIUS

    def pairs(self, truth: Table, found: Table) -> tuple[Index, Index, Float]:
        """Admissible pairs, and their distances.

        Parameters
        ----------
        truth, found : astropy.table.Table
            Catalogues with ``x``, ``y`` and, if they count, ``z`` and ``fwhm_z`` or the boxes.

        Returns
        -------
        i_true, i_found : array of int
            Rows of the pairs, ``[pair]``.
        squared : array
            Their squared distances, ``[pair]``, in units of the radius and, along frequency, of the
            true FWHM.
        """
        i, j = _neighbours(self._centres(truth), self._centres(found), self.radius)
        if self.overlap is not None:
            ok = iou_2d(truth, found, i, j) >= self.overlap
            if self.along_z:
                ok &= iou_z(truth, found, i, j) >= self.overlap
            i, j = i[ok], j[ok]
        d = {name: column(truth, name)[i] - column(found, name)[j] for name in ("x", "y")}
        squared = (d["x"] ** 2 + d["y"] ** 2) / self.radius**2
        if not self.along_z:
            return i, j, squared
        widths = (column(truth, "z")[i] - column(found, "z")[j]) / column(truth, "fwhm_z")[i]
        near = np.abs(widths) <= 1 if self.overlap is None else np.ones(len(i), bool)  # false if NaN
        return i[near], j[near], (squared + widths**2)[near]

    def _centres(self, table: Table) -> Float:
        if self.overlap is None:
            return np.stack([column(table, "x"), column(table, "y")], axis=1)
        lo_x, hi_x, lo_y, hi_y = box_extents(table)[:4]
        return np.stack([(lo_x + hi_x) / 2, (lo_y + hi_y) / 2], axis=1)


CRITERIA = {
    name + flat: Criterion(name + flat, overlap, along_z=not flat)
    for flat in ("", "2d")
    for name, overlap in (("position", None), ("iou", 0.6))
}
"""The criteria of the tables, by name; the last two use only the integrated image."""


@dataclass(frozen=True)
class Matching:
    """Matched true and found sources of one cube or image.

    Parameters
    ----------
    n_true, n_found : int
        Rows of the two tables.
    i_true, i_found : array of int
        Rows of the matched pairs, in the order of the truth, ``[pair]``.
    distance : array
        Normalised distance of each pair (see the criterion), ``[pair]``.
    iou_2d, iou_z : array
        Overlap of the boxes of each pair, ``[pair]``; NaN if a table has no boxes.
    """

    n_true: int
    n_found: int
    i_true: Index
    i_found: Index
    distance: Float
    iou_2d: Float
    iou_z: Float
    partner_of_true: Index = field(init=False)
    """Row in the found table of every true source, -1 if it was missed, ``[n_true]``."""
    partner_of_found: Index = field(init=False)
    """Row in the truth of every found source, -1 if it is false, ``[n_found]``."""

    def __post_init__(self) -> None:
        to_found = np.full(self.n_true, -1, dtype=np.intp)
        to_true = np.full(self.n_found, -1, dtype=np.intp)
        to_found[self.i_true] = self.i_found
        to_true[self.i_found] = self.i_true
        object.__setattr__(self, "partner_of_true", to_found)
        object.__setattr__(self, "partner_of_found", to_true)

    @property
    def unmatched_found(self) -> Index:
        """Rows of the false positives."""
        return np.flatnonzero(self.partner_of_found < 0)


def assign(i: Index, j: Index, cost: Float, n_true: int, n_found: int) -> Index:
    """Choose the largest number of admissible pairs, and among such choices the one of lowest total cost.

    Parameters
    ----------
    i, j : array of int
        Rows of the pairs, ``[pair]``.
    cost : array
        Cost of each pair, finite and not negative, ``[pair]``.
    n_true, n_found : int
        Rows of the two tables.

    Returns
    -------
    array of int
        The pairs chosen, as indices into ``i`` and ``j``, ascending in ``i``.

    Notes
    -----
    The problem is solved separately for each connected component of the graph of pairs. Nearly all components
    are single pairs, so that thousands of sources take milliseconds.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(i):
        return np.empty(0, np.intp)
    n = n_true + n_found
    graph = coo_array((np.ones(len(i)), (i, j + n_true)), shape=(n, n))
    label = connected_components(graph, directed=False)[1][i]
    order = np.argsort(label, kind="stable")
    chosen: list[Index] = []
    for pairs in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        if len(pairs) == 1:
            chosen.append(pairs)
            continue
        rows, r = np.unique(i[pairs], return_inverse=True)
        cols, c = np.unique(j[pairs], return_inverse=True)
        # a forbidden pair costs more than all admissible ones, so that the number of pairs is maximised first
        dense = np.full((len(rows), len(cols)), 1.0 + float(cost[pairs].sum()))
        which = np.full(dense.shape, -1, dtype=np.intp)
        dense[r, c], which[r, c] = cost[pairs], pairs
        taken = which[linear_sum_assignment(dense)]
        chosen.append(taken[taken >= 0])
    result = np.concatenate(chosen).astype(np.intp)
    return result[np.argsort(i[result], kind="stable")]


def match(truth: Table, found: Table, criterion: Criterion | str = "position") -> Matching:
    """Match the sources found in one cube with the true ones.

    Parameters
    ----------
    truth, found : Table
        Catalogues with the columns that the criterion needs: ``x``, ``y``, ``z`` [pixel, pixel, channel],
        the truth's ``fwhm_z`` [channel], and for overlaps ``x_min ... z_max``. Either may be empty.
    criterion : Criterion or str
        ``position``, another name in `CRITERIA`, or a criterion of your own.

    Returns
    -------
    Matching
        Matched and unmatched rows.

    Raises
    ------
    KeyError
        For an unknown criterion, or if a table with rows lacks a column.
    """
    rule = CRITERIA[criterion] if isinstance(criterion, str) else criterion
    if not len(truth) or not len(found):
        none, nan = np.empty(0, np.intp), np.empty(0)
        return Matching(len(truth), len(found), none, none, nan, nan, nan)
    i, j, squared = rule.pairs(truth, found)
    kept = assign(i, j, squared, len(truth), len(found))
    i, j, squared = i[kept], j[kept], squared[kept]
    flat = along = np.full(len(i), np.nan)
    if all("x_min" in table.colnames for table in (truth, found)):
        flat, along = iou_2d(truth, found, i, j), iou_z(truth, found, i, j)
    return Matching(len(truth), len(found), i, j, np.sqrt(squared), flat, along)
