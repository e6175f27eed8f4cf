"""
A LOFAR field, denoised and catalogued
======================================

A dirty image like those of LoTSS is simulated: radio galaxies and diffuse emission at 150 MHz, eight hours.
`faintsky.denoise` shows its faint emission, `faintsky.detect` lists its sources.
On the command line::

    faintsky simulate lofar --out field --preset lotss --size 512 --seed 1 --quick
    faintsky denoise field/0000_dirty.fits --psf field/psf.fits --pb field/pb.fits --out denoised
    faintsky detect field/0000_dirty.fits --psf field/psf.fits --pb field/pb.fits --out found
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from astropy.table import Table

import faintsky
from faintsky.simulating import at_resolution

# %%
# The field
# ---------
# ``quick`` makes the dirty image with one psf for the whole field, which leaves out the w term.

folder = Path(tempfile.mkdtemp())
about = faintsky.simulate_lofar(folder / "field", preset="lotss", size=512, seed=1, quick=True)
print("beam [arcsec, arcsec, deg]:", np.round(about["beam_arcsec_arcsec_deg"], 2))
print("noise [Jy/beam]:", about["noise_jy_per_beam"])

# %%
# Denoise it
# ----------
# The psf lets `faintsky.denoise` take the sidelobes out as well.

dirty, psf, pb = (folder / "field" / name for name in ("0000_dirty.fits", "psf.fits", "pb.fits"))
denoised = faintsky.denoise(dirty, psf=psf, pb=pb)
print(len(denoised.catalog), "regions of emission")
for note in denoised.notes:
    print("note:", note)

# %%
# Dirty image, denoised image, and the true sky seen with the clean beam:

rms, cell, beam = (about[k] for k in ("noise_jy_per_beam", "cell_arcsec", "beam_arcsec_arcsec_deg"))
sky = fits.getdata(folder / "field" / "0000_sky.fits") * cell**2  # from Jy/arcsec2 to Jy/pixel
images = {
    "dirty image": fits.getdata(dirty),
    "denoised": denoised.image,
    "true sky": at_resolution(sky, np.asarray(beam), cell),
}
figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained", sharex=True, sharey=True)
for ax, (title, image) in zip(axes, images.items(), strict=True):
    shown = ax.imshow(image / rms, origin="lower", cmap="inferno", vmin=-1, vmax=5)
    ax.set_title(title)
figure.colorbar(shown, ax=axes, label="brightness [rms of the noise]")

# %%
# List its sources
# ----------------
# The image is cleaned with the psf first, then searched.

found = faintsky.detect(dirty, psf=psf, pb=pb)
print(len(found.catalog), "sources; the strongest:")
table = found.catalog["name", "kind", "flux", "flux_err", "fwhm_maj", "snr", "reliability"][:8]
table.round({"flux": 5, "flux_err": 5, "fwhm_maj": 2, "snr": 1, "reliability": 3})
table.pprint_all()

# %%
# Beside the truth
# ----------------
# The truth holds regions of the sky that rise above the noise. How many of those above S/N 7 have a source
# within half a beam?

truth = Table.read(folder / "field" / "0000_truth.ecsv")
seen = truth[truth["snr"] > 7]
away = np.hypot(
    np.subtract.outer(seen["x"], found.catalog["x"]), np.subtract.outer(seen["y"], found.catalog["y"])
).min(axis=1)
print(f"{(away < beam[0] / cell / 2).sum()} of {len(seen)}")
