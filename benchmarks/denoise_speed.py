"""Seconds to denoise one simulated LOFAR image, by the default denoiser and by `dda` with its overlap.

Everything from the image in memory to the catalogue; both in the same run, `dda` with weights as they begin
(they do not change its time). Writes ``benchmarks/results/denoise_speed.json``.

    python benchmarks/denoise_speed.py [--size 2000] [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from faintsky.denoising import DenoiserSettings, denoise_image
from faintsky.evaluation import SimulatedFields
from faintsky.io import write_json
from faintsky.models import load_model
from faintsky.networks import make_network
from faintsky.published.dda.denoise import AutoencoderSettings, autoencode_image

RESULTS = Path(__file__).parent / "results" / "denoise_speed.json"


def timed(function: Callable[[], object]) -> dict[str, float]:
    """Wall-clock and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return {"wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(time.process_time() - cpu, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="denoiser")
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model(options.model, job="denoise")
    network, settings = model.network("denoiser", "cpu"), DenoiserSettings.read(model.settings)
    dda = make_network("dda", tile=128, levels=2, dense=200, kernel=3).eval()
    noise, dirty = (
        SimulatedFields("paper", kind, (0,), 9000, options.size).load(0).image for kind in ("noise", "dirty")
    )
    runs: dict[str, Callable[[], object]] = {
        "dda": lambda: autoencode_image(noise, dda, AutoencoderSettings()),
        "denoiser, noise": lambda: denoise_image(replace(noise, kind="restored"), network, settings),
        "denoiser, restored": lambda: denoise_image(replace(dirty, kind="restored"), network, settings),
        "denoiser, dirty": lambda: denoise_image(replace(dirty, kind="dirty"), network, settings),
    }
    found = {name: timed(run) for name, run in runs.items()}
    for row in found.values():
        row["cpu_over_dda"] = round(row["cpu_s"] / found["dda"]["cpu_s"], 2)
    facts = {"size": options.size, "threads": options.threads, "busy": round(os.getloadavg()[0], 1)}
    write_json(RESULTS, {**facts, "runs": found})
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
