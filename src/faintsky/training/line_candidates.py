"""What the refiner of line emitters learns: candidates of a deep search, against what they really are.

The candidates come from a folder of ``candidates_*.npz``, which is filled by searching simulated cubes
(`faintsky.training.line_skies`) where it is not there yet. One cube in ten is kept for validation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faintsky.detection.refine import MIRRORS, Estimate, Inputs, averaged, estimate, inputs_of, mirrored
from faintsky.errors import InputError
from faintsky.files import replacing
from faintsky.training.fit import Batch

CUBES_A_FILE = 20
TAIL = 3.0
"""Degrees of freedom of the residuals' Student distribution: what scatters far counts little."""
SHARP = 5.5
"""S/N about which the score's logistic curve begins, and below which parameters count less."""
CALM = (3.0, 3.0, 1.0, 0.05, 0.05, 0.3, 0.3, 0.05)
"""Weight of the square of each value's shift: where little can be learned, as in position, noise costs."""
SCORE_WEIGHT, ANGLE_WEIGHT, LOSS_CLIP = 3.0, 1.0, 60.0


def make_candidates(
    folder: Path, cubes: int, seed: int, progress: Callable[[int, int, str], None] | None = None
) -> None:
    """Search simulated cubes and write their candidates, some cubes a file; goes on where it stopped."""
    from faintsky.preparing.single_thread import one_blas_thread
    from faintsky.training.line_skies import examples

    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, cubes, CUBES_A_FILE):
        file = folder / f"candidates_{seed}_{start:05d}.npz"
        if file.is_file():
            continue
        with one_blas_thread():
            parts = [examples(seed, i) for i in range(start, min(start + CUBES_A_FILE, cubes))]
        with replacing(file) as name, open(name, "wb") as out:
            np.savez(out, **{k: np.concatenate([p[k] for p in parts]) for k in parts[0]})  # type: ignore[arg-type]
        if progress is not None:
            progress(min(start + CUBES_A_FILE, cubes), cubes, "searching training cubes")


def load_candidates(folder: Path) -> dict[str, NDArray[Any]]:
    """All candidates of a folder as arrays by name.

    Raises
    ------
    InputError
        Where there are none.
    """
    files = sorted(folder.glob("candidates_*.npz"))
    if not files:
        raise InputError("holds no candidates_*.npz", "give the folder of an earlier training run", folder)
    parts = [dict(np.load(f)) for f in files]
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def tensors_of(data: dict[str, NDArray[Any]]) -> Inputs:
    """Inputs with ``target`` (true less classical, in classical errors), ``true_angle`` and weights."""
    inputs = inputs_of(data)
    target = np.nan_to_num((data["true_values"] - data["values"]) / data["errors"])
    a, b = data["true_values"][:, 3], data["true_values"][:, 4]
    with np.errstate(invalid="ignore", divide="ignore"):
        round_ = np.nan_to_num((a * a - b * b) / (a * a + b * b))
    real = data["true_real"]
    more = {
        "target": np.clip(target, -50, 50),
        "true_angle": data["true_angle"],
        "elongation": round_ * (np.abs(data["true_angle"]).sum(1) > 0),
        "angle_error": data["angle_error"],
        "real": real,
        "snr": data["effective_snr"],
        "weight": real * (0.1 + 0.9 / (1 + np.exp(-(data["effective_snr"] - SHARP) / 0.25))),
    }
    return inputs | {k: torch.as_tensor(np.asarray(v, dtype=np.float32)) for k, v in more.items()}


def angle_misfit(e: Estimate, inputs: Inputs) -> Tensor:
    """Square of the sine of the position angle's error, ``[b]``."""
    u = nn.functional.normalize(e.angle, dim=1, eps=1e-3)
    return 0.5 * (1 - (u * inputs["true_angle"]).sum(1)).clamp(0, 2)


class LineCandidates:
    """The task; see `faintsky.training.fit.Task`.

    Parameters
    ----------
    network : torch.nn.Module
        A fresh ``line_refiner``; the scale of its scalars is set from the data.
    data : mapping of str to array
        From `load_candidates`.
    """

    def __init__(self, network: nn.Module, data: dict[str, NDArray[Any]]) -> None:
        self.network = network
        held = data["cube"] % 10 == 0
        tensors = tensors_of(data)
        self.train = {k: v[torch.as_tensor(~held)] for k, v in tensors.items()}
        self.held = {k: v[torch.as_tensor(held)] for k, v in tensors.items()}
        state = network.state_dict()
        if bool((state["scale"] == 1).all()):
            state["middle"].copy_(self.train["even"].mean(0))
            state["scale"].copy_(self.train["even"].std(0).clamp_min(1e-3))

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Random candidates, all in one of their mirror images."""
        pick = torch.as_tensor(rng.integers(len(self.train["real"]), size=size))
        mirror = MIRRORS[int(rng.integers(len(MIRRORS)))]
        return mirrored({k: v[pick] for k, v in self.train.items()}, mirror)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean loss of the members, each by itself."""
        raw = network.raw(batch["cut"], batch["even"], batch["odd"], batch["tensor"])  # type: ignore[operator]
        total = raw.new_zeros(())
        for r in raw:
            outputs = network.outputs(r)  # type: ignore[operator]
            total = total + torch.stack(list(self.parts(estimate(outputs, batch), batch).values())).sum()
            total = total + (outputs[2].square() * outputs[2].new_tensor(CALM)).mean()
        return total / len(raw)

    @staticmethod
    def parts(e: Estimate, batch: Inputs) -> dict[str, Tensor]:
        """Losses of score, values and angle.

        Values have a Student distribution about the estimate, which leads to something like the median and
        keeps outliers from ruling; the score is logistic in the S/N that it changes.
        """
        w = batch["weight"] / batch["weight"].sum().clamp_min(1.0)
        pull = (batch["target"] - e.shift) * torch.exp(-e.log_sigma)
        values = e.log_sigma + 0.5 * (TAIL + 1) * torch.log1p(pull.square() / TAIL)
        error = batch["angle_error"] * torch.exp(e.log_sigma_angle)
        angle = torch.log(error) + 0.5 * (TAIL + 1) * torch.log1p(angle_misfit(e, batch) / (TAIL * error**2))
        logit = 4.0 * (batch["snr"] + e.score - SHARP)
        score = nn.functional.binary_cross_entropy_with_logits(logit, batch["real"])
        return {
            "score": SCORE_WEIGHT * score,
            "values": (values.clamp(max=LOSS_CLIP).mean(1) * w).sum(),
            "angle": ANGLE_WEIGHT * (angle * w * batch["elongation"]).sum(),
        }

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Losses of the averaged estimate, and scatter over the classical one's of the safer detections."""
        e = averaged(network, self.held)
        out = {k: float(v) for k, v in self.parts(e, self.held).items()}
        safe = (self.held["real"] > 0) & (self.held["snr"] > 6)
        miss = (self.held["target"] - e.shift)[safe].abs().median(0).values
        out["scatter"] = float((miss / self.held["target"][safe].abs().median(0).values).mean())
        return {"loss": sum(v for k, v in out.items() if k != "scatter"), **out}
