"""Put a trained and fitted model among the shipped ones.

    python tools/ship_model.py RUN NAME --title TEXT --summary TEXT --scores FILE

RUN is a folder of ``faintsky train`` whose settings a script in ``benchmarks/`` has fitted. Card and weights
are copied, the text is added, and nothing else of the run goes along.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from faintsky.models import SHIPPED, load_model

LARGEST = 16e6
"""Bytes of a weights file, at most."""


def main() -> None:
    """Copy and check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    for option in ("title", "summary", "scores"):
        parser.add_argument(f"--{option}", required=True)
    given = parser.parse_args()
    model = load_model(given.run)
    recipe = dict(model.card.get("recipe", {}))
    command = str(recipe.get("command", ""))
    # where the run lay is of no interest to others
    recipe["command"] = command.replace(str(given.run), f"runs/{given.name}")
    card = {
        "name": given.name, "job": model.job, "title": given.title, "summary": given.summary,
        "scores": given.scores, "validation": model.card.get("scores", {}), "licence": "BSD-3-Clause",
        "version": model.card.get("version", ""), "recipe": recipe,
        "settings": model.settings, "networks": model.card["networks"],
    }  # fmt: skip
    folder = SHIPPED / given.name
    folder.mkdir(exist_ok=True)
    for entry in model.card["networks"].values():
        weights = given.run / entry["weights"]
        if weights.stat().st_size > LARGEST:
            raise SystemExit(f"{weights}: larger than {LARGEST / 1e6:.0f} MB")
        shutil.copyfile(weights, folder / entry["weights"])
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (folder / "model.json").write_text(text, encoding="utf-8")
    shipped = load_model(given.name)
    for key in shipped.card["networks"]:
        shipped.network(key)
    print(folder, shipped.hash)


if __name__ == "__main__":
    main()
