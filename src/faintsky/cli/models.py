"""``faintsky models``: what can be given as a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass
class Listing:
    """What the command prints: for machines a mapping, for people lines."""

    facts: dict[str, Any]
    lines: list[str]


def models(name: Annotated[str | None, "NAME"] = None) -> Listing:
    """List the shipped models, or show one model's card (--json: all of it).

    Parameters
    ----------
    name : str, optional
        Show this model's card.
    """
    from faintsky.models import card_lines, list_models, load_model

    if name is not None:
        model = load_model(name)
        return Listing(model.card, card_lines(model))
    titles = {m.name: f"{m.job}: {m.card.get('title', '')}" for m in list_models()}
    lines = [f"{m.name:18} {m.job:8} {m.card.get('title', '')}" for m in list_models()]
    return Listing(titles, lines)
