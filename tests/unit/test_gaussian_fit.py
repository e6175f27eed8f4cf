"""The fit of one emitter: score, Fisher information, and whether its errors are true."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import Emitter, telescope

from faintsky.detection import LineSource, axes_of, fit_source
from faintsky.detection.fits import GroupFit, cut_group, member_of
from faintsky.grid import FWHM_PER_SIGMA, axial_difference, major_axis_direction
from faintsky.system import one_blas_thread

N_CHAN = 20


@pytest.fixture(autouse=True)
def _one_thread():
    with one_blas_thread():
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
    return fit_source(window, start, size_scale=9.0)


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


def test_position_angle_on_the_sky(scope):
    # from lower right (south-west) to upper left (north-east): 45 degrees
    data = np.zeros((N_CHAN, 64, 64))
    for step in np.linspace(-4, 4, 9):
        data += scope.cube([Emitter(32 - step, 32 + step, 10, 0.01, fwhm_z=4)], N_CHAN, seed=None)
    window = cut(scope, data, np.full(N_CHAN, 1e-5), 32, 32, 56)
    maj, minor, pa = fit_source(window, a_guess(32, 32, 10), size_scale=9.0).axes()
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
        fits.append(fit_source(window, start, size_scale=1.5 * 6.1))
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
    got = fit_source(window, a_guess(32, 32, 9), size_scale=9.0)
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
