"""The refiner's training: candidates against truth, a loss that leads to better values."""

import numpy as np
import pytest
import torch

from faintsky.detection.candidates import EVEN, ODD, TENSORS, VALUES, Candidates
from faintsky.errors import InputError
from faintsky.networks import line_refiner, make_network
from faintsky.training import line_candidates
from faintsky.training.line_candidates import LineCandidates, load_candidates, make_candidates
from faintsky.training.line_skies import KINDS, examples, truths_of

TINY = {"width": 24, "channels": 4, "members": 2}


def made_up(n=600, seed=0):
    """Candidates whose joint fit is five times better than the classical one, and whose reality shows."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, len(VALUES)))
    true[:, 3:5] = np.sort(rng.uniform(1, 5, (n, 2)))[:, ::-1]
    real = rng.random(n) < 0.6
    even = rng.normal(size=(n, len(EVEN)))
    even[:, 0] += 2 * real
    even[:, EVEN.index("continuum_joint")] = 4.0
    turn = rng.uniform(0, 2 * np.pi, n)
    angle = np.stack([turn + rng.normal(0, s, n) for s in (0.5, 0.1)], axis=1)
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=2)
    return {
        "cut": rng.normal(size=(n, line_refiner.TEMPLATES, *line_refiner.CUT)).astype(np.float16),
        "even": even, "odd": rng.normal(size=(n, len(ODD))), "tensor": rng.normal(size=(n, len(TENSORS), 2)),
        "values": true + rng.normal(size=true.shape), "errors": np.ones_like(true),
        "other": true + 0.2 * rng.normal(size=true.shape), "angle": vectors, "angle_error": np.full(n, 0.25),
        "true_values": np.where(real[:, None], true, np.nan), "true_real": real,
        "true_angle": np.stack([np.cos(turn), np.sin(turn)], axis=1), "effective_snr": np.full(n, 7.0),
        "cube": np.arange(n) // 10,
    }  # fmt: skip


def test_it_learns_which_fit_to_trust_and_what_is_real():
    torch.manual_seed(0)
    data = made_up()
    network = make_network("line_refiner", **TINY)
    task = LineCandidates(network, data)
    before = task.validate(network.eval())
    assert before["scatter"] == pytest.approx(1.0)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    network.train()
    for step in range(120):
        loss = task.loss(network, task.batch(np.random.default_rng([0, step]), 64))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = task.validate(network.eval())
    assert after["scatter"] < 0.6
    assert after["score"] < 0.9 * before["score"]
    assert after["angle"] < before["angle"]


def test_held_cubes_are_not_trained_on():
    data = made_up(200)
    task = LineCandidates(make_network("line_refiner", **TINY), data)
    held = int((data["cube"] % 10 == 0).sum())
    assert len(task.held["real"]) == held
    assert len(task.train["real"]) == 200 - held


def test_candidates_are_matched_one_to_one():
    n = 3
    values = np.zeros((n, len(VALUES)))
    values[:, :3] = [[10, 10, 5], [10.5, 10, 5], [30, 30, 9]]
    blank = np.zeros((n, 1))
    found = Candidates(blank, blank, blank, blank, values, blank, blank, blank, blank[:, 0])
    truth = {
        "x": [10.4, 30.0], "y": [10.0, 30.0], "z": [5.0, 9.0], "fwhm_z": [4.0, 4.0], "pa": [30.0, 0.0],
        "fwhm_maj": [0.6, 0.5], "fwhm_min": [0.3, 0.5], "line_flux_peak": [2.0, 1.0], "pb": [0.5, 1.0],
        "continuum": [0.1, 0.0], "snr": [9.0, 7.0],
    }  # fmt: skip
    truth = {k: np.array(v) for k, v in truth.items()}
    made = truths_of(found, truth, np.array([True, True, False]), 8.0, 0.1)
    np.testing.assert_array_equal(made.real, [False, True, False])
    np.testing.assert_allclose(made.values[1], [10.4, 10, 5, 6, 3, np.log(4), np.log(4.0), 0.05], rtol=1e-6)
    np.testing.assert_allclose(made.angle[1], [0.5, np.sqrt(3) / 2], rtol=1e-6)
    assert not made.angle[2].any()


def test_examples_of_a_cube_are_near_the_truth():
    shares = [k.share for k in KINDS]
    kinds = [int(np.random.default_rng([1, i]).choice(len(KINDS), p=shares)) for i in range(99)]
    one = examples(1, kinds.index(len(KINDS) - 1))
    real = one["true_real"]
    assert real.any()
    pulls = ((one["values"] - one["true_values"]) / one["errors"])[real]
    assert np.median(np.abs(pulls)) < 2


def test_a_folder_is_filled_once(tmp_path, monkeypatch):
    calls = []

    def fake(seed, index):
        calls.append(index)
        return {"cube": np.array([index])}

    monkeypatch.setattr("faintsky.training.line_skies.examples", fake)
    monkeypatch.setattr(line_candidates, "CUBES_A_FILE", 2)
    make_candidates(tmp_path, 4, 5)
    make_candidates(tmp_path, 6, 5)
    assert calls == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(np.sort(load_candidates(tmp_path)["cube"]), np.arange(6))
    with pytest.raises(InputError, match="candidates"):
        load_candidates(tmp_path / "none")
