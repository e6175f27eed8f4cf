"""Runs killed half-way: no half file under a final name, and the same command goes on to the full output."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from astropy.io import fits
from conftest import cube_header
from outputs import DENOISED, DETECTED
from scipy.ndimage import gaussian_filter
from synthetic import Emitter, telescope

from faintsky.catalog import read_catalog

pytestmark = pytest.mark.skipif(
    os.environ.get("FAINTSKY_KILL_TESTS") != "1",
    reason="starts and kills dozens of processes, for minutes; FAINTSKY_KILL_TESTS=1 (`make kill`) runs it",
)


@pytest.fixture(autouse=True)
def _orphans():
    """Workers that outlive a killed parent end with the test."""
    yield
    while GROUPS:
        with suppress(ProcessLookupError):
            os.killpg(GROUPS.pop(), signal.SIGKILL)


GROUPS: list[int] = []


def start(*arguments, by=("-m", "faintsky.cli")):
    # no pipes: workers left over would hold them open
    process = subprocess.Popen(
        [sys.executable, *by, *map(str, arguments)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    GROUPS.append(process.pid)
    return process


def finish(*arguments, **how):
    """Seconds that the command takes, when nobody kills it."""
    begun = time.monotonic()
    assert start(*arguments, **how).wait(timeout=600) == 0, arguments
    return time.monotonic() - begun


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)


def kill_after(seconds, *arguments, **how):
    process = start(*arguments, **how)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)
    kill(process)


def kill_when(condition, *arguments, later=0.0):
    """Kill at the first moment that `condition` holds; whether it came to that."""
    process = start(*arguments)
    while process.poll() is None:
        if condition():
            time.sleep(later)
            kill(process)
            return True
        time.sleep(0.0005)
    process.wait(timeout=60)
    return False


def check_whole(path):
    """A file that opens, and holds all that it says it does."""
    if path.suffix == ".fits":
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert path.stat().st_size >= 2880
            for hdu in hdus:
                assert hdu.data is None or np.asarray(hdu.data).size > 0
    elif path.suffix in (".ecsv", ".vot", ".csv"):
        if "catalog" in path.name:
            read_catalog(path)
        else:
            from astropy.table import Table

            Table.read(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")
    elif path.suffix == ".reg":
        assert path.read_text().startswith("# Region file")
        assert path.read_text().endswith("\n")


def final_files(out):
    return sorted(p for p in out.iterdir() if not p.name.startswith(".")) if out.is_dir() else []


def check_nothing_half(out):
    for path in final_files(out):
        check_whole(path)
    record = out / "run.json"
    return record.is_file() and bool(json.loads(record.read_text()).get("complete"))


# ---------------------------------------------------------------------- detect


@pytest.fixture
def cube(tmp_path):
    t = telescope(96)
    data = t.cube([t.at_snr(Emitter(40, 50, 20, maj=5, min=4), 40, 1e-3, 64)], 64, seed=1)
    path = tmp_path / "cube.fits"
    fits.PrimaryHDU(data, cube_header()).writeto(path)
    return path


def check_detect_completes(cube, out):
    finish("detect", cube, "--out", out, "--device", "cpu")
    assert {p.name for p in final_files(out)} == DETECTED
    assert check_nothing_half(out)
    assert not list(out.glob(".partial-*"))
    assert len(read_catalog(out / "catalog.ecsv")) >= 1


def test_detect_killed_at_any_moment(cube, tmp_path):
    whole = finish("detect", cube, "--out", tmp_path / "first", "--device", "cpu")
    for k, share in enumerate(np.random.default_rng(1).uniform(0.2, 1.0, 3)):
        out = tmp_path / f"out{k}"
        kill_after(share * whole, "detect", cube, "--out", out, "--device", "cpu")
        check_nothing_half(out)
        check_detect_completes(cube, out)


@pytest.mark.parametrize("later", [0.0, 0.1, 0.3])
def test_detect_killed_while_writing(cube, tmp_path, later):
    out = tmp_path / "out"
    command = ("detect", cube, "--out", out, "--device", "cpu")
    assert kill_when(lambda: any(out.glob(".partial-*")), *command, later=later)
    check_nothing_half(out)
    check_detect_completes(cube, out)


@pytest.mark.parametrize("name", ["catalog.csv", "model.fits", "run.json"])
def test_detect_killed_while_moving_into_place(cube, tmp_path, name):
    out = tmp_path / "out"
    kill_when(lambda: (out / name).exists(), "detect", cube, "--out", out, "--device", "cpu")
    check_nothing_half(out)
    check_detect_completes(cube, out)


def test_detect_killed_between_two_moves(cube, tmp_path):
    """What a kill between two moves leaves: some files in place, the others not."""
    from faintsky import detect

    out = tmp_path / "out"
    moved = []
    original = os.replace

    class Killed(BaseException):
        pass

    def replace(source, target):
        if ".partial-" in str(source) and os.path.dirname(str(target)) == str(out):
            if len(moved) == 3:
                raise Killed
            moved.append(target)
        original(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            detect(cube, out, device="cpu")
    assert len(moved) == 3
    check_nothing_half(out)
    check_detect_completes(cube, out)


def test_overwriting_killed_keeps_whole_files(cube, tmp_path):
    out = tmp_path / "out"
    finish("detect", cube, "--out", out, "--device", "cpu", "--reliability", "0.5")
    command = ("detect", cube, "--out", out, "--device", "cpu", "--overwrite")
    for condition in (
        lambda: any(out.glob(".partial-*/*model.fits*")),
        lambda: not (out / "run.json").exists(),
    ):
        kill_when(condition, *command)
        check_nothing_half(out)
    finish(*command)
    assert {p.name for p in final_files(out)} == DETECTED
    assert check_nothing_half(out)


# ---------------------------------------------------------------------- denoise


@pytest.mark.parametrize("moment", ["early", "computing", "writing", "moving"])
def test_denoise_killed_at_any_moment(noisy, passing, tmp_path, moment):
    path, out = tmp_path / "image.fits", tmp_path / "out"
    fits.PrimaryHDU(noisy(n_chan=3, n=256)[1:2].astype(np.float32), cube_header()).writeto(path)
    command = ("denoise", path, "--out", out, "--model", passing, "--device", "cpu")
    if moment == "writing":
        assert kill_when(lambda: any(out.glob(".partial-*")), *command, later=0.1)
    elif moment == "moving":
        kill_when(lambda: (out / "denoised.fits").exists(), *command)
    else:
        seconds = finish(*command[:3], tmp_path / "first", *command[4:])
        kill_after({"early": 0.3, "computing": 0.7}[moment] * seconds, *command)
    check_nothing_half(out)
    finish(*command)
    assert {p.name for p in final_files(out)} == DENOISED
    assert check_nothing_half(out)
    assert not list(out.glob(".partial-*"))
    assert len(read_catalog(out / "catalog.ecsv")) >= 1


# ---------------------------------------------------------------------- simulate


SIMULATE = (
    *("simulate", "alma", "-n", "4", "--seed", "3", "--size", "64", "--channels", "16"),
    *("--device", "cpu"),
)


def contents(out):
    """Bytes of the data units of every FITS file, and the tables."""
    return {p.name: fits.getdata(p).tobytes() for p in final_files(out) if p.suffix == ".fits"}


def test_simulate_alma_killed_and_resumed(tmp_path):
    whole = tmp_path / "whole"
    seconds = finish(*SIMULATE, "--out", whole)
    want = contents(whole)
    names = {p.name for p in final_files(whole)}
    out = tmp_path / "out"
    for share in np.random.default_rng(2).uniform(0.3, 1.0, 4):
        kill_after(share * seconds, *SIMULATE, "--out", out)
        for path in final_files(out):
            check_whole(path)
    for name in ("0001_dirty.fits", "0002_truth.ecsv"):
        again = tmp_path / name.replace(".", "_")
        kill_when(lambda p=again / name: p.exists(), *SIMULATE, "--out", again)
        for path in final_files(again):
            check_whole(path)
        finish(*SIMULATE, "--out", again)
        assert contents(again) == want
    finish(*SIMULATE, "--out", out)
    assert {p.name for p in final_files(out)} == names
    assert contents(out) == want


# ---------------------------------------------------------------------- runs of many parts

KILLS = int(os.environ.get("FAINTSKY_KILLS", "20"))
SMALL = """
import sys
from functools import partial
from faintsky import blocks, detect
from faintsky.detection import cube_tiles, tiles

if __name__ == "__main__":
    small = partial(blocks.tiles, margin=32, core=96, whole=128)
    tiles.tiles = lambda shape, margin: small(shape)
    cube_tiles.bricks = lambda shape, margin, voxels, longest: blocks.bricks(shape, (9, 14, 14), 2e5, 99)
    cube_tiles.VOXELS = 1e5
    data, out, jobs, cluster = sys.argv[1:]
    detect(data.split(","), out, jobs=int(jobs), cluster=cluster) if "," in data else detect(
        data, out, jobs=int(jobs), cluster=cluster
    )
"""
"""What `faintsky detect` does, in small tiles."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """An image and a cube of several tiles, and a few small cubes."""
    folder, t = tmp_path_factory.mktemp("inputs"), telescope(64)
    rng = np.random.default_rng(7)
    y, x = np.indices((300, 300))
    image = gaussian_filter(rng.normal(size=y.shape), 1.2, mode="wrap")
    image *= 5e-5 / image.std()
    for px, py in rng.uniform(10, 290, (25, 2)):
        image += 1e-3 * np.exp(-4 * np.log(2) * ((x - px) ** 2 + (y - py) ** 2) / 16)
    header = cube_header()
    for key in ("CTYPE3", "CRVAL3", "CDELT3", "CRPIX3", "CUNIT3"):
        header.remove(key, ignore_missing=True)
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(folder / "image.fits")
    places = [(20, 40, 20), (31, 31, 45), (50, 12, 80)]
    lines = [t.at_snr(Emitter(px, py, z, fwhm_z=6), 25, 1e-3, 100) for px, py, z in places]
    fits.PrimaryHDU(t.cube(lines, 100, seed=2), cube_header()).writeto(folder / "cube.fits")
    for k in range(4):
        one = t.cube([t.at_snr(Emitter(30, 40, 12, fwhm_z=5), 25, 1e-3, 24)], 24, seed=k)
        fits.PrimaryHDU(one, cube_header()).writeto(folder / f"small{k}.fits")
    return folder


def values(out):
    """Arrays of all FITS files below a folder, as bytes."""
    found = {}
    for path in sorted(out.rglob("*.fits")):
        if not any(part.startswith(".") for part in path.relative_to(out).parts):
            with fits.open(path) as hdus:
                found[str(path.relative_to(out))] = [h.data.tobytes() for h in hdus if h.data is not None]
    return found


@pytest.fixture
def scheduler(tmp_path):
    """A Dask scheduler with two workers, and their processes."""
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    where = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    main = subprocess.Popen([*dask, "--scheduler-file", str(where), "--port", "0", "--no-dashboard"], **quiet)
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(where)]
    others = [
        subprocess.Popen([*worker, "--nthreads", "1", "--no-dashboard"], **quiet, cwd=tmp_path)
        for _ in range(2)
    ]
    GROUPS.extend(p.pid for p in (main, *others))
    until = time.monotonic() + 120
    while not where.exists() and time.monotonic() < until:
        time.sleep(0.2)
    yield json.loads(where.read_text())["address"]
    for process in (main, *others):
        process.kill()
        process.wait(timeout=60)


@pytest.mark.parametrize("what", ["image", "cube", "files", "cluster"])
def test_killed_at_random_moments_to_the_same_bytes(inputs, tmp_path, what, request):
    """Of a run in tiles, of several files, and on the workers of a scheduler that goes on."""
    files = ",".join(str(inputs / f"small{k}.fits") for k in range(4))
    data = files if what == "files" else inputs / f"{'image' if what == 'cluster' else what}.fits"
    cluster = request.getfixturevalue("scheduler") if what == "cluster" else "local"
    how, jobs = {"by": ("-c", SMALL)}, 1 if what in ("image", "cube") else 2
    seconds = finish(data, tmp_path / "whole", jobs, cluster, **how)
    want = values(tmp_path / "whole")
    assert len(want) >= 5
    out = tmp_path / "out"
    for share in np.random.default_rng(len(what)).uniform(0.1, 1.0, KILLS):
        kill_after(share * seconds, data, out, jobs, cluster, **how)
        if (out / "run.json").exists() and check_nothing_half(out):
            assert values(out) == want
            shutil.rmtree(out)
    finish(data, out, jobs, cluster, **how)
    assert values(out) == want
    assert not list(out.glob(".tiles*"))


def test_an_image_killed_twice_while_tiles_are_searched(inputs, tmp_path):
    """What was searched is not searched again, and all files have the same bytes."""
    results = []
    for kills in ((), (3, 5)):
        out = tmp_path / f"out{len(kills)}"
        for after in (*kills, 99):
            run = [sys.executable, "-c", KILLED, str(inputs / "image.fits"), str(out), str(after)]
            done = subprocess.run(run, capture_output=True, text=True, check=False)
            assert done.returncode == (0 if after == 99 else -9), done.stderr
        looked = int(done.stdout.split()[-1])
        assert looked == 16 - sum(k - 1 for k in kills)
        results.append({p.name: p.read_bytes() for p in out.glob("*.fits")})
        assert not (out / ".tiles").exists()
        assert {"mask.fits", "model.fits", "catalog.fits"} < set(results[-1])
        check_whole(out / "mask.fits")
    assert results[0] == results[1]


KILLED = """
import os, signal, sys
from functools import partial
import faintsky.detection.image as file, faintsky.detection.tiles as tiling
from faintsky import detect
from faintsky.blocks import tiles

small, look, count = partial(tiles, margin=32, core=96, whole=128), file.look, 0
tiling.tiles = lambda shape, margin: small(shape)

def killed(how, number, maps):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return look(how, number, maps)

file.look = killed
detect(sys.argv[1], sys.argv[2], jobs=1)
print(count)
"""
