"""Simulated LOFAR data sets: files, headers, truth, seeds, jobs, resuming, refusals."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import faintsky
from faintsky.errors import FaintskyError, InputError
from faintsky.grid import ImageGrid
from faintsky.simulating import (
    SimulationSettings,
    at_resolution,
    draw_observation,
    open_observatory,
    padded_size,
    region_columns,
    simulated,
)
from faintsky.sky import gaussian_image
from faintsky.telescopes import everybeam_beam, telescope

SMALL = {"size": 96, "total_time": "30min", "integration": "300s", "primary_beam": "gaussian"}
SIGMA = 1e-4 / 40.787


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
def dataset(tmp_path_factory, cache):
    out = tmp_path_factory.mktemp("data") / "set"
    result = faintsky.simulate_lofar(out, 2, seed=5, preset="lotss", **SMALL)
    assert (result["images"], result["primary_beam"]) == (2, "gaussian")
    return out


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).iterdir())}


def test_files_and_headers(dataset):
    own = {f"{i:04d}_{p}" for i in range(2) for p in ("sky.fits", "noise.fits", "dirty.fits", "truth.ecsv")}
    assert {p.name for p in dataset.iterdir()} == own | {"psf.fits", "pb.fits", "dataset.json"}
    units = {"sky": "Jy/arcsec2", "noise": "Jy/arcsec2", "dirty": "Jy/beam"}
    for name, unit in units.items():
        with fits.open(dataset / f"0001_{name}.fits") as hdus:
            hdus.verify("exception")
            header = hdus[0].header
            assert hdus[0].data.shape == (96, 96)
            assert (header["BUNIT"], header["SEED"], header["SAMPLE"]) == (unit, 5, 1)
            assert (header["TELESCOP"], header["PBMODEL"], header["ROBUST"]) == ("LOFAR", "gaussian", -0.5)
    assert fits.getheader(dataset / "0001_dirty.fits")["NOISE"] == pytest.approx(1e-4)
    assert fits.getheader(dataset / "0001_noise.fits")["NOISE"] == pytest.approx(2.45e-6, rel=2e-3)
    psf, header = fits.getdata(dataset / "psf.fits", header=True)
    assert psf.shape == (192, 192)  # as far as from one corner to the other
    assert psf[96, 96] == pytest.approx(1, abs=1e-5)
    assert (header["CRPIX1"], header["CRPIX2"]) == (97, 97)
    assert 0 < header["BMIN"] <= header["BMAJ"]
    assert fits.getdata(dataset / "pb.fits")[48, 48] == 1
    image = faintsky.open_image(dataset / "0000_dirty.fits")
    assert image.beams[0, 0] == pytest.approx(header["BMAJ"] * 3600)


def test_the_record_says_how(dataset):
    record = json.loads((dataset / "dataset.json").read_text())
    assert (record["kind"], record["seed"], record["parameters"]["preset"]) == ("lofar", 5, "lotss")
    assert record["parameters"]["primary_beam"] == "gaussian"
    assert {"versions", "region_rule", "instrument", "command", "sigma_visibility_jy"} <= set(record)


def test_noise_images_are_white(dataset):
    noise = [
        fits.getdata(dataset / f"{i:04d}_noise.fits") - fits.getdata(dataset / f"{i:04d}_sky.fits")
        for i in (0, 1)
    ]
    assert np.std(noise) == pytest.approx(SIGMA, rel=0.02)
    assert abs(np.mean(noise[0][:, 1:] * noise[0][:, :-1])) < 0.05 * SIGMA**2
    assert abs(np.mean(noise[0] * noise[1])) < 0.05 * SIGMA**2


def test_truth_agrees_with_the_header_and_the_sky(dataset):
    for i in range(2):
        truth = Table.read(dataset / f"{i:04d}_truth.ecsv")
        sky, header = fits.getdata(dataset / f"{i:04d}_sky.fits", header=True)
        ra, dec = WCS(header).all_pix2world(truth["x"], truth["y"], 0)
        np.testing.assert_allclose(truth["ra"], ra, atol=1e-9)
        np.testing.assert_allclose(truth["dec"], dec, atol=1e-9)
        assert len(truth) > 0
        assert (truth["snr"] >= 1).all()
        assert 0 < truth["flux"].sum() <= sky.sum(dtype=float) * 4 * (1 + 1e-6)
        assert "z" not in truth.colnames


@pytest.mark.usefixtures("quick_workers")
def test_jobs_and_order_do_not_matter(dataset, tmp_path):
    faintsky.simulate_lofar(tmp_path / "again", 2, seed=5, preset="lotss", jobs=2, **SMALL)
    assert hashes(tmp_path / "again") == hashes(dataset)


def test_fields_in_memory_are_those_on_disk(tmp_path):
    faintsky.simulate_lofar(tmp_path / "set", 2, seed=5, quick=True, **SMALL)
    fields = list(simulated("lofar", 2, seed=5, quick=True, **SMALL))
    np.testing.assert_array_equal(fields[1].dirty, fits.getdata(tmp_path / "set" / "0001_dirty.fits"))
    assert not np.array_equal(fields[0].dirty, fields[1].dirty)


def test_resume_and_refusal(dataset):
    before = hashes(dataset)
    (dataset / "0001_dirty.fits").unlink()
    faintsky.simulate_lofar(dataset, 2, seed=5, preset="lotss", **SMALL)
    assert hashes(dataset) == before
    with pytest.raises(InputError, match=r"another preset.*--overwrite"):
        faintsky.simulate_lofar(dataset, 2, seed=5, **SMALL)
    with pytest.raises(InputError, match=r"another seed.*--overwrite"):
        faintsky.simulate_lofar(dataset, 2, seed=6, preset="lotss", **SMALL)
    assert hashes(dataset) == before


def test_overwrite_leaves_nothing_of_the_old(tmp_path):
    faintsky.simulate_lofar(tmp_path, 2, seed=1, **SMALL)
    (tmp_path / "notes.txt").write_text("mine")
    faintsky.simulate_lofar(tmp_path, 1, seed=2, products="noise", overwrite=True, **SMALL)
    assert {p.name for p in tmp_path.iterdir()} == {
        *("0000_noise.fits", "0000_truth.ecsv", "dataset.json", "notes.txt")
    }


def test_dry_run_writes_nothing(tmp_path):
    plan = faintsky.simulate_lofar(tmp_path / "no", 7, dry_run=True, **SMALL)
    assert (plan["shape"], plan["files"]) == ([96, 96], 7 * 4 + 3)
    plan = faintsky.simulate_lofar(tmp_path / "no", 7, preset="varied", dry_run=True, **SMALL)
    assert plan["files"] == 7 * 6 + 1
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"preset": "text"}, "preset"),
        ({"products": "dirty,clean", "quick": True}, "clean images need visibilities"),
        ({"backend": "wsclean", "quick": True}, "WSClean needs visibilities"),
        ({"gain_rms": 0.6}, "gain-rms"),
        ({"phase_rms": -1}, "phase-rms"),
        ({"gain_time": "0min"}, "above 0"),
        ({"products": "dirty,model"}, "model"),
        ({"backend": "casa"}, "backend"),
        ({"robust": 3}, "robust"),
        ({"rms": 0}, "above 0"),
        ({"rms": "1mJy"}, "number with a unit"),
        ({"cell": "6arcsec"}, "longest baselines"),
        ({"freq": "60MHz"}, "outside the band of LOFAR"),
        ({"dec": -60}, "below the limit"),
        ({"hour_angle": 1, "start": "2021-03-20T00:00:00"}, "one of them"),
        ({"start": "soon"}, "not a time"),
        ({"total_time": "5s"}, "shorter"),
        ({"size": 8}, "size"),
        ({"primary_beam": "round"}, "primary beam"),
        ({"device": "abacus", "quick": True}, "device"),
        ({"n": 0}, "at least 1"),
    ],
)
def test_bad_values_are_refused(tmp_path, wrong, word):
    with pytest.raises(InputError, match=word):
        faintsky.simulate_lofar(tmp_path / "out", **{**SMALL, **wrong})
    assert not (tmp_path / "out").exists()


def test_everybeam_is_asked_for_only_where_it_is(monkeypatch):
    choose = telescope("lofar").choose_beam
    monkeypatch.setattr("faintsky.telescopes.record.find_spec", lambda name: None)
    assert choose("auto") == "gaussian"
    with pytest.raises(InputError, match=r"faintsky\[lofar\]"):
        choose("everybeam")
    monkeypatch.setattr("faintsky.telescopes.record.find_spec", lambda name: object())
    assert choose("auto") == "everybeam"
    assert choose("gaussian") == "gaussian"


def test_a_failing_everybeam_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(FaintskyError, match=r"EveryBeam failed \(exit status 1\); choose"):
        everybeam_beam(ImageGrid(64, 64, 2.0), 150e6, np.array([59293.0]))


def test_varied_fields_have_their_own_telescope(tmp_path):
    free = {k: v for k, v in SMALL.items() if k != "total_time"}
    faintsky.simulate_lofar(tmp_path, 2, preset="varied", products="dirty,psf,pb", **free)
    psfs = [fits.getdata(tmp_path / f"{i:04d}_psf.fits", header=True) for i in (0, 1)]
    assert not (tmp_path / "psf.fits").exists()
    assert not np.array_equal(psfs[0][0], psfs[1][0])
    assert psfs[0][1]["CRVAL2"] != psfs[1][1]["CRVAL2"]
    settings = SimulationSettings(telescope="lofar", preset="varied", dec=40.0, robust=0.25, **SMALL)
    drawn = [draw_observation(np.random.default_rng(i), settings) for i in range(3)]
    assert {(o.grid.dec, o.robust, o.total_time) for o in drawn} == {(40.0, 0.25, 1800.0)}
    assert len({o.hour_angle for o in drawn}) == 3


def test_varied_tracks_stay_above_twenty_degrees():
    settings = SimulationSettings(telescope="lofar", preset="varied", size=64, integration="30min")
    for i in range(20):
        track = draw_observation(np.random.default_rng(i), settings).track()
        assert np.rad2deg(track.elevation.min()) > 19.5


@pytest.fixture
def model(tmp_path):
    """A point and a Gaussian, Jy/pixel, off the middle; the phase centre too."""
    grid = ImageGrid(80, 72, 2.0, 150.0, 60.0, 30.0, 50.0)
    image = gaussian_image(grid, 45.0, 30.0, 10.0, 6.0, 30.0) * 0.3
    image[60, 20] += 0.1
    header = fits.Header({"BUNIT": "Jy/pixel", "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"})
    header.update({"CRVAL1": 150.0, "CRVAL2": 60.0, "CRPIX1": 31.0, "CRPIX2": 51.0})
    header.update({"CDELT1": -2 / 3600, "CDELT2": 2 / 3600})
    fits.writeto(tmp_path / "model.fits", image, header)
    return tmp_path / "model.fits"


@pytest.mark.parametrize("quick", [False, True])
def test_the_users_sky_is_observed(tmp_path, model, quick):
    out = tmp_path / "out"
    options = {k: v for k, v in SMALL.items() if k != "size"}
    faintsky.simulate_lofar(out, sky=model, noise=False, quick=quick, robust=-1.5, **options)
    sky, header = fits.getdata(out / "0000_sky.fits", header=True)
    np.testing.assert_allclose(sky * 4, fits.getdata(model), rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(fits.getdata(out / "0000_noise.fits"), sky)
    assert (header["CRPIX1"], header["CRPIX2"], header["CRVAL1"]) == (31, 51, 150)
    dirty = fits.getdata(out / "0000_dirty.fits").astype(float)
    pb, psf = fits.getdata(out / "pb.fits"), fits.getdata(out / "psf.fits").astype(float)
    assert pb[50, 30] == pb.max() == 1
    assert psf.shape == (160, 144)
    assert psf[80, 72] == psf.max() == pytest.approx(1, abs=1e-4)
    # by hand: the sky times the beam, convolved with the psf
    attenuated = fits.getdata(model).astype(float) * pb
    for y, x in ((60, 20), (79, 71), (0, 71)):
        expected = (attenuated * psf[80 + y - 79 : 81 + y, 72 + x - 71 : 73 + x][::-1, ::-1]).sum()
        assert dirty[y, x] == pytest.approx(expected, abs=0.002 * dirty.max())
    assert np.unravel_index(np.argmax(dirty[50:70, 10:30]), (20, 20)) == (10, 10)


def test_correction_for_the_primary_beam(model, tmp_path):
    options = {k: v for k, v in SMALL.items() if k != "size"}
    plain, corrected = (
        next(simulated("lofar", 1, sky=model, pbcor=pbcor, **options)) for pbcor in (False, True)
    )
    np.testing.assert_allclose(corrected.dirty * corrected.instrument.pb[0], plain.dirty, rtol=1e-5)


def test_regions_of_a_known_sky():
    grid = ImageGrid(160, 160, 2.0, 180.0, 55.0)
    beam = np.array([12.0, 8.0, 20.0])
    flux = 0.05 * gaussian_image(grid, 60.3, 90.7, 12.0, 7.0, 120.0)
    flux[30, 120] = 0.002
    pb = np.full(grid.shape, 0.5)
    columns = region_columns(flux / 4, pb, beam, 1e-4, grid)
    assert len(columns["id"]) == 2
    point, blob = np.argsort(columns["flux"])
    assert columns["flux"][point] == pytest.approx(0.002)
    assert columns["flux_peak"][point] == pytest.approx(0.002, rel=1e-3)
    assert columns["snr"][point] == pytest.approx(10, rel=1e-3)
    assert (columns["flags"][point], columns["pb"][point]) == ("unresolved", 0.5)
    assert columns["flux"][blob] == pytest.approx(0.05, rel=0.01)
    assert columns["x"][blob] == pytest.approx(60.3, abs=0.05)
    assert columns["y"][blob] == pytest.approx(90.7, abs=0.05)
    assert columns["dc_maj"][blob] == pytest.approx(24, rel=0.03)
    assert columns["dc_min"][blob] == pytest.approx(14, rel=0.03)
    assert columns["dc_pa"][blob] == pytest.approx(120, abs=1)
    assert region_columns(flux * 0, pb, beam, 1e-4, grid)["id"].size == 0


def test_an_image_at_a_beams_resolution():
    """A Gaussian becomes the wider one whose second moments are the sum, with its flux in beams."""
    grid = ImageGrid(128, 128, 1.0)
    image = at_resolution(gaussian_image(grid, 64, 64, 6.0, 6.0, 0.0), np.array([8.0, 8.0, 0.0]), 1.0)
    assert image[64, 64] == pytest.approx(64 / 100, rel=1e-3)
    assert image.sum() == pytest.approx(np.pi / (4 * np.log(2)) * 64, rel=1e-3)


def test_wscleans_padding():
    assert [padded_size(n) for n in (2000, 354, 353, 512, 40)] == [2400, 428, 428, 616, 48]


def test_a_sky_is_the_same_whatever_the_products(cache):
    one, two = (
        open_observatory(SimulationSettings(telescope="lofar", products=p, **SMALL)).sample(3, 0)
        for p in ("sky", "sky,dirty")
    )
    np.testing.assert_array_equal(one.noisy, two.noisy)
    assert one.dirty.size == 0
