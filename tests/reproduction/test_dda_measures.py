"""The measures of Gheller & Vazza (2021) give what can be worked out by hand."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from faintsky.evaluation import Answer, SimulatedFields, evaluate
from faintsky.published.dda import EDGES
from reproduction.dda_measures import (
    RADII,
    Correlator,
    PaperImages,
    brightness_statistic,
    brightness_sums,
    correlation_statistic,
    dimming_statistic,
    dimming_sums,
    discrepancy_statistic,
    fallen,
    histograms,
    mre_of_each,
    radii,
)

NOISE = 2.45e-6


def lumps(seed=0, n=96):
    rng = np.random.default_rng(seed)
    sky = gaussian_filter((rng.random((n, n)) > 0.998) * rng.exponential(1.0, (n, n)), 3.0)
    return (1e-4 * sky).astype(np.float32)


def test_relative_error_counts_bright_pixels_alone():
    truth = np.array([[1e-8, 2e-7, 1e-6, 1e-5, np.nan]])
    estimate = np.array([[1e-5, 3e-7, 5e-7, 1e-5, 1.0]])
    sums = brightness_sums(estimate, truth, truth / NOISE)
    square, relative, *binned = brightness_statistic(sums[None])
    assert relative == pytest.approx((0.5 + 0.5 + 0) / 3)
    # by hand: places on the scale from 1e-8 to 1e-2, which has six decades
    places = [(3 / 6) ** 2, (np.log10(1.5) / 6) ** 2, (np.log10(2) / 6) ** 2, 0]
    assert square == pytest.approx(np.mean(places), rel=1e-5)
    per = len(binned) // 2
    assert binned[per] == pytest.approx(0.5)  # S/N below 0.1: one pixel counts, the other is too faint
    assert binned[per + 2] == pytest.approx(0.5)
    assert mre_of_each(np.stack([sums, 0 * sums]))[0] == relative
    assert np.isnan(mre_of_each(np.stack([sums, 0 * sums]))[1])


def test_scaled_brightness_has_the_error_of_its_factor():
    truth = lumps() + 1e-7
    sums = brightness_sums(0.841 * truth, truth, truth / NOISE)
    assert brightness_statistic(sums[None])[1] == pytest.approx(0.159, rel=1e-4)
    assert brightness_statistic(brightness_sums(truth, truth, truth / NOISE)[None])[0] == 0


def test_histograms_and_their_discrepancy():
    truth = np.array([[0.0, 1e-9, 1.05e-8, 1e-5, 1.0]])
    counts = histograms(truth, truth)
    assert counts.sum() == 10
    assert counts[0, 0] == 3  # the floor takes what is below it
    assert counts[0, -1] == 1
    assert discrepancy_statistic(counts[None])[0] == 0
    moved = histograms(np.full((1, 5), 1e-3), truth)
    # a pixel that moves is missing in one bin and too many in another
    assert discrepancy_statistic(moved[None])[0] == pytest.approx(2)
    assert len(counts[0]) == len(EDGES) - 1


def direct(a, b, y, x):
    """Eq. 8 at one lag, by shifting."""
    a, b = ((v - v.mean()) / v.std() for v in (a.astype(float), b.astype(float)))
    n_y, n_x = a.shape
    total = sum(
        a[i, j] * b[i + y, j + x]
        for i in range(n_y) for j in range(n_x) if 0 <= i + y < n_y and 0 <= j + x < n_x
    )  # fmt: skip
    return total / a.size


def test_correlation_is_that_of_the_sum():
    a, b = lumps(1, 40), lumps(2, 40) + lumps(1, 40)
    edges = np.array([0.0, 1.0, 2.2, 3.0])
    found = Correlator(a, 2.0, edges)(b)
    assert found[0] == pytest.approx(direct(a, b, 0, 0), abs=1e-5)
    sides = [direct(a, b, y, x) for y, x in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    assert found[1] == pytest.approx(np.mean(sides), abs=1e-5)
    corners = [direct(a, b, y, x) for y in (-1, 1) for x in (-1, 1)]
    assert found[2] == pytest.approx(np.mean(corners), abs=1e-5)


def test_correlation_of_equal_scaled_and_unrelated_images():
    truth = lumps()
    correlator = Correlator(truth, 2.0)
    assert correlator.truth[0] == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(correlator(3 * truth + 1e-4), correlator.truth, atol=1e-4)
    noise = np.random.default_rng(3).normal(size=truth.shape)
    assert abs(correlator(noise)[0]) < 0.05
    assert np.isnan(correlator(np.ones_like(truth))).all()
    assert np.isnan(Correlator(0 * truth, 2.0)(noise)).all()
    half, true = correlator(truth + truth.std() * noise), correlator.truth
    values = correlation_statistic(np.stack([half, true])[None])
    assert values[0] == pytest.approx(1 - 1 / np.sqrt(2), abs=0.03)
    # lumps of sigma 3 pixels of 2 arcsec: exp(-r²/4σ²) is 0.01 at r = 4.3 σ
    assert values[2] == pytest.approx(4.29 * 6, rel=0.25)
    assert fallen(np.full(len(RADII) - 1, np.nan)) != fallen(true)
    assert radii()[0] == 0


def test_dimming_is_of_the_brightest_pixels():
    truth = np.arange(1.0, 1001).reshape(20, 50)
    estimate = np.where(truth > 990, 0.9 * truth, 0)
    mean, total = dimming_statistic(dimming_sums(estimate, truth)[None])
    assert mean == pytest.approx(0.1)
    assert total == pytest.approx(0.1)
    assert np.isnan(dimming_statistic(dimming_sums(estimate, 0 * truth)[None])).all()


def sharp(field):
    return None if field.kind == "noise" else Answer(field.truth, sharp=0.5 * field.sharp)


def smooth(field):
    return Answer(gaussian_filter(field.image.data, 6.0))


def test_the_papers_measures_of_known_answers(tmp_path):
    sets = [SimulatedFields("paper", k, (0, 1), 5, 128) for k in ("noise", "clean_ideal")]
    rows = evaluate(tmp_path, sets, {"sharp": sharp, "smooth": smooth}, PaperImages()).rows
    found = {(r["method"], r["set"], r["quantity"], r["snr_low"]): r["value"] for r in rows}
    assert not any(m == "sharp" and s == "paper noise" for m, s, _, _ in found)
    ours = {q: v for (m, s, q, low), v in found.items() if m == "sharp" and low is None}
    assert ours["sigma_MRE"] == ours["MSE"] == ours["Delta_c"] == 0
    assert ours["1 - C(0)"] == pytest.approx(0, abs=1e-5)
    assert ours["sigma_MRE, beam taken out"] == pytest.approx(0.5, abs=1e-4)
    assert ours["dimming of the brightest 1 %, beam taken out"] == pytest.approx(0.5, abs=1e-4)
    assert ours["1 - C(0), beam taken out"] == pytest.approx(0, abs=1e-5)
    assert ours["Delta_c, beam taken out"] > 0
    errors = []
    for one in (sets[0].load(i) for i in range(2)):
        bright = one.truth > 1e-7
        errors.append(np.abs(smooth(one).image - one.truth)[bright] / one.truth[bright])
    expected = np.concatenate(errors).mean(dtype=float)
    assert found["smooth", "paper noise", "sigma_MRE", None] == pytest.approx(expected, rel=1e-4)
    assert found["smooth", "paper noise", "dimming of the brightest 1 %", None] > 0
    assert 0 < found["smooth", "paper noise", "1 - C(0)", None] < 1
    curves = json.loads((tmp_path / "results.json").read_text())["curves"]
    assert curves["sets"]["paper noise"]["smooth"]["C true"][0] == pytest.approx(1, abs=1e-4)
    names = {p.stem for p in (tmp_path / "figures").iterdir()}
    assert {"histograms", "correlation", "discrepancy", "maps_paper_noise", "zoom_paper_noise"} <= names
