"""Sets of fields for the evaluation of denoisers, of a web or stored in any form; failed evaluations."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

import faintsky
from faintsky.cli import main
from faintsky.errors import InputError
from faintsky.evaluation import (
    Answer,
    ImageScorer,
    SimulatedFields,
    denoisers,
    evaluate,
    evaluate_lofar,
    open_fields,
    simulated_sets,
)
from faintsky.sky.web import BLOCKS, Points, WebBox, save_box

SIZE, SIDE = 128, 25.0


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """Clumps of points, bright enough to be seen."""
    rng = np.random.default_rng(1)
    centres = rng.uniform(0, SIDE, (100, 1, 3))
    position = (centres + rng.normal(0, 0.15, (100, 60, 3))).reshape(-1, 3) % SIDE / SIDE * 65536
    position = position.astype(np.uint16)
    part = position.astype(np.int64) * BLOCKS >> 16
    order = np.argsort((part[:, 0] * BLOCKS + part[:, 1]) * BLOCKS + part[:, 2], kind="stable")
    power = np.full(len(order), 2.0, np.float16)
    points = Points(position[order], power, np.full(len(order), 40, np.uint8))
    path = tmp_path_factory.mktemp("web") / "web.npz"
    save_box(WebBox(16, SIDE, 1, 0.0, (0.1,), (points,), (np.zeros((0, 5), np.float32),)), path)
    return path


@pytest.fixture(scope="module")
def data(web, tmp_path_factory):
    """The same two fields as FITS files and in compact form."""
    folder = tmp_path_factory.mktemp("data")
    given = {"web": web, "field": "sky2", "seed": 3, "size": SIZE, "quick": True}
    for name, products in (("fits", ("sky", "noise", "dirty", "psf", "pb")), ("compact", "compact")):
        faintsky.simulate_lofar(folder / name, 2, products=products, **given)
    for i in range(2):  # CLEAN needs visibilities and minutes; how its images are read does not
        shutil.copy(folder / "fits" / f"{i:04d}_dirty.fits", folder / "fits" / f"{i:04d}_clean.fits")
    return folder


def test_a_web_has_the_fields_that_it_holds(web):
    sets = simulated_sets(("paper", "lotss"), ("noise", "dirty"), 2, 5, SIZE, str(web))
    assert [s.name for s in sets] == ["sky2 noise", "sky2 dirty", "lotss sky2 noise", "lotss sky2 dirty"]
    assert [s.name for s in simulated_sets(("paper",), ("sky",), 1, 0, SIZE, "test")] == [
        "sky1 sky",
        "sky2 sky",
    ]
    with pytest.raises(InputError, match="no cosmic web"):
        simulated_sets(("paper",), ("sky",), 1, 0, SIZE, "nowhere")


def test_stored_fields_are_those_of_the_web(web, data):
    made = {
        k: SimulatedFields("paper", k, (1,), 3, SIZE, str(web), "sky2") for k in ("noise", "dirty", "sky")
    }
    for form in ("fits", "compact"):
        sets = open_fields(data / form, kinds=tuple(made))
        assert [s.name for s in sets] == [f"sky2 {k}" for k in made]
        for stored in sets:
            assert stored.indices == (0, 1)
            read, drawn = stored.load(1), made[stored.kind].load(1)
            near = {"rtol": 2e-3, "atol": 2e-3 * drawn.rms}
            np.testing.assert_allclose(read.image.data, drawn.image.data, **near)
            np.testing.assert_allclose(read.truth, drawn.truth, **near)
            np.testing.assert_allclose(read.sharp, drawn.sharp, rtol=2e-3, atol=1e-9)
            assert read.rms == pytest.approx(drawn.rms)
            assert read.brightness == pytest.approx(drawn.brightness)
            assert stored.load(1, empty=True) is None


def test_clean_images_are_read_and_are_a_method(data):
    (stored,) = open_fields(data / "fits", 1, kinds=("clean",))
    assert stored.name == "sky2 clean"
    clean = stored.load(0)
    assert clean.image.psf is None  # what is restored has none to be taken out
    (dirty,) = open_fields(data / "fits", 1, kinds=("dirty",))
    one = dirty.load(0)
    np.testing.assert_array_equal(one.clean, clean.image.data)
    np.testing.assert_allclose(one.truth, clean.truth)
    assert one.rms == clean.rms == pytest.approx(1e-4)
    (method,) = denoisers(("clean",))
    np.testing.assert_array_equal(method.run(one).image, one.clean)
    assert method.run(clean) is None


def test_folders_that_cannot_be_used(data, tmp_path):
    with pytest.raises(InputError, match="has no NNNN_clean"):
        open_fields(data / "compact", kinds=("clean",))
    with pytest.raises(InputError, match="holds 2 fields"):
        open_fields(data / "fits", 3)
    shutil.copytree(data / "fits", tmp_path / "corrected")
    record = json.loads((data / "fits" / "dataset.json").read_text())
    record["parameters"]["pbcor"] = True
    (tmp_path / "corrected" / "dataset.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="primary beam"):
        open_fields(tmp_path / "corrected")


def test_two_folders_of_one_field_keep_their_names(data):
    both = open_fields([data / "fits", data / "compact"], kinds=("noise",))
    assert [s.name for s in both] == ["fits noise", "compact noise"]


def test_images_without_a_record_have_their_noise_measured(data, tmp_path):
    for name in ("sky", "noise"):
        with fits.open(data / "fits" / f"0000_{name}.fits") as file:
            file[0].header.pop("NOISE", None)
            file.writeto(tmp_path / f"0000_{name}.fits")
    (stored,) = open_fields(tmp_path)
    assert stored.load(0).rms == pytest.approx(2.45e-6, rel=0.05)


def smooth(field):
    return Answer(gaussian_filter(field.image.data, 6.0))


def test_an_interrupted_evaluation_goes_on(web, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageScorer, "figures", lambda *given: [])
    sets = simulated_sets(("paper",), ("noise",), 2, 5, SIZE, str(web))
    calls = []

    def counted(field):
        calls.append(field.cases)
        return smooth(field)

    whole = evaluate(tmp_path, sets, {"counted": counted}, ImageScorer()).rows
    assert len(calls) == 4  # two fields, and as many without emission
    (tmp_path / "fields" / "sky2_noise" / "counted" / "0001.npz").unlink()
    again = evaluate(tmp_path, sets, {"counted": counted}, ImageScorer()).rows
    assert len(calls) == 6
    costs = ("seconds", "CPU seconds", "peak memory")
    assert str([r for r in whole if not r["quantity"].startswith(costs)]) == str(
        [r for r in again if not r["quantity"].startswith(costs)]
    )


def test_the_command(web, data, tmp_path, capsys):
    ask = ["evaluate", "lofar", "--methods", "input,clean", "--json"]
    plan = ["--web", str(web), "--size", str(SIZE), "-n", "1", "--kinds", "sky,noise", "--dry-run"]
    assert main([*ask, "--out", str(tmp_path / "a"), *plan]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["sets"] == ["sky2 sky", "sky2 noise"]
    result = evaluate_lofar(tmp_path / "b", data / "fits", methods=("input", "clean"))
    assert result.find(method="clean", set="sky2 dirty", quantity="error")["n"] > 0
    with pytest.raises(KeyError):
        result.find(method="clean", set="sky2 noise")
    with pytest.raises(InputError, match="both data and a cosmic web"):
        evaluate_lofar(tmp_path / "c", data / "fits", web=web)


def test_a_failed_evaluation_does_not_block_another(tmp_path):
    small = {"size": 64, "channels": 16, "cell": "0.2arcsec", "total_time": "200s", "integration": "20s"}
    faintsky.simulate_alma(tmp_path / "data", 1, **small)

    def fails(cube):
        raise InputError("is not for this method", "give another", cube.name)

    with pytest.raises(InputError, match="is not for this method"):
        faintsky.evaluate_alma(tmp_path / "out", tmp_path / "data", {"fails": fails})
    assert not (tmp_path / "out").exists()
