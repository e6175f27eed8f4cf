"""How far DeepFocus can get: perfect networks, each rule left out, truth boxes read otherwise.

    python -m reproduction.oracle [-n 80] [--seed 9100] [--model DIR] [--jobs J]

Blobs Finder's map is the true integrated sky in [0, 1], Deep GRU's answer the true spectrum of a blob's box.
A blurred map is what a network gives whose DSSIM is 0.003 (a Gaussian of sigma 2 pixels) or 0.006 (3), with
noise. With ``--model`` the networks of a run of ``faintsky train deepfocus`` take the truth's place in turn,
at the run's own thresholds. Counted one-to-one on `paper` cubes. Results:
``reproduction/results/deepfocus/oracle.json`` and ``.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.measure import label

from faintsky.cutouts import integrated
from faintsky.evaluation import table_of
from faintsky.io import provenance
from faintsky.matching import CRITERIA, match
from faintsky.models import load_model
from faintsky.published.deepfocus import DeepFocus, beam_area, finding, unit_range
from faintsky.published.deepfocus.blobs import PAPER_THRESHOLD
from faintsky.published.deepfocus.finding import FindingSettings, Focus, Tally
from faintsky.published.deepfocus.pipeline import image_size, load_networks, reliabilities
from faintsky.simulating import Observatory, Observed, SimulationSettings, open_observatory
from faintsky.system import one_thread
from reproduction import common
from reproduction.deepfocus_tables import BLEND_EDGES, overlaps

Array = NDArray[np.float32]

BOX = ("x_min", "x_max", "y_min", "y_max")
TRUTH = (*BOX, "x", "y", "z", "fwhm_z", "z_min", "z_max")
LABEL = FindingSettings(threshold=0.04, bright=-np.inf, faint=-np.inf)
PEAKS = LABEL.model_copy(update={"extract": "peaks", "least": 0.02, "share": 0.08})
BLURRED = PEAKS.model_copy(update={"share": 0.17})
NOISE, SMOOTH = 0.005, 2.5
"""Of blurred maps: standard deviation in units of the brightest pixel, sigma of its smoothing [pixel]."""
THRESHOLDS = (0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15)
_find_lines, _grown, _sources_of = finding.find_lines, Focus._grown, Focus.sources_of
WITHOUT: dict[str, tuple[str, Callable[..., Any]]] = {
    "a new box for what was split": (
        "Focus._grown", lambda self, s, *place: _grown(self, s, *place) if s.secondary else s,
    ),
    "splitting: the highest line alone": ("find_lines", lambda *args: _find_lines(*args)[:1]),
    "joining peaks of one emission": ("Focus._joined", lambda *args: None),
    "dropping what is detected twice": ("_same_place", lambda *args: False),
    "telling neighbours' lines": ("Focus.sources_of", lambda *args: _sources_of(*args[:4])),
}  # fmt: skip
"""What stands in the place of each rule of step iii that is left out."""
CHAINS = (
    ("label", LABEL, 0.0), ("peaks", PEAKS, 0.0), ("peaks, map blurred by 3", BLURRED, 3.0),
)  # fmt: skip
"""Of which rules are left out."""
CUTS = {"condition 1 at the paper's 6": {"bright": 6.0}, "the last cut at the paper's 1": {"faint": 1.0}}


@dataclass(frozen=True)
class Row:
    """One way to find sources: blobs in the image alone, or by steps i to iii."""

    table: str
    name: str
    settings: FindingSettings
    blur: float = 0.0
    networks: tuple[str, ...] = ()
    without: str | None = None


def rows_of(fitted: FindingSettings | None) -> list[Row]:
    """The ladder; its last rungs are networks, where there are any."""
    levels = [LABEL.model_copy(update={"threshold": t}) for t in THRESHOLDS]
    rows = [Row("image", f"label above {s.threshold:g}", s) for s in levels]
    rows.append(Row("image", "peaks", PEAKS))
    rows.append(Row("chain", "label above 0.15, as the paper", levels[-1]))
    for name, settings, blur in CHAINS:
        rows.append(Row("chain", name, settings, blur))
        rows += [Row("chain", f"{name}, without {rule}", settings, blur, without=rule) for rule in WITHOUT]
        rows += [
            Row("chain", f"{name}, with {k}", settings.model_copy(update=v), blur) for k, v in CUTS.items()
        ]
    rows.append(Row("chain", "peaks, map blurred by 2", BLURRED, 2.0))
    rows.append(Row("chain", "label, map blurred by 3", levels[THRESHOLDS.index(0.07)], 3.0))
    if fitted is not None:
        both = ("blobs_finder", "deep_gru")
        rows += [Row("networks", " and ".join(n), fitted, networks=n) for n in (both, both[:1], both[1:])]
    return rows


@dataclass(frozen=True)
class Oracle(DeepFocus):
    """The pipeline with the truth in the place of the networks that it has not.

    Parameters
    ----------
    seen : Observed
    index : int
        Its number.
    blur : float
        Sigma of the map's blur [pixel]; 0 is the true sky.
    """

    seen: Any = field(kw_only=True)
    index: int = 0
    blur: float = 0.0

    def sky_map(self, image: Array) -> Array:
        """Blobs Finder's map, or the true sky."""
        if "blobs_finder" in self.networks:
            return super().sky_map(image)
        sky = true_sky(self.seen)
        if self.blur:
            rng = np.random.default_rng(self.index)
            noise = gaussian_filter(rng.normal(size=sky.shape), SMOOTH)
            sky = gaussian_filter(sky, self.blur) + NOISE / noise.std() * noise
        return np.asarray(sky, dtype=np.float32)

    def spectra_of(self, cube: Array, blobs: Sequence[Any]) -> tuple[Array, Array]:
        """Spectra of blobs, dirty and denoised; where there is no Deep GRU, both are true ones in [0, 1]."""
        if "deep_gru" in self.networks:
            return super().spectra_of(cube, blobs)
        sky, clean = self.seen.sky, np.zeros((len(blobs), len(cube)), dtype=np.float32)
        for row, (x0, x1, y0, y1) in enumerate(blob.box for blob in blobs):
            spectrum = sky.images[:, y0 : y1 + 1, x0 : x1 + 1].sum(axis=(1, 2)) @ sky.spectra
            clean[row] = (spectrum - spectrum.min()) / max(np.ptp(spectrum), np.finfo(float).tiny)
        return clean, clean

    def found(self, image: Array, area: float, *, blobs_only: bool) -> Table:
        """What step i finds, or steps i to iii, with the columns `TRUTH`; blobs have no frequency."""
        cube, settings = self.seen.dirty, self.settings
        blobs = finding.blobs_of(self.sky_map(image), settings)
        found: list[Any] = [*blobs]
        if not blobs_only:
            sources = self.focus(cube, image, blobs, self.spectra_of(cube, blobs)[1], area, Tally())
            good = reliabilities(sources, settings) >= settings.reliability
            found = [s for s, keep in zip(sources, good) if keep]
        columns = {k: [f.box[i] for f in found] for i, k in enumerate(BOX)}
        columns |= {k: [getattr(f, k, np.nan) for f in found] for k in TRUTH[4:]}
        return Table({k: np.asarray(v, dtype=float) for k, v in columns.items()})


def true_sky(seen: Observed) -> Array:
    """The integrated sky in [0, 1], ``[y, x]``: what Blobs Finder is trained for; 0 of an empty field."""
    sky = np.tensordot(seen.sky.spectra.sum(axis=1).astype(np.float32), seen.sky.images, 1)
    return np.asarray(unit_range(torch.as_tensor(sky)).numpy())


def readings(seen: Observed) -> dict[str, Table]:
    """The truth, with its boxes in the image by several rules (fidelity page, S7)."""
    true = Table({k: np.asarray(seen.truth[k], dtype=float) for k in TRUTH})
    images, brightness = seen.sky.images, seen.sky.spectra.sum(axis=1)
    peaks = [image.max() for image in images]
    highest = max((b * p for b, p in zip(brightness, peaks)), default=0.0)
    pieces = label(true_sky(seen) > PAPER_THRESHOLD)
    masks = {
        "3 standard deviations of the source's image": [],
        "a tenth of the source's peak": [m >= 0.1 * p for m, p in zip(images, peaks)],
        "centre ± FWHM": [m >= p / 16 for m, p in zip(images, peaks)],
        "FWHM": [m >= p / 2 for m, p in zip(images, peaks)],
        "0.15 of the brightest peak in the source's image": [
            m >= min(PAPER_THRESHOLD * highest / b, p) for m, b, p in zip(images, brightness, peaks)
        ],
        "0.15 of the brightest pixel in the whole sky": [
            (pieces == pieces[m == p].max()) & (pieces > 0) | (m == p) for m, p in zip(images, peaks)
        ],
    }
    out = {name: true.copy() for name in masks}
    for name, shapes in masks.items():
        for row, mask in enumerate(shapes):
            ys, xs = np.nonzero(mask)
            for column, value in zip(BOX, (xs.min(), xs.max(), ys.min(), ys.max())):
                out[name][column][row] = value
    return out


def measure(index: int, seed: int, model: Path | None) -> list[dict[str, Any]]:
    """What each row finds of one cube: counts, hits for each reading of the boxes, pairs by blendedness."""
    with one_thread():
        observatory = opened()
        seen = observatory.sample(seed, index)
        fitted, networks, size = loaded(model)
        image, area, truths = integrated(seen.dirty), beam_area(observatory), readings(seen)
        true = next(iter(truths.values()))
        overlap = np.triu(overlaps(true))
        one, other = np.nonzero(overlap)
        out = []
        for row in rows_of(fitted):
            chosen = {k: networks[k] for k in row.networks}
            oracle = Oracle(chosen, row.settings, size, seen=seen, index=index, blur=row.blur)
            name, stand_in = WITHOUT[row.without] if row.without else ("", None)
            left_out = patch(f"{finding.__name__}.{name}", stand_in) if row.without else nullcontext()
            only = row.table == "image"
            with left_out:
                found = oracle.found(image, area, blobs_only=only)
            at = match(true, found, CRITERIA["position2d" if only else "position"]).partner_of_true >= 0
            rule = CRITERIA["iou2d" if only else "iou"]
            out.append({
                "row": row, "found": len(found), "true": len(true), "place": int(at.sum()),
                "hits": {k: len(match(t, found, rule).i_true) for k, t in truths.items()},
                "pairs": np.stack([overlap[one, other], at[one] & at[other]], axis=1).tolist(),
            })  # fmt: skip
    return out


@lru_cache(maxsize=1)
def opened() -> Observatory:
    """The telescope of `paper` cubes."""
    return open_observatory(SimulationSettings(telescope="alma", preset="paper"))


def loaded(model: Path | None) -> tuple[FindingSettings | None, Any, int]:
    """Thresholds, networks and size of Blobs Finder's images of a run, where there is one."""
    if model is None:
        return None, {}, 0
    run = load_model(model, job="detect")
    return FindingSettings.read(run.settings), load_networks(run), image_size(run)


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("-n", type=int, default=80, help="cubes")
    parser.add_argument("--seed", type=int, default=9100)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    cubes = common.parallel(partial(measure, seed=options.seed, model=options.model), options.n, options.jobs)
    ladder, boxes, blends = [], [], []
    for parts in zip(*cubes):
        row = parts[0]["row"]
        found, true, place = (sum(p[k] for p in parts) for k in ("found", "true", "place"))
        hits = {k: sum(p["hits"][k] for p in parts) for k in parts[0]["hits"]}
        own = next(iter(hits.values()))
        facts = {"criteria": row.table, "method": row.name}
        ladder.append(facts | {
            "true": true, "found": found, "recall": own / true, "precision": own / max(found, 1),
            "recall by place": place / true, "precision by place": place / max(found, 1),
        })  # fmt: skip
        whole = not (row.without or ", with" in row.name)
        if whole:
            boxes.append(facts | {k: n / true for k, n in hits.items()})
        if whole and row.table != "image":
            pairs = np.array([pair for p in parts for pair in p["pairs"]]).reshape(-1, 2)
            for low, high in pairwise(BLEND_EDGES):
                inside = pairs[(pairs[:, 0] >= low) & (pairs[:, 0] < high), 1]
                if len(inside):
                    blends.append(
                        facts | {"from": low, "to": high, "pairs": len(inside), "split": inside.mean()}
                    )
    tables = {"ladder": ladder, "boxes": boxes, "blends": blends}
    config = {"cubes": options.n, "seed": options.seed, "model": options.model and str(options.model)}
    record = provenance(command="python -m reproduction.oracle", config=config, seed=options.seed)
    common.write("deepfocus/oracle.json", {"run": record, **tables})
    text = [f"## {name}\n\n{table_of(rows, {k: k for k in rows[0]})}" for name, rows in tables.items()]
    (common.RESULTS / "deepfocus" / "oracle.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
