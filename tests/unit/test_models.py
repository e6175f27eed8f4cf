"""The shipped models: complete, loadable, small; and folders that are no models."""

import json
from pathlib import Path

import pytest
import torch

import faintsky
from faintsky.errors import InputError
from faintsky.models import card_lines, load_model

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


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_a_card_is_a_page_that_can_be_read(model):
    lines = card_lines(model)
    assert len(lines) < 25
    assert max(map(len, lines)) <= 100
    page = "\n".join(lines)
    for word in (model.card["title"], model.hash, "BSD-3-Clause", f"--model {model.name}", "--json"):
        assert word in page


def test_what_a_card_says_was_measured_is_what_the_tables_say():
    rows = {}
    for folder in ("deepfocus_paper_size", "deepfocus"):  # what the second has is newer
        table = Path(__file__).parents[2] / "reproduction/results" / folder / "table.md"
        for line in table.read_text().splitlines():
            cells = [c.strip() for c in line.strip("| ").split("|")]
            if cells[1:2] == ["paper"] and cells[3] == "all":
                rows.setdefault(cells[0], {})[cells[2]] = cells
    for model in MODELS:
        for scores in model.card.get("measured", {}).values() if model.name in rows else ():
            row = rows[model.name].get("position", rows[model.name]["position2d"])
            measured = [float(row[i].split()[0]) for i in (7, 8, 12)]
            assert list(scores.values()) == pytest.approx(measured, abs=0.02)
    fit = load_model("denoiser").card["validation"]["fit"]["scores"]
    for scores, kind in zip(load_model("denoiser").card["measured"].values(), ("correlated", "white")):
        keys = ("precision", "true_area_found", "flux_ratio_median", "false_in_empty")
        assert list(scores.values()) == pytest.approx([fit[kind][k] for k in keys], abs=1e-3)


def test_shipped_weights_are_small():
    sizes = [p.stat().st_size for m in MODELS for p in m.path.rglob("*.safetensors")]
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
