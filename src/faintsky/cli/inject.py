"""``faintsky inject``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faintsky.cli import common


def inject(
    data: Annotated[
        Path, typer.Argument(metavar="DATA.fits", help="Spectral cube or image: .fits, .fits.gz, .fits.fz.")
    ],
    out: common.Out,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", help="Default: classical for cubes, denoiser for images."),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Sources to inject in all.")] = 100,
    per_run: Annotated[
        int | None, typer.Option(min=1, help="Sources at a time. Default: 10, in an image 4.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sources.")] = 0,
    snr_low: Annotated[
        float | None, typer.Option(min=0, help="Lowest matched S/N (3), in an image S/N per pixel (0.2).")
    ] = None,
    snr_high: Annotated[float | None, typer.Option(min=0, help="Highest (20; in an image 10).")] = None,
    psf: Annotated[Path | None, typer.Option(metavar="PSF.fits", help="Dirty beam, 1 at its centre.")] = None,
    pb: Annotated[Path | None, typer.Option(metavar="PB.fits", help="Primary beam, 0 to 1.")] = None,
    rms: Annotated[Path | None, typer.Option(metavar="RMS.fits", help="Noise, in any unit of flux.")] = None,
    mask: Annotated[Path | None, typer.Option(metavar="MASK.fits", help="Where to inject: not 0.")] = None,
    beam: common.Beam = None,
    stokes: common.Stokes = None,
    rest_frequency: common.RestFrequency = None,
    kind: common.Kind = "auto",
    dish: common.Dish = None,
    reliability: Annotated[float, typer.Option(min=0, max=1, help="Least reliability of a source.")] = 0.9,
    device: common.Device = "auto",
    jobs: common.Cores = None,
    overwrite: common.Overwrite = False,
    dry_run: common.DryRun = False,
    as_json: common.Json = False,
    config: common.Config = None,
    debug: common.Debug = False,
) -> None:
    """Inject sources into your own cube or image and see which are found: completeness and flux bias."""
    import faintsky

    with common.Report(as_json) as report:
        result = faintsky.inject(
            data, out, model=model, n=n, per_run=per_run, seed=seed, snr=(snr_low, snr_high), psf=psf, pb=pb,
            rms=rms, mask=mask, beam=beam, stokes=stokes, rest_frequency=rest_frequency, dish=dish, kind=kind,
            reliability=reliability, device=device, overwrite=overwrite, dry_run=dry_run,
            command=common.command_line(), progress=report.progress,
        )  # fmt: skip
        report.finish(result)
