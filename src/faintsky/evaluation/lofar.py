"""``faintsky evaluate lofar``: denoisers on images whose true sky is known, in tables, figures, numbers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.denoising.segmentation import segment
from faintsky.denoising.settings import RegionSettings
from faintsky.device import choose_device
from faintsky.errors import InputError
from faintsky.evaluation import lofar_figures, lofar_tables
from faintsky.evaluation.fields import KINDS, PRESETS, SIZE, Field, FieldSet, SimulatedFields, open_fields
from faintsky.evaluation.image_methods import Denoise, make_methods
from faintsky.evaluation.image_metrics import draw_apertures, pixel_sums, pull_sums
from faintsky.evaluation.tables import write_csv
from faintsky.io import OutputFolder, provenance, write_json
from faintsky.observing.dataset import versions

Progress = Callable[[int, int, str], None]

METHODS = ("denoiser", "starlet", "gaussian", "fft", "gaussian_paper", "input", "constant")
FIELDS = 12
"""Simulated fields of each set where no number is given, and as many without emission."""


@dataclass
class Scores:
    """What is known of a method on a set of fields, in units of the rms; lists have an entry a field.

    Parameters
    ----------
    method, cases : str
        Names of the method and the set.
    pixels : list of array
        `pixel_sums` of each, ``[1, bin, 4]``.
    flux, peak : list of array
        S/N and recovered over true value of every aperture and peak, ``[source, 2]``.
    pulls, pulls_true : list of array
        `pull_sums` in bins of the estimate and of the truth, ``[1, bin, 4]``; empty without uncertainties.
    seconds : list of float
        Time each.
    false : list of float
        Regions in each field without emission.
    empty_area : float
        Of these [deg2].
    """

    method: str
    cases: str
    pixels: list[NDArray] = field(default_factory=list)
    flux: list[NDArray] = field(default_factory=list)
    peak: list[NDArray] = field(default_factory=list)
    pulls: list[NDArray] = field(default_factory=list)
    pulls_true: list[NDArray] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    false: list[float] = field(default_factory=list)
    empty_area: float = 0.0


@dataclass(frozen=True)
class DenoisingEvaluation:
    """What `evaluate_lofar` found out.

    Parameters
    ----------
    out : pathlib.Path
        Folder with the tables, figures and numbers.
    rows : list of dict
        Every number: ``method``, ``set``, ``quantity``, ``snr_low``, ``snr_high``, ``value``, ``error`` and
        ``n``.
    """

    out: Path
    rows: list[dict[str, Any]]

    def find(self, method: str, cases: str, quantity: str, snr_low: float | None = None) -> dict[str, Any]:
        """One row; raises KeyError where there is none."""
        wanted = (method, cases, quantity, snr_low)
        for row in self.rows:
            if wanted == (row["method"], row["set"], row["quantity"], row["snr_low"]):
                return row
        raise KeyError(wanted)

    def summary(self) -> dict[str, Any]:
        """Errors inside sources, flat."""
        inside = [r for r in self.rows if r["quantity"] == "error inside"]
        return {
            "out": str(self.out),
            "table": str(self.out / "table.md"),
            **{f"{r['method']} on {r['set']}: rms error inside sources / noise": r["value"] for r in inside},
        }


def evaluate_lofar(
    out: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    methods: Sequence[str] = METHODS,
    n: int | None = None,
    seed: int = 0,
    *,
    preset: Sequence[str] = PRESETS,
    kinds: Sequence[str] = KINDS,
    size: int = SIZE,
    device: str = "cpu",
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> DenoisingEvaluation | dict[str, Any]:
    """Score denoisers on LOFAR images against the true sky: pixels, fluxes, peaks, false regions, pulls.

    Parameters
    ----------
    out : path-like
        Folder for ``table.csv``, ``table.md``, ``results.json`` and ``figures/*.png``.
    data : path-like, optional
        Folder that ``faintsky simulate lofar`` wrote; without it fields are simulated.
    methods : sequence of str, optional
        Models by name or folder; ``starlet``, ``gaussian`` and ``fft`` as tuned on validation fields;
        ``gaussian_paper`` (3 pixels), ``input``, ``constant``.
    n : int, optional
        Fields of each set: by default all of ``data``, or 12 simulated ones (and as many without emission).
    seed : int, optional
        Of simulated fields and of the bootstraps.
    preset : sequence of str, optional
        Presets of `faintsky.simulate_lofar` to simulate.
    kinds : sequence of str, optional
        Of `faintsky.evaluation.fields.KINDS`.
    size : int, optional
        Pixels a side of a simulated field.
    device : str, optional
        Where models compute: ``cpu``, ``cuda`` or ``auto``.
    overwrite : bool, optional
        Replace another run's results in ``out``.
    dry_run : bool, optional
        Only say what would be done.
    progress : callable, optional
        Called with fields done, fields in all, and a word.
    command : str, optional
        Recorded.

    Returns
    -------
    DenoisingEvaluation, or for a dry run a dict

    Raises
    ------
    InputError
        Data without truth, unknown methods, presets or kinds, or ``out`` holds another run.
    """
    wrong = [k for k in kinds if k not in KINDS]
    if wrong:
        raise InputError(f"no kind of image is called {wrong[0]!r}", f"choose from {', '.join(KINDS)}")
    number = FIELDS if n is None and data is None else n
    if number is not None and number < 1:
        raise InputError("needs at least one field", "give -n 1 or more")
    sets: list[FieldSet]
    if data is not None:
        sets = [s for s in open_fields(data, number) if s.kind in kinds]
    else:
        indices = tuple(range(number or 1))
        sets = [SimulatedFields(p, k, indices, seed, size) for p in preset for k in kinds]
    chosen = make_methods(methods, choose_device(device))
    config = {
        "data": None if data is None else str(Path(data).resolve()),
        "methods": list(chosen),
        "sets": {s.name: list(s.indices) for s in sets},
        "size": size,
    }
    run = provenance(command=command, config=config, seed=seed)
    output = OutputFolder(out, run, overwrite=overwrite)
    if dry_run:
        output.check()
        fields = sum(len(s.indices) for s in sets)
        return {"out": str(out), "fields": fields, "sets": [s.name for s in sets], "methods": list(chosen)}
    with output:
        rows = evaluate_fields(output.folder, sets, chosen, seed=seed, run=run, progress=progress)
    return DenoisingEvaluation(Path(out), rows)


def evaluate_fields(
    out: Path,
    sets: Sequence[FieldSet],
    methods: Mapping[str, Denoise],
    *,
    seed: int = 0,
    run: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Score any functions on any sets of fields, and write tables and figures into an existing folder.

    Parameters
    ----------
    out : pathlib.Path
        The folder.
    sets : sequence of FieldSet
        Fields with truth.
    methods : mapping of str to callable
        From `Field` and the name of its set to `faintsky.evaluation.image_methods.Estimate`.
    seed : int, optional
        Of the bootstraps.
    run, progress
        As in `evaluate_lofar`.

    Returns
    -------
    list of dict
        See `DenoisingEvaluation`.
    """
    scores = [Scores(name, s.name) for s in sets for name in methods]
    by_name = {(s.method, s.cases): s for s in scores}
    pictures: list[tuple[str, Field, dict[str, NDArray]]] = []
    total, done = sum(len(s.indices) for s in sets), 0
    for cases in sets:
        richest = 0.0
        for index in cases.indices:
            one, empty = cases.load(index), cases.load(index, empty=True)
            assert one is not None
            apertures = draw_apertures(one.truth / one.rms, one.width, one.correlation)
            seen = {}
            for name, denoise in methods.items():
                seen[name] = _score(by_name[name, cases.name], one, empty, apertures, denoise)
            content = float(np.mean((one.truth > one.rms) & (one.truth < 10 * one.rms)))
            if content > richest or not pictures or pictures[-1][0] != cases.name:
                pictures = [p for p in pictures if p[0] != cases.name] + [(cases.name, one, seen)]
                richest = content
            done += 1
            if progress is not None:
                progress(done, total, "fields")
    rows = [row for s in scores for row in lofar_tables.rows_of(s, seed)]
    write_json(out / "results.json", {"run": run or {}, "versions": versions(), "rows": rows})
    write_csv(rows, out / "table.csv")
    (out / "table.md").write_text(lofar_tables.report(rows, run or {"seed": seed}), encoding="utf-8")
    lofar_figures.draw(out / "figures", rows, pictures)
    return rows


def _score(scores: Scores, one: Field, empty: Field | None, apertures: Any, denoise: Denoise) -> NDArray:
    """Add one field, and one without emission, to a method's scores; its estimate over the rms."""
    begin = time.perf_counter()
    made = denoise(one, scores.cases)
    scores.seconds.append(time.perf_counter() - begin)
    estimate, truth = made.image / one.rms, one.truth / one.rms
    scores.pixels.append(pixel_sums(estimate, truth)[None])
    scores.flux.append(np.stack([apertures.snr, apertures.flux_ratios(estimate)], axis=1))
    y, x = apertures.peaks.T
    scores.peak.append(np.stack([truth[y, x], apertures.peak_ratios(estimate, truth)], axis=1))
    if made.sigma is not None:
        sigma = made.sigma / one.rms
        scores.pulls.append(pull_sums(estimate, sigma, truth, np.abs(estimate))[None])
        scores.pulls_true.append(pull_sums(estimate, sigma, truth, truth)[None])
    if empty is not None:
        found = denoise(empty, scores.cases)
        scores.false.append(_count(empty, found.image) if found.regions is None else float(found.regions))
        scores.empty_area += empty.area
    return np.asarray(estimate)


def _count(empty: Field, image: NDArray) -> float:
    """Regions that reach 5 times the rms of a denoised field without emission, and 3 times it throughout."""
    image = image - np.median(image)
    spread = max(float(np.std(image)), 1e-6 * empty.rms)
    white = empty.correlation is None
    rule = RegionSettings(seed=(5.0, 0.0), grow=(3.0, 0.0), least_area=1.0)
    area = 1.0 if white else 1.133 * empty.width**2
    return float(segment(image, np.full_like(image, spread), np.isfinite(image), rule, area).max())
