"""Fits of sources in cubes, one and several at once: their scores, and whether errors are true."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import Emitter, telescope
from threadpoolctl import threadpool_limits

from faintsky.detection import (
    GroupFit,
    LineSource,
    Member,
    axes_of,
    cut_group,
    member_of,
    overlapping,
    point_or_not,
)
from faintsky.grid import FWHM_PER_SIGMA, axial_difference, major_axis_direction

# ---------------------------------------------------------------------- the fit of one emitter

N_CHAN = 20


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def cholesky(maj, minor, pa):
    """Cholesky factor, in (x, y), of a Gaussian of these FWHMs."""
    dx, dy = major_axis_direction(pa)
    s1, s2 = maj / FWHM_PER_SIGMA, minor / FWHM_PER_SIGMA
    axis, normal = np.array([dx, dy]), np.array([-dy, dx])
    low = np.linalg.cholesky(s1**2 * np.outer(axis, axis) + s2**2 * np.outer(normal, normal))
    return low[0, 0], low[1, 0], low[1, 1]


def a_guess(x, y, z, width=4.0, size=2.0):
    return LineSource(1.0, x, y, size, 0.0, size, z, width, np.zeros((8, 8)))


@pytest.fixture(scope="module")
def scope():
    return telescope(64)


def cut(scope, cube, sigma, x, y, n):
    """The window of a fit of one source in all channels."""
    return cut_group(cube, np.arange(len(cube)), sigma, None, np.inf, scope.psf, (x, y), n, precise=True)


@pytest.fixture(scope="module")
def fit(scope):
    data = scope.cube([Emitter(30.3, 33.6, 9.4, 0.02, 8, 5, 30, 5)], N_CHAN, seed=1)
    sigma = np.full(N_CHAN, 1e-3)
    sigma[3], sigma[7] = 0, 2e-3
    return GroupFit(cut(scope, data, sigma, 30, 34, 48), [member_of(a_guess(30, 34, 9))], 9.0)


POINT = np.array([30.6, 33.2, 2.9, -0.6, 2.4, 0.018, 9.1, np.log(5.4)])
STEPS = np.array([1e-4, 1e-4, 1e-4, 1e-4, 1e-4, 1e-6, 1e-4, 1e-4])


@pytest.mark.parametrize("scale", [1.0, -1.0, 0.3])
def test_score_is_the_gradient_of_the_log_likelihood(fit, scale):
    p = POINT * np.where(np.arange(8) == 5, scale, 1)
    score = fit.evaluate(p)[1]
    for k in range(8):
        d = np.where(np.arange(8) == k, STEPS, 0)
        numeric = (fit.evaluate(p + d)[0] - fit.evaluate(p - d)[0]) / (2 * STEPS[k])
        assert score[k] == pytest.approx(numeric, rel=1e-5, abs=1e-5 * np.abs(score).max() * 1e-6)


def test_fisher_information_is_minus_the_mean_hessian(fit):
    # the same window, its data the model itself
    total, _ = fit._spectra(POINT, fit.members[0])
    seen = fit._images(POINT[:5])[0] * np.tile(fit.w.transfer, 2)
    own = GroupFit(replace(fit.w, planes=np.outer(total, seen)), fit.members, 9.0)
    _, score, fisher = own.evaluate(POINT)
    scale = np.sqrt(np.diag(fisher))
    np.testing.assert_allclose(score / scale, 0, atol=1e-9)
    hessian = np.empty((8, 8))
    for k in range(8):
        d = np.where(np.arange(8) == k, 1e-4 / scale, 0)
        hessian[k] = (own.evaluate(POINT + d)[1] - own.evaluate(POINT - d)[1]) / (2 * d[k])
    np.testing.assert_allclose(-hessian / np.outer(scale, scale), fisher / np.outer(scale, scale), atol=1e-5)


@pytest.mark.parametrize("pa", [0.0, 30.0, 89.0, 120.0, 179.0])
def test_axes_and_cholesky_factor(pa):
    maj, minor, angle = axes_of(*cholesky(7.0, 3.0, pa))
    assert (maj, minor) == pytest.approx((7.0, 3.0))
    assert abs(axial_difference(angle, pa)) < 1e-6


def test_a_point_has_no_axes():
    assert axes_of(0.0, 0.0, 0.0)[:2] == (0.0, 0.0)


def noise_free(scope, source, x=None, y=None, n=56):
    data = scope.cube([source], N_CHAN, seed=None)
    window = cut(scope, data, np.full(N_CHAN, 1e-5), source.x, source.y, n)
    start = a_guess(source.x + 1.2, source.y - 0.8, source.z + 0.7)
    return point_or_not(window, start, size_scale=9.0)


@pytest.mark.parametrize("pa", [0, 35, 90, 145])
def test_a_bright_source_is_measured_exactly(scope, pa):
    source = Emitter(31.4, 32.7, 9.6, 0.05, 9, 5, pa, 5.5)
    got = noise_free(scope, source)
    maj, minor, angle = got.axes()
    # left: what the window's border and the cut psf do
    assert (got.x, got.y, got.z) == pytest.approx((source.x, source.y, source.z), abs=0.02)
    assert (maj, minor) == pytest.approx((9, 5), rel=0.04)
    assert abs(axial_difference(angle, pa)) < 3
    assert got.amplitude == pytest.approx(0.05, rel=0.03)
    assert got.fwhm_z == pytest.approx(5.5, rel=0.01)


def test_what_no_data_tell_from_a_point_is_one(scope):
    """And a source that is none is not, wherever the fit begins."""
    for source, start_size in (
        (Emitter(31.4, 32.7, 9.6, 0, fwhm_z=5), 2.5),
        (Emitter(31.4, 32.7, 9.6, 0, 9, 6, 35, 5), 0.0),
    ):
        bright = scope.at_snr(source, 25, 1e-3, N_CHAN)
        window = cut(
            scope, scope.cube([bright], N_CHAN, sigma=1e-3, seed=3), np.full(N_CHAN, 1e-3), 31.4, 32.7, 48
        )
        got = point_or_not(
            window, replace(a_guess(31, 33, 9), l11=start_size, l22=start_size), size_scale=9.0
        )
        if source.maj:
            assert got.axes()[:2] == pytest.approx((9, 6), abs=1.5)
        else:
            assert got.axes()[0] == 0
            # how large it may be after all: less than half a beam
            assert 0.3 < got.errors()["fwhm_maj"] < 3


@pytest.mark.filterwarnings("error")
def test_a_window_so_small_that_the_cut_psf_is_mostly_negative(scope):
    """There the cut outweighs the psf's power, and information about the size would be negative."""
    source = scope.at_snr(Emitter(31.4, 32.7, 9.6, 0, fwhm_z=5), 14, 1e-3, N_CHAN)
    data = scope.cube([source], N_CHAN, sigma=1e-3, seed=3)
    got = point_or_not(
        cut(scope, data, np.full(N_CHAN, 1e-3), 31.4, 32.7, 12), a_guess(31, 33, 9, size=0.0), size_scale=9.0
    )
    assert got.axes()[0] == 0
    errors = got.errors()
    assert 0.3 < errors["fwhm_maj"] < 6
    assert 0.05 < errors["flux"] < 0.3
    assert 0 <= got.larger < 1


def test_the_flux_error_of_a_point_allows_for_sizes_that_noise_hides(scope):
    """Hardly that of a true point; that of a small source fitted as one covers what the point lacks."""
    got = {}
    for size in (0.0, 2.5):
        source = scope.at_snr(Emitter(31.4, 32.7, 9.6, maj=size, min=size, fwhm_z=5.5), 14, 1e-3, N_CHAN)
        window = cut(scope, scope.cube([source], N_CHAN, seed=None), np.full(N_CHAN, 1e-3), 31.4, 32.7, 48)
        s = point_or_not(window, replace(a_guess(31, 33, 9), l11=0.0, l22=0.0), size_scale=9.0)
        assert s.axes()[0] == 0
        got[size] = s.amplitude / source.flux, s.larger, s.errors()["flux"]
    point, small = got[0.0], got[2.5]
    assert point[1] < 0.5 * point[2]
    assert small[1] > 1.5 * point[1]
    assert 0.02 < 1 - small[0] < 1.5 * small[2]


def test_position_angle_on_the_sky(scope):
    # from lower right (south-west) to upper left (north-east): 45 degrees
    data = np.zeros((N_CHAN, 64, 64))
    for step in np.linspace(-4, 4, 9):
        data += scope.cube([Emitter(32 - step, 32 + step, 10, 0.01, fwhm_z=4)], N_CHAN, seed=None)
    window = cut(scope, data, np.full(N_CHAN, 1e-5), 32, 32, 56)
    maj, minor, pa = point_or_not(window, a_guess(32, 32, 10), size_scale=9.0).axes()
    assert maj > 2 * minor
    assert pa == pytest.approx(45, abs=2)


def test_absorption_is_fitted_as_a_negative_source(scope):
    got = noise_free(scope, Emitter(31.4, 32.7, 9.6, -0.05, 6, 6, 0, 5.5))
    assert got.amplitude == pytest.approx(-0.05, rel=0.03)
    assert (got.x, got.y) == pytest.approx((31.4, 32.7), abs=0.02)


def realisations(scope, source, sigma, count, seed):
    """Fits of the same source in `count` cubes of other noise."""
    noise = scope.noise(np.random.default_rng(seed), count * N_CHAN).reshape(count, N_CHAN, 64, 64)
    clean = scope.cube([source], N_CHAN, seed=None)
    fits = []
    for one in noise:
        cube = clean + sigma * one
        window = cut(scope, cube, np.full(N_CHAN, sigma), source.x, source.y, 48)
        start = a_guess(round(source.x), round(source.y), round(source.z))
        fits.append(point_or_not(window, start, size_scale=1.5 * 6.1))
    return fits


COUNT = 100


def check_pulls(name, values, errors, truth):
    pulls = (np.asarray(values) - truth) / np.asarray(errors)
    n = len(pulls)
    assert abs(pulls.mean()) < 4 / np.sqrt(n), name
    # the standard deviation of n unit Gaussians scatters by 1 / sqrt(2 n); errors themselves scatter, too
    assert abs(pulls.std(ddof=1) - 1) < 4 / np.sqrt(2 * n), name


def test_a_resolved_source_is_unbiased_and_its_errors_are_true(scope):
    source = scope.at_snr(Emitter(32.3, 31.6, 9.7, 0, 9, 6, 60, 6), 15, 1e-3, N_CHAN)
    fits = realisations(scope, source, 1e-3, COUNT, seed=11)
    errors = [f.errors() for f in fits]
    for name in ("x", "y", "z", "fwhm_z"):
        check_pulls(name, [getattr(f, name) for f in fits], [e[name] for e in errors], getattr(source, name))
    flux = np.array([f.amplitude * f.fwhm_z for f in fits])
    check_pulls("flux", flux, flux * [e["flux"] for e in errors], source.flux * source.fwhm_z)
    check_pulls("maj", [f.axes()[0] for f in fits], [e["fwhm_maj"] for e in errors], 9)
    snr = np.array([f.fitted_snr for f in fits])
    # eight free parameters raise the maximum by some 8 / (2 * 15); the scatter is 1
    assert snr.mean() == pytest.approx(15 + 4 / 15, abs=4 / np.sqrt(COUNT))


def test_a_point_source_keeps_its_place_and_flux(scope):
    source = scope.at_snr(Emitter(32.3, 31.6, 9.7, fwhm_z=5), 15, 1e-3, N_CHAN)
    fits = realisations(scope, source, 1e-3, COUNT, seed=12)
    errors = [f.errors() for f in fits]
    for name in ("x", "y", "z", "fwhm_z"):
        check_pulls(name, [getattr(f, name) for f in fits], [e[name] for e in errors], getattr(source, name))
    # sizes cannot be negative, so that fluxes come out high, by no more than one error
    flux = np.array([f.amplitude * f.fwhm_z for f in fits])
    pulls = (flux / (source.flux * source.fwhm_z) - 1) / [e["flux"] for e in errors]
    assert 0 < np.mean(pulls) < 1
    # the size is consistent with none: within the beam over the root of the S/N
    assert np.median([f.axes()[0] for f in fits]) < 6.1 / np.sqrt(15) * 2


def test_blank_channels_are_no_data(scope):
    source = Emitter(32.3, 31.6, 9.7, 0.05, 6, 6, 0, 5)
    data = scope.cube([source], N_CHAN, seed=None)
    data[9] = 0
    sigma = np.full(N_CHAN, 1e-5)
    sigma[9] = 0
    window = cut(scope, data, sigma, 32, 32, 48)
    got = point_or_not(window, a_guess(32, 32, 9), size_scale=9.0)
    assert got.z == pytest.approx(9.7, abs=0.02)
    assert got.amplitude == pytest.approx(0.05, rel=0.03)


def test_a_window_over_the_border(scope):
    data = np.arange(64.0 * 64).reshape(1, 64, 64)
    window = cut(scope, data, np.ones(1), 2, 61, 24)
    assert (window.x0, window.y0) == (2 - 12, 61 - 12)
    real, imaginary = window.planes[0].reshape(2, 24, 13)
    inside = np.fft.irfft2(real + 1j * imaginary, s=(24, 24))
    assert inside[12, 12] == pytest.approx(data[0, 61, 2])
    assert np.abs(inside[:, :10]).max() < 1e-9
    assert np.abs(inside[15:]).max() < 1e-9


def test_an_unresolved_axis_has_an_error():
    s = LineSource(
        1.0, 5.0, 5.0, 2.0, 0.3, 0.0, 8.0, 4.0, np.diag([0.01, 0.1, 0.1, 0.2, 0.2, 0.5, 0.1, 0.01])
    )
    assert s.axes()[1] < 1e-6
    assert 0.5 < s.errors()["fwhm_min"] / (FWHM_PER_SIGMA * 0.5**0.5) <= 1.0


# ---------------------------------------------------------------------- fits of several sources at once

CHANNELS, SIGMA = 24, 1e-3
SCALE = 12.0


@pytest.fixture(scope="module")
def large():
    return telescope(96)


def member(x, y, *, continuum=None, lines=()):
    return Member(np.array([x, y, 2.0, 0.3, 1.6]), continuum, tuple(np.array(v) for v in lines))


def window(large, emitters, seed=0, level=None):
    z = np.arange(CHANNELS)
    cube = large.cube(emitters, CHANNELS, sigma=SIGMA, seed=seed)
    image = np.zeros((96, 96), dtype=np.float32) if level is None else level
    sigma = np.full(CHANNELS, SIGMA)
    return cut_group(cube, z, sigma, image, SIGMA / 10, large.psf, (48.0, 48.0), 72)


def test_score_is_the_slope_of_the_likelihood(large):
    level = large.image(Emitter(48, 48, 0)).astype(np.float32) * 5e-3
    fit = GroupFit(
        window(large, [Emitter(47, 49, 10, flux=0.02)], level=level),
        [
            member(47.2, 48.5, continuum=4e-3, lines=[(0.02, 10.2, 1.5), (0.004, 18.0, 1.0)]),
            member(55.0, 44.0, lines=[(-0.01, 12.0, 1.2)]),
        ],
        SCALE,
    )
    p = np.concatenate([m.vector() for m in fit.members])
    score = fit.evaluate(p)[1]
    for k in range(p.size):
        step = np.zeros(p.size)
        step[k] = 1e-5 * max(abs(p[k]), 1e-2)
        slope = (fit.evaluate(p + step)[0] - fit.evaluate(p - step)[0]) / (2 * step[k])
        assert score[k] == pytest.approx(slope, rel=2e-3, abs=1e-4 * np.abs(score).max())


def test_few_fourier_cells_give_what_all_give(large, monkeypatch):
    emitters = [Emitter(47, 49, 10, flux=0.02, maj=5, min=4)]
    start = [member(46.0, 48.0, lines=[(0.01, 11.0, 1.5)])]
    (few,), _ = GroupFit(window(large, emitters), start, SCALE).run(iterations=30)
    cells = window(large, emitters).fx.size
    monkeypatch.setattr("faintsky.detection.fits.MEASURED", 0.0)
    full = window(large, emitters)
    (every,), _ = GroupFit(full, start, SCALE).run(iterations=30)
    assert cells < 0.4 * full.fx.size
    error = np.sqrt(np.diag(every.covariance))
    assert np.all(np.abs(few.vector() - every.vector()) < 0.1 * error)


def test_errors_of_overlapping_sources_allow_for_each_other(large):
    a, b = Emitter(44, 48, 10, flux=0.02, maj=5, min=4), Emitter(51, 48, 10, flux=0.02, maj=5, min=4)
    starts = [member(x, 48, lines=[(0.02, 10.0, np.log(5.0))]) for x in (44, 51)]
    pulls, errors = [], []
    for seed in range(12):
        fitted, _ = GroupFit(window(large, [a, b], seed), starts, SCALE).run()
        for m, s in zip(fitted, (a, b)):
            source = m.source()
            error = source.errors()["flux"]
            pulls.append((source.amplitude * source.fwhm_z / (s.flux * s.fwhm_z) - 1) / error)
            errors.append(error)
    (lone,), _ = GroupFit(window(large, [a]), starts[:1], SCALE).run()
    assert np.median(errors) > 1.15 * lone.source().errors()["flux"]
    assert 0.6 < np.std(pulls) < 1.5


def test_a_continuum_of_the_same_shape_sharpens_place_and_shape(large):
    s = Emitter(47.3, 48.8, 10, flux=0.006, maj=5, min=4)
    level = large.image(s).astype(np.float32) * 6e-3
    level += (SIGMA / 10) * large.noise(np.random.default_rng(3), 1)[0]
    w = window(large, [s], level=level)
    start = [(0.006, 10.0, np.log(5.0))]
    (alone,), _ = GroupFit(w, [member(47, 49, lines=start)], SCALE).run()
    (both,), _ = GroupFit(w, [member(47, 49, continuum=5e-3, lines=start)], SCALE).run()
    for name in ("x", "y", "fwhm_maj"):
        assert both.source().errors()[name] < 0.4 * alone.source().errors()[name]
    assert abs(both.shape[0] - s.x) < 4 * both.source().errors()["x"]
    assert both.continuum == pytest.approx(6e-3, abs=4 * both.continuum_error())


def test_groups_hold_what_overlaps_and_are_never_too_large():
    row = [member(10.0 * k, 50.0) for k in range(12)]
    groups = overlapping([*row, member(50.0, 200.0)], beam=10.0, most=5)
    assert sorted(i for g in groups for i in g) == list(range(13))
    assert max(len(g) for g in groups) == 5
    assert [12] in groups


def continuum_image(large, level):
    """An image with noise of 1e-4, and what is needed to look for its sources."""
    from types import SimpleNamespace

    from faintsky.detection import ContinuumImage
    from faintsky.detection.pursuit import SourceImager

    level = level + 1e-4 * large.noise(np.random.default_rng(4), 1)[0]
    beam = float(np.sqrt(large.beam[0] * large.beam[1]))
    pursuit = SimpleNamespace(
        imager=SourceImager(large.psf[None], (96, 96)), beam_pixels=beam, fidelity=0.03, sigma=np.ones(8),
        window_side=lambda fwhm: 2 * (int(4.5 * np.hypot(beam, fwhm)) // 2) + 12,
    )  # fmt: skip
    return ContinuumImage(level, 1e-4, np.ones((96, 96), dtype=bool), pursuit)


def test_sidelobes_beyond_the_psf_are_no_continuum_sources(large):
    # a psf as large as the image ends half an image away from the source; its sidelobes do not
    s = Emitter(20.3, 70.4, 0, maj=5, min=4)
    sky = continuum_image(large, (large.image(s) * 0.1).astype(np.float32))
    sky.find([])
    assert len(sky.members) == 1
    assert sky.members[0].continuum == pytest.approx(0.1, rel=0.02)
    beyond = np.abs(sky.level - sky.total)[:10, 75:]
    assert beyond.max() > 10e-4


@pytest.mark.parametrize("seed", [0, 5])
def test_what_no_source_describes_does_not_run_away(large, seed):
    # a dozen patches and bowls on top of each other, hundreds of sigmas high
    from faintsky.detection.measuring import WIDEST, axes

    rng = np.random.default_rng(seed)
    level = np.zeros((96, 96))
    for _ in range(12):
        x, y = rng.uniform(20, 76, 2)
        maj = rng.uniform(5, 40)
        patch = Emitter(x, y, 0, maj=maj, min=maj * rng.uniform(0.3, 1), pa=rng.uniform(0, 180))
        level += large.image(patch) * rng.choice([-0.03, 0.03], p=[0.3, 0.7])
    sky = continuum_image(large, level.astype(np.float32))
    sky.find([])
    assert len(sky.members) > 5
    assert all(m.continuum > 0 and axes(m)[0] <= WIDEST * sky.beam for m in sky.members)
    assert np.abs(sky.level - sky.total).max() < np.abs(sky.level).max()
