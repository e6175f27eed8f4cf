"""Merging of regions that lie in several tiles."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from faintsky.blocks.tiling import Block

Labels = NDArray[np.int32]


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
    first: NDArray[np.int64]
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


def joined(mask: NDArray[np.bool_]) -> Labels:
    """Labels of the connected regions of a mask ``[y, x]``; pixels that share a side or a corner touch."""
    return np.asarray(label(mask, np.ones((3, 3)))[0], np.int32)


def merged_pieces(pieces: Sequence[Pieces], blocks: Sequence[Block]) -> list[NDArray[np.int64]]:
    """Number of the whole region that each piece belongs to, ``[count + 1]`` for each tile.

    Pieces that touch across a seam, at a side or a corner, belong together. Regions are numbered 1 … n in the
    order of their first pixels; label 0 stays 0.
    """
    starts = np.concatenate([[1], 1 + np.cumsum([p.count for p in pieces])])
    number = {tuple(s.start for s in b.write): k for k, b in enumerate(blocks)}
    stops = {tuple((b.write[0].start, b.write[1].stop)): k for k, b in enumerate(blocks)}
    pairs = [np.zeros((2, 0), np.int64)]

    def numbered(k: int, rim: Labels) -> NDArray[np.int64]:
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
