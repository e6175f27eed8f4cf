"""What networks are trained on, of a LOFAR field that is not kept: a third of it, in one file.

Images are float16 times a scale of their own, a power of two: right to one part in 2,000 over the eight
decades below the brightest pixel. Noise images are not stored: they are the sky and the random numbers of
(seed, index), which `read_compact` draws again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.simulating.lofar_observatory import UNIT_BEAM, LofarObserved, add_white_noise
from faintsky.system import replacing

if TYPE_CHECKING:
    from faintsky.simulating.lofar_settings import LofarSettings

_PB_POINTS = 33
_LARGEST = 2.0**15


def write_compact(path: Path, seen: LofarObserved, settings: LofarSettings, seed: int, index: int) -> None:
    """Write one field; see `read_compact` for what is in it."""
    arrays: dict[str, Any] = {
        "psf": seen.telescope.psf_middle,
        "pb": _coarse(seen.telescope.pb),
        "beam": seen.beam,
        "rms": settings.rms if settings.noise else 0.0,
        "sigma": settings.rms / UNIT_BEAM if settings.noise else 0.0,
        "cell": seen.telescope.instrument.grid.cell,
        "seed": [seed, index],
    }
    for name, image in (("sky", seen.sky), ("dirty", seen.dirty), ("clean", seen.clean)):
        if image.size:
            arrays[name], arrays[f"{name}_scale"] = _half(image)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_compact(path: str | os.PathLike[str]) -> dict[str, Any]:
    """One field that ``--products compact`` wrote.

    Parameters
    ----------
    path : path-like
        ``NNNN_compact.npz``.

    Returns
    -------
    dict
        float32 images ``[y, x]``: ``sky`` and ``noise`` [Jy/arcsec2], ``dirty`` and, where clean images were
        asked for, ``clean`` [Jy/beam], ``pb``, and ``psf``, at most 256 pixels a side around its peak at
        ``n // 2``. ``beam`` ``[3]`` [arcsec, arcsec, deg], ``rms`` of the dirty image [Jy/beam], ``sigma`` of
        the noise image [Jy/arcsec2], ``cell`` [arcsec].

    Raises
    ------
    InputError
        Where it is no such file.
    """
    try:
        with np.load(path) as file:
            stored = {name: file[name] for name in file.files}
        out: dict[str, Any] = {k: float(stored[k]) for k in ("rms", "sigma", "cell")}
        out |= {"psf": stored["psf"].astype(np.float32), "beam": stored["beam"]}
        for name in ("sky", "dirty", "clean"):
            if name in stored:
                out[name] = stored[name].astype(np.float32) * np.float32(stored[f"{name}_scale"])
        out["pb"] = _fine(stored["pb"], out["sky"].shape)
        out["noise"] = add_white_noise(out["sky"], out["sigma"], *(int(v) for v in stored["seed"]))
    except (OSError, ValueError, KeyError) as error:
        raise InputError("is no compact LOFAR field", "give a file of --products compact", path) from error
    return out


def _half(image: NDArray[np.float32]) -> tuple[NDArray[np.float16], float]:
    """An image as float16, and what to multiply it by."""
    peak = float(np.nanmax(np.abs(image), initial=0.0))
    scale = 2.0 ** np.ceil(np.log2(peak / _LARGEST)) if peak > 0 else 1.0
    return (image / np.float32(scale)).astype(np.float16), scale


def _coarse(image: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.ndimage import map_coordinates

    y, x = (np.linspace(0, n - 1, _PB_POINTS) for n in image.shape)
    points = np.meshgrid(y, x, indexing="ij")
    return map_coordinates(image, points, order=1).astype(np.float32)


def _fine(points: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    from scipy.interpolate import RectBivariateSpline

    y, x = (np.linspace(0, n - 1, _PB_POINTS) for n in shape)
    return RectBivariateSpline(y, x, points)(np.arange(shape[0]), np.arange(shape[1])).astype(np.float32)
