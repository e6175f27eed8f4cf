"""Data in blocks: regions to read and to write, maps written in parts, regions that lie in several blocks.

The write regions tile an image, each pixel once. Read regions end at the image's edge, at the next multiple
of the stride, so that nothing is computed beyond it. An operation that depends on no more than the margin,
and is shift invariant by multiples of the stride, thus gives the same result in one block or in many.
StarDist's ``big.py`` has the same two regions (Weigert et al. 2020). This room knows arrays only.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from faintsky.arrays import Bool, Int, Labels
from faintsky.image import LARGE

__all__ = [
    "LARGEST", "Block", "Maps", "Pieces", "bricks", "connected_labels", "cover", "in_blocks", "made_once",
    "merged_pieces", "pieces_of", "tiles",
]  # fmt: skip

Box = tuple[slice, ...]

LARGEST = LARGE
"""Side of the largest block [pixel]."""


@dataclass(frozen=True)
class Block:
    """One block of an image or cube.

    Attributes
    ----------
    read : tuple of slice
        Its read region, ``[y, x]`` or ``[chan, y, x]``; pixels outside of the image are read as 0.
    write : tuple of slice
        The region that it owns.
    """

    read: Any
    write: Any

    @property
    def origin(self) -> Any:
        """First pixel of the read region."""
        return tuple(s.start for s in self.read)

    @property
    def shape(self) -> Any:
        """Shape of the read region."""
        return tuple(s.stop - s.start for s in self.read)

    @property
    def inner(self) -> Any:
        """The write region within the read region."""
        return tuple(slice(w.start - r.start, w.stop - r.start) for w, r in zip(self.write, self.read))

    @property
    def voxels(self) -> int:
        """Pixels of the read region."""
        return math.prod(self.shape)

    def take(self, image: NDArray[Any]) -> NDArray[Any]:
        """The read region of an image or cube ``[..., y, x]``, 0 outside of it."""
        out = np.zeros((*image.shape[:-2], *self.shape), dtype=image.dtype)
        part = image[..., *self.read]
        out[..., : part.shape[-2], : part.shape[-1]] = part
        return out


def _product(along: Sequence[Sequence[Box]]) -> list[Block]:
    """Blocks from their read and write regions along every axis."""
    return [Block(*zip(*one)) for one in itertools.product(*along)]


def _cuts(n: int, margin: int, stride: int, largest: int) -> tuple[int, list[int]]:
    """Size of the write regions along an axis of `n` pixels and their first pixels."""
    # equal pieces, so that the last is not nearly empty; the first and last have a margin on one side only
    for pieces in range(1, -(-n // stride) + 1):
        size = -(-n // (pieces * stride)) * stride
        if size + min(pieces - 1, 2) * margin <= largest:
            break
    return size, list(range(0, n, size))


def cover(shape: Sequence[int], *, reach: int, stride: int = 1, largest: int = LARGEST) -> list[Block]:
    """Blocks that tile an image.

    Parameters
    ----------
    shape : sequence of int
        ``(n_y, n_x)`` of the image.
    reach : int
        Pixels of surroundings that an output pixel may depend on.
    stride : int
        Blocks begin and end at multiples of it.
    largest : int
        Largest side of the read regions; exceeded if `reach` and `stride` leave no room.

    Returns
    -------
    list of Block
    """
    margin = -(-reach // stride) * stride
    along = []
    for n in shape:
        size, firsts = _cuts(n, margin, stride, largest)
        end = -(-n // stride) * stride
        reads = [(max(f - margin, 0), min(f + size + margin, end)) for f in firsts]
        along.append([(slice(*read), slice(f, min(f + size, n))) for f, read in zip(firsts, reads)])
    return _product(along)


CORE = 1536
"""Side of a tile's write region [pixel]: a multiple of 256, because maps are binned by powers of 2."""


def tiles(shape: Sequence[int], margin: int, *, core: int = CORE, whole: int = LARGE) -> list[Block]:
    """Blocks on a fixed grid that begins at the first pixel, whatever the image's size.

    Two images that agree over a tile's read region have the same tile there, if it begins at a multiple of
    `core` in both. A remainder of less than an eighth of a tile is added to the tile before it.

    Parameters
    ----------
    shape : sequence of int
        ``(n_y, n_x)`` of the image.
    margin : int
        Pixels that are read around a write region.
    core, whole : int
        Side of the write regions, and of the longest image that is one block [pixel].

    Returns
    -------
    list of Block
    """
    along = []
    for n in shape:
        firsts = list(range(0, n, core)) if n > whole else [0]
        if len(firsts) > 1 and n - firsts[-1] < core // 8:
            firsts.pop()
        ends = [*firsts[1:], n]
        along.append(
            [(slice(max(a - margin, 0), min(b + margin, n)), slice(a, b)) for a, b in zip(firsts, ends)]
        )
    return _product(along)


def bricks(shape: Sequence[int], margin: Sequence[int], voxels: float, longest: int) -> list[Block]:
    """Blocks that tile a cube, chosen for the least work.

    Parameters
    ----------
    shape : sequence of int
        ``(chan, y, x)`` of the cube.
    margin : sequence of int
        Channels, rows and columns that are read around a write region. An axis no longer than its margin is
        not cut.
    voxels : float
        Most voxels of a read region; exceeded if the margins leave no room.
    longest : int
        Most channels of a read region.

    Returns
    -------
    list of Block
    """

    def cut(n: int, margin: int, pieces: int) -> tuple[int, int, int]:
        """Size of the pieces, longest and summed read regions."""
        size = -(-n // pieces)
        pieces = -(-n // size)
        return size, min(size + min(pieces - 1, 2) * margin, n), n + 2 * margin * (pieces - 1)

    def most(n: int, margin: int) -> int:
        return 1 if margin >= n else max(1, n // max(margin, 16))

    best: tuple[tuple[float, float], list[int]] | None = None
    deepest = most(shape[0], margin[0])
    for k in range(1, deepest + 1):
        z = cut(shape[0], margin[0], k)
        if z[1] > longest and k < deepest:
            continue
        for side in range(1, most(max(shape[1:]), min(margin[1:])) + 1):
            # pieces about as long as wide
            size = max(shape[1:]) / side
            cuts = [z, *(cut(n, m, max(1, round(n / size))) for n, m in zip(shape[1:], margin[1:]))]
            over = max(math.prod(c[1] for c in cuts) / voxels, 1.0)
            # pieces that are too large are the last resort
            rank = (over if over > 1 else 0.0, float(math.prod(c[2] for c in cuts)))
            if best is None or rank < best[0]:
                best = rank, [c[0] for c in cuts]
            if over == 1:
                break
    assert best is not None
    along = [
        [
            (slice(max(a - m, 0), min(a + size + m, n)), slice(a, min(a + size, n)))
            for a in range(0, n, size)
        ]
        for n, m, size in zip(shape, margin, best[1])
    ]  # fmt: skip
    return _product(along)


def in_blocks(
    function: Callable[..., Sequence[NDArray[Any]]],
    images: Sequence[NDArray[Any]],
    blocks: Sequence[Block],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[Any]]:
    """Apply a function to every block of some images and put the pieces together.

    Parameters
    ----------
    function : callable
        Takes the read regions ``[..., y, x]`` of all images and returns arrays of the same y and x.
    images : sequence of array
        ``[..., y, x]``, all of the same y and x.
    blocks : sequence of Block
        From `cover`.
    progress : callable, optional
        Called with the blocks done and the blocks in all.

    Returns
    -------
    list of array
        One for each array that the function returns, ``[..., y, x]``.
    """
    whole: list[NDArray[Any]] = []
    for done, block in enumerate(blocks, start=1):
        pieces = function(*(block.take(i) for i in images))
        if not whole:
            whole = [np.empty((*p.shape[:-2], *images[0].shape[-2:]), p.dtype) for p in pieces]
        for target, piece in zip(whole, pieces, strict=True):
            target[..., *block.write] = piece[..., *block.inner]
        if progress is not None:
            progress(done, len(blocks))
    return whole


class Maps:
    """Arrays ``[y, x]`` or ``[chan, y, x]`` by name, 0 where nothing was written.

    Parameters
    ----------
    shape : tuple of int
        Shape of all maps.

    Attributes
    ----------
    shared : bool
        Whether other processes can read what is written.
    """

    shared = False

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self._arrays = shape, dict[str, NDArray[Any]]()

    @property
    def names(self) -> set[str]:
        """Names of the maps written so far."""
        return set(self._arrays)

    def begin(self, *names: str) -> None:
        """Reserve space for results, before they are written."""

    def known(self, number: int) -> Any:
        """What `note` stored for a tile; in memory always None."""

    def note(self, number: int, seen: Any) -> None:
        """Store what was found in a tile, after writing its maps: a stopped run need not repeat it."""

    def write(self, name: str, box: Box, values: NDArray[Any]) -> None:
        """Write a box of a map.

        Parameters
        ----------
        name : str
            The map.
        box : tuple of slice
            Rows and columns, or channels, rows and columns.
        values : array
            Values of the box; integers become int32, others float32.
        """
        if name not in self._arrays:
            kind = np.int32 if values.dtype.kind in "iub" else np.float32
            self._arrays[name] = np.zeros(self.shape, kind)
        self._arrays[name][box] = values

    def read(self, name: str, box: Box) -> NDArray[Any]:
        """A box of a map; it must not be changed."""
        return self._arrays[name][box]

    def whole(self, name: str) -> NDArray[Any]:
        """All of a map; it must not be changed."""
        return self._arrays[name]


def made_once(maps: Maps, number: int, make: Callable[[], Any], lost: list[str] | None = None) -> Any:
    """What was noted for a tile; where there is nothing, `make` it, and note it.

    Parameters
    ----------
    maps : Maps
        With the notes.
    number : int
        Of the tile.
    make : callable
        Returns it.
    lost : list of str, optional
        Receives the parts of the file that cannot be read; they are kept as the attribute ``lost``.

    Returns
    -------
    object
    """
    made = maps.known(number)
    if made is None:
        if lost is not None:
            lost.clear()
        made = make()
        if lost is not None:
            made.lost = list(dict.fromkeys(lost))
        maps.note(number, made)
    return made


@dataclass(frozen=True)
class Pieces:
    """Pieces of regions within one tile's write region.

    Attributes
    ----------
    count : int
        Number of pieces, labelled 1 … n.
    first : array of int
        Index of each piece's first pixel in the flattened image, ``[n]``.
    rim : tuple of array
        Labels of the first and the last row, of the first and the last column.
    """

    count: int
    first: Int
    rim: tuple[Labels, Labels, Labels, Labels]


def pieces_of(labels: Labels, block: Block, width: int) -> Pieces:
    """The pieces in a tile's write region.

    Parameters
    ----------
    labels : array of int
        Labels 1 … n of the write region, ``[y, x]``.
    block : Block
        The tile.
    width : int
        Width of the image [pixel].

    Returns
    -------
    Pieces
    """
    count = int(labels.max(initial=0))
    at = np.full(count + 1, -1, np.int64)
    seen = np.flatnonzero(labels.ravel())[::-1]
    at[labels.ravel()[seen]] = seen
    y, x = np.divmod(at[1:], labels.shape[1])
    first = (y + block.write[0].start) * width + x + block.write[1].start
    return Pieces(
        count, first, (labels[0].copy(), labels[-1].copy(), labels[:, 0].copy(), labels[:, -1].copy())
    )


def connected_labels(mask: Bool) -> Labels:
    """Labels of the connected regions of a mask ``[y, x]``; pixels that share a side or a corner touch."""
    return np.asarray(label(mask, np.ones((3, 3)))[0], np.int32)


def merged_pieces(pieces: Sequence[Pieces], blocks: Sequence[Block]) -> list[Int]:
    """Number of the whole region that each piece belongs to, ``[count + 1]`` for each tile.

    Pieces that touch across a seam, at a side or a corner, belong together. Regions are numbered 1 … n in the
    order of their first pixels; label 0 stays 0.
    """
    starts = np.concatenate([[1], 1 + np.cumsum([p.count for p in pieces])])
    number = {tuple(s.start for s in b.write): k for k, b in enumerate(blocks)}
    stops = {tuple((b.write[0].start, b.write[1].stop)): k for k, b in enumerate(blocks)}
    pairs = [np.zeros((2, 0), np.int64)]

    def numbered(k: int, rim: Labels) -> Int:
        return np.where(rim > 0, rim + starts[k] - 1, 0).astype(np.int64)

    for k, block in enumerate(blocks):
        (y, x) = block.write
        below, right = number.get((y.stop, x.start)), number.get((y.start, x.stop))
        if below is not None:
            # the corners at both ends touch the diagonal neighbours
            after = numbered(below, pieces[below].rim[0])
            left = stops.get((y.stop, x.start))
            far = number.get((y.stop, x.stop))
            ends = [
                numbered(j, pieces[j].rim[0])[at : at + 1 or None] if j is not None else np.zeros(1, np.int64)
                for j, at in ((left, -1), (far, 0))
            ]
            wide = np.concatenate([ends[0], after, ends[1]])
            before = numbered(k, pieces[k].rim[1])
            pairs += [np.stack([before, wide[i : i + before.size]]) for i in range(3)]
        if right is not None:
            before = numbered(k, pieces[k].rim[3])
            after = np.pad(numbered(right, pieces[right].rim[2]), 1)
            pairs += [np.stack([before, after[i : i + before.size]]) for i in range(3)]
    first, second = np.concatenate(pairs, axis=1)
    met = (first > 0) & (second > 0)
    total = int(starts[-1])
    edges = coo_matrix((np.ones(met.sum(), bool), (first[met], second[met])), shape=(total, total))
    _, group = connected_components(edges, directed=False)
    place = np.concatenate([[-1], *[p.first for p in pieces]])
    lowest = np.full(group.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, group, place)
    new = np.argsort(np.argsort(lowest))[group]
    return [np.concatenate([[0], new[a:b]]) for a, b in itertools.pairwise(starts)]
