"""Tune the filters without training on validation fields: least rms error inside sources.

Fields have seed 9000; `denoise_methods.py` uses seed 0. Each set (preset and kind of image) has its own
settings, which go to ``src/faintsky/classical/tuned_filters.json``; the errors of everything that was tried
go to ``benchmarks/results/tuned_filters.json``. A starlet's thresholds are tuned for each scale, one after
the other, from the best of some to begin with. On dirty images the starlet takes the sidelobes out by major
cycles, as the network does, and starts from the settings of the perfectly deconvolved image.

    python benchmarks/tune_filters.py [-n FIELDS]
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.classical import filters
from faintsky.evaluation.fields import KINDS, PRESETS, Field, SimulatedFields
from faintsky.evaluation.image_methods import filter_field
from faintsky.evaluation.image_metrics import INSIDE, PIXEL_EDGES, pixel_sums

SEED = 9000
SIGMAS = (0.0, 0.4, 0.6, 0.8, 1.0, 1.4, 2.0, 2.8, 4.0, 6.0)
CUTS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.75)
LEVELS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 12.0)
SCALES = 6
Settings = dict[str, Any]


class Tuning:
    """Errors of settings on the fields of one set; remembers what was tried."""

    def __init__(self, fields: list[Field]) -> None:
        self.fields = fields
        self.tried: list[dict[str, Any]] = []

    def error(self, name: str, settings: Settings) -> float:
        """Rms error inside sources, over the noise."""
        sums = sum(
            pixel_sums(filter_field(f, name, **settings) / f.rms, f.truth / f.rms) for f in self.fields
        )
        inside = np.asarray(sums)[PIXEL_EDGES[:-1] >= INSIDE]
        value = float(np.sqrt(inside[:, 2].sum() / inside[:, 0].sum()))
        self.tried.append({"filter": name, **settings, "error": round(value, 4)})
        return value

    def best(self, name: str, options: list[Settings]) -> Settings:
        """The best of some settings."""
        return min(options, key=lambda settings: self.error(name, settings))

    def starlet(self) -> Settings:
        """Thresholds common or falling, with and without what else there is; then each scale's own."""
        ways = (
            {"soft": True, "positive": True},
            {"positive": True},
            {"positive": True, "iterations": 4},
            {"iterations": 4},
        )
        common = [[k] * SCALES for k in (1.0, 2.0, 3.0)]
        falling = [[4.0, 2.0, 1.0, 0.0, 0.0, 0.0], [12.0, 3.0, 1.0, 0.0, 0.0, 0.0]]
        start = [{"k": k, "scales": SCALES, **way} for k, way in product([*common, *falling], ways)]
        found = self.best("starlet", start)
        least = self.error("starlet", found)
        for _ in range(2):
            before = least
            for j, level in product(range(SCALES), LEVELS):
                trial = {**found, "k": [*found["k"][:j], level, *found["k"][j + 1 :]]}
                if trial["k"] != found["k"] and (value := self.error("starlet", trial)) < least:
                    found, least = trial, value
            if before - least < 1e-3:
                break
        return found

    def starlet_of_dirty(self, start: Settings) -> Settings:
        """The perfectly deconvolved image's, some higher, in major cycles; or a common threshold."""
        options = [
            {**start, "k": [max(k, low) for k in start["k"]], "positive": True, "cycles": True}
            for low in (0.0, 2.0, 3.0)
        ]
        common = {"k": [3.0] * SCALES, "scales": SCALES, "positive": True, "cycles": True}
        return self.best("starlet", [*options, common, {**common, "k": [4.0] * SCALES}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=6, help="fields of each set")
    options = parser.parse_args()
    tuned: dict[str, dict[str, Settings]] = {"starlet": {}, "gaussian": {}, "fft": {}}
    tried = {}
    order = sorted(KINDS, key=["noise", "clean_ideal", "dirty"].index)
    for preset, kind in product(PRESETS, order):
        cases = SimulatedFields(preset, kind, tuple(range(options.n)), SEED)
        tuning = Tuning([cases.load(i) for i in cases.indices])
        tuned["gaussian"][cases.name] = tuning.best("gaussian", [{"sigma": s} for s in SIGMAS])
        tuned["fft"][cases.name] = tuning.best("fft", [{"cut": c} for c in CUTS])
        if kind == "dirty":
            start = tuned["starlet"][f"{preset} clean_ideal"]
            tuned["starlet"][cases.name] = tuning.starlet_of_dirty(start)
        else:
            tuned["starlet"][cases.name] = tuning.starlet()
        tried[cases.name] = tuning.tried
        for name in tuned:
            best = min(t["error"] for t in tuning.tried if t["filter"] == name)
            print(cases.name, name, best, tuned[name][cases.name], flush=True)
    home = Path(filters.__file__).parent / "tuned_filters.json"
    home.write_text(json.dumps(tuned, indent=1) + "\n")
    out = Path(__file__).parent / "results" / "tuned_filters.json"
    text = json.dumps({"seed": SEED, "fields": options.n, "tried": tried})
    out.write_text(text.replace("{", "\n{").lstrip() + "\n")


if __name__ == "__main__":
    main()
