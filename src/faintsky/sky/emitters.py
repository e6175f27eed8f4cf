"""Skies of line emitters: Gaussians with a Gaussian line, after Section 3 of Delli Veneri et al. (2022).

Presets
    ``paper``: the data behind the paper's results. They follow Table 1 with its 2-8 pixels as Gaussian sigmas
    (FWHM of 4.7-18.8 pixels), and companions are at least 20 pixels apart. ``text``: the data described in
    the paper's text, with a FWHM of 2-8 pixels and companions anywhere. Both have a central source and 2 to 5
    companions with no brighter peak, and a continuum with a spectral index under every line. They are scaled
    so that the brightest pixel of the cube has 1 mJy.

    ``emitters`` is an addition: 3 to 6 lines without continuum, each with a given S/N.

    ``varied`` adds what users' cubes may hold and the published presets lack. Lines are with or without
    continuum, in emission or absorption, and a source may have several. Sources are points, Gaussians up to
    some beams wide, or rotating discs; some have continuum only. Neighbours are at any distance on the sky
    and in frequency, down to none. Some fields have no lines.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from faintsky.arrays import Bool, Float
from faintsky.grid import FWHM_PER_SIGMA, ImageGrid, SpectralGrid, paper_frame_to_sky
from faintsky.sky.diffuse import log_uniform
from faintsky.sky.model import Part, SkyModel, empty_sky, gaussian_image, joined
from faintsky.sky.rotating_discs import CURVES, PROFILES, Disc, disc_terms
from faintsky.source_model import line_profile

PRESETS = ("paper", "text", "emitters", "empty", "varied")
BRIGHTEST = 1e-3
"""Brightest pixel of a ``paper`` or ``text`` cube [Jy/pixel] (``inbright`` in Table 2)."""
_PAPER_SIZE = 360
"""Pixels along a side of the paper's cubes."""
_PAPER_CHANNELS = 128
"""Channels of the paper's cubes."""
_TRIES = 2000
PLAIN: dict[str, Any] = {
    "continuum": 0.0,
    "spectral_index": 0.0,
    "line": 1.0,
    "central": False,
    "wanted_snr": np.nan,
}
"""A line without continuum, of any strength."""


@dataclass(frozen=True)
class EmitterField:
    """The field in which sources are drawn.

    Parameters
    ----------
    grid : ImageGrid
        The pixels.
    spectral : SpectralGrid
        The channels.
    reach : float
        Largest distance of sources from the phase centre [pixel]; in the paper's presets they are anywhere.
    beam : float
        Width of the beam [pixel].
    noise : float
        Noise of a channel [Jy/beam].
    visible : array of bool
        Channels that are not blank, ``[chan]``.
    """

    grid: ImageGrid
    spectral: SpectralGrid
    reach: float
    beam: float
    noise: float
    visible: Bool


def draw_lines(
    preset: str, rng: np.random.Generator, field: EmitterField, snr: float | None = None
) -> SkyModel:
    """A random sky.

    Parameters
    ----------
    preset : str
        One of `PRESETS`.
    rng : numpy.random.Generator
        The source of random numbers.
    field : EmitterField
        Where sources are drawn.
    snr : float, optional
        S/N of all sources of ``emitters`` and ``varied``, instead of 4-14 and `SNR`.

    Returns
    -------
    SkyModel
        For ``emitters`` and ``varied`` it has ``wanted_snr`` of each source; a second line has that of its
        source's first.
    """
    grid, spectral = field.grid, field.spectral
    if preset == "empty":
        return empty_sky(grid, spectral)
    if preset == "varied":
        return _draw_varied(rng, field, snr)
    drawn = _draw_emitters(rng, field, snr) if preset == "emitters" else _draw_paper(rng, field, preset)
    sky = joined([gaussian_part(s, grid, spectral) for s in drawn], grid, spectral)
    if preset == "emitters":
        return sky
    return sky.scaled(np.full(sky.n_sources, BRIGHTEST / sky.brightest()))


def _draw_paper(rng: np.random.Generator, field: EmitterField, preset: str) -> list[dict[str, Any]]:
    """Sources of Table 1, with positions and channels scaled if the cube has another size."""
    grid, spectral = field.grid, field.spectral
    width = FWHM_PER_SIGMA if preset == "paper" else 1.0
    apart = 20.0 if preset == "paper" else 0.0
    scale_x, scale_y = grid.n_x / _PAPER_SIZE, grid.n_y / _PAPER_SIZE
    scale_z = spectral.n_chan / _PAPER_CHANNELS

    def one(central: bool) -> dict[str, Any]:
        x, y = rng.uniform(100, 250, 2)
        fwhm_x, fwhm_y = rng.uniform(2, 8, 2) * width
        maj, minor, pa = paper_frame_to_sky(fwhm_x, fwhm_y, rng.uniform(0, 90))
        continuum, line = rng.uniform(1, 5, 2)
        return PLAIN | {
            "x": float(grid.n_x // 2) if central else x * scale_x,
            "y": float(grid.n_y // 2) if central else y * scale_y,
            "fwhm_maj": float(maj),
            "fwhm_min": float(minor),
            "pa": float(pa),
            "continuum": continuum,
            "spectral_index": rng.uniform(-2, 2),
            "line": line,
            "z": rng.uniform(10, 110) * scale_z,
            "fwhm_z": rng.uniform(3, 10),
            "central": central,
            "peak": continuum * (1 + line),
        }

    sources = [one(central=True)]
    for _ in range(int(rng.integers(2, 6))):
        for attempt in range(_TRIES):
            new = one(central=False)
            # in a small image without room for the separation, this is dropped rather than the companion
            far = attempt > _TRIES // 2 or all(
                np.hypot(new["x"] - s["x"], new["y"] - s["y"]) >= apart for s in sources[1:]
            )
            if new["peak"] <= sources[0]["peak"] and far:
                sources.append(new)
                break
    for s in sources:
        # the paper's amplitudes are peak brightnesses; images here have unit flux
        s["continuum"] *= 2 * np.pi / FWHM_PER_SIGMA**2 * s["fwhm_maj"] * s["fwhm_min"]
    return sources


def _draw_emitters(rng: np.random.Generator, field: EmitterField, snr: float | None) -> list[dict[str, Any]]:
    grid, spectral, beam = field.grid, field.spectral, field.beam
    margin_z = min(8.0, spectral.n_chan / 4)
    edge = min(2 * beam, min(grid.shape) / 4)
    sources: list[dict[str, Any]] = []
    for _ in range(int(rng.integers(3, 7))):
        for _attempt in range(_TRIES):
            x = rng.uniform(edge, grid.n_x - 1 - edge)
            y = rng.uniform(edge, grid.n_y - 1 - edge)
            near = any(np.hypot(x - s["x"], y - s["y"]) < 3 * beam for s in sources)
            if np.hypot(x - grid.x0, y - grid.y0) > field.reach or near:
                continue
            maj = rng.uniform(0, 1.5) * beam
            new = {
                "fwhm_min": maj * rng.uniform(0.4, 1),
                "pa": rng.uniform(0, 180),
                "z": rng.uniform(margin_z, spectral.n_chan - 1 - margin_z),
                "fwhm_z": rng.uniform(3, 12),
                "wanted_snr": rng.uniform(4, 14) if snr is None else snr,
            }
            sources.append({**PLAIN, "x": x, "y": y, "fwhm_maj": maj, **new})
            break
    return sources


def gaussian_part(s: dict[str, Any], grid: ImageGrid, spectral: SpectralGrid) -> Part:
    """A source with a Gaussian image and a Gaussian line.

    Parameters
    ----------
    s : dict
        Its parameters: those of `SkyModel.sources`, with ``continuum`` [Jy, in the first channel].
    grid : ImageGrid
        The pixels.
    spectral : SpectralGrid
        The channels.

    Returns
    -------
    Part
    """
    image = gaussian_image(grid, s["x"], s["y"], s["fwhm_maj"], s["fwhm_min"], s["pa"])
    profile = line_profile(np.arange(spectral.n_chan), s["z"], s["fwhm_z"])
    slope, here, line = _amplitudes(s, spectral)
    row = {
        **{k: s[k] for k in ("x", "y", "fwhm_maj", "fwhm_min", "pa", "z", "fwhm_z")},
        "line_flux_peak": line * here,
        "continuum_flux": s["continuum"] * here,
        **{k: s[k] for k in ("spectral_index", "central", "wanted_snr")},
    }
    lines = line * slope * profile if s["continuum"] else line * profile
    return Part(image[None], (s["continuum"] * slope)[None], lines[None], row)


def _amplitudes(s: dict[str, Any], spectral: SpectralGrid) -> tuple[Float, float, float]:
    """The continuum's spectral shape (1 in the first channel), its value at the line, and the line's peak."""
    freq, at_line = spectral.frequencies(), spectral.first + spectral.width * s["z"]
    slope = (freq[0] / freq) ** s["spectral_index"]
    here = float((freq[0] / at_line) ** s["spectral_index"])
    # eq. 2: the line's amplitude is in units of the continuum, which has the spectral index
    return slope, here, s["line"] * (s["continuum"] or 1.0)


EMPTY = 0.1
"""Fraction of fields without lines."""
MOST = 7
"""Most sources with lines in a field."""
SNR = (3.0, 50.0)
"""Range of the matched S/N, uniform in its logarithm."""
ROTATING = 0.15
"""Fraction of rotating discs among sources."""
ABSORBING = 0.1
"""Fraction of sources in absorption, discs excepted."""
CONTINUUM = 0.35
"""Fraction of sources that emit lines and continuum."""
NEIGHBOUR = 0.3
"""Fraction of sources beside another one."""
SECOND_LINE = 0.15
"""Fraction of sources with a second line."""
BARE_CONTINUUM = 0.3
"""Fraction of fields with sources that have continuum only."""
_PLACES = 200
_GAUSSIAN_AREA = float(np.sqrt(2 * np.pi) / FWHM_PER_SIGMA)


def _draw_varied(rng: np.random.Generator, field: EmitterField, snr: float | None) -> SkyModel:
    number = 0 if rng.random() < EMPTY else int(rng.integers(1, MOST + 1))
    sources: list[dict[str, Any]] = []
    parts: list[Part] = []
    for i in range(number):
        s = _source(rng, field, sources)
        s |= {"wanted_snr": log_uniform(rng, *SNR) if snr is None else snr, "source": i + 1}
        parts.append(_part(s, field))
        sources.append(s)
        if rng.random() < SECOND_LINE:
            strength = rng.uniform(0.3, 1.0 if s["line"] < 0 else 1.5)
            other = s | {"line": s["line"] * strength, "wanted_snr": np.nan}
            other["z"] = _line_centre(rng, field, s["fwhm_z"])
            second = _part(other, field)
            # the continuum is added once, but listed with both lines
            parts.append(replace(second, continua=np.zeros_like(second.continua)))
    if rng.random() < BARE_CONTINUUM:
        for _ in range(int(rng.integers(1, 3))):
            flux = field.noise * log_uniform(rng, 3, 100)
            bare = _gaussian(rng, field, _place(rng, field)) | {"continuum": flux, "line": 0.0, "z": 0.0}
            parts.append(replace(gaussian_part(bare, field.grid, field.spectral), row=None))
    return joined(parts, field.grid, field.spectral)


def _place(rng: np.random.Generator, field: EmitterField) -> tuple[float, float]:
    grid = field.grid
    edge = min(field.beam, min(grid.shape) / 4)
    for _ in range(_PLACES):
        x, y = (float(rng.uniform(edge, n - 1 - edge)) for n in (grid.n_x, grid.n_y))
        if np.hypot(x - grid.x0, y - grid.y0) <= field.reach:
            return x, y
    return grid.x0, grid.y0


def _beside(rng: np.random.Generator, field: EmitterField, s: dict[str, Any]) -> tuple[float, float]:
    apart, angle = rng.uniform(0, 2) * field.beam, rng.uniform(0, 2 * np.pi)
    x, y = s["x"] + apart * np.cos(angle), s["y"] + apart * np.sin(angle)
    return float(np.clip(x, 0, field.grid.n_x - 1)), float(np.clip(y, 0, field.grid.n_y - 1))


def _line_centre(
    rng: np.random.Generator, field: EmitterField, fwhm: float, beside: tuple[float, float] | None = None
) -> float:
    """A channel for the line's centre such that at least half of its power is in channels with data.

    It is anywhere, or within two widths of another line, given by its centre and this width.
    """
    z = np.arange(-3 * field.spectral.n_chan, 4 * field.spectral.n_chan)
    there = np.zeros(len(z))
    there[3 * field.spectral.n_chan : 4 * field.spectral.n_chan] = field.visible
    for _ in range(_PLACES):
        if beside is None:
            centre = float(rng.uniform(0, field.spectral.n_chan - 1))
        else:
            centre = float(beside[0] + rng.uniform(-2, 2) * beside[1])
        power = line_profile(z, centre, fwhm) ** 2
        if (power * there).sum() >= 0.5 * power.sum():
            return centre
    middle = np.nonzero(field.visible)[0]
    return float(middle[len(middle) // 2])


def _gaussian(rng: np.random.Generator, field: EmitterField, place: tuple[float, float]) -> dict[str, Any]:
    """A Gaussian of a tenth of a beam to 4.5 beams, with a Gaussian line."""
    maj = min(field.beam * 10 ** rng.uniform(-1, 0.65), min(field.grid.shape) / 5)
    widest = min(25.0, field.spectral.n_chan / 4)
    return PLAIN | {
        **dict(zip("xy", place)),
        "fwhm_maj": maj,
        "fwhm_min": maj * rng.uniform(0.3, 1),
        "pa": rng.uniform(0, 180),
        "fwhm_z": log_uniform(rng, 2, max(widest, 2.1)),
        "spectral_index": rng.uniform(-2, 2),
    }


def _disc(rng: np.random.Generator, field: EmitterField, place: tuple[float, float]) -> dict[str, Any]:
    """A rotating disc of one beam to five, 3 to 15 channels to each side of its centre."""
    fwhm = min(field.beam * log_uniform(rng, 1, 5), min(field.grid.shape) / 5)
    profile, curve = PROFILES[rng.integers(2)], CURVES[rng.integers(2)]
    scale = fwhm / FWHM_PER_SIGMA / (np.sqrt(3) if profile == "exponential" else 1.0)
    inclination = float(np.rad2deg(np.arccos(rng.uniform(0.17, 0.95))))
    seen = log_uniform(rng, 3, max(3.1, min(15.0, field.spectral.n_chan / 6)))
    disc = Disc(
        x=place[0],
        y=place[1],
        scale=scale,
        inclination=inclination,
        pa=rng.uniform(0, 360),
        z=0.0,
        velocity=seen / np.sin(np.deg2rad(inclination)),
        turnover=scale * rng.uniform(0.1, 0.8),
        dispersion=max(0.7, seen * rng.uniform(0.1, 0.5)),
        profile=profile,
        curve=curve,
    )
    width = {"fwhm_z": 2 * seen + 2 * disc.dispersion}
    return {**PLAIN, **dict(zip("xy", place)), "disc": disc, **width, "spectral_index": rng.uniform(-2, 2)}


def _source(rng: np.random.Generator, field: EmitterField, others: list[dict[str, Any]]) -> dict[str, Any]:
    parent = others[rng.integers(len(others))] if others and rng.random() < NEIGHBOUR else None
    place = _place(rng, field) if parent is None else _beside(rng, field, parent)
    rotating, kind = rng.random() < ROTATING, rng.random()
    s = (_disc if rotating else _gaussian)(rng, field, place)
    if kind < ABSORBING and not rotating:
        s |= {"continuum": 1.0, "line": -rng.uniform(0.2, 1)}
    elif kind < ABSORBING + CONTINUUM:
        s |= {"continuum": 1.0, "line": log_uniform(rng, 0.2, 20)}
    beside = None
    if parent is not None and rng.random() < 0.5:
        beside = parent["z"], (s["fwhm_z"] + parent["fwhm_z"]) / 2
    return s | {"z": _line_centre(rng, field, s["fwhm_z"], beside)}


def _part(s: dict[str, Any], field: EmitterField) -> Part:
    if "disc" not in s:
        part = gaussian_part(s, field.grid, field.spectral)
        row = {**(part.row or {}), "source": s["source"], "rotating": False, "line_area": 1.0}
        return replace(part, row=row)
    disc = replace(s["disc"], z=s["z"])
    terms = disc_terms(field.grid, disc)
    slope, here, line = _amplitudes(s, field.spectral)
    line *= here
    row = {
        **{k: s[k] for k in ("x", "y", "z", "spectral_index", "wanted_snr", "source")},
        **dict(zip(("fwhm_maj", "fwhm_min", "pa"), terms.shape, strict=True)),
        "fwhm_z": terms.fwhm_z,
        "line_flux_peak": line,
        "continuum_flux": s["continuum"] * here,
        "central": False,
        "rotating": True,
        "line_area": 1 / (terms.peak * terms.fwhm_z) / _GAUSSIAN_AREA,
    }
    lines = line / terms.peak * terms.lines(np.arange(field.spectral.n_chan, dtype=float))
    return Part(terms.images, s["continuum"] * terms.shares[:, None] * slope, lines, row)
