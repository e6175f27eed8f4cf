"""The line emitters of a cube of any size: searched for tile by tile, judged together, catalogued."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from faintsky.arrays import Array32, Index
from faintsky.blocks import Maps, made_once
from faintsky.catalog import shift_pixels
from faintsky.detection.catalogue import catalog_meta
from faintsky.detection.counts import NoisePeaks
from faintsky.detection.cube_judging import (
    Galaxy,
    MeasuredTile,
    Sky,
    doubtful_galaxies,
    galaxies_of,
    galaxy_tables,
    measure_tile,
    once,
    rate,
)
from faintsky.detection.cube_painting import PaintedTile, PaintTask, blank_tile, paint_tile, reaches
from faintsky.detection.cube_tiles import Box, CubePlan, SeenCube, bricks_of, look_at, plan_cube
from faintsky.detection.find import Detections, all_candidates, needs_of_search, notes_of
from faintsky.detection.fits import LineSource
from faintsky.detection.moments import MomentSums
from faintsky.image import RadioCube
from faintsky.models import Model
from faintsky.options import RELIABILITY, Progress
from faintsky.preparing import PrimaryBeam
from faintsky.system import BYTES_OF_TABLES, LOCAL, Needs, Workers, choose_device

SEARCHING = 8
"""Time to search a tile over the time to measure, or to paint it."""
SHOWN_CHANNELS = 512
"""Channels on either side of a source that the report may show."""
SAMPLE = (64, 256, 256)
"""Size of the middle part in which the report checks the residual: channels, rows, columns."""


@dataclass(kw_only=True)
class TiledDetections(Detections):
    """What was found in a cube of several tiles; arrays of voxels are in the maps.

    Attributes
    ----------
    cube : RadioCube
    maps : Maps
        ``mask``, ``model``, ``line`` and, where they are shared, ``residual``.
    sky : Sky
        Noise and continuum of the whole image.
    lost : list of str
        Parts of the file that could not be read.
    """

    cube: RadioCube
    maps: Maps
    sky: Sky
    lost: list[str] = field(default_factory=list)

    def about(self, cube: RadioCube, row: Any) -> tuple[RadioCube, Detections, Any]:
        """A part of the cube around a source, what was found in it, and the source's row there."""
        n_chan, n_y, n_x = cube.shape
        wide = float(np.nan_to_num(row["fwhm_maj"])) / cube.grid.cell
        half = int(4 * self.prepared.beam_pixels + 2 * wide) + 2
        z = int(np.clip(round(row["z"]), 0, n_chan - 1))
        box = (
            slice(max(z - SHOWN_CHANNELS, 0), min(z + SHOWN_CHANNELS, n_chan)),
            *(
                slice(
                    max(min(int(row[f"{k}_min"]), round(row[k]) - half), 0),
                    min(max(int(row[f"{k}_max"]), round(row[k]) + half) + 1, n),
                )
                for k, n in (("y", n_y), ("x", n_x))
            ),
        )
        table = self.catalog[self.catalog["id"] == row["id"]].copy()
        shift_pixels(table, [-s.start for s in box])
        return cube.part(box), self.seen_in(box, table), table[0]

    def seen_in(self, box: Box, table: Table) -> Detections:
        """What was found in a part of the cube, with the rows of `table`."""
        part, prepared = self.cube.part(box), self.sky.part(box)
        factors = np.broadcast_to(part.working_factors(), (part.shape[0],)).astype(np.float32)
        model = self.maps.read("model", box) * factors[:, None, None]
        prepared = replace(
            prepared, data=prepared.flat(np.nan_to_num(part.cube) * factors[:, None, None]),
            line=prepared.flat(self.maps.read("line", box)),
        )  # fmt: skip
        return Detections(
            table, self.maps.read("mask", box), model, prepared=prepared, noise=self.noise,
            candidates=self.candidates,
        )  # fmt: skip


def detect_cube(
    cube: RadioCube, model: Model, *, reliability: float = RELIABILITY, device: str = "auto",
    maps: Maps | None = None, jobs: int = 1, cluster: str = LOCAL, progress: Progress | None = None,
) -> TiledDetections:  # fmt: skip
    """Find and measure the line emitters (and absorbers) of a cube, tile by tile.

    Parameters
    ----------
    cube : RadioCube
        With its psf and primary beam where they are known.
    model : Model
        The matched filter's.
    reliability : float
        Lowest reliability of a source in the catalogue.
    device : {"auto", "cpu", "cuda"}
        Where PyTorch computes the filter bank.
    maps : Maps, optional
        Where to write the results: ``mask``, ``model``, ``line``, ``residual``; in memory by default.
    jobs : int, optional
        Processes that share the tiles; more than one needs maps in files.
    cluster : str, optional
        See `faintsky.system.run_tasks`.
    progress : callable, optional
        Called with steps done, steps in all, and a word.

    Raises
    ------
    InputError
        Where the cube cannot be used.
    """
    if progress is not None:
        progress(0, 1, "noise and continuum")
    plan = plan_cube(cube, model.settings, choose_device(device), reliability)
    maps = maps or Maps(cube.shape)
    done, total = 0, (SEARCHING + 2) * len(plan.blocks)
    if progress is not None:
        progress(0, total, "tiles searched")

    def told(word: str, steps: int) -> None:
        nonlocal done
        done += steps
        if progress is not None:
            progress(min(done, total), total, word)

    shares = (jobs, cluster) if maps.shared else (1, LOCAL)
    with Workers(*shares) as workers:
        seen: list[SeenCube] = workers.results(
            partial(_look, plan, maps), range(len(plan.blocks)), partial(told, "tiles searched", SEARCHING)
        )
        known = [s for s in seen if s.prepared is not None]
        noise, lines = rate(seen, plan)
        in_data = _primary_beam_in_data(plan, known)
        galaxies = galaxies_of(plan, seen)
        measured: list[MeasuredTile] = workers.results(
            partial(_measure, plan, maps, noise, in_data), known, partial(told, "tiles measured", 1)
        )
        sky = Sky.of(plan, {m.number: m.prepared for m in measured})
        beam_pixels = sky.first.beam_pixels
        kept = once(measured, beam_pixels)
        catalog, components, order = _tables(plan, measured, kept, galaxies, sky, noise, in_data)
        maps.begin("mask", "model", *(["residual"] if maps.shared else []))
        tasks = _paint_tasks(plan, seen, measured, kept, galaxies, order, beam_pixels)
        painted: list[PaintedTile] = workers.results(
            partial(_paint, plan, maps), tasks, partial(told, "tiles painted", 1)
        )
    candidates = all_candidates(lines + len(galaxies) + doubtful_galaxies(plan, seen), catalog)
    moments, shown = _together(plan, painted)
    for p in painted:
        for number, (las, area) in p.extents.items():
            catalog["las"][number - 1], catalog["area"][number - 1] = las, area
    prepared = sky.as_file(maps.whole("line"))
    shown["continuum"] = prepared.continuum.level
    found = TiledDetections(
        catalog, maps.whole("mask"), maps.whole("model"), notes=_notes(plan, seen, sky), prepared=prepared,
        noise=noise, candidates=candidates, components=components, shown=shown, moments=moments,
        cube=plan.cube, maps=maps, sky=sky, lost=list(dict.fromkeys(w for s in seen for w in s.lost)),
    )  # fmt: skip
    middle = tuple(
        slice(max((n - few) // 2, 0), min((n + few) // 2, n)) for n, few in zip(cube.shape, SAMPLE)
    )
    found.sample = found.seen_in(middle, catalog[:0])
    found.sample.corner = tuple(s.start for s in middle)
    return found


def _primary_beam_in_data(plan: CubePlan, seen: Sequence[SeenCube]) -> bool:
    sky = Sky.of(plan, {s.number: s.prepared for s in seen if s.prepared is not None})
    return PrimaryBeam(plan.cube, sky.relative, sky.valid).in_data


def _look(plan: CubePlan, maps: Maps, number: int) -> SeenCube:
    """See `look_at`."""
    return made_once(maps, number, partial(look_at, plan, number), plan.cube.lost)


def _measure(plan: CubePlan, maps: Maps, noise: NoisePeaks, in_data: bool, seen: SeenCube) -> MeasuredTile:
    """See `measure_tile`."""
    return made_once(maps, len(plan.blocks) + seen.number, partial(measure_tile, plan, seen, noise, in_data))


def _paint(plan: CubePlan, maps: Maps, task: PaintTask | int) -> PaintedTile:
    return blank_tile(plan, maps, task) if isinstance(task, int) else paint_tile(plan, maps, task)


def _tables(
    plan: CubePlan, measured: Sequence[MeasuredTile], kept: Sequence[tuple[int, int]],
    galaxies: Sequence[Galaxy], sky: Sky, noise: NoisePeaks, in_data: bool,
) -> tuple[Table, Table, Index]:  # fmt: skip
    """The catalogue, the components, and the numbers of the kept sources and of the galaxies."""

    from faintsky.catalog import make_components, make_table

    rows, parts = [], []
    for number, (k, row) in enumerate(kept):
        m = measured[k]
        assert m.catalog is not None
        assert m.components is not None
        rows.append(m.catalog[row : row + 1])
        own = m.components[m.components["id"] == m.catalog["id"][row]]
        own["id"] = number
        parts.append(own)
    for number, galaxy in enumerate(galaxies, start=len(kept)):
        row, own = galaxy_tables(plan, galaxy, sky, noise, in_data)
        own["id"] = number
        rows.append(row)
        parts.append(own)
    beam = PrimaryBeam(plan.cube, in_data=in_data)
    meta = catalog_meta(plan.cube, sky.first, beam, sky.sigma, noise)
    if not rows:
        nothing = {"snr_effective": np.zeros(0)}
        return make_table(nothing, meta=meta), make_components(nothing, meta=meta), np.zeros(0, np.intp)
    catalog = vstack(rows, metadata_conflicts="silent")
    components = vstack(parts, metadata_conflicts="silent")
    by_strength = np.argsort(-np.asarray(catalog["snr"], float), kind="stable")
    order = np.empty(len(catalog), np.intp)
    order[by_strength] = np.arange(1, len(catalog) + 1)
    catalog["id"] = catalog["island"] = order
    components["id"] = components["island"] = order[np.asarray(components["id"], int)]
    catalog, components = catalog[by_strength], components[np.argsort(components["id"], kind="stable")]
    catalog.meta, components.meta = dict(meta), dict(meta)
    return catalog, components, order


def _paint_tasks(
    plan: CubePlan, seen: Sequence[SeenCube], measured: Sequence[MeasuredTile],
    kept: Sequence[tuple[int, int]], galaxies: Sequence[Galaxy], order: Index, beam_pixels: float,
) -> list[PaintTask | int]:  # fmt: skip
    """What to paint in each tile; only the number of a blank one."""
    tiles = {m.number: m.prepared for m in measured}
    tasks: list[PaintTask | int] = []
    for s in seen:
        if s.number not in tiles:
            tasks.append(s.number)
            continue
        task = PaintTask(replace(s, prepared=tiles[s.number], candidates=[]))
        for (k, row), number in zip(kept, order):
            sources: list[LineSource] = measured[k].members[row]
            if reaches(plan, sources, beam_pixels, s.number):
                task.ids.append(int(number))
                task.members.append(sources)
                task.owned.append(measured[k].number == s.number)
        task.galaxies = list(zip(order[len(kept) :].tolist(), galaxies))
        tasks.append(task)
    return tasks


def _together(plan: CubePlan, painted: Sequence[PaintedTile]) -> tuple[MomentSums, dict[str, Array32]]:
    """Moments and maps of the whole image, for the report."""
    shape = plan.cube.shape[1:]
    moments = MomentSums.empty(shape)
    shown = {name: np.zeros(shape, np.float32) for name in ("snr", "rest", "moment")}
    for p in painted:
        box = plan.blocks[p.number].write[1:]
        moments.add(p.moments, box)
        for name, values in p.shown.items():
            there = shown[name][box]
            if name == "moment":
                there += values
            else:
                there[...] = np.where(np.abs(values) > np.abs(there), values, there)
    return moments, shown


def _notes(plan: CubePlan, seen: Sequence[SeenCube], sky: Sky) -> list[str]:
    share = [float(s.prepared.present[s.prepared.valid].mean()) for s in seen if s.prepared is not None]
    said = [note for s in seen for note in (*s.notes, *s.lost)]
    notes = notes_of(plan.cube, replace(sky.first, kind=plan.kind), float(np.mean(share)))
    notes = list(dict.fromkeys([*notes, *said]))
    blank = sum(s.prepared is None for s in seen)
    if blank:
        notes.append(f"{blank} of {len(seen)} tiles hold no data")
    return notes


BYTES_OF_PARENT = 0.4e9
"""Memory of the process that hands out tiles, and makes tables and report."""
BYTES_A_COLUMN = 40
"""Memory of a pixel of the image in each layer of tiles, and in the maps of the report."""
BYTES_KEPT = 0.5e9
"""Freed memory that a process keeps while it works on tiles."""
SECONDS_A_TILE = 2.0
"""Time of one processor core for any tile."""
SECONDS_A_VOXEL = 7e-7
"""Time for a voxel that is read."""


def needs_of_bricks(cube: RadioCube, workers: int) -> Needs:
    """Memory, disk and time of `detect_cube` where several processes share the tiles."""
    blocks = bricks_of(cube)
    read = [b.voxels for b in blocks]
    beam = cube.middle_beam
    one = needs_of_search((max(read),), 0.0 if beam is None else float(np.sqrt(beam[0] * beam[1])))
    voxels = float(np.prod(cube.shape, dtype=float))
    layers = len({b.write[0].start for b in blocks})
    sky = cube.shape[1] * cube.shape[2]
    # mask, model, residual, and the line cube until the end
    disk = 16 * voxels + BYTES_OF_TABLES
    seconds = SECONDS_A_TILE * len(blocks) + sum(read) * SECONDS_A_VOXEL
    parent = BYTES_OF_PARENT + BYTES_A_COLUMN * sky * (layers + 2)
    return Needs(one.memory + BYTES_KEPT, disk, seconds, len(blocks), min(workers, len(blocks)), parent)
