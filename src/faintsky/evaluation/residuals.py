"""Found minus true: how well the parameters of matched sources were measured, and how well they could be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.grid import FWHM_PER_SIGMA, axial_difference, sky_to_paper_frame
from faintsky.matching import Matching, column, robust_scatter

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]

LEAST_AXIS_RATIO = 1.2
"""Position angles of rounder true sources are not judged."""
UNITS = {
    "x": "pixel",
    "y": "pixel",
    "z": "channel",
    "dc_maj": "arcsec",
    "dc_min": "arcsec",
    "dc_pa": "deg",
    "fwhm_z": "channel",
    "flux": "relative",
    "paper_fwhm_x": "FWHM / 2.355, pixel",
    "paper_fwhm_y": "FWHM / 2.355, pixel",
}
"""What is compared, and in which unit its residual is."""
NO_RATIO = ("x", "y", "z")
"""Their zero is arbitrary, so that a relative error means nothing."""
_DIRECT = ("x", "y", "z", "dc_maj", "dc_min", "fwhm_z")


def paper_widths(truth: Table, found: Table, cell: float) -> dict[str, tuple[Float, Float]]:
    """True and found widths along the paper's rotated x and y, in its unit (FWHM / 2.355, pixel; S2).

    Parameters
    ----------
    truth, found : Table
        Matched rows, ``dc_maj`` and ``dc_min`` [arcsec], ``dc_pa`` [deg].
    cell : float
        Side of a pixel [arcsec].

    Returns
    -------
    dict
        ``paper_fwhm_x`` and ``paper_fwhm_y``, each true and found, ``[pair]``. That frame swaps x and y
        where the angle passes 0 or 90 degrees; the found widths are put along the true frame's axes, so
        that a small error of the angle there is not counted as a large one of the widths.
    """
    shape = [column(truth, name) for name in ("dc_maj", "dc_min", "dc_pa")]
    unit = cell * FWHM_PER_SIGMA
    true_x, true_y, _ = sky_to_paper_frame(shape[0] / unit, shape[1] / unit, shape[2])
    x_is_major = np.mod(90.0 - shape[2], 180.0) < 90.0
    crossed = np.abs(axial_difference(column(found, "dc_pa"), shape[2])) > 45.0
    maj, minor = column(found, "dc_maj") / unit, column(found, "dc_min") / unit
    along_x = np.where(x_is_major ^ crossed, maj, minor)
    along_y = np.where(x_is_major ^ crossed, minor, maj)
    return {"paper_fwhm_x": (true_x, along_x), "paper_fwhm_y": (true_y, along_y)}


def pair_residuals(
    truth: Table, found: Table, matching: Matching, cell: float, bounds: Mapping[str, Float] | None = None
) -> dict[str, Float]:
    """Residuals of the matched pairs of one cube.

    Parameters
    ----------
    truth, found : Table
        Catalogues of the cube.
    matching : Matching
        Of these tables.
    cell : float
        Side of a pixel [arcsec].
    bounds : mapping of str to array, optional
        Cramér-Rao bound of each parameter of each true source, in `UNITS`, ``[n_true]``.

    Returns
    -------
    dict of array
        For every name in `UNITS`: ``NAME`` (found minus true; relative to the true value for the flux),
        ``NAME_true``, ``NAME_error`` (as reported; NaN where it is not) and ``NAME_bound``, each
        ``[pair]``. Where something is not known, or an angle is not judged, NaN.
    """
    t, f = truth[matching.i_true], found[matching.i_found]
    n = len(matching.i_true)
    out: dict[str, Float] = {}

    def reported(name: str) -> Float:
        return column(f, f"{name}_err") if f"{name}_err" in f.colnames else np.full(n, np.nan)

    for name in _DIRECT:
        out[f"{name}_true"] = column(t, name)
        out[name] = column(f, name) - column(t, name)
        out[f"{name}_error"] = reported(name)
    flux = column(t, "flux")
    out["flux_true"], out["flux"] = flux, column(f, "flux") / flux - 1.0
    out["flux_error"] = reported("flux") / np.abs(flux)
    with np.errstate(divide="ignore", invalid="ignore"):
        judged = column(t, "dc_maj") > LEAST_AXIS_RATIO * column(t, "dc_min")
    out["dc_pa_true"] = column(t, "dc_pa")
    out["dc_pa"] = np.where(judged, axial_difference(column(f, "dc_pa"), column(t, "dc_pa")), np.nan)
    out["dc_pa_error"] = reported("dc_pa")
    for name, (true, measured) in paper_widths(t, f, cell).items():
        out[f"{name}_true"], out[name], out[f"{name}_error"] = true, measured - true, np.full(n, np.nan)
    for name in UNITS:
        known = bounds is not None and name in bounds
        out[f"{name}_bound"] = bounds[name][matching.i_true] if bounds and known else np.full(n, np.nan)
    return out


@dataclass(frozen=True)
class ResidualSummary:
    """One parameter's residuals over many sources.

    Parameters
    ----------
    name, unit : str
        Of `UNITS`.
    n : int
        Pairs with a finite residual.
    mean, mean_error, std : float
        Of the residuals.
    scatter, scatter_error : float
        Robust standard deviation and its error (Gaussian core: ``1.17 / sqrt(n)`` of it).
    over_bound : float
        Robust standard deviation of residual over Cramér-Rao bound; 1 is the best there is.
    median_bound : float
        In the parameter's unit.
    pull_mean, pull_scatter : float
        Of residual over reported error: 0 and 1 where errors are right.
    within_1, within_10, within_20 : float
        Shares of the pairs with a relative error below 1, 10 and 20 %; NaN for a position.
    """

    name: str
    unit: str
    n: int
    mean: float
    mean_error: float
    std: float
    scatter: float
    scatter_error: float
    over_bound: float
    median_bound: float
    pull_mean: float
    pull_scatter: float
    within_1: float
    within_10: float
    within_20: float

    def as_dict(self) -> dict[str, float | int | str]:
        """For JSON."""
        return asdict(self)


def _finite_ratio(a: Float, b: Float) -> Float:
    ok = np.isfinite(a) & np.isfinite(b) & (b > 0)
    return a[ok] / b[ok]


def summarise_residuals(
    pairs: Mapping[str, Float], where: NDArray[np.bool_] | None = None
) -> list[ResidualSummary]:
    """Summary of every parameter of `UNITS`, over the pairs ``where`` is true (``[pair]``)."""
    rows = []
    for name, unit in UNITS.items():
        keep = np.isfinite(pairs[name]) & (True if where is None else where)
        r, true, error, bound = (pairs[name + s][keep] for s in ("", "_true", "_error", "_bound"))
        n = len(r)
        relative = np.abs(r) if unit == "relative" else np.abs(r) / np.where(true == 0, np.nan, np.abs(true))
        compared = n if name not in NO_RATIO else 0
        pulls, ratio = _finite_ratio(r, error), _finite_ratio(r, bound)
        scatter = robust_scatter(r)
        finite = bound[np.isfinite(bound)]
        nan = float("nan")
        rows.append(
            ResidualSummary(
                name=name,
                unit=unit,
                n=n,
                mean=float(r.mean()) if n else nan,
                mean_error=float(r.std() / np.sqrt(n)) if n else nan,
                std=float(r.std()) if n else nan,
                scatter=scatter,
                scatter_error=1.17 * scatter / np.sqrt(n) if n else nan,
                over_bound=robust_scatter(ratio),
                median_bound=float(np.median(finite)) if len(finite) else nan,
                pull_mean=float(np.median(pulls)) if len(pulls) else nan,
                pull_scatter=robust_scatter(pulls),
                within_1=float(np.mean(relative < 0.01)) if compared else nan,
                within_10=float(np.mean(relative < 0.1)) if compared else nan,
                within_20=float(np.mean(relative < 0.2)) if compared else nan,
            )
        )
    return rows
