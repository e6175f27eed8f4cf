"""The published autoencoder from data to a denoised image: `train`, its card, `denoise`, `evaluate`."""

import json

import numpy as np
import pytest
from astropy.io import fits
from outputs import DENOISED
from synthetic import random_sky, write_brightness

import faintsky
from faintsky.errors import InputError

pytest.importorskip("pytorch_lightning", reason="the extra 'train' is not installed")
pytestmark = pytest.mark.learning

TINY = {
    "tile": 16, "dense": 24, "batch_size": 8, "learning_rate": 5e-4, "epochs": 25, "keep_every": 25,
}  # fmt: skip
SIGMA = 1e-6


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Ten skies and their Noise images, and a network trained on nine of them."""
    folder = tmp_path_factory.mktemp("dda")
    (folder / "data").mkdir()
    rng = np.random.default_rng(1)
    for i in range(10):
        true = random_sky(rng)
        noise = SIGMA * rng.normal(size=true.shape)
        write_brightness(folder / "data" / f"{i:04d}_sky.fits", true)
        write_brightness(folder / "data" / f"{i:04d}_noise.fits", true + noise)
    result = faintsky.train("dda", folder / "run", data=folder / "data", settings=TINY, seed=2, device="cpu")
    return folder, result


def test_it_learns_and_its_card_says_how_to_use_it(trained):
    folder, result = trained
    history = json.loads((folder / "run" / "history.json").read_text())
    assert len(history) == 25
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert result.facts["best"]["sigma_mre"] < history[0]["sigma_mre"]
    settings = result.model.settings
    assert settings["method"] == "dda"
    assert settings["product"] == "noise"
    assert (settings["floor"], settings["ceiling"], settings["cell"]) == (1e-8, 1e-2, 2.0)
    assert len(settings["error"]) == len(settings["error_at"]) > 3
    assert result.model.card["recipe"]["arguments"]["tile"] == 16


def test_denoise_with_it_leaves_the_files_of_the_contract(trained, tmp_path):
    folder, _ = trained
    image = folder / "data" / "0009_noise.fits"
    truth = fits.getdata(folder / "data" / "0009_sky.fits")
    plan = faintsky.denoise(image, tmp_path / "out", model=str(folder / "run"), dry_run=True)
    assert plan.facts["blocks"] == 8 * 8
    result = faintsky.denoise(image, tmp_path / "out", model=str(folder / "run"), members=4, device="cpu")
    assert {p.name for p in (tmp_path / "out").iterdir()} == DENOISED
    made = fits.getdata(tmp_path / "out" / "denoised.fits")
    assert np.abs(np.log10(made) - np.log10(np.maximum(truth, 1e-8))).mean() < 0.5
    # noise below zero and above is gone where there is nothing
    noise = fits.getdata(image)
    empty = truth < 1e-9
    if empty.sum() > 50:
        assert made[empty].std() < 0.5 * noise[empty].std()
    uncertainty = fits.getdata(tmp_path / "out" / "uncertainty.fits")
    assert (uncertainty > 0).all()
    mask = fits.getdata(tmp_path / "out" / "mask.fits")
    np.testing.assert_array_equal(mask > 0, made > np.float32(1e-7))
    table = result.catalog
    assert list(table["id"]) == list(range(1, mask.max() + 1))
    assert table["flux"][0] == pytest.approx(4 * made[mask == 1].sum(dtype=float), rel=1e-4)
    assert result.facts["kind"] == "noise"
    report = (tmp_path / "out" / "report.html").read_text()
    assert "regions above 1e-07 Jy/arcsec²" in report
    assert "regions of reliability" not in report


def test_it_is_a_method_of_the_evaluation(trained):
    from faintsky.evaluation import Field, denoisers
    from faintsky.io import open_image

    folder, _ = trained
    image = open_image(folder / "data" / "0009_noise.fits")
    (method,) = denoisers([str(folder / "run")])
    made = method.run(Field(image, image.data, SIGMA, None, 3.0))
    assert made.image.shape == (64, 64)
    assert made.sigma is not None
    assert made.segments.reported > 0


def test_going_on_and_fine_tuning(trained, tmp_path):
    folder, _ = trained
    again = faintsky.train("dda", folder / "run", data=folder / "data", settings=TINY, seed=2, device="cpu")
    assert again.facts["already_complete"]
    tuned = faintsky.train(
        "dda", tmp_path / "tuned", data=folder / "data", init=str(folder / "run"), device="cpu",
        settings={**TINY, "epochs": 1, "product": "sky", "tiles": 20},
    )  # fmt: skip
    assert tuned.model.settings["product"] == "sky"
    assert tuned.facts["steps"] == 20 // 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"product": "no"}, "product=.no.: input should be .sky."),
        ({"product": "dirty"}, "no dirty image"),
        ({"tile": 128}, "smaller than a tile"),
        ({"scaling": "no"}, "scaling=.no.: input should be .fixed."),
        ({"levels": 9}, "levels"),
    ],
)
def test_bad_settings(trained, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        faintsky.train(
            "dda", tmp_path / "run", data=trained[0] / "data", settings={**TINY, **settings}, device="cpu"
        )
    assert not (tmp_path / "run").exists()
