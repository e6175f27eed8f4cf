"""``faintsky evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faintsky.cli import common

app = typer.Typer(help="Score methods: the papers' tables and figures.")


@app.command("alma")
def evaluate_alma(
    out: common.Out,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Output of faintsky simulate alma; simulated if not given."),
    ] = None,
    methods: Annotated[str, typer.Option(metavar="A,B,C", help="Methods and models to score.")] = "classical",
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="Number of cubes.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of simulated cubes and of bootstraps.")] = 0,
    device: common.Device = "auto",
    jobs: common.Jobs = None,
    overwrite: common.Overwrite = False,
    dry_run: common.DryRun = False,
    as_json: common.Json = False,
    config: common.Config = None,
    debug: common.Debug = False,
) -> None:
    """Score detections in ALMA cubes against the truth: precision, recall, completeness, residuals."""
    import faintsky

    with common.Report(as_json) as report:
        result = faintsky.evaluate_alma(
            out, data=data, methods=common.split(methods), n=n, seed=seed, device=device, jobs=jobs,
            overwrite=overwrite, dry_run=dry_run,
            command=common.command_line(), progress=report.progress,
        )  # fmt: skip
        report.finish(result)


@app.command("lofar")
def evaluate_lofar(
    out: common.Out,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Output of faintsky simulate lofar, more than once for more of it."),
    ] = None,
    web: Annotated[
        str | None,
        typer.Option(
            metavar="train|validation|test|FILE", help="Without data: simulate skies of a cosmic web."
        ),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Which of sky, noise, dirty, clean, clean_ideal; all but sky."),
    ] = None,
    size: Annotated[int, typer.Option(min=64, help="Side of simulated images [pixel].")] = 512,
    methods: Annotated[
        str, typer.Option(metavar="A,B,C", help="Models, filters, input, constant and clean.")
    ] = "denoiser,starlet,gaussian,fft,threshold,gaussian_paper,input,constant",
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="Number of fields of each set.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of simulated fields and of bootstraps.")] = 0,
    device: common.Device = "auto",
    jobs: common.Cores = None,
    overwrite: common.Overwrite = False,
    dry_run: common.DryRun = False,
    as_json: common.Json = False,
    config: common.Config = None,
    debug: common.Debug = False,
) -> None:
    """Score denoisers on LOFAR images against the true sky: errors, fluxes, peaks, false regions."""
    import faintsky

    with common.Report(as_json) as report:
        result = faintsky.evaluate_lofar(
            out, data=data or None, methods=common.split(methods), n=n, seed=seed, web=web, size=size,
            kinds=common.split(kinds), device=device, overwrite=overwrite, dry_run=dry_run,
            command=common.command_line(), progress=report.progress,
        )  # fmt: skip
        report.finish(result)


@app.callback()
def _group() -> None:
    """Score methods: the papers' tables and figures."""
