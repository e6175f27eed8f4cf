"""The back end ``casa``: the same skies through CASA itself, where it is installed, and its refusals."""

import stat

import numpy as np
import pytest
import torch
from astropy.io import fits
from conftest import skip_without

import faintsky
from faintsky.errors import FaintskyError, InputError
from faintsky.simulating import SimulationSettings, casa_python, open_observatory
from faintsky.telescopes import load_array

SMALL = {"size": 128, "channels": 8, "cell": 0.15, "total_time": "120s", "integration": "30s", "seed": 3}


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


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Makes a data set through both back ends; gives their folders."""
    skip_without(casa_python)

    def make(**settings):
        out = tmp_path_factory.mktemp("pair")
        for backend in ("fast", "casa"):
            faintsky.simulate_alma(out / backend, backend=backend, **SMALL | settings)
        return out

    return make


@pytest.fixture(scope="module")
def clean(pairs):
    return pairs(noise=False)


def images(folder, name):
    both = [fits.getdata(folder / b / name).astype(float) for b in ("fast", "casa")]
    assert both[0].shape == both[1].shape
    return both


def worst(ours, theirs, peak):
    n = ours.shape[-1] // 4
    inner = (slice(None), slice(n, -n), slice(n, -n))
    return float((np.nanmax(np.abs(ours - theirs)[inner], axis=(1, 2)) / peak).max())


def test_both_back_ends_leave_the_same_files(clean):
    names = [{p.name for p in (clean / b).iterdir()} for b in ("fast", "casa")]
    assert names[0] == names[1]
    texts = [(clean / b / "0000_truth.ecsv").read_text() for b in ("fast", "casa")]
    assert texts[0] == texts[1]
    headers = [fits.getheader(clean / b / "0000_dirty.fits") for b in ("fast", "casa")]
    for card in ("CRVAL1", "CRVAL2", "CRVAL3", "CDELT1", "CDELT3", "CRPIX1", "BUNIT", "RESTFRQ", "SEED"):
        assert headers[0][card] == headers[1][card]
    assert headers[1]["BMAJ"] == pytest.approx(headers[0]["BMAJ"], rel=0.01)
    assert "simobserve and tclean" in " ".join(headers[1]["HISTORY"]).replace("simobserv e", "simobserve")


def test_noise_free_images_agree(clean):
    ours, theirs = images(clean, "0000_dirty.fits")
    assert worst(ours, theirs, np.nanmax(np.abs(theirs), axis=(1, 2))) < 2e-3
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    assert worst(*images(clean, "psf.fits"), 1.0) < 2e-3
    assert worst(*images(clean, "pb.fits"), 1.0) < 1e-3


def test_noise_reaches_the_signal_to_noise_asked_for(pairs, clean):
    noisy = pairs(snr=5.0)
    noise = [b - a for a, b in zip(images(clean, "0000_dirty.fits"), images(noisy, "0000_dirty.fits"))]
    rms = [n.std() for n in noise]
    sigma = fits.getheader(noisy / "casa" / "0000_dirty.fits")["NOISE"]
    thermal = open_observatory(
        SimulationSettings(telescope="alma", **{k: v for k, v in SMALL.items() if k != "seed"})
    ).instrument.sigma
    assert sigma > 1.1 * thermal.mean(), "there is extra noise"
    assert rms == pytest.approx([sigma, sigma], rel=0.05)
    # correlated like the beam: pixel by pixel it would be 0 at neighbours
    for n in noise:
        assert (n[:, :, 1:] * n[:, :, :-1]).mean() > 0.8 * n.var()


def test_the_user_s_sky_array_and_weights(pairs, clean, tmp_path):
    array = load_array("C-2")
    rows = [f"{x:.6f} {y:.6f} {z:.6f} 12 {p}" for (x, y, z), p in zip(array.itrf, array.pads, strict=True)]
    (tmp_path / "mine.cfg").write_text("\n".join(["# observatory=ALMA", "# coordsys=XYZ", *rows]) + "\n")
    folder = pairs(
        sky=clean / "fast" / "0000_sky.fits", array=tmp_path / "mine.cfg", weighting="briggs:0.5",
        hour_angle=1.5, noise=False, pbcor=True, products="dirty",
    )  # fmt: skip
    ours, theirs = images(folder, "0000_dirty.fits")
    assert worst(ours, theirs, np.nanmax(np.abs(theirs), axis=(1, 2))) < 2e-3


def test_a_missing_casa_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("faintsky.simulating.casa.find_spec", lambda name: None)
    monkeypatch.delenv("FAINTSKY_CASA_PYTHON", raising=False)
    with pytest.raises(InputError, match=r"CASA is not installed; install faintsky\[casa\]"):
        faintsky.simulate_alma(tmp_path / "out", backend="casa", **SMALL)
    with pytest.raises(InputError, match="CASA is not installed"):
        faintsky.simulate_alma(tmp_path / "out", backend="casa", preset="varied", seed=3)
    monkeypatch.setenv("FAINTSKY_CASA_PYTHON", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="names no program"):
        faintsky.simulate_alma(tmp_path / "out", backend="casa", **SMALL)
    assert not (tmp_path / "out").exists()


def fake(path, body, monkeypatch):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FAINTSKY_CASA_PYTHON", str(path))


def test_a_failing_casa_says_why(tmp_path, monkeypatch):
    fake(tmp_path / "python", "echo a line; echo the disk is full; exit 3", monkeypatch)
    with pytest.raises(FaintskyError, match="CASA failed: the disk is full"):
        faintsky.simulate_alma(tmp_path / "out", backend="casa", **SMALL)
    assert not list((tmp_path / "out").glob("0000*"))


@pytest.mark.parametrize(
    ("wrong", "word"),
    [({"start": "2014-01-01T03:00:00"}, "takes no start"), ({"backend": "miriad"}, "backend")],
)
def test_what_casa_cannot_do_is_refused(tmp_path, monkeypatch, wrong, word):
    fake(tmp_path / "python", "exit 1", monkeypatch)
    with pytest.raises(InputError, match=word):
        faintsky.simulate_alma(tmp_path / "out", **{"backend": "casa", **SMALL, **wrong})
    assert not (tmp_path / "out").exists()
