"""
Galaxies in an HI cube
======================

A MeerKAT cube of 21 cm lines is simulated, rotating discs among them. `faintsky.detect` finds them and makes
moment maps within its mask. On the command line::

    faintsky simulate meerkat --out cube --preset lines --size 160 --seed 1
    faintsky detect cube/0000_dirty.fits --psf cube/psf.fits --pb cube/pb.fits --out found

The simulated header has its rest frequency. Give ``--rest-frequency 1420.405752MHz`` where yours has none.
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
about = faintsky.simulate_meerkat(folder, preset="lines", size=160, seed=1)
print("shape [chan, y, x]:", about["shape"])
print("beam [arcsec, arcsec, deg]:", np.round(about["beam_arcsec_arcsec_deg"], 2))
print("noise [Jy/beam]:", round(about["noise_jy_per_beam"], 6))

# %%
# Search it
# ---------

result = faintsky.detect(folder / "0000_dirty.fits", psf=folder / "psf.fits", pb=folder / "pb.fits")
table = result.catalog
digits = {"ra": 4, "dec": 4, "velocity": 0, "flux": 3, "snr": 1}
shown = table["id", "ra", "dec", "velocity", "flux", "flux_err", "w50", "snr", "flags"]
shown.round(digits | {"flux_err": 3, "w50": 0})
shown.pprint_all()

# %%
# What there was
# --------------
# Matched S/N is the best that a filter of the source's own shape could reach.

truth = Table.read(folder / "0000_truth.ecsv")
shown = truth["ra", "dec", "velocity", "flux", "snr", "flags"]
shown.round(digits)
shown.pprint_all()

# %%
# Moment maps of the brightest galaxy
# -----------------------------------
# Flux, and the mean velocity of the flux, within the mask. ``moment0.fits`` and ``moment1.fits`` hold them
# when `faintsky.detect` is given a folder.

brightest = table[np.argmax(table["flux"])]
x, y = round(brightest["x"]), round(brightest["y"])
window = np.s_[max(y - 20, 0) : y + 20, max(x - 20, 0) : x + 20]
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for ax, (image, unit), title, colours in zip(
    axes, result.moments()[:2], ("flux", "mean velocity"), ("viridis", "RdBu_r"), strict=True
):
    shown = ax.imshow(image[window], origin="lower", cmap=colours)
    ax.set_title(f"{title} of source {brightest['id']}")
    figure.colorbar(shown, ax=ax, label=f"[{unit}]")

# %%
# Its spectrum
# ------------
# Summed over the pixels of its mask and divided by the beam's area.

velocity = result.data.velocities()
inside = (result.mask == brightest["id"]).any(axis=0)
major, minor, _ = about["beam_arcsec_arcsec_deg"]
beam_pixels = np.pi / (4 * np.log(2)) * major * minor / about["cell_arcsec"] ** 2
figure, ax = plt.subplots(figsize=(8, 3.5), layout="constrained")
for cube, name in ((result.data.data, "data"), (result.model, "model")):
    ax.step(velocity, 1e3 * cube[:, inside].sum(axis=1) / beam_pixels, where="mid", label=name)
ax.set(xlabel="velocity [km/s]", ylabel="flux density [mJy]")
ax.legend()
