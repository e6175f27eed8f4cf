"""Completeness and reliability against flux and blendedness, and the share of blends that were split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.evaluation.metrics import blendedness, overlaps
from faintsky.evaluation.scoring import Scored, binned_dict
from faintsky.matching import Binned, binned_fraction, column, snr_edges

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]

BLEND_EDGES = np.array([0.0, 0.02, 0.1, 0.2, 0.4, 0.55, 0.77, 1.001])
"""Bins of blendedness; the middles of the fourth and the sixth are 0.3 and 0.66, where the share of split
blends is asked for. What does not overlap has 0, and is in the first."""


@dataclass(frozen=True)
class Dependence:
    """How a method does against flux and blendedness, by its main criterion.

    Parameters
    ----------
    completeness, reliability : dict of Binned
        By ``flux`` [Jy km/s; of the truth, or as the method reports it] and ``blendedness`` (eq. 22, of the
        true boxes, or of the found ones).
    split : Binned
        Share of the pairs of overlapping true sources of which both were found, against their overlap.
    """

    completeness: dict[str, Binned]
    reliability: dict[str, Binned]
    split: Binned

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "completeness": {k: binned_dict(b) for k, b in self.completeness.items()},
            "reliability": {k: binned_dict(b) for k, b in self.reliability.items()},
            "split": binned_dict(self.split),
        }


def blends(truth: Table) -> tuple[NDArray[np.intp], NDArray[np.intp], Float]:
    """Pairs of true sources whose boxes overlap in the image: rows and their 2-D IoU, ``[pair]``."""
    table = overlaps(truth)
    i, j = np.nonzero(np.triu(table, 1))
    return i, j, table[i, j]


def dependence_of(scored: Scored) -> Dependence:
    """Completeness, reliability and split blends of one method and set."""
    found_true = scored.detected()
    flux = scored.joined("flux")
    reported, own, true, overlap, both = [], [], [], [], []
    for truth, found, matching in zip(scored.truths, scored.founds, scored.matchings[scored.main]):
        n = len(found)
        reported.append(column(found, "flux") if "flux" in found.colnames else np.full(n, np.nan))
        own.append(blendedness(found) if n and "x_min" in found.colnames else np.zeros(n))
        true.append(matching.partner_of_found >= 0)
        i, j, values = blends(truth)
        overlap.append(values)
        both.append((matching.partner_of_true[i] >= 0) & (matching.partner_of_true[j] >= 0))
    none = np.empty(0)
    reported_flux, is_true = np.concatenate([none, *reported]), np.concatenate([none, *true]) > 0.5
    return Dependence(
        {
            "flux": binned_fraction(flux, found_true, _flux_edges(flux)),
            "blendedness": binned_fraction(scored.joined("blendedness"), found_true, BLEND_EDGES),
        },
        {
            "flux": binned_fraction(reported_flux, is_true, _flux_edges(reported_flux)),
            "blendedness": binned_fraction(np.concatenate([none, *own]), is_true, BLEND_EDGES),
        },
        binned_fraction(np.concatenate([none, *overlap]), np.concatenate([none, *both]) > 0.5, BLEND_EDGES),
    )


def _flux_edges(flux: Float) -> Float:
    """Logarithmic bins over the middle 99 % of the positive fluxes."""
    v = flux[np.isfinite(flux) & (flux > 0)]
    low, high = np.quantile(v, [0.005, 0.995]) if len(v) else (0.01, 1.0)
    return snr_edges(v, 10, low=float(low), high=float(max(high, 2 * low)))


def split_rows(scored: Scored, dependence: Dependence) -> list[dict[str, Any]]:
    """The share of split blends in every bin that has some, as flat rows."""
    b = dependence.split
    return [
        {"method": scored.method, "cubes": scored.cubes, "overlap_from": float(lo), "overlap_to": float(hi),
         "n": int(n), "split": float(f), "low": float(a), "high": float(z)}
        for lo, hi, n, f, a, z in zip(b.edges[:-1], b.edges[1:], b.n, b.fraction, b.low, b.high)
        if n
    ]  # fmt: skip
