"""Segmentation by Radio U-Net: regions are pixels that probably show diffuse emission, with the data's
fluxes."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field
from torch import nn

from faintsky.arrays import Array32
from faintsky.denoising import DenoiseCall, Denoised, catalog_by_flux, large_regions, predict
from faintsky.image import RadioImage
from faintsky.models import Model
from faintsky.options import Progress
from faintsky.preparing import PreparedImage, prepare_image
from faintsky.system import Settings


class SegmentSettings(Settings):
    """Settings in a model's card.

    Attributes
    ----------
    threshold : float
        Least probability of a region's pixels.
    least_area : float
        Least area of a region [beam].
    """

    method: Literal["radio_unet"] = "radio_unet"
    threshold: float = Field(0.5, gt=0, lt=1)
    least_area: float = Field(1.0, ge=0)


def make_denoiser(model: Model, device: str = "cpu") -> DenoiseCall:
    """The function that segments images with a model; `InputError` for one that cannot be used."""
    settings = SegmentSettings.read(model.settings, what="model setting", hint="correct model.json")
    network = model.network("denoiser", device)
    return partial(segment_image, network=network, settings=settings, device=device)


def probability(
    network: nn.Module, prepared: PreparedImage, *, members: int = 1, device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Array32:  # fmt: skip
    """Probability that pixels show diffuse emission, ``[y, x]``, 0 where blank. See `predict`."""
    seen, _ = predict(
        network, prepared.scaled, prepared.weight, None, members=members, device=device, progress=progress
    )
    return np.where(prepared.valid, seen, np.float32(0))


def segment_image(
    image: RadioImage,
    network: nn.Module,
    settings: SegmentSettings,
    *,
    members: int = 1,
    reliability: float = 0.0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Denoised:
    """Outline diffuse emission; its image is the positive data within the regions.

    See `faintsky.denoising.denoise_image`: members are mirrored and rotated images to average, and a
    reliability has no effect, because only pixels have a probability. Regions are sorted by flux.
    """
    prepared = prepare_image(image)
    p = probability(
        network, prepared, members=members, device=device,
        progress=progress and (lambda done, total: progress(done, total, "network")),
    )  # fmt: skip
    allowed = prepared.valid if image.mask is None else prepared.valid & image.mask[0]
    labels = large_regions(allowed & (p > settings.threshold), settings.least_area * prepared.beam_area)
    rms = np.where(prepared.valid, prepared.rms, np.float32(0))
    # moments need a non-negative image
    inside = np.where(labels > 0, np.maximum(prepared.data, 0), np.float32(0))
    labels, table = catalog_by_flux(image, prepared, inside, rms, labels)
    blank = np.where(prepared.valid, np.float32(0), np.float32(np.nan))
    rule = f"of probability {settings.threshold:g} and above"
    notes = ["Radio U-Net outlines diffuse emission: fluxes are the data's, with any compact sources inside"]
    return Denoised(
        inside + blank, rms + blank, prepared.data - inside + blank, labels, table, prepared, None,
        "restored", len(table), [*image.notes, *notes], rule=rule,
    )  # fmt: skip
