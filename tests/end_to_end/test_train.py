"""`faintsky train`: a tiny network learns, a killed run goes on where it was, and its folder is a model."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from astropy.io import fits
from conftest import cube_header

import faintsky
from faintsky.cli import main
from faintsky.errors import InputError
from faintsky.networks import make_network
from faintsky.simulating import PsfLibrary
from faintsky.training import DiffuseImages, Schedule, StoredImages, UNetSettings, fit
from faintsky.training import loop as fitting

pytest.importorskip("pytorch_lightning", reason="the extra 'train' is not installed")
pytestmark = pytest.mark.learning

TINY = {
    "widths": [8, 12, 16], "encoder": [1, 1, 1], "decoder": [1, 1], "tile": 64, "batch_size": 4, "psfs": 2,
    "warmup": 5, "workers": 0, "learning_rate": 3e-3, "decay": 0.9,
}  # fmt: skip
TILES = UNetSettings(tile=TINY["tile"])
LONG = {**TINY, "steps": 90, "validate_every": 30}


@pytest.fixture(autouse=True)
def few_validation_batches(monkeypatch):
    monkeypatch.setattr("faintsky.training.denoiser.VALIDATION_BATCHES", 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faintsky.training.denoiser.VALIDATION_BATCHES", 2)
        result = faintsky.train("local_unet", out, settings=LONG, seed=1)
    return out, result


def test_a_tiny_network_learns_in_seconds(trained, monkeypatch):
    out, result = trained
    history = json.loads((out / "history.json").read_text())
    assert [h["step"] for h in history] == [30, 60, 90]
    assert result.facts["best"] == min(history, key=lambda h: h["loss"])
    monkeypatch.setattr("faintsky.training.denoiser.VALIDATION_BATCHES", 2)
    torch.manual_seed(1)
    fresh = make_network("local_unet", **{k: TINY[k] for k in ("widths", "encoder", "decoder")})
    with torch.no_grad():
        untrained = DiffuseImages(fresh, PsfLibrary.load(out / "psfs.npz"), TILES).validate(fresh)
    assert history[-1]["loss"] < 0.7 * untrained["loss"]
    # untrained it passes half of the image
    assert history[-1]["beam"] < 0.7 * untrained["beam"]


def test_the_folder_is_a_model(trained):
    out, _ = trained
    model = faintsky.load_model(out, job="denoise")
    network = model.network("denoiser")
    assert sum(p.numel() for p in network.parameters()) == model.card["networks"]["denoiser"]["parameters"]
    assert model.card["recipe"]["schedule"]["steps"] == 90
    assert model.card["recipe"]["network"] == "local_unet"
    assert model.card["scores"]["validation"]["loss"] > -10
    for file in ("training.png", "history.json", "run.json", "psfs.npz"):
        assert (out / file).stat().st_size > 0
    again = faintsky.train("local_unet", out, settings=LONG, seed=1)
    assert again.facts["already_complete"]
    assert again.model.hash == model.hash


def test_another_run_is_refused_and_init_begins_where_a_model_ended(trained, tmp_path):
    out, _ = trained
    settings = {**TINY, "steps": 2, "validate_every": 2, "learning_rate": 1e-9}
    with pytest.raises(InputError, match="another run"):
        faintsky.train("local_unet", out, settings=settings, seed=1)
    tuned = faintsky.train("local_unet", tmp_path / "tuned", settings=settings, init=str(out), seed=1)
    one, two = (m.network("denoiser").state_dict() for m in (faintsky.load_model(out), tuned.model))
    assert all(torch.allclose(one[k], two[k], atol=1e-5) for k in one)
    with pytest.raises(InputError, match="another network"):
        faintsky.train(
            "local_unet", tmp_path / "x", settings={**settings, "widths": [8, 8, 8]}, init=str(out)
        )
    with pytest.raises(InputError, match="3 widths, 4 and 3"):
        faintsky.train("local_unet", tmp_path / "y", settings={"widths": [8, 8, 8]})


def test_stored_data_train_too(tmp_path):
    from faintsky import simulate_lofar

    simulate_lofar(
        tmp_path / "data",
        3,
        seed=4,
        size=96,
        quick=True,
        integration="600s",
        products=("sky", "noise", "dirty", "psf", "pb"),
    )
    result = faintsky.train(
        "local_unet", tmp_path / "run", data=tmp_path / "data",
        settings={**TINY, "steps": 3, "validate_every": 3},
    )  # fmt: skip
    assert np.isfinite(result.facts["best"]["loss"])
    with pytest.raises(InputError, match="smaller than a tile"):
        faintsky.train("local_unet", tmp_path / "y", data=tmp_path / "data", settings={"tile": 128})
    with pytest.raises(InputError, match="web, errors, artefacts and mismatch are for"):
        faintsky.train("local_unet", tmp_path / "z", data=tmp_path / "data", settings={"web": "train"})


def write_pair(folder, name, product="dirty", level=1.0, unit="Jy/beam", n=96, beam=True, seed=0):
    """A sky of one broad source, and an image of it: the same, in Jy/beam, with noise."""
    header = cube_header(BUNIT=unit, **({} if beam else dict.fromkeys(("BMAJ", "BMIN", "BPA"))))
    y, x = np.indices((1, n, n))[1:]
    sky = level * np.exp(-((x - n / 2) ** 2 + (y - n / 2) ** 2) / 800)
    area = np.pi / (4 * np.log(2)) * 2.0 * 1.5 if unit.endswith("Jy/beam") else 1.0  # the header's beam
    scale = 1e3 if unit.startswith("m") else 1.0
    noise = 0.01 * np.random.default_rng(seed).normal(size=sky.shape)
    fits.writeto(folder / f"{name}_{product}.fits", ((sky * area + noise) * scale).astype("f4"), header)
    fits.writeto(folder / f"{name}_sky.fits", sky.astype("f4"), cube_header(BUNIT="Jy/arcsec2"))


@pytest.fixture
def own(tmp_path):
    """A folder of the user's own images, without any card of a simulation."""
    folder = tmp_path / "own"
    folder.mkdir()
    for i in range(3):
        write_pair(folder, f"m{i}", level=1 + i, seed=i)
    return folder


def test_own_images_are_what_is_trained_on(own, tmp_path):
    short = {**TINY, "steps": 2, "validate_every": 2, "workers": 0}
    assert np.isfinite(
        faintsky.train("local_unet", tmp_path / "run", data=own, settings=short).facts["best"]["loss"]
    )
    network = make_network("local_unet", **{k: TINY[k] for k in ("widths", "encoder", "decoder")})
    task = StoredImages(network, own, TILES)
    batch = task.batch(np.random.default_rng(1), 8)
    # the smoothed sky has been brought to the image's unit: what is left is noise of unit rms
    assert (batch["image"] - batch["target"]).std() == pytest.approx(1, rel=0.1)
    assert batch["target"].max() > 100
    assert np.allclose(batch["beam"][:, :2], [4, 3])
    dda = {"product": "dirty", "epochs": 1, "tile": 32, "batch_size": 4, "dense": 8}
    assert faintsky.train("dda", tmp_path / "dda", data=own, settings=dda).model is not None


def test_units_and_the_primary_beam_of_own_images_are_heeded(tmp_path):
    seen = {}
    network = make_network("local_unet", **{k: TINY[k] for k in ("widths", "encoder", "decoder")})
    for unit in ("Jy/beam", "mJy/beam"):
        folder = tmp_path / unit.replace("/", "_")
        folder.mkdir()
        for i in range(2):
            write_pair(folder, f"{i}", unit=unit, seed=i)
        seen[unit] = StoredImages(network, folder, TILES).batch(np.random.default_rng(1), 2)
    assert torch.allclose(seen["Jy/beam"]["image"], seen["mJy/beam"]["image"], rtol=1e-4, atol=1e-4)
    fits.writeto(folder / "pb.fits", np.full((1, 96, 96), 0.5, "f4"), cube_header(BUNIT=""))
    dimmed = StoredImages(network, folder, TILES)
    assert dimmed.load(*dimmed.pairs[0])[1].max() < 60  # of a residual that half the sky is left in
    (folder / "dataset.json").write_text(json.dumps({"parameters": {"pbcor": True}}))
    corrected = StoredImages(network, folder, TILES)
    assert np.allclose(
        corrected.load(*corrected.pairs[0])[1].max(), seen["Jy/beam"]["target"].max(), rtol=0.01
    )


def spoil(folder, what):
    if what == "text":
        (folder / "m1_dirty.fits").write_text("a text file")
    elif what == "psfs":
        (folder / "psfs.npz").write_text("a text file")
    elif what == "no sky":
        (folder / "m1_sky.fits").unlink()
    elif what == "no image":
        (folder / "m1_dirty.fits").unlink()
    elif what == "name":
        (folder / "m1_dirty.fits").rename(folder / "mine.fits.gz")
    elif what == "shape":
        (folder / "m1_dirty.fits").unlink()
        (folder / "m1_sky.fits").rename(folder / "m1_dirty.fits")
        write_pair(folder, "m1", product="noise", n=128)
    elif what == "beam":
        (folder / "m1_sky.fits").unlink()
        (folder / "m1_dirty.fits").unlink()
        write_pair(folder, "m1", beam=False)
    elif what == "foreign":
        for path in folder.iterdir():
            path.unlink()
        (folder / "psfs.npz").write_bytes(b"")
        (folder / "m1_dirty.txt").write_text("a text file")


@pytest.mark.parametrize(("network", "what", "message"), [
    ("local_unet", "text", "m1_dirty.fits: "), ("local_unet", "psfs", "own: holds images and psfs.npz"),
    ("local_unet", "no sky", "m1_dirty.fits: has no true sky"),
    ("local_unet", "no image", "m1_sky.fits: has no "),
    ("local_unet", "name", "mine.fits.gz: has a name that is not used"),
    ("local_unet", "shape", "m1_[a-z]*.fits: differs from its sky"),
    ("local_unet", "beam", "m1_dirty.fits: no synthesised beam"), ("local_unet", "foreign", "own"),
    ("dda", "psfs", "own: holds images and psfs.npz"), ("dda", "foreign", "own"),
    ("dda", "shape", "m1_[a-z]*.fits: differs from its sky"),
])  # fmt: skip
def test_a_folder_that_would_not_be_trained_on_whole_is_refused(own, tmp_path, network, what, message):
    spoil(own, what)
    settings = {"product": "dirty"} if network == "dda" else {}
    for dry_run in (True, False):
        with pytest.raises(InputError, match=message) as refused:
            faintsky.train(network, tmp_path / "run", data=own, settings=settings, dry_run=dry_run)
        assert refused.value.hint
        assert not (tmp_path / "run").exists()


def test_images_are_no_data_for_networks_that_read_compact_sets(own, tmp_path):
    for network in ("blobs_finder", "decoras", "deep_gru", "shape_resnet", "deepfocus"):
        with pytest.raises(InputError, match=r"holds no \*_compact\.npz"):
            faintsky.train(network, tmp_path / "run", data=own, dry_run=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "no_such"}, "local_unet"),
        ({"simulate": "no_such"}, "diffuse"),
        ({"data": "nowhere"}, "not a folder"),
        ({"data": ".", "simulate": "diffuse"}, "one of them"),
        ({"settings": {"no_such": "1"}}, "batch_size"),
        ({"settings": {"steps": "many"}}, "valid integer"),
        ({"settings": {"steps": 0}}, "greater than or equal to 1"),
        ({"init": "classical"}, "detect"),
    ],
)
def test_bad_options_leave_nothing_behind(options, message, tmp_path):
    options = {"network": "local_unet", **options}
    with pytest.raises(InputError, match=message):
        faintsky.train(options.pop("network"), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


class Line:
    """The smallest task: fit a line to noisy points."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = torch.nn.Linear(1, 1)
        self.seen = []

    def batch(self, rng, size):
        x = torch.from_numpy(rng.normal(size=(size, 1)).astype(np.float32))
        return {"x": x, "y": 3 * x + 1}

    def loss(self, network, batch):
        self.seen.append(float(batch["x"][0, 0]))
        return (network(batch["x"]) - batch["y"]).square().mean()

    def validate(self, network):
        return {"loss": float((network.weight - 3).square().sum() + (network.bias - 1).square().sum())}


LINE = Schedule(steps=40, batch_size=8, learning_rate=0.1, warmup=4, validate_every=10, workers=0, decay=0.9)


def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path):
    whole = Line()
    network, history = fit(whole, tmp_path / "whole", LINE)

    class Killed(Exception):
        pass

    def kill(done, total, word):
        if done == 30:
            raise Killed

    first, second = Line(), Line()
    with pytest.raises(Killed):
        fit(first, tmp_path / "parts", LINE, progress=kill)
    resumed, resumed_history = fit(second, tmp_path / "parts", LINE)
    assert second.seen == whole.seen[20:]
    assert [h["loss"] for h in resumed_history] == [h["loss"] for h in history]
    assert torch.equal(resumed.weight, network.weight)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_and_the_same_command_goes_on(
    trained, tmp_path, capsys, monkeypatch, number, status
):
    command = ["train", "local_unet", "--out", str(tmp_path / "run"), "--json", "--data", str(trained[0])]
    for key, value in {**TINY, "steps": 20, "validate_every": 10}.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    validate = DiffuseImages.validate

    def interrupted(self, network):
        if (tmp_path / "run" / fitting.CHECKPOINT).is_file():
            signal.raise_signal(number)
        return validate(self, network)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(DiffuseImages, "validate", interrupted)
    assert main(command) == status
    assert capsys.readouterr().err.splitlines()[-1].endswith("; run the same command to continue")
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr(DiffuseImages, "validate", validate)
    first = []
    monkeypatch.setattr(fitting, "_Stream", lambda *args: first.append(args[2]) or stream(*args))
    assert main(command) == 0
    assert first == [10]
    assert main([*command, "--seed", "2"]) == 2


stream = fitting._Stream


def test_training_stops_early_and_keeps_the_best(tmp_path):
    class Worse(Line):
        def validate(self, network):
            self.count = getattr(self, "count", 0) + 1
            self.kept = getattr(self, "kept", network.weight.detach().clone())
            return {"loss": float(self.count)}

    task = Worse()
    network, history = fit(task, tmp_path / "run", Schedule(**{**LINE.__dict__, "steps": 400, "patience": 3}))
    assert [h["step"] for h in history] == [10, 20, 30, 40]
    assert torch.equal(network.weight, task.kept)


def test_weights_of_a_batch_normalisation_are_averaged(tmp_path):
    class Normed(Line):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))

        def validate(self, network):
            return {"loss": -float(network[0].num_batches_tracked)}

    task = Normed()
    _, history = fit(task, tmp_path / "run", LINE)
    assert [h["loss"] for h in history] == [-10, -20, -30, -40]


def test_workers_change_nothing(tmp_path):
    results = [
        fit(Line(), tmp_path / str(w), Schedule(**{**LINE.__dict__, "workers": w}))[0].weight for w in (0, 2)
    ]
    assert torch.equal(*results)


def test_without_lightning_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "pytorch_lightning", None)
    with pytest.raises(InputError, match=r"extra 'train'"):
        fitting.fit(Line(), tmp_path / "run", LINE)


def test_processes_share_every_batch(tmp_path):
    # Lightning starts the second process by the same command; few batches validate, as in the other tests
    out, script = tmp_path / "run", tmp_path / "train.py"
    script.write_text(
        "import sys\nfrom faintsky.cli import main\nfrom faintsky.training import denoiser\n"
        "denoiser.VALIDATION_BATCHES = 2\nsys.exit(main())\n"
    )
    settings = {**TINY, "steps": 20, "validate_every": 10, "devices": 2}
    command = [sys.executable, str(script), "train", "local_unet", "--out", str(out), "--seed", "1"]
    command += [f"--set={k}={json.dumps(v)}" for k, v in settings.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    history = json.loads((out / "history.json").read_text())
    assert [h["step"] for h in history] == [10, 20]
    assert history[1]["loss"] < history[0]["loss"]
    state = torch.load(out / "last.ckpt", weights_only=True)
    assert state["global_step"] == 20
    assert faintsky.models.load_model(out).card["recipe"]["schedule"]["devices"] == 2


def test_a_process_has_its_share_of_stored_examples():
    class Numbers:
        examples = 12

        def take(self, rng, pick):
            return {"number": torch.from_numpy(pick)}

    schedule = Schedule(epochs=1, steps=3, validate_every=3, batch_size=4)
    whole, *shares = (
        [b["number"].tolist() for b in fitting._Stream(Numbers(), schedule, 0, *share)]
        for share in ((0, 1), (0, 2), (1, 2))
    )
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(b) for b in whole]


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a batch of 3 cannot be shared by 2 processes"):
        fit(None, tmp_path, Schedule(batch_size=3, devices=2))
