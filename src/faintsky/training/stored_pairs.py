"""Folders of images with their true skies, as ``--data`` takes them: all in them is used, or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.io import open_image
from faintsky.preparing import surface_brightness

PRODUCTS = ("sky", "noise", "dirty", "clean", "psf", "pb")
"""Images are called ``NAME_PRODUCT.fits``; psf and primary beam of all have no ``NAME_``."""
WITH_BEAM = ("dirty", "clean")
"""In Jy/beam; the others in Jy/arcsec2."""
NAMES = "NAME_sky.fits with NAME_noise.fits or NAME_dirty.fits"
_OF_A_RUN = {
    *("psfs.npz", "skies.npy", "model.json", "run.json", "history.json", "training.png", "last.ckpt"),
}
_NAME = re.compile(rf"(.+)_({'|'.join(PRODUCTS)})\.fits|psf\.fits|pb\.fits")


def images_in(folder: Path) -> list[Path]:
    """Everything in a folder that is called like a FITS file, compressed or not."""
    return sorted(p for p in folder.iterdir() if re.search(r"\.(fits?|fz)(\.|$)", p.name.lower()))


def holds_images(folder: Path) -> bool:
    """Whether a folder is one of images: by its card, or by any file that is called like one."""
    return (folder / "dataset.json").is_file() or bool(images_in(folder))


def compact_files(folder: Path) -> list[Path]:
    """Compact data, which are taken where there are no skies as FITS files."""
    return [] if any(folder.glob("*_sky.fits")) else sorted(folder.glob("*_compact.npz"))


def check_library(folder: Path) -> None:
    """Refuse a folder that has no images and is not a training run's, with psfs and nothing foreign.

    Raises
    ------
    InputError
        Naming the file that would be left out.
    """
    if not (folder / "psfs.npz").is_file():
        raise InputError("holds neither images nor psfs.npz", f"the images' names are {NAMES}", folder)
    for path in sorted(folder.iterdir()):
        if not (path.name.startswith(".") or path.name in _OF_A_RUN or path.suffix == ".safetensors"):
            raise InputError("is not trained on, as psfs.npz is", f"move it; images are called {NAMES}", path)


def stored_pairs(folder: Path, products: Sequence[str]) -> list[tuple[Path, Path]]:
    """True skies and the images of them, every one checked by its header.

    Parameters
    ----------
    folder : pathlib.Path
    products : sequence of str
        What is trained on; each sky has one of them at least.

    Returns
    -------
    list of (sky, image)
        In the order of their names; empty where there is no FITS file.

    Raises
    ------
    InputError
        Naming the file that would be left out or misunderstood: of another name, without its partner, no
        FITS image, of another shape or pixel than its sky, or in a unit that is no brightness; or where a
        library of psfs lies there as well.
    """
    if (folder / "psfs.npz").is_file():
        raise InputError("holds images and psfs.npz", "give a folder with one of the two", folder)
    found: dict[str, dict[str, Path]] = {}
    for path in images_in(folder):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise InputError("is not of a name that is trained on", f"the names are {NAMES}", path)
        if match[1] is not None:
            found.setdefault(match[1], {})[match[2]] = path
    pairs = []
    for files in found.values():
        seen = [files[p] for p in products if p in files]
        if not seen:
            wanted = " or ".join(products)
            hint = f"give NAME_{wanted}.fits with each NAME_sky.fits"
            raise InputError(f"has no {wanted} image beside it", hint, next(iter(files.values())))
        if "sky" not in files:
            raise InputError("has no true sky beside it", "give NAME_sky.fits with each image", seen[0])
        sky = open_image(files["sky"])
        surface_brightness(sky)
        for path in seen:
            _check(open_image(path), sky, path)
            pairs.append((files["sky"], path))
    return pairs


def _check(image: RadioImage, sky: RadioImage, path: Path) -> None:
    if image.shape != sky.shape or not np.isclose(image.grid.cell, sky.grid.cell, rtol=1e-3):
        raise InputError("differs from its sky in shape or pixel size", "give both on one grid", path)
    if product_of(path) in WITH_BEAM:
        image.require_beam()
    surface_brightness(image)


def product_of(path: Path) -> str:
    """Which of `PRODUCTS` a file holds, by its name."""
    return path.name.removesuffix(".fits").rpartition("_")[2]


def primary_beam_of(sky: Path) -> Path | None:
    """The primary beam's file of a sky, its own or that of all, which the images have and the sky has not."""
    if pb_corrected(sky.parent):
        return None
    own = sky.with_name(sky.name.removesuffix("sky.fits") + "pb.fits")
    return next((p for p in (own, sky.with_name("pb.fits")) if p.is_file()), None)


def pb_corrected(folder: Path) -> bool:
    """Whether a data set's images are corrected for the primary beam."""
    file = folder / "dataset.json"
    if not file.is_file():
        return False
    try:
        return bool(json.loads(file.read_text(encoding="utf-8"))["parameters"]["pbcor"])
    except (ValueError, KeyError, TypeError):
        return False
