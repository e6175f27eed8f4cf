"""How a training went: loss and scores against steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faintsky.report.parts import new_figure


def training_figure(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw the loss of training and validation, and one panel for every other score.

    Parameters
    ----------
    history : sequence of dict
        ``step``, ``epoch`` where there are any, ``train``, ``loss`` and more scores of every validation.
    path : pathlib.Path
        A PNG file.
    """
    along = "epoch" if "epoch" in history[0] else "step"
    steps = [h[along] for h in history]
    scores = [k for k in history[0] if k not in ("step", "epoch", "train", "loss")]
    figure = new_figure(4.2 * (1 + len(scores)), 3.4)
    panels = figure.subplots(1, 1 + len(scores), squeeze=False)[0]
    panels[0].plot(steps, [h["train"] for h in history], label="training", color="0.6")
    panels[0].plot(steps, [h["loss"] for h in history], label="validation", color="C0")
    best = min(history, key=lambda h: h["loss"])
    panels[0].plot(best[along], best["loss"], "o", color="C3", label="kept")
    panels[0].set_ylabel("loss")
    panels[0].legend(frameon=False)
    for panel, score in zip(panels[1:], scores, strict=True):
        panel.plot(steps, [h[score] for h in history], color="C0")
        panel.set_ylabel(score)
    for panel in panels:
        panel.set_xlabel(along)
    figure.savefig(path, dpi=120)
