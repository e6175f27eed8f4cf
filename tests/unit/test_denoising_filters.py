"""Filters without training, what a psf does to a sky, and the cycles that undo it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.signal import fftconvolve

from faintsky.denoising import (
    Cleaned,
    Response,
    apply_filter,
    major_cycles,
    power_spectrum,
    scale_sigmas,
    starlet_transform,
)
from faintsky.errors import InputError
from faintsky.preparing import gaussian_psf
from faintsky.published.filters import tuned_settings
from faintsky.registry import FILTERS

# ---------------------------------------------------------------------- filters without training

SETTINGS = {
    "threshold": {"k": 1.0},
    "gaussian": {"sigma": 2.0},
    "fft": {"cut": 0.1},
    "starlet": {"k": 3.0, "scales": 4},
}
SMOOTH = 2.5  # pixels: standard deviation of the Gaussian that correlates the noise


def white(shape=(256, 256), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def correlated(shape=(256, 256), seed=0):
    """Noise of unit rms made of white noise by a periodic Gaussian: its correlation is a Gaussian, too."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    response = np.exp(-2 * np.pi**2 * SMOOTH**2 * (fy**2 + fx**2))
    noise = np.fft.irfft2(np.fft.rfft2(white(shape, seed)) * response, s=shape)
    return (noise * (2 * np.sqrt(np.pi) * SMOOTH)).astype(np.float32)


def correlation(half=32):
    r2 = np.sum(np.square(np.mgrid[-half : half + 1, -half : half + 1]), axis=0)
    return np.exp(-r2 / (4 * SMOOTH**2))


def test_starlets_add_up_to_the_image():
    image = white((37, 50))
    np.testing.assert_allclose(starlet_transform(image, 4).sum(axis=0), image, atol=1e-5)


def test_starlet_is_the_splines_product():
    image = np.zeros((65, 65), np.float32)
    image[32, 32] = 1
    smooth = starlet_transform(image, 1)[1]
    taps = np.array([1, 4, 6, 4, 1]) / 16
    np.testing.assert_allclose(smooth[30:35, 30:35], np.outer(taps, taps), atol=1e-6)


def test_noise_of_the_scales_white():
    # Starck & Murtagh (2006), table 2.1
    assert scale_sigmas(5)[:5] == pytest.approx([0.889, 0.200, 0.086, 0.041, 0.020], abs=0.002)


def test_noise_of_the_scales_correlated():
    planes = np.array([starlet_transform(correlated((512, 512), s), 4)[:, 40:-40, 40:-40] for s in range(6)])
    measured = np.sqrt(np.mean(planes**2, axis=(0, 2, 3)))
    assert scale_sigmas(4, correlation())[:4] == pytest.approx(measured[:4], rel=0.03)
    assert scale_sigmas(4)[0] > 5 * measured[0]  # taken for white, nothing small would ever be kept


def test_power_spectrum_has_unit_mean():
    power = power_spectrum(correlation(), (64, 100))
    assert power.mean() == pytest.approx(1)
    assert power[0, 0] == pytest.approx(4 * np.pi * SMOOTH**2, rel=1e-3)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "threshold"])
def test_noise_goes_and_a_source_stays(name):
    y, x = np.mgrid[:200, :200]
    truth = 8 * np.exp(-((y - 90) ** 2 + (x - 120) ** 2) / (2 * 15.0**2))
    made = apply_filter(name, (truth + white(truth.shape)) * 1e-4, 1e-4, **SETTINGS[name]) / 1e-4
    assert np.std((made - truth)[truth < 1e-3]) < 0.3
    assert made[90, 120] == pytest.approx(8, abs=1.0)
    assert np.sum(made[truth > 0.5]) == pytest.approx(np.sum(truth[truth > 0.5]), rel=0.05)


def test_starlet_keeps_a_point_and_hardly_any_noise():
    image = white((300, 300))
    image[100, 100] += 30
    made = apply_filter("starlet", image, 1.0, k=4.0, scales=5, iterations=5, positive=True)
    assert made[100, 100] == pytest.approx(image[100, 100], abs=1.0)
    assert np.median(np.abs(made)) < 0.02
    assert made.min() == 0


def test_thresholds_follow_the_correlation():
    noise = correlated((300, 300))
    blind = apply_filter("starlet", noise, 1.0, k=4.0, scales=3)
    aware = apply_filter("starlet", noise, 1.0, k=4.0, scales=3, correlation=correlation())
    rest = starlet_transform(noise, 3)[-1]
    assert np.mean(np.abs(aware - rest) > 1e-3) < 0.05 < np.mean(np.abs(blind - rest) > 1e-3)


@pytest.mark.parametrize("name", FILTERS)
def test_blank_pixels_stay_blank_and_spoil_nothing(name):
    image = white((60, 80)) + 5
    image[:, :20] = np.nan
    image[30, 40] = np.nan
    made = apply_filter(name, image, 1.0, **SETTINGS.get(name, {}))
    np.testing.assert_array_equal(np.isnan(made), np.isnan(image))
    assert made.dtype == np.float32


@pytest.mark.parametrize("name", FILTERS)
def test_constant_and_tiny_images(name):
    settings = SETTINGS.get(name, {})
    np.testing.assert_array_equal(apply_filter(name, np.full((9, 7), 3.0), 0.0, **settings), 3.0)
    assert apply_filter(name, np.full((50, 50), 3.0), 1.0, **settings) == pytest.approx(3.0, abs=1e-4)
    assert apply_filter(name, np.ones((1, 3)), 1.0, **settings).shape == (1, 3)
    assert np.isnan(apply_filter(name, np.full((8, 8), np.nan), 1.0, **settings)).all()


def test_noise_that_varies_is_levelled():
    level = np.where(np.arange(200) < 100, 1.0, 5.0)[None, :] * np.ones((200, 1))
    made = apply_filter("starlet", white((200, 200)) * level, level, k=4.0, scales=3)
    assert np.std(made[:, 120:]) == pytest.approx(5 * np.std(made[:, :80]), rel=0.4)


def test_what_is_not_known_is_refused():
    with pytest.raises(InputError, match="no filter 'magic'"):
        apply_filter("magic", white(), 1.0)
    with pytest.raises(InputError, match="2 axes"):
        apply_filter("input", np.zeros(4), 1.0)


def test_every_tuned_filter_runs_as_it_is_shipped():
    image = white((64, 64))
    for name, kinds in tuned_settings().items():
        for cases, tuned in kinds.items():
            # of the evaluation, not of the filter: whether it works within major cycles
            settings = {k: v for k, v in tuned.items() if k != "cycles"}
            assert ("cycles" in tuned) == (name == "starlet" and cases.endswith("dirty"))
            assert np.isfinite(apply_filter(name, image, 1.0, **settings)).all(), json.dumps(settings)


def test_a_threshold_keeps_what_is_above_it():
    made = apply_filter("threshold", np.array([[1.0, 2.9, 3.1, -5.0, 90.0]]), 1.0, k=3.0)
    np.testing.assert_allclose(made, [[0, 0, 3.1, 0, 90]])


# ---------------------------------------------------------------------- what a psf does to a sky

N = 64
BEAM = (6.0, 5.0, 30.0)


def lobed_psf(n):
    """A main lobe like the beam's, and rings about it that reach everywhere, as fine as the beam allows."""
    radius = np.hypot(*(np.mgrid[:n, :n] - n // 2))
    kernel = gaussian_psf((25, 25), *BEAM)
    rings = fftconvolve(0.1 * np.cos(radius / 4) * np.exp(-radius / 60), kernel / kernel.sum(), mode="same")
    psf = gaussian_psf((n, n), *BEAM) + rings
    return psf / psf[n // 2, n // 2]


@pytest.fixture(scope="module")
def psf():
    return lobed_psf(2 * N)


def observed(psf):
    """A sky with points in opposite corners and near the middle: at the beam's resolution, and dirty."""
    sky = np.zeros((N, N))
    for y, x, flux in ((12, 12, 50.0), (51, 50, 30.0), (30, 36, 2.0)):
        sky[y, x] = flux
    return [
        fftconvolve(sky, kernel)[N : 2 * N, N : 2 * N] for kernel in (gaussian_psf(psf.shape, *BEAM), psf)
    ]


def test_a_psf_twice_as_wide_explains_the_whole_dirty_image(psf):
    x, dirty = observed(psf)
    response = Response((N, N), psf, BEAM)
    assert response.whole
    left = np.abs(response(x) - dirty)
    # points are a little broader, and all that surrounds them is there
    assert left.max() < 0.02 * x.max()
    assert np.quantile(left, 0.9) < 0.01 * np.quantile(np.abs(dirty - x), 0.9)


def test_a_wider_psf_changes_nothing(psf):
    x = observed(psf)[0]
    wide = np.pad(psf, N, constant_values=9.0)  # farther than any two pixels are
    np.testing.assert_array_equal(Response((N, N), wide, BEAM)(x), Response((N, N), psf, BEAM)(x))


def test_a_psf_of_the_image_s_size_is_told_from_a_whole_one(psf):
    x, dirty = observed(psf)
    near = Response((N, N), psf[N // 2 : -N // 2, N // 2 : -N // 2], BEAM)
    assert not near.whole
    left = np.abs(near(x) - dirty)
    # right within half of the image of each point, wrong beyond
    assert left[45:, 5:20].max() > 20 * left[24:40, 24:40].max()


def test_steps_stay_within_what_the_beam_holds(psf):
    noise = np.random.default_rng(1).normal(size=(N, N)).astype(np.float32)
    response = Response((N, N), psf, BEAM)
    fine = np.hypot(*np.meshgrid(np.fft.fftfreq(N), np.fft.fftfreq(N))) > 0.25
    before, after = (
        np.abs(np.fft.fft2(i * np.hanning(N) * np.hanning(N)[:, None]))[fine].std()
        for i in (noise, response.tempered(noise))
    )
    assert after < 0.02 * before


def test_cycles_go_on_from_an_estimate(psf):
    x, dirty = observed(psf)
    response, valid = Response((N, N), psf, BEAM), np.ones((N, N), bool)
    calls = []

    def denoised(image, residual):
        calls.append(np.abs(residual).max())
        return np.maximum(image, 0), 1.0

    dirty = dirty.astype(np.float32)
    x = x.astype(np.float32)
    start = Cleaned(x + dirty - response(x), dirty - response(x), x, 8, True)
    again = major_cycles(dirty, valid, response, denoised, start=start, most=3)
    assert again.settled
    assert again.cycles == len(calls) <= 2
    assert calls[0] < 0.05 * np.abs(dirty).max()
    np.testing.assert_allclose(again.image, again.model + response.known(again.residual), atol=1e-5)
    fresh = major_cycles(dirty, valid, response, denoised, most=2)
    assert fresh.cycles == 2
    assert not fresh.settled


def test_cycles_end_where_the_residual_no_longer_falls(psf):
    _, dirty = observed(psf)
    response, valid = Response((N, N), psf, BEAM), np.ones((N, N), bool)
    calls = []

    def blind(image, residual):
        calls.append(residual.std())
        return np.zeros_like(image), 1e-6

    first = Cleaned(dirty, dirty, np.full_like(dirty, 0.1), 1, False)
    done = major_cycles(dirty, valid, response, blind, start=first, enough=2, most=9)
    assert done.cycles == len(calls) == 2


def test_cycles_with_a_cut_psf_fit_the_data(psf):
    """Its transform is negative at some spatial frequencies: there a cycle would move away from the sky."""
    x, _ = observed(psf)
    cut = Response((N, N), psf[3 * N // 4 : -3 * N // 4, 3 * N // 4 : -3 * N // 4], BEAM)
    dirty, valid = cut(x), np.ones((N, N), bool)
    done = major_cycles(dirty, valid, cut, lambda image, _: (image, 1e-6), enough=64, most=64)
    assert not done.diverged
    assert done.residual.std() < 0.005 * dirty.std()


def test_what_a_cut_psf_misses_follows_its_rim_and_the_emission(psf):
    cut = psf[N // 2 : -N // 2, N // 2 : -N // 2]
    near, whole = Response((N, N), cut, BEAM), Response((N, N), psf, BEAM)
    sky = np.zeros((N, N))
    sky[20, 20] = 100.0
    assert whole.missed(sky, 10.0) == 0
    alone = near.missed(sky, 10.0)
    assert 0 < alone < 100 * np.abs(cut).max()
    sky[20, 50] = 100.0
    sky[50, 50] = -100.0  # no emission
    assert near.missed(sky, 10.0) == pytest.approx(alone * np.sqrt(2))
    assert near.missed(sky, 40.0) == pytest.approx(alone / np.sqrt(2))
    halved = Response((N, N), cut * np.where(cut == cut.max(), 1, 0.5), BEAM)
    assert halved.missed(sky, 10.0) == pytest.approx(near.missed(sky, 10.0) / 2, rel=1e-5)
