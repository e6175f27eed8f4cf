"""What training takes of the machine, before it begins."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from faintsky.system import BYTES_OF_TABLES, Needs

if TYPE_CHECKING:
    from faintsky.training.recipes import Plan

COSTS = {
    "local_unet": (2.3e-6, 1200), "dda": (4.6e-6, 1190), "blobs_finder": (2.2e-6, 640),
    "decoras": (7.2e-7, 400), "deep_gru": (9.9e-6, 16_000), "shape_resnet": (1.1e-5, 2800),
}  # fmt: skip
"""Seconds of a processor core, and bytes, that a step takes for each pixel or channel of each example, there
and back; measured with the recipes' own sizes."""
BYTES_FIXED, BYTES_A_WEIGHT, BYTES_A_WEIGHT_KEPT = 0.6e9, 28, 24
"""Memory of the libraries; a weight with gradient, two moments, average, best and a copy; and on disk, in the
model and in its checkpoint."""
SOURCES_A_CUBE = 4.5


def needs_of_training(network: str, plan: Plan, data: Path | None) -> Needs:
    """Of a whole run; of epochs over stored data by the number of their files.

    Parameters
    ----------
    network : str
        One that has a recipe.
    plan : Plan
    data : pathlib.Path or None
        The folder of data.
    """
    from faintsky.networks import make_network

    settings, arguments, schedule = plan.settings, plan.arguments, plan.schedule
    weights = sum(p.numel() for p in make_network(network, **arguments).parameters())
    seconds, memory = COSTS[network]
    pixels = _pixels(network, plan)
    steps, held = schedule.steps, 0.0
    if schedule.epochs:
        examples = _examples(network, plan, data)
        steps = schedule.epochs * max(1, examples // schedule.batch_size)
        held = 4.0 * examples * pixels  # both images of a pair, in half precision
    bank = 8e6 * settings["skies"] if settings.get("web") else 0.0
    return Needs(
        BYTES_FIXED + weights * BYTES_A_WEIGHT + schedule.batch_size * pixels * memory + held + bank,
        weights * BYTES_A_WEIGHT_KEPT + bank + BYTES_OF_TABLES,
        60.0 + steps * schedule.batch_size * pixels * seconds,
    )


def _pixels(network: str, plan: Plan) -> int:
    """Pixels or channels of an example."""
    settings, arguments = plan.settings, plan.arguments
    side = {"local_unet": settings.get("tile"), "dda": arguments.get("tile"), "shape_resnet": 64}
    if network == "deep_gru":
        return int(arguments["channels"])
    return int(side.get(network) or arguments["size"]) ** 2


def _examples(network: str, plan: Plan, data: Path | None) -> int:
    settings = plan.settings
    if network == "dda":
        fields = settings["fields"] if data is None else len(list(data.glob("*_truth.ecsv"))) or 1
        return int(settings["tiles"] or fields * (settings["size"] // plan.arguments["tile"]) ** 2)
    files = 0 if data is None else len(list(data.glob("*_compact.npz")))
    each = SOURCES_A_CUBE if network in ("deep_gru", "shape_resnet") else 1
    return math.ceil(files * settings["train"] * each)
