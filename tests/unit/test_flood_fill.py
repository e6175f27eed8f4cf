"""Flood fill: islands by two thresholds, peaks by a parabola, the flux below the flood level."""

import numpy as np
import pytest

from faintsky.published.blobcat.find import flood_fill, parabola_peak

N = 80
SIGMA = 4.0


def gaussian(x, y, peak, sigma=SIGMA):
    v, u = np.indices((N, N), dtype=float)
    return peak * np.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / sigma**2)


RMS = np.ones((N, N))


def test_a_source_between_pixels_is_measured():
    labels, (blob,) = flood_fill(gaussian(40.4, 30.3, 50.0), RMS, 8, 4)
    assert (blob.x, blob.y) == pytest.approx((40.4, 30.3), abs=0.02)
    # the brightest pixel has 49.6; a parabola through nine pixels is good to 0.1 %
    assert blob.peak == pytest.approx(50, rel=1e-3)
    assert blob.snr == pytest.approx(50, rel=1e-3)
    # pixels are in or out: the rim of the island is good to a few per cent
    assert blob.total == pytest.approx(2 * np.pi * SIGMA**2 * 50, rel=0.02)
    # the island ends where the Gaussian falls to the flood level
    half = SIGMA * np.sqrt(2 * np.log(50 / 4))
    x_min, x_max, y_min, y_max = blob.box
    assert (x_min, x_max) == (np.ceil(40.4 - half), np.floor(40.4 + half))
    assert (y_min, y_max) == (np.ceil(30.3 - half), np.floor(30.3 + half))
    assert set(np.unique(labels)) == {0, 1}
    assert labels[30, 40] == 1


def test_the_two_thresholds():
    image = gaussian(20, 20, 7.9) + gaussian(60, 20, 8.1) + gaussian(40, 60, 30.0)
    _, blobs = flood_fill(image, RMS, 8, 4)
    assert [round(b.snr) for b in blobs] == [30, 8]
    assert len(flood_fill(image, RMS, 7.5, 4)[1]) == 3
    assert flood_fill(image, RMS, 31, 4)[1] == []
    # deeper floods make larger islands, and at last one of two neighbours
    close = gaussian(30, 40, 30.0) + gaussian(47, 40, 30.0)
    assert [len(flood_fill(close, RMS, 8, f)[1]) for f in (16, 4)] == [2, 1]
    # a flood level above the detection level is lowered to it
    assert flood_fill(image, RMS, 8, 20)[1][0].box == flood_fill(image, RMS, 8, 8)[1][0].box


def test_noise_rules_and_not_brightness():
    rms = np.where(np.arange(N) < 40, 1.0, 10.0) * np.ones((N, 1))
    _, blobs = flood_fill(gaussian(20, 40, 30.0) + gaussian(60, 40, 30.0), rms, 8, 4)
    assert len(blobs) == 1
    assert blobs[0].x == pytest.approx(20, abs=0.1)


def test_blanks_edges_and_specks():
    image = gaussian(2, 40, 50.0)
    image[:, 0] = np.nan
    image[70, 70:72] = 100.0
    _, blobs = flood_fill(image, RMS, 8, 4)
    assert len(blobs) == 1
    assert blobs[0].box[0] == 1
    assert np.isfinite(blobs[0].total)
    assert len(flood_fill(image, RMS, 8, 4, least_side=1)[1]) == 2
    labels, none = flood_fill(np.full((N, N), np.nan), RMS, 8, 4)
    assert none == []
    assert not labels.any()
    assert flood_fill(np.ones((N, N)), np.zeros((N, N)), 8, 4)[1] == []


def test_pure_noise_holds_little():
    noise = np.random.default_rng(0).standard_normal((400, 400))
    _, blobs = flood_fill(noise, np.ones_like(noise), 5, 3, least_side=1)
    # 160,000 pixels hold 0.05 above 5 sigma
    assert len(blobs) <= 1


def test_a_parabola_without_a_peak_leaves_the_pixel():
    ramp = np.arange(25.0).reshape(5, 5)
    assert parabola_peak(ramp, 2, 2) == ramp[2, 2]
    assert parabola_peak(ramp, 4, 4) == ramp[4, 4]
