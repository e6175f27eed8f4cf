"""The six steps in a row on plain arrays (Section 4.4, Fig. 9), and on a cube of any kind to a catalogue."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from faintsky.beams import beam_pixels
from faintsky.catalog import join_flags, make_table
from faintsky.cutouts import box_spectrum, integrated
from faintsky.detection import Found, beam_of, channel_velocity, world_columns
from faintsky.errors import InputError
from faintsky.image import SHAPE, RadioCube
from faintsky.models import Model, load_model
from faintsky.preparing import MAD_TO_SIGMA, PrimaryBeam
from faintsky.published.deepfocus.finding import (
    UNRELIABLE,
    Blob,
    Focus,
    Settings,
    Source,
    Tally,
    clean_spectra,
    find_blobs,
    find_lines,
    last_cuts,
    sky_map,
)
from faintsky.published.deepfocus.measuring import (
    KEYS,
    add_label,
    add_model,
    continuum_at,
    fluxes,
    focused_images,
    line_images,
    shapes,
)
from faintsky.published.deepfocus.networks import IMAGE

Array = NDArray[np.float32]
Float = NDArray[np.float64]

NETWORKS = ("blobs_finder", "deep_gru", "fwhm_x", "fwhm_y", "pa", "flux")
TOLERANCE = 0.05
"""Relative difference of cell or beam from the training's above which the user is told."""
PEAK = float(np.sqrt(4 * np.log(2) / np.pi))
"""Peak of a Gaussian of unit integral and unit FWHM."""


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


def find(cube: RadioCube, model: Model, *, reliability: float | None = None, device: str = "cpu") -> Found:
    """Find and measure the line emitters of a cube as Delli Veneri et al. (2022) do.

    Parameters
    ----------
    cube : RadioCube
        A dirty cube of cells, beam and channels like those of the training.
    model : Model
        From ``faintsky train deepfocus``.
    reliability : float, optional
        Least of a source; the model's own where not given.
    device : str, optional

    Raises
    ------
    InputError
        Where the cube has no beam, no data, or not the channels that Deep GRU takes.
    """
    settings = Settings.read(model.settings, what="model setting", hint="correct model.json")
    beam = beam_of(cube)
    if cube.blank_channels.all():
        raise InputError("holds no data: every channel is blank", "give a cube with data", cube.name)
    refuse_channels(cube, model)
    factors = np.broadcast_to(cube.working_factors(), (cube.shape[0],)).astype(np.float32)
    data = cube.data if np.all(factors == 1) else cube.data * factors[:, None, None]
    pipeline = DeepFocus(load_networks(model, device), settings, image_size(model), device)
    result = pipeline.run(data, float(np.median(beam_pixels(cube.require_beam(), cube.grid.cell))))
    least = settings.reliability if reliability is None else reliability
    return _found(cube, data, result, settings, beam, least)


def refuse_channels(cube: RadioCube, model: Model) -> None:
    """Raise `InputError` where Deep GRU was made for another number of channels."""
    arguments = model.card["networks"].get("deep_gru", {}).get("arguments", {})
    wanted = int(model.settings.get("trained", {}).get("channels", arguments.get("channels", 128)))
    if arguments.get("head") != "per_channel" and cube.shape[0] != wanted:
        raise InputError(
            f"has {cube.shape[0]} channels, and Deep GRU of model {model.name!r} takes {wanted}",
            "give such a cube, or a model trained with --set head=per_channel",
            cube.name,
        )


def image_size(model: Model) -> int:
    """Pixels a side of Blobs Finder's images."""
    return int(model.card["networks"]["blobs_finder"]["arguments"].get("size", IMAGE))


def load_networks(model: Model, device: str = "cpu") -> dict[str, nn.Module]:
    """A model's networks, kept from call to call."""
    return _loaded(str(model.path), (model.path / "model.json").stat().st_mtime_ns, device)


@lru_cache(maxsize=2)
def _loaded(path: str, changed: int, device: str) -> dict[str, nn.Module]:
    model = load_model(Path(path))
    return {key: model.network(key, device) for key in NETWORKS}


def reliabilities(sources: Sequence[Source], settings: Settings) -> Float:
    """Probability that sources are real: the logistic curve fitted on validation cubes."""
    fit = np.array(settings.reliability_fit)
    features = np.array([(1.0, *s.features) for s in sources]).reshape(-1, len(fit))
    return 1 / (1 + np.exp(-np.clip(features @ fit, -30, 30)))


def _found(
    cube: RadioCube,
    data: NDArray[np.float32],
    result: Result,
    settings: Settings,
    beam: tuple[float, float, float],
    least: float,
) -> Found:
    judged = reliabilities(result.sources, settings)
    for s, value in zip(result.sources, judged):
        if value < least:
            result.tally.remove(UNRELIABLE, s.x, s.y, s.z)
    keep = [i for i, value in enumerate(judged) if value >= least]
    sources = [result.sources[i] for i in keep]
    shapes = np.stack(result.shapes, axis=1)[keep] if len(judged) else np.zeros((0, 3))
    flux = result.flux[keep] if len(judged) else np.zeros(0)
    labels = np.zeros(data.shape, dtype=np.int32)
    picture = np.zeros(data.shape, dtype=np.float32)
    peaks = np.full(len(keep), np.nan)
    for i, s in enumerate(sources):
        place, shape = (s.x, s.y, s.z), (float(shapes[i, 0]), float(shapes[i, 1]), float(shapes[i, 2]))
        add_label(labels, i + 1, place, shape, s.fwhm_z, settings.dilation)
        peaks[i] = add_model(picture, place, shape, s.fwhm_z, flux[i] * PEAK / s.fwhm_z, beam)
    labels[np.isnan(data)] = 0
    columns: dict[str, Any] = world_columns(cube, *_values(sources, ("x", "y", "z", "fwhm_z")))
    primary = PrimaryBeam(cube, *_noise(data))
    pb = np.array([primary.at(s.x, s.y, s.z) for s in sources])
    scale = np.where(np.isfinite(pb) & (not primary.in_data), 1 / np.where(pb > 0, pb, 1.0), 1.0)
    scale = scale * cube.peak_factor(columns["x"], columns["y"])
    columns |= cube.sky_columns({"x": columns["x"], "y": columns["y"], **dict(zip(SHAPE, shapes.T))})
    columns |= {
        "pb": pb, "flux_peak": peaks * scale,
        "flux": flux * scale * channel_velocity(cube, columns["z"]),
        "continuum": np.array([continuum_at(data, s) for s in sources]) * scale,
        "snr": _values(sources, ("snr",))[0], "reliability": judged[keep],
        "flags": [_flags(cube, data, s, v, primary.known) for s, v in zip(sources, pb)],
    }  # fmt: skip
    for k, name in enumerate(("x_min", "x_max", "y_min", "y_max")):
        columns[name] = np.array([s.box[k] for s in sources], dtype=int)
    columns["z_min"], columns["z_max"] = _values(sources, ("z_min", "z_max"))
    columns["snr_integrated"] = _values(sources, ("snr_integrated",))[0]
    meta = {
        "own_boxes": True, "stages": result.stages, "steps": dict(result.tally.steps),
        "removed": result.tally.removed, **primary.meta,
    }  # fmt: skip
    notes = [*cube.notes, *_training_notes(cube, settings, beam)]
    table = make_table(columns, meta=meta)
    return Found(table, labels, picture, dict(result.tally.steps), notes, result.picture)


def _values(sources: list[Any], names: tuple[str, ...]) -> list[Float]:
    return [np.array([getattr(s, name) for s in sources], dtype=float) for name in names]


def _noise(data: NDArray[np.float32]) -> tuple[Float, NDArray[np.bool_]]:
    """Noise, and where there is any, on every fourth pixel."""
    step = np.abs(np.diff(data[:, ::4, ::4], axis=0))
    valid: NDArray[np.bool_] = np.asarray(np.isfinite(step).any(axis=0))
    noise = np.full(valid.shape, np.nan)
    noise[valid] = np.nanmedian(step[:, valid], axis=0)
    return noise, valid


def _flags(cube: RadioCube, data: NDArray[np.float32], source: Any, pb: float, known: bool) -> str:
    n_chan, n_y, n_x = cube.shape
    x0, x1, y0, y1 = source.box
    flags = ["blended"] if source.flagged else []
    near = data[:, max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1]
    border = min(x0, y0) <= 0 or x1 >= n_x - 1 or y1 >= n_y - 1 or np.isnan(near).all(axis=0).any()
    if border or source.z - source.fwhm_z / 2 < 0 or source.z + source.fwhm_z / 2 > n_chan - 1:
        flags.append("edge")
    if not known:
        flags.append("no_primary_beam")
    elif np.isfinite(pb) and pb < 0.2:
        flags.append("low_primary_beam")
    if cube.rest_frequency is None:
        flags.append("no_rest_frequency")
    return join_flags(flags)


def _training_notes(cube: RadioCube, settings: Settings, beam: tuple[float, float, float]) -> list[str]:
    """What of the cube is unlike the training's: sizes and fluxes are then unlike the truth."""
    trained = settings.trained
    now = {"cell": cube.grid.cell, "beam": float(np.sqrt(beam[0] * beam[1])) * cube.grid.cell}
    notes = []
    for name, value in now.items():
        wanted = trained.get(name)
        if wanted and abs(value / wanted - 1) > TOLERANCE:
            notes.append(
                f"{name} of {value:.3g} arcsec, where the networks were trained on {wanted:.3g}: "
                "sizes, fluxes and what is found are not to be trusted"
            )
    return notes
