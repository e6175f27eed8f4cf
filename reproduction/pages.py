"""Put the tracked results into the README, the page of numbers and those of the two papers, at their markers.

    python -m reproduction.pages [--check]

With ``--check`` nothing is written and an outdated page fails. Of most tables a page has ten rows: all of
them lie beside the results, ``table.md``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from faintsky.evaluation import markdown, number_text, with_error
from faintsky.evaluation.images import OTHERS, shown
from reproduction import common, page_tables
from reproduction.common import BENCHMARKS, ROOT, read
from reproduction.page_tables import pooled, results, total


def pm(row: dict[str, str], key: str, form: str = ".3f") -> str:
    """A number of a tracked row with its error, or a dash."""
    return with_error(float(row[key] or "nan"), float(row.get(f"{key}_error") or "nan"), form)


READ_AGAIN = ("deepfocus_varied",)
"""Results of `reproduction.deepfocus` with a later seed, which count instead of the first (`seeds.md`)."""


def scores() -> list[dict[str, str]]:
    """Scores of all methods on simulated cubes, each set of the seed it was last read with."""
    rows = read("deepfocus/table.csv")
    for folder in READ_AGAIN:
        again = read(f"{folder}/table.csv")
        rows = [r for r in rows if r["cubes"] not in {a["cubes"] for a in again}] + again
    return rows


def simulator() -> str:
    """Agreement with CASA and speed."""
    runs = json.loads((BENCHMARKS / "casa_agreement.json").read_text())
    reference = runs["default, C-3 (tests/data)"]
    other = runs["C-6_0.02arcsec"]
    speed = json.loads((BENCHMARKS / "simulate_speed.json").read_text())["dirty and truth"]
    rows = [
        ("noise-free dirty cube, inner half: largest difference / peak", "dirty_inner_half", "{:.0e}"),
        ("psf, inner half: largest difference / peak", "psf_inner_half", "{:.0e}"),
        ("primary beam: largest difference", "primary_beam", "{:.0e}"),
        ("baselines from antenna positions: largest difference [mm]", "uvw_m", "mm"),
        ("beam, major axis: relative difference", "beam_major_relative", "{:.2%}"),
        ("noise rms, faintsky / CASA", "noise_rms_ratio", "{:.3f}"),
    ]
    lines = [
        "**The simulator compared with CASA 6.7** (`simobserve` and `tclean`): two of the four observations",
        "on [its page](simulator.md). Command: `python -m benchmarks.alma_agreement`.",
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
        "After the first cube of a data set, each cube of 360 × 360 × 128 with noise, written to FITS,"
        f" takes {speed['cpu_s_per_cube_mean']:.2f} s of CPU time (`python -m benchmarks.speed`)."
        " CASA takes 316 s.",
    ]
    return "\n".join(lines)


def detector() -> str:
    """Precision, recall, completeness and false sources of the classical detector."""
    table = [r for r in scores() if r["method"] == "classical"]

    def row(cubes: str, criterion: str, subset: str) -> dict[str, str]:
        return next(
            r for r in table if (r["cubes"], r["criterion"], r["subset"]) == (cubes, criterion, subset)
        )

    bright = next(r["subset"] for r in table if r["subset"] != "all")
    lines = [
        "**The detector** (`--model classical`) on simulated cubes that none of its settings were fitted to.",
        "Detections and true sources are matched one to one, and every unmatched detection counts as false.",
        "Matches by `position` have centres within 3 pixels and one line width; matches by `iou` also have",
        "boxes that overlap by 0.6. Command: `python -m reproduction.deepfocus`. Definitions:",
        "[how detections are scored](evaluation.md).",
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
    near = read("deepfocus/found_near_7.json")["classical"]["emitters"]
    empty = next(r for r in table if r["cubes"] == "empty")
    false = f"{float(empty['false_per_cube']):.3f} ± {float(empty['false_per_cube_error']):.3f}"
    lines += [
        "",
        f"- `paper`: {sizes['paper']} cubes as in Delli Veneri et al. (2022): a central source and 2–5"
        " others, with continuum.",
        f"- `emitters`: {sizes['emitters']} cubes of lines without continuum, with matched S/N uniform in"
        f" 4–14, so that some cannot be found. Of the sources with S/N 6.5–7.5, {near['found']} of"
        f" {near['sources']} were found.",
        f"- `varied`: {sizes['varied']} cubes, each with its own array, band and weather, with rotating"
        " discs, absorption, overlapping sources, and S/N from 3. They have a later seed than the other sets"
        " (`reproduction/seeds.md`).",
        f"- {empty['n_cubes']} empty cubes had {false} false sources per cube.",
        "",
        "The published pipeline and other methods on the same cubes: [DeepFocus](deepfocus.md).",
    ]
    return "\n".join(lines)


def denoiser() -> str:
    """Errors inside sources of the denoiser and of tuned filters; fluxes, peaks, false regions."""
    table = read("denoise_methods/table.csv")

    def of(cases: str, method: str, quantity: str) -> str:
        found = [r for r in table if (r["set"], r["method"], r["quantity"]) == (cases, method, quantity)]
        return f"{float(found[0]['value']):.2f} ± {float(found[0]['error']):.2f}" if found else "–"

    methods = ("denoiser", "starlet", "gaussian", "fft")
    lines = [
        "**The denoiser** on simulated LOFAR images of skies that it was not trained on, compared with",
        "filters tuned for each set of images. The first columns are rms errors inside sources (pixels",
        "with a true S/N above 1), divided by the noise: the input image has 1, and a dirty image more",
        "because of its sidelobes. Fluxes (in apertures) and peaks are the denoiser's, as the median ratio",
        "to the true value. False regions are per square degree in fields without emission. Command:",
        "`python -m reproduction.denoise_methods`. Definitions:",
        "[how images are scored](evaluating-images.md).",
        "",
        "| images | denoiser | starlet | Gaussian | FFT | denoiser / best filter | flux, S/N > 5 |"
        " peaks, S/N > 10 | false regions: denoiser | starlet |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cases in dict.fromkeys(r["set"] for r in table):
        cells = [of(cases, method, "error inside") for method in methods]
        ratios = [of(cases, "denoiser", f"{what} ratio, all") for what in ("flux", "peak")]
        error = {m: float(of(cases, m, "error inside").split()[0]) for m in methods}
        share = f"{error['denoiser'] / min(v for m, v in error.items() if m != 'denoiser'):.2f}"
        false = [of(cases, method, "false regions per deg2") for method in methods[:2]]
        lines.append("| " + " | ".join([cases, *cells, share, *ratios, *false]) + " |")
    lines += [
        "",
        "- `paper`: diffuse emission only; `lotss`: with radio galaxies.",
        "- `noise`: sky and white noise; `dirty`: dirty images, with the psf given; `clean_ideal`: what a"
        " perfect deconvolution would leave.",
        "",
        "The filters were tuned for the smallest error inside sources. They have large errors elsewhere,"
        " and many false regions. The aim was half the error of the best filter: only the first set reaches"
        " it. Nor are fluxes within 5 % of the truth everywhere: emission fainter than the noise, and points"
        " in white noise, come out too faint. All numbers by S/N:"
        " [tables](../reproduction/results/denoise_methods/table.md).",
    ]
    return "\n".join(lines)


def compact_sources() -> list[list[str]]:
    """Compact sources in simulated and in real noise, beside the peers'."""
    rows = results("survey/results.json")["rows"]
    methods = ("faintsky", "pybdsf", "aegean")
    kinds = list(dict.fromkeys(r["kind"] for r in rows if r["method"] == "pybdsf"))
    cells = [
        f"{pooled(rows, m, 'Completeness of points', 'S/N 5-6', 'S/N 6-8', kinds=kinds)},"
        f" {total(rows, m, 'false', kinds)} false"
        for m in methods
    ]
    images = results("survey/results.json")["images a kind"] * len(kinds)
    made = [
        f"{images} survey images with noise gradients, stripes, negative sources or blends: completeness"
        " of points of S/N 5–8",
        cells[0], f"PyBDSF {cells[1]}; Aegean {cells[2]}", "benchmarks.survey", "images.md",
    ]  # fmt: skip
    rows = results("real_noise/results.json")
    bins = ("S/N 5-6", "S/N 6-8", "S/N 8-10")
    cells = [pooled(rows, m, "Completeness", *bins) for m in methods]
    count = len({r["kind"] for r in rows})
    real = [
        f"{count} **real** images (LOFAR, AMI, ATCA, Parkes): completeness of injected points of"
        " S/N 5–10",
        cells[0], f"PyBDSF {cells[1]}; Aegean {cells[2]}", "benchmarks.real_noise", "images.md",
    ]  # fmt: skip
    return [made, real]


def lines_in_cubes() -> list[list[str]]:
    """Lines in dirty cubes, in restored ones, and in real ones."""
    table = scores()
    bright = next(r["subset"] for r in table if r["subset"] != "all")

    def of(cubes: str, subset: str, method: str = "classical") -> dict[str, str]:
        wanted = (method, cubes, "position", subset)
        return next(r for r in table if (r["method"], r["cubes"], r["criterion"], r["subset"]) == wanted)

    out = []
    for cubes, words in (
        ("paper", "like those of Delli Veneri et al."),
        ("emitters", "without continuum, of S/N 4–14"),
        ("varied", "of any array and band, with discs, absorption, blends"),
    ):
        every, clear = of(cubes, "all"), of(cubes, bright)
        scored = {r["method"] for r in table if (r["cubes"], r["criterion"]) == (cubes, "position")}
        others = {
            name: of(cubes, "all", method)
            for method, name in (("deepfocus", "DeepFocus"), ("smooth_clip", "smooth and clip"))
            if method in scored and float(of(cubes, "all", method)["recall"]) > 0
        }
        out.append(
            [
                f"{every['n_cubes']} dirty ALMA cubes {words}: precision, recall"
                f" (recall of {bright}: {pm(clear, 'recall')})",
                f"{pm(every, 'precision')}, {pm(every, 'recall')}",
                "; ".join(
                    (m if r["n_cubes"] == every["n_cubes"] else f"{m} ({r['n_cubes']} of them)")
                    + f" {pm(r, 'precision')}, {pm(r, 'recall')}"
                    for m, r in others.items()
                ),
                "reproduction.deepfocus", "deepfocus.md",
            ]
        )  # fmt: skip
    known = results("line_cubes/results.json")
    rows = known["rows"]
    variants = len({r["kind"] for r in rows})
    ratios = [r["value"] for r in rows if r["bin"] in ("least", "largest") and r["value"]]
    shares = [r for r in rows if r["quantity"] == "Galaxies that are one row"]
    whole, galaxies = [r["n"] * r["value"] for r in shares], sum(r["n"] for r in shares)
    out.append(
        [
            f"{variants * known['cubes a variant']} restored cubes, half with correlated channels, half"
            " with a galaxy: completeness of lines of S/N 6–8",
            pooled(rows, "classical", "Completeness", "S/N 6-7", "S/N 7-8"),
            f"{sum(whole):.0f} of {galaxies} galaxies are one row, with {min(ratios):.2f}–{max(ratios):.2f}"
            " of their flux",
            "benchmarks.line_cubes", "detection.md",
        ]
    )  # fmt: skip
    rows = results("real_cubes/results.json")
    bins = ("S/N 8-10", "S/N 10-14", "S/N 14-20")
    within = pooled(rows, "faintsky", "Flux within the error bars", "1 sigma")
    out.append(
        [
            "3 **real** cubes (ALMA NGC 3256, WSRT NGC 2903 and WEIN069): completeness of injected lines of"
            " S/N 8–20",
            pooled(rows, "faintsky", "Completeness", *bins),
            f"{within} of their fluxes are right within one standard error (0.68 expected)",
            "benchmarks.real_cubes", "detection.md",
        ]
    )  # fmt: skip
    return out


def diffuse_emission() -> list[list[str]]:
    """Diffuse emission in simulated and in real noise."""
    table = read("dda/table.csv")
    values = {
        (r["method"], r["set"]): float(r["value"]) for r in table
        if r["quantity"] == "error" and r["snr_low"] == "1.0"
    }  # fmt: skip
    out = []
    for kind, words in (("clean_ideal", "deconvolved"), ("dirty", "dirty")):
        shown = {
            words: " and ".join(f"{values[m, f'{field} {kind}']:.2f}" for field in ("sky1", "sky2"))
            for m, words in (
                ("denoiser", ""), (f"dda_{kind.partition('_')[0]}", "autoencoder"), ("starlet", "starlet"),
            )
        }  # fmt: skip
        out.append(
            [
                f"{words} LOFAR images of simulated clusters and groups: rms error / noise in pixels"
                " of S/N 1–3", shown[""],
                "; ".join(f"{m} {v}" for m, v in shown.items() if m), "reproduction.dda", "autoencoder.md",
            ]
        )  # fmt: skip
    every = results("real_diffuse/real_diffuse.json")
    cells = {}
    for method, words in (
        ("faintsky", ""),
        ("pybdsf", "PyBDSF"),
        ("starlet", "starlet"),
        ("dda_clean", "autoencoder"),
    ):
        found = [e[method] for e in every.values() if method in e]
        shares = [s["share"] >= 0.25 for e in found for s in e["sources"] if s["snr"] >= 1.2]
        cells[words] = f"{sum(shares)} of {len(shares)}, {sum(e['false'] for e in found)} false"
    out.append(
        [
            f"{len(every)} **real** images: injected filaments and blobs with a mean S/N of 1.2–5 per"
            " pixel that are found",
            cells[""], "; ".join(f"{m} {v}" for m, v in cells.items() if m), "benchmarks.real_diffuse",
            "images.md",
        ]
    )  # fmt: skip
    return out


def ten_rows() -> str:
    """The README's table."""
    casa, lofar = results("casa_agreement.json"), results("lofar_agreement.json")
    speed = results("simulate_speed.json")["dirty and truth"]
    rows = [
        [
            "ALMA simulator compared with CASA: largest difference / peak",
            f"{casa['default, C-3 (tests/data)']['dirty_inner_half']:.0e}",
            f"{speed['cpu_s_per_cube_mean']:.2f} s of CPU time per cube; CASA 316 s",
            "benchmarks.alma_agreement", "simulator.md",
        ],
        [
            "LOFAR simulator compared with WSClean: largest difference / peak",
            f"{lofar['from_station_positions']['dirty']:.0e}",
            f"{lofar['from_station_positions']['image_cpu_seconds']:.1f} s of CPU time per image of 2000²",
            "benchmarks.lofar_agreement", "simulator.md",
        ],
        *compact_sources(), *lines_in_cubes(), *diffuse_emission(),
    ]  # fmt: skip
    cells = [[*r[:3], f"[`{r[3]}`](docs/{r[4]})"] for r in rows]
    return markdown(["measured", "faintsky", "comparison", "`python -m …`"], cells).rstrip()


def numbers() -> str:
    """The page of that name."""
    return f"{simulator()}\n\n{detector()}\n\n{denoiser()}"


def table4() -> str:
    """Table 4 of the `paper` set, by the paper's criterion, or its half in the image."""
    header = ["method", "criterion", "TP", "FP", "FN", "precision", "recall", "mean IoU",
              "recall at precision ≥ 0.99"]  # fmt: skip
    lines = []
    for r in read("deepfocus_paper_size/table4.csv"):
        if r["cubes"] == "paper" and r["criterion"] in ("iou", "iou2d"):
            if r["criterion"] == "iou2d" and any(x[0] == r["method"] for x in lines):
                continue
            counts = [f"{r[k]} ({100 * float(r[k + '_share']):.1f} %)" for k in ("tp", "fn")]
            scores = [pm(r, k) for k in ("precision", "recall", "iou_2d", "pure_recall")]
            lines.append([r["method"], r["criterion"], counts[0], r["fp"], counts[1], *scores])
    return markdown(header, lines).rstrip()


LADDER = (
    "label above 0.15", "label above 0.04", "peaks", "label above 0.15, as the paper", "label",
    "label, without a new box for what was split", "peaks", "peaks, map blurred by 3",
)  # fmt: skip
"""Rows of the oracle's ladder on the page, in order: those in the image alone, then whole chains."""


def oracle() -> str:
    """What perfect networks find."""
    known = json.loads((common.RESULTS / "deepfocus" / "oracle.json").read_text())["ladder"]
    rows = {(r["criteria"], r["method"]): r for r in known}
    kinds = ["image"] * 3 + ["chain"] * (len(LADDER) - 3)
    words = {"image": "blobs in the image alone", "chain": "the whole chain"}
    lines = []
    for kind, name in zip(kinds, LADDER, strict=True):
        r = rows[kind, name]
        lines.append([words[kind], name, f"{r['recall']:.3f}", f"{r['precision']:.3f}"])
    return markdown(["counted", "extraction", "recall", "precision"], lines).rstrip()


def shipped_detection() -> str:
    """Detection of the shipped DeepFocus, stage by stage, beside ours."""
    lines = []
    for r in read("deepfocus/table4.csv"):
        wanted = "iou2d" if r["method"].endswith(": Blobs Finder") else "iou"
        compared = r["method"].startswith(("classical", "deepfocus"))
        if compared and (r["cubes"], r["criterion"]) == ("paper", wanted):
            scores = [pm(r, k) for k in ("precision", "recall", "iou_2d")]
            lines.append([r["method"], wanted, r["tp"], r["fp"], r["fn"], *scores])
    header = ["method", "criterion", "TP", "FP", "FN", "precision", "recall", "mean IoU"]
    return markdown(header, lines).rstrip()


def shipped_parameters() -> str:
    """Parameters of the shipped DeepFocus and of ours."""
    found = {(r["method"], r["parameter"]): r for r in read("deepfocus/table5.csv")
             if (r["cubes"], r["subset"]) == ("paper", "all")}  # fmt: skip
    lines = []
    for (method, name), theirs in found.items():
        if method == "deepfocus" and (ours := found.get(("classical", name))):
            cells = [
                number_text(float(r[k] or "nan"), form)
                for r in (theirs, ours)
                for k, form in (("mean", ".3g"), ("std", ".3g"), ("within_10", ".2f"))
            ]
            lines.append([name, theirs["unit"], *cells])
    both = [f"{who}: {what}" for who in ("deepfocus", "classical") for what in ("mean", "std", "within 10 %")]
    header = ["parameter", "unit", *both]
    return markdown(header, lines).rstrip()


def shipped_blends() -> str:
    """Pairs both of which are found, by blendedness: the shipped DeepFocus, ours, and perfect networks."""
    known = json.loads((common.RESULTS / "deepfocus" / "oracle.json").read_text())["blends"]
    ideal = {(r["from"], r["to"]): r for r in known if (r["criteria"], r["method"]) == ("chain", "peaks")}
    rows = [r for r in read("deepfocus/blends.csv") if (r["cubes"], r["criterion"]) == ("paper", "position")]
    lines = []
    for low, high in dict.fromkeys((float(r["overlap_from"]), float(r["overlap_to"])) for r in rows):
        here = {
            r["method"]: r for r in rows if (float(r["overlap_from"]), float(r["overlap_to"])) == (low, high)
        }
        cells = [
            f"{float(r['split']):.2f} of {r['n']}" if (r := here.get(m)) else "–"
            for m in ("deepfocus", "classical")
        ]
        perfect = ideal.get((low, high))
        cells.append(f"{perfect['split']:.2f} of {perfect['pairs']}" if perfect else "–")
        lines.append([f"{low:g}–{min(high, 1):g}", *cells])
    header = ["blendedness", "deepfocus", "classical", "perfect networks (other cubes)"]
    return markdown(header, lines).rstrip()


def side_by_side(folder: str = "dda_paper_size", without: Sequence[str] = ("sky", "clean_ideal")) -> str:
    """Errors of our denoiser beside the autoencoder for that kind of image and the best without training."""
    rows: list[dict[str, Any]] = read(f"{folder}/table.csv")
    for row in rows:
        for key in ("snr_low", "value", "error"):
            row[key] = float(row[key]) if row[key] not in ("", "None") else None
    known = {(r["method"], r["set"], r["quantity"], r["snr_low"]): r for r in rows}
    config = read(f"{folder}/results.json")["run"]["config"]
    trained = {m["product"]: name for name, m in reversed(config["models"].items()) if m["product"]}
    lines = []
    for name in config["sets"]:
        kind = name.rpartition(" ")[2]
        published = trained.get("clean" if kind == "clean_ideal" else kind, "")
        if kind in without:
            continue
        for low, words in ((0.3, "0.3–1"), (1.0, "1–3")):
            ours, theirs = (known.get((m, name, "error", low)) for m in ("denoiser", published))
            others = {m: r["value"] for m in OTHERS if (r := known.get((m, name, "error", low)))}
            if ours and theirs and others:
                best = min(others, key=others.__getitem__)
                ratios = [f"{ours['value'] / v:.2f}" for v in (theirs["value"], others[best])]
                lines.append([name, words, shown(ours), shown(theirs), ratios[0],
                              f"{others[best]:.3g} ({best})", ratios[1]])  # fmt: skip
    header = ["set", "true S/N", "denoiser", "autoencoder", "ratio", "best without training", "ratio"]
    return markdown(header, lines).rstrip()


COMPACT = {"dda_noise": "noise", "dda_clean": "clean_ideal", "dda_dirty": "dirty"}
"""The shipped autoencoders, and what each is shown."""


def compact() -> str:
    """Brightness and errors of the shipped autoencoders beside the image's and a Gaussian's."""
    lines = []
    for name, kind in COMPACT.items():
        sets = json.loads((common.RESULTS / "dda_compact" / f"{name}.json").read_text())["sets"]
        for field, words in (("sky2", "groups"), ("sky1", "clusters")):
            found = sets[f"{field} {kind}"]
            bright = [f"{found[r]['brightest'][0]:.2f}" for r in ("network", "corrected", "gaussian")]
            at = [found["image"]["snr_edges"].index(low) for low in (0.1, 0.3, 1.0, 3.0)]
            both = [[found[r]["rms"][i] for r in ("corrected", "gaussian")] for i in at]
            errors = [" / ".join(f"{v:.2g}" for v in pair) if pair[0] > 0 else "–" for pair in both]
            lines.append([name, words, *bright, *errors])
    header = ["model", "field", "brightest 1 %: network", "as shipped", "Gaussian", "error at S/N 0.1–0.3",
              "0.3–1", "1–3", "3–10"]  # fmt: skip
    return markdown(header, lines).rstrip()


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"ten rows": ten_rows},
    "docs/numbers.md": {"numbers": numbers},
    "docs/deepfocus.md": {
        "oracle": oracle,
        "shipped detection": shipped_detection,
        "shipped parameters": shipped_parameters,
        "shipped blends": shipped_blends,
        "table 4": table4,
    },
    "docs/images.md": {
        "points": page_tables.points,
        "clouds": page_tables.clouds,
        "diffuse sources": page_tables.diffuse_sources,
    },
    "docs/detection.md": {"HI-like cubes": page_tables.lines, "presets": page_tables.presets},
    "docs/autoencoder.md": {
        "compact": compact,
        "side by side": side_by_side,
        "shipped": partial(side_by_side, "dda", ()),
    },
}


def filled(text: str, blocks: dict[str, Callable[[], str]]) -> str:
    """A page with every block made again."""
    for name, block in blocks.items():
        start, end = f"<!-- {name}: python -m reproduction.pages -->", f"<!-- end of {name} -->"
        head, rest = text.split(start)
        text = f"{head}{start}\n\n{block()}\n\n{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for page, blocks in PAGES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        new = filled(text, blocks)
        if check and new != text:
            sys.exit(f"{page}: its numbers are not the tracked ones; run this without --check")
        if not check:
            (ROOT / page).write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
