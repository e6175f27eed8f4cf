"""SSIM of maps against the true sky."""

from types import SimpleNamespace

import numpy as np
import torch

from faintsky.evaluation import SimulatedCubes
from reproduction import map_similarity


def test_equal_maps_are_alike_and_blur_shows(monkeypatch):
    cubes = SimulatedCubes("paper", (0,), 5, (("channels", 16), ("total_time", "200s")))

    def found(cube, model):
        true = map_similarity.true_map(map_similarity.open_observatory(settings), 5, 0)
        return SimpleNamespace(
            image=np.pad(true.numpy(), 52) if model == "perfect" else np.zeros(cube.shape[1:])
        )

    settings = map_similarity.SimulationSettings(telescope="alma", preset="paper", **dict(cubes.settings))
    monkeypatch.setattr(map_similarity, "find_catalog", found)
    of = {
        name: values[0] for name, values in map_similarity.similarities(cubes, ["perfect", "blind"]).items()
    }
    assert of["perfect"] < 1e-6
    assert of["blind"] == of["nothing"] > of["true sky, blurred by 1"] > 1e-4
    assert of["true sky, blurred by 1"] < of["true sky, blurred by 2"] < of["true sky, blurred by 3"]


def test_dssim_of_a_flat_map_is_by_formula():
    # without any spread SSIM is the luminance term alone: C1 / (mean squared + C1), C1 = 0.01 squared
    flat, nothing = torch.full((64, 64), 0.1), torch.zeros(64, 64)
    assert np.isclose(map_similarity.dssim_of(flat, nothing), (1 - 1e-4 / (0.01 + 1e-4)) / 2, rtol=1e-4)
