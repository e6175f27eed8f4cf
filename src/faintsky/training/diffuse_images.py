"""What the denoiser learns: images of random diffuse skies, seen by random arrays, drawn as training goes.

An example is a sky (diffuse emission or a cosmic web's, radio galaxies, both or none), a psf and its beam
from a `PsfLibrary`, and noise with the power that belongs to that psf. The target is the sky at the beam's
resolution. The image holds a random share of the sidelobes: none is a perfectly cleaned image, all of them
the dirty image, and what lies between is what the major cycles of a deconvolution pass through; so one
network serves all of them. Some hold errors of a real deconvolution or calibration (`image_errors`).
A quarter of the examples is white: noise without correlation on a sky without a beam (the Noise images of
Gheller & Vazza 2021). The local rms varies over some images, and some have blank borders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faintsky.simulating.psf_library import SIZE, PsfLibrary
from faintsky.sky import draw_diffuse, draw_radio_galaxies, random_field
from faintsky.source_model import frequencies_2d, gaussian_transform
from faintsky.training.fit import VALIDATION, Batch
from faintsky.training.image_errors import deconvolution_errors, gain_errors
from faintsky.training.web_skies import WebSkies

Array32 = NDArray[np.float32]

NOISE = 1e-4
"""Noise of a nominal image [Jy/beam]: what LOFAR reaches in eight hours; skies are drawn for it."""
WHITE_SHARE, BLANK_SHARE, UNEVEN_SHARE = 0.25, 0.15, 0.3
SHARED = 2
"""Examples made of one sky, each with another psf, noise level and orientation."""
NOISE_RANGE, WHITE_RANGE = (0.05, 10.0), (0.02, 5.0)
"""Noise of an example over the nominal one, log-uniform; white noise a pixel is so much more of it."""
OUTLIER, BRIGHT, SURE, SIGMA_SHARE, HALF = 5.0, 100.0, 4.0, 0.1, 0.3
WHITE_EMISSION, BEAM_EMISSION = 15.0, 45.0
"""How much more than empty sky a pixel of S/N 1 counts: with a beam fewer pixels are independent, and what
is hardly sure would be shrunk more."""
CLEANED_SHARE, WORST_LOBES = 0.8, 1.0
"""Largest rms of the sidelobes over that of the noise: a first major cycle counts them as noise."""
WEB_SHARE = 0.5
"""Of cosmic webs among diffuse skies."""
WORST_ERRORS = (0.1, 1.0)
"""Largest rms of such errors over that of the noise, log-uniform: more, and there is nothing to learn."""
VALIDATION_BATCHES = 12


def importance(target: Tensor, beam: Tensor) -> Tensor:
    """How much a pixel counts, 1 in empty sky, by its true S/N or that of the 4, 8 or 16 pixels around it.

    Parameters
    ----------
    target : Tensor
        ``[b, 1, y, x]``, true sky over the noise.
    beam : Tensor
        ``[b, 4]``, as networks take it.
    """
    root = (1.133 * beam[:, 0] * beam[:, 1]).clamp(min=1).sqrt()[:, None, None, None]
    snr, faint = target, target.clamp(0, 3)
    for pixels in (4, 8, 16):
        mean = nn.functional.avg_pool2d(faint, pixels) * pixels / root
        near = nn.functional.interpolate(mean, size=target.shape[-2:])
        # surroundings of a source are not the source
        snr = torch.maximum(snr, torch.minimum(near, 10 * target))
    emission = torch.where(beam[:, 0] > 0, BEAM_EMISSION, WHITE_EMISSION)[:, None, None, None]
    return 1 + emission * snr.clamp(0, SURE)


def _huber(x: Tensor) -> Tensor:
    return nn.functional.huber_loss(x, torch.zeros_like(x), reduction="none", delta=OUTLIER)


def _by_example(share: Tensor, loss: Tensor) -> Tensor:
    """Mean loss of each example, ``[b]``."""
    return (share * loss).sum(dim=(1, 2, 3)) / share.sum(dim=(1, 2, 3)).clamp(min=1)


@dataclass(frozen=True)
class _Plane:
    """The uv plane of one example: transform of psf and beam, root of the noise's power, beam."""

    psf: NDArray[np.float32]
    beam: NDArray[np.float32]
    noise: NDArray[np.float32]
    shape: NDArray[np.float32]


class DiffuseImages:
    """The task of a denoiser; see `faintsky.training.fit.Task`.

    Parameters
    ----------
    network : torch.nn.Module
        Such as ``local_unet``: (image, weight, beam) to (mean, sigma).
    library : PsfLibrary
    tile : int, optional
        Side of the images that are cut out of the simulated ones [pixel].
    blur : float, optional
        Weight of the errors' averages over 4, 8 and 16 pixels in the loss: what aperture fluxes feel.
    errors : float, optional
        Share of the images with a beam that hold errors of a deconvolution, and as many of a calibration.
    skies : WebSkies, optional
        Of cosmic webs, for a share of the examples.
    """

    def __init__(
        self,
        network: nn.Module,
        library: PsfLibrary,
        *,
        tile: int = 192,
        blur: float = 0.3,
        errors: float = 0.0,
        skies: WebSkies | None = None,
    ) -> None:
        self.network, self.library, self.tile, self.blur = network, library, tile, blur
        self.errors, self.skies = errors, skies

    def batch(self, rng: np.random.Generator, size: int, held: bool = False) -> Batch:
        """``size`` examples: ``image``, ``weight``, ``target`` ``[b, 1, y, x]`` and ``beam`` ``[b, 4]``.

        With ``held``, of what is kept for validation.
        """
        parts: list[tuple[NDArray, ...]] = []
        while len(parts) < size:
            cell = float(np.exp(rng.uniform(np.log(1.0), np.log(4.0))))
            sky = _draw(rng, cell, self.skies, held)
            parts += [self._example(rng, sky, cell) for _ in range(min(SHARED, size - len(parts)))]
        image, weight, target, beam = (np.stack(p) for p in zip(*parts, strict=True))
        planes = {"image": image, "weight": weight, "target": target}
        batch = {k: torch.from_numpy(v[:, None].astype(np.float32)) for k, v in planes.items()}
        return batch | {"beam": torch.from_numpy(beam)}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Squared error of the mean, and the negative log likelihood of the errors under sigma.

        Pixels on true emission count more (`importance`), the more the surer it is. The mean is then that of
        a posterior with so much more emission in its prior: an unweighted one shrinks whatever is not
        certain, and fluxes and peaks would come out low. Sigma learns from errors that it cannot change: in
        one likelihood the empty sky, where both may go to nothing, would rule the rest. Very bright pixels
        count less, where the relative error matters; beyond OUTLIER errors count linearly. Of each example's
        loss the logarithm counts, or a few with strong artefacts would rule all others.
        """
        mean, sigma = network(batch["image"], batch["weight"], batch["beam"])
        target = batch["target"]
        seen = (batch["weight"] > 0).float()
        error = (mean - target) * seen
        scaled = error / torch.sqrt(1 + (target / BRIGHT) ** 2)
        share = seen * importance(target, batch["beam"])
        loss = _by_example(share, _huber(scaled))
        for pixels in (4, 8, 16) if self.blur else ():
            local, means = (nn.functional.avg_pool2d(x, pixels) for x in (share, scaled))
            loss = loss + self.blur * pixels / 4 * _by_example(local, _huber(means))
        loss = torch.log1p(loss / HALF).mean()
        likelihood = (_huber(error.detach() / sigma) + torch.log(sigma)) * seen
        return loss + SIGMA_SHARE * likelihood.sum() / seen.sum()

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Loss; rms errors in units of the noise inside sources (true S/N 1 to 30) and outside; pulls.

        Errors inside are given for images with white noise and for images with a beam.
        """
        device = next(network.parameters()).device
        loss, squares = [], {k: [] for k in ("white", "beam", "outside", "pull")}  # type: ignore[var-annotated]
        for i in range(VALIDATION_BATCHES):
            batch = self.batch(np.random.default_rng([VALIDATION, i]), 8, held=True)
            batch = {k: v.to(device) for k, v in batch.items()}
            loss.append(float(self.loss(network, batch)))
            mean, sigma = network(batch["image"], batch["weight"], batch["beam"])
            target, seen = batch["target"], batch["weight"] > 0
            square = (mean - target).square()
            white = (batch["beam"][:, 0] == 0)[:, None, None, None]
            inside = seen & (target > 1) & (target < 30)
            squares["white"].append(square[inside & white])
            squares["beam"].append(square[inside & ~white])
            squares["outside"].append(square[seen & (target < 0.1)])
            squares["pull"].append((square / sigma.square())[seen])
        rms = {k: float(torch.cat(v).mean().sqrt()) for k, v in squares.items()}
        return {"loss": float(np.mean(loss)), **rms}

    def _example(self, rng: np.random.Generator, sky: Array32, cell: float) -> tuple[NDArray, ...]:
        """Image, weight and target ``[tile, tile]`` and beam ``[4]`` from a sky [Jy/arcsec2]."""
        sky = np.rot90(sky, int(rng.integers(4)))
        if rng.random() < 0.5:
            sky = sky[:, ::-1]
        is_white = rng.random() < WHITE_SHARE
        noise = NOISE * float(np.exp(rng.uniform(*np.log(WHITE_RANGE if is_white else NOISE_RANGE))))
        white = rng.standard_normal((SIZE, SIZE), dtype=np.float32)
        if is_white:
            # the papers' noise a pixel: that of a beam of 6 arcsec, spread over its area
            target = sky / np.float32(noise / 40.8)
            image, beam = target, np.zeros(4, dtype=np.float32)
        else:
            plane = _plane(self.library, rng)
            scaled = sky * np.float32(cell**2 / noise)
            spectrum = np.fft.rfft2(scaled)
            target = np.fft.irfft2(spectrum * plane.beam, s=sky.shape).astype(np.float32)
            # most images are cleaned, half of them but for a remainder; the rest is anything up to dirty
            is_cleaned = rng.random() < CLEANED_SHARE
            left = max(0.0, rng.uniform(-0.05, 0.05)) if is_cleaned else rng.uniform(0, 1)
            lobes = np.fft.irfft2(spectrum * (plane.psf - plane.beam), s=sky.shape).astype(np.float32)
            image = target + _limited(lobes * np.float32(left), WORST_LOBES)
            worst = float(np.exp(rng.uniform(*np.log(WORST_ERRORS))))
            if rng.random() < self.errors:
                errors = deconvolution_errors(rng, scaled, plane.psf, plane.beam)
                image = image + _limited(errors, worst)
            if rng.random() < self.errors:
                image = image + _limited(gain_errors(rng, spectrum, plane.psf, sky.shape), worst)
            white = np.fft.irfft2(np.fft.rfft2(white) * plane.noise, s=sky.shape).astype(np.float32)
            beam = plane.shape
        local = _uneven(rng) if rng.random() < UNEVEN_SHARE else np.float32(1.0) * np.ones_like(white)
        # an rms map is itself measured: a few per cent off
        scale = local * np.float32(np.exp(rng.normal(0, 0.05)))
        weight = np.float32(np.median(scale)) / scale
        if rng.random() < BLANK_SHARE:
            weight = weight * _seen(rng)
        cut = (slice(a := int(rng.integers(SIZE - self.tile + 1)), a + self.tile),
               slice(b := int(rng.integers(SIZE - self.tile + 1)), b + self.tile))  # fmt: skip
        seen = weight[cut] > 0
        image = (image[cut] + white[cut] * local[cut]) / scale[cut] * seen
        return image, weight[cut], target[cut] / scale[cut] * seen, beam


def _limited(errors: Array32, worst: float) -> Array32:
    """Errors, with an rms of no more than ``worst``."""
    return errors * np.float32(min(1.0, worst / max(float(errors.std()), 1e-9)))


def _draw(
    rng: np.random.Generator, cell: float, skies: WebSkies | None = None, held: bool = False
) -> Array32:
    """A sky [Jy/arcsec2]: diffuse emission, radio galaxies, both, or (one in twenty) nothing."""
    sky = np.zeros((SIZE, SIZE), dtype=np.float32)
    kind = rng.random()
    if kind < 0.8 and skies is not None and rng.random() < WEB_SHARE:
        sky += skies.cut(rng, SIZE, held)
    elif kind < 0.8:
        # small fields: crowded, or most of them would be empty
        sky += draw_diffuse(rng, sky.shape, cell, crowding=float(np.exp(rng.uniform(1, 4))))
    if kind > 0.5 and kind < 0.95:
        faintest = float(np.exp(rng.uniform(np.log(5e-5), np.log(2e-3))))
        sky += draw_radio_galaxies(rng, sky.shape, cell, faintest=faintest) / np.float32(cell**2)
    return sky


def _plane(library: PsfLibrary, rng: np.random.Generator) -> _Plane:
    """A random psf in one of its two mirror images, and its beam's transform.

    The restored sky is in Jy/beam: the beam has unit peak and so its area at zero frequency.
    """
    i = int(rng.integers(len(library.beams)))
    major, minor, pa = library.beams[i]
    psf, noise = library.transfer[i], library.noise[i]
    if rng.random() < 0.5:  # y to -y
        rows = -np.arange(SIZE)
        psf, noise, pa = psf[rows], noise[rows], 180 - pa
    area = np.pi / (4 * np.log(2)) * major * minor
    fx, fy = frequencies_2d(SIZE, SIZE)
    beam = area * gaussian_transform(fx, fy, 0.0, 0.0, major, minor, pa).real
    twice = np.deg2rad(2 * pa)
    shape = np.array([major, minor, np.sin(twice), np.cos(twice)], dtype=np.float32)
    # white noise of unit variance has SIZE**2 in every cell, the image is to have unit variance
    root = np.sqrt(noise * np.float32(SIZE**2))
    return _Plane(psf * np.float32(SIZE**2), beam.astype(np.float32), root, shape)


def _uneven(rng: np.random.Generator) -> Array32:
    """A smooth local rms of median about 1: patches, or a rise outwards as behind a primary beam."""
    if rng.random() < 0.5:
        field = random_field(rng, (SIZE, SIZE), 5.0, SIZE / 2)
        return np.exp(np.float32(rng.uniform(0.1, 0.5)) * field)
    width = SIZE * rng.uniform(0.5, 1.5)
    cy, cx = rng.uniform(-0.5, 1.5, 2) * SIZE
    at = np.arange(SIZE, dtype=np.float32)
    rise = np.exp(np.minimum(((at[:, None] - cy) ** 2 + (at[None, :] - cx) ** 2) / (2 * width**2), 2.5))
    return (rise / np.median(rise)).astype(np.float32)


def _seen(rng: np.random.Generator) -> Array32:
    """1 within a disc or beyond a straight border, 0 where blank."""
    at = np.arange(SIZE, dtype=np.float32)
    if rng.random() < 0.5:
        cy, cx = rng.uniform(0.2, 0.8, 2) * SIZE
        return (np.hypot(at[:, None] - cy, at[None, :] - cx) < SIZE * rng.uniform(0.4, 0.7)).astype(
            np.float32
        )
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.45) * SIZE
    across = (at[:, None] - SIZE / 2) * np.sin(angle) + (at[None, :] - SIZE / 2) * np.cos(angle)
    return (across < offset).astype(np.float32)
