"""Tables 4 and 5 of the paper, the funnel and the blends, on catalogues whose answers are known."""

import time
from functools import partial

import numpy as np
import pytest
from astropy.table import Table
from stand_ins import NETWORKS

from faintsky.evaluation import Method, Scored, SimulatedCubes, evaluate
from faintsky.grid import FWHM_PER_SIGMA, paper_frame_to_sky
from faintsky.image import RadioCube
from faintsky.matching import match
from faintsky.models import Model
from reproduction import deepfocus
from reproduction.deepfocus import STAGES, PaperScorer, Stopwatch, find, find_stage
from reproduction.deepfocus_tables import (
    PAPER_UNITS,
    blends,
    box_sums,
    funnel,
    highest_rows,
    overlaps,
    paper_widths,
    pure_recall,
    recall_at_precision,
    split_rows,
    stage_rows,
    table4,
    table5,
)

CELL = 0.1
META = {"shape": [64, 200, 200], "cell": CELL, "beam": 8.0, "sigma": [1e-3] * 64, "box_rule": "paper"}


def sources(x, y, z, *, half=6, meta=None, **more):
    """A catalogue with square boxes about the rounded places; everything else alike."""
    x, y, z = (np.asarray(v, dtype=float) for v in (x, y, z))
    n = len(x)
    columns = {"x": x, "y": y, "z": z, "fwhm_z": np.full(n, 5.0), "dc_maj": np.full(n, 1.2)}
    columns |= {"dc_min": np.full(n, 0.8), "dc_pa": np.full(n, 30.0), "flux": np.full(n, 2.0)}
    columns |= {"snr": np.full(n, 20.0), "continuum": np.zeros(n), "fwhm_velocity": np.full(n, 65.0)}
    columns |= {"isolated": np.ones(n), "blendedness": np.zeros(n), "paper_sum": np.full(n, 100.0)}
    columns |= {k: np.asarray(v, dtype=float) for k, v in more.items()}
    table = Table(columns)
    table["x_min"], table["x_max"] = np.rint(x) - half, np.rint(x) + half
    table["y_min"], table["y_max"] = np.rint(y) - half, np.rint(y) + half
    table["z_min"], table["z_max"] = z - table["fwhm_z"], z + table["fwhm_z"]
    table.meta = {**META, "seconds": 2.0, "memory_mb": 500.0, **(meta or {})}
    return table


def scored(truths, founds, method="m"):
    return Scored(method, "set", truths, founds)


# ---------------------------------------------------------------------- Table 4


TRUE = sources([20, 60, 100, 140], [20, 60, 100, 140], [10, 20, 30, 40])
FOUND = sources([21, 22, 60, 100, 180], [20, 20, 61, 100, 180], [10, 10.5, 20, 50, 5])
"""Hit, its double, hit, right place but 20 channels off, and nothing there."""


def lines_of(one):
    return {r["criterion"]: r for r in table4(one.rows(), {("m", "set"): pure_recall(one)})}


def test_table_4_counts_every_unmatched_detection():
    lines = lines_of(scored([TRUE], [FOUND]))
    assert [lines[c]["tp"] for c in ("position", "iou", "position2d", "iou2d")] == [2, 2, 3, 3]
    assert [lines[c]["fp"] for c in ("position", "iou", "position2d", "iou2d")] == [3, 3, 2, 2]
    assert [lines[c]["fn"] for c in ("position", "iou", "position2d", "iou2d")] == [2, 2, 1, 1]
    assert lines["iou"]["precision"] == pytest.approx(2 / 5)
    assert lines["iou"]["recall"] == lines["iou"]["tp_share"] == pytest.approx(2 / 4)
    assert lines["iou"]["f1"] == pytest.approx(4 / 9)
    shifted = 12 * 13 / (2 * 169 - 12 * 13)
    assert lines["iou"]["iou_2d"] == pytest.approx(shifted)
    assert lines["iou2d"]["iou_2d"] == pytest.approx((2 * shifted + 1) / 3)


def test_a_method_that_sees_one_image_is_judged_in_it():
    flat = FOUND.copy()
    flat["z"] = flat["z_min"] = flat["z_max"] = np.nan
    one = scored([TRUE, TRUE], [flat, flat])
    lines = lines_of(one)
    assert set(lines) == {"position2d", "iou2d"}
    assert (lines["iou2d"]["tp"], lines["iou2d"]["fp"], lines["iou2d"]["fn"]) == (6, 4, 2)
    assert np.isnan(lines["iou2d"]["iou_z"])
    assert len(match(TRUE, flat, "position").i_true) == len(match(TRUE, flat, "iou").i_true) == 0


def test_overlap_needs_both_axes_and_near_centres():
    wide = sources([20], [20], [10], half=8)  # holds the true box: 169 of 289 pixels
    assert len(match(TRUE[:1], wide, "iou2d").i_true) == 0
    assert len(match(TRUE[:1], wide, "position2d").i_true) == 1
    long = sources([20], [20], [10], fwhm_z=[9.0])
    assert len(match(TRUE[:1], long, "iou2d").i_true) == 1
    assert len(match(TRUE[:1], long, "iou").i_true) == 0


# ---------------------------------------------------------------------- recall at precision


def rated(hits, false, truth=TRUE):
    """Detections on the first true sources and far from all, with these reliabilities."""
    found = sources(
        [*truth["x"][: len(hits)], *np.full(len(false), 190.0)],
        [*truth["y"][: len(hits)], *np.linspace(2, 198, len(false))],
        [*truth["z"][: len(hits)], *np.full(len(false), 60.0)],
    )
    found["reliability"] = [*hits, *false]
    return found


def test_recall_at_precision_raises_the_threshold_until_it_is_pure():
    founds = [rated([0.99, 0.9, 0.6], [0.7]), rated([0.95, 0.8], [0.3, 0.2])]
    point = recall_at_precision([TRUE, TRUE], founds, "iou", 0.99)
    # above 0.7 four of eight are left, none false
    assert tuple(point[k] for k in ("pure_recall", "pure_precision", "pure_threshold")) == (
        pytest.approx(4 / 8),
        1.0,
        0.8,
    )
    assert point["pure_cubes"] == 2
    loose = recall_at_precision([TRUE, TRUE], founds, "iou", 5 / 6)
    assert (loose["pure_recall"], loose["pure_threshold"]) == (pytest.approx(5 / 8), 0.6)


def test_recall_at_precision_matches_again_when_a_detection_falls_out():
    # the nearer of two on one source has the lower reliability: the other takes its place
    found = sources([20, 21.5], [20, 20], [10, 10], reliability=[0.2, 0.9])
    point = recall_at_precision([TRUE[:1]], [found], "position")
    assert (point["pure_recall"], point["pure_threshold"]) == (1.0, 0.9)


def test_recall_that_cannot_be_pure_is_none():
    found = [rated([0.5], [0.9])]
    assert np.isnan(recall_at_precision([TRUE], found, "position")["pure_recall"])
    del found[0]["reliability"]
    point = recall_at_precision([TRUE], found, "position", 0.5)
    assert point["pure_recall"] == pytest.approx(1 / 4)  # nothing to cut by: as it is


def test_recall_at_precision_agrees_with_scoring_at_every_threshold():
    rng = np.random.default_rng(8)
    truths = [TRUE] * 8
    founds = [rated(rng.uniform(0.3, 1, 3), rng.uniform(0, 0.8, 2)) for _ in range(8)]
    point = recall_at_precision(truths, founds, "position", 0.9)
    assert 0 < point["pure_recall_error"] < 0.2
    best = 0.0
    for cut in np.unique(np.concatenate([np.asarray(f["reliability"]) for f in founds])):
        kept = [f[f["reliability"] >= cut] for f in founds]
        hits = sum(len(match(t, f).i_true) for t, f in zip(truths, kept))
        if hits >= 0.9 * sum(len(f) for f in kept):
            best = max(best, hits / 32)
    assert point["pure_recall"] == pytest.approx(best)


# ---------------------------------------------------------------------- funnel and stages


def test_funnel_tells_lost_duplicate_and_false():
    removed = [
        ["low S/N", 140.0, 141.0, 40.0],  # the source that is missed: lost
        ["low S/N", 140.5, 141.0, 41.0],  # and a second time: false
        ["low S/N", 5.0, 190.0, 9.0],
        ["3 pixels", 20.0, 20.0, float("nan")],  # on a found one
    ]
    meta = {"steps": [["blobs", 7], ["low S/N", 3], ["3 pixels", 1]], "removed": removed}
    found = sources([20, 60, 100], [20, 60, 100], [10, 20, 30], meta=meta)
    rows = {r["step"]: r for r in funnel(scored([TRUE, TRUE], [found, found]))}
    assert list(rows) == ["blobs", "low S/N", "3 pixels"]
    assert rows["blobs"]["count"] == 14
    assert rows["blobs"]["removed"] == ""
    kinds = [rows["low S/N"][k] for k in ("removed", "lost", "duplicate", "false")]
    assert kinds == [6, 2, 0, 4]
    assert [rows["3 pixels"][k] for k in ("removed", "lost", "duplicate", "false")] == [2, 0, 2, 0]
    assert funnel(scored([TRUE], [FOUND])) == []


def test_stages_are_averaged_and_the_whole_comes_last():
    meta = {"stages": [["search", [1.0, 0.8]], ["fit", 0.5]], "cpu_seconds": 1.0}
    rows = stage_rows(scored([TRUE, TRUE], [sources([], [], [], meta=meta), FOUND]))
    assert [(r["stage"], r["n"], r["seconds"]) for r in rows] == [
        ("search", 1, 1.0), ("fit", 1, 0.5), ("all", 2, 2.0),
    ]  # fmt: skip
    assert rows[0]["cpu_seconds"] == 0.8
    assert rows[2]["memory_mb"] == 500


def test_the_stopwatch_sees_stages():
    watch = Stopwatch()
    watch(0, 2, "long")
    time.sleep(0.05)
    watch(0, 2, "long (its second part)")
    watch(1, 2, "short")
    watch(2, 2, "done")
    assert list(watch.stages) == ["long", "short"]
    assert watch.stages["long"][0] >= 0.05 > watch.stages["short"][0] >= 0


# ---------------------------------------------------------------------- Table 5


def test_table_5_has_the_papers_frame_sign_and_units():
    n = 40
    rng = np.random.default_rng(3)
    wide, narrow, angle = rng.uniform(6, 9, n), rng.uniform(2, 4, n), rng.uniform(20, 70, n)
    x, y = 20.0 + 4 * np.arange(n), np.full(n, 100.0)
    z = 5 + 50 * rng.uniform(size=n)

    def table(dx, dwide, dangle, dwidth, factor):
        maj, minor, pa = paper_frame_to_sky(
            FWHM_PER_SIGMA * (wide + dwide), FWHM_PER_SIGMA * narrow, angle + dangle
        )
        made = sources(x + dx, y, z, half=30, flux=2.0 * factor * np.ones(n))
        made["dc_maj"], made["dc_min"], made["dc_pa"] = maj * CELL, minor * CELL, pa
        made["fwhm_z"] = 5.0 + dwidth
        return made

    truth = table(0, 0, 0, 0, 1)
    for name in ("x", "dc_maj", "dc_min", "fwhm_z", "dc_pa", "flux"):
        truth[f"{name}_bound"] = {"dc_maj": 0.1, "dc_min": 0.3}.get(name, 0.05)
    error = np.tile([0.2, -0.2], n // 2)
    # each in a cube of its own, so that pairs are certain
    found = table(error, 0.5, -3.0, 0.25, 1.05)
    one = scored([truth[[k]] for k in range(n)], [found[[k]] for k in range(n)])
    rows = {r["parameter"]: r for r in table5(one) if r["subset"] == "all"}
    assert set(rows) == set(PAPER_UNITS)
    assert rows["x"]["mean"] == pytest.approx(0, abs=1e-9)
    assert rows["x"]["std"] == pytest.approx(0.2)
    assert rows["x"]["bound"] == pytest.approx(0.05)
    assert rows["x"]["over_bound"] == pytest.approx(1.4826 * 0.2 / 0.05)
    assert np.isnan(rows["x"]["within_10"])
    assert rows["fwhm_x"]["mean"] == pytest.approx(-0.5)  # true minus found, eq. 23
    assert rows["fwhm_y"]["mean"] == pytest.approx(0, abs=1e-6)
    assert rows["fwhm_x"]["bound"] == pytest.approx(0.1 / CELL / FWHM_PER_SIGMA)
    assert rows["fwhm_y"]["bound"] == pytest.approx(0.3 / CELL / FWHM_PER_SIGMA)
    assert rows["dz"]["mean"] == pytest.approx(-0.5)  # twice the width's
    assert rows["dz"]["bound"] == pytest.approx(0.1)
    assert rows["pa"]["mean"] == pytest.approx(3.0)
    assert rows["pa_axial"]["mean"] == pytest.approx(-3.0)  # the paper's angle runs clockwise
    assert rows["flux"]["relative_mean"] == pytest.approx(-0.05)
    assert [rows["flux"][f"within_{p}"] for p in (1, 10, 20)] == [0, 1, 1]
    assert rows["flux"]["bound"] == pytest.approx(0.05 * 2.0)
    assert rows["brightness"]["std"] == 0


def test_angles_wrap_in_the_papers_frame_but_not_as_axes():
    truth = sources([20, 60], [20, 60], [10, 20])
    truth["dc_pa"] = [89.0, 45.0]
    truth["dc_min"] = [0.8, 1.15]
    found = truth.copy()
    found["dc_pa"] = [91.0, 47.0]
    rows = {r["parameter"]: r for r in table5(scored([truth], [found])) if r["subset"] == "all"}
    assert rows["pa"]["std"] > 40
    assert rows["pa_axial"]["mean"] == pytest.approx(-2.0)
    assert rows["pa_elongated"]["n"] == 1


# ---------------------------------------------------------------------- blends, boxes, images


def test_blends_are_split_where_both_are_found():
    truth = sources([20, 24, 100, 101, 160], [20, 20, 100, 100, 160], [10, 30, 10, 30, 10])
    truth["blendedness"] = 0.0
    found = truth[[0, 1, 2, 4]]
    i, j, overlap = blends(truth)
    assert list(zip(i, j)) == [(0, 1), (2, 3)]
    assert overlap == pytest.approx([9 / 17, 12 / 14])
    one = scored([truth], [found])
    rows = split_rows(one)
    assert [(r["n"], r["split"]) for r in rows] == [(1, 1.0), (1, 0.0)]
    assert rows[0]["overlap_from"] == pytest.approx(0.4)


def test_the_highest_blend_is_told_by_either_criterion():
    truth = sources([20, 24, 100, 101], [20, 20, 100, 100], [10, 30, 10, 30])
    truth["blendedness"] = overlaps(truth).max(axis=1)
    found = truth[:3].copy()
    found["x_max"][1] += 14  # too long a box, in its place
    rows = {r["criterion"]: r for r in highest_rows(scored([truth], [found]))}
    assert rows["position"]["split"] == pytest.approx(9 / 17)
    assert rows["iou"]["split"] == 0
    for row in rows.values():
        assert row["pairs"] == 2
        assert row["found"] == row["in_the_data"] == pytest.approx(12 / 14)


def test_lines_of_one_object_are_no_blend():
    truth = sources([20, 20, 24], [20, 20, 20], [10, 30, 50], source=[1, 1, 2])
    i, j, _ = blends(truth)
    assert list(zip(i, j)) == [(0, 2), (1, 2)]
    assert overlaps(truth).max(axis=1) == pytest.approx([9 / 17] * 3)


def test_deepfocus_before_focusing_has_rows_of_its_own(tmp_path, monkeypatch):
    """Its blobs are judged in the image, with a line each in both; every line of a blob is a detection."""
    model = Model("DF", "detect", {}, {"networks": {"blobs_finder": {"arguments": {}}}}, tmp_path)
    monkeypatch.setattr(deepfocus, "load_model", lambda *_, **__: model)
    monkeypatch.setattr(deepfocus.pipeline, "load_networks", lambda _: NETWORKS)
    cubes = SimulatedCubes("paper", (0,), 5, (("channels", 64), ("size", 200)))
    names = [f"DF: {stage}" for stage in STAGES]
    ways = [partial(find_stage, model="DF", lines=lines) for lines in (False, True)]
    done = evaluate(tmp_path, [cubes], list(map(Method, names, ways)), PaperScorer())
    rows = {(r["method"], r["criterion"]): r for r in done.scores.tables["table4"]}
    blobs, lines = rows[names[0], "iou2d"], rows[names[1], "iou2d"]
    assert (names[0], "iou") not in rows
    assert (names[1], "iou") in rows
    assert blobs["tp"] > 0
    assert lines["tp"] + lines["fp"] > blobs["tp"] + blobs["fp"]


def test_box_sums_add_the_boxs_voxels():
    data = np.ones((20, 30, 30), np.float32) * 1e-3
    data[5:10] += 1e-3
    cube = RadioCube.from_array(data, cell=CELL, frequencies=230e9 + 1e7 * np.arange(20))
    table = Table({"x_min": [4], "x_max": [5], "y_min": [27], "y_max": [29], "z_min": [4.5], "z_max": [9.5]})
    assert box_sums(table, cube) == pytest.approx([2 * 3 * 5 * 2e-3])
    assert box_sums(table, cube, continuum=True) == pytest.approx([1e-3])
    table["z_min"], table["z_max"] = [np.nan], [np.nan]
    assert box_sums(table, cube) == pytest.approx([2 * 3 * (20 + 5) * 1e-3])
    assert np.isnan(box_sums(table, cube, continuum=True))


def test_widths_in_the_paper_frame_survive_the_swap_of_its_axes():
    truth = sources([20, 60], [20, 60], [10, 20], dc_maj=[1.2, 1.2], dc_min=[0.6, 0.6], dc_pa=[89.0, 91.0])
    found = truth.copy()
    found["dc_pa"], found["dc_maj"] = [91.0, 89.0], [1.3, 1.3]
    (x, own_x), (y, own_y) = paper_widths(truth, found, CELL).values()
    unit = 0.1 / CELL / 2.3548
    assert np.sort(np.abs(own_x - x)) == pytest.approx([0, unit], abs=1e-4)
    assert (own_x - x) + (own_y - y) == pytest.approx([unit] * 2, abs=1e-4)


def test_everything_of_two_small_cubes(tmp_path):
    cubes = SimulatedCubes("emitters", (0, 1), 5, (("size", 96), ("channels", 24)))
    method = Method("flood_fill", partial(find, model="flood_fill", images=str(tmp_path / "images")))
    classical = Method("classical", partial(find, model="classical", images=str(tmp_path / "images")))
    done = evaluate(tmp_path, [cubes], [method, classical], PaperScorer())
    tables = done.scores.tables
    assert {r["method"] for r in tables["table4"]} == {"flood_fill", "classical"}
    assert {"table5.csv", "funnel.csv", "blends.csv", "stages.csv"} <= {p.name for p in tmp_path.iterdir()}
    stems = {p.stem for p in (tmp_path / "figures").iterdir()}
    names = ("sources", "detected", "flux_blendedness", "examples", "flux_error", "parameters_classical")
    assert {f"{name}_emitters" for name in names} <= stems
    assert "## Table 4" in (tmp_path / "table.md").read_text()
    kept = Table.read(tmp_path / "catalogs" / "truth" / "emitters" / "0000.ecsv")
    assert {"blendedness", "paper_sum", "paper_continuum"} <= set(kept.colnames)
