"""Compact training data: a hundredth of a cube, or a third of an image.

For cubes they are images, spectra and cut-outs at the sources' true parameters (Delli Veneri et al. 2022,
Section 4.5). Images are stored as float16 times a power of two, accurate to one part in 2,000 over the eight
decades below the brightest pixel. Noise images are not stored: `read_compact` makes them of the sky and the
random numbers of (seed, index).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32, Float
from faintsky.cutouts import SIZE, box_spectrum, crop, focus, integrated, line_image, source_mask
from faintsky.errors import InputError
from faintsky.simulating.images import UNIT_BEAM, add_white_noise
from faintsky.simulating.observatory import Observed
from faintsky.simulating.settings import SimulationSettings
from faintsky.simulating.truth import grid_frame
from faintsky.system import replacing

Arrays = dict[str, Array32]


def compact(cube: Observed) -> Arrays:
    """Reduce a simulated cube to the training data of networks.

    Parameters
    ----------
    cube : Observed
        From `faintsky.simulating.simulated`.

    Returns
    -------
    dict of arrays
        ``dirty`` ``[y, x]`` (sum over channels [Jy/beam]; NaN where blank), ``sky`` ``[y, x]`` (sum over
        channels [Jy/pixel]) and ``sigma`` ``[chan]``. For each true source ``spectra`` ``[n, chan]`` (dirty,
        summed in the source's box), ``clean_spectra`` ``[n, chan]`` (of the sky), ``focused`` ``[n, 64, 64]``
        (dirty, summed over the line's centre +- its FWHM) and ``line_images`` ``[n, 64, 64]`` (eq. 19).
    """
    sky, truth = cube.sky, cube.truth
    n, n_chan = len(truth["id"]), len(cube.dirty)
    out: Arrays = {
        "dirty": integrated(cube.dirty),
        "sky": sky.integrated(),
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


_PB_POINTS = 33
_LARGEST = 2.0**15


def write_compact(path: Path, seen: Observed, settings: SimulationSettings, seed: int, index: int) -> None:
    """Write `compact`'s arrays of a cube, or the arrays of `read_compact` of an image, to an npz file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    seen : Observed
        The sample.
    settings : SimulationSettings
        Settings of the data set.
    seed, index : int
        Seed of the data set, and number of the sample.
    """
    arrays: dict[str, Any] = {}
    if settings.data == "cube":
        arrays |= compact(seen)
    else:
        from scipy.ndimage import map_coordinates

        assert seen.psf_middle is not None
        rms, pb = float(seen.sigma[0]), seen.instrument.pb[0]
        coarse = map_coordinates(pb, np.meshgrid(*_coarse_places(pb.shape), indexing="ij"), order=1)
        arrays |= {
            "psf": seen.psf_middle(), "pb": coarse.astype(np.float32), "beam": seen.beams[0], "rms": rms,
            "sigma": rms / UNIT_BEAM, "cell": seen.instrument.grid.cell, "seed": [seed, index],
        }  # fmt: skip
        for name, image in (("sky", seen.sky), ("dirty", seen.dirty), ("clean", seen.clean)):
            if image.size:
                arrays[name], arrays[f"{name}_scale"] = _half(image)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read_compact(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read one image of ``--products compact``.

    Parameters
    ----------
    path : path-like
        ``NNNN_compact.npz``.

    Returns
    -------
    dict
        float32 images ``[y, x]``: ``sky`` and ``noise`` [Jy/arcsec2], ``dirty`` and, if requested, ``clean``
        [Jy/beam], ``pb``, and ``psf`` (sides of at most 256 pixels, with the peak at ``n // 2``). ``beam``
        ``[3]`` [arcsec, arcsec, deg], ``rms`` of the dirty image [Jy/beam], ``sigma`` of the noise image
        [Jy/arcsec2], ``cell`` [arcsec].

    Raises
    ------
    InputError
        If it is not such a file.
    """
    from scipy.interpolate import RectBivariateSpline

    try:
        with np.load(path) as file:
            stored = {name: file[name] for name in file.files}
        out: dict[str, Any] = {k: float(stored[k]) for k in ("rms", "sigma", "cell")}
        out |= {"psf": stored["psf"].astype(np.float32), "beam": stored["beam"]}
        for name in ("sky", "dirty", "clean"):
            if name in stored:
                out[name] = stored[name].astype(np.float32) * np.float32(stored[f"{name}_scale"])
        shape = out["sky"].shape
        spline = RectBivariateSpline(*_coarse_places(shape), stored["pb"])
        out["pb"] = spline(*(np.arange(n) for n in shape)).astype(np.float32)
        out["noise"] = add_white_noise(out["sky"], out["sigma"], *(int(v) for v in stored["seed"]))
    except (OSError, ValueError, KeyError) as error:
        raise InputError("is not a compact image", "give a file of --products compact", path) from error
    return out


def _half(image: Array32) -> tuple[NDArray[np.float16], float]:
    """An image as float16, and its scale."""
    peak = float(np.nanmax(np.abs(image), initial=0.0))
    scale = 2.0 ** np.ceil(np.log2(peak / _LARGEST)) if peak > 0 else 1.0
    return (image / np.float32(scale)).astype(np.float16), scale


def _coarse_places(shape: tuple[int, ...]) -> list[Float]:
    """Rows and columns at which the primary beam is stored."""
    return [np.linspace(0, n - 1, _PB_POINTS) for n in shape]
