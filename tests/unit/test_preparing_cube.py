"""Noise levels, continuum, psf and beam of a cube."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import CELL, Emitter, telescope

import faintsky
from faintsky.errors import InputError
from faintsky.grid import axial_difference
from faintsky.image import RadioCube
from faintsky.preparing import (
    Continuum,
    LineFree,
    PrimaryBeam,
    channel_rms,
    continuum_present,
    find_strong_lines,
    fit_continuum,
    fitted_beam,
    gaussian_psf,
    noise_correlation,
    prepare_cube,
    psf_from_noise,
    relative_noise_map,
    robust_sigma,
    subtract_continuum,
    upsampled,
)

# ---------------------------------------------------------------------- rms


@pytest.mark.parametrize("size", [2_000, 50_000])
def test_robust_sigma_of_a_gaussian(size):
    values = np.random.default_rng(size).normal(7.0, 3.0, size)
    # the clipped estimate is nearly as precise as the standard deviation: 1 / sqrt(2 n); five of those
    assert robust_sigma(values) == pytest.approx(3.0, rel=5 / np.sqrt(2 * size) * 1.2)


def test_robust_sigma_shrugs_at_outliers():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 40_000)
    values[:1200] = rng.uniform(10, 1e6, 1200)
    # 3 % on one side shift the median by 0.037 sigma and the rms about it by less than 1 %
    assert robust_sigma(values) == pytest.approx(1.0, rel=0.03)


def test_robust_sigma_of_blanks_and_of_nothing():
    values = np.random.default_rng(1).normal(size=20_000)
    with_blanks = values.copy()
    with_blanks[::7] = np.nan
    with_blanks[3::50] = np.inf
    kept = np.isfinite(with_blanks)
    assert robust_sigma(with_blanks) == robust_sigma(values[kept])
    assert robust_sigma(np.full(10, np.nan)) == 0
    assert robust_sigma(np.array([])) == 0
    assert robust_sigma(np.ones(30)) == 0


def test_channel_rms():
    rng = np.random.default_rng(2)
    levels = np.array([1.0, 3.0, 0.0, 0.2])
    cube = rng.normal(size=(4, 150, 150)) * levels[:, None, None]
    cube[0, :20] = np.nan
    cube[3, :, :75] = 50 * rng.normal(size=(150, 75))
    valid = np.zeros((150, 150), dtype=bool)
    valid[:, 75:] = True
    got = channel_rms(cube, valid)
    np.testing.assert_allclose(got[[0, 1, 3]], levels[[0, 1, 3]], rtol=5 / np.sqrt(2 * 9000))
    assert got[2] == 0


def weight_of(cube):
    return np.ones(cube.shape, dtype=bool)


def test_flat_noise_needs_no_map():
    t = telescope(96)
    noise = t.noise(np.random.default_rng(3), 48)
    assert relative_noise_map(noise, weight_of(noise), np.ones(48), 6.0) is None


def test_noise_that_rises_outwards_is_mapped():
    t = telescope(96)
    y, x = np.indices((96, 96)) - 48
    pb = np.exp(-4 * np.log(2) * (x**2 + y**2) / 80**2)
    cube = t.noise(np.random.default_rng(4), 64) / pb
    cube[:, :4] = np.nan
    sigma = np.ones(64)
    weight = np.isfinite(cube)
    got = relative_noise_map(np.nan_to_num(cube), weight, sigma, 6.0)
    assert np.isnan(got[:4]).all()
    truth = (1 / pb) / np.median(1 / pb[4:])
    ratio = got[4:] / truth[4:]
    # where the map is not smoothed over the border of the image
    inner = (np.hypot(x, y) < 36)[4:]
    assert abs(np.median(ratio[inner] / np.median(ratio[inner])) - 1) < 0.05
    assert np.std(ratio[inner]) / np.mean(ratio[inner]) < 0.05
    rest = cube[:, 4:] / got[4:]
    centre, rim = rest[:, 34:54, 38:58].std(), rest[:, 6:26, 8:28].std()
    assert rim / centre == pytest.approx(1, abs=0.05)


def test_few_channels_or_blanks_give_no_map():
    noise = np.random.default_rng(5).normal(size=(6, 40, 40))
    assert relative_noise_map(noise, weight_of(noise), np.ones(6), 4.0) is None
    noise = np.random.default_rng(5).normal(size=(20, 40, 40))
    assert relative_noise_map(noise, np.zeros(noise.shape, dtype=bool), np.ones(20), 4.0) is None


# ---------------------------------------------------------------------- continuum


def straight_lines(n_chan=40, n=24, seed=0):
    rng = np.random.default_rng(seed)
    level, slope = rng.normal(size=(2, n, n))
    z = np.arange(n_chan) - (n_chan - 1) / 2
    return level, slope / n_chan, (level + z[:, None, None] * slope / n_chan).astype(np.float32)


def test_straight_lines_are_fitted_exactly():
    level, slope, cube = straight_lines()
    sigma = np.random.default_rng(1).uniform(0.5, 2, 40)
    got = fit_continuum(torch.as_tensor(cube), sigma)
    np.testing.assert_allclose(got.level, level, atol=3e-6)
    np.testing.assert_allclose(got.slope, slope, atol=3e-7)
    np.testing.assert_allclose(got.cube(40), cube, atol=1e-5)
    np.testing.assert_allclose(got.at(3.5), (cube[3] + cube[4]) / 2, atol=1e-5)


def test_masks_blanks_and_blank_channels_are_left_out():
    level, slope, cube = straight_lines()
    sigma = np.ones(40)
    sigma[[0, 11]] = 0
    mask = torch.zeros(cube.shape, dtype=torch.bool)
    mask[20:30, :12, :12] = True
    spoilt = cube.copy()
    spoilt[mask.numpy()] += 1e3
    spoilt[[0, 11]] = 77.0
    spoilt[5:9, 20] = np.nan
    got = fit_continuum(torch.as_tensor(spoilt), sigma, line_mask=mask)
    np.testing.assert_allclose(got.level, level, atol=1e-5)
    np.testing.assert_allclose(got.slope, slope, atol=1e-6)


def test_a_coarse_line_mask_is_spread_over_its_pixels():
    level, _, cube = straight_lines(n=25)
    mask = torch.zeros((40, 13, 13), dtype=torch.bool)
    mask[4:9, 12, 3] = True
    spoilt = cube.copy()
    spoilt[4:9, 24, 6:8] += 100
    got = fit_continuum(torch.as_tensor(spoilt), np.ones(40), line_mask=mask)
    np.testing.assert_allclose(got.level, level, atol=1e-5)
    assert upsampled(mask, (25, 25)).sum() == 5 * 2


def test_weighted_fit_equals_least_squares():
    rng = np.random.default_rng(6)
    cube = rng.normal(size=(30, 6, 7)).astype(np.float32)
    sigma = rng.uniform(0.3, 3, 30)
    sigma[4] = 0
    mask = torch.as_tensor(rng.random((30, 6, 7)) < 0.2)
    got = fit_continuum(torch.as_tensor(cube), sigma, line_mask=mask)
    z = np.arange(30) - got.middle
    for y, x in np.ndindex(6, 7):
        use = (sigma > 0) & ~mask[:, y, x].numpy()
        design = np.stack([np.ones(30), z], 1)[use] / sigma[use, None]
        want, *_ = np.linalg.lstsq(design, cube[use, y, x] / sigma[use], rcond=None)
        np.testing.assert_allclose([got.level[y, x], got.slope[y, x]], want, rtol=1e-3, atol=2e-5)
        error = np.sqrt(np.linalg.inv(design.T @ design)[0, 0])
        assert got.level_err[y, x] == pytest.approx(error, rel=1e-4)


def test_pixels_without_enough_channels():
    cube = torch.full((20, 3, 3), 4.0)
    cube[:, 0, 0] = torch.nan
    cube[1:, 1, 1] = torch.nan
    got = fit_continuum(cube, np.ones(20))
    assert got.level[0, 0] == 0
    assert got.level[1, 1] == pytest.approx(4)
    assert got.slope[1, 1] == 0
    constant = fit_continuum(cube, np.ones(20), order=0)
    assert not constant.slope.any()
    assert constant.level[2, 2] == pytest.approx(4)


def test_strong_lines_are_masked_to_their_feet():
    rng = np.random.default_rng(7)
    cube = rng.normal(size=(60, 20, 20)).astype(np.float32)
    z = np.arange(60)
    line = 30 * np.exp(-4 * np.log(2) * ((z - 25) / 8) ** 2)
    cube[:, 5, 5] += line
    cube[:, 15, 15] -= line
    mask = find_strong_lines(torch.as_tensor(cube)).numpy()
    for y, x in ((5, 5), (15, 15)):
        assert mask[line > 2, y, x].all()
        assert mask[:, y, x].sum() < 35
    mask[:, 5, 5] = mask[:, 15, 15] = False
    # 5 sigma on three scales: 6e-7 x 3 x 24000 = 0.04 expected, grown to a handful of channels
    assert mask.sum() <= 12


def test_a_broad_weak_line_counts_as_strong():
    cube = np.random.default_rng(8).normal(size=(60, 8, 8)).astype(np.float32)
    cube[20:40, 4, 4] += 3.5
    mask = find_strong_lines(torch.as_tensor(cube)).numpy()
    assert mask[20:40, 4, 4].mean() > 0.9


def test_no_line_no_mask():
    cube = np.random.default_rng(9).normal(size=(20, 16, 16)).astype(np.float32)
    cube[:, 2, 2] = np.nan
    assert not find_strong_lines(torch.as_tensor(cube)).any()


def test_a_pixel_that_is_all_line_keeps_a_continuum():
    cube = np.random.default_rng(10).normal(size=(40, 4, 4)).astype(np.float32)
    cube[:, 1, 1] += np.where(np.arange(40) % 2 == 0, 100, -100)
    assert not find_strong_lines(torch.as_tensor(cube)).numpy()[:, 1, 1].any()


def plain_continuum(level, error=0.1):
    level = level.astype(np.float32)
    return Continuum(level, np.zeros_like(level), 10.0, np.full_like(level, error))


def test_continuum_is_present_about_a_source_only():
    t = telescope(96)
    noise = 0.1 * t.noise(np.random.default_rng(11), 1)[0]
    valid = np.ones((96, 96), dtype=bool)
    beam = float(np.sqrt(t.beam[0] * t.beam[1]))
    assert continuum_present(plain_continuum(noise), valid, beam).mean() < 0.05
    with_source = noise + 1.5 * t.image(Emitter(30, 30, 0))
    present = continuum_present(plain_continuum(with_source), valid, beam)
    assert present[25:36, 25:36].all()
    assert not present[70:, 70:].any()


def test_continuum_where_present():
    c = plain_continuum(np.arange(4.0).reshape(2, 2))
    kept = c.where(np.array([[True, False], [False, True]]))
    np.testing.assert_array_equal(kept.level, [[0, 0], [0, 3]])
    np.testing.assert_array_equal(c.level, [[0, 1], [2, 3]])


def test_subtracting_leaves_blanks_at_zero():
    _, _, cube = straight_lines(n_chan=10, n=6)
    fit = fit_continuum(torch.as_tensor(cube), np.ones(10))
    valid = np.ones((6, 6), dtype=bool)
    valid[0] = False
    sigma = np.ones(10)
    sigma[3] = 0
    line = subtract_continuum(cube + 1, fit, valid, sigma)
    assert (line[:, 0] == 0).all()
    assert (line[3] == 0).all()
    np.testing.assert_allclose(np.delete(line[:, 1:], 3, axis=0), 1, atol=1e-5)


# ---------------------------------------------------------------------- psf and beam


NEAR = np.hypot(*(np.indices((96, 96)) - 48)) < 24
EVERYWHERE = np.ones((96, 96), dtype=bool)


def rms(difference):
    return float(np.sqrt(np.mean(difference[NEAR] ** 2)))


def test_psf_is_read_off_the_noise():
    t = telescope(96)
    noise = t.noise(np.random.default_rng(12), 64)
    got, _ = noise_correlation(noise, np.ones(64), EVERYWHERE)
    assert got[48, 48] == pytest.approx(1)
    # error of a correlation over 64 planes of some 96^2 / (2 * 37) beams each: 1 / sqrt(64 * 125) = 0.011
    assert rms(got - t.psf) < 0.02
    inner = got[1:, 1:]
    assert inner == pytest.approx(inner[::-1, ::-1], abs=1e-6)


@pytest.mark.parametrize("seed", [13, 14, 15])
def test_sources_do_not_widen_the_psf_read_off_the_noise(seed):
    """Resolved lines of S/N to 200 a channel, in a third of the channels, and faint ones in others."""
    t = telescope(96)
    noise = t.noise(np.random.default_rng(seed), 64)
    lines = [
        Emitter(30, 60, 20, flux=200, maj=12, min=9, fwhm_z=6),
        Emitter(55, 33, 50, flux=30, maj=10, min=10, fwhm_z=5),
        Emitter(70, 70, 40, flux=10, maj=8, min=8, fwhm_z=4),
    ]
    alone, _ = noise_correlation(noise, np.ones(64), EVERYWHERE)
    got, channels = noise_correlation(noise + t.cube(lines, 64, seed=None), np.ones(64), EVERYWHERE)
    assert 30 < channels < 60
    assert rms(got - t.psf) < 0.025
    # what a source of the beam's size has in it: 1 in a hundred is as much as the noise itself makes
    inner = np.hypot(*(np.indices((96, 96)) - 48)) < t.beam[0]
    assert got[inner].sum() / alone[inner].sum() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("robust", "within"), [(0.3, 0.06), (1.0, 0.08), (4.0, 0.16)])
def test_robust_weights_are_solved_for(robust, within):
    """There the noise's correlation is not the psf: weights W w make this, W w**2 that."""
    t = telescope(96, antennas=40)
    density = t.weights / t.weights[t.weights > 0].mean()
    w = 1 / (1 + robust * density)

    def reweighted(weights):
        full = np.fft.irfft2(weights, s=(192, 192))
        return replace(t, weights=weights / full[0, 0])

    imaged, noisy = reweighted(t.weights * w), reweighted(t.weights * w * w)
    noise = noisy.noise(np.random.default_rng(16), 64)
    beam = fitted_beam(imaged.psf)
    psf, natural = psf_from_noise(noise, np.ones(64), EVERYWHERE, beam)
    assert not natural
    wrong, _ = noise_correlation(noise, np.ones(64), EVERYWHERE)
    assert rms(psf - imaged.psf) < 0.75 * rms(wrong - imaged.psf)
    inner = np.hypot(*(np.indices((96, 96)) - 48)) < beam[0]
    assert psf[inner].sum() / imaged.psf[inner].sum() == pytest.approx(1, abs=within)
    assert abs(wrong[inner].sum() / imaged.psf[inner].sum() - 1) > 2.5 * within


def test_natural_weights_are_known_by_the_beam():
    t = telescope(96)
    noise = t.noise(np.random.default_rng(17), 64)
    psf, natural = psf_from_noise(noise, np.ones(64), EVERYWHERE, fitted_beam(t.psf))
    assert natural
    assert rms(psf - t.psf) < 0.02
    assert psf_from_noise(noise, np.ones(64), EVERYWHERE, None)[1]


def test_no_psf_from_a_few_channels():
    noise = telescope(96).noise(np.random.default_rng(14), 20)
    sigma = np.r_[np.ones(15), np.zeros(5)]
    assert psf_from_noise(noise, sigma, EVERYWHERE, None) is None


@pytest.mark.parametrize("pa", [0, 20, 45, 70, 90, 110, 135, 160])
@pytest.mark.parametrize(("major", "minor"), [(3.2, 2.4), (6, 4), (15, 14), (30, 9)])
def test_fitted_beam_recovers_gaussians(major, minor, pa):
    got = fitted_beam(gaussian_psf((128, 129), major, minor, pa))
    np.testing.assert_allclose(got[:2], [major, minor], rtol=1e-3)
    assert abs(axial_difference(got[2], pa)) < 0.2


def test_position_angle_runs_from_north_to_east():
    y, x = np.indices((65, 65)) - 32
    # elongated towards up (north) and left (east)
    psf = np.exp(-((x - y) ** 2) / 100 - (x + y) ** 2 / 20)
    assert fitted_beam(psf)[2] == pytest.approx(45)
    # towards up and right (west)
    psf = np.exp(-((x + y) ** 2) / 100 - (x - y) ** 2 / 20)
    assert fitted_beam(psf)[2] == pytest.approx(135)


def test_fitted_beam_of_a_dirty_psf():
    t = telescope(96)
    major, minor, pa = fitted_beam(t.psf)
    np.testing.assert_allclose([major, minor], t.beam[:2], rtol=0.06)
    assert abs(axial_difference(pa, t.beam[2])) < 5


def test_fitted_beam_of_a_single_pixel():
    psf = np.zeros((16, 16))
    psf[8, 8] = 1
    assert fitted_beam(psf)[0] < 3


def test_prepared_cube():
    t = telescope(96)
    cube = t.cube([Emitter(40, 50, 0, continuum=0.02)], 48, seed=3)
    cube[20] += 2 * t.cube([], 48, seed=3)[20]
    cube[7] = 0
    p = prepare_cube(t.radio_cube(cube))
    assert p.sigma[7] == 0
    level = np.delete(p.sigma, [7, 20]) / 1e-3
    # about 96^2 / (1.13 * 37) = 220 independent beams a channel: 1 / sqrt(2 * 220) = 5 % each
    assert level.mean() == pytest.approx(1, abs=0.03)
    assert level.std() < 0.08
    assert p.sigma[20] / 1e-3 == pytest.approx(3, rel=0.25)
    assert p.relative is None
    assert p.present[50, 40]
    assert p.continuum.at(24)[50, 40] == pytest.approx(0.02, abs=5e-3 / np.sqrt(47))
    assert p.psf_origin == "given"
    assert not p.line[7].any()
    assert abs(p.line[:, 50, 40].mean()) < 1e-4


def test_units_are_turned_into_jansky():
    t = telescope(96)
    data = t.cube([], 20, seed=4)
    sigma = prepare_cube(t.radio_cube(data)).sigma
    milli = prepare_cube(t.radio_cube(1e3 * data, unit="mJy/beam")).sigma
    np.testing.assert_allclose(milli, sigma, rtol=1e-5)
    # 1.222e3 * (I / mJy) / (GHz^2 * arcsec^2), the usual formula; good to four digits
    ghz = 230.0 + 0.01 * np.arange(20)
    kelvin = data * 1e3 * (1.222e3 / (ghz**2 * t.beam[0] * t.beam[1] * CELL**2))[:, None, None]
    got = prepare_cube(t.radio_cube(kelvin, unit="K")).sigma
    np.testing.assert_allclose(got, sigma, rtol=1e-3)


def test_the_users_noise_map_is_taken():
    t = telescope(96)
    data = t.cube([], 20, seed=4)
    rms = np.full((96, 96), 2e-3)
    p = prepare_cube(t.radio_cube(data, rms=rms))
    np.testing.assert_allclose(p.sigma, 2e-3, rtol=1e-6)
    assert p.relative is None
    rms[:, 48:] = 6e-3
    p = prepare_cube(t.radio_cube(data, rms=rms))
    ratio = p.relative[:, 48:].mean() / p.relative[:, :48].mean()
    assert ratio == pytest.approx(3)
    assert p.sigma[3] * p.relative[5, 5] == pytest.approx(2e-3, rel=1e-5)
    assert p.gain(60, 5) * p.sigma[3] == pytest.approx(6e-3, rel=1e-5)
    np.testing.assert_allclose(p.restored(p.data), data, rtol=1e-4, atol=1e-8)


def test_a_noise_map_in_the_unit_of_the_data():
    t = telescope(96)
    data = 1e3 * t.cube([], 20, seed=4)
    p = prepare_cube(t.radio_cube(data, unit="mJy/beam", rms=np.full((20, 96, 96), 2.0)))
    np.testing.assert_allclose(p.sigma, 2e-3, rtol=1e-6)


def bare(data, **details):
    given = {"cell": 0.1, "frequencies": 1e11 + 1e7 * np.arange(len(data)), "beam": [0.5, 0.4, 10.0]}
    return RadioCube.from_array(data, **{**given, **details})


def test_what_cannot_be_prepared():
    noise = np.random.default_rng(15).normal(size=(24, 40, 40)).astype(np.float32)
    with pytest.raises(InputError, match="every channel is blank"):
        prepare_cube(bare(np.full_like(noise, np.nan)))
    with pytest.raises(InputError, match="4 channels"):
        prepare_cube(bare(noise[:4]))
    with pytest.raises(InputError, match="smaller than the filter"):
        prepare_cube(bare(noise[:, :6, :6]))
    with pytest.raises(InputError, match="smaller than the filter"):
        prepare_cube(bare(noise, beam=[3.0, 2.5, 0.0]))
    with pytest.raises(InputError, match="beam"):
        prepare_cube(bare(noise[:10], beam=None))
    with pytest.raises(InputError, match="no synthesised beam"):
        prepare_cube(bare(noise, beam=None, unit="K"))


def test_a_beam_measured_from_the_noise():
    t = telescope(96)
    cube = t.radio_cube(t.cube([], 64, seed=5), beam=None, psf=None)
    p = prepare_cube(cube)
    assert p.psf_origin == "noise"
    shown = "{:.3g} x {:.3g} arcsec".format(*cube.sky_beam(p.beam)[:2])
    assert any(f"no beam in the header; taken as {shown}" in note for note in cube.notes)
    assert any("fluxes depend on it, and --beam sets it" in note for note in cube.notes)
    np.testing.assert_allclose(p.beam[:2], t.beam[:2], rtol=0.1)


# ---------------------------------------------------------------------- dishes


def alma(beam, telescope="ALMA", frequency=100e9, dish=None):
    """A cube of noise whose header names a telescope, of a beam in arcsec."""
    cube = RadioCube.from_array(
        np.random.default_rng(0).normal(size=(8, 32, 32)), cell=beam / 4,
        frequencies=frequency + 1e6 * np.arange(8), beam=[beam, beam, 0], ra=10, dec=-20,
    )  # fmt: skip
    cube.header["TELESCOP"] = telescope
    return cube if dish is None else faintsky.open_cube(cube, dish=dish)


@pytest.mark.parametrize(
    ("telescope", "beam", "dish"),
    [("ALMA", 0.3, 12), ("ALMA", 3.4, 12), ("ALMA", 12.5, 7), ("ACA", 14.0, 7), ("ALMA", 58.0, 0)]
    + [(name, beam, None) for name in ("VLA", "MeerKAT", "ATCA", "NOEMA", "") for beam in (3.4, 12.5)],
)
def test_dishes_follow_from_the_name_and_the_beam(telescope, beam, dish):
    for frequency in (100e9, 345e9):  # the same baselines
        assert PrimaryBeam(alma(beam * 100e9 / frequency, telescope, frequency)).diameter == dish


def test_the_note_on_the_dishes_says_what_they_were_told_from():
    cube = alma(3.4)
    assert PrimaryBeam(cube).notes[0].endswith("(from TELESCOP and the beam); --dish sets another")
    cube.beams = None
    assert "from TELESCOP);" in PrimaryBeam(cube).notes[0]
    given = alma(3.4, dish="25m")
    assert (PrimaryBeam(given).notes[0][-8:], PrimaryBeam(given).origin) == ("as given", "dishes of 25 m")


def test_the_primary_beam_is_that_of_the_dishes():
    compact, given = alma(12.5), alma(12.5, dish="12m")
    fwhm = {7.0: 1.16 * 3e8 / 100e9 / 7 * 206265, 12.0: 1.13 * 3e8 / 100e9 / 12 * 206265}
    for cube, dish in ((compact, 7.0), (given, 12.0), (alma(3.4, "VLA", dish=25), 25.0)):
        half = fwhm.get(dish, fwhm[12.0] * 12 / dish) / 2 / cube.grid.cell
        beam = PrimaryBeam(cube)
        assert beam.origin == f"dishes of {dish:g} m"
        assert f"{dish:g} m" in beam.notes[0]
        assert beam.at(16 + half, 16, 0) == pytest.approx(0.5, abs=0.03)
        assert beam.plane[16, 16] == pytest.approx(1.0)
    assert "--dish sets another" in PrimaryBeam(compact).notes[0]


def test_a_single_dish_has_no_primary_beam_to_divide_by():
    for cube in (alma(58.0), alma(30.0, "IRAM30M", dish="0m")):
        beam = PrimaryBeam(cube)
        assert beam.origin == "single dish"
        assert beam.known
        assert not beam.in_data
        assert beam.at(3, 3, 0) == 1.0
        assert (beam.plane == 1).all()


@pytest.mark.parametrize("dish", ["7", "7kg", "-7m", "infm", float("nan")])
def test_dishes_of_no_size_are_refused(dish):
    with pytest.raises(InputError, match="dish"):
        alma(12.5, dish=dish)


def test_a_primary_beam_with_blanks_is_not_lowered_beside_them():
    pb = np.full((32, 32), 0.8, dtype=np.float32)
    pb[:, 20:] = np.nan
    data = np.random.default_rng(0).normal(size=(8, 32, 32))
    cube = RadioCube.from_array(data, cell=1.0, frequencies=1e11 + 1e6 * np.arange(8), beam=[4, 4, 0], pb=pb)
    beam = PrimaryBeam(cube)
    assert [beam.at(x, 15.3, 3) for x in (5.2, 19.4, 0.0)] == pytest.approx([0.8] * 3)
    assert np.isnan(beam.at(25, 15, 3))


def test_a_bright_continuum_leaves_no_rounding_errors_that_look_like_lines():
    n, z = 64, np.arange(64)[:, None]
    spectra = 1e8 * (1 + 0.01 * z) + np.random.default_rng(0).standard_normal((n, 5))
    level = LineFree(lambda y, x: spectra, np.ones(n))(np.zeros(5, int), np.arange(5))
    assert level == pytest.approx(spectra.mean(axis=0) * np.sqrt(n), rel=1e-6)
