"""The learned step after the matched filter: how likely each candidate is, and what its parameters are.

A network (``line_refiner``) changes the classical result. Its score is added to a candidate's S/N; a scale
that was measured on candidates of pure noise then makes this an S/N again that noise peaks exceed as often as
the classical law says, so that the reliability of a list is worked out as before. Outputs are averaged over
the mirror images of a candidate, which are as likely as itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faintsky.detection.candidates import EVEN, VALUES, Candidates, cut_outs, describe
from faintsky.detection.pursuit import Component
from faintsky.detection.search import Search, measure
from faintsky.grid import FWHM_PER_SIGMA, major_axis_direction
from faintsky.models import Model

KEY = "refiner"
"""The network's name in a model's card."""
MIRRORS = tuple(itertools.product((False, True), repeat=4))
"""Whether x, y and z are reversed, and x and y swapped."""
LARGEST_SHIFT, LARGEST_LEVEL = 6.0, 300.0
"""Bounds of the differences that the network mixes in, in classical errors."""
TELLING = 4.0
"""Continuum in its errors at which half of what the joint fit says is heard."""
WIDEST = 4.0
"""Beams above which a source is left as it was fitted."""
_SWAPPED = [EVEN.index(n) for n in ("y_err", "x_err", "y_gain", "x_gain")]
_PLACES = [EVEN.index(n) for n in ("x_err", "y_err", "x_gain", "y_gain")]
_GAINS = [EVEN.index(f"{n}_gain") for n in ("x", "y", "z", "maj", "min", "width", "flux")]

Inputs = dict[str, Tensor]


def inputs_of(c: Mapping[str, NDArray[Any]]) -> Inputs:
    """What the network and `estimate` need, as tensors, from the arrays of `Candidates` by name."""
    errors = c["errors"]
    level = np.clip(-c["values"][:, -1:] / errors[:, -1:], -LARGEST_LEVEL, LARGEST_LEVEL)
    difference = (c["other"] - c["values"]) / errors
    bound = np.array([LARGEST_SHIFT] * (len(VALUES) - 1) + [LARGEST_LEVEL])
    arrays = {
        "cut": c["cut"], "even": c["even"], "odd": c["odd"], "tensor": c["tensor"],
        "difference": np.concatenate([np.clip(difference, -bound, bound), level], axis=1),
        "angle": c["angle"],
    }  # fmt: skip
    return {k: torch.as_tensor(np.ascontiguousarray(v), dtype=torch.float32) for k, v in arrays.items()}


def _pairs(pair: Tensor, mirror: Sequence[bool]) -> Tensor:
    """Double-angle vectors ``[..., 2]`` of a mirror image."""
    sign = pair.new_tensor([-1.0 if mirror[3] else 1.0, -1.0 if mirror[0] != mirror[1] else 1.0])
    return pair * sign


def _places(values: Tensor, mirror: Sequence[bool]) -> Tensor:
    """Values ``[b, n]`` whose first three are differences in x, y, z, of a mirror image."""
    sign = torch.ones(values.shape[1], dtype=values.dtype, device=values.device)
    for k in range(3):
        sign[k] = -1.0 if mirror[k] else 1.0
    out = values * sign
    if mirror[3]:
        out = torch.cat([out[:, 1:2], out[:, :1], out[:, 2:]], dim=1)
    return out


def mirrored(inputs: Inputs, mirror: Sequence[bool]) -> Inputs:
    """Inputs of the mirror image: reversed along x, y, z, then x and y swapped."""
    cut, even = inputs["cut"], inputs["even"]
    axes = [axis for axis, flip in zip((4, 3, 2), mirror) if flip]
    cut = cut.flip(axes) if axes else cut
    if mirror[3]:
        cut = cut.transpose(3, 4)
        even = even.clone()
        even[:, _PLACES] = inputs["even"][:, _SWAPPED]
    out = {
        "cut": cut, "even": even, "odd": _places(inputs["odd"], mirror),
        "tensor": _pairs(inputs["tensor"], mirror), "angle": _pairs(inputs["angle"], mirror),
        "difference": _places(inputs["difference"], mirror),
    }  # fmt: skip
    if "target" in inputs:
        out |= {"target": _places(inputs["target"], mirror)}
        out |= {"true_angle": _pairs(inputs["true_angle"], mirror)}
    return {**inputs, **out}


def unmirrored_values(values: Tensor, mirror: Sequence[bool]) -> Tensor:
    """What `_places` did, undone."""
    if mirror[3]:
        values = torch.cat([values[:, 1:2], values[:, :1], values[:, 2:]], dim=1)
    return _places(values, (*mirror[:3], False))


@dataclass
class Estimate:
    """What the network makes of candidates.

    Attributes
    ----------
    score : Tensor
        Added to the S/N, ``[b]``.
    shift, log_sigma : Tensor
        Estimate less classical value, and logarithm of its error, in classical errors, ``[b, 8]``.
    angle : Tensor
        Vector along the cosine and sine of twice the position angle, ``[b, 2]``.
    log_sigma_angle : Tensor
        Logarithm of the factor on the angle's error, ``[b]``.
    """

    score: Tensor
    shift: Tensor
    log_sigma: Tensor
    angle: Tensor
    log_sigma_angle: Tensor


def estimate(outputs: tuple[Tensor, ...], inputs: Inputs) -> Estimate:
    """The network's outputs applied to the fits that it was shown."""
    score, gate, shift, spread, angle = outputs
    n = len(VALUES)
    difference = inputs["difference"]
    level = torch.sinh(inputs["even"][:, EVEN.index("continuum_joint")]).clamp_min(0)
    # without a continuum the joint fit is the line's with more noise in it
    told = (level**2 / (level**2 + TELLING**2))[:, None]
    moved = shift + gate[:, :n] * difference[:, :n] * torch.cat([told.expand(-1, n - 1), 0 * told + 1], dim=1)
    last = moved[:, n - 1 :] + gate[:, n:] * difference[:, n:]
    gain = torch.nn.functional.pad(inputs["even"][:, _GAINS], (0, 1))
    angle_gain = inputs["even"][:, EVEN.index("angle_err")] - inputs["even"][:, EVEN.index("angle_err_joint")]
    own, joint = inputs["angle"][:, 0], inputs["angle"][:, 1]
    return Estimate(
        score,
        torch.cat([moved[:, : n - 1], last], dim=1),
        spread[:, :n] - spread[:, n:] * gain,
        own + told * angle[:, :1] * (joint - own) + angle[:, 1:3],
        angle[:, 3] - angle[:, 4] * angle_gain,
    )


def averaged(network: nn.Module, inputs: Inputs) -> Estimate:
    """Mean of the estimates of all mirror images, without gradients."""
    parts = []
    with torch.no_grad():
        for mirror in MIRRORS:
            seen = mirrored(inputs, mirror)
            e = estimate(network(seen["cut"], seen["even"], seen["odd"], seen["tensor"]), seen)
            parts.append(
                Estimate(
                    e.score,
                    unmirrored_values(e.shift, mirror),
                    unmirrored_values(e.log_sigma, (False, False, False, mirror[3])),
                    _pairs(torch.nn.functional.normalize(e.angle, dim=1), mirror),
                    e.log_sigma_angle,
                )
            )
    return Estimate(*(torch.stack([getattr(p, k) for p in parts]).mean(0) for k in Estimate.__annotations__))


def rank(snr: NDArray[np.float64], score: NDArray[np.float64], scale: Sequence[Sequence[float]]) -> NDArray:
    """S/N plus score, brought to the scale of the S/N by a rising table ``(raw, S/N)``; linear beyond it."""
    raw, known = np.asarray(scale[0]), np.asarray(scale[1])
    total = snr + score
    out = np.interp(total, raw, known)
    return out + np.minimum(total - raw[0], 0) + np.maximum(total - raw[-1], 0)


def refined(c: Component, found: Candidates, k: int, e: Estimate, factors: Mapping[str, float]) -> None:
    """Give a component the values that the network says, its image not yet made anew.

    Parameters
    ----------
    c : Component
        Changed in place.
    found, k : Candidates, int
        What it was when the network saw it.
    e : Estimate
        Of the same candidates.
    factors : mapping
        Factor on the error of each of `VALUES` and ``pa``, from validation.
    """
    values = found.values[k] + e.shift[k].numpy().astype(float) * found.errors[k]
    errors = found.errors[k] * np.exp(e.log_sigma[k].numpy().astype(float))
    v = dict(zip(VALUES, values.tolist()))
    s = {name: float(err) * factors.get(name, 1.0) for name, err in zip(VALUES, errors)}
    vector = e.angle[k].numpy()
    pa = float(np.rad2deg(0.5 * np.arctan2(vector[1], vector[0])) % 180.0)
    pa_err = np.rad2deg(found.angle_error[k] * np.exp(float(e.log_sigma_angle[k]))) * factors.get("pa", 1.0)
    major, minor = max(v["fwhm_maj"], v["fwhm_min"], 0.0), max(min(v["fwhm_maj"], v["fwhm_min"]), 0.0)
    width = float(np.exp(v["log_width"]))
    dx, dy = (float(d) for d in major_axis_direction(pa))
    turn = np.array([[dx, -dy], [dy, dx]])
    cov = turn @ np.diag([(major / FWHM_PER_SIGMA) ** 2, (minor / FWHM_PER_SIGMA) ** 2]) @ turn.T
    l11 = float(np.sqrt(max(cov[0, 0], 1e-12)))
    l21 = float(cov[0, 1] / l11)
    sign = float(np.sign(c.source.amplitude))
    c.source = replace(
        c.source, x=v["x"], y=v["y"], z=v["z"], fwhm_z=width, l11=l11, l21=l21,
        l22=float(np.sqrt(max(cov[1, 1] - l21**2, 0.0))),
        amplitude=sign * float(np.exp(v["log_flux"])) / width,
        stated={
            **c.source.errors(), "x": s["x"], "y": s["y"], "z": s["z"], "fwhm_maj": s["fwhm_maj"],
            "fwhm_min": s["fwhm_min"], "fwhm_z": s["log_width"] * width, "flux": s["log_flux"],
            "pa": float(min(pa_err, 90.0)),
        },
    )  # fmt: skip
    c.continuum = (v["continuum"], s["continuum"])


class Refiner:
    """A model's network with its settings, at work on a search.

    Parameters
    ----------
    network : torch.nn.Module
        A ``line_refiner``.
    settings : mapping
        With ``score_share``, what part of the score counts (a network that was trained on few candidates is
        too sure of itself), ``snr_scale``, see `rank`, and ``error_factors``, see `refined`.
    """

    def __init__(self, network: nn.Module, settings: Mapping[str, Any]) -> None:
        self.network, self.settings = network, settings
        self._cuts: dict[int, NDArray[np.float32]] = {}

    @classmethod
    def of(cls, model: Model) -> Refiner | None:
        """That of a model; None for a model without a network."""
        return cls(model.network(KEY), model.settings) if KEY in model.card["networks"] else None

    def judge(self, search: Search) -> None:
        """Give every candidate of a search its learned S/N; the search itself stays as it is."""
        if not search.candidates:
            return
        cuts = cut_outs(search.pursuit, search.candidates)
        self._cuts = {id(c): cut for c, cut in zip(search.candidates, cuts)}
        twin = search.copy()
        twin.keep(twin.candidates)
        measure(twin.pursuit, twin.prepared, int(self.settings["final_rounds"]))
        of_twin = {id(t): c for t, c in zip(twin.candidates, search.candidates)}
        self._cuts |= {id(t): self._cuts[id(c)] for t, c in zip(twin.candidates, search.candidates)}
        _, e = self._estimate(twin)
        judged = [of_twin[id(t)] for t in twin.pursuit.components]
        snr, score = np.array([c.effective_snr for c in judged]), e.score.numpy().astype(float)
        ranks = rank(snr, self.settings["score_share"] * score, self.settings["snr_scale"])
        for c, value in zip(judged, ranks):
            if c.source.amplitude > 0:
                c.effective_snr = float(value)

    def refine(self, search: Search, which: Sequence[int]) -> None:
        """Give components of a finished search, those at the places `which`, their learned parameters."""
        if not which:
            return
        found, e = self._estimate(search)
        pursuit = search.pursuit
        for k in which:
            c = pursuit.components[k]
            if c.source.amplitude > 0 and c.source.axes()[0] < WIDEST * pursuit.beam_pixels:
                pursuit.subtract(c, -1.0)
                refined(c, found, k, e, self.settings["error_factors"])
                c.image = pursuit.imager.image(c.source)
                pursuit.subtract(c, 1.0)

    def _estimate(self, search: Search) -> tuple[Candidates, Estimate]:
        cuts = np.stack([self._cuts[id(c)] for c in search.pursuit.components])
        found = describe(search.pursuit, search.prepared, cuts, search.noise)
        return found, averaged(self.network, inputs_of(vars(found)))
