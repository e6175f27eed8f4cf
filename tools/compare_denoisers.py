"""Set denoisers side by side on validation fields: cosmic webs, random skies, and a CLEAN image of WSClean's.

    python tools/compare_denoisers.py MODEL [MODEL …] [-n 4] [--reference DIR] [--out DIR] [--compact]

A new version is shipped where ``benchmarks/results/denoiser_versions/table.md`` says so. Fields have seed
9000, webs are those of the validation split, and no network was trained on either. The reference is a
folder with ``sky.fits.gz`` [Jy/arcsec2], ``primary_beam.fits.fz`` and ``clean_noisy.fits.fz`` [Jy/beam], as
WSClean and EveryBeam made them. With ``--compact`` ``compact.md`` compares, on restored images, a network
with what ``faintsky denoise`` does: the compact sources apart, the network for the rest. All errors are in
units of the noise, by the true S/N of the pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faintsky.denoising import make_eye
from faintsky.detection import detect_image
from faintsky.evaluation import (
    PIXEL_EDGES,
    Answer,
    Field,
    Method,
    SimulatedFields,
    denoisers,
    draw_apertures,
    pixel_sums,
)
from faintsky.io import open_image
from faintsky.models import load_model
from faintsky.preparing import robust_sigma
from faintsky.simulating import at_resolution

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "denoiser_versions"
SEED = 9000
KINDS = ("noise", "dirty", "clean_ideal")
SETS = (("paper", "sky1"), ("paper", "sky2"), ("paper", ""), ("lotss", ""))
BRIGHT = 0.01
"""Share of the pixels that counts as the brightest."""
MIDDLE = 1024
"""Side of the reference's part that is used [pixel]: its middle, where the primary beam is high."""


def fields(n: int, reference: Path | None, kinds: Sequence[str] = KINDS) -> Iterator[tuple[str, list[Field]]]:
    """Names of sets, and their fields."""
    for preset, kind in ((s, k) for s in SETS for k in kinds):
        web = {"web": "validation", "field": preset[1]} if preset[1] else {}
        made = SimulatedFields(preset[0], kind, tuple(range(n)), SEED, **web)
        yield made.name, [made.load(i) for i in made.indices]
    if reference is not None:
        yield "WSClean's CLEAN", [read_reference(reference)]


def read_reference(folder: Path) -> Field:
    """The middle of the stored CLEAN image, its true sky at the beam's resolution, and its noise."""
    sky, pb, image = (
        open_image(folder / f"{n}.fits.{e}")
        for n, e in (("sky", "gz"), ("primary_beam", "fz"), ("clean_noisy", "fz"))
    )
    cell, beam = image.grid.cell, image.require_beam()[0]
    truth = at_resolution(sky.data * pb.data * cell**2, beam, cell)
    y, x = ((s - MIDDLE) // 2 for s in truth.shape)
    part = (slice(y, y + MIDDLE), slice(x, x + MIDDLE))
    made = type(image).from_array(np.ascontiguousarray(image.data[part]), cell=cell, beam=beam)
    rms = robust_sigma(image.data - truth)
    width = float(np.sqrt(beam[0] * beam[1])) / cell
    return Field(made, truth[part].astype(np.float32), rms, None, width, cases="WSClean clean")


def apart(model: str) -> Method:
    """A network that sees restored images without their compact sources."""
    eye = make_eye(load_model(model, job="denoise"))

    def run(field: Field) -> Answer:
        found = detect_image(replace(field.image, kind="restored"), eye=eye, always=True)
        assert found.denoised is not None
        return Answer(np.nan_to_num(found.denoised), found.denoised_error)

    return Method(f"{model}, compact apart", run)


def scores(found: list[tuple[Field, NDArray]]) -> dict[str, float]:
    """Errors by true S/N, the brightest pixels' dimming, and what is found of fluxes and peaks."""
    total = np.zeros((len(PIXEL_EDGES) - 1, 4))
    inside, dimming, flux, peak = np.zeros(2), [], [], []
    for field, image in found:
        truth, estimate = field.truth / field.rms, image / field.rms
        total += pixel_sums(estimate, truth)
        error = (estimate - truth)[truth > 1]
        inside += (np.sum(error**2.0), error.size)
        top = truth >= np.quantile(truth, 1 - BRIGHT)
        dimming.append(1 - estimate[top].mean() / truth[top].mean())
        apertures = draw_apertures(truth, field.width, field.correlation)
        flux += list(zip(apertures.snr, apertures.flux_ratios(estimate)))
        heights = truth[tuple(apertures.peaks.T)]
        peak += list(zip(heights, apertures.peak_ratios(estimate, truth)))
    out = {"inside (> 1)": float(np.sqrt(inside[0] / max(inside[1], 1)))}
    for low, high, row in zip(PIXEL_EDGES, PIXEL_EDGES[1:], total):
        out[f"{low:g}–{high:g}".replace("–inf", " and more")] = float(np.sqrt(row[2] / max(row[0], 1)))
    out["dimming of the brightest 1 %"] = float(np.mean(dimming))
    for name, values, low, high in (
        ("flux, S/N 5–10", flux, 5, 10), ("flux, > 10", flux, 10, np.inf),
        ("peak, 5–10", peak, 5, 10), ("peak, > 10", peak, 10, np.inf),
    ):  # fmt: skip
        ratios = [r for snr, r in values if low <= snr < high]
        out[name] = float(np.median(ratios)) if len(ratios) > 4 else np.nan
    return out


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("-n", type=int, default=4, help="fields of each set")
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--compact", action="store_true", help="of restored images alone")
    options = parser.parse_args()
    about = __doc__.split("\n\n")[2].replace("\n", " ").partition(" says so. ")[2]
    lines = ["# Versions of the denoiser", "", about, ""]
    methods = denoisers((*options.models, "starlet", "input"))
    methods += [apart(name) for name in options.models if options.compact]
    kinds = ("clean_ideal",) if options.compact else KINDS
    for name, made in fields(options.n, options.reference, kinds):
        rows = {m.name: scores([(f, m.run(f).image) for f in made]) for m in methods}
        head = list(rows["input"])
        lines += [f"## {name}", "", "| " + " | ".join(["", *head]) + " |", "|" + "---|" * (len(head) + 1)]
        for method, row in rows.items():
            lines.append("| " + " | ".join([method, *(f"{row[h]:.3g}" for h in head)]) + " |")
        lines.append("")
        print("\n".join(lines[-len(rows) - 3 :]), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / ("compact.md" if options.compact else "table.md")).write_text("\n".join(lines))


if __name__ == "__main__":
    main()
