"""A model's card as a page for people; all of it stands in ``model.json``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from faintsky.models import Model

WIDTH, INDENT = 100, 12
USES = {"detect": "faintsky detect DATA.fits", "denoise": "faintsky denoise IMAGE.fits"}


def card_lines(model: Model) -> list[str]:
    """Title, use, what it does, how it was trained, scores, size, licence: lines of at most 100 columns."""
    card = model.card
    text = {
        "job": f"{model.job}: {USES.get(model.job, model.job)} --model {model.name} --out DIR",
        "what it is": card.get("summary", ""),
        "trained by": (card.get("recipe") or {}).get("command", "") or "no training",
        "scores": "\n".join(_scores(card)),
        "networks": "\n".join(_networks(model)),
        "licence": card.get("licence", "not said"),
        "hash": model.hash,
        "folder": str(model.path),
        "all of it": f"faintsky models {model.name} --json",
    }
    lines = [f"{model.name}: {card.get('title', '')}"]
    for name, value in text.items():
        parts = [w for line in str(value).splitlines() for w in _wrapped(line)]
        lines += [f"{name if i == 0 else '':{INDENT}}{part}" for i, part in enumerate(parts)]
    return lines


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH - INDENT, break_on_hyphens=False) or [""]


def _scores(card: Mapping[str, Any]) -> Iterator[str]:
    """What was measured, a line for each set of data; a path says where there is more."""
    measured, scores = card.get("measured"), card.get("scores")
    for where, values in (measured or (scores if isinstance(scores, Mapping) else {})).items():
        numbers = [f"{k.replace('_', ' ')} {v:.3g}" for k, v in values.items() if isinstance(v, int | float)]
        yield f"{where}: {', '.join(numbers)}"
    if isinstance(scores, str):
        yield f"more in {scores} of the source repository"


def _networks(model: Model) -> Iterator[str]:
    for key, entry in model.card.get("networks", {}).items():
        file = model.path / str(entry.get("weights", ""))
        size = f", {file.stat().st_size / 1e6:.1f} MB" if file.is_file() else ""
        yield f"{key}: {entry.get('network')}, {entry.get('parameters', 0):,} weights{size}"
