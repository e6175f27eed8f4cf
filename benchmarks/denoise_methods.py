"""Score the denoiser, tuned filters, the input and a constant on LOFAR fields that nothing was fitted on.

The numbers of the README and of docs/evaluation.md. Fields have seed 0 (`tune_filters.py` tuned the filters
on seed 9000; the network's training and the fit of its settings draw from other words). Tables and figures go
to ``benchmarks/results/denoise_methods``.

    python benchmarks/denoise_methods.py [-n FIELDS] [--model NAME|DIR] [--seed 0] [--out DIR]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from faintsky.evaluation.fields import KINDS, PRESETS, SimulatedFields
from faintsky.evaluation.image_methods import make_methods
from faintsky.evaluation.lofar import METHODS, evaluate_fields

RESULTS = Path(__file__).parent / "results" / "denoise_methods"
PICTURES = ("picture_paper_noise", "picture_paper_clean_ideal", "picture_lotss_dirty")
"""Those that are kept: each has the size of all the rest."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=12, help="fields of each set, and half as many dirty ones")
    parser.add_argument("--model", default="denoiser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    sets = [
        SimulatedFields(p, k, tuple(range(options.n // 2 if k == "dirty" else options.n)), options.seed)
        for p in PRESETS
        for k in KINDS
    ]
    with tempfile.TemporaryDirectory() as work:
        evaluate_fields(
            Path(work), sets, make_methods((options.model, *METHODS[1:])), seed=options.seed,
            progress=lambda done, total, word: print(f"{word} {done}/{total}", flush=True),
        )  # fmt: skip
        (options.out / "figures").mkdir(parents=True, exist_ok=True)
        for path in (Path(work) / "figures").iterdir():
            if not path.stem.startswith(("picture", "maps", "zoom", "cut")) or path.stem in PICTURES:
                shutil.copy(path, options.out / "figures" / path.name)
        for name in ("table.md", "table.csv"):
            shutil.copy(Path(work) / name, options.out / name)
    print((options.out / "table.md").read_text())


if __name__ == "__main__":
    main()
