"""From scored catalogues of ALMA cubes to the files of an evaluation: tables, figures, numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from faintsky.evaluation import figures, paper_figures, pictures, scoring, tables
from faintsky.evaluation.dependence import Dependence, dependence_of, split_rows
from faintsky.evaluation.paper_tables import funnel, pure_recall, stage_rows, table4
from faintsky.evaluation.parameters import stacked_parameters, table5
from faintsky.evaluation.runs import TRUTH, example_path
from faintsky.evaluation.scoring import Pairs, Row, Scored
from faintsky.evaluation.truth import setting_of
from faintsky.io import write_json
from faintsky.matching import snr_edges

if TYPE_CHECKING:
    from faintsky.matching import Metrics

Rows = list[dict[str, Any]]


@dataclass
class Numbers:
    """Everything that the files say of one evaluation.

    Attributes
    ----------
    rows : list of Row
        The main table.
    residuals, table4, table5, funnel, blends, stages : list of dict
        The other tables; see `faintsky.evaluation.paper_tables` and `faintsky.evaluation.parameters`.
    curves, pairs, dependence, traces : dict
        What the figures show, by label of method and set.
    """

    rows: list[Row] = field(default_factory=list)
    residuals: Rows = field(default_factory=list)
    table4: Rows = field(default_factory=list)
    table5: Rows = field(default_factory=list)
    funnel: Rows = field(default_factory=list)
    blends: Rows = field(default_factory=list)
    stages: Rows = field(default_factory=list)
    curves: dict[str, scoring.Curves] = field(default_factory=dict)
    pairs: dict[str, Pairs] = field(default_factory=dict)
    dependence: dict[str, Dependence] = field(default_factory=dict)
    traces: dict[str, Sequence[Metrics]] = field(default_factory=dict)


def numbers_of(scored: Sequence[Scored], traced: Sequence[Scored], seed: int) -> Numbers:
    """Score everything.

    Parameters
    ----------
    scored : sequence of Scored
        Catalogues as the methods give them by themselves.
    traced : sequence of Scored
        Catalogues searched deep, for what depends on the threshold; ``METHOD@THRESHOLD`` belongs to METHOD.
    seed : int
        Of the bootstraps.
    """
    out = Numbers(rows=[row for s in scored for row in scoring.rows_of(s, seed)])
    for s in scored:
        out.curves[s.label] = scoring.curves_of(s)
        out.stages += stage_rows(s)
        out.funnel += funnel(s)
        if not len(s.joined("snr")):
            continue
        out.dependence[s.label] = dependence_of(s)
        out.blends += split_rows(s, out.dependence[s.label])
        out.table5 += table5(s)
        pairs = scoring.pairs_of(s)
        if pairs is not None:
            out.pairs[s.label] = pairs
            out.residuals += scoring.residual_rows(s, pairs)
    pure = {}
    for s in traced:
        if len(s.joined("snr")):
            out.traces[s.label] = scoring.precision_recall_of(s, seed=seed)
            pure[s.method.split("@")[0], s.cubes] = pure_recall(s, seed)
    out.table4 = table4(out.rows, pure)
    return out


def write_files(
    out: Path, n: Numbers, scored: Sequence[Scored], run: Mapping[str, Any], versions: Mapping[str, str]
) -> list[Path]:
    """Write tables, numbers and figures; gives their paths."""
    write_json(
        out / "results.json",
        {
            "run": run,
            "versions": versions,
            "rows": [r.as_dict() for r in n.rows],
            **{k: getattr(n, k) for k in ("residuals", "table4", "table5", "funnel", "blends", "stages")},
            "curves": {
                label: {
                    "completeness": scoring.binned_dict(c.completeness),
                    "completeness_fit": None if c.fit is None else c.fit.__dict__,
                    "reliability": scoring.binned_dict(c.reliability),
                }
                for label, c in n.curves.items()
            },
            "dependence": {label: d.as_dict() for label, d in n.dependence.items()},
            "precision_recall": {k: [scoring.flat_metrics(m) for m in v] for k, v in n.traces.items()},
        },
    )
    tables.write_csv([r.as_dict() for r in n.rows], out / "table.csv")
    written = [out / name for name in ("table.csv", "table.md", "results.json")]
    for name in ("residuals", "table4", "table5", "funnel", "blends", "stages"):
        tables.write_csv(getattr(n, name), out / f"{name}.csv")
        written.append(out / f"{name}.csv")
    (out / "table.md").write_text(_report(n, run, versions), encoding="utf-8")
    return written + _figures(out, scored, n)


def _report(n: Numbers, run: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    parts = [
        "# Evaluation on ALMA line cubes",
        "",
        "Errors: bootstrap over cubes. Every unmatched detection is a false positive. Definitions:"
        " docs/evaluation.md.",
        "",
        "## Detection",
        "",
        tables.detection_table(n.rows),
        "## Table 4",
        "",
        "One-to-one. Last columns: the highest recall with a precision of at least 0.99, by the threshold in",
        "reliability, of catalogues searched deep, and the cubes it was measured on.",
        "",
        tables.table4(n.table4),
        "## Table 5",
        "",
        "True minus found (eq. 23) of the sources matched by overlap, in the paper's frame and units. Bound:",
        "Cramér–Rao, with a continuum unknown in every pixel. `brightness` is the paper's flux.",
        "",
        tables.table5(n.table5),
    ]
    if n.funnel:
        parts += ["## Funnel", "", tables.plain_table(n.funnel)]
    if n.blends:
        parts += ["## Blends of which both sources were found", "", tables.plain_table(n.blends)]
    parts += [
        "## Parameters of matched sources",
        "",
        "Found minus true, matched by position; fluxes relative. Bound: Cramér–Rao, with a continuum",
        "unknown in every pixel, or one that shares the source's shape.",
        "",
        tables.residual_table(n.residuals),
        "## Time and memory",
        "",
        "Seconds a cube, and the most memory the process held.",
        "",
        tables.plain_table(n.stages),
        f"Seed {run.get('seed')}; {', '.join(f'{k} {v}' for k, v in versions.items())}.",
        "",
    ]
    return "\n".join(parts)


def _figures(out: Path, scored: Sequence[Scored], n: Numbers) -> list[Path]:
    """Draw every figure and give its path; most of them one for each set of cubes."""
    folder = out / "figures"
    sources = {s.label: s for s in scored if len(s.joined("snr"))}
    drawn = []
    if n.traces:
        drawn.append(figures.save(figures.precision_recall(n.traces), folder / "precision_recall.png"))
    for name in dict.fromkeys(s.cubes for s in sources.values()):
        here = {s.method: s for s in sources.values() if s.cubes == name}
        drawn += _figures_of_set(out, folder, name, here, n)
    return drawn


TRUTH_COLUMNS = ("snr", "paper_sum", "paper_continuum", "dc_maj", "dc_min", "dc_pa", "fwhm_z", "x", "y")


def _figures_of_set(out: Path, folder: Path, name: str, here: Mapping[str, Scored], n: Numbers) -> list[Path]:
    """The figures of one set of cubes with all its methods."""
    first = next(iter(here.values()))
    cell = next(setting_of(t.meta).cell for t in first.truths)
    complete = {m: (n.curves[s.label].completeness, n.curves[s.label].fit) for m, s in here.items()}
    reliable = {m: n.curves[s.label].reliability for m, s in here.items()}
    made = {
        "completeness": figures.completeness_and_reliability(complete, reliable, scoring.SNR_ASKED),
        "sources": paper_figures.source_distributions({c: first.joined(c) for c in TRUTH_COLUMNS}, cell),
        "flux_blendedness": paper_figures.against_flux_and_blendedness(
            {method: n.dependence[s.label] for method, s in here.items()}
        ),
        "detected": paper_figures.detected_distributions(
            {m: {c: s.joined(c)[s.detected()] for c in ("flux", "blendedness")} for m, s in here.items()},
            {c: first.joined(c) for c in ("flux", "blendedness")},
        ),
    }
    measured = {m: p for m, s in here.items() if not s.flat and (p := stacked_parameters(s))}
    if measured:
        made["flux_error"] = paper_figures.snr_against_flux_error(measured)
        made["angle_error"] = paper_figures.angle_against_axis_ratio(measured)
    for method, p in measured.items():
        made[f"parameters_{here[method].folder}"] = paper_figures.true_against_found(p)
    paired = {m: n.pairs[s.label] for m, s in here.items() if s.label in n.pairs and not s.flat}
    if paired:
        chosen = {method: p.select(p.isolated) for method, p in paired.items()}
        residuals = {method: r for method, (r, _) in chosen.items()}
        snr = {method: s for method, (_, s) in chosen.items()}
        edges = snr_edges(np.concatenate(list(snr.values())), 8, low=4.0)
        made["scatter"] = figures.scatter_against_bound(residuals, snr, edges)
        for stem, over, title in (
            ("residuals", "bound", "residual / Cramér–Rao bound"),
            ("pulls", "error", "residual / reported error"),
        ):
            made[stem] = figures.normalised_histograms(residuals, over, title)
    examples = _examples(out, name, here)
    if examples:
        made["examples"] = pictures.examples_figure(examples)
    return [figures.save(picture, folder / f"{stem}_{name}.png") for stem, picture in made.items()]


def _examples(out: Path, name: str, here: Mapping[str, Scored]) -> list[pictures.Example]:
    """The cubes of which the run kept images, as far as all methods saw them."""
    found = []
    first = next(iter(here.values()))
    common = min(len(s.founds) for s in here.values())
    for place, index in enumerate(first.indices[:common]):
        dirty = example_path(out, TRUTH, name, index)
        if not dirty.is_file() or not len(first.truths[place]):
            continue
        truth = first.truths[place]
        images = {m: example_path(out, s.folder, name, index) for m, s in here.items()}
        found.append(
            pictures.Example(
                f"{name} {index:04d}", np.load(dirty), pictures.true_image(truth, setting_of(truth.meta)),
                truth, {m: s.founds[place] for m, s in here.items()},
                {m: np.load(path) for m, path in images.items() if path.is_file()},
            )
        )  # fmt: skip
    return found


__all__ = ["Numbers", "numbers_of", "write_files"]
