"""Tables 4 and 5 of Delli Veneri et al. (2022), the funnel of their Section 5.1, blends, times of stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from faintsky.evaluation import Scored, Setting
from faintsky.evaluation.catalogs import ALL, LEAST_AXIS_RATIO, of
from faintsky.grid import FWHM_PER_SIGMA, axial_difference, sky_to_paper_frame
from faintsky.matching import (
    Criterion,
    Matching,
    binned_fraction,
    box_extents,
    column,
    iou_2d,
    match,
    robust_scatter,
    snr_edges,
)

if TYPE_CHECKING:
    from faintsky.image import RadioCube

Float = NDArray[np.float64]
Rows = list[dict[str, Any]]

TITLES = {
    "table4": "Table 4",
    "table5": "Table 5: true minus found (eq. 23) of the sources matched by overlap, in the paper's frame",
    "funnel": "Funnel",
    "blends": "Blends of which both sources were found",
    "highest": "Highest blendedness (eq. 22) of a source that was found, overlap of a pair that was split",
    "stages": "Time and memory",
}

PURE = 0.99
"""Precision at which the recall is asked for."""
PURE_COLUMNS = ("pure_recall", "pure_recall_error", "pure_threshold", "pure_precision")


def recall_at_precision(
    truths: Sequence[Table],
    founds: Sequence[Table],
    criterion: Criterion | str = "position",
    precision: float = 0.99,
    *,
    n_bootstrap: int = 300,
    seed: int = 0,
) -> dict[str, float]:
    """Highest recall of a catalogue cut in reliability such that its precision is at least ``precision``.

    Parameters
    ----------
    truths, founds : sequence of Table
        True and found sources, a pair of tables a cube; the found ones searched deeper than the cut. Rows
        without a reliability stay in every cut.
    criterion : Criterion or str, optional
        As in `faintsky.matching.match`; matched again wherever a matched detection falls out.
    precision : float, optional
        Least share of true ones.
    n_bootstrap, seed : int, optional
        Draws of cubes and their seed.

    Returns
    -------
    dict
        ``pure_recall`` with its ``_error``, of a bootstrap over cubes in which the cut is chosen again;
        ``pure_threshold``, the least reliability that is kept, and ``pure_precision`` there; NaN where no cut
        is pure enough. ``pure_cubes`` is the number of cubes.
    """
    n_cubes = len(truths)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_cubes, np.full(n_cubes, 1 / n_cubes), n_bootstrap)
    weights = np.concatenate([np.ones((1, n_cubes)), draws])
    thresholds, hits, kept = _sweep(truths, founds, criterion, weights)
    true = weights @ np.array([len(t) for t in truths], dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        pure = np.where(kept > 0, hits / kept, 0.0)
        recall = hits / true
    best = np.where(pure >= precision, recall, 0.0).max(axis=0)
    passed = np.flatnonzero(pure[:, 0] >= precision)
    if not len(passed):
        return {**dict.fromkeys(PURE_COLUMNS, float("nan")), "pure_cubes": n_cubes}
    at = passed[np.argmax(recall[passed, 0])]
    # a share that comes out as 1 is not certain: half of Wilson's 68 % interval at least
    error = max(float(np.nanstd(best[1:])), 0.5 / (true[0] + 1) if recall[at, 0] in (0.0, 1.0) else 0.0)
    values = map(float, (recall[at, 0], error, thresholds[at], pure[at, 0]))
    return {**dict(zip(PURE_COLUMNS, values, strict=True)), "pure_cubes": n_cubes}


def _sweep(
    truths: Sequence[Table], founds: Sequence[Table], criterion: Criterion | str, weights: Float
) -> tuple[Float, Float, Float]:
    """Every cut: its threshold ``[cut]``, hits and detections under each weighting ``[cut, weighting]``."""
    reliability = [
        np.nan_to_num(column(f, "reliability"), nan=np.inf)
        if "reliability" in f.colnames
        else np.full(len(f), np.inf)
        for f in founds
    ]
    matchings = [match(t, f, criterion) for t, f in zip(truths, founds, strict=True)]
    alive = [np.arange(len(f)) for f in founds]
    hits = weights @ np.array([len(m.i_true) for m in matchings], dtype=float)
    kept = weights @ np.array([len(f) for f in founds], dtype=float)
    cube = np.repeat(np.arange(len(founds)), [len(f) for f in founds])
    row = np.concatenate([np.empty(0, dtype=np.intp), *alive])
    value = np.concatenate([np.empty(0), *reliability])
    order = np.argsort(value, kind="stable")
    cuts = [(value[order[0]] if len(order) else 0.0, hits.copy(), kept.copy())]
    for place, k in enumerate(order):
        if np.isinf(value[k]):
            break
        c, gone = int(cube[k]), int(row[k])
        where = int(np.searchsorted(alive[c], gone))
        matched = matchings[c].partner_of_found[where] >= 0
        before = len(matchings[c].i_true)
        alive[c] = np.delete(alive[c], where)
        matchings[c] = match(truths[c], founds[c][alive[c]], criterion)
        # one that was false takes nothing with it; one that was a hit may leave its source to another
        hits = hits - weights[:, c] * (before - len(matchings[c].i_true) if matched else 0)
        kept = kept - weights[:, c]
        last = place + 1 == len(order)
        if last or value[order[place + 1]] > value[k]:
            cuts.append((np.inf if last else value[order[place + 1]], hits.copy(), kept.copy()))
    threshold, all_hits, all_kept = zip(*cuts, strict=True)
    return np.array(threshold), np.stack(all_hits), np.stack(all_kept)


def pure_recall(scored: Scored, seed: int = 0) -> dict[str, dict[str, Any]]:
    """`recall_at_precision` of a method and set by every criterion, from catalogues searched deep."""
    parts = scored.truths, scored.founds
    return {c: recall_at_precision(*parts, c, PURE, seed=seed) for c in scored.criteria}


def table4(rows: Rows, pure: Mapping[tuple[str, str], Mapping[str, Any]]) -> Rows:
    """Rows of Table 4: counts, precision, recall, F1, mean IoU, and the recall where the catalogue is pure.

    Parameters
    ----------
    rows : list of dict
        Of the main table; those over all sources of sets that have some are used.
    pure : mapping
        `pure_recall` by method and set.

    Returns
    -------
    list of dict
        ``tp_share`` and ``fn_share`` are fractions of the true sources; every number with an ``_error``
        from a bootstrap over cubes.
    """
    out = []
    for r in rows:
        if r["subset"] != ALL or not r["n_true"]:
            continue
        names = ["method", "cubes", "criterion", "n_cubes", "n_true", "tp", "fp", "fn"]
        line = {name: r[name] for name in names}
        line |= {"tp_share": r["tp"] / r["n_true"], "fn_share": r["fn"] / r["n_true"]}
        for name in ("precision", "recall", "f1", "iou_2d", "iou_z"):
            line |= {name: r[name], f"{name}_error": r[f"{name}_error"]}
        found = pure.get((r["method"], r["cubes"]), {}).get(r["criterion"])
        out.append(line | (found or {**dict.fromkeys(PURE_COLUMNS, float("nan")), "pure_cubes": 0}))
    return out


def funnel(scored: Scored) -> list[dict[str, Any]]:
    """Which step of a method kept or removed how many candidates (Section 5.1), and what they were.

    A candidate that a rule removed is *lost* where it lies on a true source that the catalogue misses, a
    *duplicate* on one that the catalogue has anyway, and *false* elsewhere; one-to-one, within 3 pixels, and
    within the line's FWHM where the candidate has a place along frequency.

    Returns
    -------
    list of dict
        A row a step in the method's order, summed over the cubes; ``lost``, ``duplicate`` and ``false`` only
        for rules whose removed candidates the method lists. Empty for a method without steps.
    """
    counts: dict[str, int] = {}
    kinds: dict[str, dict[str, int]] = {}
    for truth, found, matching in zip(scored.truths, scored.founds, scored.matchings[scored.main]):
        for step, count in found.meta.get("steps", []):
            counts[str(step)] = counts.get(str(step), 0) + int(count)
        removed = found.meta.get("removed", [])
        for rule in dict.fromkeys(str(r[0]) for r in removed):
            places = np.array([r[1:4] for r in removed if str(r[0]) == rule], dtype=float)
            kind = kinds.setdefault(rule, {"removed": 0, "lost": 0, "duplicate": 0, "false": 0})
            kind["removed"] += len(places)
            for name, number in _kinds(truth, places, matching.partner_of_true < 0).items():
                kind[name] += number
    head = {"method": scored.method, "cubes": scored.cubes}
    blank = dict.fromkeys(("removed", "lost", "duplicate", "false"), "")
    steps = dict.fromkeys([*counts, *kinds])
    return [head | {"step": s, "count": counts.get(s, "")} | (kinds.get(s) or blank) for s in steps]


def _kinds(truth: Table, places: Any, missed: Any) -> dict[str, int]:
    """How many of the places ``[n, 3]`` are missed sources, found ones, and none."""
    left = Table({name: places[:, k] for k, name in enumerate(("x", "y", "z"))})
    out = {}
    for name, members in (("lost", missed), ("duplicate", ~missed)):
        number = 0
        for flat in (False, True):
            rows = np.flatnonzero(np.isfinite(left["z"]) != flat)
            hit = match(truth[members], left[rows], "position2d" if flat else "position").i_found
            number += len(hit)
            left.remove_rows(rows[hit])
        out[name] = number
    return out | {"false": len(left)}


def stage_rows(scored: Scored) -> Rows:
    """Seconds a cube, by the clock and of the processor: of every stage and of the whole; peak memory."""
    stages: dict[str, list[list[float]]] = {}
    memory = []
    for found in scored.founds:
        for name, value in found.meta.get("stages", []):
            seconds, cpu = value if isinstance(value, list) else (value, float("nan"))
            stages.setdefault(str(name), []).append([float(seconds), float(cpu)])
        whole = [float(found.meta.get(k, "nan")) for k in ("seconds", "cpu_seconds", "memory_mb")]
        stages.setdefault("all", []).append(whole[:2])
        memory.append(whole[2])
    stages["all"] = stages.pop("all", [])
    rows: Rows = []
    for name, values in stages.items():
        seconds, cpu = np.array(values).T
        rows.append(
            {"method": scored.method, "cubes": scored.cubes, "stage": name, "n": len(values),
             "seconds": float(seconds.mean()), "seconds_std": float(seconds.std()),
             "seconds_median": float(np.median(seconds)), "cpu_seconds": float(cpu.mean()),
             "memory_mb": float(np.max(memory)) if name == "all" else float("nan")}
        )  # fmt: skip
    return rows


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
    rule = criterion or scored.criteria[1]
    parts = [
        parameters_of_pairs(t, f, m, Setting.of(t.meta).cell)
        for t, f, m in zip(scored.truths, scored.founds, scored.matchings[rule])
        if len(m.i_true)
    ]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]} if parts else {}


def table5(scored: Scored) -> list[dict[str, Any]]:
    """Rows of Table 5 for one method and set, over all matched sources and over the isolated ones.

    Returns
    -------
    list of dict
        ``mean`` and ``std`` of the residuals, true minus found as in eq. 23 (``mean_error``: of the mean),
        robust ``scatter``, median Cramér-Rao ``bound`` and the robust scatter of residual over bound, both
        for an unknown continuum and for a ``shared`` one (see `faintsky.evaluation.bounds`); mean and
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
                {"method": scored.method, "cubes": scored.cubes, "criterion": scored.criteria[1],
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


def box_sums(table: Table, cube: RadioCube, *, continuum: bool = False) -> Float:
    """The paper's total brightness: the sum of all dirty voxels in each source's box, ``[n]`` [Jy/beam].

    Line, continuum, noise and neighbours together, as in Fig. 2b of Delli Veneri et al. (2022). With
    ``continuum`` the mean of the voxels in the box's pixels outside its channels (Fig. 2c). NaN without a
    box; a box without channels reaches over all of them.
    """
    out = np.full(len(table), np.nan)
    if "x_min" not in table.colnames or not len(table):
        return out
    n_chan, n_y, n_x = cube.shape
    edges = np.stack(box_extents(table), axis=1)
    channel = np.arange(n_chan)
    for k, (x0, x1, y0, y1, z0, z1) in enumerate(edges):
        if not np.isfinite([x0, x1, y0, y1]).all():
            continue
        rows = slice(max(int(y0 + 0.5), 0), min(int(y1 + 0.5), n_y))
        columns = slice(max(int(x0 + 0.5), 0), min(int(x1 + 0.5), n_x))
        inside = ~((channel < z0) | (channel > z1))  # all of them where the edges are NaN
        patch = cube.data[:, rows, columns]
        if not continuum:
            out[k] = float(np.nansum(patch[inside], dtype=float))
        elif not inside.all() and np.isfinite(patch[~inside]).any():
            out[k] = float(np.nanmean(patch[~inside], dtype=float))
    return out


BLEND_EDGES = np.array([0.0, 0.02, 0.1, 0.2, 0.4, 0.55, 0.77, 1.001])
"""Bins of blendedness; the middles of the fourth and the sixth are 0.3 and 0.66, where the share of split
blends is asked for. What does not overlap has 0, and is in the first."""


def blends(truth: Table) -> tuple[NDArray[np.intp], NDArray[np.intp], Float]:
    """Pairs of true sources whose boxes overlap in the image: rows and their 2-D IoU, ``[pair]``."""
    table = overlaps(truth)
    i, j = np.nonzero(np.triu(table, 1))
    return i, j, table[i, j]


def dependence_of(scored: Scored) -> dict[str, Any]:
    """How a method does against flux and blendedness, by its main criterion.

    Returns
    -------
    dict
        ``completeness`` and ``reliability``, each a `faintsky.matching.Binned` by ``flux`` [Jy km/s; of the
        truth, or as the method reports it] and by ``blendedness`` (eq. 22, of the true boxes, or of the found
        ones); ``split``, the share of the pairs of overlapping true sources of which both were found, against
        their overlap.
    """
    own = []
    for found in scored.founds:
        with_boxes = len(found) and "x_min" in found.colnames
        own.append(overlaps(found).max(axis=1, initial=0.0) if with_boxes else np.zeros(len(found)))
    none, flux, reported = np.empty(0), scored.joined("flux"), scored.joined("flux", found=True)
    detected, real = scored.detected(), scored.real()
    return {
        "completeness": {
            "flux": binned_fraction(flux, detected, _flux_edges(flux)),
            "blendedness": binned_fraction(scored.joined("blendedness"), detected, BLEND_EDGES),
        },
        "reliability": {
            "flux": binned_fraction(reported, real, _flux_edges(reported)),
            "blendedness": binned_fraction(np.concatenate([none, *own]), real, BLEND_EDGES),
        },
        "split": binned_fraction(*pairs_split(scored, scored.main), BLEND_EDGES),
    }


def pairs_split(scored: Scored, criterion: str) -> tuple[Float, NDArray[np.bool_]]:
    """Overlap of every pair of true sources, and whether both of it were found, ``[pair]``."""
    overlap, both = [np.empty(0)], [np.zeros(0, dtype=bool)]
    for truth, matching in zip(scored.truths, scored.matchings[criterion]):
        i, j, values = blends(truth)
        overlap.append(values)
        both.append((matching.partner_of_true[i] >= 0) & (matching.partner_of_true[j] >= 0))
    return np.concatenate(overlap), np.concatenate(both)


def _flux_edges(flux: Float) -> Float:
    """Logarithmic bins over the middle 99 % of the positive fluxes."""
    v = flux[np.isfinite(flux) & (flux > 0)]
    low, high = np.quantile(v, [0.005, 0.995]) if len(v) else (0.01, 1.0)
    return snr_edges(v, 10, low=float(low), high=float(max(high, 2 * low)))


def split_rows(scored: Scored, criterion: str | None = None) -> Rows:
    """The share of split blends in every bin that has some, by the main criterion or another."""
    rule = criterion or scored.main
    b = binned_fraction(*pairs_split(scored, rule), BLEND_EDGES)
    return [
        {"method": scored.method, "cubes": scored.cubes, "criterion": rule, "overlap_from": float(lo),
         "overlap_to": float(hi), "n": int(n), "split": float(f), "low": float(a), "high": float(z)}
        for lo, hi, n, f, a, z in zip(b.edges[:-1], b.edges[1:], b.n, b.fraction, b.low, b.high)
        if n
    ]  # fmt: skip


def blend_rows(scored: Scored) -> Rows:
    """`split_rows` by place and by the paper's boxes."""
    return [row for criterion in scored.criteria[:2] for row in split_rows(scored, criterion)]


def highest_rows(scored: Scored) -> Rows:
    """The paper's "maximum detected blendness", of a source and of a pair, beside the highest in the data."""
    own, rows = scored.joined("blendedness"), []
    for rule in scored.criteria[:2]:
        overlap, both = pairs_split(scored, rule)
        highest = [float(np.max(v, initial=0.0)) for v in (own[scored.detected(rule)], overlap[both], own)]
        rows.append(
            {"method": scored.method, "cubes": scored.cubes, "criterion": rule, "pairs": len(overlap),
             "found": highest[0], "split": highest[1], "in_the_data": highest[2]}
        )  # fmt: skip
    return rows
