"""Smooth-and-clip on validation cubes: every setting in turn, in rounds, for the highest F1.

See `tune_baselines`, which calls it for the preset ``paper``; for another kind of cubes::

    python -m reproduction.tune_smooth_clip emitters varied lines [--jobs J]

``lines`` are those of `benchmarks.line_cubes_made`, of seeds from 9000 on. The searches and linkings of all
cubes are done first and kept as lists of objects; sizes, S/N, reliability and boxes are then tuned on these
lists.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from benchmarks import line_cubes_made
from faintsky import detection
from faintsky.evaluation import SimulatedCubes
from faintsky.io import open_cube
from faintsky.matching import reliability_of
from faintsky.models import load_model
from faintsky.published.smooth_clip import Objects, Scaled, link, measure_objects, scaled_cube, search
from reproduction import common
from reproduction.tune_baselines import (
    LEAST_PB,
    SEED,
    TRUTH,
    Candidates,
    best,
    box_table,
    counts,
    load,
    ship,
)


@dataclass(frozen=True)
class Kind:
    """A kind of cubes: the card that is tuned, how many cubes, what counts as found, and where one looks."""

    card: str
    cubes: int
    criterion: str
    least_pb: float = 0.0


KINDS = {
    "paper": Kind("smooth_clip", 14, "iou", LEAST_PB),
    "emitters": Kind("smooth_clip_emitters", 12, "position"),
    "varied": Kind("smooth_clip_varied", 12, "position"),
    "lines": Kind("smooth_clip_lines", 12, "position"),
}
SMALL = (("size", 160),)
"""Settings of simulated cubes that are not the paper's: settings in pixels are the same in larger ones."""

SCALES = {
    "fine": {"spatial_kernels": [0, 3, 6], "spectral_kernels": [0, 3, 7, 15]},
    "paper": {"spatial_kernels": [3, 5, 7, 9, 11], "spectral_kernels": [3, 5, 7, 9, 11]},
}
THRESHOLDS = (3.5, 4.0, 4.5, 5.5)
LINKS = ((1, 1), (2, 2), (3, 3), (4, 2))
PAPER_LINKS = ((1, 1), (3, 3), (5, 5))
PAPER_CUBES = 2
"""Cubes for the paper's settings, with which every cube is slow."""
GRID: dict[str, tuple[Any, ...]] = {
    "least_snr": (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0),
    "least_xy": (1, 3, 5, 7, 9),
    "least_z": (1, 2, 3, 4, 5),
    "reliability": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999),
    "kernel_scale": (0.2, 0.3, 0.4, 0.6, 0.8),
    "box_rule": tuple(
        [("mask", xy, z) for xy in (0.6, 0.7, 0.8, 0.9, 1.0) for z in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)]
        + [
            ("moments", xy, z)
            for xy in (1.75, 2.0, 2.25, 2.5, 2.75)
            for z in (1.75, 2.0, 2.25, 2.5, 2.75, 3.0)
        ]
    ),
}
START = {
    "least_snr": 3.0, "least_xy": 5, "least_z": 3, "reliability": 0.9, "kernel_scale": 0.4,
    "box_rule": ("mask", 0.8, 0.8),
}  # fmt: skip
Lists = dict[tuple[Any, ...], Any]


def cube_of(kind: str, index: int) -> tuple[Any, Table]:
    """A validation cube of a kind, and its truth."""
    if kind == "paper":
        return load(index)
    if kind != "lines":
        cube, truth = SimulatedCubes(kind, (index,), SEED, SMALL).load(index)
        return cube, box_table({name: truth[name] for name in TRUTH})
    hanning, galaxy = list(line_cubes_made.VARIANTS.values())[index % 4]
    with tempfile.TemporaryDirectory() as folder:
        line_cubes_made.make(Path(folder), SEED + index, hanning=hanning, galaxy=galaxy)
        truth = Table.read(Path(folder) / "truth.ecsv")
        cube = open_cube(Path(folder) / "cube.fits")
        cube.data  # noqa: B018 - read before the file is gone
    return cube, box_table({name: truth[name] for name in ("x", "y", "z", "fwhm_z")})


@lru_cache(maxsize=16)
def prepared(
    kind: str, index: int, settings: tuple[tuple[str, Any], ...]
) -> tuple[Any, tuple[int, ...], Scaled]:
    """Truth, shape and scaled data of a validation cube; kept, since one process sees them several times."""
    cube, truth = cube_of(kind, index)
    return truth, cube.shape, scaled_cube(cube, dict(settings))


def objects_of(
    index: int, plans: list[tuple[dict[str, Any], tuple[tuple[int, int], ...]]], kind: str = "paper"
) -> Lists:
    """Objects of both signs in a cube, for every search and linking."""
    out: Lists = {}
    for settings, links in plans:
        names = ("continuum", "noise_scaling", "central", "least_pb")
        chosen = tuple((name, settings[name]) for name in names if name in settings)
        out["truth"], out["shape"], s = prepared(kind, index, chosen)
        sign = search(s, settings)
        for radii in links:
            found = []
            for direction in (1, -1):
                labels, n = link(sign == direction, *radii)
                objects = measure_objects(direction * s.data, labels, n)
                good = objects.total > 0
                found.append(_moved(objects.select(good), s.corner))
            out[name_of(settings), radii] = (*found, s.beam_area)
    return out


def name_of(settings: dict[str, Any]) -> tuple[Any, ...]:
    """What a search is known by."""
    kernels = tuple(settings["spatial_kernels"]), tuple(settings["spectral_kernels"])
    return settings["continuum"], settings["noise_scaling"], kernels, settings["threshold"]


def _moved(objects: Objects, corner: tuple[int, int]) -> Objects:
    values = dict(objects.__dict__)
    for name in ("low", "high", "centre"):
        values[name] = values[name] + np.array([0, *corner])
    return Objects(**values)


def candidates(lists: Lists, key: tuple[Any, ...], s: dict[str, Any]) -> Candidates:
    """What the finder would return of one cube at reliability 0, with the reliabilities."""
    positive, negative, area = lists[key]
    kept, points = [], []
    for objects in (positive, negative):
        snr = objects.total / np.sqrt(objects.voxels * area)
        large = (objects.sides[:, 0] >= s["least_z"]) & (objects.sides[:, 1:] >= s["least_xy"]).all(axis=1)
        good = objects.select(large & (snr >= s["least_snr"]))
        kept.append(good)
        points.append(np.log10(np.stack([good.peak, good.total, good.total / good.voxels], axis=1)))
    good = kept[0]
    kind, factor_xy, factor_z = s["box_rule"]
    columns: dict[str, Any] = {}
    for name, axis in (("x", 2), ("y", 1)):
        low, high = detection.whole_pixels(
            good.low[:, axis], good.high[:, axis], good.centre[:, axis], good.spread[:, axis], kind,
            factor_xy, lists["shape"][axis],
        )  # fmt: skip
        columns |= {name: good.centre[:, axis], f"{name}_min": low, f"{name}_max": high}
    middle, half = detection.box_span(
        good.low[:, 0], good.high[:, 0], good.centre[:, 0], good.spread[:, 0], kind, factor_z
    )
    columns |= {"z": good.centre[:, 0], "z_min": middle - half, "z_max": middle + half}
    reliability = reliability_of(points[0], points[1], s["kernel_scale"])
    return Candidates(box_table(columns), {"reliability": np.where(reliability > 0, reliability, -1.0)})


def score(
    cubes: list[Lists], key: tuple[Any, ...], s: dict[str, Any], criterion: str = "iou"
) -> dict[str, Any]:
    """Counts and F1 over all cubes."""
    found = [candidates(c, key, s) for c in cubes]
    return counts([c["truth"] for c in cubes], found, [{"reliability": s["reliability"]}], criterion)[0]


def climb(
    cubes: list[Lists], key: tuple[Any, ...], start: dict[str, Any], rounds: int = 1, criterion: str = "iou"
) -> dict[str, Any]:
    """The settings after the search, each in turn, from a start; with their score."""
    now, top = dict(start), score(cubes, key, start, criterion)
    for _ in range(rounds):
        before = top["f1"]
        for name in ("box_rule", "least_snr", "reliability", "least_xy", "least_z", "kernel_scale"):
            for value in GRID[name]:
                tried = score(cubes, key, now | {name: value}, criterion)
                if tried["f1"] > top["f1"]:
                    now, top = now | {name: value}, tried
        if top["f1"] == before:
            break
    return best([now | top])


def tune_smooth_clip(n: int, jobs: int, kind: str = "paper") -> dict[str, Any]:
    """Thresholds first, then kernels, then linking; of `paper` cubes the paper's settings, too."""
    of = KINDS[kind]
    base = {"continuum": False, "noise_scaling": True, "least_pb": of.least_pb}
    rows: list[dict[str, Any]] = []
    start = dict(START)

    def tried(settings: list[dict[str, Any]], links: tuple[tuple[int, int], ...]) -> list[Lists]:
        nonlocal start
        cubes = common.parallel(partial(objects_of, plans=[(s, links) for s in settings], kind=kind), n, jobs)
        for s in settings:
            for radii in links:
                found = climb(cubes, (name_of(s), radii), start, criterion=of.criterion)
                rows.append({**s, "link_xy": radii[0], "link_z": radii[1], **found})
        top = best(rows)
        start = {name: top[name] for name in START}
        return cubes

    tried([{**base, **SCALES["fine"], "threshold": t} for t in THRESHOLDS], ((2, 2),))
    threshold = best(rows)["threshold"]
    tried([{**base, **SCALES["paper"], "threshold": threshold}], ((2, 2),))
    names = ("continuum", "noise_scaling", "least_pb", "spatial_kernels", "spectral_kernels", "threshold")
    top = best(rows)
    settings = {name: top[name] for name in names}
    cubes = tried([settings], LINKS)
    top = best(rows)
    radii = top["link_xy"], top["link_z"]
    if (name_of(settings), radii) in cubes[0]:
        last = climb(cubes, (name_of(settings), radii), start, rounds=3, criterion=of.criterion)
        top = {**top, **last}
    box, box_xy, box_z = top["box_rule"]
    picked = (*names, "link_xy", "link_z", "least_xy", "least_z", "least_snr", "kernel_scale", "reliability")
    ship(of.card, {k: top[k] for k in picked} | {"box": box, "box_xy": box_xy, "box_z": box_z})
    return {"best": top, "tried": rows} | (_paper(jobs) if kind == "paper" else {})


def _paper(jobs: int) -> dict[str, Any]:
    """The paper's settings with its grid of linking radii, at its threshold of 0.5 and at SoFiA's own, 5.

    The radius of the best row at 0.5 is shipped as ``smooth_clip_paper``.
    """
    s = dict(load_model("smooth_clip_paper").settings)
    start = {name: s[name] for name in START if name in s} | {"box_rule": ("mask", 1.0, 1.0)}
    plans = [({**s, "threshold": t}, PAPER_LINKS) for t in (0.5, 5.0)]
    cubes = common.parallel(partial(objects_of, plans=plans), PAPER_CUBES, jobs)
    grid = []
    for settings, links in plans:
        for radii in links:
            found = score(cubes, (name_of(settings), radii), start)
            row = {"threshold": settings["threshold"], "link_xy": radii[0], "link_z": radii[1], **found}
            grid.append(row)
    chosen = best([r for r in grid if r["threshold"] == 0.5])
    ship("smooth_clip_paper", {"link_xy": chosen["link_xy"], "link_z": chosen["link_z"]})
    return {"paper_cubes": PAPER_CUBES, "paper_grid": grid, "paper_settings": chosen}


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("kinds", nargs="+", choices=[k for k in KINDS if k != "paper"])
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    for kind in options.kinds:
        of = KINDS[kind]
        found = {
            "cubes": of.cubes,
            "criterion": of.criterion,
            **tune_smooth_clip(of.cubes, options.jobs, kind),
        }
        common.write("tuned_baselines.json", {**common.read("tuned_baselines.json"), of.card: found})
        print(of.card, found["best"])


if __name__ == "__main__":
    main()
