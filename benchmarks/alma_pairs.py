"""The same skies through CASA and through the fast simulator: is detection as good on one as on the other?

    python -m benchmarks.alma_pairs [--casa DIR --fast DIR] [-n 30] [--seed S] [--method NAME] [--work DIR]

Without folders both are simulated (``faintsky simulate alma --backend casa`` takes minutes a cube and needs
the extra ``casa``). With ``--casa`` alone the twins are simulated with the seed and preset that its
``dataset.json`` names. The sources of a number are the same in both; noise is not. Recall and precision of
both, their differences and the differences' errors, from a bootstrap over the pairs, go to
``benchmarks/results/casa_pairs.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.evaluation import (
    CatalogScorer,
    FolderCubes,
    Scored,
    SimulatedCubes,
    detectors,
    open_cubes,
    run_methods,
)
from faintsky.matching import column, tally
from reproduction import common


def settings_of(folder: Path) -> dict[str, Any]:
    """What ``dataset.json`` says, one flat mapping."""
    found: dict[str, Any] = {}

    def walk(value: Any) -> None:
        for key, item in value.items() if isinstance(value, dict) else ():
            walk(item)
            if not isinstance(item, dict):
                found.setdefault(key, item)

    walk(json.loads((folder / "dataset.json").read_text(encoding="utf-8")))
    return found


def pairs_of(options: argparse.Namespace) -> tuple[Any, Any]:
    """The sets of CASA's cubes and of the fast ones, of the same numbers."""
    from faintsky import simulate_alma

    casa = options.casa or options.work / "casa"
    if options.casa is None:
        simulate_alma(casa, options.n, seed=options.seed, preset="paper", backend="casa")
    indices = open_cubes(casa).indices
    if options.fast is not None:
        indices = tuple(sorted(set(indices) & set(open_cubes(options.fast).indices)))[: options.n]
        fast: Any = FolderCubes(str(options.fast), indices, "fast")
    else:
        indices = indices[: options.n]
        known = settings_of(casa)
        fast = Renamed(SimulatedCubes(str(known["preset"]), indices, int(known["seed"])))
    return FolderCubes(str(casa), indices, "casa"), fast


class Renamed:
    """A simulated set under the name of its back end."""

    name = "fast"

    def __init__(self, cubes: SimulatedCubes) -> None:
        self.cubes, self.indices = cubes, cubes.indices

    def load(self, index: int) -> Any:
        """As the set does."""
        return self.cubes.load(index)


def scores(tallies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Recall and precision of summed tallies ``[..., 5]``, ``[..., 2]``."""
    tp, fp, fn = tallies[..., 0], tallies[..., 1], tallies[..., 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([tp / (tp + fn), tp / (tp + fp)], axis=-1)


def compared(
    casa: NDArray[np.float64], fast: NDArray[np.float64], draws: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Recall and precision of both back ends, and CASA's less ours with its paired error.

    Parameters
    ----------
    casa, fast : array
        `faintsky.matching.tally` of each pair, ``[pair, 5]``.
    draws, seed : int
        Of the bootstrap over pairs.
    """
    n = len(casa)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), draws)
    one, other = scores(casa.sum(axis=0)), scores(fast.sum(axis=0))
    moved = scores(weights @ casa) - scores(weights @ fast)
    # a difference of 0 in every pair is not known better than by one source more or less
    least = 1.0 / np.maximum(casa.sum(axis=0)[[0, 0]] + casa.sum(axis=0)[[2, 1]], 1.0)
    error = np.maximum(np.nanstd(moved, axis=0), least)
    return {
        name: {"casa": float(one[k]), "fast": float(other[k]), "difference": float(one[k] - other[k]),
               "error": float(error[k])}
        for k, name in enumerate(("recall", "precision"))
    }  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--casa", type=Path, help="folder of CASA's cubes")
    parser.add_argument("--fast", type=Path, help="folder of the fast cubes of the same skies")
    parser.add_argument("-n", type=int, default=30)
    parser.add_argument("--seed", type=int, default=9002)
    parser.add_argument("--method", default="classical")
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_casa_pairs"))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    sets = pairs_of(options)
    (method,), scorer = detectors([options.method]), CatalogScorer()
    run_methods(
        sets, [method], options.work, scorer, jobs=options.jobs,
        progress=common.say,
    )  # fmt: skip
    casa, fast = (Scored.read(scorer, options.work, s, method) for s in sets)
    for index, a, b in zip(sets[0].indices, casa.truths, fast.truths, strict=True):
        same = len(a) == len(b) and all(np.allclose(column(a, k), column(b, k), atol=1e-3) for k in "xyz")
        if not same:
            raise InputError(f"the two cubes {index} show different skies", "give folders of one seed")
    result: dict[str, Any] = {
        "pairs": len(casa.truths), "sources": len(casa.joined("snr")), "method": method.name,
        "median_snr": {k: float(np.median(s.joined("snr"))) for k, s in (("casa", casa), ("fast", fast))},
    }  # fmt: skip
    for criterion in ("position", "iou"):
        tallies = [np.array([tally(m) for m in s.matchings[criterion]]) for s in (casa, fast)]
        result[criterion] = compared(*tallies)
    common.write("casa_pairs.json", result, common.BENCHMARKS)


if __name__ == "__main__":
    main()
