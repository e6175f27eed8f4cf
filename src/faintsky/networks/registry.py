"""The registry: a network's name is the name of its file in this folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky.errors import InputError

if TYPE_CHECKING:
    import torch

_BUILDERS: dict[str, type[torch.nn.Module]] = {}
_NOT_NETWORKS = {"__init__", "registry", "layers"}


def register(cls: type[torch.nn.Module]) -> type[torch.nn.Module]:
    """Class decorator: make the network known by its module's name.

    The class has a static method ``example(size) -> tuple of Tensor``: inputs of about that many pixels a
    side, on which every registered network is tested.
    """
    _BUILDERS[cls.__module__.rpartition(".")[2]] = cls
    return cls


def list_networks() -> list[str]:
    """Names that `make_network` takes."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in _NOT_NETWORKS)


def _builder(name: str) -> Callable[..., torch.nn.Module]:
    if name not in list_networks():
        raise InputError(f"no network of the name {name!r}", f"known: {', '.join(list_networks())}")
    import_module(f"faintsky.networks.{name}")
    return _BUILDERS[name]


def make_network(name: str, **arguments: Any) -> torch.nn.Module:
    """A network with fresh weights.

    Parameters
    ----------
    name : str
        One of `list_networks`.
    **arguments
        Of its class.

    Raises
    ------
    InputError
        For an unknown name, or arguments that the network does not take.
    """
    build = _builder(name)
    try:
        return build(**arguments)
    except TypeError as error:
        raise InputError(f"network {name!r}: {error}", "see its docstring for the arguments") from error


def example_inputs(name: str, size: int = 32) -> tuple[torch.Tensor, ...]:
    """Inputs of about ``size`` pixels a side for a network, drawn from torch's generator."""
    return _builder(name).example(size)  # type: ignore[attr-defined]
