"""Faint filaments and blobs injected into a user's own image: how much of them is outlined again.

A filament is an arc of a circle with a Gaussian cross-section and Gaussian ends, a blob an elliptical
Gaussian; both as the image's beam shows them. They are put where nothing was found in the image itself, at a
known S/N per pixel: mean brightness within the outline, which is where they exceed half of their peak, over
the noise there. Noise, artefacts and sidelobes are the image's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from faintsky.denoising import Denoised
from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.matching import REGION_DETECTED

if TYPE_CHECKING:
    from astropy.table import Table

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

WIDTHS, LENGTHS, BENDS = (1.5, 3.0), (8.0, 20.0), (0.0, 60.0)
"""Filaments: FWHM of the cross-section and length [beam], and the angle that they bend by [deg]."""
BLOBS, RATIOS = (4.0, 8.0), (0.6, 1.0)
"""Blobs: FWHM of the major axis [beam], and axis ratio."""
OUTLINE, REACH = 0.5, 0.05
"""Of the peak: where the outline is, and how far a source takes room."""
WHITE_BEAM = 6.0
"""Beam [arcsec] that sizes are in where noise is white: the one its rms is quoted in."""
_TRIES = 400


@dataclass(frozen=True)
class Place:
    """An image into which sources are injected.

    Parameters
    ----------
    image : RadioImage
        The user's.
    found : Denoised
        What a model makes of it.
    room : array of bool
        Valid pixels two beams away from what was found and, where a mask is given, in it, ``[y, x]``.
    beam : float
        FWHM [pixel].
    """

    image: RadioImage
    found: Denoised
    room: Bool
    beam: float


def place_of(image: RadioImage, found: Denoised) -> Place:
    """Where there is room in an image, given what a model found in it (at any reliability)."""
    prepared = found.prepared
    beam = prepared.beam_pixels or max(WHITE_BEAM / image.grid.cell, 2.0)
    room = prepared.valid & (distance_transform_edt(found.mask == 0) > 2 * beam)
    return Place(image, found, room if image.mask is None else room & image.mask[0], beam)


def draw_shape(rng: np.random.Generator, beam: float) -> tuple[str, Float]:
    """Kind and image of a filament or a blob of peak 1, in the middle of a square with an odd side."""
    kind = ("filament", "blob")[int(rng.integers(2))]
    turn = rng.uniform(0, 2 * np.pi)
    length, width = beam * rng.uniform(*LENGTHS), beam * rng.uniform(*WIDTHS)
    major = beam * rng.uniform(*BLOBS)
    half = int(np.ceil(1.2 * major if kind == "blob" else length / 2 + 1.2 * width))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if kind == "blob":
        return kind, _gaussian(np.hypot(along, across / rng.uniform(*RATIOS)), major)
    # about a centre of curvature far to one side, half of the sagitta off the middle
    bend = max(np.deg2rad(rng.uniform(*BENDS)), 1e-3)
    radius = length / bend
    across = across + radius * (1 - np.cos(bend / 2)) / 2
    beyond = np.abs(radius * np.arctan2(along, radius - across)) - length / 2
    return kind, _gaussian(np.hypot(radius - across, along) - radius, width) * _gaussian(
        np.maximum(beyond, 0), width
    )


def _gaussian(distance: Float, fwhm: float) -> Float:
    return np.exp(-4 * np.log(2) * (distance / fwhm) ** 2)


@dataclass(frozen=True)
class Injected:
    """One source: its kind, brightness in the image's unit ``[y, x]`` of a box, and where that is."""

    kind: str
    brightness: Float
    box: tuple[slice, slice]
    snr: float

    @property
    def outline(self) -> Bool:
        """Pixels above half of the peak, ``[y, x]`` of the box."""
        return np.asarray(self.brightness > OUTLINE * self.brightness.max())


def draw_injected(place: Place, n: int, rng: np.random.Generator, snr: tuple[float, float]) -> list[Injected]:
    """Up to ``n`` sources that neither overlap nor lie on anything found; fewer where there is no room."""
    free, prepared = place.room.copy(), place.found.prepared
    n_y, n_x = free.shape
    drawn: list[Injected] = []
    for _ in range(_TRIES):
        if len(drawn) == n:
            break
        kind, shape = draw_shape(rng, place.beam)
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


def inject_into(place: Place, sources: list[Injected]) -> RadioImage:
    """The image with the sources in it, seen through the psf where the image was taken for dirty."""
    sky = np.zeros(place.room.shape, dtype=np.float32)
    for s in sources:
        sky[s.box] += s.brightness.astype(np.float32)
    response = place.found.response
    data = place.image.data + (sky if response is None else response(sky))
    return replace(place.image, load=lambda: data[None])


def recover(
    place: Place,
    find: Callable[[RadioImage], Denoised],
    n: int,
    per_run: int,
    *,
    seed: int = 0,
    snr: tuple[float, float] = (0.2, 10.0),
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[Table, int, int]:
    """Inject ``n`` sources, a few a run, and see how much of them is outlined.

    Parameters
    ----------
    place : Place
    find : callable
        Image to `Denoised`.
    n, per_run : int
        Sources in all and in each run.
    seed : int, optional
        Run number i depends on it and i only.
    snr : tuple of float, optional
        Range of the S/N per pixel, whose logarithm is uniform.
    progress : callable, optional
        Called with sources done, sources in all, and a word.

    Returns
    -------
    sources : Table
        ``kind``, ``x``, ``y``, ``ra``, ``dec``, ``snr``, ``area`` [beam], ``flux`` within the outline [Jy;
        the image's unit summed over pixels where it is no brightness], ``found_flux`` (of the denoised image,
        there), ``share`` of the outline that lies in regions, ``found`` (a quarter or more does), ``run``.
    runs, others : int
        Runs, and regions that touch neither an injected source nor a region of the image itself.

    Raises
    ------
    InputError
        There is no room for a source.
    """
    from astropy.table import Table

    rows: list[dict[str, Any]] = []
    done = runs = others = 0
    per_pixel = place.found.prepared.jy_per_pixel
    per_pixel = per_pixel if np.isfinite(per_pixel) else 1.0
    while done < n:
        if progress is not None:
            progress(done, n, "sources injected")
        sources = draw_injected(place, min(per_run, n - done), np.random.default_rng([seed, runs]), snr)
        if not sources:
            raise InputError(
                "has no room for another source: what is found in it, or blank, is everywhere",
                "give a larger image or a mask with room",
                place.image.name,
            )
        found = find(inject_into(place, sources))
        estimate = np.nan_to_num(found.image if found.seen is None else found.seen)
        known = place.found.mask > 0
        for s in sources:
            inside, own = s.outline, found.mask[s.box]
            known[s.box] |= s.brightness > REACH * s.brightness.max()
            y, x = (b.start + (b.stop - b.start) // 2 for b in s.box)
            rows.append({
                "kind": s.kind, "x": x, "y": y, "snr": s.snr,
                "area": inside.sum() / (1.133 * place.beam**2),
                "flux": s.brightness[inside].sum() * per_pixel,
                "found_flux": estimate[s.box][inside].sum() * per_pixel,
                "share": (own[inside] > 0).mean(), "run": runs,
            })  # fmt: skip
        others += len(set(np.unique(found.mask)) - set(np.unique(found.mask[known])) - {0})
        done, runs = done + len(sources), runs + 1
    if progress is not None:
        progress(n, n, "done")
    table = Table(rows)
    table["found"] = table["share"] >= REGION_DETECTED
    table["ra"], table["dec"] = place.image.sky(table["x"], table["y"])
    for name in ("flux", "found_flux"):
        table[name] *= place.image.flux_factor(table["x"], table["y"])
    return table, runs, others
