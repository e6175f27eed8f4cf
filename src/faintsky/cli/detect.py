"""``faintsky detect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faintsky.cli import common


def detect(
    cube: Annotated[
        Path, typer.Argument(metavar="CUBE.fits", help="Spectral cube: .fits, .fits.gz, .fits.fz.")
    ],
    out: common.Out,
    model: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="Method or trained model; see faintsky models.")
    ] = "classical",
    psf: Annotated[Path | None, typer.Option(metavar="PSF.fits", help="Dirty beam, 1 at its centre.")] = None,
    pb: Annotated[Path | None, typer.Option(metavar="PB.fits", help="Primary beam, 0 to 1.")] = None,
    rms: Annotated[Path | None, typer.Option(metavar="RMS.fits", help="Noise, in any unit of flux.")] = None,
    mask: Annotated[Path | None, typer.Option(metavar="MASK.fits", help="Where to look: not 0.")] = None,
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
    """Catalogue the line emitters and absorbers of a spectral cube."""
    import faintsky

    with common.Report(as_json) as report:
        result = faintsky.detect(
            cube, out=out, model=model, psf=psf, pb=pb, rms=rms, mask=mask, beam=beam, stokes=stokes,
            rest_frequency=rest_frequency, dish=dish, kind=kind, reliability=reliability,
            device=device, overwrite=overwrite, dry_run=dry_run,
            command=common.command_line(), progress=report.progress,
        )  # fmt: skip
        report.finish(result)
