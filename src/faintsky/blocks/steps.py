"""How each step of `detect` and `denoise` can be run in blocks: its reach, what merges, or why neither yet.

The rule is StarDist's (Weigert et al. 2020): a block reads its surroundings, writes what it owns, and exactly
one block owns each pixel and each object. A block holds all channels of a cube.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from faintsky.blocks.tiling import LARGEST, Block, cover, in_blocks

Declared = TypeVar("Declared", bound=Callable[..., Any])
Merge = Callable[[Sequence[Any], Sequence[Block], tuple[int, ...]], Any]


@dataclass(frozen=True)
class Step:
    """How one step can be run in blocks; one of the four is given.

    Attributes
    ----------
    reach : int or callable, optional
        How many pixels around a pixel decide its result; or what says so, given the step's arguments but the
        images.
    merge : callable, optional
        Makes the whole result of what the step gives for the write regions alone: it takes these pieces,
        their blocks, and the image's shape.
    objects : bool
        It works object by object, each on a box of its own: the block that owns an object does it.
    whole : str
        Why it needs the whole image.
    """

    reach: int | Callable[..., int] | None = None
    merge: Merge | None = None
    objects: bool = False
    whole: str = ""


STEPS: dict[str, Step] = {}
"""Every step that has been imported, by its name in its room: ``preparing.noise_map``."""


def step(**how: Any) -> Callable[[Declared], Declared]:
    """Declare a function or class to be a step; see `Step` for what can be said. It is not changed."""
    declared = Step(**how)
    if len(how) != 1:
        raise ValueError("a step has a reach, or merges, or works on objects, or needs the whole")

    def declare(function: Declared) -> Declared:
        room = function.__module__.split(".")[1]
        STEPS[f"{room}.{function.__name__}"] = declared
        function.step = declared  # type: ignore[attr-defined]
        return function

    return declare


def run_step(
    function: Callable[..., Any],
    images: Sequence[NDArray[Any]],
    *arguments: Any,
    largest: int = LARGEST,
    **options: Any,
) -> Any:
    """Run a step of images in blocks; the result is that of ``function(*images, *arguments, **options)``.

    Parameters
    ----------
    function : callable
        A step that has a reach and gives an array or several, or that merges.
    images : sequence of array
        ``[..., y, x]``, all of the same y and x.
    largest : int, optional
        Side of the largest block [pixel].
    """
    declared: Step = function.step  # type: ignore[attr-defined]
    shape = images[0].shape[-2:]
    if declared.merge is not None:
        blocks = cover(shape, reach=0, largest=largest)
        pieces = [function(*(i[..., *b.write] for i in images), *arguments, **options) for b in blocks]
        return declared.merge(pieces, blocks, shape)
    if declared.reach is None:
        raise ValueError(f"{function.__name__} cannot be run in blocks of pixels: {declared.whole}")
    reach = declared.reach if isinstance(declared.reach, int) else declared.reach(*arguments, **options)
    single = True

    def pieces_of(*parts: NDArray[Any]) -> Sequence[NDArray[Any]]:
        nonlocal single
        made = function(*parts, *arguments, **options)
        single = not isinstance(made, tuple | list)
        return [made] if single else made

    whole = in_blocks(pieces_of, images, cover(shape, reach=reach, largest=largest))
    return whole[0] if single else whole


def merge_labels(
    pieces: Sequence[NDArray[np.integer]], blocks: Sequence[Block], shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Labels of an image from those of its blocks: regions that touch across a cut become one.

    At a side or a corner; numbered in the order of their first pixels, as `scipy.ndimage.label` does.
    """
    labels = np.zeros(shape, dtype=np.int32)
    count = 0
    for piece, block in zip(pieces, blocks, strict=True):
        labels[block.write] = np.where(piece > 0, piece + count, 0)
        count += int(piece.max(initial=0))
    pairs = [np.zeros((2, 0), dtype=np.int32)]
    for image, axis in ((labels, 0), (labels.T, 1)):
        for cut in {b.write[axis].start for b in blocks} - {0}:
            before, after = np.pad(image[cut - 1], 1), image[cut]
            pairs += [np.stack([before[i : i + after.size], after]) for i in range(3)]
    first, second = np.concatenate(pairs, axis=1)
    met = (first > 0) & (second > 0)
    edges = coo_matrix((np.ones(met.sum(), dtype=bool), (first[met], second[met])), shape=(count + 1,) * 2)
    _, group = connected_components(edges, directed=False)
    found, at, inverse = np.unique(group[labels], return_index=True, return_inverse=True)
    background = np.flatnonzero(found == group[0])
    order = np.argsort(np.argsort(np.where(found == group[0], -1, at)))
    return np.asarray(order[inverse].reshape(shape) + (0 if background.size else 1), dtype=np.int32)
