"""Completeness and reliability of regions, on skies where they can be counted by hand."""

import numpy as np
import pytest
from astropy.table import Table

from faintsky.evaluation.image_metrics import over_fields
from faintsky.evaluation.regions import (
    COLUMNS,
    SEGMENT_QUANTITIES,
    Segments,
    operating_curve,
    region_fluxes,
    segment_statistic,
    segment_sums,
    segments_of,
    true_regions,
)

BEAM = 4.0  # pixels: true regions have more than 40


@pytest.fixture
def sky():
    """A square of S/N 0.5, one of 2 with a rim of 0.2, and one too small to count."""
    truth = np.zeros((60, 60), np.float32)
    truth[5:15, 5:15] = 0.5
    truth[28:42, 28:42] = 0.2
    truth[30:40, 30:40] = 2.0
    truth[50:55, 50:55] = 0.5
    return truth


def labels_of(*boxes):
    labels = np.zeros((60, 60), np.int32)
    for k, box in enumerate(boxes, start=1):
        labels[box] = k
    return labels


def named(sums):
    return dict(zip(SEGMENT_QUANTITIES, segment_statistic(sums[None])))


def test_true_regions_are_large_ones(sky):
    labels, n = true_regions(sky, 0.3, BEAM)
    assert n == 2
    assert (labels > 0).sum() == 200
    assert true_regions(sky, 0.1, BEAM)[1] == 2
    assert true_regions(sky, 1.0, BEAM)[1] == 1


def test_counts_by_hand(sky):
    # half of the faint square, all of the bright one without its rim, and 50 pixels of empty sky
    boxes = (np.s_[5:10, 5:15], np.s_[30:40, 30:40], np.s_[45:50, 0:10])
    found = Segments(labels_of(*boxes), np.array([0.95, 0.99, 0.92]), 0.9)
    sums = segment_sums(found, sky, BEAM)
    assert sums.shape == (1 + len(found.cuts), len(COLUMNS))
    row = dict(zip(COLUMNS, sums[0]))
    assert row["true 0.3"] == 100
    assert row["found 0.3"] == 50
    assert row["true 0.1"] == 96  # the rim
    assert row["found 0.1"] == 0
    assert row["true 1"] == row["found 1"] == 100
    assert (row["regions 0.3"], row["detected 0.3"]) == (1, 1)
    assert (row["labelled"], row["on emission"]) == (200, 150)
    assert (row["segments"], row["real"]) == (3, 2)
    values = named(sums)
    assert values["completeness 0.3"] == pytest.approx(0.5)
    assert values["pixel reliability"] == pytest.approx(0.75)
    assert values["region reliability"] == pytest.approx(2 / 3)
    # a cut above 0.92 removes the false region and leaves the true ones
    assert values["completeness at reliability 0.3"] == pytest.approx(0.5)
    assert values["completeness at reliability 1"] == 1
    assert np.isnan(values["completeness 3"])


def test_the_operating_point_needs_both_reliabilities(sky):
    # one large true region and many small false ones, all of one score: never reliable
    small = [np.s_[k, 59:60] for k in range(0, 20, 2)]
    found = Segments(labels_of(np.s_[28:42, 28:42], *small), np.full(11, 0.95), 0.9)
    sums = segment_sums(found, sky, BEAM)
    curve = operating_curve(sums)
    assert curve["pixel reliability"][0] > 0.9
    assert curve["region reliability"][0] == pytest.approx(1 / 11)
    assert named(sums)["completeness at reliability 1"] == 0
    assert np.all(np.isnan(curve["completeness"][:, 3]))


def test_nothing_found_and_fields_added_up(sky):
    nothing = segment_sums(Segments(np.zeros((60, 60), np.int32), np.zeros(0), 0.9), sky, BEAM)
    assert named(nothing)["completeness 0.3"] == 0
    assert np.isnan(named(nothing)["pixel reliability"])
    every = segment_sums(Segments((sky > 0.1).astype(np.int32), np.array([0.99]), 0.9), sky, BEAM)
    values = dict(zip(SEGMENT_QUANTITIES, over_fields(segment_statistic, [nothing[None], every[None]])))
    assert values["completeness 0.3"].value == pytest.approx(0.5)
    assert values["completeness 0.3"].error > 0.1


def test_a_method_that_reports_all_it_finds(sky):
    found = Segments(labels_of(np.s_[30:40, 30:40]), np.array([7.0]), -np.inf, (3.0, 8.0))
    sums = segment_sums(found, sky, BEAM)
    row = dict(zip(COLUMNS, sums[0]))
    assert row["labelled"] == row["found 1"] == 100
    assert row["found 0.3"] == row["detected 0.3"] == 0
    assert sums[2][COLUMNS.index("labelled")] == 0


def test_fluxes_of_real_regions(sky):
    labels = labels_of(np.s_[5:15, 5:15], np.s_[30:40, 30:40], np.s_[45:50, 0:10])
    found = Segments(labels, np.array([0.95, 0.5, 0.95]), 0.9, flux=np.array([55.0, 1, 9]),
                     snr=np.array([6.0, 1, 3]))  # fmt: skip
    assert region_fluxes(found, sky) == pytest.approx(np.array([[6.0, 1.1]]))
    assert found.reported == 2


def test_segments_of_a_catalogue():
    labels = labels_of(np.s_[5:15, 5:15], np.s_[30:40, 30:40])
    table = Table({"reliability": [0.95, 0.4], "snr": [6.0, 1.0]})
    made = segments_of(labels, table, np.full((60, 60), 0.5), 0.25, 0.9)
    assert made.flux == pytest.approx([200, 200])
    assert made.reported == 1
    table["reliability"] = np.nan  # a method without: all are reported, and S/N makes the curve
    made = segments_of(labels, table, np.full((60, 60), 0.5), 0.25, 0.9)
    assert made.reported == 2
    assert made.score == pytest.approx([6, 1])
    empty = segments_of(np.zeros((60, 60), int), table[:0], np.zeros((60, 60)), 1.0, 0.9)
    assert empty.reported == 0
