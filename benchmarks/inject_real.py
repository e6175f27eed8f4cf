"""How complete the search of a real image or cube is: sources injected into it, and found again or not.

    python -m benchmarks.inject_real lofar IMAGE.fits [-n N] [--model NAME] [--work DIR]
    python -m benchmarks.inject_real ngc3256 CUBE.fits [...]

``lofar`` is a snapshot of two minutes (GRB 201006A, beam 33 x 18 arcsec, strong stripes), and gets filaments
and blobs; ``ngc3256`` ALMA's CO(1-0) cube of science verification in 2011 (channels of 15.6 MHz, beam 6.9 x
4.5 arcsec), and gets line emitters. Neither file is part of this repository. Tables and figures go to
``benchmarks/results/inject_lofar`` and ``inject_ngc3256``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import faintsky
from reproduction import common

RESULTS = common.BENCHMARKS
DEFAULTS = {"lofar": ("denoiser", 80), "ngc3256": ("classical", 100)}
"""Model, and sources."""


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("target", choices=DEFAULTS)
    parser.add_argument("file", type=Path)
    parser.add_argument("-n", type=int)
    parser.add_argument("--model")
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_inject"))
    options = parser.parse_args()
    model, n = DEFAULTS[options.target]
    model, n = options.model or model, options.n or n
    work, out = options.work / options.target, RESULTS / f"inject_{options.target}"
    result = faintsky.inject(
        options.file, work, model=model, n=n, seed=0, device="cpu", overwrite=True,
        progress=common.say,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for name in ("completeness.csv", "completeness.png"):
        shutil.copy(work / name, out / name)
    facts = {k: v for k, v in result.facts.items() if k != "out"} | {"model": model}
    (out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
