"""Blocks with a read region and a write region; the write regions tile the image, each pixel once.

All blocks of an image have the same read shape, which may stick out of the image: what lies outside is read
as 0. An image that fits into one block is read with the same margin. An operation that sees no farther than
the margin, and is shift invariant by multiples of the stride, thus gives the same in one block or in many
(StarDist's ``big.py`` has the same two regions; Weigert et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 1024
"""Side of the largest block [pixel]."""


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes
    ----------
    origin : tuple of int
        First pixel of the read region in the image, ``(y, x)``; may be negative.
    shape : tuple of int
        Of the read region.
    write : tuple of slice
        The region that this block owns, in the image.
    """

    origin: tuple[int, int]
    shape: tuple[int, int]
    write: tuple[slice, slice]

    def take(self, image: NDArray[Any]) -> NDArray[Any]:
        """The read region of an image ``[y, x]``, 0 outside of it."""
        out = np.zeros(self.shape, dtype=image.dtype)
        source, target = [], []
        for first, size, n in zip(self.origin, self.shape, image.shape, strict=True):
            low, high = max(first, 0), min(first + size, n)
            source.append(slice(low, high))
            target.append(slice(low - first, high - first))
        out[tuple(target)] = image[tuple(source)]
        return out

    @property
    def inner(self) -> tuple[slice, slice]:
        """The write region within the read region."""
        y, x = (
            slice(w.start - first, w.stop - first) for w, first in zip(self.write, self.origin, strict=True)
        )
        return y, x


def _cuts(n: int, margin: int, stride: int, largest: int) -> tuple[int, list[int]]:
    """Size of the write regions along an axis of `n` pixels and their first pixels."""
    room = max(stride, (largest - 2 * margin) // stride * stride)
    pieces = -(-n // room)
    # equal pieces: no last block that is nearly empty
    size = -(-n // (pieces * stride)) * stride
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
        Side of the read regions, at most; more where `reach` and `stride` leave no room.

    Returns
    -------
    list of Block
        All of one read shape.
    """
    n_y, n_x = shape
    margin = -(-reach // stride) * stride
    (size_y, ys), (size_x, xs) = (_cuts(n, margin, stride, largest) for n in (n_y, n_x))
    read = (size_y + 2 * margin, size_x + 2 * margin)
    return [
        Block(
            (y - margin, x - margin),
            read,
            (slice(y, min(y + size_y, n_y)), slice(x, min(x + size_x, n_x))),
        )
        for y in ys
        for x in xs
    ]


def in_blocks(
    function: Callable[..., Sequence[NDArray[Any]]],
    images: Sequence[NDArray[Any]],
    blocks: Sequence[Block],
    *,
    outputs: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.float32]]:
    """Apply a function to every block of some images and put the pieces together.

    Parameters
    ----------
    function : callable
        Takes the read regions ``[y, x]`` of all images and returns `outputs` arrays of the same shape.
    images : sequence of array
        ``[y, x]``, all of one shape.
    blocks : sequence of Block
        Of `cover`.
    outputs : int
        Number of arrays that the function returns.
    progress : callable, optional
        Called with the blocks done and the blocks in all.
    """
    whole = [np.zeros(images[0].shape, dtype=np.float32) for _ in range(outputs)]
    for done, block in enumerate(blocks, start=1):
        for target, piece in zip(whole, function(*(block.take(i) for i in images)), strict=True):
            target[block.write] = piece[block.inner]
        if progress is not None:
            progress(done, len(blocks))
    return whole
