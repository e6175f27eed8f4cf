"""Training of the published networks: losses, schedule, data, and what comes of them."""

import json

import numpy as np
import pytest
import torch
from astropy.table import Table
from skimage.metrics import structural_similarity

import faintsky
from faintsky.errors import InputError
from faintsky.networks import make_network
from faintsky.published.deepfocus import (
    CompactRecipe,
    FocusedImages,
    FreshImages,
    IntegratedImages,
    Spectra,
    crop_centre,
    flux_of,
    open_compact,
    read_images,
    read_sources,
    shape_of,
    turned,
    unit_range,
)
from faintsky.published.deepfocus import training as losses
from faintsky.simulating import SimulationSettings, open_observatory
from faintsky.training import RECIPES, Schedule, fit, stalled
from faintsky.training.loop import _rate

pytest.importorskip("pytorch_lightning", reason="the extra 'train' is not installed")
pytestmark = pytest.mark.learning


def blob_images(n):
    """Images of a blob, dirty with noise, and their skies, ``[n, 40, 40]``."""
    rng = np.random.default_rng(0)
    y, x = np.indices((40, 40))
    at = rng.uniform(12, 28, (n, 2, 1, 1))
    sky = np.exp(-((y - at[:, 0]) ** 2 + (x - at[:, 1]) ** 2) / 8)
    dirty = sky + 0.1 * rng.normal(size=sky.shape)
    return torch.as_tensor(dirty).half(), torch.as_tensor(sky).half()


@pytest.fixture
def pairs():
    return blob_images(8)


def test_dssim_is_that_of_scikit_image(pairs):
    dirty, sky = (unit_range(p) for p in pairs)
    expected = [
        structural_similarity(
            a.numpy(), b.numpy(), data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(dirty, sky, strict=True)
    ]
    made = losses.dssim(dirty[:, None], sky[:, None])
    assert float(made) == pytest.approx((1 - np.mean(expected)) / 2, abs=1e-5)
    assert float(losses.dssim(sky[:, None], sky[:, None])) == pytest.approx(0, abs=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert float(losses.dssim(dirty[:, None], sky[:, None])) == float(made)


def test_the_ramp_goes_from_l1_to_dssim(pairs):
    x, y = (unit_range(p)[:, None] for p in pairs)
    ends = float(losses.l1(x, y)), float(losses.dssim(x, y))
    assert ends[0] != pytest.approx(ends[1], rel=0.1)
    for done in (0.0, 0.25, 1.0):
        assert float(losses.ramp(x, y, done)) == pytest.approx((1 - done) * ends[0] + done * ends[1])
    assert float(losses.constant_sum(x, y)) == pytest.approx(sum(ends))


def test_the_other_losses_by_hand():
    x, y = torch.tensor([0.2, 0.9]), torch.tensor([0.0, 1.0])
    entropy = -(np.log(0.8) + np.log(0.9)) / 2
    assert float(losses.binary_cross_entropy(x, y)) == pytest.approx(entropy, rel=1e-5)
    squares = (np.log(1.2) ** 2 + np.log(1.9 / 2) ** 2) / 2
    assert float(losses.squared_logarithms(x, y)) == pytest.approx(squares, rel=1e-5)


def test_stopping_on_the_moving_average():
    falling = list(np.linspace(2, 1, 30))
    assert not stalled(falling, 10, 10)
    flat = [*falling[:11], *[1.9] * 10]
    # the mean of the ten before is above 1.9 for the first of them, and equal or below it from some time on
    gains = [flat[i] < np.mean(flat[max(i - 10, 0) : i]) for i in range(1, len(flat))]
    assert not stalled(flat, sum(not g for g in gains) + 1, 10)
    assert stalled([*falling, *[3.0] * 10], 10, 10)
    assert not stalled([*falling, *[3.0] * 9], 10, 10)
    assert not stalled([*falling, *[3.0] * 9, 0.5], 10, 10)
    # no best of all, but below the recent mean: goes on by the paper's rule, not by the other
    noisy = [1.0, *[3.0, 2.0] * 3, 1.9]
    assert not stalled(noisy, 5, 4)
    assert stalled(noisy, 5)


def test_pictures_are_turned_about_the_middle_and_alike():
    image = torch.zeros(5, 2, 41, 40)
    image[:, :, 20 + 6, 20 + 3] = 1.0
    image[:, 1] *= 2
    quarter = torch.tensor([0.0, 1.0, 2.0, 0.0, 0.7]) * np.pi / 2
    mirrors = torch.tensor([[1, 1], [1, 1], [1, 1], [-1, 1], [1, -1]]).float()
    made = turned(image, quarter, mirrors, 24)
    torch.testing.assert_close(made[:, 1], 2 * made[:, 0])
    places = [divmod(int(m.argmax()), 24) for m in made[:4, 0]]
    assert places[0] == (12 + 6, 12 + 3)
    assert places[3] == (12 + 6, 12 - 3)
    assert places[2] == (12 - 6, 12 - 3)
    assert places[1] in ((12 + 3, 12 - 6), (12 - 3, 12 + 6))
    assert made[:4, 0].amax(dim=(1, 2)) == pytest.approx(1, abs=1e-4)
    centre = np.array(np.unravel_index(int(made[4, 0].argmax()), (24, 24))) - 12
    assert np.hypot(*centre) == pytest.approx(np.hypot(6, 3), abs=1)
    torch.testing.assert_close(made[0], crop_centre(image[0], 24), atol=1e-4, rtol=0)


def test_integrated_examples_are_scaled_and_the_validation_is_left_as_it_is(pairs):
    task = IntegratedImages(make_network("blobs_finder", size=32), pairs, pairs)
    batch = task.take(np.random.default_rng(1), np.arange(8))
    for part in batch.values():
        assert part.shape == (8, 1, 32, 32)
        assert part.amin() == 0
        assert part.amax() == 1
    correlation = torch.corrcoef(torch.stack([batch["input"].flatten(), batch["target"].flatten()]))
    assert correlation[0, 1] > 0.5, "turned alike"
    plain = IntegratedImages(task.network, pairs, pairs, augment=False).take(None, np.arange(8))
    torch.testing.assert_close(plain["target"][:, 0], unit_range(crop_centre(pairs[1].float(), 32)))
    assert not torch.equal(plain["target"], batch["target"])
    empty = (pairs[0], torch.zeros_like(pairs[1]))
    assert (
        not IntegratedImages(task.network, empty, pairs).take(np.random.default_rng(1), [0])["target"].any()
    )


def test_fresh_images_are_new_in_every_batch_and_some_are_empty():
    small = {"size": 128, "channels": 16, "cell": "0.2arcsec", "total_time": "200s", "integration": "20s"}
    observatory = open_observatory(SimulationSettings(telescope="alma", preset="paper", **small))
    network = make_network("blobs_finder", size=96, squeeze=4, latent=8)
    task = FreshImages(network, observatory, empty=0.3, loss="sum", augment=False)
    batches = [task.batch(np.random.default_rng([1, i]), 20) for i in (0, 1, 1)]
    torch.testing.assert_close(batches[1], batches[2])
    assert not torch.equal(batches[0]["input"], batches[1]["input"])
    peaks = torch.cat([b["target"].amax(dim=(1, 2, 3)) for b in batches[:2]])
    assert set(peaks.tolist()) == {0.0, 1.0}
    assert 3 <= int((peaks == 0).sum()) <= 22
    full = peaks[:20] == 1
    dirty, sky = (batches[0][k][full].flatten() for k in ("input", "target"))
    assert torch.corrcoef(torch.stack([dirty, sky]))[0, 1] > 0.5
    assert task.validate(network.eval()) == task.validate(network)


QUICK = {
    **CompactRecipe.schedule, "epochs": 6, "batch_size": 4, "learning_rate": 3e-3, "warmup": 2,
    "patience": 50, "half": False,
}  # fmt: skip


def blobs(pairs, seed=0, **arguments):
    torch.manual_seed(seed)
    return IntegratedImages(make_network("blobs_finder", size=32, latent=32), pairs, pairs, **arguments)


@pytest.mark.parametrize(("loss", "seed"), [("ramp", 0), ("bce", 2), ("msle", 3)])
def test_autoencoders_learn(tmp_path, loss, seed):
    """At a rate where each batch lowers the loss: at three times this rate chance decides what is left."""
    schedule = Schedule(
        **QUICK | {"epochs": 24, "batch_size": 8, "learning_rate": 4e-3, "keep_every": 24, "seed": seed}
    )
    _, history = fit(blobs(blob_images(32), seed, loss=loss), tmp_path, schedule)
    assert [h["epoch"] for h in history] == list(range(1, 25))
    assert [h["step"] for h in history] == [4 * e for e in range(1, 25)]
    first, best = history[0], min(history, key=lambda h: h["loss"])
    assert best["loss"] < 0.85 * first["loss"]
    # the network begins with an empty sky, whose mean difference is small: structure is what it has to learn
    assert best["dssim"] < 0.8 * first["dssim"]


def test_every_epoch_sees_every_example_once_and_the_ramp(tmp_path):
    class Counted:
        network, examples = torch.nn.Linear(1, 1), 7

        def __init__(self):
            self.seen, self.done = [], []

        def take(self, rng, pick):
            self.seen.append(list(pick))
            return {"x": torch.ones(len(pick), 1)}

        def loss(self, network, batch):
            self.done.append(float(batch["done"]))
            return network(batch["x"]).square().mean()

        def validate(self, network):
            return {"loss": float(network.weight.square())}

    task = Counted()
    fit(task, tmp_path, Schedule(**{**QUICK, "epochs": 3, "batch_size": 3}))
    assert [len(p) for p in task.seen] == [3] * 6
    epochs = [task.seen[i] + task.seen[i + 1] for i in (0, 2, 4)]
    assert all(len(set(e)) == 6 for e in epochs)
    assert epochs[0] != epochs[1]
    assert task.done == [0, 0, 0.5, 0.5, 1, 1]


def test_a_killed_run_of_epochs_goes_on_as_if_nothing_had_been(pairs, tmp_path):
    schedule = Schedule(**{**QUICK, "keep_every": 2, "batch_size": 2})
    whole, history = fit(blobs(pairs), tmp_path / "whole", schedule)

    class Killed(Exception):
        pass

    def kill(done, total, word):
        assert total == 24
        if done == 20:
            assert "epoch 5" in word
            raise Killed

    with pytest.raises(Killed):
        fit(blobs(pairs), tmp_path / "parts", schedule, progress=kill)
    resumed, again = fit(blobs(pairs), tmp_path / "parts", schedule)
    assert [h["loss"] for h in again] == [h["loss"] for h in history]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_published_schedule():
    s, _, _ = RECIPES["deep_gru"]().numbers({"epochs": "50"})
    assert (s.epochs, s.learning_rate, s.warmup, s.weight_decay) == (50, 1e-4, 10, 1e-5)
    assert (s.patience, s.window, s.decay, s.clip) == (10, 10, 0, 0)
    assert [_rate(s)(i) for i in (0, 4, 9, 10, 9999)] == [0.1, 0.5, 1, 1, 1]
    for parameter, outputs in (("flux", 1), ("pa", 2), ("all", 5)):
        _, _, arguments = RECIPES["shape_resnet"]().numbers({"parameter": parameter})
        assert arguments["outputs"] == outputs
    with pytest.raises(InputError, match="fwhm_y"):
        RECIPES["shape_resnet"]().numbers({"parameter": "no"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six small cubes' compact data."""
    out = tmp_path_factory.mktemp("compact")
    small = {"size": 96, "channels": 32, "cell": "0.2arcsec", "total_time": "200s", "integration": "20s"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAINTSKY_CACHE", str(tmp_path_factory.mktemp("cache")))
        faintsky.simulate_alma(out / "d", 6, seed=3, snr=40, products=("compact",), **small)
    return out / "d"


def test_folders_are_split_by_cube(folder):
    data = open_compact(folder, 0.5, 0.34)
    names = [[f.name[:4] for f in part] for part in (data.train, data.held)]
    assert names == [["0000", "0001", "0002"], ["0003", "0004"]]
    dirty, sky = read_images(data.train)
    assert dirty.shape == sky.shape == (3, 96, 96)
    assert dirty.abs().amax() == sky.amax() == 1
    assert torch.isfinite(dirty).all()


def test_sources_have_their_truth(folder):
    data = open_compact(folder)
    arrays = read_sources(data.train, ("line_images", "focused"), truth=True)
    n = len(arrays["rms"])
    assert all(len(a) == n for a in arrays.values())
    double = FocusedImages(
        make_network("shape_resnet", outputs=5, width=4), arrays, arrays, cell=data.cell, parameter="all"
    )
    assert list(double.names[1:]) == ["fwhm_x", "fwhm_y", "sin_2pa", "cos_2pa", "flux"]
    target = double.train[1].numpy()
    maj, minor, pa = shape_of(target[:, 0], target[:, 1], target[:, 2:4])
    np.testing.assert_allclose(maj, arrays["dc_maj"] / data.cell, rtol=1e-5)
    np.testing.assert_allclose(minor, arrays["dc_min"] / data.cell, rtol=1e-5)
    assert np.abs((pa - arrays["dc_pa"] + 90) % 180 - 90).max() < 1e-3
    # the line image's middle holds the flux times what the beam makes of the source's shape
    tables = [Table.read(str(f).replace("compact.npz", "truth.ecsv")) for f in data.train]
    response, snr = (
        np.concatenate([np.asarray(column(t)) for t in tables])
        for column in (lambda t: t["flux_peak"] / t["line_flux_peak"], lambda t: t["snr"])
    )
    middle = arrays["line_images"][:, 31:34, 31:34].max(axis=(1, 2))
    ratio = middle / (flux_of(target[:, 4], arrays["rms"]) * response)
    assert np.median(ratio[snr > 10]) == pytest.approx(1, abs=0.1)
    degrees = FocusedImages(
        make_network("shape_resnet", width=4), arrays, arrays, cell=data.cell, parameter="pa", angle="degrees"
    )
    assert degrees.train[1].min() >= 0
    assert degrees.train[1].max() < 90
    images = degrees.take(None, np.arange(3))["input"]
    assert images.amin() == 0
    assert images.amax() == 1
    lines = double.take(None, np.arange(n))["input"][:, 0]
    torch.testing.assert_close(lines, torch.as_tensor(arrays["line_images"] / arrays["rms"][:, None, None]))


def test_spectra_are_standardised_and_networks_must_fit(folder):
    data = open_compact(folder)
    arrays = read_sources(data.train, ("spectra", "clean_spectra"))
    task = Spectra(make_network("deep_gru", channels=32), arrays, arrays)
    batch = task.take(None, np.arange(4))
    torch.testing.assert_close(batch["input"].mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch["input"].std(1, correction=0), torch.ones(4))
    assert batch["target"].amin() == 0
    assert batch["target"].amax() == 1
    with pytest.raises(InputError, match="channels=32"):
        Spectra(make_network("deep_gru"), arrays, arrays)


@pytest.mark.parametrize(
    ("network", "settings", "key"),
    [
        ("blobs_finder", {"size": 96, "latent": 16}, "blobs_finder"),
        ("decoras", {"size": 96, "latent": 16, "loss": "msle"}, "decoras"),
        ("deep_gru", {"channels": 32, "learning_rate": 3e-3}, "deep_gru"),
        ("deep_gru", {"head": "per_channel"}, "deep_gru"),
        ("shape_resnet", {"parameter": "pa", "width": 4}, "pa"),
    ],
)
def test_train_leaves_a_model_that_says_how_far_it_came(folder, tmp_path, network, settings, key):
    settings = {**settings, "epochs": 2, "batch_size": 4, "train": 0.5, "validation": 0.34}
    result = faintsky.train(network, tmp_path / "run", data=folder, settings=settings)
    assert result.facts["epochs"] == 2
    model = faintsky.load_model(tmp_path / "run", job="detect")
    assert model.card["reached"]["epoch"] == 2
    assert model.card["recipe"]["schedule"]["epochs"] == 2
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert np.isfinite(history[-1]["loss"])
    assert (tmp_path / "run" / "training.png").stat().st_size > 0
    made = model.network(key)
    shape = {"blobs_finder": (1, 1, 96, 96), "decoras": (1, 1, 96, 96), "deep_gru": (1, 32)}.get(network)
    with torch.no_grad():
        assert torch.isfinite(made(torch.rand(shape or (1, 1, 64, 64)))).all()


def test_phase_2_begins_with_phase_1(folder, tmp_path):
    settings = {"channels": 32, "epochs": 1, "batch_size": 4, "train": 0.5, "validation": 0.34}
    first = faintsky.train("deep_gru", tmp_path / "one", data=folder, settings=settings)
    slow = {**settings, "learning_rate": 1e-12}
    second = faintsky.train("deep_gru", tmp_path / "two", data=folder, init=tmp_path / "one", settings=slow)
    a, b = (m.network("deep_gru").state_dict() for m in (first.model, second.model))
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


def test_wrong_data_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="--data"):
        faintsky.train("deep_gru", tmp_path / "run")
    with pytest.raises(InputError, match="compact"):
        faintsky.train("blobs_finder", tmp_path / "run", data=tmp_path)
    with pytest.raises(InputError, match="fractions"):
        open_compact(folder, 0.9, 0.2)
    with pytest.raises(InputError, match="too few"):
        open_compact(folder, 0.01, 0.2)
    (tmp_path / "0000_compact.npz").write_bytes(b"no array")
    with pytest.raises(InputError, match="damaged"):
        read_images([tmp_path / "0000_compact.npz"])


def test_images_of_sources_are_turned_by_half_a_circle_and_shifted_and_spectra_reversed():
    image = np.zeros((1, 64, 64), dtype=np.float32)
    image[0, 32, 32], image[0, 35, 37] = 2, 1
    arrays = {"focused": image} | dict.fromkeys(losses.TRUTH, np.ones(1, np.float32))
    arrays |= {"rms": np.ones(1, np.float32)}
    network = make_network("shape_resnet", width=8)
    task = FocusedImages(network, arrays, arrays, cell=1.0, parameter="fwhm_x", augment=True)
    made = task.take(np.random.default_rng(0), np.zeros(60, dtype=int))["input"][:, 0]
    bright = np.array([divmod(int(m.argmax()), 64) for m in made]) - 32
    faint = np.array([divmod(int((m == 0.5).float().argmax()), 64) for m in made]) - 32
    assert set(bright.ravel()) == {-1, 0, 1}
    assert set(map(tuple, faint - bright)) == {(3, 5), (-3, -5)}
    spectra = {k: np.arange(128, dtype=np.float32)[None] for k in ("spectra", "clean_spectra")}
    batch = Spectra(make_network("deep_gru"), spectra, spectra, augment=True).take(
        np.random.default_rng(0), np.zeros(20, dtype=int)
    )
    rising = {k: v[:, 0] < v[:, -1] for k, v in batch.items()}
    assert torch.equal(rising["input"], rising["target"])
    assert 0 < rising["input"].sum() < 20


def test_residual_networks_learn_the_width_of_a_blob(tmp_path):
    rng = np.random.default_rng(2)
    wide = rng.uniform(4, 12, 32).astype(np.float32)
    y, x = np.indices((32, 32)) - 16
    images = np.exp(-4 * np.log(2) * (y**2 + x**2) / wide[:, None, None] ** 2).astype(np.float32)
    zero = np.zeros_like(wide)
    arrays = {"focused": images, "rms": zero + 1, "dc_maj": wide, "dc_min": wide, "dc_pa": zero}
    arrays |= {"fwhm_z": zero, "line_flux_peak": zero, "pb": zero}
    torch.manual_seed(0)
    network = make_network("shape_resnet", width=8)
    task = FocusedImages(network, arrays, arrays, cell=1.0, parameter="fwhm_x")
    quick = {**QUICK, "epochs": 16, "batch_size": 8, "keep_every": 16, "learning_rate": 1e-3}
    _, history = fit(task, tmp_path, Schedule(**quick))
    assert min(h["fwhm_x"] for h in history) < 1.5, "a constant is wrong by 2 on average"
