"""Diffuse emission among compact sources: clouds in survey-like images, outlined and measured or not.

    python -m benchmarks.clouds [--out DIR] [--work DIR] [--seeds 10] [--first-seed 421]

Each image of the kind ``clouds`` (`benchmarks.survey_images`) is catalogued by `faintsky.denoise`, and the
same image without its clouds. The regions' fluxes are compared with those of the true clouds, within the
regions and where the clouds exceed the noise; the denoised image with them pixel by pixel, but for the masks
of compact sources. Regions of less than a fifth of the noise in true mean brightness are false. Compact
sources from S/N 5 are paired as in `benchmarks.survey`. Writes ``clouds.json`` and ``clouds.md``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

import faintsky
from benchmarks.survey import RULE
from benchmarks.survey_images import BEAM, CLOUD, KINDS, PIXEL, RMS, make
from faintsky.injecting import compact_entries
from faintsky.matching import match
from reproduction import common

FIRST = 431
AREA = np.pi / (4 * np.log(2)) * (BEAM / PIXEL) ** 2
"""Of the beam [pixel]."""
FALSE = 0.2
"""Mean true brightness over the noise below which a region is false."""


def found_in(folder: Path) -> tuple[faintsky.Result, Table]:
    """What `faintsky.denoise` finds, and its compact entries."""
    result = faintsky.denoise(folder / "survey.fits", device="cpu")
    return result, compact_entries(result.catalog, result.components)


def score(work: Path, seed: int) -> dict[str, float]:
    """The numbers of an image."""
    for kind in ("clouds", "uniform"):
        if not (work / kind / str(seed) / "diffuse.fits").exists():
            make(work / kind / str(seed), seed, **KINDS[kind])
    truth = Table.read(work / "clouds" / str(seed) / "truth.ecsv")
    true = fits.getdata(work / "clouds" / str(seed) / "diffuse.fits").astype(float)
    result, compact = found_in(work / "clouds" / str(seed))
    _, alone = found_in(work / "uniform" / str(seed))
    regions = result.mask_diffuse
    inside, bright = regions > 0, true > RMS
    rows = result.catalog[result.catalog["kind"] == "diffuse"]
    compact_ids = result.catalog["id"][result.catalog["kind"] != "diffuse"]
    clear = ~np.isin(result.mask, compact_ids)
    shown = np.where(inside, result.image, 0)[clear]
    means = np.array([true[regions == k].mean() for k in rows["id"]])
    points = truth[(truth["kind"] < 3) & (truth["snr"] >= 5)]
    out = {
        "regions": len(rows), "false": int((means < FALSE * RMS).sum()),
        "clouds": int(((truth["kind"] == CLOUD) & (truth["snr"] > 2)).sum()),
        "flux": float(np.sum(rows["flux"])), "true flux in them": float(true[inside].sum() / AREA),
        "true flux above the noise": float(true[bright].sum() / AREA),
        "outlined": float((inside & bright).sum() / bright.sum()),
        "correlation": float(np.corrcoef(shown, true[clear])[0, 1]),
        "seen": float(np.corrcoef(result.image[clear], true[clear])[0, 1]),
    }  # fmt: skip
    for name, table in (("with", compact), ("without", alone)):
        out[f"found {name}"] = int((match(points, table, RULE).partner_of_true >= 0).sum())
        out[f"compact {name}"] = len(table)
    return out | {"compact": len(points)}


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--out", type=Path, default=common.BENCHMARKS / "survey")
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_survey"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=FIRST)
    o = parser.parse_args()
    each = []
    for seed in range(o.first_seed, o.first_seed + o.seeds):
        each.append({"seed": seed, **score(o.work, seed)})
        print(each[-1], flush=True)
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "clouds.json").write_text(json.dumps(each, indent=1) + "\n")
    total = {k: sum(e[k] for e in each) for k in each[0]}
    mean = {k: float(np.mean([e[k] for e in each])) for k in ("outlined", "correlation", "seen")}
    lines = [
        ("clouds whose peak exceeds twice the noise", total["clouds"]),
        ("diffuse regions", total["regions"]),
        ("false ones", total["false"]),
        ("flux of the regions over the true one in them", total["flux"] / total["true flux in them"]),
        (
            "the same over the true flux where clouds exceed the noise",
            total["flux"] / total["true flux above the noise"],
        ),
        ("share of the area where clouds exceed the noise that is outlined", mean["outlined"]),
        ("correlation with the true clouds, in regions", mean["correlation"]),
        ("correlation with the true clouds, denoised image", mean["seen"]),
        *(
            (f"compact sources from S/N 5 found, {k} clouds", total[f"found {k}"] / total["compact"])
            for k in ("with", "without")
        ),
    ]
    text = "".join(f"| {name} | {value:.3g} |\n" for name, value in lines)
    (o.out / "clouds.md").write_text(f"# Clouds, {o.seeds} images\n\n| what | value |\n|---|---|\n{text}")


if __name__ == "__main__":
    main()
