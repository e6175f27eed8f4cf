"""The back end ``wsclean``: the same fields through the program, where it is installed; its refusals."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from astropy.io import fits
from conftest import skip_without

import faintsky
from faintsky.errors import FaintskyError, InputError
from faintsky.simulating import at_resolution, check_radler, check_wsclean, read_compact
from faintsky.sky import gaussian_image

SMALL = {"size": 128, "total_time": "40min", "integration": "300s", "primary_beam": "gaussian", "seed": 3}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAINTSKY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def both(out, **settings):
    """A data set through both back ends; their folders are in ``out``."""
    skip_without(check_wsclean)
    for backend in ("fast", "wsclean"):
        faintsky.simulate_lofar(out / backend, backend=backend, **SMALL | settings)
    return out


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Another field and track than the default ones, with gain errors and noise, cleaned."""
    skip_without(check_radler)
    return both(
        tmp_path_factory.mktemp("pair"), preset="lotss", ra=83.0, dec=31.0, hour_angle=-1.5, gain_rms=0.05,
        phase_rms=10.0, products="sky,noise,dirty,clean,psf,pb,compact",
    )  # fmt: skip


def images(folder, name):
    two = [fits.getdata(folder / b / name).astype(float) for b in ("fast", "wsclean")]
    assert two[0].shape == two[1].shape
    return two


def test_both_back_ends_leave_the_same_files(pair):
    names = [{p.name for p in (pair / b).iterdir()} for b in ("fast", "wsclean")]
    assert names[0] == names[1]
    ours, theirs = ((pair / b / "0000_truth.ecsv").read_text() for b in ("fast", "wsclean"))
    assert ours == theirs
    for name in ("0000_sky.fits", "0000_noise.fits", "pb.fits"):
        np.testing.assert_array_equal(*images(pair, name))
    headers = [fits.getheader(pair / b / "0000_clean.fits") for b in ("fast", "wsclean")]
    for card in ("CRVAL1", "CRVAL2", "CDELT1", "CRPIX1", "BUNIT", "RESTFRQ", "SEED", "GAINRMS", "PHASERMS"):
        assert headers[0][card] == headers[1][card]
    assert headers[1]["BMAJ"] == pytest.approx(headers[0]["BMAJ"], rel=0.01)
    assert "WSClean 3" in " ".join(headers[1]["HISTORY"])


def test_dirty_images_agree(pair):
    """The same baselines, gains and noise, number by number: what differs is the gridder's last digits."""
    ours, theirs = images(pair, "0000_dirty.fits")
    assert np.abs(ours - theirs).max() < 3e-4 * np.abs(theirs).max()


def test_clean_images_agree_and_are_clean(pair):
    ours, theirs = images(pair, "0000_clean.fits")
    dirty = images(pair, "0000_dirty.fits")[1]
    sky = fits.getdata(pair / "fast" / "0000_sky.fits")
    h = fits.getheader(pair / "wsclean" / "0000_clean.fits")
    true = at_resolution(
        sky * 4.0 * fits.getdata(pair / "fast" / "pb.fits"),
        np.array([h["BMAJ"] * 3600, h["BMIN"] * 3600, h["BPA"]]), 2.0,
    )  # fmt: skip
    for clean in (ours, theirs):
        assert (clean - true).std() < 0.5 * (dirty - true).std()
    # two versions of the deconvolver, stopped at one sigma
    assert (ours - theirs).std() < 0.5 * (theirs - true).std()


def test_compact_files_hold_the_images(pair):
    for backend in ("fast", "wsclean"):
        kept = read_compact(pair / backend / "0000_compact.npz")
        for name in ("sky", "noise", "dirty", "clean"):
            image = fits.getdata(pair / backend / f"0000_{name}.fits")
            size = np.maximum(np.abs(image), kept["sky"] if name == "noise" else 0)
            assert (np.abs(kept[name] - image) <= 5e-4 * size + 1e-8 * size.max()).all()


def test_the_user_s_sky_off_centre_with_odd_sides(tmp_path):
    """A model whose phase centre is neither on a pixel nor in the middle, a start, another cell and band."""
    from faintsky.grid import ImageGrid

    grid = ImageGrid(113, 128, 1.5, 250.0, 72.0, 40.5, 80.0)
    header = fits.Header({"BUNIT": "Jy/pixel", "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"})
    header.update({"CRVAL1": 250.0, "CRVAL2": 72.0, "CRPIX1": 41.5, "CRPIX2": 81.0})
    header.update({"CDELT1": -1.5 / 3600, "CDELT2": 1.5 / 3600})
    model = gaussian_image(grid, 90.0, 30.0, 8.0, 5.0, 30.0) + 0.2 * gaussian_image(grid, 20, 90, 4, 4, 0)
    fits.writeto(tmp_path / "model.fits", model.astype(np.float32), header)
    settings = {"sky": tmp_path / "model.fits", "size": None, "start": "2022-11-05T09:00:00", "noise": False}
    folder = both(tmp_path / "out", **settings, freq="130MHz", robust=-1.0, products="sky,dirty")
    ours, theirs = images(folder, "0000_dirty.fits")
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()
    assert np.unravel_index(theirs.argmax(), theirs.shape) == (30, 90)


def test_varied_fields_and_resuming(tmp_path):
    varied = {"preset": "varied", "total_time": None, "integration": "20min", "products": "dirty,psf"}
    folder = both(tmp_path, n=2, **varied)
    for i in (0, 1):
        ours, theirs = images(folder, f"{i:04d}_dirty.fits")
        assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()
    done = (folder / "wsclean" / "0001_dirty.fits").read_bytes()
    first = folder / "wsclean" / "0000_dirty.fits"
    stamp = first.stat().st_mtime_ns
    (folder / "wsclean" / "0001_dirty.fits").unlink()
    faintsky.simulate_lofar(folder / "wsclean", n=2, backend="wsclean", **SMALL | varied)
    assert (folder / "wsclean" / "0001_dirty.fits").read_bytes() == done
    assert first.stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="another backend"):
        faintsky.simulate_lofar(folder / "wsclean", n=2, **SMALL | varied)


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("FAINTSKY_WSCLEAN", raising=False)
    with pytest.raises(InputError, match="WSClean is not installed; install it"):
        faintsky.simulate_lofar(tmp_path / "out", backend="wsclean", **SMALL)
    monkeypatch.setenv("FAINTSKY_WSCLEAN", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="names no program"):
        faintsky.simulate_lofar(tmp_path / "out", backend="wsclean", **SMALL)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/true")
    monkeypatch.setattr("faintsky.simulating.wsclean.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"python-casacore is not installed; install faintsky\[lofar\]"):
        faintsky.simulate_lofar(tmp_path / "out", backend="wsclean", **SMALL)
    monkeypatch.setattr("faintsky.simulating.radler_clean.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"clean images need radler; install faintsky\[lofar\]"):
        faintsky.simulate_lofar(tmp_path / "out", products="clean", **SMALL)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts a shell script in WSClean's place; temporary files go to a folder of the test."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))

    def write(body):
        path = tmp_path / "wsclean"
        path.write_text(f'#!/bin/sh\ntest "$1" = -version && echo WSClean version 3.1.0 && exit\n{body}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("FAINTSKY_WSCLEAN", str(path))
        skip_without(check_wsclean)  # python-casacore

    return write


def left_over(tmp_path):
    # a killed run cannot take its lock file away, which locks nothing any more
    hidden = [p for p in tmp_path.glob("out/.*") if p.name != ".lock"]
    return [*tmp_path.glob("temporary/*"), *tmp_path.glob("out/0000*"), *hidden]


def test_a_failing_wsclean_says_why(tmp_path, fake):
    fake('echo "+ An exception occured:"; echo "+ >>> the disk is full"; echo "+ + + +"; exit 255')
    with pytest.raises(FaintskyError, match="WSClean failed: the disk is full"):
        faintsky.simulate_lofar(tmp_path / "out", backend="wsclean", products="dirty", **SMALL)
    assert not left_over(tmp_path)


def test_a_wsclean_that_hangs_is_ended(tmp_path, fake, monkeypatch):
    fake(f"touch {tmp_path}/started; exec sleep 1234")
    monkeypatch.setattr("faintsky.simulating.wsclean.LONGEST", 5.0)
    with pytest.raises(FaintskyError, match="WSClean took longer than 5 s"):
        faintsky.simulate_lofar(tmp_path / "out", backend="wsclean", products="dirty", **SMALL)
    assert not left_over(tmp_path)


def test_a_killed_run_takes_wsclean_with_it(tmp_path, fake):
    fake(f"echo $$ > {tmp_path}/pid; exec sleep 1234")
    words = [f"--{k.replace('_', '-')}={v}" for k, v in SMALL.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "faintsky.cli", "simulate", "lofar", "--out", str(tmp_path / "out"),
         "--backend=wsclean", "--products=dirty", "--jobs=1", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not ((tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().strip()):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    pid = int((tmp_path / "pid").read_text())
    while os.path.exists(f"/proc/{pid}") and "Z" not in _state(pid):
        assert time.monotonic() < until, "WSClean outlived the run"
        time.sleep(0.05)
    while left_over(tmp_path):
        assert time.monotonic() < until, left_over(tmp_path)
        time.sleep(0.05)


def _state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
