"""Bounding boxes by one rule for truth and predictions, so that nobody is judged on a box convention.

Rules (fidelity page, S7), each on the source's own noiseless sky image, integrated over its line:

``paper``
    The pixels that, after scaling the image to [0, 1], are at least three standard deviations of the whole
    image. With nearly all of the image at zero that is ``image >= 3 std(image)``.
``tenth``
    The pixels at or above a tenth of the image's brightest one.

The image is the simulator's own: what is narrower than two pixels has a band-limited profile there, and is
taken as two pixels wide for ``paper``.

Along frequency a box is always the line's centre plus and minus its FWHM, in real-valued channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.grid import FWHM_PER_SIGMA, ImageGrid
from faintsky.matching import column
from faintsky.simulating import BOX_RULES
from faintsky.sky import NARROW, gaussian_image

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.evaluation.truth import Setting

Float = NDArray[np.float64]

RULES = tuple(BOX_RULES)
"""The rules by name: ``paper`` and ``tenth``."""
_REACH = 6.0  # standard deviations of the Gaussian beyond which its square adds less than 1e-15
_LOBES = 24  # pixels around a narrow source, which the simulator lays with small lobes


def rule_name(text: str | None) -> str:
    """The rule that a data set's metadata name, by its name or its description; ``paper`` for none.

    Raises
    ------
    InputError
        The text is neither.
    """
    if not text:
        return "paper"
    for name, description in BOX_RULES.items():
        if text in (name, description):
            return name
    raise InputError(f"unknown box rule {text!r}", f"use one of {', '.join(RULES)}")


def _cutout(x: float, y: float, reach: float, shape: tuple[int, int]) -> tuple[Float, Float]:
    """Pixels ``[x]`` and ``[y]`` of the image within ``reach`` of a point, at least one of each."""
    axes = []
    for centre, n in ((x, shape[1]), (y, shape[0])):
        nearest = int(np.clip(np.rint(centre), 0, n - 1))
        first = min(max(int(np.ceil(centre - reach)), 0), nearest)
        last = max(min(int(np.floor(centre + reach)), n - 1), nearest)
        axes.append(np.arange(first, last + 1, dtype=float))
    return axes[0], axes[1]


def gaussian_box(
    x: float,
    y: float,
    fwhm_maj: float,
    fwhm_min: float,
    pa: float,
    shape: tuple[int, int],
    rule: str = "paper",
) -> tuple[int, int, int, int]:
    """Box of an elliptical Gaussian in an image, by one of the rules.

    Parameters
    ----------
    x, y : float
        Centre [pixel].
    fwhm_maj, fwhm_min, pa : float
        Shape [pixel, pixel, deg east of north]; a width of 0 or NaN is a point.
    shape : tuple of int
        ``(n_y, n_x)`` of the image: the ``paper`` rule depends on it.
    rule : str
        One of `RULES`.

    Returns
    -------
    x_min, x_max, y_min, y_max : int
        Both ends inside the box; the nearest pixel alone where none reaches the level.

    Raises
    ------
    ValueError
        An unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"unknown box rule {rule!r}; one of {', '.join(RULES)}")
    maj, minor = (float(np.nan_to_num(w)) for w in (fwhm_maj, fwhm_min))
    if rule == "paper":
        # Its sources are all wider; the lobes of a narrow one would pass for a box of many pixels.
        maj, minor = max(maj, NARROW), max(minor, NARROW)
    # Only the neighbourhood is drawn: the rest of the image is zero and enters through its number of pixels.
    wide = max(maj, minor)
    px, py = _cutout(x, y, _REACH * wide / FWHM_PER_SIGMA + (_LOBES if minor < NARROW else 0), shape)
    patch = ImageGrid(len(py), len(px), 1.0)
    image = gaussian_image(patch, x - px[0], y - py[0], maj, minor, float(np.nan_to_num(pa))).astype(float)
    n, high = shape[0] * shape[1], float(image.max())
    if rule == "paper":
        variance = float((image**2).sum() / n - (image.sum() / n) ** 2)
        level = 3 * np.sqrt(max(variance, 0.0))
    else:
        level = 0.1 * high
    inside = image >= min(level, high)
    cols, rows = px[inside.any(axis=0)], py[inside.any(axis=1)]
    return int(cols[0]), int(cols[-1]), int(rows[0]), int(rows[-1])


def with_boxes(
    table: Table, shape: tuple[int, int], cell: float, rule: str = "paper", *, keep_image_box: bool = False
) -> Table:
    """A copy of a catalogue with the boxes of its own positions and shapes.

    Parameters
    ----------
    table : Table
        With ``x``, ``y``, ``z`` [pixel, pixel, channel], ``dc_maj``, ``dc_min`` [arcsec], ``dc_pa`` [deg]
        and ``fwhm_z`` [channel].
    shape : tuple of int
        ``(n_y, n_x)`` of the image.
    cell : float
        Side of a pixel [arcsec].
    rule : str
        One of `RULES`.
    keep_image_box : bool, optional
        Keep ``x_min ... y_max`` where the table has them and only make the edges along frequency, which
        the tables' files hold as integers: for truths, whose boxes the simulator made from the sky image.

    Returns
    -------
    Table
        Rows without a finite position have boxes of NaN.
    """
    out = table.copy()
    n = len(table)
    x, y, z, width = (column(table, name) for name in ("x", "y", "z", "fwhm_z"))
    box = np.full((n, 4), np.nan)
    names = ("x_min", "x_max", "y_min", "y_max")
    kept: NDArray[np.bool_] = np.zeros(n, dtype=bool)
    if keep_image_box and all(name in table.colnames for name in names):
        box = np.stack([column(table, name) for name in names], axis=1)
        kept = np.asarray((box >= 0).all(axis=1))  # a missing pixel is -1
    maj, minor = column(table, "dc_maj") / cell, column(table, "dc_min") / cell
    pa = column(table, "dc_pa")
    for i in np.flatnonzero(np.isfinite(x) & np.isfinite(y) & ~kept):
        box[i] = gaussian_box(x[i], y[i], maj[i], minor[i], pa[i], shape, rule)
    for k, name in enumerate(names):
        out[name] = box[:, k]
    out["z_min"], out["z_max"] = z - width, z + width
    return out


def own_or_ruled_boxes(table: Table, setting: Setting) -> Table:
    """The detections with the boxes they are judged by.

    Those that the method gave, where its boxes are what it detects (islands of pixels; the table's
    ``meta["own_boxes"]``); otherwise boxes by the data set's rule from the positions and widths, where there
    are any.
    """
    if not len(table) or table.meta.get("own_boxes") or "dc_maj" not in table.colnames:
        return table
    return with_boxes(table, setting.shape[1:], setting.cell, setting.box_rule)
