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

from faintsky.evaluation.lofar import METHODS, evaluate_lofar

RESULTS = Path(__file__).parent / "results" / "denoise_methods"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=16, help="fields of each set")
    parser.add_argument("--model", default="denoiser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        done = evaluate_lofar(
            Path(work) / "out", methods=(options.model, *METHODS[1:]), n=options.n, seed=options.seed,
            command="python benchmarks/denoise_methods.py",
            progress=lambda done, total, word: print(f"{word} {done}/{total}", flush=True),
        )  # fmt: skip
        for name in ("table.md", "table.csv", "figures"):
            source, target = Path(work) / "out" / name, options.out / name
            if source.is_dir():
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(source, target)
            else:
                options.out.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    print((options.out / "table.md").read_text())
    assert not isinstance(done, dict)
    print(done.summary())


if __name__ == "__main__":
    main()
