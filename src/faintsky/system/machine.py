"""The machine: versions of what is installed, and where PyTorch computes."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from faintsky.errors import InputError


def versions(*packages: str) -> dict[str, str]:
    """Version numbers of installed packages; ``0+unknown`` for one that is not installed as a package."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "0+unknown"
    return found


__version__ = versions("faintsky")["faintsky"]
"""Of this package."""


def choose_device(device: str) -> str:
    """A torch device's name for ``"auto"``, ``"cpu"``, ``"cuda"`` …

    Raises
    ------
    InputError
        Where it is not there.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        name = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is not known", "choose auto, cpu or cuda") from error
    if name.type == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here", "choose --device cpu")
    return device
