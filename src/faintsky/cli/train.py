"""``faintsky train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faintsky.cli import common


def train(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="Such as local_unet.")],
    out: common.Out,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Train on a folder of faintsky simulate.")
    ] = None,
    simulate: Annotated[
        str | None, typer.Option(metavar="PRESET", help="Simulate as training goes; the default.")
    ] = None,
    init: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="Begin with this model's weights.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="key=value", help="Change a number of the recipe.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and data.")] = 0,
    device: common.Device = "auto",
    jobs: common.Cores = None,
    overwrite: common.Overwrite = False,
    dry_run: common.DryRun = False,
    as_json: common.Json = False,
    config: common.Config = None,
    debug: common.Debug = False,
) -> None:
    """Train or fine-tune a network; the run's folder is a model that --model takes."""
    import faintsky

    with common.Report(as_json) as report:
        result = faintsky.train(
            network, out, data=data, simulate=simulate, init=init, settings=common.pairs(change), seed=seed,
            device=device, overwrite=overwrite, dry_run=dry_run,
            command=common.command_line(), progress=report.progress,
        )  # fmt: skip
        report.finish(result)
