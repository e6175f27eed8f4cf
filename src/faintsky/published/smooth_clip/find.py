"""Sources of a cube by smoothing, clipping, linking and reliability, like SoFiA-2 (Westmeier et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32, Bool, Float, Labels
from faintsky.catalog import join_flags
from faintsky.detection import Found, beam_of, box_span, flux_width, looked_at, source_table, whole_pixels
from faintsky.errors import InputError
from faintsky.image import RadioCube
from faintsky.matching import reliability_of
from faintsky.models import Model
from faintsky.preparing import prepare_cube
from faintsky.published.smooth_clip.clipping import Objects, link, measure_objects, negative_rms, smooth_clip


@dataclass
class Scaled:
    """The cube that is searched, cut to the part to be searched.

    Attributes
    ----------
    data : array
        The cube over its noise, ``[chan, y, x]``, 0 where blank.
    valid : array of bool
        Voxels with data, of the same shape.
    jansky : array
        Factor to Jy/beam, broadcastable to ``[chan, y, x]``.
    corner : tuple of int
        Its first pixel (y, x) in the whole cube.
    beam_area : float
        Area of the beam [pixel].
    """

    data: Array32
    valid: Bool
    jansky: Array32
    corner: tuple[int, int]
    beam_area: float


def scaled_cube(cube: RadioCube, settings: Mapping[str, Any], device: str = "cpu") -> Scaled:
    """Prepare a cube for the search by its settings: subtract the continuum, scale by the noise.

    Parameters
    ----------
    cube : RadioCube
        A cube with a beam.
    settings : mapping
        ``continuum`` (whether to keep it), ``noise_scaling`` (by channel, and by pixel if the noise varies
        over the image; otherwise one noise for the whole cube), and those of
        `faintsky.detection.methods.looked_at`.

    Raises
    ------
    InputError
        See `faintsky.preparing.prepare_cube`; also if the cube has no beam.
    """
    major, minor, _ = beam_of(cube)
    if settings["continuum"] and not settings["noise_scaling"]:
        data = cube.data * cube.working_factors().astype(np.float32)[:, None, None]
        valid, noise = np.isfinite(data), np.ones((1, 1, 1), dtype=np.float32)
    else:
        prepared = prepare_cube(cube, device=device)
        data = prepared.data if settings["continuum"] else prepared.line
        sigma = prepared.sigma[:, None, None].astype(np.float32)
        valid = np.isfinite(data) & prepared.valid & (sigma > 0)
        relative = np.ones((1, 1)) if prepared.relative is None else prepared.relative
        if settings["noise_scaling"]:
            noise = (sigma * relative).astype(np.float32)
            data = np.divide(data, sigma, out=np.zeros_like(data), where=valid)
        else:
            data, noise = data * relative.astype(np.float32), np.ones((1, 1, 1), dtype=np.float32)
    valid &= looked_at(cube, settings)
    rows, columns = (np.flatnonzero(valid.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not rows.size:
        raise InputError("holds no data where it is searched", "give another mask or cube", cube.name)
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    part = np.ascontiguousarray(valid[:, *place])
    data = np.where(part, data[:, *place], np.float32(0))
    rms = np.float32(negative_rms(data, part))
    if not rms > 0:
        raise InputError("has no noise", "give a cube with noise", cube.name)
    noise = noise[:, *place] if noise.shape[1:] != (1, 1) else noise
    return Scaled(data / rms, part, noise * rms, (int(rows[0]), int(columns[0])), 1.133 * major * minor)


def search(scaled: Scaled, settings: Mapping[str, Any]) -> NDArray[np.int8]:
    """Run `smooth_clip`."""
    return smooth_clip(
        scaled.data, scaled.valid, spatial=settings["spatial_kernels"],
        spectral=settings["spectral_kernels"], threshold=settings["threshold"],
    )  # fmt: skip


@dataclass
class JudgedObjects:
    """Positive objects with S/N and reliability, and the number of objects removed by each rule.

    Attributes
    ----------
    labels : array of int
        All positive objects, ``[chan, y, x]``.
    objects : Objects
        All of them.
    snr, reliability : array
        ``[n]``; reliability is 0 for objects that are too small or too faint.
    steps : dict
        Objects removed by each rule.
    """

    labels: Labels
    objects: Objects
    snr: Float
    reliability: Float
    steps: dict[str, int]


def judge_objects(scaled: Scaled, sign: NDArray[np.int8], settings: Mapping[str, Any]) -> JudgedObjects:
    """Link and measure objects, and compare positive with negative ones.

    Parameters
    ----------
    scaled : Scaled
        The cube.
    sign : array of int
        From `search`, ``[chan, y, x]``.
    settings : mapping
        ``link_xy``, ``link_z``, ``least_xy``, ``least_z`` (least extents of an object), ``least_snr`` (of its
        sum), and ``kernel_scale`` (of the reliability's kernel).

    Returns
    -------
    JudgedObjects
    """
    kept, points, sets = [], [], []
    for direction in (1, -1):
        labels, n = link(sign == direction, settings["link_xy"], settings["link_z"])
        objects = measure_objects(direction * scaled.data, labels, n)
        snr = objects.total / np.sqrt(np.maximum(objects.voxels, 1) * scaled.beam_area)
        large = (objects.sides[:, 0] >= settings["least_z"]) & (
            objects.sides[:, 1:].min(axis=1, initial=1 << 30) >= settings["least_xy"]
        )
        bright = (snr >= settings["least_snr"]) & (objects.total > 0)
        sets.append((labels, objects, snr, large, bright))
        good = objects.select(large & bright)
        kept.append(large & bright)
        points.append(np.log10(np.stack([good.peak, good.total, good.total / good.voxels], axis=1)))
    labels, objects, snr, large, bright = sets[0]
    reliability = np.zeros(len(objects))
    reliability[kept[0]] = reliability_of(points[0], points[1], settings["kernel_scale"])
    steps = {"too small": int((~large).sum()), "too faint": int((large & ~bright).sum())}
    return JudgedObjects(labels, objects, snr, reliability, steps)


def find(cube: RadioCube, model: Model, *, reliability: float | None = None, device: str = "cpu") -> Found:
    """Reliable positive objects of the smoothed and clipped cube. See `faintsky.registry.DETECTORS`.

    The model has the settings of `scaled_cube`, `search` and `judge_objects`, the ``reliability`` threshold,
    ``box`` (one of `faintsky.detection.methods.BOXES`), and ``box_xy`` and ``box_z``, factors on the box.
    """
    s = model.settings
    limit = float(s["reliability"] if reliability is None else reliability)
    scaled = scaled_cube(cube, s, device)
    judged = judge_objects(scaled, search(scaled, s), s)
    passed = (judged.reliability > 0) & (judged.reliability >= limit)
    too_doubtful = len(passed) - int(passed.sum()) - sum(judged.steps.values())
    steps = {**judged.steps, "unreliable": too_doubtful}
    order = np.flatnonzero(passed)[np.argsort(-judged.snr[passed], kind="stable")]
    objects = judged.objects.select(order)
    corner = np.array([0, *scaled.corner])
    low, high, centre = (v + corner for v in (objects.low, objects.high, objects.centre))
    columns: dict[str, Any] = {"x": centre[:, 2], "y": centre[:, 1]}
    # the error of a centroid is the spread of the emission over the S/N of the sum
    for name, axis in (("x", 2), ("y", 1), ("z", 0)):
        columns[f"{name}_err"] = objects.spread[:, axis] / judged.snr[order]
    for name, axis in (("x", 2), ("y", 1)):
        columns[f"{name}_min"], columns[f"{name}_max"] = whole_pixels(
            low[:, axis], high[:, axis], centre[:, axis], objects.spread[:, axis], s["box"],
            s["box_xy"], cube.shape[axis],
        )  # fmt: skip
    middle, half = box_span(low[:, 0], high[:, 0], centre[:, 0], objects.spread[:, 0], s["box"], s["box_z"])
    columns["z"], columns["fwhm_z"] = centre[:, 0], half
    columns["z_min"], columns["z_max"] = middle - half, middle + half
    where = np.nonzero(judged.labels)
    values = scaled.data[where] * np.broadcast_to(scaled.jansky, scaled.data.shape)[where]
    sums = np.bincount(judged.labels[where], values, len(judged.objects) + 1)[1:]
    in_jansky = sums[order] / scaled.beam_area * cube.flux_factor(columns["x"], columns["y"])
    columns["flux"] = in_jansky * flux_width(cube, centre[:, 0])
    columns["flux_err"] = np.abs(columns["flux"]) / judged.snr[order]
    columns["snr"], columns["reliability"] = judged.snr[order], judged.reliability[order]
    ends = np.array(cube.shape) - 1
    at_edge = ((low <= 0) | (high >= ends)).any(axis=1)
    columns["flags"] = [join_flags(["edge"] if edge else []) for edge in at_edge]
    table = source_table(cube, columns, {"steps": steps})
    names = np.zeros(len(judged.objects) + 1, dtype=np.int32)
    names[order + 1] = np.arange(1, len(order) + 1)
    mask = np.zeros(cube.shape, dtype=np.int32)
    y0, x0 = scaled.corner
    mask[:, y0 : y0 + scaled.data.shape[1], x0 : x0 + scaled.data.shape[2]] = names[judged.labels]
    return Found(table, mask, None, steps, [])
