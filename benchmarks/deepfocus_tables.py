"""The tables and figures of Delli Veneri et al. (2022), Section 5, for several methods on the same cubes.

    python benchmarks/deepfocus_tables.py [--deepfocus DIR] [--methods A,B] [-n N] [--seed S] [--jobs J]
    python benchmarks/deepfocus_tables.py --docs | --check

Searches ``-n`` cubes of `paper` and fewer of `emitters`, `varied` and `empty` with every method, twice: as it
is, and deep, for the recall at a precision of 0.99. The catalogues go to ``--work DIR``, by which an
interrupted run goes on; tables and figures to ``benchmarks/results/deepfocus``; the numbers into
``docs/deepfocus.md``, between its markers. ``--docs`` does only that last step; ``--check`` fails where the
page is not what the results say.

Nothing is fitted on seed 0: thresholds and settings come from seeds 1 and 9000.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "deepfocus"
PAGE = HERE.parent / "docs" / "deepfocus.md"
METHODS = ("classical", "flood_fill", "flood_fill_paper", "smooth_clip", "decoras")
"""Those of them that are shipped are run."""
SAME_CHANNELS = ("paper", "emitters", "empty")
"""Sets of 128 channels: Deep GRU takes no others."""
SLOW, WITH_SOURCES = ("smooth_clip", "pybdsf", "aegean"), ("paper", "emitters", "varied")
"""What takes most of the time, and what it is run on."""
SHARES = {"paper": 1.0, "emitters": 0.5, "varied": 0.5, "empty": 0.5}
"""Cubes of each set, in units of ``-n``; at most 100 empty ones."""
TABLES = ("table", "table4", "table5", "funnel", "blends", "stages", "residuals")


def methods_of(asked: str | None, deepfocus: str | None) -> dict[str, int | None]:
    """Names and folders of the methods to run, and of how many cubes of a set each sees, where not of all."""
    from faintsky.models import list_models

    shipped = {m.name for m in list_models()}
    names = asked.split(",") if asked else [m for m in METHODS if m in shipped]
    parts = [name.partition("=") for name in names + ([deepfocus] if deepfocus else [])]
    return {name: int(few) if few else None for name, _, few in parts}


def run(options: argparse.Namespace) -> None:
    """Search, score, and keep what is small."""
    from faintsky.evaluation.alma import CURVE_RELIABILITY, evaluate_sets
    from faintsky.evaluation.cubes import SimulatedSet
    from faintsky.evaluation.runs import method_of
    from faintsky.evaluation.scoring import load_scored
    from faintsky.io import provenance

    names = methods_of(options.methods, options.deepfocus)
    sizes = {s: max(1, round(f * options.n)) for s, f in SHARES.items() if s in options.sets.split(",")}
    if "empty" in sizes:
        sizes["empty"] = min(sizes["empty"], 100)
    sets = [SimulatedSet(s, tuple(range(k)), options.seed) for s, k in sizes.items()]
    label = [
        Path(name).name + (f", the first {few} cubes of each set" if few else "")
        for name, few in names.items()
    ]
    config = {"sets": sizes, "seed": options.seed, "methods": label}
    record = provenance(command="python benchmarks/deepfocus_tables.py", config=config, seed=options.seed)
    options.work.mkdir(parents=True, exist_ok=True)
    only = {options.deepfocus: SAME_CHANNELS} | dict.fromkeys(SLOW, WITH_SOURCES)
    methods, deep = [], []
    for name, few in names.items():
        least = min((k for k in (few, options.deep) if k), default=None)
        methods.append(method_of(name, most=few, sets=only.get(name)))
        deep.append(method_of(name, "cpu", CURVE_RELIABILITY, least, only.get(name)))
    evaluate_sets(
        options.work, sets, methods, deep,
        seed=options.seed, jobs=options.jobs, run=record,
        progress=lambda done, total, word: print(f"{word} {done}/{total}", flush=True),
    )  # fmt: skip
    keep(options.work)
    best = next(iter(names))
    near = {s.name: near_seven(load_scored(options.work, s, method_of(best))) for s in sets}
    (RESULTS / "found_near_7.json").write_text(json.dumps({best: near}, indent=1) + "\n")
    (RESULTS / "run.json").write_text(json.dumps(record, indent=1) + "\n")


def near_seven(scored: Any) -> dict[str, int]:
    """How many of the true sources with matched S/N 6.5 to 7.5 were found: a plain count beside the fit."""
    inside = abs(scored.joined("snr") - 7.0) <= 0.5
    return {"sources": int(inside.sum()), "found": int(scored.detected("position")[inside].sum())}


def keep(work: Path) -> None:
    """Copy tables, and figures as PNG of few colours."""
    shutil.rmtree(RESULTS / "figures", ignore_errors=True)
    (RESULTS / "figures").mkdir(parents=True)
    for name in TABLES:
        shutil.copy(work / f"{name}.csv", RESULTS)
    shutil.copy(work / "table.md", RESULTS)
    for path in sorted((work / "figures").glob("*.png")):
        small(path, RESULTS / "figures" / path.name)


def small(source: Path, target: Path, most: int = 150_000) -> None:
    """A PNG of at most so many bytes, by fewer colours and, if need be, fewer pixels."""
    from PIL import Image

    image = Image.open(source).convert("RGB")
    scale = 1.0
    while True:
        size = (round(image.width * scale), round(image.height * scale))
        resized = image.resize(size, Image.Resampling.LANCZOS) if scale < 1 else image
        resized.quantize(64, dither=Image.Dither.NONE).save(target, optimize=True)
        if target.stat().st_size <= most:
            return
        scale *= 0.85


# ---------------------------------------------------------------------- the page


def rows_of(name: str) -> list[dict[str, str]]:
    """A tracked table."""
    with (RESULTS / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def pm(row: dict[str, str], key: str, digits: int = 3) -> str:
    """A number with its error, or a dash."""
    value = float(row[key] or "nan")
    return "–" if value != value else f"{value:.{digits}f} ± {float(row[f'{key}_error']):.{digits}f}"


def plain(text: str, form: str) -> str:
    """A number, or a dash."""
    value = float(text or "nan")
    return "–" if value != value else format(value, form)


def markdown(header: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(r) + " |" for r in [header, ["---"] * len(header), *lines])


def size_block() -> str:
    """What the numbers rest on."""
    config = json.loads((RESULTS / "run.json").read_text())["config"]
    sets = ", ".join(f"{n} of `{name}`" for name, n in config["sets"].items())
    few = config["sets"].get("paper", 0) < 200 or config["seed"] != 0
    trial = "\n\n**A small trial run on other seeds than the test set's, not the evaluation.**" if few else ""
    return f"Cubes of seed {config['seed']}: {sets}. Methods: {'; '.join(config['methods'])}.{trial}"


def table4_block() -> str:
    """Table 4 of the `paper` set."""
    header = ["method", "criterion", "TP", "FP", "FN", "precision", "recall", "mean IoU",
              "recall at precision ≥ 0.99", "of cubes"]  # fmt: skip
    lines = []
    for r in rows_of("table4"):
        if r["cubes"] == "paper" and r["criterion"] in ("iou", "iou2d", "position", "position2d"):
            counts = [f"{r[k]} ({100 * float(r[k + '_share']):.1f} %)" for k in ("tp", "fn")]
            scores = [pm(r, k) for k in ("precision", "recall", "iou_2d", "pure_recall")]
            lines.append(
                [r["method"], r["criterion"], counts[0], r["fp"], counts[1], *scores, r["pure_cubes"]]
            )
    return markdown(header, lines)


def table5_block() -> str:
    """Table 5 of the `paper` set: all matched sources, and in brackets the isolated ones."""
    header = ["method", "parameter", "unit", "mean", "std", "robust scatter", "Cramér–Rao bound",
              "scatter / bound (isolated)", "within 1 %", "10 %", "20 %"]  # fmt: skip
    rows = [r for r in rows_of("table5") if r["cubes"] == "paper"]
    alone = {(r["method"], r["parameter"]): r for r in rows if r["subset"] == "isolated"}
    lines = []
    for r in rows:
        if r["subset"] != "all":
            continue
        other = alone.get((r["method"], r["parameter"]), {})
        ratio = f"{plain(r['over_bound'], '.2f')} ({plain(other.get('over_bound', ''), '.2f')})"
        shares = [plain(r[f"within_{p}"], ".2f") for p in (1, 10, 20)]
        numbers = [plain(r[k], ".3g") for k in ("mean", "std", "scatter", "bound")]
        lines.append([r["method"], r["parameter"], r["unit"], *numbers, ratio, *shares])
    return markdown(header, lines)


def funnel_block() -> str:
    """Steps of the methods that report them, over the `paper` set."""
    rows = [r for r in rows_of("funnel") if r["cubes"] == "paper"]
    if not rows:
        return "No method of this run reports its steps."
    names = ("method", "step", "count", "removed", "lost", "duplicate", "false")
    return markdown(list(names), [[r[k] for k in names] for r in rows])


def others_block() -> str:
    """The other sets, by position."""
    header = ["set", "method", "precision", "recall", "recall at precision ≥ 0.99", "true sources"]
    lines = []
    for r in rows_of("table4"):
        if r["cubes"] != "paper" and r["criterion"] in ("position", "position2d"):
            scores = [pm(r, k) for k in ("precision", "recall", "pure_recall")]
            lines.append([r["cubes"], r["method"], *scores, r["n_true"]])
    empty = [r for r in rows_of("table") if r["cubes"] == "empty"]
    text = markdown(header, lines) if lines else ""
    for r in empty:
        text += f"\n\nFalse sources in {r['n_cubes']} empty cubes, {r['method']}: {r['fp']}."
    return text


def blends_block() -> str:
    """Share of overlapping pairs of which both sources were found, over all sets."""
    names = ("method", "cubes", "overlap_from", "overlap_to", "n")
    header = ["method", "set", "overlap from", "to", "pairs", "both found", "68 %"]
    lines = [
        [*(r[k] for k in names), plain(r["split"], ".2f"),
         f"{plain(r['low'], '.2f')}–{plain(r['high'], '.2f')}"]
        for r in rows_of("blends")
    ]  # fmt: skip
    return markdown(header, lines) if lines else "No sources overlap in these cubes."


def picked_blends_block() -> str:
    """The same on cubes picked for their blends, by ``blends.py``."""
    lines = [
        [name, f"{r['overlap_from']:g}–{min(r['overlap_to'], 1):g}", str(r["n"]), f"{r['split']:.2f}",
         f"{r['low']:.2f}–{r['high']:.2f}"]
        for name, found in json.loads((RESULTS.parent / "blends.json").read_text()).items()
        for r in found["rows"]
    ]  # fmt: skip
    return markdown(["method", "overlap", "pairs", "both found", "68 %"], lines)


def stages_block() -> str:
    """Time and memory of each stage on the `paper` set."""
    rows = [r for r in rows_of("stages") if r["cubes"] == "paper"]
    header = ["method", "stage", "CPU seconds a cube", "clock (median)", "peak memory [GB]"]
    lines = [
        [r["method"], r["stage"], plain(r["cpu_seconds"], ".2f"), plain(r["seconds_median"], ".2f"),
         plain(str(float(r["memory_mb"] or "nan") / 1e3), ".2f")]
        for r in rows
    ]  # fmt: skip
    return markdown(header, lines)


def casa_block() -> str:
    """The same skies through CASA and through the fast simulator."""
    found = json.loads((RESULTS.parent / "casa_pairs.json").read_text())
    lines = [
        [criterion, score, *(f"{found[criterion][score][k]:.3f}" for k in ("casa", "fast")),
         f"{found[criterion][score]['difference']:+.3f} ± {found[criterion][score]['error']:.3f}"]
        for criterion in ("position", "iou") for score in ("recall", "precision")
    ]  # fmt: skip
    table = markdown(["criterion", "score", "CASA's cubes", "ours", "difference"], lines)
    return f"`{found['method']}` on {found['pairs']} pairs with {found['sources']} sources:\n\n{table}"


BLOCKS = {
    "casa pairs": casa_block,
    "size": size_block,
    "table 4": table4_block,
    "table 5": table5_block,
    "funnel": funnel_block,
    "other sets": others_block,
    "blends": blends_block,
    "picked blends": picked_blends_block,
    "time and memory": stages_block,
}


def filled(text: str) -> str:
    """The page with every block made anew."""
    for name, block in BLOCKS.items():
        start, end = f"<!-- {name}: python benchmarks/deepfocus_tables.py -->", f"<!-- end of {name} -->"
        head, rest = text.split(start)
        text = f"{head}{start}\n\n{block()}\n\n{end}{rest.split(end)[1]}"
    return text


def write_page(check: bool) -> Any:
    """Fill the page, or only say whether it is up to date."""
    text = PAGE.read_text(encoding="utf-8")
    new = filled(text)
    if not check:
        PAGE.write_text(new, encoding="utf-8")
    elif new != text:
        sys.exit("docs/deepfocus.md: its numbers are not those of benchmarks/results; run this with --docs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_deepfocus"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-n", type=int, default=200, help="cubes of the set paper")
    parser.add_argument("--deep", type=int, help="cubes of each set searched deep; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sets", default=",".join(SHARES))
    parser.add_argument(
        "--methods", help="by default all that are shipped; NAME=K sees the first K cubes only"
    )
    parser.add_argument("--deepfocus", metavar="DIR", help="a model of faintsky train deepfocus")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not (options.docs or options.check):
        run(options)
    write_page(options.check)


if __name__ == "__main__":
    main()
