"""The tree of commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from faintsky.cli import demo, denoise, detect, evaluate, inject, models, simulate, train, tune


def _print_version(wanted: bool) -> None:
    if wanted:
        import faintsky

        typer.echo(f"faintsky {faintsky.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find faint sources in radio images and spectral cubes."""


def build_command() -> Any:
    """The whole command line as one click command."""
    app = typer.Typer(
        name="faintsky", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    app.callback()(_root)
    app.add_typer(simulate.app, name="simulate")
    app.command("denoise")(denoise.denoise)
    app.command("detect")(detect.detect)
    app.command("train")(train.train)
    app.command("tune")(tune.tune)
    app.add_typer(evaluate.app, name="evaluate")
    app.command("inject")(inject.inject)
    app.command("models")(models.models)
    app.command("demo")(demo.demo)
    return typer.main.get_command(app)
