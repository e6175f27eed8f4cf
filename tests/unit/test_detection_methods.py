"""Methods by name: which one a model is for, and files and report of one that knows no frequencies."""

import json

import numpy as np
import pytest
from synthetic import Emitter, telescope

from faintsky import detect
from faintsky.catalog import make_table
from faintsky.detection import Detections, Found, find_catalog, world_columns
from faintsky.errors import InputError
from faintsky.image import RadioCube
from faintsky.models import save_model
from faintsky.registry import DETECTORS


def made_cube():
    t = telescope(48)
    data = t.cube([t.at_snr(Emitter(24.0, 20.0, 8.0, fwhm_z=4), 30, 1e-3, 16)], 16, seed=3)
    return RadioCube.from_array(
        data, cell=0.1, frequencies=230e9 + 1e7 * np.arange(16), rest_frequency=230e9,
        beam=[t.beam[0] * 0.1, t.beam[1] * 0.1, t.beam[2]],
    )  # fmt: skip


def find_flat(cube, model, *, reliability, device):
    """A method that sees the integrated image only."""
    columns = world_columns(cube, [24.0], [20.0], [np.nan], [np.nan]) | {"snr": [9.0], "reliability": [0.99]}
    asked = model.settings["least"] if reliability is None else reliability
    return Found(make_table(columns), steps={"blobs": 3, "asked": asked}, notes=["integrated image only"])


@pytest.fixture
def flat_model(tmp_path, monkeypatch):
    monkeypatch.setitem(DETECTORS._places, "flat", find_flat)
    settings = {"method": "flat", "least": 0.5}
    return save_model(tmp_path / "flat", name="flat", job="detect", settings=settings, networks={})


def test_a_model_without_a_method_is_the_matched_filter():
    assert isinstance(find_catalog(made_cube(), "classical"), Detections)


def test_an_unknown_method_is_refused(tmp_path):
    model = save_model(tmp_path / "odd", name="odd", job="detect", settings={"method": "odd"}, networks={})
    with pytest.raises(InputError, match=r"unknown method 'odd'.*matched_filter"):
        find_catalog(made_cube(), model)


def test_a_method_has_its_own_threshold(flat_model):
    assert find_catalog(made_cube(), flat_model).steps["asked"] == 0.5
    assert find_catalog(made_cube(), flat_model, reliability=0.7).steps["asked"] == 0.7


def test_files_and_report_of_a_method_without_frequencies(flat_model, tmp_path):
    result = detect(made_cube(), tmp_path / "out", model=str(flat_model.path), device="cpu")
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"catalog.ecsv", "regions.reg", "report.html", "run.json"} <= written
    assert not {"mask.fits", "model.fits"} & written
    assert result.facts["candidates"] == 3
    assert json.loads((tmp_path / "out" / "run.json").read_text())["complete"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "step: blobs" in page
    assert "integrated image only" in page


def test_world_columns():
    cube = made_cube()
    c = world_columns(cube, [24.0, 30.0], [24.0, 24.0], [3.0, np.nan], [2.0, np.nan])
    assert c["freq"][0] == pytest.approx(230.03e9)
    assert np.isnan(c["freq"][1])
    assert np.isnan(c["fwhm_velocity"][1])
    assert c["fwhm_velocity"][0] == pytest.approx(2 * 299792.458 * 1e7 / 230e9, rel=1e-6)
    assert c["ra"][0] == pytest.approx(0.0, abs=1e-9)
    none = world_columns(cube, [], [], [], [])
    assert all(len(v) == 0 for v in none.values())
