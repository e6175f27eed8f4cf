"""The maps of a cube, tile by tile, from the list of its sources; and the maps for its report."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from faintsky.arrays import Array32, Labels
from faintsky.blocks import Maps
from faintsky.catalog import mask_extents
from faintsky.detection.cube_judging import Galaxy
from faintsky.detection.cube_tiles import Box, CubePlan, SeenCube, look_again, moved, origin_of
from faintsky.detection.fits import LineSource
from faintsky.detection.moments import MomentSums, moment_sums, strongest
from faintsky.detection.objects import label_mask
from faintsky.detection.pursuit import Component


@dataclass
class PaintTask:
    """What to paint in a tile.

    Attributes
    ----------
    seen : SeenCube
        Result of the tile's search.
    ids : list of int
        Of the sources that reach into it.
    members : list of list of LineSource
        Of each: see `faintsky.detection.cube_judging.MeasuredTile`.
    owned : list of bool
        Whether the tile measures its mask.
    galaxies : list of tuple
        Number, and galaxy.
    """

    seen: SeenCube
    ids: list[int] = field(default_factory=list)
    members: list[list[LineSource]] = field(default_factory=list)
    owned: list[bool] = field(default_factory=list)
    galaxies: list[tuple[int, Galaxy]] = field(default_factory=list)


@dataclass
class PaintedTile:
    """Result of painting, besides the maps.

    Attributes
    ----------
    number : int
        Of the tile.
    moments : MomentSums
        Of the voxels that it writes.
    extents : dict
        ``las`` and ``area`` of the sources that it owns, by their numbers.
    shown : dict of array
        For the report, ``[y, x]``: strongest S/N with and without the sources, and sum of the line in the
        mask.
    """

    number: int
    moments: MomentSums
    extents: dict[int, tuple[float, float]]
    shown: dict[str, Array32]


def paint_tile(plan: CubePlan, maps: Maps, task: PaintTask) -> PaintedTile:
    """Write ``mask``, ``model``, ``residual`` and ``line`` of a tile into the maps.

    ``line`` is the data without continuum [Jy/beam]; the others are in the unit of the file.

    Parameters
    ----------
    plan : CubePlan
    maps : Maps
        Where to write.
    task : PaintTask

    Returns
    -------
    PaintedTile
    """
    number = task.seen.number
    block = plan.blocks[number]
    part, prepared, pursuit = look_again(plan, task.seen)
    start = origin_of(block.read)
    groups: list[list[int]] = []
    nothing = torch.zeros(0)
    for sources in task.members:
        group = []
        for s in sources:
            here = moved(s, [-v for v in start])
            here = replace(here, amplitude=here.amplitude / prepared.gain(here.x, here.y))
            c = Component(here, pursuit.imager.image(here), nothing, nothing, nothing)
            group.append(len(pursuit.components))
            pursuit.components.append(c)
            pursuit.subtract(c, 1.0)
        groups.append(group)
    if groups:
        labels = label_mask(pursuit.components, groups, prepared, pursuit.data)
        labels = np.append(0, task.ids).astype(np.int32)[labels]
        model = prepared.restored(pursuit.model())
    else:
        labels, model = np.zeros(part.shape, np.int32), np.zeros(part.shape, np.float32)
    own = [k for k, mine in zip(task.ids, task.owned) if mine]
    rows = [task.members[task.ids.index(k)] for k in own]
    places = np.array([[m[0].x - start[2], m[0].y - start[1]] for m in rows]).reshape(-1, 2)
    extents = mask_extents(labels, own, part.frame(*places.T))
    for k, galaxy in task.galaxies:
        _put(galaxy, k, block.read, labels, model)
    factors = np.broadcast_to(part.working_factors(), (part.shape[0],)).astype(np.float32)
    line = prepared.restored(prepared.line)
    inner = block.inner
    seen_as = (model / factors[:, None, None])[inner]
    maps.write("mask", block.write, labels[inner])
    maps.write("model", block.write, seen_as)
    if maps.shared:
        maps.write("residual", block.write, part.cube[inner] - seen_as)
    maps.write("line", block.write, line[inner])
    shown = {
        "snr": strongest(prepared.line, prepared.sigma, inner, signed=False),
        "rest": strongest(prepared.line - prepared.flat(model), prepared.sigma, inner, signed=True),
        "moment": np.where(labels[inner] > 0, line[inner], 0).sum(axis=0),
    }
    return PaintedTile(
        number, moment_sums(plan.cube, line[inner], labels[inner] > 0, block.write[0]),
        dict(zip(own, zip(map(float, extents["las"]), map(float, extents["area"])))), shown,
    )  # fmt: skip


def blank_tile(plan: CubePlan, maps: Maps, number: int) -> PaintedTile:
    """Write a tile without data: its residual is the data of the file.

    Parameters
    ----------
    plan : CubePlan
    maps : Maps
        Where to write.
    number : int
        Of the tile.

    Returns
    -------
    PaintedTile
    """
    write = plan.blocks[number].write
    if maps.shared:
        maps.write("residual", write, plan.cube.taken(write))
    shape = tuple(s.stop - s.start for s in write[1:])
    shown = {name: np.zeros(shape, np.float32) for name in ("snr", "rest", "moment")}
    return PaintedTile(number, MomentSums.empty(shape), {}, shown)


def _put(galaxy: Galaxy, number: int, read: Box, labels: Labels, model: Array32) -> None:
    """Add the part of a galaxy inside a tile to the tile's maps."""
    r = galaxy.whole
    common = [(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(r.box, read)]
    if any(low >= high for low, high in common):
        return
    there, here = (
        tuple(slice(low - s.start, high - s.start) for (low, high), s in zip(common, box))
        for box in (read, r.box)
    )
    labels[there][r.mask[here]] = number
    model[there] += np.where(r.mask[here], r.line[here], 0)


def reaches(plan: CubePlan, members: Sequence[LineSource], beam_pixels: float, number: int) -> bool:
    """Whether a source extends into the part that a tile reads.

    Parameters
    ----------
    plan : CubePlan
    members : sequence of LineSource
        The source's components, in pixels of the cube.
    beam_pixels : float
        FWHM of the beam [pixel].
    number : int
        Of the tile.

    Returns
    -------
    bool
    """
    read = plan.blocks[number].read
    for s in members:
        wide = 2.0 * float(np.hypot(s.axes()[0], beam_pixels)) + 2
        ends = zip((s.z, s.y, s.x), (2.0 * s.fwhm_z + 2, wide, wide), read)
        if all(r.start - far < p < r.stop + far for p, far, r in ends):
            return True
    return False
