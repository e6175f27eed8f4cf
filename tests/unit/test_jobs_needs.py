"""What a run takes: said in one form by every command, and as much as it then takes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

from faintsky.cli import main
from faintsky.system import Needs, check_space

KEYS = {"blocks", "processes", "memory_gb", "disk_gb", "disk_free_gb", "time_minutes", "out"}
COMMANDS = [
    "simulate alma --size 64 --channels 8", "simulate lofar --size 64", "detect CUBE", "denoise IMAGE",
    "inject CUBE", "inject IMAGE", "evaluate alma -n 2", "evaluate lofar -n 2 --size 64", "demo",
    "train local_unet", "train dda", "tune local_unet --trials 3",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_dry_run_has_one_form(command, make_fits, tmp_path, capsys, noisy, header):
    if command.startswith(("train", "tune")):
        pytest.importorskip("pytorch_lightning", reason="the extra 'train' is not installed")
    words = command.replace("CUBE", str(make_fits())).split()
    if "IMAGE" in words:
        image = tmp_path / "image.fits"
        fits.writeto(image, noisy(n_chan=3, n=64)[1:2].astype(np.float32), header())
        words[words.index("IMAGE")] = str(image)
    before = sorted(tmp_path.iterdir())
    words += ["--out", str(tmp_path / "out"), "--dry-run"]
    assert main([*words, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert set(plan) >= KEYS
    assert plan["memory_gb"] > 0.1
    assert plan["disk_gb"] > 0
    assert plan["disk_free_gb"] > 0
    assert plan["time_minutes"] > 0
    assert main(words) == 0
    page = capsys.readouterr().out
    assert f"memory: {plan['memory_gb']:g} GB" in page
    assert f"time: about {plan['time_minutes']:g} minutes" in page
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "out").write_text("a file in the way")
    assert main(words) == 2
    assert "out: is a file, not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_begins_what_does_not_fit(
    command, make_fits, tmp_path, capsys, monkeypatch, noisy, header
):
    if command.startswith(("train", "tune")):
        pytest.importorskip("pytorch_lightning", reason="the extra 'train' is not installed")
    words = command.replace("CUBE", str(make_fits())).split()
    if "IMAGE" in words:
        image = tmp_path / "image.fits"
        fits.writeto(image, noisy(n_chan=3, n=64)[1:2].astype(np.float32), header())
        words[words.index("IMAGE")] = str(image)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    before = sorted(tmp_path.iterdir())
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert " GB of its disk are free; free some space" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_needs_of_several_processes():
    needs = Needs(2e9, 3e9, 600, blocks=8, processes=2, beside=5e8)
    assert needs.summary(None) == {
        "blocks": 8, "processes": 2, "memory_gb": 4.5, "disk_gb": 3.0, "disk_free_gb": None,
        "time_minutes": 5.0, "out": None,
    }  # fmt: skip


def test_what_fits_is_let_through(tmp_path):
    check_space(tmp_path, 1.0)
    Needs(1e6, 1e6, 1.0).check(tmp_path)


def test_what_does_not_fit_into_memory_is_refused(tmp_path, make_fits, monkeypatch, capsys):
    monkeypatch.setattr("faintsky.system.machine.free_memory", lambda: 1e8)
    assert main(["detect", str(make_fits()), "--out", str(tmp_path / "out")]) == 2
    assert " GB of memory, and 0.1 GB are free; give less data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


MEASURE = """
import sys
import numpy as np
import faintsky
from faintsky.image import RadioCube, RadioImage
from scipy.ndimage import gaussian_filter

rng = np.random.default_rng(1)

def smooth(*shape):
    return (gaussian_filter(rng.normal(size=shape), (0,) * (len(shape) - 2) + (2, 2)) * 7).astype(np.float32)

def cube(n_chan, n):
    beam = np.full((n_chan, 3), [4.7, 4.7, 0.0])
    known = {"cell": 1.0, "beam": beam, "frequencies": 1e11 + 1e7 * np.arange(n_chan)}
    return RadioCube.from_array(smooth(n_chan, n, n), **known)

def image(n):
    return RadioImage.from_array(smooth(n, n), cell=1.0, beam=[4.7, 4.7, 0.0])

def peak():
    # not the resource module's, which a process inherits from the one that started it
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if "VmHWM" in line)

if sys.argv[1] == "detect":
    run, small, large = faintsky.detect, cube(16, 32), cube(128, 256)
else:
    run, small, large = faintsky.denoise, image(64), image(1200)
said = [1e9 * run(data, dry_run=True).facts["memory_gb"] for data in (small, large)]
run(small, sys.argv[2] + "/small", device="cpu")
before = peak()
run(large, sys.argv[2] + "/large", device="cpu")
print(peak() / (before + said[1] - said[0]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize("job", ["detect", "denoise"])
def test_memory_is_what_was_said(job, tmp_path):
    """Within a quarter; the libraries take what they take in a small run, which differs between machines."""
    command = [sys.executable, "-c", MEASURE, job, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) == pytest.approx(1, abs=0.25)
