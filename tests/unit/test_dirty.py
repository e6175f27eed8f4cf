"""What a psf does to a sky, and the cycles that undo it."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from faintsky.denoising import Cleaned, Response, major_cycles
from faintsky.preparing import gaussian_psf

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
    np.testing.assert_allclose(again.image, again.model + again.residual, atol=1e-5)
    fresh = major_cycles(dirty, valid, response, denoised, most=2)
    assert fresh.cycles == 2
    assert not fresh.settled
