"""Tune the filters without training on validation fields.

Fields have seed 9000; `denoisers.py` and `dda.py` use seed 0. Each set (preset or field of a
web, and kind of image) has its own settings, in ``src/faintsky/published/filters/tuned_filters.json``; the
errors of everything that was tried go to ``reproduction/results/tuned_filters.json``. Sets and filters that a
run leaves out keep what they have. A starlet's thresholds are tuned for each scale, one after the other, from
the best of some to begin with. On dirty images the starlet takes the sidelobes out by major cycles, as the
network does, and starts from the settings of the perfectly deconvolved image.

What is made least is, for the presets' skies, the rms error inside sources. Fields of a web may have no pixel
above the noise: there it is the geometric mean of the rms errors in all bins of true S/N from 0.1 on that
hold `LEAST` pixels, so that the faint count as much as the bright.

    python -m reproduction.tune_filters [-n FIELDS] [--web validation] [--size 512] [--kinds A]
        [--filters A,B]
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.evaluation import PIXEL_EDGES, Field, pixel_sums, simulated_sets
from faintsky.evaluation.image_metrics import INSIDE
from faintsky.evaluation.methods import filter_field
from faintsky.evaluation.sets import KINDS, PRESETS
from faintsky.published import filters
from reproduction import common

SEED = 9000
SIGMAS = (0.0, 0.4, 0.6, 0.8, 1.0, 1.4, 2.0, 2.8, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
CUTS = (0.003, 0.005, 0.007, 0.01, 0.014, 0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.75)
STEPS = (0.0, 0.33, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
LEVELS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 12.0)
SCALES = 6
LEAST = 100
PLAIN = {
    "gaussian": [{"sigma": s} for s in SIGMAS],
    "fft": [{"cut": c} for c in CUTS],
    "threshold": [{"k": k} for k in STEPS],
}
HOME = Path(filters.__file__).parent / "tuned_filters.json"
JOURNAL = common.RESULTS / "tuned_filters.json"
Settings = dict[str, Any]


class Tuning:
    """Errors of settings on the fields of one set; remembers what was tried."""

    def __init__(self, fields: list[Field], binned: bool = False) -> None:
        self.fields, self.binned = fields, binned
        self.tried: list[dict[str, Any]] = []

    def error(self, name: str, settings: Settings) -> float:
        """What is to be least, over the noise."""
        sums = np.sum(
            [pixel_sums(filter_field(f, name, **settings) / f.rms, f.truth / f.rms) for f in self.fields],
            axis=0,
        )
        if self.binned:
            used = sums[(PIXEL_EDGES[:-1] > 0) & (sums[:, 0] >= LEAST)]
            value = float(np.exp(np.mean(np.log(used[:, 2] / used[:, 0])) / 2))
        else:
            inside = sums[PIXEL_EDGES[:-1] >= INSIDE]
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
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("-n", type=int, default=6, help="fields of each set")
    parser.add_argument("--web", help="of which cosmic web; the presets' skies where not given")
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--filters", default="gaussian,fft,threshold,starlet")
    options = parser.parse_args()
    tuned = json.loads(HOME.read_text())
    journal = json.loads(JOURNAL.read_text())
    order = sorted(options.kinds.split(","), key=["noise", "clean_ideal", "dirty"].index)
    presets = PRESETS[:1] if options.web else PRESETS
    for cases in simulated_sets(presets, order, options.n, SEED, options.size, options.web):
        tuning = Tuning([cases.load(i) for i in cases.indices], bool(options.web))
        name = cases.name
        for chosen in options.filters.split(","):
            of = tuned.setdefault(chosen, {})
            if chosen in PLAIN:
                of[name] = tuning.best(chosen, PLAIN[chosen])
            elif cases.kind == "dirty":
                of[name] = tuning.starlet_of_dirty(of[name.replace("dirty", "clean_ideal")])
            else:
                of[name] = tuning.starlet()
            best = min(t["error"] for t in tuning.tried if t["filter"] == chosen)
            print(name, chosen, best, of[name], flush=True)
        new = {t["filter"] for t in tuning.tried}
        kept = [t for t in journal["tried"].get(name, []) if t["filter"] not in new]
        journal["tried"][name] = kept + tuning.tried
        journal.setdefault("sets", {})[name] = {
            "fields": options.n, "size": options.size, "web": options.web or "",
            "least": "binned" if options.web else "inside",
        }  # fmt: skip
        # after every set, so that little is lost
        HOME.write_text(json.dumps(tuned, indent=1) + "\n")
        JOURNAL.write_text(json.dumps(journal).replace("{", "\n{").lstrip() + "\n")


if __name__ == "__main__":
    main()
