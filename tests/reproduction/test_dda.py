"""The command behind Gheller & Vazza's tables, on a small field, with models that have learnt nothing."""

import json
import sys

import numpy as np
import pytest
from stand_ins import autoencoder

from faintsky.sky.web import BLOCKS, Points, WebBox, save_box
from reproduction import common, dda, dda_figures, dda_stacks

SIDE = 25.0


@pytest.fixture
def web(tmp_path):
    rng = np.random.default_rng(1)
    position = (rng.uniform(0, SIDE, (100, 1, 3)) + rng.normal(0, 0.15, (100, 60, 3))).reshape(-1, 3)
    position = (position % SIDE / SIDE * 65536).astype(np.uint16)
    part = position.astype(np.int64) * BLOCKS >> 16
    order = np.argsort((part[:, 0] * BLOCKS + part[:, 1]) * BLOCKS + part[:, 2], kind="stable")
    points = Points(position[order], np.full(len(order), 2.0, np.float16), np.full(len(order), 40, np.uint8))
    save_box(
        WebBox(16, SIDE, 1, 0.0, (0.1,), (points,), (np.zeros((0, 5), np.float32),)), tmp_path / "web.npz"
    )
    return tmp_path / "web.npz"


def test_one_command_makes_tables_and_figures(web, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    models = ",".join(autoencoder(tmp_path, product) for product in ("sky", "noise", "dirty"))
    ask = ["--models", models, "--methods", "input,constant,gaussian_paper", "--web", str(web), "-n", "1"]
    ask += ["--size", "128", "--kinds", "sky,noise,dirty", "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", ["dda", *ask])
    # the maps of each set are drawn alike and take seconds: those of one are enough
    of_field = dda_figures.of_field
    monkeypatch.setattr(
        dda_figures, "of_field", lambda field, seen: of_field(field, seen) if field.kind == "noise" else {}
    )
    dda.main()
    folder = tmp_path / "results" / "dda"
    text = (folder / "table.md").read_text()
    assert "Measures of Gheller & Vazza (2021)" in text
    assert "The same, of answers without the image's beam" in text
    record = json.loads((folder / "results.json").read_text())
    assert record["run"]["config"]["models"]["sky"]["recipe"]["epochs"] == 1
    assert "nothing to see" not in json.dumps(record)
    names = {p.stem for p in (folder / "figures").iterdir()}
    assert {"correlation", "histograms", "discrepancy", "maps_sky2_noise", "cut_sky2_noise"} <= names
    assert all(p.stat().st_size < 150_001 for p in (folder / "figures").iterdir())


def test_stacks_are_compared_with_one_encoding(web, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    model = autoencoder(tmp_path, "noise")
    ask = [model, "--members", "1,4", "--web", str(web), "-n", "2", "--size", "128"]
    monkeypatch.setattr(sys, "argv", ["dda_stacks", *ask, "--work", str(tmp_path / "work")])
    dda_stacks.main()
    rows = common.read("dda_stacks/noise.csv")
    error, ratio = (
        {(r["method"], r["snr_low"]): float(r["value"]) for r in rows if r["quantity"] == quantity}
        for quantity in ("error", "error / that of one")
    )
    assert {value for (members, _), value in ratio.items() if members == "1"} == {1.0}
    for (members, low), value in ratio.items():
        assert value == pytest.approx(error[members, low] / error["1", low])
    assert any(value != 1 for value in ratio.values())
    assert any(r["quantity"] == "false regions per deg2" for r in rows)
    assert "| sky2 noise | 4 |" in (tmp_path / "results" / "dda_stacks" / "noise.md").read_text()
