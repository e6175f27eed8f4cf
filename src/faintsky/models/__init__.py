"""Models: a folder with ``model.json`` (settings, recipe, scores: the card) and a network's weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faintsky.errors import InputError

SHIPPED = Path(__file__).parent / "shipped"
"""Folder of the models that come with the package."""


@dataclass(frozen=True)
class Model:
    """A method with its settings.

    Attributes
    ----------
    name : str
        Its name.
    job : str
        ``detect`` or ``denoise``.
    settings : dict
        Thresholds and choices of the method.
    card : dict
        All of ``model.json``.
    path : pathlib.Path
        Its folder.
    """

    name: str
    job: str
    settings: dict[str, Any]
    card: dict[str, Any]
    path: Path

    @property
    def hash(self) -> str:
        """First 12 digits of the SHA-256 of the model's files: what a run is known by."""
        digest = hashlib.sha256()
        for file in sorted(p for p in self.path.iterdir() if p.suffix in {".json", ".safetensors"}):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]


def list_models() -> list[Model]:
    """The shipped models."""
    return [load_model(p.name) for p in sorted(SHIPPED.iterdir()) if (p / "model.json").is_file()]


def load_model(name: str | Path, *, job: str | None = None) -> Model:
    """Load a model by the name of a shipped one, or from its folder.

    Parameters
    ----------
    name : str or path-like
        A shipped model's name or a folder that holds ``model.json``.
    job : str, optional
        Refuse a model made for another job.

    Raises
    ------
    InputError
        Where there is no such model, its card is unreadable, or it is for another job.
    """
    shipped = SHIPPED / str(name)
    folder = shipped if "/" not in str(name) and (shipped / "model.json").is_file() else Path(name)
    card_path = folder / "model.json"
    if not card_path.is_file():
        known = ", ".join(p.name for p in sorted(SHIPPED.iterdir()) if p.is_dir())
        raise InputError(
            f"no model of the name or folder {str(name)!r}", f"shipped: {known}; or give a model's folder"
        )
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        model = Model(card["name"], card["job"], card["settings"], card, folder)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("not a model card", "give a folder written by faintsky", card_path) from error
    if job is not None and model.job != job:
        raise InputError(f"model {model.name!r} is for {model.job!r}, not {job!r}", "give another --model")
    return model
