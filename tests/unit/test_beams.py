"""Beams: impossible ones are corrected from their neighbours, areas and convolution follow the textbook."""

import numpy as np
import pytest
from astropy import units as u
from radio_beam import Beam

from faintsky.beams import beam_pixels, convolved, normalise_beams, observed_sizes
from faintsky.grid import axial_difference


@pytest.mark.parametrize(
    "bad", [(0, 0, 0), (-1, 1, 0), (np.nan, 1, 0), (1, 2, 0), (2, np.inf, 0), (1, 0.5, np.nan)]
)
def test_an_impossible_beam_takes_the_nearest_channels(bad):
    good = [[2.0, 1.0, 10.0], [2.2, 1.1, 20.0]]
    beams, notes = normalise_beams([good[0], bad, bad, good[1]])
    np.testing.assert_array_equal(beams, [good[0], good[0], good[1], good[1]])
    assert "2 of 4" in notes[0]


def test_only_impossible_beams_give_none_and_a_reason():
    beams, notes = normalise_beams([[-1.0, 0.0, 5.0]])
    assert beams is None
    assert "impossible" in notes[0]
    assert normalise_beams([2.0, 1.0, 0.0], largest=1.5)[0] is None
    assert normalise_beams([2.0, 1.0, 0.0], smallest=3.0)[0] is None


@pytest.mark.parametrize(
    ("pa", "expected", "noted"), [(-62.0, 118.0, False), (390.0, 30.0, True), (180.0, 0.0, False)]
)
def test_position_angles_are_taken_modulo_180(pa, expected, noted):
    beams, notes = normalise_beams([2.0, 1.0, pa])
    assert beams[0, 2] == pytest.approx(expected)
    assert bool(notes) == noted


def test_a_round_beam_needs_no_angle():
    beams, notes = normalise_beams([2.0, 2.0, np.nan])
    np.testing.assert_array_equal(beams, [[2.0, 2.0, 0.0]])
    assert notes == []


def test_area_is_that_of_the_gaussian_summed_over_pixels():
    y, x = np.mgrid[-40:41, -40:41]
    gaussian = np.exp(-4 * np.log(2) * ((x / 8.0) ** 2 + (y / 12.0) ** 2))
    assert beam_pixels([6.0, 4.0, 0.0], 0.5)[0] == pytest.approx(gaussian.sum(), rel=1e-6)


def test_convolution_adds_widths_in_quadrature_along_common_axes():
    major, minor, pa = convolved(3.0, 1.0, 30.0, [4.0, 2.0, 30.0])
    assert (major, minor, pa) == (pytest.approx(5.0), pytest.approx(5**0.5), pytest.approx(30.0))
    major, minor, pa = convolved([0.0, 5.0], [0.0, 0.0], [0.0, 90.0], [4.0, 2.0, 0.0])
    np.testing.assert_allclose(major, [4.0, np.sqrt(29.0)])
    np.testing.assert_allclose(minor, [2.0, 4.0])
    np.testing.assert_allclose(pa, [0.0, 90.0], atol=1e-9)


def test_convolution_agrees_with_a_convolution_of_pixels():
    y, x = np.mgrid[-64:64, -64:64]

    def gaussian(major, minor, pa):
        t = np.deg2rad(pa)
        along, across = -x * np.sin(t) + y * np.cos(t), x * np.cos(t) + y * np.sin(t)
        return np.exp(-4 * np.log(2) * ((along / major) ** 2 + (across / minor) ** 2))

    a, b = gaussian(12.0, 6.0, 20.0), gaussian(9.0, 7.0, 100.0)
    both = np.fft.fftshift(np.fft.irfft2(np.fft.rfft2(a) * np.fft.rfft2(b), s=a.shape))
    both /= both.max()
    major, minor, pa = convolved(12.0, 6.0, 20.0, [9.0, 7.0, 100.0])
    np.testing.assert_allclose(both, np.roll(gaussian(major, minor, pa), (0, 0), (0, 1)), atol=1e-9)


def test_a_tiny_negative_angle_is_zero():
    beams, _ = normalise_beams([[2.0, 1.0, -1e-268]])
    assert beams[0, 2] == 0.0


@pytest.mark.parametrize("shape", [(3.0, 3.0, 0.0), (6.0, 2.0, 30.0), (6.0, 0.5, 170.0), (2.0, 1.0, 95.0)])
@pytest.mark.parametrize("beam", [(4.0, 4.0, 0.0), (5.0, 3.0, 60.0), (5.0, 2.0, 150.0)])
def test_convolution_is_that_of_radio_beam_by_its_angles(shape, beam):
    source, seen_by = (Beam(a * u.arcsec, b * u.arcsec, pa * u.deg) for a, b, pa in (shape, beam))
    theirs = source.convolve(seen_by)
    ours = convolved(*shape, beam)
    assert ours[0] == pytest.approx(theirs.major.to_value(u.arcsec))
    assert ours[1] == pytest.approx(theirs.minor.to_value(u.arcsec))
    assert abs(axial_difference(ours[2], theirs.pa.to_value(u.deg))) < 1e-6
    assert beam_pixels(beam, 0.5)[0] == pytest.approx(float(seen_by.sr.to_value(u.arcsec**2)) / 0.25)
    back = convolved(*ours, beam, sign=-1)
    np.testing.assert_allclose(back[:2], shape[:2], atol=1e-6)
    if shape[0] > shape[1]:
        assert abs(axial_difference(back[2], shape[2])) < 1e-6


def test_what_the_beam_hides_has_no_size():
    np.testing.assert_array_equal(convolved(3.0, 2.0, 10.0, [4.0, 4.0, 0.0], sign=-1)[:2], [0, 0])


def test_observed_sizes_add_in_squares_and_so_do_their_errors():
    rng = np.random.default_rng(0)
    shape, errors = (
        {"dc_maj": 6.0, "dc_min": 3.0, "dc_pa": 30.0},
        {"dc_maj": 0.2, "dc_min": 0.1, "dc_pa": 2.0},
    )
    given = shape | {f"{name}_err": error for name, error in errors.items()}
    for beam in ([4.0, 4.0, 0.0], [5.0, 3.0, 80.0]):
        drawn = {name: rng.normal(value, errors[name], 4000) for name, value in shape.items()}
        found, scattered = observed_sizes(given, beam), observed_sizes(drawn, beam)
        for name in ("fwhm_maj", "fwhm_min", "pa"):
            assert found[f"{name}_err"] == pytest.approx(scattered[name].std(), rel=0.06)
    assert found["dc_maj_max"] == pytest.approx(6.0 + 1.645 * 0.2, rel=0.01)


def test_a_point_is_seen_as_the_beam_and_known_by_the_error_of_its_size():
    point = {"dc_maj": [0.0], "dc_min": [0.0], "dc_pa": [0.0]} | {
        f"dc_{k}_err": [1.0] for k in ("maj", "min")
    }
    found = observed_sizes(point | {"dc_pa_err": [90.0]}, [4.0, 2.0, 0.0])
    assert [float(found[name][0]) for name in ("fwhm_maj", "fwhm_min", "pa")] == pytest.approx([4, 2, 0])
    # of the variance, 1 arcsec2 twice: what of that the size of 4 arcsec has
    assert found["fwhm_maj_err"][0] == pytest.approx(2 / 8)
    assert found["dc_maj_max"][0] == pytest.approx(np.sqrt(2 * 1.645))
