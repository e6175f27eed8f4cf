"""Output folders: whole or not there; resumed, refused, replaced. Files take their names when finished."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from faintsky.errors import InputError
from faintsky.files import replacing
from faintsky.io import OutputFolder, provenance, write_json

RUN = {"version": "1", "config": {"a": 1}, "seed": 3}


def fill(path, run=RUN, names=("a.txt", "b.txt"), **options):
    with OutputFolder(path, run, **options) as out:
        for name in names:
            with out.file(name) as temporary:
                temporary.write_text(name)
    return out


def fail(path, run=RUN, done=(), error=RuntimeError, **options):
    """A run that writes some files, and half of another, and then fails."""
    with OutputFolder(path, run, **options) as out:
        for name in done:
            with out.file(name) as temporary:
                temporary.write_text("done")
        with out.file("half.txt") as temporary:
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
    with pytest.raises(InputError, match=r"out: holds another run \(different seed\).*--overwrite"):
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
    with pytest.raises(InputError, match="cannot be made"):
        fill(tmp_path / "x" / "below", overwrite=True)
    assert listing(tmp_path) == ["x"]


def test_leftovers_of_a_killed_run_are_cleared(tmp_path):
    (tmp_path / "out" / ".partial-1234").mkdir(parents=True)
    fill(tmp_path / "out")
    assert listing(tmp_path / "out") == ["a.txt", "b.txt", "run.json"]


def test_an_unreadable_record_counts_as_another_run(tmp_path):
    fill(tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text("{")
    with pytest.raises(InputError, match="holds another run"):
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
