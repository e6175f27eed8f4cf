"""The grids of Gheller & Vazza (2021), run until their order is settled, beside their Tables A1 and B1 to B3.

    python -m reproduction.dda_grid a1 --data DIR --work STUDY [--set key=value]... [--budgets 10,20,40,80]

``a1`` is the architectures on the sky itself, with windows of 3 and of 5 pixels; ``b1`` the hyperparameters
of the Identity, ``b2`` of the Noise and ``b3`` of the Clean model: twelve settings each, among them all that
the paper lists. The data are a folder of ``faintsky simulate lofar``; ``--set`` changes the training
(``tile=32``, ``tiles=1000``) or the grid (``batch_size=50/100``).

All settings are trained up to the first budget of epochs, then on to the next: the rate is constant, so that
a long training holds the short ones. Each is trained ``--seeds`` times, from other weights and with the tiles
in another order; all learn from and are judged on the same tiles. The order is settled when from one budget
to the next no two of the ``--top`` best have changed places by more than the error of their difference, over
the seeds; the training ends there. A stopped study goes on. Mean squared errors are in units of their own in
the paper: ranks compare. Tables go to ``reproduction/results/dda_grid``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import combinations as pairs_of
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from faintsky.evaluation import table_of, write_csv
from faintsky.networks import make_network
from faintsky.published.dda import TilePairs, make_tiles
from faintsky.registry import RECIPES
from faintsky.training import Plan, combinations, fit, make_space
from reproduction import common

RESULTS = common.RESULTS / "dda_grid"
HELD = 1000
"""Validation tiles at the most."""
Losses = dict[int, NDArray[np.float64]]
"""By epochs, the best validation until then, ``[setting, seed]``."""

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
STUDIES: dict[str, tuple[str, str, dict[str, str], dict[Any, Any]]] = {
    "a1": ("sky", "200", {"levels": "2/3/4", "dense": "50/100/200/400", "kernel": "3/5"}, A1),
    "b1": ("sky", "400", {"batch_size": "25/50/100", "learning_rate": "5e-3/1e-3/1e-4/5e-5"}, B1),
    "b2": ("noise", "200", {"batch_size": "50/100/150/200", "learning_rate": "1e-3/1e-4/5e-5"}, B2),
    "b3": ("clean", "200", {"batch_size": "25/50/100/150", "learning_rate": "1e-3/1e-4/5e-5"}, B3),
}
"""Product, dense layer, grid, and the paper's table."""


def settled(before: NDArray[np.float64], now: NDArray[np.float64], top: int) -> bool:
    """Whether no two of the best have changed places by more than the error of their difference.

    Parameters
    ----------
    before, now : array
        Losses at two budgets, ``[setting, seed]``.
    top : int
        How many of the best, now, are looked at.
    """
    best = np.argsort(now.mean(axis=1), kind="stable")[:top]
    for i, j in pairs_of(best, 2):
        apart = now[i] - now[j]  # of the same seed, that is of the same order of tiles
        error = apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else 0.0
        if apart.mean() * (before[i] - before[j]).mean() < 0 and abs(apart.mean()) > error:
            return False
    return True


def train(plan: Plan, data: Any, folder: Path) -> list[dict[str, float]]:
    """The validations of a setting after each epoch; goes on where the folder has fewer."""
    file = folder / "history.json"
    known = json.loads(file.read_text()) if file.is_file() else []
    if len(known) < plan.schedule.epochs:
        torch.manual_seed(plan.schedule.seed)
        network = make_network("dda", **plan.arguments)
        _, known = fit(TilePairs(network, data, plan.settings), folder, plan.schedule, device="cpu")
    return list(known[: plan.schedule.epochs])


def rows_of(
    points: Sequence[Mapping[str, Any]], losses: Losses, scores: Sequence[Mapping[str, float]], paper: Any
) -> list[dict[str, Any]]:
    """A line a setting, the best first: errors, ranks at every budget, and the paper's."""
    last = max(losses)
    ranks = {e: np.argsort(np.argsort(v.mean(axis=1), kind="stable")) + 1 for e, v in losses.items()}
    rows = []
    for k, (point, score) in enumerate(zip(points, scores, strict=True)):
        if "levels" in point:
            known = paper.get((point["levels"], point["dense"], point["kernel"]), {})
            paper_row = {"paper_epochs": 100, **dict.fromkeys(("paper_mse", "paper_delta_c"), ""), **known}
        else:
            rest = point["batch_size"], point["learning_rate"]
            listed = [(mse, k[0]) for k, mse in paper.items() if k[1:] == rest]
            mse, epochs = min(listed, default=("", ""))
            paper_row = {"paper_epochs": epochs, "paper_mse": mse}
        of, n = losses[last][k], losses[last].shape[1]
        error = float(of.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
        own = {"epochs": last, "mse": float(of.mean()), "mse_error": error, **score}
        at = {f"rank_at_{e}": int(r[k]) for e, r in ranks.items()}
        rows.append({**point, **own, **at, **paper_row})
    return sorted(rows, key=lambda r: r["mse"])


def agreement(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Spearman's rank correlation of our errors with the paper's, over the settings that it lists."""
    both = [(r["mse"], r["paper_mse"]) for r in rows if r["paper_mse"] != ""]
    if len(both) < 3:
        return {"settings": len(both)}
    found = spearmanr(*zip(*both, strict=True))
    return {"settings": len(both), "rho": float(found.statistic), "p": float(found.pvalue)}


def run(options: argparse.Namespace) -> None:
    """Train up to one budget after the other, and write the table after each."""
    product, dense, grid, paper = STUDIES[options.table]
    changes = dict(change.split("=", 1) for change in options.set or ())
    recipe = RECIPES["dda"]()
    fixed = {"product": product, "augment": "true", **({} if "dense" in grid else {"dense": dense})}
    space, common_to_all = make_space(recipe, None, {**fixed, **grid, **changes})
    points = [{k: {**common_to_all, **p}[k] for k in grid} for p in combinations(space)]
    plan = recipe.plan(data=options.data, changes=common_to_all)
    data = make_tiles(plan, common.say)
    few = np.random.default_rng(0).permutation(len(data.held))[:HELD]
    data = data._replace(held=data.held.take(np.sort(few)))
    facts = json.loads((options.data / "dataset.json").read_text())
    record = {
        "table": options.table, **plan.record(), "data": {k: facts.get(k) for k in ("seed", "parameters")},
        "tiles": len(data.train), "validation_tiles": len(data.held), "seeds": options.seeds,
    }  # fmt: skip
    losses: Losses = {}
    for budget in map(int, options.budgets.split(",")):
        losses[budget], scores = np.zeros((len(points), options.seeds)), []
        for k, point in enumerate(points):
            best = []
            for seed in range(options.seeds):
                own = recipe.plan(
                    data=options.data, changes={**common_to_all, **point, "epochs": budget}, seed=seed
                )
                folder = options.work / "_".join(f"{n}={v}" for n, v in {**point, "seed": seed}.items())
                best.append(min(train(own, data, folder), key=lambda h: h["loss"]))
                common.say(k * options.seeds + seed + 1, len(points) * options.seeds, f"{budget} epochs")
            losses[budget][k] = [b["loss"] for b in best]
            means = ("sigma_mre", "delta_c")
            scores.append({name: float(np.mean([b[name] for b in best])) for name in means})
        rows = rows_of(points, losses, scores, paper)
        budgets = list(losses)
        done = len(budgets) > 1 and settled(losses[budgets[-2]], losses[budget], options.top)
        judged = {"budgets": budgets, "top": options.top, "settled": done, "with_the_paper": agreement(rows)}
        _write(options.table, rows, {**record, **judged})
        if done:
            break
    print((RESULTS / f"{options.table}.md").read_text())


def _write(name: str, rows: list[dict[str, Any]], record: dict[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_csv(rows, RESULTS / f"{name}.csv")
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    columns = {k: k for k in rows[0] if k != "mse_error"}
    (RESULTS / f"{name}.md").write_text(table_of(rows, columns))


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("table", choices=STUDIES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--set", action="append", metavar="key=value")
    parser.add_argument("--budgets", default="10,20,40,80,160", help="numbers of epochs")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--top", type=int, default=4)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
