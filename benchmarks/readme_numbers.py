"""Put the tracked results into the README, between its two markers.

    python benchmarks/readme_numbers.py [--check]

The results come from ``casa_agreement.py``, ``simulate_speed.py``, ``deepfocus_tables.py``,
``fit_classical.py`` and ``denoise_methods.py`` in this folder. With ``--check`` nothing is written and an
outdated README fails.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
START, END = "<!-- numbers: python benchmarks/readme_numbers.py -->", "<!-- end of numbers -->"


def simulator() -> str:
    """Agreement with CASA and speed."""
    runs = json.loads((RESULTS / "casa_agreement.json").read_text())
    reference = runs["default, C-3 (tests/data)"]
    other = runs["C-6_0.02arcsec"]
    speed = json.loads((RESULTS / "simulate_speed.json").read_text())["dirty and truth"]
    rows = [
        ("noise-free dirty cube, inner half: max abs difference / peak", "dirty_inner_half", "{:.0e}"),
        ("psf, inner half: the same", "psf_inner_half", "{:.0e}"),
        ("primary beam: max abs difference", "primary_beam", "{:.0e}"),
        ("baselines from antenna positions: max difference [mm]", "uvw_m", "mm"),
        ("beam, major axis: relative difference", "beam_major_relative", "{:.2%}"),
        ("noise rms, ours / CASA", "noise_rms_ratio", "{:.3f}"),
    ]
    lines = [
        "**The simulator against CASA 6.7** (`simobserve` + `tclean`), two of the four observations compared",
        "in [its page](docs/simulator.md); `python benchmarks/casa_agreement.py`:",
        "",
        "| | C-3, 230 GHz, 0.1″ cells | C-6, 0.02″ cells |",
        "|---|---|---|",
    ]
    for label, key, form in rows:
        cells = [
            f"{1e3 * run[key]:.1f}" if form == "mm" else form.format(run[key]) for run in (reference, other)
        ]
        lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        "CPU time of a further 360 × 360 × 128 cube with noise, written to FITS:"
        f" {speed['cpu_s_per_cube_mean']:.2f} s (`python benchmarks/simulate_speed.py`); with CASA 316 s.",
    ]
    return "\n".join(lines)


def detector() -> str:
    """Precision, recall, completeness and false sources of the classical detector."""
    with (RESULTS / "deepfocus" / "table.csv").open() as file:
        table = [r for r in csv.DictReader(file) if r["method"] == "classical"]

    def row(cubes: str, criterion: str, subset: str) -> dict[str, str]:
        return next(
            r for r in table if (r["cubes"], r["criterion"], r["subset"]) == (cubes, criterion, subset)
        )

    def pm(r: dict[str, str], key: str) -> str:
        value = float(r[key]) if r[key] else float("nan")
        return "–" if value != value else f"{value:.3f} ± {float(r[key + '_error']):.3f}"

    bright = next(r["subset"] for r in table if r["subset"] != "all")
    lines = [
        "**The detector** (`--model classical`) on cubes it was not fitted on, one-to-one matching, every",
        "unmatched detection a false one; `python benchmarks/deepfocus_tables.py`, definitions in",
        "[how detections are scored](docs/evaluation.md):",
        "",
        "| set | sources | criterion | precision | recall | completeness at matched S/N 7 |",
        "|---|---|---|---|---|---|",
    ]
    sizes = {r["cubes"]: r["n_cubes"] for r in table}
    for cubes in ("paper", "emitters", "varied"):
        for criterion in ("position", "iou"):
            for subset in ("all", bright):
                r = row(cubes, criterion, subset)
                lines.append(
                    f"| {cubes} | {subset} ({r['n_true']}) | {criterion} | {pm(r, 'precision')} |"
                    f" {pm(r, 'recall')} | {pm(r, 'completeness')} |"
                )
    near = json.loads((RESULTS / "deepfocus" / "found_near_7.json").read_text())["classical"]["emitters"]
    empty = next(r for r in table if r["cubes"] == "empty")
    false = f"{float(empty['false_per_cube']):.3f} ± {float(empty['false_per_cube_error']):.3f}"
    lines += [
        "",
        f"`paper`: {sizes['paper']} cubes of Delli Veneri et al. (2022), central source and 2–5 others, with"
        f" continuum; `emitters`: {sizes['emitters']} cubes of lines without continuum, matched S/N uniform"
        f" in 4–14, so that some cannot be found. Counted plainly, {near['found']} of {near['sources']} of"
        f" S/N 6.5–7.5 were found. `varied`: {sizes['varied']} cubes, each of another array, band, weather,"
        " with rotating discs, absorption, blends down to nothing apart, S/N from 3. In"
        f" {empty['n_cubes']} empty cubes there were {false} false sources a cube. How the published pipeline"
        " and other methods do on the same cubes: [DeepFocus side by side](docs/deepfocus.md).",
    ]
    return "\n".join(lines)


def denoiser() -> str:
    """Errors inside sources of the denoiser and of tuned filters; fluxes, peaks, false regions."""
    with (RESULTS / "denoise_methods" / "table.csv").open() as file:
        table = list(csv.DictReader(file))

    def pm(cases: str, method: str, quantity: str) -> str:
        found = [r for r in table if (r["set"], r["method"], r["quantity"]) == (cases, method, quantity)]
        return f"{float(found[0]['value']):.2f} ± {float(found[0]['error']):.2f}" if found else "–"

    methods = ("denoiser", "starlet", "gaussian", "fft")
    lines = [
        "**The denoiser** on LOFAR images of skies it was not trained on, beside filters tuned for each",
        "set of images: rms error inside sources (true S/N above 1) over the noise, so that the input has 1.",
        "Then of the denoiser: flux in apertures and peaks, recovered over true (median); false regions a",
        "square degree in empty fields, and the starlet's. `python benchmarks/denoise_methods.py`,",
        "definitions in [how results are scored](docs/evaluation.md):",
        "",
        "| images | denoiser | starlet | Gaussian | FFT | denoiser / best filter | flux, S/N > 5 |"
        " peaks, S/N > 10 | false regions | starlet's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cases in dict.fromkeys(r["set"] for r in table):
        cells = [pm(cases, method, "error inside") for method in methods]
        ratios = [pm(cases, "denoiser", f"{what} ratio, all") for what in ("flux", "peak")]
        error = {m: float(pm(cases, m, "error inside").split()[0]) for m in methods}
        share = f"{error['denoiser'] / min(v for m, v in error.items() if m != 'denoiser'):.2f}"
        false = [pm(cases, method, "false regions per deg2") for method in methods[:2]]
        lines.append("| " + " | ".join([cases, *cells, share, *ratios, *false]) + " |")
    lines += [
        "",
        "`paper`: diffuse emission only; `lotss`: with radio galaxies. `noise`: white noise on the sky;"
        " `dirty`: with the psf given; `clean_ideal`: what a perfect deconvolution would leave."
        " The filters were tuned for the error inside sources, and pay for it with false regions and with the"
        " error outside. The aim of half the best filter's error is not reached, nor are fluxes unbiased"
        " within 5 % everywhere: what is fainter than the noise, and points in white noise, come out too"
        " faint. All numbers by S/N: [tables](benchmarks/results/denoise_methods/table.md).",
    ]
    return "\n".join(lines)


def main() -> None:
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(START)
    tail = rest.split(END)[1]
    new = f"{head}{START}\n\n{simulator()}\n\n{detector()}\n\n{denoiser()}\n\n{END}{tail}"
    if "--check" in sys.argv:
        if new != text:
            sys.exit("README.md: its numbers are not those of benchmarks/results; run this without --check")
        return
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
