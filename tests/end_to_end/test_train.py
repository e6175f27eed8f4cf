"""`faintsky train`: a tiny network learns, a killed run goes on where it was, and its folder is a model."""

import json

import numpy as np
import pytest
import torch

import faintsky
from faintsky.errors import InputError
from faintsky.networks import make_network
from faintsky.observing.psf_library import PsfLibrary
from faintsky.training import fit as fitting
from faintsky.training.diffuse_images import DiffuseImages
from faintsky.training.fit import Schedule, fit

pytest.importorskip("pytorch_lightning", reason="the extra 'train' is not installed")

TINY = {
    "widths": [8, 12, 16], "encoder": [1, 1, 1], "decoder": [1, 1], "tile": 64, "batch_size": 4, "psfs": 2,
    "warmup": 5, "workers": 0, "learning_rate": 3e-3, "decay": 0.9,
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_validation_batches(monkeypatch):
    monkeypatch.setattr("faintsky.training.diffuse_images.VALIDATION_BATCHES", 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faintsky.training.diffuse_images.VALIDATION_BATCHES", 2)
        result = faintsky.train(
            "local_unet", out, settings={**TINY, "steps": 60, "validate_every": 20}, seed=1
        )
    return out, result


def test_a_tiny_network_learns_in_seconds(trained, monkeypatch):
    out, result = trained
    history = json.loads((out / "history.json").read_text())
    assert [h["step"] for h in history] == [20, 40, 60]
    assert result.facts["best"] == min(history, key=lambda h: h["loss"])
    monkeypatch.setattr("faintsky.training.diffuse_images.VALIDATION_BATCHES", 2)
    fresh = make_network("local_unet", **{k: TINY[k] for k in ("widths", "encoder", "decoder")})
    with torch.no_grad():
        untrained = DiffuseImages(fresh, PsfLibrary.load(out / "psfs.npz"), tile=64).validate(fresh)
    assert history[-1]["loss"] < 0.7 * untrained["loss"]
    # untrained it passes half of the image
    assert history[-1]["beam"] < 0.7 * untrained["beam"]


def test_the_folder_is_a_model(trained):
    out, _ = trained
    model = faintsky.load_model(out, job="denoise")
    network = model.network("denoiser")
    assert sum(p.numel() for p in network.parameters()) == model.card["networks"]["denoiser"]["parameters"]
    assert model.card["recipe"]["schedule"]["steps"] == 60
    assert model.card["recipe"]["network"] == "local_unet"
    assert model.card["scores"]["validation"]["loss"] > -10
    for file in ("training.png", "history.json", "run.json", "psfs.npz"):
        assert (out / file).stat().st_size > 0
    again = faintsky.train("local_unet", out, settings={**TINY, "steps": 60, "validate_every": 20}, seed=1)
    assert again.facts["already_complete"]
    assert again.model.hash == model.hash


def test_another_run_is_refused_and_init_begins_where_a_model_ended(trained, tmp_path):
    out, _ = trained
    settings = {**TINY, "steps": 2, "validate_every": 2, "learning_rate": 1e-9}
    with pytest.raises(InputError, match="another run"):
        faintsky.train("local_unet", out, settings=settings, seed=1)
    tuned = faintsky.train("local_unet", tmp_path / "tuned", settings=settings, init=str(out), seed=1)
    one, two = (m.network("denoiser").state_dict() for m in (faintsky.load_model(out), tuned.model))
    assert all(torch.allclose(one[k], two[k], atol=1e-5) for k in one)
    with pytest.raises(InputError, match="another network"):
        faintsky.train(
            "local_unet", tmp_path / "x", settings={**settings, "widths": [8, 8, 8]}, init=str(out)
        )
    with pytest.raises(InputError, match="3 widths, 4 and 3"):
        faintsky.train("local_unet", tmp_path / "y", settings={"widths": [8, 8, 8]})


def test_stored_data_train_too(tmp_path):
    from faintsky.observing.lofar import simulate_lofar

    simulate_lofar(
        tmp_path / "data",
        3,
        seed=4,
        size=96,
        quick=True,
        integration="600s",
        products=("sky", "noise", "dirty", "psf", "pb"),
    )
    result = faintsky.train(
        "local_unet", tmp_path / "run", data=tmp_path / "data",
        settings={**TINY, "steps": 3, "validate_every": 3},
    )  # fmt: skip
    assert np.isfinite(result.facts["best"]["loss"])
    with pytest.raises(InputError, match="smaller than a tile"):
        faintsky.train("local_unet", tmp_path / "y", data=tmp_path / "data", settings={"tile": 128})
    with pytest.raises(InputError, match="web and errors are for simulated images"):
        faintsky.train("local_unet", tmp_path / "z", data=tmp_path / "data", settings={"web": "train"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "no_such"}, "local_unet"),
        ({"simulate": "no_such"}, "diffuse"),
        ({"data": "nowhere"}, "no folder"),
        ({"data": ".", "simulate": "diffuse"}, "one of them"),
        ({"settings": {"no_such": "1"}}, "batch_size"),
        ({"settings": {"steps": "many"}}, "type"),
        ({"settings": {"steps": 0}}, "at least 1"),
        ({"init": "classical"}, "detect"),
    ],
)
def test_bad_options_leave_nothing_behind(options, message, tmp_path):
    options = {"network": "local_unet", **options}
    with pytest.raises(InputError, match=message):
        faintsky.train(options.pop("network"), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


class Line:
    """The smallest task: fit a line to noisy points."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = torch.nn.Linear(1, 1)
        self.seen = []

    def batch(self, rng, size):
        x = torch.from_numpy(rng.normal(size=(size, 1)).astype(np.float32))
        return {"x": x, "y": 3 * x + 1}

    def loss(self, network, batch):
        self.seen.append(float(batch["x"][0, 0]))
        return (network(batch["x"]) - batch["y"]).square().mean()

    def validate(self, network):
        return {"loss": float((network.weight - 3).square().sum() + (network.bias - 1).square().sum())}


LINE = Schedule(steps=40, batch_size=8, learning_rate=0.1, warmup=4, validate_every=10, workers=0, decay=0.9)


def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path):
    whole = Line()
    network, history = fit(whole, tmp_path / "whole", LINE)

    class Killed(Exception):
        pass

    def kill(done, total, word):
        if done == 30:
            raise Killed

    first, second = Line(), Line()
    with pytest.raises(Killed):
        fit(first, tmp_path / "parts", LINE, progress=kill)
    resumed, resumed_history = fit(second, tmp_path / "parts", LINE)
    assert second.seen == whole.seen[20:]
    assert [h["loss"] for h in resumed_history] == [h["loss"] for h in history]
    assert torch.equal(resumed.weight, network.weight)


def test_training_stops_early_and_keeps_the_best(tmp_path):
    class Worse(Line):
        def validate(self, network):
            self.count = getattr(self, "count", 0) + 1
            self.kept = getattr(self, "kept", network.weight.detach().clone())
            return {"loss": float(self.count)}

    task = Worse()
    network, history = fit(task, tmp_path / "run", Schedule(**{**LINE.__dict__, "steps": 400, "patience": 3}))
    assert [h["step"] for h in history] == [10, 20, 30, 40]
    assert torch.equal(network.weight, task.kept)


def test_workers_change_nothing(tmp_path):
    results = [
        fit(Line(), tmp_path / str(w), Schedule(**{**LINE.__dict__, "workers": w}))[0].weight for w in (0, 2)
    ]
    assert torch.equal(*results)


def test_without_lightning_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "pytorch_lightning", None)
    with pytest.raises(InputError, match=r"extra 'train'"):
        fitting.fit(Line(), tmp_path / "run", LINE)
