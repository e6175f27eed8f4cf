"""Common code of other source finders that are run as programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky.registry import DETECTORS, MODELS
from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.published.peers.run import TUNED, find_islands, interpreter, searched_image

__all__ = ["PEERS", "TUNED", "Peer", "add_peer", "find_islands", "interpreter", "searched_image"]
lazy(__name__)

PEERS: dict[str, Peer] = {}
"""The programs by name."""


@dataclass(frozen=True)
class Peer:
    """A program.

    Parameters
    ----------
    name : str
        Its name.
    package : str
        Its Python package.
    folder : pathlib.Path
        Folder of its slice, with ``model``, its shipped model, and ``program.py``. This has the functions
        ``sources(image, options)``, which returns rows of `faintsky.published.peers.inside.KEYS`, and
        ``islands(image, options)``, which returns labels ``[y, x]`` or None.
    island_options : callable
        From tuned settings and the rms to its options for the search for islands.
    frequency : tuple of str
        Its option for the image's frequency, if any.
    """

    name: str
    package: str
    folder: Path
    island_options: Callable[[Mapping[str, Any], float], dict[str, Any]]
    frequency: tuple[str, ...] = ()


def add_peer(peer: Peer) -> None:
    """Register a program as a method for cubes and for islands of images."""
    PEERS[peer.name] = peer
    DETECTORS.add(peer.name, "faintsky.published.peers.run:find")
    MODELS.add(peer.name, peer.folder / "model")
