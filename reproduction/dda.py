"""The tables and figures of Gheller & Vazza (2021), for several methods on the same fields of the cosmic web.

    python -m reproduction.dda [--models DIR,DIR] [--data DIR]... [-n N] [--size N] [--seed S]

Fields are of the webs of the split ``test2`` and seed 10006; everything that is fitted was fitted on others.
``--models`` are runs of ``faintsky train dda``, each shown the kinds of image that it was trained for, like
the shipped ones. ``--data`` are folders of ``faintsky simulate lofar`` with clean images, made from
visibilities; their sets are called ``full``. What each method makes of each field goes to ``--work DIR``, by
which an interrupted run goes on; tables and figures to ``reproduction/results/dda``.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from faintsky.evaluation import denoisers, evaluate, open_fields, simulated_sets
from faintsky.evaluation.images import OTHERS
from faintsky.io import provenance
from faintsky.models import load_model
from reproduction import common
from reproduction.dda_measures import PaperImages

METHODS = "denoiser,dda_noise,dda_clean,dda_dirty,starlet,gaussian,gaussian_paper,fft,input,constant"
KINDS = ("noise", "clean_ideal", "dirty")
TOLD = {
    "arguments": ("levels", "dense", "kernel", "tile"), "task": ("tiles",),
    "schedule": ("epochs", "batch_size", "learning_rate", "rate"),
}  # fmt: skip
"""What is recorded of a model's recipe."""
KEPT = ("maps", "zoom_sky1_sky", "zoom_sky1_noise", "cut_sky2_noise")
"""Maps that are kept, besides the figures of all sets together."""


def run(options: argparse.Namespace) -> None:
    """Evaluate, and keep what is small."""
    names = [n for n in (*options.models.split(","), *options.methods.split(",")) if n]
    models = {}
    for name in names:
        if name not in OTHERS:
            model = load_model(name, job="denoise")
            recipe = model.card.get("recipe", {})
            given = ((k, v) for part in TOLD for k, v in recipe.get(part, {}).items() if k in TOLD[part])
            numbers = {k: v for k, v in given if (k, v) != ("epochs", 0)}
            product = model.settings.get("product", "")
            models[Path(name).name] = {"product": product, "hash": model.hash, "recipe": numbers}
    kinds = [
        k
        for k in options.kinds.split(",")
        if k != "sky" or any(m["product"] == "sky" for m in models.values())
    ]
    sets: list[Any] = []
    for one in simulated_sets(("paper",), kinds, options.n, options.seed, options.size, options.web):
        few = options.dirty if one.kind == "dirty" and options.dirty else options.n
        sets.append(replace(one, indices=tuple(range(few))))
    for folder in options.data:
        for stored in open_fields(folder, options.n, ("dirty", "clean")):
            sets.append(replace(stored, label=f"full {stored.label or Path(folder).name}"))
    config = {
        "web": options.web, "size": options.size, "models": models,
        "sets": {s.name: len(s.indices) for s in sets},
    }  # fmt: skip
    record = provenance(command="python -m reproduction.dda", config=config, seed=options.seed)
    options.work.mkdir(parents=True, exist_ok=True)
    before = options.work / "run.json"
    made = json.loads(before.read_text())["config"]["models"] if before.is_file() else {}
    if any(made.get(name, {}).get("hash", m["hash"]) != m["hash"] for name, m in models.items()):
        sys.exit(f"{options.work} holds what other models of these names made; give another --work")
    kept = {**record, "config": {**record["config"], "models": {**made, **models}}}
    before.write_text(json.dumps(kept, indent=1) + "\n")
    evaluate(
        options.work, sets, denoisers(names, options.device), PaperImages(), seed=options.seed, run=record,
        progress=common.say,
    )  # fmt: skip
    keep(options.work, record)


def keep(work: Path, record: dict[str, Any]) -> None:
    """Copy tables, curves to four digits, and figures."""
    fields = ("maps", "zoom", "cut", "picture")
    figures = (work / "figures").glob("*.png")
    kept = [p for p in figures if not p.stem.startswith(fields) or p.stem.startswith(KEPT)]
    common.keep(work, "dda", ("table.md", "table.csv"), kept)
    found = json.loads((work / "results.json").read_text())
    text = json.dumps({"run": record, "versions": found["versions"], "curves": rounded(found["curves"])})
    (common.RESULTS / "dda" / "results.json").write_text(text.replace("}, ", "},\n") + "\n")


def rounded(value: Any) -> Any:
    """Numbers to four digits, in whatever holds them."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--models", default="", help="folders of trained autoencoders, by commas")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--data", action="append", default=[], help="folder with clean images")
    parser.add_argument("--web", default="test2")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("-n", type=int, default=8, help="fields of each set")
    parser.add_argument("--dirty", type=int, default=4, help="fewer dirty ones, which take longest")
    parser.add_argument("--size", type=int, default=1000, help="pixels a side")
    parser.add_argument("--seed", type=int, default=10006)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_dda"))
    run(parser.parse_args())


if __name__ == "__main__":
    main()
