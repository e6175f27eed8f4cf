"""A package of its own makes a network, a method and a recipe known: they are used as ours are."""

import subprocess
import sys

import numpy as np
import pytest

import faintsky
from faintsky import registry
from faintsky.detection import find_catalog
from faintsky.errors import InputError
from faintsky.image import RadioCube
from faintsky.models import save_model
from faintsky.networks import make_network

TOY = '''
import torch

from faintsky.catalog import make_table
from faintsky.detection import Found, integrated_image, world_columns
from faintsky.training import Recipe


class Gain(torch.nn.Module):
    """One number that the image is multiplied by."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))

    @staticmethod
    def example(size):
        return (torch.rand(2, 1, size, size),)

    def forward(self, image):
        return self.gain * image


def find(cube, model, *, reliability, device):
    """The brightest pixel of the integrated image as the network shows it."""
    import numpy as np

    image = torch.as_tensor(np.nan_to_num(integrated_image(cube)))[None, None]
    with torch.no_grad():
        seen = model.network("gain", device)(image)[0, 0].numpy()
    y, x = np.unravel_index(seen.argmax(), seen.shape)
    columns = world_columns(cube, [x], [y], [np.nan], [np.nan]) | {"snr": [float(seen.max())]}
    return Found(make_table(columns))


class Twice:
    """Learns to double."""

    def __init__(self, network):
        self.network = network

    def batch(self, rng, size):
        image = torch.as_tensor(rng.uniform(1, 2, (size, 1, 4, 4)), dtype=torch.float32)
        return {"image": image, "target": 2 * image}

    def loss(self, network, batch):
        return (network(batch["image"]) - batch["target"]).square().mean()

    def validate(self, network):
        return {"loss": float((network.gain - 2).square())}


class GainRecipe(Recipe):
    network, job, key, presets = "gain", "detect", "gain", ("numbers",)
    schedule = {"steps": 40, "validate_every": 20, "learning_rate": 0.1, "warmup": 1, "workers": 0}

    def check_data(self, data, settings):
        pass

    def task(self, plan, network, folder, progress=None):
        return Twice(network)

    def pixels(self, plan):
        return 16

    def model_settings(self, task, network):
        return {"method": "brightest"}
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    (tmp_path / "toy_package.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    for kind, name, place in (
        ("NETWORKS", "gain", "Gain"), ("DETECTORS", "brightest", "find"), ("RECIPES", "gain", "GainRecipe"),
    ):  # fmt: skip
        known = getattr(registry, kind)
        monkeypatch.setitem(known._places, name, None)  # taken out again at the end
        known.add(name, f"toy_package:{place}")
    yield
    sys.modules.pop("toy_package", None)


def cube_with_a_peak():
    data = np.random.default_rng(0).normal(size=(8, 24, 24)).astype(np.float32)
    data[4, 9, 15] += 100
    frequencies = 230e9 + 1e7 * np.arange(8)
    return RadioCube.from_array(data, cell=0.1, frequencies=frequencies, beam=[0.3, 0.3, 0.0])


def test_a_method_from_outside_finds_sources(toy, tmp_path):
    (image,) = registry.NETWORKS["gain"].example(4)
    assert make_network("gain", gain=3.0)(image).equal(3 * image)
    with pytest.raises(InputError, match="no_such"):
        make_network("gain", no_such=1)
    networks = {"gain": ("gain", {"gain": 3.0}, make_network("gain", gain=3.0))}
    settings = {"method": "brightest"}
    model = save_model(tmp_path / "m", name="m", job="detect", settings=settings, networks=networks)
    found = find_catalog(cube_with_a_peak(), model).catalog
    assert (found["x"][0], found["y"][0]) == (15, 9)
    assert found["snr"][0] > 200


def test_a_recipe_from_outside_trains(toy, tmp_path):
    pytest.importorskip("pytorch_lightning", reason="the extra 'train' is not installed")
    result = faintsky.train("gain", tmp_path / "run", settings={"gain": "1.5"}, device="cpu")
    assert result.model.settings == {"method": "brightest"}
    assert result.model.card["networks"]["gain"]["arguments"] == {"gain": 1.5}
    assert result.model.network("gain").gain.item() == pytest.approx(2, abs=0.2)
    with pytest.raises(InputError, match=r"known: .*steps.*gain"):
        faintsky.train("gain", tmp_path / "x", settings={"size": 3})


def test_slices_register_without_being_loaded():
    code = (
        "import faintsky, sys; from faintsky.registry import DETECTORS, FILTERS, MODELS; "
        "assert {'deepfocus', 'pybdsf', 'smooth_clip'} <= set(DETECTORS); assert len(FILTERS) > 2; "
        "assert 'flood_fill' in MODELS; "
        "print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
