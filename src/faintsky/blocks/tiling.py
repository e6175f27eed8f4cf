"""Blocks with a read region and a write region; the write regions tile the image, each pixel once.

Read regions end at the image's edge, at the next multiple of the stride, so that nothing is computed beyond
it. An operation that depends on no more than the margin, and is shift invariant by multiples of the stride,
thus gives the same result in one block or in many. StarDist's ``big.py`` has the same two regions (Weigert et
al. 2020).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.image import LARGE

LARGEST = LARGE
"""Side of the largest block [pixel]."""


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes
    ----------
    origin : tuple of int
        First pixel of the read region in the image, ``(y, x)``.
    shape : tuple of int
        Shape of the read region; pixels outside of the image are read as 0.
    write : tuple of slice
        The region that this block owns, in the image.
    """

    origin: tuple[int, int]
    shape: tuple[int, int]
    write: tuple[slice, slice]

    def take(self, image: NDArray[Any]) -> NDArray[Any]:
        """The read region of an image or cube ``[..., y, x]``, 0 outside of it."""
        out = np.zeros((*image.shape[:-2], *self.shape), dtype=image.dtype)
        y, x = self.origin
        part = image[..., y : y + self.shape[0], x : x + self.shape[1]]
        out[..., : part.shape[-2], : part.shape[-1]] = part
        return out

    @property
    def read(self) -> tuple[slice, slice]:
        """The read region in the image."""
        y, x = (slice(first, first + n) for first, n in zip(self.origin, self.shape))
        return y, x

    @property
    def inner(self) -> tuple[slice, slice]:
        """The write region within the read region."""
        y, x = (
            slice(w.start - first, w.stop - first) for w, first in zip(self.write, self.origin, strict=True)
        )
        return y, x


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
        along.append([(low, high - low, slice(f, min(f + size, n))) for f, (low, high) in zip(firsts, reads)])
    ys, xs = along
    return [Block((y, x), (n_y, n_x), (wy, wx)) for y, n_y, wy in ys for x, n_x, wx in xs]


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
            [(max(a - margin, 0), min(b + margin, n), slice(a, b)) for a, b in zip(firsts, ends, strict=True)]
        )
    ys, xs = along
    return [Block((y, x), (y2 - y, x2 - x), (wy, wx)) for y, y2, wy in ys for x, x2, wx in xs]


@dataclass(frozen=True)
class Brick:
    """A block of a cube.

    Attributes
    ----------
    read : tuple of slice
        Its read region in the cube, ``[chan, y, x]``.
    write : tuple of slice
        The region that it owns.
    """

    read: tuple[slice, ...]
    write: tuple[slice, ...]

    @property
    def inner(self) -> tuple[slice, ...]:
        """The write region within the read region."""
        return tuple(slice(w.start - r.start, w.stop - r.start) for w, r in zip(self.write, self.read))

    @property
    def voxels(self) -> int:
        """Voxels of the read region."""
        return math.prod(s.stop - s.start for s in self.read)


def bricks(shape: Sequence[int], margin: Sequence[int], voxels: float, longest: int) -> list[Brick]:
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
    list of Brick
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
    return [Brick(tuple(c[0] for c in one), tuple(c[1] for c in one)) for one in itertools.product(*along)]


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
