"""Tune the islands of PyBDSF and Aegean on validation fields: most faint emission at reliability 0.9.

Fields of 256 x 256 pixels and seed 9000, the first with faint true regions: diffuse emission with white
noise, and at the clean beam's resolution. The aim is the completeness of pixels with a true S/N of 0.3 to 1
at a reliability of 0.9 (of pixels and of islands; `faintsky.evaluation.Segments`), all islands counted; where
no setting reaches that reliability, the highest reliability.

An island is, for both programs, what is connected above one threshold and reaches another. That is quickly
done without them, so that smoothing and thresholds are tuned by a flood fill; the programs are run with the
best, PyBDSF also with its wavelets (minutes a field). Settings go to
``src/faintsky/published/peers/tuned_islands.json``, all that was tried to
``reproduction/results/tuned_islands.json``.

    FAINTSKY_PEERS_PYTHON=... python -m reproduction.tune_islands [-n FIELDS] [--own FIELDS]
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from scipy.ndimage import label

from faintsky.evaluation import (
    SEGMENT_QUANTITIES,
    Field,
    Segments,
    SimulatedFields,
    program_islands,
    scored_islands,
    segment_statistic,
    segment_sums,
    true_regions,
)
from faintsky.evaluation.image_metrics import RELIABLE
from faintsky.published.peers import PEERS, TUNED, searched_image
from reproduction import common

SEED, SIZE = 9000, 256
KINDS = {"white": "noise", "correlated": "clean_ideal"}
SMOOTH = (0.0, 1.5, 2.5, 4.0)
"""FWHM of the smoothing, over the beam's."""
SEEDS, GROWN = (4.0, 5.0), (1.5, 2.0, 2.5, 3.0)
"""S/N of an island's peak, and of its pixels."""
WITH_WAVELETS = {"smooth": 0.0, "seed": 5.0, "grow": 3.0, "wavelets": True}
"""PyBDSF's own thresholds, and its wavelets instead of smoothing."""
Settings = dict[str, Any]


def with_faint_emission(cases: SimulatedFields, n: int) -> list[Field]:
    """The first fields with a true region above 0.3 times the noise."""
    fields: list[Field] = []
    for index in cases.indices:
        if len(fields) == n:
            break
        one = cases.load(index)
        if true_regions(one.truth / one.rms, 0.3, 1.133 * one.width**2)[1]:
            fields.append(one)
    return fields


def flooded(field: Field, s: Settings) -> Segments:
    """What is connected above ``grow`` and reaches ``seed``."""
    data = field.image.data / field.rms
    how = {"beam": field.beam, "correlation": field.correlation}
    image, rms, _ = searched_image(data, field.width, s["smooth"], **how)
    labels, n = label(image > s["grow"] * rms, structure=np.ones((3, 3)))
    keep = np.bincount(labels[image > s["seed"] * rms], minlength=n + 1) > 0
    keep[0] = False
    numbers = np.where(keep, np.cumsum(keep), 0)
    return scored_islands(numbers[labels], field, image / rms)


def measured(fields: list[Field], find: Callable[[Field], Segments]) -> Settings:
    """What the islands of some fields are worth."""
    begin = time.perf_counter()
    sums = [segment_sums(find(f), f.truth / f.rms, 1.133 * f.width**2) for f in fields]
    values = dict(zip(SEGMENT_QUANTITIES, segment_statistic(np.array(sums)).round(4).tolist()))
    kept = {k: v for k, v in values.items() if "at reliability" not in k and v == v}
    return {**kept, "seconds": round((time.perf_counter() - begin) / len(fields), 2)}


def worth(row: Settings) -> tuple[float, float]:
    """Faint completeness where the reliability suffices, less than nothing otherwise."""
    reliability = min(row.get("pixel reliability", 0.0), row.get("region reliability", 0.0))
    return (row["completeness 0.3"] if reliability >= RELIABLE else reliability - 2, reliability)


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("-n", type=int, default=6, help="fields of each kind for the flood fill")
    parser.add_argument("--own", type=int, default=2, help="fields for the programs themselves")
    given = parser.parse_args()
    home = TUNED
    journal = common.RESULTS / "tuned_islands.json"
    tuned: Settings = {program: {} for program in PEERS}
    # what was tried before is not tried again
    tried: Settings = json.loads(journal.read_text())["tried"] if journal.exists() else {}
    for kind, name in KINDS.items():
        fields = with_faint_emission(SimulatedFields("paper", name, tuple(range(200)), SEED, SIZE), given.n)
        rows = tried.setdefault("flood fill", {}).setdefault(kind, [])
        for smooth, seed, grow in product(SMOOTH, SEEDS, GROWN):
            if len(rows) < len(SMOOTH) * len(SEEDS) * len(GROWN):
                s = {"smooth": smooth, "seed": seed, "grow": grow}
                rows.append({**s, **measured(fields, partial(flooded, s=s))})
        best = {k: max(rows, key=worth)[k] for k in ("smooth", "seed", "grow")}
        print(kind, json.dumps(max(rows, key=worth)), flush=True)
        options = {"aegean": [best], "pybdsf": [{**best, "wavelets": False}, WITH_WAVELETS]}
        for program, settings in options.items():
            tuned[program][kind] = settings[0]
        for program, settings in options.items():
            own = tried.setdefault(program, {}).setdefault(kind, [])
            for s in settings:
                if not any(s.items() <= row.items() for row in own):
                    find = partial(program_islands, program=program, settings=s)
                    own.append({**s, **measured(fields[: given.own], find)})
                    print(kind, program, json.dumps(own[-1]), flush=True)
                tuned[program][kind] = {k: max(own, key=worth)[k] for k in s}
                home.write_text(json.dumps(tuned, indent=1) + "\n")
                text = json.dumps({"seed": SEED, "size": SIZE, "fields": given.n, "tried": tried})
                journal.write_text(text.replace("{", "\n{").lstrip() + "\n")


if __name__ == "__main__":
    main()
