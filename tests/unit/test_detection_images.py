"""Compact sources of images: fits, the noise's correlation, the search, objects, reliabilities."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from faintsky.detection import (
    NoisePeaks,
    SourceCounts,
    deboosted,
    detect_image,
    fit_counts,
    fit_gaussians,
    images_of,
)
from faintsky.image import RadioImage
from faintsky.preparing import background_map, noise_correlation_of, prepare_image
from faintsky.report import doubts, residual_verdict

SIGMA = 2 * np.sqrt(2 * np.log(2))
BEAM, RMS, CELL = 4.0, 50e-6, 1.5  # pixel, Jy/beam, arcsec


def noise_of(n: int, seed: int, beam: float = BEAM) -> np.ndarray:
    """Noise of rms 1 that is correlated like a beam."""
    plane = gaussian_filter(
        np.random.default_rng(seed).normal(size=(n, n)), beam / SIGMA / np.sqrt(2), mode="wrap"
    )
    return plane / plane.std()


def image_of(
    sources: list[tuple[float, float, float, float]], n: int = 256, seed: int = 0, **more
) -> RadioImage:
    """An image with Gaussians of (x, y, S/N, FWHM [beam]) in `noise_of`."""
    y, x = np.indices((n, n)).astype(float)
    data = noise_of(n, seed)
    for x0, y0, snr, size in sources:
        data += snr * np.exp(-4 * np.log(2) * ((x - x0) ** 2 + (y - y0) ** 2) / (size * BEAM) ** 2)
    data = (data * RMS).astype(np.float32)
    if "blank" in more:
        data[more.pop("blank")] = np.nan
    return RadioImage.from_array(
        data, cell=CELL, beam=(BEAM * CELL, BEAM * CELL, 0.0), unit="Jy/beam", **more
    )


def near(table, x: float, y: float, within: float = 2.0):
    return table[np.hypot(table["x"] - x, table["y"] - y) < within]


@pytest.mark.parametrize("beam", [0.1, BEAM])
def test_the_filtered_noise_has_variance_1(beam):
    noise = noise_of(600, 1, beam)
    correlation = noise_correlation_of(noise, np.ones(noise.shape, bool), (BEAM, BEAM, 0.0))
    kernel, seen = correlation.matched_filter((BEAM, BEAM, 0.0))
    assert fftconvolve(noise, kernel, mode="valid").std() == pytest.approx(1, abs=0.04)
    # what the filter can win over the peak: all of the beam's pixels in white noise, nothing in its own
    best = {0.1: np.sqrt(np.pi * (BEAM / SIGMA) ** 2), BEAM: 1.0}
    assert seen.max() == pytest.approx(best[beam], rel=0.06)


def test_pixels_are_whitened():
    noise = noise_of(400, 1, 0.1)
    correlation = noise_correlation_of(noise, np.ones(noise.shape, bool), (BEAM, BEAM, 0.0))
    oy, ox = (a.ravel() for a in np.mgrid[-4:5, -4:5])
    places = np.random.default_rng(0).integers(10, 390, (3000, 2))
    stamps = noise[places[:, :1] + oy, places[:, 1:] + ox] @ correlation.whitening(ox, oy).T
    assert stamps.var() == pytest.approx(1, abs=0.03)


def test_fits_are_unbiased_and_their_errors_true():
    """300 resolved Gaussians in correlated noise, fitted at once."""
    noise = noise_of(900, 2)
    correlation = noise_correlation_of(noise, np.ones(noise.shape, bool), (BEAM, BEAM, 0.0))
    oy, ox = (a.ravel() for a in np.mgrid[-8:9, -8:9])
    rng, n = np.random.default_rng(3), 300
    corner = np.stack(
        [a.ravel() for a in np.meshgrid(np.arange(20, 880, 45), np.arange(20, 880, 45))], axis=1
    )[:n]
    true = np.empty((n, 1, 6))
    true[:, 0, 0], true[:, 0, 1:3] = 25, rng.uniform(-0.5, 0.5, (n, 2))
    true[:, 0, 3:] = [6.0, 1.0, 4.0]
    x, y = np.broadcast_to(ox, (n, ox.size)).astype(float), np.broadcast_to(oy, (n, oy.size)).astype(float)
    data = noise[corner[:, 1:] + oy, corner[:, :1] + ox] + images_of(true, x, y)[:, 0]
    start = true.copy()
    start[..., 0] *= 0.8
    start[..., 1:3], start[..., 3:] = 0, [4.0, 0.0, 4.0]
    fitted = fit_gaussians(
        data, x, y, correlation.whitening(ox, oy), start, np.ones(start.shape, bool), 4.0, 40.0
    )
    errors = np.sqrt(np.diagonal(fitted.covariance, axis1=1, axis2=2))
    pulls = (fitted.values[:, 0] - true[:, 0]) / errors
    scatter = 1.4826 * np.median(np.abs(pulls - np.median(pulls, axis=0)), axis=0)
    assert np.all((scatter > 0.85) & (scatter < 1.2)), scatter
    assert np.all(np.abs(np.median(pulls, axis=0)) < 0.25)


def test_points_extended_sources_and_pairs():
    singles = [(40.3, 50.6, 200.0, 1.0), (120.8, 40.2, 12.0, 1.0), (200.1, 210.7, 60.0, 2.0)]
    pair = [(60.0, 180.0, 40.0, 1.0), (60.0 + 1.25 * BEAM, 180.0, 40.0, 1.0)]
    found = detect_image(image_of([*singles, *pair]))
    parts = found.components
    assert len(parts) == 5
    for x, y, snr, size in [*singles, *pair]:
        row = near(parts, x, y)
        assert len(row) == 1
        row = row[0]
        assert abs(row["flux"] - snr * RMS * size**2) < 4 * row["flux_err"]
        assert abs(row["x"] - x) < 4 * row["x_err"]
        assert row["kind"] == ("gaussian" if size > 1 else "point")
    wide = near(found.catalog, 200.1, 210.7)[0]
    assert wide["dc_maj"] == pytest.approx(np.sqrt(3) * BEAM * CELL, rel=0.15)
    assert wide["fwhm_maj"] == pytest.approx(2 * BEAM * CELL, rel=0.15)
    assert found.mask[round(wide["y"]), round(wide["x"])] == wide["id"]
    assert list(found.catalog["snr"]) == sorted(found.catalog["snr"], reverse=True)


def test_points_that_no_dip_parts_are_one_object():
    close = [(100.0, 100.0, 14.0, 1.0), (100.0 + 1.1 * BEAM, 100.0, 40.0, 1.0)]
    found = detect_image(image_of(close))
    assert len(found.components) == 2
    (whole,) = found.catalog
    assert (whole["kind"], whole["n_components"]) == ("complex", 2)
    assert whole["flux"] == pytest.approx(np.sum(found.components["flux"]))
    assert set(found.components["id"]) == {whole["id"]}


def test_a_core_in_a_halo_is_as_bright_as_both():
    found = detect_image(image_of([(100.0, 100.0, 100.0, 1.0), (100.0, 100.0, 60.0, 2.5)]))
    (whole,) = found.catalog
    assert whole["n_components"] == 2
    assert whole["flux_peak"] == pytest.approx(160 * RMS, rel=0.03)
    assert whole["flux"] == pytest.approx((100 + 60 * 2.5**2) * RMS, rel=0.05)
    assert whole["snr"] > 1.3 * max(found.components["snr"])


@pytest.mark.parametrize("apart", [2.5, 3.5])
def test_a_bright_source_does_not_hide_those_beside_it(apart):
    """They are one source and another of the same ring, and no artefacts, which would be negative, too."""
    beside, d = (128.0 + apart * BEAM, 128.0), 0.7 * apart * BEAM
    for seed in range(3):
        sources = [(128.0, 128.0, 200.0, 1.0), (*beside, 14.0, 1.6), (128.0 + d, 128.0 + d, 6.0, 1.0)]
        found = detect_image(image_of(sources, seed=seed))
        assert len(near(found.catalog, *beside)) == 1


def test_model_and_residual_are_the_image():
    image = image_of([(40.0, 50.0, 100.0, 1.0), (150.0, 120.0, 20.0, 1.5)])
    found = detect_image(image)
    np.testing.assert_allclose(found.image + found.residual, image.data, atol=1e-3 * RMS)
    assert residual_verdict(image, found) == ("looks like noise", 0)
    assert np.std(found.residual) == pytest.approx(RMS, rel=0.05)


def test_what_remains_is_said_with_its_place():
    """A peak that was not looked for, as it lies outside the user's mask, is no surprise."""
    image = image_of([(40.0, 50.0, 100.0, 1.0), (150.0, 120.0, 20.0, 1.5)])
    found = detect_image(image)
    found.residual[200, 30] = -9 * found.uncertainty[200, 30]
    verdict = residual_verdict(image, found)
    assert verdict.words == "looks like noise, but -9.0 sigma remain outside the objects at x 30, y 200"
    assert doubts(found, verdict) == [f"the residual {verdict.words}"]
    looked = np.ones(image.data.shape, bool)
    looked[190:210] = False
    masked = image_of([], mask=looked)
    assert residual_verdict(masked, found) == ("looks like noise", 0)


def test_a_negative_source_is_negative():
    found = detect_image(image_of([(100.0, 100.0, -40.0, 1.0), (180.0, 60.0, 50.0, 1.0)]))
    row = near(found.catalog, 100, 100)[0]
    assert row["flux"] == pytest.approx(-40 * RMS, rel=0.1)
    assert "negative" in row["flags"]
    assert len(near(found.catalog[found.catalog["flux"] > 0], 100, 100, 10)) == 0
    assert len(found.catalog) == 2


def test_beside_blanks_and_at_the_border():
    blank = np.s_[:, 128:140]
    found = detect_image(image_of([(126.0, 60.0, 80.0, 1.0), (1.0, 200.0, 80.0, 1.0)], blank=blank))
    assert len(found.catalog) == 2
    for x, y in ((126.0, 60.0), (1.0, 200.0)):
        row = near(found.catalog, x, y)[0]
        assert row["flux"] == pytest.approx(80 * RMS, rel=0.12)
        assert "edge" in row["flags"]
    assert np.isnan(found.image[blank]).all()


def test_noise_alone_gives_nothing():
    assert sum(len(detect_image(image_of([], seed=s)).catalog) for s in range(5)) <= 1


def test_stripes_do_not_hide_sources():
    """Plane waves of 1.5 rms: what a plain threshold takes for noise."""
    places = [(30.0 + 45 * k, 40.0 + 40 * k, 12.0, 1.0) for k in range(5)]
    image = image_of(places)
    y, x = np.indices(image.data.shape)
    stripes = 1.5 * RMS * np.sqrt(2) * np.cos(2 * np.pi * (x * np.cos(0.4) + y * np.sin(0.4)) / (15 * BEAM))
    again = RadioImage.from_array(
        image.data + stripes.astype(np.float32),
        cell=CELL,
        beam=(BEAM * CELL, BEAM * CELL, 0.0),
        unit="Jy/beam",
    )
    found = detect_image(again)
    assert all(len(near(found.catalog, x, y)) == 1 for x, y, _, _ in places)
    assert len(found.catalog) <= 6
    assert residual_verdict(again, found).words.startswith("not noise")


def test_where_the_user_looks():
    mask = np.zeros((256, 256), np.int16)
    mask[:128] = 1
    found = detect_image(image_of([(60.0, 60.0, 50.0, 1.0), (60.0, 200.0, 50.0, 1.0)], mask=mask))
    assert [round(float(y)) for y in found.catalog["y"]] == [60]


def test_counts_and_reliability():
    rng = np.random.default_rng(0)
    counts = fit_counts(5 / rng.random(3000))
    assert counts.slope == pytest.approx(1, abs=0.06)
    assert counts.number == pytest.approx(3000 * 5 / 7, rel=0.05)
    noise = NoisePeaks(3e4, power=1)
    at = np.array([4.0, 5.0, 8.0])
    candidates = 4 * rng.pareto(1.0, 4000) + 4
    values = counts.reliability(at, noise, candidates)
    assert np.all(np.diff(values) > 0)
    assert values[-1] > 0.999
    # a survey without sources below 5 sigma: what the counts would have there is not to be had
    cut = counts.reliability(at, noise, np.append(candidates[candidates > 5], np.full(40, 4.2)))
    assert cut[0] < values[0]
    assert cut[2] == values[2]
    empty = fit_counts(np.array([4.2, 4.5]))
    assert empty.reliability(np.array([5.0]), noise, np.array([4.2, 4.5]))[0] < 0.1


def test_deboosted_fluxes_are_those_of_the_counts():
    """Sources with known counts, measured with noise: the median truth at each measured S/N."""
    rng = np.random.default_rng(1)
    true = 1 / rng.random(2_000_000)
    seen = true + rng.normal(size=true.size)
    for low in (5.0, 7.0, 12.0):
        its = (seen > low) & (seen < 1.05 * low)
        middle, error = deboosted(np.array([1.025 * low]), SourceCounts(1.0, 1.0))
        assert middle[0] == pytest.approx(np.median(true[its]), rel=0.02)
        assert error[0] == pytest.approx(np.diff(np.quantile(true[its], [0.16, 0.84]))[0] / 2, rel=0.1)


def test_artefacts_that_are_as_often_negative_raise_the_threshold():
    """A tenth of the noise's patches are 1.8 times as strong: no map of boxes shows that, the peaks do."""
    image = image_of([(128.0, 128.0, 60.0, 1.0)], n=400)
    patches = gaussian_filter(np.random.default_rng(4).normal(size=(400, 400)), 6.0)
    strong = patches > np.quantile(patches, 0.9)
    noise = noise_of(400, 9) * np.where(gaussian_filter(strong.astype(float), 2.0) > 0.5, 1.8, 0.9) * RMS
    rough = RadioImage.from_array(
        (image.data - noise_of(400, 0) * RMS + noise).astype(np.float32),
        cell=CELL,
        beam=(BEAM * CELL, BEAM * CELL, 0.0),
        unit="Jy/beam",
    )
    found = detect_image(rough)
    assert found.noise.stretch > 1.2
    assert len(near(found.catalog, 128, 128)) == 1
    assert len(found.catalog) <= 4
    assert np.min(found.catalog["reliability"]) >= 0.9
    assert detect_image(image).noise.stretch < 1.05


def test_a_slow_background_is_taken_out_for_the_fits():
    """A wave of 3 rms over 75 beams shifts no flux; the residual keeps it; a cloud of ten beams is none."""
    places = [(x, y, 15.0, 1.0) for x in range(40, 600, 60) for y in range(40, 600, 60)]
    image = image_of(places, n=600, seed=4)
    wave = 3 * RMS * np.sin(2 * np.pi * np.arange(600) / 300).astype(np.float32)
    waved = RadioImage.from_array(image.data + wave, cell=CELL, beam=(BEAM * CELL, BEAM * CELL, 0.0))
    found = detect_image(waved)
    assert len(found.catalog) == len(places)
    low, high = (found.catalog["flux"][(found.catalog["x"] > 300) == k] / RMS for k in (True, False))
    assert np.mean(low) == pytest.approx(15, abs=4 / np.sqrt(len(low)))
    assert np.mean(high) == pytest.approx(15, abs=4 / np.sqrt(len(high)))
    assert np.corrcoef(found.residual.mean(axis=0), wave)[0, 1] > 0.95
    at = found.catalog["x"].astype(int)
    assert np.corrcoef(found.catalog["background"], wave[at])[0, 1] > 0.9
    y, x = np.indices((600, 600))
    cloud = 20 * np.exp(-4 * np.log(2) * ((x - 300) ** 2 + (y - 300) ** 2) / (10 * BEAM) ** 2)
    noise = noise_of(600, 5) + cloud
    used = np.ones(noise.shape, bool)
    assert background_map(noise, used, BEAM, 30.0).max() < 1
    assert not background_map(noise - cloud, used, BEAM, 30.0).any()


def test_areas_of_the_residual_count_with_the_networks_candidates():
    from faintsky.detection.diffuse import _with_plain

    labels = np.zeros((6, 20), np.int32)
    labels[1:4, 1:4], labels[1, 8], labels[3, 10] = 1, 2, 3
    grown = np.zeros(labels.shape, bool)
    grown[0:5, 7:12] = grown[0:5, 14:18] = True
    seeds = np.zeros(labels.shape, bool)
    seeds[2, 9] = True
    got = _with_plain(labels, seeds, grown)
    # two candidates of the network are joined; the other area has no seed
    np.testing.assert_array_equal(got > 0, (labels == 1) | (grown & (np.arange(20) // 6 == 1)))
    assert got[1, 8] == got[3, 10] != got[2, 2] > 0
    assert _with_plain(labels, np.zeros_like(seeds), grown) is labels


def test_blank_middles_of_bright_sources_do_not_hide_what_models_leave():
    """Models that are wrong by some per cent raise the floor, whatever lies on blanks."""
    from faintsky.detection.compact import find_compact

    places = [(40.0 + 50 * i, 60.0 + 70 * j, 400.0, 1.2) for i in range(4) for j in range(3)]
    blank = np.zeros((256, 256), bool)
    for x, y, *_ in places[:3]:
        blank[int(y), int(x)] = True
    search = find_compact(prepare_image(image_of(places, blank=blank)), 20.0)
    for x, y, *_ in places:
        search.residual[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] += 20 * RMS
    search._snr = None
    y, x = (np.array([int(p[k])]) for p in places[5:6] for k in (1, 0))
    with np.errstate(all="raise"):
        assert search.fidelity_floor(y, x) > 5


def test_levels_are_those_of_quiet_surroundings_where_the_image_is_not_everywhere_quiet():
    from faintsky.detection.diffuse import _local_levels

    plane = gaussian_filter(np.random.default_rng(4).normal(size=(600, 900)), 6, mode="wrap")
    plane = plane / plane.std() + 1
    plane[:, 450:] = 3 * plane[:, 450:]
    zero, spread = _local_levels(plane, np.ones(plane.shape, bool), 240, 6.0)
    assert zero.shape == spread.shape == plane.shape
    assert spread[:, :250].mean() == pytest.approx(1.1, abs=0.1)
    assert zero[:, :250].mean() == pytest.approx(1.1, abs=0.15)
    # not more than in the whole image where it is louder
    assert np.ptp(spread[:, 750:]) < 1e-9
    assert spread[0, -1] < 2.5
    # hardly any data are no surroundings
    valid = np.zeros(plane.shape, bool)
    valid[:100] = valid[:, 450:] = True
    few = _local_levels(plane, valid, 240, 6.0)
    assert few[1][-1, 0] == pytest.approx(few[1][-1, -1])


def test_negatives_count_only_where_noise_is_not_as_deep():
    from faintsky.detection.diffuse import _least

    depth, inner = np.array([3.0, 4.0, 6.0]), np.array([True] * 3)
    np.testing.assert_allclose(_least(4.0, depth, 1.5, inner), [4.0, 4.0, 9.0])
    np.testing.assert_allclose(_least(4.0, depth, 1.5, ~inner), [4.5, 6.0, 9.0])


def test_regions_are_surer_where_the_smoothed_residual_is_clear():
    """But never less sure than by the network alone."""
    from faintsky.detection.diffuse import joint_reliability

    labels = np.array([[0, 1, 1], [2, 0, 3]], np.int32)
    clear = np.array([[9.0, 1.2, 2.0], [0.5, 9.0, 3.0]])
    got = joint_reliability(np.array([0.0, 0.6, 0.6, 0.91]), clear, labels)
    np.testing.assert_allclose(got[1:], [0.9, 0.6, 0.99])


def test_sources_narrower_than_the_beam_are_as_wide_as_fitted_and_the_user_is_told():
    places = [(50.0 + 60 * i, 50.0 + 60 * j, 60.0) for i in range(3) for j in range(3)]
    narrow = detect_image(image_of([(x, y, snr, 0.7) for x, y, snr in places]))
    bright = narrow.catalog[narrow.catalog["kind"] == "gaussian"]
    assert len(bright) == 9
    # 6 arcsec of beam
    np.testing.assert_allclose(bright["fwhm_maj"], 0.7 * BEAM * CELL, rtol=0.12)
    np.testing.assert_allclose(bright["flux"] / bright["flux_peak"], 0.49, rtol=0.15)
    np.testing.assert_allclose(
        bright["flux"] / bright["flux_peak"],
        bright["fwhm_maj"] * bright["fwhm_min"] / (BEAM * CELL) ** 2,
        rtol=0.01,
    )
    assert any("narrower than the beam" in note for note in narrow.notes)
    usual = detect_image(image_of([(x, y, snr, 1.0) for x, y, snr in places]))
    assert not any("narrower" in note for note in usual.notes)


@pytest.mark.parametrize("blank", [None, np.s_[:, :20]])
def test_a_bright_source_that_an_edge_cuts_is_at_least_noted(blank):
    x = -1.5 if blank is None else 18.5
    found = detect_image(
        image_of([(x, 100.0, 80.0, 1.0), (150.0, 100.0, 30.0, 1.0)], blank=blank or np.s_[:0])
    )
    assert len(found.catalog) == 1
    (note,) = (n for n in found.notes if n.startswith("not listed: 1 bright source "))
    place = re.search(r"at x=(-?\d+), y=(\d+)\)", note)
    assert place is not None
    np.testing.assert_allclose([int(v) for v in place.groups()], [x, 100], atol=1)
