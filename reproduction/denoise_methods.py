"""Score the denoiser, tuned filters, the input and a constant on LOFAR fields that nothing was fitted on.

The numbers of the README and of docs/evaluation.md. Fields have seed 10007 (`tune_filters.py` tuned the
filters on seed 9000; the network's training and the fit of its settings draw from other words). Tables and
figures go to ``reproduction/results/denoise_methods``.

    python -m reproduction.denoise_methods [-n FIELDS] [--model NAME|DIR] [--seed 10007] [--out DIR]
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from faintsky.evaluation import ImageScorer, SimulatedFields, denoisers, evaluate
from faintsky.evaluation.commands import METHODS
from faintsky.evaluation.sets import KINDS, PRESETS
from reproduction import common

RESULTS = common.RESULTS / "denoise_methods"
PICTURES = ("picture_paper_noise", "picture_paper_clean_ideal", "picture_lotss_dirty")
"""Those that are kept: each has the size of all the rest."""


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("-n", type=int, default=20, help="fields of each set, and half as many dirty ones")
    parser.add_argument("--model", default="denoiser")
    parser.add_argument("--seed", type=int, default=10007)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    sets = [
        SimulatedFields(p, k, tuple(range(options.n // 2 if k == "dirty" else options.n)), options.seed)
        for p in PRESETS
        for k in KINDS
    ]
    with tempfile.TemporaryDirectory() as work:
        evaluate(
            Path(work), sets, denoisers((options.model, *METHODS[1:])), ImageScorer(), seed=options.seed,
            progress=common.say,
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
