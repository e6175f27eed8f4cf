"""Sources of a cube by DECORAS's autoencoder (Rezaei et al. 2021, MNRAS 510, 5891) on the integrated image.

As in Delli Veneri et al. (2022), Section 5.1, the network's image of the sky is searched for blobs by
differences of Gaussians, and a blob of scale sigma has the box ``r = sqrt((3 sigma)**2)`` (eq. 21). Rezaei et
al. accept blobs that agree within three pixels in two networks with different losses; with one network all
its blobs count.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from astropy.table import Table
from torch import Tensor, nn

from faintsky.arrays import Array, Array32, Float
from faintsky.detection import Found, integrated_image, source_table, whole_pixels
from faintsky.errors import InputError
from faintsky.image import RadioCube
from faintsky.matching import Criterion, match
from faintsky.models import Model, load_model, save_model
from faintsky.published.deepfocus import (
    WIDTHS,
    BlobsFinderRecipe,
    ImageSettings,
    activated,
    bottleneck,
    crop_centre,
    crop_slices,
    example_image,
    unit_range,
)

EMPTY = -4.0
"""Initial bias of the output: most of the sky is empty, which a bias is slow to learn."""
SETTINGS: dict[str, Any] = {
    "method": "decoras", "threshold": 0.1, "min_sigma": 1.0, "max_sigma": 10.0, "sigma_ratio": 1.6,
    "overlap": 0.5, "agree": 3.0, "radius": 3.0,
}  # fmt: skip
"""Settings of ``skimage.feature.blob_dog`` for maps in [0, 1]; largest distance of blobs in two networks
[pixel]; half side of a box in units of a blob's sigma."""


def join_networks(runs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Model:
    """Make a model for detection from folders of trained ``decoras`` networks.

    Parameters
    ----------
    runs : sequence of path-like
        One or two folders; the positions and boxes are the first one's.
    out : path-like
        Folder of the model.

    Raises
    ------
    InputError
        If a folder does not hold one ``decoras`` network.
    """
    networks = {}
    for number, run in enumerate(runs, start=1):
        trained = load_model(Path(run))
        entries = {k: e for k, e in trained.card["networks"].items() if e["network"] == "decoras"}
        if len(entries) != 1:
            raise InputError("holds no decoras network", "give a folder of faintsky train decoras", run)
        ((key, entry),) = entries.items()
        networks[f"decoras_{number}"] = "decoras", entry["arguments"], trained.network(key)
    return save_model(
        Path(out), name="decoras", job="detect", settings=SETTINGS, networks=networks,
        card={"title": "DECORAS", "summary": "Blobs of an autoencoder's image of the sky (Rezaei et al.)."},
    )  # fmt: skip


def network_image(image: Array, model: Model, key: str, device: str = "cpu") -> Array32:
    """A network's image of the sky, for the centre of the integrated image.

    Parameters
    ----------
    image : array
        The integrated image, ``[y, x]``.
    model : Model
        Has the network.
    key : str
        Name of the network in the model.
    device : str, optional
        A torch device.

    Returns
    -------
    array
        ``[256, 256]``, in [0, 1].
    """
    network = model.network(key, device)
    size = int(model.card["networks"][key]["arguments"].get("size", 256))
    whole = torch.as_tensor(np.nan_to_num(image), device=device)[None, None]
    with torch.inference_mode():
        return network(unit_range(crop_centre(whole, size)))[0, 0].cpu().numpy()


def blobs(sky: Array, settings: Mapping[str, Any]) -> Float:
    """Blobs of an image in [0, 1] by ``skimage.feature.blob_dog``, ``[n, 3]``: y, x, sigma [pixel]."""
    from skimage.feature import blob_dog

    names = ("threshold", "min_sigma", "max_sigma", "sigma_ratio", "overlap")
    found = blob_dog(sky.astype(np.float64), **{k: settings[k] for k in names})
    return np.asarray(found, dtype=float).reshape(-1, 3)


def agreeing(first: Float, second: Float, radius: float) -> Float:
    """Blobs that have a partner in another list, by one-to-one matching.

    Parameters
    ----------
    first, second : array
        Blobs, ``[n, 3]``: y, x, sigma [pixel].
    radius : float
        Largest distance [pixel].

    Returns
    -------
    array
        Blobs of the first list.
    """
    tables = [Table({"x": blobs[:, 1], "y": blobs[:, 0]}) for blobs in (first, second)]
    rule = Criterion("agreement", along_z=False, radius=radius)
    return first[match(tables[0], tables[1], rule).i_true]


def find(cube: RadioCube, model: Model, *, reliability: float | None = None, device: str = "cpu") -> Found:
    """Blobs of a network's image of the sky, or those that agree in two networks.

    See `faintsky.registry.DETECTORS`. The model is one of `join_networks`, with the settings in `SETTINGS`;
    the central 256 x 256 pixels are searched, and there are no reliabilities.
    """
    s = SETTINGS | model.settings
    keys = sorted(model.card["networks"])
    if not keys:
        raise InputError(f"model {model.name!r} has no networks", "give another --model")
    image = integrated_image(cube)
    maps = [network_image(image, model, key, device) for key in keys]
    found = blobs(maps[0], s)
    steps = {}
    for other in maps[1:]:
        kept = agreeing(found, blobs(other, s), float(s["agree"]))
        steps["not in both networks"] = len(found) - len(kept)
        found = kept
    n_y, n_x = image.shape
    inside, seen = crop_slices(image.shape, len(maps[0]))
    y0, x0 = (into.start - of.start for into, of in zip(inside, seen))
    values = maps[0][tuple(found[:, :2].astype(int).T)]
    order = np.argsort(-values, kind="stable")
    y, x, sigma = (found[order] + np.array([y0, x0, 0.0])).T
    place = (y > -0.5) & (y < n_y - 0.5) & (x > -0.5) & (x < n_x - 0.5)
    y, x, sigma, order = y[place], x[place], sigma[place], order[place]
    columns = {"x": x, "y": y, "score": values[order]}
    for name, at, n in (("x", x, n_x), ("y", y, n_y)):
        ends = whole_pixels(at, at, at, sigma, "moments", float(s["radius"]), n)
        columns[f"{name}_min"], columns[f"{name}_max"] = ends
    notes = ["blobs of the integrated image: no positions in frequency, no reliabilities"]
    whole = np.full(image.shape, np.nan, dtype=np.float32)
    whole[inside] = maps[0][seen]
    return Found(source_table(cube, columns, {"steps": steps}), None, None, steps, notes, whole)


class Decoras(nn.Module):
    """The autoencoder as Delli Veneri et al. (2022) built it; 8.5 million weights at 256 pixels.

    Compared with Blobs Finder it has half the convolutions, a quarter of the latent values, and transposed
    convolutions instead of interpolation.

    Parameters
    ----------
    size : int
        Side of its images, a multiple of 16 [pixel].
    latent : int
        Values between encoder and decoder.
    """

    def __init__(self, size: int = 256, latent: int = 256) -> None:
        super().__init__()
        self.size = size
        down: list[nn.Module] = []
        for inner, outer in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True):
            down += [nn.Conv2d(inner, outer, 3, stride=2, padding=1), activated(outer)]
        up: list[nn.Module] = []
        for inner, outer in zip(WIDTHS[::-1], (*WIDTHS[-2::-1], WIDTHS[0]), strict=True):
            up += [
                nn.ConvTranspose2d(inner, outer, 3, stride=2, padding=1, output_padding=1),
                activated(outer),
            ]
        self.encoder = nn.Sequential(*down)
        self.bottleneck = bottleneck(size, latent)
        self.decoder = nn.Sequential(*up)
        self.out = nn.Conv2d(WIDTHS[0], 1, 1)
        nn.init.constant_(self.out.bias, EMPTY)  # type: ignore[arg-type]

    @staticmethod
    def example(size: int) -> tuple[Tensor, ...]:
        """See `faintsky.published.deepfocus.networks.example_image`."""
        return example_image(size)

    def forward(self, image: Tensor) -> Tensor:
        """As `faintsky.published.deepfocus.networks.BlobsFinder.forward`."""
        x = self.encoder(image)
        x = self.bottleneck(x.flatten(1)).reshape(x.shape)
        return torch.sigmoid(self.out(self.decoder(x)).float())


class DecorasSettings(ImageSettings):
    """Settings of Blobs Finder, with another loss."""

    loss: Literal["ramp", "sum", "bce", "msle"] = "bce"


class DecorasRecipe(BlobsFinderRecipe):
    """Recipe of ``decoras``, trained on the same data as Blobs Finder."""

    network = key = method = "decoras"
    settings = DecorasSettings
    cost = (7.2e-7, 400)
