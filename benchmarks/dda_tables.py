"""The tables and figures of Gheller & Vazza (2021), for several methods on the same fields of the cosmic web.

    python benchmarks/dda_tables.py [--models DIR,DIR] [--data DIR]... [-n N] [--size N] [--seed S]
    python benchmarks/dda_tables.py --docs | --check

Fields are of the test split's webs and seed 0; everything that is fitted was fitted on others. ``--models``
are runs of ``faintsky train dda``, each shown the kinds of image that it was trained for. ``--data`` are
folders of ``faintsky simulate lofar`` with clean images, made from visibilities; their sets are called
``full``. What each method makes of each field goes to ``--work DIR``, by which an interrupted run goes on;
tables and figures to ``benchmarks/results/dda``; the numbers into ``docs/autoencoder.md``, between its
markers. ``--docs`` does only that last step; ``--check`` fails where the page is not what the results say.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from deepfocus_tables import markdown, small

from faintsky.evaluation.lofar_tables import BASELINES, shown, table_of

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "dda"
PAGE = HERE.parent / "docs" / "autoencoder.md"
METHODS = "denoiser,starlet,gaussian,gaussian_paper,fft,threshold,clean,input,constant"
OURS = "denoiser"
KINDS = ("sky", "noise", "clean_ideal", "dirty")
TOLD = {
    "arguments": ("levels", "dense", "kernel", "tile"), "task": ("tiles",),
    "schedule": ("epochs", "batch_size", "learning_rate", "rate"),
}  # fmt: skip
"""What the page says of a model's recipe."""
KEPT = ("maps", "zoom_sky1_sky", "zoom_sky1_noise", "cut_sky2_noise")
"""Maps that are kept, besides the figures of all sets together."""
Rows = list[dict[str, Any]]


def run(options: argparse.Namespace) -> None:
    """Evaluate, and keep what is small."""
    from faintsky.evaluation.fields import simulated_sets
    from faintsky.evaluation.image_methods import make_methods
    from faintsky.evaluation.lofar import evaluate_fields
    from faintsky.evaluation.stored_fields import open_fields
    from faintsky.io import provenance
    from faintsky.models import load_model

    names = [n for n in (*options.models.split(","), *options.methods.split(",")) if n]
    models = {}
    for name in names:
        if name not in BASELINES:
            model = load_model(name, job="denoise")
            recipe = model.card.get("recipe", {})
            given = ((k, v) for part in TOLD for k, v in recipe.get(part, {}).items() if k in TOLD[part])
            numbers = {k: v for k, v in given if (k, v) != ("epochs", 0)}
            product = model.settings.get("product", "")
            models[Path(name).name] = {"product": product, "hash": model.hash, "recipe": numbers}
    kinds = [k for k in options.kinds.split(",") if k != "sky" or "sky" in products(models)]
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
    record = provenance(command="python benchmarks/dda_tables.py", config=config, seed=options.seed)
    options.work.mkdir(parents=True, exist_ok=True)
    before = options.work / "run.json"
    made = json.loads(before.read_text())["config"]["models"] if before.is_file() else {}
    if any(made.get(name, {}).get("hash", m["hash"]) != m["hash"] for name, m in models.items()):
        sys.exit(f"{options.work} holds what other models of these names made; give another --work")
    kept = {**record, "config": {**record["config"], "models": {**made, **models}}}
    before.write_text(json.dumps(kept, indent=1) + "\n")
    evaluate_fields(
        options.work, sets, make_methods(names, options.device), seed=options.seed, run=record,
        progress=lambda done, total, word: print(f"{word} {done}/{total}", flush=True),
    )  # fmt: skip
    keep(options.work, record)


def products(models: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Names of the autoencoders by what they denoise."""
    # of several the first
    return {str(m["product"]): name for name, m in reversed(models.items()) if m["product"]}


def keep(work: Path, record: dict[str, Any]) -> None:
    """Copy tables, curves to four digits, and figures as PNG of few colours."""
    shutil.rmtree(RESULTS / "figures", ignore_errors=True)
    (RESULTS / "figures").mkdir(parents=True)
    for name in ("table.md", "table.csv"):
        shutil.copy(work / name, RESULTS)
    found = json.loads((work / "results.json").read_text())
    text = json.dumps({"run": record, "versions": found["versions"], "curves": rounded(found["curves"])})
    (RESULTS / "results.json").write_text(text.replace("}, ", "},\n") + "\n")
    fields = ("maps", "zoom", "cut", "picture")
    for path in sorted((work / "figures").glob("*.png")):
        if not path.stem.startswith(fields) or path.stem.startswith(KEPT):
            small(path, RESULTS / "figures" / path.name)


def rounded(value: Any) -> Any:
    """Numbers to four digits, in whatever holds them."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


# ---------------------------------------------------------------------- the page


def rows_of() -> Rows:
    """The tracked table, its numbers as numbers."""
    with (RESULTS / "table.csv").open() as file:
        found: Rows = list(csv.DictReader(file))
    for row in found:
        for key in ("snr_low", "snr_high", "value", "error", "n"):
            row[key] = float(row[key]) if row[key] not in ("", "None") else None
    return found


def config_of() -> dict[str, Any]:
    """What the numbers rest on."""
    return dict(json.loads((RESULTS / "results.json").read_text())["run"]["config"])


def size_block() -> str:
    """Fields, models, and whether it is the real thing."""
    record = json.loads((RESULTS / "results.json").read_text())["run"]
    config = record["config"]
    lines = [
        f"Webs of the split `{config['web']}`, seed {record['seed']}; fields of {config['size']}² pixels: "
        + ", ".join(f"{n} of {name}" for name, n in config["sets"].items())
        + "."
    ]
    if config["web"] != "test" or record["seed"] != 0 or min(config["sets"].values()) < 3:
        lines += ["**A small trial run, not on the test set: not the evaluation.**"]
    known = []
    for name, model in config["models"].items():
        words = [f"for `{model['product']}`"] if model["product"] else []
        words += [f"{k} {v}" for k, v in model["recipe"].items()]
        known.append(f"- `{name}` ({model['hash']}){': ' * bool(words)}{', '.join(words)}")
    return "\n\n".join(lines) + "\n\n" + "\n".join(known)


def tables(ends: str, columns: Sequence[tuple[str, float | None, str]]) -> str:
    """The sets whose names end so, a table each."""
    rows, parts = rows_of(), []
    for name in dict.fromkeys(r["set"] for r in rows):
        if name.endswith(f" {ends}") and (table := table_of(rows, name, columns)):
            parts.append(f"**{name}**\n\n{table}")
    return "\n".join(parts).rstrip("\n") if parts else "This run has no such images."


ERRORS = [("error", low, f"S/N {words}") for low, words in (
    (0.1, "0.1–0.3"), (0.3, "0.3–1"), (1.0, "1–3"), (3.0, "3–10"), (10.0, "10–30"))]  # fmt: skip
MEASURES = [
    ("sigma_MRE", None, "σ_MRE"), ("MSE", None, "MSE"), ("Delta_c", None, "Δc"),
    ("1 - C(0)", None, "1 − C(0)"), ("C falls [arcsec]", None, "C(r) falls at [″]"),
    ("dimming of their sum", None, "brightest 1 % dimmer by"),
]  # fmt: skip
SHARP = [(f"{q}, beam taken out", low, words) for q, low, words in MEASURES if "falls" not in q]
REGIONS = [
    ("completeness at reliability", 0.1, "pixels of S/N 0.1–0.3"),
    ("completeness at reliability", 0.3, "0.3–1"), ("completeness at reliability", 1.0, "1–3"),
    ("regions detected at reliability", 0.3, "regions of S/N 0.3–1"),
    ("pixel reliability", None, "its own pixels true"), ("region reliability", None, "its own regions true"),
    ("false regions per deg2", None, "false regions a deg²"),
]  # fmt: skip
FLUXES = [
    ("flux ratio, all", 5.0, "apertures, median"), ("flux ratio, mean", 5.0, "mean"),
    ("region flux ratio, all", 5.0, "own regions, median"), ("region flux ratio, mean", 5.0, "mean"),
    ("peak ratio, all", 10.0, "peaks above S/N 10, median"),
]  # fmt: skip


def kind_block(kind: str) -> Callable[[], str]:
    """Errors, the paper's measures, regions, fluxes of one kind of image."""

    def block() -> str:
        rows = rows_of()
        sharp = [r for r in rows if r["set"].endswith(f" {kind}") and "beam taken out" in r["quantity"]]
        parts = [
            ("Rms error of the pixels, over the noise, and the paper's measures", ERRORS + MEASURES),
            *([("Answers with the beam taken out, beside the true sky itself", SHARP)] if sharp else []),
            ("Regions at a reliability of 0.9, and false ones", REGIONS),
            ("Found over true flux above S/N 5", FLUXES),
        ]
        return "\n\n".join(f"*{title}*\n\n{tables(kind, columns)}" for title, columns in parts)

    return block


def identity_block() -> str:
    """The Identity test."""
    columns = [
        ("sigma_MRE", None, "σ_MRE"), ("sigma_MRE, scatter of fields", None, "scatter of fields"),
        ("sigma_MRE", 0.1, "S/N 0.1–0.3"), ("sigma_MRE", 1.0, "1–3"), ("sigma_MRE", 10.0, "10–30"),
        *(m for m in MEASURES if m[0] != "sigma_MRE"),
    ]  # fmt: skip
    return tables("sky", columns)


def skies_block() -> str:
    """Reach of the true sky's correlation."""
    lines = []
    for r in rows_of():
        if r["quantity"] == "C of the true sky falls [arcsec]" and r["method"] == "input":
            lines.append([r["set"], shown(r)])
    return markdown(["set", "C(r) of the true sky below 0.01 at [″]"], lines)


def targets_block() -> str:
    """Ours beside the autoencoder of that kind and the best method without training."""
    rows, config = rows_of(), config_of()
    known = {(r["method"], r["set"], r["quantity"], r["snr_low"]): r for r in rows}
    trained = products(config["models"])
    lines = []
    for name in config["sets"]:
        kind = name.rpartition(" ")[2]
        if kind == "sky":  # nothing to take out
            continue
        published = trained.get("clean" if kind == "clean_ideal" else kind, "") or trained.get("noise", "")
        for quantity, low, words in (*ERRORS, ("Delta_c", None, "Δc"), ("1 - C(0)", None, "1 − C(0)")):
            ours, theirs = (known.get((m, name, quantity, low)) for m in (OURS, published))
            others = {m: r["value"] for m in BASELINES if (r := known.get((m, name, quantity, low)))}
            if ours is None or not others:
                continue
            best = min(others, key=lambda m: others[m])
            ratio = "–" if theirs is None else f"{ours['value'] / theirs['value']:.2f}"
            over = ours["value"] / others[best]
            lines.append([name, "error, " + words if quantity == "error" else words, shown(ours),
                          f"{shown(theirs)} ({published})" if theirs else "–", ratio,
                          f"{others[best]:.3g} ({best})", f"{over:.2f}"])  # fmt: skip
    header = ["set", "quantity", "ours", "autoencoder", "ours / it", "best of the rest", "ours / that"]
    return markdown(header, lines) if lines else "This run lacks our denoiser."


AIMS = [
    ("dimming of their sum", None, "brightest 1 % of pixels: dimmer by at most 0.05", -0.05, 0.05),
    ("completeness at reliability", 0.3, "S/N 0.3–1: outlined at reliability 0.9, at least 0.8", 0.8, 1.0),
    ("false regions per deg2", None, "false regions a square degree of empty fields: at most 1", 0.0, 1.0),
    ("region flux ratio, all", 5.0, "flux of own regions above S/N 5, median: within 0.05 of 1", 0.95, 1.05),
    ("flux ratio, all", 5.0, "flux in apertures above S/N 5, median: within 0.05 of 1", 0.95, 1.05),
]  # fmt: skip


def aims_block() -> str:
    """What this package set out to reach, and where it is reached."""
    rows, config = rows_of(), config_of()
    known = {(r["method"], r["set"], r["quantity"], r["snr_low"]): r for r in rows}
    trained, sets = products(config["models"]), list(config["sets"])
    lines = []
    identities = [n for n, m in config["models"].items() if m["product"] == "sky"]
    for model, name in product(identities, (s for s in sets if s.endswith(" sky"))):
        row = known.get((model, name, "sigma_MRE", None))
        if row:
            whose, most = ("Identity", 0.159) if model == identities[0] else ("Identity's variant", 0.05)
            met = "yes" if row["value"] <= most else "no"
            lines.append([f"σ_MRE of the {whose}: at most {most}", model, name, shown(row), met])
    for quantity, low, words, least, most in AIMS:
        for name in sets:
            row = known.get((OURS, name, quantity, low))
            if row:
                met = least <= row["value"] <= most
                lines.append([words, OURS, name, shown(row), "yes" if met else "no"])
    for name in sets:
        published = trained.get(name.rpartition(" ")[2], "")
        ours, theirs = (known.get((m, name, "CPU seconds a field", None)) for m in (OURS, published))
        if ours and theirs:
            ratio = ours["value"] / theirs["value"]
            words = "processor time over the autoencoder's: at most 1"
            lines.append([words, OURS, name, f"{ratio:.2f}", "yes" if ratio <= 1 else "no"])
    return markdown(["aim", "method", "set", "measured", "reached"], lines) if lines else "Nothing to tell."


FIGURES = (
    ("correlation", "C(r) of every method and set"), ("histograms", "Histograms of the brightness"),
    ("error", "Rms error by the true S/N of the pixel"), ("discrepancy", "Differences of the histograms"),
    ("maps_sky1_noise", "sky1, Noise"), ("maps_sky2_noise", "sky2, Noise"),
    ("maps_full_sky1_clean", "sky1, Clean"), ("maps_full_sky2_clean", "sky2, Clean"),
    ("maps_sky1_dirty", "sky1, Dirty"), ("maps_sky2_dirty", "sky2, Dirty"),
)  # fmt: skip


def figures_block() -> str:
    """Those that the run has."""
    folder = RESULTS / "figures"
    known = [(n, words) for n, words in FIGURES if (folder / f"{n}.png").is_file()]
    return "\n\n".join(f"![{words}](../benchmarks/results/dda/figures/{n}.png)" for n, words in known)


def cost_block() -> str:
    """Time and memory of each method."""
    columns = [("seconds a field", None, "seconds"), ("CPU seconds a field", None, "of the processor"),
               ("peak memory [MB]", None, "peak memory [MB]")]  # fmt: skip
    size = config_of()["size"]
    return f"Fields of {size}² pixels (`full` ones as they are).\n\n" + "\n\n".join(
        t for kind in ("noise", "dirty", "clean") if not (t := tables(kind, columns)).startswith("This run")
    )


GRIDS = {
    "a1": "Table A1: architectures of the Identity",
    "b1": "Table B1: the Identity's training",
    "b2": "Table B2: the Noise model's training",
    "b3": "Table B3: the Clean model's training",
}


def grids_block() -> str:
    """The grids of `dda_grid.py` that were run, reduced or not, beside the paper's."""
    parts = []
    for name, words in GRIDS.items():
        path = RESULTS.parent / "dda_grid" / f"{name}.json"
        if path.is_file():
            run = json.loads(path.read_text())
            tiles = run["task"]["tiles"] or "all"
            fixed = {"a1": f", batches of {run['schedule']['batch_size']}"}.get(name, "")
            parts.append(f"**{words}**; here {tiles} tiles{fixed}, {run['schedule']['epochs']} epochs")
            parts.append(path.with_suffix(".md").read_text().strip())
    return "\n\n".join(parts) or "None was run."


BLOCKS: dict[str, Callable[[], str]] = {
    "size": size_block,
    "skies": skies_block,
    "identity": identity_block,
    "noise": kind_block("noise"),
    "clean": kind_block("clean"),
    "ideally clean": kind_block("clean_ideal"),
    "dirty": kind_block("dirty"),
    "figures": figures_block,
    "side by side": targets_block,
    "aims": aims_block,
    "grids": grids_block,
    "time and memory": cost_block,
}


def filled(text: str) -> str:
    """The page with every block made anew."""
    for name, block in BLOCKS.items():
        start, end = f"<!-- {name}: python benchmarks/dda_tables.py -->", f"<!-- end of {name} -->"
        head, rest = text.split(start)
        made = block().strip() if (RESULTS / "table.csv").is_file() else "Not measured yet."
        text = f"{head}{start}\n\n{made}\n\n{end}{rest.split(end)[1]}"
    return text


def write_page(check: bool) -> None:
    """Fill the page, or only say whether it is up to date."""
    text = PAGE.read_text(encoding="utf-8")
    new = filled(text)
    if not check:
        PAGE.write_text(new, encoding="utf-8")
    elif new != text:
        sys.exit("docs/autoencoder.md: its numbers are not those of benchmarks/results; run this with --docs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="", help="folders of trained autoencoders, by commas")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--data", action="append", default=[], help="folder with clean images")
    parser.add_argument("--web", default="test")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("-n", type=int, default=8, help="fields of each set")
    parser.add_argument("--dirty", type=int, help="fewer dirty ones, which take longest")
    parser.add_argument("--size", type=int, default=1000, help="pixels a side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_dda"))
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not (options.docs or options.check):
        run(options)
    write_page(options.check)


if __name__ == "__main__":
    main()
