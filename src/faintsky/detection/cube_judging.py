"""The results of all tiles of a cube, judged together: reliabilities, galaxies, each source once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.catalog import shift_pixels
from faintsky.detection.catalogue import build_catalog, galaxy_row, row_tables
from faintsky.detection.counts import NoisePeaks
from faintsky.detection.cube_tiles import Box, CubePlan, SeenCube, look_again, moved, origin_of
from faintsky.detection.find import accepted, measured_groups
from faintsky.detection.fits import LineSource
from faintsky.detection.methods import complete_columns
from faintsky.detection.resolved import Resolved
from faintsky.detection.search import PeakCounts, judge_lines
from faintsky.preparing import Continuum, PreparedCube, PrimaryBeam, gaussian_psf

SAME = 0.5
"""Two tiles' sources at a seam count as one within this separation, in beams and in widths of the line."""


def rate(seen: Sequence[SeenCube], plan: CubePlan) -> tuple[NoisePeaks, int]:
    """Set every candidate's reliability, from the list of the whole cube.

    Candidates outside the part that a tile writes are rated as if they were on the list. Returns the noise
    peaks expected in the cube, and the number of candidates that are lines.
    """
    known = [s for s in seen if s.counts is not None]
    noise = PeakCounts.together([s.counts for s in known if s.counts is not None]).law
    widths = max(s.widths for s in known)
    for s in known:
        for c in s.candidates:
            size, width = divmod(c.template, s.widths)
            c.template = size * widths + width
    candidates = [c for s in known for c in s.candidates]
    listed = [_holds(plan, s.number, place_of(c.source)) for s in known for c in s.candidates]
    negative = [v for s in known for v in s.negative]
    judge_lines(candidates, negative, noise, widths, np.array(listed, bool))
    for c, doubt in zip(candidates, (d for s in known for d in s.doubts)):
        c.reliability *= doubt
    return noise, sum(listed)


def place_of(s: LineSource) -> tuple[float, float, float]:
    """Channel, row and column."""
    return s.z, s.y, s.x


def _holds(plan: CubePlan, number: int, place: Sequence[float], room: Sequence[float] = (0, 0, 0)) -> bool:
    """Whether a tile writes a position.

    Parameters
    ----------
    plan : CubePlan
    number : int
        Of the tile.
    place : sequence of float
        Channel, row and column in the tile.
    room : sequence of float, optional
        Distance from the written part that still counts.

    Returns
    -------
    bool
    """
    block = plan.blocks[number]
    ends = zip(place, block.inner, room, block.write, plan.cube.shape)
    return all(
        (w.start == 0 or p >= i.start - 0.5 - r) and (w.stop == n or p < i.stop - 0.5 + r)
        for p, i, r, w, n in ends
    )


# ---------------------------------------------------------------------- compact sources


@dataclass
class MeasuredTile:
    """The sources that a tile owns, and those at its seams that it owns unless another tile does.

    Attributes
    ----------
    number : int
        Of the tile.
    catalog, components : Table or None
        In pixels and channels of the cube; None where there are none.
    members : list of list of LineSource
        Of each row, in pixels of the cube, with fluxes as in the file.
    inside : list of bool
        Whether the tile owns it.
    places : array
        Channel, row and column of the brightest member, and half the line's width, ``[n, 4]``.
    prepared : PreparedCube
        With the continuum of the last fits, without its arrays of voxels.
    """

    number: int
    catalog: Table | None
    components: Table | None
    members: list[list[LineSource]]
    inside: list[bool]
    places: Float
    prepared: PreparedCube


def measure_tile(plan: CubePlan, seen: SeenCube, noise: NoisePeaks, in_data: bool) -> MeasuredTile:
    """Make the final fits of a tile's sources, and their rows.

    Parameters
    ----------
    plan : CubePlan
    seen : SeenCube
        With `rate`d candidates.
    noise : NoisePeaks
        Of the cube.
    in_data : bool
        Whether the primary beam is in the data.

    Returns
    -------
    MeasuredTile
    """
    from threadpoolctl import threadpool_limits

    assert seen.prepared is not None
    kept = accepted(seen.candidates, plan.reliability, seen.prepared.beam_pixels)
    nothing = MeasuredTile(seen.number, None, None, [], [], np.zeros((0, 4)), seen.prepared)
    # also look for lines at continuum sources, except in restored cubes
    if not kept and seen.prepared.psf_origin == "beam":
        return nothing
    part, prepared, pursuit = look_again(plan, seen)
    for c in kept:
        c.image = pursuit.imager.image(c.source)
        pursuit.subtract(c, 1.0)
    pursuit.components = kept
    with threadpool_limits(limits=1, user_api="blas"):
        groups = measured_groups(part, prepared, pursuit, plan.settings, plan.reliability, noise.stretch)
    beam = PrimaryBeam(part, in_data=in_data)
    catalog, components, order = build_catalog(part, prepared, pursuit.components, groups, noise, beam=beam)
    nothing.prepared = prepared.bare()
    rows, members, inside, places = [], [], [], []
    for row, group in enumerate(order):
        assert isinstance(group, list)
        sources = [pursuit.components[i].source for i in group]
        brightest = max(sources, key=lambda s: s.peak * s.fwhm_z)
        place, wide = place_of(brightest), SAME * prepared.beam_pixels
        if not _holds(plan, seen.number, place, (SAME * brightest.fwhm_z, wide, wide)):
            continue
        rows.append(row)
        inside.append(_holds(plan, seen.number, place))
        start = origin_of(plan.blocks[seen.number].read)
        members.append([moved(s, start, prepared.gain(s.x, s.y)) for s in sources])
        places.append((*np.add(place, start), brightest.fwhm_z / 2))
    if not rows:
        return nothing
    ids = np.asarray(catalog["id"])[rows]
    catalog, components = catalog[rows], components[np.isin(components["id"], ids)]
    for table in (catalog, components):
        complete_columns(table, part, prepared)
        shift_pixels(table, origin_of(plan.blocks[seen.number].read))
    return MeasuredTile(seen.number, catalog, components, members, inside, np.array(places), nothing.prepared)


def once(measured: Sequence[MeasuredTile], beam_pixels: float) -> list[tuple[int, int]]:
    """All sources, each once: index in the list of tiles, and row."""
    found = [(k, row) for k, m in enumerate(measured) for row in range(len(m.members))]
    if not found:
        return []
    places = np.concatenate([m.places for m in measured if len(m.members)])
    inside = np.array([measured[k].inside[row] for k, row in found])
    signs = np.array([np.sign(measured[k].members[row][0].amplitude) for k, row in found])
    snr = np.array([float(measured[k].catalog["snr"][row]) for k, row in found])  # type: ignore[index]
    kept: list[int] = []
    for i in sorted(range(len(found)), key=lambda i: (not inside[i], -snr[i])):
        z, y, x, half = places[i]
        others = [j for j in kept if found[j][0] != found[i][0] and signs[j] == signs[i]]
        near = places[others].reshape(-1, 4)
        apart = np.hypot(near[:, 1] - y, near[:, 2] - x) < SAME * beam_pixels
        if not np.any(apart & (np.abs(near[:, 0] - z) < np.maximum(half, near[:, 3]))):
            kept.append(i)
    return [found[i] for i in sorted(kept)]


# ---------------------------------------------------------------------- galaxies


@dataclass
class Galaxy:
    """A resolved galaxy in pixels of the cube, its data as in the file [Jy/beam].

    Attributes
    ----------
    whole : Resolved
        Mask and data.
    tile : int
        The tile that writes its brightest voxel.
    """

    whole: Resolved
    tile: int


def galaxies_of(plan: CubePlan, seen: Sequence[SeenCube]) -> list[Galaxy]:
    """The galaxies of all tiles, each once: from a tile that holds all of it, or joined."""
    pieces = [
        _piece(plan, s, r)
        for s in seen
        if s.prepared is not None
        for r in s.resolved
        if r.reliability >= plan.reliability
    ]  # fmt: skip
    home = list(range(len(pieces)))

    def root(i: int) -> int:
        while home[i] != i:
            i = home[i]
        return i

    for i, a in enumerate(pieces):
        for j, b in enumerate(pieces[:i]):
            if a.tile != b.tile and root(i) != root(j) and _meet(a.whole, b.whole):
                home[root(i)] = root(j)
    out: list[Galaxy] = []
    for k in sorted({root(i) for i in range(len(pieces))}):
        own = [p for i, p in enumerate(pieces) if root(i) == k]
        complete = [p for p in own if p.whole_here]
        if complete:
            tile = max(complete, key=lambda p: int(p.whole.mask.sum())).tile
            out += [Galaxy(p.whole, p.tile) for p in complete if p.tile == tile]
        elif len(own) > 1 or own[0].inside:
            out.append(_joined(own))
    return out


def doubtful_galaxies(plan: CubePlan, seen: Sequence[SeenCube]) -> int:
    """Number of galaxies that are not reliable; the tile that writes the brightest voxel counts them."""
    doubtful = [
        _piece(plan, s, r)
        for s in seen
        if s.prepared is not None
        for r in s.resolved
        if r.reliability < plan.reliability
    ]
    return sum(p.inside for p in doubtful)


@dataclass
class _Piece:
    """A tile's part of a galaxy, in pixels of the cube.

    Also whether the tile writes its brightest voxel, and whether it then holds all of it.
    """

    whole: Resolved
    tile: int
    inside: bool
    whole_here: bool


def _piece(plan: CubePlan, seen: SeenCube, r: Resolved) -> _Piece:
    assert seen.prepared is not None
    block, start = plan.blocks[seen.number], origin_of(plan.blocks[seen.number].read)
    brightest = np.unravel_index(int(r.inside.argmax()), r.mask.shape)
    inside = _holds(plan, seen.number, [s.start + int(v) for s, v in zip(r.box, brightest)])
    cut = any(
        (s.start == 0 and read.start > 0) or (s.stop == read.stop - read.start and read.stop < n)
        for s, read, n in zip(r.box, block.read, plan.cube.shape)
    )
    box = tuple(slice(s.start + o, s.stop + o) for s, o in zip(r.box, start))
    line = r.line
    if seen.prepared.relative is not None:
        line = line * np.nan_to_num(seen.prepared.relative[r.box[1:]], nan=1.0).astype(np.float32)
    return _Piece(replace(r, box=box, line=line), seen.number, inside, inside and not cut)


def _meet(a: Resolved, b: Resolved) -> bool:
    """Whether two masks share a voxel."""
    common = [(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a.box, b.box)]
    if any(low >= high for low, high in common):
        return False
    first, second = (r.mask[tuple(slice(lo - s.start, hi - s.start) for (lo, hi), s in zip(common, r.box))]
                     for r in (a, b))  # fmt: skip
    return bool((first & second).any())


def _joined(pieces: Sequence[_Piece]) -> Galaxy:
    """Join the parts of a galaxy from several tiles."""
    boxes = [p.whole.box for p in pieces]
    box = tuple(
        slice(min(b[k].start for b in boxes), max(b[k].stop for b in boxes)) for k in range(3)
    )  # fmt: skip
    mask = np.zeros([s.stop - s.start for s in box], bool)
    line = np.zeros(mask.shape, np.float32)
    for p in pieces:
        place = tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(p.whole.box, box))
        line[place] = np.where(p.whole.mask & ~mask[place], p.whole.line, line[place])
        mask[place] |= p.whole.mask
    best = max(pieces, key=lambda p: (p.inside, p.whole.snr))
    strongest = {k: max(getattr(p.whole, k) for p in pieces) for k in ("snr", "reliability")}
    return Galaxy(Resolved(box, mask, line, **strongest), best.tile)


def galaxy_tables(
    plan: CubePlan, galaxy: Galaxy, sky: Sky, noise: NoisePeaks, in_data: bool
) -> tuple[Table, Table]:
    """Tables with the row of a galaxy, in pixels of the cube.

    Parameters
    ----------
    plan : CubePlan
    galaxy : Galaxy
    sky : Sky
    noise : NoisePeaks
        Of the cube.
    in_data : bool
        Whether the primary beam is in the data.

    Returns
    -------
    catalog, components : Table
    """
    r, shape = galaxy.whole, plan.cube.shape
    room = tuple(slice(max(s.start - 2, 0), min(s.stop + 2, n)) for s, n in zip(r.box, shape))
    part, prepared = plan.cube.part(room), sky.part(room)
    own = tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(r.box, room))
    relative = np.ones(part.shape[1:]) if prepared.relative is None else prepared.relative
    relative = np.nan_to_num(relative, nan=1.0)
    flat = r.line / np.maximum(relative[own[1:]], 1e-6).astype(np.float32)
    here = replace(r, box=own, line=flat)
    beam = PrimaryBeam(part, in_data=in_data)
    row = galaxy_row(part, prepared, here, beam, beam.gain() * relative)
    false_alarm = float(noise.fitted.above(r.snr))
    tables = row_tables(part, {"id": 1, "false_alarm": false_alarm, **row}, {"id": 1, **row})
    labels = np.zeros(part.shape, np.int32)
    labels[own][r.mask] = 1
    for table in tables:
        complete_columns(table, part, prepared, labels if table is tables[0] else None)
        shift_pixels(table, origin_of(room))
    return tables


# ---------------------------------------------------------------------- the whole image


@dataclass
class Sky:
    """Noise and continuum of a cube, from its tiles.

    Attributes
    ----------
    first : PreparedCube
        One tile's psf, beam and kind.
    sigma : array
        Rms of every channel, ``[chan]``.
    layers : list
        For each range of channels: the range, and maps ``[y, x]`` by name.
    """

    first: PreparedCube
    sigma: Float
    layers: list[tuple[slice, dict[str, NDArray[Any]]]]

    @classmethod
    def of(cls, plan: CubePlan, prepared: dict[int, PreparedCube]) -> Sky:
        """Put together noise and continuum of tiles, given by number."""
        n_chan, n_y, n_x = plan.cube.shape
        levels = np.full((len(prepared), n_chan), np.nan, np.float32)
        for row, (number, p) in zip(levels, prepared.items()):
            block = plan.blocks[number]
            own = p.sigma[block.inner[0]]
            row[block.write[0]] = np.where(own > 0, own, np.nan)
        known = np.isfinite(levels).any(axis=0)
        sigma = np.zeros(n_chan)
        sigma[known] = np.nanmedian(levels[:, known], axis=0)
        layers: dict[tuple[int, int], dict[str, NDArray[Any]]] = {}
        for number, p in prepared.items():
            z, y, x = plan.blocks[number].write
            maps = layers.setdefault(
                (z.start, z.stop),
                {
                    "relative": np.full((n_y, n_x), np.nan, np.float32),
                    "valid": np.zeros((n_y, n_x), bool), "present": np.zeros((n_y, n_x), bool),
                    **{k: np.zeros((n_y, n_x), np.float32) for k in ("level", "slope", "level_err")},
                },
            )  # fmt: skip
            inner, core = plan.blocks[number].inner, (y, x)
            used = (p.sigma[inner[0]] > 0) & (sigma[z] > 0)
            ratio = float(np.median(p.sigma[inner[0]][used] / sigma[z][used])) if used.any() else 1.0
            own = np.where(p.valid, 1.0, np.nan) if p.relative is None else p.relative
            maps["relative"][core] = ratio * own[inner[1:]]
            maps["valid"][core], maps["present"][core] = p.valid[inner[1:]], p.present[inner[1:]]
            gain = 1.0 if p.relative is None else np.nan_to_num(p.relative[inner[1:]], nan=1.0)
            middle = (z.start + z.stop - 1) / 2 - plan.blocks[number].read[0].start
            # in the unit of the file, since the tiles' noise maps are relative to different channels
            for name, values in (
                ("level", p.continuum.at(middle)), ("slope", p.continuum.slope),
                ("level_err", p.continuum.level_err),
            ):  # fmt: skip
                maps[name][core] = values[inner[1:]] * gain
        first = next(iter(prepared.values()))
        return cls(first, sigma, [(slice(*k), v) for k, v in sorted(layers.items())])

    @property
    def valid(self) -> Bool:
        """Where any channel holds data, ``[y, x]``."""
        return np.logical_or.reduce([maps["valid"] for _, maps in self.layers])

    @cached_property
    def relative(self) -> Float | None:
        """The noise over that of the channels, ``[y, x]``; None where it hardly varies."""
        total, count = np.zeros(self.valid.shape), np.zeros(self.valid.shape)
        for _, maps in self.layers:
            good = maps["valid"] & np.isfinite(maps["relative"])
            total += np.where(good, maps["relative"], 0.0)
            count += good
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        spread = np.nanstd(mean)
        return np.asarray(mean, float) if spread > 0.15 else None

    def as_file(self, line: Array32) -> PreparedCube:
        """For the whole cube, in the unit of the file [Jy/beam]; the continuum is its mean."""
        empty = np.zeros((0, 0, 0), np.float32)
        level, error = (
            np.mean([m[k] for _, m in self.layers], axis=0).astype(np.float32) for k in ("level", "level_err")
        )
        middle = (len(self.sigma) - 1) / 2
        slope = self.layers[0][1]["slope"] * np.float32(len(self.layers) == 1)
        return replace(
            self.first, data=empty, line=line, relative=None, sigma=self.sigma, valid=self.valid,
            present=np.logical_or.reduce([m["present"] for _, m in self.layers]),
            continuum=Continuum(level, slope, middle, error), psf=self.psf,
        )  # fmt: skip

    @property
    def psf(self) -> Array:
        """One tile's psf in the middle of its band, or a Gaussian cut off where it vanishes."""
        if self.first.psf_origin != "beam":
            return self.first.psf
        side = 2 * int(4 * max(self.first.beam[0], 1.0)) + 1
        return gaussian_psf((side, side), *self.first.beam)[None]

    def part(self, box: Box) -> PreparedCube:
        """For a box of the cube, flattened where the noise varies, without data, line and psf."""
        z = (box[0].start + box[0].stop) // 2
        layer, maps = next((k, m) for k, m in self.layers if k.stop > z or m is self.layers[-1][1])
        few = {name: values[box[1:]] for name, values in maps.items()}
        relative = None if self.relative is None else few["relative"].astype(float)
        flat = 1.0 if relative is None else np.where(relative > 0, 1 / np.where(relative > 0, relative, 1), 0)
        middle = (layer.start + layer.stop - 1) / 2 - box[0].start
        level, slope, error = ((few[k] * flat).astype(np.float32) for k in ("level", "slope", "level_err"))
        return replace(
            self.first, sigma=self.sigma[box[0]], relative=relative, valid=few["valid"],
            present=few["present"], continuum=Continuum(level, slope, middle, error), psf=self.psf,
        )  # fmt: skip
