"""The learned step: nothing learned changes nothing, mirror images agree, inputs are what they say."""

import numpy as np
import pytest
import torch
from synthetic import Emitter, telescope

from faintsky.detection.candidates import EVEN, ODD, TENSORS, VALUES, Candidates
from faintsky.detection.field import PrimaryBeam
from faintsky.detection.find import find_sources
from faintsky.detection.joint_fit import JointFits
from faintsky.detection.refine import (
    MIRRORS,
    averaged,
    estimate,
    inputs_of,
    mirrored,
    rank,
    unmirrored_values,
)
from faintsky.detection.search import measure, search_cube
from faintsky.errors import InputError
from faintsky.models import load_model, save_model
from faintsky.networks import line_refiner, make_network
from faintsky.preparing.cube import prepare_cube

N_CHAN, SIGMA = 40, 1e-3
TINY = {"width": 16, "channels": 4, "members": 2}


@pytest.fixture(scope="module")
def scope():
    return telescope(64)


@pytest.fixture(scope="module")
def cube(scope):
    places = [{"x": 20.3, "y": 24.7, "z": 12.2, "maj": 5.0, "min": 3.0, "pa": 40.0, "fwhm_z": 6.0},
              {"x": 42.1, "y": 37.4, "z": 26.6, "maj": 0.0, "min": 0.0, "fwhm_z": 5.0}]  # fmt: skip
    emitters = [scope.at_snr(Emitter(**p), snr, SIGMA, N_CHAN) for p, snr in zip(places, (20, 11))]
    return scope.radio_cube(scope.cube(emitters, N_CHAN, sigma=SIGMA, seed=4))


def model(folder, network, **more):
    settings = load_model("classical").settings | {
        "score_share": 1.0, "snr_scale": [[0.0, 9.0], [0.0, 9.0]], "error_factors": {}, **more
    }  # fmt: skip
    networks = {"refiner": ("line_refiner", TINY, network)}
    return save_model(folder, name="tiny", job="detect", settings=settings, networks=networks)


def awake(seed=0):
    torch.manual_seed(seed)
    network = make_network("line_refiner", **TINY)
    with torch.no_grad():
        for w in network.parameters():
            w += 0.05 * torch.randn_like(w)
    return network.eval()


def random_inputs(n=6, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, len(VALUES)))
    angle = rng.normal(size=(n, 2, 2))
    found = Candidates(
        rng.normal(size=(n, line_refiner.TEMPLATES, *line_refiner.CUT)).astype(np.float32),
        rng.normal(size=(n, len(EVEN))).astype(np.float32),
        rng.normal(size=(n, len(ODD))).astype(np.float32),
        rng.normal(size=(n, len(TENSORS), 2)).astype(np.float32),
        values, np.ones_like(values), values + rng.normal(size=values.shape),
        angle / np.linalg.norm(angle, axis=2, keepdims=True), np.full(n, 0.1),
    )  # fmt: skip
    return inputs_of(vars(found))


def test_the_network_takes_what_candidates_hold():
    assert len(EVEN) == line_refiner.EVEN
    assert len(ODD) == line_refiner.ODD
    assert len(TENSORS) == line_refiner.TENSORS
    assert len(VALUES) == line_refiner.VALUES
    assert [EVEN[k] for k in line_refiner.BEAM_EVEN] == ["beam_ratio", "step"]
    assert TENSORS[line_refiner.BEAM_TENSOR] == "beam_shape"


def test_an_untrained_network_gives_the_classical_catalogue(cube, tmp_path):
    plain = find_sources(cube, "classical", device="cpu")
    same = find_sources(cube, model(tmp_path, make_network("line_refiner", **TINY)), device="cpu")
    assert len(plain.catalog) == len(same.catalog) == 2
    bounded = {"fwhm_min_err", "fwhm_maj_err", "pa_err", "fwhm_z_err", "fwhm_velocity_err"}
    for name in plain.catalog.colnames:
        if plain.catalog[name].dtype.kind == "f" and name not in bounded:
            np.testing.assert_allclose(
                same.catalog[name], plain.catalog[name], rtol=1e-6, atol=1e-9, err_msg=name
            )
    np.testing.assert_array_equal(plain.mask, same.mask)


def test_a_trained_network_changes_it_the_same_way_each_time(cube, tmp_path):
    plain = find_sources(cube, "classical", device="cpu").catalog
    learned = model(tmp_path, awake())
    one, two = (find_sources(cube, learned, device="cpu", reliability=0.5).catalog for _ in range(2))
    for name in ("x", "y", "z", "fwhm_maj", "pa", "flux", "continuum", "reliability", "flux_err"):
        np.testing.assert_array_equal(one[name], two[name])
    assert abs(one["x"][0] - plain["x"][0]) > 1e-6
    assert one["continuum_err"][0] != plain["continuum_err"][0]


def test_the_model_image_follows_the_refined_source(cube, tmp_path):
    plain = find_sources(cube, "classical", device="cpu")
    learned = find_sources(cube, model(tmp_path, awake()), device="cpu")
    assert not np.array_equal(plain.model, learned.model)
    np.testing.assert_allclose(plain.model.max(), learned.model.max(), rtol=0.3)


@pytest.mark.parametrize("mirror", MIRRORS)
def test_estimates_turn_with_their_inputs(mirror):
    """The mean over all mirror images is the same whichever image one begins with."""
    network, inputs = awake(1), random_inputs()
    here, there = averaged(network, inputs), averaged(network, mirrored(inputs, mirror))
    torch.testing.assert_close(unmirrored_values(there.shift, mirror), here.shift, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(there.score, here.score, rtol=1e-4, atol=1e-5)


def test_a_mirror_image_is_that_of_the_source(scope):
    """Scalars of a source reversed along x are those that `mirrored` makes of the source's own."""
    s = scope.at_snr(
        Emitter(x=30.0, y=32.0, z=20.0, maj=9.0, min=3.0, pa=35.0, fwhm_z=6.0), 60, SIGMA, N_CHAN
    )
    from faintsky.detection.candidates import cut_outs, describe

    pairs = []
    for data in (scope.cube([s], N_CHAN, sigma=SIGMA, seed=2), None):
        flipped = data is None
        if flipped:
            data = scope.cube([s], N_CHAN, sigma=SIGMA, seed=2)[::-1]
        found = search_cube(
            scope.radio_cube(np.ascontiguousarray(data)), load_model("classical").settings,
            say=lambda done, word: None,
        )  # fmt: skip
        found.keep(found.candidates[:1])
        cuts = cut_outs(found.pursuit, found.pursuit.components)
        measure(found.pursuit, found.prepared, 2)
        pairs.append(inputs_of(vars(describe(found.pursuit, found.prepared, cuts, found.noise))))
    turned = mirrored(pairs[0], (False, False, True, False))
    torch.testing.assert_close(turned["tensor"], pairs[1]["tensor"], atol=0.02, rtol=0.02)
    torch.testing.assert_close(turned["odd"][:, 2], pairs[1]["odd"][:, 2], atol=0.05, rtol=0.05)
    torch.testing.assert_close(turned["cut"], pairs[1]["cut"], atol=0.3, rtol=0.02)


def test_a_joint_fit_measures_better_where_the_continuum_is_strong(scope):
    place = {"x": 30.4, "y": 33.1, "z": 20.2, "maj": 6.0, "min": 4.0, "pa": 120.0, "fwhm_z": 5.0}
    s = scope.at_snr(Emitter(**place), 12, SIGMA, N_CHAN)
    s = type(s)(**{**s.__dict__, "continuum": s.flux})
    misses = []
    for seed in range(6):
        data = scope.radio_cube(scope.cube([s], N_CHAN, sigma=SIGMA, seed=seed))
        found = search_cube(data, load_model("classical").settings, say=lambda done, word: None)
        found.keep(found.candidates[:1])
        measure(found.pursuit, found.prepared, 2)
        joint = JointFits(found.pursuit, found.prepared).run()[0]
        alone = found.pursuit.components[0].source
        assert joint.continuum == pytest.approx(s.continuum, rel=0.25)
        assert joint.source.errors()["x"] < 0.7 * alone.errors()["x"]
        misses.append([np.hypot(f.x - s.x, f.y - s.y) for f in (alone, joint.source)])
    alone, joint = np.sqrt(np.mean(np.square(misses), axis=0))
    assert joint < alone


def test_the_primary_beams_slope_moves_sources(scope):
    """A Gaussian times a Gaussian beam: the centre is the mean weighted by the inverse covariances."""
    n, width = scope.n, 40.0 / 2.3548
    y, x = np.indices((n, n))
    beam = np.exp(-0.5 * ((x - n // 2) ** 2 + (y - n // 2) ** 2) / width**2)
    cube = scope.radio_cube(scope.cube([], N_CHAN, sigma=SIGMA, seed=1), pb=beam[None])
    pattern = PrimaryBeam(cube, prepare_cube(cube))
    sigma = 2.0
    seen = n // 2 + 12.0
    true = n // 2 + 12.0 * (sigma**2 + width**2) / width**2
    covariance = np.eye(2) * sigma**2 * width**2 / (sigma**2 + width**2)
    move = pattern.displacement(np.eye(2) * sigma**2, seen, n // 2, 10)
    assert move[0] == pytest.approx(seen - true, rel=0.02)
    assert abs(move[1]) < 1e-6
    assert abs(pattern.displacement(covariance, true, n // 2, 10)[0] - (seen - true)) < 0.02
    unknown = scope.radio_cube(scope.cube([], N_CHAN, sigma=SIGMA, seed=1))
    assert not PrimaryBeam(unknown, prepare_cube(unknown)).displacement(np.eye(2), 10, 10, 5).any()


def test_ranks_rise_and_go_on_beyond_the_table():
    scale = [[4.0, 6.0], [5.0, 6.0]]
    snr = np.linspace(3, 9, 50)
    out = rank(snr, np.zeros(50), scale)
    assert np.all(np.diff(out) > 0)
    assert out[-1] == pytest.approx(9.0)
    assert rank(np.array([5.0]), np.array([-1.0]), scale)[0] == pytest.approx(5.0)


def test_estimates_mix_in_the_other_fit():
    inputs = random_inputs(4)
    # only a continuum that is there tells more than the line
    inputs["even"][:, EVEN.index("continuum_joint")] = 12.0
    zero = make_network("line_refiner", **TINY).outputs(torch.zeros(4, 39))
    score, gate, shift, spread, angle = (z.clone() for z in zero)
    gate[:, :8] = 1.0
    angle[:, 0] = 1.0
    e = estimate((score, gate, shift, spread, angle), inputs)
    torch.testing.assert_close(e.shift, inputs["difference"][:, :8])
    torch.testing.assert_close(e.angle, inputs["angle"][:, 1])
    inputs["even"][:, EVEN.index("continuum_joint")] = -1.0
    e = estimate((score, gate, shift, spread, angle), inputs)
    assert float(e.shift[:, :7].abs().max()) == 0
    inputs["even"][:, EVEN.index("continuum_joint")] = 12.0
    gate[:] = 0.0
    gate[:, 8] = 1.0
    e = estimate((score, gate, shift, spread, angle), inputs)
    assert float(e.shift[:, :7].abs().max()) == 0
    torch.testing.assert_close(e.shift[:, 7], inputs["difference"][:, 8])


def test_a_model_for_another_job_is_refused(tmp_path):
    save_model(tmp_path, name="other", job="denoise", settings={}, networks={})
    with pytest.raises(InputError, match="denoise"):
        load_model(tmp_path, job="detect")
