"""Networks, made by name: our own, and whatever else is registered. They know tensors only.

No file formats and no units: what goes in and comes out is said in each network's docstring.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import create_model

from faintsky.registry import NETWORKS
from faintsky.system import Settings

if TYPE_CHECKING:
    import torch

__all__ = ["arguments_of", "example_inputs", "make_network"]

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
    arguments_of(name).read(arguments, what=f"argument of {name}")
    network: torch.nn.Module = NETWORKS[name](**arguments)
    return network


def arguments_of(name: str) -> type[Settings]:
    """A network's arguments with their defaults and bounds, as the signature of its class has them."""
    made = NETWORKS[name]
    hints = get_type_hints(made.__init__, include_extras=True)
    fields: dict[str, Any] = {k: (hints[k], p.default) for k, p in signature(made).parameters.items()}
    return create_model(name, __base__=Settings, **fields)


def example_inputs(name: str, size: int = 32) -> tuple[torch.Tensor, ...]:
    """Inputs of about ``size`` pixels a side for a network, drawn from torch's generator."""
    example: tuple[torch.Tensor, ...] = NETWORKS[name].example(size)
    return example
