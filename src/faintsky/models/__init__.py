"""Models: folders with ``model.json`` (the card with settings, recipe and scores) and networks' weights.

Weights are safetensors files, which hold only numbers and no code.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky.errors import InputError
from faintsky.registry import CHECKS, MODELS
from faintsky.system import replacing, write_text

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SHIPPED", "Model", "card_lines", "check_model", "list_models", "load_model", "save_model"]

SHIPPED = Path(__file__).parent / "shipped"
"""Folder of our own shipped models."""
for _folder in SHIPPED.iterdir():
    MODELS.add(_folder.name, _folder)
WIDTH = 100
"""Columns of a printed card."""
INDENT = 12
"""Columns for the names of a card's lines."""
USES = {"detect": "faintsky detect DATA.fits", "denoise": "faintsky denoise IMAGE.fits"}
"""The command for each job."""


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
        """First 12 digits of the SHA-256 of the model's files, for records of runs."""
        digest = hashlib.sha256()
        for file in sorted(p for p in self.path.iterdir() if p.suffix in {".json", ".safetensors"}):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]

    def network(self, key: str, device: str = "cpu") -> nn.Module:
        """One of its networks with its weights, ready for use.

        Parameters
        ----------
        key : str
            Its name in the card's ``networks``.
        device : str, optional
            A torch device.

        Returns
        -------
        torch.nn.Module
            In evaluation mode, in single precision.

        Raises
        ------
        InputError
            If the card lacks it, or the weights are missing, damaged or of another network.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from faintsky.networks import make_network

        try:
            entry = self.card["networks"][key]
            weights = self.path / Path(entry["weights"]).name
            made = make_network(entry["network"], **entry["arguments"])
        except (KeyError, TypeError) as error:
            raise InputError(f"model {self.name!r} has no network {key!r}", "give another --model") from error
        try:
            made.load_state_dict(load_file(weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise InputError(
                "weights missing, damaged or of another network", "train again", weights
            ) from error
        return made.eval().to(device)


def list_models() -> list[Model]:
    """The shipped models.

    Returns
    -------
    list of Model
        In alphabetical order.
    """
    return [load_model(name) for name in MODELS]


def load_model(name: str | Path, *, job: str | None = None) -> Model:
    """Load a model by the name of a shipped one, or from its folder.

    Parameters
    ----------
    name : str or path-like
        A shipped model's name or a folder that holds ``model.json``.
    job : str, optional
        Refuse a model made for another job.

    Returns
    -------
    Model
        Its card; weights are read when a network is used.

    Raises
    ------
    InputError
        If there is no such model, its card cannot be read, or it is for another job.
    """
    folder = Path(MODELS[str(name)]) if str(name) in MODELS else Path(name)
    card_path = folder / "model.json"
    if not card_path.is_file():
        raise InputError(
            f"no model with the name or folder {str(name)!r}",
            f"shipped: {', '.join(MODELS)}; or give a model's folder",
        )
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        model = Model(card["name"], card["job"], card["settings"], card, folder)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("not a model card", "give a folder written by faintsky", card_path) from error
    if job is not None and model.job != job:
        raise InputError(f"model {model.name!r} is for {model.job!r}, not {job!r}", "give another --model")
    return model


def check_model(data: Any, model: Model) -> list[str]:
    """Notes on differences between an image or a cube and a model's training data.

    Raises
    ------
    InputError
        If the model cannot be used for it.
    """
    method = str(model.settings.get("method"))
    return list(CHECKS[method](data, model)) if method in CHECKS else []


def save_model(
    folder: str | Path,
    *,
    name: str,
    job: str,
    settings: Mapping[str, Any],
    networks: Mapping[str, tuple[str, Mapping[str, Any], nn.Module]],
    card: Mapping[str, Any] | None = None,
    half: bool = False,
) -> Model:
    """Write a model's folder: the weights first, then the card.

    Parameters
    ----------
    folder : path-like
        The folder, made if missing; files of the same names are replaced.
    name, job : str
        The model's name, and ``detect`` or ``denoise``.
    settings : mapping
        Thresholds and choices of the method.
    networks : mapping
        By key: registered name, arguments and network.
    card : mapping, optional
        Further entries of the card: title, summary, recipe, scores, licence.
    half : bool, optional
        Store matrices and kernels in half precision; networks always compute in single precision.

    Returns
    -------
    Model
        Read from the folder.
    """
    import torch
    from safetensors.torch import save_file

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    entries = {}
    for key, (architecture, arguments, network) in networks.items():
        state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        if half:  # biases and variances are few, and may exceed the range of half precision
            state = {k: v.to(torch.float16) if v.ndim > 1 else v for k, v in state.items()}
        with replacing(path / f"{key}.safetensors") as file:
            save_file(state, file)
            file.chmod(0o644)  # safetensors makes the file readable by its owner only
        entries[key] = {
            "network": architecture, "arguments": dict(arguments), "weights": f"{key}.safetensors",
            "parameters": sum(p.numel() for p in network.parameters()),
        }  # fmt: skip
    full = {"name": name, "job": job, **(card or {}), "settings": dict(settings), "networks": entries}
    write_text(path / "model.json", json.dumps(full, indent=2, ensure_ascii=False) + "\n")
    return load_model(path, job=job)


def card_lines(model: Model) -> list[str]:
    """A card as lines of at most 100 columns: title, use, summary, training, scores, size, licence."""
    card = model.card
    text = {
        "job": f"{model.job}: {USES.get(model.job, model.job)} --model {model.name} --out DIR",
        "what it is": card.get("summary", ""),
        "trained by": (card.get("recipe") or {}).get("command", "") or "no training",
        "scores": "\n".join(_scores(card)),
        "networks": "\n".join(_networks(model)),
        "licence": card.get("licence", "not given"),
        "hash": model.hash,
        "folder": str(model.path),
        "whole card": f"faintsky models {model.name} --json",
    }
    lines = [f"{model.name}: {card.get('title', '')}"]
    for name, value in text.items():
        parts = [w for line in str(value).splitlines() for w in _wrapped(line)]
        lines += [f"{name if i == 0 else '':{INDENT}}{part}" for i, part in enumerate(parts)]
    return lines


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH - INDENT, break_on_hyphens=False) or [""]


def _scores(card: Mapping[str, Any]) -> Iterator[str]:
    """Scores, one line for each data set, and the path of further ones."""
    measured, scores = card.get("measured"), card.get("scores")
    for where, values in (measured or (scores if isinstance(scores, Mapping) else {})).items():
        numbers = [f"{k.replace('_', ' ')} {v:.3g}" for k, v in values.items() if isinstance(v, int | float)]
        yield f"{where}: {', '.join(numbers)}"
    if isinstance(scores, str):
        yield f"more in {scores} of the source repository"


def _networks(model: Model) -> Iterator[str]:
    for key, entry in model.card.get("networks", {}).items():
        file = model.path / str(entry.get("weights", ""))
        size = f", {file.stat().st_size / 1e6:.1f} MB" if file.is_file() else ""
        yield f"{key}: {entry.get('network')}, {entry.get('parameters', 0):,} weights{size}"
