"""Make the small CASA and WSClean references in `tests/data/` from whole ones.

``alma_casa_c3`` from a folder of CASA products of the default observation (npz files of dirty cube, psf,
primary beam, uvw and an ``info.json``), ``alma_casa_c8`` from what ``tools/casa_observe.py`` leaves::

    python tools/make_test_references.py c3 REFERENCE tests/data/alma_casa_c3
    python tools/make_test_references.py c8 CASA_RUN tests/data/alma_casa_c8

``lofar_wsclean/default.npz`` from the folder that ``benchmarks/lofar_agreement.py`` takes::

    python tools/make_test_references.py lofar REFERENCE tests/data/lofar_wsclean
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np


def scaled(cube):
    """Integers of 1/30000 of each plane's peak, and the peaks; smooth images compress well so."""
    peak = np.abs(cube).max(axis=(1, 2))
    return np.round(cube / peak[:, None, None] * 30000).astype(np.int16), peak


def inner(cube):
    """The inner half of each plane."""
    n = cube.shape[1] // 4
    return cube[:, n:-n, n:-n]


def save_images(out, channels, dirty, psf):
    """Dirty cube and psf as scaled integers."""
    for name, cube in (("dirty", dirty), ("psf", psf)):
        values, peak = scaled(inner(cube))
        np.savez_compressed(out / f"{name}.npz", values=values, peak=peak, channels=channels)


def reference_c3(source, out):
    """The default observation."""
    info = json.loads((source / "info.json").read_text())
    dirty, psf = np.load(source / "dirty_noisefree.npz"), np.load(source / "psf.npz")
    save_images(out, dirty["channels"], dirty["dirty"], psf["psf"])
    pb, uvw = np.load(source / "primary_beam.npz"), np.load(source / "uvw.npz")
    step = 97
    np.savez_compressed(
        out / "telescope.npz",
        pb=pb["pb"][:, ::5, ::5],
        pb_freq=pb["freq_hz"],
        uvw_m=uvw["uvw_m"][::step],
        time_mjd_s=uvw["time_mjd_s"],
        beams=np.array(info["beam_arcsec_arcsec_deg_per_channel"]),
        visibility_sigma=np.array(info["noise"]["vis_sigma_jy_per_channel_xx_yy"]),
        image_rms=np.array(info["noise"]["image_rms_jy_per_beam_per_channel"]),
        sky_scale=info["sky_scale_jy_per_pixel_per_unit"],
    )
    for name in ("sources.csv", "antennas.csv"):
        shutil.copyfile(source / name, out / name)


def reference_c8(source, out):
    """Another array, declination, hour angle, band and weighting."""
    from astropy.io import fits

    channels = np.array([0, 4, 7])
    dirty, psf = (fits.getdata(source / f"clean.{p}.fits")[channels] for p in ("image", "psf"))
    save_images(out, channels, dirty, psf)
    record = json.loads((source / "observation.json").read_text())
    (out / "observation.json").write_text(json.dumps(record, indent=1) + "\n")
    sky = fits.getdata(source / "sky.fits")[channels]
    np.savez_compressed(out / "sky.npz", sky=np.where(sky > 1e-9, sky, 0).astype(np.float32))


def reference_lofar(source, out):
    """LOFAR's default observation: all stations' baselines, a part of the weights, psf and primary beam."""
    from astropy.io import fits

    facts = np.load(source / "uvw_weights.npz")
    psf, header = fits.getdata(source / "psf.fits.fz", header=True)
    step = 16
    np.savez_compressed(
        out / "default.npz",
        # lossless: a point that changes its cell changes weights
        station_uvw_m=facts["station_uvw_m"],
        imaging_weight=facts["imaging_weight"][::step],
        psf=np.round(psf[872:1128, 872:1128] * 30000).astype(np.int16),
        psf_corner=np.round(psf[:64, :64] * 30000).astype(np.int16),
        beam=np.array([header["BMAJ"] * 3600, header["BMIN"] * 3600, header["BPA"]]),
        primary_beam=fits.getdata(source / "primary_beam.fits.fz")[::50, ::50].astype(np.float32),
        sigma_visibility_jy=facts["sigma_vis_stokes_i_jy"],
    )


def main():
    """Run the script."""
    kind, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    {"c3": reference_c3, "c8": reference_c8, "lofar": reference_lofar}[kind](source, out)


if __name__ == "__main__":
    main()
