"""Architectures, one a file, made by name. They know tensors only: no file formats, no units."""

from faintsky.networks.registry import example_inputs, list_networks, make_network

__all__ = ["example_inputs", "list_networks", "make_network"]
