"""Denoising of an image from start to end: preparation, denoising, regions and their catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from faintsky.arrays import Array32, Labels
from faintsky.blocks import cover
from faintsky.denoising.catalogue import region_catalog, renumbered
from faintsky.denoising.dirty import MANY, Response, clean_bright, major_cycles
from faintsky.denoising.filters import apply_filter, scale_sigmas, threshold_starlets
from faintsky.denoising.prediction import estimate, predict
from faintsky.denoising.regions import DenoiserSettings, RegionSettings, segment
from faintsky.image import LARGE, RadioImage
from faintsky.matching import column, reliability_of
from faintsky.options import RELIABILITY, Progress
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
    from torch import nn

    from faintsky.models import Model

STARLET_CYCLES = 12
"""Most major cycles with starlets, which take a fraction of the time."""
NETWORK_CYCLES = 2, 10
"""Major cycles with the network, after those with starlets: enough, and most, where starlets leave much of
bright wide emission."""
SIGNIFICANT = 3.0
"""Threshold of starlet coefficients over their noise."""
SCALES = 6
"""Number of scales of the starlets."""
PARTS = 100
"""Number of steps in which progress is reported."""


@dataclass
class Denoised:
    """Result of `denoise_image`, in the unit of the file; NaN where the image is blank.

    Attributes
    ----------
    image : array
        Estimate of the sky at the beam's resolution, ``[y, x]``.
    uncertainty : array
        Its standard deviation, calibrated, ``[y, x]``.
    residual : array
        Input minus `image`, or `seen`; for a dirty image, minus `image` convolved with the psf.
    mask : array of int
        Number of the region in the catalogue, 0 outside.
    catalog : astropy.table.Table
        Regions, the most significant first.
    prepared : PreparedImage
        Input, noise and beam.
    response : Response or None
        Of the psf, if it was used.
    kind : str
        Kind of the image: ``restored`` or ``dirty``; for a model of a single product, the product's name.
    regions : int
        Regions before the cut in reliability.
    notes : list of str
        What was assumed or corrected.
    rule : str
        Which regions are listed, in words.
    seen : array or None
        `image` convolved with the input's beam, where `image` is the sky's brightness in each pixel without
        beam.
    """

    image: Array32
    uncertainty: Array32
    residual: Array32
    mask: Labels
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
        With its psf, primary beam, rms and mask where known.
    network : torch.nn.Module
        Such as `faintsky.networks.local_unet`, on `device`.
    settings : DenoiserSettings, optional
        Thresholds and calibration.
    members : int
        Mirrored and rotated images to average, 1 to 8.
    reliability : float
        Lowest reliability of a region.
    device : str
        A torch device.
    progress : callable, optional
        Called with parts done, parts in all, and a word.

    Returns
    -------
    Denoised

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
            notes.append("the psf was not used, because the image is not dirty")
        response = None
        if kind.name == "dirty":
            sidelobes = sidelobe_noise(prepared.plane, prepared.beam_pixels)
            rms = np.hypot(prepared.rms, sidelobes).astype(np.float32)
            prepared = replace(prepared, rms=rms, rms_origin="sidelobes")
            notes.append(
                "no psf: the sidelobes of bright sources stay in the image, count as noise, and hide fainter "
                "emission; give --psf to remove them"
            )
        working, mean, sigma = estimate(network, prepared, **ask)
    if response is not None and not response.whole:
        working, mean, sigma = _with_missed(response, working, mean, sigma, notes)
    own = settings.of(working.beam is None, response)
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
    """The image without the sidelobes of its emission, and the noise measured on the residual.

    Starlets model the bright emission in cheap cycles; the network models the faint emission. If the residual
    grows at once, the network was not trained for such images: then the starlets' result, in units of the
    noise, is returned as well.
    """
    data, valid, now = prepared.data, prepared.valid, prepared
    thin = 1 + data.size // MANY
    # an interferometer does not measure the widest scale, which would rise from cycle to cycle
    widest = SIGNIFICANT * float(scale_sigmas(SCALES, psf, sidelobes=True)[-1])

    def seen(image: Array32, residual: Array32) -> PreparedImage:
        emission = np.abs(image - residual) > 3 * np.nan_to_num(prepared.rms)
        return replace(prepared.with_noise(residual, emission), data=image)

    def starlets(image: Array32, residual: Array32) -> tuple[Array32, float]:
        # remaining sidelobes count as noise
        rms = prepared.rms if prepared.rms_origin == "given" else robust_sigma(residual[valid][::thin])
        found = apply_filter(
            threshold_starlets, image, rms, correlation=psf, k=SIGNIFICANT, scales=SCALES, remainder=widest
        )
        return found, float(np.nanmedian(rms))

    def by_starlets(image: Array32, residual: Array32) -> tuple[Array32, float]:
        found, rms = starlets(image, residual)
        # the sum is positive: CLEAN may have taken too much of wide emission
        return np.maximum(found, -bright), rms

    def by_network(image: Array32, residual: Array32) -> tuple[Array32, float]:
        nonlocal now
        image = image + bright
        now = seen(image, residual) if now is prepared else replace(now, data=image)
        mean, _ = predict(network, now.scaled, now.weight, now.beam, device=device)
        return mean * np.nan_to_num(now.rms) - bright, now.typical_rms

    bright, rest = clean_bright(data, valid, response)
    rough = major_cycles(
        rest, valid, response, by_starlets, enough=STARLET_CYCLES, most=STARLET_CYCLES,
        progress=lambda cycle, most: tell(20 * cycle // most, PARTS, "major cycles"),
    )  # fmt: skip
    done = major_cycles(
        rest, valid, response, by_network, start=rough, enough=NETWORK_CYCLES[0], most=NETWORK_CYCLES[1],
        progress=lambda cycle, most: tell(20 + 20 * cycle // most, PARTS, "major cycles"),
    )  # fmt: skip
    end = "" if rough.settled or done.settled else ": sidelobes of bright emission may remain"
    notes.append(f"{rough.cycles} major cycles with starlets, {done.cycles} with the network{end}")
    if done.cycles == 0:
        notes.append("the network fails on this image: the result is the starlets', its error the noise")
        working = seen(rough.image + bright, rough.residual)
        found = np.maximum(starlets(rough.image + bright, rough.residual)[0], 0)
        return working, np.where(valid, found / np.where(valid, working.rms, 1), 0).astype(np.float32)
    return replace(now, data=done.image + bright), None


def _with_missed(
    response: Response, seen: PreparedImage, mean: Array32, sigma: Array32, notes: list[str]
) -> tuple[PreparedImage, Array32, Array32]:
    """The sidelobes beyond the reach of the psf, which stay in the image, count as noise and uncertainty."""
    missed = response.missed(mean * np.nan_to_num(seen.rms), seen.beam_area)
    notes.append(
        "the psf is less than twice as wide as the image: sidelobes farther than that stay, and count as "
        f"{missed / seen.typical_rms:.1f} times the noise"
    )
    noise = np.hypot(seen.rms, np.float32(missed))
    share = np.where(seen.valid, seen.rms / noise, np.float32(1))
    spread = np.hypot(sigma * share, np.where(seen.valid, np.float32(missed) / noise, 0))
    return replace(seen, rms=noise), mean * share, spread.astype(np.float32)


def _regions(
    image: RadioImage,
    prepared: PreparedImage,
    mean: Array32,
    sigma: Array32,
    sidelobes: Array32,
    settings: RegionSettings,
    reliability: float,
) -> tuple[Labels, Table, int]:
    """Mask and catalogue of the reliable regions, the most significant first; number before the cut."""
    allowed = prepared.valid if image.mask is None else prepared.valid & image.mask[0]
    labels = segment(mean, sigma, allowed, settings, prepared.beam_area)
    rms = np.where(prepared.valid, prepared.rms, np.float32(0))
    table = region_catalog(image, prepared, mean * rms, sigma * rms, labels, settings, sidelobes)
    chosen = table[np.asarray(table["reliability"]) >= reliability]
    chosen = chosen[np.argsort(-np.asarray(chosen["snr"]), kind="stable")]
    return *renumbered(labels, chosen), len(table)


DenoiseCall = Callable[..., Denoised]
"""`denoise_image` with network and settings: takes image, ``members``, ``reliability``, ``progress``."""


def make_denoiser(model: Model, device: str = "cpu") -> DenoiseCall:
    """The function that denoises images with a model.

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
"""A network: takes an image; gives the image with the noise that was used, mean and calibrated standard
deviation in units of that noise, and the settings for regions."""


def make_eye(
    model: Model, device: str = "cpu", *, members: int = 1, progress: Callable[[int, int], None] | None = None
) -> Eye:
    """A model of our network, loaded at its first use.

    Parameters
    ----------
    model : Model
        Of the job ``denoise``.
    device, members, progress
        As for `predict`.

    Returns
    -------
    callable
        See `Eye`.
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
    """Whether an image is dirty with known psf, or has white noise: only `denoise_image` can treat these."""
    bare = replace(image, notes=[])  # the actual run makes the notes
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
    """Number of blocks of an image ``(n_y, n_x)``, their shape, and pixels processed at a time."""
    if hasattr(network, "blocks"):
        said: tuple[int, tuple[int, int], int] = network.blocks(shape)  # type: ignore[operator]
        return said
    blocks = cover(shape, reach=int(network.reach), stride=int(network.stride))  # type: ignore[arg-type]
    most = max(blocks, key=lambda b: b.shape[0] * b.shape[1]).shape
    return len(blocks), most, most[0] * most[1]


BYTES_FIXED = 0.45e9
"""Memory of the libraries. Like those below: resident set sizes, images of 256 to 2000 pixels."""
BYTES_A_PIXEL = 90
"""Memory of a pixel of the image, with maps and figures."""
BYTES_A_DIRTY_PIXEL = 156
"""Memory that a pixel of a dirty image needs in addition."""
BYTES_A_BLOCK_PIXEL = 140
"""Memory of a pixel of a block, with the network's features."""
BYTES_KEPT = 2.7e8
"""Most of the freed memory that a process keeps (`faintsky.system.prepare_memory`)."""
BYTES_KEPT_A_PIXEL = 140
"""That of a small image, for each pixel."""
SECONDS_FIXED = 6.0
"""Time of one processor core, for any image."""
SECONDS_A_PIXEL = 1e-6
"""Time for a pixel of the image."""
SECONDS_A_PASS = 2e-6
"""Time for a pixel each time that the network sees it."""


def needs_of_image(
    network: nn.Module, shape: tuple[int, int], *, dirty: bool = False, passes: int = 1
) -> tuple[Needs, tuple[int, int]]:
    """Memory and time of `denoise_image`, as measured on a CPU.

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
    memory += min(BYTES_KEPT, pixels * BYTES_KEPT_A_PIXEL)
    seconds = SECONDS_FIXED + pixels * (SECONDS_A_PIXEL + passes * SECONDS_A_PASS)
    return Needs(memory, pixels * 12 + BYTES_OF_TABLES, seconds, blocks), block


COLUMN = "reliability_negative"
"""Column added to the catalogue."""
ALIKE = 0.15
"""S/N and area within which a region of the negative is like one of the image [dex]: two regions, and often
there are no more, say nothing of their scatter."""


def compare_with_negative(image: RadioImage, found: Any, again: Callable[[RadioImage], Any]) -> int:
    """Denoise the negative of an image, and derive reliabilities of the image's regions from it.

    The densities of both are compared in S/N and area, as in Serra, Jurek & Floer (2012): 1 where the
    negative has no region. The network knows only positive emission, so noise, which is as often negative, is
    recognised; so are stripes, sidelobes and bowls that are as deep as they are high.

    Parameters
    ----------
    image : RadioImage
    found : Denoised or DetectedImage
        Of the image. Its catalogue gets the column `COLUMN` (NaN for compact sources), its notes a line.
    again : callable
        Function that made it.

    Returns
    -------
    int
        Number of regions in the negative.
    """
    other = again(replace(image.negative(), kind=found.kind))
    diffuse, theirs = (np.asarray(t["kind"]).astype(str) == "diffuse" for t in (found.catalog, other.catalog))
    # logarithms of S/N and area, [region, 2]
    ours, others = (
        np.log10([np.maximum(column(t, name)[rows], 1e-9) for name in ("snr", "area")]).T.reshape(-1, 2)
        for t, rows in ((found.catalog, diffuse), (other.catalog, theirs))
    )
    values = np.full(len(found.catalog), np.nan)
    values[diffuse] = reliability_of(ours, others, least=ALIKE)
    found.catalog[COLUMN] = values
    found.catalog[COLUMN].description = "reliability by the regions of the image's negative"
    found.notes.append(f"the image has {diffuse.sum()} regions, its negative {theirs.sum()}")
    return int(theirs.sum())
