"""Compact autoencoders on fields of the validation split: is their answer as bright as the sky?

    python -m reproduction.dda_compact --models DIR,DIR [--web validation:8] [-n N] [--size N] [--seed S]

Field i of a kind is the same for all models. Each answer is measured twice, as the network says it and as its
card corrects it; beside it, the image itself, and a Gaussian of 3 pixels on it. ``brightest`` is the estimate
over the truth, both summed over the brightest hundredth of each field's pixels; ``rms`` is over the noise,
``sigma_MRE`` eq. 7 of the paper, both by the true S/N of the pixel too. All at the image's resolution.
Tables go to ``reproduction/results/dda_compact``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from faintsky.beams import beam_pixels
from faintsky.evaluation import PIXEL_EDGES, simulated_sets
from faintsky.evaluation.image_metrics import pixel_sums
from faintsky.models import load_model
from faintsky.published.dda import AutoencoderSettings, stack_encodings
from faintsky.simulating import at_resolution
from reproduction import common
from reproduction.dda_measures import brightness_statistic, brightness_sums, dimming_sums

KINDS = {"sky": "sky", "noise": "noise", "clean": "clean_ideal", "dirty": "dirty"}
GAUSSIAN = 3.0
"""Standard deviation [pixel], the paper's."""


def answers(field: Any, network: torch.nn.Module, settings: AutoencoderSettings, members: int) -> Any:
    """Brightness [Jy/arcsec2] at the image's resolution, ``[y, x]``, by the name of the reading."""
    seen = field.image.data * np.float32(field.brightness)
    limits = settings.limits(seen)
    decode = partial(settings.decode, limits=limits)
    mean, _ = stack_encodings(network, settings.encode(seen, limits), decode, members=members)
    made = {"network": mean, "corrected": mean * settings.correction(mean)}
    if field.image.beams is not None:
        beam = np.array(field.image.middle_beam)
        area = float(beam_pixels(beam, 1.0)[0])
        made = {name: at_resolution(one, beam, 1.0) / area for name, one in made.items()}
    return made | {"image": seen, "gaussian": gaussian_filter(seen, GAUSSIAN)}


def sums_of(estimate: Any, truth: Any, rms: float) -> Any:
    """What is summed up over fields; all [Jy/arcsec2]."""
    snr = truth / rms
    return (
        pixel_sums(estimate / rms, snr), brightness_sums(estimate, truth, snr), dimming_sums(estimate, truth)
    )  # fmt: skip


def measured(parts: list[Any]) -> dict[str, Any]:
    """What the sums of several fields come to."""
    pixels, relative, bright = (np.array(v) for v in zip(*parts, strict=True))
    sums = pixels.sum(axis=0)
    each = bright[:, 2] / bright[:, 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        rms, bias = np.sqrt(sums[:, 2] / sums[:, 0]), sums[:, 1] / sums[:, 0]
    _, mre, *binned = brightness_statistic(relative)
    found = {
        "brightest": bright[:, 2].sum() / bright[:, 3].sum(), "brightest of each": each, "sigma_MRE": mre,
        "snr_edges": PIXEL_EDGES[:-1], "pixels": sums[:, 0], "rms": rms, "bias": bias,
        "sigma_MRE by snr": binned[len(rms) :],
    }  # fmt: skip
    return {k: [float(f"{x:.4g}") for x in np.atleast_1d(v)] for k, v in found.items()}


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--models", required=True, help="folders, by commas")
    parser.add_argument("--web", default="validation:8")
    parser.add_argument("-n", type=int, default=8, help="fields of each kind")
    parser.add_argument("--size", type=int, default=1000, help="pixels a side")
    parser.add_argument("--seed", type=int, default=9300)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--out", type=Path, default=common.RESULTS / "dda_compact")
    given = parser.parse_args()
    for name in given.models.split(","):
        model = load_model(name, job="denoise")
        settings = AutoencoderSettings.read(model.settings, what="model setting")
        network = model.network("denoiser")
        sets = simulated_sets(
            ("paper",), [KINDS[settings.product]], given.n, given.seed, given.size, given.web
        )
        found: dict[str, Any] = {}
        for one in sets:
            parts: dict[str, list[Any]] = {}
            for i in one.indices:
                field = one.load(i)
                assert field is not None
                unit = np.float32(field.brightness)
                for reading, image in answers(field, network, settings, given.members).items():
                    parts.setdefault(reading, []).append(sums_of(image, field.truth * unit, field.rms * unit))
                common.say(i + 1, given.n, f"{Path(name).name} {one.name}")
            found[one.name] = {reading: measured(p) for reading, p in parts.items()}
        how = {k: getattr(given, k) for k in ("web", "n", "size", "seed", "members")}
        common.write(f"{Path(name).name}.json", {"model": model.hash, **how, "sets": found}, given.out)


if __name__ == "__main__":
    main()
