"""Regions, their fluxes, shapes and errors; a model's settings and their fit."""

import json
from dataclasses import replace

import numpy as np
import pytest
import region_fit as fit
import torch
from region_fit import LEVELS, SPREADS, Sample, changed, fit_settings

from faintsky.denoising import (
    DenoiserSettings,
    RegionSettings,
    Response,
    estimate,
    measure,
    region_catalog,
    segment,
    split_regions,
    sum_error,
)
from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.preparing import gaussian_psf, prepare_image

# ---------------------------------------------------------------------- regions that are two


@pytest.mark.parametrize(
    ("peaks", "apart"),
    [((20.0, 8.0), 2), ((6.0, 6.0), 2), ((6.0, 2.9), 1), ((60.0, 55.0), 2)],
    ids=["a bright and a faint one", "two faint ones", "one, and noise", "two bright ones"],
)
def test_regions_are_cut_at_saddles(peaks, apart):
    y, x = np.mgrid[:80, :140].astype(float)
    snr = 1.0 + sum(
        p * np.exp(-((x - cx) ** 2 + (y - 40) ** 2) / 2 / 14**2) for p, cx in zip(peaks, (40, 92))
    )
    labels = (snr > 1.2).astype(np.int32)
    labels[:, 136:138], labels[:, 138:] = 0, 2  # another region beside it
    split = split_regions(labels, snr)
    assert (split > 0).tolist() == (labels > 0).tolist()
    assert len(np.unique(split[labels == 1])) == apart
    assert len(np.unique(split[labels == 2])) == 1
    assert split.max() == apart + 1
    assert (split[40, 40] != split[40, 92]) == (apart == 2)


def test_a_bright_cloud_with_noise_on_it_is_one():
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:200, :200].astype(float)
    noise = np.fft.irfft2(
        np.fft.rfft2(rng.normal(size=x.shape))
        * np.exp(-200 * (np.fft.fftfreq(200)[:, None] ** 2 + np.fft.rfftfreq(200) ** 2)), x.shape,
    )  # fmt: skip
    snr = noise / noise.std() + 12 * np.exp(-((x - 100) ** 2 + (y - 100) ** 2) / 2 / 40**2)
    labels = np.hypot(x - 100, y - 100) < 70
    assert split_regions(labels.astype(np.int32), snr).max() == 1
    assert split_regions(np.zeros(x.shape, np.int32), snr).max() == 0


# ---------------------------------------------------------------------- noise, measured twice


class Knowing(torch.nn.Module):
    """A network that knows which share of each pixel is sky."""

    reach, stride, asked = 0, 1, 0

    def __init__(self, sky, image):
        super().__init__()
        self.share = torch.from_numpy((sky / image).astype(np.float32))[None, None]

    def forward(self, image, weight, beam):
        self.asked += 1
        return image * self.share, torch.ones_like(image)


def test_texture_of_emission_is_no_noise():
    rng = np.random.default_rng(0)
    sky = np.zeros((300, 300), np.float32)
    sky[60:240, 60:240] = rng.uniform(20, 80, (180, 180))
    image = sky + rng.normal(0, 1, sky.shape).astype(np.float32)
    prepared = prepare_image(RadioImage.from_array(image, cell=1.0, unit="Jy/arcsec2"))
    assert prepared.rms[150, 150] > 5
    network = Knowing(sky, image)
    found, mean, sigma = estimate(network, prepared)
    assert network.asked == 2
    np.testing.assert_allclose(found.rms, 1, rtol=0.3)
    np.testing.assert_allclose(mean * found.rms, sky, atol=1e-2)
    # the answers agree, and differ in their uncertainty by nothing
    np.testing.assert_allclose(sigma, 1, atol=1e-2)
    for other in (replace(prepared, rms_origin="given"), replace(prepared, rms=np.full_like(image, 1.0))):
        network.asked = 0
        assert estimate(network, other)[0] is other
        assert network.asked == 1


# ---------------------------------------------------------------------- segmentation


def test_hysteresis():
    mean = np.zeros((9, 20))
    mean[4, 2:8] = [2, 4, 6, 4, 2, 1]  # one seed, grown to both sides
    mean[4, 12:15] = 4  # no seed
    mean[1, 18] = 7  # a seed, but too small a region
    settings = RegionSettings(seed=(5.0, 1.0), grow=(1.5, 0.5), least_area=2.0)
    labels = segment(mean, np.ones_like(mean), np.ones(mean.shape, bool), settings, 1.0)
    assert labels.max() == 1
    np.testing.assert_array_equal(np.argwhere(labels == 1), [[4, x] for x in range(2, 7)])


def test_emission_that_no_pixel_shows_is_found_on_the_smoothed_image():
    rng = np.random.default_rng(1)
    mean = rng.normal(0, 0.3, (80, 80))
    mean[30:50, 20:60] += 0.25
    mean[10, 10] = 50.0  # a point: the cap keeps it from growing
    everywhere, sigma = np.ones(mean.shape, bool), np.full(mean.shape, 0.5)
    fine = RegionSettings(seed=(5.0, 1.0), grow=(3.0, 0.5), least_area=20.0)
    assert segment(mean, sigma, everywhere, fine, 1.0).max() == 0
    labels = segment(mean, sigma, everywhere, changed(fine, smooth=7.0, cap=1.0, faint=(0.2, 0.12)), 1.0)
    assert labels.max() == 1
    assert (labels[32:48, 22:58] == 1).mean() > 0.95
    assert (labels == 1).sum() < 1.4 * 20 * 40
    # the length is in beams where there is one
    beam = segment(mean, sigma, everywhere, changed(fine, smooth=1.4, cap=1.0, faint=(0.2, 0.12)), 25.0)
    np.testing.assert_array_equal(beam > 0, labels > 0)


def test_both_thresholds_count_and_corners_join():
    mean = np.full((6, 6), 10.0)
    everywhere = np.ones(mean.shape, bool)
    settings = RegionSettings(seed=(5.0, 2.0), grow=(3.0, 0.5), least_area=1.0)
    assert segment(mean, np.full_like(mean, 3.0), everywhere, settings, 1.0).max() == 0
    faint = segment(0.1 * mean, np.full_like(mean, 0.01), everywhere, settings, 1.0)
    assert faint.max() == 0  # far above sigma, but below the rms
    allowed = np.zeros(mean.shape, bool)
    allowed[2, 2] = allowed[3, 3] = allowed[0, 5] = True
    labels = segment(mean, np.ones_like(mean), allowed, settings, 1.0)
    assert labels[2, 2] == labels[3, 3] != labels[0, 5] > 0


# ---------------------------------------------------------------------- errors of sums


def correlated_over(length):
    return RegionSettings(error_lengths=(length,))


@pytest.mark.parametrize("beam", [(6.0, 4.0, 30.0), None], ids=["beam", "white"])
def test_the_error_of_a_sum_is_that_of_correlated_noise(beam):
    """Sums over a region of many noise images scatter as predicted."""
    n = 64
    rng = np.random.default_rng(3)
    length = 1.0 if beam else 3.0
    major, minor, pa = beam or (1.0, 1.0, 0.0)
    # noise whose autocorrelation is the kernel: filtered with the root of its transform
    kernel = np.roll(gaussian_psf((n, n), length * major, length * minor, pa), (n // 2, n // 2), axis=(0, 1))
    root = np.sqrt(np.maximum(np.fft.rfft2(kernel).real, 0))
    y, x = np.indices((n, n)) - n // 2
    weight = np.where(np.hypot(x, 1.5 * y) < 11, 2.0 + 0.05 * x, 0)
    sums = [
        (weight * np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n, n))) * root, s=(n, n))).sum()
        for _ in range(3000)
    ]
    assert sum_error(weight, correlated_over(length).error_kernel(beam)) == pytest.approx(
        np.std(sums), rel=0.05
    )


def test_errors_of_uncorrelated_and_of_fully_correlated_pixels():
    sigma = np.full((5, 4), 0.3)
    assert sum_error(sigma, correlated_over(0.2).error_kernel(None)) == pytest.approx(
        0.3 * np.sqrt(20), rel=1e-3
    )
    assert sum_error(sigma, correlated_over(500.0).error_kernel(None)) == pytest.approx(0.3 * 20, rel=1e-3)


# ---------------------------------------------------------------------- measurements


def gaussian_image(n=101, maj=20.0, minor=12.0, pa=40.0, peak=5.0):
    return peak * gaussian_psf((n, n), maj, minor, pa)


def test_shapes_are_intrinsic():
    image = gaussian_image()
    made = RadioImage.from_array(
        image + 1e-3 * np.random.default_rng(0).normal(size=image.shape), cell=2.0, beam=[12.0, 10.0, 100.0],
        rms=np.full(image.shape, 1e-3),
    )  # fmt: skip
    labels = (image > 1e-3).astype(np.int32)
    sigma = np.full(image.shape, 1e-3, np.float32)
    table = region_catalog(
        made, prepare_image(made), image.astype(np.float32), sigma, labels, RegionSettings()
    )
    row = table[0]
    assert (row["x"], row["y"]) == (pytest.approx(50.0, abs=1e-3), pytest.approx(50.0, abs=1e-3))
    from faintsky.beams import convolved

    seen = convolved(row["dc_maj"], row["dc_min"], row["dc_pa"], [12.0, 10.0, 100.0])
    np.testing.assert_allclose(seen, [40.0, 24.0, 40.0], rtol=0.02)
    assert row["dc_maj_err"] < 0.5
    total = 5.0 * 20 * 12 / (6 * 5)
    assert row["flux"] == pytest.approx(total, rel=0.01)
    assert row["flux_peak"] == pytest.approx(5.0)
    assert row["area"] == pytest.approx(labels.sum() * 4.0)
    assert (row["x_min"], row["y_max"]) == (
        np.flatnonzero(labels.any(axis=0)).min(), np.flatnonzero(labels.any(axis=1)).max()
    )  # fmt: skip


def test_a_point_is_unresolved_and_touching_the_border_is_flagged():
    beam = gaussian_psf((41, 41), 6.0, 5.0, 20.0)
    labels = (beam > 0.02).astype(np.int32)
    for shift, flags in ((0, {"unresolved"}), (18, {"edge"})):
        image = np.roll(beam, shift, axis=1)
        own = np.roll(labels, shift, axis=1)
        own[:, : shift + 1] = 0
        made = RadioImage.from_array(
            image + 0.01 * np.random.default_rng(1).normal(size=image.shape), cell=1.0, beam=[6, 5, 20]
        )
        sigma = np.full(image.shape, 0.02, np.float32)
        table = region_catalog(made, prepare_image(made), image, sigma, own, RegionSettings())
        assert flags <= set(table["flags"][0].split(","))
        assert "no_primary_beam" in table["flags"][0]


def test_errors_of_moments():
    """Centroids and second moments of noisy images scatter as predicted."""
    n, beam, level = 48, (5.0, 5.0, 0.0), 0.06
    kernel = np.fft.rfft2(np.roll(gaussian_psf((n, n), *beam), (n // 2, n // 2), axis=(0, 1))).real
    root = np.sqrt(np.maximum(kernel, 0))
    rng = np.random.default_rng(5)
    true = gaussian_psf((n, n), 12.0, 9.0, 60.0)
    labels = (true > 0.1).astype(np.int32)
    seen = []
    for _ in range(400):
        noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n, n))) * root, s=(n, n))
        (region,) = measure(
            true + level * noise, np.full_like(true, level), labels, correlated_over(1.0).error_kernel(beam)
        )
        seen.append([region.flux, *region.moments])
    scatter = np.std(seen, axis=0)
    np.testing.assert_allclose([region.flux_err, *region.errors], scatter, rtol=0.15)


def test_a_primary_beam_in_the_data_is_not_taken_out_twice():
    rng = np.random.default_rng(2)
    y, x = np.indices((128, 128)) - 64
    pb = np.exp(-(x**2 + y**2) / (2 * 45.0**2)).astype(np.float32)
    truth = 40 * np.roll(gaussian_psf((128, 128), 8.0, 8.0, 0.0), 30, axis=1)
    labels = (truth > 2).astype(np.int32)
    flat = truth * pb + rng.normal(size=pb.shape)
    fluxes = []
    for data in (flat, flat / pb):
        made = RadioImage.from_array(data, cell=1.0, beam=[3, 3, 0], pb=pb)
        p = prepare_image(made)
        table = region_catalog(made, p, data.astype(np.float32), p.rms, labels, RegionSettings())
        assert table["pb"][0] == pytest.approx(float(pb[64, 94]), rel=0.02)
        fluxes.append(float(table["flux"][0]))
    assert fluxes[0] == pytest.approx(fluxes[1], rel=0.02)


# ---------------------------------------------------------------------- settings


def test_settings_go_round():
    made = DenoiserSettings(
        white={"seed": (4.0, 1.0), "sigma_at": (0.0, 5.0), "sigma_factor": ((1.0,), (2.0,))}
    )
    assert DenoiserSettings.read(json.loads(made.model_dump_json())) == made
    assert DenoiserSettings.read({}) == DenoiserSettings()
    partly = DenoiserSettings.read({"white": {"least_area": 3}}).white
    assert (partly.least_area, partly.error_lengths) == (3.0, (6.0,))
    # models that know no dirty images of their own
    older = DenoiserSettings.read({"correlated": {"least_area": 3}})
    ones = np.ones((3, 3), np.float32)
    whole, cut = (Response((n, n), ones, (2.0, 2.0, 0.0)) for n in (2, 9))
    assert older.of(False, whole) == older.of(False, cut) == older.of(False) != older.of(True)
    three = DenoiserSettings(dirty={"least_area": 4.0}, cut={"least_area": 5.0})
    assert [three.of(False, r).least_area for r in (None, whole, cut)] == [1.0, 4.0, 5.0]


@pytest.mark.parametrize(
    "values",
    [
        {"white": {"sead": 1}},
        {"white": {"seed": ["x"]}},
        {"correlated": 5},
        {"white": {"sigma_at": [0, 1], "sigma_factor": [1, 2]}},
        {"white": {"sigma_factor": [[0]]}},
        {"white": {"sigma_at": 1}},
        {"white": {"sigma_raw": [0]}},
        {"white": {"sigma_at": [0, 1], "sigma_factor": [[1], [1, 2]]}},
        {"white": {"sigma_factor_points": [[1], [2]]}},
        {"white": {"error_weights": [0.5, 0.5]}},
    ],
)
def test_bad_settings_are_refused(values):
    with pytest.raises(InputError, match=r"model\.json"):
        DenoiserSettings.read(values, hint="correct model.json")


def test_calibration_is_interpolated():
    # in the mean, and in the logarithm of the standard deviation; the factors' logarithms
    s = RegionSettings(sigma_at=(0.0, 4.0), sigma_raw=(0.5, 2.0), sigma_factor=((1.0, 4.0), (4.0, 16.0)))
    mean, sigma = [0, -2, 100, 0, 0, 2], [2.0, 2.0, 2.0, 0.1, 1.0, 1.0]
    one = s.calibrated(np.array([mean]), np.array([sigma]), 1.0)
    np.testing.assert_allclose(one, [[8, 16, 32, 0.1, 2, 4]], rtol=1e-5)


def test_points_have_errors_of_their_own():
    y, x = np.indices((64, 64))
    mean = np.zeros((64, 64), np.float32)
    for at, width in ((16, 1.7), (46, 8.0)):
        mean += (10 * np.exp(-((x - at) ** 2 + (y - 32) ** 2) / 2 / width**2)).astype(np.float32)
    settings = RegionSettings(sigma_factor=((1.0,),), sigma_factor_points=((3.0,),))
    sigma = settings.calibrated(mean, np.ones_like(mean), 1.133 * 4.0**2)
    assert sigma[32, 16] == 3
    assert sigma[32, 46] == 1


# ---------------------------------------------------------------------- fit


def fields(seed, count, empty, wrong=1.7):
    """Posterior means with errors of known correlation, and a sigma that is told too small by `wrong`."""
    n, beam = 96, (4.0, 4.0, 0.0)
    root = np.sqrt(
        np.maximum(np.fft.rfft2(np.roll(gaussian_psf((n, n), *beam), (n // 2, n // 2), (0, 1))).real, 0)
    )
    out = []
    for i in range(count + empty):
        rng = np.random.default_rng([seed, i])
        error = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n, n))) * root, s=(n, n)).astype(np.float32)
        mean, truth = error, np.zeros_like(error)
        if i < count:
            mean = np.zeros_like(error)
            for _ in range(5):
                spot = gaussian_psf((n, n), *np.sort(rng.uniform(6, 14, 2))[::-1], rng.uniform(0, 180))
                spot = np.roll(spot, rng.integers(-30, 30, 2), (0, 1))
                mean += (np.exp(rng.uniform(0, 3)) * spot).astype(np.float32)
            truth = mean + error
        every = np.ones((n, n), bool)
        out.append(Sample(mean, np.full_like(mean, 1 / wrong), truth, beam, 1.133 * 16, i >= count, every))
    return out


@pytest.fixture(scope="module", autouse=True)
def _few_trials():
    """Enough for the tests; the whole grid takes minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "SEEDS", (4.0, 5.0))
        patch.setattr(fit, "GROWN", (2.0,))
        patch.setattr(fit, "SMOOTHS", (1.4,))
        patch.setattr(fit, "CAPS", (0.6,))
        yield


@pytest.fixture(scope="module")
def fitted():
    return fit_settings(fields(1, 20, 20), RegionSettings(), rate=1 / 1e3)


def test_the_fit_finds_what_was_wrong_with_sigma(fitted):
    settings, _ = fitted
    # below, the fields without emission pull the factors down
    bright = np.array(settings.sigma_at) >= 8
    assert bright.any()
    raw = np.argmin(np.abs(np.log(np.array(settings.sigma_raw) * 1.7)))
    np.testing.assert_allclose(np.array(settings.sigma_factor)[bright, raw], 1.7, rtol=0.1)


def test_sums_over_apertures_have_honest_errors(fitted):
    settings, _ = fitted
    y, x = np.ogrid[-48:48, -48:48]
    for beams in (1, 5, 20):
        disc = np.hypot(x, y) < np.sqrt(beams * 1.133 * 16 / np.pi)
        pulls = []
        for s in fields(4, 40, 0):
            error = sum_error(np.where(disc, s.calibrated(settings), 0), settings.error_kernel(s.beam))
            pulls.append((s.mean - s.truth)[disc].sum() / error)
        assert np.std(pulls) == pytest.approx(1, abs=0.3)


def test_a_few_lone_peaks_do_not_widen_all_errors():
    rng = np.random.default_rng(3)
    sigma = np.where(rng.random((400, 400)) < 0.5, 0.1, 1.0).astype(np.float32)
    truth = np.full_like(sigma, 4)
    mean = truth + sigma * rng.standard_normal(truth.shape).astype(np.float32)
    mean[::20, ::20] += 40 * sigma[::20, ::20]  # one in four hundred
    sample = Sample(mean, sigma, truth, None, 1.0, False, np.ones(mean.shape, bool))
    smooth, points = fit._calibration([sample])
    settings = RegionSettings(
        sigma_at=LEVELS, sigma_raw=SPREADS, sigma_factor=smooth, sigma_factor_points=points
    )
    pull = (mean - truth) / sample.calibrated(settings)
    for spread in (0.1, 1.0):
        here = pull[sigma == np.float32(spread)]
        assert np.quantile(np.abs(here), 0.683) == pytest.approx(1, abs=0.06)


def test_the_fit_makes_pulls_honest_on_other_fields(fitted):
    settings, scores = fitted
    assert scores["flux_pull_std"] == pytest.approx(1, abs=0.25)
    pulls, false, beams = [], 0, 0.0
    for s in fields(2, 25, 40):
        sigma = s.calibrated(settings)
        labels = segment(s.mean, sigma, np.ones(s.mean.shape, bool), settings, s.beam_area)
        beams += s.mean.size / s.beam_area if s.empty else 0
        for r in measure(s.mean, sigma, labels, settings.error_kernel(s.beam)):
            error = settings.flux_error(r.flux, r.flux_err, s.beam_area)
            sure = settings.probability(r.flux / error, r.significance, r.area / s.beam_area) >= 0.9
            if s.empty:
                false += sure
            elif sure:
                pulls.append((r.flux - s.truth[labels == r.number].sum()) / error)
    assert len(pulls) > 30
    assert 0.7 < np.std(pulls) < 1.4
    # one in a thousand beams was allowed: 20 here
    assert false < 3 * beams / 1e3


def test_a_lower_rate_is_more_cautious(fitted):
    samples = fields(1, 20, 20)
    strict, scores = fit_settings(samples, RegionSettings(), rate=0.0)
    assert strict.probability(8.0, 6.0, 3.0) <= fitted[0].probability(8.0, 6.0, 3.0)
    assert scores["false_in_empty"] == 0


def test_the_fit_labels_emission_that_is_below_the_noise():
    """Broad patches of half the noise: found on the smoothed image, and nearly all of the area holds them."""
    rng = np.random.default_rng(3)
    y, x = np.indices((128, 128))
    samples = []
    for k in range(20):
        truth = np.zeros((128, 128), np.float32)
        if k < 14:
            for height, size in [(0.6, 12.0)] * 4 + [(10.0, 3.0)] * 4:
                cy, cx = rng.uniform(10, 118, 2)
                spot = height * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 2 / size**2)
                truth += spot.astype(np.float32)
        mean = (truth + rng.normal(0, 0.3, truth.shape)).astype(np.float32)
        every = np.ones(mean.shape, bool)
        samples.append(Sample(mean, np.full_like(mean, 0.3), truth, None, 1.0, k >= 14, every))
    made, scores = fit_settings(samples, RegionSettings(least_area=25.0), rate=1 / 1e5)
    assert made.smooth == 7.0
    assert made.faint[1] < made.faint[0] < made.cap
    assert scores["faint_found"] > 0.7
    assert scores["emission_true"] > 0.9
    assert scores["false_in_empty"] <= 1
