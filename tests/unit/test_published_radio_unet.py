"""Radio U-Net: what it learns, its regions, and clusters to try it on."""

import numpy as np
import pytest
import torch
from torch import nn

import faintsky
from benchmarks.clusters import draw_cluster
from faintsky.image import RadioImage
from faintsky.models import load_model
from faintsky.networks import make_network
from faintsky.published.radio_unet import (
    SegmentSettings,
    SegmentTask,
    SegmentTaskSettings,
    probability,
    segment_image,
)
from faintsky.simulating import make_library


class Bright(nn.Module):
    """In the network's place: sure of what exceeds the noise three times."""

    reach, stride = 2, 2

    def forward(self, image, weight, beam):
        p = (image > 3).float()
        return p, torch.sqrt(p * (1 - p))


@pytest.mark.learning
def test_trained_from_the_command_to_regions_of_an_image(tmp_path):
    make_library(1, seed=3).save(tmp_path / "psfs" / "psfs.npz")
    few = {"steps": 2, "batch_size": 2, "widths": [2, 4], "tile": 64, "workers": 0, "validate_every": 2}
    faintsky.train("radio_unet", tmp_path / "run", data=tmp_path / "psfs", settings=few, device="cpu")
    assert load_model(tmp_path / "run").settings["method"] == "radio_unet"
    data = np.random.default_rng(0).standard_normal((96, 96)).astype(np.float32)
    image = RadioImage.from_array(data, cell=2.0, beam=[8, 8, 0])
    found = faintsky.denoise(image, model=str(tmp_path / "run"), device="cpu")
    assert found.mask.max() == len(found.catalog)


def test_diffuse_emission_is_the_target_and_galaxies_are_not():
    settings = SegmentTaskSettings(tile=128, errors=0, artefacts=0)
    task = SegmentTask(make_network("radio_unet", widths=(2, 4)), make_library(1, seed=3), settings)
    batch = task.batch(np.random.default_rng(1), 8)
    everything, diffuse = batch["target"][:, 0], batch["target"][:, 1]
    assert (everything - diffuse > -1e-4 * everything.amax()).all()
    assert (everything - diffuse).amax() > 10
    assert (diffuse > settings.least).any()
    # a network that says what is true has no loss, one that outlines the galaxies as well has
    losses = []
    for said in (diffuse, everything):
        task.network.logit = lambda image, said=said: 20 * torch.sign(said - settings.least)[:, None]
        losses.append(float(task.loss(task.network, batch)))
    assert losses[0] < 1e-6 < 1e-2 < losses[1]


def test_regions_hold_the_data_and_blanks_nothing():
    y, x = np.indices((128, 128))
    data = np.random.default_rng(2).standard_normal(y.shape) * 0.2
    data += 8 * np.exp(-4 * np.log(2) * ((x - 40) ** 2 + (y - 60) ** 2) / 30**2)
    data[50:60, 60:70] = np.nan
    image = RadioImage.from_array(data.astype(np.float32), cell=2.0, beam=[8, 8, 0])
    found = segment_image(image, Bright(), SegmentSettings(least_area=5))
    assert len(found.catalog) == found.mask.max() == 1
    inside = found.mask == 1
    assert inside[60, 40]
    assert not inside[50:60, 60:70].any()
    area = np.pi / (4 * np.log(2)) * 4**2
    assert found.catalog["flux"][0] == pytest.approx(data[inside].sum() / area, rel=0.01)
    assert not probability(Bright(), found.prepared)[50:60, 60:70].any()


def test_a_cluster_has_a_halo_or_none_and_galaxies_all_the_same():
    halo, galaxies = draw_cluster(np.random.default_rng(5), (200, 240), 1.5, 1e-6)
    none, same = draw_cluster(np.random.default_rng(5), (200, 240), 1.5, 0.0)
    np.testing.assert_array_equal(galaxies, same)
    assert not none.any()
    y, x = (float((np.indices(halo.shape)[k] * halo).sum() / halo.sum()) for k in (0, 1))
    assert np.hypot(y - 100, x - 120) < 25
    assert 0.3e-6 < halo.max() < 5e-6
