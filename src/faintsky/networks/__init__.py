"""Networks, made by name: our own, and whatever else is registered. They know tensors only.

No file formats and no units: what goes in and comes out is said in each network's docstring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faintsky.errors import InputError
from faintsky.registry import NETWORKS

if TYPE_CHECKING:
    import torch

__all__ = ["example_inputs", "make_network"]

NETWORKS.add("local_unet", "faintsky.networks.local_unet:LocalUNet")


def make_network(name: str, **arguments: Any) -> torch.nn.Module:
    """A network with fresh weights.

    Parameters
    ----------
    name : str
        One of `faintsky.registry.NETWORKS`.
    **arguments
        Of its class.

    Raises
    ------
    InputError
        For an unknown name, or arguments that the network does not take.
    """
    build = NETWORKS[name]
    try:
        network: torch.nn.Module = build(**arguments)
    except TypeError as error:
        raise InputError(f"network {name!r}: {error}", "see its docstring for the arguments") from error
    return network


def example_inputs(name: str, size: int = 32) -> tuple[torch.Tensor, ...]:
    """Inputs of about ``size`` pixels a side for a network, drawn from torch's generator."""
    example: tuple[torch.Tensor, ...] = NETWORKS[name].example(size)
    return example
