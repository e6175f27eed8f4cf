"""Output folders: whole or not there; resumed, refused, replaced. Files take their names when finished."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faintsky.errors import DiskError, InputError
from faintsky.io import OutputFolder, provenance, write_json
from faintsky.system import check_space, folder_lock, replacing

RUN = {"version": "1", "config": {"a": 1}, "seed": 3}


def fill(path, run=RUN, names=("a.txt", "b.txt"), **options):
    with OutputFolder(path, run, **options) as out:
        for name in names:
            with replacing(out.folder / name) as temporary:
                temporary.write_text(name)
    return out


def fail(path, run=RUN, done=(), error=RuntimeError, **options):
    """A run that writes some files, and half of another, and then fails."""
    with OutputFolder(path, run, **options) as out:
        for name in done:
            with replacing(out.folder / name) as temporary:
                temporary.write_text("done")
        with replacing(out.folder / "half.txt") as temporary:
            temporary.write_text("half")
            raise error


def listing(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


@pytest.mark.parametrize("resumable", [False, True])
def test_a_folder_is_filled_and_described(tmp_path, resumable):
    out = tmp_path / "deep" / "out"
    fill(out, resumable=resumable)
    assert listing(out) == ["a.txt", "b.txt", "run.json"]
    record = json.loads((out / "run.json").read_text())
    assert record == {**RUN, "complete": True, "files": ["a.txt", "b.txt"]}


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("existing", [False, True])
def test_an_error_before_any_file_leaves_nothing_behind(tmp_path, resumable, existing):
    out = tmp_path / "deep" / "out"
    if existing:
        out.mkdir(parents=True)
    with pytest.raises(RuntimeError):
        fail(out, resumable=resumable)
    if existing:
        assert listing(out) == []
    if not existing:
        assert listing(tmp_path) == []


def test_an_error_after_some_files_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "out", done=["a.txt"], error=KeyboardInterrupt)
    assert listing(tmp_path) == []


def test_an_error_keeps_an_older_output(tmp_path):
    fill(tmp_path / "out")
    with pytest.raises(RuntimeError):
        fail(tmp_path / "out", {"seed": 4}, done=["a.txt"], overwrite=True)
    assert listing(tmp_path / "out") == ["a.txt", "b.txt", "run.json"]
    assert (tmp_path / "out" / "a.txt").read_text() == "a.txt"


def test_a_resumable_run_goes_on_where_it_was(tmp_path):
    with pytest.raises(RuntimeError):
        fail(tmp_path / "out", done=["a.txt"], resumable=True)
    assert listing(tmp_path / "out") == ["a.txt", "run.json"]
    with OutputFolder(tmp_path / "out", RUN, resumable=True) as out:
        assert (out.resumed, out.complete) == (True, False)
        assert (out.folder / "a.txt").read_text() == "done"
    with OutputFolder(tmp_path / "out", {**RUN, "command": "another"}, resumable=True) as out:
        assert (out.resumed, out.complete) == (True, True)


def test_another_run_is_refused_and_what_differs_is_named(tmp_path):
    fill(tmp_path / "out")
    with pytest.raises(InputError, match=r"the output of another run \(different seed\).*--overwrite"):
        fill(tmp_path / "out", {**RUN, "seed": 4})
    assert (tmp_path / "out" / "a.txt").read_text() == "a.txt"


@pytest.mark.parametrize("resumable", [False, True])
def test_overwriting_removes_the_other_runs_files_only(tmp_path, resumable):
    fill(tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("the user's")
    fill(tmp_path / "out", {"seed": 4}, names=("c.txt",), overwrite=True, resumable=resumable)
    assert listing(tmp_path / "out") == ["c.txt", "mine.txt", "run.json"]


def test_a_foreign_folder_and_a_file_are_refused(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InputError, match="exists and is not empty"):
        fill(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        fill(tmp_path / "x")
    with pytest.raises(InputError, match=r"/x: is a file, not a folder"):
        fill(tmp_path / "x" / "below", overwrite=True)
    assert listing(tmp_path) == ["x"]


@pytest.mark.parametrize("resumable", [False, True])
def test_overwriting_keeps_the_users_files_however_often(tmp_path, resumable):
    """Also where the run before was stopped: then its own files go, too, and no others."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("the user's")
    for seed in (1, 2):
        fill(out, {"seed": seed}, names=("a.txt",), overwrite=True, resumable=resumable)
    with pytest.raises(RuntimeError):
        fail(out, {"seed": 3}, done=["part.txt"], overwrite=True, resumable=resumable)
    with OutputFolder(out, {"seed": 4}, overwrite=True, resumable=resumable) as folder:
        assert not (folder.folder / "part.txt").exists()
    assert listing(out) == ["mine.txt", "run.json"]


def test_a_failed_run_without_results_does_not_block_another(tmp_path):
    def fails():
        with OutputFolder(tmp_path / "out", RUN, resumable=True) as out:
            (out.folder / "catalogs" / "truth").mkdir(parents=True)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert listing(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_refused_before(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="cannot be written into"):
        OutputFolder(tmp_path / "deep" / "out", RUN).check()
    monkeypatch.undo()

    def read_only(self, *args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(DiskError, match=r"out: the disk is read-only; give another --out"):
        fill(tmp_path / "out")


@pytest.mark.parametrize("resumable", [False, True])
def test_two_runs_into_one_folder(tmp_path, resumable):
    out = tmp_path / "out"
    with (
        OutputFolder(out, RUN, resumable=resumable),
        pytest.raises(InputError, match=r"out: another run \(of this process\) is writing into it; wait"),
        OutputFolder(out, RUN, resumable=resumable),
    ):
        pass
    fill(out, resumable=resumable)
    assert not (out / ".lock").exists()


HOLD = """
import sys, time
from pathlib import Path
from faintsky.system import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_lock_of_another_process_ends_with_it_even_by_kill(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"locked\n"
            with pytest.raises(InputError, match=rf"another run \(process {other.pid} on "):
                folder_lock(tmp_path).__enter__()
        finally:
            other.kill()
    assert (tmp_path / ".lock").exists()
    fill(tmp_path)
    assert listing(tmp_path) == ["a.txt", "b.txt", "run.json"]


def test_without_locks_in_the_file_system_a_run_goes_on(tmp_path, monkeypatch):
    import fcntl

    def none(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", none)
    fill(tmp_path / "out")
    assert listing(tmp_path / "out") == ["a.txt", "b.txt", "run.json"]


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("raised", [
    OSError(errno.ENOSPC, "No space left on device"), OSError("5242880 requested and 3211264 written"),
    RuntimeError("I/O error: No space left on device (os error 28)"),
])  # fmt: skip
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, resumable, raised):
    out = tmp_path / "out"
    with pytest.raises(DiskError, match=r"half\.txt: the disk is full; free some space and give the same"):
        fail(out, done=["a.txt"], error=raised, resumable=resumable)
    assert [p.name for p in tmp_path.rglob("*")] == (["out", "run.json", "a.txt"] if resumable else [])
    fill(out, resumable=resumable)  # the same command
    assert listing(out) == ["a.txt", "b.txt", "run.json"]


def test_a_real_full_device_and_a_real_limit(tmp_path):
    with pytest.raises(DiskError, match="/dev/full: the disk is full"), OutputFolder(tmp_path / "a", RUN):
        write_through("/dev/full")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with (
            pytest.raises(DiskError, match=r"big\.npy: the file is larger than the disk or `ulimit -f`"),
            OutputFolder(tmp_path / "b", RUN) as out,
            replacing(out.folder / "big.npy") as name,
        ):
            name.write_bytes(bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []


def write_through(path):
    """Write unbuffered, so that the error has no file name; `open` knows it."""
    try:
        Path(path).write_bytes(b"x")
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def test_a_run_that_ends_on_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    """The last file of all is the record; the folder itself may not go with it."""
    fill(tmp_path / "out")
    calls = []

    def full(path, value):
        calls.append(path)
        if len(calls) == 2:
            raise DiskError("full")
        return write_json(path, value)

    monkeypatch.setattr("faintsky.io.job.write_json", full)
    with pytest.raises(DiskError):
        fill(tmp_path / "out", {"seed": 4}, overwrite=True)
    assert listing(tmp_path / "out") == ["a.txt", "b.txt", "run.json"]
    monkeypatch.undo()
    fill(tmp_path / "out", {"seed": 4})


def test_what_does_not_fit_is_refused_with_numbers(tmp_path):
    check_space(tmp_path / "deep" / "out", 1e3)
    with pytest.raises(InputError, match=r"the output takes 1e\+09 GB, and [\d.]+ GB of its disk are free"):
        check_space(tmp_path / "deep" / "out", 1e18)


def test_leftovers_of_a_killed_run_are_cleared(tmp_path):
    (tmp_path / "out" / ".partial-1234").mkdir(parents=True)
    (tmp_path / "out" / ".0123abcd.catalog.csv").write_text("half")
    fill(tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))
    assert listing(tmp_path / "out") == ["a.txt", "b.txt", "run.json"]


def test_an_unreadable_record_counts_as_another_run(tmp_path):
    fill(tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text("{")
    with pytest.raises(InputError, match="holds the output of another run"):
        fill(tmp_path / "out")


def test_json_holds_what_numpy_makes(tmp_path):
    value = {"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": Path("x"), "e": (True, None)}
    path = write_json(tmp_path / "v.json", value)
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [0, 1], "c": None, "d": "x", "e": [True, None]}


def test_provenance_names_the_version():
    import faintsky

    known = provenance(command="faintsky detect", config={"n": np.int64(3)}, seed=1)
    assert known == {
        "version": faintsky.__version__,
        "command": "faintsky detect",
        "config": {"n": 3},
        "seed": 1,
    }


def half_written(path):
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == path.suffix
        raise RuntimeError


def test_replacing_is_all_or_nothing(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        half_written(path)
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["f.txt"]
