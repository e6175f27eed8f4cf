"""`faintsky train deepfocus` from simulated cubes to a model, and `faintsky detect` with it to a report."""

import json

import numpy as np
import pytest
from astropy.io import fits
from stand_ins import NETWORKS

import faintsky
from faintsky.catalog import read_catalog
from faintsky.detection import find_catalog
from faintsky.errors import InputError
from faintsky.image import RadioCube
from faintsky.matching import Criterion
from faintsky.published.deepfocus import RULES, DeepFocus, chain, thresholds
from faintsky.published.deepfocus import pipeline as find

pytest.importorskip("pytorch_lightning", reason="the extra 'train' is not installed")

SMALL = {"size": 96, "channels": 32, "cell": "0.2arcsec", "total_time": "200s", "integration": "20s"}
SETTINGS = {
    "blobs_finder.size": 64, "blobs_finder.latent": 8, "deep_gru.channels": 32, "phase2_epochs": 1,
    "phase2_cubes": 6, "fit_cubes": 2,
}  # fmt: skip
SETTINGS |= {f"{key}.batch_size": 2 for key in chain.STAGES} | {f"{key}.epochs": 1 for key in chain.STAGES}
SETTINGS |= {f"{key}.width": 8 for key, (network, _) in chain.STAGES.items() if network == "shape_resnet"}


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory):
    """Boxes that need not fit well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAINTSKY_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(chain.CRITERIA, "iou", Criterion("iou", 0.1, radius=6.0))
        patch.setitem(chain.CRITERIA, "iou2d", Criterion("iou2d", 0.1, along_z=False, radius=6.0))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "set"
    faintsky.simulate_alma(folder, 10, seed=4, products="compact", **SMALL)
    faintsky.simulate_alma(folder.parent / "cube", 1, seed=5, products="dirty,pb", **SMALL)
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A finished chain; predictions are those of the stand-ins, since a few steps teach nothing."""

    def stand_in(self, folders, settings):
        return DeepFocus(NETWORKS, settings, 96)

    out = tmp_path_factory.mktemp("train") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain._Work, "pipeline", stand_in)
        few = {k: {n: v[1:3] for n, v in grid.items()} for k, grid in thresholds.GRID.items()}
        patch.setattr(thresholds, "GRID", few)
        patch.setattr(thresholds, "BOTH", {name: values[:2] for name, values in thresholds.BOTH.items()})
        patch.setattr(thresholds, "ROUNDS", 1)
        return faintsky.train("deepfocus", out, data=data, settings=SETTINGS, device="cpu")


def test_a_model_with_all_networks_comes_of_both_phases(trained):
    model = trained.model
    assert set(model.card["networks"]) == set(chain.STAGES)
    assert model.settings["method"] == "deepfocus"
    assert model.settings["trained"]["channels"] == 32
    assert model.card["scores"]["validation"]["cubes"] == 2
    for key in chain.STAGES:
        assert (model.path / "phase1" / key / "model.json").is_file()
        assert (model.path / "phase2" / key / "model.json").is_file() == (key != "blobs_finder")
    # what is in the model is what the second phase left
    for phase, same in (("phase1", False), ("phase2", True)):
        kept = faintsky.load_model(model.path / phase / "pa").network("pa").state_dict()
        mine = model.network("pa").state_dict()
        assert all(np.array_equal(kept[k], mine[k]) for k in kept) == same


def test_a_stopped_chain_goes_on_and_a_finished_one_is_left(trained, data, monkeypatch):
    again = faintsky.train("deepfocus", trained.model.path, data=data, settings=SETTINGS, device="cpu")
    assert again.facts["already_complete"]
    record = trained.model.path / "run.json"
    stopped = json.loads(record.read_text()) | {"complete": False}
    record.write_text(json.dumps(stopped))
    monkeypatch.setattr("faintsky.training.recipes.fit", None)
    monkeypatch.setattr("faintsky.published.deepfocus.chain.Observatory.sample", None)
    done = faintsky.train("deepfocus", trained.model.path, data=data, settings=SETTINGS, device="cpu")
    assert done.model.hash == trained.model.hash


def test_runs_of_the_first_phase_are_taken(trained, data, tmp_path):
    runs = {key: str(trained.model.path / "phase1" / key) for key in chain.STAGES}
    settings = {**runs, "phase2_epochs": 0, "fit_cubes": 1}
    model = faintsky.train("deepfocus", tmp_path / "run", data=data, settings=settings, device="cpu").model
    assert not (tmp_path / "run" / "phase1").exists()
    assert model.card["stages"]["pa"]["phase1"] == runs["pa"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 3}, "unknown setting 'epochs'"),
        ({"passes": 2}, "should be 1 or 3"),
        ({"fit_cubes": "many"}, "valid integer"),
        ({"flux": "nowhere"}, "no model"),
        ({"flux": "classical"}, "no network 'flux'"),
    ],
)
def test_wrong_settings_are_refused(data, tmp_path, settings, words):
    with pytest.raises(InputError, match=words):
        faintsky.train("deepfocus", tmp_path / "run", data=data, settings=settings)
    with pytest.raises(InputError, match="needs data"):
        faintsky.train("deepfocus", tmp_path / "run")


# ---------------------------------------------------------------------- detect


def test_detect_writes_all_files(trained, data, tmp_path, monkeypatch):
    monkeypatch.setattr(find, "load_networks", lambda model, device: NETWORKS)
    monkeypatch.setattr(find, "image_size", lambda model: 96)
    folder = data.parent / "cube"
    result = faintsky.detect(
        folder / "0000_dirty.fits", tmp_path / "out", model=str(trained.model.path), pb=folder / "pb.fits",
        reliability=0.0, device="cpu",
    )  # fmt: skip
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert {
        "catalog.ecsv",
        "catalog.fits",
        "mask.fits",
        "model.fits",
        "regions.reg",
        "report.html",
    } <= written
    table = read_catalog(tmp_path / "out" / "catalog.ecsv")
    assert len(table) == result.facts["sources"] > 0
    for name in ("ra", "dec", "freq", "x", "y", "z", "dc_maj", "dc_pa", "flux", "flux_peak", "snr"):
        assert np.isfinite(table[name]).all(), name
    assert table["dc_maj"][0] == pytest.approx(6 * 0.2)
    assert table["dc_min"][0] == pytest.approx(4 * 0.2)
    labels = fits.getdata(tmp_path / "out" / "mask.fits").squeeze()
    for row in table:
        z, y, x = (int(np.clip(round(row[k]), 0, n - 1)) for k, n in zip("zyx", labels.shape))
        assert labels[z, y, x] > 0
    made = fits.getdata(tmp_path / "out" / "model.fits").squeeze()
    assert made.max() > 0
    assert "step: blobs" in (tmp_path / "out" / "report.html").read_text()
    steps = result.facts["steps"]
    assert steps["blobs"] + steps["split off"] >= len(table)
    assert sum(steps[rule] for rule in RULES) == len(result.catalog.meta["removed"])


def cube_of(values, **more):
    n_chan = len(values)
    return RadioCube.from_array(
        values, cell=0.2, frequencies=230e9 + 1e7 * np.arange(n_chan), beam=[1.0, 0.8, 20.0], **more
    )


def test_the_networks_themselves_run_on_a_cube(trained):
    noise = np.random.default_rng(0).normal(size=(32, 80, 72)).astype(np.float32)
    noise[:, :5] = np.nan
    found = find_catalog(cube_of(noise), trained.model)
    assert found.image.shape == (80, 72)
    assert found.mask.shape == noise.shape
    assert list(found.catalog.meta["steps"]) == list(found.steps)
    assert found.catalog.meta["own_boxes"]
    assert {"blobs_finder", "deep_gru"} <= set(found.catalog.meta["stages"])


def test_what_it_cannot_take_is_refused_or_noted(trained):
    noise = np.random.default_rng(0).normal(size=(24, 80, 80)).astype(np.float32)
    with pytest.raises(InputError, match=r"24 channels, and Deep GRU .* takes 32"):
        find_catalog(cube_of(noise), trained.model)
    with pytest.raises(InputError, match="every channel is blank"):
        find_catalog(cube_of(np.full((32, 80, 80), np.nan)), trained.model)
    wide = RadioCube.from_array(
        np.random.default_rng(0).normal(size=(32, 80, 80)), cell=0.5, frequencies=230e9 + 1e7 * np.arange(32),
        beam=[2.0, 2.0, 0.0],
    )  # fmt: skip
    notes = find_catalog(wide, trained.model).notes
    assert any("cell of 0.5" in n for n in notes)
    assert any("beam of 2" in n for n in notes)


def test_an_empty_field_gives_nothing_for_a_network_that_sees_nothing(trained, monkeypatch):
    import torch

    networks = {**NETWORKS, "blobs_finder": torch.nn.Threshold(2.0, 0.0)}
    monkeypatch.setattr(find, "load_networks", lambda model, device: networks)
    noise = np.random.default_rng(0).normal(size=(32, 80, 80)).astype(np.float32)
    found = find_catalog(cube_of(noise), trained.model)
    assert len(found.catalog) == 0
    assert not found.mask.any()
    assert not found.model.any()
    assert found.steps["blobs"] == 0
