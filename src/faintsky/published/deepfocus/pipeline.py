"""The six steps in a row, on plain arrays (Section 4.4, Fig. 9)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from faintsky.cutouts import box_spectrum, integrated
from faintsky.published.deepfocus.blobs import Blob, find_blobs, sky_map
from faintsky.published.deepfocus.fluxes import fluxes, line_images
from faintsky.published.deepfocus.focusing import Focus, Source, Tally, last_cuts
from faintsky.published.deepfocus.scaling import IMAGE
from faintsky.published.deepfocus.settings import Settings
from faintsky.published.deepfocus.shapes import KEYS, focused_images, shapes
from faintsky.published.deepfocus.snr import MAD_TO_SIGMA
from faintsky.published.deepfocus.spectra import clean_spectra, find_lines

Array = NDArray[np.float32]
Float = NDArray[np.float64]


@dataclass
class Result:
    """What came of a cube; what needs a network that is not there yet stays empty.

    Attributes
    ----------
    picture : array
        Blobs Finder's map, ``[y, x]``.
    blobs : list of Blob
    spectra, clean : array
        Of the blobs, dirty and denoised, ``[blob, chan]``.
    sources : list of Source
        Strongest first.
    focused, lines : array
        Their focused and line images, ``[n, 64, 64]``.
    shapes : tuple of array
        Major and minor FWHM [pixel] and position angle [deg], each ``[n]``.
    flux : array
        As received, ``[n]`` [Jy channel].
    rms : float
        Of the cube [Jy/beam].
    tally : Tally
    stages : dict of str to float
        Seconds of each step.
    """

    picture: Array
    blobs: list[Blob] = field(default_factory=list)
    spectra: Array = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    clean: Array = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    sources: list[Source] = field(default_factory=list)
    focused: Array = field(default_factory=lambda: np.zeros((0, 64, 64), dtype=np.float32))
    lines: Array = field(default_factory=lambda: np.zeros((0, 64, 64), dtype=np.float32))
    shapes: tuple[Float, Float, Float] = field(default_factory=lambda: (np.zeros(0),) * 3)
    flux: Float = field(default_factory=lambda: np.zeros(0))
    rms: float = float("nan")
    tally: Tally = field(default_factory=Tally)
    stages: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DeepFocus:
    """The pipeline with as many of its networks as there are.

    Parameters
    ----------
    networks : mapping of str to torch.nn.Module
        ``blobs_finder``, ``deep_gru``, ``fwhm_x``, ``fwhm_y``, ``pa``, ``flux``; it stops before the first
        step whose network is missing.
    settings : Settings
    size : int
        Pixels a side of Blobs Finder's images.
    device : str
    """

    networks: Mapping[str, nn.Module]
    settings: Settings = field(default_factory=Settings)
    size: int = IMAGE
    device: str = "cpu"

    def run(self, cube: Array, beam_area: float = 1.0) -> Result:
        """All steps on a cube.

        Parameters
        ----------
        cube : array
            ``[chan, y, x]`` [Jy/beam], NaN where blank.
        beam_area : float, optional
            Of the beam [pixel]: how many of them are one measurement of the noise.
        """
        settings = self.settings
        stages: dict[str, float] = {}
        with _timed(stages, "integrated image"):
            image = integrated(cube)
        with _timed(stages, "blobs_finder"):
            picture = sky_map(image, self.networks["blobs_finder"], self.size, self.device)
            result = Result(picture, stages=stages)
            result.blobs = find_blobs(picture, settings.threshold, paper_code=settings.paper_code)
        result.tally.steps["blobs"] = len(result.blobs)
        if "deep_gru" in self.networks:
            with _timed(stages, "deep_gru"):
                self.denoise(cube, result)
            with _timed(stages, "focusing"):
                focus = Focus(cube, image, settings, beam_area)
                found = []
                for blob, clean in zip(result.blobs, result.clean):
                    lines = find_lines(clean, settings.height, settings.prominence)
                    found += focus.sources_of(blob, lines, result.tally)
                result.sources = last_cuts(found, settings, result.tally)
            self.describe(cube, result)
        return result

    def denoise(self, cube: Array, result: Result) -> None:
        """Step ii's spectra."""
        spectra = [box_spectrum(cube, b.box) for b in result.blobs]
        result.spectra = np.stack(spectra) if spectra else np.zeros((0, len(cube)), dtype=np.float32)
        result.clean = clean_spectra(result.spectra, self.networks["deep_gru"], self.device)

    def describe(self, cube: Array, result: Result) -> None:
        """Steps iv to vi on the sources that are left."""
        stages = result.stages
        with _timed(stages, "shapes"):
            result.focused = focused_images(cube, result.sources)
            if not all(key in self.networks for key in KEYS):
                return
            result.shapes = shapes(result.focused, self.networks, self.device)
        with _timed(stages, "flux"):
            result.lines = line_images(cube, result.sources, result.shapes, self.settings.dilation)
            result.rms = noise_level(cube)
            if "flux" in self.networks:
                result.flux = fluxes(result.lines, self.networks["flux"], result.rms, self.device)


def noise_level(cube: Array) -> float:
    """Median over the channels of their noise [unit of the cube].

    From the differences of neighbouring channels, so that continuum does not count, on every third pixel.
    """
    thin = cube[:, ::3, ::3]
    step = np.diff(thin, axis=0) if len(thin) > 1 else thin
    levels = [np.median(np.abs(d[np.isfinite(d)])) for d in step if np.isfinite(d).any()]
    used = [v for v in levels if v > 0]
    return float(MAD_TO_SIGMA * np.median(used) / np.sqrt(2)) if used else 1.0


@contextmanager
def _timed(stages: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    stages[name] = time.perf_counter() - start
