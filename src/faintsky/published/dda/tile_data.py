"""Pairs of tiles, of true skies and of what was made of them, from a folder or from a simulation.

Gheller & Vazza (2021), Sections 3.2 and 4: images of 2000 x 2000 pixels are scaled (`LogScale`) and cut into
tiles without overlap; a remainder at the far edges is left out. All images are brought to Jy/arcsec2.

Tiles are held in 16 bits, steps of 0.02 per cent of a brightness over six decades.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.beams import beam_pixels
from faintsky.errors import InputError
from faintsky.io import open_image
from faintsky.preparing import surface_brightness
from faintsky.published.dda.denoise import PRODUCTS, WITH_BEAM
from faintsky.published.dda.log_scale import LogScale
from faintsky.simulating.lofar_compact import read_compact
from faintsky.training.stored_pairs import compact_files, pb_corrected, primary_beam_of, stored_pairs

Array32 = NDArray[np.float32]
Coded = NDArray[np.uint16]
Progress = Callable[[int, int, str], None]

STEPS = 65_535
VALIDATION_SHARE = 0.1
"""Of the skies, the last ones; at least one."""
SEED = 7_000_000
"""What is added to a run's seed for its simulations, so that nothing else has these skies."""


@dataclass(frozen=True)
class Tiles:
    """Pairs of tiles, coded, with the limits that their images were scaled by.

    Parameters
    ----------
    image, target : array
        ``[tile, y, x]``: 0 to `STEPS` for 0 to 1.
    image_limits, target_limits : array
        Of `LogScale.limits`, ``[tile, 2]``.
    """

    image: Coded
    target: Coded
    image_limits: NDArray[np.float64]
    target_limits: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.image)

    def take(self, pick: Any) -> Tiles:
        """Some of them."""
        return Tiles(self.image[pick], self.target[pick], self.image_limits[pick], self.target_limits[pick])


@dataclass(frozen=True)
class TileSource:
    """Where tiles come from; equal ones give equal tiles.

    Parameters
    ----------
    data : pathlib.Path or None
        A folder of ``faintsky simulate lofar``; else
    preset : str
        what is simulated,
    fields, size : int
        so many images of so many pixels a side,
    seed : int
        of that seed and `SEED`.
    product : str
        One of `PRODUCTS`.
    tile : int
        Side of the tiles.
    tiles : int
        Training tiles, chosen at random; 0 for all.
    scale : LogScale
    """

    data: Path | None
    preset: str
    fields: int
    size: int
    seed: int
    product: str
    tile: int
    tiles: int
    scale: LogScale


@dataclass(frozen=True)
class TileData:
    """Tiles for training and validation.

    Parameters
    ----------
    train, held : Tiles
    cell : float
        Of their images [arcsec]; 0 where these differ.
    source : TileSource
    """

    train: Tiles
    held: Tiles
    cell: float
    source: TileSource


_kept: dict[TileSource, TileData] = {}
"""The last ones made: a study of hyperparameters trains on the same many times."""


def check_product(product: str) -> None:
    """Refuse, as an `InputError`, what is no product of `faintsky simulate lofar` that is denoised."""
    if product not in PRODUCTS:
        raise InputError(f"no product {product!r}", f"choose one of {', '.join(PRODUCTS)}")


def make_tiles(source: TileSource, progress: Progress | None = None) -> TileData:
    """Read or simulate images and cut them.

    Raises
    ------
    InputError
        For an unknown product, fewer than two skies, images in another unit or smaller than a tile, or a
        product that the preset has not.
    """
    check_product(source.product)
    if source in _kept:
        return _kept[source]
    _kept.clear()
    pairs = _simulated(source, progress) if source.data is None else _stored(source, progress)
    parts: list[Tiles] = []
    cells: set[float] = set()
    for image, sky, cell in pairs:
        parts.append(_cut(image, sky, source))
        cells.add(round(cell, 6))
    if len(parts) < 2:
        raise InputError(
            f"{len(parts)} skies with a {source.product} image are too few to train on",
            "give two at least", source.data,
        )  # fmt: skip
    last = max(1, int(len(parts) * VALIDATION_SHARE))
    train, held = _joined(parts[:-last]), _joined(parts[-last:])
    if not len(train) or not len(held):
        raise InputError("all of its images are blank", "give images with data", source.data)
    if 0 < source.tiles < len(train):
        rng = np.random.default_rng([source.seed, source.tiles])
        train = train.take(np.sort(rng.permutation(len(train))[: source.tiles]))
    _kept[source] = TileData(train, held, cells.pop() if len(cells) == 1 else 0.0, source)
    return _kept[source]


def _joined(parts: list[Tiles]) -> Tiles:
    names = ("image", "target", "image_limits", "target_limits")
    return Tiles(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _cut(image: Array32, sky: Array32, source: TileSource) -> Tiles:
    tile, scale = source.tile, source.scale
    if min(image.shape) < tile:
        raise InputError(f"its images are smaller than a tile of {tile}", "give --set tile=…", source.data)
    sky = np.where(np.isfinite(image), sky, np.float32(np.nan))
    coded, limits = [], []
    for plane in (image, sky):
        limits.append(scale.limits(plane))
        values = np.rint(STEPS * scale.encode(plane, limits[-1])).astype(np.uint16)
        n_y, n_x = (n // tile for n in values.shape)
        cut = values[: n_y * tile, : n_x * tile].reshape(n_y, tile, n_x, tile)
        coded.append(cut.transpose(0, 2, 1, 3).reshape(-1, tile, tile))
    blank = np.isnan(image)[: n_y * tile, : n_x * tile].reshape(n_y, tile, n_x, tile)
    keep = ~blank.all(axis=(1, 3)).ravel()
    ends = (np.broadcast_to(v, (int(keep.sum()), 2)) for v in limits)
    return Tiles(coded[0][keep], coded[1][keep], *ends)


def _simulated(source: TileSource, progress: Progress | None) -> Iterator[tuple[Array32, Array32, float]]:
    from faintsky.simulating.lofar import simulate_fields

    if source.product == "clean":
        raise InputError("Clean images are not simulated as training goes", "give --data with clean images")
    products = ("sky", "dirty" if source.product == "dirty" else "noise")
    seen = simulate_fields(
        source.fields, seed=SEED + source.seed, preset=source.preset, size=source.size, quick=True,
        products=products,
    )  # fmt: skip
    for done, field in enumerate(seen, start=1):
        cell, image, sky = field.telescope.instrument.grid.cell, field.noisy, field.sky
        if source.product == "dirty":
            area = float(beam_pixels(field.beam, 1.0)[0])
            image, sky = field.dirty / np.float32(area), sky * field.telescope.pb
        yield (sky if source.product == "sky" else image), sky, cell
        if progress is not None:
            progress(done, source.fields, "skies")


def _stored(source: TileSource, progress: Progress | None) -> Iterator[tuple[Array32, Array32, float]]:
    """FITS files where there are any, else compact data; none of either is left out."""
    folder, product = source.data, source.product
    assert folder is not None
    compact = compact_files(folder)
    pairs = [] if compact else stored_pairs(folder, (product,))
    for done, (sky, image) in enumerate(pairs, start=1):
        true, seen = (open_image(p) for p in (sky, image))
        planes = [one.data * np.float32(surface_brightness(one)) for one in (seen, true)]
        pb = primary_beam_of(sky) if product in WITH_BEAM else None
        gain = np.float32(1) if pb is None else np.nan_to_num(open_image(pb).data)
        yield planes[0], planes[1] * gain, seen.grid.cell
        if progress is not None:
            progress(done, len(pairs), "skies")
    for done, file in enumerate(compact, start=1):
        kept = read_compact(file)
        if product not in kept:
            raise InputError(f"holds no {product} image", f"simulate with --products compact,{product}", file)
        image, truth = kept[product], kept["sky"]
        if product in WITH_BEAM:
            image = image / np.float32(beam_pixels(kept["beam"], 1.0)[0])
            truth = truth if pb_corrected(folder) else truth * np.nan_to_num(kept["pb"])
        yield image, truth, kept["cell"]
        if progress is not None:
            progress(done, len(compact), "skies")
