"""Skies on which the refiner of line emitters learns, and the candidates that a search finds in them.

The cubes are smaller and fuller than those that are searched, since a search takes as long as its cube is
large: lines without continuum, the paper's crowded galaxies with continuum, and a share of anything: wide
ranges of size, width and S/N, other cells, continua of another place and shape than the line's, or without a
line. Every candidate of a deep search is an example, be it a source or noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.detection.candidates import VALUES, Candidates, cut_outs, describe
from faintsky.detection.field import PrimaryBeam
from faintsky.detection.labels import beam_covariance
from faintsky.detection.search import measure, search_cube
from faintsky.grid import ImageGrid
from faintsky.image import RadioCube
from faintsky.models import load_model
from faintsky.observing.observatory import AlmaObservatory, Observed
from faintsky.observing.settings import make_settings
from faintsky.sky.line_emitters import draw_paper_sources, model_of
from faintsky.sky.model import SkyModel

DEEP = {"noise_peaks_tried": 12.0, "search_range": [4.5, 8.0], "max_sources": 60}
"""Settings of the search: so deep that it brings a few noise peaks a cube."""
NEAR = 0.375
"""Beams within which a candidate is a true source (3 pixels of the papers' cubes), as in the evaluation."""


@dataclass(frozen=True)
class Kind:
    """A sort of training cube: pixels and channels, cell [arcsec], and its share."""

    name: str
    size: int
    channels: int
    cell: float
    share: float


KINDS = (
    Kind("emitters", 192, 64, 0.1, 0.44),
    Kind("paper", 192, 128, 0.1, 0.38),
    Kind("any", 144, 96, 0.1, 0.06),
    Kind("any", 128, 64, 0.13, 0.06),
    Kind("any", 112, 128, 0.17, 0.06),
)


@lru_cache(maxsize=8)
def _observatory(size: int, channels: int, cell: float) -> tuple[AlmaObservatory, Any, Any]:
    observatory = AlmaObservatory(
        make_settings(preset="emitters", size=size, channels=channels, cell=f"{cell}arcsec")
    )
    instrument = observatory.instrument
    pb = np.where(instrument.valid(), instrument.pb_cube(), np.float32(np.nan))
    return observatory, instrument.psf_cube(), pb


def training_cube(seed: int, index: int) -> tuple[Kind, RadioCube, Observed]:
    """Cube ``index`` of the training data of ``seed``; its kind, the cube, and what was observed."""
    rng = np.random.default_rng([seed, index])
    kind = KINDS[int(rng.choice(len(KINDS), p=[k.share for k in KINDS]))]
    observatory, psf, pb = _observatory(kind.size, kind.channels, kind.cell)
    sky = draw_training_sky(rng, kind, observatory)
    seen = observatory.observe(sky, rng, int(rng.integers(2**62)))
    instrument = observatory.instrument
    cube = RadioCube.from_array(
        seen.dirty,
        cell=instrument.grid.cell,
        frequencies=instrument.spectral.frequencies(),
        beam=instrument.beams,
        psf=psf,
        pb=pb,
        name=f"{kind.name} {index}",
    )
    return kind, cube, seen


def draw_training_sky(rng: np.random.Generator, kind: Kind, observatory: AlmaObservatory) -> SkyModel:
    """A sky of a kind on an observatory's grid."""
    grid, spectral = observatory.instrument.grid, observatory.instrument.spectral
    if kind.name == "paper":
        # positions as in the papers' 360 pixels, about the middle
        whole = replace(grid, n_y=360, n_x=360)
        sources = draw_paper_sources(rng, whole, spectral, "paper")
        for s in sources:
            s["x"] += grid.n_x // 2 - 180
            s["y"] += grid.n_y // 2 - 180
        sky = model_of(sources, grid, spectral)
        return sky.scaled(np.full(sky.n_sources, 1e-3 / sky.brightest()))
    noise = float(np.median(observatory.instrument.sigma))
    sources = _lines(rng, grid, spectral.n_chan, observatory.beam_pixels, noise, kind.name == "any")
    return model_of(sources, grid, spectral)


def _lines(
    rng: np.random.Generator, grid: ImageGrid, n_chan: int, beam: float, noise: float, anything: bool
) -> list[dict[str, Any]]:
    sources: list[dict[str, Any]] = []
    apart = rng.uniform(0.7, 3) if anything else 3.0
    number = int(rng.integers(3, 7)) if anything else 9
    for _ in range(400):
        if len(sources) >= number:
            break
        x, y = rng.uniform(1.5 * beam, grid.n_x - 1 - 1.5 * beam, 2)
        if any(np.hypot(x - s["x"], y - s["y"]) < apart * beam for s in sources):
            continue
        s: dict[str, Any] = {
            "x": x,
            "y": y,
            "pa": rng.uniform(0, 180),
            "spectral_index": 0.0,
            "central": False,
        }
        if not anything:
            maj, ratio = rng.uniform(0, 1.5) * beam, rng.uniform(0.4, 1)
            s |= {
                "fwhm_z": rng.uniform(3, 12),
                "wanted_snr": rng.uniform(4, 14),
                "continuum": 0.0,
                "line": 1.0,
            }
        else:
            maj, ratio = beam * 10 ** rng.uniform(-1, 0.45), rng.uniform(0.2, 1)
            s |= {"fwhm_z": np.exp(rng.uniform(np.log(1.6), np.log(25)))}
            s |= {"wanted_snr": np.exp(rng.uniform(np.log(4.5), np.log(80))), "continuum": 0.0, "line": 1.0}
        s |= {"fwhm_maj": maj, "fwhm_min": maj * ratio}
        margin = min(8.0, n_chan / 4)
        s["z"] = rng.uniform(margin, n_chan - 1 - margin)
        sources.append(s)
        if anything and rng.random() < 0.5:
            sources += _continuum(rng, s, beam, noise)
    return sources


def _continuum(
    rng: np.random.Generator, s: dict[str, Any], beam: float, noise: float
) -> list[dict[str, Any]]:
    """A source's continuum: in half of the cases its own, else one beside the line with another shape."""
    if rng.random() < 0.5:
        s |= {"continuum": 1.0, "line": np.exp(rng.uniform(np.log(0.3), np.log(20)))}
        return []
    maj = beam * 10 ** rng.uniform(-1, 0.45)
    x, y = (s[k] + rng.normal(0, 0.4) * beam for k in ("x", "y"))
    flux = noise * np.exp(rng.uniform(np.log(0.3), np.log(20)))
    change = {
        "x": x,
        "y": y,
        "fwhm_maj": maj,
        "fwhm_min": maj * rng.uniform(0.2, 1),
        "pa": rng.uniform(0, 180),
    }
    return [s | change | {"continuum": flux, "line": 0.0, "wanted_snr": np.nan}]


@dataclass(frozen=True)
class Truths:
    """What the candidates of a cube really are.

    Attributes
    ----------
    real : array of bool
        ``[n]``.
    values : array
        In the order of `VALUES`, in the candidates' units; NaN where not real, ``[n, 8]``.
    angle : array
        Cosine and sine of twice the true angle, 0 where there is none, ``[n, 2]``.
    snr, isolated : array
        Matched S/N; whether the classical detector would not call it blended.
    """

    real: NDArray[np.bool_]
    values: NDArray[np.float64]
    angle: NDArray[np.float64]
    snr: NDArray[np.float64]


def apparent(truth: Mapping[str, Any], beam: PrimaryBeam, cell: float) -> dict[str, Any]:
    """The truth with its positions where the slope of the primary beam makes them appear."""
    t = {k: np.array(v) for k, v in truth.items()}
    for i in range(len(t["line_flux_peak"])):
        size = (t["fwhm_maj"][i] / cell, t["fwhm_min"][i] / cell, t["pa"][i])
        move = beam.displacement(beam_covariance(size), t["x"][i], t["y"][i], t["z"][i])
        t["x"][i] += move[0]
        t["y"][i] += move[1]
    return t


def truths_of(
    candidates: Candidates, truth: dict[str, Any], positive: NDArray[np.bool_], beam: float, cell: float
) -> Truths:
    """Match candidates with the true lines, one to one, as the evaluation does."""
    from scipy.optimize import linear_sum_assignment

    lines = np.flatnonzero(np.asarray(truth["line_flux_peak"]) > 0)
    t = {k: np.asarray(v)[lines] for k, v in truth.items()}
    n = len(candidates.values)
    real, values = np.zeros(n, dtype=bool), np.full((n, len(VALUES)), np.nan)
    angle, snr = np.zeros((n, 2)), np.zeros(n)
    if n and len(lines):
        sky = np.hypot(*(candidates.values[:, [k]] - t["xy"[k]] for k in (0, 1))) / (NEAR * beam)
        channels = np.abs(candidates.values[:, [2]] - t["z"]) / t["fwhm_z"]
        near = (sky <= 1) & (channels <= 1) & positive[:, None]
        cost = np.where(near, sky + channels - 100.0, 0.0)
        rows, columns = linear_sum_assignment(cost)
        for i, j in zip(rows, columns):
            if cost[i, j] == 0:
                continue
            flux = t["line_flux_peak"][j] * t["pb"][j] * t["fwhm_z"][j]
            maj, minor = t["fwhm_maj"][j] / cell, t["fwhm_min"][j] / cell
            level = t["continuum"][j] * t["pb"][j]
            real[i], snr[i] = True, t["snr"][j]
            values[i] = [
                t["x"][j], t["y"][j], t["z"][j], maj, minor, np.log(t["fwhm_z"][j]), np.log(flux), level
            ]  # fmt: skip
            if maj > 1.2 * minor:
                angle[i] = np.cos(np.deg2rad(2 * t["pa"][j])), np.sin(np.deg2rad(2 * t["pa"][j]))
    return Truths(real, values, angle, snr)


def examples(seed: int, index: int) -> dict[str, NDArray[Any]]:
    """All candidates of one training cube as arrays: those of `Candidates` and `Truths`, kind, beam, S/N."""
    kind, cube, seen = training_cube(seed, index)
    return candidates_of(cube, seen.truth, kind.name, index, load_model("classical").settings | DEEP)


def candidates_of(
    cube: RadioCube, truth: dict[str, Any], kind: str, index: int, settings: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    """Search a cube and describe its candidates beside the truth."""
    search = search_cube(cube, settings, say=lambda done, word: None)
    # without absorption what is negative is noise, as good an example as a positive peak
    known = {id(c) for c in search.candidates}
    dips = [c for c in search.pursuit.components if id(c) not in known and c.source.amplitude < 0]
    dips = [c for c in dips if search.pursuit.imager.covers(c.source)]
    for c in dips:
        c.effective_snr = search.pursuit.lowered_snr(c)
    search.keep([*search.candidates, *dips])
    pursuit, prepared = search.pursuit, search.prepared
    cuts = cut_outs(pursuit, pursuit.components)
    measure(pursuit, prepared, int(settings["final_rounds"]))
    found = describe(pursuit, prepared, cuts, search.noise)
    positive = np.array([c.source.amplitude > 0 for c in pursuit.components], dtype=bool)
    seen = apparent(truth, PrimaryBeam(cube, prepared), cube.grid.cell)
    true = truths_of(found, seen, positive, prepared.beam_pixels, cube.grid.cell)
    n = len(found.values)
    out = {f.name: getattr(found, f.name) for f in fields(found)}
    out |= {f"true_{f.name}": getattr(true, f.name) for f in fields(true)}
    out["cut"] = out["cut"].astype(np.float16)
    return out | {
        "beam": np.full(n, prepared.beam_pixels),
        "effective_snr": np.array([c.effective_snr for c in pursuit.components]),
        "noise_amplitude": np.full(n, search.noise.amplitude),
        "noise_stretch": np.full(n, search.noise.stretch),
        "positive": positive,
        "kind": np.full(n, kind),
        "cube": np.full(n, index),
    }
