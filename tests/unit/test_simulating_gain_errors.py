"""Gain errors of stations, in visibilities and in the quick way; the compact product."""

import numpy as np
import pytest
import torch
from astropy.io import fits

import faintsky
from faintsky.errors import InputError
from faintsky.simulating import (
    GainErrors,
    SimulationSettings,
    baseline_factors,
    errors_of,
    open_observatory,
    predict_visibilities,
    read_compact,
    simulated,
)

SMALL = {"size": 96, "total_time": "30min", "integration": "300s", "primary_beam": "gaussian"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAINTSKY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(before)


def test_size_and_timescale():
    times = np.arange(0, 40_000, 100.0)
    gains = GainErrors(0.1, 5.0, 1000.0).draw(np.random.default_rng(1), times, 300)
    amplitude, phase = np.abs(gains) - 1, np.rad2deg(np.angle(gains))
    assert amplitude.std() == pytest.approx(0.1, rel=0.03)
    assert phase.std() == pytest.approx(5.0, rel=0.03)
    assert abs((amplitude * phase).mean()) < 0.03 * 0.5
    for error in (amplitude / 0.1, phase / 5):
        at = [np.mean(error[lag:] * error[: len(error) - lag]) for lag in (5, 10, 20)]
        assert at == pytest.approx(np.exp([-0.25, -1, -4]), abs=0.03)
        assert abs(np.mean(error[:, 1:] * error[:, :-1])) < 0.03
    assert not GainErrors()
    few = GainErrors(0.1, 5.0, 1e6).draw(np.random.default_rng(1), times[:1], 300)
    assert np.abs(few).std() == pytest.approx(0.1, rel=0.15)


def test_factors_of_baselines():
    gains = np.array([[2.0, 1j, 1 + 1j]])
    expected = np.array([-2j, 2 - 2j, 1j * (1 - 1j)])
    np.testing.assert_allclose(baseline_factors(gains, np.zeros(3, int), np.arange(3)), expected)
    few = baseline_factors(gains, np.zeros(2, int), np.array([2, 0]))
    np.testing.assert_allclose(few, expected[[2, 0]])


def test_the_dirty_image_is_that_of_the_corrupted_visibilities():
    settings = SimulationSettings(telescope="lofar", **SMALL, noise=False)
    telescope = open_observatory(settings).telescope
    errors, seed = GainErrors(0.2, 40.0, 600.0), np.random.SeedSequence(4)
    gains = telescope.gains(errors, seed)
    assert gains.shape == (6, 62)
    sky = np.zeros((96, 96), np.float32)
    sky[30, 70] = 0.25
    vis = predict_visibilities(
        sky * 4 * telescope.pb, telescope.sampling.track.uvw, 150e6, settings.observation.grid
    )
    one, two = np.triu_indices(62, 1)
    for t in range(6):
        vis[t * 1891 : (t + 1) * 1891] *= gains[t, one] * np.conj(gains[t, two])
    dirty = telescope.observe(sky, 0.0, seed, gains).dirty
    np.testing.assert_allclose(dirty, telescope.sampling.image(vis), atol=1e-6)
    # phases of 40 deg on both stations: the point loses exp(-0.49) of its light to the whole image
    clean = telescope.dirty(sky, 0.0, seed)
    assert dirty[30, 70] / clean[30, 70] == pytest.approx(np.exp(-(np.deg2rad(40) ** 2)), abs=0.1)
    quick = open_observatory(
        SimulationSettings(telescope="lofar", **SMALL, noise=False, quick=True)
    ).telescope
    assert np.abs(quick.observe(sky, 0.0, seed, gains).dirty - dirty).max() < 0.02 * dirty.max()
    assert np.abs(dirty - clean).max() > 0.2 * clean.max()


def test_varied_fields_have_errors_of_their_own():
    settings = SimulationSettings(telescope="lofar", preset="varied", **SMALL)
    drawn = [errors_of(settings, np.random.default_rng(i)) for i in range(50)]
    assert 0 <= min(e.amplitude for e in drawn) < 0.01 < max(e.amplitude for e in drawn) <= 0.05
    assert 0 <= min(e.phase for e in drawn) < 1 < max(e.phase for e in drawn) <= 10
    assert 300 <= min(e.timescale for e in drawn) < max(e.timescale for e in drawn) <= 3600
    fixed = SimulationSettings(telescope="lofar", preset="varied", gain_rms=0, phase_rms=0, **SMALL)
    assert not errors_of(fixed, np.random.default_rng(0))
    assert not errors_of(SimulationSettings(telescope="lofar", **SMALL), np.random.default_rng(0))
    given = SimulationSettings(telescope="lofar", gain_rms=0.03, gain_time="10min", **SMALL)
    assert errors_of(given, np.random.default_rng(0)) == GainErrors(0.03, 0.0, 600.0)


def test_errors_and_noise_do_not_hang_together():
    """The noise of a field is the same with and without gain errors."""
    common = {"seed": 2, "products": "dirty", **SMALL}
    plain, bad = (next(simulated("lofar", 1, phase_rms=p, **common)).dirty for p in (0.0, 20.0))
    still, bare = (next(simulated("lofar", 1, phase_rms=p, noise=False, **common)).dirty for p in (0.0, 20.0))
    np.testing.assert_allclose(bad - bare, plain - still, atol=2e-6)
    assert np.abs(bad - plain).max() > 1e-5


@pytest.mark.parametrize("preset", ["lotss", "varied"])
def test_compact_files_hold_what_the_images_hold(tmp_path, preset):
    settings = {**SMALL, "seed": 5, "preset": preset}
    faintsky.simulate_lofar(tmp_path / "small", 2, products="compact", **settings)
    faintsky.simulate_lofar(tmp_path / "whole", 2, **settings)
    assert {p.name for p in (tmp_path / "small").iterdir()} == {
        *(f"{i:04d}_{p}" for i in (0, 1) for p in ("compact.npz", "truth.ecsv")),
        "dataset.json",
    }
    own = "0001_" if preset == "varied" else ""
    kept = read_compact(tmp_path / "small" / "0001_compact.npz")
    for name in ("sky", "noise", "dirty"):
        image = fits.getdata(tmp_path / "whole" / f"0001_{name}.fits").astype(np.float32)
        assert kept[name].dtype == np.float32
        size = np.maximum(np.abs(image), kept["sky"] if name == "noise" else 0)
        assert (np.abs(kept[name] - image) <= 5e-4 * size + 1e-8 * size.max()).all()
    header = fits.getheader(tmp_path / "whole" / "0001_dirty.fits")
    assert kept["beam"] == pytest.approx([header["BMAJ"] * 3600, header["BMIN"] * 3600, header["BPA"]])
    assert (kept["rms"], kept["cell"]) == (1e-4, 2.0)
    assert kept["sigma"] == pytest.approx(fits.getheader(tmp_path / "whole" / "0001_noise.fits")["NOISE"])
    np.testing.assert_allclose(kept["pb"], fits.getdata(tmp_path / "whole" / f"{own}pb.fits"), atol=1e-4)
    psf = fits.getdata(tmp_path / "whole" / f"{own}psf.fits")
    y, x = ((n - m) // 2 for n, m in zip(psf.shape, kept["psf"].shape))
    assert y > 0
    np.testing.assert_allclose(kept["psf"], psf[y:-y, x:-x], atol=1e-4)


def test_no_compact_file_is_one_line(tmp_path):
    np.savez(tmp_path / "other.npz", a=1)
    for path in (tmp_path / "none.npz", tmp_path / "other.npz"):
        with pytest.raises(InputError, match=r"npz: is not a compact image"):
            read_compact(path)
