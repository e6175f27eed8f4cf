"""Real files are brought to what the networks know, and what cannot be is said."""

import sys

import numpy as np
import pytest
from stand_ins import NETWORKS, autoencoder

from faintsky.beams import beam_pixels
from faintsky.errors import InputError
from faintsky.image import RadioCube
from faintsky.models import Model
from faintsky.published.deepfocus import pipeline
from faintsky.simulating import UNIT_BEAM
from reproduction import common, real_files

CARD = {"networks": {"blobs_finder": {"arguments": {}}, "deep_gru": {"arguments": {"channels": 128}}}}
TRAINED = {"cell": 0.1, "beam": 0.8, "channels": 128, "width": 1e7}
BEAM = (6.0, 4.0, 30.0)


def made(n_chan=24, n=48, seed=1):
    """Noise of 1 Jy/beam with a source of 100 in the 10th channel; cells of an arcsec."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(n_chan, n, n)).astype(np.float32)
    y, x = np.ogrid[:n, :n]
    data[10] += 100 * np.exp(-0.5 * ((x - 24) ** 2 + (y - 20) ** 2) / 3.0**2)
    data[0] = 0
    return RadioCube.from_array(data, cell=1.0, frequencies=1e11 + 1e7 * np.arange(n_chan), beam=BEAM)


def test_a_cube_is_brought_to_the_trainings_pixels_and_channels():
    cube = made()
    like = real_files.like_training(cube, Model("DF", "detect", {"trained": TRAINED}, CARD, None))
    major, minor, pa = like.middle_beam
    assert np.sqrt(major * minor) == pytest.approx(8)
    assert (like.shape[0], pa) == (128, 30)
    assert like.frequencies[52 + 10] == pytest.approx(cube.frequencies[10])
    place = np.unravel_index(np.nanargmax(like.data), like.shape)
    factor = 8 / np.sqrt(24)
    assert place[0] == 62
    assert np.array(place[1:]) == pytest.approx((np.array([20, 24]) + 0.5) * factor - 0.5, abs=1)
    assert like.data.max() == pytest.approx(np.nanmax(cube.data), rel=0.03)
    # fluxes stay what they are: as many more pixels as the beam has
    sums = [
        c.data[k].sum() / beam_pixels(np.array(c.middle_beam), 1.0)[0] for c, k in ((cube, 10), (like, 62))
    ]
    assert sums[1] == pytest.approx(sums[0], rel=0.03)
    # added channels, and one that was blank, are noise of the cube's own rms
    for k in (0, 51, 52, 127):
        assert like.data[k].std() == pytest.approx(1, rel=0.3)
    few = Model("DF", "detect", {"trained": TRAINED | {"channels": 16}}, CARD, None)
    with pytest.raises(InputError, match="more than 16"):
        real_files.like_training(cube, few)


def test_files_of_the_tests_make_a_table_and_panels(request, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(pipeline, "load_networks", lambda *_: NETWORKS)
    deepfocus = Model("DF", "detect", {"method": "deepfocus", "trained": TRAINED}, CARD, tmp_path)
    load = real_files.load_model
    monkeypatch.setattr(real_files, "load_model", lambda name: deepfocus if name == "DF" else load(name))
    models = ["DF", *(autoencoder(tmp_path, product) for product in ("noise", "dirty"))]
    data = request.path.parents[1] / "data"
    monkeypatch.setattr(sys, "argv", ["real_files", str(data), "--models", ",".join(models)])
    real_files.main()
    text = (tmp_path / "results" / "real_files" / "table.md").read_text()
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    of = {(line[0].removeprefix("| ")[:4], line[1]): line for line in lines}
    assert "has 50 channels" in of["ngc3", "DF"][5]
    assert of["ngc3", "DF"][3] == "-"
    assert "Jy km/s" in of["ngc3", "DF, as trained"][3]
    assert "trained on pixels of 2 arcsec" in of["lofa", "noise"][5]
    assert of["lofa", "noise"][4] == "173 mJy (image)"
    assert ("lofa", "dirty") not in of
    assert ("alma", "noise") not in of
    assert {"dirty", "dirty, noise as trained"} <= {method for name, method in of if name == "alma"}
    panels = sorted(p.stem for p in (tmp_path / "results" / "real_files").glob("*.png"))
    assert panels == ["alma_pisco_cii_dirty", "lofar_hba_grb201006a", "ngc3256_co10_64"]


def test_an_image_gets_the_noise_of_the_training(request):
    image = real_files.open_image(request.path.parents[1] / "data" / "lofar_hba_grb201006a.fits.gz")
    scaled, factor = real_files.with_noise_of(image, "noise")
    assert scaled.data == pytest.approx(image.data * factor, nan_ok=True)
    major, minor, _ = image.middle_beam
    area = np.pi / 4 / np.log(2) * major * minor * image.grid.cell**2
    assert real_files.robust_sigma(scaled.data) / area == pytest.approx(1e-4 / UNIT_BEAM, rel=1e-4)
