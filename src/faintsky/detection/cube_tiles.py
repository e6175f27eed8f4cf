"""Search of single tiles of a cube, each with its surroundings.

`cube_judging` joins the results in one list, `cube_painting` makes the maps.

A cube of any size is worked on in tiles of one grid that depends only on its shape and beam
(`faintsky.blocks.bricks`); one that fits into a tile is one tile. Results do not depend on how many tiles are
worked on at a time, or where. How far each step looks:

=========================  =============================================================================
noise, its correlation     the tile
continuum, where it is     the tile's channels and spectra
psf, beam                  the cube's; a psf read off the noise is that of the tile
kind                       the tile with the brightest voxel over its noise
primary beam in the data   the whole image
matched filter             8 beams, 40 channels
noise peaks                counted in what each tile writes, fitted together
reliabilities              the whole list
fits, blends               the tile: up to 8 beams, and 48 channels, about what it writes
galaxies                   their parts in all tiles
continuum sources          the tile
moments                    sums over the tiles
=========================  =============================================================================

A tile reads `MARGIN` beams and `CHANNELS` channels around the voxels it writes. It owns the sources whose
brightest part it writes; two tiles' fits of one source at a seam count once. In a dirty cube sidelobes reach
over the whole image: it is cut along frequency only.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from faintsky.blocks import Block, bricks
from faintsky.detection.find import doubts_of, needs_of_search
from faintsky.detection.fits import LineSource
from faintsky.detection.pursuit import Component, Pursuit, ResidualCube, SourceImager
from faintsky.detection.resolved import Resolved, closed_to_continuum, occupied
from faintsky.detection.search import PeakCounts, search_cube
from faintsky.errors import InputError, NoDataError
from faintsky.grid import unpickled_wcs
from faintsky.image import RadioCube
from faintsky.preparing import Kind, PreparedCube, peak_over_scatter, prepare_cube, said_kind

Box = tuple[slice, ...]
MARGIN = 8.0
"""Margin on the sky that a tile reads [beam], 24 to 128 pixels."""
CHANNELS = 48
"""Margin along frequency [channel]."""
VOXELS = 40e6
"""Most voxels that a tile reads; a smaller cube is one tile."""
LONGEST = 1200
"""Most channels that a tile reads."""


@dataclass(frozen=True)
class CubePlan:
    """How a cube is searched, the same for all tiles.

    Attributes
    ----------
    cube : RadioCube
        With its kind and its beam.
    blocks : list of Block
    settings : mapping
        The model's.
    device : str
    kind : Kind
        What the cube is taken for, and why.
    reliability : float
        Lowest reliability of a source.
    """

    cube: RadioCube
    blocks: list[Block]
    settings: Mapping[str, Any]
    device: str
    kind: Kind
    reliability: float


@dataclass
class SeenCube:
    """Result of the search of a tile, in its own pixels and channels.

    Attributes
    ----------
    number : int
        Of the tile.
    prepared : PreparedCube or None
        Without its arrays of voxels; None where the tile is blank.
    candidates : list of Component
        Possible sources, without their images.
    doubts : list of float
        See `faintsky.detection.find.doubts_of`.
    negative : list of float
        See `Search`; in the voxels that the tile writes.
    widths : int
        Line widths of its filter bank.
    counts : PeakCounts or None
        In the voxels that the tile writes.
    resolved : list of Resolved
        Galaxies.
    notes, lost : list of str
        Notes on reading it, and parts that could not be read.
    """

    number: int
    prepared: PreparedCube | None = None
    candidates: list[Component] = field(default_factory=list)
    doubts: list[float] = field(default_factory=list)
    negative: list[float] = field(default_factory=list)
    widths: int = 0
    counts: PeakCounts | None = None
    resolved: list[Resolved] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def bricks_of(cube: RadioCube, *, dirty: bool | None = None) -> list[Block]:
    """Tiles of a cube, ``dirty`` or not; by default as the user, the header or a psf tells."""
    whole = tuple(slice(0, n) for n in cube.shape)
    if np.prod(cube.shape, dtype=float) <= VOXELS and cube.shape[0] <= LONGEST:
        return [Block(whole, whole)]
    beam = cube.middle_beam
    beam_pixels = 4.0 if beam is None else float(np.sqrt(beam[0] * beam[1]))
    if dirty is None:
        said = said_kind(cube)
        given = cube.kind != "restored" and "psf" in cube.companions
        dirty = given or (said is not None and said.name == "dirty")
    side = int(np.clip(np.ceil(MARGIN * beam_pixels), 24, 128))
    margin = (CHANNELS, *(n if dirty else side for n in cube.shape[1:]))
    return bricks(cube.shape, margin, VOXELS, LONGEST)


def plan_cube(cube: RadioCube, settings: Mapping[str, Any], device: str, reliability: float) -> CubePlan:
    """Determine what all tiles of a cube share.

    Parameters
    ----------
    cube : RadioCube
    settings : mapping
        Of the model.
    device : str
        Where PyTorch computes.
    reliability : float
        Lowest reliability of a source.

    Returns
    -------
    CubePlan
    """
    blocks = bricks_of(cube)
    given = "psf" in cube.companions and cube.kind != "restored"
    kind = Kind("dirty", "there is a psf") if given else said_kind(cube)
    if kind is None or (cube.beams is None and not given):
        part = cube.part(_brightest(cube, blocks).read)
        prepared = prepare_cube(part, device=device)
        kind = kind or prepared.kind
        cube.take_notes(part)
        if cube.beams is None:
            own = np.array([cube.sky_beam(prepared.beam)])
            cube = replace(cube, beams=np.repeat(own, cube.shape[0], axis=0))
    if kind.name == "dirty" and not given:
        blocks = bricks_of(cube, dirty=True)
        beam = cube.middle_beam or (4.0, 4.0, 0.0)
        needs_of_search((max(b.voxels for b in blocks),), float(np.sqrt(beam[0] * beam[1]))).check(None)
    # pickling rounds coordinates by a digit: do it here too, so that all processes have the same
    cube = replace(cube, kind=kind.name, wcs=unpickled_wcs(pickle.dumps(cube.wcs)))
    return CubePlan(cube, blocks, settings, device, kind, reliability)


def _brightest(cube: RadioCube, blocks: Sequence[Block]) -> Block:
    """The tile with the highest voxel over the scatter around it."""
    best: tuple[float, Block | None] = (0.0, None)
    for block in blocks:
        data = cube.taken(block.write)
        best = max(best, (peak_over_scatter(data, data[::5, ::7, ::7]), block), key=lambda pair: pair[0])
    if best[1] is None:
        raise InputError("holds no data: it is blank", "give a cube with data", cube.name)
    return best[1]


def look_at(plan: CubePlan, number: int) -> SeenCube:
    """Search a tile."""
    from threadpoolctl import threadpool_limits

    block = plan.blocks[number]
    part = plan.cube.part(block.read)
    times = float(np.prod(plan.cube.shape, dtype=float)) / block.voxels
    with threadpool_limits(limits=1, user_api="blas"):  # many small matrices
        try:
            search = search_cube(part, plan.settings, device=plan.device, core=block.inner, times=times)
        except NoDataError:  # blank here, or constant
            return SeenCube(number)
    empty, nothing = np.zeros((0, 0), np.float32), torch.zeros(0)
    return SeenCube(
        number,
        replace(search.prepared, kind=plan.kind).bare(),
        [replace(c, image=empty, sky=nothing, line=nothing, reach=nothing) for c in search.candidates],
        doubts_of(search.prepared, search.candidates),
        search.negative,
        len(search.pursuit.bank.line_fwhm),
        search.counts,
        search.resolved,
        [*plan.cube.notes, *part.notes],  # the cube's: of what was noticed when this process read it
    )


def look_again(plan: CubePlan, seen: SeenCube) -> tuple[RadioCube, PreparedCube, Pursuit]:
    """A tile as it was searched: its part of the cube, prepared, and a `Pursuit` without sources for fits."""
    assert seen.prepared is not None
    part = plan.cube.part(plan.blocks[seen.number].read)
    prepared = seen.prepared.again(part)
    shape = (part.shape[1], part.shape[2])
    imager = SourceImager(prepared.psf, shape, prepared.valid, beam_at=prepared.beam_at(part))
    taken = closed = None
    if seen.resolved:
        taken = occupied(seen.resolved, part.shape, prepared)
        closed = torch.as_tensor(closed_to_continuum(seen.resolved, part.shape, prepared))
    line = prepared.line if taken is None else np.where(taken, np.float32(0), prepared.line)
    pursuit = Pursuit.for_fits(ResidualCube(line), prepared, imager, taken=taken, closed=closed)
    return part, prepared, pursuit


def moved(s: LineSource, origin: Sequence[int], factor: float = 1.0) -> LineSource:
    """A source in pixels and channels with another origin, its flux times a factor.

    Parameters
    ----------
    s : LineSource
    origin : sequence of int
        Added to channel, row and column.
    factor : float, optional

    Returns
    -------
    LineSource
    """
    z, y, x = origin
    return replace(s, x=s.x + x, y=s.y + y, z=s.z + z, amplitude=s.amplitude * factor)


def origin_of(box: Box) -> tuple[int, ...]:
    """First channel, row and column of a box."""
    return tuple(s.start for s in box)
