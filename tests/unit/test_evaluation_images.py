"""Measures of denoised images recover what was put in, and their regions what can be counted by hand."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from astropy.table import Table
from conftest import skip_without

from faintsky import simulate_lofar
from faintsky.errors import InputError
from faintsky.evaluation import (
    PIXEL_EDGES,
    SEGMENT_COLUMNS,
    SEGMENT_QUANTITIES,
    Answer,
    Field,
    ImageScorer,
    Segments,
    SimulatedFields,
    denoisers,
    draw_apertures,
    evaluate,
    evaluate_lofar,
    gain,
    open_fields,
    operating_curve,
    over_fields,
    pixel_sums,
    program_islands,
    pull_sums,
    ratio_statistic,
    region_fluxes,
    scored_islands,
    segment_statistic,
    segment_sums,
    segments_of,
    true_regions,
)
from faintsky.image import RadioImage
from faintsky.published.peers import interpreter, island_options, searched_image

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


# ---------------------------------------------------------------------- regions

BEAM = 4.0  # pixels: true regions have more than 40


@pytest.fixture
def sky():
    """A square of S/N 0.5, one of 2 with a rim of 0.2, and one too small to count."""
    truth = np.zeros((60, 60), np.float32)
    truth[5:15, 5:15] = 0.5
    truth[28:42, 28:42] = 0.2
    truth[30:40, 30:40] = 2.0
    truth[50:55, 50:55] = 0.5
    return truth


def labels_of(*boxes):
    labels = np.zeros((60, 60), np.int32)
    for k, box in enumerate(boxes, start=1):
        labels[box] = k
    return labels


def named(sums):
    return dict(zip(SEGMENT_QUANTITIES, segment_statistic(sums[None])))


def test_true_regions_are_large_ones(sky):
    labels, n = true_regions(sky, 0.3, BEAM)
    assert n == 2
    assert (labels > 0).sum() == 200
    assert true_regions(sky, 0.1, BEAM)[1] == 2
    assert true_regions(sky, 1.0, BEAM)[1] == 1


def test_counts_by_hand(sky):
    # half of the faint square, all of the bright one without its rim, and 50 pixels of empty sky
    boxes = (np.s_[5:10, 5:15], np.s_[30:40, 30:40], np.s_[45:50, 0:10])
    found = Segments(labels_of(*boxes), np.array([0.95, 0.99, 0.92]), 0.9)
    sums = segment_sums(found, sky, BEAM)
    assert sums.shape == (1 + len(found.cuts), len(SEGMENT_COLUMNS))
    row = dict(zip(SEGMENT_COLUMNS, sums[0]))
    assert row["true 0.3"] == 100
    assert row["found 0.3"] == 50
    assert row["true 0.1"] == 96  # the rim
    assert row["found 0.1"] == 0
    assert row["true 1"] == row["found 1"] == 100
    assert (row["regions 0.3"], row["detected 0.3"]) == (1, 1)
    assert (row["labelled"], row["on emission"]) == (200, 150)
    assert (row["segments"], row["real"]) == (3, 2)
    values = named(sums)
    assert values["completeness 0.3"] == pytest.approx(0.5)
    assert values["pixel reliability"] == pytest.approx(0.75)
    assert values["region reliability"] == pytest.approx(2 / 3)
    # a cut above 0.92 removes the false region and leaves the true ones
    assert values["completeness at reliability 0.3"] == pytest.approx(0.5)
    assert values["completeness at reliability 1"] == 1
    assert np.isnan(values["completeness 3"])


def test_the_operating_point_needs_both_reliabilities(sky):
    # one large true region and many small false ones, all of one score: never reliable
    small = [np.s_[k, 59:60] for k in range(0, 20, 2)]
    found = Segments(labels_of(np.s_[28:42, 28:42], *small), np.full(11, 0.95), 0.9)
    sums = segment_sums(found, sky, BEAM)
    curve = operating_curve(sums)
    assert curve["pixel reliability"][0] > 0.9
    assert curve["region reliability"][0] == pytest.approx(1 / 11)
    assert named(sums)["completeness at reliability 1"] == 0
    assert np.all(np.isnan(curve["completeness"][:, 3]))


def test_nothing_found_and_fields_added_up(sky):
    nothing = segment_sums(Segments(np.zeros((60, 60), np.int32), np.zeros(0), 0.9), sky, BEAM)
    assert named(nothing)["completeness 0.3"] == 0
    assert np.isnan(named(nothing)["pixel reliability"])
    every = segment_sums(Segments((sky > 0.1).astype(np.int32), np.array([0.99]), 0.9), sky, BEAM)
    values = dict(zip(SEGMENT_QUANTITIES, over_fields(segment_statistic, [nothing[None], every[None]])))
    assert values["completeness 0.3"].value == pytest.approx(0.5)
    assert values["completeness 0.3"].error > 0.1


def test_a_method_that_reports_all_it_finds(sky):
    found = Segments(labels_of(np.s_[30:40, 30:40]), np.array([7.0]), -np.inf, (3.0, 8.0))
    sums = segment_sums(found, sky, BEAM)
    row = dict(zip(SEGMENT_COLUMNS, sums[0]))
    assert row["labelled"] == row["found 1"] == 100
    assert row["found 0.3"] == row["detected 0.3"] == 0
    assert sums[2][SEGMENT_COLUMNS.index("labelled")] == 0


def test_fluxes_of_real_regions(sky):
    labels = labels_of(np.s_[5:15, 5:15], np.s_[30:40, 30:40], np.s_[45:50, 0:10])
    found = Segments(labels, np.array([0.95, 0.5, 0.95]), 0.9, flux=np.array([55.0, 1, 9]),
                     snr=np.array([6.0, 1, 3]))  # fmt: skip
    assert region_fluxes(found, sky) == pytest.approx(np.array([[6.0, 1.1]]))
    assert found.reported == 2


def test_segments_of_a_catalogue():
    labels = labels_of(np.s_[5:15, 5:15], np.s_[30:40, 30:40])
    table = Table({"reliability": [0.95, 0.4], "snr": [6.0, 1.0]})
    made = segments_of(labels, table, np.full((60, 60), 0.5), 0.25, 0.9)
    assert made.flux == pytest.approx([200, 200])
    assert made.reported == 1
    table["reliability"] = np.nan  # a method without: all are reported, and S/N makes the curve
    made = segments_of(labels, table, np.full((60, 60), 0.5), 0.25, 0.9)
    assert made.reported == 2
    assert made.score == pytest.approx([6, 1])
    empty = segments_of(np.zeros((60, 60), int), table[:0], np.zeros((60, 60)), 1.0, 0.9)
    assert empty.reported == 0


# ---------------------------------------------------------------------- islands of other programs


@pytest.fixture(scope="module")
def field():
    """White noise with a square patch of S/N 8 and a fainter one of S/N 2, with columns unlike rows."""
    one = SimulatedFields("paper", "noise", (0,), 9000, 96).load(0, empty=True)
    truth = np.zeros((96, 96), np.float32)
    truth[20:30, 60:80] = 8 * one.rms
    truth[60:80, 10:30] = 2 * one.rms
    image = RadioImage.from_array(one.image.data + truth, unit="Jy/arcsec2", cell=one.image.grid.cell)
    object.__setattr__(one, "image", image)
    object.__setattr__(one, "truth", truth)
    return one


@pytest.mark.parametrize("program", ["pybdsf", "aegean"])
def test_a_program_outlines_a_bright_patch(field, program):
    skip_without(interpreter, program)
    settings = {"smooth": 0.0, "seed": 5.0, "grow": 3.0, "wavelets": False}
    found = program_islands(field, program, settings)
    assert found.reported == found.labels.max() == 1
    inside = found.labels[20:30, 60:80] == 1
    assert inside.mean() > 0.97
    assert (found.labels > 0).sum() == pytest.approx(200, abs=15)
    assert found.score[0] > 8
    ((snr, ratio),) = region_fluxes(found, field.truth / field.rms)
    assert ratio == pytest.approx(1, abs=0.05)
    assert snr == pytest.approx(8 * np.sqrt(200), rel=0.1)
    # smoothed, the fainter one is an island as well
    assert program_islands(field, program, settings | {"smooth": 1.5}).labels.max() == 2


def test_islands_have_the_noise_of_their_sum():
    labels = np.zeros((20, 20), np.int32)
    labels[2:6, 2:6], labels[10:12, 10:19] = 1, 2
    data = np.where(labels == 1, 6.0, np.where(labels == 2, 2.0, 0.0)).astype(np.float32)
    image = RadioImage.from_array(data, unit="Jy/arcsec2", cell=2.0)
    field = Field(image, data, 2.0, None, 3.0)
    made = scored_islands(labels, field, data / 1.0)
    assert made.score == pytest.approx([6, 2])
    assert made.flux == pytest.approx([48, 18])
    assert made.snr == pytest.approx([48 / 4, 18 / np.sqrt(18)])
    assert scored_islands(np.zeros((20, 20), np.int32), field, data).reported == 0


def test_the_smoothed_image_s_noise_is_known():
    data = np.random.default_rng(0).normal(0, 1.0, (600, 600)).astype(np.float32)
    image, rms, beam = searched_image(data, 3.0, 2.0)
    assert image.std() == pytest.approx(rms, rel=0.05)
    assert beam == pytest.approx((np.hypot(3, 6), np.hypot(3, 6), 0))


def test_options_in_the_programs_words():
    s = {"smooth": 0.0, "seed": 5.0, "grow": 3.0, "wavelets": True}
    made = island_options("aegean", s, 0.2)
    assert made == {"innerclip": 5.0, "outerclip": 3.0, "rms": 0.2, "bkg": 0.0}
    made = island_options("pybdsf", s, 0.2)
    assert (made["thresh_pix"], made["thresh_isl"], made["rms_value"]) == (5.0, 3.0, 0.2)
    assert made["atrous_do"] is True
