"""``faintsky denoise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faintsky.cli import common


def denoise(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE.fits", help="Continuum image: .fits, .fits.gz, .fits.fz.")
    ],
    out: common.Out,
    model: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="Trained model; see faintsky models.")
    ] = "denoiser",
    psf: Annotated[Path | None, typer.Option(metavar="PSF.fits", help="Dirty beam of a dirty image.")] = None,
    pb: Annotated[Path | None, typer.Option(metavar="PB.fits", help="Primary beam, 0 to 1.")] = None,
    rms: Annotated[Path | None, typer.Option(metavar="RMS.fits", help="Noise, in any unit of flux.")] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="MASK.fits", help="Where to look for regions: not 0.")
    ] = None,
    beam: common.Beam = None,
    stokes: common.Stokes = None,
    kind: common.Kind = "auto",
    dish: common.Dish = None,
    members: Annotated[
        int, typer.Option(min=1, max=8, help="Mirror images and turns of the image to average.")
    ] = 1,
    reliability: Annotated[float, typer.Option(min=0, max=1, help="Least reliability of a region.")] = 0.9,
    negative: Annotated[
        bool, typer.Option("--negative", help="Compare with the regions of the image's negative.")
    ] = False,
    device: common.Device = "auto",
    jobs: common.Cores = None,
    overwrite: common.Overwrite = False,
    dry_run: common.DryRun = False,
    as_json: common.Json = False,
    config: common.Config = None,
    debug: common.Debug = False,
) -> None:
    """Denoise a continuum image and catalogue its regions of emission."""
    import faintsky

    with common.Report(as_json) as report:
        result = faintsky.denoise(
            image, out=out, model=model, psf=psf, pb=pb, rms=rms, mask=mask, beam=beam, stokes=stokes,
            dish=dish, kind=kind, members=members,
            reliability=reliability, negative=negative, device=device, overwrite=overwrite, dry_run=dry_run,
            command=common.command_line(), progress=report.progress,
        )  # fmt: skip
        report.finish(result)
