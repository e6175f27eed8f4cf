"""How faint a filament a real LOFAR image shows: filaments and blobs injected into it, denoised, segmented.

    python benchmarks/inject_lofar.py IMAGE.fits [-n N] [--model NAME] [--work DIR]

The image (a snapshot of two minutes, beam 33 x 18 arcsec, strong stripes) is not part of this repository. The
table and the figure go to ``benchmarks/results/inject_lofar``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import faintsky

RESULTS = Path(__file__).parent / "results" / "inject_lofar"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("-n", type=int, default=80)
    parser.add_argument("--model", default="denoiser")
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_inject_lofar"))
    options = parser.parse_args()
    result = faintsky.inject(
        options.image, options.work, model=options.model, n=options.n, seed=0, device="cpu", overwrite=True,
        progress=lambda done, total, word: print(f"{word} {done}/{total}", flush=True),
    )  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in ("completeness.csv", "completeness.png"):
        shutil.copy(options.work / name, RESULTS / name)
    facts = {k: v for k, v in result.facts.items() if k != "out"} | {"model": options.model}
    (RESULTS / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
