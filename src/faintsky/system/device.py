"""Where PyTorch computes."""

from __future__ import annotations

from faintsky.errors import InputError


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
