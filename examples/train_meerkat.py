"""
Training for another array
==========================

The shipped denoiser has seen LOFAR and ALMA. Here it is trained further on images of MeerKAT. This is a
demonstration of half a minute: six small fields and 40 steps, where the shipped network took 13,000.
Whether the result is better is measured at the end, on fields that were not trained on. Expect little.
On the command line::

    faintsky simulate meerkat --out fields -n 6 --size 192 --quick --products sky,dirty,psf,pb
    faintsky train local_unet --init denoiser --data fields --out run --set steps=40 --set tile=96 ...
    faintsky denoise IMAGE.fits --model run --psf PSF.fits --out denoised

It needs the extra ``train`` (``pip install 'faintsky[train]'``).
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits

import faintsky
from faintsky.simulating import at_resolution

# %%
# Data
# ----
# Skies and dirty images, with one psf for all. The last tenth of the skies, here one, is for validation.

folder = Path(tempfile.mkdtemp())
how = {"size": 192, "quick": True, "products": "sky,dirty,psf,pb"}
about = faintsky.simulate_meerkat(folder / "fields", 6, seed=1, **how)
print(about["shape"], "beam [arcsec, arcsec, deg]:", np.round(about["beam_arcsec_arcsec_deg"], 2))

# %%
# Training
# --------
# The run's folder is a model: ``--model`` takes it.

settings = {"steps": 40, "batch_size": 2, "tile": 96, "learning_rate": 1e-4, "validate_every": 20}
run = faintsky.train(
    "local_unet", folder / "run", data=folder / "fields", init="denoiser", settings=settings,
    watch=lambda scores: print(f"step {scores['step']}: validation loss {scores['loss']:.3f}"),
)  # fmt: skip
print("minutes:", run.facts["minutes"])

# %%
# Is it better?
# -------------
# The error inside emission, over the noise, on fields of another seed. Inside is where the true sky at the
# beam's resolution is above the noise.

n = 3
faintsky.simulate_meerkat(folder / "test", n, seed=2, **how)
rms, cell, beam = (about[k] for k in ("noise_jy_per_beam", "cell_arcsec", "beam_arcsec_arcsec_deg"))
psf, pb = (fits.getdata(folder / "test" / f"{name}.fits") for name in ("psf", "pb"))
print("median error [noise]")
print("field  dirty image  shipped  trained further")
for i in range(n):
    dirty = folder / "test" / f"{i:04d}_dirty.fits"
    sky = fits.getdata(folder / "test" / f"{i:04d}_sky.fits") * pb * cell**2  # from Jy/arcsec2 to Jy/pixel
    truth = at_resolution(sky, np.asarray(beam), cell)
    images = [fits.getdata(dirty)]
    images += [faintsky.denoise(dirty, psf=psf, model=m).image for m in ("denoiser", str(folder / "run"))]
    errors = [np.median(np.abs(image - truth)[truth > rms]) / rms for image in images]
    print("{:5d}  {:11.2f}  {:7.2f}  {:15.2f}".format(i, *errors))

# %%
# So few steps do not make it better. A training that is meant to be used takes thousands of steps, and
# thresholds and uncertainties that are fitted to it (``tools/fit_denoiser.py``).
# :doc:`The page on training </docs/training>` says how the shipped one was made.
# The last field:

figure, axes = plt.subplots(1, 4, figsize=(14, 3.9), layout="constrained", sharex=True, sharey=True)
titles = ("dirty image", "shipped", "trained further", "true sky")
for ax, image, title in zip(axes, [*images, truth], titles, strict=True):
    shown = ax.imshow(image / rms, origin="lower", cmap="inferno", vmin=-1, vmax=6)
    ax.set_title(title)
figure.colorbar(shown, ax=axes, label="brightness [rms of the noise]")
