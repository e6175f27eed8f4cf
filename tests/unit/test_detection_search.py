"""The filter bank, its S/N, noise and linearity; and its peaks, known where it matters and found in time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import Emitter, telescope

from faintsky.detection import LINE_WIDTHS, SKY_SIZES, FilterBank
from faintsky.detection.matched_filter import CLOSE, Peaks
from faintsky.detection.pursuit import ResidualCube
from faintsky.source_model import matched_snr, psf_transform

# ---------------------------------------------------------------------- the filter bank

N_CHAN = 48
WIDE = LINE_WIDTHS[2]
BROAD = max(w for w in LINE_WIDTHS if w <= N_CHAN / 3)
ALL = np.ones(N_CHAN, dtype=bool)


def beam_of(t):
    return float(np.sqrt(t.beam[0] * t.beam[1]))


def bank_of(cube, t, usable=ALL, **options):
    return FilterBank(torch.as_tensor(cube), usable, t.psf, beam_of(t), **options)


@pytest.fixture(scope="module")
def fine():
    return telescope(96)


@pytest.fixture(scope="module")
def coarse():
    """A telescope whose beam spans so many pixels that the bank takes every fourth."""
    return telescope(128, longest=0.07)


@pytest.mark.parametrize("size", SKY_SIZES)
@pytest.mark.parametrize("width", [w for w in LINE_WIDTHS if w <= N_CHAN / 3])
def test_a_source_of_the_templates_shape_peaks_at_its_matched_snr(fine, size, width):
    fwhm = size * beam_of(fine)
    source = Emitter(48, 48, 24, flux=0.7, maj=fwhm, min=fwhm, fwhm_z=width)
    bank = bank_of(fine.cube([source], N_CHAN, seed=None), fine, continuum_fitted=False)
    want = matched_snr(source.line(N_CHAN), 1.0, psf_transform(fine.psf), 96, fwhm, fwhm, 0.0)
    assert want == pytest.approx(fine.snr(source, 1.0, N_CHAN), rel=1e-3)
    templates = [bank.template(k) for k in range(len(bank.values()))]
    k = templates.index((fwhm, width))
    own = bank.values()[k].numpy()
    assert np.unravel_index(own.argmax(), own.shape) == (24, 48, 48)
    assert own.max() == pytest.approx(want, rel=1e-3)
    # no template sees more of a source than its own
    assert bank.values().max() <= want * (1 + 1e-3)


def test_between_templates_little_is_lost(fine):
    beam = beam_of(fine)
    for size, width in ((0.4, 2.5), (1.5, 2.8), (2.5, 6.3), (0.3, 11)):
        source = Emitter(48, 48, 24, 1.0, size * beam, size * beam, 0, width)
        bank = bank_of(fine.cube([source], N_CHAN, seed=None), fine, continuum_fitted=False)
        assert bank.values().max() > 0.93 * fine.snr(source, 1.0, N_CHAN)


def test_noise_has_unit_rms_in_every_map(fine):
    squares = []
    for seed in range(8):
        bank = bank_of(fine.cube([], N_CHAN, sigma=1.0, seed=seed), fine)
        # templates that reach over the border see less noise
        inner = bank.values()[:, :, 30:-30, 30:-30]
        squares.append((inner**2).mean(dim=(1, 2, 3)).numpy())
    mean, error = np.mean(squares, axis=0), np.std(squares, axis=0, ddof=1) / np.sqrt(len(squares))
    pulls = (mean - 1) / error
    # Student's t of 7 degrees of freedom over 20 correlated maps: |t| > 6 has a chance of 5e-4 each
    assert (np.abs(pulls) < 6).all()
    assert np.average(mean, weights=error**-2) == pytest.approx(1, abs=0.03)


def test_noise_in_a_decimated_bank(coarse):
    bank = bank_of(coarse.cube([], N_CHAN, sigma=1.0, seed=1), coarse)
    assert bank.step > 1
    # the smallest templates, of which there are most independent ones
    assert float((bank.values()[0] ** 2).mean()) == pytest.approx(1, abs=0.1)
    assert float((bank.values()[len(bank.line_fwhm), :, 8:-8, 8:-8] ** 2).mean()) == pytest.approx(
        1, abs=0.15
    )


def test_decimation_keeps_the_signal(coarse):
    beam = beam_of(coarse)
    for size in SKY_SIZES[:3]:
        source = Emitter(64, 60, 24, flux=1.0, maj=size * beam, min=size * beam, fwhm_z=WIDE)
        bank = bank_of(coarse.cube([source], N_CHAN, seed=None), coarse, continuum_fitted=False)
        k = [bank.template(k) for k in range(len(bank.values()))].index((size * beam, WIDE))
        assert 64 % bank.step == 0
        assert 60 % bank.step == 0
        value = float(bank.values()[k, 24, 60 // bank.step, 64 // bank.step])
        assert value == pytest.approx(coarse.snr(source, 1.0, N_CHAN), rel=0.01)


def test_a_continuum_costs_what_its_fit_takes(fine):
    source = Emitter(48, 48, 24, flux=1.0, fwhm_z=BROAD)
    cube = fine.cube([replace(source, continuum=50.0)], N_CHAN, seed=None)
    z = np.arange(N_CHAN)
    line = source.line(N_CHAN)
    rest = line - np.polyval(np.polyfit(z, line, 1), z)
    bank = bank_of(cube, fine)
    k = [bank.template(k) for k in range(len(bank.values()))].index((0.0, BROAD))
    # float32 data of 50 with a line of 1
    assert float(bank.values()[k, 24, 48, 48]) == pytest.approx(np.sqrt((rest**2).sum()), rel=1e-3)


def test_response_is_what_a_source_adds(fine):
    noise = fine.cube([], N_CHAN, sigma=1.0, seed=2)
    source = Emitter(40.3, 55.7, 20.4, flux=3.0, maj=7, min=4, pa=25, fwhm_z=6)
    image, spectrum = fine.image(source), source.line(N_CHAN)
    without, with_source = bank_of(noise, fine), bank_of(noise + fine.cube([source], N_CHAN, seed=None), fine)
    sky, line = without.response(image, spectrum)
    added = torch.einsum("tz,syx->stzyx", line, sky).flatten(0, 1)
    np.testing.assert_allclose(with_source.values() - without.values(), added, atol=2e-4)
    with_source.subtract(sky, spectrum)
    np.testing.assert_allclose(with_source.values(), without.values(), atol=2e-4)


@pytest.mark.parametrize("continuum_fitted", [True, False])
def test_extremes_are_those_of_all_templates(fine, continuum_fitted):
    usable = ALL.copy()
    usable[[0, 22, 23]] = False
    cube = fine.cube([Emitter(40, 50, 30, 1.0, fwhm_z=4)], N_CHAN, sigma=1.0, seed=3)
    cube[~usable] = 0
    bank = bank_of(cube, fine, usable, continuum_fitted=continuum_fitted)
    values = bank.values()
    for span in (slice(None), slice(3, 9), slice(30, 34)):
        high, low = bank.extremes(span)
        np.testing.assert_allclose(high, values[:, span].amax(0), atol=3e-4)
        np.testing.assert_allclose(low, values[:, span].amin(0), atol=3e-4)
    columns = torch.tensor([5, 96 * 40 + 50, 96 * 95 + 95])
    some, _ = bank.extremes(slice(20, 34), columns)
    np.testing.assert_allclose(some, values[:, 20:34].amax(0).flatten(1)[:, columns], atol=3e-4)
    box = bank.values(slice(4, 7), slice(30, 33), slice(60, 61))
    np.testing.assert_allclose(box, values[:, 4:7, 30:33, 60:61], atol=1e-5)


def test_a_decimated_cube_is_taken_as_it_is(coarse):
    cube = coarse.cube([], N_CHAN, sigma=1.0, seed=4)
    bank = bank_of(cube, coarse)
    step = bank.step
    same = bank_of(np.ascontiguousarray(cube[:, ::step, ::step]), coarse, decimated=True)
    np.testing.assert_array_equal(same.sky, bank.sky)


def test_blank_channels_hold_nothing_and_cost_nothing_else(fine):
    usable = ALL.copy()
    usable[[0, 22, 23]] = False
    source = Emitter(48, 48, 24, flux=1.0, fwhm_z=WIDE)
    cube = fine.cube([source], N_CHAN, seed=None)
    cube[~usable] = 0
    bank = bank_of(cube, fine, usable, continuum_fitted=False)
    assert not bank.values()[:, ~usable].any()
    k = [bank.template(k) for k in range(len(bank.values()))].index((0.0, WIDE))
    want = np.sqrt((source.line(N_CHAN)[usable] ** 2).sum())
    assert float(bank.values()[k, 24, 48, 48]) == pytest.approx(want, rel=1e-4)


def test_a_short_band_has_no_broad_templates(fine):
    bank = bank_of(np.zeros((9, 96, 96), dtype=np.float32), fine, np.ones(9, dtype=bool))
    assert max(bank.line_fwhm) <= 3
    assert bank.values().shape == (len(SKY_SIZES) * len(bank.line_fwhm), 9, 96, 96)


# ---------------------------------------------------------------------- the peaks of a filter bank

CHANNELS = 32


def bank_with(fine, emitters):
    cube = fine.cube(emitters, CHANNELS, sigma=1.0, seed=5)
    beam = float(np.sqrt(fine.beam[0] * fine.beam[1]))
    return FilterBank(torch.as_tensor(cube), np.ones(CHANNELS, dtype=bool), fine.psf, beam)


def plain(bank):
    return torch.maximum(bank.values().amax(0), -bank.values().amin(0))


def taken_out(bank, peaks, fine, source):
    sky, line = bank.response(fine.image(source), source.line(CHANNELS))
    bank.subtract(sky, source.line(CHANNELS))
    peaks.change(line, sky)


def test_the_strongest_after_each_subtraction(fine):
    bright = Emitter(40, 50, 14, 40.0, maj=4, min=4, fwhm_z=5)
    faint = Emitter(70, 24, 20, 9.0, fwhm_z=4)
    bank = bank_with(fine, [bright, faint])
    peaks = Peaks(bank)
    nothing, free = torch.zeros_like(peaks.high), torch.zeros_like(peaks.high, dtype=torch.bool)
    for source in (bright, faint):
        found = peaks.strongest(5.0, nothing, free)
        value = plain(bank)
        assert float(value[found]) == pytest.approx(float(value.max()), abs=2 * CLOSE)
        place = source.z, source.y / bank.step, source.x / bank.step
        assert np.abs(np.subtract(found, place)).max() <= 2
        taken_out(bank, peaks, fine, source)
        # whatever was not calculated anew is within its slack
        assert ((peaks.high - plain(bank)).abs() <= peaks.slack + CLOSE).all()
    assert peaks.strongest(6.0, nothing, free) is None
    assert float(plain(bank).max()) < 6.0
    lows = peaks.lows_below(-3.0, ~free)
    true = bank.values().amin(0)
    deep = true < -3.0 - CLOSE
    assert deep.sum() > 20
    np.testing.assert_allclose(lows[deep], true[deep], atol=2 * CLOSE)


def test_guarded_and_blocked_places_are_passed_over(fine):
    sources = [Emitter(30, 30, 10, 20.0, fwhm_z=4), Emitter(66, 66, 22, 10.0, fwhm_z=4)]
    peaks = Peaks(bank_with(fine, sources))
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
    data = ResidualCube(cube)
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
