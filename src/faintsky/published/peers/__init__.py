"""Other source finders, run as programs.

Aegean (Hancock et al. 2012, 2018) and PyBDSF (Mohan & Rafferty 2015) fit elliptical Gaussians to the islands
of an image."""

from pathlib import Path
from typing import TYPE_CHECKING

from faintsky.registry import DETECTORS, MODELS
from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.published.peers.run import (
        TUNED,
        find_islands,
        fitted_gaussians,
        interpreter,
        island_options,
        searched_image,
    )

__all__ = [
    "PEERS", "TUNED", "find_islands", "fitted_gaussians", "interpreter", "island_options", "searched_image",
]  # fmt: skip
lazy(__name__)

PEERS = {"aegean": "AegeanTools", "pybdsf": "bdsf"}
"""The programs by name, with their Python packages."""
for name in PEERS:
    DETECTORS.add(name, "faintsky.published.peers.run:find")
    MODELS.add(name, Path(__file__).parent / name)
