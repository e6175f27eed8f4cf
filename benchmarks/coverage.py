"""How often the truth lies within the errors that ``faintsky denoise`` gives: pixels, apertures, regions.

    python -m benchmarks.coverage [--model denoiser] [-n 3] [--size 1000] [--out DIR]

Fields have seed 9100, their webs are of the validation split. Restored images, dirty ones with their psf, and
white noise. Pixels are those of the denoised image, by its S/N and by whether it is narrow there or smooth;
apertures have 1, 5 and 20 areas of the beam (of white noise, of 25 pixels), half of them on what it shows of
emission; regions are those of the catalogue, against the true flux within their outline. All are chosen by
what a user sees: an error says where the truth is, given the data, and among pixels chosen by their truth
even the best error fails. Of a Gaussian 68.3 % lie within one standard error and 95 % within 1.96. Last come
the probabilities of ``probability.fits``, and the share of the pixels said to have them that are as bright.
Writes ``coverage.json`` and ``coverage.md``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

import faintsky
from faintsky.denoising import FAINT, pointed
from faintsky.evaluation import Field, SimulatedFields
from faintsky.preparing import PrimaryBeam
from reproduction import common

SEED = 9100
KINDS = {"clean_ideal": "restored", "dirty": "dirty", "noise": "white noise"}
SETS = (("paper", "sky1"), ("paper", "sky2"), ("paper", ""), ("lotss", ""))
PIXELS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf)
"""Edges of denoised brightness over the noise."""
FLUXES = (0.0, 3.0, 10.0, 30.0, np.inf)
"""Of a flux over its error."""
APERTURES, EACH = (1, 5, 20), 200
WHITE_AREA = 25.0
EMISSION = 0.5
"""Of the noise."""
CHANCES = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.01)
"""Edges of probabilities."""
TAKE = 7
"""Every so many-th pixel of either axis counts."""


def pulls(field: Field, kind: str, model: str) -> tuple[list[tuple[str, float, float]], np.ndarray]:
    """What is measured, S/N, and error over standard error; and how many pixels have which probability.

    Of the latter ``[3, n]``, by `CHANCES`: number of pixels, sum of probabilities, number as bright.
    """
    image = replace(field.image, kind="auto" if kind == "noise" else KINDS[kind])
    found = faintsky.denoise(image, model=model, device="cpu")
    rms, truth = field.rms, field.truth / field.rms
    beam = None if kind == "noise" else image.middle_beam
    area = 1.0 if beam is None else 1.133 * beam[0] * beam[1]
    mean, sigma = found.image / rms, found.uncertainty / rms
    seen = np.isfinite(mean) & (sigma > 0)
    level = np.nan_to_num(np.maximum(mean, 0))
    narrow = pointed(level, area)
    out = []
    thin = np.zeros(seen.shape, bool)
    thin[::TAKE, ::TAKE] = True
    for name, where in (
        ("pixels, points", narrow & (level > EMISSION)),
        ("pixels, smooth", ~narrow),
        ("pixels, all", seen),
    ):
        at = where & seen & (thin if name != "pixels, points" else seen)
        out += [(name, abs(m), (m - t) / s) for m, t, s in zip(mean[at], truth[at], sigma[at])]
    rng = np.random.default_rng(SEED)
    p = found.found.prepared
    gain = PrimaryBeam(image, p.rms, p.valid).gain() * p.jy_per_pixel
    yy, xx = np.ogrid[: seen.shape[0], : seen.shape[1]]
    places, lit = np.argwhere(seen), np.argwhere(seen & (level > EMISSION))
    for size in APERTURES:
        radius = np.sqrt(size * (area if beam is not None else WHITE_AREA) / np.pi)
        for n in range(EACH):
            among = lit if n % 2 and len(lit) else places
            y, x = among[rng.integers(len(among))]
            inside = (np.hypot(yy - y, xx - x) <= radius) & seen
            flux, error = found.flux(inside)
            true = (field.truth * gain)[inside].sum()
            out.append((f"apertures, {size}", abs(flux) / error, (flux - true) / error))
    labels = found.mask if found.mask_diffuse is None else found.mask_diffuse
    for row in found.catalog[found.catalog["kind"] == "diffuse"]:
        inside = labels == row["id"]
        if kind == "clean_ideal":
            # that of the data without compact sources, which count on both sides
            miss = ((image.data - field.truth) * gain)[inside].sum()
        else:
            miss = row["flux"] - (field.truth * gain)[inside].sum()
        out.append(("regions", float(row["snr"]), float(miss / row["flux_err"])))
    said = found.probability[seen]
    bins = np.digitize(said, CHANCES[1:-1])
    bright = truth[seen] > FAINT
    return out, np.stack([np.bincount(bins, w, len(CHANCES) - 1) for w in (None, said, bright)])


def table(values: list[tuple[str, float, float]]) -> list[dict[str, object]]:
    """Shares within one and within 1.96 standard errors, by what it is and S/N."""
    names = np.array([v[0] for v in values])
    snr, pull = (np.array([v[k] for v in values]) for k in (1, 2))
    rows = []
    for name in dict.fromkeys(names):
        edges = PIXELS if name.startswith("pixels") else FLUXES
        for low, high in pairwise(edges):
            p = np.abs(pull[(names == name) & (snr >= low) & (snr < high)])
            if len(p) >= 20:
                row = {"what": name, "low": low, "high": None if np.isinf(high) else high, "n": len(p)}
                rows.append(row | {"68": float((p < 1).mean()), "95": float((p < 1.96).mean())})
    return rows


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--model", default="denoiser")
    parser.add_argument("-n", type=int, default=3, help="fields of each set")
    parser.add_argument("--size", type=int, default=1000, help="side of a field [pixel]")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--out", type=Path, default=common.BENCHMARKS / "coverage")
    o = parser.parse_args()
    rows, lines = {}, ["# Coverage of the errors of denoised images", ""]
    for kind in o.kinds:
        values, chances = [], np.zeros((3, len(CHANCES) - 1))
        for preset, sky in SETS:
            web = {"web": "validation", "field": sky} if sky else {}
            made = SimulatedFields(preset, kind, tuple(range(o.n)), SEED, o.size, **web)
            for i in made.indices:
                more, counts = pulls(made.load(i), kind, o.model)
                values, chances = values + more, chances + counts
            print(kind, preset, sky, len(values), flush=True)
        rows[KINDS[kind]] = table(values)
        number, said, bright = chances
        shares = [
            {"low": low, "n": int(n), "said": s / n, "true": b / n}
            for low, n, s, b in zip(CHANCES, number, said, bright)
        ]
        rows[f"{KINDS[kind]}, probability"] = shares
        lines += [
            f"## {KINDS[kind]}",
            "",
            "| what | S/N | n | within 1 | within 1.96 |",
            "|---|---|---|---|---|",
        ]
        for r in rows[KINDS[kind]]:
            high = "and more" if r["high"] is None else f"– {r['high']:g}"
            lines.append(f"| {r['what']} | {r['low']:g} {high} | {r['n']} | {r['68']:.3f} | {r['95']:.3f} |")
        lines += ["", "| probability | n | share as bright |", "|---|---|---|"]
        lines += [f"| {r['said']:.3f} | {r['n']} | {r['true']:.3f} |" for r in shares]
        lines.append("")
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "coverage.json").write_text(json.dumps(rows, indent=1) + "\n")
    (o.out / "coverage.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
