"""Boxes by rule against whole images, drawn and measured literally."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from faintsky.errors import InputError
from faintsky.evaluation import Setting, gaussian_box, with_boxes
from faintsky.grid import FWHM_PER_SIGMA, ImageGrid
from faintsky.image import RadioCube
from faintsky.matching import match
from faintsky.simulating import BOX_RULES, box
from faintsky.sky import gaussian_image


def drawn(x, y, maj, minor, pa, shape):
    """The Gaussian on the whole image, position angle from north (y) towards east (minus x)."""
    theta = np.deg2rad(pa)
    v, u = np.mgrid[: shape[0], : shape[1]]
    along = -(u - x) * np.sin(theta) + (v - y) * np.cos(theta)
    across = (u - x) * np.cos(theta) + (v - y) * np.sin(theta)
    return np.exp(-4 * np.log(2) * ((along / maj) ** 2 + (across / minor) ** 2))


def setting(rule, n):
    return Setting((1, n, n), 0.1, 3.0, [1.0], rule)


def box_of(mask):
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return cols[0], cols[-1], rows[0], rows[-1]


CASES = [
    (180.0, 180.0, 12.0, 7.0, 30.0),
    (101.3, 240.8, 18.8, 18.8, 0.0),
    (160.5, 99.5, 18.0, 4.7, 135.0),
    (150.2, 170.7, 4.7, 4.7, 90.0),
    (3.0, 200.0, 15.0, 9.0, 80.0),
    (357.0, 1.0, 18.0, 12.0, 10.0),
    (120.0, 130.0, 3.0, 2.1, 45.0),
]


@pytest.mark.parametrize("case", CASES)
def test_paper_rule_is_the_paper_code_s(case):
    image = drawn(*case, (360, 360))
    scaled = (image - image.min()) / (image.max() - image.min())
    assert gaussian_box(*case, (360, 360), "paper") == box_of(scaled >= 3 * scaled.std())


@pytest.mark.parametrize("case", CASES)
def test_tenth_rule(case):
    image = drawn(*case, (360, 360))
    assert gaussian_box(*case, (360, 360), "tenth") == box_of(image >= 0.1 * image.max())


def test_paper_half_sizes_are_those_of_the_fidelity_page():
    sizes = []
    for sigma in (2.0, 8.0):
        lo, hi, _, _ = gaussian_box(180, 180, sigma * FWHM_PER_SIGMA, sigma * FWHM_PER_SIGMA, 0, (360, 360))
        sizes.append((hi - lo) / 2 / sigma)
    assert sizes[0] == pytest.approx(2.75, abs=0.3)
    assert sizes[1] == pytest.approx(2.1, abs=0.15)


def test_a_box_moves_with_its_source_and_turns_with_its_angle():
    a = np.array(gaussian_box(100, 120, 16, 6, 25, (360, 360)))
    assert (np.array(gaussian_box(117, 115, 16, 6, 25, (360, 360))) - a).tolist() == [17, 17, -5, -5]
    b = gaussian_box(100, 120, 16, 6, 0, (360, 360))
    c = gaussian_box(100, 120, 16, 6, 90, (360, 360))
    assert b[3] - b[2] > b[1] - b[0]  # north is along y
    assert (c[1] - c[0], c[3] - c[2]) == (b[3] - b[2], b[1] - b[0])


@pytest.mark.parametrize("rule", ["paper", "tenth"])
@pytest.mark.parametrize(("maj", "minor"), [(0.0, 0.0), (1.3, 0.4), (6.0, 1.0), (9.0, 4.0), (18.0, 11.0)])
def test_boxes_are_the_simulator_s(rule, maj, minor):
    grid = ImageGrid(200, 220, 0.1)
    if rule == "paper":
        maj, minor = max(maj, 2.0), max(minor, 2.0)
    for x, y, pa in ((90.3, 101.8, 20.0), (110.5, 60.0, 130.0)):
        image = gaussian_image(grid, x, y, maj, minor, pa)
        assert gaussian_box(x, y, maj, minor, pa, grid.shape, rule) == box(image, rule)


def test_a_width_that_is_not_known_is_a_point():
    nan = float("nan")
    for rule in ("paper", "tenth"):
        point = gaussian_box(50.2, 60.4, 0, 0, 0, (100, 100), rule)
        assert gaussian_box(50.2, 60.4, nan, nan, nan, (100, 100), rule) == point
        assert point[1] - point[0] <= 4


def test_a_source_outside_the_image_has_a_box_inside():
    x_min, x_max, y_min, y_max = gaussian_box(-40, 50, 5, 5, 0, (100, 100))
    assert x_min == x_max == 0
    assert 0 <= y_min <= y_max < 100


def test_rules_are_known_by_name_and_description():
    cube = RadioCube.from_array(
        np.zeros((2, 8, 8), np.float32), cell=0.1, frequencies=[1e9, 2e9], beam=(0.3, 0.3, 0.0)
    )
    table = Table(meta={"noise_jy_per_beam": 1.0})
    for rule, name in (("paper", "paper"), (None, "paper"), *((about, k) for k, about in BOX_RULES.items())):
        assert Setting.for_cube(cube, table, rule).box_rule == name
    with pytest.raises(InputError, match="unknown box rule"):
        Setting.for_cube(cube, table, "median")


def test_tables_of_boxes():
    table = Table(
        {
            "x": [50.0, np.nan],
            "y": [60.0, 20.0],
            "z": [30.25, 40.0],
            "dc_maj": [1.2, 1.2],
            "dc_min": [0.8, 0.8],
            "dc_pa": [20.0, 20.0],
            "fwhm_z": [5.5, 3.0],
        }
    )
    boxed = with_boxes(table, setting("tenth", 100))
    row = tuple(int(boxed[c][0]) for c in ("x_min", "x_max", "y_min", "y_max"))
    assert row == gaussian_box(50, 60, 12, 8, 20, (100, 100), "tenth")
    assert boxed["z_min"][0] == pytest.approx(24.75)
    assert boxed["z_max"][0] == pytest.approx(35.75)
    assert np.isnan(boxed["x_min"][1])
    assert "x_min" not in table.colnames
    kept = boxed.copy()
    kept["x_min"][0], kept["x_min"][1] = 41.0, -1.0
    again = with_boxes(kept, setting("paper", 100), keep_image_box=True)
    assert again["x_min"][0] == 41.0
    assert again["x_max"][0] == boxed["x_max"][0]


def test_the_same_source_has_the_same_box_whether_true_or_found():
    rng = np.random.default_rng(1)
    n = 50
    table = Table(
        {
            "x": rng.uniform(100, 250, n),
            "y": rng.uniform(100, 250, n),
            "z": rng.uniform(10, 118, n),
            "dc_maj": rng.uniform(1, 1.9, n),
            "dc_min": rng.uniform(0.4, 1, n),
            "dc_pa": rng.uniform(0, 180, n),
            "fwhm_z": rng.uniform(3, 12, n),
        }
    )
    truth = with_boxes(table, setting("paper", 360))
    found = with_boxes(table[::-1], setting("paper", 360))
    result = match(truth, found, "iou")
    assert len(result.i_true) == n
    assert result.iou_2d == pytest.approx(np.ones(n))
    assert result.iou_z == pytest.approx(np.ones(n))
