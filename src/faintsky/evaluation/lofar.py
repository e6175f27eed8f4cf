"""``faintsky evaluate lofar``: denoisers on images whose true sky is known, in tables, figures, numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faintsky.errors import InputError
from faintsky.evaluation import lofar_figures, lofar_tables
from faintsky.evaluation.brightness_metrics import radii
from faintsky.evaluation.fields import ALL_KINDS, KINDS, PRESETS, SIZE, Field, FieldSet, simulated_sets
from faintsky.evaluation.image_methods import Denoise, make_methods, model_hashes
from faintsky.evaluation.lofar_rows import curves_of, rows_of
from faintsky.evaluation.lofar_scores import SEEN, Parts, Scored, Scores, load_parts, save_parts, score_field
from faintsky.evaluation.stored_fields import STORED, open_fields
from faintsky.evaluation.tables import write_csv
from faintsky.io import OutputFolder, provenance, write_json
from faintsky.published.dda import EDGES
from faintsky.simulating.dataset import versions
from faintsky.sky.web import check_web
from faintsky.system import BYTES_OF_TABLES, Needs, choose_device, limited_threads

Progress = Callable[[int, int, str], None]

METHODS = ("denoiser", "starlet", "gaussian", "fft", "threshold", "gaussian_paper", "input", "constant")
FIELDS = 12
"""Simulated fields of each set where no number is given, and as many without emission."""
BYTES_FIXED, BYTES_A_PIXEL, BYTES_OF_A_SCORE, SECONDS_A_PIXEL = 0.6e9, 600, 1e6, 1e-5
"""For the estimate of an evaluation's needs: memory of the libraries and of a pixel, a score's file, time."""


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
    data: str | os.PathLike[str] | list[str | os.PathLike[str]] | None = None,
    methods: Sequence[str] = METHODS,
    n: int | None = None,
    seed: int = 0,
    *,
    preset: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    web: str | os.PathLike[str] | None = None,
    size: int = SIZE,
    device: str = "auto",
    jobs: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> DenoisingEvaluation | dict[str, Any]:
    """Score denoisers on LOFAR images against the true sky: pixels, fluxes, peaks, false regions, pulls.

    Parameters
    ----------
    out : path-like
        Folder for ``table.csv``, ``table.md``, ``results.json``, ``figures/*.png``, and what each method made
        of each field (``fields``), by which an interrupted run goes on.
    data : path-like or sequence of path-like, optional
        Folders that ``faintsky simulate lofar`` wrote; without them fields are simulated.
    methods : sequence of str, optional
        Models by name or folder; ``starlet``, ``gaussian``, ``fft`` and ``threshold`` as tuned on validation
        fields; ``gaussian_paper`` (3 pixels), ``input``, ``constant``; ``clean``, where the data have it.
    n : int, optional
        Fields of each set: by default all of ``data``, or 12 simulated ones (and as many without emission).
    seed : int, optional
        Of simulated fields and of the bootstraps.
    preset : sequence of str, optional
        Presets of `faintsky.simulate_lofar` to simulate: ``paper`` and ``lotss``, ``paper`` alone of a web.
    kinds : sequence of str, optional
        Of `faintsky.evaluation.fields.ALL_KINDS`; by default all that there is but ``sky``.
    web : str or path-like, optional
        Simulate skies of a cosmic web: ``train``, ``validation`` or ``test``, or a file or folder of webs.
    size : int, optional
        Pixels a side of a simulated field.
    device : str, optional
        Where models compute: ``cpu``, ``cuda`` or ``auto``.
    jobs : int, optional
        CPU cores to use; all by default.
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
    possible = ALL_KINDS if data is not None else tuple(k for k in ALL_KINDS if k != "clean")
    wrong = [k for k in kinds or () if k not in possible]
    if wrong:
        raise InputError(f"no kind of image is called {wrong[0]!r}", f"choose from {', '.join(possible)}")
    if data is not None and web is not None:
        raise InputError("both data and a cosmic web are given", "give one of them")
    number = FIELDS if n is None and data is None else n
    if number is not None and number < 1:
        raise InputError("needs at least one field", "give -n 1 or more")
    sets: Sequence[FieldSet]
    if data is not None:
        sets = open_fields(data, number, kinds or STORED)
    else:
        web = None if web is None else str(web)
        presets = preset or (PRESETS if web is None else PRESETS[:1])
        sets = simulated_sets(presets, kinds or KINDS, number or 1, seed, size, web)
    chosen = make_methods(methods, choose_device(device))
    config = {
        "data": None if data is None else sorted({getattr(s, "folder", "") for s in sets}),
        "web": None if web is None else check_web(web),
        "methods": list(chosen),
        "models": model_hashes(methods),
        "sets": {s.name: list(s.indices) for s in sets},
        "size": size,
    }
    run = provenance(command=command, config=config, seed=seed)
    output = OutputFolder(out, run, overwrite=overwrite, resumable=True)
    output.check()
    fields = sum(len(s.indices) for s in sets)
    needs = _needs(fields, len(chosen), size)
    if dry_run:
        about = {"fields": fields, "sets": [s.name for s in sets], "methods": list(chosen)}
        return about | needs.summary(out)
    needs.check(out)
    with limited_threads(jobs), output:
        rows = evaluate_fields(output.folder, sets, chosen, seed=seed, run=run, progress=progress)
    return DenoisingEvaluation(Path(out), rows)


def _needs(fields: int, methods: int, size: int) -> Needs:
    """Fields are scored twice, with their emission and without."""
    pixels = size**2
    seconds = 60.0 + 2 * fields * methods * pixels * SECONDS_A_PIXEL
    return Needs(
        BYTES_FIXED + pixels * BYTES_A_PIXEL, fields * methods * BYTES_OF_A_SCORE + BYTES_OF_TABLES, seconds,
        fields,
    )  # fmt: skip


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

    What a method made of a field is not computed again where ``out/fields`` has it.

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
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[str, Any]] = {}
    total, done = sum(len(s.indices) for s in sets), 0
    for cases in sets:
        scores = {name: Scores(name, cases.name) for name in methods}
        for place, index in enumerate(cases.indices):
            field, parts = _field(out, cases, index, methods, first=place == 0)
            for name, part in parts.items():
                scores[name].add(part)
            if field is not None:
                seen = {name: p[SEEN].astype(np.float32) for name, p in parts.items() if SEEN in p}
                lofar_figures.draw_field(out / "figures", cases.name, field, seen)
            done += 1
            if progress is not None:
                progress(done, total, "fields")
        curves[cases.name] = {name: c for name, s in scores.items() if (c := curves_of(s))}
        rows += [row for s in scores.values() for row in rows_of(s, seed)]
    known = {"run": run or {}, "versions": versions(), "rows": rows}
    axes = {"separation_arcsec": radii(), "brightness_edges": EDGES}
    write_json(out / "results.json", {**known, "curves": {**axes, "sets": curves}})
    write_csv(rows, out / "table.csv")
    (out / "table.md").write_text(lofar_tables.report(rows, run or {"seed": seed}), encoding="utf-8")
    lofar_figures.draw(out / "figures", rows, curves)
    return rows


def _field(
    out: Path, cases: FieldSet, index: int, methods: Mapping[str, Denoise], first: bool
) -> tuple[Field | None, dict[str, Parts]]:
    """What every method made of a field, computed where no file has it; the field itself if it is shown."""
    folder = out / "fields" / _plain(cases.name)
    paths = {name: folder / _plain(name) / f"{index:04d}.npz" for name in methods}
    missing = [name for name, path in paths.items() if not path.is_file()]
    shown = first and (bool(missing) or not lofar_figures.has_field(out / "figures", cases.name))
    one = cases.load(index) if missing or shown else None
    if missing:
        assert one is not None
        scored = Scored(one, cases.load(index, empty=True))
        for name in missing:
            save_parts(paths[name], score_field(scored, methods[name], cases.name, keep=first))
    return (one if shown else None), {name: load_parts(path) for name, path in paths.items()}


def _plain(name: str) -> str:
    """A name as a file system can hold it."""
    return re.sub(r"[^\w.+@-]+", "_", name).strip("_") or "_"
