"""Channels whose noise is correlated: measured, and allowed for by filter and fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from faintsky.detection import FilterBank, LineSource, cut_group, point_or_not
from faintsky.preparing import LineFree, channel_correlation, gaussian_psf, precision
from faintsky.source_model import line_profile

HANNING = np.array([0.25, 0.5, 0.25])
BEAM, SIDE, CHANNELS = 4.0, 96, 64
AREA = 1.133 * BEAM**2


def noise(seed, kind="hanning", channels=CHANNELS):
    """Noise correlated like the beam on the sky, of variance 1, with channels of a kind."""
    white = np.random.default_rng(seed).normal(size=(2 * channels, SIDE, SIDE))
    planes = np.stack([gaussian_filter(p, BEAM / 2.3548 / np.sqrt(2), mode="wrap") for p in white])
    if kind == "hanning":
        planes = planes[:-2] / 4 + planes[1:-1] / 2 + planes[2:] / 4
    if kind == "regridded":
        z = np.arange(channels) * 1.17
        low, part = z.astype(int), (z % 1)[:, None, None]
        planes = (1 - part) * planes[low] + part * planes[low + 1]
    planes = planes[:channels]
    return planes / planes.std(axis=(1, 2), keepdims=True)


def measured(cube, taken_out=0):
    return channel_correlation(cube, np.ones(cube.shape, dtype=bool), AREA, taken_out)


def test_independent_channels_are_left_alone():
    assert measured(noise(1, "independent")) is None


def test_what_is_alike_over_many_channels_is_no_correlation_of_noise():
    """Sidelobes of bright lines, which fill a small dirty cube."""
    lines = noise(5, "independent")
    lines = gaussian_filter(lines, (3.5, 0, 0), mode="wrap")
    assert measured(noise(6, "independent") + 1.2 * lines / lines.std()) is None


@pytest.mark.parametrize("taken_out", [0, 1, 2])
def test_hanning_is_measured_whatever_continuum_was_taken_out(taken_out):
    cube = noise(2)
    if taken_out:
        q, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, CHANNELS), taken_out))
        cube = cube - np.tensordot(q @ q.T, cube, 1)
    found = measured(cube, taken_out)
    assert found.neighbours == pytest.approx(2 / 3, abs=0.02)
    assert np.diag(found.matrix, 2).mean() == pytest.approx(1 / 6, abs=0.03)
    assert np.abs(np.diag(found.matrix, 4)).mean() < 0.03
    # the variance of the response is half a channel squared
    assert found.response == pytest.approx(np.sqrt(8 * np.log(2) / 2), abs=0.15)
    assert not found.period
    assert found.mean_error(CHANNELS) == pytest.approx(np.sqrt(8 / 3), rel=0.03)


def test_a_regridded_cube_repeats_itself():
    cube = noise(3, "regridded")
    found = measured(cube)
    # a seventh channel is missing after every six: 1 / 0.17
    assert found.period == pytest.approx(1 / 0.17, rel=0.03)
    pairs = np.array([(cube[k] * cube[k + 1]).mean() for k in range(CHANNELS - 1)])
    model = np.diag(found.matrix, 1)
    assert np.std(pairs - model) < 0.4 * np.std(pairs)


def test_filtered_noise_has_unit_variance_and_the_filter_is_the_best():
    cube = noise(4)
    channels = measured(cube)
    psf = gaussian_psf((SIDE, SIDE), BEAM, BEAM, 0.0)
    used = np.ones(CHANNELS, dtype=bool)
    for fitted in (False, True):
        bank = FilterBank(
            torch.as_tensor(cube, dtype=torch.float32), used, psf, BEAM, sky_sizes=(0.0,),
            continuum_fitted=fitted, channels=channels,
        )  # fmt: skip
        if fitted:
            z = np.arange(CHANNELS)
            q, _ = np.linalg.qr(np.stack([np.ones(CHANNELS), z - z.mean()]).T)
            bank.sky -= torch.as_tensor(np.tensordot(q @ q.T, cube, 1)[None], dtype=torch.float32)
        middle = bank.values(slice(10, -10)).std(dim=(1, 2, 3)).numpy()
        np.testing.assert_allclose(middle, 1, atol=0.06)
    # the response to a line is its S/N in that noise, smoothed as it is
    line = np.convolve(line_profile(np.arange(CHANNELS), 30.0, 4.0), HANNING, "same")
    power = np.abs(np.fft.fft(np.array([1, 2 / 3, 1 / 6, *[0] * (CHANNELS - 5), 1 / 6, 2 / 3])))
    best = np.sqrt((np.abs(np.fft.fft(line)) ** 2 / np.maximum(power, 1e-3)).mean())
    bank.set_continuum(False)
    assert float(bank.line_response(line).max()) == pytest.approx(best, rel=0.03)


def test_errors_of_fits_are_those_of_repeated_noise():
    psf, z = gaussian_psf((65, 65), BEAM, BEAM, 0.0), np.arange(24)
    line = np.convolve(line_profile(z, 12.0, 5.0), HANNING, "same")
    pulls, wrong = [], []
    cube = noise(5, channels=24 * 4)
    channels = measured(cube)
    start = LineSource(8.0, 32.0, 32.0, 1.0, 0.0, 1.0, 12.0, 5.3, np.zeros((8, 8)))
    for k in range(24):
        block, y, x = k % 4, 32 * (k // 4 % 2), 32 * (k // 8)
        part = np.roll(cube[24 * block : 24 * (block + 1)], (-y, -x), axis=(1, 2))[:, :65, :65]
        data = part + 8 * line[:, None, None] * psf
        for given, into in ((channels, pulls), (None, wrong)):
            window = cut_group(
                data, z, np.ones(24), None, np.inf, psf, (32.0, 32.0), 48, precise=True, channels=given
            )
            s = point_or_not(window, start, size_scale=1.5 * BEAM)
            into.append((s.z - 12.0) / s.errors()["z"])
    assert 0.6 < np.std(pulls) < 1.4
    assert np.std(wrong) > 1.2 * np.std(pulls)


def test_precision_leaves_blank_channels_out():
    channels = measured(noise(6))
    sigma = np.array([1.0, 0.0, 2.0])
    z = np.array([3, 4, 5])
    got = precision(sigma, channels, z)
    rho = channels.matrix[3, 5]
    expected = np.linalg.inv([[1.0, 2 * rho], [2 * rho, 4.0]])
    np.testing.assert_allclose(got[np.ix_([0, 2], [0, 2])], expected, rtol=1e-9)
    assert not got[1].any()
    np.testing.assert_array_equal(precision(sigma, None, z), np.diag([1.0, 0.0, 0.25]))


@pytest.mark.parametrize("width", [6.0, 15.0, 25.0])
def test_a_line_makes_no_continuum_and_does_not_hide_one(width):
    z = np.arange(100)
    spectra = np.random.default_rng(7).normal(size=(100, 400))
    line = line_profile(z, 40.0, width)
    spectra += 12 * (line / np.linalg.norm(line))[:, None]
    test = LineFree(lambda y, x: spectra[:, y], np.ones(100))
    pixels = np.arange(400)
    assert np.mean(test(pixels, pixels) > 4.5) < 0.02
    spectra += 1.0  # ten standard errors of the mean of all channels
    assert np.median(test(pixels, pixels)) > 4.5
