"""Maps and tables of an image from its list of sources, tile by tile and region by region."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from faintsky.arrays import Array32, Index, Labels
from faintsky.blocks import Block, Maps, Pieces, connected_labels, merged_pieces, pieces_of
from faintsky.catalog import shift_pixels
from faintsky.denoising import region_catalog
from faintsky.detection.diffuse import joint_reliability, measure_again, split_at_saddles
from faintsky.detection.image_catalogue import boxes_of, build_tables, label_objects
from faintsky.detection.judging import DiffuseRegion, Judged
from faintsky.detection.sources import Sources, add_sources
from faintsky.detection.tiles import SearchPlan
from faintsky.preparing import PreparedImage, PrimaryBeam


@dataclass
class TileTask:
    """What to paint in a tile.

    Attributes
    ----------
    number : int
        Of the tile.
    window : tuple of slice
        The part of the image with its write region and the objects that it owns.
    sources : Sources
        Of all objects that reach into the window.
    members : list of array
        Their components.
    ids : array of int
        Their catalogue numbers, ``[object]``.
    owned : array of int
        Which of the objects the tile owns.
    values : dict of array
        Of each component, as `build_tables` takes them.
    """

    number: int
    window: tuple[slice, slice]
    sources: Sources
    members: list[Index]
    ids: Index
    owned: Index
    values: dict[str, Any]


@dataclass
class Painted:
    """Result of painting: tables of the objects that the tile owns, and what it shows.

    Attributes
    ----------
    number : int
    catalog, components : Table
    pieces : Pieces
        Of all objects and regions; those that touch are one piece.
    first : array of int
        ``[n, 3]``: number of each object or region, its first pixel in the image, counted row by row, and its
        piece.
    shown : dict of array
        Maps of every n-th pixel or of averages; empty where the image is one tile.
    """

    number: int
    catalog: Table
    components: Table
    pieces: Pieces
    first: Index
    shown: dict[str, NDArray[Any]]


def paint_tasks(plan: SearchPlan, judged: Judged, ids: Index) -> list[TileTask]:
    """What to paint in each tile.

    Parameters
    ----------
    plan : SearchPlan
    judged : Judged
    ids : array of int
        Catalogue numbers of the objects, in their order.

    Returns
    -------
    list of TileTask
    """
    boxes = boxes_of(judged.sources, judged.members)
    owner = np.array([judged.tile[rows[0]] for rows in judged.members], np.intp)
    n_y, n_x = plan.image.shape[1:]
    tasks = []
    for number, block in enumerate(plan.blocks):
        its = np.flatnonzero(owner == number)
        write = [s.start for s in block.write], [s.stop for s in block.write]
        low = np.minimum(write[0], boxes[its, :2].min(axis=0, initial=n_y + n_x)) - 1
        high = np.maximum(write[1], boxes[its, 2:].max(axis=0, initial=0)) + 1
        low, high = np.maximum(low, 0), np.minimum(high, [n_y, n_x])
        window = slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
        # models reach farther than masks
        wide = (boxes[:, 2:] - boxes[:, :2]) // 4 + 2
        near = np.flatnonzero(((boxes[:, 2:] + wide > low) & (boxes[:, :2] - wide < high)).all(axis=1))
        reaching = [judged.members[k] for k in near]
        sources, members, values = _of_objects(reaching, judged.sources, judged.values)
        owned = np.flatnonzero(np.isin(near, its))
        tasks.append(TileTask(number, window, sources, members, ids[near], owned, values))
    return tasks


def _of_objects(
    members: Sequence[Index], sources: Sources, values: Mapping[str, Any]
) -> tuple[Sources, list[Index], dict[str, Any]]:
    """The components of some objects: sources, their rows for each object, and the values."""
    rows = np.concatenate(members) if members else np.zeros(0, np.intp)
    ends = np.cumsum([0, *(len(m) for m in members)])
    own = {k: tuple(x[rows] for x in v) if isinstance(v, tuple) else v[rows] for k, v in values.items()}
    return sources.take(rows), [np.arange(a, b) for a, b in itertools.pairwise(ends)], own


def paint(
    plan: SearchPlan,
    maps: Maps,
    prepared: PreparedImage,
    in_data: bool,
    regions: Index | None,
    task: TileTask,
) -> Painted:
    """Write a tile into the maps, and make the tables of the objects that it owns.

    The maps are ``mask`` and ``model``, ``mask_diffuse`` with diffuse emission, ``residual`` in shared maps.

    Parameters
    ----------
    plan : SearchPlan
    maps : Maps
    prepared : PreparedImage
        Beam and units.
    in_data : bool
        Whether the primary beam is in the data.
    regions : array of int or None
        Catalogue numbers of the regions of the map ``parts``, 0 for none; None where the network was not run.
    task : TileTask

    Returns
    -------
    Painted
    """
    block, window, origin = plan.blocks[task.number], task.window, tuple(s.start for s in task.window)
    part = plan.image if plan.whole else plan.image.part(window)
    noise = maps.read("noise", window).astype(float)
    here = replace(prepared, valid=noise > 0, rms=noise, data=noise)
    labels = label_objects(task.sources, task.members, noise, (origin[0], origin[1]))
    sources, members, values = _of_objects([task.members[k] for k in task.owned], task.sources, task.values)
    catalog, components = build_tables(
        part, here, sources.moved(-origin[1], -origin[0]), members, values, noise, labels, task.owned + 1,
        task.ids[task.owned], PrimaryBeam(part, in_data=in_data),
    )  # fmt: skip
    for table in (catalog, components):
        for name, shift in (("x", origin[1]), ("y", origin[0])):
            for column in (name, f"{name}_min", f"{name}_max"):
                if column in table.colnames and len(table):
                    table[column][table[column] >= 0 if column != name else slice(None)] += shift
    core = tuple(slice(w.start - o, w.stop - o) for w, o in zip(block.write, origin))
    mask = np.concatenate([[0], task.ids])[labels[core[0], core[1]]].astype(np.int32)
    model = np.zeros(mask.shape)
    add_sources(model, task.sources.values, origin=(block.write[0].start, block.write[1].start))
    if regions is not None:
        inside = regions[maps.read("parts", block.write)] if "parts" in maps.names else 0 * mask
        mask = np.where(mask > 0, mask, inside).astype(np.int32)
        maps.write("mask_diffuse", block.write, inside.astype(np.int32))
        model += np.where(inside > 0, maps.read("diffuse", block.write), 0)
    maps.write("mask", block.write, mask)
    maps.write("model", block.write, model)
    shown: dict[str, NDArray[Any]] = {}
    if not plan.whole:
        data = plan.image.taken(block.write)[0]
        if maps.shared:
            maps.write("residual", block.write, data - model.astype(np.float32))
        few = (slice(None, None, plan.thin),) * 2
        level = np.where(here.valid, noise, np.nan)[core[0], core[1]]
        shown = {"noise": level[few].astype(np.float32), "mask": mask[few]}
        maps_shown = {"data": data, "model": model, "residual": data - model}
        if plan.always and regions is not None:
            maps_shown |= {name: maps.read(name, block.write) for name in ("denoised", "uncertainty")}
        shown |= {name: _averaged(values, plan.thin) for name, values in maps_shown.items()}
    pieces = connected_labels(mask > 0)
    return Painted(
        task.number, catalog, components, pieces_of(pieces, block, plan.image.shape[2]),
        _firsts(mask, pieces, block, plan.image.shape[2], catalog), shown,
    )  # fmt: skip


def _firsts(mask: Labels, pieces: Labels, block: Block, width: int, table: Table) -> Index:
    """See `Painted`; objects without pixels in the mask are placed at their centre."""
    flat = mask.ravel()
    ids, at = np.unique(flat, return_index=True)
    seen = ids > 0
    ids, at = ids[seen], at[seen]
    more = []
    for row in table[~np.isin(np.asarray(table["id"]), ids)] if len(table) else []:
        y, x = round(row["y"]) - block.write[0].start, round(row["x"]) - block.write[1].start
        if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]:
            more.append((int(row["id"]), y * mask.shape[1] + x))
    ids, at = np.append(ids, [k for k, _ in more]), np.append(at, [p for _, p in more])
    ids, at = ids.astype(np.intp), at.astype(np.intp)
    y, x = np.divmod(at, mask.shape[1])
    place = (y + block.write[0].start) * width + x + block.write[1].start
    return np.stack([ids, place, pieces.ravel()[at]], axis=1)


def islands_of(plan: SearchPlan, painted: Sequence[Painted], count: int) -> Index:
    """Number of the connected area that each object or region begins in.

    Parameters
    ----------
    plan : SearchPlan
    painted : sequence of Painted
        All tiles.
    count : int
        Objects and regions.

    Returns
    -------
    array of int
        ``[count + 1]``, by catalogue number.
    """
    numbers = merged_pieces([p.pieces for p in painted], [plan.blocks[p.number] for p in painted])
    rows = np.concatenate(
        [np.column_stack([p.first[:, :2], n[p.first[:, 2]]]) for p, n in zip(painted, numbers)]
    ).astype(np.intp)
    rows = rows[np.argsort(rows[:, 1], kind="stable")[::-1]]
    out = np.zeros(count + 1, np.intp)
    out[rows[:, 0]] = rows[:, 2]
    return out


def _averaged(values: NDArray[Any], thin: int) -> Array32:
    """Means over squares of ``thin`` x ``thin`` pixels."""
    good, pads = np.isfinite(values), [(0, -n % thin) for n in values.shape]
    total, number = (
        np.pad(a, pads).reshape((values.shape[0] + pads[0][1]) // thin, thin, -1, thin).sum(axis=(1, 3))
        for a in (np.where(good, values, 0.0), good.astype(float))
    )
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)


def region_task(judged: Judged, region: DiffuseRegion) -> tuple[DiffuseRegion, Sources]:
    """A region and the compact sources that reach into it."""
    v = judged.sources.values
    half = 4.5 * np.sqrt(np.maximum(v[:, 3], v[:, 5])) + 2
    y0, x0, y1, x1 = region.box
    near = (v[:, 1] + half > x0) & (v[:, 1] - half < x1) & (v[:, 2] + half > y0) & (v[:, 2] - half < y1)
    bare = replace(region.tile, sources=Sources(np.zeros((0, 6))), columns={}, prepared=None)
    return replace(region, tile=bare), judged.sources.take(near)


def measure_region(
    plan: SearchPlan, maps: Maps, prepared: PreparedImage, in_data: bool, task: tuple[DiffuseRegion, Sources]
) -> tuple[Table, tuple[slice, slice], Labels]:
    """Cut a region at its saddles, and measure the parts.

    Parameters
    ----------
    plan : SearchPlan
    maps : Maps
    prepared : PreparedImage
        Beam and units.
    in_data : bool
        Whether the primary beam is in the data.
    task : tuple of DiffuseRegion and Sources
        See `region_task`.

    Returns
    -------
    rows : Table
        Of the catalogue, one for each part.
    window : tuple of slice
        Part of the image ``(y, x)`` that holds the region.
    labels : array of int
        Numbers of the rows in that window.
    """
    region, near = task
    assert region.tile.regions is not None
    n_y, n_x = plan.image.shape[1:]
    y0, x0, y1, x1 = (int(v) for v in region.box)
    window = slice(max(y0 - 1, 0), min(y1 + 1, n_y)), slice(max(x0 - 1, 0), min(x1 + 1, n_x))
    origin = (window[0].start, window[1].start)
    part = plan.image.part(window)
    mean, sigma, rms, snr, clear = (
        maps.read(f"diffuse{k}", window) for k in ("", "_sigma", "_rms", "_snr", "_clear")
    )
    noise = maps.read("noise", window)
    inside = np.isin(maps.read("pieces", window), region.codes).astype(np.int32)
    labels = split_at_saddles(inside, snr, clear)
    valid = noise > 0
    seen = replace(prepared, data=mean, valid=valid, rms=np.where(valid, rms, np.nan).astype(np.float32))
    beam = PrimaryBeam(part, in_data=in_data)
    sidelobes = maps.read("sidelobes", window) if "sidelobes" in maps.names else None
    table = region_catalog(part, seen, mean, sigma, labels, region.tile.regions.settings, sidelobes, beam)
    alone = np.concatenate([[0.0], table["reliability"]])
    table["reliability"] = joint_reliability(alone, clear, labels)[1:]
    data = plan.image.taken(window)[0] if not plan.whole else prepared.data[window]
    rest = np.where(valid, np.nan_to_num(data), 0).astype(float)
    add_sources(rest, near.values, -1.0, origin)
    kernel, area = region.tile.regions.kernel, prepared.beam_area
    measure_again(table, beam.gain(), labels, mean, rest, noise.astype(float), kernel, area)
    shift_pixels(table, origin)
    return table, window, labels
