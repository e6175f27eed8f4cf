"""PyBDSF (Mohan & Rafferty 2015), which fits elliptical Gaussians to the islands of an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faintsky.published.peers import Peer, add_peer


def island_options(settings: Mapping[str, Any], rms: float) -> dict[str, Any]:
    """Options with the true noise and no background, because subtracting it would remove diffuse emission."""
    return {
        "thresh": "hard", "thresh_pix": settings["seed"], "thresh_isl": settings["grow"], "rms_map": False,
        "rms_value": rms, "mean_map": "zero", "atrous_do": bool(settings["wavelets"]), "frequency": 150e6,
    }  # fmt: skip


add_peer(Peer("pybdsf", "bdsf", Path(__file__).parent, island_options, ("frequency",)))
