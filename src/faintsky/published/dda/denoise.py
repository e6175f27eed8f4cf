"""The published autoencoder's way of an image: scaled, encoded in tiles, and segmented by a threshold.

Gheller & Vazza (2021). The network answers with the sky as it was trained to: true brightness in each pixel,
also where the image has a beam. Regions are what is brighter than a threshold, the 1e-7 Jy/arcsec2 of their
figures unless the model says otherwise; there is no reliability.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.beams import beam_pixels
from faintsky.denoising import Denoised, RegionSettings, build_catalog, relabelled
from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.preparing import PreparedImage, prepare_image
from faintsky.published.dda.log_scale import LogScale, decode
from faintsky.published.dda.tiles import stack_encodings
from faintsky.simulating.sky_regions import at_resolution

if TYPE_CHECKING:
    from torch import nn

    from faintsky.denoising import DenoiseCall
    from faintsky.models import Model

Array32 = NDArray[np.float32]

METHOD = "dda"
PRODUCTS = {"sky": "Identity", "noise": "Noise", "clean": "Clean", "dirty": "Dirty"}
"""What a model denoises, and the paper's name for it."""
WITH_BEAM = ("clean", "dirty")
"""Products that show the sky with a beam."""
SAME_CELL = 0.05
"""Relative difference of cells that is not worth a note."""


@dataclass(frozen=True)
class AutoencoderSettings:
    """What a model's card says beside the weights.

    Parameters
    ----------
    product : str
        One of `PRODUCTS`: what it was trained to denoise.
    floor, ceiling, scaling
        Of `faintsky.published.dda.log_scale.LogScale`.
    cell : float
        Pixels of the training images [arcsec]; 0 where they differ.
    threshold : float
        Brightness of a region's pixels [Jy/arcsec2].
    least_area : int
        Pixels of a region.
    error_at, error : tuple of float
        Brightness that the network says, and the root mean square error there, on validation tiles
        [Jy/arcsec2].
    """

    product: str = "noise"
    floor: float = 1e-8
    ceiling: float = 1e-2
    scaling: str = "fixed"
    cell: float = 2.0
    threshold: float = 1e-7
    least_area: int = 1
    error_at: tuple[float, ...] = ()
    error: tuple[float, ...] = ()

    @property
    def scale(self) -> LogScale:
        """The scale that images are brought to."""
        return LogScale(self.floor, self.ceiling, self.scaling)

    @classmethod
    def read(cls, card: Mapping[str, Any]) -> AutoencoderSettings:
        """Settings of a model's card.

        Raises
        ------
        InputError
            For an unknown name or a value of another type.
        """
        given = {k: v for k, v in card.items() if k != "method"}
        unknown = sorted(set(given) - {f.name for f in fields(cls)})
        if unknown:
            raise InputError(f"unknown model settings {unknown}", "correct model.json")
        try:
            made = {k: _typed(getattr(cls, k), v) for k, v in given.items()}
            settings = cls(**made)
        except (TypeError, ValueError) as error:
            raise InputError(f"model settings: {error}", "correct model.json") from error
        if settings.product not in PRODUCTS or not settings.threshold > 0:
            raise InputError("no product or threshold in the model's settings", "correct model.json")
        if len(settings.error_at) != len(settings.error):
            raise InputError("as many error_at as error are needed", "correct model.json")
        return settings

    def as_dict(self) -> dict[str, Any]:
        """As `read` takes it."""
        return {"method": METHOD, **asdict(self)}

    def sigma(self, brightness: Array32, spread: Array32) -> Array32:
        """Standard deviation [Jy/arcsec2]: the error on validation tiles, and the members' spread."""
        known = np.zeros_like(brightness)
        if self.error:
            at = np.log(np.maximum(self.error_at, 1e-30))
            known = np.exp(np.interp(np.log(brightness), at, np.log(np.maximum(self.error, 1e-30))))
        return np.sqrt(known**2 + spread**2).astype(np.float32)


def _typed(default: Any, value: Any) -> Any:
    """A card's value in the type of the setting's default."""
    return tuple(map(float, value)) if isinstance(default, tuple) else type(default)(value)


def make_denoiser(model: Model, device: str = "cpu") -> DenoiseCall:
    """What denoises images as a model's card says; `InputError` for one that cannot be used."""
    network, settings = model.network("denoiser", device), AutoencoderSettings.read(model.settings)
    return partial(autoencode_image, network=network, settings=settings, device=device)


def autoencode_image(
    image: RadioImage,
    network: nn.Module,
    settings: AutoencoderSettings,
    *,
    members: int = 1,
    reliability: float = 0.0,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
) -> Denoised:
    """Denoise an image with a trained autoencoder and catalogue its regions of emission.

    Parameters
    ----------
    image : RadioImage
        In Jy/arcsec2, or in a unit that its beam turns into that.
    network : torch.nn.Module
        ``dda``, on `device`.
    settings : AutoencoderSettings
    members : int
        Encodings to stack, 1 to 8.
    reliability : float
        Without effect.
    device : str
        A torch device.
    progress : callable, optional
        Called with parts done, parts in all, and a word.

    Raises
    ------
    InputError
        Where the image cannot be used.
    """
    prepared = prepare_image(image, floor=settings.floor)
    unit = prepared.jy_per_pixel / image.grid.cell**2
    scale = settings.scale
    bright = np.where(prepared.valid, prepared.data * np.float32(unit), np.float32(np.nan))
    limits = scale.limits(bright)
    mean, spread = stack_encodings(
        network, scale.encode(bright, limits), lambda values: decode(values, limits), members=members,
        device=device, progress=progress and (lambda done, rows: progress(done, rows, "network")),
    )  # fmt: skip
    sigma = settings.sigma(mean, spread)
    labels = _regions(mean, prepared.valid, image, settings)
    blank = np.where(prepared.valid, np.float32(0), np.float32(np.nan))
    mean, sigma = (np.where(prepared.valid, v / np.float32(unit), np.float32(0)) for v in (mean, sigma))
    table = build_catalog(image, prepared, mean, sigma, labels, RegionSettings())
    table["reliability"] = np.nan
    table.sort("flux", reverse=True)
    labels = relabelled(labels, np.asarray(table["id"]))
    table["id"] = np.arange(1, len(table) + 1)
    sharp = settings.product in WITH_BEAM and image.beams is not None
    seen = _with_beam(mean, image) if sharp else mean
    return Denoised(
        mean + blank, sigma + blank, prepared.data - seen + blank, labels, table, prepared, None,
        settings.product, len(table), [*image.notes, *_notes(image, prepared, settings, members)],
        rule=f"above {settings.threshold:g} Jy/arcsec²", seen=seen + blank if sharp else None,
    )  # fmt: skip


def _regions(
    mean: Array32, valid: NDArray[np.bool_], image: RadioImage, settings: AutoencoderSettings
) -> NDArray[np.int32]:
    """Labels of what is above the threshold and large enough; pixels touch at sides and corners."""
    from scipy.ndimage import label

    allowed = valid if image.mask is None else valid & image.mask[0]
    labels, n = label(allowed & (mean > settings.threshold), structure=np.ones((3, 3)))
    keep = np.bincount(labels.ravel(), minlength=n + 1) >= settings.least_area
    keep[0] = False
    return relabelled(labels, np.flatnonzero(keep))


def _with_beam(mean: Array32, image: RadioImage) -> Array32:
    """An estimate of the brightness in each pixel at the resolution of the image's beam, in the same unit."""
    assert image.pixel_beams is not None
    beam = image.pixel_beams[0]
    return (at_resolution(mean, beam, 1.0) / float(beam_pixels(beam, 1.0)[0])).astype(np.float32)


def _notes(
    image: RadioImage, prepared: PreparedImage, settings: AutoencoderSettings, members: int
) -> list[str]:
    notes = [f"model of {PRODUCTS[settings.product]} images"]
    if settings.product in WITH_BEAM:
        notes[0] += ": its answer is the sky's brightness in each pixel, the beam taken out"
    cell = image.grid.cell
    if settings.cell and abs(cell / settings.cell - 1) > SAME_CELL:
        notes.append(f"trained on pixels of {settings.cell:g} arcsec, here they have {cell:.3g}")
    if (prepared.beam_origin == "given") != (settings.product in WITH_BEAM):
        notes.append("the image and those of the training are not of one kind: one has a beam")
    if "psf" in image.companions:
        notes.append("the psf was not used")
    if settings.scaling == "image":
        notes.append("scaled by its own extremes, as the true sky is not: brightness is not calibrated")
    if members == 1:
        notes.append("one encoding: spots that noise makes go away in a stack (members)")
    return notes
