"""Table 5 of Delli Veneri et al. (2022): all parameters in their frame and unit, beside what is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.evaluation.residuals import LEAST_AXIS_RATIO, paper_widths
from faintsky.evaluation.scoring import ALL, Scored
from faintsky.evaluation.truth import setting_of
from faintsky.grid import FWHM_PER_SIGMA, axial_difference, sky_to_paper_frame
from faintsky.matching import Matching, column, robust_scatter

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]

ISOLATED = "isolated"
PAPER_UNITS = {
    "x": "pixel",
    "y": "pixel",
    "fwhm_x": "FWHM / 2.355, pixel",
    "fwhm_y": "FWHM / 2.355, pixel",
    "z": "channel",
    "dz": "channel",
    "pa": "deg",
    "pa_axial": "deg",
    "pa_elongated": "deg",
    "flux": "Jy km/s",
    "brightness": "Jy/beam, summed",
}
"""The rows: Table 5's eight parameters (``dz`` is twice the line's FWHM), the angle also as what it is,
modulo 180 degrees, and that for true axis ratios above 1.2; ``brightness`` is the paper's flux, the sum of
the dirty voxels in the box, true box against found box."""
NO_RATIO = ("x", "y", "z", "pa_axial", "pa_elongated")
"""Their zero is arbitrary."""


def parameters_of_pairs(truth: Table, found: Table, matching: Matching, cell: float) -> dict[str, Float]:
    """True and found values and Cramér-Rao bounds of the matched pairs of one cube in the paper's units.

    Returns
    -------
    dict of array
        ``NAME_true``, ``NAME_found`` (for an axial angle the nearest of its turns), ``NAME_bound`` and
        ``NAME_bound_shared`` for every name in `PAPER_UNITS`, and ``snr``, ``ratio`` (of the true axes),
        ``isolated``, ``brightness_true``, each ``[pair]``; NaN where not known.
    """
    t, f = truth[matching.i_true], found[matching.i_found]
    n = len(t)
    nan = np.full(n, np.nan)

    def of(table: Table, name: str) -> Float:
        return column(table, name) if name in table.colnames else nan.copy()

    out: dict[str, Float] = {}

    def put(name: str, true: Float, measured: Float, source: str = "", scale: float | Float = 1.0) -> None:
        out[f"{name}_true"], out[f"{name}_found"] = true, measured
        for suffix in ("_bound", "_bound_shared"):
            out[name + suffix] = of(t, source + suffix) * scale if source else nan.copy()

    for name in ("x", "y", "z"):
        put(name, of(t, name), of(f, name), name)
    shape = [of(t, name) for name in ("dc_maj", "dc_min", "dc_pa")]
    x_is_major = np.mod(90.0 - shape[2], 180.0) < 90.0
    for axis, (true, measured) in paper_widths(t, f, cell).items():
        name = axis.removeprefix("paper_")
        put(name, true, measured)
        along = x_is_major if name == "fwhm_x" else ~x_is_major
        for suffix in ("_bound", "_bound_shared"):
            bound = np.where(along, of(t, "dc_maj" + suffix), of(t, "dc_min" + suffix))
            out[name + suffix] = bound / (cell * FWHM_PER_SIGMA)
    put("dz", 2 * of(t, "fwhm_z"), 2 * of(f, "fwhm_z"), "fwhm_z", 2.0)
    angles = [sky_to_paper_frame(of(k, "dc_maj"), of(k, "dc_min"), of(k, "dc_pa"))[2] for k in (t, f)]
    put("pa", angles[0], angles[1], "dc_pa")
    nearest = shape[2] + axial_difference(of(f, "dc_pa"), shape[2])
    put("pa_axial", shape[2], nearest, "dc_pa")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = shape[0] / shape[1]
    put("pa_elongated", shape[2], np.where(ratio > LEAST_AXIS_RATIO, nearest, np.nan), "dc_pa")
    put("flux", of(t, "flux"), of(f, "flux"), "flux", np.abs(of(t, "flux")))
    put("brightness", of(t, "paper_sum"), of(f, "paper_sum"))
    out["snr"], out["ratio"], out["isolated"] = of(t, "snr"), ratio, of(t, "isolated")
    return out


def stacked_parameters(scored: Scored, criterion: str | None = None) -> dict[str, Float]:
    """`parameters_of_pairs` of all cubes of a method and set; empty where nothing was matched."""
    rule = criterion or paper_criterion(scored)
    parts = [
        parameters_of_pairs(t, f, m, setting_of(t.meta).cell)
        for t, f, m in zip(scored.truths, scored.founds, scored.matchings[rule])
        if len(m.i_true)
    ]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]} if parts else {}


def paper_criterion(scored: Scored) -> str:
    """The overlap criterion by which a method can be judged: the paper's, or its half in the image."""
    return scored.criteria[1]


def table5(scored: Scored) -> list[dict[str, Any]]:
    """Rows of Table 5 for one method and set, over all matched sources and over the isolated ones.

    Returns
    -------
    list of dict
        ``mean`` and ``std`` of the residuals, true minus found as in eq. 23 (``mean_error``: of the mean),
        robust ``scatter``, median Cramér-Rao ``bound`` and the robust scatter of residual over bound, both
        for an unknown continuum and for a ``shared`` one (see `faintsky.evaluation.cramer_rao`); mean and
        standard deviation of the relative errors (eq. 24), shares of them within 1, 10 and 20 %.
    """
    p = stacked_parameters(scored)
    rows: list[dict[str, Any]] = []
    for subset in (ALL, ISOLATED) if p else ():
        use = np.ones(len(p["snr"]), dtype=bool) if subset == ALL else p["isolated"] > 0.5
        for name, unit in PAPER_UNITS.items():
            true, bound, shared = (p[name + s][use] for s in ("_true", "_bound", "_bound_shared"))
            residual = true - p[f"{name}_found"][use]
            known = np.isfinite(residual)
            if not known.any():
                continue
            rows.append(
                {"method": scored.method, "cubes": scored.cubes, "criterion": paper_criterion(scored),
                 "subset": subset, "parameter": name, "unit": unit}
                | _summary(residual[known], true[known], bound[known], shared[known], name)
            )  # fmt: skip
    return rows


def _summary(residual: Float, true: Float, bound: Float, shared: Float, name: str) -> dict[str, Any]:
    """Numbers of one parameter from its finite residuals."""
    n, nan = len(residual), float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = residual / true if name not in NO_RATIO else np.full(n, np.nan)
    relative = relative[np.isfinite(relative)]
    out = {
        "n": n,
        "mean": float(residual.mean()),
        "mean_error": float(residual.std() / np.sqrt(n)),
        "std": float(residual.std()),
        "scatter": robust_scatter(residual),
    }
    for label, values in (("bound", bound), ("bound_shared", shared)):
        ok = np.isfinite(values) & (values > 0)
        out[label] = float(np.median(values[ok])) if ok.any() else nan
        out[f"over_{label}"] = robust_scatter(residual[ok] / values[ok]) if ok.any() else nan
    some = len(relative) > 0
    out["relative_mean"] = float(relative.mean()) if some else nan
    out["relative_std"] = float(relative.std()) if some else nan
    for percent in (1, 10, 20):
        out[f"within_{percent}"] = float(np.mean(np.abs(relative) < percent / 100)) if some else nan
    return out
