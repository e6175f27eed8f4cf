"""Steps iv to vi, all six steps on plain arrays, and all steps from a cube to a catalogue.

Delli Veneri et al. (2022), Sections 4.3 and 4.4, Fig. 9 and eq. 19: sizes and angles, the three-dimensional
model and its segmentation mask, continuum and line images, and the line's flux."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from faintsky.arrays import Array, Array32, Bool, Float, Labels
from faintsky.beams import beam_covariance, beam_pixels
from faintsky.catalog import join_flags, make_table
from faintsky.cutouts import SIZE, box_spectrum, crop, focus, integrated, line_image, source_mask
from faintsky.detection import Found, beam_of, flux_width, world_columns
from faintsky.errors import InputError
from faintsky.image import SHAPE, RadioCube
from faintsky.models import Model, load_model
from faintsky.preparing import MAD_TO_SIGMA, PrimaryBeam
from faintsky.published.deepfocus import finding
from faintsky.published.deepfocus.blobs import Blob, sky_map
from faintsky.published.deepfocus.finding import UNRELIABLE, FindingSettings, Focus, Source, Tally
from faintsky.published.deepfocus.networks import IMAGE, clean_spectra, flux_of, shape_of, unit_range
from faintsky.source_model import line_profile

NETWORKS = ("blobs_finder", "deep_gru", "fwhm_x", "fwhm_y", "pa", "flux")
TOLERANCE = 0.05
"""Relative difference of cell or beam from the training's above which there is a note."""
PEAK = float(np.sqrt(4 * np.log(2) / np.pi))
"""Peak of a Gaussian of unit integral and unit FWHM."""
_REACH = 3.5


# ------------------------------------------------------- step iv: sizes and angles (Sections 4.3, 4.4 iv)


def focused_images(cube: Array32, sources: Sequence[Source]) -> Array32:
    """Spectrally focused images about the sources, ``[n, 64, 64]`` [unit of the cube times channels]."""
    images = [focus(cube, s.y, s.x, s.z_min, s.z_max) for s in sources]
    return np.stack(images) if images else np.zeros((0, SIZE, SIZE), dtype=np.float32)


def answers(images: Array, network: nn.Module, device: str = "cpu") -> Array32:
    """Results of a residual network.

    Parameters
    ----------
    images : array
        Scaled images, ``[n, y, x]``.
    network : torch.nn.Module
        ``shape_resnet``.
    device : str, optional
        A torch device.

    Returns
    -------
    array
        ``[n, outputs]``
    """
    with torch.no_grad():
        seen = torch.as_tensor(np.asarray(images, dtype=np.float32), device=device)[:, None]
        out: Array32 = network(seen).float().cpu().numpy()
    return out.reshape(len(images), -1)


def shapes(images: Array32, networks: Mapping[str, nn.Module], device: str = "cpu") -> Float:
    """Intrinsic axes and position angles from focused images.

    Parameters
    ----------
    images : array
        ``[n, y, x]``
    networks : mapping of str to torch.nn.Module
        ``fwhm_x``, ``fwhm_y`` and ``pa``.
    device : str, optional
        A torch device.

    Returns
    -------
    array
        ``[n, 3]``: [pixel], [pixel], [deg east of north].
    """
    if not len(images):
        return np.zeros((0, 3))
    scaled = unit_range(torch.as_tensor(images)).numpy()
    wide, high, angle = (answers(scaled, networks[key], device) for key in ("fwhm_x", "fwhm_y", "pa"))
    return np.stack(shape_of(wide[:, 0], high[:, 0], angle), axis=1)


# ------------------------------------------------------------------ step v: model and mask (Section 4.4 v)


def paint_source(
    labels: Labels,
    model: Array32,
    number: int,
    source: Source,
    shape: Float,
    flux: float,
    beam: tuple[float, float, float],
    dilation: float,
) -> float:
    """Label a source's voxels, if they have no label yet, and add it to the model, both in place.

    Parameters
    ----------
    labels : array of int
        ``[chan, y, x]``
    model : array
        ``[chan, y, x]`` [Jy/beam]; a Gaussian convolved with the beam, times the line, is added.
    number : int
        The source's label.
    source : Source
        Its position and the width of its line.
    shape : array
        Major and minor FWHM [pixel] and position angle [deg].
    flux : float
        Flux density at the line's peak as received [Jy].
    beam : tuple of float
        Major, minor FWHM [pixel], position angle [deg].
    dilation : float
        See `faintsky.cutouts.source_mask`.

    Returns
    -------
    float
        Its peak [Jy/beam].
    """
    x, y, z, width = source.x, source.y, source.z, source.fwhm_z
    major, minor, pa = shape.tolist()
    half = int(np.ceil(max(major * dilation, 1.0))) + 1
    part, origin = _part(labels, (z, y, x), (int(np.ceil(max(width * dilation, 1.0))) + 1, half, half))
    at = x - origin[2], y - origin[1], z - origin[0]
    part[source_mask(part.shape, *at, major, minor, pa, width, dilation) & (part == 0)] = number
    own = beam_covariance(beam)
    cov = beam_covariance((major, minor, pa)) + own
    reach = _REACH * np.sqrt(np.diag(cov)) + 1
    part, origin = _part(
        model, (z, y, x), (int(np.ceil(2.5 * width)) + 1, int(reach[1]) + 1, int(reach[0]) + 1)
    )
    dz, dy, dx = (np.arange(n) + first - c for n, first, c in zip(part.shape, origin, (0, y, x)))
    inverse = np.linalg.inv(cov)
    r2 = inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy[:, None] + (inverse[1, 1] * dy**2)[:, None]
    peak = flux * float(np.sqrt(np.linalg.det(own) / np.linalg.det(cov)))
    part += (peak * line_profile(dz, z, width)[:, None, None] * np.exp(-0.5 * r2)).astype(np.float32)
    return peak


def _part(
    cube: NDArray, place: tuple[float, float, float], half: tuple[int, int, int]
) -> tuple[NDArray, list[int]]:
    """The part of a cube about a position, as a view, and the index of its first voxel."""
    slices = [
        slice(min(max(round(c) - h, 0), n), max(min(round(c) + h + 1, n), 0))
        for c, h, n in zip(place, half, cube.shape, strict=True)
    ]
    return cube[tuple(slices)], [s.start for s in slices]


# ------------------------------------------------- step vi: line images and fluxes (Section 4.4 vi, eq. 19)


def line_images(cube: Array32, sources: Sequence[Source], widths: Float, dilation: float) -> Array32:
    """Line emission images about the sources, ``[n, 64, 64]`` [unit of the cube times channels].

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``
    sources : sequence of Source
        The sources.
    widths : array
        Their `shapes`, ``[n, 3]``.
    dilation : float
        Dilation of the mask.

    Returns
    -------
    array
        ``[n, 64, 64]``
    """
    out = np.zeros((len(sources), SIZE, SIZE), dtype=np.float32)
    for i, (s, (major, minor, pa)) in enumerate(zip(sources, widths.tolist())):
        near = crop(cube, s.y, s.x)
        middle = SIZE // 2
        x, y = s.x - round(s.x) + middle, s.y - round(s.y) + middle
        mask = source_mask(near.shape, x, y, s.z, major, minor, pa, s.fwhm_z, dilation)
        course = finding.continuum_of(box_spectrum(cube, s.box), s.lines)
        out[i] = line_image(near, mask, course.astype(np.float32))
    return out


def fluxes(images: Array32, network: nn.Module, rms: float, device: str = "cpu") -> Float:
    """Line fluxes from line images.

    Parameters
    ----------
    images : array
        ``[n, y, x]`` [Jy/beam channel].
    network : torch.nn.Module
        The network for the flux.
    rms : float
        Noise of the cube [Jy/beam].
    device : str, optional
        A torch device.

    Returns
    -------
    array
        Fluxes as received, ``[n]`` [Jy channel].
    """
    if not len(images):
        return np.zeros(0)
    return flux_of(answers(images / np.float32(rms), network, device)[:, 0], rms)


def continuum_at(cube: Array32, source: Source) -> float:
    """Mean of the line-free channels at a source's pixel [unit of the cube]; NaN if there are none."""
    n_chan, n_y, n_x = cube.shape
    y, x = int(np.clip(round(source.y), 0, n_y - 1)), int(np.clip(round(source.x), 0, n_x - 1))
    values = cube[finding.line_free(n_chan, source.lines), y, x]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def noise_level(cube: Array32) -> float:
    """Median over the channels of their noise [unit of the cube].

    It is measured from differences of neighbouring channels, without continuum, on every third pixel.
    """
    thin = cube[:, ::3, ::3]
    step = np.diff(thin, axis=0) if len(thin) > 1 else thin
    levels = [np.median(np.abs(d[np.isfinite(d)])) for d in step if np.isfinite(d).any()]
    used = [v for v in levels if v > 0]
    return float(MAD_TO_SIGMA * np.median(used) / np.sqrt(2)) if used else 1.0


# ------------------------------------------------------------------------------------------ all of them


@dataclass(frozen=True)
class CubeResult:
    """Results for a cube.

    Attributes
    ----------
    picture : array
        Blobs Finder's map, ``[y, x]``.
    blobs : list of Blob
    spectra : array
        Spectra of the blobs, ``[blob, chan]``.
    sources : list of Source
        Sources, strongest first.
    focused, lines : array
        Their focused and line images, ``[n, 64, 64]``.
    shapes : array
        Major and minor FWHM [pixel] and position angle [deg], ``[n, 3]``.
    flux : array
        Fluxes as received, ``[n]`` [Jy channel].
    tally : Tally
        Counts of candidates.
    stages : dict of str to float
        Time of each step [s].
    """

    picture: Array32
    blobs: list[Blob]
    spectra: Array32
    sources: list[Source]
    focused: Array32
    lines: Array32
    shapes: Float
    flux: Float
    tally: Tally
    stages: dict[str, float]


@dataclass(frozen=True)
class DeepFocus:
    """The pipeline.

    Parameters
    ----------
    networks : mapping of str to torch.nn.Module
        Those of `NETWORKS`.
    settings : FindingSettings
        Thresholds and choices.
    size : int
        Side of Blobs Finder's images [pixel].
    device : str
        A torch device.
    """

    networks: Mapping[str, nn.Module]
    settings: FindingSettings = field(default_factory=lambda: FindingSettings())
    size: int = IMAGE
    device: str = "cpu"

    def run(self, cube: Array32, beam_area: float = 1.0) -> CubeResult:
        """All steps on a cube.

        Parameters
        ----------
        cube : array
            ``[chan, y, x]`` [Jy/beam], NaN where blank.
        beam_area : float, optional
            Area of the beam, the number of pixels per independent measurement.
        """
        s, networks, device = self.settings, self.networks, self.device
        stages: dict[str, float] = {}
        tally = Tally()
        with _timed(stages, "integrated image"):
            image = integrated(cube)
        with _timed(stages, "blobs_finder"):
            picture = self.sky_map(image)
            blobs = finding.blobs_of(picture, s)
            tally.steps["blobs"] = len(blobs)
        with _timed(stages, "deep_gru"):
            spectra, clean = self.spectra_of(cube, blobs)
        with _timed(stages, "focusing"):
            sources = self.focus(cube, image, blobs, clean, beam_area, tally)
        with _timed(stages, "shapes"):
            focused = focused_images(cube, sources)
            widths = shapes(focused, networks, device)
        with _timed(stages, "flux"):
            lines = line_images(cube, sources, widths, s.dilation)
            flux = fluxes(lines, networks["flux"], noise_level(cube), device)
        return CubeResult(picture, blobs, spectra, sources, focused, lines, widths, flux, tally, stages)

    def sky_map(self, image: Array32) -> Array32:
        """Blobs Finder's image of the sky for an integrated image, ``[y, x]``."""
        return sky_map(image, self.networks["blobs_finder"], self.size, self.device)

    def focus(
        self,
        cube: Array32,
        image: Array32,
        blobs: Sequence[Blob],
        clean: Array32,
        beam_area: float,
        tally: Tally,
    ) -> list[Source]:
        """Step iii: sources in blobs.

        Parameters
        ----------
        cube : array
            ``[chan, y, x]``
        image : array
            The integrated image, ``[y, x]``.
        blobs : sequence of Blob
            From step i.
        clean : array
            Their denoised spectra, ``[blob, chan]``.
        beam_area : float
            [pixel]
        tally : Tally
            Counts of candidates.

        Returns
        -------
        list of Source
            Strongest first.
        """
        s, on = self.settings, Focus(cube, image, self.settings, beam_area)
        others = blobs if s.extract == "peaks" else ()
        found: list[Source] = []
        for blob, spectrum in zip(blobs, clean):
            lines = finding.find_lines(spectrum, s.height, s.prominence)
            found += on.sources_of(blob, lines, tally, others)
        return finding.last_cuts(found, s, tally)

    def spectra_of(self, cube: Array32, blobs: Sequence[Blob]) -> tuple[Array32, Array32]:
        """Spectra of blobs, dirty and denoised, ``[blob, chan]``."""
        spectra = [box_spectrum(cube, b.box) for b in blobs]
        dirty = np.stack(spectra) if spectra else np.zeros((0, len(cube)), dtype=np.float32)
        return dirty, clean_spectra(dirty, self.networks["deep_gru"], self.device)


@contextmanager
def _timed(stages: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    stages[name] = time.perf_counter() - start


def find(cube: RadioCube, model: Model, *, reliability: float | None = None, device: str = "cpu") -> Found:
    """Find and measure the line emitters of a cube by the method of Delli Veneri et al. (2022).

    See `faintsky.registry.DETECTORS`. The cube is a dirty one, with cell, beam and channels like those of the
    training, and the model one of ``faintsky train deepfocus``.
    """
    settings = FindingSettings.read(model.settings, what="model setting", hint="correct model.json")
    beam = beam_of(cube)
    if cube.blank_channels.all():
        raise InputError("holds no data: every channel is blank", "give a cube with data", cube.name)
    unlike = check(cube, model)
    factors = np.broadcast_to(cube.working_factors(), (cube.shape[0],)).astype(np.float32)
    data = cube.data if np.all(factors == 1) else cube.data * factors[:, None, None]
    pipeline = DeepFocus(load_networks(model, device), settings, image_size(model), device)
    result = pipeline.run(data, float(np.median(beam_pixels(cube.require_beam(), cube.grid.cell))))
    least = settings.reliability if reliability is None else reliability
    judged = reliabilities(result.sources, settings)
    for s, value in zip(result.sources, judged):
        if value < least:
            result.tally.remove(UNRELIABLE, s.x, s.y, s.z)
    keep = np.flatnonzero(judged >= least)
    sources = [result.sources[i] for i in keep]
    widths, flux = result.shapes[keep], result.flux[keep]
    labels = np.zeros(data.shape, dtype=np.int32)
    picture = np.zeros(data.shape, dtype=np.float32)
    peaks = np.full(len(keep), np.nan)
    for i, s in enumerate(sources):
        bright = flux[i] * PEAK / s.fwhm_z
        peaks[i] = paint_source(labels, picture, i + 1, s, widths[i], bright, beam, settings.dilation)
    labels[np.isnan(data)] = 0
    columns: dict[str, Any] = world_columns(cube, *_values(sources, ("x", "y", "z", "fwhm_z")))
    primary = PrimaryBeam(cube, *_noise(data))
    pb = np.array([primary.at(s.x, s.y, s.z) for s in sources])
    scale = np.where(np.isfinite(pb) & (not primary.in_data), 1 / np.where(pb > 0, pb, 1.0), 1.0)
    scale = scale * cube.peak_factor(columns["x"], columns["y"])
    columns |= cube.sky_columns({"x": columns["x"], "y": columns["y"], **dict(zip(SHAPE, widths.T))})
    columns |= {
        "pb": pb, "flux_peak": peaks * scale,
        "kind": np.full(len(keep), "line"), "n_components": np.ones(len(keep), dtype=int),
        "flux_method": np.full(len(keep), "fit"),
        "flux": flux * scale * flux_width(cube, columns["z"]),
        "flux_hz": flux * scale * np.interp(columns["z"], np.arange(cube.shape[0]), cube.channel_widths()),
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
    table = make_table(columns, meta=meta)
    return Found(table, labels, picture, dict(result.tally.steps), [*cube.notes, *unlike], result.picture)


def check(cube: RadioCube, model: Model) -> list[str]:
    """Differences between a cube and the training cubes, which make sizes, fluxes and detections unreliable.

    Raises
    ------
    InputError
        If the cube has no beam, or Deep GRU was made for another number of channels.
    """
    arguments = model.card["networks"].get("deep_gru", {}).get("arguments", {})
    trained = model.settings.get("trained", {})
    wanted = int(trained.get("channels", arguments.get("channels", 128)))
    if arguments.get("head") != "per_channel" and cube.shape[0] != wanted:
        raise InputError(
            f"has {cube.shape[0]} channels, and Deep GRU of model {model.name!r} takes {wanted}",
            "give such a cube, or a model trained with --set head=per_channel",
            cube.name,
        )
    beam = beam_of(cube)
    now = {
        "cell": (cube.grid.cell, "arcsec", 1.0),
        "beam": (float(np.sqrt(beam[0] * beam[1])) * cube.grid.cell, "arcsec", 1.0),
        "width": (float(np.median(cube.channel_widths())), "MHz", 1e6),
    }
    notes = []
    for name, (value, unit, size) in now.items():
        known = trained.get(name)
        if known and abs(value / known - 1) > TOLERANCE:
            what = "channels" if name == "width" else name
            notes.append(
                f"{what} of {value / size:.3g} {unit}, the networks were trained on {known / size:.3g}: "
                "sizes, fluxes and detections are unreliable"
            )
    size = image_size(model)
    if max(cube.shape[1:]) > size:
        notes.append(f"only the central {size} x {size} pixels are searched (Blobs Finder's size)")
    return notes


def image_size(model: Model) -> int:
    """Side of Blobs Finder's images [pixel]."""
    return int(model.card["networks"]["blobs_finder"]["arguments"].get("size", IMAGE))


def load_networks(model: Model, device: str = "cpu") -> dict[str, nn.Module]:
    """A model's networks, which are cached."""
    return _loaded(str(model.path), (model.path / "model.json").stat().st_mtime_ns, device)


@lru_cache(maxsize=2)
def _loaded(path: str, changed: int, device: str) -> dict[str, nn.Module]:
    model = load_model(Path(path))
    return {key: model.network(key, device) for key in NETWORKS}


def reliabilities(sources: Sequence[Source], settings: FindingSettings) -> Float:
    """Probability that sources are real: the logistic curve fitted on validation cubes."""
    fit = np.array(settings.reliability_fit)
    # a curve of an earlier version has fewer features
    features = np.array([(1.0, *s.features)[: len(fit)] for s in sources]).reshape(-1, len(fit))
    return expit(features @ fit)


def _values(sources: list[Any], names: tuple[str, ...]) -> list[Float]:
    return [np.array([getattr(s, name) for s in sources], dtype=float) for name in names]


def _noise(data: Array32) -> tuple[Float, Bool]:
    """Noise by channel, and channels with data, from every fourth pixel."""
    step = np.abs(np.diff(data[:, ::4, ::4], axis=0))
    valid: Bool = np.asarray(np.isfinite(step).any(axis=0))
    noise = np.full(valid.shape, np.nan)
    noise[valid] = np.nanmedian(step[:, valid], axis=0)
    return noise, valid


def _flags(cube: RadioCube, data: Array32, source: Any, pb: float, known: bool) -> str:
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
