"""Fits of several sources at once, and the sources of a continuum image."""

import numpy as np
import pytest
from synthetic import Emitter, telescope

from faintsky.detection.fits import GroupFit, Member, cut_group
from faintsky.detection.measuring import overlapping

N_CHAN, SIGMA = 24, 1e-3
SCALE = 12.0


@pytest.fixture(scope="module")
def scope():
    return telescope(96)


def member(x, y, *, continuum=None, lines=()):
    return Member(np.array([x, y, 2.0, 0.3, 1.6]), continuum, tuple(np.array(v) for v in lines))


def window(scope, emitters, seed=0, level=None):
    z = np.arange(N_CHAN)
    cube = scope.cube(emitters, N_CHAN, sigma=SIGMA, seed=seed)
    image = np.zeros((96, 96), dtype=np.float32) if level is None else level
    sigma = np.full(N_CHAN, SIGMA)
    return cut_group(cube, z, sigma, image, SIGMA / 10, scope.psf, (48.0, 48.0), 72)


def test_score_is_the_slope_of_the_likelihood(scope):
    level = scope.image(Emitter(48, 48, 0)).astype(np.float32) * 5e-3
    fit = GroupFit(
        window(scope, [Emitter(47, 49, 10, flux=0.02)], level=level),
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


def test_few_fourier_cells_give_what_all_give(scope, monkeypatch):
    emitters = [Emitter(47, 49, 10, flux=0.02, maj=5, min=4)]
    start = [member(46.0, 48.0, lines=[(0.01, 11.0, 1.5)])]
    (few,), _ = GroupFit(window(scope, emitters), start, SCALE).run(iterations=30)
    cells = window(scope, emitters).fx.size
    monkeypatch.setattr("faintsky.detection.fits.MEASURED", 0.0)
    full = window(scope, emitters)
    (every,), _ = GroupFit(full, start, SCALE).run(iterations=30)
    assert cells < 0.4 * full.fx.size
    error = np.sqrt(np.diag(every.covariance))
    assert np.all(np.abs(few.vector() - every.vector()) < 0.1 * error)


def test_errors_of_overlapping_sources_allow_for_each_other(scope):
    a, b = Emitter(44, 48, 10, flux=0.02, maj=5, min=4), Emitter(51, 48, 10, flux=0.02, maj=5, min=4)
    starts = [member(x, 48, lines=[(0.02, 10.0, np.log(5.0))]) for x in (44, 51)]
    pulls, errors = [], []
    for seed in range(12):
        fitted, _ = GroupFit(window(scope, [a, b], seed), starts, SCALE).run()
        for m, s in zip(fitted, (a, b)):
            source = m.source()
            error = source.errors()["flux"]
            pulls.append((source.amplitude * source.fwhm_z / (s.flux * s.fwhm_z) - 1) / error)
            errors.append(error)
    (lone,), _ = GroupFit(window(scope, [a]), starts[:1], SCALE).run()
    assert np.median(errors) > 1.15 * lone.source().errors()["flux"]
    assert 0.6 < np.std(pulls) < 1.5


def test_a_continuum_of_the_same_shape_sharpens_place_and_shape(scope):
    s = Emitter(47.3, 48.8, 10, flux=0.006, maj=5, min=4)
    level = scope.image(s).astype(np.float32) * 6e-3
    level += (SIGMA / 10) * scope.noise(np.random.default_rng(3), 1)[0]
    w = window(scope, [s], level=level)
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


def continuum_image(scope, level):
    """An image with noise of 1e-4, and what is needed to look for its sources."""
    from types import SimpleNamespace

    from faintsky.detection.measuring import ContinuumImage
    from faintsky.detection.pursuit import SourceImager

    level = level + 1e-4 * scope.noise(np.random.default_rng(4), 1)[0]
    beam = float(np.sqrt(scope.beam[0] * scope.beam[1]))
    pursuit = SimpleNamespace(
        imager=SourceImager(scope.psf[None], (96, 96)), beam_pixels=beam, fidelity=0.03, sigma=np.ones(8),
        window_side=lambda fwhm: 2 * (int(4.5 * np.hypot(beam, fwhm)) // 2) + 12,
    )  # fmt: skip
    return ContinuumImage(level, 1e-4, np.ones((96, 96), dtype=bool), pursuit)


def test_sidelobes_beyond_the_psf_are_no_continuum_sources(scope):
    # a psf as large as the image ends half an image away from the source; its sidelobes do not
    s = Emitter(20.3, 70.4, 0, maj=5, min=4)
    sky = continuum_image(scope, (scope.image(s) * 0.1).astype(np.float32))
    sky.find([])
    assert len(sky.members) == 1
    assert sky.members[0].continuum == pytest.approx(0.1, rel=0.02)
    beyond = np.abs(sky.level - sky.total)[:10, 75:]
    assert beyond.max() > 10e-4


@pytest.mark.parametrize("seed", [0, 5])
def test_what_no_source_describes_does_not_run_away(scope, seed):
    # a dozen patches and bowls on top of each other, hundreds of sigmas high
    from faintsky.detection.measuring import WIDEST, axes

    rng = np.random.default_rng(seed)
    level = np.zeros((96, 96))
    for _ in range(12):
        x, y = rng.uniform(20, 76, 2)
        maj = rng.uniform(5, 40)
        patch = Emitter(x, y, 0, maj=maj, min=maj * rng.uniform(0.3, 1), pa=rng.uniform(0, 180))
        level += scope.image(patch) * rng.choice([-0.03, 0.03], p=[0.3, 0.7])
    sky = continuum_image(scope, level.astype(np.float32))
    sky.find([])
    assert len(sky.members) > 5
    assert all(m.continuum > 0 and axes(m)[0] <= WIDEST * sky.beam for m in sky.members)
    assert np.abs(sky.level - sky.total).max() < np.abs(sky.level).max()
