"""How like the true sky the networks' maps are: the "mSSIM" of Delli Veneri et al. (2022), Section 5.1.

    python -m reproduction.map_similarity MODEL [MODEL ...] [-n N] [--seed S]

MODELs are those of ``faintsky train deepfocus`` and of `faintsky.published.decoras.find.join_networks`, by
name or folder. On `paper` cubes their maps and the true integrated sky, both in [0, 1] within the middle
256 x 256 pixels, are compared by SSIM with a Gaussian window of 11 pixels; DSSIM is (1 - SSIM) / 2, which the
paper's "0.003" can only be. Most of a sky is empty, so that a map of nothing has a low DSSIM, too: it stands
beside them, and the true sky blurred by Gaussians of 1, 2, 3 pixels (standard deviation). Results:
``reproduction/results/deepfocus/similarity.json``, or ``--results FILE``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from faintsky.detection import find_catalog
from faintsky.evaluation import SimulatedCubes
from faintsky.models import load_model
from faintsky.published.deepfocus import crop_centre, training, unit_range
from faintsky.simulating import SimulationSettings, open_observatory
from reproduction import common

SIZE = 256
BLURS = (1.0, 2.0, 3.0)


def true_map(observatory: Any, seed: int, index: int) -> torch.Tensor:
    """The integrated sky of a cube, the middle in [0, 1], ``[256, 256]``."""
    sky = observatory.sample(seed, index).sky
    whole = np.tensordot(sky.spectra.sum(axis=1), sky.images, 1).astype(np.float32)
    return unit_range(crop_centre(torch.from_numpy(whole), SIZE))


def dssim_of(made: np.ndarray | torch.Tensor, true: torch.Tensor) -> float:
    """Of a map and the true one, ``[256, 256]``."""
    return float(training.dssim(torch.as_tensor(made)[None, None], true[None, None]))


def similarities(cubes: SimulatedCubes, models: list[str]) -> dict[str, list[float]]:
    """DSSIM of every cube, by the name of what made the map."""
    observatory = open_observatory(
        SimulationSettings(telescope="alma", preset=cubes.preset, **dict(cubes.settings))
    )
    found: dict[str, list[float]] = {}
    for done, index in enumerate(cubes.indices, start=1):
        true = true_map(observatory, cubes.seed, index)
        maps = {f"true sky, blurred by {s:g}": gaussian_filter(true.numpy(), s) for s in BLURS}
        maps["nothing"] = np.zeros_like(true)
        cube = cubes.load(index)[0]
        for model in models:
            image = find_catalog(cube, model).image
            assert image is not None  # both methods have one
            maps[Path(model).name] = crop_centre(torch.from_numpy(np.nan_to_num(image)), SIZE)
        for name, made in maps.items():
            found.setdefault(name, []).append(dssim_of(made, true))
        common.say(done, len(cubes.indices), "cubes")
    return found


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("-n", type=int, default=200, help="cubes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", default="deepfocus/similarity.json")
    options = parser.parse_args()
    found = similarities(SimulatedCubes("paper", tuple(range(options.n)), options.seed), options.models)
    rows = {
        name: {"dssim": float(np.mean(v)), "dssim_error": float(np.std(v) / np.sqrt(len(v))),
               "ssim": float(1 - 2 * np.mean(v))}
        for name, v in found.items()
    }  # fmt: skip
    hashes = {Path(m).name: load_model(m).hash for m in options.models}
    common.write(options.results, {"seed": options.seed, "cubes": options.n, "models": hashes, "maps": rows})


if __name__ == "__main__":
    main()
