"""Threads: how they wait, how many there are, and that forked processes do not wait for those they lack."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from faintsky.errors import InputError
from faintsky.io import Job
from faintsky.options import Running
from faintsky.system import Needs, cpu_count, folder_lock, limited_threads, prepare_threads, worker_count

SHOW = "import faintsky, json, os; print(json.dumps(dict(os.environ)))"
NAMES = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


def run(code, *words, limit=120, **changes):
    """A Python process in a session of its own, so that none of its children is left where it hangs."""
    environment = {k: v for k, v in os.environ.items() if k not in NAMES} | changes
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert process.returncode == 0, err
    return out, err


@pytest.mark.parametrize(
    ("user", "policy", "block"),
    [
        ({}, "PASSIVE", "0"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", None),
        ({"KMP_BLOCKTIME": "5"}, "PASSIVE", "5"),
    ],
)
def test_threads_do_not_spin_unless_the_user_says_so(user, policy, block):
    seen = json.loads(run(SHOW, **user)[0])
    assert seen["OMP_WAIT_POLICY"] == policy
    assert seen.get("KMP_BLOCKTIME") == block


def test_torch_is_loaded_with_it():
    _, shown = run("from faintsky import detect; import torch", OMP_DISPLAY_ENV="TRUE")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in shown or "OMP_WAIT_POLICY='PASSIVE'" in shown


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_the_quota_of_a_container_counts(files, expected, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("faintsky.system.processes.CGROUPS", tmp_path)
    monkeypatch.setattr("faintsky.system.processes._affinity", lambda: 8)
    monkeypatch.setattr(os, "register_at_fork", lambda **hooks: None)
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert cpu_count() == worker_count(None) == expected
    prepare_threads()
    assert os.environ.get("OMP_NUM_THREADS") == (str(expected) if expected < 8 else None)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_affinity_counts():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    assert run(f"{code}; from faintsky.system import cpu_count; print(cpu_count())")[0] == "1\n"


FORK = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import faintsky

cube, image, out = sys.argv[1:]

def work(i):
    found = faintsky.detect(cube)
    clean = faintsky.denoise(image)
    return len(found.catalog), float(clean.image.sum())

def nested(i):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, range(2)))[i % 2]

def simulate(i):
    faintsky.simulate_alma(
        f"{out}/{i}", 2, jobs=2, size=32, channels=8, cell="0.2arcsec", total_time="60s", integration="20s"
    )
    return work(i)

first = work(0)
fork = multiprocessing.get_context("fork")
made = []
for task in (work, nested, simulate):
    with fork.Pool(2) as pool:
        made += pool.map(task, range(2))
with ProcessPoolExecutor(2, mp_context=fork) as pool:
    made += pool.map(work, range(2))
print(first, {(n, round(total / first[1], 3)) for n, total in made})
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_workers_of_a_process_that_has_used_us_do_not_hang(make_fits, noisy, tmp_path):
    """Detect, denoise and simulate in pools of forked processes, and in threads of those."""
    cube = make_fits()
    plane = make_fits("image.fits", data=(noisy(3, 128)[1:2] * 1e-3).astype(np.float32))
    out, _ = run(FORK, cube, plane, tmp_path, OMP_NUM_THREADS="2", FAINTSKY_CACHE=str(tmp_path / "cache"))
    sources = int(out[1 : out.index(",")])
    assert sources > 0
    assert out.split(") ", 1)[1].strip() == f"{{({sources}, 1.0)}}"


def test_a_refused_folder_leaves_no_limit_of_threads(tmp_path):
    import torch

    torch.set_num_threads(2)
    job = Job("test", tmp_path, Running(jobs=1), Needs(0, 0, 0), {})
    with folder_lock(tmp_path), pytest.raises(InputError, match="another run"), job:
        pass
    assert torch.get_num_threads() == 2


def test_a_limit_of_threads_holds_within_its_block(monkeypatch):
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    with limited_threads(3):
        assert torch.get_num_threads() == 3
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "3"
    assert torch.get_num_threads() == before
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ
    with limited_threads(None):
        assert torch.get_num_threads() == before
