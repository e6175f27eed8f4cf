"""From the scores of denoisers to rows of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.evaluation.brightness_metrics import (
    brightness_statistic,
    correlation_statistic,
    dimming_statistic,
    discrepancy_statistic,
    mre_of_each,
)
from faintsky.evaluation.image_metrics import (
    INSIDE,
    PIXEL_EDGES,
    SOURCE_EDGES,
    mean_ratio,
    over_fields,
    ratio_statistic,
)
from faintsky.evaluation.lofar_scores import SHARP, Scores
from faintsky.evaluation.segments import SEGMENT_EDGES, SEGMENT_QUANTITIES, segment_statistic
from faintsky.matching import Estimate

Float = NDArray[np.float64]
BRIGHT = 5.0
"""S/N of a flux from which on the aim is to be unbiased."""
FAINT = 10.0
"""Pixels inside sources below this S/N have a row of their own: they are what denoising is for."""


def _pixel_statistic(sums: NDArray) -> Float:
    """Rms error inside sources, there at S/N below `FAINT`, then by bin, bias and relative error by bin."""
    total = sums.sum(axis=0)
    groups = [PIXEL_EDGES[:-1] >= INSIDE, (PIXEL_EDGES[:-1] >= INSIDE) & (PIXEL_EDGES[1:] <= FAINT)]
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = [np.sqrt(total[g, 2].sum() / total[g, 0].sum()) for g in groups]
        n, bias, square, relative = total.T
        by_bin = [
            np.sqrt(square / n),
            bias / n,
            np.where(PIXEL_EDGES[:-1] > 0, np.sqrt(relative / n), np.nan),
        ]
    return np.concatenate([errors, *by_bin])


def _pull_statistic(sums: NDArray) -> Float:
    """Mean, standard deviation, and share within one sigma of the pulls in each bin."""
    with np.errstate(invalid="ignore", divide="ignore"):
        n, pull, square, within = sums.sum(axis=0).T
        return np.concatenate([pull / n, np.sqrt(square / n - (pull / n) ** 2), within / n])


def _false(counts: Float, area: float) -> Estimate:
    """Regions a square degree; where none was seen the error is Poisson's 68 % limit."""
    total = float(np.sum(counts))
    return Estimate(total / area, (np.sqrt(total) if total else 1.84) / area)


def rows_of(scores: Scores, seed: int = 0) -> list[dict[str, Any]]:
    """Every number of one method on one set; see `faintsky.evaluation.lofar.DenoisingEvaluation`."""
    rows: list[dict[str, Any]] = []

    def add(quantity: str, value: Estimate, low: float | None, high: float | None, count: float) -> None:
        if not np.isfinite(value.value):
            return
        place = {"snr_low": low, "snr_high": None if high is None or np.isinf(high) else high}
        name = {"method": scores.method, "set": scores.cases, "quantity": quantity}
        rows.append({**name, **place, "value": value.value, "error": value.error, "n": int(count)})

    def bins(values: Sequence[Estimate], names: Sequence[str], edges: Float, counts: Float) -> None:
        per = len(edges) - 1
        for k, value in enumerate(values):
            add(names[k // per], value, float(edges[k % per]), float(edges[k % per + 1]), counts[k % per])

    pixels = scores.get("pixels")
    if not pixels:
        return rows
    counts = np.sum(pixels, axis=(0, 1))[:, 0]
    inside, faint, *binned = over_fields(_pixel_statistic, pixels, seed=seed)
    add("error inside", inside, INSIDE, None, counts[PIXEL_EDGES[:-1] >= INSIDE].sum())
    faint_bins = (PIXEL_EDGES[:-1] >= INSIDE) & (PIXEL_EDGES[1:] <= FAINT)
    add("error inside, faint", faint, INSIDE, FAINT, counts[faint_bins].sum())
    bins(binned, ("error", "bias", "relative error"), PIXEL_EDGES, counts)
    for name in ("flux", "peak"):
        parts = scores.get(name)
        snr = np.concatenate(parts)[:, 0]
        values = over_fields(ratio_statistic(), parts, seed=seed)
        bins(values, (f"{name} ratio", f"{name} scatter"), SOURCE_EDGES, np.histogram(snr, SOURCE_EDGES)[0])
        least = BRIGHT if name == "flux" else 10.0
        (whole, *_) = over_fields(ratio_statistic(np.array([least, np.inf])), parts, seed=seed)
        add(f"{name} ratio, all", whole, least, None, int(np.sum(snr >= least)))
        if name == "flux":
            mean = over_fields(mean_ratio(least), parts, seed=seed)
            add("flux ratio, mean", mean[0], least, None, int(np.sum(snr >= least)))
    for name in ("pull", "pull by truth"):
        sums = scores.get(name)
        if sums:
            names = (f"{name} mean", f"{name} std", f"{name} within 1 sigma")
            counts = np.sum(sums, axis=(0, 1))[:, 0]
            bins(over_fields(_pull_statistic, sums, seed=seed), names, PIXEL_EDGES, counts)
    _brightness_rows(scores, seed, "", add, bins)
    _brightness_rows(scores, seed, SHARP, add, bins)
    _segment_rows(scores, seed, add)
    if scores.get("false"):
        found, area = np.concatenate(scores.get("false")).T
        add("false regions per deg2", _false(found, float(area.sum())), None, None, found.sum())
    costs = ("seconds a field", "CPU seconds a field", "peak memory [MB]")
    for name, values in zip(costs, np.concatenate(scores.get("cost")).T, strict=True):
        add(name, Estimate(float(np.mean(values)), float(np.std(values))), None, None, len(values))
    return rows


def _brightness_rows(scores: Scores, seed: int, prefix: str, add: Any, bins: Any) -> None:
    """The paper's measures; those beside the sky without the image's beam have names that say so."""
    if not scores.get(prefix + "brightness"):
        return
    words = ", beam taken out" if prefix else ""
    sums = scores.get(prefix + "brightness")
    number_of = np.sum(sums, axis=(0, 1))
    square, relative, *binned = over_fields(brightness_statistic, sums, seed=seed)
    add("MSE" + words, square, None, None, number_of[:, 0].sum())
    add("sigma_MRE" + words, relative, None, None, number_of[:, 2].sum())
    each = mre_of_each(np.concatenate(sums))
    if np.isfinite(each).sum() > 1:
        spread = Estimate(float(np.nanstd(each)), float("nan"))
        add("sigma_MRE, scatter of fields" + words, spread, None, None, int(np.isfinite(each).sum()))
    if not prefix:
        per = len(PIXEL_EDGES) - 1
        bins(binned[:per], ("MSE",), PIXEL_EDGES, number_of[:, 0])
        bins(binned[per:], ("sigma_MRE",), PIXEL_EDGES, number_of[:, 2])
    (apart,) = over_fields(discrepancy_statistic, scores.get(prefix + "histogram"), seed=seed)
    add("Delta_c" + words, apart, None, None, np.sum(scores.get(prefix + "histogram")) / 2)
    profiles = scores.get(prefix + "profile")
    names = ("1 - C(0)", "C falls [arcsec]", "C of the true sky falls [arcsec]", "C difference")
    for name, value in zip(names, over_fields(correlation_statistic, profiles, seed=seed), strict=True):
        add(name + words, value, None, None, len(profiles))
    dimmed = scores.get(prefix + "dimming")
    dim = ("dimming of the brightest 1 %", "dimming of their sum")
    for name, value in zip(dim, over_fields(dimming_statistic, dimmed, seed=seed), strict=True):
        add(name + words, value, None, None, np.sum(dimmed, axis=(0, 1))[0])


def _segment_rows(scores: Scores, seed: int, add: Any) -> None:
    """Of the regions; see `faintsky.evaluation.segments`."""
    sums = scores.get("segments")
    if not sums:
        return
    ends = dict(pairwise(SEGMENT_EDGES.tolist()))
    for name, value in zip(SEGMENT_QUANTITIES, over_fields(segment_statistic, sums, seed=seed), strict=True):
        words, _, edge = name.rpartition(" ")
        if edge == "reliability":
            add(name, value, None, None, len(sums))
        else:
            add(words, value, float(edge), ends[float(edge)], len(sums))
    fluxes = scores.get("regions")
    (median, *_) = over_fields(ratio_statistic(np.array([BRIGHT, np.inf])), fluxes, seed=seed)
    (mean,) = over_fields(mean_ratio(BRIGHT), fluxes, seed=seed)
    count = int(np.sum(np.concatenate(fluxes)[:, 0] >= BRIGHT))
    add("region flux ratio, all", median, BRIGHT, None, count)
    add("region flux ratio, mean", mean, BRIGHT, None, count)


def curves_of(scores: Scores) -> dict[str, list[float]]:
    """What figures show: mean C(r) of the estimate and of the true sky, and both histograms (pixels)."""
    if not scores.get("profile"):
        return {}
    profile = np.concatenate(scores.get("profile"))
    counts = np.sum(scores.get("histogram"), axis=(0, 1))
    made = dict(zip(("C", "C true"), _mean(profile).tolist(), strict=True))
    return made | dict(zip(("histogram", "histogram true"), counts.tolist(), strict=True))


def _mean(profiles: NDArray) -> Float:
    """Over fields; NaN where none has a value."""
    known = np.isfinite(profiles)
    total = np.where(known, profiles, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
