"""What networks are trained on, of a cube that is not kept: images, spectra and cut-outs, a hundredth of it.

Delli Veneri et al. (2022), Section 4.5: everything is taken out with the sources' true parameters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faintsky.cutouts import SIZE, box_spectrum, crop, focus, integrated, line_image, source_mask
from faintsky.simulating.observatory import Observed
from faintsky.simulating.truth import grid_frame
from faintsky.system import replacing

Arrays = dict[str, NDArray[np.float32]]


def compact(cube: Observed) -> Arrays:
    """Reduce a simulated cube.

    Returns
    -------
    dict of arrays
        ``dirty`` ``[y, x]`` (sum over channels [Jy/beam]; NaN where blank), ``sky`` ``[y, x]`` (sum over
        channels [Jy/pixel]), ``sigma`` ``[chan]``, and for each true source ``spectra`` ``[n, chan]`` (dirty,
        summed in the source's box), ``clean_spectra`` ``[n, chan]`` (the sky's), ``focused``
        ``[n, 64, 64]`` (dirty, summed over the line's centre +- its FWHM) and ``line_images`` ``[n, 64, 64]``
        (eq. 19).
    """
    sky, truth = cube.sky, cube.truth
    image = np.tensordot(sky.spectra.sum(axis=1).astype(np.float32), sky.images, 1)
    if sky.cube is not None:
        image = image + sky.cube.sum(axis=0)
    n, n_chan = len(truth["id"]), len(cube.dirty)
    out: Arrays = {
        "dirty": integrated(cube.dirty),
        "sky": np.asarray(image, dtype=np.float32),
        "sigma": cube.sigma.astype(np.float32),
        "spectra": np.zeros((n, n_chan), dtype=np.float32),
        "clean_spectra": np.zeros((n, n_chan), dtype=np.float32),
        "focused": np.zeros((n, SIZE, SIZE), dtype=np.float32),
        "line_images": np.zeros((n, SIZE, SIZE), dtype=np.float32),
    }
    for i in range(n):
        s = {k: float(truth[k][i]) for k in ("x", "y", "z", "fwhm_z", "dc_maj", "dc_min", "dc_pa")}
        frame = grid_frame(sky.grid, s["x"], s["y"])
        maj, minor, pa = (float(v[0]) for v in frame.to_pixels(s["dc_maj"], s["dc_min"], s["dc_pa"]))
        box = tuple(int(truth[k][i]) for k in ("x_min", "x_max", "y_min", "y_max"))
        x0, x1, y0, y1 = box
        out["spectra"][i] = box_spectrum(cube.dirty, (x0, x1, y0, y1))
        fluxes = sky.images[:, y0 : y1 + 1, x0 : x1 + 1].sum(axis=(1, 2))
        out["clean_spectra"][i] = fluxes @ sky.spectra
        if sky.cube is not None:
            out["clean_spectra"][i] += box_spectrum(sky.cube, (x0, x1, y0, y1))
        low, high = s["z"] - s["fwhm_z"], s["z"] + s["fwhm_z"]
        out["focused"][i] = focus(cube.dirty, s["y"], s["x"], low, high)
        near = crop(cube.dirty, s["y"], s["x"])
        mask = source_mask(
            near.shape, s["x"] - round(s["x"]) + SIZE // 2, s["y"] - round(s["y"]) + SIZE // 2, s["z"],
            maj, minor, pa, s["fwhm_z"],
        )  # fmt: skip
        out["line_images"][i] = line_image(near, mask, out["spectra"][i])
    return out


def write_compact(path: Path, cube: Observed) -> None:
    """Write `compact`'s arrays to one npz file."""
    with replacing(path) as name, open(name, "wb") as file:
        np.savez(file, **compact(cube))  # type: ignore[arg-type]
