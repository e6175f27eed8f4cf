"""Observe a sky model with CASA itself: the yardstick for faintsky's fast simulator.

Observes a FITS cube in Jy/pixel through the back end ``casa`` (`faintsky.simulating.casa`), without and with
noise, and leaves FITS files, ``uvw.npz`` and ``observation.json`` in a folder that
``benchmarks/alma_agreement.py`` reads. Needs CASA; works offline::

    python tools/casa_observe.py --sky sky.fits --array alma.cycle9.8 --hour-angle 2 --out casa_c8
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

import faintsky.simulating.casa_run as program
from faintsky.simulating import SimulationSettings, casa_python
from faintsky.simulating.casa import run_casa


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sky", required=True, help="FITS cube [chan, y, x], Jy/pixel, with a full header")
    parser.add_argument("--array", required=True)
    parser.add_argument("--hour-angle", default="0")
    parser.add_argument("--total-time", default="2400s")
    parser.add_argument("--integration", default="10s")
    parser.add_argument("--pwv", type=float, default=0.8)
    parser.add_argument("--robust", type=float, help="Briggs weighting with this robustness")
    parser.add_argument("--noise-seed", type=int, default=11111)
    parser.add_argument("--out", required=True, type=Path)
    return parser.parse_args()


def main():
    """Run the script."""
    options = arguments()
    asked = {k: v for k, v in vars(options).items() if k not in ("out", "sky", "robust", "noise_seed")}
    weighting = "natural" if options.robust is None else f"briggs:{options.robust:g}"
    settings = SimulationSettings(telescope="alma", sky=options.sky, weighting=weighting, **asked)
    out = options.out
    for name, noise in (("clean", False), ("noisy", True)):
        run_casa(
            settings.sky_file.data,
            settings.observation,
            noise=noise,
            seed=options.noise_seed,
            keep=out / name,
        )
        for product, file in (("image", "dirty"), ("psf", "psf"), ("pb", "pb")):
            (out / name / f"{file}.fits").replace(out / f"{name}.{product}.fits")
    facts = json.loads((out / "noisy" / "facts.json").read_text())
    script = Path(__file__).with_name("casa_visibilities.py")
    subprocess.run([casa_python(), script, program.__file__, "noisy", "uvw.npz"], cwd=out, check=True)
    with np.load(out / "uvw.npz") as file:
        sigma, rows = file["visibility_sigma_jy"].tolist(), {k: file[k] for k in file.files if k[0] != "v"}
    np.savez_compressed(out / "uvw.npz", **rows)
    for name in ("clean", "noisy"):
        shutil.rmtree(out / name)
    record = {**asked, "robust": options.robust, "noise_seed": options.noise_seed, **facts}
    record["visibility_sigma_jy"] = sigma
    (out / "observation.json").write_text(json.dumps(record, indent=1))
    shutil.copy(options.sky, out / "sky.fits")


if __name__ == "__main__":
    main()
