"""The shipped models: complete, loadable, small; and folders that are no models."""

import json
from pathlib import Path

import pytest
import torch

import faintsky
from faintsky.errors import InputError
from faintsky.models import SHIPPED, load_model

MODELS = faintsky.list_models()


def test_there_is_one_for_each_job():
    assert {m.job for m in MODELS} == {"detect", "denoise"}


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_a_shipped_model_says_what_it_is_and_loads(model):
    for key in ("title", "summary", "scores", "licence", "settings"):
        assert model.card[key], key
    scores = Path(__file__).parents[2] / model.card["scores"]
    assert scores.is_file()
    for key, entry in model.card["networks"].items():
        network = model.network(key)
        assert not network.training
        assert sum(p.numel() for p in network.parameters()) == entry["parameters"]
        assert all(torch.isfinite(p).all() for p in network.parameters())
        assert model.card["recipe"]["command"].startswith(("faintsky train ", "python benchmarks/"))
    text = json.dumps(model.card)
    assert "/work" not in text
    assert "/home" not in text


def test_shipped_weights_are_small():
    sizes = [p.stat().st_size for p in SHIPPED.rglob("*.safetensors")]
    assert max(sizes) <= 16e6
    assert sum(sizes) <= 40e6


def test_folders_that_are_no_models(tmp_path):
    with pytest.raises(InputError, match="classical"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(InputError, match="not a model card"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="is for 'detect', not 'denoise'"):
        load_model("classical", job="denoise")


def test_weights_are_found_in_the_folder_only(tmp_path):
    """A card cannot name a file elsewhere."""
    card = {
        "name": "m", "job": "denoise", "settings": {},
        "networks": {"n": {"network": "local_unet", "arguments": {}, "weights": "../../other.safetensors"}},
    }  # fmt: skip
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=str(tmp_path / "m" / "other.safetensors")):
        load_model(tmp_path / "m").network("n")
