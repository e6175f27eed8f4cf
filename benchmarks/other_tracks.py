"""Whether a denoiser does as well on other declinations, hour angles and weights as on those it was tried on.

    python -m benchmarks.other_tracks [--model NAME|DIR] [-n 6] [--size 512]

The same skies (diffuse emission of the preset, seed 9000) are observed by full visibilities as the preset
``paper`` does, and otherwise; the dirty images are denoised with their psf. Rms errors over the noise by the
true S/N of the pixels go to ``benchmarks/results/other_tracks.csv``, with their ratios to the first track's.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

import faintsky
from faintsky.evaluation import PIXEL_EDGES, denoisers, markdown, open_fields, pixel_sums, write_csv
from reproduction import common

RESULTS = common.BENCHMARKS / "other_tracks.csv"
SEED = 9000
TRACKS: dict[str, dict[str, Any]] = {
    "as the preset": {},
    "declination 15, 2 h after transit": {"dec": 15.0, "hour_angle": 2.0},
    "declination 80": {"dec": 80.0},
    "robust -0.7": {"robust": -0.7},
    "robust 1, 2 hours": {"robust": 1.0, "total_time": "2h"},
}
BINS = (0.3, 1.0, 3.0, 10.0)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--model", default="denoiser")
    parser.add_argument("-n", type=int, default=6)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    methods = denoisers((options.model, "starlet"))
    rows: list[dict[str, Any]] = []
    for track, settings in TRACKS.items():
        sums = {m.name: [] for m in methods}  # type: ignore[var-annotated]
        with tempfile.TemporaryDirectory() as folder:
            faintsky.simulate_lofar(
                folder, options.n, seed=SEED, size=options.size,
                products="sky,dirty,psf,pb", **settings,
            )  # fmt: skip
            (dirty,) = open_fields(folder, kinds=("dirty",))
            for index in dirty.indices:
                one = dirty.load(index)
                assert one is not None
                for method in methods:
                    made = method.run(one)
                    assert made is not None
                    sums[method.name].append(pixel_sums(made.image / one.rms, one.truth / one.rms))
        for name, parts in sums.items():
            total = np.sum(parts, axis=0)
            error = np.sqrt(total[:, 2] / np.maximum(total[:, 0], 1))
            for low in BINS:
                k = int(np.flatnonzero(PIXEL_EDGES[:-1] == low)[0])
                first = next((r for r in rows if (r["method"], r["snr_low"]) == (name, low)), None)
                value = float(error[k]) if total[k, 0] else float("nan")
                rows.append({"track": track, "method": name, "snr_low": low, "snr_high": PIXEL_EDGES[k + 1],
                             "pixels": int(total[k, 0]), "error": value,
                             "over_first": value / (first["error"] if first else value)})  # fmt: skip
        print(track, flush=True)
    for row in rows:
        row["error"], row["over_first"] = (round(float(row[k]), 4) for k in ("error", "over_first"))
    write_csv(rows, RESULTS)
    shown = ("track", "method", "snr_low", "pixels", "error", "over_first")
    print(markdown(list(shown), [[str(row[k]) for k in shown] for row in rows]))


if __name__ == "__main__":
    main()
