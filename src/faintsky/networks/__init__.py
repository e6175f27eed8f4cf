"""Networks by name: our own, and all that are registered.

They know tensors only, no file formats and no units. Each network's docstring describes its inputs and
outputs.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import create_model

from faintsky.registry import NETWORKS
from faintsky.system import Settings

if TYPE_CHECKING:
    import torch

__all__ = ["arguments_of", "make_network"]

NETWORKS.add("local_unet", "faintsky.networks.local_unet:LocalUNet")


def make_network(name: str, **arguments: Any) -> torch.nn.Module:
    """A network with fresh weights.

    Parameters
    ----------
    name : str
        One of `faintsky.registry.NETWORKS`.
    **arguments
        Arguments of its class.

    Raises
    ------
    InputError
        For an unknown name, or arguments that the network does not take.
    """
    arguments_of(name).read(arguments, what=f"argument of {name}")
    return NETWORKS[name](**arguments)


def arguments_of(name: str) -> type[Settings]:
    """A network's arguments with defaults and bounds, from the signature of its class."""
    made = NETWORKS[name]
    hints = get_type_hints(made.__init__, include_extras=True)
    fields: dict[str, Any] = {k: (hints[k], p.default) for k, p in signature(made).parameters.items()}
    return create_model(name, __base__=Settings, **fields)
