"""``faintsky demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faintsky.cli import common


def demo(
    out: common.Out = Path("faintsky-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")] = 1,
    open_report: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the reports in a browser at the end.")
    ] = True,
    device: common.Device = "auto",
    jobs: common.Cores = None,
    overwrite: common.Overwrite = False,
    dry_run: common.DryRun = False,
    as_json: common.Json = False,
    config: common.Config = None,
    debug: common.Debug = False,
) -> None:
    """Find the sources of a simulated ALMA cube, denoise a simulated LOFAR image, and open both reports."""
    import faintsky

    with common.Report(as_json) as report:
        result = faintsky.demo(
            out, seed=seed, device=device, overwrite=overwrite, open_report=open_report, dry_run=dry_run,
            command=common.command_line(), progress=report.progress,
        )  # fmt: skip
        report.finish(result)
