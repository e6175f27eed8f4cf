"""Observe a made-up sky with LOFAR through WSClean: the small reference of the tests.

Another observation than the simulator's default, with an image whose padded size is no multiple of four
before rounding. Needs the program wsclean (3.1), and pyuvdata, python-casacore and lofarantpos::

    python tools/wsclean_observe.py tests/data/lofar_wsclean/small.npz
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.coordinates import EarthLocation
from astropy.io import fits
from astropy.time import Time
from astropy.utils import iers

from faintsky.grid import ImageGrid
from faintsky.simulating.instrument import data_header
from faintsky.sky import gaussian_image
from faintsky.telescopes import load_array

iers.conf.auto_download = False
FIELD = {"ra": 100.0, "dec": 35.0, "start": "2021-06-11T10:00:00", "hours": 4.0, "integration": 120.0}
FREQ, SIZE, CELL, ROBUST = 140e6, 354, 1.7, -0.5


def draw(rng, grid):
    """Gaussians: x, y, major, minor [pixel], position angle [deg], flux [Jy]."""
    n = 12
    places = rng.uniform(20, SIZE - 20, (n, 2))
    major = rng.uniform(2.5, 25, n)
    table = np.column_stack(
        [places, major, major * rng.uniform(0.5, 1, n), rng.uniform(0, 180, n), rng.uniform(0.05, 1, n)]
    )
    table[:, 3] = np.maximum(table[:, 3], 2.2)
    return table


def casacore_uvw(array, times):
    """Baselines by casacore's measures, ``[row, 3]``: pyuvdata's are turned by some arcsec."""
    from casacore.measures import measures
    from casacore.quanta import quantity

    dm, baselines = measures(), []
    relative = array.itrf - array.itrf[0]
    one, two = np.triu_indices(len(array.pads), k=1)
    dm.do_frame(dm.position("ITRF", *(quantity(v, "m") for v in array.itrf[0])))
    dm.do_frame(dm.direction("J2000", quantity(FIELD["ra"], "deg"), quantity(FIELD["dec"], "deg")))
    for mjd in times:
        dm.do_frame(dm.epoch("UTC", quantity(mjd, "d")))
        line = dm.baseline("ITRF", *(quantity(list(relative[:, i]), "m") for i in range(3)))
        stations = np.array(dm.to_uvw(line)["xyz"].get_value("m")).reshape(-1, 3)
        baselines.append(stations[one] - stations[two])
    return np.concatenate(baselines)


def write_measurement_set(path, array):
    """Baselines without data; returns their uvw, ``[row, 3]``."""
    from casacore.tables import table
    from pyuvdata import Telescope, UVData

    centre = array.itrf[array.pads.index("CS002HBA0")]
    n = len(array.pads)
    telescope = Telescope.new(
        "LOFAR",
        EarthLocation.from_geocentric(*centre, unit="m"),
        instrument="LOFAR",
        antenna_positions=dict(enumerate(array.itrf - centre)),
        antenna_names=list(array.pads),
        antenna_diameters=[30.75] * n,
        x_orientation="east",
        feeds=["x", "y"],
        mount_type="fixed",
        update_from_known=False,
    )
    step = FIELD["integration"]
    count = round(FIELD["hours"] * 3600 / step)
    times = Time(FIELD["start"], scale="utc").jd + (np.arange(count) + 0.5) * step / 86400
    place = {"cat_lon": np.deg2rad(FIELD["ra"]), "cat_lat": np.deg2rad(FIELD["dec"])}
    data = UVData.new(
        freq_array=np.array([FREQ]),
        channel_width=195312.5,
        polarization_array=np.array([-5, -6]),
        times=times,
        antpairs=[(i, j) for i in range(n) for j in range(i + 1, n)],
        telescope=telescope,
        integration_time=step,
        empty=True,
        vis_units="Jy",
        do_blt_outer=True,
        time_axis_faster_than_bls=False,
        phase_center_catalog={0: {"cat_name": "field", "cat_type": "sidereal", "cat_frame": "icrs", **place}},
    )
    data.nsample_array[:] = 1
    data.flag_array[:] = False
    data.write_ms(str(path), clobber=True)
    uvw = casacore_uvw(array, times - 2400000.5)
    with table(str(path), readonly=False, ack=False) as rows:
        if np.abs(rows.getcol("UVW") - uvw).max() > 10:
            raise SystemExit("the rows of the measurement set are in another order")
        rows.putcol("UVW", uvw)
    return uvw


def main():
    """Run the script."""
    from casacore.tables import table

    target = Path(sys.argv[1])
    grid = ImageGrid(SIZE, SIZE, CELL, FIELD["ra"], FIELD["dec"])
    sources = draw(np.random.default_rng(7), grid)
    model = sum(row[5] * gaussian_image(grid, *row[:5]) for row in sources).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        uvw = write_measurement_set(work / "obs.ms", load_array("lofar.hba.dutch"))
        fits.writeto(work / "in-model.fits", model[None, None], _four_axes(grid))

        def wsclean(*words):
            # small inversion makes a coarser image and resamples it, which rings at the edges
            geometry = ["-size", SIZE, SIZE, "-scale", f"{CELL}asec", "-pol", "I", "-no-small-inversion"]
            words = ["wsclean", "-j", "1", "-use-wgridder", *words, *geometry, "obs.ms"]
            subprocess.run([str(w) for w in words], cwd=work, check=True, stdout=subprocess.DEVNULL)

        wsclean("-predict", "-name", "in")
        with table(str(work / "obs.ms"), readonly=False, ack=False) as rows:
            rows.putcol("DATA", rows.getcol("MODEL_DATA"))
        wsclean(
            "-niter", 0, "-make-psf", "-name", "out", "-store-imaging-weights", "-weight", "briggs", ROBUST
        )
        with table(str(work / "obs.ms"), ack=False) as rows:
            weight = rows.getcol("IMAGING_WEIGHT_SPECTRUM")[:, 0, 0]
        header = fits.getheader(work / "out-image.fits")
        dirty, psf = (fits.getdata(work / f"out-{k}.fits").squeeze() for k in ("dirty", "psf"))
    np.savez_compressed(
        target,
        sources=sources,
        dirty=np.round(dirty / dirty.max() * 30000).astype(np.int16),
        dirty_peak=dirty.max(),
        psf=np.round(psf * 30000).astype(np.int16),
        beam=np.array([header["BMAJ"] * 3600, header["BMIN"] * 3600, header["BPA"]]),
        uvw_m=uvw[::97],
        imaging_weight=weight[::97],
        start=FIELD["start"],
        **{k: FIELD[k] for k in ("ra", "dec", "hours", "integration")},
        freq_hz=FREQ,
        size=SIZE,
        cell=CELL,
        robust=ROBUST,
    )


def _four_axes(grid):
    header = data_header(grid, "JY/PIXEL", "LOFAR", FREQ, {})
    for i, (kind, value, step) in enumerate((("FREQ", FREQ, 195312.5), ("STOKES", 1.0, 1.0)), start=3):
        header[f"CTYPE{i}"], header[f"CRVAL{i}"], header[f"CDELT{i}"] = kind, value, step
        header[f"CRPIX{i}"] = 1.0
    for key in ("NAXIS", "NAXIS1", "NAXIS2"):
        header.remove(key)
    return header


if __name__ == "__main__":
    main()
