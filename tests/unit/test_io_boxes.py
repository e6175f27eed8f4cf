"""Boxes of arrays in files: any box of any shape is the array's own; what behind the end is."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faintsky.io.boxes import read_box, runs, write_box


@st.composite
def boxes(draw):
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    part = []
    for n in shape:
        a = draw(st.integers(0, n - 1))
        part.append(draw(st.sampled_from([slice(None), a, slice(a, draw(st.integers(a, n)))])))
    return tuple(shape), tuple(part)


@given(boxes())
@settings(max_examples=100, deadline=None)
def test_a_box_is_that_of_the_array(tmp_path_factory, drawn):
    shape, part = drawn
    path = tmp_path_factory.mktemp("boxes") / "array"
    whole = np.arange(np.prod(shape), dtype=">f4").reshape(shape)
    path.write_bytes(b"head" + whole.tobytes())
    kept = tuple(slice(p, p + 1) if isinstance(p, int) else p for p in part)
    file = os.open(path, os.O_RDWR)
    try:
        np.testing.assert_array_equal(read_box(file, 4, shape, ">f4", part), whole[kept])
        write_box(file, 4, shape, part, (-whole[kept]).astype(">f4"))
    finally:
        os.close(file)
    whole[kept] *= -1
    assert path.read_bytes() == b"head" + whole.tobytes()


def test_whole_rows_and_planes_are_one_run():
    assert runs((4, 6, 8), (slice(1, 3), slice(None), slice(None)))[:2] == (48, 96)
    assert runs((4, 6, 8), (2, slice(1, 5), slice(None)))[1] == 32
    assert len(runs((4, 6, 8), (slice(1, 3), slice(1, 5), slice(0, 7)))[0]) == 8


def test_the_end_of_a_file(tmp_path):
    path = tmp_path / "short"
    path.write_bytes(np.ones(6, "f4").tobytes())
    with path.open("rb") as file:
        part = (slice(0, 2), slice(0, 4))
        np.testing.assert_array_equal(
            read_box(file.fileno(), 0, (2, 4), "f4", part, short=True), [[1, 1, 1, 1], [1, 1, 0, 0]]
        )
        with pytest.raises(EOFError):
            read_box(file.fileno(), 0, (2, 4), "f4", part)
