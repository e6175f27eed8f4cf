"""Data of the second phase, thresholds and reliabilities of DeepFocus, with networks made for the purpose."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.special import expit
from stand_ins import NETWORKS

import faintsky
from faintsky.errors import InputError
from faintsky.matching import Criterion
from faintsky.published.deepfocus import (
    DeepFocus,
    JudgedCandidates,
    beam_area,
    candidates_of,
    chain,
    fit_thresholds,
    logistic,
    noise_level,
    observatory_of,
    survey,
    write_predicted,
)
from faintsky.published.deepfocus import thresholds as fitting
from faintsky.published.deepfocus.blobs import Blob
from faintsky.published.deepfocus.finding import FindingSettings, Source
from faintsky.published.deepfocus.pipeline import reliabilities
from faintsky.published.deepfocus.thresholds import scores_of, sources_table
from faintsky.sky import empty_sky

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
    return DeepFocus(NETWORKS, FindingSettings(threshold=0.2, faint=2.0), size=96)


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


def source(x, y, z, snr, *, half=10, peak=0.5):
    box = (round(x) - half, round(x) + half, round(y) - half, round(y) + half)
    return Source(box, x, y, z, 8.0, snr, snr, Blob(box, x, y, peak), 0.5)


def made(n_cubes=40, n_empty=10, seed=0, poor=0):
    """True sources found with an S/N of about 20, the first with poor boxes, and as many false ones of 5."""
    rng, true, found = np.random.default_rng(seed), [], []
    for i in range(n_cubes + n_empty):
        sources = []
        for k in range(4 if i < n_cubes else 0):
            x, y, z = rng.uniform(60, 300), 40 + 80 * k, rng.uniform(20, 100)
            sources.append(source(x, y, z, rng.lognormal(np.log(20), 0.3)))
        true.append(sources_table(sources))
        found.append([
            *(replace(s, box=(*s.box[:3], s.box[2] + 3)) for s in sources[:poor]), *sources[poor:],
            *(source(*rng.uniform(400, 900, 2), 50.0, rng.lognormal(np.log(5), 0.3)) for _ in range(4)),
        ])  # fmt: skip
    return true, found


def test_the_last_cut_parts_true_from_false_and_holds_on_other_cubes():
    score, fitted = JudgedCandidates.of(*made()).best(FindingSettings())
    assert score > 0.97
    true, found = made(seed=1)
    kept = [[s for s, r in zip(f, reliabilities(f, fitted)) if r >= fitted.reliability] for f in found]
    scores = scores_of(JudgedCandidates.of(true, kept))
    assert min(scores["recall"], scores["precision"]) > 0.95
    assert scores["false_in_empty"] < 0.5


def test_a_true_source_with_a_poor_box_is_missed_but_not_false():
    whole, poor = (JudgedCandidates.of(*made(poor=k)) for k in (0, 2))
    assert poor.hit.sum() == whole.hit.sum() / 2
    assert (poor.place == whole.place).all()
    score, fitted = poor.best(FindingSettings())
    # 2 h / (n + h + false)
    assert score == pytest.approx(2 / 3, abs=0.02)
    cut = whole.best(FindingSettings())[1]
    assert fitted.reliability_fit == pytest.approx(cut.reliability_fit)


def test_false_sources_in_empty_cubes_count_more():
    def last_cut(n_empty):
        judged = JudgedCandidates.of(*made(n_empty=n_empty, seed=2))
        wide = replace(judged, features=judged.features + 0.0)
        wide.features[:, 0] += 1.5 * np.random.default_rng(0).normal(size=len(wide.features))
        fitted = wide.best(FindingSettings())[1]
        kept = (
            expit(fitted.reliability_fit[0] + wide.features @ fitted.reliability_fit[1:])
            >= fitted.reliability
        )
        return kept, wide

    kept, judged = last_cut(40)
    assert (kept & judged.empty).sum() <= 0.05 * 40 + 1
    kept, judged = last_cut(0)
    assert (kept & ~judged.place).sum() > 2


def test_nothing_found_is_no_error():
    score, fitted = JudgedCandidates.of([sources_table([])], [[]]).best(FindingSettings())
    assert score == 0
    assert np.isfinite(fitted.reliability_fit).all()
    assert scores_of(JudgedCandidates.of([sources_table([source(9, 9, 9, 9)])], [[]]))["recall"] == 0


def test_curves_of_earlier_models_have_fewer_features():
    (one,) = reliabilities([source(9, 9, 9, 9.0)], FindingSettings(reliability_fit=(0.5, 1.0, 0.0, 0.0)))
    assert one == pytest.approx(expit(0.5 + np.log(9)))


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


@pytest.mark.parametrize("extract", ["label", "peaks"])
def test_a_survey_agrees_with_the_pipeline_and_goes_on(data, pipeline, tmp_path, monkeypatch, extract):
    observatory, _ = observatory_of(data)
    settings = FindingSettings(extract=extract, threshold=0.2, least=0.2)
    pipeline, area = replace(pipeline, settings=settings), beam_area(observatory)
    survey_one = partial(survey, partial(observatory.sample, 9), "9", [0], pipeline, tmp_path)
    surveyed = survey_one()
    seen = observatory.sample(9, 0)
    result = pipeline.run(seen.dirty, area)
    ((found,),) = candidates_of(surveyed, pipeline, area, [settings])
    assert len(found) == len(result.sources) > 0
    np.testing.assert_allclose([s.snr for s in found], [s.snr for s in result.sources], rtol=0.02)
    assert len(surveyed[0].true) == len(seen.truth["x"])
    assert noise_level(seen.dirty) == pytest.approx(np.median(seen.sigma), rel=0.1)
    monkeypatch.setattr("faintsky.published.deepfocus.thresholds.noise_level", None)
    (again,) = survey_one()
    np.testing.assert_array_equal(again.open()[0], surveyed[0].open()[0])


def test_every_threshold_takes_the_value_that_is_best(data, pipeline, tmp_path, monkeypatch):
    observatory, _ = observatory_of(data)
    pipeline, area = replace(pipeline, settings=FindingSettings(extract="peaks")), beam_area(observatory)
    none = empty_sky(observatory.instrument.grid, observatory.instrument.spectral)

    def sample(index):
        return observatory.observe(none, None, 7) if index == 2 else observatory.sample(9, index)

    surveyed = survey(sample, "9", range(3), pipeline, tmp_path)
    assert len(surveyed[2].true) == 0
    monkeypatch.setattr(fitting, "GRID", {"peaks": {"least": (0.2, 0.99), "share": (0.1, 0.3, 0.9)}})
    monkeypatch.setattr(fitting, "BOTH", {})
    fitted, scores = fit_thresholds(surveyed, pipeline, area)
    assert (fitted.least, scores["cubes"], scores["sources"]) == (0.2, 3, sum(len(s.true) for s in surveyed))
    scores = {}
    for share in (0.1, 0.3, 0.9):
        tried = fitted.model_copy(update={"share": share, "reliability": 0.0})
        found = [f for (f,) in candidates_of(surveyed, pipeline, area, [tried])]
        scores[share] = JudgedCandidates.of([s.true for s in surveyed], found).best(tried)[0]
    assert scores[fitted.share] == max(scores.values())
