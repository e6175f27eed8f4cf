"""What the residual networks learn: a source's widths, angle or flux from a small image of it.

Delli Veneri et al. (2022), Sections 4.3 and 4.5. Shapes are read off the spectrally focused image, in [0, 1];
the flux off the line image over the cube's rms, which keeps the scale. Phase 1 takes images made with the
true parameters, phase 2 with those that the pipeline found: the same arrays from another folder.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faintsky.errors import InputError
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.published.deepfocus.scaling import unit_range
from faintsky.published.deepfocus.targets import flux_target, shape_targets
from faintsky.training.fit import Batch

PARAMETERS = ("fwhm_x", "fwhm_y", "pa", "flux", "all")
ANGLES = ("double", "degrees")
CHUNK = 128
"""Images that are validated at a time."""
Arrays = dict[str, NDArray[np.float32]]


def target_names(parameter: str, angle: str) -> list[str]:
    """What a network gives for a parameter, in order.

    Raises
    ------
    InputError
        For an unknown parameter or form of the angle.
    """
    if parameter not in PARAMETERS or angle not in ANGLES:
        raise InputError(
            f"no parameter {parameter!r} or angle {angle!r}",
            f"choose of {', '.join(PARAMETERS)} and of {', '.join(ANGLES)}",
        )
    turn = ["pa"] if angle == "degrees" else ["sin_2pa", "cos_2pa"]
    each = {"fwhm_x": ["fwhm_x"], "fwhm_y": ["fwhm_y"], "pa": turn, "flux": ["flux"]}
    return each.get(parameter) or [name for names in each.values() for name in names]


def image_name(parameter: str) -> str:
    """Which array of the compact data a parameter is read off: the flux needs the one with a scale."""
    return "line_images" if parameter in ("flux", "all") else "focused"


class FocusedImages:
    """The task; see `faintsky.training.fit.EpochTask`.

    Parameters
    ----------
    network : torch.nn.Module
        ``shape_resnet`` with one output for each of `target_names`.
    train, held : dict of arrays
        `image_name`, ``rms`` and the truth, ``[source, ...]``: `compact_sets.read_sources`.
    cell : float
        Of the images [arcsec].
    parameter : {"fwhm_x", "fwhm_y", "pa", "flux", "all"}
        ``all`` is one network for everything, on line images.
    angle : {"double", "degrees"}
        Sine and cosine of twice the position angle, or the paper's projection angle in [0, 90) [deg].
    """

    def __init__(
        self,
        network: nn.Module,
        train: Arrays,
        held: Arrays,
        *,
        cell: float,
        parameter: str,
        angle: str = "double",
    ) -> None:
        self.names = target_names(parameter, angle)
        self.parameter = parameter
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train = _images(train, parameter), _targets(train, cell, self.names, angle)
        self.held = _images(held, parameter), _targets(held, cell, self.names, angle)
        self.examples = len(self.train[0])
        # outputs of different units count alike
        self.spread = self.train[1].std(dim=0, correction=0).clamp_min(1e-6)

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Random examples."""
        return self.take(rng, rng.integers(self.examples, size=size))

    def take(self, rng: np.random.Generator, pick: NDArray[np.int64]) -> Batch:
        """``image`` ``[b, 1, y, x]`` and ``target`` ``[b, value]``."""
        image, target = (a[torch.as_tensor(pick)] for a in self.train)
        return {"image": self._scaled(image), "target": target}

    def _scaled(self, images: Tensor) -> Tensor:
        made = images.float() if image_name(self.parameter) == "line_images" else unit_range(images)
        return made[:, None].contiguous(memory_format=torch.channels_last)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean absolute difference, in units of the targets' standard deviations."""
        made = network(batch["image"])
        return ((made - batch["target"]).abs() / self.spread.to(made.device)).mean()

    def validate(self, network: nn.Module) -> dict[str, float]:
        """``loss`` and the mean absolute error of every value, in its own unit."""
        device = next(network.parameters()).device
        errors = torch.zeros(len(self.names))
        for image, target in zip(*(a.split(CHUNK) for a in self.held), strict=True):
            made = network(self._scaled(image).to(device)).cpu()
            errors += (made - target).abs().sum(dim=0) / len(self.held[0])
        return {
            "loss": float((errors / self.spread).mean()),
            **dict(zip(self.names, errors.tolist(), strict=True)),
        }


def _images(arrays: Arrays, parameter: str) -> Tensor:
    name = image_name(parameter)
    images = torch.as_tensor(arrays[name])
    if name == "line_images":
        return images / torch.as_tensor(arrays["rms"])[:, None, None]
    return unit_range(images).half()


def _targets(arrays: Arrays, cell: float, names: list[str], angle: str) -> Tensor:
    shape = (arrays["dc_maj"] / cell, arrays["dc_min"] / cell, arrays["dc_pa"])
    double, degrees = shape_targets(*shape), shape_targets(*shape, degrees=True)
    # the area of a Gaussian line of unit peak and FWHM is sqrt(2 pi) / 2.3548
    flux = arrays["line_flux_peak"] * arrays["fwhm_z"] * arrays["pb"] * np.sqrt(2 * np.pi) / FWHM_PER_SIGMA
    columns = {
        "fwhm_x": double[:, 0], "fwhm_y": double[:, 1], "sin_2pa": double[:, 2], "cos_2pa": double[:, 3],
        "pa": degrees[:, 2], "flux": flux_target(flux, arrays["rms"]),
    }  # fmt: skip
    return torch.as_tensor(np.stack([columns[n] for n in names], axis=1), dtype=torch.float32)
