"""The denoiser's task on stored data: a folder of ``faintsky simulate lofar``, or one of the same files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from faintsky.errors import InputError
from faintsky.io import open_image
from faintsky.preparing import surface_brightness
from faintsky.simulating.psf_library import PsfLibrary
from faintsky.source_model import frequencies_2d, gaussian_transform
from faintsky.training.diffuse_images import DiffuseImages
from faintsky.training.fit import Batch
from faintsky.training.stored_pairs import WITH_BEAM, primary_beam_of, product_of, stored_pairs

Array32 = NDArray[np.float32]
Example = tuple[Array32, Array32, NDArray[np.float32]]

KEPT = 16
"""Images held in memory."""
VALIDATION_SHARE = 0.1
"""Of the images, the last ones; at least one."""


class StoredImages(DiffuseImages):
    """Tiles of ``NNNN_noise.fits`` and ``NNNN_dirty.fits`` with ``NNNN_sky.fits`` for the truth.

    Parameters
    ----------
    network : torch.nn.Module
    folder : pathlib.Path
    tile, blur
        As in `DiffuseImages`.

    Raises
    ------
    InputError
        Where there are fewer than two skies, a file would be left out or is no such image (`stored_pairs`),
        or an image is smaller than a tile.
    """

    def __init__(self, network: nn.Module, folder: Path, *, tile: int = 192, blur: float = 0.3) -> None:
        none = np.zeros((0, 1, 1), dtype=np.float32)
        super().__init__(network, PsfLibrary(none, none, np.zeros((0, 3)), []), tile=tile, blur=blur)
        self.folder = folder
        self.pairs = stored_pairs(folder, ("noise", "dirty"))
        skies = sorted({sky for sky, _ in self.pairs})
        if len(skies) < 2:
            raise InputError("has fewer than two skies to train on", "simulate more with -n", folder)
        held = set(skies[-max(1, int(len(skies) * VALIDATION_SHARE)) :])
        self.train = [p for p in self.pairs if p[0] not in held]
        self.held = [p for p in self.pairs if p[0] in held]
        self.load = lru_cache(maxsize=KEPT)(_load)
        if min(self.load(*self.pairs[0])[0].shape) < tile:
            raise InputError(f"its images are smaller than a tile of {tile}", "give --set tile=…", folder)

    def batch(self, rng: np.random.Generator, size: int, held: bool = False) -> Batch:
        """``size`` tiles of training images, or of those held out."""
        return self._tiles(rng, size, self.held if held else self.train)

    def _tiles(self, rng: np.random.Generator, size: int, pairs: list[tuple[Path, Path]]) -> Batch:
        parts = []
        for _ in range(size):
            image, target, beam = self.load(*pairs[rng.integers(len(pairs))])
            y, x = (int(rng.integers(n - self.tile + 1)) for n in image.shape)
            cut = (slice(y, y + self.tile), slice(x, x + self.tile))
            parts.append((image[cut], target[cut], beam))
        image, target, beam = (np.stack(p) for p in zip(*parts, strict=True))
        seen = np.isfinite(image)
        planes = {"image": np.where(seen, image, 0), "weight": seen, "target": np.where(seen, target, 0)}
        batch = {k: torch.from_numpy(v[:, None].astype(np.float32)) for k, v in planes.items()}
        return batch | {"beam": torch.from_numpy(beam)}


def _load(sky_file: Path, observed_file: Path) -> Example:
    """Image and truth at its resolution, both over the noise, and the beam as networks take it."""
    from faintsky.preparing import robust_sigma

    sky, observed = open_image(sky_file), open_image(observed_file)
    image = observed.data * np.float32(surface_brightness(observed))
    truth = np.nan_to_num(sky.data).astype(float) * surface_brightness(sky)
    beam = np.zeros(4, dtype=np.float32)
    if product_of(observed_file) in WITH_BEAM:
        pb = primary_beam_of(sky_file)
        if pb is not None:
            truth = truth * np.nan_to_num(open_image(pb).data)
        major, minor = observed.require_beam()[0, :2] / observed.grid.cell
        pa = float(observed.require_beam()[0, 2])
        fx, fy = frequencies_2d(*truth.shape)
        transform = gaussian_transform(fx, fy, 0.0, 0.0, major, minor, pa).real
        truth = np.fft.irfft2(np.fft.rfft2(truth) * transform, s=truth.shape)
        twice = np.deg2rad(2 * pa)
        beam = np.array([major, minor, np.sin(twice), np.cos(twice)], dtype=np.float32)
    rms = robust_sigma(image - truth)
    return (image / rms).astype(np.float32), (truth / rms).astype(np.float32), beam
