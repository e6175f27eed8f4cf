"""Noise of images: level, variation, correlation; what counts as blank; units."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.preparing import autocorrelation, beam_from_noise, noise_map, prepare_image, radial_mean


def noise(n, beam, seed=0):
    """Noise of unit rms whose correlation has the FWHM `beam` [pixel]; white for 0."""
    white = np.random.default_rng(seed).normal(size=(n, n))
    if not beam:
        return white
    smooth = gaussian_filter(white, beam / 2.3548 / np.sqrt(2), mode="wrap")
    return smooth / smooth.std()


def everywhere(image):
    return np.ones(image.shape, dtype=bool)


@pytest.mark.parametrize("beam", [0, 3, 8])
@pytest.mark.parametrize("n", [96, 300])
def test_level_of_pure_noise(n, beam):
    levels = [np.median(noise_map(noise(n, beam, s), everywhere(noise(n, 0)), beam)) for s in range(3)]
    assert np.mean(levels) == pytest.approx(1, abs=0.05)


def test_flat_noise_has_a_flat_map():
    assert np.ptp(noise_map(noise(300, 4), np.ones((300, 300), bool), 4)) == 0


@pytest.mark.parametrize("beam", [0, 4])
def test_bright_and_diffuse_emission_do_not_raise_it(beam):
    image = noise(300, beam)
    y, x = np.indices(image.shape)
    image += 6 * np.exp(-((x - 120) ** 2 + (y - 160) ** 2) / (2 * 35.0**2))
    rng = np.random.default_rng(1)
    for cx, cy in rng.integers(10, 290, (25, 2)):
        image += 80 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 2.5**2))
    level = noise_map(image, everywhere(image), beam)
    assert np.median(level) == pytest.approx(1, abs=0.15)


def test_noise_that_rises_outwards_is_followed():
    y, x = np.indices((400, 400)) - 200
    rise = np.exp((x**2 + y**2) / (2 * 160.0**2))
    valid = np.hypot(x, y) < 195
    level = noise_map(noise(400, 4) * rise, valid, 4)
    assert np.isnan(level[~valid]).all()
    ratio = (level / rise)[valid]
    assert np.quantile(np.abs(ratio - 1), 0.95) < 0.25
    assert np.median(ratio) == pytest.approx(1, abs=0.06)


def test_correlation_of_noise():
    acf = autocorrelation(noise(200, 6), everywhere(noise(200, 0)), 20)
    assert acf.shape == (41, 41)
    assert acf[20, 20] == pytest.approx(1)
    profile = radial_mean(acf)
    assert profile[3] == pytest.approx(0.5, abs=0.06)
    assert np.abs(profile[12:]).max() < 0.1


@pytest.mark.parametrize("beam", [3, 5, 9])
def test_the_beam_is_read_off_the_noise(beam):
    image = noise(256, beam)
    y, x = np.indices(image.shape)
    image += 300 * np.exp(-((x - 90) ** 2 + (y - 100) ** 2) / (2 * 3.0**2))
    major, minor, _ = beam_from_noise(image, everywhere(image))
    assert np.sqrt(major * minor) == pytest.approx(beam, rel=0.15)


@pytest.mark.parametrize("bright", [0, 3, 50])
def test_white_noise_is_told_whatever_it_covers(bright):
    image = noise(200, 0)
    y, x = np.indices(image.shape)
    image += bright * np.exp(-((x - 90) ** 2 + (y - 100) ** 2) / (2 * 25.0**2))
    assert beam_from_noise(image, everywhere(image)) is None


@pytest.mark.parametrize(("beam", "width"), [(0, 30), (5, 20)])
def test_bright_textured_emission_is_not_taken_for_noise(beam, width):
    image = noise(256, beam)
    texture = noise(256, 12, seed=8)
    y, x = np.indices(image.shape)
    image += 5000 * np.exp(0.5 * texture) * np.exp(-((x - 150) ** 2 + (y - 150) ** 2) / (2 * width**2))
    found = beam_from_noise(image, everywhere(image))
    if beam:
        assert np.sqrt(found[0] * found[1]) == pytest.approx(beam, rel=0.15)
    else:
        assert found is None


def test_prepared_images_are_scaled_by_their_noise():
    image = noise(128, 4) * 3e-4
    image[:10] = np.nan
    p = prepare_image(RadioImage.from_array(image, cell=2.0, beam=[8.0, 6.0, 30.0]))
    assert p.typical_rms == pytest.approx(3e-4, rel=0.06)
    assert p.scaled[20:].std() == pytest.approx(1, abs=0.06)
    np.testing.assert_array_equal(p.weight[:10], 0)
    np.testing.assert_allclose(p.weight[10:], 1, rtol=1e-6)
    assert p.beam == (pytest.approx(4.0), pytest.approx(3.0), pytest.approx(30.0))
    assert p.jy_per_beam == 1
    assert p.jy_per_pixel == pytest.approx(1 / (1.1331 * 12), rel=1e-3)


@pytest.mark.parametrize(
    ("unit", "factor"), [("Jy/pixel", 1.0), ("Jy/arcsec2", 4.0), ("mJy/arcsec2", 4e-3), ("Jy/beam", np.nan)]
)
def test_white_images_have_fluxes_where_the_unit_allows(unit, factor):
    p = prepare_image(RadioImage.from_array(noise(64, 0), cell=2.0, unit=unit))
    assert p.beam is None
    assert p.beam_area == 1
    np.testing.assert_allclose(p.jy_per_pixel, factor)
    assert np.isnan(p.jy_per_beam)


def test_given_noise_wins_and_marks_blanks():
    rms = np.full((64, 64), 2.0)
    rms[:5] = 0
    rms[5:9] = np.nan
    p = prepare_image(RadioImage.from_array(noise(64, 4), cell=1.0, beam=[4, 4, 0], rms=rms))
    assert p.rms_origin == "given"
    np.testing.assert_array_equal(p.valid[:9], False)
    np.testing.assert_array_equal(p.rms[9:], 2.0)
    assert p.with_noise(p.data) is p


def test_noise_not_known_anywhere_is_refused():
    image = RadioImage.from_array(
        noise(32, 0), cell=1.0, rms=np.r_[[np.ones(32)], np.zeros((31, 32))] * np.nan_to_num(0)
    )
    with pytest.raises(InputError, match="rms"):
        prepare_image(image)
