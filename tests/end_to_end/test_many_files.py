"""``faintsky detect`` on several files: a folder each, one joint catalogue, failures at the end."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits

import faintsky
from faintsky.catalog import read_catalog
from faintsky.cli import main
from faintsky.errors import InputError


def image(path, peaks, seed):
    y, x = np.indices((96, 96))
    data = np.random.default_rng(seed).normal(size=(96, 96))
    for px, py, peak in peaks:
        data += peak * np.exp(-4 * np.log(2) * ((x - px) ** 2 + (y - py) ** 2) / 16)
    header = fits.Header()
    for k, (axis, value, step) in enumerate([("RA---SIN", 150.0, -1), ("DEC--SIN", 2.0, 1)], 1):
        header[f"CTYPE{k}"], header[f"CRVAL{k}"], header[f"CDELT{k}"] = axis, value, step / 3600
        header[f"CRPIX{k}"], header[f"CUNIT{k}"] = 48, "deg"
    header["BMAJ"], header["BMIN"], header["BPA"], header["BUNIT"] = 4 / 3600, 4 / 3600, 0.0, "JY/BEAM"
    fits.writeto(path, (1e-3 * data).astype(np.float32), header)
    return str(path)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "b").mkdir()
    bad = tmp_path / "bad.fits"
    bad.write_text("not FITS")
    return [
        image(tmp_path / "field.fits", [(30, 40, 40), (70, 60, 60)], 1),
        str(bad),
        image(tmp_path / "b" / "field.fits", [(50, 50, 50)], 2),
    ]


@pytest.mark.usefixtures("quick_workers")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_folder_each_and_a_joint_catalogue(files, tmp_path, capsys, jobs):
    out = tmp_path / "out"
    assert main(["detect", *files, "--out", str(out), "--jobs", jobs]) == 1
    said = capsys.readouterr().err
    assert "1 of 3 files failed" in said
    assert "bad.fits" in said
    joint = read_catalog(out / "catalog.fits")
    assert list(joint["file"]) == ["field.fits", "field.fits", "field.fits"]
    alone = [read_catalog(out / name / "catalog.fits") for name in ("field", "field_2")]
    np.testing.assert_array_equal(joint["flux"], np.concatenate([t["flux"] for t in alone]))
    assert len(read_catalog(out / "components.ecsv")) == 3
    assert not (out / "bad").exists()
    ledger = json.loads((out / "files.json").read_text())
    assert [("error" in ledger[f]) for f in files] == [False, True, False]

    # with the file in place the run goes on with what is missing
    kept = (out / "field" / "run.json").stat().st_mtime_ns
    shutil.copy(files[0], files[1])
    assert main(["detect", *files, "--out", str(out), "--jobs", jobs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["catalog"] == 5
    assert (out / "field" / "run.json").stat().st_mtime_ns == kept
    assert main(["detect", *files, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["already_complete"]


def test_from_python(files, tmp_path):
    result = faintsky.detect([files[0], files[2]], tmp_path / "out", report=False)
    assert len(result.catalog) == 3
    for name in ("field", "field_2"):  # two megabytes less each
        assert (tmp_path / "out" / name / "catalog.fits").exists()
        assert not (tmp_path / "out" / name / "report.html").exists()
    with pytest.raises(InputError, match="need a folder"):
        faintsky.detect([files[0], files[2]])


def test_a_dry_run_writes_nothing(files, tmp_path, capsys):
    good = [files[0], files[2]]
    assert main(["detect", *good, "--out", str(tmp_path / "out"), "--dry-run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["files"] == len(facts["each"]) == 2
    assert not (tmp_path / "out").exists()


def test_small_files_share_the_cores_and_large_ones_have_them_all(files, tmp_path, monkeypatch):
    def processes(**facts):
        known = {"memory_gb": 1.0, "time_minutes": 1.0, "processes": 1, "blocks": 1, **facts}
        monkeypatch.setattr("faintsky.jobs.many._one", lambda *task: ("", known))
        return faintsky.detect(files, tmp_path / "out", dry_run=True).facts["processes"]

    monkeypatch.setattr("faintsky.system.processes.cpu_count", lambda: 8)
    monkeypatch.setattr("faintsky.system.free_memory", lambda: 16e9)
    assert processes() == 3
    assert processes(memory_gb=8.0) == 2
    assert processes(memory_gb=20.0) == 1
    assert processes(time_minutes=0.01) == 1
    assert processes(blocks=4) == 1
