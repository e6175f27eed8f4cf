"""Diffuse sources injected into real images, and outlined by ours, an autoencoder, starlets and PyBDSF.

    python -m benchmarks.real_diffuse FOLDER [-n 24] [--seed 23] [--methods …]

The images of `benchmarks.real_images`, which are not part of this repository. Filaments and blobs of a mean
S/N per pixel of 0.3 to 5 lie away from what ours finds in the image itself (`faintsky.injecting.ImagePlace`);
all methods see the same images. ``faintsky`` is ``faintsky denoise``; ``starlet_tuned`` the filter tuned on
simulated fields, cut at `CUT` times what it leaves of noise alone of the same correlation; ``starlet`` the
same, cut where that leaves one region a square degree; ``pybdsf`` its islands with the settings tuned for
diffuse emission, wavelets included. These three see the image over our map of its noise. Any other name is
a model's or its folder's, such as ``dda_clean``, the published autoencoder as shipped. A source is found
where a quarter of its outline is outlined, and was not without it, by regions of which a quarter belongs to
injected sources: a region that covers most of the image finds nothing. Regions of the negative are false:
they are of noise and of artefacts that are as deep as they are high. Writes ``real_diffuse.json`` and
``real_diffuse.md``; methods that are not run again stay there, if they saw the same seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, maximum
from scipy.signal import fftconvolve

import faintsky
from benchmarks.real_images import FILES
from faintsky.denoising import RegionSettings, apply_filter, segment
from faintsky.errors import FaintskyError
from faintsky.image import RadioImage
from faintsky.injecting import Outlined, place_in_image
from faintsky.io import open_image
from faintsky.preparing import PreparedImage, gaussian_psf, prepare_image
from faintsky.published.filters import tuned_settings
from faintsky.published.peers import find_islands
from reproduction import common

EDGES = (0.3, 0.6, 1.2, 2.5, 5.0)
PER_RUN, SEED = 4, 23
GROW = 0.6
"""Of the starlets' threshold: what is joined to what exceeds it."""
CUT = 3.0
"""Of ``starlet_tuned``, over the scatter of its answer to noise."""
BLANK = 1500
"""Side of the noise that the starlets' threshold is found on [pixel]."""
REACH = 0.05
"""Brightness over its peak down to which a source is part of a region that holds it."""
PURE = 0.25
TUNED_ON = "lotss clean_ideal"
METHODS = ("faintsky", "dda_clean", "starlet", "starlet_tuned", "pybdsf")
Answer = tuple[NDArray[np.integer], NDArray[np.floating] | None]
"""Regions, 0 outside, and the denoised image over the noise, where there is one; ``[y, x]``."""


def ours(image: RadioImage, prepared: PreparedImage, model: str = "denoiser") -> Answer:
    """Diffuse regions, of a network alone all of its regions."""
    found = faintsky.denoise(image, model=model, device="cpu")
    regions = found.mask if found.mask_diffuse is None else np.maximum(found.mask, found.mask_diffuse)
    return regions, found.image / prepared.rms


def scaled(image: RadioImage, prepared: PreparedImage) -> NDArray[np.float32]:
    """The image over our map of its noise."""
    return np.where(prepared.valid, image.data / prepared.rms, 0).astype(np.float32)


def starlets(
    correlation: NDArray[np.float64], beam_area: float, degrees: float | None
) -> Callable[..., Answer]:
    """The filter with a threshold for noise of that correlation; the area of a pixel is in square degrees.

    Without that area the threshold is `CUT` times the scatter of what the filter leaves of noise.
    """
    settings = tuned_settings()["starlet"][TUNED_ON]
    rng = np.random.default_rng(SEED)
    white = rng.standard_normal((BLANK, BLANK))
    # the power of noise is the transform of its correlation
    power = np.abs(np.fft.rfft2(np.fft.ifftshift(_padded(correlation, BLANK))))
    noise = np.fft.irfft2(np.fft.rfft2(white) * np.sqrt(power), s=white.shape)
    noise /= noise.std()

    def seen(data: NDArray[np.floating]) -> NDArray[np.floating]:
        return apply_filter("starlet", data.astype(np.float32), 1.0, correlation=correlation, **settings)

    empty = seen(noise)
    spread = max(float(empty.std()), 1e-6)
    least = CUT * spread
    if degrees is not None:
        allowed = max(1, round(BLANK**2 * degrees))
        numbers, count = label(empty > spread, np.ones((3, 3)))
        peaks = np.sort(maximum(empty, numbers, np.arange(1, count + 1)))[::-1] if count else np.zeros(1)
        least = max(spread, float(peaks[min(allowed, len(peaks) - 1)]))
    rule = RegionSettings(seed=(1.0, 0.0), grow=(GROW, 0.0), least_area=1.0)

    def run(image: RadioImage, prepared: PreparedImage) -> Answer:
        found = seen(scaled(image, prepared))
        cut = np.full_like(found, least)
        return segment(found, cut, prepared.valid, rule, beam_area), found

    return run


def _padded(kernel: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    out = np.zeros((side, side))
    half = [n // 2 for n in kernel.shape]
    at = tuple(slice(side // 2 - h, side // 2 - h + n) for h, n in zip(half, kernel.shape))
    out[at] = kernel
    return out


def islands(image: RadioImage, prepared: PreparedImage, correlation: NDArray[np.float64]) -> Answer:
    """PyBDSF's."""
    labels, _ = find_islands(
        "pybdsf", scaled(image, prepared), image.grid.cell, prepared.beam_pixels, beam=prepared.beam,
        correlation=correlation,
    )  # fmt: skip
    return labels, None


def methods_for(
    image: RadioImage, prepared: PreparedImage, names: list[str]
) -> dict[str, Callable[..., Answer]]:
    """By name."""
    assert prepared.beam is not None
    half = int(4 * prepared.beam[0]) + 1
    beam = gaussian_psf((2 * half + 1, 2 * half + 1), *prepared.beam)
    correlation = fftconvolve(beam, beam, mode="same")
    correlation /= correlation.max()
    degrees = (image.grid.cell / 3600) ** 2
    known: dict[str, Callable[..., Answer]] = {
        "faintsky": ours,
        "pybdsf": lambda i, p: islands(i, p, correlation),
    }
    for name, area in (("starlet", degrees), ("starlet_tuned", None)):
        if name in names:
            known[name] = starlets(correlation, prepared.beam_area, area)
    return {name: known.get(name) or partial(ours, model=name) for name in names}


def measured(path: Path, n: int, names: list[str], seed: int) -> dict[str, dict[str, Any]]:
    """Of each method: sources with S/N, share of the outline, flux ratio; regions of the negative."""
    image = open_image(path)
    prepared = prepare_image(image)
    at_all = faintsky.denoise(image, device="cpu", reliability=0.5)
    place = place_in_image(image, Outlined(at_all.mask, np.nan_to_num(at_all.image), prepared))
    out: dict[str, dict[str, Any]] = {}
    for name, run in methods_for(image, prepared, names).items():
        try:
            found, own = run(image.negative(), prepared), run(image, prepared)
        except FaintskyError as error:
            print(f"{path.name}: {name}: {error}", flush=True)
            continue
        room = place.room
        beams = room.sum() / prepared.beam_area
        rows, run_number, done = [], 0, 0
        before = own[0] > 0
        while done < n and run_number < n:
            rng = np.random.default_rng([seed, run_number])
            drawn = place.draw(min(PER_RUN, n - done), rng, (EDGES[0], EDGES[-1]))
            run_number += 1
            if not drawn:
                continue
            done += len(drawn)
            labels, estimate = run(replace(place.with_sources(drawn), kind=image.kind), prepared)
            theirs = np.zeros(labels.shape, bool)
            for s in drawn:
                theirs[s.box] |= s.brightness > REACH * s.brightness.max()
            area = np.bincount(labels.ravel())
            pure = np.bincount(labels[theirs], minlength=len(area)) > PURE * area
            pure[0] = False
            new = pure[labels] & ~before
            for s in drawn:
                inside = s.outline
                ratio = np.nan
                if estimate is not None and own[1] is not None:
                    change = (estimate[s.box] - own[1][s.box])[inside].sum()
                    ratio = float(change / (s.brightness / prepared.rms[s.box])[inside].sum())
                rows.append(
                    {
                        "kind": s.kind,
                        "snr": s.snr,
                        "share": float(new[s.box][inside].mean()),
                        "flux": ratio,
                    }
                )
        false = len(set(np.unique(found[0][room])) - {0})
        out[name] = {
            "seed": seed,
            "sources": rows,
            "false": false,
            "own": len(np.unique(own[0])) - 1,
            "beams": float(beams),
            "area": float((found[0][room] > 0).mean()),
        }
        print(
            path.name,
            name,
            f"{np.mean([r['share'] >= 0.25 for r in rows]):.2f} of {len(rows)}, {false} false",
            flush=True,
        )
    return out


def found_share(rows: list[dict[str, Any]], low: float, high: float) -> str:
    """Fraction of the sources of a range of S/N that are found, its binomial error, and their number."""
    found = [r["share"] >= 0.25 for r in rows if low <= r["snr"] < high]
    n, p = len(found), float(np.mean(found))
    return f"{p:.2f} ± {np.sqrt(max(p * (1 - p), 0.25 / n) / n):.2f} ({n})"


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", type=int, default=24)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--out", type=Path, default=common.BENCHMARKS / "real_diffuse")
    o = parser.parse_args()
    paths = {name: o.folder / file_name for name, file_name in FILES.items()}
    o.out.mkdir(parents=True, exist_ok=True)
    file = o.out / "real_diffuse.json"
    every: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name, path in paths.items():
        if path.exists():
            same = {m: v for m, v in every.get(name, {}).items() if v["seed"] == o.seed}
            every[name] = same | measured(path, o.n, o.methods, o.seed)
            file.write_text(json.dumps(every, indent=1) + "\n")
    head = ["method", *(f"found, S/N {a:g}–{b:g}" for a, b in pairwise(EDGES)), "share outlined"]
    head += ["flux, S/N > 1.2", "false regions of the negative, per 10,000 beams", "their share of the area"]
    lines = []
    for name in dict.fromkeys(n for e in every.values() for n in e):
        found = [e[name] for e in every.values() if name in e]
        rows = [r for e in found for r in e["sources"]]
        snr, share, flux = (np.array([r[k] for r in rows]) for k in ("snr", "share", "flux"))
        cells = [found_share(rows, low, high) for low, high in pairwise(EDGES)]
        bright = flux[(snr > EDGES[2]) & np.isfinite(flux)]
        false, beams = sum(e["false"] for e in found), sum(e["beams"] for e in found)
        cells += [
            f"{share.mean():.2f}",
            f"{np.median(bright):.2f}" if bright.size else "–",
            f"{1e4 * false / beams:.1f} ({false})",
            f"{sum(e['area'] * e['beams'] for e in found) / beams:.3f}",
        ]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    table = "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines])
    (o.out / "real_diffuse.md").write_text(f"# Diffuse sources in real images\n\n{table}\n")
    print(table)


if __name__ == "__main__":
    main()
