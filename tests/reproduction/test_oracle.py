"""The oracle ladder: perfect networks find what is there, and every row counts the same truth."""

import pytest

from faintsky.simulating import SimulationSettings, open_observatory
from reproduction import oracle

SMALL = {"channels": 48, "total_time": "200s", "integration": "100s"}


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        small = open_observatory(SimulationSettings.read({"telescope": "alma", "preset": "paper", **SMALL}))
        patch.setattr(oracle, "opened", lambda: small)
        return {(r["row"].table, r["row"].name): r for r in oracle.measure(0, 3, None)}


def test_perfect_networks_find_all(rows):
    best = rows["chain", "peaks"]
    first = next(iter(best["hits"]))
    assert best["true"] >= 2
    assert best["place"] == best["found"] == best["true"]
    assert best["hits"][first] == best["true"]


def test_every_row_is_of_the_same_truth(rows):
    assert len({r["true"] for r in rows.values()}) == 1
    for row in rows.values():
        assert set(row["hits"]) == set(next(iter(rows.values()))["hits"])
        assert all(0 <= n <= min(row["true"], row["found"]) for n in row["hits"].values())
    # boxes at 0.15 of the brightest pixel are too small
    assert rows["image", "label above 0.15"]["hits"] != rows["image", "peaks"]["hits"]
