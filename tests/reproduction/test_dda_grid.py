"""The grids of the autoencoder's paper: when their order is settled, and that a study goes on."""

import json
import sys

import numpy as np
import pytest

import faintsky
from reproduction import dda_grid

pytest.importorskip("pytorch_lightning", reason="the extra 'train' is not installed")


def test_an_order_is_settled_when_no_two_of_the_best_change_places_by_more_than_their_error():
    before = np.array([[1.0, 1.1], [2.0, 2.1], [3.0, 3.1]])
    assert dda_grid.settled(before, before / 2, 3)
    changed = before[[1, 0, 2]]  # the first and the second, by ten times the spread of the seeds
    assert not dda_grid.settled(before, changed, 3)
    tie = np.array([[1.0, 1.3], [1.1, 1.0], [3.0, 3.1]])
    assert dda_grid.settled(before, tie, 3)
    assert dda_grid.settled(before, before[[0, 2, 1]], 1)  # not among the best
    assert not dda_grid.settled(before[:, :1], changed[:, :1], 2)  # one seed knows no error


def test_every_setting_of_the_papers_tables_is_in_its_grid():
    for name, (_, _, grid, paper) in dda_grid.STUDIES.items():
        values = [[float(v) for v in text.split("/")] for text in grid.values()]
        assert np.prod([len(v) for v in values]) == (24 if name == "a1" else 12)
        for key in paper:
            rest = key if name == "a1" else key[1:]
            assert all(k in v for k, v in zip(rest, values, strict=True)), (name, key)


def test_ranks_stand_beside_the_papers():
    points = [{"batch_size": 50, "learning_rate": rate} for rate in (1e-3, 1e-4, 5e-5)]
    losses = {10: np.array([[1.0], [2.0], [3.0]]), 20: np.array([[0.9], [0.5], [0.7]])}
    rows = dda_grid.rows_of(points, losses, [{"sigma_mre": 0.0, "delta_c": 0.0}] * 3, dda_grid.B1)
    assert [r["learning_rate"] for r in rows] == [1e-4, 5e-5, 1e-3]
    assert [r["rank_at_10"] for r in rows] == [2, 3, 1]
    assert [r["rank_at_20"] for r in rows] == [1, 2, 3]
    # the best of those that the paper lists, at whatever number of epochs
    assert [(r["paper_epochs"], r["paper_mse"]) for r in rows] == [(100, 0.382), (300, 0.412), (100, 0.548)]
    assert dda_grid.agreement(rows)["rho"] == pytest.approx(1)


def test_a_study_goes_on_to_longer_trainings(tmp_path, monkeypatch):
    monkeypatch.setattr(dda_grid, "RESULTS", tmp_path / "results")
    data = tmp_path / "data"
    faintsky.simulate_lofar(data, 3, size=96, quick=True, products="compact", seed=1)
    ask = ["b1", "--data", str(data), "--work", str(tmp_path / "study"), "--seeds", "1"]
    for setting in ("tile=32", "levels=1", "dense=4", "batch_size=9", "learning_rate=1e-3/1e-9"):
        ask += ["--set", setting]
    trained = []
    fit = dda_grid.fit
    monkeypatch.setattr(
        dda_grid,
        "fit",
        lambda task, folder, plan, **more: (trained.append(plan.epochs), fit(task, folder, plan, **more))[1],
    )
    for budgets, new in (("2", [2, 2]), ("2,4", [4, 4]), ("2,4", [])):
        monkeypatch.setattr(sys, "argv", ["dda_grid", *ask, "--budgets", budgets])
        dda_grid.main()
        assert trained == new
        trained.clear()
    record = json.loads((tmp_path / "results" / "b1.json").read_text())
    assert record["settled"] is True
    assert record["budgets"] == [2, 4]
    folders = sorted(p.name for p in (tmp_path / "study").iterdir())
    assert folders == [f"batch_size=9_learning_rate={rate}_seed=0" for rate in ("0.001", "1e-09")]
    histories = [json.loads((tmp_path / "study" / f / "history.json").read_text()) for f in folders]
    assert [h["epoch"] for h in histories[0]] == [1, 2, 3, 4]
    assert histories[0][-1]["loss"] < histories[0][0]["loss"]
    assert "| 9 | 0.001 | 4 |" in (tmp_path / "results" / "b1.md").read_text()
