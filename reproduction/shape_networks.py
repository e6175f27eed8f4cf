"""DeepFocus's residual networks by themselves: one against four, degrees against the double angle.

Reads the images of a compact data set that no network was trained or validated on (its last fifth), taken out
with the true parameters, and the runs of ``faintsky train shape_resnet``, however many there are. Angles are
axial differences; those of round sources stand apart, since nothing can be learned of them.

    faintsky simulate alma --products compact -n 5000 --seed 1 --out DATA
    python -m reproduction.shape_networks DATA RUN [RUN …] [--out FILE.md]
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from faintsky.evaluation import table_of
from faintsky.grid import sky_to_paper_frame
from faintsky.io import write_json
from faintsky.matching import robust_scatter
from faintsky.models import load_model
from faintsky.published.deepfocus import FocusedImages, flux_of, open_compact, read_sources, shape_of
from faintsky.published.deepfocus.training import image_name
from reproduction import common

RESULTS = common.RESULTS / "deepfocus"
ROUND = 1.2
"""Axis ratio below which a source counts as round."""


def answers(run: Path, data: Path) -> tuple[str, dict, dict]:
    """Label, residuals ``[source]`` by parameter, and facts of one run."""
    model = load_model(run, job="detect")
    (key,) = model.card["networks"]
    settings = model.card["recipe"]["task"]
    parameter, angle = settings["parameter"], settings["angle"]
    files = open_compact(data, 0.8, 0.2)
    truth = read_sources(files.held, (image_name(parameter),), truth=True)
    # the task's own images and targets, so that nothing is done twice in two ways
    task = FocusedImages(model.network(key), truth, truth, cell=files.cell, parameter=parameter, angle=angle)
    start = time.perf_counter()
    with torch.no_grad():
        held = zip(*(part.split(128) for part in task.held))
        parts = [task.network(task.seen(*part)["input"]) for part in held]
    seconds = time.perf_counter() - start
    made = dict(zip(task.names[1:], torch.cat(parts).numpy().T.astype(float), strict=True))
    maj, minor = truth["dc_maj"] / files.cell, truth["dc_min"] / files.cell
    wide_x, wide_y, turned = sky_to_paper_frame(maj, minor, truth["dc_pa"])
    out = {"ratio": maj / np.maximum(minor, 1e-3)}
    if "fwhm_x" in made:
        out["fwhm_x"] = (made["fwhm_x"] - wide_x) / 2.3548
    if "fwhm_y" in made:
        out["fwhm_y"] = (made["fwhm_y"] - wide_y) / 2.3548
    if "flux" in made:
        flux = flux_of(task.held[1][:, task.names[1:].index("flux")].numpy(), truth["rms"])
        out["flux"] = flux_of(made["flux"], truth["rms"]) / flux - 1
    if "pa" in made:
        # the angle's frame is that of the widths; their truth is given, so that the angle alone is scored
        pa = shape_of(wide_x, wide_y, made["pa"][:, None])[2]
        out["pa"] = (pa - truth["dc_pa"] + 90) % 180 - 90
        out["pa as a number"] = made["pa"] - turned
    elif "sin_2pa" in made:
        pa = shape_of(wide_x, wide_y, np.stack([made["sin_2pa"], made["cos_2pa"]], -1))[2]
        out["pa"] = (pa - truth["dc_pa"] + 90) % 180 - 90
    history = model.card["scores"]["validation"]
    facts = {
        "epochs": history.get("epoch"),
        "parameters": model.card["networks"][key]["parameters"],
        "ms an image": round(1e3 * seconds / len(out["ratio"]), 2),
    }
    return f"{parameter}, {angle}" if parameter in ("pa", "all") else parameter, out, facts


def rows_of(label: str, residuals: dict, facts: dict) -> list[dict]:
    """A row for each parameter; of the angle also for round and for elongated sources."""
    rows = []
    ratio = residuals["ratio"]
    for name, values in residuals.items():
        if name == "ratio":
            continue
        parts = {"all": ratio > 0}
        if name.startswith("pa"):
            parts |= {f"axis ratio > {ROUND:g}": ratio > ROUND, f"axis ratio < {ROUND:g}": ratio <= ROUND}
        for part, use in parts.items():
            v = values[use]
            row = {"network": label, "parameter": name, "sources": part, "n": int(use.sum()), **facts}
            rows.append(row | {"mean": v.mean(), "std": v.std(), "robust scatter": robust_scatter(v)})
    return rows


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=RESULTS / "shape_networks.md")
    args = parser.parse_args()
    rows = [row for run in args.runs for row in rows_of(*answers(run, args.data))]
    rows = [{k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()} for row in rows]
    text = [
        "# DeepFocus's residual networks by themselves",
        "",
        "On images of the data set's last fifth, taken out with the true parameters. Widths in the paper's",
        "unit (FWHM / 2.355, pixel), flux relative, angles in degrees, axial (`pa as a number`: not).",
        "`all` reads the line image, as the flux needs; here it is cut out by the true mask, whose outline",
        "tells the shape: its widths and angles beat those of networks that see the focused image.",
        "",
        table_of(rows, {f"{k}:.4g": k for k in rows[0]}),
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(text), encoding="utf-8")
    write_json(args.out.with_suffix(".json"), {"rows": rows})
    print(args.out)


if __name__ == "__main__":
    main()
