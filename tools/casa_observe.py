"""Observe a sky model with CASA itself: the yardstick for faintsky's fast simulator.

Runs ``simobserve`` (noise-free, then with ``tsys-atm`` noise) and ``tclean(niter=0)`` on a FITS cube in
Jy/pixel, and leaves FITS files and ``observation.json`` in a folder that ``benchmarks/casa_agreement.py``
reads. Needs the ``casa`` extra; works offline::

    python tools/casa_observe.py --sky sky.fits --array alma.cycle9.8.cfg --hour-angle 2h --out casa_c8
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys

import numpy as np

PROJECT = "sim"


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sky", required=True, help="FITS cube [chan, y, x], Jy/pixel, with a full header")
    parser.add_argument("--array", required=True, help="configuration file known to simobserve")
    parser.add_argument("--hour-angle", default="transit", help="as simobserve takes it, e.g. 2h")
    parser.add_argument("--total-time", default="2400s")
    parser.add_argument("--integration", default="10s")
    parser.add_argument("--pwv", type=float, default=0.8)
    parser.add_argument("--robust", type=float, help="Briggs weighting with this robustness")
    parser.add_argument("--noise-seed", type=int, default=11111)
    parser.add_argument("--out", required=True)
    return parser.parse_args()


def casa():
    """CASA's tasks and tools without network or home folder."""
    sys.argv = sys.argv[:1]  # casaconfig reads it
    import casaconfig.config as config
    import casadata

    config.datapath = [casadata.datapath]
    config.measurespath = casadata.datapath
    config.measures_auto_update = config.data_auto_update = False
    config.nologger = config.nogui = True
    import casatasks
    import casatools

    return casatasks, casatools


def observe(tasks, options, header, centre):
    """The two measurement sets, noise-free and noisy."""
    call = {
        "project": PROJECT,
        "skymodel": os.path.abspath(options.sky),
        "incenter": f"{centre / 1e9:.9f}GHz",
        "inwidth": f"{header['CDELT3'] / 1e6:g}MHz",
        "setpointings": True,
        "integration": options.integration,
        # one pointing: left out, simobserve lays a mosaic over a large model
        "mapsize": ["1arcsec"],
        "maptype": "hexagonal",
        "obsmode": "int",
        "antennalist": options.array,
        "hourangle": options.hour_angle,
        "totaltime": options.total_time,
        "thermalnoise": "",
        "graphics": "none",
        "overwrite": True,
    }
    tasks.simobserve(**call)
    noise = {"obsmode": "", "sdantlist": "", "thermalnoise": "tsys-atm", "user_pwv": options.pwv}
    tasks.simobserve(**{**call, **noise, "seed": options.noise_seed})
    root = f"{PROJECT}/{PROJECT}.{options.array.replace('.cfg', '')}"
    return f"{root}.ms", f"{root}.noisy.ms"


def image(tasks, options, ms, name, header):
    """Dirty image, psf and primary beam of a measurement set as FITS files."""
    weighting = (
        {"weighting": "natural"}
        if options.robust is None
        else {"weighting": "briggs", "robust": options.robust, "perchanweightdensity": True}
    )
    tasks.tclean(
        vis=ms,
        imagename=name,
        imsize=[header["NAXIS1"], header["NAXIS2"]],
        cell=[f"{abs(header['CDELT2']) * 3600:.9g}arcsec"],
        specmode="cube",
        niter=0,
        calcpsf=True,
        pbcor=False,
        **weighting,
    )
    for product in ("image", "psf", "pb"):
        tasks.exportfits(
            imagename=f"{name}.{product}", fitsimage=f"{name}.{product}.fits", dropstokes=True, overwrite=True
        )


def visibility_noise(tools, clean, noisy, n_chan):
    """Standard deviation of the real and imaginary parts [Jy], per channel, of rows that are not flagged."""
    a, b = tools.table(), tools.table()
    a.open(clean)
    b.open(noisy)
    seen = ~a.getcol("FLAG_ROW")
    sigma = []
    for c in range(n_chan):
        section = [0, c], [1, c], [1, 1]
        d = (b.getcolslice("DATA", *section) - a.getcolslice("DATA", *section))[:, 0]
        sigma.append(float(np.sqrt(0.5 * (np.abs(d[:, seen]) ** 2).mean())))
    a.close()
    b.close()
    return sigma


def main():
    """Run the script."""
    options = arguments()
    from astropy.io import fits

    header = fits.getheader(options.sky)
    n_chan = header["NAXIS3"]
    centre = header["CRVAL3"] + (n_chan // 2 + 1 - header["CRPIX3"]) * header["CDELT3"]
    options.sky, out = os.path.abspath(options.sky), os.path.abspath(options.out)
    os.makedirs(out, exist_ok=True)
    os.chdir(out)
    tasks, tools = casa()
    clean, noisy = observe(tasks, options, header, centre)
    table = tools.table()
    table.open(clean)
    rows = table.nrows()
    np.savez_compressed(
        "uvw.npz",
        uvw_m=table.getcol("UVW").T[::97],
        time_mjd_s=table.getcol("TIME")[::97],
        antenna1=table.getcol("ANTENNA1")[::97],
        antenna2=table.getcol("ANTENNA2")[::97],
        flagged=table.getcol("FLAG_ROW")[::97],
    )
    flagged = int(table.getcol("FLAG_ROW").sum())
    table.close()
    image(tasks, options, clean, "clean", header)
    image(tasks, options, noisy, "noisy", header)
    record = {
        **{k: v for k, v in vars(options).items() if k not in ("out", "sky")},
        "rows": rows,
        "flagged_rows": flagged,
        "visibility_sigma_jy": visibility_noise(tools, clean, noisy, n_chan),
    }
    with open("observation.json", "w") as file:
        json.dump(record, file, indent=1)
    shutil.copy(options.sky, "sky.fits")


if __name__ == "__main__":
    main()
