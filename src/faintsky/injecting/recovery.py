"""How many injected sources are found again, and with which flux, against their S/N."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.matching import (
    Binned,
    CompletenessCurve,
    Estimate,
    binned_fraction,
    column,
    completeness_at,
    robust_scatter,
)

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]

N_BINS = 8


@dataclass(frozen=True)
class Recovery:
    """Completeness and flux of injected sources against their S/N.

    Parameters
    ----------
    completeness : Binned
        Share found, with Wilson's 68 % interval.
    curve : CompletenessCurve or None
        Fitted to all sources; None with too few.
    at_level : Estimate
        The curve at the S/N asked for.
    flux_ratio, flux_error, flux_scatter : array
        Median found over true flux in each bin, its error, and the robust scatter, ``[bin]``.
    share : array or None
        Mean share of the sources' outlines that lies in regions, ``[bin]``; of images.
    """

    completeness: Binned
    curve: CompletenessCurve | None
    at_level: Estimate
    flux_ratio: Float
    flux_error: Float
    flux_scatter: Float
    share: Float | None = None

    def rows(self) -> list[dict[str, float]]:
        """A row a bin."""
        b = self.completeness
        columns = {
            "snr_from": b.edges[:-1], "snr_to": b.edges[1:], "n": b.n, "completeness": b.fraction,
            "low": b.low, "high": b.high, "flux_ratio": self.flux_ratio, "flux_ratio_error": self.flux_error,
            "flux_scatter": self.flux_scatter,
        }  # fmt: skip
        if self.share is not None:
            columns["share"] = self.share
        return [dict(zip(columns, (float(v) for v in row))) for row in zip(*columns.values())]


def recovery_of(
    sources: Table, edges: Sequence[float] | None = None, *, level: float = 7.0, image: bool = False
) -> Recovery:
    """`Recovery` of injected sources, with ``snr``, ``found``, ``flux``, ``found_flux`` and ``run``.

    Parameters
    ----------
    sources : Table
        Of `faintsky.injecting.cube.recover` or `faintsky.injecting.image.recover`.
    edges : sequence of float, optional
        Bins of the S/N: eight of equal width, or for images of equal ratio, where not given.
    level : float, optional
        S/N at which the completeness is asked for.
    image : bool, optional
        Whether they were injected into an image: then ``share`` is averaged, too.
    """
    snr, found = column(sources, "snr"), np.asarray(sources["found"], dtype=bool)
    spaced = np.geomspace if image else np.linspace
    limits = spaced(snr.min() * 0.999, snr.max() * 1.001, N_BINS + 1) if edges is None else edges
    bins = np.asarray(limits, dtype=float)
    value, curve = completeness_at(level, snr, found, column(sources, "run"))
    ratio = column(sources, "found_flux") / column(sources, "flux")
    place = np.digitize(snr, bins) - 1
    numbers = np.full((4, len(bins) - 1), np.nan)
    for k in range(len(bins) - 1):
        inside = ratio[(place == k) & np.isfinite(ratio)]
        if len(inside):
            scatter = robust_scatter(inside)
            numbers[:3, k] = np.median(inside), 1.253 * scatter / np.sqrt(len(inside)), scatter
        if image and (place == k).any():
            numbers[3, k] = column(sources, "share")[place == k].mean()
    share = numbers[3] if image else None
    ratio, error, spread = numbers[:3]
    return Recovery(binned_fraction(snr, found, bins), curve, value, ratio, error, spread, share)
