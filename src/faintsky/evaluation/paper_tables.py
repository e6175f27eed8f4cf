"""Table 4 of Delli Veneri et al. (2022), the funnel of their Section 5.1, time and memory of each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from faintsky.evaluation.scoring import ALL, Row, Scored
from faintsky.matching import match
from faintsky.matching.operating import recall_at_precision

if TYPE_CHECKING:
    from astropy.table import Table

PURE = 0.99
"""Precision at which the recall is asked for."""


def pure_recall(scored: Scored, seed: int = 0) -> dict[str, dict[str, Any]]:
    """`recall_at_precision` of a method and set by every criterion, from catalogues searched deep."""
    out = {}
    for criterion in scored.criteria:
        point = recall_at_precision(scored.truths, scored.founds, criterion, PURE, seed=seed)
        out[criterion] = {
            "pure_recall": point.recall.value,
            "pure_recall_error": point.recall.error,
            "pure_threshold": point.threshold,
            "pure_precision": point.precision,
            "pure_cubes": point.n_cubes,
        }
    return out


def table4(rows: Sequence[Row], pure: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of Table 4: counts, precision, recall, F1, mean IoU, and the recall where the catalogue is pure.

    Parameters
    ----------
    rows : sequence of Row
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
        m = r.metrics
        if r.subset != ALL or not m.n_true:
            continue
        line: dict[str, Any] = {"method": r.method, "cubes": r.cubes, "criterion": r.criterion}
        line |= {"n_cubes": m.n_cubes, "n_true": m.n_true, "tp": m.tp, "fp": m.fp, "fn": m.fn}
        line |= {"tp_share": m.tp / m.n_true, "fn_share": m.fn / m.n_true}
        for name in ("precision", "recall", "f1", "iou_2d", "iou_z"):
            line[name], line[f"{name}_error"] = getattr(m, name).value, getattr(m, name).error
        nothing = dict.fromkeys(
            ("pure_recall", "pure_recall_error", "pure_threshold", "pure_precision"), float("nan")
        )
        found = pure.get((r.method, r.cubes), {}).get(r.criterion, {**nothing, "pure_cubes": 0})
        out.append(line | found)
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
    from astropy.table import Table

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


def stage_rows(scored: Scored) -> list[dict[str, Any]]:
    """Seconds a cube, by the clock and of the processor, and peak memory: of every stage and of the whole."""
    stages: dict[str, list[list[float]]] = {}
    for found in scored.founds:
        for name, value in found.meta.get("stages", []):
            known = value if isinstance(value, list) else [value]
            stages.setdefault(str(name), []).append([*map(float, known), *[float("nan")] * (3 - len(known))])
        whole = [float(found.meta.get(k, "nan")) for k in ("seconds", "memory_mb", "cpu_seconds")]
        stages.setdefault("all", []).append(whole)
    stages["all"] = stages.pop("all", [])
    rows = []
    for name, values in stages.items():
        seconds, memory, cpu = np.array(values).T
        rows.append(
            {"method": scored.method, "cubes": scored.cubes, "stage": name, "n": len(values),
             "seconds": float(seconds.mean()), "seconds_std": float(seconds.std()),
             "seconds_median": float(np.median(seconds)), "cpu_seconds": float(cpu.mean()),
             "memory_mb": float(np.max(memory))}
        )  # fmt: skip
    return rows
