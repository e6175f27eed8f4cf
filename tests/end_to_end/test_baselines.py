"""The methods that ours are compared with, from a cube to a catalogue: flood fill, smooth and clip, DECORAS,
and the programs PyBDSF and Aegean where they are installed."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import skip_without
from synthetic import CELL, Emitter, telescope

import faintsky
from faintsky.detection import find_catalog, integrated_image, looked_at, whole_pixels
from faintsky.errors import InputError
from faintsky.image import RadioCube
from faintsky.matching import match
from faintsky.models import Model, load_model, save_model
from faintsky.networks import make_network
from faintsky.published.decoras import find as decoras
from faintsky.published.peers import interpreter

N_CHAN = 48
SOURCES = [
    Emitter(30.3, 34.6, 12.2, flux=1.0, maj=7, min=5, pa=30, fwhm_z=5),
    Emitter(64.1, 40.4, 30.8, flux=1.0, maj=6, min=6, pa=0, fwhm_z=7),
    Emitter(44.7, 70.2, 22.0, flux=1.0, maj=8, min=5, pa=100, fwhm_z=6),
]
IMAGE_METHODS = ("flood_fill", "flood_fill_paper")


def model_of(name: str, **changes: Any) -> Model:
    model = load_model(name)
    return replace(model, settings=model.settings | changes)


@pytest.fixture(scope="module")
def dish():
    return telescope(96)


@pytest.fixture(scope="module")
def truth():
    x, y, z, w = (np.array([getattr(s, k) for s in SOURCES]) for k in ("x", "y", "z", "fwhm_z"))
    return faintsky.catalog.make_table({"x": x, "y": y, "z": z, "fwhm_z": w})


@pytest.fixture(scope="module")
def cube(dish):
    """Sources of S/N 100 with a continuum, as the paper's have it."""
    bright = [replace(dish.at_snr(s, 100, 1e-3, N_CHAN), continuum=4e-3) for s in SOURCES]
    return dish.radio_cube(dish.cube(bright, N_CHAN, seed=1))


@pytest.fixture(scope="module")
def empty(dish):
    return dish.radio_cube(dish.cube([], N_CHAN, seed=2))


def partners(found, truth):
    """Row of the nearest detection of every true source that has one within three pixels."""
    if not len(found):
        return []
    apart = np.hypot(*(np.subtract.outer(np.asarray(truth[k]), np.asarray(found[k])) for k in "xy"))
    return [int(row.argmin()) for row in apart if row.min() <= 3]


def near(found, truth):
    """How many of the true sources have a detection of their own."""
    return len(set(partners(found, truth)))


@pytest.mark.parametrize("name", IMAGE_METHODS)
def test_flood_fill_finds_what_is_there(cube, truth, name):
    found = find_catalog(cube, name)
    table = found.catalog
    assert near(table, truth) == 3
    assert len(table) <= 4
    assert table.meta["own_boxes"]
    assert np.isnan(table["z"]).all()
    assert (np.diff(table["snr"]) <= 0).all()
    assert found.mask.shape == cube.shape
    for row in table:
        assert row["x_min"] <= row["x"] <= row["x_max"]
        assert found.mask[0, round(row["y"]), round(row["x"])] == row["id"]
        assert cube.pixel(row["ra"], row["dec"])[0] == pytest.approx(row["x"], abs=1e-6)


def test_a_box_factor_moves_the_box_and_nothing_else(cube):
    tables = [
        find_catalog(cube, model_of("flood_fill", box="mask", box_factor=f)).catalog for f in (0.6, 1.0)
    ]
    np.testing.assert_allclose(tables[0]["x"], tables[1]["x"])
    sides = [np.asarray(t["x_max"] - t["x_min"] + 1, dtype=float) for t in tables]
    np.testing.assert_allclose(sides[0], 0.6 * sides[1], atol=1)


def test_boxes_by_moments_are_centred_on_the_centroid():
    low, high = whole_pixels([10], [30], [18.2], [3.0], "moments", 2.0, 40)
    assert (low[0], high[0]) == (13, 24)
    assert whole_pixels([0], [5], [0.4], [3.0], "moments", 2.0, 40)[0] == 0
    assert whole_pixels([10], [14], [12], [1.0], "mask", 1.0, 40) == (10, 14)


def test_smooth_and_clip_finds_what_is_there(cube, truth):
    found = find_catalog(cube, "smooth_clip", reliability=0.5)
    table = found.catalog
    assert len(match(truth, table, "position").i_true) == 3
    pairs = match(truth, table, "position")
    assert (table["reliability"][pairs.i_found] > 0.9).all()
    assert np.isfinite(table["flux"]).all()
    for row in table:
        assert (found.mask == row["id"]).any()
        assert row["z_min"] < row["z"] < row["z_max"]
    assert set(np.unique(found.mask)) == {0, *table["id"]}
    assert list(found.steps) == ["too small", "too faint", "unreliable"]


def test_the_flux_within_the_mask_is_the_lines(dish):
    """A bright, compact line without noise to speak of: most of its flux is in the mask."""
    line = Emitter(48, 48, 24, flux=1.0, maj=2, min=2, fwhm_z=6)
    bright = dish.at_snr(line, 3000, 1e-3, N_CHAN)
    cube = dish.radio_cube(dish.cube([bright], N_CHAN, seed=3))
    table = find_catalog(cube, model_of("smooth_clip", reliability=0.0)).catalog
    row = table[np.argmax(table["flux"])]
    assert row["x"] == pytest.approx(48, abs=0.3)
    velocity = row["fwhm_velocity"] / row["fwhm_z"]
    # sidelobes below the mask's level are missing, those above are counted with it
    assert row["flux"] == pytest.approx(bright.line(N_CHAN).sum() * velocity, rel=0.35)


def test_pure_noise_has_few_detections_and_negatives_are_why(empty):
    asked = model_of("smooth_clip", threshold=3.5, least_snr=2.0, reliability=0.0)
    every = find_catalog(empty, asked)
    few = find_catalog(empty, asked, reliability=0.9)
    assert len(few.catalog) <= 3
    assert len(few.catalog) < len(every.catalog)
    assert len(find_catalog(empty, "smooth_clip").catalog) <= 3


def test_continuum_and_noise_scaling_are_choices(cube):
    """Left in, the continuum joins the channels of a source into one long object."""
    kept = find_catalog(
        cube, model_of("smooth_clip", continuum=True, noise_scaling=False, reliability=0.0)
    ).catalog
    gone = find_catalog(cube, model_of("smooth_clip", reliability=0.0)).catalog
    assert float(np.max(kept["z_max"] - kept["z_min"])) > float(np.max(gone["z_max"] - gone["z_min"]))


def test_only_the_middle_or_the_beam_is_searched(dish, cube, truth):
    inside = looked_at(cube, {"central": 40})
    assert inside.sum() == 1600
    assert inside[28:68, 28:68].all()
    assert np.isfinite(integrated_image(cube, {"central": 40})).sum() == 1600
    assert looked_at(cube, {}).all()
    masked = dish.radio_cube(cube.data, mask=np.arange(96)[None, :] * np.ones((96, 1)) < 50)
    assert (looked_at(masked, {"central": 40}).any(axis=0)[[28, 49, 50]] == [1, 1, 0]).all()
    v, u = np.indices((96, 96)) - 48
    pb = np.exp(-(u**2 + v**2) / 150.0).astype(np.float32)
    given = dish.radio_cube(cube.data, pb=pb)
    np.testing.assert_array_equal(looked_at(given, {"least_pb": 0.5}), pb >= 0.5)
    # all sources are well outside of where the beam is above 0.5
    assert near(find_catalog(given, model_of("flood_fill", least_pb=0.5)).catalog, truth) == 0
    assert near(find_catalog(given, model_of("flood_fill", least_pb=0.0)).catalog, truth) == 3


@pytest.mark.parametrize("name", [*IMAGE_METHODS, "smooth_clip"])
def test_blank_rims_and_channels(dish, cube, truth, name):
    data = cube.data.copy()
    v, u = np.indices((96, 96)) - 48
    data[:, np.hypot(u, v) > 44] = np.nan
    data[[0, 40]] = np.nan
    table = find_catalog(dish.radio_cube(data), name).catalog
    assert near(table, truth) == 3
    with pytest.raises(InputError, match="blank"):
        find_catalog(dish.radio_cube(np.full_like(data, np.nan)), name)


def test_detect_runs_a_baseline_by_its_name(cube, tmp_path):
    from faintsky.io import save_like

    save_like(tmp_path / "cube.fits", cube.data, cube, unit="Jy/beam")
    out = tmp_path / "out"
    result = faintsky.detect(tmp_path / "cube.fits", out, model="flood_fill")
    assert result.facts["sources"] == len(result.catalog) >= 3
    assert json.loads((out / "run.json").read_text())["model"] == "flood_fill"
    assert "report.html" in {p.name for p in out.iterdir()}


def planted(size, places):
    v, u = np.indices((size, size))
    return sum(np.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / s**2) for x, y, s in places)


@pytest.fixture(scope="module")
def small_decoras(tmp_path_factory):
    """Two networks of 64 pixels as two trainings leave them."""
    folder = tmp_path_factory.mktemp("decoras")
    for seed in (0, 1):
        torch.manual_seed(seed)
        arguments = {"size": 64, "latent": 8}
        networks = {"decoras": ("decoras", arguments, make_network("decoras", **arguments))}
        save_model(folder / str(seed), name="decoras", job="detect", settings={}, networks=networks)
    return decoras.join_networks([folder / "0", folder / "1"], folder / "both")


def test_two_decoras_networks_make_one_model(cube, small_decoras, tmp_path):
    assert sorted(small_decoras.card["networks"]) == ["decoras_1", "decoras_2"]
    found = find_catalog(cube, small_decoras)
    inside = found.image[16:80, 16:80]
    assert ((inside >= 0) & (inside <= 1)).all()
    assert np.isnan(found.image[:16]).all()
    with pytest.raises(InputError, match="no decoras network"):
        decoras.join_networks(["classical"], tmp_path / "none")


def test_blobs_become_sources_where_both_networks_see_them(cube, small_decoras, monkeypatch):
    maps = {
        "decoras_1": planted(64, [(20, 30, 3.0), (45, 12, 4.0), (40, 50, 2.5)]),
        "decoras_2": planted(64, [(21, 31, 3.0), (45, 20, 4.0), (40, 50, 2.5)]),
    }
    monkeypatch.setattr(
        decoras, "network_image", lambda image, model, key, device: maps[key].astype(np.float32)
    )
    found = find_catalog(cube, small_decoras)
    table = found.catalog
    # the crop of 64 pixels begins at pixel 16 of 96; the second blob is 8 pixels off in the other network
    places = {(round(r["x"]), round(r["y"])) for r in table}
    assert places == {(36, 46), (56, 66)}
    assert found.steps == {"not in both networks": 1}
    # eq. 21: a radius of three sigma; blob_dog's sigma is one of its scales
    row = table[[round(r["x"]) for r in table].index(36)]
    assert (row["x_max"] - row["x_min"]) / 2 == pytest.approx(9, rel=0.3)
    alone = replace(small_decoras, card={**small_decoras.card, "networks": {"decoras_1": {"arguments": {}}}})
    assert len(find_catalog(cube, alone).catalog) == 3


def test_agreement_is_one_to_one():
    a = np.array([[10.0, 10, 2], [12, 10, 2]])
    b = np.array([[11.0, 10, 2]])
    assert len(decoras.agreeing(a, b, 3.0)) == 1
    assert len(decoras.agreeing(a, b, 0.5)) == 0
    assert len(decoras.agreeing(a, b[:0], 3.0)) == 0


@pytest.mark.parametrize("program", ["pybdsf", "aegean"])
def test_a_program_measures_a_resolved_source(dish, cube, truth, program):
    skip_without(interpreter, program)
    table = find_catalog(cube, program).catalog
    assert near(table, truth) == 3
    assert not table.meta["own_boxes"]
    sizes = np.array([np.sqrt(s.maj * s.min) for s in SOURCES])
    own = table[partners(table, truth)]
    np.testing.assert_allclose(np.sqrt(own["dc_maj"] * own["dc_min"]) / CELL, sizes, rtol=0.4)
    empty = dish.radio_cube(dish.cube([], N_CHAN, seed=2))
    assert len(find_catalog(empty, program).catalog) <= 1


def test_a_missing_program_names_the_extra(cube, monkeypatch):
    monkeypatch.setenv("FAINTSKY_PEERS_PYTHON", "/nowhere/python")
    for program in ("pybdsf", "aegean"):
        with pytest.raises(InputError, match=r"faintsky\[peers\]"):
            find_catalog(cube, program)


def test_a_cube_without_a_beam_is_refused(cube):
    bare = RadioCube.from_array(cube.data, cell=CELL, frequencies=cube.frequencies)
    for name in ("flood_fill", "smooth_clip"):
        with pytest.raises(InputError, match="beam"):
            find_catalog(bare, name)
