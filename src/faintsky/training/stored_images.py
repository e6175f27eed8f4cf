"""Folders of images with their true skies, for ``--data``, and our denoiser's task on them.

A folder comes from ``faintsky simulate lofar``, or has the same files. Every file in it is used, or refused.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from faintsky.arrays import Array32
from faintsky.denoising import describe_beam
from faintsky.errors import InputError
from faintsky.io import open_image
from faintsky.preparing import robust_sigma, surface_brightness
from faintsky.simulating import beside, parameters_of
from faintsky.source_model import frequencies_2d, gaussian_transform
from faintsky.training.denoiser import DenoiserTask, UNetSettings
from faintsky.training.loop import Batch

Example = tuple[Array32, Array32, Array32]

PRODUCTS = ("sky", "noise", "dirty", "clean", "psf", "pb")
"""Images are named ``NAME_PRODUCT.fits``; a psf or primary beam of all images has no ``NAME_``."""
WITH_BEAM = ("dirty", "clean")
"""In Jy/beam; the others in Jy/arcsec2."""
NAMES = "NAME_sky.fits with NAME_noise.fits or NAME_dirty.fits"
_OF_A_RUN = {"psfs.npz", "skies.npy", "model.json", "run.json", "history.json", "training.png", "last.ckpt"}
_NAME = re.compile(rf"(.+)_({'|'.join(PRODUCTS)})\.fits|psf\.fits|pb\.fits")
KEPT = 16
"""Number of images held in memory."""
VALIDATION_SHARE = 0.1
"""Fraction of the images, the last ones, for validation; at least one."""


def images_in(folder: Path) -> list[Path]:
    """All files in a folder that are named like FITS files, compressed or not."""
    return sorted(p for p in folder.iterdir() if re.search(r"\.(fits?|fz)(\.|$)", p.name.lower()))


def holds_images(folder: Path) -> bool:
    """Whether a folder holds images: by its card, or by any file that is named like one."""
    return (folder / "dataset.json").is_file() or bool(images_in(folder))


def compact_files(folder: Path) -> list[Path]:
    """Compact data, which are used where there are no skies as FITS files."""
    return [] if any(folder.glob("*_sky.fits")) else sorted(folder.glob("*_compact.npz"))


def check_library(folder: Path) -> None:
    """Refuse a folder that holds neither images nor only the files of a training run with psfs.

    Raises
    ------
    InputError
        Names the file that would be left out.
    """
    if not (folder / "psfs.npz").is_file():
        raise InputError("holds neither images nor psfs.npz", f"the images' names are {NAMES}", folder)
    for path in sorted(folder.iterdir()):
        if not (path.name.startswith(".") or path.name in _OF_A_RUN or path.suffix == ".safetensors"):
            raise InputError("is not trained on, as psfs.npz is", f"move it; images are called {NAMES}", path)


def stored_pairs(folder: Path, products: Sequence[str]) -> list[tuple[Path, Path]]:
    """True skies and their images, each checked by its header.

    Parameters
    ----------
    folder : pathlib.Path
    products : sequence of str
        Products used for training; each sky has at least one of them.

    Returns
    -------
    list of (sky, image)
        In the order of their names; empty where there is no FITS file.

    Raises
    ------
    InputError
        Names the file that would be left out or misunderstood: another name, no partner, not a FITS image,
        another shape or pixel size than its sky, or a unit that is not a brightness; or where there is a
        library of psfs, too.
    """
    if (folder / "psfs.npz").is_file():
        raise InputError("holds images and psfs.npz", "give a folder with one of the two", folder)
    found: dict[str, dict[str, Path]] = {}
    for path in images_in(folder):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise InputError("has a name that is not used for training", f"the names are {NAMES}", path)
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
            image = open_image(path)
            if image.shape != sky.shape or not np.isclose(image.grid.cell, sky.grid.cell, rtol=1e-3):
                raise InputError("differs from its sky in shape or pixel size", "give both on one grid", path)
            if product_of(path) in WITH_BEAM:
                image.require_beam()
            surface_brightness(image)
            pairs.append((files["sky"], path))
    return pairs


def product_of(path: Path) -> str:
    """Which of `PRODUCTS` a file holds, by its name."""
    return path.name.removesuffix(".fits").rpartition("_")[2]


def primary_beam_of(sky: Path) -> Path | None:
    """The primary beam of a sky's images, its own or that of all; the sky itself has none."""
    corrected = parameters_of(sky.parent).get("pbcor")
    return None if corrected else beside(sky.parent, sky.name.removesuffix("_sky.fits"), "pb")


class StoredImages(DenoiserTask):
    """Tiles of ``NNNN_noise.fits`` and ``NNNN_dirty.fits`` with ``NNNN_sky.fits`` as truth.

    Parameters
    ----------
    network : torch.nn.Module
    folder : pathlib.Path
    settings : UNetSettings

    Raises
    ------
    InputError
        Where there are fewer than two skies, a file cannot be used (`stored_pairs`), or an image is smaller
        than a tile.
    """

    def __init__(self, network: nn.Module, folder: Path, settings: UNetSettings) -> None:
        super().__init__(network, settings)
        self.pairs = stored_pairs(folder, ("noise", "dirty"))
        skies = sorted({sky for sky, _ in self.pairs})
        if len(skies) < 2:
            raise InputError("has fewer than two skies to train on", "simulate more with -n", folder)
        held = set(skies[-max(1, int(len(skies) * VALIDATION_SHARE)) :])
        self.train = [p for p in self.pairs if p[0] not in held]
        self.held = [p for p in self.pairs if p[0] in held]
        self.load = lru_cache(maxsize=KEPT)(_load)
        if min(self.load(*self.pairs[0])[0].shape) < settings.tile:
            raise InputError(
                f"its images are smaller than a tile of {settings.tile}", "give --set tile=…", folder
            )

    def batch(self, rng: np.random.Generator, size: int, held: bool = False) -> Batch:
        """Draw tiles of the stored images. See `DenoiserTask.batch`."""
        pairs, parts, tile = self.held if held else self.train, [], self.settings.tile
        for _ in range(size):
            image, target, beam = self.load(*pairs[rng.integers(len(pairs))])
            y, x = (int(rng.integers(n - tile + 1)) for n in image.shape)
            cut = slice(y, y + tile), slice(x, x + tile)
            parts.append((image[cut], target[cut], beam))
        image, target, beam = (np.stack(p) for p in zip(*parts, strict=True))
        seen = np.isfinite(image)
        planes = {"image": np.where(seen, image, 0), "weight": seen, "target": np.where(seen, target, 0)}
        batch = {k: torch.from_numpy(v[:, None].astype(np.float32)) for k, v in planes.items()}
        return batch | {"beam": torch.from_numpy(beam)}


def _load(sky_file: Path, observed_file: Path) -> Example:
    """Image, and truth at its resolution, over the noise; and the beam as networks take it."""
    sky, observed = open_image(sky_file), open_image(observed_file)
    image = observed.data * np.float32(surface_brightness(observed))
    truth = np.nan_to_num(sky.data).astype(float) * surface_brightness(sky)
    beam = None
    if product_of(observed_file) in WITH_BEAM:
        pb = primary_beam_of(sky_file)
        if pb is not None:
            truth = truth * np.nan_to_num(open_image(pb).data)
        beam = observed.require_beam()[0] / [observed.grid.cell, observed.grid.cell, 1.0]
        transform = gaussian_transform(*frequencies_2d(*truth.shape), 0.0, 0.0, *beam).real
        truth = np.fft.irfft2(np.fft.rfft2(truth) * transform, s=truth.shape)
    rms = robust_sigma(image - truth)
    return (image / rms).astype(np.float32), (truth / rms).astype(np.float32), describe_beam(beam)
