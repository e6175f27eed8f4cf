"""One-to-one matching and its metrics against hand cases, brute force and invariances."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from faintsky.matching import (
    Criterion,
    assign,
    iou_2d,
    iou_z,
    match,
    metrics,
    summarise,
    tally,
)


def sources(x, y, z, fwhm_z=4.0, half=5, **more):
    """A table with boxes of ``2 half + 1`` pixels around the rounded centre and centre ± FWHM along z."""
    x, y, z = (np.asarray(v, dtype=float) for v in (x, y, z))
    width = np.broadcast_to(np.asarray(fwhm_z, dtype=float), x.shape)
    columns = {"x": x, "y": y, "z": z, "fwhm_z": width}
    columns |= {"x_min": np.rint(x) - half, "x_max": np.rint(x) + half}
    columns |= {"y_min": np.rint(y) - half, "y_max": np.rint(y) + half}
    columns |= {"z_min": z - width, "z_max": z + width}
    return Table(columns | more)


def best_by_brute_force(cost, admissible):
    """Most pairs, then least cost, over every injection of the shorter side into the longer."""
    if cost.shape[0] > cost.shape[1]:
        cost, admissible = cost.T, admissible.T
    n, m = cost.shape
    best = (0, 0.0)
    for order in permutations(range(m), n):
        ok = [r for r in range(n) if admissible[r, order[r]]]
        best = max(best, (len(ok), -sum(cost[r, order[r]] for r in ok)))
    return best[0], -best[1]


def test_one_of_each_by_hand():
    truth = sources([10, 50], [10, 50], [20, 60])
    found = sources([51, 10.5, 90], [50, 9, 90], [61, 20, 5])
    result = match(truth, found)
    assert result.i_true.tolist() == [0, 1]
    assert result.i_found.tolist() == [1, 0]
    assert result.unmatched_found.tolist() == [2]
    assert (result.partner_of_true >= 0).all()
    assert result.distance[1] == pytest.approx(np.hypot(1 / 3, 1 / 4))


@pytest.mark.parametrize(
    ("dx", "dz", "matched"),
    [(2.999, 0, True), (3.001, 0, False), (0, 3.999, True), (0, -4.001, False), (2.9, 3.9, True)],
)
def test_position_limits(dx, dz, matched):
    result = match(sources([30], [30], [40]), sources([30 + dx], [30], [40 + dz]))
    assert (len(result.i_true) == 1) is matched


def test_the_true_line_sets_the_limit_along_frequency():
    wide, narrow = sources([30], [30], [40], fwhm_z=10), sources([30], [30], [46], fwhm_z=2)
    assert len(match(wide, narrow).i_true) == 1
    assert len(match(narrow, wide).i_true) == 0


def test_greedy_fails_where_hungarian_does_not():
    # The middle detection is closest to the first true source, but it is the second one's only chance.
    truth, found = sources([10, 12.5], [10, 10], [20, 20]), sources([10.4, 7.5], [10, 10], [20, 20])
    assert abs(10 - 10.4) < abs(10 - 7.5)
    result = match(truth, found)
    assert result.i_true.tolist() == [0, 1]
    assert result.i_found.tolist() == [1, 0]


def test_two_detections_of_one_source_are_one_hit_and_one_false():
    truth, found = sources([10], [10], [20]), sources([10.5, 10.1], [10, 10], [20, 20])
    result = match(truth, found)
    assert result.i_found.tolist() == [1]
    assert tally(result)[:3].tolist() == [1, 1, 0]


def test_one_detection_of_two_sources_is_one_hit_and_one_miss():
    result = match(sources([10, 11], [10, 10], [20, 20]), sources([10.4], [10], [20]))
    assert result.i_true.tolist() == [0]
    assert tally(result)[:3].tolist() == [1, 0, 1]


def test_overlaps_by_hand():
    truth = sources([10], [10], [20], fwhm_z=4)  # pixels 5 to 15, channels 16 to 24
    found = sources([12], [10], [22], fwhm_z=4)  # pixels 7 to 17, channels 18 to 26
    pair = np.array([0])
    assert iou_2d(truth, found, pair, pair) == pytest.approx(9 * 11 / (2 * 121 - 99))
    assert iou_z(truth, found, pair, pair) == pytest.approx(6 / 10)
    assert iou_2d(truth, truth, pair, pair) == pytest.approx(1)
    far = sources([40], [10], [60])
    assert iou_2d(truth, far, pair, pair) == 0
    assert iou_z(truth, far, pair, pair) == 0


def test_a_box_of_one_pixel_overlaps_itself_wholly():
    dot, pair = sources([3], [3], [3], half=0), np.array([0])
    assert iou_2d(dot, dot, pair, pair) == pytest.approx(1)


@pytest.mark.parametrize(
    ("half", "width", "matched"), [(5, 4, True), (3, 4, False), (5, 8, False), (4, 5, True)]
)
def test_iou_criterion_needs_both_overlaps(half, width, matched):
    found = sources([10], [10], [20], fwhm_z=width, half=half)
    assert (len(match(sources([10], [10], [20]), found, "iou").i_true) == 1) is matched


def test_iou_criterion_limits_the_distance_of_the_boxes():
    truth, found = sources([50], [50], [20], half=20), sources([54], [50], [20], half=20)
    assert len(match(truth, found, "iou").i_true) == 0
    assert len(match(truth, found, Criterion("iou", 0.6, radius=4.0)).i_true) == 1


@pytest.mark.parametrize("seed", range(60))
def test_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 7, 2)
    truth = sources(*rng.uniform(0, 8, (2, n)), rng.uniform(0, 6, n))
    found = sources(*rng.uniform(0, 8, (2, m)), rng.uniform(0, 6, m))
    squared = sum((np.subtract.outer(truth[c], found[c]) / 3.0) ** 2 for c in "xy")
    dz = np.abs(np.subtract.outer(truth["z"], found["z"]))
    admissible = (squared <= 1) & (dz <= 4.0)
    count, cost = best_by_brute_force(squared + (dz / 4.0) ** 2, admissible)
    result = match(truth, found)
    assert len(result.i_true) == count
    assert (result.distance**2).sum() == pytest.approx(cost)
    assert admissible[result.i_true, result.i_found].all()


@pytest.mark.parametrize("criterion", ["position", "iou"])
def test_the_order_of_the_rows_does_not_matter(criterion):
    rng = np.random.default_rng(3)
    truth = sources(*rng.uniform(0, 60, (2, 200)), rng.uniform(0, 30, 200))
    found = sources(*rng.uniform(0, 60, (2, 300)), rng.uniform(0, 30, 300))
    first = match(truth, found, criterion)
    p, q = rng.permutation(200), rng.permutation(300)
    second = match(truth[p], found[q], criterion)
    assert len(first.i_true) > 10
    pairs = set(zip(first.i_true.tolist(), first.i_found.tolist()))
    assert pairs == set(zip(p[second.i_true].tolist(), q[second.i_found].tolist()))


def test_swapping_the_tables_swaps_the_pairs():
    rng = np.random.default_rng(4)
    a = sources(*rng.uniform(0, 40, (2, 80)), rng.uniform(0, 30, 80))
    b = sources(*rng.uniform(0, 40, (2, 90)), rng.uniform(0, 30, 90))
    ab, ba = match(a, b), match(b, a)
    assert set(zip(ab.i_true, ab.i_found)) == set(zip(ba.i_found, ba.i_true))


def test_every_source_is_used_once_among_thousands():
    rng = np.random.default_rng(5)
    n = 5000
    truth = sources(*rng.uniform(0, 1000, (2, n)), rng.uniform(0, 128, n))
    found = truth.copy()
    for name in "xyz":
        found[name] += rng.normal(0, 0.3, n)
    result = match(truth, found)
    assert len(np.unique(result.i_true)) == len(np.unique(result.i_found)) == len(result.i_true)
    assert len(result.i_true) > 0.999 * n
    assert np.mean(result.i_true == result.i_found) > 0.99


def test_crowded_component_is_still_solved():
    rng = np.random.default_rng(6)
    i, j = np.meshgrid(np.arange(30), np.arange(30), indexing="ij")
    cost = rng.uniform(size=(30, 30))
    kept = assign(i.ravel(), j.ravel(), cost.ravel(), 30, 30)
    from scipy.optimize import linear_sum_assignment

    assert cost.ravel()[kept].sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum())


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
@pytest.mark.parametrize("criterion", ["position", "iou"])
def test_empty_tables(n, m, criterion):
    truth, found = sources(np.arange(n), np.arange(n), np.arange(n)), sources(*(np.arange(m),) * 3)
    result = match(truth, found, criterion)
    assert (result.partner_of_true < 0).sum() == n
    assert len(result.unmatched_found) == m
    bare = match(Table() if not n else truth, Table() if not m else found, criterion)
    assert tally(bare)[:3].tolist() == tally(result)[:3].tolist()


def test_detections_without_a_position_are_false_positives():
    truth, found = sources([10, 20], [10, 20], [20, 20]), sources([10, np.nan], [10, 20], [20, 20])
    result = match(truth, found)
    assert tally(result)[:3].tolist() == [1, 1, 1]
    found["z"] = MaskedColumn(found["z"], mask=[True, False])
    assert len(match(truth, found).i_true) == 0


def test_unknown_criterion_is_an_error():
    with pytest.raises(KeyError):
        match(sources([1], [1], [1]), sources([1], [1], [1]), "nearest")


def test_subset_counts_its_own_misses_and_ignores_hits_outside():
    truth = sources([10, 30, 50, 70], [10] * 4, [20] * 4)
    found = sources([10, 30, 90], [10] * 3, [20] * 3)
    assert tally(match(truth, found))[:3].tolist() == [2, 1, 2]
    subset = np.array([True, False, True, False])
    assert tally(match(truth, found), subset)[:3].tolist() == [1, 1, 1]


def test_metrics_by_hand():
    truth, found = sources([10, 30], [10, 10], [20, 20]), sources([10, 90, 95], [10] * 3, [20] * 3)
    (score,) = metrics([truth], [found])
    assert (score.tp, score.fp, score.fn) == (1, 2, 1)
    assert score.precision.value == pytest.approx(1 / 3)
    assert score.recall.value == pytest.approx(1 / 2)
    assert score.f1.value == pytest.approx(2 / 5)
    assert score.iou_2d.value == pytest.approx(1)
    assert score.iou_z.value == pytest.approx(1)
    assert score.false_per_cube.value == 2


def test_thresholds_match_anew():
    # Above 0.5 only the farther detection is left, and it takes the true source.
    truth = sources([10], [10], [20])
    found = sources([10, 12], [10, 10], [20, 20], reliability=np.array([0.4, 0.9]))
    low, high, none = metrics([truth], [found], thresholds=(0.0, 0.5, 0.95))
    assert (low.tp, low.fp) == (1, 1)
    assert (high.tp, high.fp) == (1, 0)
    assert (none.tp, none.fp, none.fn) == (0, 0, 1)
    assert np.isnan(none.precision.value)
    assert none.recall.value == 0


def test_bootstrap_over_cubes_sees_that_sources_of_a_cube_share_their_fate():
    rng = np.random.default_rng(7)
    alike, apart = np.zeros((400, 5)), np.zeros((400, 5))
    alike[:, 0] = 5 * (rng.uniform(size=400) < 0.8)
    apart[:, 0] = rng.binomial(5, 0.8, 400)
    for counts in (alike, apart):
        counts[:, 2] = 5 - counts[:, 0]
    error_alike, error_apart = (summarise(c).recall.error for c in (alike, apart))
    assert error_apart == pytest.approx(np.sqrt(0.8 * 0.2 / 2000), rel=0.15)
    assert error_alike == pytest.approx(np.sqrt(0.8 * 0.2 / 400), rel=0.15)


def test_perfect_scores_do_not_claim_a_vanishing_error():
    counts = np.zeros((20, 5))
    counts[:, 0] = 1
    score = summarise(counts)
    assert score.recall.value == 1
    assert 0.01 < score.recall.error < 0.05
    assert score.false_per_cube.error == pytest.approx(1.84 / 20)


def test_metrics_of_no_cube_are_refused():
    with pytest.raises(ValueError, match="at least one cube"):
        metrics([], [])


def test_wider_position_criterion_finds_no_less():
    rng = np.random.default_rng(8)
    truth = sources(*rng.uniform(0, 50, (2, 60)), rng.uniform(0, 30, 60))
    found = sources(*rng.uniform(0, 50, (2, 60)), rng.uniform(0, 30, 60))
    hits = [len(match(truth, found, Criterion(radius=r)).i_true) for r in (1, 3, 6, 12)]
    assert hits == sorted(hits)
    assert hits[-1] > hits[0]
