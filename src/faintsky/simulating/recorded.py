"""A data set's settings back from its ``dataset.json``, so that its cubes can be made again one at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from faintsky.errors import InputError
from faintsky.simulating.settings import AlmaSettings, make_settings

_PLAIN = (
    "preset", "total_time", "integration", "hour_angle", "start", "pwv", "weighting", "snr", "noise", "pbcor",
    "extra_noise",
)  # fmt: skip


def recorded_settings(folder: str | os.PathLike[str]) -> tuple[AlmaSettings, int]:
    """Settings and seed of a folder that ``faintsky simulate alma`` wrote.

    Raises
    ------
    InputError
        Where there is no such record, or the same settings would give other cubes now.
    """
    path = Path(folder) / "dataset.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known: dict[str, Any] = record["parameters"]
        grid, spectral = known["grid"], known["spectral"]
        given = {name: known[name] for name in _PLAIN}
        settings = make_settings(
            **given, array=known["array"]["name"], ra=grid["ra"], dec=grid["dec"], cell=grid["cell"],
            size=grid["n_x"], channels=spectral["n_chan"], channel_width=spectral["width"],
            freq=spectral["first"] + spectral["n_chan"] // 2 * spectral["width"],
        )  # fmt: skip
        seed = int(record["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "has no record of a simulated data set", "give a folder of `faintsky simulate alma`", path
        ) from error
    now = json.loads(json.dumps(settings.parameters()))
    changed = [k for k in known if k != "products" and known[k] != now.get(k)]
    if changed:
        raise InputError(f"cannot be made again: another {changed[0]}", "simulate it again", path)
    return settings, seed
