"""Tasks spread over Dask workers: results, preparation, workers that die, failures, schedulers."""

import os
import platform
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import cloudpickle
import pytest

from faintsky.errors import FaintskyError, InputError
from faintsky.system import Workers, run_tasks

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find tests


def square(x):
    return x * x


def threads(x):
    return os.environ["OMP_NUM_THREADS"], os.getpid()


def note(folder):
    (Path(folder) / f"prepared{os.getpid()}").touch()


def prepared(folder, x):
    return (Path(folder) / f"prepared{os.getpid()}").exists()


def dies_once(folder, x):
    """The worker that gets task 3 first is killed."""
    mark = Path(folder) / "died"
    if x == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def always_dies(x):
    if x == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def fails(x):
    if x == 2:
        raise FaintskyError("no more")
    return x


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_task_with_its_result(jobs):
    assert dict(run_tasks(square, range(7), jobs)) == {x: x * x for x in range(7)}


def test_workers_have_one_thread_and_are_prepared(tmp_path):
    found = dict(run_tasks(threads, range(4), 2))
    assert {count for count, _ in found.values()} == {"1"}
    assert os.getpid() not in {process for _, process in found.values()}
    assert all(
        ready for _, ready in run_tasks(partial(prepared, tmp_path), range(4), 2, partial(note, tmp_path))
    )


def test_a_script_without_a_main_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from faintsky.system import Workers, run_tasks\n"
        "def cube(x):\n    return x**3\n"
        "print('begun')\n"
        "print(sorted(dict(run_tasks(cube, range(3), 2)).values()))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["begun", "[0, 1, 8]"], done.stderr


def test_workers_stay_for_several_rounds():
    with Workers(2) as workers:
        first, second = (workers.results(threads, range(4)) for _ in range(2))
        assert {p for _, p in second} <= {p for _, p in first}
        told = []
        assert workers.results(square, [3, 1, 2], lambda: told.append(1)) == [9, 1, 4]
        assert len(told) == 3


def test_a_worker_that_dies_is_replaced_and_its_task_done_again(tmp_path):
    assert dict(run_tasks(partial(dies_once, tmp_path), range(8), 2)) == {x: x for x in range(8)}
    assert (tmp_path / "died").exists()


def test_a_task_that_ends_every_worker():
    with pytest.raises(FaintskyError, match="ended its worker"):
        list(run_tasks(always_dies, range(3), 2))


def test_the_error_of_a_task():
    with pytest.raises(FaintskyError, match="no more"):
        list(run_tasks(fails, range(4), 2))


def test_a_scheduler_that_runs():
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as made:
        assert dict(run_tasks(square, range(5), 1, cluster=made.scheduler_address)) == {
            x: x * x for x in range(5)
        }


@pytest.mark.parametrize(
    ("name", "fault"), [("cloud", "no cluster"), ("tcp://127.0.0.1:1", "no scheduler answers")]
)
def test_clusters_that_are_none(name, fault, monkeypatch):
    monkeypatch.setattr("faintsky.system.cluster.PATIENCE", "1s")
    with pytest.raises(InputError, match=fault):
        list(run_tasks(square, range(2), 2, cluster=name))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_freed_memory_is_kept_for_the_next_array():
    code = (
        "import faintsky, resource, numpy as np\n"
        "def pages():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    np.ones(10_000_000)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "print(pages(), pages())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    first, second = map(int, said.split())
    assert second < 0.1 * first
