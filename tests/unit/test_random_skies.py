"""Random skies: reproducible, positive, as bright and as many as they say."""

import numpy as np

from faintsky.sky import draw_diffuse, draw_radio_galaxies, random_field
from faintsky.sky.diffuse import BRIGHTEST
from faintsky.sky.radio_galaxies import BREAK, draw_fluxes


def test_diffuse_skies_depend_on_the_seed_only():
    one, same, other = (draw_diffuse(np.random.default_rng(s), (200, 150), 2.0) for s in (1, 1, 2))
    assert one.shape == (200, 150)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_diffuse_skies_are_positive_and_cover_the_range():
    skies = [draw_diffuse(np.random.default_rng(s), (256, 256), 4.0, crowding=5) for s in range(30)]
    peaks = np.array([s.max() for s in skies])
    assert all((s >= 0).all() and np.isfinite(s).all() for s in skies)
    assert peaks.min() < 1e-5
    assert 1e-5 < peaks.max() < 30 * BRIGHTEST
    covered = np.mean([(s > 1e-8).mean() for s in skies])
    assert 0.02 < covered < 0.8


def test_random_field_has_the_spectrum_asked_for():
    rng = np.random.default_rng(0)
    n, index = 256, 3.0
    power = np.mean(
        [np.abs(np.fft.rfft2(random_field(rng, (n, n), index, n))) ** 2 for _ in range(20)], axis=0
    )
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :])
    low, high = ((k > a) & (k < 1.1 * a) for a in (0.05, 0.2))
    slope = np.log(power[high].mean() / power[low].mean()) / np.log(k[high].mean() / k[low].mean())
    assert abs(slope + index) < 0.15


def test_source_counts_follow_the_law():
    rng = np.random.default_rng(3)
    flux = np.concatenate([draw_fluxes(rng, 20.0, 1e-3, 3.0) for _ in range(20)])
    area = 400
    for limit, expected in ((1e-3, 650 - 0.0685), (1e-2, 65), (0.1, 6.5)):
        found = (flux > limit).sum() / area
        assert abs(found - expected) < 4 * np.sqrt(expected / area)
    bright = flux[flux > BREAK]
    assert bright.size > 100
    # slope -1.5 of the integral counts above the break: 2.83 times fewer at twice the flux
    share = (bright > 2 * BREAK).mean()
    assert abs(share - 2**-1.5) < 4 * np.sqrt(0.25 / bright.size) + 0.03


def test_radio_galaxies_keep_their_flux_and_scale_with_frequency():
    size, cell = 400, 2.0
    totals, expected = [], []
    for seed in range(6):
        sky = draw_radio_galaxies(np.random.default_rng(seed), (size, size), cell)
        flux = draw_fluxes(np.random.default_rng(seed), (size * cell / 3600) ** 2, 5e-5, 3.0)
        totals.append(sky.sum())
        expected.append(flux.sum())
        assert (sky >= 0).all()
    # lobes reach over the border, so a little is lost
    assert 0.9 < np.sum(totals) / np.sum(expected) < 1.02
    low, high = (
        draw_radio_galaxies(np.random.default_rng(9), (64, 64), 2.0, freq=f).sum() for f in (150e6, 600e6)
    )
    np.testing.assert_allclose(high / low, 4**-0.7, rtol=1e-4)
