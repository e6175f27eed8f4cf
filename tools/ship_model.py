"""Put a trained and fitted model among the shipped ones.

    python -m tools.ship_model RUN NAME --title TEXT --summary TEXT --scores FILE [--half]

RUN is a folder of ``faintsky train``, its thresholds fitted. Card and weights are copied, the text is added,
and nothing else of the run goes along. ``--half`` keeps the weights in half precision, and says by how much
the networks' answers to random numbers then differ.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from faintsky.models import SHIPPED, Model, load_model, save_model

LARGEST = 16e6
"""Bytes of a weights file, at most."""


def main() -> None:
    """Copy and check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    for option in ("title", "summary", "scores"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--half", action="store_true")
    given = parser.parse_args()
    model = load_model(given.run)
    recipe = dict(model.card.get("recipe", {}))
    command = str(recipe.get("command", ""))
    # where the run lay is of no interest to others
    recipe["command"] = command.replace(str(given.run), f"runs/{given.name}")
    known = {k: model.card[k] for k in ("version", "stages") if k in model.card}
    networks = {
        key: (entry["network"], entry["arguments"], model.network(key))
        for key, entry in model.card["networks"].items()
    }
    shipped = save_model(
        SHIPPED / given.name, name=given.name, job=model.job, settings=model.settings, networks=networks,
        half=given.half,
        card={
            "title": given.title, "summary": given.summary, "scores": given.scores,
            "validation": model.card.get("scores", {}), "licence": "BSD-3-Clause", "recipe": recipe, **known,
        },
    )  # fmt: skip
    for entry in shipped.card["networks"].values():
        if (shipped.path / entry["weights"]).stat().st_size > LARGEST:
            raise SystemExit(f"{entry['weights']}: larger than {LARGEST / 1e6:.0f} MB")
    for key in networks:
        print(f"{key}: answers differ by {difference(model, shipped, key):.2g} of their spread")
    print(shipped.path, shipped.hash)


def difference(model: Model, shipped: Model, key: str) -> float:
    """Largest difference of two copies' answers to random numbers, over the answers' standard deviation."""
    entry: dict[str, Any] = model.card["networks"][key]
    size = (
        entry["arguments"].get("size") or entry["arguments"].get("tile") or entry["arguments"].get("channels")
    )
    before, after = model.network(key), shipped.network(key)
    torch.manual_seed(0)
    with torch.no_grad():
        seen = before.example(int(size or 64))  # type: ignore[operator]
        old, new = before(*seen), after(*seen)
    old, new = (v[0] if isinstance(v, tuple) else v for v in (old, new))
    return float((new - old).abs().max() / old.std().clamp_min(1e-12))


if __name__ == "__main__":
    main()
