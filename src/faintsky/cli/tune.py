"""``faintsky tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faintsky.cli import common


def tune(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="Such as dda; see faintsky train.")],
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
        list[str] | None,
        typer.Option("--set", metavar="key=a/b/c|key=low..high|key=value", help="Choices, range, or value."),
    ] = None,
    grid: Annotated[
        str | None, typer.Option(metavar="NAME", help="Named grid; of dda: paper, architectures.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(metavar="grid|tpe|random", help="All combinations, or drawn ones.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Of all workers; all of a grid, or 50.")] = None,
    prune: Annotated[
        str, typer.Option(metavar="median|halving|none", help="Which trials to stop early.")
    ] = "median",
    metric: Annotated[str, typer.Option(help="The validation's score that is to be small.")] = "loss",
    seed: Annotated[int, typer.Option(min=0, help="Of weights, data and sampler.")] = 0,
    device: common.Device = "auto",
    jobs: common.Cores = None,
    overwrite: common.Overwrite = False,
    dry_run: common.DryRun = False,
    as_json: common.Json = False,
    config: common.Config = None,
    debug: common.Debug = False,
) -> None:
    """Search for a network's best settings; run the same command anywhere, as often, to share the work."""
    import faintsky

    with common.Report(as_json) as report:
        result = faintsky.tune(
            network, out, data=data, simulate=simulate, init=init, settings=common.pairs(change), grid=grid,
            sampler=sampler, trials=trials, prune=prune, metric=metric, seed=seed, device=device,
            overwrite=overwrite, dry_run=dry_run, command=common.command_line(), progress=report.progress,
        )  # fmt: skip
        report.finish(result)
