"""Boxes of arrays in files, read and written by runs, which are contiguous in the file."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from faintsky.arrays import Int

Part = Sequence[slice | int]
NEAR = 2**13
"""Rows up to this length are read whole, those of a plane at once, and then cut [byte]."""


def runs(shape: Sequence[int], part: Part) -> tuple[Int, int, tuple[int, ...]]:
    """Runs of a box of an array.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    part : sequence of slice or int
        The box, along each axis.

    Returns
    -------
    first : array of int
        First element of each run, in the order of the array, ``[n]``.
    length : int
        Elements in each run.
    extent : tuple of int
        Shape of the box.
    """
    ends = [(p, p + 1) if isinstance(p, int) else p.indices(n)[:2] for p, n in zip(part, shape, strict=True)]
    extent = tuple(max(b - a, 0) for a, b in ends)
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    cut = len(shape) - 1
    while cut > 0 and extent[cut] == shape[cut]:
        cut -= 1
    first = np.array(ends[cut][0] * strides[cut], np.int64)
    for (a, b), stride in zip(ends[:cut], strides):
        first = first[..., None] + np.arange(a, b) * stride
    return first.ravel(), int(np.prod(extent[cut:], dtype=np.int64)), extent


def read_box(
    file: int, begin: int, shape: Sequence[int], kind: DTypeLike, part: Part, *, short: bool = False
) -> NDArray[Any]:
    """Read a box of an array in a file.

    Parameters
    ----------
    file : int
        Descriptor of the file.
    begin : int
        Where the array begins in it [byte].
    shape : sequence of int
        Shape of the array.
    kind : dtype
        Type of its elements.
    part : sequence of slice or int
        The box, along each axis; an integer's axis has one element.
    short : bool, optional
        Whether the file may end before the array; the rest is then 0.

    Returns
    -------
    array
        The box.

    Raises
    ------
    EOFError
        If the file ends before the box.
    """
    first, length, extent = runs(shape, part)
    out = np.zeros(extent, kind)

    def fill(values: NDArray[Any], length: int, first: Int) -> None:
        starts = begin + first * out.itemsize
        if not _moved(lambda place, at: os.preadv(file, [place], at), values, length, starts) and not short:
            raise EOFError

    width = shape[-1]
    if not out.size or out.ndim < 2 or extent[-1] == width or width * out.itemsize > NEAR:
        fill(out, length, first)
        return out
    planes, left = out.reshape(-1, *extent[-2:]), first[:: extent[-2]] % width
    rows = np.empty((extent[-2], width), kind)
    for plane, start in zip(planes, first[:: extent[-2]] - left):
        rows[:] = 0
        fill(rows, rows.size, start[None])
        plane[:] = rows[:, left[0] : left[0] + extent[-1]]
    return out


def write_box(file: int, begin: int, shape: Sequence[int], part: Part, values: NDArray[Any]) -> None:
    """Write a box of an array in a file.

    Parameters
    ----------
    file : int
        Descriptor of the file.
    begin : int
        Where the array begins in it [byte].
    shape : sequence of int
        Shape of the array.
    part : sequence of slice or int
        The box, along each axis.
    values : array
        Values of the box, with the array's type.
    """
    first, length, _ = runs(shape, part)
    own = np.ascontiguousarray(values)
    _moved(lambda place, at: os.pwrite(file, place, at), own, length, begin + first * own.itemsize)


def _moved(move: Callable[[memoryview, int], int], values: NDArray[Any], length: int, starts: Int) -> bool:
    """Move runs of a number of elements each; false if the file ended before the last."""
    size, places = length * values.itemsize, values.reshape(-1).view(np.uint8).data
    for k, at in enumerate(starts.tolist()):
        low, high = k * size, (k + 1) * size
        while low < high:
            done = move(places[low:high], at)
            if not done:
                return False
            low, at = low + done, at + done
    return True
