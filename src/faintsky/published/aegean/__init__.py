"""Aegean (Hancock et al. 2012, 2018), which fits elliptical Gaussians to the islands of an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faintsky.published.peers import Peer, add_peer


def island_options(settings: Mapping[str, Any], rms: float) -> dict[str, Any]:
    """Options with the true noise and no background, because subtracting it would remove diffuse emission."""
    return {"innerclip": settings["seed"], "outerclip": settings["grow"], "rms": rms, "bkg": 0.0}


add_peer(Peer("aegean", "AegeanTools", Path(__file__).parent, island_options))
