"""Tune the detection methods that ours are compared with, on validation cubes.

Cubes of the preset ``paper``, seed 9000 (the evaluation uses seed 0). The objective is F1 by the criteria of
Delli Veneri et al. (2022), Section 5.1: centres of the boxes within 3 pixels and IoU of at least 0.6, one to
one; along frequency too for what finds sources in three dimensions. The paper's own grids are walked as
well, for the variants ``NAME_paper``. The settings go into ``NAME/model.json`` of the method's slice,
what was measured into ``reproduction/results/tuned_baselines.json``.

    python -m reproduction.tune_baselines flood_fill smooth_clip pybdsf aegean [--jobs J]
    python -m reproduction.tune_baselines decoras --model FOLDER

FOLDER is what `faintsky.published.decoras.find.join_networks` wrote; its card takes the settings. PyBDSF and
Aegean have to be installed (``FAINTSKY_PEERS_PYTHON`` names the interpreter that has them).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from faintsky import detection
from faintsky.beams import convolved
from faintsky.evaluation import Setting, SimulatedCubes, with_boxes
from faintsky.matching import CRITERIA, assign
from faintsky.models import load_model
from faintsky.published.decoras import find as decoras
from faintsky.published.peers import fitted_gaussians
from reproduction import common

SEED = 9000
CUBES = {"flood_fill": 50, "decoras": 50, "pybdsf": 8, "aegean": 8, "smooth_clip": 14}
LEAST_PB = 0.5
"""Where the primary beam is weaker, the tuned methods need not look: there are no sources."""
BOXES_2D = [("mask", f) for f in (0.6, 0.7, 0.8, 0.9, 1.0, 1.1)] + [
    ("moments", f) for f in (1.75, 2.0, 2.25, 2.5, 2.75, 3.0)
]
TRUTH = ("x", "y", "z", "fwhm_z", "x_min", "x_max", "y_min", "y_max", "z_min", "z_max")


@dataclass
class Candidates:
    """Boxes of one cube, and values by which rows are dropped."""

    boxes: Table
    values: dict[str, np.ndarray]


def counts(
    truths: Sequence[Table],
    found: Sequence[Candidates],
    limits: Iterable[dict[str, float]],
    criterion: str = "iou2d",
) -> list[dict[str, Any]]:
    """Score lists cut at several limits ``{value: least}``: the admissible pairs are found once."""
    rule = CRITERIA[criterion]
    pairs = [rule.pairs(t, f.boxes) if len(t) and len(f.boxes) else None for t, f in zip(truths, found)]
    rows = []
    for limit in limits:
        tp = n_found = 0
        for truth, f, pair in zip(truths, found, pairs):
            keep = np.ones(len(f.boxes), dtype=bool)
            for name, least in limit.items():
                keep &= f.values[name] >= least
            n_found += int(keep.sum())
            if pair is not None:
                i, j, cost = pair
                ok = keep[j]
                tp += len(assign(i[ok], j[ok], cost[ok], len(truth), len(f.boxes)))
        n_true = sum(len(t) for t in truths)
        rows.append(
            {
                **limit,
                "tp": tp,
                "fp": n_found - tp,
                "fn": n_true - tp,
                "f1": 2 * tp / max(n_found + n_true, 1),
            }
        )
    return rows


def best(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of the highest F1, with its precision and recall."""
    row = max(rows, key=lambda r: r["f1"])
    tp, fp, fn = row["tp"], row["fp"], row["fn"]
    return row | {"precision": tp / max(tp + fp, 1), "recall": tp / max(tp + fn, 1)}


def box_table(columns: dict[str, Any]) -> Table:
    """A table of what the criteria need; what is not given is NaN."""
    unknown = np.full(len(columns["x"]), np.nan)
    values = {name: unknown for name in ("z", "z_min", "z_max")} | columns
    return Table({name: np.asarray(value, dtype=float) for name, value in values.items()})


def flat_boxes(blobs: Sequence[Any], kind: str, factor: float, shape: tuple[int, int]) -> Table:
    """Boxes of flood-fill islands under one rule."""
    ends = np.array([b.box for b in blobs], dtype=float).reshape(-1, 4)
    spread = np.array([b.spread for b in blobs], dtype=float).reshape(-1, 2)
    columns: dict[str, Any] = {}
    for name, k, n in (("x", 0, shape[1]), ("y", 1, shape[0])):
        centre = np.array([getattr(b, name) for b in blobs], dtype=float)
        low, high = detection.whole_pixels(
            ends[:, 2 * k], ends[:, 2 * k + 1], centre, spread[:, k], kind, factor, n
        )
        columns |= {name: centre, f"{name}_min": low, f"{name}_max": high}
    return box_table(columns)


def load(index: int) -> tuple[Any, Table]:
    """A validation cube and its truth, boxes by the set's rule."""
    import torch

    torch.set_num_threads(1)
    cube, truth = SimulatedCubes("paper", (index,), SEED).load(index)
    return cube, box_table({name: truth[name] for name in TRUTH})


@dataclass
class Picture:
    """Integrated image of a validation cube, whole and where the primary beam is above `LEAST_PB`."""

    image: np.ndarray
    inner: np.ndarray
    truth: Table
    beam: tuple[float, float, float]
    frequency: float


def picture(index: int) -> Picture:
    """Simulate a validation cube and integrate it."""
    cube, truth = load(index)
    image = detection.integrated_image(cube)
    inner = detection.integrated_image(cube, {"least_pb": LEAST_PB})
    return Picture(image, inner, truth, detection.beam_of(cube), float(np.median(cube.frequencies)))


def tune_flood_fill(n: int, jobs: int) -> dict[str, Any]:
    """T_d and T_f over the paper's grid, for two noise maps and every box rule."""
    from faintsky.preparing import noise_map, robust_sigma
    from faintsky.published.blobcat import flood_fill

    pictures = common.parallel(picture, n, jobs)
    truths = [p.truth for p in pictures]
    rows, paper = [], []
    for noise, least_pb in (("map", 0.0), ("map", LEAST_PB), ("global", LEAST_PB)):
        boxes = BOXES_2D if least_pb else [("mask", 1.0)]
        cut = []
        for p in pictures:
            shown = p.inner if least_pb else p.image
            valid = np.isfinite(shown)
            rms = (
                noise_map(np.nan_to_num(shown), valid, float(np.sqrt(p.beam[0] * p.beam[1])))
                if noise == "map"
                else np.full(shown.shape, robust_sigma(shown[valid], clip=3.0))
            )
            cut.append((shown, rms))
        for flood in range(1, 11):
            blobs = [flood_fill(shown, rms, max(2, flood), flood)[1] for shown, rms in cut]
            values = [{"detect": np.array([b.snr for b in found])} for found in blobs]
            for kind, factor in boxes:
                lists = [
                    Candidates(flat_boxes(b, kind, factor, p.image.shape), v)
                    for b, v, p in zip(blobs, values, pictures)
                ]
                limits = [{"detect": float(d)} for d in range(2, 16) if d >= flood]
                found = counts(truths, lists, limits)
                head = {"noise": noise, "least_pb": least_pb, "flood": float(flood)}
                rows += [{**head, "box": kind, "box_factor": factor, **r} for r in found]
                if not least_pb:
                    paper += [{"flood": float(flood), **r} for r in found]
    chosen = best(rows)
    as_published = next(r for r in paper if (r["detect"], r["flood"]) == (8, 4))
    names = ("detect", "flood", "noise", "least_pb", "box", "box_factor")
    ship("flood_fill", {name: chosen[name] for name in names})
    return {
        "best": chosen, "paper_grid_best": best(paper), "paper_settings": best([as_published]),
        "paper_grid": paper,
    }  # fmt: skip


def ship(name: str, settings: dict[str, Any], folder: Path | None = None) -> None:
    """Put settings into a model's card."""
    card = (folder or load_model(name).path) / "model.json"
    text = json.loads(card.read_text(encoding="utf-8"))
    text["settings"] |= settings
    card.write_text(json.dumps(text, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def program_of(index: int, program: str, settings: Sequence[dict[str, Any]]) -> tuple[list[Any], Table]:
    """What a program finds in a cube with each of several options, down to low S/N."""
    p = picture(index)
    found = [fitted_gaussians(program, p.inner / 128, 0.1, p.beam, p.frequency, s) for s in settings]
    tables = []
    for f in found:
        maj, minor, pa = convolved(f["maj"], f["min"], f["pa"], p.beam, sign=-1)
        columns = {"x": f["x"], "y": f["y"], "fwhm_z": f["x"] * np.nan}
        table = box_table(columns | {"dc_maj": maj, "dc_min": minor, "dc_pa": pa})
        # in pixels: a cell of one
        boxes = with_boxes(table, Setting((1, *p.image.shape), 1.0, 0.0, []))
        tables.append(Candidates(boxes, {"least_snr": f["peak"] / f["rms"]}))
    return tables, p.truth


OPTIONS: dict[str, list[dict[str, Any]]] = {
    "pybdsf": [{"thresh": "hard", "thresh_pix": 4.0, "thresh_isl": t} for t in (3.0, 4.0)],
    "aegean": [{"innerclip": 4.0, "outerclip": t} for t in (3.0, 4.0)],
}


def tune_program(program: str, n: int, jobs: int) -> dict[str, Any]:
    """The island threshold of PyBDSF or Aegean, and the S/N that a source needs at its peak."""
    runs = common.parallel(partial(program_of, program=program, settings=OPTIONS[program]), n, jobs)
    truths = [truth for _, truth in runs]
    rows = []
    for k, options in enumerate(OPTIONS[program]):
        limits = [{"least_snr": 0.5 * s} for s in range(8, 31)]
        rows += [{"options": options, **r} for r in counts(truths, [t[k] for t, _ in runs], limits)]
    chosen = best(rows)
    ship(program, {name: chosen[name] for name in ("options", "least_snr")})
    return {"best": chosen, "grid": rows}


def tune_decoras(n: int, jobs: int, folder: Path) -> dict[str, Any]:
    """The threshold and scales of ``blob_dog`` and the radius of the box, for each network and for both."""
    model = load_model(folder)
    pictures = common.parallel(picture, n, jobs)
    truths = [p.truth for p in pictures]
    shape = pictures[0].image.shape
    keys = sorted(model.card["networks"])
    maps = {key: [decoras.network_image(p.image, model, key) for p in pictures] for key in keys}
    rows: dict[str, list[dict[str, Any]]] = {}
    chosen: dict[str, Any] = {}
    offset = (shape[0] - 256) // 2
    for sigma in (1.0, 1.5, 2.0, 3.0):
        for threshold in (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2):
            s = decoras.SETTINGS | {"threshold": threshold, "min_sigma": sigma}
            lists = {key: [decoras.blobs(sky, s) for sky in maps[key]] for key in keys}
            if len(keys) > 1:
                pairs = zip(lists[keys[0]], lists[keys[1]])
                lists["both"] = [decoras.agreeing(a, b, s["agree"]) for a, b in pairs]
            for which, found in lists.items():
                for radius in (1.5, 1.75, 2.0, 2.25, 2.5, 3.0):
                    tables = [Candidates(dog_boxes(f, radius, offset, shape), {}) for f in found]
                    scores = {c: counts(truths, tables, [{}], c)[0] for c in ("iou2d", "position2d")}
                    head = {"min_sigma": sigma, "threshold": threshold, "radius": radius}
                    row = {**head, **scores["iou2d"], "without_iou": scores["position2d"]}
                    rows.setdefault(which, []).append(row)
    for which, found in rows.items():
        as_published = [r for r in found if r["radius"] == 3.0]
        by_distance = max(found, key=lambda r: r["without_iou"]["f1"])
        chosen[which] = {
            "best": best(found), "best_radius_3": best(as_published), "best_without_iou": by_distance
        }  # fmt: skip
    used = "both" if "both" in chosen else keys[0]
    ship("decoras", {k: chosen[used]["best"][k] for k in ("min_sigma", "threshold", "radius")}, folder)
    return {"networks": chosen, "shipped": used}


def dog_boxes(found: np.ndarray, radius: float, offset: int, shape: tuple[int, int]) -> Table:
    """Boxes of blobs of the middle of an image, as `faintsky.published.decoras.find.find` makes them."""
    columns: dict[str, Any] = {}
    for name, axis, n in (("x", 1, shape[1]), ("y", 0, shape[0])):
        at = found[:, axis] + offset
        low, high = detection.whole_pixels(at, at, at, found[:, 2], "moments", radius, n)
        columns |= {name: at, f"{name}_min": low, f"{name}_max": high}
    return box_table(columns)


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("methods", nargs="+", choices=sorted(CUBES))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--model", type=Path, help="folder of the decoras networks")
    options = parser.parse_args()
    for method in options.methods:
        n = CUBES[method]
        if method == "flood_fill":
            result = tune_flood_fill(n, options.jobs)
        elif method == "decoras":
            result = tune_decoras(n, options.jobs, options.model)
        elif method == "smooth_clip":
            from reproduction.tune_smooth_clip import tune_smooth_clip

            result = tune_smooth_clip(n, options.jobs)
        else:
            result = tune_program(method, n, options.jobs)
        name = options.model.name if method == "decoras" else method
        known = common.read("tuned_baselines.json")
        common.write("tuned_baselines.json", {**known, name: {"cubes": n, **result}})
        print(method, {k: v for k, v in result.items() if "grid" not in k or "best" in k})


if __name__ == "__main__":
    main()
