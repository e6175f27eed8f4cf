"""The report on sources injected into a cube or an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from faintsky.evaluation import fraction, number
from faintsky.injecting.recovery import Recovery
from faintsky.matching import column
from faintsky.report.page import embedded, render
from faintsky.system.figures import COLOURS, panels, style

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure


CUBE_SNR, IMAGE_SNR = "matched S/N", "S/N per pixel"


def recovery_figure(sources: Table, recovery: Recovery) -> Figure:
    """Completeness against S/N, and found over true flux of what was found; of images also the share."""
    image = recovery.share is not None
    label = IMAGE_SNR if image else CUBE_SNR
    snr, ratio = column(sources, "snr"), column(sources, "found_flux") / column(sources, "flux")
    known = np.isfinite(ratio)
    b = recovery.completeness
    with style():
        figure, (left, right) = panels(1, 2, 4.8, 3.6)
        fraction(left, b, 0, "injected sources, 68 % interval")
        if recovery.curve is not None:
            fine = np.geomspace(b.edges[0], b.edges[-1], 200)
            left.plot(fine, recovery.curve(fine), color=COLOURS[0], lw=1.4, label="fit")
        centres = b.centres if image else (b.edges[:-1] + b.edges[1:]) / 2
        if recovery.share is not None:
            left.plot(
                centres, recovery.share, "s--", color=COLOURS[2], ms=4, lw=1, label="share of their area"
            )
            left.set_xscale("log")
            right.set_xscale("log")
        left.set(xlabel=label, ylabel="completeness", ylim=(-0.03, 1.18))
        left.legend(loc="upper left", ncols=1 if image else 2)
        right.scatter(snr[known], ratio[known], s=12, lw=0, alpha=0.5, color=COLOURS[5], label="source")
        seen = np.isfinite(recovery.flux_ratio)
        right.errorbar(centres[seen], recovery.flux_ratio[seen], recovery.flux_error[seen], fmt="o",
                       color=COLOURS[1], ms=5, label="median")  # fmt: skip
        right.axhline(1, color="0.4", lw=0.8)
        top = float(np.nanquantile(ratio[known], 0.98)) if known.any() else 2.0
        right.set(xlabel=label, ylabel="found / true flux", ylim=(0, max(2.0, 1.1 * top)))
        if known.any():
            right.legend(loc="upper right")
    return figure


def injection_report(
    figure: Figure,
    rows: Sequence[Mapping[str, float]],
    facts: Mapping[str, Any],
    *,
    name: str,
    provenance: Mapping[str, Any],
) -> str:
    """The page as HTML, the figure inside.

    Parameters
    ----------
    figure : Figure
        Of `recovery_figure`.
    rows : sequence of mapping
        ``completeness.csv``.
    facts : mapping
        The summary.
    name : str
        The cube.
    provenance : mapping
        Version, command, configuration.
    """
    image = any("share" in r for r in rows)
    cells = [
        [
            f"{r['snr_from']:.2g}–{r['snr_to']:.2g}", f"{r['n']:.0f}", number(r["completeness"], ".2f"),
            f"{r['low']:.2f}–{r['high']:.2f}",
            number(r["flux_ratio"], ".2f"), number(r["flux_scatter"], ".2f"),
            *([number(r["share"], ".2f")] if image else []),
        ]
        for r in rows
    ]  # fmt: skip
    shown = {
        k.replace("_", " "): f"{v:.3g}" if isinstance(v, float) else str(v)
        for k, v in facts.items()
        if v is not None and v == v  # NaN is not shown
    }
    return render(
        "injection.html",
        title=f"Sources injected into {name}",
        subtitle=f"{facts['found']} of {facts['sources']} found",
        facts=shown,
        figure=embedded(figure),
        columns=[
            IMAGE_SNR if image else CUBE_SNR,
            "injected",
            "completeness",
            "68 %",
            "found / true flux",
            "its scatter",
            *(["share of their area"] if image else []),
        ],
        image=image,
        rows=cells,
        provenance={k: v for k, v in provenance.items() if v not in ("", None)},
    )
