"""``faintsky simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faintsky.cli import common

app = typer.Typer(help="Simulate observations with their truth.")

Text = str | None
Number = float | None


@app.callback()
def _group() -> None:
    """Simulate observations with their truth."""


@app.command("alma")
def simulate_alma(
    out: common.Out,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Number of cubes.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed; cube i depends on it and on i only.")] = 0,
    preset: Annotated[
        str, typer.Option(metavar="paper|text|varied|emitters|empty", help="What the sky is like.")
    ] = "paper",
    backend: Annotated[
        str, typer.Option(metavar="fast|casa", help="How to observe it; casa needs faintsky[casa].")
    ] = "fast",
    sky: Annotated[
        Path | None, typer.Option(metavar="SKY.fits", help="Observe this model [Jy/pixel].")
    ] = None,
    array: Annotated[Text, typer.Option(metavar="NAME|FILE.cfg", help="Such as alma.cycle9.3.")] = None,
    ra: Annotated[Number, typer.Option(help="Right ascension of the field [deg].")] = None,
    dec: Annotated[Number, typer.Option(help="Declination of the field [deg].")] = None,
    hour_angle: Annotated[Number, typer.Option(help="Hour angle of the track's middle [h].")] = None,
    start: Annotated[Text, typer.Option(metavar="UTC", help="Start of the first integration.")] = None,
    total_time: Annotated[Text, typer.Option(metavar="2400s", help="Time on source.")] = None,
    integration: Annotated[Text, typer.Option(metavar="10s", help="Integration time.")] = None,
    freq: Annotated[Text, typer.Option(metavar="230GHz", help="Frequency of the middle channel.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Number of channels.")] = None,
    channel_width: Annotated[Text, typer.Option(metavar="10MHz", help="Width of a channel.")] = None,
    cell: Annotated[Text, typer.Option(metavar="0.1arcsec", help="Side of a pixel.")] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Side of the image [pixel].")] = None,
    pwv: Annotated[Number, typer.Option(min=0, help="Precipitable water vapour [mm].")] = None,
    weighting: Annotated[Text, typer.Option(metavar="natural|briggs:R", help="Weights of baselines.")] = None,
    snr: Annotated[Number, typer.Option(min=0, help="S/N of the central source's dirty peak.")] = None,
    products: Annotated[
        str, typer.Option(metavar="A,B,…", help="Which of sky, dirty, psf, pb and compact to write.")
    ] = "sky,dirty,psf,pb",
    noise: Annotated[bool, typer.Option("--noise/--no-noise", help="Thermal noise.")] = True,
    pbcor: Annotated[bool, typer.Option("--pbcor", help="Divide by the primary beam.")] = False,
    device: common.Device = "auto",
    jobs: common.Jobs = None,
    overwrite: common.Overwrite = False,
    dry_run: common.DryRun = False,
    as_json: common.Json = False,
    config: common.Config = None,
    debug: common.Debug = False,
) -> None:
    """Simulate ALMA line cubes: sky model, dirty cube, dirty beam, primary beam and truth table."""
    import faintsky

    with common.Report(as_json) as report:
        result = faintsky.simulate_alma(
            out, n, seed=seed, preset=preset, backend=backend, sky=sky, array=array, ra=ra, dec=dec,
            hour_angle=hour_angle, start=start, total_time=total_time, integration=integration, freq=freq,
            channels=channels, channel_width=channel_width, cell=cell, size=size, pwv=pwv,
            weighting=weighting, snr=snr, products=common.split(products), noise=noise, pbcor=pbcor,
            device=device, jobs=jobs, overwrite=overwrite, dry_run=dry_run,
            command=common.command_line(), progress=report.progress,
        )  # fmt: skip
        report.finish(result)


@app.command("lofar")
def simulate_lofar(
    out: common.Out,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Number of fields.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed; field i depends on it and on i only.")] = 0,
    preset: Annotated[
        str, typer.Option(metavar="paper|lotss|varied", help="What the sky and the weights are like.")
    ] = "paper",
    backend: Annotated[
        str, typer.Option(metavar="fast|wsclean", help="How to observe it; wsclean runs the program.")
    ] = "fast",
    quick: Annotated[bool, typer.Option("--quick", help="One psf by FFT: 2 % off, faster.")] = False,
    sky: Annotated[
        Path | None, typer.Option(metavar="SKY.fits", help="Observe this model [Jy/pixel or Jy/arcsec2].")
    ] = None,
    ra: Annotated[Number, typer.Option(help="Right ascension of the field [deg].")] = None,
    dec: Annotated[Number, typer.Option(help="Declination of the field [deg].")] = None,
    hour_angle: Annotated[Number, typer.Option(help="Hour angle of the track's middle [h].")] = None,
    start: Annotated[Text, typer.Option(metavar="UTC", help="Start of the first integration.")] = None,
    total_time: Annotated[Text, typer.Option(metavar="8h", help="Time on source.")] = None,
    integration: Annotated[Text, typer.Option(metavar="60s", help="Integration time.")] = None,
    freq: Annotated[Text, typer.Option(metavar="150MHz", help="Frequency.")] = None,
    cell: Annotated[Text, typer.Option(metavar="2arcsec", help="Side of a pixel.")] = None,
    size: Annotated[int | None, typer.Option(min=32, help="Side of the image [pixel]; 2000.")] = None,
    robust: Annotated[Number, typer.Option(metavar="R", help="Briggs' robustness, -2 to 2.")] = None,
    rms: Annotated[Text, typer.Option(metavar="0.1mJy/beam", help="Noise of the dirty image.")] = None,
    gain_rms: Annotated[
        Number, typer.Option(min=0, help="Amplitude errors of stations, rms; varied: at random.")
    ] = None,
    phase_rms: Annotated[
        Number, typer.Option(min=0, help="Phase errors of stations, rms [deg]; varied: at random.")
    ] = None,
    gain_time: Annotated[Text, typer.Option(metavar="20min", help="Their correlation time.")] = None,
    primary_beam: Annotated[
        str, typer.Option(metavar="auto|everybeam|gaussian", help="EveryBeam where installed by default.")
    ] = "auto",
    web: Annotated[
        Text,
        typer.Option(
            metavar="train|validation|test|FILE", help="Skies of a cosmic web: of a split, or a file."
        ),
    ] = None,
    field: Annotated[
        Text, typer.Option(metavar="sky1|sky2", help="Of the web: a massive cluster, or groups; both.")
    ] = None,
    products: Annotated[
        str,
        typer.Option(
            metavar="A,B,…", help="Which of sky, noise, dirty, clean, psf, pb and compact to write."
        ),
    ] = "sky,noise,dirty,psf,pb",
    noise: Annotated[bool, typer.Option("--noise/--no-noise", help="Noise.")] = True,
    pbcor: Annotated[bool, typer.Option("--pbcor", help="Divide by the primary beam.")] = False,
    device: common.Device = "auto",
    jobs: common.Jobs = None,
    overwrite: common.Overwrite = False,
    dry_run: common.DryRun = False,
    as_json: common.Json = False,
    config: common.Config = None,
    debug: common.Debug = False,
) -> None:
    """Simulate LOFAR HBA images: sky, noisy sky, dirty image, dirty beam, primary beam and truth table."""
    import faintsky

    with common.Report(as_json) as report:
        result = faintsky.simulate_lofar(
            out, n, seed=seed, preset=preset, backend=backend, quick=quick, sky=sky, ra=ra, dec=dec,
            hour_angle=hour_angle, start=start, total_time=total_time, integration=integration, freq=freq,
            cell=cell, size=size, robust=robust, rms=rms, primary_beam=primary_beam,
            gain_rms=gain_rms, phase_rms=phase_rms, gain_time=gain_time,
            web=web, field=field,
            products=common.split(products), noise=noise, pbcor=pbcor, device=device, jobs=jobs,
            overwrite=overwrite, dry_run=dry_run, command=common.command_line(), progress=report.progress,
        )  # fmt: skip
        report.finish(result)
