"""Source finders of others that are run as programs: what their slices share."""

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
    package : str
        What it is imported as.
    folder : pathlib.Path
        Of its slice, with ``program.py``, which has the functions ``sources(image, options)``, rows of
        `faintsky.published.peers.inside.KEYS`, and ``islands(image, options)``, labels ``[y, x]`` or None;
        and with ``model``, its shipped model.
    island_options : callable
        From tuned settings and the rms to what it takes in its search for islands.
    frequency : tuple of str
        The option that the image's frequency is given by, if any.
    """

    name: str
    package: str
    folder: Path
    island_options: Callable[[Mapping[str, Any], float], dict[str, Any]]
    frequency: tuple[str, ...] = ()


def add_peer(peer: Peer) -> None:
    """Make a program known, as a method on cubes and for islands of images."""
    PEERS[peer.name] = peer
    DETECTORS.add(peer.name, "faintsky.published.peers.run:find")
    MODELS.add(peer.name, peer.folder / "model")
