"""Faint filaments and blobs injected into a user's own image, to measure how much of them is found.

A filament is an arc of a circle with a Gaussian cross-section and Gaussian ends. A blob is an elliptical
Gaussian. Both have the resolution of the image's beam. They are placed where nothing was found in the image
itself, with a known S/N per pixel: the mean brightness within the outline (above half of the peak) over the
local noise. Noise, artefacts and sidelobes are the image's own.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
from astropy.table import Table
from scipy.ndimage import distance_transform_edt

from faintsky.arrays import Array, Bool, Float, Labels
from faintsky.companions import cut
from faintsky.denoising import Response
from faintsky.image import RadioImage
from faintsky.matching import REGION_DETECTED
from faintsky.preparing import PreparedImage

WIDTHS = (1.5, 3.0)
"""Filaments: range of the cross-section's FWHM [beam]."""
LENGTHS = (8.0, 20.0)
"""Filaments: range of the length [beam]."""
BENDS = (0.0, 60.0)
"""Filaments: range of the bending angle [deg]."""
BLOBS = (4.0, 8.0)
"""Blobs: range of the major axis's FWHM [beam]."""
AXIS_RATIOS = (0.6, 1.0)
"""Blobs: range of the ratio of minor to major axis."""
OUTLINE = 0.5
"""Brightness at a source's outline, over its peak."""
REACH = 0.05
"""Brightness at the edge of the room that a source needs, over its peak."""
WHITE_BEAM = 6.0
"""Beam for sizes in images of white noise, the one to which their rms refers [arcsec]."""
_TRIES = 400


@dataclass(frozen=True)
class Injected:
    """One source: kind, brightness ``[y, x]`` in a box [unit of the image], and the box."""

    kind: str
    brightness: Float
    box: tuple[slice, slice]
    snr: float

    @property
    def outline(self) -> Bool:
        """Pixels above half of the peak, ``[y, x]`` of the box."""
        return np.asarray(self.brightness > OUTLINE * self.brightness.max())


@dataclass(frozen=True)
class Outlined:
    """The result of denoising an image.

    Parameters
    ----------
    mask : array of int
        Number of a source or region, 0 outside, ``[y, x]``.
    estimate : array
        The denoised image at the data's resolution, ``[y, x]``.
    prepared : PreparedImage
        Input, noise and beam.
    response : Response or None
        For a dirty image, the response to the sky.
    """

    mask: Labels
    estimate: Array
    prepared: PreparedImage
    response: Response | None = None


@dataclass(frozen=True)
class ImagePlace:
    """An image into which sources are injected.

    Parameters
    ----------
    data : RadioImage
        The user's image.
    found : Outlined
        The result of denoising it.
    room : array of bool
        Valid pixels two beams away from sources and regions, and within the mask, if there is one, ``[y,
        x]``.
    beam : float
        FWHM of the beam [pixel].

    Attributes
    ----------
    SNR_RANGE : tuple of float
        Default range of the sources' S/N per pixel, which is uniform in its logarithm.
    PER_RUN, LEVEL : int, float
        Default number of sources at a time, and S/N at which the completeness is reported.
    """

    SNR_RANGE: ClassVar = (0.2, 10.0)
    PER_RUN: ClassVar = 4
    LEVEL: ClassVar = 1.0

    data: RadioImage
    found: Outlined
    room: Bool
    beam: float

    def draw(self, n: int, rng: np.random.Generator, snr: tuple[float, float]) -> list[Injected]:
        """Draw sources that overlap neither each other nor anything found.

        Parameters
        ----------
        n : int
            Number of sources.
        rng : numpy.random.Generator
            The source of random numbers.
        snr : tuple of float
            Range of the S/N per pixel.

        Returns
        -------
        list of Injected
            Fewer if there is no room.
        """
        free, prepared = self.room.copy(), self.found.prepared
        n_y, n_x = free.shape
        drawn: list[Injected] = []
        for _ in range(_TRIES):
            if len(drawn) == n:
                break
            kind, shape = draw_shape(rng, self.beam)
            side = len(shape)
            if side > min(n_y, n_x):
                continue
            y, x = int(rng.integers(n_y - side + 1)), int(rng.integers(n_x - side + 1))
            box = (slice(y, y + side), slice(x, x + side))
            near = shape > REACH
            if not free[box][near].all():
                continue
            inside = shape > OUTLINE
            wanted = float(np.exp(rng.uniform(*np.log(snr))))
            noise = float(np.median(prepared.rms[box][inside]))
            free[box] &= ~near
            drawn.append(Injected(kind, shape * (wanted * noise / shape[inside].mean()), box, wanted))
        return drawn

    def with_sources(self, sources: list[Injected]) -> RadioImage:
        """The image with the sources, which are convolved with the psf if the image is dirty."""
        sky = np.zeros(self.room.shape, dtype=np.float32)
        for s in sources:
            sky[s.box] += s.brightness.astype(np.float32)
        response = self.found.response
        data = self.data.data + (sky if response is None else response(sky))
        return replace(self.data, load=partial(cut, data[None]))

    def compare(self, sources: list[Injected], found: Outlined) -> tuple[Table, int]:
        """Match injected sources and regions.

        Returns
        -------
        sources : Table
            ``kind``, ``x``, ``y``, ``ra``, ``dec``, ``snr``, ``area`` [beam], ``flux`` within the outline
            [Jy; or the image's unit summed over pixels if it is no brightness], ``found_flux`` (of the
            denoised image within the outline), ``share`` (fraction of the outline in regions), ``found``
            (whether that is at least a quarter).
        others : int
            Regions that touch neither an injected source nor a region of the image itself.
        """

        estimate = np.nan_to_num(found.estimate)
        known = self.found.mask > 0
        per_pixel = self.found.prepared.jy_per_pixel
        rows = []
        for s in sources:
            inside, own = s.outline, found.mask[s.box]
            known[s.box] |= s.brightness > REACH * s.brightness.max()
            y, x = (b.start + (b.stop - b.start) // 2 for b in s.box)
            rows.append({
                "kind": s.kind, "x": x, "y": y, "snr": s.snr,
                "area": inside.sum() / (1.133 * self.beam**2), "flux": s.brightness[inside].sum(),
                "found_flux": estimate[s.box][inside].sum(), "share": (own[inside] > 0).mean(),
            })  # fmt: skip
        table = Table(rows)
        table["found"] = table["share"] >= REGION_DETECTED
        table["ra"], table["dec"] = self.data.sky(table["x"], table["y"])
        factor = self.data.flux_factor(table["x"], table["y"])
        for name in ("flux", "found_flux"):
            table[name] *= factor * (per_pixel if np.isfinite(per_pixel) else 1.0)
        return table, len(set(np.unique(found.mask)) - set(np.unique(found.mask[known])) - {0})


def place_in_image(image: RadioImage, found: Outlined) -> ImagePlace:
    """The place for sources in an image, outside anything found in it (at any reliability)."""
    prepared = found.prepared
    beam = prepared.beam_pixels or max(WHITE_BEAM / image.grid.cell, 2.0)
    room = prepared.valid & (distance_transform_edt(found.mask == 0) > 2 * beam)
    return ImagePlace(image, found, room if image.mask is None else room & image.mask[0], beam)


def draw_shape(rng: np.random.Generator, beam: float) -> tuple[str, Float]:
    """Kind and image of a filament or a blob of peak 1, centred in a square with an odd side."""
    kind = ("filament", "blob")[int(rng.integers(2))]
    turn = rng.uniform(0, 2 * np.pi)
    length, width = beam * rng.uniform(*LENGTHS), beam * rng.uniform(*WIDTHS)
    major = beam * rng.uniform(*BLOBS)
    half = int(np.ceil(1.2 * major if kind == "blob" else length / 2 + 1.2 * width))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if kind == "blob":
        return kind, _gaussian(np.hypot(along, across / rng.uniform(*AXIS_RATIOS)), major)
    # the centre of curvature is to one side, and the arc is half a sagitta off the middle
    bend = max(np.deg2rad(rng.uniform(*BENDS)), 1e-3)
    radius = length / bend
    across = across + radius * (1 - np.cos(bend / 2)) / 2
    beyond = np.abs(radius * np.arctan2(along, radius - across)) - length / 2
    return kind, _gaussian(np.hypot(radius - across, along) - radius, width) * _gaussian(
        np.maximum(beyond, 0), width
    )


def _gaussian(distance: Float, fwhm: float) -> Float:
    return np.exp(-4 * np.log(2) * (distance / fwhm) ** 2)
