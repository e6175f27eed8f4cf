"""Denoising by the published autoencoder: scaling, encoding in tiles, and segmentation by a threshold.

This follows Gheller & Vazza (2021). Pixels below a floor, including negative noise, are set to the floor, and
the logarithm is scaled to [0, 1] (Section 4, steps iii and iv). With each image's own extremes, as in the
text, the scale cannot be inverted, because the extremes of the true sky are not known from a noisy image.
Therefore the range is fixed by default.

Tiles overlap by half, and the central half of each is kept (Section 6). The image is extended by reflection,
so that its edges also lie in the centre of tiles. False structure from noise differs between encodings, and
is suppressed in a stack of several (Section 4.2). Because the network is deterministic, the encodings differ
in the origin of the tiles, and in rotation and reflection of the image.

The network returns the true sky's brightness in each pixel, even if the image has a beam. Regions are pixels
above a threshold, by default the 1e-7 Jy/arcsec2 of the paper's figures; they have no reliability."""

from collections.abc import Callable
from functools import partial
from typing import Literal, Self

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field, model_validator
from torch import nn

from faintsky.arrays import Array, Array32
from faintsky.beams import beam_pixels
from faintsky.denoising import TURNS, DenoiseCall, Denoised, catalog_by_flux, large_regions
from faintsky.image import RadioImage
from faintsky.models import Model
from faintsky.options import Progress
from faintsky.preparing import prepare_image, robust_sigma, surface_brightness
from faintsky.published.dda.network import BATCH
from faintsky.simulating import at_resolution
from faintsky.system import Settings

Limits = tuple[float, float]
Product = Literal["sky", "noise", "clean", "dirty"]

PRODUCTS = {"sky": "Identity", "noise": "Noise", "clean": "Clean", "dirty": "Dirty"}
"""Products that a model denoises, and their names in the paper."""
WITH_BEAM = ("clean", "dirty")
"""Products with a beam."""
SAME_CELL = 0.05
"""Relative difference of the cell from the training images' below which there is no note."""
SAME_BEAM = 0.15
"""The same of the beam's width."""
SAME_RMS = 1.0
"""The same of the noise."""
STEPS = (0.7548776662466927, 0.5698402909980532)
"""Steps between the grids' origins, in strides along y and x: the R2 sequence fills the square evenly."""
EDGES = np.geomspace(1e-8, 1e-2, 51)
"""Bins of the flux-density histogram for the discrepancy (eq. A1) [Jy/arcsec2]."""
LEAST_MRE = 1e-7
"""Least brightness for the relative error (eq. 7) [Jy/arcsec2]."""


class LogScale(Settings):
    """A logarithmic scale.

    Parameters
    ----------
    floor, ceiling : float
        Brightness that becomes 0 and, for a fixed range, 1 [Jy/arcsec2].
    scaling : {"fixed", "image"}
        Whether the range is the same for all images, or each image's own.
    """

    floor: float = Field(1e-8, gt=0)
    ceiling: float = 1e-2
    scaling: Literal["fixed", "image"] = "fixed"

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.floor < self.ceiling:
            raise ValueError(f"floor={self.floor:g} and ceiling={self.ceiling:g} are not a valid range")
        return self

    def limits(self, image: Array) -> Limits:
        """Logarithms that become 0 and 1 for an image [Jy/arcsec2]; blank pixels (NaN) are ignored."""
        fixed = float(np.log10(self.floor)), float(np.log10(self.ceiling))
        if self.scaling == "fixed" or not np.isfinite(image).any():
            return fixed
        low, high = (np.log10(max(float(f(image)), self.floor)) for f in (np.nanmin, np.nanmax))
        return (float(low), float(high)) if high > low else fixed

    def encode(self, image: Array, limits: Limits) -> Array32:
        """Scale an image [Jy/arcsec2] to [0, 1]; blank pixels become the floor."""
        logs = np.log10(np.maximum(np.nan_to_num(image, nan=0.0), self.floor))
        return np.clip((logs - limits[0]) / (limits[1] - limits[0]), 0, 1).astype(np.float32)

    @staticmethod
    def decode(values: Array, limits: Array | Limits) -> Array32:
        """Convert [0, 1] to brightness [Jy/arcsec2].

        Parameters
        ----------
        values : array
            ``[…, y, x]``
        limits : tuple of float, or array
            From `limits`; an array ``[…, 2]`` has a pair for each image.
        """
        low, high = (np.asarray(part)[..., None, None] for part in np.moveaxis(np.asarray(limits), -1, 0))
        return np.asarray(10.0 ** (low + values * (high - low)), dtype=np.float32)


class AutoencoderSettings(LogScale):
    """Settings in a model's card.

    Parameters
    ----------
    floor, ceiling, scaling
        See `LogScale`.
    product : str
        One of `PRODUCTS` on which it was trained.
    cell, beam : float
        Pixels, and FWHM of the beam, of the training images [arcsec]; 0 if they differ or there is none.
    rms : float
        Median noise of the training images [Jy/arcsec2]; 0 if they have none.
    threshold : float
        Least brightness of a region's pixels [Jy/arcsec2].
    least_area : int
        Least number of pixels of a region.
    error_at, error : tuple of float
        Brightness returned by the network, and rms error there, on validation tiles [Jy/arcsec2].
    true : tuple of float
        Mean true brightness there, to which the result is corrected. If empty there is no correction, as in
        the paper. Regions are outlined before the correction.
    """

    method: Literal["dda"] = "dda"
    product: Product = "noise"
    cell: float = Field(2.0, ge=0)
    beam: float = Field(0.0, ge=0)
    rms: float = Field(0.0, ge=0)
    threshold: float = Field(1e-7, gt=0)
    least_area: int = 1
    error_at: tuple[float, ...] = ()
    error: tuple[float, ...] = ()
    true: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _errors(self) -> Self:
        if len(self.error_at) != len(self.error) or len(self.true) not in (0, len(self.error_at)):
            raise ValueError("error_at, error and, if given, true must have the same length")
        return self

    def correction(self, brightness: Array32) -> Array32 | np.float32:
        """Correction of the network's brightness, a factor."""
        if not self.true:
            return np.float32(1)
        ratio = np.log(self.true) - np.log(self.error_at)
        found = np.interp(np.log(brightness), np.log(self.error_at), ratio)
        return np.asarray(np.exp(found), dtype=np.float32)

    def sigma(self, brightness: Array32, spread: Array32) -> Array32:
        """Standard deviation from the error on validation tiles and the members' spread [Jy/arcsec2]."""
        known = np.zeros_like(brightness)
        if self.error:
            at = np.log(np.maximum(self.error_at, 1e-30))
            known = np.exp(np.interp(np.log(brightness), at, np.log(np.maximum(self.error, 1e-30))))
        return np.sqrt(known**2 + spread**2).astype(np.float32)


def make_denoiser(model: Model, device: str = "cpu") -> DenoiseCall:
    """The denoiser of a model, by its card; `InputError` if it cannot be used."""
    settings = AutoencoderSettings.read(model.settings, what="model setting", hint="correct model.json")
    network = model.network("denoiser", device)
    return partial(autoencode_image, network=network, settings=settings, device=device)


def autoencode_image(
    image: RadioImage,
    network: nn.Module,
    settings: AutoencoderSettings,
    *,
    members: int = 1,
    reliability: float = 0.0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Denoised:
    """Denoise an image with a trained autoencoder and catalogue its regions of emission.

    See `faintsky.denoising.denoise_image`. The image is in Jy/arcsec2, or in a unit that its beam converts to
    this; members are encodings to stack, 1 to 8; a reliability has no effect.
    """
    prepared = prepare_image(image, floor=settings.floor)
    unit = prepared.jy_per_pixel / image.grid.cell**2
    bright = np.where(prepared.valid, prepared.data * np.float32(unit), np.float32(np.nan))
    limits = settings.limits(bright)
    mean, spread = stack_encodings(
        network, settings.encode(bright, limits), partial(settings.decode, limits=limits), members=members,
        device=device, progress=progress and (lambda done, rows: progress(done, rows, "network")),
    )  # fmt: skip
    allowed = prepared.valid if image.mask is None else prepared.valid & image.mask[0]
    labels = large_regions(allowed & (mean > settings.threshold), settings.least_area)
    correction = settings.correction(mean)
    mean, sigma = mean * correction, settings.sigma(mean, spread * correction)
    blank = np.where(prepared.valid, np.float32(0), np.float32(np.nan))
    mean, sigma = (np.where(prepared.valid, v / np.float32(unit), np.float32(0)) for v in (mean, sigma))
    labels, table = catalog_by_flux(image, prepared, mean, sigma, labels)
    sharp = settings.product in WITH_BEAM and image.beams is not None
    seen = _with_beam(mean, image) if sharp else mean
    return Denoised(
        mean + blank, sigma + blank, prepared.data - seen + blank, labels, table, prepared, None,
        settings.product, len(table), [*image.notes, *_notes(image, settings, members)],
        rule=f"above {settings.threshold:g} Jy/arcsec²", seen=seen + blank if sharp else None,
    )  # fmt: skip


def _with_beam(mean: Array32, image: RadioImage) -> Array32:
    """An estimate of the true brightness convolved with the image's beam, in the same unit."""
    beam = np.array(image.middle_beam)
    return (at_resolution(mean, beam, 1.0) / float(beam_pixels(beam, 1.0)[0])).astype(np.float32)


def _notes(image: RadioImage, settings: AutoencoderSettings, members: int) -> list[str]:
    notes = [f"model of {PRODUCTS[settings.product]} images"]
    if settings.product in WITH_BEAM:
        notes[0] += ": the result is the sky's brightness in each pixel, without the beam"
    notes += _unlike(image, settings)
    if "psf" in image.companions:
        notes.append("the psf was not used")
    if settings.scaling == "image":
        notes.append("scaled by its own extremes, unlike the true sky: brightness is not calibrated")
    if members == 1:
        notes.append("one encoding: a stack of several (members) suppresses false spots from noise")
    return notes


def check(image: RadioImage, model: Model) -> list[str]:
    """Differences between an image and the training images: in pixel size, beam and noise."""
    return _unlike(image, AutoencoderSettings.read(model.settings, what="model setting"))


def _unlike(image: RadioImage, settings: AutoencoderSettings) -> list[str]:
    notes, cell = [], image.grid.cell
    if settings.cell and abs(cell / settings.cell - 1) > SAME_CELL:
        notes.append(f"trained on pixels of {settings.cell:g} arcsec, here they have {cell:.3g}")
    if (image.beams is not None) != (settings.product in WITH_BEAM):
        notes.append("the image is not of the kind of the training images: only one of them has a beam")
    elif settings.beam and abs((beam := beam_width(image)) / settings.beam - 1) > SAME_BEAM:
        notes.append(f"trained on a beam of {settings.beam:.3g} arcsec, here it has {beam:.3g}")
    if settings.rms:
        rms = robust_sigma(image.data) * surface_brightness(image)
        if abs(np.log(max(rms, 1e-30) / settings.rms)) > np.log1p(SAME_RMS):
            notes.append(
                f"trained on images whose pixels scatter by {settings.rms:.2g} Jy/arcsec², here by {rms:.2g}:"
                " the network distinguishes emission from noise by its brightness"
            )
    return notes


def beam_width(image: RadioImage) -> float:
    """Geometric mean of the FWHMs of an image's beam [arcsec]; 0 if it has none."""
    beam = image.middle_beam
    return 0.0 if beam is None else float(np.sqrt(beam[0] * beam[1])) * image.grid.cell


def encode(
    network: nn.Module,
    image: Array32,
    *,
    shift: tuple[int, int] = (0, 0),
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Array32:
    """One encoding of an image.

    Parameters
    ----------
    network : torch.nn.Module
        ``[b, 1, tile, tile]`` to the same, on `device`; ``tile`` is its attribute.
    image : array
        Scaled image, ``[y, x]``.
    shift : tuple of int, optional
        Offset of the tiles' grid before the image's first pixel along y and x, less than half a tile [pixel].
    device : str, optional
        A torch device.
    progress : callable, optional
        Called with rows of tiles done, and in all.

    Returns
    -------
    array
        ``[y, x]``, on the network's scale.
    """
    tile = int(network.tile)  # type: ignore[arg-type]
    keep = max(tile // 2, 1)
    margin = (tile - keep) // 2
    cells = [-(-(n + s) // keep) for n, s in zip(image.shape, shift)]
    widths = [
        (margin + s, c * keep + tile - keep - margin - n - s) for n, s, c in zip(image.shape, shift, cells)
    ]
    padded = np.pad(image, widths, mode="reflect")
    windows = sliding_window_view(padded, (tile, tile))[::keep, ::keep]
    out = np.empty((cells[0] * keep, cells[1] * keep), dtype=np.float32)
    inner = slice(margin, margin + keep)
    with torch.inference_mode():
        for row, tiles in enumerate(windows):
            parts = [
                network(torch.from_numpy(tiles[i : i + BATCH].copy())[:, None].to(device))[:, 0, inner, inner]
                for i in range(0, len(tiles), BATCH)
            ]
            kept = torch.cat(parts).float().cpu().numpy()
            out[row * keep : (row + 1) * keep] = kept.transpose(1, 0, 2).reshape(keep, -1)
            if progress is not None:
                progress(row + 1, len(windows))
    return out[shift[0] : shift[0] + image.shape[0], shift[1] : shift[1] + image.shape[1]]


def stack_encodings(
    network: nn.Module,
    image: Array32,
    brightness: Callable[[Array32], Array32],
    *,
    members: int = 1,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Array32, Array32]:
    """Mean and spread of several encodings.

    Parameters
    ----------
    network, image, device
        As for `encode`.
    brightness : callable
        From an encoding to brightness.
    members : int, optional
        Number of encodings, 1 to 8, with different rotations, reflections and origins of the tiles.
    progress : callable, optional
        Called with rows of tiles done, and in all.

    Returns
    -------
    mean, spread : array
        ``[y, x]``, in the unit of brightness. The mean is taken on the network's logarithmic scale, which
        better suppresses a spot in a single member. The spread is the standard deviation of the members'
        brightness, 0 for a single one.
    """
    keep = max(int(network.tile) // 2, 1)  # type: ignore[arg-type]
    made = np.empty((members, *image.shape), dtype=np.float32)
    for i, (turns, mirror) in enumerate(TURNS[:members]):

        def tell(done: int, rows: int, first: int = i) -> None:
            if progress is not None:
                progress(first * rows + done, members * rows)

        seen = np.rot90(image, turns)
        seen = np.ascontiguousarray(seen[:, ::-1] if mirror else seen)
        y, x = (int(i * step % 1 * keep) for step in STEPS)
        one = encode(network, seen, shift=(y, x), device=device, progress=tell)
        made[i] = np.rot90(one[:, ::-1] if mirror else one, -turns)
    mean = brightness(made.mean(axis=0))
    if members == 1:
        return mean, np.zeros_like(mean)
    return mean, brightness(made).std(axis=0, ddof=1)
