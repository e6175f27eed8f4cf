"""
Lines in an ALMA cube
=====================

A dirty cube as in Delli Veneri et al. (2022) is simulated: a few galaxies with a line and a continuum each,
seen by 43 antennas at 230 GHz. `faintsky.detect` finds the lines and separates the continuum from them.
On the command line::

    faintsky simulate alma --out cubes --size 200 --channels 96 --seed 4
    faintsky detect cubes/0000_dirty.fits --psf cubes/psf.fits --pb cubes/pb.fits --out found
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

import faintsky

# %%
# The cube
# --------

folder = Path(tempfile.mkdtemp())
about = faintsky.simulate_alma(folder, size=200, channels=96, seed=4)
print("shape [chan, y, x]:", about["shape"])
print("beam [arcsec, arcsec, deg]:", np.round(about["beam_arcsec_arcsec_deg"], 2))

# %%
# Search it
# ---------
# A path will do, or an HDU, or an array with its axes (`faintsky.RadioCube.from_array`).

result = faintsky.detect(folder / "0000_dirty.fits", psf=folder / "psf.fits", pb=folder / "pb.fits")
table = result.catalog
print(len(table), "sources of", result.facts["candidates"], "candidates")
shown = table["id", "ra", "dec", "freq", "flux", "flux_err", "w50", "snr", "reliability", "flags"]
shown.round({"ra": 5, "dec": 5, "freq": -5, "flux": 2, "flux_err": 2, "w50": 0, "snr": 1, "reliability": 3})
shown.pprint_all()

# %%
# Fluxes beside the truth
# -----------------------
# Found and true lines are paired when they lie within a beam and within a line's width.

truth = Table.read(folder / "0000_truth.ecsv")
beam = about["beam_arcsec_arcsec_deg"][0] / about["cell_arcsec"]
for row in truth:
    near = np.hypot(table["x"] - row["x"], table["y"] - row["y"]) < beam
    near &= np.abs(table["z"] - row["z"]) < row["fwhm_z"]
    true = f"true flux {row['flux']:.3f} Jy km/s, S/N {row['snr']:4.1f}:"
    for source in table[near]:
        print(true, f"found {source['flux']:.3f} +- {source['flux_err']:.3f}")
    if not near.any():
        print(true, "not found")

# %%
# The line map and spectra
# ------------------------

moment0, unit = result.moments()[0]
velocity = result.data.velocities()
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
shown = left.imshow(moment0, origin="lower", cmap="viridis")
left.scatter(table["x"], table["y"], marker="s", s=150, facecolors="none", edgecolors="red")
left.set_title("line emission within the mask")
figure.colorbar(shown, ax=left, label=f"[{unit}]")
for source in table:
    x, y = round(source["x"]), round(source["y"])
    right.step(velocity, 1e3 * result.data.data[:, y, x], where="mid", label=f"source {source['id']}")
right.set(xlabel="velocity [km/s]", ylabel="dirty cube at its peak [mJy/beam]")
right.legend()
