"""How complete the search of a real cube is: 100 sources injected into ALMA's CO(1-0) cube of NGC 3256.

    python benchmarks/inject_ngc3256.py CUBE.fits [-n N] [--model NAME] [--work DIR]

The cube (science verification 2011, channels of 15.6 MHz, beam 6.9 x 4.5 arcsec) is not part of this
repository. The table and the figure go to ``benchmarks/results/inject_ngc3256``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import faintsky

RESULTS = Path(__file__).parent / "results" / "inject_ngc3256"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cube", type=Path)
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--model", default="classical")
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_inject_ngc3256"))
    options = parser.parse_args()
    result = faintsky.inject(
        options.cube, options.work, model=options.model, n=options.n, seed=0, device="cpu", overwrite=True,
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
