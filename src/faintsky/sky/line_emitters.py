"""Skies of line emitters: Gaussians with a Gaussian line, after Section 3 of Delli Veneri et al. (2022).

Presets
    ``paper``: the data on which their numbers were obtained: Table 1 with its 2-8 pixels as Gaussian sigmas
    (4.7-18.8 pixels of FWHM), companions at least 20 pixels apart from each other. ``text``: what the text
    says, 2-8 pixels of FWHM, companions anywhere. Both have a central source and 2 to 5 companions with no
    brighter peak, a continuum with a spectral index under every line, and are scaled so that the brightest
    pixel of the cube has 1 mJy.

    ``emitters`` is an addition: 3 to 6 lines without continuum, each with the S/N it is to have.
    ``varied`` is drawn by `faintsky.sky.varied_lines`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from faintsky.grid import FWHM_PER_SIGMA, ImageGrid, SpectralGrid, paper_frame_to_sky
from faintsky.sky.model import Part, SkyModel, empty_sky, gaussian_image, joined
from faintsky.source_model import line_profile

PRESETS = ("paper", "text", "emitters", "empty", "varied")
BRIGHTEST = 1e-3
"""Brightest pixel of a ``paper`` or ``text`` cube [Jy/pixel] (their ``inbright``, Table 2)."""
_PAPER_SIZE, _PAPER_CHANNELS = 360, 128
_TRIES = 2000


def draw_sky(
    preset: str,
    rng: np.random.Generator,
    grid: ImageGrid,
    spectral: SpectralGrid,
    *,
    reach: float = np.inf,
    beam: float = 8.0,
    snr: float | None = None,
) -> SkyModel:
    """A random sky.

    Parameters
    ----------
    preset : str
        One of `PRESETS`, but ``varied``.
    rng : numpy.random.Generator
    grid : ImageGrid
    spectral : SpectralGrid
    reach : float, optional
        ``emitters``: largest distance from the middle [pixel].
    beam : float, optional
        ``emitters``: width of the beam [pixel], to which sizes and separations are set.
    snr : float, optional
        ``emitters``: the wanted S/N of all instead of 4-14.

    Returns
    -------
    SkyModel
        For ``emitters`` with lines of 1 Jy at the peak and ``wanted_snr`` in the sources.
    """
    if preset == "empty":
        return empty_sky(grid, spectral)
    if preset == "emitters":
        return model_of(_draw_emitters(rng, grid, spectral, reach, beam, snr), grid, spectral)
    sky = model_of(draw_paper_sources(rng, grid, spectral, preset), grid, spectral)
    return sky.scaled(np.full(sky.n_sources, BRIGHTEST / sky.brightest()))


def draw_paper_sources(
    rng: np.random.Generator, grid: ImageGrid, spectral: SpectralGrid, preset: str
) -> list[dict[str, Any]]:
    """Table 1, its positions and channels scaled where the cube is not theirs."""
    width = FWHM_PER_SIGMA if preset == "paper" else 1.0
    apart = 20.0 if preset == "paper" else 0.0
    scale_x, scale_y = grid.n_x / _PAPER_SIZE, grid.n_y / _PAPER_SIZE
    scale_z = spectral.n_chan / _PAPER_CHANNELS

    def one(central: bool) -> dict[str, Any]:
        x, y = rng.uniform(100, 250, 2)
        fwhm_x, fwhm_y = rng.uniform(2, 8, 2) * width
        maj, minor, pa = paper_frame_to_sky(fwhm_x, fwhm_y, rng.uniform(0, 90))
        continuum, line = rng.uniform(1, 5, 2)
        return {
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
            "wanted_snr": np.nan,
            "peak": continuum * (1 + line),
        }

    sources = [one(central=True)]
    for _ in range(int(rng.integers(2, 6))):
        for attempt in range(_TRIES):
            new = one(central=False)
            # a small image may have no room for the separation: it is given up before the companion is
            far = attempt > _TRIES // 2 or all(
                np.hypot(new["x"] - s["x"], new["y"] - s["y"]) >= apart for s in sources[1:]
            )
            if new["peak"] <= sources[0]["peak"] and far:
                sources.append(new)
                break
    for s in sources:
        # their amplitudes are peak brightnesses; images here have unit flux
        s["continuum"] *= 2 * np.pi / FWHM_PER_SIGMA**2 * s["fwhm_maj"] * s["fwhm_min"]
    return sources


def _draw_emitters(
    rng: np.random.Generator,
    grid: ImageGrid,
    spectral: SpectralGrid,
    reach: float,
    beam: float,
    snr: float | None,
) -> list[dict[str, Any]]:
    margin_z = min(8.0, spectral.n_chan / 4)
    edge = min(2 * beam, min(grid.shape) / 4)
    sources: list[dict[str, Any]] = []
    for _ in range(int(rng.integers(3, 7))):
        for _attempt in range(_TRIES):
            x = rng.uniform(edge, grid.n_x - 1 - edge)
            y = rng.uniform(edge, grid.n_y - 1 - edge)
            near = any(np.hypot(x - s["x"], y - s["y"]) < 3 * beam for s in sources)
            if np.hypot(x - grid.x0, y - grid.y0) > reach or near:
                continue
            maj = rng.uniform(0, 1.5) * beam
            sources.append(
                {
                    "x": x,
                    "y": y,
                    "fwhm_maj": maj,
                    "fwhm_min": maj * rng.uniform(0.4, 1),
                    "pa": rng.uniform(0, 180),
                    "continuum": 0.0,
                    "spectral_index": 0.0,
                    "line": 1.0,
                    "z": rng.uniform(margin_z, spectral.n_chan - 1 - margin_z),
                    "fwhm_z": rng.uniform(3, 12),
                    "central": False,
                    "wanted_snr": rng.uniform(4, 14) if snr is None else snr,
                }
            )
            break
    return sources


def model_of(drawn: list[dict[str, Any]], grid: ImageGrid, spectral: SpectralGrid) -> SkyModel:
    """Images, spectra and catalogue of the drawn sources."""
    return joined([gaussian_part(s, grid, spectral) for s in drawn], grid, spectral)


def gaussian_part(s: dict[str, Any], grid: ImageGrid, spectral: SpectralGrid) -> Part:
    """A Gaussian with a Gaussian line as a part of a sky."""
    freq, z = spectral.frequencies(), np.arange(spectral.n_chan)
    image = gaussian_image(grid, s["x"], s["y"], s["fwhm_maj"], s["fwhm_min"], s["pa"])
    profile = line_profile(z, s["z"], s["fwhm_z"])
    at_line = spectral.first + spectral.width * s["z"]
    # eq. 2: the line's amplitude is in units of the continuum, which has the spectral index
    slope = (freq[0] / freq) ** s["spectral_index"]
    here = float((freq[0] / at_line) ** s["spectral_index"])
    line = s["line"] * (s["continuum"] or 1.0)
    row = {
        **{k: s[k] for k in ("x", "y", "fwhm_maj", "fwhm_min", "pa", "z", "fwhm_z")},
        "line_flux_peak": line * here,
        "continuum_flux": s["continuum"] * here,
        "spectral_index": s["spectral_index"],
        "central": s["central"],
        "wanted_snr": s["wanted_snr"],
    }
    return Part(
        images=image[None],
        continua=(s["continuum"] * slope)[None],
        lines=(line * slope * profile if s["continuum"] else line * profile)[None],
        row=row,
    )
