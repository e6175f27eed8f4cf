"""The peaks of a filter bank: what sources leave behind is known where it matters, and found in time."""

import numpy as np
import pytest
import torch
from synthetic import Emitter, telescope

from faintsky.detection.matched_filter import CLOSE, FilterBank, Peaks
from faintsky.detection.pursuit import Residual

N_CHAN = 32


@pytest.fixture(scope="module")
def scope():
    return telescope(96)


def bank_of(scope, emitters):
    cube = scope.cube(emitters, N_CHAN, sigma=1.0, seed=5)
    beam = float(np.sqrt(scope.beam[0] * scope.beam[1]))
    return FilterBank(torch.as_tensor(cube), np.ones(N_CHAN, dtype=bool), scope.psf, beam)


def plain(bank):
    return torch.maximum(bank.values().amax(0), -bank.values().amin(0))


def taken_out(bank, peaks, scope, source):
    sky, line = bank.response(scope.image(source), source.line(N_CHAN))
    bank.subtract(sky, source.line(N_CHAN))
    peaks.change(line, sky)


def test_the_strongest_after_each_subtraction(scope):
    bright = Emitter(40, 50, 14, 40.0, maj=4, min=4, fwhm_z=5)
    faint = Emitter(70, 24, 20, 9.0, fwhm_z=4)
    bank = bank_of(scope, [bright, faint])
    peaks = Peaks(bank)
    nothing, free = torch.zeros_like(peaks.high), torch.zeros_like(peaks.high, dtype=torch.bool)
    for source in (bright, faint):
        found = peaks.strongest(5.0, nothing, free)
        value = plain(bank)
        assert float(value[found]) == pytest.approx(float(value.max()), abs=2 * CLOSE)
        place = source.z, source.y / bank.step, source.x / bank.step
        assert np.abs(np.subtract(found, place)).max() <= 2
        taken_out(bank, peaks, scope, source)
        # whatever was not calculated anew is within its slack
        assert ((peaks.high - plain(bank)).abs() <= peaks.slack + CLOSE).all()
    assert peaks.strongest(6.0, nothing, free) is None
    assert float(plain(bank).max()) < 6.0
    lows = peaks.lows_below(-3.0, ~free)
    true = bank.values().amin(0)
    deep = true < -3.0 - CLOSE
    assert deep.sum() > 20
    np.testing.assert_allclose(lows[deep], true[deep], atol=2 * CLOSE)


def test_guarded_and_blocked_places_are_passed_over(scope):
    sources = [Emitter(30, 30, 10, 20.0, fwhm_z=4), Emitter(66, 66, 22, 10.0, fwhm_z=4)]
    peaks = Peaks(bank_of(scope, sources))
    guard, blocked = torch.zeros_like(peaks.high), torch.zeros_like(peaks.high, dtype=torch.bool)
    first = peaks.strongest(5.0, guard, blocked)
    guard[:16] = 5.0
    second = peaks.strongest(5.0, guard, blocked)
    assert first[0] < 16 <= second[0]
    blocked[16:] = True
    assert peaks.strongest(12.0, guard, blocked) is None


def test_a_residual_is_the_cube_less_its_sources():
    rng = np.random.default_rng(1)
    cube, images = (
        rng.normal(size=(9, 8, 7)).astype(np.float32),
        rng.normal(size=(15, 8, 7)).astype(np.float32),
    )
    spectra = rng.normal(size=(15, 9)) * (rng.random((15, 9)) < 0.5)
    before, want = cube.copy(), cube.astype(float)
    data = Residual(cube)
    part = slice(2, 5), slice(1, 8), slice(0, 6)
    for k, (image, spectrum) in enumerate(zip(images, spectra)):
        data.subtract(image, spectrum)
        want -= spectrum[:, None, None] * image
        np.testing.assert_allclose(data.box(*part), want[part], atol=1e-5)
        if k == 3:
            twin, then = data.copy(), want.copy()
    data.subtract(images[-1], -spectra[-1])
    want += spectra[-1][:, None, None] * images[-1]
    np.testing.assert_allclose(data.whole(), want, atol=1e-5)
    np.testing.assert_allclose(twin.whole(), then, atol=1e-5)
    np.testing.assert_array_equal(cube, before)
