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
    """List shipped and local models, or show one model's card."""
    import faintsky

    with common.Report(as_json) as report:
        if name is None:
            report.finish({m.name: f"{m.job}: {m.card.get('title', '')}" for m in faintsky.list_models()})
        else:
            report.finish(faintsky.load_model(name).card)
