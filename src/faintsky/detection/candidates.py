"""What a network is shown of each candidate: a cut-out of the filter bank, its fits, and its surroundings.

Lengths are in beams, errors and S/N as they are, so that one network serves many arrays. Where on the image a
source lies, and the primary beam there, is left out on purpose: simulated skies would teach where *they*
have sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faintsky.detection.gaussian_fit import LineSource
from faintsky.detection.grouping import touching
from faintsky.detection.joint_fit import JointFits, JointSource
from faintsky.detection.labels import beam_covariance
from faintsky.detection.pursuit import Component, Pursuit
from faintsky.detection.reliability import NoisePeaks
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing.cube import PreparedCube

VALUES = ("x", "y", "z", "fwhm_maj", "fwhm_min", "log_width", "log_flux", "continuum")
"""Parameters that are refined, beside the position angle; pixels, channels, Jy/beam and logarithms."""
CUT = (2, 3, 3)
"""Half sides of a cut-out (channel, y, x), in voxels of the filter bank."""
TEMPLATES = 30
"""Planes of a cut-out, one for each template of the default bank; missing ones are 0."""
EVEN = (
    "snr", "snr_effective", "snr_fit", "snr_joint", "noise_peaks", "template_size", "template_width",
    "maj", "min", "width", "x_err", "y_err", "z_err", "maj_err", "min_err", "width_err", "flux_err",
    "maj_joint", "min_joint", "width_joint", "x_gain", "y_gain", "z_gain", "maj_gain", "min_gain",
    "width_gain", "flux_gain", "maj_shift", "min_shift", "width_shift", "flux_shift", "continuum",
    "continuum_joint", "continuum_sum", "present", "neighbour", "neighbour_channels", "neighbour_flux",
    "neighbour_sky", "neighbour_sky_continuum", "touched", "guard", "angle_err", "angle_err_joint",
    "left_high", "left_low", "candidates",
    "beam_ratio", "step", "channels", "band_edge",
)  # fmt: skip
"""Scalars that no reflection changes."""
ODD = ("x_shift", "y_shift", "z_shift")
"""Scalars that change sign with x, y or z."""
TENSORS = ("shape", "shape_joint", "beam_shape", "angle", "angle_joint", "neighbour_place")
"""Pairs ``(xx - yy, 2 xy)``, which turn by twice the angle that the image turns."""


@dataclass
class Candidates:
    """Candidates of one cube as arrays.

    Attributes
    ----------
    cut : array
        S/N in the bank with the candidate itself, ``[n, template, z, y, x]``.
    even, odd, tensor : array
        Scalars, ``[n, len(EVEN)]``, ``[n, len(ODD)]``, ``[n, len(TENSORS), 2]``.
    values, errors : array
        Of the classical fit in the order of `VALUES`, ``[n, 8]``.
    other : array
        The same of the joint fit, ``[n, 8]``.
    angle : array
        Cosine and sine of twice the position angle, classical and joint, ``[n, 2, 2]``.
    angle_error : array
        Of the classical position angle [rad], ``[n]``.
    """

    cut: NDArray[np.float32]
    even: NDArray[np.float32]
    odd: NDArray[np.float32]
    tensor: NDArray[np.float32]
    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    other: NDArray[np.float64]
    angle: NDArray[np.float64]
    angle_error: NDArray[np.float64]


def cut_outs(pursuit: Pursuit, components: list[Component]) -> NDArray[np.float32]:
    """Filtered data about each component, only it left in, ``[n, template, z, y, x]``."""
    out = np.zeros((len(components), TEMPLATES, *(2 * h + 1 for h in CUT)), dtype=np.float32)
    step = pursuit.bank.step
    shape = pursuit.bank.shape
    for k, c in enumerate(components):
        centre = (round(c.source.z), round(c.source.y / step), round(c.source.x / step))
        low = [max(0, v - h) for v, h in zip(centre, CUT)]
        high = [min(n, v + h + 1) for v, h, n in zip(centre, CUT, shape)]
        if any(b <= a for a, b in zip(low, high)):
            continue
        z, y, x = (slice(a, b) for a, b in zip(low, high))
        own = (c.line[None, :, z, None, None] * c.sky[:, None, None, y, x]).flatten(0, 1)
        values = (pursuit.bank.values(z, y, x) + own) * float(np.sign(c.source.amplitude))
        place = [slice(a - v + h, b - v + h) for a, b, v, h in zip(low, high, centre, CUT)]
        sizes, widths = c.sky.shape[0], c.line.shape[0]
        target = out[k].reshape(-1, TEMPLATES // sizes, *out.shape[2:])
        target[:sizes, :widths, place[0], place[1], place[2]] = values.reshape(
            sizes, widths, *values.shape[1:]
        ).cpu()
    return out


def describe(
    pursuit: Pursuit,
    prepared: PreparedCube,
    cuts: NDArray[np.float32],
    noise: NoisePeaks,
    joints: list[JointSource] | None = None,
) -> Candidates:
    """Everything about the sources of a search after its last fits.

    Parameters
    ----------
    pursuit : Pursuit
        With the candidates, fitted.
    prepared : PreparedCube
        The cube.
    cuts : array
        `cut_outs` of the same components, made when the search ended.
    noise : NoisePeaks
        Expected in the cube.
    joints : list of JointSource, optional
        Fits of line and continuum together; made here where not given.
    """
    components = pursuit.components
    n = len(components)
    if joints is None:
        joints = JointFits(pursuit, prepared).run()
    even, odd = np.zeros((n, len(EVEN))), np.zeros((n, len(ODD)))
    tensor = np.zeros((n, len(TENSORS), 2))
    values, errors, other = (np.zeros((n, len(VALUES))) for _ in range(3))
    angle, angle_error = np.zeros((n, 2, 2)), np.zeros(n)
    continua = sum((j.continuum * j.image for j in joints), np.zeros(prepared.valid.shape, dtype=np.float32))
    beam = prepared.beam_pixels
    for k, (c, j) in enumerate(zip(components, joints)):
        level, level_err = _level(prepared, c.source)
        values[k], errors[k] = _measured(c.source, level, level_err, beam)
        other[k], other_err = _measured(j.source, _at(continua, j.source), level_err, beam)
        angle[k] = [_double_angle(s) for s in (c.source, j.source)]
        angle_error[k] = _angle_error(c.source)
        scalars = _scalars(c, j, values[k], errors[k], other[k], other_err, pursuit, prepared, noise)
        around, place = _around(k, components, joints, beam)
        scalars |= around
        scalars["left_high"], scalars["left_low"] = _left(pursuit, c)
        scalars["candidates"] = np.log(n)
        even[k] = [scalars[name] for name in EVEN]
        shift = (other[k, :3] - values[k, :3]) / errors[k, :3]
        odd[k] = np.arcsinh(shift)
        beam_pair = _pair(beam_covariance(prepared.beam)) / (beam / FWHM_PER_SIGMA) ** 2
        tensor[k] = [
            *(np.arcsinh(_pair(_covariance(s)) / (beam / FWHM_PER_SIGMA) ** 2) for s in (c.source, j.source)),
            beam_pair, *angle[k], place,
        ]  # fmt: skip
    even, odd, tensor = (np.nan_to_num(a, posinf=9, neginf=-9) for a in (even, odd, tensor))
    return Candidates(
        cuts, even.astype(np.float32), odd.astype(np.float32), tensor.astype(np.float32),
        values, errors, other, angle, angle_error,
    )  # fmt: skip


def _covariance(s: LineSource) -> NDArray[np.float64]:
    chol = np.array([[s.l11, 0.0], [s.l21, s.l22]])
    return chol @ chol.T


def _pair(cov: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine and sine part, at twice the position angle's place, of a covariance in (x, y)."""
    # the major axis lies along (-sin pa, cos pa)
    return np.array([cov[1, 1] - cov[0, 0], -2 * cov[0, 1]])


def _double_angle(s: LineSource) -> NDArray[np.float64]:
    pa = np.deg2rad(2 * s.axes()[2])
    return np.array([np.cos(pa), np.sin(pa)])


def _angle_error(s: LineSource) -> float:
    """Error of the position angle [rad], not above a right angle's half."""
    return float(np.nan_to_num(np.clip(np.deg2rad(s.errors()["pa"]), 1e-3, np.pi / 4), nan=np.pi / 4))


def _at(image: NDArray[np.float32], s: LineSource) -> float:
    """Value of an image at a source, linear between pixels."""
    n_y, n_x = image.shape
    y, x = np.clip(s.y, 0, n_y - 1.001), np.clip(s.x, 0, n_x - 1.001)
    j, i = int(y), int(x)
    v, u = y - j, x - i
    q = image[j : j + 2, i : i + 2]
    return float((1 - v) * ((1 - u) * q[0, 0] + u * q[0, 1]) + v * ((1 - u) * q[1, 0] + u * q[1, 1]))


def _level(prepared: PreparedCube, s: LineSource) -> tuple[float, float]:
    """Continuum at a source [Jy/beam] and its error."""
    n_y, n_x = prepared.valid.shape
    y, x = (int(np.clip(round(v), 0, n - 1)) for v, n in ((s.y, n_y), (s.x, n_x)))
    error = float(prepared.continuum.level_err[y, x])
    return _at(np.nan_to_num(prepared.continuum.at(s.z)), s), max(error, 1e-30)


def _measured(
    s: LineSource, level: float, level_err: float, beam: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and errors in the order of `VALUES`; errors are kept within what a detection can have."""
    maj, minor, _ = s.axes()
    e = s.errors()
    width = max(s.fwhm_z, 0.1)
    values = [s.x, s.y, s.z, maj, minor, np.log(width), np.log(max(abs(s.amplitude) * width, 1e-30)), level]
    tiny = 1e-3 * beam
    errors = [
        *(np.clip(e[k], tiny, beam) for k in ("x", "y")),
        np.clip(e["z"], 1e-3, width),
        *(np.clip(e[k], tiny, 0.7 * beam) for k in ("fwhm_maj", "fwhm_min")),
        np.clip(e["fwhm_z"] / width, 1e-3, 1.0),
        np.clip(e["flux"], 1e-3, 1.0),
        level_err,
    ]
    return np.array(values), np.nan_to_num(np.array(errors, dtype=float), nan=1.0)


def _scalars(
    c: Component,
    j: JointSource,
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    other: NDArray[np.float64],
    other_err: NDArray[np.float64],
    pursuit: Pursuit,
    prepared: PreparedCube,
    noise: NoisePeaks,
) -> dict[str, float]:
    """Scalars of a candidate by itself."""
    beam, log = prepared.beam_pixels, np.log
    gain = log(errors / other_err)
    shift = np.arcsinh((other - values) / errors)
    width = float(np.exp(values[5]))
    major, minor, _ = prepared.beam
    used = np.flatnonzero(prepared.sigma > 0)
    edge = min(c.source.z - used[0], used[-1] - c.source.z)
    out = {
        "snr": log(max(c.snr, 1.0)), "snr_effective": log(max(c.effective_snr, 1.0)),
        "snr_fit": log(max(abs(c.source.fitted_snr), 1.0)),
        "snr_joint": log(max(abs(j.source.fitted_snr), 1.0)),
        "noise_peaks": np.clip(log(max(float(noise.above(c.effective_snr)), 1e-8)), -8, 8),
        "template_size": c.template[0] / beam, "template_width": log(max(c.template[1], 1.0)),
        "maj": log(values[3] / beam + 0.1), "min": log(values[4] / beam + 0.1), "width": values[5],
        "x_err": log(errors[0] / beam), "y_err": log(errors[1] / beam), "z_err": log(errors[2] / width),
        "maj_err": log(errors[3] / beam), "min_err": log(errors[4] / beam),
        "width_err": log(errors[5]), "flux_err": log(errors[6]),
        "maj_joint": log(other[3] / beam + 0.1), "min_joint": log(other[4] / beam + 0.1),
        "width_joint": other[5],
        **{f"{name}_gain": gain[k] for k, name in enumerate(("x", "y", "z", "maj", "min", "width", "flux"))},
        **{f"{name}_shift": shift[3 + k] for k, name in enumerate(("maj", "min", "width", "flux"))},
        "continuum": np.arcsinh(values[7] / errors[7]),
        "continuum_joint": np.arcsinh(j.continuum / max(j.continuum_err, 1e-30)),
        "continuum_sum": np.arcsinh(other[7] / errors[7]),
        "present": float(prepared.present[_pixel(c.source, prepared.valid.shape)]),
        "guard": log(max(c.snr, 1.0) / max(c.effective_snr, 1.0)),
        "angle_err": log(_angle_error(c.source)), "angle_err_joint": log(_angle_error(j.source)),
        "beam_ratio": log(major / minor), "step": pursuit.bank.step / beam,
        "channels": log(prepared.sigma.size / 128), "band_edge": float(np.clip(edge / width, -1, 2)),
    }  # fmt: skip
    return {name: float(v) for name, v in out.items()}


def _pixel(s: LineSource, shape: tuple[int, ...]) -> tuple[int, int]:
    return int(np.clip(round(s.y), 0, shape[0] - 1)), int(np.clip(round(s.x), 0, shape[1] - 1))


def _left(pursuit: Pursuit, c: Component) -> tuple[float, float]:
    """Largest and smallest S/N left within a beam and half the line's width, in the source's own sign."""
    n_chan, n_y, n_x = pursuit.bank.shape
    step = pursuit.bank.step
    reach, half = max(1, round(pursuit.beam_pixels / step)), max(1, round(0.5 * c.source.fwhm_z))
    z, y, x = (
        slice(int(np.clip(round(v) - r, 0, n - 1)), int(np.clip(round(v) + r, 0, n - 1)) + 1)
        for v, r, n in (
            (c.source.z, half, n_chan), (c.source.y / step, reach, n_y), (c.source.x / step, reach, n_x)
        )
    )  # fmt: skip
    values = pursuit.bank.values(z, y, x)
    high, low = float(values.max()), float(values.min())
    return (high, low) if c.source.amplitude > 0 else (-low, -high)


def _around(
    k: int, components: list[Component], joints: list[JointSource], beam: float
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Scalars of a candidate's neighbours: nearest in space and channel, and on the sky; the way there."""
    c = components[k]
    place = np.zeros(2)
    out: dict[str, float] = {
        "neighbour": 5.0, "neighbour_channels": 5.0, "neighbour_flux": 0.0, "neighbour_sky": 5.0,
        "neighbour_sky_continuum": 0.0, "touched": 0.0,
    }  # fmt: skip
    nearest, nearest_sky = np.inf, np.inf
    for o, (d, j) in enumerate(zip(components, joints)):
        if o == k:
            continue
        dx, dy = d.source.x - c.source.x, d.source.y - c.source.y
        sky = np.hypot(dx, dy) / beam
        channels = abs(d.source.z - c.source.z) / (0.5 * (d.source.fwhm_z + c.source.fwhm_z))
        if np.hypot(sky, channels) < nearest:
            nearest = float(np.hypot(sky, channels))
            pa = np.arctan2(-dx, dy)
            out |= {
                "neighbour": min(sky, 5.0), "neighbour_channels": min(channels, 5.0),
                "neighbour_flux": float(np.log(max(d.snr, 1.0) / max(c.snr, 1.0))),
            }  # fmt: skip
            place = np.exp(-0.5 * nearest) * np.array([np.cos(2 * pa), np.sin(2 * pa)])
        if sky < nearest_sky:
            nearest_sky = sky
            ratio = abs(j.continuum) / max(abs(joints[k].continuum), joints[k].continuum_err, 1e-30)
            out |= {"neighbour_sky": min(sky, 5.0), "neighbour_sky_continuum": float(np.arcsinh(ratio))}
        out["touched"] = max(out["touched"], float(touching(c, d, beam, 1.2)))
    return out, place
