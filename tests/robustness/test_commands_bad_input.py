"""The same bad inputs for every command that reads data: one line, status 2, nothing left behind."""

import numpy as np
import pytest
from astropy.io import fits

from faintsky.cli import main

NO_AXIS = dict.fromkeys(("CTYPE3", "CRVAL3", "CDELT3", "CRPIX3", "CUNIT3"))
COMMANDS = ("detect cube", "inject cube", "denoise image", "inject image")


@pytest.fixture(params=COMMANDS)
def command(request, tmp_path, capsys, passing):
    """A function that runs it on a file, and whether that is to be a cube."""
    name, kind = request.param.split()

    def run(path, *options):
        out = tmp_path / "out"
        model = ["--model", str(passing)] if kind == "image" else []
        words = [name, str(path), "--out", str(out), "--device", "cpu", "--json", *model, *options]
        return main(words), capsys.readouterr().err, out

    run.cube = kind == "cube"
    return run


@pytest.fixture
def refused(command, tmp_path):
    def check(path, fault, *options, names=None):
        before = sorted(tmp_path.rglob("*"))
        status, said, out = command(path, *options)
        lines = [line for line in said.splitlines() if line.startswith("faintsky: error: ")]
        assert status == 2
        assert len(lines) == 1
        assert fault in lines[0]
        assert str(names or path) in lines[0]
        assert "; " in lines[0]
        assert not out.exists()
        assert sorted(tmp_path.rglob("*")) == before

    return check


@pytest.fixture
def write(command, make_fits, noisy):
    """A function that writes data such as the command reads, or others, with changed cards."""

    def make(name="data.fits", data=None, **cards):
        if command.cube:
            return make_fits(name, data, **cards)
        plane = (noisy(n_chan=3, n=48)[1] * 1e-3).astype(np.float32) if data is None else data
        return make_fits(name, plane, **NO_AXIS, **cards)

    return make


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "FITS"), (b"not a FITS file\n" * 500, "FITS"), (None, "no such file")],
    ids=["empty", "text", "missing"],
)
def test_not_fits(tmp_path, refused, content, fault):
    path = tmp_path / "x.fits"
    if content is not None:
        path.write_bytes(content)
    refused(path, fault)


def test_truncated(write, refused):
    path = write()
    path.write_bytes(path.read_bytes()[:6000])
    refused(path, "truncated")


def test_one_dimension(tmp_path, refused):
    path = tmp_path / "x.fits"
    fits.PrimaryHDU(np.ones(50)).writeto(path)
    refused(path, "1-dimensional")


def test_no_coordinates(command, tmp_path, refused):
    path = tmp_path / "x.fits"
    fits.PrimaryHDU(np.ones((24, 32, 32) if command.cube else (32, 32), dtype=np.float32)).writeto(path)
    refused(path, "no celestial coordinates")


@pytest.mark.parametrize("value", [np.nan, 0.0, 7.0])
def test_blank_or_constant(command, write, refused, value):
    shape = (24, 32, 32) if command.cube else (32, 32)
    refused(write(data=np.full(shape, value, dtype=np.float32)), "blank")


@pytest.mark.parametrize("option", ["--psf", "--pb", "--rms", "--mask"])
def test_a_companion_of_another_shape(make_fits, write, refused, option):
    other = make_fits("other.fits", data=np.ones((7, 31, 32), dtype=np.float32))
    refused(write(), "its shape (7, 31, 32) does not fit the data's", option, str(other), names=other)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("--model no-such-model", "no-such-model"),
        ("--device abacus", "abacus"),
        ("--reliability 2", "--reliability"),
    ],
)
def test_options_that_cannot_be(command, write, words, fault):
    status, said, out = command(write(), *words.split())
    assert status == 2
    assert fault in said
    assert not out.exists()


def test_an_existing_folder_is_not_touched(command, write, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("the user's")
    status, said, _ = command(write())
    assert status == 2
    assert f"{out}: exists and is not empty" in said
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_a_dry_run_writes_nothing(command, write):
    status, said, out = command(write(), "--dry-run")
    assert status == 0, said
    assert not out.exists()
