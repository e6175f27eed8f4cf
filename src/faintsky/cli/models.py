"""``faintsky models``."""

from __future__ import annotations

from typing import Annotated

import typer

from faintsky.cli import common


def models(
    name: Annotated[str | None, typer.Argument(help="Show this model's card.")] = None,
    as_json: common.Json = False,
    config: common.Config = None,
    debug: common.Debug = False,
) -> None:
    """List the shipped models, or show one model's card (--json: all of it)."""
    import faintsky
    from faintsky.models.card import card_lines

    with common.Report(as_json) as report:
        if name is None:
            known = faintsky.list_models()
            lines = [f"{m.name:18} {m.job:8} {m.card.get('title', '')}" for m in known]
            report.finish({m.name: f"{m.job}: {m.card.get('title', '')}" for m in known}, lines)
        else:
            model = faintsky.load_model(name)
            report.finish(model.card, card_lines(model))
