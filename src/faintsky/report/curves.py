"""Figures of recovered injected sources and of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faintsky.evaluation import fraction
from faintsky.matching import column
from faintsky.system.figures import COLOURS, panels, save_figure, style

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

    from faintsky.injecting import Recovery


def recovery_figure(sources: Table, recovery: Recovery) -> Figure:
    """Completeness against S/N, and found over true flux of detections; for images also the share of area."""
    diffuse, points = recovery.share is not None, bool(recovery.measured)
    image = diffuse or points
    label = "S/N per pixel" if diffuse else "S/N" if points else "matched S/N"
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
        if image:
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


def training_figure(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw the loss of training and validation, and one panel for every other score.

    Parameters
    ----------
    history : sequence of dict
        ``step``, ``epoch`` (if any), ``train``, ``loss`` and further scores of every validation.
    path : pathlib.Path
        A PNG file.
    """
    along = "epoch" if "epoch" in history[0] else "step"
    steps = [h[along] for h in history]
    scores = [k for k in history[0] if k not in ("step", "epoch", "train", "loss")]
    with style():
        figure, axes = panels(1, 1 + len(scores), 4.2, 3.4)
        axes[0].plot(steps, [h["train"] for h in history], label="training", color="0.6")
        axes[0].plot(steps, [h["loss"] for h in history], label="validation", color=COLOURS[0])
        best = min(history, key=lambda h: h["loss"])
        axes[0].plot(best[along], best["loss"], "o", color=COLOURS[1], label="kept")
        axes[0].set_ylabel("loss")
        axes[0].legend()
        for ax, score in zip(axes[1:], scores, strict=True):
            ax.plot(steps, [h[score] for h in history], color=COLOURS[0])
            ax.set_ylabel(score)
        for ax in axes:
            ax.set_xlabel(along)
        save_figure(figure, path, dpi=120)
