"""Beams: bogus ones are corrected from their neighbours, areas and convolution follow the textbook."""

import numpy as np
import pytest

from faintsky.beams import beam_pixels, convolved, normalise_beams


@pytest.mark.parametrize(
    "bad", [(0, 0, 0), (-1, 1, 0), (np.nan, 1, 0), (1, 2, 0), (2, np.inf, 0), (1, 0.5, np.nan)]
)
def test_a_bogus_beam_takes_the_nearest_channels(bad):
    good = [[2.0, 1.0, 10.0], [2.2, 1.1, 20.0]]
    beams, notes = normalise_beams([good[0], bad, bad, good[1]])
    np.testing.assert_array_equal(beams, [good[0], good[0], good[1], good[1]])
    assert "2 of 4" in notes[0]


def test_only_bogus_beams_give_none_and_a_reason():
    beams, notes = normalise_beams([[-1.0, 0.0, 5.0]])
    assert beams is None
    assert "bogus" in notes[0]
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
