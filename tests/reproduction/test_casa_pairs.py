"""The comparison of two back ends on the same skies: differences and their paired errors."""

import numpy as np
import pytest

from benchmarks import alma_pairs as pairs


def tallies(rng, n, recall, false):
    hits = rng.binomial(5, recall, n)
    return np.stack([hits, rng.poisson(false, n), 5 - hits, np.zeros(n), np.zeros(n)], axis=1).astype(float)


def test_differences_are_within_their_errors_where_there_is_none():
    rng = np.random.default_rng(2)
    pulls = []
    for _ in range(60):
        found = pairs.compared(tallies(rng, 40, 0.9, 0.2), tallies(rng, 40, 0.9, 0.2), 300)
        pulls.append([found[k]["difference"] / found[k]["error"] for k in ("recall", "precision")])
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 0.5)
    assert np.all((np.std(pulls, axis=0) > 0.6) & (np.std(pulls, axis=0) < 1.4))


def test_a_difference_is_seen_and_the_same_twice_is_none():
    rng = np.random.default_rng(3)
    one = tallies(rng, 200, 0.9, 0.1)
    found = pairs.compared(one, tallies(rng, 200, 0.6, 0.1))
    assert found["recall"]["difference"] == pytest.approx(0.3, abs=0.06)
    assert found["recall"]["difference"] > 5 * found["recall"]["error"]
    same = pairs.compared(one, one)
    assert same["recall"]["difference"] == same["precision"]["difference"] == 0
    assert same["recall"]["error"] == pytest.approx(1 / 1000)  # one source more or less


def test_settings_are_found_wherever_they_stand(tmp_path):
    (tmp_path / "dataset.json").write_text('{"seed": 7, "config": {"preset": "paper", "more": {"size": 64}}}')
    assert pairs.settings_of(tmp_path) == {"seed": 7, "preset": "paper", "size": 64}
