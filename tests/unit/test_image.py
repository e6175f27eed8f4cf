"""Images and cubes: coordinates by hand formulae, units, companions, blank channels."""

import warnings
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from astropy import units as u

from faintsky import RadioCube, RadioImage, open_cube
from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT, Spectral

REAL = Path(__file__).parents[1] / "data" / "ngc3256_co10_64.fits.gz"
F0, STEP, REST = 1.138132993449e11, 1.562603820624e7, 1.15271201800e11


def cube(**details):
    data = np.random.default_rng(0).normal(size=(5, 12, 16))
    keywords = {"cell": 0.5, "frequencies": 1e11 + 1e6 * np.arange(5), "beam": [2.0, 1.5, 30.0], **details}
    return RadioCube.from_array(data, **keywords)


def test_real_cube_header_is_read_right():
    c = open_cube(REAL)
    assert c.shape == (50, 64, 64)
    assert c.layout.shape == (1, 50, 64, 64)
    assert c.unit == u.Jy / u.beam
    assert c.spectral_frame == "LSRK"
    assert c.rest_frequency == pytest.approx(REST)
    np.testing.assert_allclose(c.frequencies, F0 + STEP * np.arange(50), rtol=1e-12)
    np.testing.assert_allclose(c.velocities(), SPEED_OF_LIGHT / 1e3 * (1 - c.frequencies / REST), rtol=1e-12)
    # ALTRVAL of the header is CASA's own velocity of the first channel
    assert c.velocities()[0] == pytest.approx(3791.650938948, abs=1e-6)
    np.testing.assert_allclose(c.beams[0], [1.901463667552e-3 * 3600, 1.253965960609e-3 * 3600, 52.95551681])
    assert c.beams.shape == (50, 3)
    assert c.grid.cell == pytest.approx(1.0)
    assert (c.grid.x0, c.grid.y0) == (32.0, 32.0)


def test_a_cube_travels_to_workers_without_remarks_on_its_header():
    c = open_cube(REAL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = cloudpickle.loads(cloudpickle.dumps(c))
    assert again.shape == c.shape
    np.testing.assert_allclose(again.sky(3.0, 5.0), c.sky(3.0, 5.0))


def test_real_cube_positions_follow_the_sine_projection():
    c = open_cube(REAL)
    x, y = 37.0, 31.0
    ra0, dec0 = np.deg2rad([156.965, -43.905])
    east, north = -(x - 32) / 206264.806247, (y - 32) / 206264.806247
    n = np.sqrt(1 - east**2 - north**2)
    dec = np.arcsin(north * np.cos(dec0) + n * np.sin(dec0))
    ra = ra0 + np.arctan2(east, n * np.cos(dec0) - north * np.sin(dec0))
    # the header is FK5; ICRS differs by some 20 mas
    found = c.sky(x, y)
    assert found[0] == pytest.approx(np.rad2deg(ra), abs=0.05 / 3600)
    assert found[1] == pytest.approx(np.rad2deg(dec), abs=0.05 / 3600)
    np.testing.assert_allclose(c.pixel(*found), [x, y], atol=1e-6)


def test_real_cube_data():
    c = open_cube(REAL)
    assert c.data.dtype == np.dtype("=f4")
    assert np.unravel_index(np.nanargmax(c.data), c.shape) == (25, 31, 37)
    assert c.data.max() == pytest.approx(1.54, abs=1e-3)
    assert list(np.flatnonzero(c.blank_channels)) == [0]


@pytest.mark.parametrize("convention", ["radio", "optical", "relativistic"])
def test_velocities_by_convention(convention):
    spectral = Spectral(np.array([0.99e9]), rest_frequency=1e9, convention=convention)
    beta = {"radio": 0.01, "optical": 1 / 0.99 - 1, "relativistic": (1 - 0.99**2) / (1 + 0.99**2)}[convention]
    assert spectral.velocity(0.99e9) == pytest.approx(beta * SPEED_OF_LIGHT / 1e3)


def test_no_velocity_without_a_rest_frequency():
    assert cube().velocities() is None
    assert cube().channel_widths_velocity() is None


def test_frequencies_between_channels_and_widths():
    c = cube(frequencies=1e11 - 1e6 * np.arange(5), rest_frequency=1e11)
    np.testing.assert_allclose(c.frequency([0.5, 3.25, -1.0, 6.0]), 1e11 - 1e6 * np.array([0.5, 3.25, -1, 6]))
    np.testing.assert_allclose(c.channel_widths(), 1e6)
    np.testing.assert_allclose(c.channel_widths_velocity(), SPEED_OF_LIGHT / 1e3 * 1e-5)


def test_array_cube_has_its_centre_on_the_middle_pixel():
    c = cube(ra=120.0, dec=45.0)
    np.testing.assert_allclose(c.sky(8, 6), [120.0, 45.0], atol=1e-9)
    ra, dec = c.sky([9, 8], [6, 7])
    assert ra[0] < 120.0
    assert (dec[1] - 45.0) * 3600 == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("Jy/beam", 1.0),
        ("mJy/beam", 1e-3),
        ("", 1.0),
        ("Jy/pix", np.pi / (4 * np.log(2)) * 2.0 * 1.5 / 0.25),
        ("Jy/arcsec2", np.pi / (4 * np.log(2)) * 2.0 * 1.5),
    ],
)
def test_conversion_to_jansky_per_beam(unit, factor):
    np.testing.assert_allclose(cube(unit=unit).to_jy_per_beam(), np.full(5, factor))


def test_kelvin_are_converted_as_astropy_does():
    c = cube(unit="K")
    area = np.pi / (4 * np.log(2)) * 2.0 * 1.5 * u.arcsec**2
    expected = [(1 * u.K).to_value(u.Jy, u.brightness_temperature(f * u.Hz, area)) for f in c.frequencies]
    np.testing.assert_allclose(c.to_jy_per_beam(), expected, rtol=1e-9)


def test_conversions_refuse_what_they_cannot_know():
    with pytest.raises(InputError, match=r"no synthesised beam.*BMAJ"):
        cube(unit="Jy/pix", beam=None).to_jy_per_beam()
    with pytest.raises(InputError, match="cannot be turned into Jy/beam"):
        cube(unit="km/s").to_jy_per_beam()


def test_companions_are_given_one_plane_or_one_a_channel():
    rms = np.ones((12, 16))
    pb = np.full((5, 12, 16), 0.5)
    mask = np.where(rms > 0, np.nan, 0)
    mask[3, 4] = 2
    c = cube(rms=rms, pb=pb, mask=mask)
    assert c.rms.shape == (1, 12, 16)
    assert c.pb.shape == (5, 12, 16)
    assert c.mask.dtype == bool
    assert list(np.argwhere(c.mask[0])[0]) == [3, 4]
    assert c.mask.sum() == 1
    assert c.psf is None


@pytest.mark.parametrize(
    ("kind", "value", "fault"),
    [
        ("rms", np.ones((3, 12, 16)), "does not fit"),
        ("rms", np.ones((12, 15)), "does not fit"),
        ("rms", -np.ones((12, 16)), "negative"),
        ("pb", np.full((12, 16), 3.0), "between 0 and 1"),
        ("pb", np.full((12, 16), np.nan), "blank"),
        ("mask", np.zeros((12, 16)), "blank"),
        ("psf", np.full((12, 16), 0.5), "not a psf"),
    ],
)
def test_companions_that_cannot_be_are_refused(kind, value, fault):
    with pytest.raises(InputError, match=fault):
        getattr(cube(**{kind: value}), kind)


def gaussian_psf(n_y, n_x, y0, x0):
    y, x = np.mgrid[:n_y, :n_x]
    return np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 8.0)


@pytest.mark.parametrize(("shape", "peak"), [((12, 16), (6, 8)), ((31, 31), (15, 15)), ((32, 40), (14, 21))])
def test_a_psf_of_any_shape_is_centred_on_its_peak(shape, peak):
    psf = cube(psf=gaussian_psf(*shape, *peak)).psf
    assert np.unravel_index(psf[0].argmax(), psf.shape[1:]) == (psf.shape[1] // 2, psf.shape[2] // 2)
    assert psf.max() == 1.0
    if peak == (shape[0] // 2, shape[1] // 2):
        assert psf.shape[1:] == shape


def test_blank_psf_planes_take_the_nearest():
    planes = np.stack([gaussian_psf(12, 16, 6, 8) * k for k in (0, 1.0, 1.01, 0, 0)])
    planes[4] = np.nan
    psf = cube(psf=planes).psf
    np.testing.assert_allclose(psf.max(axis=(1, 2)), [1, 1, 1.01, 1.01, 1.01])


def test_psf_planes_that_peak_apart_are_refused():
    planes = np.stack([gaussian_psf(12, 16, 6, 8 + (k == 2)) for k in range(5)])
    with pytest.raises(InputError, match="2 pixel"):
        _ = cube(psf=planes).psf


def test_blank_channels():
    data = np.random.default_rng(0).normal(size=(5, 4, 4))
    data[0], data[1], data[2] = 0, np.nan, 3.5
    data[3, 0] = np.nan
    c = RadioCube.from_array(data, cell=1.0, frequencies=np.arange(1, 6) * 1e9)
    assert list(c.blank_channels) == [True, True, True, False, False]


def test_arrays_of_the_wrong_shape_are_refused():
    with pytest.raises(InputError, match="3 axes"):
        RadioCube.from_array(np.ones((4, 4)), cell=1.0, frequencies=[1e9])
    with pytest.raises(InputError, match="2 axes"):
        RadioImage.from_array(np.ones((1, 4, 4)), cell=1.0)
    with pytest.raises(InputError, match="frequencies for"):
        RadioCube.from_array(np.ones((2, 4, 4)), cell=1.0, frequencies=[1e9])


def test_an_image_needs_no_frequency():
    image = RadioImage.from_array(np.ones((4, 6)), cell=1.0, beam=[3, 2, 0])
    assert image.data.shape == (4, 6)
    assert image.frequencies is None
    assert image.velocities() is None
    assert image.to_jy_per_beam() == [1.0]
