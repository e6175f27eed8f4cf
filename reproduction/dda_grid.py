"""The grids of Gheller & Vazza (2021), searched here and set beside their Tables A1 and B1 to B3.

    python -m reproduction.dda_grid a1 --data DIR --work STUDY [--set key=value]... [--epochs 50,100]

``a1`` is the architectures on the sky itself, ``b1`` the hyperparameters of the Identity, ``b2`` of the
Noise and ``b3`` of the Clean model. The data are a folder of ``faintsky simulate lofar``; ``--set`` reduces
the grid (``batch_size=50/100``) and the training (``tiles=3000``). The rate being constant, a training of 100
epochs holds that of 50, so only the longest are run. As many processes, on as many machines, as run this with
the same STUDY share the work. Mean squared errors are in units of their own in the paper: ranks compare.
Tables go to ``reproduction/results/dda_grid``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import faintsky
from faintsky.evaluation import table_of, write_csv
from reproduction import common

RESULTS = common.RESULTS / "dda_grid"

MSE_3 = (3.246, 1.229, 0.575, 0.400, 3.259, 1.209, 0.605, 0.611, 5.017, 1.407, 0.934, 0.854)
MSE_5 = (3.218, 1.263, 0.598, 0.435, 3.245, 1.111, 0.543, 0.670, 2.677, 2.008, 0.876, 2.313)
DELTA_C = (191610, 49068, 59180, 62300, 141288, 312606, 263144, 199036, 86408, 241464, 130892, 63698)
SHAPES = [(levels, dense) for levels in (2, 3, 4) for dense in (50, 100, 200, 400)]
A1: dict[tuple[Any, ...], dict[str, float]] = {
    (*shape, kernel): {"paper_mse": mse} | ({"paper_delta_c": delta} if kernel == 3 else {})
    for kernel, column in ((3, MSE_3), (5, MSE_5))
    for shape, mse, delta in zip(SHAPES, column, DELTA_C)
}
B1 = {
    (100, 50, 1e-4): 0.382, (300, 50, 5e-5): 0.412, (100, 25, 1e-4): 0.415, (300, 100, 5e-3): 0.432,
    (300, 100, 1e-4): 0.438, (100, 50, 5e-3): 0.449, (100, 100, 1e-3): 0.479, (300, 100, 1e-3): 0.489,
    (100, 50, 5e-5): 0.535, (100, 50, 1e-3): 0.548,
}  # fmt: skip
B2 = {
    (100, 100, 1e-3): 27.181, (100, 150, 1e-3): 28.348, (100, 150, 5e-5): 29.531, (100, 50, 1e-4): 29.546,
    (100, 50, 5e-5): 29.784, (100, 100, 1e-4): 30.007, (100, 200, 1e-4): 30.525, (100, 100, 5e-5): 30.526,
    (300, 100, 1e-4): 30.738,
}  # fmt: skip
B3 = {
    (500, 50, 1e-4): 45.882, (500, 100, 1e-3): 49.694, (300, 50, 1e-3): 52.817, (500, 50, 5e-5): 62.978,
    (300, 100, 1e-3): 87.378, (300, 50, 1e-4): 90.731, (500, 100, 1e-4): 106.497, (100, 100, 5e-5): 136.113,
    (300, 50, 5e-5): 155.270, (300, 100, 1e-4): 178.352,
}  # fmt: skip
"""By epochs, batch size and rate. Table B2's last line, which repeats its sixth, is left out."""
STUDIES: dict[str, tuple[str, str, str, dict[Any, Any]]] = {
    "a1": ("architectures", "sky", "200", A1),
    "b1": ("paper", "sky", "400", B1),
    "b2": ("paper", "noise", "200", B2),
    "b3": ("paper", "clean", "200", B3),
}


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("table", choices=STUDIES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--set", action="append", dest="changes", metavar="key=value")
    parser.add_argument("--epochs", default="", help="numbers of epochs, by commas")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    grid, product, dense, paper = STUDIES[options.table]
    epochs = [int(e) for e in (options.epochs or ("100" if grid == "architectures" else "50,100")).split(",")]
    changes = dict(change.split("=", 1) for change in options.changes or ())
    settings = {"product": product, **({} if grid == "architectures" else {"dense": dense})}
    faintsky.tune(
        "dda", options.work, data=options.data, grid=grid, prune="none", device=options.device,
        settings={**settings, **changes, "epochs": str(max(epochs))},
        progress=lambda done, total, word: done % 500 or common.say(done, total, word),
    )  # fmt: skip
    rows = []
    for folder in sorted(p for p in (options.work / "trials").iterdir() if p.is_dir()):
        if not (folder / "model.json").is_file():
            continue
        plan = json.loads((folder / "run.json").read_text())["config"]
        history = json.loads((folder / "history.json").read_text())
        rows += [_row(plan, history[:e], e, grid, paper) for e in epochs if e <= len(history)]
    rows.sort(key=lambda r: r["mse"])
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_csv(rows, RESULTS / f"{options.table}.csv")
    data = json.loads((options.data / "dataset.json").read_text())
    facts = {k: data.get(k) for k in ("seed", "parameters")}
    record = {"table": options.table, **plan, "data": facts, "trials": len(rows)}
    (RESULTS / f"{options.table}.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / f"{options.table}.md").write_text(table_of(rows, {k: k for k in rows[0]}))
    print(table_of(rows, {k: k for k in rows[0]}))


def _row(plan: dict[str, Any], history: list[Any], epochs: int, grid: str, paper: Any) -> dict[str, Any]:
    """One line: the best validation within a number of epochs, and the paper's where it has it."""
    best, shape, schedule = min(history, key=lambda h: h["loss"]), plan["arguments"], plan["schedule"]
    at = {"epochs": epochs, "batch_size": schedule["batch_size"], "learning_rate": schedule["learning_rate"]}
    if grid == "architectures":
        known = paper.get((shape["levels"], shape["dense"], shape["kernel"]), {})
        at = {k: shape[k] for k in ("levels", "dense", "kernel")} | {"epochs": epochs}
    else:
        # a reduced grid has fewer epochs: then the fewest that the paper lists
        rest = schedule["batch_size"], schedule["learning_rate"]
        listed = sorted((abs(k[0] - epochs), k[0], mse) for k, mse in paper.items() if k[1:] == rest)
        known = {"paper_epochs": listed[0][1], "paper_mse": listed[0][2]} if listed else {}
    scores = {"mse": best["loss"], "sigma_mre": best["sigma_mre"], "delta_c": best["delta_c"]}
    blank = dict.fromkeys(
        ("paper_mse", "paper_delta_c") if grid == "architectures" else ("paper_epochs", "paper_mse"), ""
    )
    return {**at, **scores, "best_epoch": best["epoch"], **blank, **known}


if __name__ == "__main__":
    main()
