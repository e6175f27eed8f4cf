"""Observe a sky with CASA itself; a program for an interpreter that needs only CASA.

Run ``python casa_run.py job.json`` in an empty folder, see `faintsky.simulating.casa`. It runs simobserve,
adds noise to the measurement set, and runs ``tclean(niter=0)``. It writes ``dirty.fits``, ``psf.fits``,
``pb.fits`` and ``facts.json``. It does not use the network or the home folder.
"""

import json
import os
import sys
import threading
from importlib.metadata import version
from typing import Any

import numpy as np

PROJECT = "sim"
_ROWS_AT_ONCE = 20_000


def casa() -> tuple[Any, Any]:
    """CASA's tasks and tools, offline."""
    sys.argv = sys.argv[:1]  # casaconfig reads it
    import casaconfig.config as config
    import casadata

    config.datapath = [casadata.datapath]
    config.measurespath = casadata.datapath
    config.measures_auto_update = config.data_auto_update = False
    config.nologger = config.nogui = config.agg = True
    config.logfile = os.path.join(os.getcwd(), "casa.log")
    import casatasks
    import casatools

    return casatasks, casatools


def observe(tasks: Any, job: dict[str, Any]) -> tuple[str, str]:
    """Simulate measurement sets without and with CASA's noise (the same one if no noise is requested)."""
    call = {
        "project": PROJECT,
        "skymodel": job["sky"],
        "incenter": f"{job['freq'] / 1e9:.9f}GHz",
        "inwidth": f"{job['channel_width'] / 1e6:.9g}MHz",
        "setpointings": True,
        "integration": f"{job['integration']:.9g}s",
        # one pointing; by default simobserve covers a large model with a mosaic
        "mapsize": ["1arcsec"],
        "maptype": "hexagonal",
        "obsmode": "int",
        "antennalist": job["array"],
        "hourangle": f"{job['hour_angle']:.9g}h" if job["hour_angle"] else "transit",
        "totaltime": f"{job['total_time']:.9g}s",
        "thermalnoise": "",
        "graphics": "none",
        "overwrite": True,
    }
    tasks.simobserve(**call)
    root = f"{PROJECT}/{PROJECT}.{os.path.basename(job['array']).removesuffix('.cfg')}"
    if not job["noise"]:
        return f"{root}.ms", f"{root}.ms"
    noise = {"obsmode": "", "sdantlist": "", "thermalnoise": "tsys-atm", "user_pwv": job["pwv"]}
    tasks.simobserve(**{**call, **noise, "seed": job["seed"]})
    return f"{root}.ms", f"{root}.noisy.ms"


def add_noise(tools: Any, ms: str, sigma: float, seed: int) -> None:
    """Add Gaussian noise to every visibility of a measurement set.

    Parameters
    ----------
    tools : module
        CASA's tools.
    ms : str
        The measurement set.
    sigma : float
        Standard deviation of the real and of the imaginary part [Jy].
    seed : int
        Seed of the noise.
    """
    rng = np.random.default_rng(seed)
    table = tools.table()
    table.open(ms, nomodify=False)
    for first in range(0, table.nrows(), _ROWS_AT_ONCE):
        data = table.getcol("DATA", first, _ROWS_AT_ONCE)
        noise = rng.normal(0, sigma, (2, *data.shape)).astype(np.float32)
        table.putcol("DATA", data + noise[0] + 1j * noise[1], first, _ROWS_AT_ONCE)
    table.close()


def image(tasks: Any, job: dict[str, Any], ms: str) -> None:
    """Write dirty image, psf and primary beam as FITS files.

    Parameters
    ----------
    tasks : module
        CASA's tasks.
    job : dict
        ``size`` [pixel], ``cell`` [arcsec] and ``robust``.
    ms : str
        The measurement set.
    """
    robust = job["robust"]
    weighting: dict[str, Any] = {"weighting": "natural"}
    if robust is not None:
        weighting = {"weighting": "briggs", "robust": robust, "perchanweightdensity": True}
    tasks.tclean(
        vis=ms,
        imagename="dirty",
        imsize=job["size"],
        cell=[f"{job['cell']:.12g}arcsec"],
        specmode="cube",
        datacolumn="data",  # the column with noise
        niter=0,
        calcpsf=True,
        pbcor=False,
        **weighting,
    )
    for product, name in (("image", "dirty"), ("psf", "psf"), ("pb", "pb")):
        tasks.exportfits(
            imagename=f"dirty.{product}", fitsimage=f"{name}.fits", dropstokes=True, overwrite=True
        )


def facts(tools: Any, ms: str) -> dict[str, Any]:
    """Version of CASA, and numbers of rows of a measurement set."""
    table = tools.table()
    table.open(ms)
    rows, flagged = int(table.nrows()), int(table.getcol("FLAG_ROW").sum())
    table.close()
    return {"casa": version("casatools"), "rows": rows, "flagged_rows": flagged}


def end_with_parent() -> None:
    """End this program when the other end of its standard input closes."""
    os.read(0, 1)
    os._exit(1)


def main() -> None:
    """Run the program."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    tasks, tools = casa()
    clean, noisy = observe(tasks, job)
    known = facts(tools, clean)
    if job["noise"] and job["extra_sigma"] > 0:
        add_noise(tools, noisy, job["extra_sigma"], job["extra_seed"])
    image(tasks, job, noisy)
    with open("facts.json", "w", encoding="utf-8") as file:
        json.dump(known, file)


if __name__ == "__main__":
    main()
