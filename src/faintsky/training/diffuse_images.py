"""Training data of the denoiser: images of random diffuse skies with random arrays, drawn during training.

An example is a sky (diffuse emission or a cosmic web's, radio galaxies, both or none), a psf and its beam
from a `PsfLibrary`, and noise with the power that belongs to that psf. The target is the sky at the beam's
resolution. The image has a random fraction of the sidelobes: 0 for a perfectly cleaned image, 1 for the
dirty image, and values between as in the major cycles of a deconvolution; so one network serves all of them.
Some have errors of a real deconvolution or calibration.
A quarter of the examples have white noise on a sky without a beam (the Noise images of Gheller & Vazza 2021).
The local rms varies over some images, and some have blank borders.
"""

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from faintsky.arrays import Array32
from faintsky.denoising import describe_beam
from faintsky.errors import InputError
from faintsky.options import Progress
from faintsky.simulating import PSF_SIDE, PsfLibrary
from faintsky.sky import draw_diffuse, draw_radio_galaxies, log_uniform, random_field
from faintsky.source_model import frequencies_2d, gaussian_transform
from faintsky.system import replacing
from faintsky.training.artefacts import compact_residues, deconvolution_errors, gain_errors, holes, stripes
from faintsky.training.denoiser import DenoiserTask, UNetSettings
from faintsky.training.loop import Batch

NOISE = 1e-4
"""Noise of a nominal image [Jy/beam], as LOFAR reaches in eight hours; skies are drawn for it."""
WHITE_SHARE = 0.25
"""Fraction of examples with white noise and no beam."""
BLANK_SHARE = 0.15
"""Fraction of examples with blank parts."""
UNEVEN_SHARE = 0.3
"""Fraction of examples whose noise varies over the image."""
SHARED = 2
"""Examples from one sky, each with another psf, noise level and orientation."""
NOISE_RANGE = (0.05, 10.0)
"""Range of the noise of an example with a beam over the nominal one, log-uniform."""
WHITE_RANGE = (0.02, 5.0)
"""The same of white noise, which refers to a beam of 6 arcsec."""
CLEANED_SHARE = 0.8
"""Fraction of examples with a beam that are cleaned."""
WORST_LOBES = 1.0
"""Largest rms of the sidelobes over that of the noise: a first major cycle counts them as noise."""
WEB_SHARE = 0.5
"""Fraction of cosmic webs among diffuse skies."""
WORST_ERRORS = (0.1, 1.0)
"""Largest rms of artefacts over that of the noise, log-uniform: with more there is nothing to learn."""
SCALE = np.float32(1e7)
"""In half precision 1 is 1e-7 Jy/arcsec2: 6e-12 to 6e-3 keep a relative error of 5e-4."""
HELD_SHARE = 1 / 6
"""Fraction of the skies, the last ones, for validation."""
FACTOR = (0.03, 10.0)
"""Range of the factor on a cutout's brightness, log-uniform."""
TRIES = 6
"""Cutouts among which the one with most emission is sought."""
STEP = 16
"""Step between the pixels by which cutouts are compared."""


def open_skies(path: Path) -> NDArray[np.float16]:
    """The file of `make_skies`, ``[sky, y, x]`` in units of 1e-7 Jy/arcsec2, memory-mapped.

    Raises
    ------
    InputError
        For any other file.
    """
    try:
        skies: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
        if skies.ndim == 3 and skies.dtype == np.float16 and len(skies) > 1:
            return skies
    except (OSError, ValueError):
        pass
    raise InputError("not a bank of skies", "delete it, so that it is made again", path)


def cut_sky(skies: NDArray[np.float16], rng: np.random.Generator, size: int, held: bool = False) -> Array32:
    """Cut out a part of a random sky, times a random factor.

    Most of a cosmic web is empty: two cutouts in three are the one with most emission of `TRIES`.

    Parameters
    ----------
    skies : array
        See `open_skies`.
    rng : numpy.random.Generator
    size : int
        Side [pixel].
    held : bool, optional
        Whether to take a sky kept for validation.

    Returns
    -------
    array
        ``[y, x]`` [Jy/arcsec2]
    """
    first = len(skies) - max(1, round(len(skies) * HELD_SHARE))
    sky = skies[rng.integers(first, len(skies)) if held else rng.integers(first)]
    corners = rng.integers(np.array(sky.shape) - size + 1, size=(TRIES, 2))
    cuttings = [sky[y : y + size, x : x + size] for y, x in corners]
    light = [np.sqrt(c[::STEP, ::STEP].astype(np.float32)).mean() for c in cuttings]
    best = int(np.argmax(light)) if rng.random() < 2 / 3 else 0
    factor = np.float32(log_uniform(rng, *FACTOR))
    return cuttings[best].astype(np.float32) * (factor / SCALE)


def make_skies(
    path: Path,
    web: str | os.PathLike[str],
    count: int,
    seed: int,
    progress: Progress | None = None,
    *,
    size: int = 2000,
) -> None:
    """Draw ``count`` skies of both kinds in turn, where the web holds both, and write them to one file.

    Parameters
    ----------
    path : pathlib.Path
        ``.npy``
    web : str or path-like
        As `faintsky.sky.web.open_web` takes it.
    count, seed : int
    progress : callable, optional
        Called with skies done, skies in all, and a word.
    size : int, optional
        Side of a sky [pixel of 2 arcsec].
    """
    from faintsky.sky.web import draw_web, open_web

    tell = progress or (lambda done, total, word: None)
    opened = open_web(web, progress=lambda text: tell(0, count, text))
    kinds = [k for k in ("sky1", "sky2") if opened.of_kind(k)]
    rng = np.random.default_rng([seed, int.from_bytes(b"webs", "big")])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as name, name.open("wb") as file:
        head = {"descr": "<f2", "fortran_order": False, "shape": (count, size, size)}
        np.lib.format.write_array_header_1_0(file, head)
        for i in range(count):
            sky = draw_web(opened, rng, size, 2.0, kinds[i % len(kinds)])
            file.write(np.minimum(sky * SCALE, np.float32(6e4)).astype("<f2").tobytes())
            tell(i + 1, count, "skies of the cosmic web")


class DiffuseImages(DenoiserTask):
    """The task on images that are simulated during training.

    Parameters
    ----------
    network, settings
        See `DenoiserTask`.
    library : PsfLibrary
    skies : array, optional
        Cosmic webs from `open_skies`, for a fraction of the examples.
    """

    white, noise, cleaned, blank = WHITE_SHARE, NOISE_RANGE, CLEANED_SHARE, BLANK_SHARE

    def __init__(
        self,
        network: nn.Module,
        library: PsfLibrary,
        settings: UNetSettings,
        skies: NDArray[np.float16] | None = None,
    ) -> None:
        super().__init__(network, settings)
        self.library, self.skies = library, skies

    def batch(self, rng: np.random.Generator, size: int, held: bool = False) -> Batch:
        """Draw examples of new skies. See `DenoiserTask.batch`."""
        parts: list[tuple[NDArray, ...]] = []
        while len(parts) < size:
            cell = log_uniform(rng, 1.0, 4.0)
            sky = self.draw(rng, cell, held)
            parts += [self._example(rng, sky, cell) for _ in range(min(SHARED, size - len(parts)))]
        image, weight, target, beam = (np.stack(p) for p in zip(*parts, strict=True))
        planes = {"image": image[:, None], "weight": weight[:, None], "target": target}
        batch = {k: torch.from_numpy(v.astype(np.float32)) for k, v in planes.items()}
        return batch | {"beam": torch.from_numpy(beam)}

    def draw(self, rng: np.random.Generator, cell: float, held: bool) -> Array32:
        """Draw a sky, and parts of it that are targets too.

        Parameters
        ----------
        rng : numpy.random.Generator
        cell : float
            Side of a pixel [arcsec].
        held : bool
            Whether to use skies kept for validation.

        Returns
        -------
        array
            ``[1 + part, y, x]`` [Jy/arcsec2]
        """
        diffuse, galaxies = draw_sky(rng, cell, self.skies, held)
        return (diffuse + galaxies)[None]

    def _example(self, rng: np.random.Generator, sky: Array32, cell: float) -> tuple[NDArray, ...]:
        """Image, weight ``[tile, tile]``, targets ``[part, tile, tile]``, beam ``[4]`` of a sky of `draw`."""
        sky = np.rot90(sky, int(rng.integers(4)), axes=(1, 2))
        if rng.random() < 0.5:
            sky = sky[..., ::-1]
        shape = (sky.shape[1], sky.shape[2])
        is_white = rng.random() < self.white
        noise = NOISE * log_uniform(rng, *(WHITE_RANGE if is_white else self.noise))
        white = rng.standard_normal((PSF_SIDE, PSF_SIDE), dtype=np.float32)
        if is_white:
            # the papers' noise in a pixel: that of a beam of 6 arcsec, spread over its area
            target = sky / np.float32(noise / 40.8)
            image, beam = target[0], np.zeros(4, dtype=np.float32)
        else:
            psf, restored, power, beam = _plane(self.library, rng)
            scaled = sky * np.float32(cell**2 / noise)
            spectrum = np.fft.rfft2(scaled)
            target = np.fft.irfft2(spectrum * restored, s=shape).astype(np.float32)
            spectrum = spectrum[0]
            # most images are cleaned, half of them completely; the rest range up to dirty
            is_cleaned = rng.random() < self.cleaned
            left = max(0.0, rng.uniform(-0.05, 0.05)) if is_cleaned else rng.uniform(0, 1)
            lobes = np.fft.irfft2(spectrum * (psf - restored), s=shape).astype(np.float32)
            image = target[0] + _limited(lobes * np.float32(left), WORST_LOBES)
            worst = log_uniform(rng, *WORST_ERRORS)
            if rng.random() < self.settings.errors:
                errors = deconvolution_errors(rng, scaled[0], psf, restored)
                image = image + _limited(errors, worst)
            if rng.random() < self.settings.errors:
                image = image + _limited(gain_errors(rng, spectrum, psf, shape), worst)
            white = np.fft.irfft2(np.fft.rfft2(white) * power, s=shape).astype(np.float32)
            image, beam = self._with_artefacts(rng, image, restored, beam)
        local = _uneven(rng) if rng.random() < UNEVEN_SHARE else np.float32(1.0) * np.ones_like(white)
        # an rms map is measured, with errors of a few per cent
        scale = local * np.float32(np.exp(rng.normal(0, 0.05)))
        weight = np.float32(np.median(scale)) / scale
        if rng.random() < self.blank:
            weight = weight * _seen(rng)
        tile = self.settings.tile
        y, x = (int(rng.integers(PSF_SIDE - tile + 1)) for _ in range(2))
        cut = slice(y, y + tile), slice(x, x + tile)
        seen = weight[cut] > 0
        image = (image[cut] + white[cut] * local[cut]) / scale[cut] * seen
        return image, weight[cut], target[:, *cut] / scale[cut] * seen, beam

    def _with_artefacts(
        self, rng: np.random.Generator, image: Array32, restored: Array32, beam: Array32
    ) -> tuple[Array32, Array32]:
        """The image with artefacts, and the beam with its error."""
        shape, size = (image.shape[0], image.shape[1]), float(np.sqrt(beam[0] * beam[1]))
        for add in (
            lambda: stripes(rng, shape, size),
            lambda: compact_residues(rng, restored, shape, size),
            lambda: holes(rng, shape, size),
        ):
            if rng.random() < self.settings.artefacts:
                image = image + add()
        if self.settings.mismatch:
            beam = beam * np.array([*np.exp(rng.normal(0, self.settings.mismatch, 2)), 1, 1], np.float32)
        return image, beam


def _limited(errors: Array32, worst: float) -> Array32:
    """Errors scaled to an rms of at most ``worst``."""
    return errors * np.float32(min(1.0, worst / max(float(errors.std()), 1e-9)))


def draw_sky(
    rng: np.random.Generator, cell: float, skies: NDArray[np.float16] | None = None, held: bool = False
) -> tuple[Array32, Array32]:
    """Draw diffuse emission and radio galaxies: either, both, or (one in twenty) nothing.

    Parameters
    ----------
    rng : numpy.random.Generator
    cell : float
        Side of a pixel [arcsec].
    skies : array, optional
        See `open_skies`.
    held : bool, optional
        Whether to use skies kept for validation.

    Returns
    -------
    diffuse, galaxies : array
        ``[y, x]`` [Jy/arcsec2]
    """
    shape = (PSF_SIDE, PSF_SIDE)
    diffuse, galaxies = (np.zeros(shape, dtype=np.float32) for _ in range(2))
    kind = rng.random()
    if kind < 0.8 and skies is not None and rng.random() < WEB_SHARE:
        diffuse = cut_sky(skies, rng, PSF_SIDE, held)
    elif kind < 0.8:
        # small fields: crowded, or most of them would be empty
        diffuse = draw_diffuse(rng, shape, cell, crowding=float(np.exp(rng.uniform(1, 4))))
    if kind > 0.5 and kind < 0.95:
        faintest = log_uniform(rng, 5e-5, 2e-3)
        galaxies = draw_radio_galaxies(rng, shape, cell, faintest=faintest) / np.float32(cell**2)
    return diffuse, galaxies


def _plane(library: PsfLibrary, rng: np.random.Generator) -> tuple[Array32, Array32, Array32, Array32]:
    """Transforms of a random psf and its beam, root of the noise's power, and the beam as networks take it.

    The restored sky is in Jy/beam: the beam has unit peak and so its area at zero frequency.
    """
    i = int(rng.integers(len(library.beams)))
    major, minor, pa = library.beams[i]
    psf, noise = library.transfer[i], library.noise[i]
    if rng.random() < 0.5:  # y to -y
        rows = -np.arange(PSF_SIDE)
        psf, noise, pa = psf[rows], noise[rows], 180 - pa
    area = np.pi / (4 * np.log(2)) * major * minor
    fx, fy = frequencies_2d(PSF_SIDE, PSF_SIDE)
    beam = area * gaussian_transform(fx, fy, 0.0, 0.0, major, minor, pa).real
    # white noise of unit variance has PSF_SIDE**2 in every cell; the image must have unit variance
    root = np.sqrt(noise * np.float32(PSF_SIDE**2))
    return psf * np.float32(PSF_SIDE**2), beam.astype(np.float32), root, describe_beam((major, minor, pa))


def _uneven(rng: np.random.Generator) -> Array32:
    """A smooth local rms of median about 1: patches, or a rise outwards as behind a primary beam."""
    if rng.random() < 0.5:
        field = random_field(rng, (PSF_SIDE, PSF_SIDE), 5.0, PSF_SIDE / 2)
        return np.exp(np.float32(rng.uniform(0.1, 0.5)) * field)
    width = PSF_SIDE * rng.uniform(0.5, 1.5)
    cy, cx = rng.uniform(-0.5, 1.5, 2) * PSF_SIDE
    at = np.arange(PSF_SIDE, dtype=np.float32)
    rise = np.exp(np.minimum(((at[:, None] - cy) ** 2 + (at[None, :] - cx) ** 2) / (2 * width**2), 2.5))
    return (rise / np.median(rise)).astype(np.float32)


def _seen(rng: np.random.Generator) -> Array32:
    """1 within a disc or beyond a straight border, 0 where blank."""
    at = np.arange(PSF_SIDE, dtype=np.float32)
    if rng.random() < 0.5:
        cy, cx = rng.uniform(0.2, 0.8, 2) * PSF_SIDE
        return (np.hypot(at[:, None] - cy, at[None, :] - cx) < PSF_SIDE * rng.uniform(0.4, 0.7)).astype(
            np.float32
        )
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.45) * PSF_SIDE
    across = (at[:, None] - PSF_SIDE / 2) * np.sin(angle) + (at[None, :] - PSF_SIDE / 2) * np.cos(angle)
    return (across < offset).astype(np.float32)
