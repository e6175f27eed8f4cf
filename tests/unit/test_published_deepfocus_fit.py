"""Data of the second phase, thresholds and reliabilities of DeepFocus, with networks made for the purpose."""

import json
from functools import partial

import numpy as np
import pytest
from stand_ins import NETWORKS

import faintsky
from faintsky.errors import InputError
from faintsky.matching import Criterion
from faintsky.published.deepfocus import (
    FOUND,
    TRUE,
    DeepFocus,
    Surveyed,
    beam_area,
    chain,
    fit_thresholds,
    logistic,
    noise_level,
    observatory_of,
    survey,
    table_of,
    write_predicted,
)
from faintsky.published.deepfocus import thresholds as fitting
from faintsky.published.deepfocus.finding import Settings

SMALL = {"size": 96, "channels": 32, "cell": "0.2arcsec", "total_time": "200s", "integration": "20s"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAINTSKY_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("data") / "set"
        faintsky.simulate_alma(folder, 1, seed=4, products="compact", **SMALL)
        yield folder


@pytest.fixture(scope="module")
def pipeline():
    return DeepFocus(NETWORKS, Settings(threshold=0.2, faint=2.0), size=96)


# ---------------------------------------------------------------------- second phase


def test_a_data_set_is_made_again(data):
    observatory, seed = observatory_of(data)
    with np.load(data / "0000_compact.npz") as kept:
        np.testing.assert_allclose(
            np.nansum(observatory.sample(seed, 0).dirty, axis=0), np.nan_to_num(kept["dirty"]), atol=1e-5
        )


def test_a_data_set_of_other_settings_is_refused(data, tmp_path):
    record = json.loads((data / "dataset.json").read_text())
    record["parameters"]["array_sha256"] = "0" * 16
    (tmp_path / "dataset.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="cannot be made again: another array"):
        observatory_of(tmp_path)
    with pytest.raises(InputError, match="no record"):
        observatory_of(tmp_path / "none")


def test_predictions_are_kept_where_they_are_sources(data, pipeline, tmp_path, monkeypatch):
    # what stands in for the networks is too coarse for the paper's criteria
    for name, along_z in (("iou", True), ("iou2d", False)):
        monkeypatch.setitem(chain.CRITERIA, name, Criterion(name, 0.2, along_z=along_z))
    write_predicted(data, pipeline, tmp_path, [0, 1])
    observatory, seed = observatory_of(data)
    kept = {"spectra": 0, "images": 0}
    for i in range(2):
        seen = observatory.sample(seed, i)
        for kind, names in (
            ("spectra", ("spectra", "clean_spectra")),
            ("images", ("focused", "line_images")),
        ):
            truth = fitting_table(tmp_path / kind / f"{i:04d}_truth.ecsv")
            with np.load(tmp_path / kind / f"{i:04d}_compact.npz") as arrays:
                assert all(len(arrays[name]) == len(truth) for name in names)
                np.testing.assert_allclose(arrays["sigma"], seen.sigma, rtol=1e-6)
                if kind == "spectra":
                    # the true spectrum peaks where the source's line is
                    assert np.all(np.abs(arrays["clean_spectra"].argmax(axis=1) - truth["z"]) < 12)
            kept[kind] += len(truth)
    assert min(kept.values()) >= 1
    # what is there is not made again
    monkeypatch.setattr("faintsky.published.deepfocus.chain.observatory_of", None)
    write_predicted(data, pipeline, tmp_path, [0, 1])


def fitting_table(path):
    from faintsky.catalog import read_catalog

    return read_catalog(path)


# ---------------------------------------------------------------------- thresholds


def made(n_cubes=40, seed=0):
    """True sources found with an S/N of about 20 and as many false ones of 5; a high threshold loses some."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n_cubes):
        x, y = rng.uniform(60, 300, (2, 4))
        z = rng.uniform(20, 100, 4)
        true = np.stack([x - 10, x + 10, y - 10, y + 10, x, y, z, np.full(4, 8.0), z - 8, z + 8], axis=1)
        true[:, :4] = np.round(true[:, :4])
        rows = []
        for k in range(8):
            real = k < 4
            box = true[k, :4] if real else np.round(rng.uniform(0, 50, 4)) + np.array([0, 15, 0, 15])
            where = (x[k], y[k], z[k]) if real else (box[:2].mean(), box[2:].mean(), 50.0)
            snr = rng.lognormal(np.log(20 if real else 5), 0.3)
            for t, p in ((0.1, 0.12), (0.25, 0.12)):
                if t == 0.1 or k != 0:
                    ends = where[2] - 8, where[2] + 8
                    rows.append([*box, *where, 8.0, *ends, t, p, snr, snr, 0.5 * snr, 0.5, 0.5])
        out.append(Surveyed(table_of(np.array(rows, dtype=float), FOUND), table_of(true, TRUE)))
    return out


def test_thresholds_are_where_f1_is_best():
    fitted, scores = fit_thresholds(made(), Settings())
    assert (fitted.threshold, fitted.prominence) == (0.1, 0.12)
    assert 6 < fitted.faint < 15
    assert scores["f1"] > 0.97
    assert scores["sources"] == 160
    # the same on other cubes: it is no property of these
    constant, slope, *others = fitted.reliability_fit
    odds = constant + slope * np.log([5.0, 20.0]) + 0.5 * sum(others)
    assert odds[0] < -1
    assert odds[1] > 1


def test_condition_1_counts_in_the_fit():
    (cube,) = made(1)
    found = cube.at(0.1, 0.12)
    found["first_integrated"] = 2 * found["first_snr"]  # focusing gains nowhere
    assert len(fitting.passing(found, 0.0, 3.0)) == len(found)
    assert len(fitting.passing(found, 1e9, 3.0)) == 0


def test_nothing_found_is_no_error():
    empty = Surveyed(table_of(np.zeros(0), FOUND), table_of(np.zeros((2, len(TRUE))), TRUE))
    fitted, scores = fit_thresholds([empty, empty], Settings())
    assert scores["recall"] == 0
    assert np.isfinite(fitted.reliability_fit).all()


def test_the_logistic_curve_is_calibrated_and_rises():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20_000, 3))
    good = rng.uniform(size=len(x)) < 1 / (1 + np.exp(-(0.7 + 2.0 * x[:, 0] - 1.0 * x[:, 2])))
    constant, *slopes = logistic(x[:, :2], good)
    assert slopes == pytest.approx([1.75, 0.0], abs=0.1)
    constant, *slopes = logistic(x, good)
    assert slopes[2] == 0
    assert min(slopes) >= 0
    assert logistic(np.zeros((0, 3)), np.zeros(0, dtype=bool)) == (0.0, 0.0, 0.0, 0.0)
    constant, *slopes = logistic(x[:, :1], ~good)
    assert slopes == [0]
    assert constant == pytest.approx(np.log((~good).mean() / good.mean()), abs=0.02)


def test_a_survey_agrees_with_the_pipeline_and_goes_on(data, pipeline, tmp_path, monkeypatch):
    observatory, _ = observatory_of(data)
    monkeypatch.setattr(fitting, "THRESHOLDS", (0.2,))
    monkeypatch.setattr(fitting, "PROMINENCES", (pipeline.settings.prominence,))
    survey_one = partial(
        survey, partial(observatory.sample, 9), "9", [0], pipeline, beam_area(observatory), tmp_path
    )
    (surveyed,) = survey_one()
    seen = observatory.sample(9, 0)
    result = pipeline.run(seen.dirty, beam_area(observatory))
    found = surveyed.at(0.2, pipeline.settings.prominence)
    found = found[fitting.passing(found, pipeline.settings.bright, 3.0)]
    found = found[found["snr"] >= pipeline.settings.faint]
    assert len(found) == len(result.sources) > 0
    np.testing.assert_allclose(found["snr"], [s.snr for s in result.sources])
    assert len(surveyed.true) == len(seen.truth["x"])
    assert noise_level(seen.dirty) == pytest.approx(np.median(seen.sigma), rel=0.1)
    monkeypatch.setattr(fitting, "candidates_of", None)
    (again,) = survey_one()
    np.testing.assert_array_equal(again.found.as_array(), surveyed.found.as_array())
