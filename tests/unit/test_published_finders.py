"""The classical finders: what stands out at which scale, friends of friends, flood fill."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.ndimage import label as connected

from faintsky.matching import reliability_of
from faintsky.published.blobcat import flood_fill, parabola_peak
from faintsky.published.smooth_clip import (
    link,
    measure_objects,
    negative_rms,
    smooth_clip,
)

# ---------------------------------------------------------------------- smooth and clip

SHAPE = (24, 48, 48)
EVERYWHERE = np.ones(SHAPE, dtype=bool)


def noise(seed=0, beam=2.0):
    cube = gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), (0, beam, beam), mode="wrap")
    return (cube / cube.std()).astype(np.float32)


def emitter(z, y, x, peak, fwhm_z=6.0, sigma=3.0):
    k, v, u = np.indices(SHAPE)
    sky = np.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / sigma**2)
    return (peak * sky * np.exp(-4 * np.log(2) * ((k - z) / fwhm_z) ** 2)).astype(np.float32)


def test_noise_is_taken_from_below_zero():
    cube = noise()
    assert negative_rms(cube, EVERYWHERE) == pytest.approx(1, abs=0.03)
    bright = cube + emitter(12, 24, 24, 50.0)
    # the bright third of the cube is above zero and leaves the rest's noise alone
    assert negative_rms(bright, EVERYWHERE) == pytest.approx(1, abs=0.05)
    assert negative_rms(np.ones(SHAPE, dtype=np.float32), EVERYWHERE) == 0


def test_faint_and_wide_needs_smoothing():
    cube = noise(1) + emitter(12, 24, 24, 3.0, fwhm_z=8, sigma=4)
    plain = smooth_clip(cube, EVERYWHERE, spatial=[0], spectral=[0], threshold=5)
    scales = smooth_clip(cube, EVERYWHERE, spatial=[0, 5], spectral=[0, 3, 7], threshold=5)
    assert plain[12, 20:29, 20:29].sum() < 5
    assert scales[12, 22:27, 22:27].all()


def test_both_signs_are_found_and_thresholds_behave():
    cube = noise(2) + emitter(6, 12, 12, 12.0) - emitter(18, 36, 36, 12.0)
    counts = []
    for threshold in (4.0, 6.0, 9.0):
        sign = smooth_clip(cube, EVERYWHERE, threshold=threshold)
        assert sign[6, 12, 12] == 1
        assert sign[18, 36, 36] == -1
        counts.append(np.count_nonzero(sign))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] > 0


def test_what_is_found_does_not_grow():
    """A bright source's mask is that of no smoothing: it is twice the noise before the next one."""
    cube = noise(3) + emitter(12, 24, 24, 200.0, fwhm_z=4, sigma=2)
    scales = {"spectral": [0], "threshold": 5}
    found = [smooth_clip(cube, EVERYWHERE, spatial=s, **scales) for s in ([0], [0, 8], [8])]
    plain, kept, grown = (np.count_nonzero(sign) for sign in found)
    assert 0 < plain <= kept < 1.2 * plain < grown


def test_nothing_is_found_where_there_is_no_data():
    cube, valid = noise(4), EVERYWHERE.copy()
    valid[:, :, 30:] = False
    cube[~valid] = 0
    cube[12, 20:26, 34:40] = 500
    assert not smooth_clip(cube, valid, threshold=4)[:, :, 30:].any()
    assert not smooth_clip(np.zeros(SHAPE, dtype=np.float32), EVERYWHERE).any()


@pytest.mark.parametrize(
    ("place", "radius_xy", "radius_z", "objects"),
    [
        ((5, 5, 6), 1, 1, 1),
        ((5, 6, 6), 1, 1, 2),  # a diagonal is sqrt(2) away
        ((5, 6, 6), 1.5, 1, 1),
        ((5, 5, 8), 2, 1, 2),
        ((5, 5, 8), 3, 1, 1),
        ((5, 8, 9), 5, 1, 1),  # 3, 4, 5
        ((5, 8, 9), 4.9, 1, 2),
        ((7, 5, 5), 1, 1, 2),
        ((7, 5, 5), 1, 2, 1),
        ((7, 5, 6), 1, 2, 1),
        ((8, 5, 5), 5, 2, 2),
    ],
)
def test_linking_radii_are_honoured(place, radius_xy, radius_z, objects):
    mask = np.zeros((12, 16, 16), dtype=bool)
    mask[5, 5, 5] = mask[place] = True
    labels, n = link(mask, radius_xy, radius_z)
    assert n == objects
    np.testing.assert_array_equal(labels > 0, mask)
    assert (labels[5, 5, 5] == labels[place]) == (objects == 1)


def test_linking_is_that_of_all_pairs():
    """Against brute force over random masks, in which chains of friends run through several bodies."""
    rng = np.random.default_rng(5)
    for density in (0.01, 0.05, 0.3):
        mask = rng.random((9, 14, 14)) < density
        labels, n = link(mask, 2.3, 2)
        points = np.argwhere(mask)
        dz, dy, dx = np.moveaxis(points[:, None] - points[None], -1, 0)
        friends = (dx**2 + dy**2 <= 2.3**2) & (np.abs(dz) <= 2)
        group = np.arange(len(points))
        for _ in range(len(points)):
            lowest = np.where(friends, group[None], len(points)).min(axis=1)
            if (lowest == group).all():
                break
            group = lowest
        own = labels[tuple(points.T)]
        assert n == len(np.unique(group)) == len(np.unique(own))
        assert len(np.unique(np.stack([group, own]), axis=1).T) == n


def test_linking_when_there_is_little_or_much(monkeypatch):
    assert link(np.zeros((3, 4, 4), dtype=bool), 1, 1)[1] == 0
    assert link(np.ones((3, 4, 4), dtype=bool), 1, 1)[1] == 1
    mask = np.random.default_rng(6).random((8, 20, 20)) < 0.4
    whole = link(mask, 2, 1)
    # surfaces are enough
    monkeypatch.setattr("faintsky.published.smooth_clip.clipping._MANY", 0)
    surfaces = link(mask, 2, 1)
    assert whole[1] == surfaces[1]
    np.testing.assert_array_equal(whole[0], surfaces[0])


def test_objects_are_measured():
    cube = emitter(12, 20, 30, 10.0)
    labels, n = connected(cube > 1)
    assert n == 1
    objects = measure_objects(cube, labels.astype(np.int32), n)
    np.testing.assert_allclose(objects.centre[0], [12, 20, 30], atol=1e-3)
    assert objects.peak[0] == pytest.approx(10)
    assert objects.total[0] == pytest.approx(cube[cube > 1].sum(), rel=1e-5)
    assert objects.voxels[0] == np.count_nonzero(cube > 1)
    where = np.argwhere(cube > 1)
    np.testing.assert_array_equal(objects.low[0], where.min(axis=0))
    np.testing.assert_array_equal(objects.high[0], where.max(axis=0))
    assert (objects.spread[0] < [3, 3, 3]).all()
    assert len(measure_objects(cube, np.zeros(SHAPE, dtype=np.int32), 0)) == 0


def test_reliability_sets_positive_beside_negative():
    rng = np.random.default_rng(7)
    negative = rng.normal(0, 0.1, (60, 3))
    false, real = rng.normal(0, 0.1, (60, 3)), rng.normal(1.5, 0.1, (10, 3))
    value = reliability_of(np.concatenate([false, real]), negative)
    assert (value[60:] > 0.99).all()
    # as many negatives as positives: nothing there is to be trusted
    assert np.median(value[:60]) < 0.5
    assert ((value >= 0) & (value <= 1)).all()


def test_reliability_with_few_or_no_negatives():
    positive = np.array([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(reliability_of(positive, np.zeros((0, 3))), [1, 1])
    assert reliability_of(np.zeros((0, 3)), positive).shape == (0,)
    near, far = reliability_of(positive, np.zeros((1, 3)))
    assert near < 0.1
    assert far > 0.9


# ---------------------------------------------------------------------- flood fill

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
