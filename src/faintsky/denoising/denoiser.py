"""The whole way of an image: prepared, denoised, its regions found and catalogued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.blocks import cover
from faintsky.denoising.catalogue import build_catalog
from faintsky.denoising.dirty import Response, major_cycles
from faintsky.denoising.filters import apply_filter, threshold_starlets
from faintsky.denoising.prediction import estimate, predict
from faintsky.denoising.regions import DenoiserSettings, RegionSettings, relabelled, segment
from faintsky.image import LARGE, RadioImage
from faintsky.matching import column, reliability_of
from faintsky.options import RELIABILITY
from faintsky.preparing import (
    PreparedImage,
    PrimaryBeam,
    kind_of_image,
    prepare_image,
    robust_sigma,
    sidelobe_noise,
)
from faintsky.registry import DENOISERS
from faintsky.system import BYTES_OF_TABLES, Needs

if TYPE_CHECKING:
    from astropy.table import Table
    from torch import nn

    from faintsky.models import Model

Array32 = NDArray[np.float32]
Progress = Callable[[int, int, str], None]
STARLET_CYCLES, NETWORK_CYCLES = 12, 2
"""Major cycles at most: with starlets first, which take a fraction of the time, then with the network."""
SIGNIFICANT, SCALES, MANY = 3.0, 6, 500_000
"""Threshold of the starlet coefficients over their noise, and scales; pixels that tell the noise."""
PARTS = 100
"""Parts of the whole that progress is told in."""


@dataclass
class Denoised:
    """What `denoise_image` makes of an image, in the unit of the file; NaN where the image is blank.

    Attributes
    ----------
    image : array
        Estimate of the sky at the beam's resolution, ``[y, x]``.
    uncertainty : array
        Its standard deviation, calibrated, ``[y, x]``.
    residual : array
        Input less `image`, or `seen`; of a dirty image, less `image` as the psf shows it.
    mask : array of int
        Number of the region in the catalogue, 0 outside.
    catalog : astropy.table.Table
        Regions, the most significant first.
    prepared : PreparedImage
        Input, noise and beam.
    response : Response or None
        Of the psf, where it was used.
    kind : str
        What the image was taken for: ``restored`` or ``dirty``; of a model that knows one product, its name.
    regions : int
        Regions before the cut in reliability.
    notes : list of str
        What was assumed or corrected.
    rule : str
        What the regions have in common, in words.
    seen : array or None
        `image` with the input's beam, where it is the sky's brightness in each pixel, the beam taken out.
    """

    image: Array32
    uncertainty: Array32
    residual: Array32
    mask: NDArray[np.int32]
    catalog: Table
    prepared: PreparedImage
    response: Response | None
    kind: str
    regions: int
    notes: list[str] = field(default_factory=list)
    rule: str = ""
    seen: Array32 | None = None


def denoise_image(
    image: RadioImage,
    network: nn.Module,
    settings: DenoiserSettings | None = None,
    *,
    members: int = 1,
    reliability: float = RELIABILITY,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Denoised:
    """Denoise an image and catalogue its regions of emission.

    Parameters
    ----------
    image : RadioImage
        With whichever of psf, pb, rms and mask it has.
    network : torch.nn.Module
        As `faintsky.networks.local_unet` is, on `device`.
    settings : DenoiserSettings, optional
        Thresholds and calibration.
    members : int
        Mirror images and quarter turns to average, 1 to 8.
    reliability : float
        Least reliability of a region.
    device : str
        A torch device.
    progress : callable, optional
        Called with parts done, parts in all, and a word.

    Raises
    ------
    InputError
        Where the image cannot be used.
    """
    settings = settings or DenoiserSettings()
    tell = progress or (lambda done, total, word: None)
    tell(0, PARTS, "noise")
    prepared = prepare_image(image)
    psf, response = image.psf, None
    if psf is not None and prepared.beam is not None:
        response = Response((prepared.data.shape[0], prepared.data.shape[1]), psf[0], prepared.beam)
    kind = kind_of_image(image, prepared, response)
    notes = [kind.note]
    ask: dict[str, Any] = {
        "members": members,
        "device": device,
        "progress": lambda done, total: tell(40 + 50 * done // total, PARTS, "network"),
    }
    sidelobes = np.zeros_like(prepared.data)
    if kind.name == "dirty" and response is not None and psf is not None:
        working, rough = _deconvolved(prepared, response, psf[0], network, device, tell, notes)
        if rough is None:
            mean, sigma = predict(network, working.scaled, working.weight, working.beam, **ask)
        else:
            mean, sigma = rough, np.ones_like(rough)
    else:
        if response is not None:
            notes.append("the psf was not used")
        response = None
        if kind.name == "dirty":
            sidelobes = sidelobe_noise(prepared.plane, prepared.beam_pixels)
            rms = np.hypot(prepared.rms, sidelobes).astype(np.float32)
            prepared = replace(prepared, rms=rms, rms_origin="sidelobes")
            notes.append(
                "no psf: the sidelobes of bright sources stay in the image, count as noise, and hide what is "
                "fainter; give --psf to take them out"
            )
        working, mean, sigma = estimate(network, prepared, **ask)
    own = settings.of(working.beam is None, response is not None)
    sigma = own.calibrated(mean, sigma, working.beam_area)
    rms = np.where(working.valid, working.rms, np.float32(0))
    out, spread = mean * rms, sigma * rms
    residual = prepared.data - (out if response is None else response(out))
    tell(92, PARTS, "regions")
    mask, table, regions = _regions(image, working, mean, sigma, sidelobes, own, reliability)
    tell(PARTS, PARTS, "regions")
    blank = np.where(working.valid, np.float32(0), np.float32(np.nan))
    return Denoised(
        out + blank, spread + blank, residual + blank, mask, table, replace(working, data=prepared.data),
        response, kind.name, regions, [*image.notes, *PrimaryBeam(image).notes, *notes],
        rule=f"of reliability {reliability:g} and above",
    )  # fmt: skip


def _deconvolved(
    prepared: PreparedImage,
    response: Response,
    psf: Array32,
    network: nn.Module,
    device: str,
    tell: Progress,
    notes: list[str],
) -> tuple[PreparedImage, Array32 | None]:
    """The image with the sidelobes of its emission taken out, and the noise measured on what is left.

    Starlets bring the bright emission to where it belongs, in cycles that cost little; what is faint is the
    network's. A network that makes the residual grow at once does not know such images: then what starlets
    find in the image, in units of the noise, is returned as well.
    """
    data, valid, now = prepared.data, prepared.valid, prepared
    thin = 1 + data.size // MANY

    def seen(image: Array32, residual: Array32) -> PreparedImage:
        emission = np.abs(image - residual) > 3 * np.nan_to_num(prepared.rms)
        return replace(prepared.with_noise(residual, emission), data=image)

    def by_starlets(image: Array32, residual: Array32) -> tuple[Array32, float]:
        # sidelobes that are still there count as noise
        rms = prepared.rms if prepared.rms_origin == "given" else robust_sigma(residual[valid][::thin])
        found = apply_filter(
            threshold_starlets, image, rms, correlation=psf, k=SIGNIFICANT, scales=SCALES, positive=True
        )
        return found, float(np.nanmedian(rms))

    def by_network(image: Array32, residual: Array32) -> tuple[Array32, float]:
        nonlocal now
        now = seen(image, residual) if now is prepared else replace(now, data=image)
        mean, _ = predict(network, now.scaled, now.weight, now.beam, device=device)
        return mean * np.nan_to_num(now.rms), now.typical_rms

    rough = major_cycles(
        data, valid, response, by_starlets, most=STARLET_CYCLES,
        progress=lambda cycle, most: tell(20 * cycle // most, PARTS, "major cycles"),
    )  # fmt: skip
    done = major_cycles(
        data, valid, response, by_network, start=rough, most=NETWORK_CYCLES,
        progress=lambda cycle, most: tell(20 + 20 * cycle // most, PARTS, "major cycles"),
    )  # fmt: skip
    if not response.whole:
        notes.append("the psf is less than twice as wide as the image: its farther sidelobes stay in")
    end = "" if rough.settled or done.settled else ": sidelobes of bright emission may be left"
    notes.append(f"{rough.cycles} major cycles with starlets, {done.cycles} with the network{end}")
    if done.cycles == 0:
        notes.append("the network does not know such images: this is what starlets find, its error the noise")
        working = seen(rough.image, rough.residual)
        found = by_starlets(rough.image, rough.residual)[0]
        return working, np.where(valid, found / np.where(valid, working.rms, 1), 0).astype(np.float32)
    return replace(now, data=done.image), None


def _regions(
    image: RadioImage,
    prepared: PreparedImage,
    mean: Array32,
    sigma: Array32,
    sidelobes: Array32,
    settings: RegionSettings,
    reliability: float,
) -> tuple[NDArray[np.int32], Table, int]:
    """Mask and catalogue of the reliable regions, the most significant first, and how many there were."""
    allowed = prepared.valid if image.mask is None else prepared.valid & image.mask[0]
    labels = segment(mean, sigma, allowed, settings, prepared.beam_area)
    rms = np.where(prepared.valid, prepared.rms, np.float32(0))
    table = build_catalog(image, prepared, mean * rms, sigma * rms, labels, settings, sidelobes)
    chosen = table[np.asarray(table["reliability"]) >= reliability]
    chosen = chosen[np.argsort(-np.asarray(chosen["snr"]), kind="stable")]
    labels = relabelled(labels, np.asarray(chosen["id"]))
    chosen["id"] = chosen["island"] = np.arange(1, len(chosen) + 1)
    return labels, chosen, len(table)


DenoiseCall = Callable[..., Denoised]
"""As `denoise_image`, network and settings filled in: image, ``members``, ``reliability``, ``progress``."""


def make_denoiser(model: Model, device: str = "cpu") -> DenoiseCall:
    """What denoises images as a model's card says.

    Parameters
    ----------
    model : Model
        Of the job ``denoise``.
    device : str, optional
        A torch device.

    Raises
    ------
    InputError
        For a card or weights that cannot be used.
    """
    method = model.settings.get("method")
    if method is not None:
        return DENOISERS[method](model, device)
    settings = DenoiserSettings.read(model.settings, what="model setting", hint="correct model.json")
    network = model.network("denoiser", device)
    return partial(denoise_image, network=network, settings=settings, device=device)


Eye = Callable[[PreparedImage], tuple[PreparedImage, Array32, Array32, RegionSettings]]
"""A network: image to image with the noise that was used, its mean and standard deviation in units of that
noise, calibrated, and what outlines regions."""


def make_eye(
    model: Model, device: str = "cpu", *, members: int = 1, progress: Callable[[int, int], None] | None = None
) -> Eye:
    """A model of our network, loaded when it is first asked.

    Parameters
    ----------
    model : Model
        Of the job ``denoise``.
    device, members, progress
        As for `predict`.
    """

    known: list[Any] = []

    def see(prepared: PreparedImage) -> tuple[PreparedImage, Array32, Array32, RegionSettings]:
        if not known:
            settings = DenoiserSettings.read(model.settings, what="model setting", hint="correct model.json")
            known.extend([settings, model.network("denoiser", device)])
        settings, network = known
        seen, mean, sigma = estimate(network, prepared, members=members, device=device, progress=progress)
        own = settings.of(prepared.beam is None)
        return seen, mean, own.calibrated(mean, sigma, prepared.beam_area), own

    return see


def deconvolves(image: RadioImage) -> bool:
    """Whether an image is dirty and its psf known, or its noise white: `denoise_image` alone can treat it."""
    bare = replace(image, notes=[])  # what was assumed is said by those who do the work
    if "psf" not in image.companions:
        if image.beams is not None:
            return False
        y, x = (slice(max(n - LARGE, 0) // 2, max(n - LARGE, 0) // 2 + LARGE) for n in image.shape[1:])
        bare = bare.part(
            (slice(y.start, min(y.stop, image.shape[1])), slice(x.start, min(x.stop, image.shape[2])))
        )
    prepared = prepare_image(bare)
    if prepared.beam is None or image.psf is None:
        return prepared.beam is None
    shape = prepared.data.shape
    response = Response((shape[0], shape[1]), image.psf[0], prepared.beam)
    return kind_of_image(bare, prepared, response).name == "dirty"


def plan_blocks(network: nn.Module, shape: tuple[int, int]) -> tuple[int, tuple[int, int], int]:
    """Blocks that an image ``(n_y, n_x)`` is cut into, their shape, and pixels in work at a time."""
    if hasattr(network, "blocks"):
        said: tuple[int, tuple[int, int], int] = network.blocks(shape)  # type: ignore[operator]
        return said
    blocks = cover(shape, reach=int(network.reach), stride=int(network.stride))  # type: ignore[arg-type]
    most = max(blocks, key=lambda b: b.shape[0] * b.shape[1]).shape
    return len(blocks), most, most[0] * most[1]


BYTES_FIXED, BYTES_A_PIXEL, BYTES_A_DIRTY_PIXEL, BYTES_A_BLOCK_PIXEL = 0.45e9, 90, 156, 140
"""Most memory at a time: the libraries; a pixel of the image, with maps and figures; what a dirty image takes
besides; a pixel of a block, with the network's features. Resident set sizes, images of 256 to 2000 pixels."""
SECONDS_FIXED, SECONDS_A_PIXEL, SECONDS_A_PASS = 6.0, 1e-6, 2e-6
"""Of one processor core."""


def needs_of_image(
    network: nn.Module, shape: tuple[int, int], *, dirty: bool = False, passes: int = 1
) -> tuple[Needs, tuple[int, int]]:
    """Resident set sizes and times as measured on a CPU.

    Parameters
    ----------
    network : torch.nn.Module
    shape : tuple of int
        ``[y, x]``.
    dirty : bool, optional
        Whether the psf is given.
    passes : int, optional
        How many times the network sees the image.

    Returns
    -------
    needs : Needs
    block : tuple of int
        Shape of the largest block.
    """
    blocks, block, at_once = plan_blocks(network, shape)
    pixels = shape[0] * shape[1]
    a_pixel = BYTES_A_PIXEL + (BYTES_A_DIRTY_PIXEL if dirty else 0)
    memory = BYTES_FIXED + pixels * a_pixel + at_once * BYTES_A_BLOCK_PIXEL
    seconds = SECONDS_FIXED + pixels * (SECONDS_A_PIXEL + passes * SECONDS_A_PASS)
    return Needs(memory, pixels * 12 + BYTES_OF_TABLES, seconds, blocks), block


COLUMN = "reliability_negative"
"""What the catalogue gets."""


def compare_with_negative(image: RadioImage, found: Any, again: Callable[[RadioImage], Any]) -> int:
    """Denoise the negative of an image, and give its regions a reliability by those of the negative.

    The densities of both are compared in S/N and area, as in Serra, Jurek & Floer (2012): 1 where the
    negative has no region. The network knows positive emission only, so that noise, which is as often
    negative, is told from it; stripes, sidelobes and bowls are where they are as deep as they are high.

    Parameters
    ----------
    image : RadioImage
    found : Denoised or DetectedImage
        Of the image; its catalogue gets the column `COLUMN`, NaN for what is compact, its notes a line.
    again : callable
        What made it.

    Returns
    -------
    int
        Regions of the negative.
    """
    other = again(replace(image.negative(), kind=found.kind))
    diffuse, theirs = (np.asarray(t["kind"]).astype(str) == "diffuse" for t in (found.catalog, other.catalog))
    # logarithms of S/N and area, [region, 2]
    ours, others = (
        np.log10([np.maximum(column(t, name)[rows], 1e-9) for name in ("snr", "area")]).T.reshape(-1, 2)
        for t, rows in ((found.catalog, diffuse), (other.catalog, theirs))
    )
    values = np.full(len(found.catalog), np.nan)
    values[diffuse] = reliability_of(ours, others)
    found.catalog[COLUMN] = values
    found.catalog[COLUMN].description = "reliability by the regions of the image's negative"
    found.notes.append(f"the negative of the image has {theirs.sum()} regions, the image {diffuse.sum()}")
    return int(theirs.sum())
