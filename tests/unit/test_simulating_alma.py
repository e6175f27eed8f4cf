"""Simulated ALMA data sets: files, headers, truth, seeds, jobs, resuming, refusals."""

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import faintsky
from faintsky.errors import DiskError, InputError
from faintsky.simulating import (
    FastTelescope,
    Instrument,
    SimulationSettings,
    open_observatory,
    simulated,
    to_sky,
)
from faintsky.sky import SkyModel, empty_sky, gaussian_image
from faintsky.system import folder_lock

SMALL = {"size": 64, "channels": 16, "cell": "0.2arcsec", "total_time": "200s", "integration": "20s"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAINTSKY_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tests share their cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def observatory(cache):
    return open_observatory(SimulationSettings(telescope="alma", preset="emitters", **SMALL))


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).iterdir())}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, cache):
    out = tmp_path_factory.mktemp("data") / "set"
    result = faintsky.simulate_alma(out, 3, seed=5, **SMALL)
    assert result["cubes"] == 3
    return out


def test_files_and_headers(dataset):
    names = {f"{i:04d}_{p}" for i in range(3) for p in ("dirty.fits", "sky.fits", "truth.ecsv")}
    assert {p.name for p in dataset.iterdir()} == names | {"psf.fits", "pb.fits", "dataset.json"}
    with fits.open(dataset / "0001_dirty.fits") as hdus:
        hdus.verify("exception")
        header, data, beams = hdus[0].header, hdus[0].data, hdus["BEAMS"]
        assert data.shape == (16, 64, 64)
        assert (header["BUNIT"], header["SPECSYS"], header["SEED"], header["SAMPLE"]) == (
            "Jy/beam",
            "LSRK",
            5,
            1,
        )
        assert len(beams.data) == header["NAXIS3"] == beams.header["NCHAN"]
        assert header["BMAJ"] * 3600 == pytest.approx(beams.data["BMAJ"][8], rel=1e-5)
        assert header["ORIGIN"].startswith("faintsky")
    with fits.open(dataset / "0001_sky.fits") as hdus:
        assert hdus[0].header["BUNIT"] == "Jy/pixel"
        assert hdus[0].data.max() == pytest.approx(1e-3, rel=1e-4)
    with fits.open(dataset / "psf.fits") as hdus:
        assert hdus[0].data.shape == (16, 64, 64)
        np.testing.assert_allclose(hdus[0].data[:, 32, 32], 1, atol=1e-5)


def test_truth_agrees_with_the_header(dataset):
    for i in range(3):
        truth = Table.read(dataset / f"{i:04d}_truth.ecsv")
        wcs = WCS(fits.getheader(dataset / f"{i:04d}_dirty.fits")).celestial
        ra, dec = wcs.all_pix2world(truth["x"], truth["y"], 0)
        np.testing.assert_allclose(truth["ra"], ra, atol=1e-9)
        np.testing.assert_allclose(truth["dec"], dec, atol=1e-9)
        assert truth["central"].sum() == 1
        assert 3 <= len(truth) <= 6
        assert (truth["snr"] > 0).all()
        rest = truth.meta["rest_frequency_hz"]
        np.testing.assert_allclose(truth["velocity"], 299792.458 * (1 - truth["freq"] / rest), atol=1e-6)


def test_the_record_says_how(dataset):
    record = json.loads((dataset / "dataset.json").read_text())
    assert record["seed"] == 5
    assert record["parameters"]["preset"] == "paper"
    assert len(record["sigma_thermal_jy_per_beam"]) == 16
    assert {"versions", "box_rule", "instrument", "command"} <= set(record)


@pytest.mark.usefixtures("quick_workers")
def test_jobs_and_order_do_not_matter(dataset, tmp_path):
    faintsky.simulate_alma(tmp_path / "again", 3, seed=5, jobs=2, **SMALL)
    assert hashes(tmp_path / "again") == hashes(dataset)


def test_threads_do_not_matter(observatory):
    from faintsky.system import one_thread

    with one_thread():
        assert torch.get_num_threads() == 1
        one = observatory.sample(3, 4).dirty
        np.testing.assert_array_equal(observatory.sample(3, 4).dirty, one)


def test_cubes_in_memory_are_those_on_disk(dataset):
    cubes = list(simulated("alma", 2, seed=5, **SMALL))
    np.testing.assert_allclose(
        cubes[1].dirty, fits.getdata(dataset / "0001_dirty.fits"), atol=1e-8, equal_nan=True
    )
    assert not np.allclose(cubes[0].dirty, cubes[1].dirty)


def test_resume_adds_only_what_is_missing(dataset, tmp_path):
    before = hashes(dataset)
    (dataset / "0001_dirty.fits").unlink()
    times = (dataset / "0000_dirty.fits").stat().st_mtime_ns
    faintsky.simulate_alma(dataset, 3, seed=5, **SMALL)
    assert hashes(dataset) == before
    assert (dataset / "0000_dirty.fits").stat().st_mtime_ns == times


def test_another_data_set_is_refused(dataset, tmp_path):
    before = hashes(dataset)
    with pytest.raises(InputError, match=r"another seed.*--overwrite"):
        faintsky.simulate_alma(dataset, 3, seed=6, **SMALL)
    assert hashes(dataset) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="another kind"):
        faintsky.simulate_alma(tmp_path, 1, **SMALL)


def test_overwrite_leaves_nothing_of_the_old(tmp_path):
    faintsky.simulate_alma(tmp_path, 3, seed=1, products="dirty", **SMALL)
    (tmp_path / "notes.txt").write_text("mine")
    faintsky.simulate_alma(tmp_path, 1, seed=2, products="dirty", overwrite=True, **SMALL)
    assert {p.name for p in tmp_path.iterdir()} == {
        *("0000_dirty.fits", "0000_truth.ecsv", "dataset.json", "notes.txt")
    }


def test_dry_run_writes_nothing(tmp_path):
    plan = faintsky.simulate_alma(tmp_path / "no", 7, dry_run=True, **SMALL)
    assert plan["shape"] == [16, 64, 64]
    assert plan["files"] == 7 * 3 + 3
    assert not (tmp_path / "no").exists()
    assert plan["box_rule"].startswith("pixels")


def test_a_set_that_does_not_fit_is_refused_before_the_work(tmp_path):
    with pytest.raises(InputError, match=r"no: the output takes [\d.e+]+ GB, and [\d.]+ GB of its disk are"):
        faintsky.simulate_alma(tmp_path / "no", 10**9)
    assert list(tmp_path.iterdir()) == []
    faintsky.simulate_alma(tmp_path / "no", 10**9, dry_run=True)  # says so instead


def test_two_simulations_into_one_folder(tmp_path):
    faintsky.simulate_alma(tmp_path, 1, **SMALL)
    with folder_lock(tmp_path), pytest.raises(InputError, match="another run"):
        faintsky.simulate_alma(tmp_path, 2, **SMALL)
    faintsky.simulate_alma(tmp_path, 2, **SMALL)
    assert not (tmp_path / ".lock").exists()


def test_a_full_disk_keeps_the_set_resumable(tmp_path, monkeypatch):
    def full(path, *args, **options):
        if str(path).endswith("0001_dirty.fits"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, *args, **options)

    opened = open
    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(DiskError, match=r"0001_dirty.fits: the disk is full"):
        faintsky.simulate_alma(tmp_path / "out", 2, products="dirty", **SMALL)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"dataset.json", "0000_dirty.fits", "0000_truth.ecsv"}
    monkeypatch.undo()
    faintsky.simulate_alma(tmp_path / "out", 2, products="dirty", **SMALL)
    assert (tmp_path / "out" / "0001_dirty.fits").is_file()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"preset": "lotss"}, "preset"),
        ({"array": "alma.cycle9.11"}, "no array"),
        ({"array": "mine.cfg"}, "no such array file"),
        ({"weighting": "uniform"}, "weighting"),
        ({"weighting": "briggs:3"}, "robustness"),
        ({"total_time": "5 parsec"}, "--total-time"),
        ({"total_time": "5s"}, "shorter"),
        ({"channel_width": 0}, "above 0"),
        ({"cell": "3arcsec"}, "longest baselines"),
        ({"freq": "2THz", "cell": 0.02}, "GHz"),
        ({"freq": "20GHz"}, "GHz"),
        ({"dec": 95}, "out of range"),
        ({"dec": 80}, "below the limit of 10 deg"),
        ({"hour_angle": 7}, "nearer to 0"),
        ({"hour_angle": 1, "start": "2014-01-01T00:00:00"}, "one of them"),
        ({"start": "soon"}, "not a time"),
        ({"pwv": -1}, "out of range"),
        ({"products": "dirty,clean"}, "clean"),
        ({"snr": 0}, "above 0"),
        ({"snr": 5, "preset": "empty"}, "cannot be set"),
        ({"size": 4}, "size"),
        ({"channels": 0}, "channels"),
        ({"backend": "wsclean"}, "backend"),
        ({"n": 0}, "at least 1"),
        ({"jobs": 0}, "at least 1"),
        ({"device": "abacus"}, "device"),
    ],
)
def test_bad_values_are_refused(tmp_path, wrong, word):
    with pytest.raises(InputError, match=word):
        faintsky.simulate_alma(tmp_path / "out", **{**SMALL, **wrong})
    assert not (tmp_path / "out").exists()


def test_emitters_have_the_signal_to_noise_asked_for(observatory):
    for index in range(3):
        cube = observatory.sample(1, index)
        assert 3 <= len(cube.truth["id"]) <= 6
        np.testing.assert_allclose(cube.truth["snr"], cube.sky.sources["wanted_snr"], rtol=1e-9)
        assert (cube.truth["continuum"] == 0).all()
        assert (cube.truth["pb"] > 0.3).all()


def test_matched_snr_is_what_a_matched_filter_measures(observatory):
    """The correlation of noise with a source's dirty cube scatters by S/N squared."""
    telescope, instrument = observatory.telescope, observatory.instrument
    cube = observatory.sample(2, 0)
    i = int(np.argmax(np.hypot(cube.truth["x"] - 32, cube.truth["y"] - 32) < 12))
    # the noise's correlation is the psf: the matched filter of a dirty image is the sky model itself
    model = cube.sky.images[i] * instrument.pb[0]
    weight = cube.sky.lines[i] / cube.sigma**2
    outputs = []
    for seed in range(60):
        noise = telescope.add_noise(torch.zeros(16, 64, 64), cube.sigma, telescope.generator(seed)).numpy()
        outputs.append(np.einsum("cyx,yx,c", noise.astype(float), model, weight))
    assert np.std(outputs) == pytest.approx(cube.truth["snr"][i], rel=0.3)


def test_extra_noise_reaches_the_target():
    observatory = open_observatory(SimulationSettings(telescope="alma", snr=10.0, **SMALL))
    quiet = open_observatory(SimulationSettings(telescope="alma", noise=False, **SMALL))
    for index in range(3):
        cube, clean = observatory.sample(7, index), quiet.sample(7, index)
        c = round(float(cube.truth["z"][0]))
        assert clean.dirty[c, 32, 32] / cube.sigma[c] == pytest.approx(10, rel=1e-4)
        noise = (cube.dirty - clean.dirty).std()
        assert noise == pytest.approx(cube.sigma.mean(), rel=0.1)
    white = open_observatory(
        SimulationSettings(telescope="alma", snr=10.0, extra_noise="white", **SMALL)
    ).sample(7, 0)
    assert white.dirty.std() > 0


def test_truth_fluxes_are_those_of_the_dirty_cube():
    observatory = open_observatory(
        SimulationSettings(telescope="alma", noise=False, preset="emitters", **SMALL)
    )
    cube = observatory.sample(4, 1)
    for i in range(len(cube.truth["id"])):
        one = SkyModel(
            cube.sky.grid, cube.sky.spectral, cube.sky.images[i : i + 1], cube.sky.spectra[i : i + 1],
            cube.sky.lines[i : i + 1],
        )  # fmt: skip
        dirty = observatory.telescope.dirty(one).numpy()
        peak = dirty.max() / cube.truth["pb"][i]
        # the peak lies between pixels and channels: it is only approached from below
        assert 0.8 < peak / cube.truth["flux_peak"][i] < 1.03
        total = cube.sky.lines[i].sum() * cube.truth["fwhm_velocity"][i] / cube.truth["fwhm_z"][i]
        if "edge" not in cube.truth["flags"][i]:
            assert cube.truth["flux"][i] == pytest.approx(total, rel=0.02)


def test_convolution_is_its_own_adjoint(observatory):
    """<A x, y> = <x, A y> for sky times beam, and for the psf alone exactly symmetric."""
    telescope, instrument = observatory.telescope, observatory.instrument
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 64, 64)).astype(np.float32)
    pb = instrument.pb[0]
    ax = telescope.observe_terms(x[None]).images[0, 0].numpy()
    ay = telescope.observe_terms((y / np.maximum(pb, 1e-3))[None]).images[0, 0].numpy()
    left = float((ax.astype(float) * y).sum())
    right = float((x.astype(float) * pb * ay).sum())
    assert left == pytest.approx(right, rel=1e-3, abs=1e-4 * float(np.abs(ax).sum()))


def test_a_point_at_the_phase_centre_makes_the_psf(observatory):
    instrument = observatory.instrument
    point = np.zeros((1, 64, 64), dtype=np.float32)
    point[0, 32, 32] = 1
    images = observatory.telescope.observe_terms(point).images[0].numpy()
    cube = np.tensordot(instrument.node_weights(), images, axes=1)
    np.testing.assert_allclose(cube, instrument.psf_cube(), atol=1e-5)


def test_the_convolution_does_not_wrap(observatory):
    corner = np.zeros((1, 64, 64), dtype=np.float32)
    corner[0, 0, 0] = 1
    images = (
        observatory.telescope.observe_terms(corner).images[0, 0].numpy() / observatory.instrument.pb[0, 0, 0]
    )
    full = observatory.instrument.node_psfs()[0]
    p = full.shape[0] // 2
    np.testing.assert_allclose(images, full[p : p + 64, p : p + 64], atol=1e-5)


def test_the_instrument_comes_back_from_its_file(observatory, tmp_path):
    path = tmp_path / "instrument.npz"
    observatory.instrument.save(path)
    again = Instrument.load(path)
    sky, e = observatory.sample(0, 0).sky, empty_sky(again.grid, again.spectral)
    assert again.record == observatory.instrument.record
    assert torch.equal(FastTelescope(again).dirty(sky), observatory.telescope.dirty(sky))
    assert not FastTelescope(again).dirty(e).any()


def test_a_damaged_cache_file_is_made_again(cache):
    settings = SimulationSettings(telescope="alma", preset="empty", **{**SMALL, "channels": 4})
    first = open_observatory(settings).sample(0, 0).dirty
    path = settings.observation.file
    path.write_bytes(path.read_bytes()[:1000])
    np.testing.assert_array_equal(open_observatory(settings).sample(0, 0).dirty, first)


def test_blanks_and_correction_follow_the_primary_beam():
    wide = {**SMALL, "cell": "0.5arcsec", "array": "C-1", "size": 128, "noise": False}
    plain, corrected = (
        open_observatory(SimulationSettings(telescope="alma", pbcor=p, **wide)).sample(0, 0).dirty
        for p in (False, True)
    )
    instrument = open_observatory(SimulationSettings(telescope="alma", **wide)).instrument
    np.testing.assert_array_equal(np.isnan(plain), ~instrument.valid())
    np.testing.assert_allclose(corrected * instrument.pb_cube(), plain, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("position", [(20.0, 30.0), (20.5, 30.25)])
@pytest.mark.parametrize("shape", [(0.0, 0.0, 0.0), (1.5, 1.0, 30.0), (6.0, 3.0, 70.0)])
def test_gaussians_have_unit_flux_at_their_place(position, shape):
    from faintsky.grid import ImageGrid

    image = gaussian_image(ImageGrid(64, 64, 1.0), *position, *shape).astype(float)
    y, x = np.indices(image.shape)
    assert image.sum() == pytest.approx(1, abs=1e-3)
    assert (image * x).sum() == pytest.approx(position[0], abs=0.02)
    assert (image * y).sum() == pytest.approx(position[1], abs=0.02)


def test_sky_positions_are_those_of_astropy():
    from faintsky.grid import ImageGrid

    grid = ImageGrid(100, 100, 30.0, 0.3, -65.0)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---SIN", "DEC--SIN"], [0.3, -65.0]
    wcs.wcs.cdelt, wcs.wcs.crpix = [-30 / 3600, 30 / 3600], [51, 51]
    x, y = np.array([0.0, 99.0, 50.0]), np.array([0.0, 20.0, 50.0])
    np.testing.assert_allclose(to_sky(grid, x, y), wcs.all_pix2world(x, y, 0), atol=1e-9)
