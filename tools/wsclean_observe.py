"""Observe a made-up sky with a telescope through WSClean: the small references of the tests.

A file says what to observe: ``telescope``, ``ra``, ``dec`` [deg], ``start`` [UTC], ``hours``,
``integration`` [s], ``freq_hz``, ``size`` [pixel], ``cell`` [arcsec], ``robust``. The products go beside it.
Needs the program wsclean (3.1) and python-casacore, by whose measures the baselines are::

    python tools/wsclean_observe.py tests/data/lofar_wsclean/small.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.time import Time

from faintsky.grid import ImageGrid
from faintsky.simulating import SimulationSettings
from faintsky.simulating.instrument import data_header
from faintsky.simulating.wsclean import write_measurement_set
from faintsky.sky import gaussian_image


def draw(rng, size, n=12):
    """Gaussians: x, y, major, minor [pixel], position angle [deg], flux [Jy]."""
    places = rng.uniform(20, size - 20, (n, 2))
    major = rng.uniform(2.5, 25, n)
    table = np.column_stack(
        [places, major, major * rng.uniform(0.5, 1, n), rng.uniform(0, 180, n), rng.uniform(0.05, 1, n)]
    )
    table[:, 3] = np.maximum(table[:, 3], 2.2)
    return table


def casacore_uvw(array, field, times):
    """Baselines by casacore's measures, ``[row, 3]``, of UTC times [MJD]."""
    from casacore.measures import measures
    from casacore.quanta import quantity

    dm, baselines = measures(), []
    relative = array.itrf - array.itrf[0]
    one, two = np.triu_indices(len(array.pads), k=1)
    dm.do_frame(dm.position("ITRF", *(quantity(v, "m") for v in array.itrf[0])))
    dm.do_frame(dm.direction("J2000", quantity(field["ra"], "deg"), quantity(field["dec"], "deg")))
    for mjd in times:
        dm.do_frame(dm.epoch("UTC", quantity(mjd, "d")))
        line = dm.baseline("ITRF", *(quantity(list(relative[:, i]), "m") for i in range(3)))
        stations = np.array(dm.to_uvw(line)["xyz"].get_value("m")).reshape(-1, 3)
        baselines.append(stations[one] - stations[two])
    return np.concatenate(baselines)


def main():
    """Run the script."""
    from casacore.tables import table

    field = json.loads(Path(sys.argv[1]).read_text())
    name = field.pop("telescope")
    size, freq, title = field["size"], field["freq_hz"], name.upper()
    known = {k: field[k] for k in ("ra", "dec", "start", "size", "cell")}
    array = SimulationSettings(telescope=name, freq=freq, **known).observation.array
    grid = ImageGrid(size, size, field["cell"], field["ra"], field["dec"])
    sources = draw(np.random.default_rng(7), size)
    model = sum(row[5] * gaussian_image(grid, *row[:5]) for row in sources).astype(np.float32)
    begin, step = Time(field["start"], scale="utc").mjd, field["integration"] / 86400
    count = round(field["hours"] * 3600 / field["integration"])
    times = begin + (np.arange(count) + 0.5) * step
    one, two = np.triu_indices(len(array.pads), k=1)
    rows = {
        "itrf": array.itrf, "uvw": casacore_uvw(array, field, times), "antenna1": np.tile(one, count),
        "antenna2": np.tile(two, count), "time": np.repeat(times * 86400, len(one)),
    }  # fmt: skip
    job = {
        "ra": np.deg2rad(field["ra"]), "dec": np.deg2rad(field["dec"]), "freq": freq, "width": 195312.5,
        "integration": field["integration"], "begin": begin * 86400, "end": (begin + count * step) * 86400,
        "telescope": title, "stations": list(array.pads), "diameter": array.diameter,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_measurement_set(str(work / "obs.ms"), job, rows)
        header = data_header(grid, None, "JY/PIXEL", title, {})
        for i, (kind, value, width) in enumerate((("FREQ", freq, 195312.5), ("STOKES", 1.0, 1.0)), start=3):
            header.update({f"CTYPE{i}": kind, f"CRVAL{i}": value, f"CDELT{i}": width, f"CRPIX{i}": 1.0})
        fits.writeto(work / "in-model.fits", model[None, None], header)

        def wsclean(*words):
            # small inversion makes a coarser image and resamples it, which rings at the edges
            geometry = ["-size", size, size, "-scale", f"{field['cell']}asec", "-pol", "I"]
            words = [
                "wsclean",
                "-j",
                "1",
                "-use-wgridder",
                *words,
                *geometry,
                "-no-small-inversion",
                "obs.ms",
            ]
            subprocess.run([str(w) for w in words], cwd=work, check=True, stdout=subprocess.DEVNULL)

        wsclean("-predict", "-name", "in")
        with table(str(work / "obs.ms"), readonly=False, ack=False) as data:
            data.putcol("DATA", data.getcol("MODEL_DATA"))
        weights = ["-store-imaging-weights", "-weight", "briggs", field["robust"]]
        wsclean("-niter", 0, "-make-psf", "-name", "out", *weights)
        with table(str(work / "obs.ms"), ack=False) as data:
            weight = data.getcol("IMAGING_WEIGHT_SPECTRUM")[:, 0, 0]
        header = fits.getheader(work / "out-image.fits")
        dirty, psf = (fits.getdata(work / f"out-{k}.fits").squeeze() for k in ("dirty", "psf"))
    np.savez_compressed(
        Path(sys.argv[1]).with_suffix(".npz"),
        sources=sources,
        dirty=np.round(dirty / dirty.max() * 30000).astype(np.int16),
        dirty_peak=dirty.max(),
        psf=np.round(psf * 30000).astype(np.int16),
        beam=np.array([header["BMAJ"] * 3600, header["BMIN"] * 3600, header["BPA"]]),
        uvw_m=rows["uvw"][::97],
        imaging_weight=weight[::97],
        **field,
    )


if __name__ == "__main__":
    main()
