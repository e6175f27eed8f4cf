"""The command behind the autoencoder's page, on a small field: every block of the page can be made."""

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from faintsky.evaluation import image_methods
from faintsky.evaluation.image_methods import Estimate
from faintsky.models import save_model
from faintsky.networks import make_network
from faintsky.published.dda.denoise import AutoencoderSettings
from faintsky.sky.web import BLOCKS, Points, WebBox, save_box

ROOT = Path(__file__).parents[2]
SIDE = 25.0


@pytest.fixture(scope="module")
def tables():
    """The script as a module."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("dda_tables", ROOT / "benchmarks" / "dda_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def web(tmp_path):
    rng = np.random.default_rng(1)
    position = (rng.uniform(0, SIDE, (300, 1, 3)) + rng.normal(0, 0.15, (300, 60, 3))).reshape(-1, 3)
    position = (position % SIDE / SIDE * 65536).astype(np.uint16)
    part = position.astype(np.int64) * BLOCKS >> 16
    order = np.argsort((part[:, 0] * BLOCKS + part[:, 1]) * BLOCKS + part[:, 2], kind="stable")
    points = Points(position[order], np.full(len(order), 2.0, np.float16), np.full(len(order), 40, np.uint8))
    save_box(
        WebBox(16, SIDE, 1, 0.0, (0.1,), (points,), (np.zeros((0, 5), np.float32),)), tmp_path / "web.npz"
    )
    return tmp_path / "web.npz"


def autoencoder(folder, product):
    """One that has learnt nothing."""
    torch.manual_seed(0)
    arguments = {"tile": 32, "levels": 2, "dense": 8, "kernel": 3}
    card = {"recipe": {"arguments": arguments, "schedule": {"epochs": 1}, "command": "nothing to see"}}
    save_model(
        folder / product, name=product, job="denoise", card=card,
        settings=AutoencoderSettings(product=product).as_dict(),
        networks={"denoiser": ("dda", arguments, make_network("dda", **arguments))},
    )  # fmt: skip
    return str(folder / product)


def test_the_page_is_filled_by_one_command(tables, web, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(tables, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(tables, "OURS", "halved")
    shutil.copy(ROOT / "docs" / "autoencoder.md", tables.PAGE)
    make = image_methods.make_methods
    ours = {"halved": lambda field, cases: Estimate(0.5 * (field.image.data + field.truth))}
    monkeypatch.setattr(image_methods, "make_methods", lambda names, device: ours | make(names, device))
    models = ",".join(autoencoder(tmp_path, product) for product in ("sky", "noise", "dirty"))
    ask = ["--models", models, "--methods", "input,constant,gaussian_paper", "--web", str(web), "-n", "1"]
    ask += ["--size", "128", "--kinds", "sky,noise,dirty", "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", ["dda_tables.py", *ask])
    tables.main()
    page = tables.PAGE.read_text(encoding="utf-8")
    assert "A small trial run" in page
    assert "epochs 1" in page
    assert "nothing to see" not in page
    assert re.search(r"\| sky2 noise \| error, S/N 0.1–0.3 \| 0\.(49|5)", page)
    assert "Answers with the beam taken out" in page
    assert "This run has no such images." in page  # no clean ones
    assert "Not measured yet" not in page
    assert "figures/correlation.png" in page
    assert all(p.stat().st_size < 150_001 for p in (tables.RESULTS / "figures").iterdir())
    tables.write_page(check=True)
    tables.PAGE.write_text(page.replace("| 0.", "| 1."))
    with pytest.raises(SystemExit):
        tables.write_page(check=True)
