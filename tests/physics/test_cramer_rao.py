"""The bounds against numerical derivatives, textbook cases and a maximum-likelihood fit of noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

from faintsky.evaluation import (
    PARAMETERS,
    TrueLine,
    bounds_from_fisher,
    cramer_rao,
    fisher_information,
    spatial_derivatives,
    spectral_derivatives,
)
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.source_model import (
    frequencies_2d,
    gaussian_transform,
    matched_snr,
    psf_transform,
    rfft_weights,
)

N, N_CHAN = 48, 32
SOURCE = TrueLine(x=22.3, y=25.1, dc_maj=7.0, dc_min=4.0, dc_pa=33.0, z=15.4, fwhm_z=5.0, flux=60.0)


def gaussian_beam_transfer(fwhm=5.0, n=N):
    v, u = np.mgrid[:n, :n] - n // 2
    return np.maximum(psf_transform(np.exp(-4 * np.log(2) * (u**2 + v**2) / fwhm**2)), 0.0)


def elliptical_beam_transfer():
    v, u = np.mgrid[:N, :N] - N // 2
    return np.maximum(psf_transform(np.exp(-(u**2) / 9 - v**2 / 20 - u * v / 17)), 0.0)


def model(values, transfer, n_chan=N_CHAN):
    """Whitened model cube as real numbers; the noise of the dirty image then is white with unit sigma."""
    s = TrueLine(**dict(zip(PARAMETERS, values)))
    n = transfer.shape[0]
    fx, fy = frequencies_2d(n, n)
    g = gaussian_transform(fx, fy, s.x, s.y, s.dc_maj, s.dc_min, s.dc_pa)
    white = g * np.sqrt(transfer * rfft_weights(n) / n**2)
    plane = np.concatenate([white.real.ravel(), white.imag.ravel()])
    line = s.flux * spectral_derivatives(s, n_chan)[0]
    return line[:, None] * plane


def numerical_fisher(source, transfer, sigma):
    values = np.array([getattr(source, p) for p in PARAMETERS])
    steps = np.array([1e-3, 1e-3, 1e-3, 1e-3, 1e-2, 1e-3, 1e-3, 1e-2])
    columns = []
    for k, h in enumerate(steps):
        up, down = values.copy(), values.copy()
        up[k] += h
        down[k] -= h
        columns.append((model(up, transfer) - model(down, transfer)) / (2 * h) / sigma[:, None])
    return np.array([[np.sum(a * b) for b in columns] for a in columns])


def test_derivatives_of_the_shape_are_the_numerical_ones():
    fx, fy = frequencies_2d(N, N)
    analytic = spatial_derivatives(SOURCE, fx, fy)[1:]
    for plane, name in zip(analytic, PARAMETERS[:5]):
        h = 1e-3
        up, down = (
            spatial_derivatives(replace(SOURCE, **{name: getattr(SOURCE, name) + s}), fx, fy)[0]
            for s in (h, -h)
        )
        assert plane == pytest.approx((up - down) / (2 * h), abs=1e-6 * np.abs(plane).max())


def test_derivatives_of_the_line_are_the_numerical_ones():
    for row, name in ((1, "z"), (2, "fwhm_z")):
        up, down = (
            s.flux * spectral_derivatives(s, N_CHAN)[0]
            for s in (replace(SOURCE, **{name: getattr(SOURCE, name) + h}) for h in (1e-4, -1e-4))
        )
        analytic = spectral_derivatives(SOURCE, N_CHAN)[row]
        assert analytic == pytest.approx((up - down) / 2e-4, abs=1e-6 * np.abs(analytic).max())


def test_fisher_matrix_is_the_numerical_one():
    sigma = np.random.default_rng(1).uniform(0.5, 2.0, N_CHAN)
    transfer = elliptical_beam_transfer()
    analytic = fisher_information([SOURCE], transfer, N, sigma, N_CHAN, "none")
    expected = numerical_fisher(SOURCE, transfer, sigma)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs(expected / scale)[2:5, 2:5].min() > 0.05  # the beam ties widths and angle together
    assert analytic / scale == pytest.approx(expected / scale, abs=1e-5)


def test_free_continuum_is_that_of_a_big_matrix_with_every_nuisance_in_it():
    # The same matrix with a constant and a slope for every mode, inverted as a whole on a tiny image.
    n, n_chan = 6, 10
    source = TrueLine(2.7, 3.2, 2.5, 1.5, 20.0, 4.6, 2.5, 9.0)
    transfer = np.random.default_rng(2).uniform(0.2, 1.0, (n, n // 2 + 1))
    sigma = np.random.default_rng(3).uniform(0.5, 2.0, n_chan)
    fx, fy = frequencies_2d(n, n)
    root = np.sqrt(transfer * rfft_weights(n) / n**2)
    shapes = spatial_derivatives(source, fx, fy) * root
    shapes = np.concatenate([shapes.real.reshape(6, -1), shapes.imag.reshape(6, -1)], axis=1)
    profile, by_z, by_width = spectral_derivatives(source, n_chan)
    rows = [np.outer(source.flux * profile / sigma, p).ravel() for p in shapes[1:]]
    rows += [np.outer(s / sigma, shapes[0]).ravel() for s in (by_z, by_width, profile)]
    for mode in np.eye(shapes.shape[1]):
        rows += [
            np.outer(np.ones(n_chan) / sigma, mode).ravel(),
            np.outer(np.arange(n_chan) / sigma, mode).ravel(),
        ]
    whole = np.array(rows)
    expected = np.sqrt(np.diag(np.linalg.inv(whole @ whole.T))[:8])
    bound = cramer_rao([source], transfer, n, sigma, n_chan, "free")[0]
    assert list(bound.values()) == pytest.approx(expected, rel=1e-6)


def test_flux_of_a_known_shape_and_line_is_bounded_by_the_matched_snr():
    transfer, s = gaussian_beam_transfer(), SOURCE
    fisher = fisher_information([s], transfer, N, 0.7, N_CHAN, "none")
    line = s.flux * spectral_derivatives(s, N_CHAN)[0]
    snr = matched_snr(line, 0.7, transfer, N, s.dc_maj, s.dc_min, s.dc_pa)
    assert s.flux * np.sqrt(fisher[7, 7]) == pytest.approx(snr, rel=1e-12)


def test_position_of_a_point_source_is_the_textbook_s():
    # A Gaussian beam and noise correlated like it: sigma_x = (beam sigma) / (signal-to-noise ratio).
    transfer = gaussian_beam_transfer()
    point = replace(SOURCE, dc_maj=0.0, dc_min=0.0)
    bound = cramer_rao([point], transfer, N, 1.0, N_CHAN, "none")[0]
    snr = np.sqrt(np.sum((point.flux * spectral_derivatives(point, N_CHAN)[0]) ** 2))
    assert bound["x"] == pytest.approx(5.0 / FWHM_PER_SIGMA / snr, rel=1e-3)
    assert bound["y"] == pytest.approx(bound["x"], rel=1e-6)


def test_line_centre_is_the_textbook_s():
    # Well sampled Gaussian line, white noise: sigma_z = line sigma * sqrt(2) / snr.
    bound = cramer_rao([SOURCE], gaussian_beam_transfer(), N, 1.0, N_CHAN, "none")[0]
    line = SOURCE.flux * spectral_derivatives(SOURCE, N_CHAN)[0]
    snr = matched_snr(line, 1.0, gaussian_beam_transfer(), N, 7.0, 4.0, 33.0)
    assert bound["z"] == pytest.approx(5.0 / FWHM_PER_SIGMA * np.sqrt(2) / snr, rel=1e-3)


def test_degenerate_shapes_have_infinite_bounds_and_leave_the_others_finite():
    transfer = gaussian_beam_transfer()
    point = cramer_rao([replace(SOURCE, dc_maj=0.0, dc_min=0.0)], transfer, N, 1.0, N_CHAN)[0]
    assert [k for k, v in point.items() if np.isinf(v)] == ["dc_maj", "dc_min", "dc_pa"]
    assert all(v > 0 for v in point.values())
    circle = cramer_rao([replace(SOURCE, dc_min=7.0)], transfer, N, 1.0, N_CHAN)[0]
    assert [k for k, v in circle.items() if np.isinf(v)] == ["dc_pa"]


def test_blank_channels_carry_nothing():
    sigma = np.ones(N_CHAN)
    sigma[14:17] = np.nan
    whole = cramer_rao([SOURCE], gaussian_beam_transfer(), N, 1.0, N_CHAN)[0]
    holed = cramer_rao([SOURCE], gaussian_beam_transfer(), N, sigma, N_CHAN)[0]
    assert all(holed[p] > whole[p] for p in PARAMETERS)
    sigma[:] = np.nan
    assert all(
        np.isinf(v) for v in cramer_rao([SOURCE], gaussian_beam_transfer(), N, sigma, N_CHAN)[0].values()
    )


def test_an_unknown_continuum_costs_and_a_shared_one_helps():
    transfer = gaussian_beam_transfer()
    bright = replace(SOURCE, continuum=5.0)
    none, free, shared = (
        cramer_rao([bright], transfer, N, 1.0, N_CHAN, kind)[0] for kind in ("none", "free", "shared")
    )
    assert all(free[p] > none[p] for p in PARAMETERS)
    assert all(shared[p] < 0.5 * free[p] for p in ("x", "y", "dc_maj", "dc_min", "dc_pa"))


def test_blends_pay_for_each_other_and_distant_sources_do_not():
    transfer = gaussian_beam_transfer()
    alone = cramer_rao([SOURCE], transfer, N, 1.0, N_CHAN)[0]
    near = cramer_rao([SOURCE, replace(SOURCE, x=26.0, z=17.0)], transfer, N, 1.0, N_CHAN)
    far = cramer_rao([SOURCE, replace(SOURCE, z=4.0, fwhm_z=2.0)], transfer, N, 1.0, N_CHAN, "none")[0]
    assert all(near[0][p] > 1.1 * alone[p] for p in ("x", "flux", "fwhm_z"))
    assert far == pytest.approx(cramer_rao([SOURCE], transfer, N, 1.0, N_CHAN, "none")[0], rel=1e-4)
    assert len(near) == 2


def test_bounds_scale_with_the_noise():
    one, two = (cramer_rao([SOURCE], gaussian_beam_transfer(), N, s, N_CHAN)[0] for s in (1.0, 2.0))
    assert [two[p] / one[p] for p in PARAMETERS] == pytest.approx([2.0] * 8)


def test_unconstrained_direction_makes_both_of_its_parameters_free():
    fisher = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 4.0]])
    assert bounds_from_fisher(fisher).tolist() == [np.inf, np.inf, 0.5]


def test_misuse_is_an_error():
    with pytest.raises(ValueError, match="unknown continuum"):
        cramer_rao([SOURCE], gaussian_beam_transfer(), N, 1.0, N_CHAN, "some")
    with pytest.raises(ValueError, match="width above 0"):
        cramer_rao([replace(SOURCE, fwhm_z=0.0)], gaussian_beam_transfer(), N, 1.0, N_CHAN)


def test_maximum_likelihood_reaches_the_bound():
    # Free continuum, dirty-image noise; the fit minimises the whitened residual after the same projection.
    n, n_chan = 20, 20
    source = TrueLine(x=9.3, y=10.1, dc_maj=7.0, dc_min=4.0, dc_pa=33.0, z=9.4, fwhm_z=4.0, flux=250.0)
    transfer = gaussian_beam_transfer(4.0, n)
    used = np.concatenate([(transfer > 1e-4 * transfer.max()).ravel()] * 2)
    continuum = np.stack([np.ones(n_chan), np.arange(n_chan)], axis=1)
    q = np.linalg.qr(continuum)[0]
    true = np.array([getattr(source, p) for p in PARAMETERS])
    clean = model(true, transfer, n_chan)[:, used]
    bound = np.array(list(cramer_rao([source], transfer, n, 1.0, n_chan)[0].values()))

    def residual(values, data):
        r = model(values, transfer, n_chan)[:, used] - data
        return (r - q @ (q.T @ r)).ravel()

    rng = np.random.default_rng(11)
    draws = []
    for _ in range(120):
        # unknown continuum of every mode, far above the noise
        data = clean + continuum @ rng.normal(0, 5.0, (2, clean.shape[1])) + rng.normal(0, 1.0, clean.shape)
        draws.append(least_squares(residual, true, args=(data,), x_scale=bound, ftol=1e-5, xtol=1e-5).x)
    assert bound[4] < 5.0  # strong enough for the angle to scatter linearly
    scatter = np.std(draws, axis=0) / bound
    assert scatter == pytest.approx(np.ones(8), abs=0.22)  # 3.4 standard errors of 120 draws
    assert np.abs(np.mean(draws, axis=0) - true) / bound == pytest.approx(np.zeros(8), abs=0.3)
