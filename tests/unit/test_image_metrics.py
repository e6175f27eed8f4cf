"""The evaluation of denoisers recovers what was put in."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from faintsky import simulate_lofar
from faintsky.errors import InputError
from faintsky.evaluation import (
    Answer,
    ImageScorer,
    SimulatedFields,
    denoisers,
    evaluate,
    evaluate_lofar,
    open_fields,
)
from faintsky.evaluation.image_metrics import (
    PIXEL_EDGES,
    draw_apertures,
    over_fields,
    pixel_sums,
    pull_sums,
    ratio_statistic,
)
from faintsky.evaluation.images import gain

SMALL = 128
COSTS = ("seconds", "CPU seconds", "peak memory")


def blob(shape, y, x, peak, sigma):
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return peak * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * sigma**2))


def test_pixel_sums():
    truth = np.array([[0.0, 2.0, 2.0], [20.0, np.nan, 500.0]])
    estimate = np.array([[0.5, 1.0, 3.0], [22.0, 7.0, 500.0]])
    sums = pixel_sums(estimate, truth)
    assert sums[:, 0].tolist() == [1, 0, 0, 2, 0, 1, 1]
    assert sums[3].tolist() == [2, 0, 2, 0.5]
    assert sums[5].tolist() == pytest.approx([1, 2, 4, 0.01])
    assert sums[0].tolist() == [1, 0.5, 0.25, 0]


def test_pull_sums_of_honest_errors():
    rng = np.random.default_rng(0)
    truth, sigma = rng.uniform(0, 20, (300, 300)), rng.uniform(0.5, 2, (300, 300))
    estimate = truth + sigma * rng.standard_normal(truth.shape)
    n, pull, square, within = pull_sums(estimate, sigma, truth, truth)[4]
    assert n == np.sum((truth >= PIXEL_EDGES[4]) & (truth < PIXEL_EDGES[5]))
    assert pull / n == pytest.approx(0, abs=0.02)
    assert square / n == pytest.approx(1, abs=0.03)
    assert within / n == pytest.approx(0.683, abs=0.01)


def test_apertures_in_white_noise():
    truth = blob((200, 200), 60, 60, 2.0, 8.0) + blob((200, 200), 140, 150, 40.0, 3.0)
    apertures = draw_apertures(truth, 3.0)
    assert len(apertures.flux) == 2
    inside = truth > 0.2 * 2.0
    first = apertures.labels == apertures.labels[60, 60]
    assert np.array_equal(first, inside & (np.arange(200) < 100)[:, None])
    # a sum of n pixels of unit noise; where all noise is the same everywhere, n times as much
    k = apertures.labels[60, 60] - 1
    assert apertures.snr[k] == pytest.approx(truth[first].sum() / np.sqrt(first.sum()))
    alike = draw_apertures(truth, 3.0, np.ones((401, 401)))
    assert alike.flux[0] / alike.snr[0] == pytest.approx(np.sum(alike.labels == 1))
    np.testing.assert_allclose(apertures.flux_ratios(0.9 * truth), 0.9)
    assert apertures.peaks.tolist() == [[140, 150]]  # the other one is below S/N 3
    assert apertures.peak_ratios(0.8 * truth, truth) == pytest.approx(0.8)


def test_apertures_of_an_empty_sky():
    apertures = draw_apertures(np.zeros((64, 64)), 3.0)
    assert len(apertures.flux) == 0
    assert apertures.flux_ratios(np.ones((64, 64))).shape == (0,)
    assert apertures.peak_ratios(np.ones((64, 64)), np.zeros((64, 64))).shape == (0,)


def test_bootstrap_over_fields():
    rng = np.random.default_rng(1)
    parts = [rng.normal(3 + shift, 0.01, (50, 1)) for shift in rng.normal(0, 1, 40)]
    (mean,) = over_fields(lambda rows: rows.mean(axis=0), parts)
    means = [p.mean() for p in parts]
    assert mean.value == pytest.approx(np.mean(means))
    # the scatter between fields counts, not that of the pixels within them
    assert mean.error == pytest.approx(np.std(means) / np.sqrt(40), rel=0.25)


def test_median_ratios():
    rng = np.random.default_rng(2)
    snr = rng.uniform(5, 10, 4000)
    median, scatter = ratio_statistic()(np.stack([snr, rng.normal(0.93, 0.2, 4000)], axis=1))[[1, 6]]
    assert median == pytest.approx(0.93, abs=0.015)
    assert scatter == pytest.approx(0.2, abs=0.015)
    assert np.isnan(ratio_statistic()(np.array([[4.0, 1.0]]))).all()


@pytest.mark.parametrize("kind", ["noise", "dirty", "clean_ideal"])
def test_fields_have_the_noise_they_say(kind):
    cases = SimulatedFields("lotss", kind, (0, 1), 3, SMALL)
    empty = cases.load(0, empty=True)
    assert not empty.truth.any()
    assert np.std(empty.image.data) == pytest.approx(empty.rms, rel=0.1)
    one, again = cases.load(1), cases.load(1)
    np.testing.assert_array_equal(one.image.data, again.image.data)
    if kind != "dirty":  # where the difference is noise alone
        assert np.std(one.image.data - one.truth) == pytest.approx(one.rms, rel=0.1)
    assert not np.array_equal(cases.load(0).image.data, one.image.data)


def test_fields_are_those_of_simulate_lofar(tmp_path):
    simulate_lofar(tmp_path / "data", 2, seed=3, preset="lotss", size=SMALL, quick=True)
    noise, dirty = open_fields(tmp_path / "data")
    for folder, kind in ((noise, "noise"), (dirty, "dirty")):
        read, made = folder.load(1), SimulatedFields("lotss", kind, (1,), 3, SMALL).load(1)
        np.testing.assert_allclose(read.image.data, made.image.data, rtol=1e-4, atol=1e-3 * made.rms)
        np.testing.assert_allclose(read.truth, made.truth, rtol=1e-3, atol=1e-3 * made.rms)
        assert read.rms == pytest.approx(made.rms)


def perfect(field):
    return Answer(field.truth.copy(), np.full_like(field.truth, field.rms))


def half(field):
    return Answer(0.5 * field.truth)


def same(field):
    return Answer(field.image.data)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    sets = [SimulatedFields("lotss", kind, (0, 1), 5, SMALL) for kind in ("noise", "clean_ideal")]
    methods = {"perfect": perfect, "starlet": half, "input": same}
    done = evaluate(out, sets, methods, ImageScorer()).rows
    return out, done


def value(rows, method, cases, quantity, low=None):
    wanted = (method, cases, quantity, low)
    return next(r["value"] for r in rows if (r["method"], r["set"], r["quantity"], r["snr_low"]) == wanted)


def test_methods_of_known_quality(rows):
    _, done = rows
    for cases in ("lotss noise", "lotss clean_ideal"):
        assert value(done, "perfect", cases, "error inside", 1.0) == 0
        assert value(done, "perfect", cases, "pull std", 1.0) == 0
        assert value(done, "starlet", cases, "relative error", 3.0) == pytest.approx(0.5, abs=1e-4)
        assert value(done, "input", cases, "error inside", 1.0) == pytest.approx(1, abs=0.1)
        assert value(done, "perfect", cases, "false regions per deg2") == 0
    whole = ("lotss noise", "flux ratio, all", 5.0)
    assert value(done, "perfect", *whole) == pytest.approx(1, abs=1e-5)
    assert value(done, "starlet", *whole) == pytest.approx(0.5, abs=1e-4)
    assert value(done, "input", *whole) == pytest.approx(1, abs=0.06)
    assert gain(done, "lotss noise", "perfect", "error inside") == (0, "starlet")


def test_everything_is_written(rows):
    out, done = rows
    with (out / "table.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(done)
    assert json.loads((out / "results.json").read_text())["rows"][0]["method"] == "perfect"
    text = (out / "table.md").read_text()
    assert "## lotss clean_ideal" in text
    assert "perfect / starlet = 0.00" in text
    stems = {p.stem for p in (out / "figures").iterdir()}
    assert stems == {
        "error", "flux_ratio", "peak_ratio", "pull_std", "completeness_at_reliability",
        "picture_lotss_noise", "picture_lotss_clean_ideal",
    }  # fmt: skip


def test_evaluate_lofar_runs_again_alike(tmp_path):
    ask = {"methods": ("gaussian", "input"), "n": 1, "preset": ("lotss",), "kinds": ("noise",), "size": SMALL}
    plan = evaluate_lofar(tmp_path / "a", dry_run=True, **ask)
    assert plan["fields"] == 1
    assert not (tmp_path / "a").exists()
    one, two = (evaluate_lofar(tmp_path / name, **ask) for name in "ab")
    without_time = [[r for r in e.rows if not r["quantity"].startswith(COSTS)] for e in (one, two)]
    assert json.dumps(without_time[0]) == json.dumps(without_time[1])
    row = one.find(method="input", set="lotss noise", quantity="error", snr_low=0.0)
    assert row["value"] == pytest.approx(1, abs=0.05)


def test_bad_requests(tmp_path):
    for ask, message in (
        ({"methods": ("nonsense",)}, "no model"),
        ({"methods": "starlet"}, "sequence of names"),
        ({"methods": ("input", "input")}, "two methods"),
        ({"kinds": ("clean",)}, "no kind of image"),
        ({"web": tmp_path / "none.npz"}, "no cosmic web"),
        ({"data": tmp_path / "none"}, "no such folder"),
        ({"n": 0}, "out of range"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate_lofar(tmp_path / "out", **{"methods": ("input",), **ask})
    with pytest.raises(InputError, match="has no NNNN_noise"):
        evaluate_lofar(tmp_path / "out", data=tmp_path, methods=("input",))
    assert [m.name for m in denoisers(("gaussian_paper", "constant"))] == ["gaussian_paper", "constant"]
